# SPDX-License-Identifier: Apache-2.0
"""A coarse mask refined to the plate's edges by a guided filter with coefficients at low resolution.

Source: He, Sun, Tang, "Guided Image Filtering" (TPAMI 2013), section 3.4 (colour guide); He, Sun, "Fast Guided Filter"
(arXiv:1505.00996): the local linear models are fitted at low resolution, and applied to the full-size picture.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

_BAND_ROWS = 32  # of the full picture at a time, so that they stay in the processor's cache


def fit_guided_filter(
    coarse: np.ndarray, guide: np.ndarray, radius: int, epsilon: float = 2e-4
) -> tuple[np.ndarray, np.ndarray]:
    """Fits the mask as a local linear function of the guide.

    Args:
        coarse: (h, w) mask in 0..1.
        guide: (h, w, 3) float32 0..1.
        radius: of the windows, pixels.
        epsilon: variance of the guide below which a window counts as flat.

    Returns:
        Slopes (h, w, 3) and offset (h, w), float32.
    """
    mask = coarse.astype(np.float32)
    guide_mean, mask_mean = _box_mean(guide, radius), _box_mean(mask, radius)
    covariance = _box_mean(guide * mask[..., None], radius) - guide_mean * mask_mean[..., None]
    variance = {}
    for a, b in ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2)):
        variance[a, b] = _box_mean(guide[..., a] * guide[..., b], radius) - guide_mean[..., a] * guide_mean[..., b]
        if a == b:
            variance[a, b] += np.float32(epsilon)
    slopes = _solve_3x3(variance, covariance)
    offset = mask_mean - (slopes * guide_mean).sum(axis=-1)
    return _box_mean(slopes, radius), _box_mean(offset, radius)


def _solve_3x3(matrix: dict[tuple[int, int], np.ndarray], right: np.ndarray) -> np.ndarray:
    """Solves symmetric 3x3 systems at every pixel by Cramer's rule, in float64 since they are nearly singular."""
    xx, xy, xz, yy, yz, zz = (matrix[pair].astype(np.float64) for pair in sorted(matrix))
    rx, ry, rz = np.moveaxis(right.astype(np.float64), -1, 0)
    # the adjugate's entries
    axx, axy, axz = yy * zz - yz * yz, xz * yz - xy * zz, xy * yz - xz * yy
    ayy, ayz, azz = xx * zz - xz * xz, xy * xz - xx * yz, xx * yy - xy * xy
    determinant = xx * axx + xy * axy + xz * axz
    rows = [axx * rx + axy * ry + axz * rz, axy * rx + ayy * ry + ayz * rz, axz * rx + ayz * ry + azz * rz]
    return np.stack([row / determinant for row in rows], axis=-1).astype(np.float32)


def apply_guided_filter(
    slopes: np.ndarray,
    offset: np.ndarray,
    guide: Callable[[int, int], np.ndarray],
    size: tuple[int, int],
    ramp: tuple[float, float],
) -> np.ndarray:
    """Evaluates slopes · guide + offset at full size, then a smoothstep.

    Args:
        slopes: (h, w, 3), enlarged to ``size``.
        offset: (h, w), likewise.
        guide: returns rows ``first`` to ``stop - 1``, (n, W, 3) float32; called from several threads.
        size: (H, W).
        ramp: values that become exactly 0 and exactly 1.

    Returns:
        (H, W) float32 in 0..1.
    """
    from concurrent.futures import ThreadPoolExecutor

    import torch

    height, width = size
    coefficients = np.moveaxis(np.concatenate([slopes, offset[..., None]], axis=-1), -1, 0)
    coefficients = _enlarge_columns(coefficients, width)
    above, fraction = _linear_lookup(height, coefficients.shape[1])
    out = np.empty(size, np.float32)

    def fill(first: int) -> None:
        band = slice(first, min(first + _BAND_ROWS, height))
        values = _linear_models(coefficients, above[band], fraction[band], guide(band.start, band.stop))
        out[band] = smoothstep(values, *ramp)

    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        list(pool.map(fill, range(0, height, _BAND_ROWS)))
    return out


def _linear_models(coefficients: np.ndarray, above: np.ndarray, fraction: np.ndarray, guide: np.ndarray) -> np.ndarray:
    """Returns slopes · guide + offset, (n, W), with (4, h, W) coefficients interpolated to rows above + fraction."""
    models = coefficients[:, above]
    models += fraction[:, None] * (coefficients[:, above + 1] - models)
    total = models[3]
    for channel in range(3):
        total += models[channel] * guide[..., channel]
    return total


def _enlarge_columns(planes: np.ndarray, width: int) -> np.ndarray:
    """Interpolates (n, h, w) to (n, h, width) linearly."""
    left, fraction = _linear_lookup(width, planes.shape[2])
    before = planes[..., left]
    return before + fraction * (planes[..., left + 1] - before)


def _linear_lookup(count: int, known: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns for each of ``count`` pixels the last of ``known`` samples before it, and the fraction to the next."""
    position = np.clip((np.arange(count) + 0.5) * (known / count) - 0.5, 0, known - 1)
    before = np.minimum(position.astype(np.int64), known - 2)
    return before, (position - before).astype(np.float32)


def smoothstep(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Returns a cubic ramp from exactly 0 at ``low`` to exactly 1 at ``high``."""
    ramp = np.clip((values - np.float32(low)) / np.float32(high - low), 0, 1)
    return ramp * ramp * (3 - 2 * ramp)


def _box_mean(values: np.ndarray, radius: int) -> np.ndarray:
    """Returns means over windows of 2 radius + 1 pixels, the picture mirrored at its borders."""
    from scipy.ndimage import uniform_filter1d

    size = 2 * radius + 1
    return uniform_filter1d(uniform_filter1d(values, size, axis=0), size, axis=1)
