# SPDX-License-Identifier: Apache-2.0
"""Tests of processes that write to one folder at once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from dataclasses import replace
from pathlib import Path

import _scenes
import pytest

from loopcore.animate import run
from loopcore.baking.recipe import read_recipe
from loopcore.job import Job, Source, write_job
from loopcore.plate import read_plate

N = 24


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Job:
    """A loop baked by one process; its motion serves all others."""
    folder = tmp_path_factory.mktemp("one")
    source = Source(_scenes.png(folder / "p.png"), hints=_scenes.hints(folder / "h.json"))
    run(Job(source, folder / "first", frames=N))
    job = Job(Source(source.plate, motion=folder / "first" / "motion.exr"), folder / "done", frames=N)
    run(job)
    return job


def start(job: Job, folder: Path, *arguments: object, **changed: object) -> subprocess.Popen[str]:
    file = folder.parent / f"{len(list(folder.parent.glob('*.json')))}.json"
    write_job(file, replace(job, folder=folder, **changed))
    return _scenes.start("animate", "--job", file, *arguments)


def begun(job: Job, folder: Path, **changed: object) -> subprocess.Popen[str]:
    """A bake that is suspended in its midst."""
    process = start(job, folder, **changed)
    _scenes.wait_for(lambda: folder.exists() and bool(_scenes.frames(folder)), process=process)
    process.send_signal(signal.SIGSTOP)
    return process


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    _, err = process.communicate(timeout=120)
    return process.returncode, err


def same(folder: Path, job: Job) -> bool:
    """Whether a folder has the frames, motion and recipe of a finished job, byte for byte, and nothing else."""
    one, other = (_scenes.contents(path for path in there.iterdir()) for there in (folder, job.folder))
    return one == other


def test_chunks_of_one_loop_run_at_once(done: Job, tmp_path: Path) -> None:
    chunks = [start(done, tmp_path / "out", "--range", text) for text in ("1001-1008", "1009-1016", "1013-1024")]
    assert [ended(chunk)[0] for chunk in chunks] == [0, 0, 0]
    assert same(tmp_path / "out", done)


def test_the_same_job_twice_at_once(done: Job, tmp_path: Path) -> None:
    twice = [start(done, tmp_path / "out") for _ in range(2)]
    assert [ended(one) for one in twice] == [(0, ""), (0, "")]
    assert same(tmp_path / "out", done)


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="suspends a process")
def test_another_loop_is_refused_and_changes_nothing(done: Job, tmp_path: Path) -> None:
    out = tmp_path / "out"
    small = replace(done, source=replace(done.source, resolution=90))
    run(replace(small, folder=tmp_path / "alone"))
    first = begun(small, out)
    code, err = ended(start(small, out, contrast=0.5, source=replace(done.source, resolution=50)))
    first.send_signal(signal.SIGCONT)
    assert code == 2 and err.count("\n") == 1
    assert f"another loop is being written to '{out}' by process {first.pid}" in err
    assert ended(first) == (0, "") and read_plate(out / "p_loop_still.exr").width == 144
    one, other = (_scenes.contents(folder.iterdir()) for folder in (out, tmp_path / "alone"))
    assert {name for name in one.keys() | other.keys() if one.get(name) != other.get(name)} == {"recipe.json"}


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="suspends a process")
def test_a_suspended_bake_whose_folder_was_taken_stops(done: Job, tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = begun(done, out, contrast=0.5)
    for claim in out.glob(".loopcore-*"):
        os.utime(claim, (0, 0))
    assert ended(start(done, out)) == (0, "")
    first.send_signal(signal.SIGCONT)
    code, err = ended(first)
    assert code == 1 and "was taken over by another process while this one was suspended" in err
    assert same(out, done)


def test_of_two_loops_that_start_at_once_one_is_whole(done: Job, tmp_path: Path) -> None:
    out = tmp_path / "out"
    both = [start(done, out, contrast=contrast) for contrast in (1.0, 0.5)]
    results = [ended(one) for one in both]
    codes = [code for code, _ in results]
    # Where one began after the other had ended, it baked the folder anew.
    assert sorted(codes) in ([0, 2], [0, 0])
    assert all(code == 0 or "another loop is being written" in err for code, err in results)
    recipe, _ = read_recipe(out)
    again = start(done, out, "--verify", "--json", contrast=recipe.contrast)
    answer = json.loads(again.communicate(timeout=120)[0])
    assert answer["written"] == "" and answer["up_to_date"] == f"1001-{1000 + N}" and not _scenes.hidden(out)


def test_a_killed_bake_blocks_nobody(done: Job, tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = start(done, out, contrast=0.5)
    _scenes.wait_for(lambda: out.exists() and bool(_scenes.frames(out)), process=first)
    first.kill()
    first.communicate()
    assert len(_scenes.frames(out)) < N and _scenes.hidden(out)
    assert ended(start(done, out)) == (0, "")
    assert same(out, done)
