# SPDX-License-Identifier: Apache-2.0
"""Reads what a bake wrote and what it was made from, and checks that they belong together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from loopcore.baking.recipe import FILE_NAME, Recipe
from loopcore.errors import LoopcoreError, SequenceError
from loopcore.exr import check_packed
from loopcore.files.pattern import FramePattern
from loopcore.loop import Loop
from loopcore.motion.field import MotionField
from loopcore.plate import Plate, read_plate
from loopcore.plate.plate import named_space


def frame_pattern(folder: Path, recipe: Recipe, document: Mapping[str, Any]) -> FramePattern:
    """Returns the names of a bake's frames."""
    return FramePattern(folder, f"{document['name']}.", f".{recipe.format}")


def read_still(folder: Path, recipe: Recipe, document: Mapping[str, Any], plate: str | Path | None) -> Plate:
    """Returns the plate that was baked.

    Args:
        folder: of the frames.
        recipe: of the frames.
        document: the whole of recipe.json.
        plate: where the still is now; None takes the recipe's path.

    Raises:
        SequenceError: it is not known where it is, it cannot be read, or it is another plate; or recipe.json is
            damaged.
    """
    layer, colorspace = _text(folder, document, "layer"), _text(folder, document, "colorspace")
    if colorspace is not None:
        try:
            named_space(colorspace)
        except LoopcoreError as error:
            raise SequenceError(
                f"'{folder / FILE_NAME}' was changed or damaged ({error}): bake the loop again"
            ) from None
    where = plate if plate is not None else _text(folder, document, "plate_path")
    if where is None:
        raise SequenceError(f"'{folder / FILE_NAME}' does not say where the plate is: name it with --plate")
    named = {"layer": layer, "colour space": colorspace, "path": None if plate is not None else where}
    as_said = ", ".join(f"{name} {value!r}" for name, value in named.items() if value is not None)
    reading = f" with the {as_said} of '{folder / FILE_NAME}'" if as_said else ""
    try:
        layers, data = (_texts(document, name) if recipe.layers else () for name in ("layers", "data"))
        still = read_plate(where, layer=layer, colorspace=colorspace, layers=layers, data=data)
    except LoopcoreError as error:
        raise SequenceError(f"the plate cannot be read{reading} ({error}): name it with --plate") from None
    if still.digest() != recipe.plate:
        raise SequenceError(
            f"'{where}' is not the plate that was baked (its pixels differ{reading}): name it with --plate"
        )
    if recipe.layers and (still.layers is None or still.layers.digest() != recipe.layers):
        raise SequenceError(f"the layers of '{where}' are not those that were baked: name the plate with --plate")
    return still


def read_field(folder: Path, recipe: Recipe) -> MotionField:
    """Returns the motion that was baked.

    Raises:
        SequenceError: it cannot be read, or it is another motion.
    """
    try:
        check_packed(folder / "motion.exr")
        motion = MotionField.load(folder / "motion.exr")
    except LoopcoreError as error:
        raise SequenceError(f"the motion cannot be read ({error}): bake the loop again") from None
    if motion.digest() != recipe.motion:
        raise SequenceError(f"'{folder / 'motion.exr'}' is not the motion that was baked: bake the loop again")
    return motion


def read_loop(folder: Path, recipe: Recipe, document: Mapping[str, Any], plate: str | Path | None) -> Loop:
    """Returns the loop that was baked, on the CPU: it is the reference, whichever device baked the frames.

    Raises:
        SequenceError: as `read_still` and `read_field`.
    """
    still, motion = read_still(folder, recipe, document, plate), read_field(folder, recipe)
    cycles, steady = recipe.looks()
    return Loop(
        still, motion, frames=recipe.frames, method=recipe.method, contrast=recipe.contrast, cycles=cycles,
        steady=steady, device="cpu",
    )  # fmt: skip


def read_frame(path: Path, plate: Plate, recipe: Recipe, expected: np.ndarray) -> np.ndarray:
    """Returns a frame's pixels, of the plate's size.

    A PNG has the display window only: what surrounds it is taken from `expected`.

    Raises:
        SequenceError: its windows are not the plate's.
        PlateError: it cannot be read.
    """
    frame, windows = read_plate(path), plate.windows
    if recipe.format == "png" and frame.windows != windows and frame.pixels.shape[:2] == windows.display_size:
        pixels = expected.copy()
        pixels[windows.shown] = frame.pixels
        frame = replace(frame, pixels=pixels, windows=windows)
    if frame.pixels.shape != expected.shape or frame.windows != windows:
        raise SequenceError(f"'{path}' is {frame.windows}, unlike the plate: {windows}")
    return frame.pixels


def _text(folder: Path, document: Mapping[str, Any], name: str) -> str | None:
    value = document.get(name)
    if value is not None and not isinstance(value, str):
        raise SequenceError(f"'{folder / FILE_NAME}' was changed or damaged (its {name} is no text): bake it again")
    return value


def _texts(document: Mapping[str, Any], name: str) -> tuple[str, ...]:
    value = document.get(name)
    return tuple(text for text in value if isinstance(text, str)) if isinstance(value, list) else ()
