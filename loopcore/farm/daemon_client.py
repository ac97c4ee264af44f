# SPDX-License-Identifier: Apache-2.0
"""Runs commands in a daemon: a process that stays between them, with its libraries, kernels and the last loop.

Starting a process costs more than a frame: commands with LOOPCORE_DAEMON in their environment, a folder of mode 0700,
start a daemon there or use it. This module imports nothing but small parts of the standard library.

A command is a folder in that one, made by its client: the file `command` (working folder, parent's process id, number
of arguments, arguments and environment, separated by NUL); the FIFOs `out` and `err` for the output, and `life`, which
receives a byte for each signal and is closed when the client ends; last the file `code`. The FIFO REQUESTS, which the
daemon reads, receives its name as a line. The daemon takes a command by renaming the file `command`, and a client that
waits no longer withdraws it likewise: one of the two renames succeeds.
"""

from __future__ import annotations

import os
import select
import signal
import stat
import sys
import time
from collections.abc import Callable, Sequence
from types import FrameType

from loopcore.farm import messages

VARIABLE = "LOOPCORE_DAEMON"
# In the daemon's folder, which may have other files; PREFIX begins the names of commands.
REQUESTS, PID, PREFIX = "loopcore-requests", "loopcore-pid", "loopcore-command-"
# In the folder of a command.
COMMAND, TAKEN, LEFT, CODE, OUT, ERR, LIFE = "command", "taken", "left", "code", "out", "err", "life"
STOP = "stop"
_COMMANDS = ("animate", "predict")
# How long to wait for a daemon that starts, or that finishes the frame of a client that was killed.
_PATIENCE_S = 10.0
_STOP_PATIENCE_S = 60.0
_FAILED = 1
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def forward(argv: Sequence[str], serve: Callable[[str], None]) -> int | None:
    """Runs a command in the daemon that the environment names, and starts that where it does not run.

    Args:
        argv: the arguments.
        serve: runs a daemon on a folder, in a forked process.

    Returns:
        The exit code. None: this process has to run the command; there is no daemon, or it ended meanwhile.
    """
    folder = os.environ.get(VARIABLE)
    if not folder or not _may_forward(argv):
        return None
    folder = os.path.abspath(folder)
    try:
        requests = _connect(folder, serve)
    except OSError:
        return None
    if requests is None:
        return None
    client = _Client(folder, requests)
    try:
        return client.run(argv)
    except BrokenPipeError:
        return _FAILED  # The reader of the output is gone.
    except OSError:
        return None
    finally:
        client.close()


def stop(folder: str) -> None:
    """Ends the daemon of a folder, after the command that it runs, and waits for that.

    Args:
        folder: of the daemon.
    """
    requests = _opened(folder) if hasattr(os, "mkfifo") else None
    if requests is None:
        return
    try:
        os.write(requests, f"{STOP}\n".encode())
        _wait_for_end(requests, _STOP_PATIENCE_S)
    except OSError:
        pass  # It ended by itself.
    finally:
        os.close(requests)


def remove(place: str) -> None:
    """Removes the folder of a command.

    Args:
        place: the folder.
    """
    for name in (COMMAND, TAKEN, LEFT, CODE, OUT, ERR, LIFE):
        try:
            os.unlink(os.path.join(place, name))
        except OSError:
            pass
    try:
        os.rmdir(place)
    except OSError:
        pass  # The other side removes it, too.


def _may_forward(argv: Sequence[str]) -> bool:
    """Returns whether a daemon runs such commands here; Windows has no FIFOs, and Dask starts processes of its own."""
    dask = any(text.startswith("--das") for text in argv)
    return bool(argv) and argv[0] in _COMMANDS and not dask and hasattr(os, "mkfifo") and hasattr(os, "fork")


def _connect(folder: str, serve: Callable[[str], None]) -> int | None:
    """Returns the daemon's FIFO for requests, open for writing; None where the folder is not private."""
    try:
        os.mkdir(folder, 0o700)
    except FileExistsError:
        pass
    facts = os.lstat(folder)
    if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.geteuid() or facts.st_mode & 0o077:
        text = f"{VARIABLE} is not used: '{folder}' is not a folder of this user that nobody else may enter (mode 0700)"
        print(f"loopcore: warning: {text}", file=sys.stderr)
        return None
    requests = _opened(folder)
    if requests is not None:
        return requests
    child = os.fork()
    if child == 0:
        try:
            serve(folder)
        finally:
            os._exit(0)
    end = time.monotonic() + _PATIENCE_S
    alive = True
    while requests is None and alive and time.monotonic() < end:
        time.sleep(0.005)
        # It ends at once where another process was faster, or where it cannot run.
        alive = os.waitpid(child, os.WNOHANG) == (0, 0)
        requests = _opened(folder)
    return requests


