# SPDX-License-Identifier: Apache-2.0
"""Tests that no command overwrites a file that it reads, and that bakes resume into their folders all the same."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import _scenes
import numpy as np
import pytest

from loopcore.animate import run
from loopcore.cli.main import main
from loopcore.errors import LoopcoreError
from loopcore.job import Job, Source
from loopcore.motion import MotionField


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Plates, hints with a painted mask, and a motion."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("made")
    _scenes.png(folder / "p.png")
    _scenes.exr(folder / "p.exr", _scenes.linear("RGB"), "RGB")
    white = Image.new("L", (160, 90), 0)
    white.paste(255, (40, 20, 120, 70))
    white.save(folder / "h_mask.png")
    white.paste(0, (60, 20, 120, 70))
    white.save(folder / "small.png")
    document = json.loads(_scenes.hints(folder / "h.json").read_text("utf-8"))
    (folder / "h.json").write_text(json.dumps({**document, "mask": "h_mask.png"}), "utf-8")
    assert main(["predict", str(folder / "p.png"), "--hints", str(folder / "h.json"), "-o", str(folder / "m.exr")]) == 0
    return folder


@pytest.fixture
def here(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of them as the current folder."""
    folder = shutil.copytree(made, tmp_path / "here")
    monkeypatch.chdir(folder)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


REFUSED = [
    "predict p.exr --motion m.exr -o p.exr",
    "predict p.exr --motion m.exr -o m.exr",
    "predict p.png --hints h.json -o new.exr --picture p.png",
    "predict p.png --hints h.json -o new.exr --picture h_mask.png",
    "predict p.png --mask h_mask.png -o new.exr --picture ./h_mask.png",
    "flow m.exr -o . --speed 2",
    "flow m.exr -o .",
    "flow m.exr --name p -o . --plate p.exr",
    "flow m_displace.1002.exr -o . --name m --convention displace --frames 3 --cycles 1 --steady 0",
    "flow m_stmap_past.1002.exr -o . --name m --convention displace --with weight --frames 3 --cycles 1 --steady 0",
    "predict p.png --motion m_stmap_past.1002.exr -o m_weight.1002.exr",
    "evaluate . --baseline report.json -o .",
    "train pictures --weights w.safetensors -o w.safetensors",
    "animate frame.1001.exr --hints h.json -o . --name frame --frames 3",
    "animate frame.1001.exr --hints h.json -o . --name frame --range 1001 --overwrite",
    "animate motion.exr --motion m.exr -o . --frames 3",
    "animate p.png --hints h.json --mask p_loop_motion.png -o . --frames 3 --preview",
    "animate p_loop_still.exr --hints h.json -o . --name p_loop --frames 3 --resolution 50",
    "animate p.png --hints h.json --mask proxy/p_loop.1001.png -o . --frames 3 --proxy",
    "animate p.png --motion motion.exr --speed 2 -o . --frames 3",
    "animate p.png --motion motion.exr --mask small.png -o . --frames 3",
    "preview frames -o frames/f.1001.png",
]


@pytest.mark.parametrize("line", REFUSED)
def test_an_output_that_is_an_input_is_refused(line: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if "motion.exr" in line:
        shutil.copy("p.exr" if line.startswith("animate motion") else "m.exr", "motion.exr")
    shutil.copy("p.exr", "frame.1001.exr")
    shutil.copy("p.exr", "p_loop_still.exr")
    shutil.copy("h_mask.png", "p_loop_motion.png")
    for folder, name in (("proxy", "p_loop.1001.png"), ("frames", "f.1001.png"), ("frames", "f.1002.png")):
        Path(folder).mkdir(exist_ok=True)
        shutil.copy("h_mask.png", Path(folder, name))
    Path("pictures").mkdir()
    Path("pictures/manifest.csv").write_text("image,label,split\na.png,b.png,test\n", "utf-8")
    Path("report.json").write_text("{}", "utf-8")
    Path("w.safetensors").write_bytes(b"weights")
    for convention in {"displace", "stmap"} & set(line.replace("_", " ").split()):
        export = f"flow m.exr -o . --name m --convention {convention} --frames 3 --cycles 1 --steady 0"
        assert main(export.split()) == 0
    before = contents(here)
    capsys.readouterr()
    assert main(line.split()) == 2
    out, err = capsys.readouterr()
    assert err.startswith("loopcore: error: ") and err.count("\n") == 1 and "Saved" not in out
    assert "overwritten" in err or "replaced" in err, err
    assert contents(here) == before


@pytest.mark.skipif(os.name == "nt", reason="links need a privilege there")
def test_an_input_behind_a_link_is_refused(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("out").mkdir()
    Path("out/p_loop.1001.exr").symlink_to(here / "p.exr")
    assert main("animate p.exr --hints h.json -o out --frames 3".split()) == 2
    assert f"is the input '{Path('p.exr')}' and would be overwritten" in capsys.readouterr().err
    assert Path("out/p_loop.1001.exr").is_symlink() and [path.name for path in Path("out").iterdir()] == [
        "p_loop.1001.exr"
    ]


def test_a_python_program_does_not_overwrite_its_plate(here: Path) -> None:
    from loopcore import Loop, read_plate
    from loopcore.baking.bake import bake

    plate = Path("p.exr").rename("p.1002.exr")
    before = plate.read_bytes()
    with pytest.raises(LoopcoreError, match="overwritten"):
        bake(Loop(read_plate(plate), MotionField.load("m.exr"), frames=3), "", "p")
    assert plate.read_bytes() == before and not Path("recipe.json").exists()


def test_a_bake_resumes_and_is_made_again_in_its_folder(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bake = "animate p.exr --hints h.json -o . --frames 3 --proxy --preview".split()
    assert main(bake) == 0
    first = {path.name: path.read_bytes() for path in _scenes.frames(here)}
    Path("p_loop.1002.exr").unlink()
    assert main(bake) == 0
    assert "1 frames written, 2 up to date, 0 failed" in capsys.readouterr().out
    assert main([*bake, "--overwrite"]) == 0
    # The motion that the bake stored beside the frames, unchanged.
    assert main("animate p.exr --motion motion.exr -o . --frames 3 --overwrite".split()) == 0
    assert {path.name: path.read_bytes() for path in _scenes.frames(here)} == first


def test_vectors_of_another_program_in_the_output_folder_are_kept(here: Path) -> None:
    from loopcore.exr import write_exr

    motion = MotionField.load("m.exr")
    shown = {"forward.u": motion.effective[..., 0], "forward.v": -motion.effective[..., 1]}
    write_exr("motion.exr", {**shown, "depth.Z": np.ones(motion.mask.shape, np.float32)})
    before = Path("motion.exr").read_bytes()
    job = Job(Source(Path("p.exr"), motion=Path("motion.exr")), Path(), frames=3)
    with pytest.raises(LoopcoreError, match="replaced by another motion: move it"):
        run(job)
    assert Path("motion.exr").read_bytes() == before and not _scenes.frames(here)
