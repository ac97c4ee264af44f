# SPDX-License-Identifier: Apache-2.0
"""One request to a worker: its parameters, progress and cancellation."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from loopcore.files.fields import Fields
from loopcore.observer import Observer

Send = Callable[[dict[str, Any]], None]


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


class Params(Fields):
    """A request's parameters."""

    def __init__(self, task: Task) -> None:
        super().__init__(task.params, task.method, Invalid)
