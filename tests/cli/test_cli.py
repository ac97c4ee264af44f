# SPDX-License-Identifier: Apache-2.0
"""Tests of the command line: exit codes, one-line errors, signals, progress."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import _scenes
import numpy as np
import pytest

from loopcore import __version__
from loopcore.baking.recipe import read_recipe
from loopcore.cli.main import main
from loopcore.exr import read_attributes

posix = pytest.mark.skipif(os.name == "nt", reason="POSIX signals and terminals")


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with plates, hints, masks and motion, valid and invalid ones."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("scene")
    _scenes.png(folder / "p.png")
    _scenes.hints(folder / "h.json")
    document = json.loads((folder / "h.json").read_text("utf-8"))
    document["strokes"][0]["speed"] = "quick"
    (folder / "wrong.json").write_text(json.dumps(document), "utf-8")
    (folder / "torn.json").write_text('{"loopcore_hints": 1, ', "utf-8")
    (folder / "text.png").write_text("not an image", "utf-8")
    (folder / "empty.exr").write_bytes(b"")
    (folder / "torn.png").write_bytes((folder / "p.png").read_bytes()[:3000])
    Image.new("L", (100, 100), 255).save(folder / "square.png")
    Image.new("L", (160, 90), 0).save(folder / "black.png")
    white = Image.new("L", (160, 90), 0)
    white.paste(255, (40, 20, 120, 70))
    white.save(folder / "mask.png")
    _scenes.exr(folder / "picture.exr", _scenes.linear("RGB"), "RGB")
    assert main(["predict", str(folder / "p.png"), "--hints", str(folder / "h.json"), "-o", str(folder / "m.exr")]) == 0
    small, small_hints = _scenes.png(folder / "s.png", "RGB", 80, 44), _scenes.hints(folder / "s.json", 80, 44)
    assert main(["predict", str(small), "--hints", str(small_hints), "-o", str(folder / "s.exr")]) == 0
    return folder


def animate(scene: Path, out: Path, *more: object, plate: str = "p.png") -> list[str]:
    return [str(part) for part in ("animate", scene / plate, "--hints", scene / "h.json", "-o", out, *more)]


# Commands


def test_help_version_and_info() -> None:
    helped = _scenes.run("--help")
    assert helped.returncode == 0 and not helped.stderr
    for command in ("animate", "predict", "check", "preview", "info"):
        assert command in helped.stdout
    assert _scenes.run("--version").stdout.strip() == f"loopcore {__version__}"


def test_info(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info"]) == 0
    table = capsys.readouterr().out
    assert main(["info", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["loopcore"] == __version__ and facts["device"].startswith("cpu") and "gpu" in facts
    for name, value in facts.items():
        assert f"{name:<14}{value}" in table


@pytest.mark.parametrize("command", ["animate", "predict", "check", "preview", "info"])
def test_every_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0 and "usage: loopcore" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [[], ["animat"], ["animate"], ["animate", "p.png"], ["info", "--what"]])
def test_wrong_usage_is_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2 and "usage:" in capsys.readouterr().err


def test_animate_then_check(scene: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    options = ("--frames", 24, "--fps", "23.976", "--first", 11, "--speed", 0.75, "--preview")
    made = _scenes.run(*animate(scene, out, *options))
    assert made.returncode == 0 and not made.stderr, made.stderr
    lines = made.stdout.splitlines()
    saved = [f"Saved: '{out / f'p_loop.{n:04d}.exr'}'" for n in range(11, 35)]
    assert [line for line in lines if line in saved] == saved
    percents = [int(line[10:-1]) for line in lines[: lines.index("24 frames written, 0 up to date, 0 failed")]
                if line.startswith("Progress: ")]  # fmt: skip
    assert percents == sorted(set(percents)) and percents[-1] == 100 and len(percents) == 24
    for name in ("p_loop.mp4", "p_loop_sheet.png", "p_loop_motion.png"):
        assert (out / name).stat().st_size > 1000 and f"Saved: '{out / name}'" in lines
    assert str(read_attributes(out / "p_loop.0011.exr")["framesPerSecond"]) == "24000/1001"
    assert read_recipe(out)[1]["speed"] == 0.75

    table = _scenes.run("check", out)
    assert table.returncode == 0 and "The loop passes." in table.stdout and "FAIL" not in table.stdout
    assert not table.stderr


def test_check_prints_a_table_or_json(scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def check(code: int, *options: str) -> str:
        capsys.readouterr()
        assert main(["check", str(folder), *options]) == code
        return capsys.readouterr().out

    folder = tmp_path / "[bold]v2 :cat:[/x]"  # neither markup nor an emoji
    assert main(animate(scene, folder, "--frames", 24, "--cycles", 2)) == 0
    assert json.loads(check(0, "--json"))["passed"] is True
    assert "Progress: 100%" in check(0)
    (folder / "p_loop.1002.exr").unlink()
    assert json.loads(check(1, "--json"))["passed"] is False
    table = check(1)
    assert "FAIL" in table and "The loop does not pass." in table
    assert "[bold]v2:cat:[/x]" in "".join(table.split())


def test_predicted_motion_gives_the_same_bytes_as_the_hints(scene: Path, tmp_path: Path) -> None:
    assert main(animate(scene, tmp_path / "hints", "--frames", 5)) == 0
    motion = ["--motion", str(scene / "m.exr"), "-o", str(tmp_path / "motion"), "--frames", "5"]
    assert main(["animate", str(scene / "p.png"), *motion]) == 0
    by_hints, by_motion = (_scenes.contents((tmp_path / name).iterdir()) for name in ("hints", "motion"))
    assert by_hints == by_motion and len(by_hints) == 7


def test_a_mask_replaces_that_of_the_hints(scene: Path, tmp_path: Path) -> None:
    from loopcore.motion import MotionField

    assert main(animate(scene, tmp_path / "out", "--frames", 2, "--mask", scene / "mask.png")) == 0
    mask = MotionField.load(tmp_path / "out" / "motion.exr").mask
    assert np.array_equal(np.argwhere(mask > 0).min(axis=0), [20, 40])
    assert np.array_equal(np.argwhere(mask > 0).max(axis=0), [69, 119])


def test_predict_draws_a_picture(scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    motion, picture = tmp_path / "m.exr", tmp_path / "m.png"
    hints = str(scene / "h.json")
    arguments = ["predict", str(scene / "p.png"), "--hints", hints, "-o", str(motion), "--picture", str(picture)]
    assert main(arguments) == 0
    assert capsys.readouterr().out.splitlines() == [f"Saved: '{motion}'", f"Saved: '{picture}'"]
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_a_chunk_makes_only_its_frames_and_the_last_one_the_preview(
    scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def chunk(text: str) -> str:
        assert main(animate(scene, tmp_path / "out", "--frames", 6, "--range", text, "--preview")) == 0
        return capsys.readouterr().out

    assert "No preview yet: 3 of the loop's 6 frames are missing" in chunk("1001-1006x2")
    assert [path.name for path in _scenes.frames(tmp_path / "out")] == [f"p_loop.{n}.exr" for n in (1001, 1003, 1005)]
    assert f"Saved: '{tmp_path / 'out' / 'p_loop.mp4'}'" in chunk("1002, 1004,1006")


def test_a_preview_shows_only_frames_of_this_loop(scene: Path, tmp_path: Path) -> None:
    import av

    assert main(animate(scene, tmp_path, "--frames", 8)) == 0
    assert main(animate(scene, tmp_path, "--frames", 5, "--preview")) == 0
    with av.open(str(tmp_path / "p_loop.mp4")) as film:
        assert sum(1 for _ in film.decode(video=0)) == 3 * 5


def test_check_reads_the_same_layer_and_colour_space(scene: Path, tmp_path: Path) -> None:
    from loopcore.exr import write_exr

    light = _scenes.linear("RGB") / 4
    planes = {f"{layer}.{name}": light[..., k] * scale for layer, scale in (("beauty", 1), ("water", 0.5))
              for k, name in enumerate("RGB")}  # fmt: skip
    write_exr(tmp_path / "p.exr", planes)
    options = ("--frames", 24, "--layer", "water", "--colorspace", "srgb_rec709_scene", "--speed", "0.25")
    arguments = animate(scene, tmp_path / "out", *options)
    arguments[1] = str(tmp_path / "p.exr")
    assert main(arguments) == 0
    assert main(["check", str(tmp_path / "out")]) == 0


def test_animate_without_hints(scene: Path, tmp_path: Path) -> None:
    assert main(["predict", str(scene / "p.png"), "-o", str(tmp_path / "m.exr")]) == 0
    assert main(["animate", str(scene / "p.png"), "-o", str(tmp_path / "out"), "--frames", "5"]) == 0
    assert (tmp_path / "out" / "motion.exr").read_bytes() == (tmp_path / "m.exr").read_bytes()
    assert len(list((tmp_path / "out").glob("p_loop.*.exr"))) == 5


# Bad input


BAD: list[tuple[str, list[str], str]] = [
    ("weights beside motion", "animate p.png --motion m.exr --weights w.safetensors -o OUT".split(), "leave one out"),
    ("weights predict another", "predict p.png --motion m.exr --weights w.safetensors -o OUT.exr".split(), "weights"),
    ("rescale of nothing", ["animate", "p.png", "--hints", "h.json", "--rescale", "-o", "OUT"], "rescale"),
    ("convention of nothing", ["predict", "p.png", "--convention", "nuke", "-o", "OUT.exr"], "convention"),
    ("strength of vectors", "flow m.exr --convention nuke --strength 0.5 -o OUT".split(), "--strength has no meaning"),
    ("green of maps", "flow m.exr --convention stmap --green up -o OUT".split(), "--green has no meaning"),
    ("bits of vectors", "flow m.exr --convention rsmb --bits 16 -o OUT".split(), "only for game"),
    ("displace of vectors", "flow m.exr --max-displace 9 -o OUT".split(), "--max-displace has no meaning for motion"),
    ("layer of no plate", "flow m.exr --layer x -o OUT".split(), "--layer has no meaning without --plate"),
    ("line break in a name", ["animate", "p.png", "--mask", "a\nb\x1b[31m.png", "-o", "OUT"], "a\\nb\\x1b[31m.png"),
    ("missing plate", ["animate", "none.png", "--hints", "h.json", "-o", "OUT"], "none.png does not exist"),
    ("folder as plate", ["animate", ".", "--hints", "h.json", "-o", "OUT"], "is a folder"),
    ("no image", ["animate", "text.png", "--hints", "h.json", "-o", "OUT"], "text.png"),
    ("empty", ["animate", "empty.exr", "--hints", "h.json", "-o", "OUT"], "it is empty"),
    ("torn image", ["animate", "torn.png", "--hints", "h.json", "-o", "OUT"], "damaged"),
    ("layer of a PNG", ["animate", "p.png", "--layer", "x", "--hints", "h.json", "-o", "OUT"], "only EXR"),
    ("colour space", ["animate", "p.png", "--colorspace", "red", "--hints", "h.json", "-o", "OUT"], "'red' is unknown"),
    ("nothing flows", ["animate", "black.png", "-o", "OUT"], "--hints hints.json"),
    ("both motions", ["animate", "p.png", "--hints", "h.json", "--motion", "m.exr", "-o", "OUT"], "leave one out"),
    ("motion of another size", ["animate", "p.png", "--motion", "s.exr", "-o", "OUT"], "80x44"),
    ("picture as motion", ["animate", "p.png", "--motion", "picture.exr", "-o", "OUT"], "picture.exr"),
    ("missing motion", ["animate", "p.png", "--motion", "none.exr", "-o", "OUT"], "none.exr"),
    ("missing hints", ["animate", "p.png", "--hints", "none.json", "-o", "OUT"], "none.json"),
    ("torn hints", ["animate", "p.png", "--hints", "torn.json", "-o", "OUT"], "not valid JSON"),
    ("wrong hints", ["animate", "p.png", "--hints", "wrong.json", "-o", "OUT"], "strokes[0].speed"),
    ("hints of another shape", ["animate", "square.png", "--hints", "h.json", "-o", "OUT"], "160"),
    ("mask of another shape", ["animate", "p.png", "--hints", "h.json", "--mask", "square.png", "-o", "OUT"], "aspect"),
    ("black mask", ["animate", "p.png", "--hints", "h.json", "--mask", "black.png", "-o", "OUT"], "black all over"),
    ("missing mask", ["animate", "p.png", "--hints", "h.json", "--mask", "none.png", "-o", "OUT"], "none.png"),
    ("predict to PNG", ["predict", "p.png", "--hints", "h.json", "-o", "OUT.png"], "not an EXR name"),
    ("predict where nothing flows", ["predict", "black.png", "-o", "OUT.exr"], "nothing here seems to flow"),
    ("predict in a file", ["predict", "p.png", "--hints", "h.json", "-o", "text.png/OUT.exr"], "cannot make folder"),
    ("output in a file", ["animate", "p.png", "--hints", "h.json", "-o", "text.png/OUT"], "cannot make folder"),
    ("check of nothing", ["check", "none"], "no recipe.json"),
    ("preview of nothing", ["preview", "none", "-o", "OUT.mp4"], "none"),
    ("preview of another kind", ["preview", ".", "-o", "OUT.gif"], ".mp4"),
]
BAD_SETTINGS = [
    ("--frames 1", "at least 2"), ("--frames 0", "at least 2"), ("--frames -5", "at least 2"),
    ("--frames 3000000000", "at most 1000000"), ("--first 99999999999", "up to 999999999"),
    ("--speed nan", "nan"), ("--speed inf", "inf"), ("--speed 0", "speed 0"),
    ("--contrast 2", "contrast 2"), ("--contrast nan", "contrast nan"), ("--contrast -0.1", "contrast -0.1"),
    ("--fps abc", "'abc'"), ("--fps 0", "0.1 to 1000"), ("--fps 1/0", "1/0"), ("--fps nan", "nan"),
    ("--device cuda", "cuda"), ("--depth 8", "no depth '8'"), ("--format png --depth half", "no depth 'half'"),
    ("--range 990-995", "990-995"), ("--range 1055-1065", "1061-1065"), ("--range abc", "'abc'"),
    ("--range 1010-1001", "backward"), ("--range 1001-1010x0", "steps by 0"), ("--range=", "''"),
]  # fmt: skip


def refused(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert err.startswith("loopcore: error: ") and err.count("\n") == 1 and words in err, err
    assert "Progress" not in out and "Saved" not in out


@pytest.mark.parametrize("arguments, words", [case[1:] for case in BAD], ids=[case[0] for case in BAD])
def test_bad_input_is_2_and_one_line(
    arguments: list[str],
    words: str,
    scene: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(shutil.copytree(scene, tmp_path / "scene"))
    before = sorted(path.name for path in Path().iterdir())
    refused(arguments, words, capsys)
    assert sorted(path.name for path in Path().iterdir()) == before


@pytest.mark.parametrize("options, words", BAD_SETTINGS, ids=[case[0] for case in BAD_SETTINGS])
def test_bad_settings_are_2_and_one_line(
    options: str, words: str, scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    refused(animate(scene, tmp_path / "out", *options.split()), words, capsys)
    assert not (tmp_path / "out").exists()


def test_bad_input_of_a_real_process(scene: Path, tmp_path: Path) -> None:
    done = _scenes.run(*animate(scene, tmp_path / "out", plate="text.png"))
    assert done.returncode == 2 and not done.stdout
    assert done.stderr.startswith("loopcore: error: ") and done.stderr.count("\n") == 1


def test_scaling_the_motion_of_the_output_folder_is_refused(
    scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(scene / "m.exr", tmp_path / "motion.exr")
    again = ["animate", str(scene / "p.png"), "--motion", str(tmp_path / "motion.exr"), "-o", str(tmp_path)]
    refused([*again, "--speed", "2"], "at another speed", capsys)
    assert (tmp_path / "motion.exr").read_bytes() == (scene / "m.exr").read_bytes()
    assert main([*again, "--frames", "2"]) == 0


@pytest.mark.parametrize("speed", ["1e4", "1e30", "-2"])
def test_any_finite_speed_is_accepted(speed: str, scene: Path, tmp_path: Path) -> None:
    assert main(animate(scene, tmp_path, "--frames", 3, f"--speed={speed}")) == 0
    assert len(_scenes.frames(tmp_path)) == 3


def test_a_frame_that_cannot_be_written_is_1(scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "p_loop.1001.exr").mkdir()
    assert main(animate(scene, tmp_path, "--frames", 60)) == 1
    out, err = capsys.readouterr()
    lines = err.splitlines()
    assert lines[0].startswith("loopcore: error: frame 1001: cannot write") and "p_loop.1001.exr" in lines[0]
    assert lines[1].endswith("not made, after another frame failed") and len(lines) == 2
    written = len([path for path in _scenes.frames(tmp_path) if path.is_file()])
    assert f"{written} frames written, 0 up to date, {60 - written} failed" in out


# Terminals, pipes and encodings


def test_names_outside_the_terminals_encoding(scene: Path, tmp_path: Path) -> None:
    out = tmp_path / "été 水"
    done = _scenes.run(*animate(scene, out, "--frames", 2), env={"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"})
    assert done.returncode == 0 and not done.stderr
    assert r"\xe9t\xe9 \u6c34" in done.stdout and len(_scenes.frames(out)) == 2


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_stdout_on_a_full_disk_is_1_without_a_traceback(scene: Path, tmp_path: Path) -> None:
    with open("/dev/full", "w") as full:
        done = _scenes.run(
            *animate(scene, tmp_path, "--frames", 4), stdout=full, stderr=subprocess.PIPE, capture_output=False
        )
    assert done.returncode == 1 and done.stderr.startswith("loopcore: error: ") and done.stderr.count("\n") == 1
    assert not _scenes.hidden(tmp_path)


@posix
def test_a_closed_stdout_pipe_is_1_without_a_traceback(scene: Path, tmp_path: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    done = _scenes.run(
        *animate(scene, tmp_path, "--frames", 4), stdout=write, stderr=subprocess.PIPE, capture_output=False
    )
    os.close(write)
    assert done.returncode == 1 and not done.stderr
    assert not _scenes.hidden(tmp_path)


@posix
def test_a_terminal_shows_a_bar(scene: Path, tmp_path: Path) -> None:
    pty = pytest.importorskip("pty")
    ours, theirs = pty.openpty()
    process = _scenes.start(
        *animate(scene, tmp_path, "--frames", 12), stdout=theirs, env={"TERM": "xterm", "COLUMNS": "100"}
    )
    os.close(theirs)
    shown = b""
    try:
        while piece := os.read(ours, 65536):
            shown += piece
    except OSError:
        pass  # Linux says so that the other end was closed.
    os.close(ours)
    _, err = process.communicate(timeout=60)
    text = shown.decode("utf-8")
    assert process.returncode == 0 and not err
    assert "Frames" in text and "12/12" in text and "/s" in text and "━" in text
    assert "Progress:" not in text and "Saved:" not in text
    assert "12 frames written, 0 up to date, 0 failed" in text
