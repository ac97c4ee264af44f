# SPDX-License-Identifier: GPL-3.0-or-later
"""Build the Blender extension, one zip: ``python build_addon.py [--output DIR]``; prints the zip's path.

In the zip: the manifest, the files of ``addon``, the licences, and loopcore as a wheel for the worker's Python.
Reproducible: fixed order, dates and permissions, Unix line ends, and no compression, whose bytes depend on the version
of zlib. Needs only Python 3.11.
"""

import argparse
import base64
import hashlib
import io
import sys
import tomllib
import zipfile
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parent
TEXT = {".py", ".toml", ".txt", ".md", ".typed", ".json", ".html", ".js"}
# The earliest date that a zip can store.
DATE = (1980, 1, 1, 0, 0, 0)


def main() -> int:
    """Write the zip."""
    parser = argparse.ArgumentParser(description="Build Loopcore's Blender extension.")
    parser.add_argument("--output", type=Path, default=ROOT / "dist", help="folder for the zip (dist)")
    folder = parser.parse_args().output
    version = tomllib.loads((ROOT / "blender_manifest.toml").read_text("utf-8"))["version"]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"loopcore-{version}.zip"
    path.write_bytes(extension(ROOT))
    print(path)
    return 0


def extension(root: Path) -> bytes:
    """Return the extension's zip, built from the tree at `root`."""
    files = {"blender_manifest.toml": content(root / "blender_manifest.toml")}
    for path in sources(root / "addon", "*.py"):
        files[path.relative_to(root / "addon").as_posix()] = content(path)
    for name in ("blender.md", "flow-maps.md", "guide.md", "hints.md"):
        files[f"documentation/{name}"] = content(root / "docs" / name)
    for name in ("GPL-3.0-or-later.txt", "Apache-2.0.txt"):
        files[f"LICENSES/{name}"] = content(root / "LICENSES" / name)
    name, wheel = build_wheel(root)
    files[f"wheels/{name}"] = wheel
    return packed(files)


def build_wheel(root: Path) -> tuple[str, bytes]:
    """Return the name and bytes of loopcore's wheel, with the contents that setuptools would include."""
    project = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))
    about = project["project"]
    files = {p.relative_to(root).as_posix(): content(p) for p in sources(root / "loopcore", "*.py")}
    for package, patterns in project["tool"]["setuptools"]["package-data"].items():
        folder = root / package.replace(".", "/")
        for path in (p for pattern in patterns for p in sorted(folder.glob(pattern)) if p.is_file()):
            files[path.relative_to(root).as_posix()] = content(path)
    info = f"{about['name']}-{about['version']}.dist-info"
    for path in (p for pattern in about["license-files"] for p in sorted(root.glob(pattern))):
        files[f"{info}/licenses/{path.relative_to(root).as_posix()}"] = content(path)
    scripts = "".join(f"{name} = {target}\n" for name, target in sorted(about["scripts"].items()))
    files[f"{info}/entry_points.txt"] = f"[console_scripts]\n{scripts}".encode()
    files[f"{info}/METADATA"] = metadata(about).encode()
    files[f"{info}/WHEEL"] = b"Wheel-Version: 1.0\nGenerator: build_addon\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    files[f"{info}/RECORD"] = record(files, f"{info}/RECORD")
    return f"{about['name']}-{about['version']}-py3-none-any.whl", packed(files)


def metadata(about: Mapping[str, object]) -> str:
    """Return the wheel's METADATA from the project table of pyproject.toml."""
    lines = [
        "Metadata-Version: 2.4",
        f"Name: {about['name']}",
        f"Version: {about['version']}",
        f"Summary: {about['description']}",
        f"License-Expression: {about['license']}",
        f"Requires-Python: {about['requires-python']}",
    ]
    lines += [f"License-File: {name}" for name in about["license-files"]]
    lines += [f"Requires-Dist: {requirement}" for requirement in about["dependencies"]]
    for extra, requirements in about["optional-dependencies"].items():
        lines.append(f"Provides-Extra: {extra}")
        for requirement in requirements:
            package, _, marker = (part.strip() for part in requirement.partition(";"))
            condition = f"({marker}) and " if marker else ""
            lines.append(f'Requires-Dist: {package}; {condition}extra == "{extra}"')
    return "\n".join(lines) + "\n"


def record(files: Mapping[str, bytes], own: str) -> bytes:
    """Return the wheel's RECORD: its files with their hashes."""
    rows = []
    for name, data in sorted(files.items()):
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        rows.append(f"{name},sha256={digest},{len(data)}")
    return "\n".join([*rows, f"{own},,", ""]).encode()


def sources(folder: Path, pattern: str) -> list[Path]:
    """Return the files in `folder` and its subfolders that match, without hidden ones and caches."""
    hidden = (".", "__pycache__")
    found = [path for path in folder.rglob(pattern) if path.is_file()]
    return sorted(p for p in found if not any(part.startswith(hidden) for part in p.relative_to(folder).parts))


def content(path: Path) -> bytes:
    """Return the bytes of a file, of text with Unix line ends."""
    data = path.read_bytes()
    return data.replace(b"\r\n", b"\n") if path.suffix in TEXT else data


def packed(files: Mapping[str, bytes]) -> bytes:
    """Return a zip of `files` that depends on nothing else."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(files):
            entry = zipfile.ZipInfo(name, DATE)
            entry.create_system, entry.external_attr = 3, 0o100644 << 16
            archive.writestr(entry, files[name])
    return buffer.getvalue()


if __name__ == "__main__":
    sys.exit(main())
