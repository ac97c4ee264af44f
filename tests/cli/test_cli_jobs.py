# SPDX-License-Identifier: Apache-2.0
"""Tests of `loopcore animate` with job files, recipes, estimates, logs and JSON."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import _scenes
import pytest

from loopcore.animate import run
from loopcore.baking.recipe import read_recipe, write_recipe
from loopcore.cli import main
from loopcore.exr import read_exr
from loopcore.job import Job, Source, read_job
from loopcore.quality import check

N = 4
Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def loop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a plate, hints, and a loop of half size and speed in `loop`."""
    folder = tmp_path_factory.mktemp("jobs")
    source = Source(_scenes.png(folder / "p.png"), hints=_scenes.hints(folder / "h.json"), speed=0.5, resolution=50)
    run(Job(source, folder / "loop", frames=N, contrast=0.5, compression="piz"))
    return folder


@pytest.fixture
def cli(capfd: pytest.CaptureFixture[str]) -> Cli:
    def call(*arguments: object) -> tuple[int, str, str]:
        capfd.readouterr()
        code = main(["animate", *map(str, arguments)])
        return (code, *capfd.readouterr())

    return call


def motion(loop: Path) -> tuple[object, ...]:
    """Options for the small plate and its motion."""
    return loop / "loop" / "p_loop_still.exr", "--motion", loop / "loop" / "motion.exr", "--frames", N


def test_a_written_job_runs_as_the_options_do(loop: Path, tmp_path: Path, cli: Cli) -> None:
    options = (*motion(loop), "-o", tmp_path / "a", "--contrast", 0, "--name", "n", "--fps", "25")
    assert cli(*options, "--write-job", tmp_path / "job.json") == (0, f"Saved: '{tmp_path / 'job.json'}'\n", "")
    assert [path.name for path in tmp_path.iterdir()] == ["job.json"]
    assert cli(*options, "--quiet") == (0, "", "")
    assert cli("--job", tmp_path / "job.json", "-o", tmp_path / "b", "--range", "1001-1003", "--quiet")[0] == 0
    assert len(list((tmp_path / "b").glob("n.*.exr"))) == 3
    assert cli("--job", tmp_path / "job.json", "-o", tmp_path / "b", "--quiet") == (0, "", "")
    assert _scenes.contents((tmp_path / "a").iterdir()) == _scenes.contents((tmp_path / "b").iterdir())


def test_a_recipe_makes_its_loop_again(loop: Path, tmp_path: Path, cli: Cli) -> None:
    recipe = loop / "loop" / "recipe.json"
    before = _scenes.contents(recipe.parent.iterdir())
    code, out, err = cli("--job", recipe)
    assert (code, err) == (0, "") and "0 frames written, 4 up to date" in out and "differs" not in out
    assert _scenes.contents(recipe.parent.iterdir()) == before
    assert cli("--job", recipe, "-o", tmp_path, "--quiet") == (0, "", "")
    made = _scenes.contents(tmp_path.glob("p_loop.*"))
    assert len(made) == N and all(before[name] == data for name, data in made.items())
    assert read_recipe(tmp_path)[0] == read_recipe(recipe.parent)[0]


def test_what_differs_from_a_recipe_is_said(loop: Path, tmp_path: Path, cli: Cli) -> None:
    from dataclasses import replace

    recipe, document = read_recipe(loop / "loop")
    older = replace(recipe, engine=1, motion="0" * 64, plate="1" * 64)
    write_recipe(tmp_path, older, "p_loop", Path(document["plate_path"]), {})
    text = (tmp_path / "recipe.json").read_text()
    (tmp_path / "recipe.json").write_text(text.replace('"loopcore": "', '"loopcore": "0.0.'))
    (tmp_path / "motion.exr").write_bytes((loop / "loop" / "motion.exr").read_bytes())
    code, out, _ = cli("--job", tmp_path / "recipe.json", "-o", tmp_path / "out")
    assert code == 0
    said = out[: out.index("Saved")]
    assert re.search(r"the recipe was written by Loopcore 0\.0\.\S+, and this is \d", said)
    for what in (
        "the plate's pixels differs",
        "the motion differs",
        r"the version of the algorithms differs .*\(1, now",
    ):
        assert re.search(what, said)
    (tmp_path / "recipe.json").write_text(text.replace('"contrast": 0.5', '"contrast": 0.6'))
    code, _, err = cli("--job", tmp_path / "recipe.json")
    assert code == 2 and "was changed or damaged" in err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--frames", 60), "--frames cannot stand beside --job, which has it"),
        (("plate.png", "--speed", 2), "PLATE, --speed cannot stand beside --job, which has them"),
        (("--preview",), "--preview cannot stand beside --job"),
        (("--write-job", "new.json"), "--write-job cannot stand beside --job"),
        (("--range", "1-2"), "frames 1,2 are not in the loop"),
        (("--threads", 0), "0 threads cannot compute"),
    ],
)
def test_options_beside_a_job_are_refused(
    options: tuple[object, ...], message: str, loop: Path, tmp_path: Path, cli: Cli
) -> None:
    code, out, err = cli(*options, "--job", loop / "loop" / "recipe.json", "-o", tmp_path / "out", "--json")
    assert code == 2 and message in err and message in json.loads(out)["error"]
    assert not list(tmp_path.iterdir())


