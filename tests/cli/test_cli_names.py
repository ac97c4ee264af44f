# SPDX-License-Identifier: Apache-2.0
"""Files and folders whose names are not UTF-8, or not in the locale's encoding."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import _scenes
import pytest

pytestmark = pytest.mark.skipif(os.name == "nt", reason="names of files are text on Windows")
LATIN, UTF8 = os.fsdecode(b"caf\xe9"), os.fsdecode("caf\u00e9 \u6c34".encode())
UTF8_MODE = {"LC_ALL": "C.UTF-8", "PYTHONUTF8": "1"}
# Python itself then takes names as ASCII.
ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A plate, hints, weights and a loop."""
    folder = tmp_path_factory.mktemp("scene")
    _scenes.exr(folder / "p.exr", _scenes.linear())
    _scenes.hints(folder / "h.json")
    weights = Path(_scenes.__file__).parents[1] / "loopcore" / "motion" / "weights"
    shutil.copyfile(weights / "fluid.safetensors", folder / "w.safetensors")
    assert _scenes.run("animate", folder / "p.exr", *options(folder), "-o", folder / "out").returncode == 0
    return folder


def options(folder: Path) -> list[object]:
    return ["--hints", folder / "h.json", "--frames", 2]


def copied(scene: Path, folder: Path) -> Path:
    """Copy the scene to a folder, if the file system takes its name."""
    try:
        shutil.copytree(scene, folder, ignore=shutil.ignore_patterns("out"))
    except OSError as error:
        pytest.skip(f"this file system takes no such name: {error}")
    return folder


@pytest.mark.parametrize(
    ("name", "locale"), [(LATIN, UTF8_MODE), (LATIN, ASCII), (UTF8, {"LC_ALL": "C"}), (UTF8, ASCII)],
    ids=["bytes as UTF-8", "bytes as ASCII", "UTF-8 in the C locale", "UTF-8 as ASCII"],
)  # fmt: skip
def test_folders_of_any_name_give_the_same_frames(
    name: str, locale: dict[str, str], scene: Path, tmp_path: Path
) -> None:
    folder = copied(scene, tmp_path / name)
    out = folder / "out"
    done = _scenes.run("animate", folder / "p.exr", *options(folder), "-o", out, "--proxy", env=locale)
    assert (done.returncode, done.stderr) == (0, "")
    for file in ("p_loop.1001.exr", "p_loop.1002.exr", "motion.exr"):
        assert (out / file).read_bytes() == (scene / "out" / file).read_bytes()
    flow = _scenes.run("flow", out / "motion.exr", "-o", out, "--convention", "game", env=locale)
    assert (flow.returncode, flow.stderr) == (0, "")
    check = _scenes.run("check", out, "--json", env=locale)
    assert (check.returncode, check.stderr) == (0, "")


def test_a_plate_whose_name_is_not_utf8_needs_a_name_for_the_frames(scene: Path, tmp_path: Path) -> None:
    folder = copied(scene, tmp_path / "plain")
    try:
        plate = (folder / "p.exr").rename(folder / f"{LATIN}.exr")
    except OSError as error:
        pytest.skip(f"this file system takes no such name: {error}")
    done = _scenes.run("animate", plate, *options(folder), "-o", folder / "out", env=UTF8_MODE)
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and not (folder / "out").exists()
    assert "which is not utf-8: rename the file that it is taken from, or choose another name" in done.stderr
    named = _scenes.run("animate", plate, *options(folder), "-o", folder / "out", "--name", "loop", env=UTF8_MODE)
    assert (named.returncode, named.stderr) == (0, "") and (folder / "out" / "loop.1002.exr").is_file()


def test_weights_need_a_name_in_utf8(scene: Path, tmp_path: Path) -> None:
    def predict(folder: Path, locale: dict[str, str]) -> tuple[int, str]:
        weights = folder / "w.safetensors"
        done = _scenes.run("predict", folder / "p.exr", "--weights", weights, "-o", folder / "m.exr", env=locale)
        return done.returncode, done.stderr

    code, err = predict(copied(scene, tmp_path / LATIN), UTF8_MODE)
    assert code == 2 and err.startswith("loopcore: error: weights ") and err.count("\n") == 1
    assert "its path is not UTF-8, which this kind of file needs: rename the file or its folder" in err
    assert predict(copied(scene, tmp_path / UTF8), ASCII) == (0, "")


def test_stills_that_openimageio_reads_need_a_name_in_utf8(scene: Path, tmp_path: Path) -> None:
    oiio = pytest.importorskip("OpenImageIO")
    deep = oiio.ImageBuf(oiio.ImageSpec(160, 90, 3, "uint16"))
    for name, locale, code in ((LATIN, UTF8_MODE, 2), (UTF8, ASCII, 0)):
        folder = copied(scene, tmp_path / name)
        assert deep.write(str(tmp_path / "deep.png"))
        plate = shutil.copyfile(tmp_path / "deep.png", folder / "deep.png")
        done = _scenes.run("animate", plate, *options(folder), "-o", folder / "out", env=locale)
        assert done.returncode == code and done.stderr.count("\n") == (code == 2)
        assert ("its path is not UTF-8" in done.stderr) == (code == 2)


def test_an_exr_that_cannot_be_written_there_says_why(scene: Path, tmp_path: Path) -> None:
    folder = copied(scene, tmp_path / LATIN)
    script = "import sys, numpy; from loopcore.exr import write_exr; "
    script += "write_exr(sys.argv[1], {'Y': numpy.zeros((4, 4), numpy.float32)})"
    done = subprocess.run(
        [sys.executable, "-c", script, folder / "none" / "a.exr"], capture_output=True, text=True,
        env=_scenes.environment(UTF8_MODE),
    )  # fmt: skip
    last = done.stderr.splitlines()[-1]
    assert last.startswith("loopcore.errors.SequenceError: ") and "none/a.exr cannot be written: " in last
    assert last.endswith("No such file or directory.")
