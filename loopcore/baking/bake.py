# SPDX-License-Identifier: Apache-2.0
"""Recipe and frame range in, files out: with progress, cancelling, and nothing half done.

Frames are computed one after another, each with all threads or on the GPU, while those before come down from it, or are
being compressed and written, by threads of their own. Buffers are used again and again, so memory does not grow with
the number of frames.
"""

import queue
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Self

import numpy as np

from loopcore.baking.frame_rate import frame_rate
from loopcore.baking.frames import is_current, write_frame
from loopcore.baking.recipe import Recipe, write_recipe
from loopcore.errors import LoopcoreError, SequenceError
from loopcore.exr import HALF_MAX, read_attributes
from loopcore.files.atomic import make_folder, remove_leftovers, write_atomically
from loopcore.files.pattern import FramePattern
from loopcore.files.ranges import MAX_FRAME_NUMBER, MAX_FRAMES, format_range
from loopcore.loop import Loop
from loopcore.motion.field import MotionField
from loopcore.parallel import thread_count

FORMATS = {"exr": ("half", "float"), "png": ("8", "16")}
MAX_WRITERS = 8
_NOT_MADE = "not made, after another frame failed"


@dataclass
class Progress:
    """What `on_progress` is told after every frame: how many of `total` are there, and the last one's file.

    `path` is None for frames that were already up to date.
    """

    done: int
    total: int
    path: Path | None


@dataclass
class BakeResult:
    """What a bake did: frame numbers written, left as they were, and failed with the reason."""

    written: list[int] = field(default_factory=list)
    skipped: list[int] = field(default_factory=list)
    failed: dict[int, str] = field(default_factory=dict)
    cancelled: bool = False


def choose_depth(loop: Loop, format: str, depth: str | None) -> str:
    """The depth to write: as asked, else half (float where a frame may be brighter than half can say), or 8 bits.

    Raises SequenceError for a format or depth that does not exist, or that has no place for the plate's channels.
    """
    channels = loop.plate.channels
    if format == "png" and len(channels) - ("A" in channels) not in (1, 3):
        raise SequenceError(f"a PNG cannot hold the channels {', '.join(channels)}: write EXR")
    if format not in FORMATS:
        raise SequenceError(f"unknown format {format!r}: choose one of {', '.join(FORMATS)}")
    if depth is not None:
        if depth not in FORMATS[format]:
            raise SequenceError(f"{format} has no depth {depth!r}: choose one of {', '.join(FORMATS[format])}")
        return depth
    if format == "png":
        return "8"
    return "float" if loop.bound() > HALF_MAX else "half"


def bake(
    loop: Loop,
    folder: str | Path,
    name: str,
    *,
    first: int = 1001,
    fps: Fraction | float | str = 24,
    numbers: Sequence[int] | None = None,
    format: str = "exr",
    depth: str | None = None,
    overwrite: bool = False,
    notes: Mapping[str, object] | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    cancelled: Callable[[], bool] = lambda: False,
) -> BakeResult:
    """Write a loop's frames as `folder/name.1001.exr` and so on, with `motion.exr` and `recipe.json` beside them.

    numbers: which frame numbers to write, within first .. first + N - 1; all when not given. A frame whose stored
    recipe hash is this bake's is left alone, unless `overwrite`. notes go into recipe.json: "layer" and "colorspace"
    tell `check` how the plate was read, others are for people.
    fps: frames a second, as a number, a Fraction or text: 24, 23.976 (which is 24000/1001), "30000/1001".
    `cancelled` is asked between frames; what is being written then is finished, so that only whole files are left.

    Raises SequenceError for numbers outside the loop, no frame rate, or a folder that cannot be made or written to. A
    frame that cannot be written ends the bake: it and those not made are in the report's `failed`, with the reason.
    EngineError where the GPU fails.
    """
    folder = Path(folder)
    depth = choose_depth(loop, format, depth)
    recipe = Recipe.of(loop, first=first, fps=frame_rate(fps), format=format, depth=depth)
    pattern = FramePattern(folder, f"{name}.", f".{format}")
    wanted = _checked_numbers(numbers, first, loop.frames)
    make_folder(folder)
    remove_leftovers(folder)
    write_recipe(folder, recipe, name, loop.plate.source, notes or {})
    report, total, underway = BakeResult(), len(wanted), threading.Event()

    def tell(path: Path | None) -> None:
        if path is not None:
            underway.set()
        if on_progress is not None:
            on_progress(Progress(len(report.written) + len(report.skipped), total, path))

    todo = []
    for number in wanted:
        if not overwrite and is_current(pattern.path(number), recipe, number):
            report.skipped.append(number)
            tell(None)
        else:
            todo.append(number)
    # Seconds for a large plate: beside the frames, once somebody has one to look at.
    with ThreadPoolExecutor(1, thread_name_prefix="loopcore-motion") as beside:
        saving = beside.submit(_save_motion, loop.motion, folder / "motion.exr", underway)
        try:
            _write_all(loop, recipe, pattern, todo, report, tell, cancelled)
        finally:
            underway.set()
    problem = saving.exception()
    if problem is not None and not report.failed:
        raise problem
    if not report.failed and not report.cancelled:
        for number in wanted:
            if not pattern.path(number).is_file():
                report.failed[number] = f"'{pattern.path(number)}' vanished after it was written: bake again"
    return report


