# SPDX-License-Identifier: Apache-2.0
"""Masks: rasterised polygons, feathering, fitting to other windows, and painted masks from files.

A mask is 0..1, 1 where the plate may move. Feathering goes inward, as compositors do it: the mask is exactly 0 outside
the drawn edge, so those pixels of the plate stay unchanged, and exactly 1 from ``feather`` pixels inside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from loopcore.errors import LoopcoreError, MotionError
from loopcore.exr.windows import WHOLE, Windows, checked_windows, place, place_channels
from loopcore.image import luma, open_picture, resize

_SUBPIXELS = 4  # per pixel and axis, for antialiased polygons
_BIG = 5_000_000  # pixels of a picture above which half as many subpixels are used
_STEPS = 24  # largest distance in pixels measured at full size; wider feathers are measured on a reduced mask
# Names of a mask beside other channels of an EXR.
CHANNELS = ("mask.V", "mask.a", "mask.A")
_GREY_16 = ("I;16", "I;16L", "I;16B", "I;16N")


def as_mask(values: Any) -> np.ndarray:
    """Returns ``values`` as a contiguous (H, W) float32 mask.

    Raises:
        MotionError: not two-dimensional, or values not in 0..1.
    """
    try:
        mask = np.ascontiguousarray(values, np.float32)
    except (TypeError, ValueError):
        raise MotionError(f"a mask must be an array of numbers, not {type(values).__name__}") from None
    if mask.ndim != 2 or not mask.size:
        raise MotionError(f"a mask must have the shape (height, width), not {mask.shape}")
    low, high = float(mask.min()), float(mask.max())
    if not (low >= 0.0 and high <= 1.0):
        raise MotionError(f"mask values must be in 0..1 (0 still, 1 moving), these range from {low:g} to {high:g}")
    return mask


def from_file(values: np.ndarray) -> np.ndarray:
    """Returns the values of a mask in a file as contiguous float32, clipped to 0..1.

    Raises:
        MotionError: NaN or Inf. The message does not name the file.
    """
    if not np.isfinite(values).all():
        raise MotionError("its mask contains NaN or Inf: write it again with finite values")
    return np.ascontiguousarray(np.clip(values, 0, 1), np.float32)


def same_aspect(size: tuple[int, int], other: tuple[int, int]) -> bool:
    """Returns whether two (width, height) have the same aspect, within 1 % or the rounding of one pixel."""
    (w, h), (width, height) = size, other
    off = abs(w * height - h * width)
    return off <= 0.01 * min(w * height, h * width) or off <= max(w, h, width, height)


def rasterise(
    polygons: Sequence[np.ndarray], exclude: Sequence[np.ndarray], feather: float, height: int, width: int
) -> np.ndarray:
    """Returns the union of ``polygons`` minus the union of ``exclude``, antialiased and feathered, as (H, W) float32.

    Args:
        polygons: outlines, (n, 2) each; without any, the whole picture.
        exclude: outlines of holes.
        feather: pixels, inward.
        height: rows of the result.
        width: columns of the result.

    Convention: (x, y) in pixels, y down, pixel centres at integers.
    """
    from PIL import Image, ImageDraw

    factor = _SUBPIXELS if height * width <= _BIG else _SUBPIXELS // 2
    picture = Image.new("L", (width * factor, height * factor), 0 if polygons else 255)
    draw = ImageDraw.Draw(picture)
    for outlines, value in ((polygons, 255), (exclude, 0)):
        for outline in outlines:
            corners = np.rint((outline + 0.5) * factor - 0.5).astype(int)
            draw.polygon([(x, y) for x, y in corners.tolist()], fill=value)
    coverage = np.asarray(picture.reduce(factor), np.float32) / np.float32(255)
    return feathered(coverage, feather)


def feathered(mask: np.ndarray, feather: float) -> np.ndarray:
    """Returns ``mask`` (H, W) faded inward over ``feather`` pixels from its edge (0.5), but not from the frame."""
    if feather <= 0:
        return mask
    whole, window = mask, _window(mask)
    mask = mask[window]
    height, width = mask.shape
    shrink = int(np.ceil(feather / _STEPS))
    inside = mask >= 0.5
    if shrink == 1:
        depth = _depth(inside, int(np.ceil(feather)) + 1)
    else:
        # the minimum of each cell, so that the fade ends no later than the edge
        starts = np.arange(0, height, shrink), np.arange(0, width, shrink)
        small = np.minimum.reduceat(np.minimum.reduceat(inside, starts[0], axis=0), starts[1], axis=1)
        rows, cols = small.shape
        depth = shrink * _depth(small, int(np.ceil(feather / shrink)) + 1)
        if rows * cols * shrink**2 <= 4 * height * width + _BIG:
            depth = resize(depth, rows * shrink, cols * shrink, "bilinear")[:height, :width]
        else:  # whole cells would be many times larger than the mask
            depth = resize(depth, height, width, "bilinear", (0, 0, width / shrink, height / shrink))
    ramp = np.clip((depth - 0.5) / np.float32(feather), 0, 1)
    out = np.zeros_like(whole)
    out[window] = mask * (ramp * ramp * (3 - 2 * ramp))
    return out


def _window(mask: np.ndarray) -> tuple[slice, slice]:
    """Returns the bounding box of the non-zero pixels, one pixel larger on each side."""
    found = []
    for axis in (1, 0):
        used = np.flatnonzero(mask.any(axis=axis))
        found.append(slice(max(0, int(used[0]) - 1), int(used[-1]) + 2) if len(used) else slice(0, 1))
    return found[0], found[1]


def _depth(inside: np.ndarray, limit: int) -> np.ndarray:
    """Returns the Euclidean distance of each pixel centre to the nearest outside one, exact up to ``limit``."""
    height, width = inside.shape
    column = np.where(inside, np.uint16(limit), np.uint16(0))
    for _ in range(min(limit, height) - 1):  # each pass carries the distance one row further
        before = column.copy()
        np.minimum(column[1:], before[:-1] + 1, out=column[1:])
        np.minimum(column[:-1], before[1:] + 1, out=column[:-1])
        if np.array_equal(before, column):
            break
    square = column.astype(np.int32) ** 2
    best = square.copy()
    for step in range(1, min(limit, width)):
        np.minimum(best[:, step:], square[:, :-step] + step * step, out=best[:, step:])
        np.minimum(best[:, :-step], square[:, step:] + step * step, out=best[:, :-step])
    return np.sqrt(best, dtype=np.float32)


def resize_mask(mask: np.ndarray, height: int, width: int) -> np.ndarray:
    """Returns ``mask`` resized to (height, width), float32 in 0..1; the same array if it has that size."""
    return fit_mask(mask, Windows.whole(*mask.shape), Windows.whole(height, width))


def fit_mask(mask: np.ndarray, source: Windows, target: Windows) -> np.ndarray:
    """Returns ``mask`` fitted to other windows by :func:`fit_windows`, clipped to 0..1."""
    fitted = fit_windows(mask, source, target)
    return fitted if fitted is mask else np.clip(fitted, 0, 1)


def matches(source: Windows, target: Windows) -> bool:
    """Returns whether a mask or motion has exactly the size of the target's display window, or of all its pixels."""
    return source.display_size == target.display_size or covers_all(source, target)


