# SPDX-License-Identifier: Apache-2.0
"""How a worker keeps its protocol's pipes to itself, and does not outlive whoever holds their other end."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from typing import BinaryIO

# The worker notices by itself at once; the guard is for one that is busy inside a library that lets no thread run.
_GUARD_GRACE_S = 0.6


def take_pipes() -> tuple[BinaryIO, BinaryIO]:
    """Return what requests are read from and answers written to; nothing else can reach these two any more.

    Whatever anything prints, Python or a library's C code, goes to stderr; whoever reads stdin finds it empty.
    Neither pipe is inherited by child processes.
    """
    sys.stdout.flush()
    requests, answers = os.fdopen(os.dup(0), "rb", buffering=0), os.fdopen(os.dup(1), "wb", buffering=0)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    sys.stdin, sys.stdout = open(0, encoding="utf-8", closefd=False), sys.stderr
    return requests, answers


def leave_control_keys_to_the_parent() -> None:
    """Ctrl-C in the parent's terminal is the parent's: it tells us what to do. Being asked to end is an order."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if sys.platform == "win32":
        signal.signal(signal.SIGBREAK, signal.SIG_IGN)


def start_guard(requests: BinaryIO) -> None:
    """Fork a small process that kills this one soon after the other end of `requests` has closed.

    Only where there is fork, and before any thread was started; on Windows the parent's job object does the same.
    """
    if not hasattr(os, "fork") or threading.active_count() > 1:
        return
    ours, theirs = os.pipe()
    worker = os.getpid()
    if os.fork():
        os.close(ours)  # `theirs` stays open as long as this process lives, and is inherited by no child.
        return
    # Nothing below may raise: this is a copy of the worker, and must never go on as one.
    with contextlib.suppress(BaseException):
        os.close(theirs)
        for standard in (1, 2):  # A pipe held here would look like a living worker to whoever reads it.
            os.dup2(0, standard)
        keep = {0, 1, 2, ours, requests.fileno()}
        for descriptor in range(3, 64):
            if descriptor not in keep:
                with contextlib.suppress(OSError):
                    os.close(descriptor)
        _guard(worker, requests.fileno(), ours)
    os._exit(0)


def _guard(worker: int, requests: int, life: int) -> None:
    """Return when the worker is gone; kill it when the other end of its requests has been gone for a while."""
    if life not in _wait_for_hang_up([requests, life]) and not _wait_for_hang_up([life], _GUARD_GRACE_S):
        os.kill(worker, signal.SIGKILL)


def _wait_for_hang_up(pipes: list[int], seconds: float | None = None) -> list[int]:
    """Wait until the other end of one of the pipes has closed, and return those closed; none after `seconds`.

    Data is neither read nor counts; it may prolong the wait.
    """
    import select

    if sys.platform == "linux":
        watch = select.poll()
        for pipe in pipes:
            watch.register(pipe, 0)  # Not the data: only hang-ups, which are always told.
        return [pipe for pipe, _ in watch.poll(None if seconds is None else seconds * 1000)]
    # On macOS poll tells no hang-up unless data is asked for too. EV_CLEAR: what was told once is not told again.
    flags = select.KQ_EV_ADD | select.KQ_EV_CLEAR
    with contextlib.closing(select.kqueue()) as queue:
        queue.control([select.kevent(pipe, select.KQ_FILTER_READ, flags) for pipe in pipes], 0)
        while True:
            events = queue.control(None, len(pipes), seconds)
            closed = [event.ident for event in events if event.flags & select.KQ_EV_EOF]
            if closed or not events:
                return closed
