# SPDX-License-Identifier: GPL-3.0-or-later
"""The still as a file that the worker can read: the image's own, or one with the pixels that Blender shows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import bpy
import numpy as np

from ..errors import PlaneError
from ..files import write_exr, write_png
from ..texts import rpt_
from .headers import HEAD_BYTES, is_read_by_worker
from .image import PlaneImage

# Names in the Color Interop Forum's convention, which the worker has.
COLORSPACES = {
    "sRGB": "srgb_rec709_scene",
    "Linear Rec.709": "lin_rec709_scene",
    "Linear": "lin_rec709_scene",
}
_WORKING_SPACES = COLORSPACES | {"Linear Rec.2020": "lin_rec2020_scene", "ACEScg": "lin_ap1_scene"}


@dataclass(frozen=True)
class StillFile:
    """The file of a still.

    Attributes:
        path: the file.
        params: the worker's parameters that describe it: plate, and colorspace and layer if known.
        write: writes it, in any thread; None for a file on disk. Raises PlaneError if that fails.
    """

    path: Path
    params: dict
    write: Callable[[], None] | None


def still_file(plane: PlaneImage, folder: str | Path) -> StillFile:
    """Return the file of the still: the image's own if the worker reads its format, else one to write to `folder`.

    A packed file is written byte for byte. Other images are written with the pixels that Blender has: 8-bit ones as PNG
    (straight alpha), float ones, to which Blender converts those of 16 bits, as EXR (scene-linear in Blender's working
    space, premultiplied alpha).
    """
    image, stem = plane.image, bpy.path.clean_name(Path(plane.image.name).stem) or "still"
    stored = COLORSPACES.get(plane.colorspace_name)
    if plane.path is not None and _read_directly(plane.path):
        return _described(plane.path, stored, plane.layer, None)
    packed = image.packed_file
    if packed and not image.is_dirty and is_read_by_worker(packed.data[:HEAD_BYTES]):
        name = Path(bpy.path.basename(image.filepath_from_user()) or image.name)
        suffix = name.suffix.lower() or {"OPEN_EXR": ".exr", "JPEG": ".jpg"}.get(image.file_format, ".png")
        write_file, data = Path.write_bytes, packed.data
    elif image.is_float:
        suffix, write_file, data = ".exr", _write_floats, pixels_of(image)
        stored = _WORKING_SPACES.get(working_space())
    else:
        suffix, write_file, data = ".png", _write_bytes, pixels_of(image)
    path, name = Path(folder).absolute() / f"{stem}{suffix}", image.name

    def write() -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_file(path, data)
        except OSError as error:
            text = rpt_('"{name}" cannot be written to {folder}: {reason}')
            raise PlaneError(text.format(name=name, folder=path.parent, reason=error.strerror or error)) from None

    return _described(path, stored, "", write)


def _described(path, colorspace, layer, write):
    params = {"plate": str(path), "colorspace": colorspace, "layer": layer}
    return StillFile(path, {name: value for name, value in params.items() if value}, write)


def _read_directly(path):
    try:
        with path.open("rb") as file:
            return is_read_by_worker(file.read(HEAD_BYTES))
    except OSError as error:
        text = rpt_("{path} cannot be read: {reason}")
        raise PlaneError(text.format(path=path, reason=error.strerror or error)) from None


def working_space() -> str:
    """Return Blender's name for the space of float pixels: the scene-linear one of the OCIO configuration."""
    known = getattr(getattr(bpy.data, "colorspace", None), "working_space", "")
    if known:
        return known
    probe = bpy.data.images.new("working space", 1, 1, float_buffer=True)
    try:
        return probe.colorspace_settings.name
    finally:
        bpy.data.images.remove(probe)


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
