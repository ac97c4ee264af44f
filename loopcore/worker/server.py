# SPDX-License-Identifier: Apache-2.0
"""The worker: a JSON-RPC 2.0 server on stdin and stdout that bakes and checks for another program.

One JSON object per line, UTF-8. Requests are executed one after another; `methods.METHODS` lists the methods.

    <- {"jsonrpc": "2.0", "method": "started", "params": {"temporaries": "4711-0123456789abcdef"}}
    -> {"jsonrpc": "2.0", "id": 1, "method": "animate", "params": {"plate": "still.exr", "folder": "out", ...}}
    <- {"jsonrpc": "2.0", "method": "progress", "params": {"id": 1, "done": 3, "total": 60, "message": ...}}
    <- {"jsonrpc": "2.0", "id": 1, "result": {...}}

``temporaries`` follows ``.tmp-`` in the names of its temporary files, for a parent that kills it and removes them.
Notifications to it: `cancel` {"id": 1} and `shutdown`. Errors have JSON-RPC's codes, -32000 for what the user can
correct (the message says how), -32001 for a cancelled request, and -32002 for a valid request that was not completed:
some frames failed, or memory or disk ran out. Logs go to stderr. The worker ends within a second after its stdin is
closed, whatever it is doing, and leaves no temporary files.
"""

from __future__ import annotations

import json
import math
import os
import queue
import sys
import threading
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from loopcore.errors import Cancelled, LoopcoreError, one_line
from loopcore.files.atomic import temporary_mark
from loopcore.worker.methods import METHODS
from loopcore.worker.process import ignore_interrupts, start_watchdog, take_pipes
from loopcore.worker.task import Invalid, Task, Unfinished

PARSE_ERROR, INVALID_REQUEST, METHOD_NOT_FOUND, INVALID_PARAMS, INTERNAL_ERROR = -32700, -32600, -32601, -32602, -32603
USER_ERROR, CANCELLED, UNFINISHED = -32000, -32001, -32002
# Time for the running request to stop in order once stdin has closed.
_SHUTDOWN_GRACE_S = 0.4
_MAX_LINE_BYTES = 64 << 20


class Worker:
    """Reads requests in a separate thread, so that `cancel` and a closed stdin take effect at any time.

    Args:
        requests: pipe to read from.
        answers: pipe to write to.
    """

    def __init__(self, requests: BinaryIO, answers: BinaryIO) -> None:
        self._requests, self._answers = requests, answers
        self._lock = threading.Lock()
        self._waiting: queue.SimpleQueue[Task | None] = queue.SimpleQueue()
        self._tasks: dict[str, Task] = {}
        self._idle = threading.Event()

    def run(self) -> None:
        """Executes requests until stdin closes or `shutdown` comes; then ends the process without returning."""
        reader = threading.Thread(target=self._read, name="loopcore-requests", daemon=True)
        reader.start()
        while (task := self._waiting.get()) is not None:
            self._execute(task)
        self._idle.set()
        reader.join()

    def send(self, message: dict[str, Any]) -> None:
        """Writes one message as a line; may be called from any thread.

        Args:
            message: without its "jsonrpc" member.
        """
        line = json.dumps({"jsonrpc": "2.0", **message}, ensure_ascii=False, allow_nan=False) + "\n"
        data = memoryview(line.encode("utf-8", "backslashreplace"))
        with self._lock:
            try:
                while data:
                    data = data[self._answers.write(data) or 0 :]
            except OSError:
                pass  # The parent is gone; the reading thread notices that, too.

    def _fail(self, id: object, code: int, message: str) -> None:
        self.send({"id": id if isinstance(id, int | str) else None, **_error(code, message)})

    # In the reading thread

    def _read(self) -> None:
        for line in _lines(self._requests):
            try:
                message = json.loads(line, parse_constant=_no_number, parse_float=_finite)
            except (ValueError, RecursionError) as error:
                self._fail(None, PARSE_ERROR, f"not a line of JSON: {error}")
                continue
            if not self._receive(message):
                break
        self._end()

    def _receive(self, message: Any) -> bool:
        """Handles one message; returns False for `shutdown`."""
        if not isinstance(message, dict) or not isinstance(message.get("method"), str):
            id = message.get("id") if isinstance(message, dict) else None
            self._fail(id, INVALID_REQUEST, 'not a request: give {"jsonrpc": "2.0", "id", "method", "params"}')
            return True
        id, method, params = message.get("id"), message["method"], message.get("params", {})
        if method == "shutdown":
            if id is not None:
                self.send({"id": id, "result": {}})
            return False
        if not isinstance(params, dict):
            self._fail(id, INVALID_PARAMS, f"params of {method} must be an object, not {type(params).__name__}")
        elif method == "cancel":
            task = self._tasks.get(repr(params.get("id")))
            if task is not None:
                task.cancel()
            if id is not None:
                self.send({"id": id, "result": {"found": task is not None}})
        elif not isinstance(id, int | str) or repr(id) in self._tasks:
            self._fail(id, INVALID_REQUEST, f"{method} needs a unique id, a number or a text, not {id!r}")
        else:
            task = self._tasks[repr(id)] = Task(self.send, id, method, params)
            self._waiting.put(task)
        return True

    def _end(self) -> None:
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        self._waiting.put(None)
        self._idle.wait(_SHUTDOWN_GRACE_S)
        for folder in {folder for task in tasks for folder in task.folders}:
            _remove_own_temporaries(folder)
        # Not sys.exit, which would wait for computing and writing threads.
        os._exit(0)

    # In the main thread

    def _execute(self, task: Task) -> None:
        answer = _answer(task)
        # Before the answer, so that the client may use the id again.
        self._tasks.pop(repr(task.id), None)
        self.send({"id": task.id, **answer})


