# SPDX-License-Identifier: Apache-2.0
"""Flips: which region they turn round, what they leave, and what refuses them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from _constant import constant_network

from loopcore.color import decode_codes
from loopcore.errors import MotionError
from loopcore.job import Source
from loopcore.motion import Flip, Hints, MotionField, Stroke
from loopcore.motion.estimate import Estimate
from loopcore.motion.flips import with_flips
from loopcore.motion.networks import CLASSES, save_weights
from loopcore.motion.predict import predict_motion, predict_with_findings
from loopcore.observer import Observer
from loopcore.plate import Plate

ROWS, COLUMNS = 60, 100


def estimate_of(velocity: np.ndarray, fluids: np.ndarray | str = "water") -> Estimate:
    """Returns an estimate of (h, w, 2) velocities in which all moves; ``fluids`` holds indices of classes."""
    shape = velocity.shape[:2]
    if isinstance(fluids, str):
        fluids = np.full(shape, CLASSES.index(fluids))
    classes = np.moveaxis(np.eye(len(CLASSES), dtype=np.float32)[fluids], -1, 0)
    ones, sense = np.ones(shape, np.float32), np.full(shape, 0.25, np.float32)
    return Estimate(ones, velocity.astype(np.float32), ones, classes, sense)


def rightward() -> np.ndarray:
    return np.broadcast_to(np.array([1.0, 0.2]), (ROWS, COLUMNS, 2)).copy()


def turned(estimate: Estimate, mask: np.ndarray, *flips: Flip) -> np.ndarray:
    """Returns which cells go the other way with the flips, (h, w) bool; all others must go as before."""
    flipped = with_flips(estimate, mask, flips)
    before, after = estimate.velocity, flipped.velocity
    other = (after == -before).all(axis=-1)
    assert flipped.sense is not None and (flipped.sense[other] == 1).all()
    assert (other | (after == before).all(axis=-1)).all()
    return other


def test_a_flip_turns_the_connected_part_of_what_moves() -> None:
    mask = np.zeros((ROWS, COLUMNS), np.float32)
    mask[5:20, 5:95] = mask[40:55, 5:95] = 1
    other = turned(estimate_of(rightward()), mask, Flip(50, 10))
    assert other[5:20, 5:95].all() and not other[40:55, 5:95].any()
    sense = with_flips(estimate_of(rightward()), mask, [Flip(50, 10)]).sense
    assert sense is not None and (sense[40:55] == 0.25).all()


def test_opposite_senses_are_separate_regions_and_bends_are_not() -> None:
    mask = np.ones((ROWS, COLUMNS), np.float32)
    there_and_back = rightward()
    there_and_back[:, 50:] *= -1
    other = turned(estimate_of(there_and_back), mask, Flip(20, 30))
    assert other[:, :45].all() and not other[:, 55:].any()
    bend = np.linspace(0, np.pi, COLUMNS) + np.zeros((ROWS, 1))
    assert turned(estimate_of(np.stack([np.cos(bend), np.sin(bend)], axis=-1)), mask, Flip(20, 30)).all()


def test_fluids_that_touch_are_separate_regions() -> None:
    fluids = np.full((ROWS, COLUMNS), CLASSES.index("sky"))
    fluids[30:] = CLASSES.index("water")
    fluids[10, 10] = CLASSES.index("water")  # a wrong cell
    other = turned(estimate_of(rightward(), fluids), np.ones((ROWS, COLUMNS), np.float32), Flip(10, 10))
    assert other[:29].all() and not other[31:].any()


def test_two_flips_in_a_region_cancel_each_other() -> None:
    mask = np.ones((ROWS, COLUMNS), np.float32)
    estimate = estimate_of(rightward())
    assert not turned(estimate, mask, Flip(50, 10), Flip(3, 58)).any()
    assert turned(estimate, mask, Flip(50, 10), Flip(3, 58), Flip(-0.5, -0.5)).all()


@pytest.mark.parametrize("size", [(60, 100), (240, 400), (30, 50)])
def test_flips_are_found_at_any_size_of_the_plate(size: tuple[int, int]) -> None:
    height, width = size
    mask = np.zeros(size, np.float32)
    mask[: height // 3], mask[2 * height // 3 :] = 1, 1
    flip = Flip(width - 0.6, height - 0.6)
    other = turned(estimate_of(rightward()), mask, flip)
    assert other[42:].all() and not other[:18].any()
    still = Flip(width / 2, height / 2)
    with pytest.raises(MotionError, match=r"flips\[1\] lies where nothing moves"):
        with_flips(estimate_of(rightward()), mask, [flip, still])


# whole predictions


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a network that sees water flow to the right everywhere."""
    path = tmp_path_factory.mktemp("weights") / "right.safetensors"
    save_weights(constant_network(axis=(0.0, 20.0), direction=(0.0, 1.0)), path, {})
    return path


