# SPDX-License-Identifier: Apache-2.0
"""What a prediction found in a picture, and where its direction is a guess: a still often does not show the sense."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from loopcore.motion.deterministic import resize_planes
from loopcore.motion.estimate import Estimate
from loopcore.motion.field import MotionField

MIN_SENSE = 0.8  # below it, the direction is a guess: see the model card
_MIN_REGION = 0.005  # of the picture; smaller ones are not counted
_DRAWN = 0.95  # confidence, above which strokes override the prediction


@dataclass(frozen=True)
class Findings:
    """What moves, and where its direction is a guess.

    Attributes:
        moving: fraction of the picture that moves.
        sure: fraction of what moves whose direction is not a guess.
        guesses: (x, y) pixels inside each region whose velocity may as well be its opposite, the largest region first.
        predicted: whether a network found the motion, and not strokes alone.
    """

    moving: float
    sure: float = 1.0
    guesses: tuple[tuple[float, float], ...] = ()
    predicted: bool = False


def findings(motion: MotionField, estimate: Estimate | None) -> Findings:
    """Returns what was found.

    Args:
        motion: the solved field, all of the plate's pixels.
        estimate: that it follows; None if strokes define it.
    """
    moving = float((motion.mask > 0.5).mean())
    if estimate is None:
        return Findings(moving)
    if estimate.sense is None:
        return Findings(moving, predicted=True)
    rows, columns = estimate.sense.shape
    mask, confidence = resize_planes(np.stack([motion.mask, motion.confidence]), rows, columns, "area")
    moves = mask > 0.5
    guessed = moves & (confidence < _DRAWN) & (estimate.sense < MIN_SENSE)
    sure = 1 - float(guessed.sum() / max(moves.sum(), 1))
    scale = np.array([motion.width / columns, motion.height / rows])
    places = ((np.array(place) + 0.5) * scale - 0.5 for place in _regions(guessed))
    return Findings(moving, sure, tuple((float(x), float(y)) for x, y in places), predicted=True)


def _regions(guessed: np.ndarray) -> list[tuple[int, int]]:
    """Returns (column, row) of the cell farthest inside each large region, the largest region first."""
    from scipy.ndimage import distance_transform_edt, label

    regions, count = label(guessed)
    sizes = np.bincount(regions.ravel(), minlength=count + 1)
    sizes[0] = 0
    inside = distance_transform_edt(np.pad(guessed, 1))[1:-1, 1:-1]
    places = []
    for region in np.argsort(-sizes, kind="stable"):
        if sizes[region] >= _MIN_REGION * guessed.size:
            row, column = np.unravel_index(np.argmax(np.where(regions == region, inside, 0)), guessed.shape)
            places.append((int(column), int(row)))
    return places
