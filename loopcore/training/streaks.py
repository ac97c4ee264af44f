# SPDX-License-Identifier: Apache-2.0
"""Axes along which a fluid flows, from its texture (structure tensor): a baseline of the evaluation.

Axes are represented by doubled angles: an axis at angle a is (cos 2a, sin 2a) times its confidence, so that the two
directions of a streak agree and axes can be averaged. Source: Bigün, Granlund, "Optimal orientation detection of linear
symmetry" (ICCV 1987); Knutsson, "Representing local structure using tensors" (1989).

Convention: x right, y down; (1, 0) is a level axis, (-1, 0) an upright one.
"""

from __future__ import annotations

import numpy as np

from loopcore.motion.deterministic import resize_planes

_NOISE_ENERGY = 4e-5  # squared gradient, sRGB codes per pixel, of noise
_MIN_COHERENT_PART = 0.15  # smallest denominator, as a fraction of the area, which attenuates the noise of flat water


def streak_axes(grey: np.ndarray, inside: np.ndarray, sigma: float) -> np.ndarray:
    """Returns the axes of the texture inside a region, (2, h, w) float32 doubled angles of length 0..1.

    Args:
        grey: (h, w) display luma 0..1.
        inside: (h, w) 0..1, where the fluid is; gradients elsewhere are ignored.
        sigma: pixels over which gradients are averaged.
    """
    from scipy.ndimage import gaussian_filter

    dx = gaussian_filter(grey, 1.0, order=(0, 1))
    dy = gaussian_filter(grey, 1.0, order=(1, 0))
    energy = dx * dx + dy * dy
    # normalised by the local energy, so that a strong edge outweighs a weak one but does not dominate its surroundings
    local = _gaussian_mean(np.stack([energy * inside, inside]), 2 * sigma)
    typical = np.divide(local[0], local[1], out=np.zeros_like(energy), where=local[1] > 1e-3)
    weight = inside / (energy + typical + np.float32(_NOISE_ENERGY))
    tensor = np.stack([(dy * dy - dx * dx) * weight, -2 * dx * dy * weight, energy * weight, inside])
    sums = _gaussian_mean(tensor, sigma)
    denominator = np.maximum(sums[2], _MIN_COHERENT_PART * sums[3])
    return np.divide(sums[:2], denominator, out=np.zeros_like(sums[:2]), where=denominator > 1e-3)


def _gaussian_mean(values: np.ndarray, sigma: float) -> np.ndarray:
    """Returns Gaussian means of (n, h, w); wide ones on a coarser grid, which is enough for their smoothness."""
    from scipy.ndimage import gaussian_filter

    height, width = values.shape[1:]
    step = max(1, int(sigma / 4))
    if step > 1:
        values = resize_planes(values, -(-height // step), -(-width // step), "area")
    means = np.stack([gaussian_filter(plane, sigma / step, truncate=3.0, mode="nearest") for plane in values])
    if step == 1:
        return means
    return resize_planes(means, height, width)


def axis_angle(axes: np.ndarray) -> np.ndarray:
    """Returns the angle of (2, h, w) axes, radians in -pi/2..pi/2: 0 level, positive falling to the right."""
    return 0.5 * np.arctan2(axes[1], axes[0])
