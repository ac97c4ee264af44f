# SPDX-License-Identifier: Apache-2.0
"""Calibration of a predictor: is it less wrong where its confidence is higher?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from loopcore.files.atomic import make_folder, write_atomically
from loopcore.motion.field import MotionField
from loopcore.training.motion_scores import Truth, angles, both_move, pearson

PIXELS = 4096  # drawn of each clip, with replacement, so that all clips weigh the same
BINS = 8
_CHART, _EDGE = (640, 420), 56  # pixels: size, and margin for the labels
_COLOURS = {"axis": (30, 110, 200), "direction": (210, 90, 20)}
_TOP = 120  # degrees, upper end of the chart


@dataclass(frozen=True)
class Bin:
    """Pixels of similar confidence.

    Attributes:
        low: smallest confidence.
        high: largest confidence.
        confidence: mean.
        axis: mean angle between the lines of motion, degrees.
        direction: mean angle with the sense, degrees.
        share: of all drawn pixels.
    """

    low: float
    high: float
    confidence: float
    axis: float
    direction: float
    share: float


@dataclass(frozen=True)
class Calibration:
    """Confidence against error over clips.

    Attributes:
        clips: their number.
        bins: of equal numbers of pixels, fewer where confidences are equal.
        axis_rank: Spearman's correlation of confidence with the axis error: below 0 if confidence tells errors.
        direction_rank: the same of the direction error.
        axis_rank_inside: mean of the clips' own correlations with the axis error.
        direction_rank_inside: the same of the direction error.
    """

    clips: int
    bins: tuple[Bin, ...]
    axis_rank: float
    direction_rank: float
    axis_rank_inside: float
    direction_rank_inside: float


def confidence_and_error(truth: Truth, predicted: MotionField) -> np.ndarray:
    """Draws pixels where truth and prediction both move; the same ones at each call.

    Returns:
        (4096, 3) float32: confidence, axis error and direction error in degrees; (0, 3) if there are none.
    """
    y, x = np.nonzero(both_move(truth, predicted.velocity, predicted.mask > 0.5))
    if not len(y):
        return np.zeros((0, 3), np.float32)
    drawn = np.random.default_rng(0).integers(len(y), size=PIXELS)
    y, x = y[drawn], x[drawn]
    turn = angles(truth.velocity[y, x].astype(np.float64), predicted.velocity[y, x].astype(np.float64))
    return np.stack([predicted.confidence[y, x], np.minimum(turn, 180 - turn), turn], axis=1).astype(np.float32)


def calibrate(samples: Sequence[np.ndarray]) -> Calibration | None:
    """Compares confidence and error.

    Args:
        samples: of each clip, from :func:`confidence_and_error`.

    Returns:
        None if no clip has any.
    """
    kept = [drawn for drawn in samples if len(drawn)]
    if not kept:
        return None
    pool = np.concatenate(kept).astype(np.float64)
    confidence = pool[:, 0]
    inner = np.unique(np.quantile(confidence, np.arange(1, BINS) / BINS))
    number = np.searchsorted(inner, confidence, side="right")
    bins = []
    for own in (pool[number == i] for i in np.unique(number)):
        low, high = float(own[:, 0].min()), float(own[:, 0].max())
        mean, axis, direction = map(float, own.mean(axis=0))
        bins.append(Bin(low, high, mean, axis, direction, len(own) / len(pool)))
    inside = np.mean([[_ranked(drawn, 1), _ranked(drawn, 2)] for drawn in kept], axis=0)
    return Calibration(len(kept), tuple(bins), _ranked(pool, 1), _ranked(pool, 2), *map(float, inside))


def _ranked(pool: np.ndarray, column: int) -> float:
    """Returns Spearman's correlation of the confidence with a column."""
    from scipy.stats import rankdata

    return pearson(rankdata(pool[:, 0]), rankdata(pool[:, column]))


def lines(found: Calibration) -> list[str]:
    """Formats a calibration as a table."""
    made = [
        f"confidence against mean error where both move ({PIXELS} pixels of each of {found.clips} clips)",
        f"{'confidence':<16}{'mean':>6}{'pixels':>8}{'axis':>7}{'direction':>11}",
    ]
    for b in found.bins:
        span = f"{b.low:.3f} to {b.high:.3f}"
        made.append(f"{span:<16}{b.confidence:6.3f}{b.share:8.0%}{b.axis:7.1f}{b.direction:11.1f}")
    return [
        *made,
        f"rank correlation of confidence and error: axis {found.axis_rank:+.2f} (inside a clip "
        f"{found.axis_rank_inside:+.2f}), direction {found.direction_rank:+.2f} ({found.direction_rank_inside:+.2f})",
    ]


def write_chart(found: Calibration, path: Path) -> None:
    """Draws the mean errors over the mean confidence of the bins, as PNG.

    Raises:
        SequenceError: the file cannot be written.
    """
    from PIL import Image, ImageDraw, ImageFont

    picture = Image.new("RGB", _CHART, "white")
    draw = ImageDraw.Draw(picture)
    draw.font = ImageFont.load_default(13)
    for tick in range(0, 11, 2):
        (x, bottom), top = _place(tick / 10, 0), _place(tick / 10, _TOP)[1]
        draw.line([(x, top), (x, bottom)], fill=(225, 225, 225))
        draw.text((x, bottom + 12), f"{tick / 10:.1f}", fill="black", anchor="mm")
    for degrees in range(0, _TOP + 1, 30):
        (left, y), right = _place(0, degrees), _place(1, degrees)[0]
        draw.line([(left, y), (right, y)], fill=(225, 225, 225))
        draw.text((left - 8, y), str(degrees), fill="black", anchor="rm")
    draw.text((_CHART[0] / 2, _CHART[1] - 18), "confidence", fill="black", anchor="mm")
    draw.text((_EDGE, _EDGE / 2), "mean error, degrees:", fill="black", anchor="lm")
    for i, (name, colour) in enumerate(_COLOURS.items()):
        points = [_place(b.confidence, min(getattr(b, name), _TOP)) for b in found.bins]
        draw.line(points, fill=colour, width=2)
        for x, y in points:
            draw.ellipse([x - 4, y - 4, x + 4, y + 4], fill=colour)
        draw.text((_EDGE + 140 + 80 * i, _EDGE / 2), name, fill=colour, anchor="lm")
    make_folder(path.parent)
    write_atomically(path, lambda hidden: picture.save(hidden, format="PNG"))


def _place(confidence: float, degrees: float) -> tuple[float, float]:
    """Returns a point of the chart, pixels."""
    width, height = _CHART[0] - 2 * _EDGE, _CHART[1] - 2 * _EDGE
    return _EDGE + width * confidence, _EDGE + height * (1 - degrees / _TOP)
