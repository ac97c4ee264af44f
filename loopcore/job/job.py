# SPDX-License-Identifier: Apache-2.0
"""Everything that determines what a job writes, and its form as a JSON object."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from loopcore import __version__
from loopcore.baking.formats import check_format
from loopcore.baking.frame_rate import frame_rate
from loopcore.errors import SequenceError
from loopcore.files.fields import Fields
from loopcore.files.pattern import FramePattern
from loopcore.files.ranges import check_frames, format_range, parse_range
from loopcore.job.source import Source

FORMAT = 1  # of job files


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
        report: also check the loop and write the report's page, once all frames exist.
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
    report: bool = False

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
        from loopcore.baking.plan import checked_numbers
        from loopcore.loop.loop import check_settings

        self.pattern  # noqa: B018  Raises for a bad name.
        check_settings(self.frames, self.method, self.contrast, self.cycles, self.steady, self.device)
        check_frames(self.frames, self.first)
        checked_numbers(self.numbers, self.first, self.frames)
        check_format(self.format, self.depth, self.compression, bool(self.source.carried))
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
            "rescale": source.rescale, "speed": source.speed, "resolution": source.resolution,
            "layers": list(source.layers) or None, "data": list(source.data) or None, "name": self.name,
            "frames": self.frames, "fps": str(self.fps), "first": self.first,
            "range": None if self.numbers is None else format_range(self.numbers), "method": self.method,
            "contrast": self.contrast, "cycles": self.cycles, "steady": self.steady, "device": self.device,
            "format": self.format, "depth": self.depth, "compression": self.compression, "overwrite": self.overwrite,
            "verify": self.verify, "proxy": self.proxy, "preview": self.preview, "report": self.report,
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

        take = fields.take
        source = Source(
            fields.path("plate"), take("layer", str, None), take("colorspace", str, None),
            fields.path_if_given("hints"), fields.path_if_given("mask"), fields.path_if_given("weights"),
            fields.path_if_given("motion"), take("convention", str, None), take("rescale", bool, False),
            take("speed", float, 1.0), take("resolution", int, 100), fields.texts("layers"), fields.texts("data"),
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
            report=take("report", bool, False),
        )  # fmt: skip
        fields.finish()
        return job


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
