# SPDX-License-Identifier: Apache-2.0
"""Tests of jobs and of their progress reports."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import _scenes
import numpy as np
import pytest

from loopcore.animate import run
from loopcore.errors import Cancelled, LoopcoreError
from loopcore.job import Job, Source
from loopcore.observer import Observer
from loopcore.plate import read_plate


class Record(Observer):
    """Records all calls; stops after a number of frames."""

    def __init__(self, stop_after: int = 1000) -> None:
        self.stages: list[str] = []
        self.steps: list[tuple[str, int, int]] = []
        self.notes: list[str] = []
        self.stop_after = stop_after

    def stage(self, title: str) -> None:
        self.stages.append(title)

    def step(self, title: str, done: int, total: int, path: Path | None = None) -> None:
        self.steps.append((title, done, total))

    def note(self, text: str) -> None:
        self.notes.append(text)

    def cancelled(self) -> bool:
        return len(self.steps) >= self.stop_after


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Job:
    folder = tmp_path_factory.mktemp("scene")
    source = Source(_scenes.png(folder / "p.png"), hints=_scenes.hints(folder / "h.json"))
    return Job(source, folder / "unused", frames=4)


def frames(folder: Path, suffix: str = ".exr") -> list[str]:
    return sorted(path.name for path in folder.glob(f"*.????{suffix}"))


def test_stages_and_files_of_a_job(job: Job, tmp_path: Path) -> None:
    record = Record()
    result = run(replace(job, folder=tmp_path, name="loop", proxy=True, preview=True), record)
    assert record.stages == ["Reading the plate", "Making the motion", "Preparing the loop"]
    assert [step for step in record.steps if step[0] == "Frames"] == [("Frames", n, 4) for n in (1, 2, 3, 4)]
    assert {title for title, _, _ in record.steps} == {"Frames", "Viewport copies", "Film"}
    assert record.notes[-1] == "4 frames written, 0 up to date, 0 failed"
    assert frames(tmp_path) == [f"loop.{n}.exr" for n in (1001, 1002, 1003, 1004)]
    assert frames(tmp_path / "proxy", ".jpg") == [f"loop.{n}.jpg" for n in (1001, 1002, 1003, 1004)]
    assert [path.name for path in result.previews] == ["loop.mp4", "loop_sheet.png", "loop_motion.png"]
    assert all(path.is_file() for path in result.previews) and (result.width, result.height) == (160, 90)


def test_a_smaller_resolution_resizes_the_plate(job: Job, tmp_path: Path) -> None:
    small = replace(job, folder=tmp_path, name="s", source=replace(job.source, resolution=50))
    run(small)
    still, first = read_plate(tmp_path / "s_still.exr"), read_plate(tmp_path / "s.1001.exr")
    assert (first.width, first.height) == (80, 45)
    assert np.abs(first.pixels - still.pixels).max() < 1e-3


def test_an_observer_can_stop_the_job(job: Job, tmp_path: Path) -> None:
    with pytest.raises(Cancelled):
        run(replace(job, folder=tmp_path, frames=30, preview=True), Record(stop_after=2))
    assert 0 < len(frames(tmp_path)) < 30 and not list(tmp_path.glob("*.mp4")) and not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("name", ["../evil", "a/b", "a\nb"])
def test_an_invalid_name_is_refused_before_anything_is_written(job: Job, name: str, tmp_path: Path) -> None:
    with pytest.raises(LoopcoreError, match="may not hold"):
        run(replace(job, folder=tmp_path / "out", name=name, source=replace(job.source, resolution=50)))
    assert not list(tmp_path.iterdir())


def test_invalid_sources_are_refused() -> None:
    with pytest.raises(LoopcoreError, match="leave one out"):
        Source(Path("p.png"), hints=Path("h.json"), motion=Path("m.exr"))
    with pytest.raises(LoopcoreError, match="speed 0"):
        Source(Path("p.png"), speed=0)
    with pytest.raises(LoopcoreError, match="resolution 101"):
        Source(Path("p.png"), resolution=101)


def test_outside_the_mask_of_vectors_nothing_moves(job: Job, tmp_path: Path) -> None:
    from loopcore.exr import write_exr

    mask = np.zeros((90, 160), np.float32)
    mask[20:60, 40:100] = 1
    vectors = {"forward.u": np.full_like(mask, 3), "forward.v": np.full_like(mask, -2)}
    write_exr(tmp_path / "v.exr", {**vectors, "mask.V": mask})
    source = replace(job.source, hints=None, motion=tmp_path / "v.exr")
    run(replace(job, folder=tmp_path / "out", source=source, depth="float"))
    frame, plate = read_plate(tmp_path / "out" / "p_loop.1003.exr").pixels, read_plate(source.plate).pixels
    moved = (frame != plate).any(axis=2)
    assert not moved[mask == 0].any() and moved[mask == 1].mean() > 0.9
    write_exr(tmp_path / "v.exr", {**vectors, "mask.V": mask - 1})
    with pytest.raises(LoopcoreError, match="black all over"):
        run(replace(job, folder=tmp_path / "none", source=source))
    assert not (tmp_path / "none").exists()


def test_the_command_line_makes_the_same_job(job: Job, tmp_path: Path) -> None:
    made = _scenes.run(
        "animate", job.source.plate, "--hints", job.source.hints, "-o", tmp_path / "cli", "--frames", 4,
        "--name", "loop", "--resolution", 50, "--proxy",
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    run(replace(job, folder=tmp_path / "py", name="loop", source=replace(job.source, resolution=50), proxy=True))
    for name in frames(tmp_path / "py"):
        there, here = (tmp_path / folder / name for folder in ("cli", "py"))
        assert there.read_bytes() == here.read_bytes()
    assert frames(tmp_path / "cli" / "proxy", ".jpg") == [f"loop.{n}.jpg" for n in (1001, 1002, 1003, 1004)]
