# SPDX-License-Identifier: Apache-2.0
"""The description of a job: a plate, the source of its motion, and the settings of its loop; and its file form.

A job file is a JSON object of the settings of `Source` and `Job` by their names; only `plate` and `folder` are
required. `numbers` is named `range` there and written as text. Relative paths start at the file's folder.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loopcore import __version__
from loopcore.errors import HintsError, LoopcoreError, MotionError, SequenceError
from loopcore.files.atomic import write_text_atomically
from loopcore.files.fields import Fields, read_object
from loopcore.files.overwrite import refuse_overwriting
from loopcore.files.pattern import FramePattern
from loopcore.files.ranges import check_frames, format_range, parse_range
from loopcore.observer import Observer

if TYPE_CHECKING:
    import numpy as np

    from loopcore.motion.field import MotionField
    from loopcore.motion.hints import Hints
    from loopcore.plate import Plate

FORMAT = 1  # of job files
LARGEST = 4 << 20  # bytes of a job file


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
        if not math.isfinite(self.speed):
            raise MotionError(f"speed {self.speed} is no finite number: give another factor")
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

        size, windows = (plate.height, plate.width), plate.windows
        mask = None if self.mask is None else read_mask(self.mask, *size, windows)
        if self.motion is None:
            observer.stage("Making the motion")
            hints = None if self.hints is None else read_hints(self.hints)
            motion = self._predicted(plate, hints, mask)
        else:
            observer.stage("Reading the motion")
            rescale = self.rescale or self.resolution != 100
            motion = read_motion(self.motion, self.convention, size=size, windows=windows, rescale=rescale)
            motion = motion if mask is None else replace(motion, mask=mask)
            if not motion.mask.any():
                raise MotionError(f"the mask in {self.motion} is black all over: nothing would move. Give a --mask")
        return motion if self.speed == 1.0 else motion.scaled(self.speed)

    def _predicted(self, plate: Plate, hints: Hints | None, mask: np.ndarray | None) -> MotionField:
        from loopcore.motion.predict import predict_motion

        try:
            motion = predict_motion(self._looked_at(plate), hints, mask, self.weights)
        except HintsError as error:
            raise MotionError(f"hints {self.hints}: {error}") from None
        drawn = mask is not None or (hints is not None and hints.mask is not None)
        return motion if drawn else self._unobstructed(motion)

    def _looked_at(self, plate: Plate) -> Plate:
        """Returns the plate that a motion is predicted from: for a layer of a PSD the document's picture."""
        if not self._is_psd_layer():
            return plate
        from loopcore.image import resize_linear
        from loopcore.plate import read_plate

        picture = read_plate(self.plate, colorspace=self.colorspace)
        if (picture.height, picture.width) == (plate.height, plate.width):
            return picture
        pixels = resize_linear(picture.pixels, plate.height, plate.width)
        return replace(picture, pixels=pixels, windows=plate.windows)

    def _unobstructed(self, motion: MotionField) -> MotionField:
        """Returns the motion where the PSD's layer is seen, if the plate is one."""
        if not self._is_psd_layer():
            return motion
        from loopcore.image import resize_linear
        from loopcore.plate.psd import unobstructed

        seen = unobstructed(self.plate, self.layer or "")
        mask = motion.mask * resize_linear(seen[..., None], *motion.mask.shape)[..., 0].clip(0, 1)
        if not mask.any():
            raise MotionError(f"nothing of the layer {self.layer!r} that is seen seems to flow: draw a mask (--mask)")
        return replace(motion, mask=mask)

    def _is_psd_layer(self) -> bool:
        from loopcore.plate.stills import format_of

        return self.layer is not None and format_of(self.plate) == "PSD"


