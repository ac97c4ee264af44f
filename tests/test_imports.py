# SPDX-License-Identifier: Apache-2.0
"""Tests that importing Loopcore and showing help import no heavy libraries."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import loopcore

HEAVY = {"torch", "triton", "numba", "llvmlite", "scipy", "av", "PIL", "OpenEXR", "OpenImageIO", "rich", "hypothesis"}
# Kernels, networks and training use these libraries at import; other modules import them inside functions.
PUBLIC_TRANSPORT = {"loopcore.transport.integrate", "loopcore.transport.splat", "loopcore.transport.warp"}
MADE_OF_HEAVY = (
    "loopcore.transport.", "loopcore.loop.blend", "loopcore.loop.carr", "loopcore.loop.contrast",
    "loopcore.loop.cycles", "loopcore.loop.gpu", "loopcore.loop.mix", "loopcore.loop.plate_contrast",
    "loopcore.loop.packing", "loopcore.loop.smooth", "loopcore.loop.steady", "loopcore.loop.storing",
    "loopcore.flowmap.layers", "loopcore.flowmap.planes", "loopcore.motion.networks",
    "loopcore.motion.generator", "loopcore.training",
)  # fmt: skip
PACKAGE = Path(loopcore.__path__[0])


def light_modules() -> list[str]:
    names = []
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        parts = parts[:-1] if parts[-1] == "__init__" else parts
        name = ".".join(parts)
        if parts[-1] != "__main__" and (name in PUBLIC_TRANSPORT or not name.startswith(MADE_OF_HEAVY)):
            names.append(name)
    return names


def loaded_after(statements: str) -> set[str]:
    """Return the heavy libraries imported by some statements in a new interpreter."""
    script = f"{statements}\nimport sys; print('loaded:', *sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    loaded = done.stdout.rpartition("loaded:")[2].split()
    assert "sys" in loaded
    return HEAVY & set(loaded)


def test_the_probe_detects_a_heavy_library() -> None:
    assert loaded_after("import PIL") == {"PIL"}


def test_import_loopcore_is_light() -> None:
    assert loaded_after("import loopcore") == set()


@pytest.mark.parametrize("first", ["", "from loopcore.baking.bake import BakeResult", "import loopcore.baking.bake"])
def test_bake_is_the_function_after_any_import(first: str) -> None:
    script = f"{first}\nimport loopcore as lc\nassert callable(lc.bake), lc.bake"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_importing_all_ordinary_modules_is_light() -> None:
    names = light_modules()
    assert "loopcore.files.pattern" in names
    assert loaded_after("\n".join(f"import {name}" for name in names)) == set()


def test_rendering_loads_neither_torch_nor_scipy_ndimage() -> None:
    """Each takes longer to import than the kernels take to load."""
    script = "from loopcore.loop import load_kernels; load_kernels(); import sys; print('torch' in sys.modules, "
    script += "'scipy.ndimage' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_help_is_light() -> None:
    statements = """
import sys
from loopcore.cli import main
sys.argv = ["loopcore", "--help"]
try:
    main()
except SystemExit:
    pass
"""
    assert loaded_after(statements) == set()


def test_every_public_name_can_be_imported() -> None:
    for name in loopcore.__all__:
        assert getattr(loopcore, name) is not None
    assert {"__version__", *loopcore._MODULES} == set(loopcore.__all__)


TYPED = """
from fractions import Fraction
from pathlib import Path
import loopcore as lc

plate: lc.Plate = lc.read_plate("p.exr")
motion: lc.MotionField = lc.predict_motion(plate, hints=lc.read_hints("h.json"))
other: lc.MotionField = lc.read_motion("m.exr", "nuke", size=(plate.height, plate.width))
loop = lc.Loop(plate, motion, frames=60, method="warp")
done: lc.BakeResult = lc.bake(loop, "out", "loop", fps=23.976)
rate: Fraction = lc.frame_rate("24")
files: list[Path] = lc.export_flow(motion, "flow", "nuke", settings=lc.FlowSettings(frames=60))
report: lc.QualityReport = lc.check("out")
lc.animate.run(lc.animate.Job(lc.animate.Source(Path("p.exr")), Path("out")))
reveal_type(loop.frame(12))
wrong: int = lc.read_plate("p.exr")
"""


def test_a_users_program_is_typed(tmp_path: Path) -> None:
    pytest.importorskip("mypy")
    (tmp_path / "user.py").write_text(TYPED, encoding="utf-8")
    config = tmp_path / "mypy.ini"
    config.write_text("[mypy]\nstrict = True\n[mypy-loopcore.*]\nfollow_imports = silent\n[mypy-torch.*,numba.*,"
                      "triton.*,scipy.*,llvmlite.*]\nfollow_imports = skip\n", encoding="utf-8")  # fmt: skip
    command = [sys.executable, "-m", "mypy", "--config-file", str(config), "--ignore-missing-imports", "user.py"]
    environment = {**os.environ, "MYPYPATH": str(PACKAGE.parent)}
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, env=environment)
    lines = [line for line in done.stdout.splitlines() if line.startswith("user.py")]
    assert "ndarray" in lines[0] and 'has type "Plate", variable has type "int"' in lines[1], done.stdout
    assert len(lines) == 2, done.stdout
