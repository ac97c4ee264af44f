# SPDX-License-Identifier: Apache-2.0
"""One request to a worker: its parameters, progress and cancellation."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from loopcore.observer import Observer

Send = Callable[[dict[str, Any]], None]

_MISSING = object()
_WORDS = {str: "a text", int: "a whole number", float: "a number", bool: "true or false", list: "a list"}


class Invalid(Exception):
    """A request has parameters that its method does not accept."""


class Unfinished(Exception):
    """A valid request could not be completed."""


class Task(Observer):
    """One request, as the observer of its job.

    Args:
        send: sends a message to the client.
        id: the request's id.
        method: name of the method.
        params: its parameters.

    Attributes:
        folders: folders that the request writes to; temporary files are removed from them when the worker ends.
    """

    def __init__(self, send: Send, id: object, method: str, params: dict[str, Any]) -> None:
        self.id, self.method, self.params = id, method, params
        self.folders: set[Path] = set()
        self._send, self._cancelled = send, threading.Event()

    def cancel(self) -> None:
        """Asks the request to stop."""
        self._cancelled.set()

    def cancelled(self) -> bool:
        """Returns whether to stop."""
        return self._cancelled.is_set()

    def stage(self, title: str) -> None:
        """Reports a stage without countable steps.

        Args:
            title: of the stage.

        Raises:
            Cancelled: the request was cancelled.
        """
        self.raise_if_cancelled()
        self.step(title, 0, 0)

    def step(self, title: str, done: int, total: int, path: Path | None = None) -> None:
        """Reports progress to the client; see `Observer.step`."""
        params: dict[str, object] = {"id": self.id, "done": done, "total": total, "message": title}
        if path is not None:
            params["path"] = str(path)
        self._send({"method": "progress", "params": params})


def _encodable(text: str) -> bool:
    """Returns whether a text can be part of a path; bytes that are not UTF-8 can, as Python escapes them."""
    try:
        os.fsencode(text)
    except ValueError:
        return False
    return "\0" not in text


class Params:
    """A request's parameters, each read once with its type; `finish` refuses those not read."""

    def __init__(self, task: Task) -> None:
        self._method, self._left = task.method, dict(task.params)

    def take(self, name: str, kind: type, default: Any = _MISSING) -> Any:
        """Returns a parameter, or `default` when it is absent or null.

        Args:
            name: of the parameter.
            kind: its type; a float may be given as an int.
            default: without one the parameter is required.

        Raises:
            Invalid: another type, or a required parameter is missing.
        """
        value = self._left.pop(name, None)
        if value is None:
            if default is _MISSING:
                raise Invalid(f"{self._method} needs {name!r}: {_WORDS[kind]}")
            return default
        if kind is float and isinstance(value, int) and not isinstance(value, bool):
            try:
                value = float(value)
            except OverflowError:
                raise Invalid(f"{name!r} of {self._method} is too large") from None
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise Invalid(f"{name!r} of {self._method} must be {_WORDS[kind]}, not {value!r}")
        if isinstance(value, str) and not _encodable(value):
            raise Invalid(f"{name!r} of {self._method} contains NUL or half of a surrogate pair: {value!r}")
        return value

    def auto_or(self, name: str, kind: type) -> Any:
        """Returns a parameter that is a number or "auto", which it is when absent.

        Args:
            name: of the parameter.
            kind: of the number.

        Raises:
            Invalid: neither.
        """
        if self._left.get(name) == "auto":
            del self._left[name]
        return self.take(name, kind, "auto")

    def path(self, name: str) -> Path:
        """Returns a required path.

        Args:
            name: of the parameter.

        Raises:
            Invalid: missing, empty or not a path.
        """
        text = self.take(name, str)
        if not text:
            raise Invalid(f"{name!r} of {self._method} is not a path: {text!r}")
        return Path(text)

    def path_if_given(self, name: str) -> Path | None:
        """Returns a path, or None when it is absent or null."""
        return self.path(name) if self._left.get(name) is not None else None

    def finish(self) -> None:
        """Checks that all parameters were read.

        Raises:
            Invalid: the method does not take one of them.
        """
        if self._left:
            raise Invalid(f"{self._method} takes no {', '.join(map(repr, self._left))}")
