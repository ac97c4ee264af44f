# SPDX-License-Identifier: Apache-2.0
"""The daemon that runs commands for `daemon_client`, one after another, as if each ran in its client.

It ends after `STOP`, after a minute without commands, when its folder or the process that runs its clients is gone, and
when a command goes on for long after its client was killed.
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from types import FrameType
from typing import TextIO

from loopcore.farm.daemon_client import CODE, COMMAND, ERR, LIFE, OUT, PID, PREFIX, REQUESTS, STOP, TAKEN, remove

IDLE_S = 60.0
_TICK_S = 1.0
# For a command whose client is gone to finish its frame.
_GRACE_S = 30.0

Command = Callable[[list[str]], int]


def serve(folder: str, load: Callable[[], Command]) -> None:
    """Runs a daemon until it ends; returns at once where one runs on this folder.

    Call it in a forked process without threads, of which nothing but the folder is kept open.

    Args:
        folder: private to this user.
        load: returns the function that runs a command line and returns its exit code.
    """
    os.setsid()
    os.closerange(3, 1 << 12)
    # Held until the process ends, however that happens.
    lock = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return
    _redirect(os.open(os.devnull, os.O_RDWR), 0, 1, 2)
    with open(os.path.join(folder, PID), "w") as file:
        file.write(f"{os.getpid()}\n")
    path = os.path.join(folder, REQUESTS)
    try:
        os.mkfifo(path, 0o600)
    except FileExistsError:
        pass  # left by one that was killed
    requests = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    own_end = os.open(path, os.O_WRONLY)  # Without a writer, poll would report the end of the FIFO.
    try:
        Daemon(folder, requests, load()).run()
    finally:
        os.close(own_end)
        _clean(folder)
        os.close(requests)


def _clean(folder: str) -> None:
    """Removes the folder, with what killed clients left."""
    try:
        for name in os.listdir(folder):
            if name.startswith(PREFIX):
                remove(os.path.join(folder, name))
        os.unlink(os.path.join(folder, PID))
        os.unlink(os.path.join(folder, REQUESTS))
        os.rmdir(folder)
    except OSError:
        pass  # The session removed it.


def _redirect(file: int, *standard: int) -> None:
    """Makes standard streams copies of a file, and closes it."""
    for number in standard:
        os.dup2(file, number)
    if file > 2:
        os.close(file)


class Daemon:
    """Runs the commands that are named in a FIFO.

    Args:
        folder: of the daemon.
        requests: the FIFO, open for reading.
        command: runs a command line and returns its exit code.
    """

    def __init__(self, folder: str, requests: int, command: Command) -> None:
        self._folder, self._requests, self._command = folder, requests, command
        self._inode = os.stat(folder).st_ino
        self._rest = b""
        self._terminated = False
        # Parent of the last client, and whether that of the one before was the same: it then runs the session.
        self._parent, self._lasting = 0, False

    def run(self) -> None:
        """Runs commands until the daemon has to end."""
        signal.signal(signal.SIGTERM, self._terminate)
        while name := self._next():
            if name.startswith(PREFIX) and name.removeprefix(PREFIX).isalnum():
                self._execute(os.path.join(self._folder, name))

    def _terminate(self, number: int, frame: FrameType | None) -> None:
        self._terminated = True

    def _next(self) -> str:
        """Returns the name of the next command; "" where there is none any more."""
        poll = select.poll()
        poll.register(self._requests, select.POLLIN)
        end = time.monotonic() + IDLE_S
        while b"\n" not in self._rest:
            if self._terminated or time.monotonic() > end or self._is_orphan():
                return ""
            if poll.poll(1000 * _TICK_S):
                self._rest += os.read(self._requests, 1 << 12)
        line, _, self._rest = self._rest.partition(b"\n")
        name = line.decode("ascii", "replace")
        return "" if name == STOP else name

    def _is_orphan(self) -> bool:
        """Returns whether the folder or the process that runs the session is gone."""
        try:
            if self._lasting:
                os.kill(self._parent, 0)
            return os.stat(self._folder).st_ino != self._inode
        except PermissionError:
            return False  # It runs, as another user.
        except OSError:
            return True

    def _execute(self, place: str) -> None:
        """Runs one command, if its client still waits for it."""
        files: list[int] = []
        try:
            files += [os.open(os.path.join(place, name), os.O_WRONLY | os.O_NONBLOCK) for name in (OUT, ERR)]
            files.append(os.open(os.path.join(place, LIFE), os.O_RDONLY | os.O_NONBLOCK))
            with open(os.path.join(place, COMMAND), "rb") as file:
                parts = file.read().split(b"\0")
            os.rename(os.path.join(place, COMMAND), os.path.join(place, TAKEN))
        except OSError:
            for opened in files:
                os.close(opened)
            return
        out, err, life = files
        for output, standard in ((out, 1), (err, 2)):
            os.set_blocking(output, True)
            _redirect(output, standard)
        self._run(place, parts, life)

    def _run(self, place: str, parts: list[bytes], life: int) -> None:
        """Runs a command with its own folder, environment and output, and tells its exit code."""
        folder, parent, count = parts[:3]
        arguments, variables = parts[3 : 3 + int(count)], parts[3 + int(count) :]
        self._lasting, self._parent = int(parent) == self._parent, int(parent)
        os.chdir(folder)
        os.environb.clear()
        for variable in variables:
            name, _, value = variable.partition(b"=")
            os.environb[name] = value
        # New ones: those of the last command may hold what its client did not take.
        before, streams = (sys.stdout, sys.stderr), _streams()
        sys.stdout, sys.stderr = streams
        watch = _Life(life)
        try:
            code = _exit_code(self._command, [os.fsdecode(argument) for argument in arguments])
        finally:
            watch.end()
            sys.stdout, sys.stderr = before
        for stream in streams:
            try:
                stream.flush()
            except OSError:
                pass  # The client is gone.
        self._answer(place, code)
        for stream in streams:
            stream.close()
        os.chdir("/")

    def _answer(self, place: str, code: int) -> None:
        """Writes the exit code, and then closes the output."""
        try:
            with open(os.path.join(place, CODE), "xb") as file:
                file.write(str(code).encode())
        except OSError:
            pass  # The client is gone.
        _redirect(os.open(os.devnull, os.O_RDWR), 1, 2)


def _streams() -> tuple[TextIO, TextIO]:
    """Returns stdout and stderr as Python opens them."""
    encoding = getattr(sys.stdout, "encoding", "utf-8")
    out = open(1, "w", encoding=encoding, closefd=False)
    return out, open(2, "w", buffering=1, encoding=encoding, errors="backslashreplace", closefd=False)


def _exit_code(command: Command, arguments: list[str]) -> int:
    """Runs a command; returns the exit code that its process would have."""
    try:
        return command(arguments)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1


class _Life:
    """Interrupts the command, in the main thread, for each signal of its client and when that is gone.

    Args:
        life: the client's FIFO; closed at the end.
    """

    def __init__(self, life: int) -> None:
        self._life, self._lock, self._ended = life, threading.Lock(), threading.Event()
        self._missed = threading.Event()
        signal.signal(signal.SIGINT, self._miss)
        threading.Thread(target=self._watch, name="loopcore-client", daemon=True).start()

    def end(self) -> None:
        """No interruption reaches the main thread after this."""
        with self._lock:
            self._ended.set()

    def _miss(self, number: int, frame: FrameType | None) -> None:
        """Receives an interruption before the command handles signals, or when it has ended."""
        self._missed.set()

    def _watch(self) -> None:
        poll = select.poll()
        poll.register(self._life, select.POLLIN)
        while not self._ended.is_set():
            if self._missed.is_set():
                self._missed.clear()
                self._interrupt()
            if not poll.poll(50):
                continue
            signals = os.read(self._life, 1 << 8)
            for _ in signals or b"s":
                self._interrupt()
            if not signals:
                self._wait()
        os.close(self._life)

    def _interrupt(self) -> None:
        with self._lock:
            if not self._ended.is_set():
                os.kill(os.getpid(), signal.SIGINT)

    def _wait(self) -> None:
        """Waits for the command of a client that is gone, and ends the process where that takes too long."""
        end = time.monotonic() + _GRACE_S
        while not self._ended.wait(0.05):
            if self._missed.is_set():
                self._missed.clear()
                self._interrupt()
            if time.monotonic() > end:
                os._exit(1)
