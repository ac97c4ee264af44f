# SPDX-License-Identifier: Apache-2.0
"""Terminal functions shared by the commands: progress, interruption, tables."""

from __future__ import annotations

import argparse
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any

from loopcore.errors import Cancelled, LoopcoreWarning, one_line
from loopcore.farm import messages
from loopcore.observer import Observer

if TYPE_CHECKING:
    from loopcore.estimate import Estimate
    from loopcore.quality import QualityReport

DONE, FAILED, USAGE = 0, 1, 2

# On Windows Ctrl-Break asks a process to end; SIGTERM ends it at once.
_SIGNALS = [signal.SIGINT, signal.SIGTERM]
if sys.platform == "win32":
    _SIGNALS.append(signal.SIGBREAK)


def given_path(text: str) -> Path:
    """Returns a path from the command line.

    Args:
        text: the argument.

    Raises:
        argparse.ArgumentTypeError: it is empty, which Python takes for the current folder.
    """
    if not text:
        raise argparse.ArgumentTypeError("it is empty: give a path, or '.' for the current folder")
    return Path(text)


def print_error(text: str, kind: str = "error") -> None:
    """Prints a message as one line on stderr.

    Args:
        text: the message.
        kind: of the message, which it begins with.
    """
    print(f"loopcore: {kind}: {one_line(text)}", file=sys.stderr)
    if kind == "error":
        messages.fail(text)


@contextmanager
def warnings_in_lines() -> Iterator[None]:
    """Prints Loopcore's warnings as one line each, and drops those of Pillow, within a `with` block."""
    with warnings.catch_warnings():
        show = warnings.showwarning

        def shown(message: Any, category: Any, filename: str, lineno: int, file: Any = None, line: Any = None) -> None:
            if issubclass(category, LoopcoreWarning):
                print_error(str(message), "warning")
            elif "PIL" not in (*Path(filename).parts, category.__module__.partition(".")[0]):
                show(message, category, filename, lineno, file, line)

        warnings.showwarning = shown
        yield


class Stop:
    """Records Ctrl-C or SIGTERM as a request to stop, within a `with` block.

    A second signal raises KeyboardInterrupt.
    """

    def __init__(self) -> None:
        self._signal: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Stop:
        try:
            for number in _SIGNALS:
                if signal.getsignal(number) is None:
                    continue  # A handler that a host program installed in C: Python cannot restore it.
                self._before[number] = signal.signal(number, self._receive)
        except ValueError:
            pass  # Not in the main thread, where signals cannot be handled.
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        again = self._signal is not None
        self._signal = number
        if again:
            raise KeyboardInterrupt

    def requested(self) -> bool:
        """Returns whether to stop."""
        return self._signal is not None

    def raise_if_requested(self) -> None:
        """Checks `requested`.

        Raises:
            Cancelled: the command is to stop.
        """
        if self.requested():
            raise Cancelled

    @property
    def exit_code(self) -> int:
        """128 plus the signal number, as in shells: 130 for Ctrl-C, 143 for SIGTERM and Ctrl-Break."""
        return 128 + (signal.SIGINT if self._signal in (None, signal.SIGINT) else signal.SIGTERM)


class Console:
    """Progress on stdout: a bar with rate and time left on a terminal, else a line per percent and per file.

    Args:
        title: of the bar.
        quiet: show nothing.
        transient: for a stage without steps: on a terminal show the time only, and clear the line at the end.
    """

    def __init__(self, title: str, quiet: bool = False, transient: bool = False) -> None:
        self._title, self._quiet, self._transient = title, quiet, transient
        self._bar: Any = None
        self._task: Any = None
        self._percent = -1
        self._start = time.monotonic()

    def __enter__(self) -> Console:
        if self._quiet:
            return self
        if messages.in_session():
            messages.status(self._title)
        elif sys.stdout is not None and sys.stdout.isatty():
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
                TextColumn("{task.description}"), BarColumn(), *([] if self._transient else steps), TimeElapsedColumn(),
                *([] if self._transient else left), transient=self._transient,
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
        """Shows progress.

        Args:
            done: steps done.
            total: steps in all.
            path: the file just saved, if any.
        """
        if self._quiet:
            return
        if self._bar is not None:
            rate = done / max(time.monotonic() - self._start, 1e-6)
            self._bar.update(self._task, completed=done, total=total, rate=f"{rate:.1f}/s")
            return
        if path is not None:
            print(f"Saved: '{path}'")
        percent = 100 * done // max(total, 1)
        if percent == self._percent:
            return
        self._percent = percent
        if messages.in_session():
            messages.progress(self._title, done, total)
        else:
            print(f"Progress: {percent}%", flush=True)

    def callback(self, stop: Stop) -> Callable[[int, int], None]:
        """Returns a progress callback `(done, total)`, which raises Cancelled once a stop was requested.

        Args:
            stop: records the request.
        """

        def step(done: int, total: int) -> None:
            stop.raise_if_requested()
            self.step(done, total)

        return step


