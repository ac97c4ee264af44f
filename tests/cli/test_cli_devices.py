# SPDX-License-Identifier: Apache-2.0
"""Commands refuse FIFOs and devices in place of files, instead of waiting or reading for ever."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import _scenes
import pytest

pytestmark = pytest.mark.skipif(os.name == "nt", reason="FIFOs and devices of POSIX")


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A plate, hints and a loop of two frames as EXR and as PNG."""
    folder = tmp_path_factory.mktemp("scene")
    _scenes.png(folder / "p.png")
    _scenes.hints(folder / "h.json")
    for kind in ("exr", "png"):
        assert bake(folder, folder / kind, kind) == (0, "")
    return folder


def bake(scene: Path, out: Path, kind: str) -> tuple[int, str]:
    done = _scenes.run("animate", scene / "p.png", "--hints", scene / "h.json", "-o", out, "--frames", 2,
                       "--format", kind)  # fmt: skip
    return done.returncode, done.stderr


@pytest.fixture
def fifo(tmp_path: Path) -> Path:
    os.mkfifo(tmp_path / "fifo")
    return tmp_path / "fifo"


@pytest.mark.parametrize("device", [False, True])
@pytest.mark.parametrize("option", ["plate", "--hints", "--mask", "--mask.exr", "--weights", "--motion"])
def test_an_input_that_is_no_file_is_refused(option: str, device: bool, scene: Path, tmp_path: Path) -> None:
    name, _, suffix = option.partition(".")
    path = tmp_path / f"input.{suffix or 'x'}"
    if device:
        path.symlink_to("/dev/zero")
    else:
        os.mkfifo(path)
    inputs = [path] if name == "plate" else [scene / "p.png", name, path]
    done = _scenes.run("animate", *inputs, "-o", tmp_path / "out", timeout=60)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert done.stderr.startswith("loopcore: error: ") and done.stderr.count("\n") == 1
    assert str(path) in done.stderr and "regular file" in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", ["train", "evaluate"])
def test_settings_and_manifests_that_are_no_file_are_refused(command: str, tmp_path: Path) -> None:
    path = tmp_path / ("run.toml" if command == "train" else "report.json")
    os.mkfifo(path)
    more = [path, "-o", tmp_path / "out"] if command == "train" else [tmp_path, "--baseline", path]
    done = _scenes.run(command, *more, timeout=60)
    assert done.returncode == 2 and str(path) in done.stderr and "regular file" in done.stderr


def test_check_refuses_a_recipe_that_is_no_file(fifo: Path) -> None:
    fifo.rename(fifo.with_name("recipe.json"))
    done = _scenes.run("check", fifo.parent, timeout=60)
    assert done.returncode == 2 and "recipe.json" in done.stderr and "regular file" in done.stderr


@pytest.mark.parametrize("kind", ["exr", "png"])
def test_what_is_no_file_is_replaced_by_the_next_bake(kind: str, scene: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(scene / kind, out)
    replaced = [f"p_loop.1001.{kind}", "recipe.json", "motion.exr"]
    for name in replaced:
        (out / name).unlink()
        os.mkfifo(out / name)
    done = _scenes.run("check", out, timeout=60)
    assert done.returncode == 2
    assert bake(scene, out, kind) == (0, "")
    # The motion is written again with the frame.
    assert all((out / name).read_bytes() == (scene / kind / name).read_bytes() for name in (replaced[0], replaced[2]))
    assert (out / "recipe.json").is_file()
