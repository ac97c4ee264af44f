# SPDX-License-Identifier: Apache-2.0
"""What the commands share of the terminal: progress, interruption, tables."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any

from loopcore.animate import Observer
from loopcore.errors import Cancelled

if TYPE_CHECKING:
    from loopcore.quality import QualityReport

DONE, FAILED, USAGE = 0, 1, 2

# Ctrl-Break is how a Windows process is asked to end: there, SIGTERM ends it without asking.
_SIGNALS = [signal.SIGINT, signal.SIGTERM]
if sys.platform == "win32":
    _SIGNALS.append(signal.SIGBREAK)


class Stop:
    """Turns Ctrl-C and SIGTERM into a question the work asks itself; the second one ends it at once."""

    def __init__(self) -> None:
        self._signal: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Stop:
        try:
            for number in _SIGNALS:
                if signal.getsignal(number) is None:
                    continue  # A host's own handler, in C: Python could not put it back.
                self._before[number] = signal.signal(number, self._receive)
        except ValueError:
            pass  # Not in the main thread: whoever runs us there handles signals.
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        again = self._signal is not None
        self._signal = number
        if again:
            raise KeyboardInterrupt

    def asked(self) -> bool:
        """Whether to stop."""
        return self._signal is not None

    def give_up(self) -> None:
        """End the command as interrupted."""
        raise Cancelled

    def give_up_if_asked(self) -> None:
        if self.asked():
            raise Cancelled

    @property
    def exit_code(self) -> int:
        """128 plus the signal's number, as shells have it: 130 for Ctrl-C, 143 for SIGTERM and Ctrl-Break."""
        return 128 + (signal.SIGINT if self._signal in (None, signal.SIGINT) else signal.SIGTERM)


class Console:
    """Progress on stdout: a bar with rate and time left on a terminal, else a line a percent and a line a file.

    What is `passing` tells no steps: on a terminal it shows that time runs, and is wiped away when done.
    """

    def __init__(self, title: str, quiet: bool = False, passing: bool = False) -> None:
        self._title, self._quiet, self._passing = title, quiet, passing
        self._bar: Any = None
        self._task: Any = None
        self._percent = -1
        self._start = time.monotonic()

    def __enter__(self) -> Console:
        if not self._quiet and sys.stdout is not None and sys.stdout.isatty():
            from rich.progress import (
                BarColumn,
                MofNCompleteColumn,
                Progress,
                TextColumn,
                TimeElapsedColumn,
                TimeRemainingColumn,
            )

            steps = [MofNCompleteColumn(), TextColumn("{task.fields[rate]}")]
            left = [TextColumn("left"), TimeRemainingColumn()]
            self._bar = Progress(
                TextColumn("{task.description}"), BarColumn(), *([] if self._passing else steps), TimeElapsedColumn(),
                *([] if self._passing else left), transient=self._passing,
            )  # fmt: skip
            self._bar.start()
            self._task = self._bar.add_task(self._title, total=None, rate="")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def step(self, done: int, total: int, path: Path | None = None) -> None:
        """Report `done` of `total`, and the file that was just saved, if any."""
        if self._quiet:
            return
        if self._bar is not None:
            rate = done / max(time.monotonic() - self._start, 1e-6)
            self._bar.update(self._task, completed=done, total=total, rate=f"{rate:.1f}/s")
            return
        if path is not None:
            print(f"Saved: '{path}'")
        percent = 100 * done // max(total, 1)
        if percent != self._percent:
            self._percent = percent
            print(f"Progress: {percent}%", flush=True)

    def until(self, stop: Stop) -> Callable[[int, int], None]:
        """A progress callback `(done, total)` that ends the command once a stop was asked for."""

        def step(done: int, total: int) -> None:
            stop.give_up_if_asked()
            self.step(done, total)

        return step


class Progress(Observer):
    """Shows a job's stages on a console, one after the other, and stops it when a signal asked for that."""

    def __init__(self, stop: Stop) -> None:
        self._stop = stop
        self._title = ""
        self._console: Console | None = None

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self._show("", None)

    def stage(self, title: str) -> None:
        self.raise_if_cancelled()
        self._show(title, Console(title, passing=True))

    def step(self, title: str, done: int, total: int, path: Path | None = None) -> None:
        if title != self._title:
            self._show(title, Console(title))
        assert self._console is not None
        self._console.step(done, total, path)

    def note(self, text: str) -> None:
        self._show("", None)
        print(text)

    def cancelled(self) -> bool:
        return self._stop.asked()

    def _show(self, title: str, console: Console | None) -> None:
        if self._console is not None:
            self._console.__exit__(None, None, None)
        self._title, self._console = title, console
        if console is not None:
            console.__enter__()


def print_report(report: QualityReport) -> None:
    """The QC report as a table."""
    from rich.console import Console as Terminal
    from rich.table import Table
    from rich.text import Text

    table = Table("", "measured", "limit", "", title=f"{report.folder}: {report.frames} frames")
    for row in report.rows:
        value = "-" if row.value is None else f"{row.value:.6g}"
        verdict = Text("pass", "green") if row.passed else Text("FAIL", "red")
        table.add_row(f"{row.name}\n  {row.note}" if row.note else row.name, value, row.limit, verdict)
    # Names of folders may look like markup, or like an emoji's code.
    terminal = Terminal(markup=False, emoji=False, width=None if sys.stdout.isatty() else 110)
    terminal.print(table)
    terminal.print(Text("The loop passes.", "green") if report.passed else Text("The loop does not pass.", "red"))


_PACKAGES = ("numpy", "numba", "scipy", "torch", "triton", "OpenEXR", "pillow", "openimageio", "av", "rich")


def installed() -> dict[str, str]:
    """Versions of what is installed, and the device that `--device auto` uses."""
    import importlib.metadata
    import platform

    from loopcore import __version__
    from loopcore.loop.device import device_line, gpu_name, gpu_unavailable_reason

    facts = {"loopcore": __version__, "python": platform.python_version(), "platform": platform.platform()}
    for name in _PACKAGES:
        try:
            facts[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            facts[name] = "not installed"
    facts["device"], facts["gpu"] = device_line(), gpu_unavailable_reason() or f"{gpu_name()} (with --device cuda)"
    return facts
