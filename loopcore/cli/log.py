# SPDX-License-Identifier: Apache-2.0
"""The text of what a job did, appended to a file."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self, TextIO

from loopcore import __version__
from loopcore.animate import outputs
from loopcore.cli.console import one_line
from loopcore.errors import Cancelled, SequenceError
from loopcore.files.overwrite import refuse_overwriting
from loopcore.files.regular import check_regular, os_reason
from loopcore.job import Job
from loopcore.observer import Observer


class Log(Observer):
    """Passes all calls on to another observer and appends what happened to a file, if there is one.

    A line is `TIME PROCESS TEXT`, the time in UTC. Each is written at once and whole, so that the chunks of a farm may
    share a file.

    Args:
        inner: the other observer.
        path: of the file; None keeps no log.
        jobs: whose files it must not be.

    Raises:
        SequenceError: the file is one that a job reads or writes, is not a regular file, or cannot be written.
    """

    def __init__(self, inner: Observer, path: Path | None, *jobs: Job) -> None:
        self.inner, self._file, self._title = inner, None if path is None else _opened(path, jobs), ""

    def __enter__(self) -> Self:
        self.line(f"Loopcore {__version__} begins")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        interrupted = isinstance(error, Cancelled | KeyboardInterrupt)
        self.line("done" if error is None else "interrupted" if interrupted else f"error: {error or kind}")
        if self._file is not None:
            self._file.close()

    def line(self, text: str) -> None:
        """Appends a line.

        Args:
            text: the line.
        """
        if self._file is None:
            return
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        try:
            self._file.write(f"{now} {os.getpid()} {one_line(text)}\n")
            self._file.flush()
        except OSError:
            self._file = None  # A full disk fails the frames, too, and says so.

    def stage(self, title: str) -> None:
        """Called when a stage begins."""
        self.line(title)
        self.inner.stage(title)

    def step(self, title: str, done: int, total: int, path: Path | None = None) -> None:
        """Called after each step of a stage."""
        if title != self._title:
            self._title = title
            self.line(title)
        if path is not None:
            self.line(f"saved '{path}' ({done} of {total})")
        self.inner.step(title, done, total, path)

    def note(self, text: str) -> None:
        """Called with a line of information."""
        self.line(text)
        self.inner.note(text)

    def cancelled(self) -> bool:
        """Returns whether to stop."""
        return self.inner.cancelled()


def _opened(path: Path, jobs: Sequence[Job]) -> TextIO:
    there = path.exists()
    for job in jobs:
        refuse_overwriting(job.source.files(), [path])
        for file in outputs(job):
            if file.absolute() == path.absolute() or (there and file.exists() and file.samefile(path)):
                raise SequenceError(f"'{path}' is a file that the job writes: choose another one for the log")
    try:
        if there:
            check_regular(path)
        return open(path, "a", encoding="utf-8", errors="backslashreplace", newline="\n")
    except OSError as error:
        raise SequenceError(f"cannot write the log '{path}': {os_reason(error, path)}") from error
