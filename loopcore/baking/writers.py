# SPDX-License-Identifier: Apache-2.0
"""Writers of a bake's frames: this process, or another that keeps to the same interface."""

import queue
import threading
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Self

import numpy as np

from loopcore.baking.plan import Plan
from loopcore.errors import LoopcoreError, SequenceError
from loopcore.exr import ExrPart
from loopcore.files.atomic import write_atomically
from loopcore.files.claim import Claim
from loopcore.loop import Loop
from loopcore.parallel import thread_count

MAX_WRITERS = 8
LAYERED_BYTES = 1 << 30  # of frames with layers that are written at once
NOT_MADE = "not made, after another frame failed"

Written = Generator[tuple[int, str], None, None]
# Writes frames `(plan, claim, numbers, cancelled)`, and yields the number of each with the reason why it failed, "" if
# it was written. Ends early once `cancelled()` is true or a frame failed.
FrameWriter = Callable[[Plan, Claim, Sequence[int], Callable[[], bool]], Written]


def write_here(plan: Plan, claim: Claim, numbers: Sequence[int], cancelled: Callable[[], bool]) -> Written:
    """The `FrameWriter` of this process: computes one frame after another, and writes them by other threads.

    Args:
        plan: of the bake.
        claim: on its folder; checked before each file.
        numbers: the frames to write.
        cancelled: called between frames.
    """
    with _Writers(plan, claim.check, len(numbers)) as writers:
        for number in numbers:
            if writers.stop.is_set() or cancelled():
                break
            canvas, parts = writers.canvas()
            arrived = plan.loop.begin(plan.recipe.time(number), canvas)
            if plan.loop.plate.layers is not None:
                arrived()
                parts = plan.carried(canvas, number, parts)
            writers.submit(number, canvas, arrived, parts)
            yield from writers.finished(wait_for_one=False)
        while writers.pending:
            yield from writers.finished(wait_for_one=True)


def save_frame(
    plan: Plan,
    number: int,
    canvas: np.ndarray,
    parts: list[ExrPart] | None = None,
    check: Callable[[], None] = lambda: None,
) -> None:
    """Writes a rendered frame to its file, atomically.

    Args:
        plan: of the bake.
        number: of the frame.
        canvas: its pixels.
        parts: with layers, those of the frame; see `Plan.carried`.
        check: called before the file gets its name; raises to prevent that.

    Raises:
        SequenceError: the file cannot be written.
    """

    def write(temporary: Path) -> None:
        plan.write_frame(temporary, canvas, number, parts)
        check()

    write_atomically(plan.pattern.path(number), write)


def writer_count(frames: int) -> int:
    """Returns the number of threads that encode and write: one more than half of those that compute.

    A frame may take longer to encode than to compute, and then more than one writer keeps two cores busy.

    Args:
        frames: how many there are to write.
    """
    return max(1, min(MAX_WRITERS, thread_count() // 2 + 1, frames))


def _most_layered(loop: Loop) -> int:
    """Returns how many frames with layers may be written at once, for their memory."""
    layers = loop.plate.layers
    return MAX_WRITERS if layers is None else max(1, LAYERED_BYTES // layers.nbytes)


class _Writers:
    """Threads that write frames while others are computed, with a fixed number of reused canvases and parts.

    After a failed frame, or an exception in the block, frames still waiting are not written.
    """

    def __init__(self, plan: Plan, check: Callable[[], None], frames: int) -> None:
        self._plan, self._check = plan, check
        self.stop = threading.Event()
        self.pending: dict[Future[None], int] = {}
        threads = min(writer_count(frames), _most_layered(plan.loop))
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="loopcore-write")
        self._free: queue.SimpleQueue[tuple[np.ndarray, list[ExrPart] | None]] = queue.SimpleQueue()
        self._unmade = threads + 1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if error is not None:
            self.stop.set()
        self._pool.shutdown()

    def canvas(self) -> tuple[np.ndarray, list[ExrPart] | None]:
        """Returns a canvas to render into, and parts of an earlier frame if there are any; waits until one is free."""
        if self._unmade:
            self._unmade -= 1
            return self._plan.canvas(), None
        return self._free.get()

    def submit(self, number: int, canvas: np.ndarray, arrived: Callable[[], None], parts: list[ExrPart] | None) -> None:
        """Queues a frame for writing, which calls `arrived` first, and frees its canvas whether or not that fails.

        With layers, `parts` are the frame's.
        """
        self.pending[self._pool.submit(self._write, number, canvas, arrived, parts)] = number

    def finished(self, wait_for_one: bool) -> Written:
        """Yields the frames that were written or failed since the last call, in the order of `submit`."""
        while self.pending:
            future = next(iter(self.pending))
            if not wait_for_one and not future.done():
                return
            wait_for_one = False
            error = future.exception()
            if error is not None and not isinstance(error, LoopcoreError):
                raise error
            yield self.pending.pop(future), "" if error is None else str(error)

    def _write(self, number: int, canvas: np.ndarray, arrived: Callable[[], None], parts: list[ExrPart] | None) -> None:
        try:
            arrived()
            if self.stop.is_set():
                raise SequenceError(NOT_MADE)
            save_frame(self._plan, number, canvas, parts, self._check)
        except BaseException:
            self.stop.set()
            raise
        finally:
            self._free.put((canvas, parts))
