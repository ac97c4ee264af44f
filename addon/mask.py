# SPDX-License-Identifier: GPL-3.0-or-later
"""The mask of a plane: an image painted in Blender, any other image, or a colour attribute of the mesh. White moves."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import bpy
import numpy as np

from .files import write_png
from .plane import PlaneError, PlaneImage, pixels_of
from .plane_map import corner_values

# On the plane: the image (a pointer), or the name of the colour attribute.
MASK = "loopcore_mask"
# Beside the hints that name it.
MASK_FILE = "hints_mask.png"
_LONGEST_SIDE = 2048
_ATTRIBUTE_SIDE = 1024


def add_mask(plane: PlaneImage) -> bpy.types.Image:
    """The plane's mask to paint on, made when there is none: black, of the picture's shape, kept in the .blend."""
    source = source_of(plane.object)
    if isinstance(source, bpy.types.Image):
        return source
    width, height = _fitted(plane.size, _LONGEST_SIDE)
    image = bpy.data.images.new(f"{plane.object.name} mask", width, height, alpha=False, is_data=True)
    # Blender packs what was drawn on, not what it would generate.
    image.pixels.foreach_set(np.tile(np.array([0, 0, 0, 1], np.float32), width * height))
    image.pack()
    plane.object[MASK] = image
    return image


def set_mask(obj: bpy.types.Object, source: bpy.types.Image | str | None) -> None:
    """Take an image, or the colour attribute of that name, as the mask; None: everything moves."""
    if source is None:
        obj.pop(MASK, None)
    else:
        obj[MASK] = source


def source_of(obj: bpy.types.Object) -> bpy.types.Image | str | None:
    """The image that masks the plane, or the name of the colour attribute; None where everything moves."""
    return obj.get(MASK) or None


def keep_painted() -> None:
    """Pack what was painted on masks: Blender saves a .blend without what is not packed yet."""
    for obj in bpy.data.objects:
        source = source_of(obj)
        if isinstance(source, bpy.types.Image) and source.packed_file and source.is_dirty:
            source.pack()


def mask_writer(plane: PlaneImage, folder: str | Path) -> Callable[[], None]:
    """What writes the mask to `folder` as 8-bit PNG of the picture's shape, MASK_FILE, and needs no Blender.

    Raises:
        PlaneError: it is of another shape than the picture, or has gone; when called: it is black all over, or the
            folder cannot be written to.
    """
    path = Path(folder) / MASK_FILE
    source = source_of(plane.object)
    if isinstance(source, bpy.types.Image):
        name, draw, what = source.name, _grey, (_taken(source, plane),)
    else:
        name, draw, what = source, _drawn, (*corner_values(plane, source), plane.size)

    def write() -> None:
        moves = draw(*what)
        if moves.max() <= 0:
            raise PlaneError(
                f'The mask "{name}" is black all over, so nothing would move: paint white where things move'
            )
        write_png(path, np.rint(np.clip(moves, 0, 1) * 255).astype(np.uint8)[..., None])

    return refusing(write, path.parent)


def refusing(write: Callable[[], None], folder: Path) -> Callable[[], None]:
    """The same, with the folder made first, and a word for people where the system refuses."""

    def act() -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            write()
        except OSError as error:
            raise PlaneError(f"The hints cannot be written to {folder}: {error.strerror or error}") from None

    return act


def _taken(image, plane):
    """(H, W, C) of an image as Blender holds it, row 0 at the bottom."""
    width, height = image.size
    if not width or not height:
        raise PlaneError(f'The mask "{image.name}" cannot be read: find its file with File > External Data')
    shape = plane.size[0] / plane.size[1]
    if abs(width / height / shape - 1) > 0.02 and abs(width - height * shape) > 2:
        raise PlaneError(
            f'The mask "{image.name}" is {width} x {height}, of another shape than the picture '
            f"({plane.size[0]} x {plane.size[1]}): paint it on the plane"
        )
    return pixels_of(image)


def _grey(pixels):
    """(H, W), row 0 at the top: the values as they are in the file; the alpha of a picture that is cut out by it."""
    pixels = pixels[::-1]
    if pixels.shape[2] == 4 and np.ptp(pixels[..., 3]) > 0:
        return pixels[..., 3]
    if pixels.shape[2] < 3:
        return pixels[..., 0]
    return pixels[..., :3] @ np.array([0.2126, 0.7152, 0.0722], np.float32)


def _drawn(pixels, values, size):
    """(H, W): a colour attribute, drawn over the picture triangle by triangle; nothing moves where no triangle is."""
    width, height = _fitted(size, _ATTRIBUTE_SIDE)
    corners = (pixels + 0.5) * (width / size[0], height / size[1]) - 0.5
    grey = np.zeros((height, width))
    for triangle, value in zip(corners, values, strict=True):
        low = np.maximum(np.ceil(triangle.min(axis=0) - 1e-6).astype(int), 0)
        high = np.minimum(np.floor(triangle.max(axis=0) + 1e-6).astype(int), (width - 1, height - 1))
        if (high < low).any():
            continue
        x, y = np.meshgrid(np.arange(low[0], high[0] + 1), np.arange(low[1], high[1] + 1))
        sides = np.stack([triangle[1] - triangle[0], triangle[2] - triangle[0]], axis=1)
        two = np.stack([x - triangle[0, 0], y - triangle[0, 1]], axis=-1) @ np.linalg.inv(sides).T
        weights = np.concatenate([1 - two.sum(axis=-1, keepdims=True), two], axis=-1)
        inside = weights.min(axis=-1) >= -1e-6
        grey[y[inside], x[inside]] = (weights @ value)[inside]
    return grey


def _fitted(size, longest):
    scale = min(1.0, longest / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
