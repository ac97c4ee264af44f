# SPDX-License-Identifier: Apache-2.0
"""Tests of warnings, of settings in the environment, and of options that need others."""

from __future__ import annotations

import json
from pathlib import Path

import _scenes
import numpy as np
import pytest
from PIL import Image

from loopcore.cli.main import main


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A plate, hints and motion."""
    folder = tmp_path_factory.mktemp("scene")
    _scenes.png(folder / "p.png")
    _scenes.hints(folder / "h.json")
    assert main(["predict", str(folder / "p.png"), "--hints", str(folder / "h.json"), "-o", str(folder / "m.exr")]) == 0
    return folder


def animate(scene: Path, out: Path, *more: object) -> list[str]:
    return [str(part) for part in ("animate", scene / "p.png", "--hints", scene / "h.json", "-o", out, *more)]


def test_strength_and_green_read_a_map_that_lacks_them(scene: Path, tmp_path: Path) -> None:
    from loopcore.image import encode_png

    codes = np.full((90, 160, 3), 160, np.uint8)
    (tmp_path / "g.png").write_bytes(encode_png(codes, texts={}))
    read = ["flow", str(tmp_path / "g.png"), "--from", "game", "--strength", "0.1", "--green", "down"]
    assert main([*read, "--convention", "nuke", "-o", str(tmp_path)]) == 0
    assert main(["flow", str(scene / "m.exr"), "--convention", "game", "--bits", "8", "-o", str(tmp_path)]) == 0


@pytest.mark.parametrize("option", ["--output=", "--mask=", "--hints="])
def test_an_empty_path_is_refused(
    option: str, scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main([*animate(scene, tmp_path / "out"), option])
    error = capsys.readouterr().err.splitlines()[-1]
    assert ended.value.code == 2 and option.strip("=") in error and "it is empty: give a path" in error
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("given", ["--colorspace=--", "--mask=--", "--frames=--", "-o--"])
def test_dashes_are_no_value(given: str, scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*animate(scene, tmp_path / "out"), given])
    error = capsys.readouterr().err.splitlines()[-1]
    assert ended.value.code == 2 and error == f"loopcore: error: argument {given[:-2].rstrip('=')}: '--' is not a value"


@pytest.mark.parametrize("threads", ["0", "-3"])
def test_a_wrong_setting_of_numba_is_one_line(threads: str, scene: Path, tmp_path: Path) -> None:
    done = _scenes.run(*animate(scene, tmp_path / "out", "--frames", 2), env={"NUMBA_NUM_THREADS": threads})
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and not (tmp_path / "out").exists()
    assert done.stderr.startswith("loopcore: error: Numba cannot be loaded") and "NUMBA_" in done.stderr


def test_pillows_warnings_are_dropped(scene: Path, tmp_path: Path) -> None:
    # Five entries are announced, none follows.
    torn = b"Exif\0\0II*\0\x08\0\0\0\x05\0\x12\x01"
    Image.open(scene / "p.png").save(tmp_path / "p.jpg", exif=torn)
    with pytest.warns(UserWarning, match="EXIF"), Image.open(tmp_path / "p.jpg") as picture:
        picture.getexif()
    done = _scenes.run("predict", tmp_path / "p.jpg", "--hints", scene / "h.json", "-o", tmp_path / "m.exr")
    assert done.returncode == 0 and not done.stderr, done.stderr


def test_a_damaged_jpeg_is_a_line_of_warning(scene: Path, tmp_path: Path) -> None:
    Image.open(scene / "p.png").save(tmp_path / "p.jpg", quality=75, progressive=True)
    data = bytearray((tmp_path / "p.jpg").read_bytes())
    predict = ("predict", tmp_path / "p.jpg", "--hints", scene / "h.json", "-o", tmp_path / "m.exr")
    assert not _scenes.run(*predict).stderr
    middle = len(data) // 2
    data[middle : middle + 200] = bytes(200)
    (tmp_path / "p.jpg").write_bytes(data)
    done = _scenes.run(*predict)
    assert done.returncode == 0 and (tmp_path / "m.exr").is_file()
    assert done.stderr.startswith("loopcore: warning: ") and done.stderr.count("\n") == 1
    assert "p.jpg: its JPEG data are damaged" in done.stderr


def test_what_is_wrong_with_hints_names_their_file(
    scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    drawn = json.loads((scene / "h.json").read_text("utf-8"))
    far = {**drawn, "strokes": [{"points": [[1, 1], [9000, 9000]], "speed": 1}]}
    beside = {**drawn, "strokes": [{"points": [[1, 1], [3, 3]], "speed": 1}]}
    square = {**drawn, "size": [90, 90]}
    for document, message in ((far, "is far outside"), (beside, "no stroke touches the mask"), (square, "aspects")):
        (tmp_path / "n.json").write_text(json.dumps(document), "utf-8")
        arguments = ["predict", scene / "p.png", "--hints", tmp_path / "n.json", "-o", tmp_path / "m.exr"]
        assert main([str(part) for part in arguments]) == 2
        error = capsys.readouterr().err
        assert error.startswith(f"loopcore: error: hints {tmp_path / 'n.json'}: ") and message in error


def test_a_small_mask_of_a_huge_picture_is_refused(
    scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.new("L", (16, 9), 255).save(tmp_path / "mask.png")
    for size, message in (([65536, 36864], "at most 536870912 pixels"), ([16000, 9000], "far smaller than 16000x9000")):
        (tmp_path / "n.json").write_text(json.dumps({"loopcore_hints": 1, "size": size, "mask": "mask.png"}), "utf-8")
        arguments = ["predict", scene / "p.png", "--hints", tmp_path / "n.json", "-o", tmp_path / "m.exr"]
        assert main([str(part) for part in arguments]) == 2
        assert message in capsys.readouterr().err