def _save_motion(motion: MotionField, path: Path, underway: threading.Event) -> None:
    underway.wait()
    if not _holds(path, motion):
        motion.save(path)


def _holds(path: Path, motion: MotionField) -> bool:
    """Whether `path` is this motion as we write it: where others wrote to it, its other channels may be old."""
    try:
        return "loopcore/version" in read_attributes(path) and MotionField.load(path).digest() == motion.digest()
    except LoopcoreError:
        return False


def _checked_numbers(numbers: Sequence[int] | None, first: int, frames: int) -> list[int]:
    every = range(first, first + frames)
    if frames > MAX_FRAMES or max(abs(every[0]), abs(every[-1])) > MAX_FRAME_NUMBER:
        raise SequenceError(
            f"{frames} frames from {first} on are too many or too far: at most {MAX_FRAMES}, up to {MAX_FRAME_NUMBER}"
        )
    if numbers is None:
        return list(every)
    outside = [n for n in numbers if n not in every]
    if outside:
        raise SequenceError(
            f"frames {format_range(outside)} are not in the loop, which has {every[0]}-{every[-1]}: change the range, "
            "the first frame or the number of frames"
        )
    return sorted(set(numbers))


def _write_all(
    loop: Loop,
    recipe: Recipe,
    pattern: FramePattern,
    todo: list[int],
    report: BakeResult,
    tell: Callable[[Path | None], None],
    cancelled: Callable[[], bool],
) -> None:
    with _Writers(loop, recipe, pattern, len(todo)) as writers:
        for number in todo:
            if writers.stop.is_set() or cancelled():
                break
            canvas = writers.canvas()
            writers.submit(number, canvas, loop.begin(recipe.time(number), canvas))
            _collect(writers.finished(wait_for_one=False), report, tell)
        while writers.pending:
            _collect(writers.finished(wait_for_one=True), report, tell)
    if report.failed:
        for number in set(todo).difference(report.written, report.failed):
            report.failed[number] = _NOT_MADE
    report.cancelled = cancelled() and len(report.written) + len(report.failed) < len(todo)


def _collect(
    finished: Iterator[tuple[int, Future[Path]]], report: BakeResult, tell: Callable[[Path | None], None]
) -> None:
    for number, future in finished:
        try:
            path = future.result()
        except LoopcoreError as error:
            report.failed[number] = str(error)
            continue
        report.written.append(number)
        tell(path)


class _Writers:
    """Threads that write frames while others are computed, and the few canvases that go round between them.

    Once a frame has failed, or the block is left by an exception, what waits to be written is not begun any more.
    """

    def __init__(self, loop: Loop, recipe: Recipe, pattern: FramePattern, frames: int) -> None:
        self.loop, self.recipe, self.pattern = loop, recipe, pattern
        self.stop = threading.Event()
        self.pending: dict[Future[Path], int] = {}
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
        """A canvas to render into; waits for one to be written where all are on their way."""
        if self._unmade:
            self._unmade -= 1
            return self.loop.canvas(np.float16 if self.recipe.depth == "half" else np.float32)
        return self._free.get()

    def submit(self, number: int, canvas: np.ndarray, arrived: Callable[[], None]) -> None:
        """Have a frame written once it has arrived; its canvas is free again afterwards, whatever happens."""
        self.pending[self._pool.submit(self._write, number, canvas, arrived)] = number

    def finished(self, wait_for_one: bool) -> Iterator[tuple[int, Future[Path]]]:
        """The frames that are done, or failed, since the last call."""
        if wait_for_one:
            wait(self.pending, return_when=FIRST_COMPLETED)
        for future in [f for f in self.pending if f.done()]:
            yield self.pending.pop(future), future

    def _write(self, number: int, canvas: np.ndarray, arrived: Callable[[], None]) -> Path:
        try:
            arrived()
            if self.stop.is_set():
                raise SequenceError(_NOT_MADE)
            path, time = self.pattern.path(number), self.recipe.time(number)
            write_atomically(path, lambda hidden: write_frame(hidden, canvas, self.loop.plate, self.recipe, time))
            return path
        except BaseException:
            self.stop.set()
            raise
        finally:
            self._free.put(canvas)