@pytest.fixture(scope="module")
def noise() -> Plate:
    codes = np.random.default_rng(3).integers(0, 255, (ROWS, COLUMNS, 3)).astype(np.uint8)
    return Plate(decode_codes(codes), ("R", "G", "B"), "lin_rec709_scene", "srgb")


def middle(motion: MotionField) -> float:
    return float(np.median(motion.velocity[motion.mask > 0.5, 0]))


def test_a_prediction_is_turned_round(noise: Plate, weights: Path) -> None:
    plain = predict_motion(noise, weights=weights)
    flipped = predict_motion(noise, Hints(flips=(Flip(50, 30),)), weights=weights)
    assert middle(plain) > 0.1 and middle(flipped) == pytest.approx(-middle(plain), rel=1e-3)
    assert np.array_equal(plain.mask, flipped.mask)


def test_the_direction_of_a_flipped_region_is_no_guess(noise: Plate) -> None:
    mask = np.zeros((ROWS, COLUMNS), np.float32)
    mask[5:25], mask[35:55] = 1, 1
    seen = estimate_of(rightward())
    seen = replace(seen, confidence=0.5 * seen.confidence)
    guesses = [
        predict_with_findings(noise, Hints(flips=flips), mask, estimator=lambda _: seen)[1].guesses
        for flips in ((), (Flip(50, 15),))
    ]
    assert [len(places) for places in guesses] == [2, 1] and 35 <= guesses[1][0][1] < 55


def test_strokes_override_flips_and_a_mask_limits_them(noise: Plate, weights: Path) -> None:
    """Strokes with a mask leave the picture out, but not where a flip refers to what it predicts."""
    mask = np.zeros((ROWS, COLUMNS), np.float32)
    mask[5:25], mask[35:55] = 1, 1
    stroke = Stroke([[20, 15], [80, 15]], 0.7)
    motion = predict_motion(noise, Hints((stroke,), flips=(Flip(50, 45),)), mask, weights)
    assert motion.velocity[15, 30:70, 0].min() > 0.6
    assert motion.velocity[40:50, 20:80, 0].max() < -0.1
    assert (motion.mask[27:33] == 0).all()
    both = predict_motion(noise, Hints((stroke,), flips=(Flip(50, 15),)), mask, weights)
    assert both.velocity[15, 30:70, 0].min() > 0.6 and both.velocity[40:50, 20:80, 0].min() > 0.1


def test_a_flip_where_nothing_moves_is_refused_by_its_index(noise: Plate, weights: Path, tmp_path: Path) -> None:
    mask = np.zeros((ROWS, COLUMNS), np.float32)
    mask[5:25] = 1
    with pytest.raises(MotionError, match=r"flips\[0\] lies where nothing moves"):
        predict_motion(noise, Hints(flips=(Flip(50, 45),)), mask, weights)
    save_weights(constant_network(moving=-30.0), tmp_path / "still.safetensors", {})
    with pytest.raises(MotionError, match=r"flips\[0\] has nothing to turn round"):
        predict_motion(
            noise, Hints((Stroke([[2, 2], [9, 9]]),), flips=(Flip(50, 45),)), mask, tmp_path / "still.safetensors"
        )
    with pytest.raises(MotionError, match="far outside"):
        predict_motion(noise, Hints(flips=(Flip(5000, 45),)), weights=weights)


def test_a_source_reads_flips_from_its_hints(noise: Plate, weights: Path, tmp_path: Path) -> None:
    hints = tmp_path / "hints.json"
    hints.write_text(json.dumps({"loopcore_hints": 1, "size": [2 * COLUMNS, 2 * ROWS], "flips": [[100, 60]]}), "utf-8")
    motion = Source(tmp_path / "unused.png", hints=hints, weights=weights).read_motion(noise, Observer())
    assert middle(motion) < -0.1