class Progress(Observer):
    """Shows a job's stages on a console, and stops the job once a signal requested it.

    Args:
        stop: records the signal.
        quiet: show nothing.
        aside: show notes alone, on stderr: stdout is for a program.
    """

    def __init__(self, stop: Stop, quiet: bool = False, aside: bool = False) -> None:
        self._stop, self._quiet, self._aside = stop, quiet, aside
        self._title = ""
        self._console: Console | None = None

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self._show("", None)

    def stage(self, title: str) -> None:
        """Shows a stage without steps; raises Cancelled once a stop was requested."""
        self.raise_if_cancelled()
        self._show(title, Console(title, self._quiet or self._aside, transient=True))

    def step(self, title: str, done: int, total: int, path: Path | None = None) -> None:
        """Shows a step of a stage."""
        if title != self._title:
            self._show(title, Console(title, self._quiet or self._aside))
        assert self._console is not None
        self._console.step(done, total, path)

    def note(self, text: str) -> None:
        """Prints a line."""
        self._show("", None)
        if not self._quiet:
            print(text, file=sys.stderr if self._aside else sys.stdout)

    def cancelled(self) -> bool:
        """Returns whether to stop."""
        return self._stop.requested()

    def _show(self, title: str, console: Console | None) -> None:
        if self._console is not None:
            self._console.__exit__(None, None, None)
        self._title, self._console = title, console
        if console is not None:
            console.__enter__()


def print_report(report: QualityReport) -> None:
    """Prints the report of `loopcore check` as a table."""
    from rich.console import Console as Terminal
    from rich.table import Table
    from rich.text import Text

    table = Table("", "measured", "limit", "", title=f"{report.folder}: {report.frames} frames")
    for row in report.rows:
        value = "-" if row.value is None else f"{row.value:.6g}"
        verdict = Text("pass", "green") if row.passed else Text("FAIL", "red")
        table.add_row(f"{row.name}\n  {row.note}" if row.note else row.name, value, row.limit, verdict)
    # Names of folders may contain markup or emoji codes.
    terminal = Terminal(markup=False, emoji=False, width=None if sys.stdout.isatty() else 110)
    terminal.print(table)
    terminal.print(Text("The loop passes.", "green") if report.passed else Text("The loop does not pass.", "red"))


def print_estimate(found: Estimate) -> None:
    """Prints what `loopcore animate --dry-run` found as a table."""
    from rich.console import Console as Terminal
    from rich.table import Table

    table = Table("", "", title=f"{found.folder}: nothing was written", show_header=False)
    frames = f"{found.count} of {found.frames}" + (f": {found.to_write}" if found.count else "")
    table.add_row("frames to write", frames)
    table.add_row("up to date", found.up_to_date or "none")
    table.add_row("beside them", ", ".join(found.beside))
    table.add_row("time", f"about {found.seconds:.0f} s, {found.seconds_per_frame:.3g} s a frame")
    size, each, free = (value / 1e6 for value in (found.bytes, found.bytes_per_frame, found.bytes_free))
    table.add_row("disk", f"about {size:.3g} MB, {each:.3g} MB a frame; {free:.0f} MB are free")
    Terminal(markup=False, emoji=False, width=None if sys.stdout.isatty() else 110).print(table)


_PACKAGES = (
    "numpy",
    "numba",
    "scipy",
    "torch",
    "triton",
    "OpenEXR",
    "pillow",
    "openimageio",
    "psd-tools",
    "av",
    "rich",
)


def installed() -> dict[str, str]:
    """Returns the versions of Loopcore and its packages, the device that `--device auto` uses, and the GPU."""
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
