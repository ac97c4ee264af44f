# SPDX-License-Identifier: GPL-3.0-or-later
"""The worker as Blender sees it: started when needed, fed one job at a time, cancelled in under a second, revived.

Nothing here blocks: starting, writing and reading are done by threads of their own, which never touch Blender; what
they bring is handed out by `Engine.poll`, on Blender's main thread.
"""

import atexit
import itertools
import json
import queue
import re
import subprocess
import tempfile
import threading
import time
import traceback
import weakref
import zipfile
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO

from .library import unpacked
from .process import Child, clean_environment, ending

# Of the worker's errors: what the user can mend, parameters of another kind, a job that was taken back.
USER_ERROR, INVALID_PARAMS, CANCELLED = -32000, -32602, -32001
# How long the worker may take to stop by itself, before it is killed.
KILL_AFTER_S = 0.6
# The most that one poll takes of Blender's time for what the worker said.
_POLL_BUDGET_S = 0.003
_STOP_PATIENCE_S = 0.04
_LARGEST_LOG = 1 << 20
_TAIL_LINES, _TAIL_BYTES = 12, 8192
_STRAY_LINES = 20
# The Python's own loopcore goes before the folder that is named first.
_BEHIND = (
    "import runpy, sys; sys.path.append(sys.argv.pop(1)); "
    "runpy.run_module('loopcore', run_name='__main__', alter_sys=True)"
)


class EngineError(RuntimeError):
    """The worker cannot do it; the message is for people, with the end of the log where the worker died."""


class Job:
    """One thing for the worker to do, and how far it is.

    state: "running" (also while it waits for its turn), "done", "failed" or "cancelled". done, total: frames or files;
    total is 0 while nobody knows. saved: each file written until now, with done and total as they were then.
    result: what a done job gave. error: why one failed; bad_input: for what it was asked, and would be again.
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
        self._pace = (time.monotonic(), 0, 0)  # When counting began, at how many, and of how many.

    def eta(self) -> float | None:
        """Seconds left, at the pace so far; None while there is none."""
        since, from_done, _ = self._pace
        made = self.done - from_done
        if self.state != "running" or self.total <= 0 or made <= 0:
            return None
        return max(0.0, (self.total - self.done) * (time.monotonic() - since) / made)

    def _progress(self, told: dict) -> None:
        self.message, path = str(told.get("message", "")), str(told.get("path", ""))
        self.done, self.total = int(told.get("done", 0)), int(told.get("total", 0))
        # Frames that were there already, or another stage's count, say nothing of the pace.
        if not path or self.total != self._pace[2] or self.done <= self._pace[1]:
            self._pace = (time.monotonic(), self.done, self.total)
        if path:
            self.saved.append((path, self.done, self.total))

    def _end(self, state: str, *, result: dict | None = None, error: str = "", bad_input: bool = False) -> None:
        self.state, self.result, self.error, self.bad_input = state, result, error, bad_input

    def _tell(self) -> None:
        if self._on_change is None:
            return
        try:
            self._on_change(self)
        except Exception:
            # The callback's own; the worker and the other jobs go on.
            traceback.print_exc()


class Engine:
    """A worker process in `python`, and the jobs for it. All methods are for one thread, and return at once.

    wheel: the loopcore for a Python that has none; it is unpacked beside the log.
    """

    def __init__(self, python: Path, log: Path, *, env: Mapping[str, str] = {}, wheel: Path | None = None) -> None:
        self.python, self.log, self._env, self._wheel = Path(python), Path(log), dict(env), wheel
        self.job: Job | None = None
        self._waiting: deque[Job] = deque()
        self._changed: list[Job] = []
        self._worker: _Worker | None = None
        self._ids = itertools.count(1)
        # At exit Python would call a method, and keep this object for it.
        atexit.register(_stop_if_alive, weakref.ref(self))

    @property
    def running(self) -> bool:
        """Whether there is a worker process, busy or not."""
        return self._worker is not None and self._worker.alive

    @property
    def pid(self) -> int | None:
        """The worker's process, where there is one."""
        return self._worker.pid if self.running else None

    def submit(self, method: str, params: dict, on_change: Callable[[Job], None] | None = None) -> Job:
        """Have the worker do it, after what was submitted before; `on_change` is called by `poll`."""
        job = Job(next(self._ids), method, dict(params), on_change)
        self._waiting.append(job)
        self._advance()
        return job

    def poll(self) -> None:
        """Take what the worker said, and tell of each job that changed, once."""
        until = time.monotonic() + _POLL_BUDGET_S
        while self._worker is not None and time.monotonic() < until:
            try:
                event = self._worker.events.get_nowait()
            except queue.Empty:
                break
            if isinstance(event, dict):
                self._hear(event)
            else:
                self._worker_ended(event)
        changed, self._changed = self._changed, []
        for job in dict.fromkeys(changed):
            job._tell()
        self._advance()

    def cancel(self, job: Job) -> None:
        """Take a job back; it ends as cancelled within a second, by force if need be."""
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
        """End the worker; what it was doing, and what waited, is cancelled. Harmless when there is none."""
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
            self._worker = _Worker(self.python, self.log, self._env, self._wheel)
        self.job = self._waiting.popleft()
        self.job.message = "Starting" if self._worker.pid is None else ""
        self._worker.writes_to(self.job.params)
        self._worker.send({"id": self.job.id, "method": self.job.method, "params": self.job.params})

    def _hear(self, message: dict) -> None:
        job = self.job
        about = message.get("params", {}) if message.get("method") == "progress" else message
        if job is None or about.get("id") != job.id:
            return
        if message.get("method") == "progress":
            if not job.cancelling:
                job._progress(about)
        else:
            error = message.get("error")
            if error is None:
                job._end("done", result=message.get("result") or {})
            elif error.get("code") == CANCELLED:
                job._end("cancelled")
            else:
                mendable = error.get("code") in (USER_ERROR, INVALID_PARAMS)
                job._end("failed", error=str(error.get("message") or ""), bad_input=mendable)
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


