# SPDX-License-Identifier: Apache-2.0
"""A coarse mask brought to the plate's own edges: the guided filter, its coefficients at low resolution.

Source: He, Sun, Tang, "Guided Image Filtering" (TPAMI 2013), section 3.4 (colour guide); He, Sun, "Fast Guided Filter"
(arXiv:1505.00996): the local lines are fitted where it is cheap, and applied to the picture at full size.
"""

from __future__ import annotations

import numpy as np


def refine_mask(coarse: np.ndarray, guide: np.ndarray, radius: int, epsilon: float = 2e-4) -> tuple[np.ndarray, ...]:
    """The mask as a local linear function of the guide: slopes (h, w, 3) and offset (h, w), float32.

    coarse: (h, w) in 0..1; guide: (h, w, 3) float32 0..1; radius: pixels of the windows. ``epsilon`` is the variance
    of the guide below which a window counts as flat.
    """
    p = coarse.astype(np.float32)
    mean_i, mean_p = _box(guide, radius), _box(p, radius)
    covariance = _box(guide * p[..., None], radius) - mean_i * mean_p[..., None]
    pairs = [(0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2)]
    spread = np.empty((*p.shape, 3, 3), np.float32)
    for a, b in pairs:
        spread[..., a, b] = _box(guide[..., a] * guide[..., b], radius) - mean_i[..., a] * mean_i[..., b]
        spread[..., b, a] = spread[..., a, b]
    spread += np.float32(epsilon) * np.eye(3, dtype=np.float32)
    slopes = np.linalg.solve(spread, covariance[..., None])[..., 0]
    offset = mean_p - (slopes * mean_i).sum(axis=-1)
    return _box(slopes, radius), _box(offset, radius)


def apply_lines(slopes: np.ndarray, offset: np.ndarray, guide: np.ndarray) -> np.ndarray:
    """slopes · guide + offset, (H, W) float32 clipped to 0..1; slopes and offset are enlarged to the guide's size."""
    import torch
    from torch.nn import functional as F

    height, width = guide.shape[:2]
    lines = torch.from_numpy(np.concatenate([slopes, offset[..., None]], axis=-1)).permute(2, 0, 1)[None]
    if lines.shape[2:] != (height, width):
        lines = F.interpolate(lines, size=(height, width), mode="bilinear", align_corners=False)
    lines = lines[0]
    out = lines[3].clone()
    for channel in range(3):
        out += lines[channel] * torch.from_numpy(np.ascontiguousarray(guide[..., channel]))
    return out.clamp_(0, 1).numpy()


def sharpened(mask: np.ndarray, low: float, high: float) -> np.ndarray:
    """Smoothly from exactly 0 at ``low`` to exactly 1 at ``high``."""
    ramp = np.clip((mask - np.float32(low)) / np.float32(high - low), 0, 1)
    return ramp * ramp * (3 - 2 * ramp)


def _box(values: np.ndarray, radius: int) -> np.ndarray:
    """Means over windows of 2 radius + 1 pixels, the picture mirrored at its borders."""
    from scipy.ndimage import uniform_filter1d

    size = 2 * radius + 1
    return uniform_filter1d(uniform_filter1d(values, size, axis=0), size, axis=1)
