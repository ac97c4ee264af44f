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

from loopcore.baking.plan import Plan
from loopcore.baking.recipe import write_recipe
from loopcore.baking.writers import NOT_MADE, FrameWriter, write_here
from loopcore.errors import LoopcoreError
from loopcore.exr import is_complete, read_attributes
from loopcore.files.atomic import remove_leftovers
from loopcore.files.claim import Claim
from loopcore.loop import Loop
from loopcore.motion.field import DIGEST, MotionField


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
        depth: see `plan.choose_depth`.
        compression: of EXR frames, one of `formats.COMPRESSIONS`. dwaa and dwab change all pixels a little, and pxr24
            those of depth float.
        overwrite: write frames again that are up to date, that is, whose stored recipe hash is this bake's.
        verify: decode the frames and motion.exr that are up to date, and write those again whose pixels are damaged.
        notes: more entries for recipe.json; `check` reads "layer" and "colorspace" to read the plate alike.
        on_progress: called after every frame.
        cancelled: called between frames; True stops the bake after the frames being written.

    Returns:
        The frames written, skipped and failed. The first frame that cannot be written ends the bake; it and those
        not made are in `failed`, with the reason.

    Raises:
        SequenceError: numbers outside the loop, no valid frame rate, a file that would overwrite the plate, or a folder
            that cannot be written to, or
            that another process writes another loop to.
        EngineError: the GPU fails.
    """
    plan = Plan.of(
        loop, folder, name, first=first, fps=fps, numbers=numbers, format=format, depth=depth, compression=compression
    )
    with plan.claim() as claim:
        return bake_planned(
            plan, claim, overwrite=overwrite, verify=verify, notes=notes, on_progress=on_progress, cancelled=cancelled
        )


def bake_planned(
    plan: Plan,
    claim: Claim,
    *,
    overwrite: bool = False,
    verify: bool = False,
    notes: Mapping[str, object] | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    cancelled: Callable[[], bool] = lambda: False,
    writer: FrameWriter = write_here,
) -> BakeResult:
    """Bakes what was planned, as `bake` does.

    Args:
        plan: of the bake.
        claim: on its folder; checked before each file.
        overwrite: see `bake`.
        verify: see `bake`.
        notes: see `bake`.
        on_progress: see `bake`.
        cancelled: see `bake`.
        writer: computes and writes the frames; by default this process.

    Returns:
        As `bake`.

    Raises:
        SequenceError: the folder cannot be written to.
        EngineError: the GPU fails.
    """
    folder, numbers = plan.pattern.folder, plan.numbers
    remove_leftovers(folder)
    claim.check()
    write_recipe(folder, plan.recipe, plan.name, plan.loop.plate.source, notes or {})
    run = _Bake(plan, claim, on_progress, cancelled, writer)
    run.write(numbers if overwrite else run.skip_current(numbers, verify), verify)
    run.check_files(numbers)
    return run.result


class _Bake:
    """One bake in progress, and its result so far."""

    def __init__(
        self,
        plan: Plan,
        claim: Claim,
        on_progress: Callable[[Progress], None] | None,
        cancelled: Callable[[], bool],
        writer: FrameWriter,
    ) -> None:
        self.result, self._writer = BakeResult(), writer
        self._plan, self._claim, self._on_progress, self._cancelled = plan, claim, on_progress, cancelled
        self._started = threading.Event()

    def skip_current(self, numbers: Sequence[int], verify: bool) -> list[int]:
        """Returns the numbers of frames that are not up to date, and reports the others as skipped."""
        missing = []
        for number in numbers:
            if self._cancelled() or not self._plan.is_current(number, verify):
                missing.append(number)
            else:
                self.result.skipped.append(number)
                self._report(None)
        return missing

    def write(self, numbers: Sequence[int], verify: bool) -> None:
        """Writes frames and motion.exr; see `is_saved` for `verify`."""
        # Saving takes seconds for a large plate, so it runs in a thread, and only after the first frame is written.
        with ThreadPoolExecutor(1, thread_name_prefix="loopcore-motion") as thread:
            saving = thread.submit(_save_motion, self._plan, self._claim, self._started, verify)
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
            if not (path := self._plan.pattern.path(number)).is_file():
                self.result.failed[number] = f"'{path}' vanished after it was written: bake again"

    def _write_frames(self, numbers: Sequence[int]) -> None:
        result, plan = self.result, self._plan
        with closing(self._writer(plan, self._claim, numbers, self._cancelled)) as frames:
            for number, reason in frames:
                if reason:
                    result.failed[number] = reason
                    continue
                result.written.append(number)
                self._started.set()
                self._report(plan.pattern.path(number))
        if result.failed:
            for number in set(numbers).difference(result.written, result.failed):
                result.failed[number] = NOT_MADE
        result.cancelled = self._cancelled() and len(result.written) + len(result.failed) < len(numbers)

    def _report(self, path: Path | None) -> None:
        if self._on_progress is not None:
            done = len(self.result.written) + len(self.result.skipped)
            self._on_progress(Progress(done, len(self._plan.numbers), path))


def _save_motion(plan: Plan, claim: Claim, started: threading.Event, verify: bool) -> None:
    started.wait()
    motion, path = plan.loop.motion, plan.pattern.folder / "motion.exr"
    claim.check()
    if not is_saved(path, motion, verify):
        motion.save(path)


def is_saved(path: Path, motion: MotionField, verify: bool = False) -> bool:
    """Returns whether Loopcore wrote this motion to a file; in files of other programs other channels may be outdated.

    Args:
        path: the file; it may be missing.
        motion: the motion.
        verify: also decode the pixels, which takes longer than reading the digest in the header.
    """
    try:
        attributes = read_attributes(path)
        if "loopcore/version" not in attributes or not is_complete(path):
            return False
        stored = None if verify else attributes.get(DIGEST)
        return (stored or MotionField.load(path).digest()) == motion.digest()
    except LoopcoreError:
        return False