class _Worker:
    """One worker process and the threads at its pipes. `events`: its messages, at last in words why it ended."""

    def __init__(self, python: Path, log: Path, env: Mapping[str, str], wheel: Path | None) -> None:
        self._python, self._log, self._env, self._wheel = python, log, env, wheel
        self.events: queue.SimpleQueue[dict | str] = queue.SimpleQueue()
        self.alive, self.pid = True, None
        self._child: Child | None = None
        self._folders: set[Path] = set()
        self._answered: set[int] = set()
        self._gone, self._doomed = threading.Event(), threading.Event()
        self._requests: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        threading.Thread(target=self._live, name="loopcore-worker", daemon=True).start()

    def send(self, message: dict) -> None:
        line = json.dumps({"jsonrpc": "2.0", **message}) + "\n"
        self._requests.put(line.encode())

    def writes_to(self, params: dict) -> None:
        """Remember the folders that a job writes to, to tidy them if the worker dies."""
        if folder := params.get("folder"):
            self._folders |= {Path(folder), Path(folder) / "proxy"}
        if file := params.get("motion_out"):
            self._folders.add(Path(file).parent)

    def kill_unless_answered(self, request: int | None = None) -> None:
        """Kill the process after KILL_AFTER_S, unless it has answered that request by then; without one, in any case.

        The reading thread records the answers: Blender's main thread may be too busy to poll.
        """
        timer = threading.Timer(KILL_AFTER_S, lambda: request in self._answered or self._kill())
        timer.daemon = True
        timer.start()

    def stop(self) -> None:
        """Have it end in order, and soon by force."""
        self.send({"method": "shutdown"})
        self._requests.put(None)
        self.kill_unless_answered()
        self._gone.wait(_STOP_PATIENCE_S)

    def _kill(self) -> None:
        self._doomed.set()
        if self._child is not None:
            self._child.kill()

    def _live(self) -> None:
        """The process's whole life, in a thread: starting one from a large process takes its time."""
        with _open_log(self._log) as log:
            start = log.tell()
            stray: deque[str] = deque(maxlen=_STRAY_LINES)
            try:
                self._child = Child(self._command(), env=clean_environment(self._env), stderr=log)
            except (OSError, ValueError, subprocess.SubprocessError, zipfile.BadZipFile) as error:
                self._end(f"'{self._python}' cannot be started ({getattr(error, 'strerror', None) or error})")
                return
            self.pid = self._child.pid
            if self._doomed.is_set():
                self._child.kill()
            threading.Thread(target=self._write, name="loopcore-requests", daemon=True).start()
            self._read(stray)
            code = self._child.wait()
            if code:
                _remove_temporaries(self._folders, self.pid)
            self._end(self._explained(code, [*stray, *_tail(log, start)]))

    def _command(self) -> list[str]:
        start = [str(self._python), "-P", "-s", "-u"]
        if self._wheel is None:
            return [*start, "-m", "loopcore", "worker"]
        return [*start, "-c", _BEHIND, str(unpacked(self._wheel, self._log.parent)), "worker"]

    def _write(self) -> None:
        stdin = self._child.stdin
        try:
            while (data := self._requests.get()) is not None:
                while data:
                    data = data[stdin.write(data) :]
        except OSError:
            pass  # It ended; that is told by whoever reads from it.
        finally:
            stdin.close()

    def _read(self, stray: deque) -> None:
        rest = b""
        with self._child.stdout as stdout:
            while data := stdout.read(1 << 16):
                *lines, rest = (rest + data).split(b"\n")
                for line in lines:
                    try:
                        message = json.loads(line)
                    except ValueError:
                        message = None
                    if isinstance(message, dict):
                        if "method" not in message and isinstance(message.get("id"), int):
                            self._answered.add(message["id"])
                        self.events.put(message)
                    else:
                        stray.append(line.decode("utf-8", "replace"))

    def _end(self, reason: str) -> None:
        self.alive = False
        self.events.put(reason)
        self._requests.put(None)
        self._gone.set()

    def _explained(self, code: int, lines: list[str]) -> str:
        """Why it ended, as far as its last lines tell."""
        text = "\n".join(lines)
        python = f"'{self._python}'"
        missing = re.findall(r"No module named '?([\w.]+)", text)
        if missing and missing[-1] == "loopcore":
            return f"{python} has no Loopcore: install it there, or choose another Python"
        if missing and missing[-1].startswith("loopcore."):
            return f"{python} has a Loopcore that is not whole (no {missing[-1]}): install it again, or Repair"
        if missing:
            return f"{python} lacks the package {missing[-1]!r}, which Loopcore needs: install it there, or Repair"
        if "unknown option -P" in text.lower():
            return f"{python} is older than Python 3.11: choose a Python 3.11 to 3.13"
        if "invalid choice: 'worker'" in text:
            return f"{python} has an older Loopcore, which has no worker: update it there"
        message = f"The worker ended unexpectedly ({ending(code)})"
        last = [line for line in lines if line.strip()][-_TAIL_LINES:]
        return "\n".join([f"{message}. The end of its log, {self._log}:", *last]) if last else message


def _remove_temporaries(folders: set[Path], pid: int) -> None:
    """Remove the hidden files that a worker was writing when it died; they carry its process's number."""
    for folder in folders:
        try:
            for path in folder.glob(f".*.tmp-{pid}-*"):
                path.unlink()
        except OSError:
            pass  # The next bake in that folder removes them.


def _open_log(path: Path) -> IO[bytes]:
    """The log to append to; one that is thrown away, where there can be none."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and path.stat().st_size > _LARGEST_LOG:
            path.write_bytes(b"")
        log = path.open("a+b")
    except OSError:
        return tempfile.TemporaryFile("a+b")
    log.seek(0, 2)
    return log


def _tail(log: IO[bytes], start: int) -> list[str]:
    try:
        size = log.seek(0, 2)
        log.seek(max(start, size - _TAIL_BYTES))
        return log.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return []
