# SPDX-License-Identifier: GPL-3.0-or-later
"""The mask of a plane: an image, usually painted in Blender, or a color attribute of the mesh. White areas move.

Areas add to it and take from it; without an image or attribute the mask is what they add.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import bpy
import numpy as np

from ..errors import PlaneError
from ..files import write_png
from ..plane.image import PlaneImage
from ..plane.map import corner_values
from ..plane.still import pixels_of
from ..texts import rpt_
from . import areas

# Property on the plane: the image (a pointer), or the name of the color attribute.
MASK = "loopcore_mask"
# File name in the folder of hints.json.
MASK_FILE = "hints_mask.png"
_MAX_SIDE = 2048
_MAX_ATTRIBUTE_SIDE = 1024


def register():
    bpy.app.handlers.save_pre.append(keep_painted)


def unregister():
    if keep_painted in bpy.app.handlers.save_pre:
        bpy.app.handlers.save_pre.remove(keep_painted)


def add_mask(plane: PlaneImage) -> bpy.types.Image:
    """Return the plane's mask image; without one, a new black one of the image's aspect ratio.

    It is packed once it is painted and the file is saved: packing it here would block the window for 0.1 s.

    Raises:
        PlaneError: the mesh is linked from another file, so it cannot be painted on.
    """
    mesh = plane.object.data
    if mesh.library or mesh.override_library:
        raise PlaneError(
            rpt_(
                'The mesh "{name}" is linked, and only local ones can be painted on: paint an image in the '
                "Image Editor, and choose it as Moving Area"
            ).format(name=mesh.name)
        )
    source = source_of(plane.object)
    if isinstance(source, bpy.types.Image):
        return source
    width, height = _fitted(plane.size, _MAX_SIDE)
    image = bpy.data.images.new(f"{plane.object.name} mask", width, height, alpha=False, is_data=True)
    plane.object[MASK] = image
    return image


def set_mask(obj: bpy.types.Object, source: bpy.types.Image | str | None) -> None:
    """Set an image, or the color attribute of that name, as the mask; None removes it: everything moves."""
    if source is None:
        obj.pop(MASK, None)
    else:
        obj[MASK] = source


def source_of(obj: bpy.types.Object) -> bpy.types.Image | str | None:
    """Return the mask's image, or the name of its color attribute; None without a mask."""
    return obj.get(MASK) or None


def has_mask(obj: bpy.types.Object) -> bool:
    """Return whether the plane has an image, a color attribute or an added area as its mask."""
    return source_of(obj) is not None or bool(areas.adding(obj))


def feather_of(obj: bpy.types.Object) -> float:
    """Return the width over which the mask fades inward, in pixels of the image."""
    settings = getattr(obj, "loopcore", None)
    return settings.mask_feather if settings else 0.0


@bpy.app.handlers.persistent
def keep_painted(*_arguments) -> None:
    """Pack painted masks before saving: Blender does not save painted pixels that are not packed."""
    for obj in bpy.data.objects:
        source = source_of(obj)
        if isinstance(source, bpy.types.Image) and source.is_dirty:
            if source.packed_file or source.source == "GENERATED":
                source.pack()


def mask_writer(plane: PlaneImage, folder: str | Path) -> Callable[[], None]:
    """Return a thread-safe function that writes the mask with its areas to MASK_FILE in `folder`, as 8-bit PNG.

    Raises:
        PlaneError: the mask has another aspect ratio than the image, or is missing; from the function, if the mask is
            black, or the folder cannot be written to.
    """
    path = Path(folder) / MASK_FILE
    source, drawn = source_of(plane.object), areas.outlines(plane)
    if isinstance(source, bpy.types.Image):
        name, draw, data = source.name, _grey, (_image_pixels(source, plane),)
    elif source is not None:
        name, draw, data = source, _rasterized, (*corner_values(plane, source), plane.size)
    else:
        name, draw, data = f"{plane.object.name} mask", np.zeros, (_fitted(plane.size, _MAX_SIDE)[::-1],)

    def write() -> None:
        moves = draw(*data)
        if drawn:
            moves = areas.combined(np.clip(moves, 0, 1), drawn, plane.size)
        if moves.max() <= 0:
            raise PlaneError(
                rpt_(
                    'The mask "{name}" is completely black, so nothing would move: paint the moving areas white'
                ).format(name=name)
            )
        write_png(path, np.rint(np.clip(moves, 0, 1) * 255).astype(np.uint8)[..., None])

    return refusing(write, path.parent)


def refusing(write: Callable[[], None], folder: Path) -> Callable[[], None]:
    """Wrap a write function: create the folder first, and raise PlaneError instead of OSError."""

    def act() -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            write()
        except OSError as error:
            raise PlaneError(
                rpt_("The hints cannot be written to {folder}: {reason}").format(
                    folder=folder, reason=error.strerror or error
                )
            ) from None

    return act


def _image_pixels(image, plane):
    """Return the (H, W, C) pixels of a mask image, row 0 at the bottom, after checking its shape."""
    width, height = image.size
    if not width or not height:
        raise PlaneError(
            rpt_('The mask "{name}" cannot be read: find its file with File > External Data').format(name=image.name)
        )
    shape = plane.size[0] / plane.size[1]
    if abs(width / height / shape - 1) > 0.02 and abs(width - height * shape) > 2:
        raise PlaneError(
            rpt_(
                'The mask "{name}" is {width} x {height}, another aspect ratio than the image '
                "({wide} x {high}): paint it on the plane"
            ).format(name=image.name, width=width, height=height, wide=plane.size[0], high=plane.size[1])
        )
    return pixels_of(image)


def _grey(pixels):
    """Return (H, W), row 0 at the top: the alpha if it varies, else the luminance of the stored values."""
    pixels = pixels[::-1]
    if pixels.shape[2] == 4 and np.ptp(pixels[..., 3]) > 0:
        return pixels[..., 3]
    if pixels.shape[2] < 3:
        return pixels[..., 0]
    return pixels[..., :3] @ np.array([0.2126, 0.7152, 0.0722], np.float32)


def _rasterized(pixels, values, size):
    """Return (H, W): a color attribute rasterized over the image; 0 outside its triangles."""
    width, height = _fitted(size, _MAX_ATTRIBUTE_SIDE)
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
