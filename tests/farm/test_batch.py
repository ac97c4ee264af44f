# SPDX-License-Identifier: Apache-2.0
"""Tests of `loopcore batch`: bad shots cost no others, a second run makes what is missing, interruption, the page."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from urllib.parse import unquote

import _pages
import _scenes
import pytest

from loopcore.cli.main import main
from loopcore.farm.batch_page import duration, link

N = 8
SHOTS = f"""plate,output,frames,hints,speed,contrst
fall.png,good,{N},h.json,,
gone.png,gone,,,,
torn.exr,,,,,
fall.png,wrong,,wrong.json,,
fall.png,number,twelve,h.json,,
fall.png,unknown,,h.json,,0.5
"PLATE",,{N},h.json,0.5,
"""
BAD = {
    "line 3": "gone.png does not exist",
    "line 4": "torn.exr: it is cut short",
    "line 5": "wrong.json",
    "line 6": "frames must be a whole number, not 'twelve'",
    "line 7": "did you mean 'contrast'?",
}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with plates and shots, good and bad ones, of which the good ones were made into `out`."""
    folder = tmp_path_factory.mktemp("batch")
    _scenes.png(folder / "fall.png")
    _scenes.png(folder / f"{_pages.HOSTILE}.png", "RGBA")
    _scenes.hints(folder / "h.json")
    (folder / "wrong.json").write_text('{"loopcore_hints": 1, "strokes": 3}')
    torn = _scenes.exr(folder / "torn.exr", _scenes.linear("RGB"), "RGB")
    os.truncate(torn, 5000)
    (folder / "shots.csv").write_text(SHOTS.replace("PLATE", _pages.HOSTILE.replace('"', '""') + ".png"), "utf-8")
    return folder


@pytest.fixture(scope="module")
def out(home: Path) -> Path:
    done = _scenes.run("batch", home / "shots.csv", "-o", home / "out")
    assert done.returncode == 1
    (home / "printed.txt").write_text(done.stdout, "utf-8")
    (home / "errors.txt").write_text(done.stderr, "utf-8")
    return home / "out"


def test_bad_shots_name_their_line_and_cost_no_others(home: Path, out: Path) -> None:
    errors = (home / "errors.txt").read_text("utf-8").splitlines()
    assert len(errors) == len(BAD)
    for line, (place, reason) in zip(errors, BAD.items(), strict=True):
        assert line.startswith(f"loopcore: error: shots.csv {place}: ") and reason in line
    printed = (home / "printed.txt").read_text("utf-8")
    lines = [line for line in printed.splitlines() if line.startswith("[")]
    assert [line.partition("]")[0] for line in lines] == [f"[{k}/7" for k in range(1, 8)]
    assert lines[0].startswith(f"[1/7] good: {N} written, 0 up to date, 0 failed, ") and lines[0].endswith(" passes")
    assert lines[1].endswith(" failed") and f"{_pages.HOSTILE}: {N} written" in lines[6]
    assert sorted(path.name for path in out.iterdir()) == sorted(["batch.html", "good", _pages.HOSTILE])


def test_frames_are_those_of_animate(home: Path, out: Path, tmp_path: Path) -> None:
    arguments = ["--hints", home / "h.json", "--frames", N, "--speed", 0.5, "-o", tmp_path / "alone"]
    assert main([str(part) for part in ("animate", home / f"{_pages.HOSTILE}.png", *arguments)]) == 0
    made = _scenes.contents(_scenes.frames(out / _pages.HOSTILE))
    assert len(made) == N and made == _scenes.contents(_scenes.frames(tmp_path / "alone"))


def test_the_page_has_a_card_for_each_shot(out: Path) -> None:
    page = _pages.read(out / "batch.html")
    cards = page.all("article")
    assert len(cards) == 7 and len(page.all("img")) == 2
    assert [e.text for e in page.all("span", "status")] == ["passes", *["failed"] * 5, "passes"]
    assert [e.text for e in page.all("h2")][-1] == _pages.HOSTILE
    for card, (place, reason) in zip(cards[1:], BAD.items(), strict=False):
        assert place in card.text and reason in card.text
    links = [unquote(e.attributes["href"]) for e in page.all("a")]
    assert links == ["./good/fall_loop_report.html", f"./{_pages.HOSTILE}/{_pages.HOSTILE}_loop_report.html"]
    for target in links:
        assert _pages.read(out / target).meta("loopcore-verdict") == "passed"


