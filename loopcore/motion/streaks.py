# SPDX-License-Identifier: Apache-2.0
"""Which way a fluid's texture is drawn out: streaks, by the structure tensor, and the banks it runs along.

Axes are kept as doubled angles: an axis at angle a is (cos 2a, sin 2a) times how sure it is, so that a streak's two
directions agree and axes can be averaged. Source: Bigün, Granlund, "Optimal orientation detection of linear symmetry"
(ICCV 1987); Knutsson, "Representing local structure using tensors" (1989).

Convention: x right, y down; (1, 0) is a level axis, (-1, 0) an upright one.
"""

from __future__ import annotations

import numpy as np

from loopcore.motion.steady import interpolated

_NOISE = 4e-5  # squared slope of sRGB codes a pixel below which there is no texture to speak of


def streak_axes(grey: np.ndarray, inside: np.ndarray, sigma: float) -> np.ndarray:
    """(2, h, w) float32 doubled-angle axes of the texture of ``grey`` inside a region, length 0..1.

    grey: (h, w) display luminance 0..1. inside: (h, w) 0..1, where the fluid is; slopes elsewhere count for nothing.
    sigma: pixels over which slopes are gathered.
    """
    from scipy.ndimage import gaussian_filter

    dx = gaussian_filter(grey, 1.0, order=(0, 1))
    dy = gaussian_filter(grey, 1.0, order=(1, 0))
    energy = dx * dx + dy * dy
    # a strong edge counts for more than a weak one, but not for all of its neighbourhood
    local = _gathered(np.stack([energy * inside, inside]), 2 * sigma)
    typical = np.divide(local[0], local[1], out=np.zeros_like(energy), where=local[1] > 1e-3)
    weight = inside / (energy + typical + np.float32(_NOISE))
    sums = _gathered(np.stack([(dy * dy - dx * dx) * weight, -2 * dx * dy * weight, energy * weight, inside]), sigma)
    # where little texture is (flat water) the bottom is what noise would give
    bottom = np.maximum(sums[2], 0.15 * sums[3])
    return np.divide(sums[:2], bottom, out=np.zeros_like(sums[:2]), where=bottom > 1e-3)


def bank_axes(inside: np.ndarray, sigma: float) -> np.ndarray:
    """(2, h, w) float32 doubled-angle axes along the borders of a region, fading away from them, length 0..1.

    The picture's own frame is no border.
    """
    from scipy.ndimage import gaussian_filter

    dx = gaussian_filter(inside, 1.5, order=(0, 1), mode="nearest")
    dy = gaussian_filter(inside, 1.5, order=(1, 0), mode="nearest")
    sums = _gathered(np.stack([dy * dy - dx * dx, -2 * dx * dy, dx * dx + dy * dy]), sigma)
    # a straight border at the very place gives a length near 1
    scale = np.float32(0.05 / sigma)
    return sums[:2] / (sums[2] + scale)


def _gathered(values: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian means of (n, h, w); wide ones on a coarser grid, which they would not show anyway."""
    from scipy.ndimage import gaussian_filter

    height, width = values.shape[1:]
    step = max(1, int(sigma / 4))
    if step > 1:
        values = interpolated(values, -(-height // step), -(-width // step), "area")
    means = np.stack([gaussian_filter(plane, sigma / step, truncate=3.0, mode="nearest") for plane in values])
    if step == 1:
        return means
    return interpolated(means, height, width)


def axis_angle(axes: np.ndarray) -> np.ndarray:
    """Angle of (2, h, w) doubled-angle axes, radians in -pi/2..pi/2, 0 level, positive falling to the right."""
    return 0.5 * np.arctan2(axes[1], axes[0])
