# SPDX-License-Identifier: Apache-2.0
"""Masks: polygons to pictures, feathering, and masks painted elsewhere.

A mask says where things may move, 0..1. Feathering goes inward, as a compositor would have it: outside the drawn
edge the mask is exactly 0, so those pixels of the plate stay untouched, and ``feather`` pixels inside it is exactly 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from loopcore.errors import LoopcoreError, MotionError
from loopcore.exr.windows import WHOLE, Windows, checked_windows, place, place_channels
from loopcore.image import luma, resize

_SUBPIXELS = 4  # each way, where polygons are drawn
_BIG = 5_000_000  # pixels above which half of that has to do
_STEPS = 24  # distances are measured over so many pixels at most; wider feathers on a smaller picture
_GREY_16 = ("I;16", "I;16L", "I;16B", "I;16N")


def as_mask(values: Any) -> np.ndarray:
    """``values`` as a contiguous (H, W) float32 mask.

    Raises:
        MotionError: not two-dimensional, or values that are not in 0..1.
    """
    try:
        mask = np.ascontiguousarray(values, np.float32)
    except (TypeError, ValueError):
        raise MotionError(f"a mask must be an array of numbers, not {type(values).__name__}") from None
    if mask.ndim != 2 or not mask.size:
        raise MotionError(f"a mask must be an array of (height, width), not of shape {mask.shape}")
    low, high = float(mask.min()), float(mask.max())
    if not (low >= 0.0 and high <= 1.0):
        raise MotionError(f"a mask's values must lie in 0..1 (0 still, 1 moving), these span {low:g} to {high:g}")
    return mask


def same_aspect(size: tuple[int, int], other: tuple[int, int]) -> bool:
    """Whether two (width, height) show the same picture: aspects within 1 %, or the rounding of one pixel."""
    (w, h), (width, height) = size, other
    off = abs(w * height - h * width)
    return off <= 0.01 * min(w * height, h * width) or off <= max(w, h, width, height)


def rasterise(
    polygons: Sequence[np.ndarray], exclude: Sequence[np.ndarray], feather: float, height: int, width: int
) -> np.ndarray:
    """The union of ``polygons`` less the union of ``exclude``, antialiased and feathered: (H, W) float32 in 0..1.

    Outlines are (n, 2) in pixels, pixel centres at integers. No polygons means the whole picture.
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
    """``mask`` (H, W) faded inward over ``feather`` pixels from its edge (where it is 0.5); the frame is no edge."""
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
        # any still pixel makes its cell still, so the fade never reaches the edge too late
        rows, cols = -(-height // shrink), -(-width // shrink)
        padded = np.pad(inside, ((0, rows * shrink - height), (0, cols * shrink - width)), mode="edge")
        small = padded.reshape(rows, shrink, cols, shrink).min(axis=(1, 3))
        depth = shrink * _depth(small, int(np.ceil(feather / shrink)) + 1)
        depth = resize(depth, rows * shrink, cols * shrink, "bilinear")[:height, :width]
    ramp = np.clip((depth - 0.5) / np.float32(feather), 0, 1)
    out = np.zeros_like(whole)
    out[window] = mask * (ramp * ramp * (3 - 2 * ramp))
    return out


def _window(mask: np.ndarray) -> tuple[slice, slice]:
    """The part of the picture with anything in it, and a pixel around it."""
    found = []
    for axis in (1, 0):
        used = np.flatnonzero(mask.any(axis=axis))
        found.append(slice(max(0, int(used[0]) - 1), int(used[-1]) + 2) if len(used) else slice(0, 1))
    return found[0], found[1]


def _depth(inside: np.ndarray, limit: int) -> np.ndarray:
    """Euclidean distance of each pixel centre to the nearest outside one, as float32, exact up to ``limit``."""
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
    """``mask`` at another size, (height, width) float32 in 0..1; the same array where the size is right already."""
    return fit_mask(mask, Windows.whole(*mask.shape), Windows.whole(height, width))


def fit_mask(mask: np.ndarray, source: Windows, target: Windows) -> np.ndarray:
    """``mask`` over a picture of other windows, as :func:`fit_windows`; values stay in 0..1."""
    fitted = fit_windows(mask, source, target)
    return fitted if fitted is mask else np.clip(fitted, 0, 1)


def matches(source: Windows, target: Windows) -> bool:
    """Whether a mask or motion of these windows is of the very size of a plate's: of its display window, or of all."""
    return source.display_size == target.display_size or covers_all(source, target)


def fits(source: Windows, target: Windows) -> bool:
    """Whether it can be brought to that size: the display windows are of one aspect, or it covers all of the plate."""
    return same_aspect(source.display_size[::-1], target.display_size[::-1]) or covers_all(source, target)


def covers_all(source: Windows, target: Windows) -> bool:
    """Whether one of the two knows no overscan, and was drawn over all pixels of the other."""
    return source.size == target.size and not (source.overscan and target.overscan)


def fit_windows(values: np.ndarray, source: Windows, target: Windows, *, cubic: bool = False) -> np.ndarray:
    """``values`` (h, w) over a picture of other windows; the same array where none of them have to move.

    The display windows are laid on one another, scaled where their sizes differ. What has overscan itself is 0 beyond
    it; the edges of what has none go on into the target's. What :func:`covers_all` of the target stays as it is.
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
    # the target's borders in pixels of the source, whose corner is the display window's
    box = (-left * w / columns, -top * h / rows, right * w / columns, bottom * h / rows)
    (first_x, first_y), (last_x, last_y) = np.floor(box[:2]).astype(int), np.ceil(box[2:]).astype(int)
    cover = (x + int(first_x), y + int(first_y), x + int(last_x) - 1, y + int(last_y) - 1)
    part = (box[0] - first_x, box[1] - first_y, box[2] - first_x, box[3] - first_y)
    placed = place(values, source.data, cover, extend=extend)
    return resize(placed, height, width, "bicubic" if cubic else "bilinear", part)


def read_mask(path: str | Path, height: int, width: int, windows: Windows = WHOLE) -> np.ndarray:
    """A painted mask for a plate of ``height`` x ``width``: (H, W) float32 in 0..1, white moves.

    Reads EXR (channel ``mask.V`` or the only one, else A, Y, or the luminance of R, G, B) and what pillow reads,
    8-bit or 16-bit grey. A picture whose alpha varies is masked by its alpha. Values are data: no transfer curve is
    undone. Another size of the same aspect is resized. An EXR is 0 outside its data window.

    windows: the plate's. Its overscan is masked as the edge of what is shown, unless the mask has overscan, too, or is
    as large as the plate with it.

    Raises:
        MotionError: unreadable, another aspect, values that make no mask.
    """
    path, windows = Path(path), checked_windows(windows, height, width)
    if path.suffix.lower() == ".exr":
        mask, source = _read_exr(path)
    else:
        mask = _read_picture(path)
        source = Windows.whole(*mask.shape)
    if not fits(source, windows):
        raise MotionError(
            f"mask {path} is {source}, but the plate is {windows}: another aspect. Paint the mask over the plate itself"
        )
    if not np.isfinite(mask).all():
        raise MotionError(f"mask {path} holds NaN or Inf: write it again with finite values")
    if float(mask.max()) <= 0.0:
        raise MotionError(f"mask {path} is black all over: nothing would move. Paint white where things move")
    return fit_mask(np.ascontiguousarray(np.clip(mask, 0, 1), np.float32), source, windows)


def _read_exr(path: Path) -> tuple[np.ndarray, Windows]:
    from loopcore import exr

    try:
        parts = exr.read_exr(path)
        placed, windows = place_channels(parts)
    except LoopcoreError as error:
        raise MotionError(f"mask {path}: {error}") from None
    channels = {name: values for name, values in placed.items() if values.shape == windows.size}
    # An alpha that is the same all over its data window only says where that is.
    plain = any("A" in part.channels and np.ptp(part.channels["A"]) == 0 for part in parts)
    names = [] if plain or "A" not in channels else ["A"]
    names = list(channels) if len(channels) == 1 else [*names, "mask.V", "mask.a", "mask.A", "Y"]
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
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as opened:
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
    # pillow reads 16-bit colour PNG as 8 bits and says nothing; the tile's raw mode still tells
    if any("16" in str(tile[-1]) for tile in picture.tile) and picture.mode not in (*_GREY_16, "I", "F"):
        raise MotionError(f"mask {path} has 16 bits a channel in colour: save it as 16-bit grey, or as 8 bits")