def _opened(folder: str) -> int | None:
    try:
        requests = os.open(os.path.join(folder, REQUESTS), os.O_WRONLY | os.O_NONBLOCK)
    except OSError:
        return None  # None is there, or none is read: ENXIO.
    if stat.S_ISFIFO(os.fstat(requests).st_mode):
        return requests
    os.close(requests)
    return None


def _wait_for_end(requests: int, seconds: float) -> None:
    """Returns when nobody reads a FIFO any more, or after so many seconds."""
    poll = select.poll()
    poll.register(requests, 0)  # Errors are always reported.
    poll.poll(1000 * seconds)


class _Client:
    """One command in a daemon.

    Args:
        folder: of the daemon.
        requests: its FIFO; closed by `close`.
    """

    def __init__(self, folder: str, requests: int) -> None:
        self._name = PREFIX + os.urandom(8).hex()
        self._place, self._requests = os.path.join(folder, self._name), requests
        self._files = [requests]
        self._signal = 0
        self._before: dict[int, object] = {}

    def run(self, argv: Sequence[str]) -> int | None:
        """Runs the command; returns its exit code, or None as `forward` does."""
        os.mkdir(self._place, 0o700)
        out, err, life = (self._fifo(name) for name in (OUT, ERR, LIFE))
        # Opened for reading first, as no writer is there yet, and kept open for the daemon to find a reader.
        self._life = os.open(self._path(LIFE), os.O_WRONLY | os.O_NONBLOCK)
        self._files.append(self._life)
        for number in _SIGNALS:
            self._before[number] = signal.signal(number, self._receive)
        self._write_command(argv)
        try:
            os.write(self._requests, f"{self._name}\n".encode())
        except BrokenPipeError:
            return None  # The daemon ended.
        taken = self._pass_on({out: 1, err: 2})
        code = self._code() if taken else None
        if self._signal and code in (None, 128 + signal.SIGINT):
            if code is None:
                print("loopcore: interrupted", file=sys.stderr)
                messages.fail("interrupted")
            return 128 + self._signal
        if code in (None, 128 + signal.SIGINT, 128 + signal.SIGTERM):
            if taken:
                print("loopcore: the daemon ended: this process runs the command", file=sys.stderr, flush=True)
            return None
        return code

    def close(self) -> None:
        """Closes and removes the files, and restores the signals."""
        for file in self._files:
            os.close(file)
        remove(self._place)
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self._signal = number
        try:
            os.write(self._life, b"s")
        except OSError:
            pass  # The daemon ended, which the wait notices.

    def _path(self, name: str) -> str:
        return os.path.join(self._place, name)

    def _fifo(self, name: str) -> int:
        os.mkfifo(self._path(name), 0o600)
        file = os.open(self._path(name), os.O_RDONLY | os.O_NONBLOCK)
        self._files.append(file)
        return file

    def _write_command(self, argv: Sequence[str]) -> None:
        parts = [os.fsencode(text) for text in (os.getcwd(), str(os.getppid()), str(len(argv)), *argv)]
        parts += [name + b"=" + value for name, value in os.environb.items()]
        with open(self._path(COMMAND), "xb") as file:
            file.write(b"\0".join(parts))

    def _code(self) -> int | None:
        try:
            with open(self._path(CODE), "rb") as file:
                return int(file.read())
        except (OSError, ValueError):
            return None

    def _pass_on(self, streams: dict[int, int]) -> bool:
        """Copies the output until the daemon closes it; returns False for a command that it did not take."""
        poll = select.poll()
        for file in streams:
            poll.register(file, select.POLLIN)
        poll.register(self._requests, 0)
        end = time.monotonic() + _PATIENCE_S
        taken = False
        while streams:
            events = dict(poll.poll(None if taken else 100))
            # The daemon takes a command once it has opened the output: an end read after that is one.
            taken = taken or not os.path.exists(self._path(COMMAND))
            gone = self._requests in events
            if not taken and (gone or self._signal or time.monotonic() > end):
                if self._leave():
                    return False
                taken = True
            if gone:
                poll.unregister(self._requests)
            for file in streams.keys() & events.keys():
                if not _copy(file, streams[file]) and taken:
                    poll.unregister(file)
                    del streams[file]
            if not taken and events:
                time.sleep(0.005)  # Some systems report an end before a writer was there.
        return True

    def _leave(self) -> bool:
        """Withdraws the command; returns False where the daemon took it."""
        try:
            os.rename(self._path(COMMAND), self._path(LEFT))
        except FileNotFoundError:
            return False
        return True


def _copy(file: int, to: int) -> bool:
    """Copies what a stream has to offer; returns False at its end."""
    try:
        data = os.read(file, 1 << 16)
    except BlockingIOError:
        return True
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(to, rest) :]
    return bool(data)