def test_an_estimate_writes_nothing(loop: Path, tmp_path: Path, cli: Cli) -> None:
    out = tmp_path / "out"
    source = loop / "p.png", "--motion", loop / "loop" / "motion.exr", "--resolution", 50, "--frames", N
    code, text, err = cli(*source, "-o", out, "--proxy", "--preview", "--dry-run", "--json")
    found: dict[str, Any] = json.loads(text)
    assert (code, err) == (0, "") and not list(tmp_path.iterdir())
    assert (found["to_write"], found["up_to_date"], found["count"]) == ("1001-1004", "", N)
    assert found["beside"] == ["motion.exr", "recipe.json", "p_loop_still.exr", "p_loop.mp4", "p_loop_sheet.png",
                               "p_loop_motion.png", "proxy/"]  # fmt: skip
    assert cli(*source, "-o", out, "--range", "1001,1003", "--quiet") == (0, "", "")
    before = {path: path.stat().st_mtime_ns for path in out.iterdir()}
    size = (out / "p_loop.1003.exr").stat().st_size
    assert 0.8 < found["bytes_per_frame"] / size < 1.25 and found["bytes"] == N * found["bytes_per_frame"]
    assert 0 < found["seconds_per_frame"] < found["seconds"] and found["bytes_free"] > 0
    code, text, _ = cli(*source, "-o", out, "--dry-run")
    assert code == 0 and "2 of p_loop.####.exr: 1002,1004" in text and "1001,1003" in text
    assert {path: path.stat().st_mtime_ns for path in out.iterdir()} == before


def test_json_is_one_object_and_the_log_has_the_rest(loop: Path, tmp_path: Path, cli: Cli) -> None:
    log = tmp_path / "a log.txt"
    options = (*motion(loop), "-o", tmp_path / "out", "--json", "--log", log, "--threads", 1)
    code, out, err = cli(*options, "--range", "1001-1002")
    answer = json.loads(out)
    assert code == 0 and err == "2 frames written, 0 up to date, 0 failed\n"
    assert (answer["written"], answer["up_to_date"], answer["failed"]) == ("1001,1002", "", {})
    assert answer["hash"] == read_recipe(tmp_path / "out")[0].digest() and answer["width"] == 80
    assert cli(*options)[0] == 0
    (tmp_path / "out" / "p_loop_still_loop.1003.exr").unlink()
    os.mkdir(tmp_path / "out" / "p_loop_still_loop.1003.exr")
    code, out, err = cli(*options)
    assert code == 1 and "1003" in json.loads(out)["failed"] and "loopcore: error: frame 1003" in err
    lines = log.read_text(encoding="utf-8").splitlines()
    assert all(re.match(rf"\d{{4}}-\d\d-\d\dT\d\d:\d\d:\d\dZ {os.getpid()} \S", line) for line in lines)
    texts = [line.split(" ", 2)[2] for line in lines]
    assert texts.count("Preparing the loop") == 3 and "2 frames written, 2 up to date, 0 failed" in texts
    assert sum("saved" in text for text in texts) == N and any("error: frame 1003" in text for text in texts)


def test_a_log_is_no_file_of_the_job(loop: Path, tmp_path: Path, cli: Cli) -> None:
    plate, *options = motion(loop)
    before = Path(str(plate)).read_bytes()
    for log, message in ((plate, "is an input"), (tmp_path / "motion.exr", "is a file that the job writes"),
                         (tmp_path, "cannot write the log")):  # fmt: skip
        code, _, err = cli(plate, *options, "-o", tmp_path, "--log", log)
        assert code == 2 and message in err
    assert Path(str(plate)).read_bytes() == before and not list(tmp_path.iterdir())


def test_a_job_file_is_not_overwritten_by_its_frames(loop: Path, tmp_path: Path, cli: Cli) -> None:
    job = tmp_path / "recipe.json"
    assert cli(*motion(loop), "-o", tmp_path, "--write-job", job)[0] == 0
    code, _, err = cli("--job", job)
    assert code == 2 and "would be overwritten" in err and read_job(job)[1] is None


@pytest.mark.parametrize("compression", ["zips", "piz", "rle", "none", "pxr24", "dwaa", "dwab"])
def test_compressions(compression: str, loop: Path, tmp_path: Path, cli: Cli) -> None:
    plate, *options = motion(loop)
    options += ["-o", tmp_path, "--quiet", "--compression", compression]
    assert cli(plate, *options) == (0, "", "")
    frame = tmp_path / "p_loop_still_loop.1002.exr"
    (part,) = read_exr(frame)
    assert part.compression == compression
    assert cli(plate, *options, "--verify", "--json")[1].count('"up_to_date": "1001-1004"') == 1
    lossy = compression.startswith("dwa")
    rows = {row.name.split(":")[0]: row for row in check(tmp_path).rows}
    assert (
        rows["static"].passed
        and (rows["static"].value != 0) == lossy
        and rows["frames whose pixels are damaged"].passed
    )
