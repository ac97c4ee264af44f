# SPDX-License-Identifier: Apache-2.0
"""Writers of a bake's frames: this process, or another that keeps to the same interface."""

import queue
import threading
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Self

import numpy as np

from loopcore.baking.frames import write_frame
from loopcore.baking.recipe import Recipe
from loopcore.errors import LoopcoreError, SequenceError
from loopcore.files.atomic import write_atomically
from loopcore.files.pattern import FramePattern
from loopcore.loop import Loop
from loopcore.parallel import thread_count

MAX_WRITERS = 8
NOT_MADE = "not made, after another frame failed"

Written = Generator[tuple[int, str], None, None]
# Writes frames `(loop, recipe, pattern, numbers, cancelled)`, and yields the number of each with the reason why it
# failed, "" if it was written. Ends early once `cancelled()` is true or a frame failed.
FrameWriter = Callable[[Loop, Recipe, FramePattern, Sequence[int], Callable[[], bool]], Written]


def write_here(
    loop: Loop, recipe: Recipe, pattern: FramePattern, numbers: Sequence[int], cancelled: Callable[[], bool]
) -> Written:
    """The `FrameWriter` of this process: computes one frame after another, and writes them by other threads.

    Args:
        loop: the loop.
        recipe: of the frames.
        pattern: of their files.
        numbers: the frames to write.
        cancelled: called between frames.
    """
    with _Writers(loop, recipe, pattern, len(numbers)) as writers:
        for number in numbers:
            if writers.stop.is_set() or cancelled():
                break
            canvas = writers.canvas()
            writers.submit(number, canvas, loop.begin(recipe.time(number), canvas))
            yield from writers.finished(wait_for_one=False)
        while writers.pending:
            yield from writers.finished(wait_for_one=True)


def new_canvas(loop: Loop, recipe: Recipe) -> np.ndarray:
    """Returns a canvas to render frames into.

    Args:
        loop: the loop.
        recipe: gives the depth.
    """
    return loop.canvas(np.float16 if recipe.depth == "half" else np.float32)


def save_frame(loop: Loop, recipe: Recipe, pattern: FramePattern, number: int, canvas: np.ndarray) -> None:
    """Writes a rendered frame to its file, atomically.

    Args:
        loop: gives the plate's channels and metadata.
        recipe: stored in the frame.
        pattern: gives the file's name.
        number: of the frame.
        canvas: its pixels.

    Raises:
        SequenceError: the file cannot be written.
    """
    path, time = pattern.path(number), recipe.time(number)
    write_atomically(path, lambda temporary: write_frame(temporary, canvas, loop.plate, recipe, time))


class _Writers:
    """Threads that write frames while others are computed, with a fixed number of reused canvases.

    After a failed frame, or an exception in the block, frames still waiting are not written.
    """

    def __init__(self, loop: Loop, recipe: Recipe, pattern: FramePattern, frames: int) -> None:
        self.loop, self.recipe, self.pattern = loop, recipe, pattern
        self.stop = threading.Event()
        self.pending: dict[Future[None], int] = {}
        threads = max(1, min(MAX_WRITERS, thread_count() // 2, frames))
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="loopcore-write")
        self._free: queue.SimpleQueue[np.ndarray] = queue.SimpleQueue()
        self._unmade = threads + 1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if error is not None:
            self.stop.set()
        self._pool.shutdown()

    def canvas(self) -> np.ndarray:
        """Returns a canvas to render into; waits until one is free."""
        if self._unmade:
            self._unmade -= 1
            return new_canvas(self.loop, self.recipe)
        return self._free.get()

    def submit(self, number: int, canvas: np.ndarray, arrived: Callable[[], None]) -> None:
        """Queues a frame for writing, which calls `arrived` first, and frees its canvas whether or not that fails."""
        self.pending[self._pool.submit(self._write, number, canvas, arrived)] = number

    def finished(self, wait_for_one: bool) -> Written:
        """Yields the frames that were written or failed since the last call."""
        if wait_for_one:
            wait(self.pending, return_when=FIRST_COMPLETED)
        for future in [f for f in self.pending if f.done()]:
            number = self.pending.pop(future)
            try:
                future.result()
            except LoopcoreError as error:
                yield number, str(error)
            else:
                yield number, ""

    def _write(self, number: int, canvas: np.ndarray, arrived: Callable[[], None]) -> None:
        try:
            arrived()
            if self.stop.is_set():
                raise SequenceError(NOT_MADE)
            save_frame(self.loop, self.recipe, self.pattern, number, canvas)
        except BaseException:
            self.stop.set()
            raise
        finally:
            self._free.put(canvas)
