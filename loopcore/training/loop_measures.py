# SPDX-License-Identifier: Apache-2.0
"""Measures of a sequence of frames over time, and of one sequence against another, inside a region.

Frames are (n, h, w, 3) uint8 sRGB; results are in display codes, 0..1.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from loopcore.training.frechet import bounding_window, region_features

SAMPLES = 12  # pictures of a sequence that features are computed of
_SIGMA = 8.0  # pixels at 640, of the Gaussian that removes the texture
_GOLDEN = (math.sqrt(5) - 1) / 2


@dataclass(frozen=True)
class Measures:
    """Measures of one sequence.

    Attributes:
        mean: over time, (h, w, 3) float64 codes 0..1.
        deviation: standard deviation over time, (h, w, 3) float64 codes 0..1.
        wander: mean |blurred frame - blurred first frame| in the region, codes 0..1.
        frames: (samples, channels) features of its frames.
        changes: (samples, channels) features of the differences between neighbouring frames.
    """

    mean: np.ndarray
    deviation: np.ndarray
    wander: float
    frames: np.ndarray
    changes: np.ndarray


def measure_sequence(
    frames: np.ndarray, region: np.ndarray, *, loops: bool, on_picture: Callable[[], None] | None = None
) -> Measures:
    """Measures a sequence.

    Args:
        frames: (n, h, w, 3) uint8 sRGB, at least two.
        region: (h, w) bool, not empty.
        loops: whether the first frame follows the last.
        on_picture: called after each of at most 2 SAMPLES pictures.
    """
    mean, deviation = over_time(frames)
    at, pairs = sample_times(len(frames)), len(frames) if loops else len(frames) - 1
    codes = [_codes(frames[t]) for t in at]
    changes = [_change(frames[t], frames[(t + 1) % len(frames)]) for t in sample_times(pairs)]
    return Measures(
        mean, deviation, wander(frames, region), region_features(codes, region, on_picture),
        region_features(changes, region, on_picture),
    )  # fmt: skip


def over_time(frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns mean and standard deviation over time, (h, w, 3) float64 codes 0..1 each."""
    total, squares = np.zeros(frames.shape[1:], np.uint64), np.zeros(frames.shape[1:], np.uint64)
    for frame in frames:
        total += frame
        squares += frame.astype(np.uint32) ** 2
    n = len(frames)
    # n sum(x^2) - sum(x)^2 is exact in integers, and not negative
    return total / (255 * n), np.sqrt(n * squares - total**2) / (255 * n)


def wander(frames: np.ndarray, region: np.ndarray) -> float:
    """Returns the mean of |G * (frame - first frame)| in the region over all later frames, codes 0..1.

    G is a Gaussian of sigma 8 pixels where the longer side has 640, and in proportion elsewhere.
    """
    from scipy.ndimage import gaussian_filter

    sigma = _SIGMA * max(region.shape) / 640
    window = bounding_window(region, math.ceil(4 * sigma) + 1)
    first, inside = _codes(frames[0][window]), region[window]
    found = [
        np.abs(gaussian_filter(_codes(frame[window]) - first, (sigma, sigma, 0), truncate=4.0)[inside]).mean(
            dtype=np.float64
        )
        for frame in frames[1:]
    ]
    return float(np.mean(found))


def sample_times(count: int) -> list[int]:
    """Returns at most SAMPLES of the numbers 0 to count - 1, by the golden ratio: even, and not aliased with cycles."""
    return sorted({int(count * ((i + 0.5) * _GOLDEN % 1)) for i in range(SAMPLES)})


def psnr(a: np.ndarray, b: np.ndarray, region: np.ndarray) -> float:
    """Returns the PSNR of pictures (h, w, 3), codes 0..1, in the region, dB; at most 120."""
    error = float(((a - b)[region] ** 2).mean())
    return 10 * math.log10(1 / max(error, 1e-12))


def _codes(frame: np.ndarray) -> np.ndarray:
    return frame.astype(np.float32) / np.float32(255)


def _change(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The difference of two frames as a picture: middle grey where nothing changes, clipped to 0..1."""
    return np.clip(np.float32(0.5) + _codes(b) - _codes(a), 0, 1)
