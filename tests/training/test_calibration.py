# SPDX-License-Identifier: Apache-2.0
"""Confidence against error, on fields whose errors are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from loopcore.motion.field import MotionField
from loopcore.training.calibration import BINS, PIXELS, calibrate, confidence_and_error, lines, write_chart
from loopcore.training.motion_scores import Truth

SIDE = 64


def drawn(error: np.ndarray, confidence: np.ndarray) -> np.ndarray:
    """Pixels of a clip that moves right, predicted with an error of direction, degrees."""
    moving = np.ones((SIDE, SIDE), bool)
    moving[:8] = False
    velocity = np.stack([np.cos(np.radians(error)), np.sin(np.radians(error))], axis=-1)
    truth = Truth(np.broadcast_to(np.float32([2, 0]), velocity.shape), moving, ~moving)
    return confidence_and_error(truth, MotionField(velocity, np.ones_like(confidence), confidence))


def ramp() -> np.ndarray:
    return np.broadcast_to(np.linspace(0, 1, SIDE), (SIDE, SIDE))


def test_pixels_are_drawn_where_both_move() -> None:
    confidence = ramp().copy()
    confidence[:8] = 0  # still
    error = np.where(confidence > 0, 120, 7)
    pixels = drawn(error, np.where(confidence > 0, confidence, 0.5))
    assert pixels.shape == (PIXELS, 3) and (drawn(error, confidence)[:, 1:] == pixels[:, 1:]).all()
    assert pixels[pixels[:, 2] > 100][:, 1:] == pytest.approx(np.array([[60, 120]] * (pixels[:, 2] > 100).sum()))
    assert (pixels[:, 2] > 100).mean() > 0.95  # the first column has no confidence above 0
    none = MotionField(np.zeros((SIDE, SIDE, 2)), ramp(), ramp())
    still = Truth(np.ones((SIDE, SIDE, 2)), np.ones((SIDE, SIDE), bool), np.zeros((SIDE, SIDE), bool))
    assert confidence_and_error(still, none).shape == (0, 3)


def test_confidence_that_tells_errors() -> None:
    made = calibrate([drawn(90 * (1 - ramp()), ramp()), drawn(90 * (1 - ramp() / 2), ramp() / 2)])
    assert made is not None and made.clips == 2 and len(made.bins) == BINS
    for b in made.bins:
        assert b.low <= b.confidence <= b.high and b.share == pytest.approx(1 / BINS, abs=0.02)
        assert b.direction == pytest.approx(90 * (1 - b.confidence), abs=0.1)
    assert made.direction_rank == pytest.approx(-1) and made.axis_rank_inside == pytest.approx(-1)


def test_clips_weigh_the_same_and_may_differ_inside() -> None:
    # the second clip is surer and wronger, though in each clip the surer pixels are the better ones
    sure, unsure = drawn(100 - 40 * ramp(), 0.6 + 0.4 * ramp()), drawn(50 - 40 * ramp(), 0.4 * ramp())
    made = calibrate([sure, unsure, np.zeros((0, 3), np.float32)])
    assert made is not None and made.clips == 2
    assert made.direction_rank > 0.3 and made.direction_rank_inside == pytest.approx(-1)
    assert sum(b.share for b in made.bins) == pytest.approx(1)
    assert sum(b.share for b in made.bins if b.low > 0.5) == pytest.approx(0.5)


def test_one_confidence_is_one_bin() -> None:
    made = calibrate([drawn(30 * ramp(), np.ones((SIDE, SIDE)))])
    assert made is not None and len(made.bins) == 1 and made.bins[0].share == 1
    assert made.axis_rank == made.direction_rank_inside == 0
    assert calibrate([np.zeros((0, 3))]) is None


def test_table_and_chart(tmp_path: Path) -> None:
    made = calibrate([drawn(90 * (1 - ramp()), ramp())])
    assert made is not None
    text = lines(made)
    assert len(text) == 3 + BINS and "direction -1.00" in text[-1]
    write_chart(made, tmp_path / "new" / "chart.png")
    picture = np.asarray(Image.open(tmp_path / "new" / "chart.png").convert("RGB")).astype(int)
    orange = (np.abs(picture - (210, 90, 20)).sum(axis=-1) < 30) & (np.arange(420) > 60)[:, None]
    heights = [np.nonzero(orange[:, x])[0].mean() for x in range(120, 520, 50)]
    assert heights == sorted(heights) and heights[-1] > heights[0] + 100  # the error falls from left to right
