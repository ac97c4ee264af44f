# SPDX-License-Identifier: Apache-2.0
"""One request to a worker: its parameters, whether it was taken back, and how far it is."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from loopcore.animate import Observer

Send = Callable[[dict[str, Any]], None]

_MISSING = object()
_WORDS = {str: "a text", int: "a whole number", float: "a number", bool: "true or false", list: "a list"}


class Invalid(Exception):
    """A request's parameters are not what its method takes."""


class Unfinished(Exception):
    """The request was right, and some of it could not be done."""


class Task(Observer):
    """One request: its parameters, whether it was cancelled, and its progress."""

    def __init__(self, send: Send, id: object, method: str, params: dict[str, Any]) -> None:
        self.id, self.method, self.params = id, method, params
        self.folders: set[Path] = set()
        self._send, self._cancelled = send, threading.Event()

    def cancel(self) -> None:
        self._cancelled.set()

    def cancelled(self) -> bool:
        """Whether to stop."""
        return self._cancelled.is_set()

    def stage(self, title: str) -> None:
        """A stage without countable steps begins. Raises Cancelled if the request was cancelled."""
        self.raise_if_cancelled()
        self.step(title, 0, 0)

    def step(self, title: str, done: int, total: int, path: Path | None = None) -> None:
        params: dict[str, object] = {"id": self.id, "done": done, "total": total, "message": title}
        if path is not None:
            params["path"] = str(path)
        self._send({"method": "progress", "params": params})


class Params:
    """A request's parameters, each asked for once, by type; `finish` refuses those nobody asked for."""

    def __init__(self, task: Task) -> None:
        self._method, self._left = task.method, dict(task.params)

    def take(self, name: str, kind: type, default: Any = _MISSING) -> Any:
        """The parameter, or `default` when it is absent or null. Raises Invalid for another type."""
        value = self._left.pop(name, None)
        if value is None:
            if default is _MISSING:
                raise Invalid(f"{self._method} needs {name!r}: {_WORDS[kind]}")
            return default
        if kind is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise Invalid(f"{name!r} of {self._method} must be {_WORDS[kind]}, not {value!r}")
        return value

    def path(self, name: str) -> Path:
        """A path that has to be given."""
        text = self.take(name, str)
        if not text or "\0" in text:
            raise Invalid(f"{name!r} of {self._method} is no path: {text!r}")
        return Path(text)

    def path_if_given(self, name: str) -> Path | None:
        return self.path(name) if self._left.get(name) is not None else None

    def finish(self) -> None:
        """Raise Invalid if there are more than the method takes."""
        if self._left:
            raise Invalid(f"{self._method} takes no {', '.join(map(repr, self._left))}")
