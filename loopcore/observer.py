# SPDX-License-Identifier: Apache-2.0
"""Progress and cancellation of a job."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from loopcore.errors import Cancelled


class Observer:
    """Receives the progress of a job and may stop it. This base class shows nothing and never stops."""

    def stage(self, title: str) -> None:
        """Called when a stage without countable steps begins.

        Args:
            title: of the stage.
        """

    def step(self, title: str, done: int, total: int, path: Path | None = None) -> None:
        """Called after each step of a stage.

        Args:
            title: of the stage.
            done: steps done.
            total: steps of the stage.
            path: the file just written, if any.
        """

    def note(self, text: str) -> None:
        """Called with a line of information for the user.

        Args:
            text: the line.
        """

    def cancelled(self) -> bool:
        """Returns whether to stop."""
        return False

    def raise_if_cancelled(self) -> None:
        """Checks `cancelled`.

        Raises:
            Cancelled: the job is to stop.
        """
        if self.cancelled():
            raise Cancelled

    def step_callback(self, title: str) -> Callable[[int, int], None]:
        """Returns a progress callback `(done, total)` for a stage, which raises Cancelled if the job is to stop.

        Args:
            title: of the stage.
        """

        def step(done: int, total: int) -> None:
            self.raise_if_cancelled()
            self.step(title, done, total)

        return step
