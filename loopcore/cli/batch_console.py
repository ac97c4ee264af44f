# SPDX-License-Identifier: Apache-2.0
"""What `loopcore batch` prints: a line or a bar for each shot, and a table at the end."""

from __future__ import annotations

import sys
from pathlib import Path
from types import TracebackType
from typing import Any

from loopcore.cli.console import Stop, print_error
from loopcore.cli.log import Log
from loopcore.errors import one_line
from loopcore.farm.batch import FAILED, BatchObserver, Outcome, Summary
from loopcore.farm.batch_page import duration, verdict
from loopcore.farm.shots import Shot


class BatchConsole(BatchObserver):
    """Progress on stdout: on a terminal bars of the shots and of the current one; a line for each shot that ended.

    What is wrong with a shot is an error on stderr.

    Args:
        stop: records the request to stop.
        quiet: show only errors.
    """

    def __init__(self, stop: Stop, quiet: bool = False) -> None:
        self._stop, self._quiet = stop, quiet
        self._bars: Any = None
        self._shots: Any = None
        self._current: Any = None

    def __enter__(self) -> BatchConsole:
        if not self._quiet and sys.stdout is not None and sys.stdout.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
            from rich.progress import TimeRemainingColumn as TimeLeft

            self._bars = Progress(
                TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
                TextColumn("left"), TimeLeft(), transient=True, console=Console(markup=False, emoji=False),
            )  # fmt: skip
            self._bars.start()
            self._shots = self._bars.add_task("Shots", total=None)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bars is not None:
            self._bars.stop()

    def shot_begins(self, number: int, total: int, shot: Shot) -> None:
        """Shows a new bar."""
        if self._bars is not None:
            self._bars.update(self._shots, completed=number - 1, total=total)
            self._title = one_line(shot.title)
            self._current = self._bars.add_task(self._title, total=None)

    def shot_ends(self, number: int, total: int, outcome: Outcome) -> None:
        """Prints the shot's line."""
        if self._bars is not None:
            self._bars.remove_task(self._current)
            self._bars.update(self._shots, completed=number, total=total)
        if not self._quiet:
            line = f"[{number}/{total}] {one_line(outcome.shot.title)}: {_frames(outcome)}, "
            line += f"{duration(outcome.seconds)}, {verdict(outcome)}"
            if self._bars is None:
                print(line, flush=True)
            else:
                self._bars.console.print(line, highlight=False)
        if outcome.status == FAILED or outcome.passed is False:
            print_error(f"{outcome.shot.place}: {outcome.message}")

    def stage(self, title: str) -> None:
        """Shows a stage of the current shot; raises Cancelled once a stop was requested."""
        self.raise_if_cancelled()
        self._show(title, 0, None)

    def step(self, title: str, done: int, total: int, path: Path | None = None) -> None:
        """Shows a step of the current shot."""
        self._show(title, done, total)

    def cancelled(self) -> bool:
        """Returns whether to stop."""
        return self._stop.requested()

    def _show(self, title: str, done: int, total: int | None) -> None:
        if self._bars is not None:
            self._bars.update(self._current, description=f"{self._title}: {title}", completed=done, total=total)


class BatchLog(Log, BatchObserver):
    """A `Log` of a batch."""

    inner: BatchObserver

    def shot_begins(self, number: int, total: int, shot: Shot) -> None:
        """Appends a line."""
        self.line(f"shot {number} of {total}: {shot.title} ({shot.place})")
        self.inner.shot_begins(number, total, shot)

    def shot_ends(self, number: int, total: int, outcome: Outcome) -> None:
        """Appends a line."""
        message = f": {outcome.message}" if outcome.message else ""
        self.line(f"{outcome.shot.title}: {_frames(outcome)}, {verdict(outcome)}{message}")
        self.inner.shot_ends(number, total, outcome)


def _frames(outcome: Outcome) -> str:
    return f"{outcome.written} written, {outcome.skipped} up to date, {outcome.failed} failed"


def print_summary(summary: Summary) -> None:
    """Prints the table of a batch."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("shot", "written", "up to date", "failed", "time", "", "message")
    for column in table.columns[1:5]:
        column.justify = "right"
    for outcome in summary.outcomes:
        counts = [str(count) for count in (outcome.written, outcome.skipped, outcome.failed)]
        style = "green" if outcome.good else "yellow" if outcome.status not in (FAILED, "done") else "red"
        message = f"{outcome.shot.place}: {outcome.message}" if outcome.message else ""
        table.add_row(
            one_line(outcome.shot.title), *counts, duration(outcome.seconds), Text(verdict(outcome), style),
            one_line(message),
        )  # fmt: skip
    # Names may contain markup or emoji codes.
    Console(markup=False, emoji=False, width=None if sys.stdout.isatty() else 110).print(table)
    if summary.page is not None:
        print(f"Saved: '{summary.page}'")
