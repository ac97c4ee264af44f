# SPDX-License-Identifier: Apache-2.0
"""Scores of motion fields, against values that follow from their definitions."""

from __future__ import annotations

import numpy as np
import pytest

from loopcore.training.motion_scores import MethodScore, Truth, angles, pearson, score

SHAPE = (10, 40)


def constant(x: float, y: float) -> np.ndarray:
    return np.broadcast_to(np.array([x, y]), (*SHAPE, 2)).astype(np.float32)


def columns(first: int, last: int) -> np.ndarray:
    mask = np.zeros(SHAPE, bool)
    mask[:, first:last] = True
    return mask


def truth(velocity: np.ndarray) -> Truth:
    """Columns 0 to 9 move, 20 to 29 are still, the others unknown."""
    return Truth(velocity, columns(0, 10), columns(20, 30))


def test_unknown_pixels_do_not_count_in_the_overlap() -> None:
    true = truth(constant(1, 0))
    assert score("a", true, constant(1, 0), columns(0, 10)).overlap == 1
    assert score("a", true, constant(1, 0), columns(0, 20)).overlap == 1  # 10 to 19 are unknown
    assert score("a", true, constant(1, 0), columns(5, 25)).overlap == pytest.approx(5 / 15)
    assert score("a", true, constant(1, 0), columns(0, 40)).overlap == pytest.approx(10 / 20)


def test_angles_are_measured_where_both_move() -> None:
    guess = constant(1, 0).copy()
    guess[:, :5] = (0, 1)
    row = score("a", truth(constant(3, 0)), guess, columns(5, 40))
    assert row.axis == row.direction == (0, 0) and row.scaled_error == pytest.approx(0) and row.sense == 1
    guess[:, 5:] = 0
    row = score("a", truth(constant(3, 0)), guess, columns(0, 40))  # the still vectors have no direction
    assert row.axis == row.direction == pytest.approx((90, 90)) and row.scaled_error == 1


def test_a_field_the_wrong_way_round() -> None:
    row = score("a", truth(constant(2, 0)), constant(-1, 0), columns(0, 10))
    assert row.axis == pytest.approx((0, 0)) and row.direction == pytest.approx((180, 180))
    assert row.sense == pytest.approx(-1) and not row.right
    assert row.scale == 0 and row.scaled_error == 1  # the best scale that is not negative


def test_a_field_that_moves_nowhere_has_no_direction() -> None:
    still = MethodScore("a", 0.0, (45, 45), (90, 90), 1, 0, 0, 0)
    for velocity, mask in ((constant(1, 0), columns(30, 40)), (constant(0, 0), columns(0, 10))):
        row = score("a", truth(constant(2, 0)), velocity, mask)
        assert (row.axis, row.direction, row.scaled_error) == (still.axis, still.direction, still.scaled_error)
        assert not row.right and row.speed_correlation == row.sense == row.scale == 0


def test_scale_and_error_left_over() -> None:
    true = constant(4, 0).copy()
    true[:, :5] = (2, 0)
    row = score("a", truth(true), constant(1, 0), columns(0, 10))
    assert row.scale == pytest.approx(3) and row.scaled_error == pytest.approx(1 / 3)
    assert row.speed_correlation == 0  # one speed everywhere says nothing
    assert score("a", truth(true), 0.1 * true, columns(0, 10)).speed_correlation == pytest.approx(1)
    assert score("a", truth(true), constant(5, 0) - true, columns(0, 10)).speed_correlation == pytest.approx(-1)


def test_fast_pixels_decide_which_way_round() -> None:
    true = constant(1, 0).copy()
    true[:, :2] = (4, 0)  # a fifth of the pixels with four fifths of the energy
    guess = constant(-1, 0).copy()
    guess[:, :2] = (1, 0)
    row = score("a", truth(true), guess, columns(0, 10))
    assert row.direction[0] == pytest.approx(180) and row.right
    assert row.sense == pytest.approx((2 * 16 - 8) / (2 * 16 + 8))


def test_angles_and_correlations() -> None:
    east, ways = np.array([[1.0, 0]] * 4), np.array([[2.0, 0], [0, 1], [-3, 0], [1, -1]])
    assert angles(east, ways) == pytest.approx([0, 90, 180, 45])
    random = np.random.default_rng(1)
    a, b = random.random(50), random.random(50)
    assert pearson(a, b) == pytest.approx(np.corrcoef(a, b)[0, 1])
    assert pearson(a, np.full(50, 0.1)) == pearson(np.zeros(50), a) == 0
