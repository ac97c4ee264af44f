# SPDX-License-Identifier: Apache-2.0
"""One description of a whole job: a plate and how it moves in; frames, proxies and previews out.

The command line, the worker, Blender and farms each make a `Job` and `run` it: a setting means the same to all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from loopcore.errors import Cancelled, MotionError, SequenceError
from loopcore.files.atomic import make_folder, write_atomically
from loopcore.files.pattern import FramePattern

if TYPE_CHECKING:
    from loopcore.baking.bake import BakeResult
    from loopcore.loop import Loop
    from loopcore.motion.field import MotionField
    from loopcore.plate import Plate

FILM_CYCLES = 3  # how often the preview film goes round


class Observer:
    """Who runs a job: told of its progress, asked whether to stop. This one shows nothing and never stops."""

    def stage(self, title: str) -> None:
        """A stage without countable steps begins."""

    def step(self, title: str, done: int, total: int, path: Path | None = None) -> None:
        """`done` of `total` steps of a stage are done; `path` is the file just written, if any."""

    def note(self, text: str) -> None:
        """One line worth showing."""

    def cancelled(self) -> bool:
        """Whether to stop."""
        return False

    def raise_if_cancelled(self) -> None:
        """Raises Cancelled if the job is to stop."""
        if self.cancelled():
            raise Cancelled

    def stepping(self, title: str) -> Callable[[int, int], None]:
        """Returns a progress callback `(done, total)` for a stage; it raises Cancelled if the job is to stop."""

        def step(done: int, total: int) -> None:
            self.raise_if_cancelled()
            self.step(title, done, total)

        return step


@dataclass(frozen=True)
class Source:
    """A plate and where its motion comes from.

    Attributes:
        plate: the still. layer, colorspace: as `loopcore.read_plate` takes them.
        hints: strokes, anchors and mask. mask: a picture that replaces the mask of hints or motion.
        weights: the network that reads motion from the picture; the shipped one if None.
        motion: a flow map to use instead of predicting. convention: its convention; found out if None.
        rescale: resize a motion of another size to the plate, instead of refusing it.
        speed: factor on the motion.
        resolution: percent of the plate's size to work at, 1 to 100.
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
            raise MotionError("a motion field and hints were both given: a motion field needs no hints, leave one out")
        if self.speed == 0:
            raise MotionError("speed 0 stops everything: give another factor on the motion")
        if not 1 <= self.resolution <= 100:
            raise SequenceError(f"resolution {self.resolution} is out of range: give 1 to 100 percent")

    def read_plate(self, observer: Observer) -> Plate:
        """Returns the plate at its full size."""
        from loopcore.plate import read_plate

        observer.stage("Reading the plate")
        return read_plate(self.plate, layer=self.layer, colorspace=self.colorspace)

    def read_motion(self, plate: Plate, observer: Observer) -> MotionField:
        """Returns the motion of a plate: read, or predicted and solved from hints; speed and mask applied."""
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
        return motion if self.speed == 1.0 else motion.scaled(self.speed)


