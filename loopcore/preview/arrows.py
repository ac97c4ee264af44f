# SPDX-License-Identifier: Apache-2.0
"""Draws a motion field as arrows over its plate, with the outline of the mask."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from loopcore.errors import MotionError

if TYPE_CHECKING:
    from loopcore.motion.field import MotionField

_STEPS = 10
_HALO = (8, 10, 14)
_OUTLINE = (255, 255, 255)
# Slow to fast. The order is recognisable without colour vision, too.
_SPEED_COLOURS = ((95, 165, 255), (110, 235, 215), (215, 250, 110), (255, 215, 70), (255, 130, 60))
_BAND_ROWS = 192


def arrow_picture(plate: np.ndarray, motion: MotionField, spacing: float | None = None) -> np.ndarray:
    """Draws the motion as arrows over the darkened plate, with the outline of the mask.

    The arrows are curved along the flow; their length and colour (cold to warm) grow with the speed.

    Args:
        plate: (H, W, 3) uint8 for display.
        motion: the motion field, of the plate's size.
        spacing: width of the arrows' staggered grid in pixels, at least 4; None gives about thirty rows.

    Returns:
        (H, W, 3) uint8.

    Raises:
        MotionError: plate and motion differ in size, or `spacing` is under 4 pixels.
    """
    height, width = motion.velocity.shape[:2]
    if plate.shape != (height, width, 3) or plate.dtype != np.uint8:
        raise MotionError(f"a {width}x{height} motion field needs a plate of (H, W, 3) uint8, not {plate.shape}")
    if spacing is None:
        spacing = max(15.0, min(height, width) / 30)
    if not 4 <= spacing:
        raise MotionError(f"arrows {spacing} pixels apart are too dense: give 4 or more")
    velocity = np.where(np.isfinite(motion.effective), motion.effective, 0)
    paths, speeds = _streamlets(velocity, spacing)
    canvas = _draw_outline(_darken(plate), motion.mask, spacing)
    return _draw_arrows(canvas, paths, speeds, spacing)


def _darken(plate: np.ndarray) -> np.ndarray:
    """Returns the plate darkened and half desaturated, so that the arrows stand out."""
    # Integer weights of colour and luma (BT.709), which sum to half the brightness.
    luma = (plate @ np.array([54, 183, 19], np.uint32)) >> 8
    return ((plate.astype(np.uint32) * 74 + luma[..., None] * 54) >> 8).astype(np.uint8)


def _streamlets(velocity: np.ndarray, spacing: float) -> tuple[np.ndarray, np.ndarray]:
    """Returns the arrows' centre lines (n, steps + 1, 2), tail first, and speeds (n,), 1 at the 98th percentile."""
    height, width = velocity.shape[:2]
    y, x = np.mgrid[spacing / 2 : height : spacing, spacing / 2 : width : spacing]
    x = x + np.where(np.arange(len(x)) % 2, spacing / 4, -spacing / 4)[:, None]
    points = np.stack([x.ravel(), y.ravel()], axis=1)
    speed = np.hypot(*_sample(velocity, points).T)
    moving = speed > 0
    if not moving.any():
        return np.empty((0, _STEPS + 1, 2)), np.empty(0)
    # A percentile, so that single outliers do not shrink all other arrows.
    top = np.percentile(speed[moving], 98)
    points, speed = points[speed > 0.02 * top], np.minimum(speed[speed > 0.02 * top] / top, 1.15)
    step = (1.15 * spacing * speed / _STEPS)[:, None]
    halves = []
    for sign in (-1, 1):
        line = [points]
        for _ in range(_STEPS // 2):
            here = _sample(velocity, line[-1])
            length = np.hypot(here[:, :1], here[:, 1:])
            line.append(line[-1] + sign * step * np.divide(here, length, where=length > 0, out=np.zeros_like(here)))
        halves.append(line)
    back, forth = halves
    return np.stack([*back[:0:-1], *forth], axis=1), speed


def _sample(velocity: np.ndarray, points: np.ndarray) -> np.ndarray:
    height, width = velocity.shape[:2]
    column = np.clip(np.rint(points[:, 0]).astype(int), 0, width - 1)
    row = np.clip(np.rint(points[:, 1]).astype(int), 0, height - 1)
    return velocity[row, column].astype(np.float64)


def _draw_outline(canvas: np.ndarray, mask: np.ndarray, spacing: float) -> np.ndarray:
    """Draws the antialiased line where the mask is 0.5, with a dark rim."""
    from scipy.ndimage import gaussian_filter

    thick = max(0.75, spacing / 30)
    # Blurred, because the distance to the line is measured by the slope, which a hard edge lacks.
    soft = gaussian_filter(np.nan_to_num(mask).astype(np.float32), max(1.0, thick), mode="nearest")
    down, across = np.gradient(soft) if min(soft.shape) > 1 else (np.zeros_like(soft), np.zeros_like(soft))
    slope = np.hypot(down, across)
    near = (slope > 1e-4) & (np.abs(soft - 0.5) < slope * (3 * thick + 2))
    distance = np.abs(soft[near] - 0.5) / slope[near]
    pixels = canvas[near].astype(np.float32)
    for colour, reach, strength in ((_HALO, 2 * thick, 0.7), (_OUTLINE, thick, 0.9)):
        share = strength * np.clip(reach + 0.5 - distance, 0, 1)[:, None]
        pixels += share * (np.array(colour, np.float32) - pixels)
    canvas[near] = np.rint(pixels).astype(np.uint8)
    return canvas


def _draw_arrows(canvas: np.ndarray, paths: np.ndarray, speeds: np.ndarray, spacing: float) -> np.ndarray:
    """Draws the arrows antialiased: in bands of rows that are enlarged, drawn on and averaged down."""
    from PIL import Image, ImageDraw

    height, width = canvas.shape[:2]
    scale = 4 if width * height < 3_000_000 else 3
    reach = spacing / 2
    for top in range(0, height, _BAND_ROWS):
        bottom = min(top + _BAND_ROWS, height)
        touched = (paths[..., 1].max(axis=1) > top - reach) & (paths[..., 1].min(axis=1) < bottom + reach)
        if not touched.any():
            continue
        band = Image.fromarray(canvas[top:bottom]).resize(
            (width * scale, (bottom - top) * scale), Image.Resampling.NEAREST
        )
        draw = ImageDraw.Draw(band)
        arrows = [(path, speed) for path, speed in zip((paths - (0, top)), speeds, strict=True)]
        arrows = [arrow for arrow, inside in zip(arrows, touched, strict=True) if inside]
        # All rims first, so that none covers another arrow.
        for rim in (True, False):
            for path, speed in arrows:
                _draw_arrow(draw, (path + 0.5) * scale, float(speed), spacing * scale, rim)
        canvas[top:bottom] = np.asarray(band.reduce(scale))
    return canvas


def _draw_arrow(draw: Any, path: np.ndarray, speed: float, spacing: float, rim: bool) -> None:
    """Draws one arrow or its dark rim; lengths are in pixels of the enlarged band."""
    colour = _HALO if rim else _speed_colour(speed)
    rim_width = 0.045 * spacing if rim else 0.0
    thick = (0.05 + 0.04 * speed) * spacing
    head = (0.16 + 0.22 * speed) * spacing
    tip = path[-1]
    direction = tip - path[-3]
    length = float(np.hypot(*direction))
    if length < 1e-6:
        return
    direction /= length
    side = np.array([-direction[1], direction[0]])
    line = [tuple(point) for point in path[:-1]]
    draw.line(line, fill=colour, width=max(1, round(thick + 2 * rim_width)), joint="curve")
    radius = thick / 2 + rim_width
    draw.ellipse([*(path[0] - radius), *(path[0] + radius)], fill=colour)
    base, half = tip - direction * (head * 0.75), side * (head * 0.5 + 1.6 * rim_width)
    point, foot = tip + direction * (head * 0.35 + 2.4 * rim_width), base - direction * rim_width
    draw.polygon([tuple(point), tuple(foot + half), tuple(foot - half)], fill=colour)


def _speed_colour(speed: float) -> tuple[int, int, int]:
    stops = np.linspace(0, 1, len(_SPEED_COLOURS))
    red, green, blue = (int(np.interp(speed, stops, channel)) for channel in zip(*_SPEED_COLOURS, strict=True))
    return red, green, blue