@dataclass(frozen=True)
class Job:
    """Everything that determines what `animate.run` writes.

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
        cycles: see `loopcore.Loop`.
        steady: see `loopcore.Loop`.
        device: "auto", "cpu" or "cuda"; see `loopcore.Loop`.
        format: "exr" or "png".
        depth: see `loopcore.bake`.
        compression: of EXR frames; see `loopcore.bake`.
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
    compression: str = "zip"
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

    def check(self) -> None:
        """Checks the settings, as far as that needs no file.

        Raises:
            LoopcoreError: one is out of range.
        """
        from loopcore.baking.bake import check_format, checked_numbers
        from loopcore.baking.frame_rate import frame_rate
        from loopcore.loop.loop import check_settings

        self.pattern  # noqa: B018  Raises for a bad name.
        check_settings(self.frames, self.method, self.contrast, self.cycles, self.steady, self.device)
        check_frames(self.frames, self.first)
        checked_numbers(self.numbers, self.first, self.frames)
        check_format(self.format, self.depth, self.compression)
        frame_rate(self.fps)

    def to_document(self, base: Path | None = None) -> dict[str, Any]:
        """Returns the job as a JSON object; see `from_document`.

        Args:
            base: folder of the job file. Paths below it are relative to it, so that a folder can be moved with what is
                in it; all others are absolute, as they are without a folder.
        """
        source = self.source
        paths = {name: getattr(source, name) for name in ("plate", "hints", "mask", "weights", "motion")}
        plain = {
            "layer": source.layer, "colorspace": source.colorspace, "convention": source.convention,
            "rescale": source.rescale, "speed": source.speed, "resolution": source.resolution, "name": self.name,
            "frames": self.frames, "fps": str(self.fps), "first": self.first,
            "range": None if self.numbers is None else format_range(self.numbers), "method": self.method,
            "contrast": self.contrast, "cycles": self.cycles, "steady": self.steady, "device": self.device,
            "format": self.format, "depth": self.depth, "compression": self.compression, "overwrite": self.overwrite,
            "verify": self.verify, "proxy": self.proxy, "preview": self.preview,
        }  # fmt: skip
        named = {name: _written(path, base) for name, path in paths.items() if path is not None}
        settings = {name: value for name, value in plain.items() if value is not None}
        return {
            "job": FORMAT, "loopcore": __version__, **named, "folder": _written(self.folder, base), **settings,
        }  # fmt: skip

    @classmethod
    def from_document(cls, document: Mapping[str, Any], base: Path) -> Job:
        """Returns the job that a JSON object describes.

        Args:
            document: settings by name; those left out or null have their default. "job" is the format's version, and
                "loopcore" the version that wrote it.
            base: folder at which relative paths start.

        Raises:
            LoopcoreError: a name is unknown, or a value has another type or is out of range.
        """
        fields = Fields(document, "the job", base=base)
        version = fields.take("job", int, FORMAT)
        if version != FORMAT:
            raise SequenceError(f"the job has format {version}, and this version reads {FORMAT}: update Loopcore")
        fields.take("loopcore", str, None)
        job = cls.from_fields(fields)
        job.check()
        return job

    @classmethod
    def from_fields(cls, fields: Fields) -> Job:
        """Returns the job that values describe, which it reads all.

        Args:
            fields: the settings by name, as for `from_document`.

        Raises:
            Exception: as `Fields` raises.
            LoopcoreError: settings exclude each other.
        """
        from loopcore.baking.frame_rate import frame_rate

        take = fields.take
        source = Source(
            fields.path("plate"), take("layer", str, None), take("colorspace", str, None),
            fields.path_if_given("hints"), fields.path_if_given("mask"), fields.path_if_given("weights"),
            fields.path_if_given("motion"), take("convention", str, None), take("rescale", bool, False),
            take("speed", float, 1.0), take("resolution", int, 100),
        )  # fmt: skip
        numbers = take("range", str, None)
        job = cls(
            source, fields.path("folder"), name=take("name", str, ""), frames=take("frames", int, 60),
            fps=frame_rate(take("fps", str, "24")), first=take("first", int, 1001),
            numbers=None if numbers is None else parse_range(numbers), method=take("method", str, "warp"),
            contrast=take("contrast", float, 1.0), cycles=fields.auto_or("cycles", int),
            steady=fields.auto_or("steady", float), device=take("device", str, "auto"),
            format=take("format", str, "exr"), depth=take("depth", str, None),
            compression=take("compression", str, "zip"), overwrite=take("overwrite", bool, False),
            verify=take("verify", bool, False), proxy=take("proxy", bool, False), preview=take("preview", bool, False),
        )  # fmt: skip
        fields.finish()
        return job


def write_job(path: Path, job: Job) -> None:
    """Writes a job file; see `Job.to_document`.

    Args:
        path: the file.
        job: the job, which is checked.

    Raises:
        LoopcoreError: a setting is out of range, the file is one that the job reads, or it cannot be written.
    """
    job.check()
    refuse_overwriting(job.source.files(), [path])
    write_text_atomically(path, json.dumps(job.to_document(path.parent), indent=2, allow_nan=False) + "\n")


def read_job(path: Path) -> Job:
    """Reads a job file.

    Args:
        path: the file.

    Raises:
        SequenceError: it cannot be read, or is not a job.
    """
    document = read_object(path, LARGEST)
    try:
        return Job.from_document(document, path.parent)
    except LoopcoreError as error:
        raise SequenceError(f"'{path}': {error}") from error


def _written(path: Path, base: Path | None) -> str:
    """Returns a path as a job file in a folder names it."""
    here = path.absolute()
    if ".." in here.parts:
        here = _resolved(here)
    for file, folder in () if base is None else ((here, base.absolute()), (_resolved(here), base.resolve())):
        if file.is_relative_to(folder):
            return file.relative_to(folder).as_posix()
    return str(here)


def _resolved(path: Path) -> Path:
    """Returns a file's path without links in its folder; its own name, which names of outputs begin with, stays."""
    return path.resolve() if path.name in ("", "..") else path.parent.resolve() / path.name
