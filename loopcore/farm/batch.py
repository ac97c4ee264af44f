# SPDX-License-Identifier: Apache-2.0
"""Makes many loops one after another, goes on after those that fail, and sums up."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from loopcore.animate import FRAMES, Result, run
from loopcore.errors import Cancelled, LoopcoreError
from loopcore.farm.shots import Shot
from loopcore.files.ranges import format_range
from loopcore.observer import Observer

DONE, FAILED, STOPPED, LEFT = "done", "failed", "stopped", "left"


@dataclass
class Outcome:
    """What became of a shot.

    Attributes:
        shot: the shot.
        status: "done"; "failed"; "stopped" in the middle, or "left", not begun, both because of an interruption.
        written: number of frames written.
        skipped: number of frames that were up to date.
        failed: number of frames that could not be made.
        seconds: spent.
        passed: whether the loop passed its checks; None where it was not checked.
        message: what is wrong.
        report: the report's page, if there is one.
        frame: the first frame, if there is one.
    """

    shot: Shot
    status: str = LEFT
    written: int = 0
    skipped: int = 0
    failed: int = 0
    seconds: float = 0.0
    passed: bool | None = None
    message: str = ""
    report: Path | None = None
    frame: Path | None = None

    @property
    def good(self) -> bool:
        """Whether it is done, and its checks, if any, passed."""
        return self.status == DONE and self.passed is not False

    def to_dict(self) -> dict[str, Any]:
        """Returns the outcome for JSON."""
        job = self.shot.job
        return {
            "shot": self.shot.title, "place": self.shot.place, "status": self.status,
            "folder": None if job is None else str(job.folder), "written": self.written, "up_to_date": self.skipped,
            "failed": self.failed, "seconds": round(self.seconds, 3), "passed": self.passed, "message": self.message,
            "report": None if self.report is None else str(self.report),
        }  # fmt: skip


@dataclass
class Summary:
    """What became of a batch.

    Attributes:
        outcomes: one for each shot, in order.
        page: the HTML page, if it could be written.
    """

    outcomes: list[Outcome] = field(default_factory=list)
    page: Path | None = None

    @property
    def good(self) -> bool:
        """Whether every shot is done and passed."""
        return all(outcome.good for outcome in self.outcomes)

    @property
    def interrupted(self) -> bool:
        """Whether shots were not begun or not ended."""
        return any(outcome.status in (STOPPED, LEFT) for outcome in self.outcomes)

    def count(self, *statuses: str) -> int:
        """Returns the number of shots of these statuses."""
        return sum(outcome.status in statuses for outcome in self.outcomes)

    def to_dict(self) -> dict[str, Any]:
        """Returns the summary for JSON."""
        return {
            "shots": [outcome.to_dict() for outcome in self.outcomes], "done": self.count(DONE),
            "failed": self.count(FAILED), "left": self.count(STOPPED, LEFT),
            "not_passed": sum(outcome.passed is False for outcome in self.outcomes),
            "page": None if self.page is None else str(self.page),
        }  # fmt: skip


class BatchObserver(Observer):
    """Receives the progress of a batch, and that of each job as an `Observer`, and may stop it."""

    def shot_begins(self, number: int, total: int, shot: Shot) -> None:
        """Called before a shot.

        Args:
            number: from 1.
            total: of shots.
            shot: the shot.
        """

    def shot_ends(self, number: int, total: int, outcome: Outcome) -> None:
        """Called after a shot.

        Args:
            number: from 1.
            total: of shots.
            outcome: what became of it.
        """


def run_batch(shots: Sequence[Shot], observer: BatchObserver | None = None) -> list[Outcome]:
    """Makes the loops of shots one after another.

    A shot that fails does not keep the others from being made. Frames that are up to date are not made again.

    Args:
        shots: from `read_shots`.
        observer: receives progress and may stop the batch; then the shots that follow are left.

    Returns:
        One outcome for each shot, in order.
    """
    observer = observer or BatchObserver()
    outcomes = [Outcome(shot) for shot in shots]
    for number, outcome in enumerate(outcomes, 1):
        if observer.cancelled():
            break
        observer.shot_begins(number, len(shots), outcome.shot)
        start = time.monotonic()
        _run_shot(outcome, observer)
        outcome.seconds = time.monotonic() - start
        observer.shot_ends(number, len(shots), outcome)
    return outcomes


def _run_shot(outcome: Outcome, observer: Observer) -> None:
    """Runs the job of a shot and notes what became of it."""
    job = outcome.shot.job
    if job is None:
        outcome.status, outcome.message = FAILED, outcome.shot.error
        return
    outcome.status = FAILED
    try:
        _note_result(outcome, run(job, _Counting(observer, outcome)))
    except Cancelled:
        outcome.status = STOPPED
    except LoopcoreError as error:
        outcome.message = str(error)
    except MemoryError:
        outcome.message = "not enough memory for a plate of this size: use a smaller one"
    except OSError as error:
        outcome.message = f"cannot continue: {error}"
    except Exception as error:
        # An error of the program itself must not cost the other shots.
        outcome.message = f"unexpected {type(error).__name__}: {error}"
    first = job.pattern.path(job.first)
    outcome.frame = first if os.path.isfile(first) else None


class _Counting(Observer):
    """Passes progress on, and counts the frames of a shot, which may be interrupted or fail."""

    def __init__(self, observer: Observer, outcome: Outcome) -> None:
        self._observer, self._outcome = observer, outcome

    def stage(self, title: str) -> None:
        self._observer.stage(title)

    def step(self, title: str, done: int, total: int, path: Path | None = None) -> None:
        if title == FRAMES and path is not None:
            self._outcome.written += 1
        elif title == FRAMES:
            self._outcome.skipped += 1
        self._observer.step(title, done, total, path)

    def note(self, text: str) -> None:
        self._observer.note(text)

    def cancelled(self) -> bool:
        return self._observer.cancelled()


def _note_result(outcome: Outcome, result: Result) -> None:
    bake = result.bake
    outcome.written, outcome.skipped, outcome.failed = len(bake.written), len(bake.skipped), len(bake.failed)
    outcome.passed, outcome.report = result.passed, result.report
    if bake.failed:
        outcome.message = f"frames {format_range(bake.failed)}: {next(iter(bake.failed.values()))}"
    elif bake.cancelled:
        outcome.status = STOPPED
    else:
        outcome.status = DONE
        outcome.message = "the loop does not pass its checks" if result.passed is False else ""


def inputs_of(shots: Iterable[Shot]) -> list[Path]:
    """Returns the files that shots read."""
    return [path for shot in shots if shot.job is not None for path in shot.job.source.files()]
