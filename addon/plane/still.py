# SPDX-License-Identifier: GPL-3.0-or-later
"""The still as a file that the worker can read, also if it exists in the .blend only."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import bpy
import numpy as np

from ..errors import PlaneError
from ..files import write_exr, write_png
from .image import PlaneImage


def still_file(plane: PlaneImage, folder: str | Path) -> tuple[Path, Callable[[], None]]:
    """Return the path of the still and a thread-safe function that writes it, which does nothing for a file on disk.

    A packed file is written byte for byte. Painted and generated images become 8-bit PNG, float images EXR
    (scene-linear, premultiplied alpha).

    Raises:
        PlaneError: from the function, if the file cannot be written.
    """
    if plane.path is not None:
        return plane.path, lambda: None
    image, stem = plane.image, bpy.path.clean_name(Path(plane.image.name).stem) or "still"
    if image.packed_file and not image.is_dirty:
        name = Path(bpy.path.basename(image.filepath_from_user()) or image.name)
        suffix = name.suffix.lower() or {"OPEN_EXR": ".exr", "JPEG": ".jpg"}.get(image.file_format, ".png")
        write_file, data = Path.write_bytes, image.packed_file.data
    else:
        suffix = ".exr" if image.is_float else ".png"
        write_file, data = (_write_floats if image.is_float else _write_bytes), pixels_of(image)
    path, name = Path(folder).absolute() / f"{stem}{suffix}", image.name

    def write() -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_file(path, data)
        except OSError as error:
            reason = error.strerror or error
            raise PlaneError(f'"{name}" cannot be written to {path.parent}: {reason}') from None

    return path, write


def pixels_of(image: bpy.types.Image) -> np.ndarray:
    """Return the (H, W, C) float32 pixels of an image as Blender stores them, row 0 at the bottom."""
    width, height = image.size
    pixels = np.empty(width * height * image.channels, np.float32)
    image.pixels.foreach_get(pixels)
    return pixels.reshape(height, width, image.channels)


def _write_floats(path, pixels):
    write_exr(path, _four_channels(pixels)[::-1])


def _write_bytes(path, pixels):
    write_png(path, np.rint(np.clip(_four_channels(pixels), 0, 1) * 255).astype(np.uint8)[::-1])


def _four_channels(pixels):
    """Return RGBA for 1 to 4 channels."""
    channels = pixels.shape[2]
    full = np.ones((*pixels.shape[:2], 4), np.float32)
    full[..., :channels] = pixels
    if channels < 3:
        full[..., 1:3] = pixels[..., :1]
    return full
