# SPDX-License-Identifier: GPL-3.0-or-later
"""The worker's client in Blender: starts the worker, sends it one job at a time, cancels jobs, restarts it.

Nothing here blocks: threads that do not use Blender's API start the process, write and read; `Engine.poll` delivers
their results on Blender's main thread.
"""

import atexit
import itertools
import queue
import time
import traceback
import weakref
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path

from .worker import Worker

# The worker's JSON-RPC error codes: input that the user can correct, invalid parameters, a cancelled job.
USER_ERROR, INVALID_PARAMS, CANCELLED = -32000, -32602, -32001
# Time limit of one poll, which runs on Blender's main thread.
_POLL_BUDGET_S = 0.003


class EngineError(RuntimeError):
    """The worker failed; the message is for the user, and has the end of the log if the worker died."""


class Job:
    """A request to the worker, and its progress.

    Attributes:
        state: "running" (also while queued), "done", "failed" or "cancelled".
        done, total: frames or files; total is 0 while unknown.
        saved: each file written so far, with `done` and `total` at that time.
        result: the result, once done.
        error: why it failed.
        bad_input: whether it failed because of its input, so that a retry would fail again.
    """

    def __init__(self, id: int, method: str, params: dict, on_change: "Callable[[Job], None] | None") -> None:
        self.id, self.method, self.params = id, method, params
        self.state, self.message = "running", "Waiting"
        self.done, self.total = 0, 0
        self.saved: list[tuple[str, int, int]] = []
        self.result: dict | None = None
        self.error, self.bad_input = "", False
        self.started = time.time()
        self.cancelling = False
        self._on_change = on_change
        self._pace = (time.monotonic(), 0, 0)  # Start of the measurement: time, done, total.

    def eta(self) -> float | None:
        """Return the seconds left at the current rate; None while unknown."""
        since, from_done, _ = self._pace
        made = self.done - from_done
        if self.state != "running" or self.total <= 0 or made <= 0:
            return None
        return max(0.0, (self.total - self.done) * (time.monotonic() - since) / made)

    def _progress(self, params: dict) -> None:
        self.message, path = str(params.get("message", "")), str(params.get("path", ""))
        self.done, self.total = int(params.get("done", 0)), int(params.get("total", 0))
        # Skipped frames and other stages would falsify the rate: restart the measurement.
        if not path or self.total != self._pace[2] or self.done <= self._pace[1]:
            self._pace = (time.monotonic(), self.done, self.total)
        if path:
            self.saved.append((path, self.done, self.total))

    def _end(self, state: str, *, result: dict | None = None, error: str = "", bad_input: bool = False) -> None:
        self.state, self.result, self.error, self.bad_input = state, result, error, bad_input

    def _notify(self) -> None:
        if self._on_change is None:
            return
        try:
            self._on_change(self)
        except Exception:
            # An error in the callback must not stop the worker or the other jobs.
            traceback.print_exc()


class Engine:
    """A worker process in `python`, and its queue of jobs. Use from one thread; no method blocks.

    Args:
        python: the interpreter that runs the worker.
        log: the file that the worker's stderr is appended to.
        env: additional environment variables.
        wheel: loopcore for a Python without it; unpacked to the folder of the log.
    """

    def __init__(self, python: Path, log: Path, *, env: Mapping[str, str] = {}, wheel: Path | None = None) -> None:
        self.python, self.log, self._env, self._wheel = Path(python), Path(log), dict(env), wheel
        self.job: Job | None = None
        self._waiting: deque[Job] = deque()
        self._changed: list[Job] = []
        self._worker: Worker | None = None
        self._ids = itertools.count(1)
        # A weak reference, since a registered bound method would keep this object alive.
        atexit.register(_stop_if_alive, weakref.ref(self))

    @property
    def running(self) -> bool:
        """Whether a worker process exists, busy or idle."""
        return self._worker is not None and self._worker.alive

    @property
    def pid(self) -> int | None:
        """The worker's process id, or None."""
        return self._worker.pid if self.running else None

    def submit(self, method: str, params: dict, on_change: Callable[[Job], None] | None = None) -> Job:
        """Queue a request to the worker; `poll` calls `on_change` with the job."""
        job = Job(next(self._ids), method, dict(params), on_change)
        self._waiting.append(job)
        self._advance()
        return job

    def poll(self) -> None:
        """Process the worker's messages, and call `on_change` once for each job that changed."""
        until = time.monotonic() + _POLL_BUDGET_S
        while self._worker is not None and time.monotonic() < until:
            try:
                event = self._worker.events.get_nowait()
            except queue.Empty:
                break
            if isinstance(event, dict):
                self._receive(event)
            else:
                self._worker_ended(event)
        changed, self._changed = self._changed, []
        for job in dict.fromkeys(changed):
            job._notify()
        self._advance()

    def cancel(self, job: Job) -> None:
        """Cancel a job; a worker that does not answer in time is killed."""
        if job.state != "running" or job.cancelling:
            return
        job.cancelling, job.message = True, "Cancelling"
        if job is self.job and self._worker is not None:
            self._worker.send({"method": "cancel", "params": {"id": job.id}})
            self._worker.kill_unless_answered(job.id)
        else:
            self._waiting = deque(other for other in self._waiting if other is not job)
            job._end("cancelled")
            self._changed.append(job)

    def stop(self) -> None:
        """Stop the worker, and cancel its job and the queued ones. Does nothing without a worker."""
        for job in [self.job, *self._waiting]:
            if job is not None and job.state == "running":
                job._end("cancelled")
        self.job = None
        self._waiting.clear()
        self._changed.clear()
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.stop()

    def _advance(self) -> None:
        if self.job is not None or not self._waiting:
            return
        if self._worker is None:
            self._worker = Worker(self.python, self.log, self._env, self._wheel)
        self.job = self._waiting.popleft()
        self.job.message = "Starting" if self._worker.pid is None else ""
        self._worker.writes_to(self.job.params)
        self._worker.send({"id": self.job.id, "method": self.job.method, "params": self.job.params})

    def _receive(self, message: dict) -> None:
        job = self.job
        params = message.get("params", {}) if message.get("method") == "progress" else message
        if job is None or params.get("id") != job.id:
            return
        if message.get("method") == "progress":
            if not job.cancelling:
                job._progress(params)
        else:
            error = message.get("error")
            if error is None:
                job._end("done", result=message.get("result") or {})
            elif error.get("code") == CANCELLED:
                job._end("cancelled")
            else:
                bad_input = error.get("code") in (USER_ERROR, INVALID_PARAMS)
                job._end("failed", error=str(error.get("message") or ""), bad_input=bad_input)
            self.job = None
        self._changed.append(job)

    def _worker_ended(self, reason: str) -> None:
        self._worker = None
        job, self.job = self.job, None
        if job is None:
            return
        if job.cancelling:
            job._end("cancelled")
        else:
            job._end("failed", error=reason)
        self._changed.append(job)


def _stop_if_alive(reference: "weakref.ref[Engine]") -> None:
    engine = reference()
    if engine is not None:
        engine.stop()
