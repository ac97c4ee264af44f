# SPDX-License-Identifier: Apache-2.0
"""Recipe and frame range in, files out: with progress, cancelling, and nothing half done.

Frames are computed one after another, each with all threads, while those before are being compressed and written by
threads of their own. Buffers are used again and again, so memory does not grow with the number of frames.
"""

import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import numpy as np

from ._bake_frames import is_current, write_frame
from .errors import LoopcoreError, SequenceError
from .exr import read_attributes
from .loop import Loop
from .motion.field import MotionField
from .recipe import Recipe, write_recipe
from .sequence import (
    MAX_FRAME_NUMBER,
    MAX_FRAMES,
    FramePattern,
    format_range,
    remove_leftovers,
    write_atomically,
)
from .transport._bands import thread_count

FORMATS = {"exr": ("half", "float"), "png": ("8", "16")}
MOST_WRITERS = 8
HALF_MAX = 65504.0
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
class Report:
    """What a bake did: frame numbers written, left as they were, and failed with the reason."""

    written: list[int] = field(default_factory=list)
    skipped: list[int] = field(default_factory=list)
    failed: dict[int, str] = field(default_factory=dict)
    cancelled: bool = False


def choose_depth(loop: Loop, format: str, depth: str | None) -> str:
    """The depth to write: as asked, else half (float where the plate is brighter than half can say), or 8 bits.

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
    brightest = np.abs(loop.plate.pixels).max(initial=0)
    if not np.isfinite(brightest):
        brightest = np.abs(loop.plate.pixels[np.isfinite(loop.plate.pixels)]).max(initial=0)
    return "float" if brightest > HALF_MAX else "half"


def bake(
    loop: Loop, folder: str | Path, name: str, *, first: int = 1001, fps: Fraction = Fraction(24),
    numbers: Sequence[int] | None = None, format: str = "exr", depth: str | None = None, overwrite: bool = False,
    notes: Mapping[str, object] | None = None, on_progress: Callable[[Progress], None] | None = None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Report:
    """Write a loop's frames as `folder/name.1001.exr` and so on, with `motion.exr` and `recipe.json` beside them.

    numbers: which frame numbers to write, within first .. first + N - 1; all when not given. A frame whose stored
    recipe hash is this bake's is left alone, unless `overwrite`. notes go into recipe.json: "layer" and "colorspace"
    tell `check` how the plate was read, others are for people.
    `cancelled` is asked between frames; what is being written then is finished, so that only whole files are left.

    Raises SequenceError for numbers outside the loop, or a folder that cannot be made or written to. A frame that
    cannot be written ends the bake: it and those not made are in the report's `failed`, with the reason.
    """
    folder = Path(folder)
    recipe = Recipe.of(loop, first=first, fps=fps, format=format, depth=choose_depth(loop, format, depth))
    pattern = FramePattern(folder, f"{name}.", f".{format}")
    wanted = _checked_numbers(numbers, first, loop.frames)
    _make(folder)
    remove_leftovers(folder)
    write_recipe(folder, recipe, name, loop.plate.source, notes or {})
    report, total, underway = Report(), len(wanted), threading.Event()

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
        saving = beside.submit(lambda: underway.wait() and _save_motion(loop.motion, folder / "motion.exr"))
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


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SequenceError(f"cannot make folder '{folder}': {error.strerror or error}") from error


def _save_motion(motion: MotionField, path: Path) -> None:
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
    loop: Loop, recipe: Recipe, pattern: FramePattern, todo: list[int], report: Report,
    tell: Callable[[Path | None], None], cancelled: Callable[[], bool],
) -> None:
    writers = max(1, min(MOST_WRITERS, thread_count() // 2, len(todo)))
    half = recipe.depth == "half"
    free: queue.SimpleQueue[np.ndarray] = queue.SimpleQueue()
    made = 0
    stop = threading.Event()

    def fill(number: int, canvas: np.ndarray, temporary: Path) -> None:
        try:
            write_frame(temporary, canvas, loop.plate, recipe, recipe.time(number))
        except SequenceError as error:
            # Nobody knows the hidden file by its name.
            raise SequenceError(str(error).replace(str(temporary), str(pattern.path(number)))) from error

    def write(number: int, canvas: np.ndarray) -> Path:
        try:
            if stop.is_set():
                raise SequenceError(_NOT_MADE)
            path = pattern.path(number)
            write_atomically(path, lambda temporary: fill(number, canvas, temporary))
            return path
        except BaseException:
            stop.set()
            raise
        finally:
            free.put(canvas)

    pending: dict[Future[Path], int] = {}

    def collect(block: bool) -> None:
        if pending and block:
            wait(pending, return_when=FIRST_COMPLETED)
        for future in [f for f in pending if f.done()]:
            number = pending.pop(future)
            try:
                path = future.result()
            except LoopcoreError as error:
                report.failed[number] = str(error)
                continue
            report.written.append(number)
            tell(path)

    with ThreadPoolExecutor(writers, thread_name_prefix="loopcore-write") as pool:
        try:
            for number in todo:
                if stop.is_set() or cancelled():
                    break
                if made < writers + 1:
                    canvas, made = loop.canvas(np.float16 if half else np.float32), made + 1
                else:
                    # One buffer is always on its way back: its writer puts it there whatever happens.
                    canvas = free.get()
                loop.render(recipe.time(number), canvas)
                pending[pool.submit(write, number, canvas)] = number
                collect(block=False)
            while pending:
                collect(block=True)
        except BaseException:
            stop.set()  # What waits to be written is not begun any more.
            raise
    if report.failed:
        for number in set(todo).difference(report.written, report.failed):
            report.failed[number] = _NOT_MADE
    report.cancelled = cancelled() and len(report.written) + len(report.failed) < len(todo)
