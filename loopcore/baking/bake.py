# SPDX-License-Identifier: Apache-2.0
"""Writes the frames of a loop to files, with progress, cancelling and resuming.

Frames are computed one after another, each with all threads or on the GPU. Other threads meanwhile copy the earlier
frames from the GPU, compress and write them. Buffers are reused, so memory does not grow with the number of frames.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

from loopcore.baking.frame_rate import frame_rate
from loopcore.baking.frames import is_current
from loopcore.baking.recipe import Recipe, write_recipe
from loopcore.baking.writers import NOT_MADE, FrameWriter, write_here
from loopcore.errors import LoopcoreError, SequenceError
from loopcore.exr import HALF_MAX, read_attributes
from loopcore.files.atomic import make_folder, remove_leftovers
from loopcore.files.overwrite import refuse_overwriting
from loopcore.files.pattern import FramePattern
from loopcore.files.ranges import check_frames, format_range
from loopcore.loop import Loop
from loopcore.motion.field import MotionField

COMPRESSIONS = ("zip", "zips", "piz", "rle", "none", "pxr24", "dwaa", "dwab")
FORMATS = {"exr": ("half", "float"), "png": ("8", "16")}


@dataclass
class Progress:
    """The argument of `on_progress`, called after every frame.

    Attributes:
        done: frames finished so far.
        total: frames to make.
        path: the file just written; None for a frame that was up to date.
    """

    done: int
    total: int
    path: Path | None


@dataclass
class BakeResult:
    """The result of a bake.

    Attributes:
        written: frame numbers written.
        skipped: frame numbers that were up to date.
        failed: frame number to reason.
        cancelled: whether the bake was stopped before all frames were made.
    """

    written: list[int] = field(default_factory=list)
    skipped: list[int] = field(default_factory=list)
    failed: dict[int, str] = field(default_factory=dict)
    cancelled: bool = False


def choose_depth(loop: Loop, format: str, depth: str | None) -> str:
    """Returns the depth to write.

    Args:
        loop: the loop to write.
        format: "exr" or "png".
        depth: "half" or "float" for EXR, "8" or "16" for PNG. None: 8 bits for PNG; for EXR half, or float where a
            frame may exceed the range of half.

    Raises:
        SequenceError: an unknown format or depth, or channels that the format cannot hold.
    """
    channels = loop.plate.channels
    if format == "png" and len(channels) - ("A" in channels) not in (1, 3):
        raise SequenceError(f"a PNG cannot hold the channels {', '.join(channels)}: write EXR")
    check_format(format, depth)
    if depth is not None:
        return depth
    if format == "png":
        return "8"
    return "float" if loop.bound() > HALF_MAX else "half"


def check_format(format: str, depth: str | None, compression: str = "zip") -> None:
    """Checks what `bake` takes.

    Args:
        format: of the frames.
        depth: of their pixels; None is chosen by the format.
        compression: of EXR frames.

    Raises:
        SequenceError: one is unknown, or has no meaning for the format.
    """
    if format not in FORMATS:
        raise SequenceError(f"unknown format {format!r}: choose one of {', '.join(FORMATS)}")
    if depth is not None and depth not in FORMATS[format]:
        raise SequenceError(f"{format} has no depth {depth!r}: choose one of {', '.join(FORMATS[format])}")
    if compression not in COMPRESSIONS:
        raise SequenceError(f"unknown compression {compression!r}: choose one of {', '.join(COMPRESSIONS)}")
    if format == "png" and compression != "zip":
        raise SequenceError(f"compression {compression!r} has no meaning for PNG, only for EXR: leave it out")


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
    compression: str = "zip",
    overwrite: bool = False,
    verify: bool = False,
    notes: Mapping[str, object] | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    cancelled: Callable[[], bool] = lambda: False,
    writer: FrameWriter | None = None,
) -> BakeResult:
    """Writes a loop's frames as `folder/name.1001.exr` and so on, with `motion.exr` and `recipe.json` beside them.

    Args:
        loop: the loop.
        folder: made where it is missing.
        name: start of the frames' file names.
        first: number of the first frame.
        fps: frames per second, for example 24, 23.976 (24000/1001) or "30000/1001"; see `frame_rate`.
        numbers: the frame numbers to write, within first .. first + N - 1; None writes all.
        format: "exr" or "png".
        depth: see `choose_depth`.
        compression: of EXR frames, one of `COMPRESSIONS`. zip packs 16 lines together, zips one; piz suits grain; rle
            and none are fast and large. pxr24 rounds floats to 24 bits; dwaa and dwab are lossy like JPEG.
        overwrite: write frames again that are up to date, that is, whose stored recipe hash is this bake's.
        verify: decode the frames that are up to date, and write those again whose pixels are damaged.
        notes: more entries for recipe.json; `check` reads "layer" and "colorspace" to read the plate alike.
        on_progress: called after every frame.
        cancelled: called between frames; True stops the bake after the frames being written.
        writer: computes and writes the frames elsewhere; None does so in this process.

    Returns:
        The frames written, skipped and failed. The first frame that cannot be written ends the bake; it and those
        not made are in `failed`, with the reason.

    Raises:
        SequenceError: numbers outside the loop, no valid frame rate, a file that would overwrite the plate, or a folder
            that cannot be written to.
        EngineError: the GPU fails.
    """
    folder = Path(folder)
    depth = choose_depth(loop, format, depth)
    check_format(format, depth, compression)
    recipe = Recipe.of(loop, first=first, fps=frame_rate(fps), format=format, depth=depth, compression=compression)
    pattern = FramePattern(folder, f"{name}.", f".{format}")
    wanted = checked_numbers(numbers, first, loop.frames)
    refuse_overwriting([loop.plate.source], [folder / "motion.exr", *map(pattern.path, wanted)])
    make_folder(folder)
    remove_leftovers(folder)
    write_recipe(folder, recipe, name, loop.plate.source, notes or {})
    run = _Bake(loop, recipe, pattern, len(wanted), on_progress, cancelled, writer or write_here)
    run.write(wanted if overwrite else run.skip_current(wanted, verify))
    run.check_files(wanted)
    return run.result


def checked_numbers(numbers: Sequence[int] | None, first: int, frames: int) -> list[int]:
    """Returns the frame numbers to write, in order.

    Args:
        numbers: those wanted; None is all.
        first: number of the loop's first frame.
        frames: N.

    Raises:
        SequenceError: one is not in the loop, or a number is too large.
    """
    every = range(first, first + frames)
    check_frames(frames, first)
    if numbers is None:
        return list(every)
    outside = [n for n in numbers if n not in every]
    if outside:
        raise SequenceError(
            f"frames {format_range(outside)} are not in the loop, which has {every[0]}-{every[-1]}: change the range, "
            "the first frame or the number of frames"
        )
    return sorted(set(numbers))


class _Bake:
    """One bake in progress, and its result so far."""

    def __init__(
        self,
        loop: Loop,
        recipe: Recipe,
        pattern: FramePattern,
        total: int,
        on_progress: Callable[[Progress], None] | None,
        cancelled: Callable[[], bool],
        writer: FrameWriter,
    ) -> None:
        self.loop, self.recipe, self.pattern, self._writer = loop, recipe, pattern, writer
        self.result = BakeResult()
        self._total, self._on_progress, self._cancelled = total, on_progress, cancelled
        self._started = threading.Event()

    def skip_current(self, numbers: Sequence[int], verify: bool) -> list[int]:
        """Returns the numbers of frames that are not up to date, and reports the others as skipped."""
        missing = []
        for number in numbers:
            if self._cancelled() or not is_current(self.pattern.path(number), self.recipe, number, verify):
                missing.append(number)
            else:
                self.result.skipped.append(number)
                self._report(None)
        return missing

    def write(self, numbers: Sequence[int]) -> None:
        """Writes frames and motion.exr."""
        path = self.pattern.folder / "motion.exr"
        # Saving takes seconds for a large plate, so it runs in a thread, and only after the first frame is written.
        with ThreadPoolExecutor(1, thread_name_prefix="loopcore-motion") as thread:
            saving = thread.submit(_save_motion, self.loop.motion, path, self._started)
            try:
                self._write_frames(numbers)
            finally:
                self._started.set()
        error = saving.exception()
        if error is not None and not self.result.failed:
            raise error

    def check_files(self, numbers: Sequence[int]) -> None:
        """Reports files as failed that something else removed while the bake ran."""
        if self.result.failed or self.result.cancelled:
            return
        for number in numbers:
            if not (path := self.pattern.path(number)).is_file():
                self.result.failed[number] = f"'{path}' vanished after it was written: bake again"

    def _write_frames(self, numbers: Sequence[int]) -> None:
        result = self.result
        with closing(self._writer(self.loop, self.recipe, self.pattern, numbers, self._cancelled)) as frames:
            for number, reason in frames:
                if reason:
                    result.failed[number] = reason
                    continue
                result.written.append(number)
                self._started.set()
                self._report(self.pattern.path(number))
        if result.failed:
            for number in set(numbers).difference(result.written, result.failed):
                result.failed[number] = NOT_MADE
        result.cancelled = self._cancelled() and len(result.written) + len(result.failed) < len(numbers)

    def _report(self, path: Path | None) -> None:
        if self._on_progress is not None:
            done = len(self.result.written) + len(self.result.skipped)
            self._on_progress(Progress(done, self._total, path))


def _save_motion(motion: MotionField, path: Path, started: threading.Event) -> None:
    started.wait()
    if not is_saved(path, motion):
        motion.save(path)


def is_saved(path: Path, motion: MotionField) -> bool:
    """Returns whether Loopcore wrote this motion to a file; in files of other programs other channels may be outdated.

    Args:
        path: the file; it may be missing.
        motion: the motion.
    """
    try:
        return "loopcore/version" in read_attributes(path) and MotionField.load(path).digest() == motion.digest()
    except LoopcoreError:
        return False
