# SPDX-License-Identifier: Apache-2.0
"""The steady field that explains a clip best: its mean optical flow without outliers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from loopcore.image import luma

MIN_SPEED = 0.12  # px per frame at 640 px below which flow is noise
MIN_RELATIVE_SPEED = 0.15  # of the clip's fast flow (95th percentile) that a pixel of the moving mask has
MAX_STILL_SPEED = 0.06  # px per frame at 640 px, of what stays in place
_MAX_STILL_CHANGE = 3.0  # deviation over time of 8-bit grey: noise and compression
_MIN_TEXTURE = 3.0  # deviation nearby of the mean grey: without texture neither flow nor change shows motion
_TEXTURE_SIDE = 9  # pixels
_OUTLIER = 3.0  # spreads from the median beyond which a flow is an outlier: a boat, a bird, a failed match
_NOISE = 0.05  # px per frame, added to the spread
_MIN_KNOWN = 0.3  # smallest fraction of the pairs for a mean; else the median
_MAX_GAP = 0.5  # of the root of the sum of two mean flows' squares: 41 degrees at one speed, or speeds 1 to 2.2
_MIN_ISLAND = 5e-4  # of the picture: smaller islands of motion, and holes in it, are noise


@dataclass(frozen=True)
class MeanFlow:
    """Ground truth of a clip.

    Attributes:
        velocity: (h, w, 2) float32, mean flow in px per frame.
        mask: (h, w) bool, where it moves.
        steadiness: fraction of the flow's energy inside the mask, without outliers, that the field explains; NaN where
            only the mean is known.
    """

    velocity: np.ndarray
    mask: np.ndarray
    steadiness: float


def average(values: np.ndarray, known: np.ndarray) -> MeanFlow:
    """Averages flows without outliers, pixel by pixel.

    Outliers are further than three spreads from the median; the spread is 1.48 times the median distance, which for a
    Gaussian is its deviation. Pixels with too few flows left take the median.

    Args:
        values: (n, h, w, 2), px per frame.
        known: (n, h, w) bool, where they are reliable.
    """
    median = np.median(values, axis=0)
    far = np.hypot(*np.moveaxis(values - median, -1, 0))
    spread = 1.48 * np.median(far, axis=0) + _NOISE
    usual = far < _OUTLIER * spread
    good = known & usual
    count = good.sum(axis=0)
    total = np.einsum("nhw,nhwc->hwc", good, values, dtype=np.float64, casting="unsafe")
    mean = total / np.maximum(count, 1)[..., None]
    velocity = np.where((count >= _MIN_KNOWN * len(values))[..., None], mean, median).astype(np.float32)
    mask = moving(velocity)
    inside, counts = values[:, mask], usual[:, mask, None]
    energy = float((counts * inside**2).sum(dtype=np.float64))
    left = float((counts * (inside - velocity[mask]) ** 2).sum(dtype=np.float64))
    return MeanFlow(velocity, mask, max(0.0, 1 - left / max(energy, 1e-9)))


def agreement(one: MeanFlow, other: MeanFlow) -> float:
    """Returns the fraction of what moves by either of two mean flows where they are alike; 1 where nothing moves.

    The test is relative to the speed, since means are steadier than flows of single pairs.
    """
    mask = one.mask | other.mask
    a, b = one.velocity[mask], other.velocity[mask]
    gap, energy = ((a - b) ** 2).sum(axis=-1), (a**2 + b**2).sum(axis=-1)
    return float((gap < _MAX_GAP**2 * energy).mean()) if mask.any() else 1.0


def given(velocity: np.ndarray) -> MeanFlow:
    """Returns the ground truth of a mean motion from a file, (h, w, 2)."""
    return MeanFlow(velocity.astype(np.float32), moving(velocity), float("nan"))


def moving(velocity: np.ndarray) -> np.ndarray:
    """Returns (h, w) bool: where a mean flow exceeds noise, small islands and holes removed."""
    speed = np.hypot(velocity[..., 0], velocity[..., 1])
    floor = MIN_SPEED * max(speed.shape) / 640
    mask = speed > max(floor, MIN_RELATIVE_SPEED * float(np.quantile(speed, 0.95)))
    return ~_without_islands(~_without_islands(mask))


def still(frames: np.ndarray, velocity: np.ndarray) -> np.ndarray:
    """Returns (h, w) bool: where a clip surely stays in place: it has texture, no change over time, and no mean flow.

    What neither moves by :func:`moving` nor is still is unknown: plain sky, calm pools, the surroundings of water.

    Args:
        frames: (n, h, w, 3) uint8 sRGB.
        velocity: (h, w, 2), mean flow in px per frame.
    """
    from scipy.ndimage import uniform_filter

    grey = luma(frames.astype(np.float32))
    mean = grey.mean(axis=0)
    near = uniform_filter(mean, _TEXTURE_SIDE)
    texture = np.sqrt(np.maximum(uniform_filter(mean * mean, _TEXTURE_SIDE) - near * near, 0))
    slow = np.hypot(velocity[..., 0], velocity[..., 1]) < MAX_STILL_SPEED * max(mean.shape) / 640
    return _without_islands(slow & (texture > _MIN_TEXTURE) & (grey.std(axis=0) < _MAX_STILL_CHANGE))


def _without_islands(mask: np.ndarray) -> np.ndarray:
    from scipy.ndimage import label

    regions, _ = label(mask)
    sizes = np.bincount(regions.ravel())
    sizes[0] = 0
    return (sizes >= min(_MIN_ISLAND * mask.size, sizes.max()))[regions] & mask