def fits(source: Windows, target: Windows) -> bool:
    """Returns whether a mask or motion can be resized to the target: same aspect, or it covers all its pixels."""
    return same_aspect(source.display_size[::-1], target.display_size[::-1]) or covers_all(source, target)


def covers_all(source: Windows, target: Windows) -> bool:
    """Returns whether both have the same number of pixels, and at most one of them has overscan."""
    return source.size == target.size and not (source.overscan and target.overscan)


def fit_windows(values: np.ndarray, source: Windows, target: Windows, *, cubic: bool = False) -> np.ndarray:
    """Returns ``values`` (h, w) fitted to other windows, display window onto display window; the same array if equal.

    A source with overscan is 0 outside it; a source without is extended by its edges into the target's overscan. A
    source that :func:`covers_all` of the target is returned unchanged.

    Args:
        values: (h, w), of the source's size.
        source: windows of ``values``.
        target: windows of the result.
        cubic: Catmull-Rom instead of bilinear interpolation, where sizes differ.
    """
    if source == target or covers_all(source, target):
        return values
    extend, (height, width) = not source.overscan, target.size
    (left, top), (right, bottom) = target.offset, (width - target.offset[0], height - target.offset[1])
    (rows, columns), (h, w) = target.display_size, source.display_size
    x, y = source.display[:2]
    if (rows, columns) == (h, w):
        moved = (x - left, y - top, x + right - 1, y + bottom - 1)
        return place(values, source.data, moved, extend=extend)
    # borders of the target in source pixels, from the corner of the display window
    box = (-left * w / columns, -top * h / rows, right * w / columns, bottom * h / rows)
    (first_x, first_y), (last_x, last_y) = np.floor(box[:2]).astype(int), np.ceil(box[2:]).astype(int)
    cover = (x + int(first_x), y + int(first_y), x + int(last_x) - 1, y + int(last_y) - 1)
    part = (box[0] - first_x, box[1] - first_y, box[2] - first_x, box[3] - first_y)
    placed = place(values, source.data, cover, extend=extend)
    return resize(placed, height, width, "bicubic" if cubic else "bilinear", part)