def _answer(task: Task) -> dict[str, Any]:
    """Returns the result of a request, or its error."""
    try:
        if task.cancelled():
            raise Cancelled
        if task.method not in METHODS:
            return _error(METHOD_NOT_FOUND, f"no method {task.method!r}: there are {', '.join(METHODS)}")
        return {"result": METHODS[task.method](task)}
    except Cancelled:
        return _error(CANCELLED, "cancelled")
    except Invalid as error:
        return _error(INVALID_PARAMS, str(error))
    except Unfinished as error:
        return _error(UNFINISHED, str(error))
    except LoopcoreError as error:
        return _error(USER_ERROR, str(error))
    except ModuleNotFoundError as error:
        traceback.print_exc()
        return _error(USER_ERROR, f"'{sys.executable}' lacks the package {error.name!r}: install it")
    except MemoryError:
        return _error(UNFINISHED, "not enough memory for a plate of this size: use a smaller one")
    except OSError as error:
        return _error(UNFINISHED, f"cannot continue: {error}")
    except Exception as error:
        traceback.print_exc()
        return _error(INTERNAL_ERROR, f"{task.method} failed: {type(error).__name__}: {error}")


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is no number")


def _finite(text: str) -> float:
    number = float(text)
    return number if math.isfinite(number) else _no_number(text[:60])


def _error(code: int, message: str) -> dict[str, Any]:
    return {"error": {"code": code, "message": one_line(message)}}


def _lines(requests: BinaryIO) -> Iterator[bytes]:
    """Yields lines until the pipe closes or a line exceeds the limit."""
    rest = b""
    while len(rest) < _MAX_LINE_BYTES:
        try:
            data = os.read(requests.fileno(), 1 << 16)
        except OSError:
            return
        if not data:
            return
        *lines, rest = (rest + data).split(b"\n")
        yield from (line for line in lines if line.strip())


def _remove_own_temporaries(folder: Path) -> None:
    for path in folder.glob(f".*.tmp-{temporary_mark()}*"):
        try:
            path.unlink()
        except OSError:
            pass  # On Windows a file being written cannot be removed; the next bake in the folder removes it.


def serve() -> int:
    """Runs a worker on this process's stdin and stdout until it ends the process.

    Returns:
        2, where there is no stdin or stdout.
    """
    if sys.stdin is None or sys.stdout is None:
        print("loopcore: error: a worker needs stdin and stdout", file=sys.stderr)
        return 2
    requests, answers = take_pipes()
    ignore_interrupts()
    start_watchdog(requests)
    worker = Worker(requests, answers)
    worker.send({"method": "started", "params": {"temporaries": temporary_mark()}})
    worker.run()
    return 0
