# SPDX-License-Identifier: Apache-2.0
"""Progress over items of equal numbers of steps."""

from __future__ import annotations

from collections.abc import Callable


class Counter:
    """Counts steps of items for a callback ``(done, total)``.

    Args:
        items: their number.
        steps: of each item; its last one is counted by ``finish`` alone.
        on_progress: called after each step; may raise to stop.
    """

    def __init__(self, items: int, steps: int, on_progress: Callable[[int, int], None] | None) -> None:
        self._total, self._steps, self._on_progress = items * steps, steps, on_progress
        self._item = self._done = 0

    def step(self) -> None:
        """Counts a step of the current item, up to its last but one."""
        self._done = min(self._done + 1, self._steps - 1)
        self._report()

    def finish(self) -> None:
        """Counts the rest of the current item and begins the next."""
        self._item, self._done = self._item + 1, 0
        self._report()

    def _report(self) -> None:
        if self._on_progress:
            self._on_progress(self._item * self._steps + self._done, self._total)
