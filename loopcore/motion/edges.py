# SPDX-License-Identifier: Apache-2.0
"""A coarse mask brought to the plate's own edges: the guided filter, its coefficients at low resolution.

Source: He, Sun, Tang, "Guided Image Filtering" (TPAMI 2013), section 3.4 (colour guide); He, Sun, "Fast Guided Filter"
(arXiv:1505.00996): the local lines are fitted where it is cheap, and applied to the picture at full size.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

_BAND = 32  # rows of the full picture at a time: they stay in the processor's cache


def refine_mask(coarse: np.ndarray, guide: np.ndarray, radius: int, epsilon: float = 2e-4) -> tuple[np.ndarray, ...]:
    """The mask as a local linear function of the guide: slopes (h, w, 3) and offset (h, w), float32.

    coarse: (h, w) in 0..1; guide: (h, w, 3) float32 0..1; radius: pixels of the windows. ``epsilon`` is the variance
    of the guide below which a window counts as flat.
    """
    p = coarse.astype(np.float32)
    mean_i, mean_p = _box(guide, radius), _box(p, radius)
    covariance = _box(guide * p[..., None], radius) - mean_i * mean_p[..., None]
    spread = {}
    for a, b in ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2)):
        spread[a, b] = _box(guide[..., a] * guide[..., b], radius) - mean_i[..., a] * mean_i[..., b]
        if a == b:
            spread[a, b] += np.float32(epsilon)
    slopes = _solved(spread, covariance)
    offset = mean_p - (slopes * mean_i).sum(axis=-1)
    return _box(slopes, radius), _box(offset, radius)


def _solved(spread: dict[tuple[int, int], np.ndarray], right: np.ndarray) -> np.ndarray:
    """Symmetric 3x3 systems at every pixel, by Cramer's rule; in double precision, as they are nearly singular."""
    xx, xy, xz, yy, yz, zz = (spread[pair].astype(np.float64) for pair in sorted(spread))
    rx, ry, rz = np.moveaxis(right.astype(np.float64), -1, 0)
    # the adjugate's entries
    axx, axy, axz = yy * zz - yz * yz, xz * yz - xy * zz, xy * yz - xz * yy
    ayy, ayz, azz = xx * zz - xz * xz, xy * xz - xx * yz, xx * yy - xy * xy
    size = xx * axx + xy * axy + xz * axz
    rows = [axx * rx + axy * ry + axz * rz, axy * rx + ayy * ry + ayz * rz, axz * rx + ayz * ry + azz * rz]
    return np.stack([row / size for row in rows], axis=-1).astype(np.float32)


def apply_lines(
    slopes: np.ndarray,
    offset: np.ndarray,
    guide: Callable[[int, int], np.ndarray],
    size: tuple[int, int],
    sharpen: tuple[float, float],
) -> np.ndarray:
    """slopes · guide + offset, sharpened, (H, W) float32 in 0..1; slopes and offset are enlarged to the guide's size.

    guide: gives the rows from the first to the one before the last, (n, W, 3) float32; asked for from several threads.
    size: (H, W). sharpen: ends of the ramp, as :func:`sharpened` has them.
    """
    from concurrent.futures import ThreadPoolExecutor

    import torch

    height, width = size
    lines = _widened(np.moveaxis(np.concatenate([slopes, offset[..., None]], axis=-1), -1, 0), width)
    above, part = _between(height, lines.shape[1])
    out = np.empty(size, np.float32)

    def fill(first: int) -> None:
        last = min(first + _BAND, height)
        low = lines[:, above[first:last]]
        low += part[first:last, None] * (lines[:, above[first:last] + 1] - low)
        rows = guide(first, last)
        total = low[3]
        for channel in range(3):
            total += low[channel] * rows[..., channel]
        out[first:last] = sharpened(total, *sharpen)

    with ThreadPoolExecutor(torch.get_num_threads()) as beside:
        list(beside.map(fill, range(0, height, _BAND)))
    return out


def _widened(lines: np.ndarray, width: int) -> np.ndarray:
    """(n, h, w) to (n, h, width), linearly."""
    left, part = _between(width, lines.shape[2])
    before = lines[..., left]
    return before + part * (lines[..., left + 1] - before)


def _between(count: int, known: int) -> tuple[np.ndarray, np.ndarray]:
    """For each of ``count`` pixels along a side: which of the ``known`` ones lies before it, and how far it is on."""
    at = np.clip((np.arange(count) + 0.5) * (known / count) - 0.5, 0, known - 1)
    before = np.minimum(at.astype(np.int64), known - 2)
    return before, (at - before).astype(np.float32)


def sharpened(mask: np.ndarray, low: float, high: float) -> np.ndarray:
    """Smoothly from exactly 0 at ``low`` to exactly 1 at ``high``."""
    ramp = np.clip((mask - np.float32(low)) / np.float32(high - low), 0, 1)
    return ramp * ramp * (3 - 2 * ramp)


def _box(values: np.ndarray, radius: int) -> np.ndarray:
    """Means over windows of 2 radius + 1 pixels, the picture mirrored at its borders."""
    from scipy.ndimage import uniform_filter1d

    size = 2 * radius + 1
    return uniform_filter1d(uniform_filter1d(values, size, axis=0), size, axis=1)
