# SPDX-License-Identifier: GPL-3.0-or-later
"""One worker process, the threads that read and write its pipes, and the reason for its end."""

import glob
import json
import queue
import re
import subprocess
import tempfile
import threading
import zipfile
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import IO

from ..texts import rpt_
from .library import unpacked
from .process import Child, clean_environment, ending

# Time for the worker to stop by itself before it is killed.
KILL_AFTER_S = 0.6
_STOP_WAIT_S = 0.04
_MAX_LOG_BYTES = 1 << 20
_TAIL_LINES, _TAIL_BYTES = 12, 8192
_MAX_STRAY_LINES = 20
# sys.path.append: a loopcore installed in that Python takes precedence over the folder in the first argument.
_RUN_WITH_FALLBACK = (
    "import runpy, sys; sys.path.append(sys.argv.pop(1)); "
    "runpy.run_module('loopcore', run_name='__main__', alter_sys=True)"
)


class Worker:
    """A worker process. `events` yields its messages (dict), and finally the reason for its end (str)."""

    def __init__(self, python: Path, log: Path, env: Mapping[str, str], wheel: Path | None) -> None:
        self._python, self._log, self._env, self._wheel = python, log, env, wheel
        self.events: queue.SimpleQueue[dict | str] = queue.SimpleQueue()
        self.alive, self.pid = True, None
        self._child: Child | None = None
        self._folders: set[Path] = set()
        self._temporaries = ""
        self._answered: set[int] = set()
        self._ended, self._killed = threading.Event(), threading.Event()
        self._requests: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        threading.Thread(target=self._run, name="loopcore-worker", daemon=True).start()

    def send(self, message: dict) -> None:
        """Queue a JSON-RPC message for the process."""
        line = json.dumps({"jsonrpc": "2.0", **message}) + "\n"
        self._requests.put(line.encode())

    def writes_to(self, params: dict) -> None:
        """Record the folders that a job writes to, so that its temporary files are removed if the worker dies."""
        if folder := params.get("folder"):
            self._folders |= {Path(folder), Path(folder) / "proxy"}
        if file := params.get("motion_out"):
            self._folders.add(Path(file).parent)

    def kill_unless_answered(self, request: int | None = None) -> None:
        """Kill the process after KILL_AFTER_S, unless it has answered `request` by then.

        The reading thread records the answers, since Blender's main thread may be too busy to poll.
        """
        timer = threading.Timer(KILL_AFTER_S, lambda: request in self._answered or self._kill())
        timer.daemon = True
        timer.start()

    def stop(self) -> None:
        """Request a shutdown, and kill the process if it does not end in time."""
        self.send({"method": "shutdown"})
        self._requests.put(None)
        self.kill_unless_answered()
        self._ended.wait(_STOP_WAIT_S)

    def _kill(self) -> None:
        self._killed.set()
        if self._child is not None:
            self._child.kill()

    def _run(self) -> None:
        """Start the process, read it and wait for its end. In a thread, since Blender is large and forks slowly."""
        with _open_log(self._log) as log:
            start = log.tell()
            stray: deque[str] = deque(maxlen=_MAX_STRAY_LINES)
            try:
                self._child = Child(self._command(), env=clean_environment(self._env), stderr=log)
            except (OSError, ValueError, subprocess.SubprocessError, zipfile.BadZipFile) as error:
                self._end(
                    rpt_("'{python}' cannot be started ({reason})").format(
                        python=self._python, reason=getattr(error, "strerror", None) or error
                    )
                )
                return
            self.pid = self._child.pid
            if self._killed.is_set():
                self._child.kill()
            threading.Thread(target=self._write, name="loopcore-requests", daemon=True).start()
            self._read(stray)
            code = self._child.wait()
            if code:
                _remove_temporaries(self._folders, self._temporaries)
            self._end(self._explained(code, [*stray, *_tail(log, start)]))

    def _command(self) -> list[str]:
        start = [str(self._python), "-P", "-s", "-u"]
        if self._wheel is None:
            return [*start, "-m", "loopcore", "worker"]
        return [*start, "-c", _RUN_WITH_FALLBACK, str(unpacked(self._wheel, self._log.parent)), "worker"]

    def _write(self) -> None:
        stdin = self._child.stdin
        try:
            while (data := self._requests.get()) is not None:
                while data:
                    data = data[stdin.write(data) :]
        except OSError:
            pass  # The process has ended; the reading thread reports that.
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
                        self._receive(message)
                    else:
                        stray.append(line.decode("utf-8", "replace"))

    def _receive(self, message: dict) -> None:
        if message.get("method") == "started":
            self._temporaries = str(message.get("params", {}).get("temporaries", ""))
            return
        if "method" not in message and isinstance(message.get("id"), int):
            self._answered.add(message["id"])
        self.events.put(message)

    def _end(self, reason: str) -> None:
        self.alive = False
        self.events.put(reason)
        self._requests.put(None)
        self._ended.set()

    def _explained(self, code: int, lines: list[str]) -> str:
        """Return the reason for the end, as far as the last lines of output show it."""
        text = "\n".join(lines)
        python = f"'{self._python}'"
        missing = re.findall(r"No module named '?([\w.]+)", text)
        if missing and missing[-1] == "loopcore":
            return rpt_("{python} has no Loopcore: install it there, or choose another Python").format(python=python)
        if missing and missing[-1].startswith("loopcore."):
            return rpt_("{python} has an incomplete Loopcore (no {name}): reinstall it, or choose Repair").format(
                python=python, name=missing[-1]
            )
        if missing:
            return rpt_(
                "{python} lacks the package {name!r}, which Loopcore needs: install it, or choose Repair"
            ).format(python=python, name=missing[-1])
        if "unknown option -P" in text.lower():
            return rpt_("{python} is older than Python 3.11: choose a Python 3.11 to 3.13").format(python=python)
        if "invalid choice: 'worker'" in text:
            return rpt_("{python} has an older Loopcore, which has no worker: update it there").format(python=python)
        message = rpt_("The worker ended unexpectedly ({ending})").format(ending=ending(code))
        last = [line for line in lines if line.strip()][-_TAIL_LINES:]
        return (
            "\n".join([rpt_("{message}. The end of its log, {log}:").format(message=message, log=self._log), *last])
            if last
            else message
        )


def _remove_temporaries(folders: set[Path], mark: str) -> None:
    """Remove the temporary files that a dead worker was writing; `mark`, process id and host, is in their names."""
    for folder in folders if mark else ():
        try:
            for path in folder.glob(f".*.tmp-{glob.escape(mark)}*"):
                path.unlink()
        except OSError:
            pass  # The next bake in that folder removes them.


def _open_log(path: Path) -> IO[bytes]:
    """Open the log to append to, or a temporary file if that fails."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and path.stat().st_size > _MAX_LOG_BYTES:
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
