# SPDX-License-Identifier: Apache-2.0
"""What is told of a prediction: what moves, and where its direction is a guess."""

from __future__ import annotations

import numpy as np
import pytest

from loopcore.motion.estimate import Estimate
from loopcore.motion.field import MotionField
from loopcore.motion.findings import Findings, findings

ROWS, COLUMNS = 60, 80


def estimate(sense: np.ndarray | None) -> Estimate:
    ones = np.ones((ROWS, COLUMNS), np.float32)
    return Estimate(ones, np.ones((ROWS, COLUMNS, 2), np.float32), ones, None, sense)


def motion(mask: np.ndarray, confidence: np.ndarray) -> MotionField:
    """Returns a field of a picture of twice the estimate's size."""
    mask, confidence = (np.kron(plane, np.ones((2, 2), np.float32)) for plane in (mask, confidence))
    return MotionField(np.ones((*mask.shape, 2), np.float32), mask, confidence)


def test_guesses_are_the_large_regions_that_are_not_drawn() -> None:
    mask, sense = np.zeros((ROWS, COLUMNS), np.float32), np.ones((ROWS, COLUMNS), np.float32)
    confidence = np.full((ROWS, COLUMNS), 0.7, np.float32)
    mask[:40] = 1
    sense[:20, 50:] = 0.2  # 20 x 30 cells
    sense[22:32, 5:15] = 0.1  # 10 x 10
    sense[0:3, 0:3] = 0.1  # too small to be counted
    sense[22:32, 30:40] = confidence[22:32, 30:40] = 0.0
    confidence[22:32, 30:40] = 1  # drawn
    sense[45:] = 0  # still
    found = findings(motion(mask, confidence), estimate(sense))
    assert found.predicted and found.moving == pytest.approx(2 / 3)
    assert found.sure == pytest.approx(1 - (600 + 100 + 9) / 3200)
    (x, y), (x2, y2) = found.guesses
    assert 100 < x < 160 and 0 < y < 40 and 10 < x2 < 30 and 44 < y2 < 64


def test_strokes_alone_and_other_networks_guess_nothing() -> None:
    whole = np.ones((ROWS, COLUMNS), np.float32)
    assert findings(motion(whole, whole), None) == Findings(1.0)
    assert findings(motion(whole, 0.5 * whole), estimate(None)) == Findings(1.0, predicted=True)
