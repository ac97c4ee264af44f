# SPDX-License-Identifier: Apache-2.0
"""Check who imports whom, and that each source file names its licence: ``check_layers.py [ROOT]``.

Imports go down the layers below, never up and never in a circle; an import inside a function counts like one
at the top. ``addon`` lives in Blender's process and imports what Blender brings, the standard library and itself.
"""

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

LAYERS = [
    {"errors"},
    {"files", "image", "parallel", "color", "observer"},
    {"exr"},
    {"plate"},
    {"transport", "motion"},
    {"loop", "flowmap"},
    {"baking", "preview", "quality"},
    {"job"},
    {"animate", "estimate"},
    {"cli", "worker", "farm", "__main__"},
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
# Training stands beside the layers: it may use all below baking, and only the command line may use it.
LEVEL["training"] = LEVEL["baking"]
TRAINING_USERS = {"cli", "training"}
# Names of the package itself that any module may ask it for.
PACKAGE_NAMES = {"__version__"}

# What every Blender brings; numpy is among it.
BLENDER = {
    "bpy", "bmesh", "mathutils", "gpu", "gpu_extras", "bpy_extras", "blf", "idprop", "addon_utils", "bl_ui", "numpy"
}  # fmt: skip
LICENCES = {"addon": "GPL-3.0-or-later", "build_addon.py": "GPL-3.0-or-later"}
SKIPPED = {"__pycache__", "build", "dist", "demo"}


@dataclass(frozen=True)
class Import:
    """One import statement: the module that says it, its line, and the module or name asked for."""

    module: str
    path: Path
    line: int
    target: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.module} imports {self.target}"


def main() -> int:
    root = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).resolve().parents[1])
    problems = [*check_loopcore(root), *check_addon(root), *check_licences(root)]
    for problem in problems:
        print(problem)
    print(f"layers and licences: {len(problems)} problem(s)" if problems else "layers and licences: fine")
    return 1 if problems else 0


def check_loopcore(root: Path) -> Iterator[str]:
    modules = {module_name(path, root): path for path in source_files(root / "loopcore")}
    links: dict[str, set[str]] = {}
    for module, path in modules.items():
        for found in imports_of(module, path):
            if found.target.partition(".")[0] != "loopcore":
                continue
            target = nearest_module(found.target, modules)
            if problem := judge(found, target):
                yield f"{found}: {problem}"
            links.setdefault(module, set()).add(target)
    # The package itself gathers its modules' names, so all that leads through it would be a circle.
    links.pop("loopcore", None)
    for circle in circles(links):
        yield f"circle of imports: {' -> '.join(circle)}"


def judge(found: Import, target: str) -> str | None:
    """Say what is wrong with an import of a module of loopcore, if anything is."""
    if found.module == "loopcore":
        return None
    here = room(found.module)
    if here not in LEVEL:
        return f"{here} stands in no layer; give it one in {Path(__file__).name}"
    if target == "loopcore":
        if found.target.removeprefix("loopcore.") in PACKAGE_NAMES or LEVEL[here] == len(LAYERS) - 1:
            return None
        return "import the module that has it, not the package"
    there = room(target)
    if there not in LEVEL:
        return f"{there} stands in no layer; give it one in {Path(__file__).name}"
    if there == "training" and here not in TRAINING_USERS:
        return "only the command line may import training"
    if here == "training" and there != "training" and LEVEL[there] >= LEVEL["training"]:
        return "training may import only what is below baking"
    if LEVEL[there] > LEVEL[here]:
        return "an import upward"
    return None


def room(module: str) -> str:
    """Return the folder or file below ``loopcore`` that a module is in."""
    return module.split(".")[1]


def circles(links: dict[str, set[str]]) -> Iterator[list[str]]:
    """Yield each circle that a walk along the imports runs into."""
    done: set[str] = set()

    def walk(module: str, way: list[str]) -> Iterator[list[str]]:
        if module in way:
            yield [*way[way.index(module) :], module]
            return
        if module in done:
            return
        for target in sorted(links.get(module, ())):
            yield from walk(target, [*way, module])
        done.add(module)

    for module in sorted(links):
        yield from walk(module, [])


def check_addon(root: Path) -> Iterator[str]:
    modules = {module_name(path, root): path for path in source_files(root / "addon")}
    links: dict[str, set[str]] = {}
    rooms: dict[str, set[str]] = {}
    for module, path in modules.items():
        for found in imports_of(module, path):
            top = found.target.partition(".")[0]
            if top != "addon" and top not in BLENDER and top not in sys.stdlib_module_names:
                yield f"{found}: inside Blender only bpy, numpy, the standard library and the add-on itself"
            if top == "addon":
                target = nearest_module(found.target, modules)
                links.setdefault(module, set()).add(target)
                here, there = (".".join(name.split(".")[:2]) for name in (module, target))
                if here != there:
                    rooms.setdefault(here, set()).add(there)
    for kind, graph in (("imports", links), ("rooms", rooms)):
        # The package itself only registers its modules.
        graph.pop("addon", None)
        for circle in circles(graph):
            yield f"circle of {kind}: {' -> '.join(circle)}"


def check_licences(root: Path) -> Iterator[str]:
    folders = [path for path in sorted(root.iterdir()) if path.name == ".ci" or not path.name.startswith(".")]
    sources = [path for folder in folders if folder.name not in SKIPPED for path in source_files(folder)]
    for path in [*sources, *sorted(root.glob("*.py")), root / "Makefile", root / ".ci" / "run"]:
        if not path.is_file():
            continue
        licence = LICENCES.get(path.relative_to(root).parts[0], "Apache-2.0")
        first = [line for line in path.read_text(encoding="utf-8").splitlines()[:2] if not line.startswith("#!")][:1]
        if first != [f"# SPDX-License-Identifier: {licence}"]:
            yield f"{path}:1: begin with '# SPDX-License-Identifier: {licence}'"


def source_files(folder: Path) -> list[Path]:
    files = folder.rglob("*.py")
    return sorted(path for path in files if not SKIPPED & set(path.relative_to(folder).parts))


def module_name(path: Path, root: Path) -> str:
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(module: str, path: Path) -> Iterator[Import]:
    """Yield every import of a file, wherever it stands, relative ones resolved."""
    package = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))):
        if isinstance(node, ast.Import):
            for name in node.names:
                yield Import(module, path, node.lineno, name.name)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) + 1 - node.level] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            for name in node.names:
                yield Import(module, path, node.lineno, f"{base}.{name.name}")


def nearest_module(target: str, modules: dict[str, Path]) -> str:
    """Return the longest beginning of a dotted name that is a module of ours."""
    parts = target.split(".")
    while len(parts) > 1 and ".".join(parts) not in modules:
        parts.pop()
    return ".".join(parts)


if __name__ == "__main__":
    sys.exit(main())
