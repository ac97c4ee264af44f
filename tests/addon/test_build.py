# SPDX-License-Identifier: Apache-2.0
"""Tests of the extension's zip: reproducible bytes, Blender's validator, and a wheel that pip can install."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
import tomllib
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PYTHONS = [p for p in os.environ.get("LOOPCORE_BPY_PYTHONS", "").split(os.pathsep) if p]
MANIFEST = tomllib.loads((ROOT / "blender_manifest.toml").read_text("utf-8"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


def copied(folder: Path, line_end: bytes = b"\n", source: Path = ROOT) -> Path:
    """Copy the tree's files in another order, with new dates and other line ends."""
    names = ["addon", "loopcore", "LICENSES", "blender_manifest.toml", "build_addon.py", "pyproject.toml", "docs"]
    paths = [p for name in names for p in [source / name, *(source / name).rglob("*")] if p.is_file()]
    for path in reversed(paths):
        if "__pycache__" in path.parts:
            continue
        made = folder / path.relative_to(source)
        made.parent.mkdir(parents=True, exist_ok=True)
        data = path.read_bytes()
        made.write_bytes(data if path.suffix == ".safetensors" else data.replace(b"\n", line_end))
    (folder / "addon" / "__pycache__").mkdir()
    (folder / "addon" / "__pycache__" / "left.py").write_text("left over")
    return folder


def built(root: Path, output: Path) -> bytes:
    command = [sys.executable, str(root / "build_addon.py"), "--output", str(output)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert Path(done.stdout.strip()) == output / f"loopcore-{MANIFEST['version']}.zip"
    return Path(done.stdout.strip()).read_bytes()


def test_the_same_files_give_the_same_bytes(tmp_path: Path) -> None:
    """For any order on disk, dates, line ends, stray files, and a dot in the checkout's path."""
    one = copied(tmp_path / ".tree")
    other = copied(tmp_path / "windows", b"\r\n", one)
    ours = built(one, tmp_path / "out")
    assert hashlib.sha256(built(other, tmp_path / "out")).digest() == hashlib.sha256(ours).digest()
    (other / "addon" / "interface" / "panels.py").write_text("# changed")
    assert built(other, tmp_path / "out") != ours


def test_the_zip_contains_the_addon_the_licences_and_one_wheel(extension: Path) -> None:
    with zipfile.ZipFile(extension) as archive:
        names = archive.namelist()
        assert archive.testzip() is None
        for name in names:
            assert not name.startswith("/") and ".." not in name and "__pycache__" not in name
        sources = {p.relative_to(ROOT / "addon").as_posix() for p in (ROOT / "addon").rglob("*.py")}
        assert sources <= set(names) and "interface/operators/jobs.py" in names
        assert {"blender_manifest.toml", "LICENSES/GPL-3.0-or-later.txt", "LICENSES/Apache-2.0.txt"} <= set(names)
        assert {"documentation/blender.md", "documentation/hints.md"} <= set(names)
        assert [n for n in names if n.endswith(".whl")] == ["wheels/loopcore-0.1.0-py3-none-any.whl"]
    assert extension.stat().st_size < 20 << 20  # 9 MB of it are the network


def test_versions_agree() -> None:
    import loopcore

    assert MANIFEST["version"] == PROJECT["project"]["version"] == loopcore.__version__


def test_the_manifest_has_the_permissions_the_addon_needs() -> None:
    """Guidelines of the platform that its validator does not check."""
    assert set(MANIFEST["permissions"]) == {"files", "network"}
    assert MANIFEST["blender_version_min"] == "4.2.0" and "blender_version_max" not in MANIFEST
    assert "blender" not in MANIFEST["name"].lower()
    assert "SPDX:GPL-3.0-or-later" in MANIFEST["license"]


def validator(python: Path) -> tuple[Path, Path]:
    (cli,) = python.parents[1].rglob("bl_pkg/cli/blender_ext.py")
    (tags,) = python.parents[1].rglob("_bpy_internal/extensions/tags.py")
    return cli, tags


@pytest.mark.parametrize("python", PYTHONS, ids=lambda p: Path(p).parent.parent.name)
def test_blenders_validator_accepts_the_zip(extension: Path, python: str, tmp_path: Path) -> None:
    cli, tags = validator(Path(python))
    command = [sys.executable, str(cli), "validate", "--valid-tags", str(tags)]
    done = subprocess.run([*command, str(extension)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    # And it does look: an unknown tag is refused.
    wrong = tmp_path / extension.name
    with zipfile.ZipFile(extension) as archive, zipfile.ZipFile(wrong, "w") as made:
        for name in archive.namelist():
            data = archive.read(name)
            made.writestr(name, data.replace(b'"Material"', b'"Waterfalls"') if name.endswith(".toml") else data)
    assert subprocess.run([*command, str(wrong)], capture_output=True).returncode != 0


@pytest.fixture(scope="module")
def wheel(extension: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    with zipfile.ZipFile(extension) as archive:
        (name,) = [n for n in archive.namelist() if n.endswith(".whl")]
        return Path(archive.extract(name, tmp_path_factory.mktemp("wheel")))


def test_the_wheels_metadata_agrees_with_the_project(wheel: Path) -> None:
    about = PROJECT["project"]
    with zipfile.ZipFile(wheel) as archive:
        info = f"loopcore-{about['version']}.dist-info"
        metadata = Parser().parsestr(archive.read(f"{info}/METADATA").decode())
        record = {line.split(",")[0] for line in archive.read(f"{info}/RECORD").decode().splitlines()}
        assert record == set(archive.namelist())
    wanted = [r.replace(" ", "") for r in metadata.get_all("Requires-Dist") if "extra" not in r]
    assert wanted == about["dependencies"]
    assert metadata["Requires-Python"] == about["requires-python"]


def test_pip_installs_the_wheel(wheel: Path, tmp_path: Path) -> None:
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*pip, "--target", str(tmp_path / "site"), str(wheel)], check=True, capture_output=True)
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import loopcore, loopcore.cli; print(loopcore.__file__); "
        "loopcore.cli.main(['info'])"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", code, str(tmp_path / "site")], capture_output=True, text=True, check=True
    )
    assert str(tmp_path / "site") in done.stdout.splitlines()[0]


def test_the_wheel_has_the_contents_of_a_setuptools_build(tmp_path: Path) -> None:
    pytest.importorskip("setuptools.build_meta")
    root = copied(tmp_path / "tree")
    (root / "README.md").write_text("Loopcore")
    code = f"import setuptools.build_meta as b; print(b.build_wheel({str(tmp_path)!r}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    theirs = tmp_path / done.stdout.splitlines()[-1]
    with zipfile.ZipFile(io.BytesIO(built(root, tmp_path))) as archive:
        ours = archive.read("wheels/loopcore-0.1.0-py3-none-any.whl")

    def modules(data: bytes) -> dict[str, bytes]:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return {n: archive.read(n) for n in archive.namelist() if n.startswith("loopcore/")}

    assert modules(theirs.read_bytes()) == modules(ours)
