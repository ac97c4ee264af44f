# SPDX-License-Identifier: Apache-2.0
"""Pixels as the frames' files store them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from loopcore import color
from loopcore.baking.frames import srgb_codes
from loopcore.baking.recipe import Recipe
from loopcore.exr import as_stored
from loopcore.plate import Plate


def stored_pixels(plate: Plate, recipe: Recipe) -> np.ndarray:
    """Returns the plate's pixels (H, W, C) as a reader gets them from a file of the recipe's format and depth."""
    if recipe.format == "exr":
        return as_stored(plate.pixels, np.float16 if recipe.depth == "half" else np.float32).astype(np.float32)
    pixels = np.nan_to_num(plate.pixels, nan=0.0, posinf=1.0, neginf=0.0)
    if plate.alpha_index is None:
        return color.decode_codes(srgb_codes(pixels, plate, recipe.depth))
    straight = color.unpremultiply(pixels, plate.alpha_index)
    top = 255 if recipe.depth == "8" else 65535
    alpha = np.rint(np.clip(straight[..., -1:], 0, 1) * top).astype(np.float32) / np.float32(top)
    light = color.decode_codes(srgb_codes(straight, plate, recipe.depth)[..., :-1])
    return np.concatenate([light * alpha, alpha], axis=-1)


def rounding(pixels: np.ndarray, recipe: Recipe) -> np.ndarray:
    """Returns one step of the file's numbers at each of these values: the error that storing may make.

    A whole step: two values that differ in the last bit of a float may be stored a step apart.
    """
    if recipe.format == "exr":
        dtype = np.float16 if recipe.depth == "half" else np.float32
        return np.asarray(np.spacing(np.abs(pixels).astype(dtype)), np.float32)
    step = np.float32(1 / (255 if recipe.depth == "8" else 65535))
    return np.asarray(color.srgb_to_linear(color.linear_to_srgb(np.abs(pixels)) + step) - np.abs(pixels), np.float32)


def in_display(plate: Plate, recipe: Recipe) -> Plate:
    """Returns the plate with the colour space that the pixels of its frames' files have."""
    return replace(plate, colorspace=color.LINEAR, metadata={}) if recipe.format == "png" else plate
