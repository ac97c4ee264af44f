# SPDX-License-Identifier: Apache-2.0
"""A smaller copy of a plate, for loops at a lower resolution."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from loopcore.exr import write_exr
from loopcore.files.atomic import write_atomically
from loopcore.image import resize_linear
from loopcore.plate.plate import Plate, read_plate


def reduced(plate: Plate, percent: int) -> Plate:
    """Returns a plate resized in linear light.

    Args:
        plate: at its full size.
        percent: of its width and height, 1 to 100.
    """
    width, height = (max(1, round(side * percent / 100)) for side in (plate.width, plate.height))
    pixels = resize_linear(plate.pixels, height, width)
    return replace(plate, pixels=pixels, windows=plate.windows.scaled(height, width))


def save_still(plate: Plate, path: Path) -> Plate:
    """Writes a plate as EXR, and returns it as read from there.

    Args:
        plate: the plate.
        path: of the file; the folder exists.

    Raises:
        SequenceError: the file cannot be written.
    """
    attributes = dict(plate.metadata)
    if plate.colorspace:
        attributes.pop("chromaticities", None)
        attributes["colorInteropID"] = plate.colorspace
    channels = {name: plate.pixels[..., k].copy() for k, name in enumerate(plate.channels)}
    aspect, windows = plate.pixel_aspect, plate.windows
    write_atomically(
        path, lambda hidden: write_exr(hidden, channels, attributes=attributes, pixel_aspect=aspect, windows=windows)
    )
    return replace(read_plate(path), encoded=plate.encoded)
