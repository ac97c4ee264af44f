# SPDX-License-Identifier: Apache-2.0
"""What a bake will write: the recipe, the frames' names and numbers. Made before anything is written."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np

from loopcore.baking.formats import check_format
from loopcore.baking.frame_rate import frame_rate
from loopcore.baking.frames import is_current, write_frame, write_parts
from loopcore.baking.recipe import Recipe
from loopcore.errors import SequenceError
from loopcore.exr import HALF_MAX, ExrPart
from loopcore.files.claim import Claim, claim_folder
from loopcore.files.overwrite import refuse_overwriting
from loopcore.files.pattern import FramePattern
from loopcore.files.ranges import check_frames, format_range
from loopcore.loop import Loop


@dataclass(frozen=True)
class Plan:
    """A bake before it begins.

    Attributes:
        loop: the loop.
        recipe: of its frames.
        name: start of their file names.
        pattern: their file names.
        numbers: of the frames to write, in order.
    """

    loop: Loop
    recipe: Recipe
    name: str
    pattern: FramePattern
    numbers: list[int]

    @classmethod
    def of(
        cls, loop: Loop, folder: str | Path, name: str, *, first: int = 1001, fps: Fraction | float | str = 24,
        numbers: Sequence[int] | None = None, format: str = "exr", depth: str | None = None, compression: str = "zip",
    ) -> Plan:  # fmt: skip
        """Returns the plan of a bake; see `bake` for the arguments and for what is raised."""
        depth = choose_depth(loop, format, depth)
        check_format(format, depth, compression)
        recipe = Recipe.of(loop, first=first, fps=frame_rate(fps), format=format, depth=depth, compression=compression)
        return cls(loop, recipe, name, FramePattern(Path(folder), f"{name}.", f".{format}"), []).of_numbers(numbers)

    def of_numbers(self, numbers: Sequence[int] | None) -> Plan:
        """Returns the plan of other frames of the same loop; see `bake` for what is raised.

        Args:
            numbers: of the frames; None is all.
        """
        wanted = checked_numbers(numbers, self.recipe.first, self.loop.frames)
        outputs = [self.pattern.folder / "motion.exr", *map(self.pattern.path, wanted)]
        refuse_overwriting([self.loop.plate.source], outputs)
        return replace(self, numbers=wanted)

    def claim(self) -> AbstractContextManager[Claim]:
        """Claims the folder for this loop, within a `with` block; see `claim_folder`."""
        return claim_folder(self.pattern.folder, f"{self.recipe.digest()} {self.name}")

    def is_current(self, number: int, verify: bool = False) -> bool:
        """Returns whether a frame is up to date; see `frames.is_current`."""
        return is_current(self.pattern.path(number), self.recipe, number, verify)

    def canvas(self) -> np.ndarray:
        """Returns a canvas of the frames' depth; see `Loop.canvas`."""
        return self.loop.canvas(np.float16 if self.recipe.depth == "half" else np.float32)

    def carried(self, canvas: np.ndarray, number: int, into: list[ExrPart] | None = None) -> list[ExrPart] | None:
        """Returns the parts of a rendered frame's file, where layers move with the plate; see `Loop.carried`."""
        return None if self.loop.plate.layers is None else self.loop.carried(self.recipe.time(number), canvas, into)

    def write_frame(self, path: Path, canvas: np.ndarray, number: int, parts: list[ExrPart] | None = None) -> None:
        """Writes a rendered frame, or its parts, to a file; see `frames.write_frame` and `frames.write_parts`."""
        if parts is None:
            parts = self.carried(canvas, number)
        if parts is None:
            write_frame(path, canvas, self.loop.plate, self.recipe, self.recipe.time(number))
        else:
            write_parts(path, parts, self.loop.plate, self.recipe, self.recipe.time(number))


def choose_depth(loop: Loop, format: str, depth: str | None) -> str:
    """Returns the depth to write.

    Args:
        loop: the loop to write.
        format: "exr" or "png".
        depth: "half" or "float" for EXR, "8" or "16" for PNG. None: 8 bits for PNG; for EXR half, or float where a
            frame may exceed the range of half. With layers, EXR of the types that the plate's file has.

    Raises:
        SequenceError: an unknown format or depth, or channels that the format cannot hold.
    """
    channels, layers = loop.plate.channels, loop.plate.layers
    if format == "png" and len(channels) - ("A" in channels) not in (1, 3):
        raise SequenceError(f"a PNG cannot hold the channels {', '.join(channels)}: write EXR")
    check_format(format, depth, layers=layers is not None)
    if depth is not None:
        return depth
    if format == "png":
        return "8"
    if layers is not None:
        return "float" if any(dtype == np.float32 for _, dtype in layers.plate_channels.values()) else "half"
    return "float" if loop.bound() > HALF_MAX else "half"


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
