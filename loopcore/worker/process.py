# SPDX-License-Identifier: Apache-2.0
"""Reserves the worker's pipes for its protocol, and ends the worker when its parent is gone."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from typing import BinaryIO

# The worker itself reacts at once, unless library code that holds the interpreter lock keeps its threads from running.
_WATCHDOG_GRACE_S = 0.6


def take_pipes() -> tuple[BinaryIO, BinaryIO]:
    """Takes over stdin and stdout for the protocol.

    Afterwards all other output, of Python and of C libraries, goes to stderr, and stdin reads as empty. Child processes
    do not inherit the pipes.

    Returns:
        The pipe to read requests from, and the pipe to write answers to.
    """
    sys.stdout.flush()
    requests, answers = os.fdopen(os.dup(0), "rb", buffering=0), os.fdopen(os.dup(1), "wb", buffering=0)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    sys.stdin, sys.stdout = open(0, encoding="utf-8", closefd=False), sys.stderr
    return requests, answers


def ignore_interrupts() -> None:
    """Ignores Ctrl-C, which the parent handles; SIGTERM ends the process at once."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if sys.platform == "win32":
        signal.signal(signal.SIGBREAK, signal.SIG_IGN)


def start_watchdog(requests: BinaryIO) -> None:
    """Forks a small process that kills this one soon after the other end of `requests` has closed.

    Does nothing where there is no fork (on Windows the parent's job object does the same), or once threads run.

    Args:
        requests: the pipe from the parent.
    """
    if not hasattr(os, "fork") or threading.active_count() > 1:
        return
    life, worker_end = os.pipe()
    worker = os.getpid()
    if os.fork():
        os.close(life)  # `worker_end` stays open until this process ends; children do not inherit it.
        return
    # Nothing below may raise: this process is a copy of the worker and must not continue as one.
    with contextlib.suppress(BaseException):
        os.close(worker_end)
        for standard in (1, 2):  # An open pipe here would keep its reader waiting after the worker ended.
            os.dup2(0, standard)
        keep = {0, 1, 2, life, requests.fileno()}
        for descriptor in range(3, 64):
            if descriptor not in keep:
                with contextlib.suppress(OSError):
                    os.close(descriptor)
        _watch(worker, requests.fileno(), life)
    os._exit(0)


def _watch(worker: int, requests: int, life: int) -> None:
    """Returns when the worker has ended; kills it when it outlives the other end of `requests` by the grace time."""
    if life not in _wait_for_hang_up([requests, life]) and not _wait_for_hang_up([life], _WATCHDOG_GRACE_S):
        os.kill(worker, signal.SIGKILL)


def _wait_for_hang_up(pipes: list[int], seconds: float | None = None) -> list[int]:
    """Waits until the other end of a pipe has closed; returns the closed ones, or none after `seconds`.

    Data is not read, and may prolong the wait.
    """
    import select

    if sys.platform == "linux":
        watch = select.poll()
        for pipe in pipes:
            watch.register(pipe, 0)  # No events: hang-ups are always reported.
        return [pipe for pipe, _ in watch.poll(None if seconds is None else seconds * 1000)]
    # On macOS poll reports hang-ups only if data events are requested, too. EV_CLEAR: events are reported once.
    flags = select.KQ_EV_ADD | select.KQ_EV_CLEAR
    with contextlib.closing(select.kqueue()) as queue:
        queue.control([select.kevent(pipe, select.KQ_FILTER_READ, flags) for pipe in pipes], 0)
        while True:
            events = queue.control(None, len(pipes), seconds)
            closed = [event.ident for event in events if event.flags & select.KQ_EV_EOF]
            if closed or not events:
                return closed
