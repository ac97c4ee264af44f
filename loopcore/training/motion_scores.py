# SPDX-License-Identifier: Apache-2.0
"""Scores of a motion field against a truth of three values: a pixel moves, is still, or is unknown."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_MIN_SPEED = 1e-9  # px per frame below which a vector has no direction


@dataclass(frozen=True)
class Truth:
    """Known motion.

    Attributes:
        velocity: (h, w, 2), px per frame.
        moving: (h, w) bool.
        still: (h, w) bool; pixels that are neither are unknown.
    """

    velocity: np.ndarray
    moving: np.ndarray
    still: np.ndarray


@dataclass(frozen=True)
class MethodScore:
    """Scores of one method on one clip.

    All but ``overlap``, ``psnr`` and ``ssim`` are measured where truth and prediction both move. A prediction that
    moves nowhere there has no direction: axis 45, direction 90, error 1, and 0 for the rest.

    Attributes:
        method: its name.
        overlap: intersection over union of the masks, over pixels that surely move or surely are still.
        axis: angle between lines of motion, (median, 90th percentile) in degrees, 0 to 90.
        direction: the same with the sense, 0 to 180 degrees.
        scaled_error: end-point error after the best single scale, over the mean true speed.
        speed_correlation: Pearson's, of the predicted speed with the true one; 0 where one of them is constant.
        sense: mean cosine between the directions, weighted by the true speed squared; above 0 the clip is the right way
            round.
        scale: the best single scale: true px per predicted px.
        psnr: of a loop's first 15 frames against the clip's, dB; NaN if no loop was made.
        ssim: likewise.
    """

    method: str
    overlap: float
    axis: tuple[float, float] = (45.0, 45.0)
    direction: tuple[float, float] = (90.0, 90.0)
    scaled_error: float = 1.0
    speed_correlation: float = 0.0
    sense: float = 0.0
    scale: float = 0.0
    psnr: float = float("nan")
    ssim: float = float("nan")

    @property
    def right(self) -> bool:
        """Whether it moves the clip the right way round."""
        return self.sense > 0


def score(method: str, truth: Truth, velocity: np.ndarray, mask: np.ndarray) -> MethodScore:
    """Scores a motion field.

    Args:
        method: its name.
        truth: what is known.
        velocity: (h, w, 2), px per frame, up to a scale.
        mask: (h, w) bool, where it moves.
    """
    known = truth.moving | truth.still
    overlap = float((mask & truth.moving).sum() / max(1, ((mask | truth.moving) & known).sum()))
    both = both_move(truth, velocity, mask)
    if not both.any():
        return MethodScore(method, overlap)
    true, guess = truth.velocity[both].astype(np.float64), velocity[both].astype(np.float64)
    speed = np.hypot(*true.T)
    turn = angles(true, guess)
    scale = max(0.0, float((true * guess).sum() / (guess * guess).sum()))
    error = np.hypot(*(scale * guess - true).T).mean() / speed.mean()
    sense = float((speed**2 * np.cos(np.radians(turn))).sum() / (speed**2).sum())
    correlation = pearson(speed, np.hypot(*guess.T))
    axis = np.minimum(turn, 180 - turn)
    return MethodScore(method, overlap, _quantiles(axis), _quantiles(turn), float(error), correlation, sense, scale)


def both_move(truth: Truth, velocity: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Returns (h, w) bool: where truth and prediction move, so that their directions can be compared."""
    known = np.hypot(truth.velocity[..., 0], truth.velocity[..., 1]) > _MIN_SPEED
    return truth.moving & known & mask & (np.hypot(velocity[..., 0], velocity[..., 1]) > _MIN_SPEED)


def angles(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Returns the angles between vectors (n, 2), degrees 0 to 180."""
    return np.degrees(np.abs(np.arctan2(a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0], (a * b).sum(axis=1))))


def pearson(a: np.ndarray, b: np.ndarray) -> float:
    """Returns the correlation of two samples (n,); 0 where one of them is constant up to rounding."""
    if any(sample.std() <= 1e-6 * np.abs(sample).max() for sample in (a, b)):
        return 0.0
    return float(((a - a.mean()) * (b - b.mean())).mean() / (a.std() * b.std()))


def _quantiles(values: np.ndarray) -> tuple[float, float]:
    """Returns the median and the 90th percentile."""
    return float(np.median(values)), float(np.quantile(values, 0.9))