def test_a_second_run_makes_what_is_missing(home: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (out / "good" / "fall_loop.1003.exr").unlink()
    before = {path: path.stat().st_mtime_ns for path in out.glob("*/*") if "fall" not in path.name}
    assert main(["batch", str(home / "shots.csv"), "-o", str(out), "--json"]) == 1
    summary = json.loads(capsys.readouterr().out)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert (summary["done"], summary["failed"], summary["left"], summary["not_passed"]) == (2, 5, 0, 0)
    first, *others, last = summary["shots"]
    assert (first["written"], first["up_to_date"], first["passed"], first["status"]) == (1, N - 1, True, "done")
    assert (last["written"], last["up_to_date"], last["passed"], last["shot"]) == (0, N, True, _pages.HOSTILE)
    assert first["folder"] == str(out / "good") and Path(first["report"]).is_file()
    assert [shot["message"] != "" for shot in others] == [True] * 5 and summary["page"] == str(out / "batch.html")


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_an_interrupted_batch_says_what_is_left_and_goes_on(home: Path, tmp_path: Path) -> None:
    shots = [{"plate": str(home / "fall.png"), "hints": str(home / "h.json"), "output": name} for name in "abc"]
    (tmp_path / "shots.json").write_text(json.dumps(shots))
    arguments = ("batch", tmp_path / "shots.json", "--frames", 24, "--no-report")
    process = _scenes.start(*arguments)
    _scenes.wait_for(lambda: (tmp_path / "b").is_dir() and len(_scenes.frames(tmp_path / "b")) > 0, process=process)
    process.send_signal(signal.SIGINT)
    printed, errors = process.communicate(timeout=60)
    written = len(_scenes.frames(tmp_path / "b"))
    assert f"[2/3] b: {written} written, 0 up to date, 0 failed, " in printed
    assert process.returncode == 130
    assert "2 of 3 shots are left: b, c; run the same command again" in errors and "interrupted" in errors
    page = _pages.read(tmp_path / "batch.html")
    assert [e.text for e in page.all("span", "status")] == ["done, not checked", "interrupted", "not begun"]
    assert not (tmp_path / "c").exists() and not _scenes.hidden(tmp_path / "b")
    kept = {path: path.stat().st_mtime_ns for name in "ab" for path in _scenes.frames(tmp_path / name)}
    assert 24 < len(kept) < 48
    again = _scenes.run(*arguments)
    assert again.returncode == 0, again.stderr
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert all(len(_scenes.frames(tmp_path / name)) == 24 for name in "abc")
    assert [e.text for e in _pages.read(tmp_path / "batch.html").all("span", "status")] == ["done, not checked"] * 3


def test_quiet_batches_are_logged(home: Path, out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shots, log = home / "shots.csv", tmp_path / "batch.log"
    assert main(["batch", str(shots), "-o", str(out), "--quiet", "--threads", "1", "--log", str(log)]) == 1
    caught = capsys.readouterr()
    assert caught.out == "" and len(caught.err.splitlines()) == len(BAD)
    texts = [line.split(" ", 2)[2] for line in log.read_text("utf-8").splitlines()]
    assert texts[0].startswith("Loopcore ") and texts[1] == "shot 1 of 7: good (shots.csv line 2)"
    assert texts[-1] == "done" and sum("gone.png does not exist" in text for text in texts) == 1
    for taken in (shots, home / "fall.png", out / "good" / "motion.exr"):
        kept = taken.read_bytes()
        assert main(["batch", str(shots), "-o", str(out), "--log", str(taken)]) == 2
        assert taken.read_bytes() == kept


def test_a_loop_that_does_not_pass_is_named(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "shots.csv").write_text(f"plate,output\n{home / 'fall.png'},fast\n")
    options = ["--frames", "24", "--speed", "8", "--hints", str(home / "h.json")]
    assert main(["batch", str(tmp_path / "shots.csv"), *options]) == 1
    caught = capsys.readouterr()
    assert "shots.csv line 2: the loop does not pass its checks" in caught.err and "does not pass" in caught.out
    page = _pages.read(tmp_path / "batch.html")
    assert [e.text for e in page.all("span", "bad")] == ["does not pass"] and len(page.all("a")) == 1


def test_what_would_be_overwritten_is_refused(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    twice = tmp_path / "twice.csv"
    twice.write_text(f"plate,output\n{home / 'fall.png'},x\n{home / 'fall.png'},x\n")
    assert main(["batch", str(twice)]) == 2
    assert "line 3 and twice.csv line 2 have the same output" in capsys.readouterr().err
    (tmp_path / "out").mkdir()
    os.link(home / "fall.png", tmp_path / "out" / "batch.html")
    (tmp_path / "one.csv").write_text(f"plate\n{home / 'fall.png'}\n")
    assert main(["batch", str(tmp_path / "one.csv"), "-o", str(tmp_path / "out")]) == 2
    assert "would be overwritten" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["batch.html", "one.csv", "out", "twice.csv"]


def test_a_page_that_cannot_be_written_does_not_cost_the_summary(
    home: Path, out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "batch.html").mkdir()
    (tmp_path / "shots.csv").write_text(f"plate,output,frames,hints\n{home / 'fall.png'},{out / 'good'},{N},"
                                        f"{home / 'h.json'}\n")  # fmt: skip
    assert main(["batch", str(tmp_path / "shots.csv"), "--json"]) == 1
    caught = capsys.readouterr()
    summary = json.loads(caught.out)
    assert "cannot write" in caught.err and summary["page"] is None
    assert [(shot["status"], shot["passed"]) for shot in summary["shots"]] == [("done", True)]


def test_links_are_no_schemes_and_times_are_short() -> None:
    assert link(Path("/a/javascript:alert(1)/r.html"), Path("/a")) == "./javascript%3Aalert%281%29/r.html"
    assert link(Path("/a/r.html"), Path("/a/b")) == "./../r.html"
    assert [duration(s) for s in (4.21, 59.99, 200, 7500)] == ["4.2 s", "60.0 s", "3 min 20 s", "2 h 5 min"]
