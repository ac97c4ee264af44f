# SPDX-License-Identifier: Apache-2.0
"""A coarse mask corrected by what moving and still parts look like around each place.

Linear models as of the guided filter (He, Sun, Tang, "Guided Image Filtering", TPAMI 2013), but of texture besides
colour, in larger windows, and with both classes weighted alike, so that a small rock counts as much as the water around
it.
"""

from __future__ import annotations

import numpy as np

from loopcore.image import REC709_WEIGHTS
from loopcore.motion.deterministic import resize_planes
from loopcore.motion.edges import smoothstep

_RADIUS = 0.03  # of the longer side, of the windows
_NEAR = 0.009  # of the longer side, radius of the windows of mean colour and texture
_STRIDE = 4  # pixels between models; samples are every second pixel
_VARIANCE = 1e-3  # of features, added to their covariance
_LABELS = (0.2, 0.6)  # probabilities that count as surely still and surely moving
_PART = (0.02, 0.98)  # of a window that moves: limits, so that what is uncertain is decided in windows of one class too
_TEXTURE_WEIGHT, _TEXTURE_NOISE = 0.15, 1e-4  # of the logarithm of the squared gradient, and the gradient of noise


def correct_by_appearance(coarse: np.ndarray, guide: np.ndarray) -> np.ndarray:
    """Raises the probability of moving where a place looks like what moves around it, and lowers it in the other case.

    The correction is at most 1/2, times 4 p (1 - p) where the part p of a window moves.

    Args:
        coarse: (h, w) probability of moving.
        guide: (h, w, 3) float32 sRGB 0..1.

    Returns:
        (h, w) float32 in 0..1; 0 where ``coarse`` is 0.
    """
    features = _features(guide)
    moving = smoothstep(coarse, *_LABELS)
    slopes, offset, balance = _models(features, moving)
    towards = balance * np.clip((slopes * features).sum(axis=0) + offset, -0.5, 0.5)
    return np.where(coarse > 0, np.clip(coarse + towards, 0, 1), np.float32(0))


def _features(guide: np.ndarray) -> np.ndarray:
    """Returns luma, mean colour, and the logarithm of the mean squared gradient, (5, h, w)."""
    from scipy.ndimage import uniform_filter

    luma = guide @ np.array(REC709_WEIGHTS, np.float32)
    size = 2 * max(1, round(_NEAR * max(luma.shape))) + 1
    colour = [uniform_filter(guide[..., channel], size) for channel in range(3)]
    down, right = np.gradient(luma)
    texture = np.log(uniform_filter(down * down + right * right, size) + np.float32(_TEXTURE_NOISE))
    return np.stack([luma, *colour, np.float32(_TEXTURE_WEIGHT) * texture])


def _models(features: np.ndarray, moving: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns slopes (n, h, w) and offset (h, w) of the models, and the balance 4 p (1 - p), (h, w).

    Ridge regression of ``moving`` - 1/2 in windows, in which the moving and the still part have the same total weight.
    """
    count, side = len(features), max(moving.shape)
    planes, weight = np.concatenate([features, moving[None] - np.float32(0.5)])[:, ::2, ::2], moving[::2, ::2]
    size = max(1, moving.shape[0] // _STRIDE), max(1, moving.shape[1] // _STRIDE)
    m, m_products, part = _moments(planes, weight, size, side)
    s, s_products, _ = _moments(planes, 1 - weight, size, side)
    means = (m + s) / 2
    covariance = (m_products + s_products) / 2 - means[..., None] * means[..., None, :]
    inner = covariance[..., :count, :count] + _VARIANCE * np.eye(count)
    slopes = np.linalg.solve(inner, covariance[..., :count, count:])[..., 0]
    offset = means[..., count] - (slopes * means[..., :count]).sum(axis=-1)
    averaged = [_window_mean(plane, side) for plane in (*np.moveaxis(slopes, -1, 0), offset)]
    part = np.clip(part, *_PART)
    models = resize_planes(np.stack([*averaged, 4 * part * (1 - part)]), *moving.shape)
    return models[:count], models[count], models[-1]


def _moments(
    planes: np.ndarray, weight: np.ndarray, size: tuple[int, int], side: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns weighted means (*size, n) and mean products (*size, n, n) in windows, and the mean weight."""
    count = len(planes)
    rows, columns = np.tril_indices(count)
    weighted = weight * planes
    cells = resize_planes(np.concatenate([weight[None], weighted, weighted[rows] * planes[columns]]), *size, "area")
    total, *sums = [_window_mean(plane.astype(np.float64), side) for plane in cells]
    scaled = np.stack(sums, axis=-1) / np.maximum(total, 1e-6)[..., None]
    products = np.empty((*size, count, count))
    products[..., rows, columns] = products[..., columns, rows] = scaled[..., count:]
    return scaled[..., :count], products, total


def _window_mean(values: np.ndarray, side: int) -> np.ndarray:
    """Returns means over windows of planes that have a quarter of the picture's resolution."""
    from scipy.ndimage import uniform_filter

    return uniform_filter(values, 2 * max(1, round(_RADIUS * side / _STRIDE)) + 1)