def read_mask(
    path: str | Path, height: int, width: int, windows: Windows = WHOLE, *, enlarged: int | None = None
) -> np.ndarray:
    """Reads a painted mask, white where the plate may move.

    EXR: the only channel, else the first of A (if it varies), ``mask.V``, Y and the luminance of R, G, B; 0 outside the
    data window. Other formats (8 bits, or 16-bit grey): the alpha if it varies, else the luminance. Values are data: no
    transfer curve is applied.

    Args:
        path: of the file.
        height: of the plate, pixels.
        width: of the plate, pixels.
        windows: of the plate. Overscan repeats the mask's edges, unless the mask has overscan itself or is as large as
            the plate with its overscan.
        enlarged: refuse a mask with fewer pixels than this fraction, one over it, of the plate's.

    Returns:
        (H, W) float32 in 0..1, resized from any size of the same aspect.

    Raises:
        MotionError: an unreadable file, another aspect, NaN or Inf, or a mask that is 0 everywhere.
    """
    path, windows = Path(path), checked_windows(windows, height, width)
    if path.suffix.lower() == ".exr":
        mask, source = _read_exr(path)
    else:
        mask = _read_picture(path)
        source = Windows.whole(*mask.shape)
    if not fits(source, windows):
        raise MotionError(
            f"mask {path} is {source}, but the plate is {windows}: the aspects differ. Paint the mask over the plate"
        )
    if enlarged is not None and height * width > enlarged * mask.size:
        raise MotionError(f"mask {path} is {source}, far smaller than {width}x{height} pixels: paint it at that size")
    try:
        mask = from_file(mask)
    except MotionError as error:
        raise MotionError(f"mask {path}: {error}") from None
    if float(mask.max()) <= 0.0:
        raise MotionError(f"mask {path} is black all over: nothing would move. Paint white where things move")
    return fit_mask(mask, source, windows)


def _read_exr(path: Path) -> tuple[np.ndarray, Windows]:
    from loopcore import exr

    try:
        parts = exr.read_exr(path)
        placed, windows = place_channels(parts)
    except LoopcoreError as error:
        raise MotionError(f"mask {path}: {error}") from None
    channels = {name: values for name, values in placed.items() if values.shape == windows.size}
    # a constant alpha carries no mask
    plain = any("A" in part.channels and np.ptp(part.channels["A"]) == 0 for part in parts)
    names = [] if plain or "A" not in channels else ["A"]
    names = list(channels) if len(channels) == 1 else [*names, *CHANNELS, "Y"]
    for name in names:
        if name in channels:
            return channels[name], windows
    if {"R", "G", "B"} <= channels.keys():
        return luma(np.stack([channels[c] for c in "RGB"], axis=-1).astype(np.float32)), windows
    raise MotionError(
        f"mask {path} has the channels {', '.join(sorted(channels)[:12])}: none of them is mask.V, A, Y or R, G, B. "
        "Write the mask as one channel"
    )


def _read_picture(path: Path) -> np.ndarray:
    from PIL import ImageOps

    try:
        with open_picture(path) as opened:
            _refuse_lost_depth(opened, path)
            picture = ImageOps.exif_transpose(opened)
            picture.load()
    except FileNotFoundError:
        raise MotionError(f"mask {path} does not exist") from None
    except MotionError:
        raise
    except Exception as error:  # pillow raises nearly anything on a bad file
        raise MotionError(f"mask {path} cannot be read as a picture: {error}") from None
    if picture.mode in (*_GREY_16, "I"):
        return np.asarray(picture).astype(np.float32) / np.float32(65535)
    if picture.mode == "F":
        return np.asarray(picture)
    if picture.mode == "1":
        picture = picture.convert("L")
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        alpha = np.asarray(picture)[..., 3]
        if np.ptp(alpha):
            return alpha / np.float32(255)
    if picture.mode == "L":
        return np.asarray(picture) / np.float32(255)
    return luma(np.asarray(picture.convert("RGB")) / np.float32(255))


def _refuse_lost_depth(picture: Any, path: Path) -> None:
    # pillow silently reduces 16-bit colour PNG to 8 bits; only the tile's raw mode shows it
    modes = [args if isinstance(args, str) else str(args[0]) for *_, args in picture.tile if args]
    if any("16" in mode for mode in modes) and picture.mode not in (*_GREY_16, "I", "F"):
        raise MotionError(f"mask {path} has 16 bits per channel in colour: save it as 16-bit grey, or with 8 bits")
