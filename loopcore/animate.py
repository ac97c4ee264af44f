# SPDX-License-Identifier: Apache-2.0
"""Describes and runs a whole job: from a plate and its motion to frames, proxies and previews.

The command line, the worker, Blender and farms all use `Job` and `run`, so a setting means the same everywhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from loopcore.errors import MotionError, SequenceError
from loopcore.files.atomic import make_folder
from loopcore.files.overwrite import refuse_overwriting
from loopcore.files.pattern import FramePattern
from loopcore.files.ranges import check_frames
from loopcore.observer import Observer

if TYPE_CHECKING:
    from loopcore.baking.bake import BakeResult, FrameWriter
    from loopcore.loop import Loop
    from loopcore.motion.field import MotionField
    from loopcore.plate import Plate

FILM_CYCLES = 3  # repetitions of the loop in the preview film


@dataclass(frozen=True)
class Source:
    """A plate and the source of its motion.

    Attributes:
        plate: the still.
        layer: as for `loopcore.read_plate`.
        colorspace: as for `loopcore.read_plate`.
        hints: strokes, anchors and mask.
        mask: a picture that replaces the mask of hints or motion.
        weights: the network that predicts the motion; None is the shipped one.
        motion: a flow map to use instead of a prediction.
        convention: of the flow map; None detects it.
        rescale: resize a motion of another size to the plate, instead of refusing it.
        speed: factor on the motion.
        resolution: percent of the plate's size to work at, 1 to 100.

    Raises:
        MotionError: both motion and hints or weights, a setting of a motion without one, or speed 0.
        SequenceError: a resolution out of range.
    """

    plate: Path
    layer: str | None = None
    colorspace: str | None = None
    hints: Path | None = None
    mask: Path | None = None
    weights: Path | None = None
    motion: Path | None = None
    convention: str | None = None
    rescale: bool = False
    speed: float = 1.0
    resolution: int = 100

    def __post_init__(self) -> None:
        if self.motion is not None and self.hints is not None:
            raise MotionError("motion and hints cannot be combined: leave one out")
        if self.motion is not None and self.weights is not None:
            raise MotionError("motion and weights, which predict another one, cannot be combined: leave one out")
        for name in ("rescale", "convention"):
            if self.motion is None and getattr(self, name):
                raise MotionError(f"{name} has no meaning without a motion: leave it out, or give --motion")
        if self.speed == 0:
            raise MotionError("speed 0 stops all motion: give another factor")
        if not 1 <= self.resolution <= 100:
            raise SequenceError(f"resolution {self.resolution} is out of range: give 1 to 100 percent")

    def files(self) -> list[Path]:
        """Returns the files that are read."""
        from loopcore.flowmap.reading import companions
        from loopcore.motion.hints import painted_mask

        named = [self.plate, self.hints, self.mask, self.weights, self.motion]
        named += [] if self.hints is None else [painted_mask(self.hints)]
        named += [] if self.motion is None else companions(self.motion)
        return [path for path in named if path is not None]

    def read_plate(self, observer: Observer) -> Plate:
        """Returns the plate at its full size.

        Args:
            observer: receives the stage.

        Raises:
            PlateError: the plate cannot be read; see `loopcore.read_plate`.
        """
        from loopcore.plate import read_plate

        observer.stage("Reading the plate")
        return read_plate(self.plate, layer=self.layer, colorspace=self.colorspace)

    def read_motion(self, plate: Plate, observer: Observer) -> MotionField:
        """Returns the motion of a plate, read or predicted, with mask and speed applied.

        Args:
            plate: at the size of the motion.
            observer: receives the stages.

        Raises:
            MotionError: motion, hints or mask cannot be used; see `read_motion` and `predict_motion`.
        """
        from loopcore.flowmap import read_motion
        from loopcore.motion.hints import read_hints, read_mask
        from loopcore.motion.predict import predict_motion

        size, windows = (plate.height, plate.width), plate.windows
        mask = None if self.mask is None else read_mask(self.mask, *size, windows)
        if self.motion is None:
            observer.stage("Making the motion")
            hints = None if self.hints is None else read_hints(self.hints)
            motion = predict_motion(plate, hints, mask, self.weights)
        else:
            observer.stage("Reading the motion")
            rescale = self.rescale or self.resolution != 100
            motion = read_motion(self.motion, self.convention, size=size, windows=windows, rescale=rescale)
            motion = motion if mask is None else replace(motion, mask=mask)
            if not motion.mask.any():
                raise MotionError(f"the mask in {self.motion} is black all over: nothing would move. Give a --mask")
        return motion if self.speed == 1.0 else motion.scaled(self.speed)

    def read_both(self, observer: Observer) -> tuple[Plate, MotionField]:
        """Returns the motion as a job reads or predicts it, and the plate of the motion's size.

        Args:
            observer: receives the stages.

        Raises:
            LoopcoreError: see `read_plate` and `read_motion`.
        """
        from loopcore.plate.reduced import reduced

        plate = self.read_plate(observer)
        if self.resolution != 100 and not plate.windows.overscan:
            plate = reduced(plate, self.resolution)
        return plate, self.read_motion(plate, observer)


@dataclass(frozen=True)
class Job:
    """Everything that determines what `run` writes.

    Attributes:
        source: the plate and its motion.
        folder: folder of the frames.
        name: start of their file names; "" for the plate's name and `_loop`.
        frames: length N of the loop.
        fps: frames per second; see `loopcore.bake`.
        first: number of the first frame.
        numbers: the frame numbers to write; None writes all.
        method: "warp" or "splat"; see `loopcore.Loop`.
        contrast: 0 to 1; see `loopcore.Loop`.
        device: "auto", "cpu" or "cuda"; see `loopcore.Loop`.
        format: "exr" or "png".
        depth: see `loopcore.bake`.
        overwrite: write frames again that are up to date.
        verify: decode frames that are up to date, and write damaged ones again.
        proxy: also write small 8-bit copies into the folder `proxy`.
        preview: also write a film, a contact sheet and a picture of the motion, once all frames exist.
    """

    source: Source
    folder: Path
    name: str = ""
    frames: int = 60
    fps: Fraction = Fraction(24)
    first: int = 1001
    numbers: tuple[int, ...] | None = None
    method: str = "warp"
    contrast: float = 1.0
    cycles: int | str = "auto"
    steady: float | str = "auto"
    device: str = "auto"
    format: str = "exr"
    depth: str | None = None
    overwrite: bool = False
    proxy: bool = False
    preview: bool = False
    verify: bool = False

    @property
    def pattern(self) -> FramePattern:
        """The frames' file names.

        Raises:
            SequenceError: the name cannot be part of a file name.
        """
        return FramePattern(self.folder, f"{self.stem}.", f".{self.format}")

    @property
    def stem(self) -> str:
        """Start of the names of all files except motion.exr and recipe.json."""
        return self.name or f"{self.source.plate.stem}_loop"


@dataclass
class Result:
    """The result of `run`.

    Attributes:
        bake: the frames written, skipped and failed.
        width: of the frames, in pixels.
        height: of the frames, in pixels.
        proxies: names of the proxies, if any were wanted.
        previews: preview files written.
    """

    bake: BakeResult
    width: int
    height: int
    proxies: FramePattern | None = None
    previews: list[Path] = field(default_factory=list)


def run(job: Job, observer: Observer | None = None, writer: FrameWriter | None = None) -> Result:
    """Runs a job.

    Args:
        job: the job.
        observer: receives progress and may stop the job.
        writer: see `loopcore.bake`.

    Returns:
        The files written. If frames failed, they are in `bake.failed` and no previews are written.

    Raises:
        Cancelled: the observer stopped the job; files on disk are complete.
        LoopcoreError: the job cannot be done; see `read_plate`, `predict_motion`, `Loop` and `bake`.
    """
    from loopcore.loop import Loop, load_kernels
    from loopcore.loop.device import gpu_hint

    observer = observer or Observer()
    job.pattern  # noqa: B018  Raises for a bad name before anything is written.
    _refuse_overwriting(job)
    with ThreadPoolExecutor(1) as thread:
        # Saves half a second before the first frame. An error there occurs again, and is reported, in `Loop`.
        thread.submit(load_kernels, job.device)
        whole = job.source.read_plate(observer)
        plate = _reduced(job, whole, observer)
        # Hints cover the overscan or not depending on their size, which is compared with the full plate's.
        reference = whole if whole.windows.overscan else plate
        motion = job.source.read_motion(reference, observer).over(plate.windows)
    observer.raise_if_cancelled()
    observer.stage("Preparing the loop")
    loop = Loop(
        plate,
        motion,
        frames=job.frames,
        method=job.method,
        contrast=job.contrast,
        cycles=job.cycles,
        steady=job.steady,
        device=job.device,
    )
    _refuse_changed_motion(job, loop.motion)
    if loop.device == "cuda":
        observer.note("Computing on the GPU")
    elif job.device == "auto" and (hint := gpu_hint()):
        observer.note(f"Computing on the CPU; {hint}")
    result = _bake(job, loop, observer, writer)
    done = result.bake
    if not done.failed:
        observer.raise_if_cancelled()
    observer.note(f"{len(done.written)} frames written, {len(done.skipped)} up to date, {len(done.failed)} failed")
    if not done.failed:
        result.previews = _previews(job, loop, observer) if job.preview else []
    return result


def _refuse_overwriting(job: Job) -> None:
    """Refuses a job that would overwrite a file that it reads; see `_refuse_changed_motion` for motion.exr."""
    source = job.source
    check_frames(job.frames, job.first)
    own = _is_own_motion(job)
    if own and (source.speed != 1.0 or source.resolution != 100):
        raise MotionError(
            f"'{source.motion}' would be replaced by itself at another speed or size, and again by every run: move it "
            "to another folder"
        )
    inputs = [path for path in source.files() if not (own and path == source.motion)]
    refuse_overwriting(inputs, _outputs(job))


def _is_own_motion(job: Job) -> bool:
    """Returns whether the motion is read from motion.exr of the output folder."""
    motion, output = job.source.motion, job.folder / "motion.exr"
    return motion is not None and output.exists() and motion.exists() and output.samefile(motion)


def _refuse_changed_motion(job: Job, motion: MotionField) -> None:
    """Refuses a motion read from motion.exr of the output folder, if the job would write another one there."""
    from loopcore.baking.bake import is_saved

    if _is_own_motion(job) and not is_saved(job.folder / "motion.exr", motion):
        raise MotionError(f"'{job.source.motion}' would be replaced by another motion: move it to another folder")


def _outputs(job: Job) -> Iterator[Path]:
    """Yields the files that a job writes."""
    from loopcore.preview.proxies import PROXY_FOLDER

    yield from (job.folder / "motion.exr", job.folder / "recipe.json")
    if job.source.resolution != 100:
        yield _still_path(job)
    if job.preview:
        yield from _preview_paths(job)
    for number in range(job.first, job.first + job.frames) if job.numbers is None else job.numbers:
        frame = job.pattern.path(number)
        yield frame
        if job.proxy:
            yield from (job.folder / PROXY_FOLDER / (frame.stem + suffix) for suffix in (".jpg", ".png"))


def _still_path(job: Job) -> Path:
    return job.folder / f"{job.stem}_still.exr"


def _preview_paths(job: Job) -> tuple[Path, Path, Path]:
    """Returns the film, the contact sheet and the picture of the motion."""
    film, sheet, motion = (job.folder / f"{job.stem}{end}" for end in (".mp4", "_sheet.png", "_motion.png"))
    return film, sheet, motion


def _reduced(job: Job, plate: Plate, observer: Observer) -> Plate:
    """Returns the plate at the job's resolution; a smaller one is saved beside the frames for `check`."""
    if job.source.resolution == 100:
        return plate
    from loopcore.plate.reduced import reduced, save_still

    observer.stage("Resizing the plate")
    make_folder(job.folder)
    return save_still(reduced(plate, job.source.resolution), _still_path(job))