@dataclass(frozen=True)
class Job:
    """Everything that decides what `run` writes.

    Attributes:
        source: the plate and its motion. folder: where the frames go. name: how their names begin; "" for the plate's
            name and ``_loop``.
        frames, method, contrast, device: as `loopcore.Loop`.
        fps, first, numbers, format, depth, overwrite: as `loopcore.bake`.
        proxy: also write light 8-bit copies into the folder ``proxy``. preview: also a film, a contact sheet and a
            picture of the motion, once all frames are there.
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
    device: str = "auto"
    format: str = "exr"
    depth: str | None = None
    overwrite: bool = False
    proxy: bool = False
    preview: bool = False

    @property
    def pattern(self) -> FramePattern:
        """Names of the frames. Raises SequenceError for a name that is none."""
        return FramePattern(self.folder, f"{self.stem}.", f".{self.format}")

    @property
    def stem(self) -> str:
        """How the names of all files but motion.exr and recipe.json begin."""
        return self.name or f"{self.source.plate.stem}_loop"


@dataclass
class Result:
    """What `run` did: the bake's result, the frames' size in pixels, and further files written."""

    bake: BakeResult
    width: int
    height: int
    proxies: FramePattern | None = None
    previews: list[Path] = field(default_factory=list)


def run(job: Job, observer: Observer | None = None) -> Result:
    """Makes the loop that a job describes.

    Returns:
        What was done; frames that could not be written are in `bake.failed`, and end it without previews.

    Raises:
        Cancelled: the observer asked to stop; only whole files are left.
        LoopcoreError: the job cannot be done as described; see `read_plate`, `predict_motion`, `Loop` and `bake`.
    """
    from loopcore.loop import Loop, load_kernels
    from loopcore.loop.device import gpu_hint

    observer = observer or Observer()
    job.pattern  # noqa: B018  Refuses a bad name before anything is written.
    _refuse_own_motion(job)
    with ThreadPoolExecutor(1) as beside:
        # Half a second of the first frame's wait. What fails there fails below, too, and is reported there.
        beside.submit(load_kernels, job.device)
        whole = job.source.read_plate(observer)
        plate = _reduced(job, whole, observer)
        # Whether a drawing covers the overscan is told by its size, which has to be that of the whole plate.
        drawn_over = whole if whole.windows.overscan else plate
        motion = job.source.read_motion(drawn_over, observer).over(plate.windows)
    observer.raise_if_cancelled()
    observer.stage("Preparing the loop")
    loop = Loop(plate, motion, frames=job.frames, method=job.method, contrast=job.contrast, device=job.device)
    if loop.device == "cuda":
        observer.note("Computing on the GPU")
    elif job.device == "auto" and (hint := gpu_hint()):
        observer.note(f"Computing on the CPU; {hint}")
    result = _bake(job, loop, observer)
    done = result.bake
    if not done.failed:
        observer.raise_if_cancelled()
    observer.note(f"{len(done.written)} frames written, {len(done.skipped)} up to date, {len(done.failed)} failed")
    if not done.failed:
        result.previews = _previews(job, loop, observer) if job.preview else []
    return result


def _refuse_own_motion(job: Job) -> None:
    source, ours = job.source, job.folder / "motion.exr"
    if source.motion is None or (source.speed == 1.0 and source.resolution == 100):
        return
    if ours.exists() and source.motion.exists() and ours.samefile(source.motion):
        raise MotionError(
            f"'{ours}' would be replaced by itself at another speed or size, and again each time: keep it in another "
            "folder"
        )


def _reduced(job: Job, plate: Plate, observer: Observer) -> Plate:
    """Returns the plate at the job's resolution; a smaller one is kept beside the frames, where `check` finds it."""
    if job.source.resolution == 100:
        return plate
    from loopcore.exr import write_exr
    from loopcore.image import resize_linear
    from loopcore.plate import read_plate

    observer.stage("Resizing the plate")
    width, height = (max(1, round(side * job.source.resolution / 100)) for side in (plate.width, plate.height))
    pixels = resize_linear(plate.pixels, height, width)
    make_folder(job.folder)
    still = job.folder / f"{job.stem}_still.exr"
    attributes = dict(plate.metadata)
    if plate.colorspace:
        attributes.pop("chromaticities", None)
        attributes["colorInteropID"] = plate.colorspace
    channels = {name: pixels[..., k].copy() for k, name in enumerate(plate.channels)}
    windows = plate.windows.scaled(height, width)
    write_atomically(
        still,
        lambda path: write_exr(path, channels, attributes=attributes, pixel_aspect=plate.pixel_aspect, windows=windows),
    )
    return replace(read_plate(still), encoded=plate.encoded)


def _bake(job: Job, loop: Loop, observer: Observer) -> Result:
    from loopcore.baking.bake import Progress, bake
    from loopcore.preview.proxies import Proxies

    source = job.source
    # A layer or colour space belongs to the plate's own file, not to the smaller copy.
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
            depth=job.depth, overwrite=job.overwrite, notes=notes, on_progress=on_progress,
            cancelled=observer.cancelled,
        )  # fmt: skip
        if not done.failed and not done.cancelled:
            proxies.finish(done.skipped, observer.stepping("Viewport copies"))
    windows = loop.plate.windows
    height, width = windows.display_size if job.format == "png" else windows.size
    return Result(done, width, height, proxies.pattern if job.proxy else None)


def _previews(job: Job, loop: Loop, observer: Observer) -> list[Path]:
    """Writes the film, the contact sheet and the picture of the motion, if all frames of the loop are there."""
    from loopcore.color import display_image
    from loopcore.preview import arrow_picture, preview_sequence, write_picture

    # Not all that is there: a longer loop may have been baked here before.
    frames = [job.pattern.path(job.first + time) for time in range(loop.frames)]
    missing = sum(not path.is_file() for path in frames)
    if missing:
        observer.note(f"No preview yet: {missing} of the loop's {loop.frames} frames are not there")
        return []
    film, sheet, motion = (job.folder / f"{job.stem}{end}" for end in (".mp4", "_sheet.png", "_motion.png"))
    preview_sequence(frames, film, job.fps, FILM_CYCLES, on_progress=observer.stepping("Film"))
    preview_sequence(frames, sheet, job.fps, on_progress=lambda *_: observer.raise_if_cancelled())
    write_picture(arrow_picture(display_image(loop.plate.displayed()), loop.motion.displayed()), motion)
    return [film, sheet, motion]