def _bake(job: Job, loop: Loop, observer: Observer, writer: FrameWriter | None) -> Result:
    from loopcore.baking.bake import Progress, bake
    from loopcore.preview.proxies import Proxies

    source = job.source
    # Layer and colour space describe the original file, not the smaller copy.
    whole = source.resolution == 100
    notes = {
        "layer": source.layer if whole else None, "colorspace": source.colorspace if whole else None,
        "speed": source.speed, "resolution": source.resolution,
    }  # fmt: skip
    with Proxies(job.pattern, loop.plate.alpha_index is not None, job.proxy) as proxies:

        def on_progress(progress: Progress) -> None:
            proxies.frame_done(progress.path)
            observer.step("Frames", progress.done, progress.total, progress.path)

        done = bake(
            loop, job.folder, job.stem, first=job.first, fps=job.fps, numbers=job.numbers, format=job.format,
            depth=job.depth, overwrite=job.overwrite, verify=job.verify, notes=notes, on_progress=on_progress,
            cancelled=observer.cancelled, writer=writer,
        )  # fmt: skip
        if not done.failed and not done.cancelled:
            proxies.finish(done.skipped, observer.step_callback("Viewport copies"))
    windows = loop.plate.windows
    height, width = windows.display_size if job.format == "png" else windows.size
    return Result(done, width, height, proxies.pattern if job.proxy else None)


def _previews(job: Job, loop: Loop, observer: Observer) -> list[Path]:
    """Writes the film, the contact sheet and the picture of the motion, if all frames of the loop exist."""
    from loopcore.color import display_image
    from loopcore.preview import arrow_picture, preview_sequence, write_picture

    # Not all files found: a longer loop may have been baked into the folder before.
    frames = [job.pattern.path(job.first + time) for time in range(loop.frames)]
    missing = sum(not path.is_file() for path in frames)
    if missing:
        observer.note(f"No preview yet: {missing} of the loop's {loop.frames} frames are missing")
        return []
    film, sheet, motion = _preview_paths(job)
    preview_sequence(frames, film, job.fps, FILM_CYCLES, on_progress=observer.step_callback("Film"))
    preview_sequence(frames, sheet, job.fps, on_progress=lambda *_: observer.raise_if_cancelled())
    write_picture(arrow_picture(display_image(loop.plate.displayed()), loop.motion.displayed()), motion)
    return [film, sheet, motion]
