# SPDX-License-Identifier: Apache-2.0
"""The sense of motion along its axes: one for a region, from its surer directions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loopcore.motion.orientation import orient, resultant_length, sense_certainty

SIDE = 40
ANGLES = st.floats(-np.pi, np.pi)
SEEDS = st.integers(0, 2**32 - 1)


def polar(angle: np.ndarray, length: float | np.ndarray = 1.0) -> np.ndarray:
    return (length * np.stack([np.cos(angle), np.sin(angle)])).astype(np.float32)


def at(cells: np.ndarray, direction: np.ndarray) -> np.ndarray:
    """Returns the direction in some cells, and none elsewhere."""
    return np.where(cells, direction, np.float32(0))


def along(found: np.ndarray, angle: np.ndarray) -> np.ndarray:
    """Returns the cosine between unit directions and an angle."""
    return (found * polar(angle)).sum(axis=0)


def noise(seed: int, shape: tuple[int, int] = (20, 31)) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns a random axis, direction and probability of moving."""
    random = np.random.default_rng(seed)
    axis, direction = random.normal(size=(2, 2, *shape)).astype(np.float32) * 3
    return axis, direction, random.random(shape, np.float32)


@settings(max_examples=25, deadline=None)
@given(angle=ANGLES, row=st.integers(0, SIDE - 1), column=st.integers(0, SIDE - 1), weight=st.floats(0.5, 50))
def test_one_direction_decides_a_straight_region(angle: float, row: int, column: int, weight: float) -> None:
    angles = np.full((SIDE, SIDE), angle)
    cells = np.zeros((SIDE, SIDE), bool)
    cells[row, column] = True
    found, _ = orient(polar(2 * angles, 5.0), at(cells, polar(angles, weight)), np.ones((SIDE, SIDE), np.float32))
    assert along(found, angles).min() > 0.999


@settings(max_examples=25, deadline=None)
@given(place=ANGLES, sense=st.sampled_from([0.0, np.pi]))
def test_a_cluster_decides_a_ring(place: float, sense: float) -> None:
    y, x = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
    ring = np.abs(np.hypot(x, y) - 13) < 5
    angles = np.arctan2(x, -y) + sense  # at right angles to the radius
    cells = np.hypot(x - 13 * np.cos(place), y - 13 * np.sin(place)) < 3
    found, _ = orient(polar(2 * angles, 5.0), at(cells, polar(angles, 4.0)), ring.astype(np.float32))
    assert along(found, angles)[ring].min() > 0.999


@settings(max_examples=25, deadline=None)
@given(bend=st.floats(2, 8), phase=ANGLES, column=st.integers(2, 2 * SIDE - 3), sense=st.sampled_from([0.0, np.pi]))
def test_a_cluster_decides_a_winding_brook(bend: float, phase: float, column: int, sense: float) -> None:
    y, x = np.mgrid[:SIDE, : 2 * SIDE].astype(float)
    wave = 2 * np.pi / SIDE
    middle = SIDE / 2 + bend * np.sin(wave * x + phase)
    brook = np.abs(y - middle) < 6
    angles = np.arctan(bend * wave * np.cos(wave * x + phase)) + sense
    cells = (np.abs(x - column) < 2) & brook
    found, _ = orient(polar(2 * angles, 5.0), at(cells, polar(angles, 4.0)), brook.astype(np.float32))
    assert along(found, angles)[brook].min() > 0.999


@settings(max_examples=25, deadline=None)
@given(angle=ANGLES, seed=SEEDS)
def test_surer_directions_outvote_others(angle: float, seed: int) -> None:
    """Most cells have a weak direction of the wrong sense, a few a strong one of the right sense."""
    random = np.random.default_rng(seed)
    angles = np.full((SIDE, SIDE), angle)
    strong = random.random((SIDE, SIDE)) < 0.1
    weights = np.where(strong, 6.0, -0.3)
    found, _ = orient(polar(2 * angles, 5.0), polar(angles, weights), np.ones((SIDE, SIDE), np.float32))
    assert along(found, angles).min() > 0.999


@settings(max_examples=25, deadline=None)
@given(angle=ANGLES, surer=st.floats(0.1, 0.5), ratio=st.floats(-0.6, 0))
def test_a_region_whose_halves_are_unsure_and_disagree_has_one_sense(angle: float, surer: float, ratio: float) -> None:
    angles = np.full((SIDE, SIDE), angle)
    weights = np.where(np.arange(SIDE) < SIDE // 2, surer, ratio * surer) * np.ones((SIDE, 1))
    found, _ = orient(polar(2 * angles, 5.0), polar(angles, weights), np.ones((SIDE, SIDE), np.float32))
    assert along(found, angles).min() > 0.999


@settings(max_examples=25, deadline=None)
@given(angle=ANGLES, sure=st.floats(6, 20), unsure=st.floats(0.1, 0.5))
def test_sure_directions_keep_their_sense_in_a_larger_unsure_region(angle: float, sure: float, unsure: float) -> None:
    angles, fall = np.full((SIDE, 2 * SIDE), angle), np.zeros((SIDE, 2 * SIDE), bool)
    fall[:, :12] = True
    directions = polar(angles, np.where(fall, sure, -unsure))
    found, _ = orient(polar(2 * angles, 5.0), directions, np.ones(fall.shape, np.float32))
    assert along(found, angles)[:, :8].min() > 0.999


@settings(max_examples=25, deadline=None)
@given(angle=ANGLES, column=st.integers(5, SIDE - 7), turn=st.floats(0.3, 0.7))
def test_a_line_of_uncertain_axes_does_not_part_a_region(angle: float, column: int, turn: float) -> None:
    angles, line = np.full((SIDE, SIDE), angle), np.zeros((SIDE, SIDE), bool)
    line[:, column : column + 2] = True
    axis = np.where(line, polar(2 * (angles + turn * np.pi), 0.5), polar(2 * angles, 5.0))
    cells = np.zeros((SIDE, SIDE), bool)
    cells[SIDE // 2, 1] = True
    found, _ = orient(axis, at(cells, polar(angles, 2.0)), np.ones((SIDE, SIDE), np.float32))
    assert along(found, angles)[~line].min() > 0.9


@settings(max_examples=25, deadline=None)
@given(angle=ANGLES, strong=st.floats(1, 20), weak=st.floats(0.2, 1), gap=st.integers(2, 10))
def test_separate_regions_keep_their_own_sense(angle: float, strong: float, weak: float, gap: int) -> None:
    """However strong a direction is, it is not carried through what is still."""
    angles = np.full((SIDE, 2 * SIDE + gap), angle)
    left, right = np.zeros(angles.shape, bool), np.zeros(angles.shape, bool)
    left[:, :SIDE], right[:, SIDE + gap :] = True, True
    moving = (left | right).astype(np.float32)
    weights = strong * left - weak * right
    found, _ = orient(polar(2 * angles, 5.0), polar(angles, weights), moving)
    assert along(found, angles)[left].min() > 0.999
    assert along(found, angles)[right].max() < -0.999


@settings(max_examples=40, deadline=None)
@given(seed=SEEDS)
def test_opposite_directions_give_the_opposite_field(seed: int) -> None:
    axis, direction, moving = noise(seed)
    one, certainty = orient(axis, direction, moving)
    other, same = orient(axis, -direction, moving)
    assert np.array_equal(other, -one) and np.array_equal(same, certainty)


@settings(max_examples=40, deadline=None)
@given(seed=SEEDS)
def test_the_field_is_of_unit_length_and_near_axes_that_are_certain(seed: int) -> None:
    axis, direction, moving = noise(seed)
    axis[:, :8] *= 100
    found, certainty = orient(axis, direction, moving)
    assert np.hypot(*found) == pytest.approx(1, abs=1e-5)
    unit = polar(0.5 * np.arctan2(axis[1], axis[0]))
    across, along_it = (np.abs((found * one).sum(axis=0)) for one in (unit[::-1] * [[[-1]], [[1]]], unit))
    assert (across * certainty <= along_it * (1 - certainty) + 1e-5).all()
    assert certainty.dtype == found.dtype == np.float32
    assert certainty.min() >= 0 and certainty.max() <= 1


@settings(max_examples=25, deadline=None)
@given(seed=SEEDS)
def test_either_end_of_an_upright_axis_may_represent_it(seed: int) -> None:
    """Twice 90 and -90 degrees are the same axis, at the cut of the arctangent."""
    random = np.random.default_rng(seed)
    angles = np.full((SIDE, SIDE), np.pi / 2)
    axis = polar(2 * angles, 5.0)
    axis[1] = 1e-6 * random.choice([-1, 1], (SIDE, SIDE))
    cells = np.zeros((SIDE, SIDE), bool)
    cells[tuple(random.integers(0, SIDE, 2))] = True
    found, _ = orient(axis, at(cells, polar(angles, 4.0)), np.ones((SIDE, SIDE), np.float32))
    assert found[1].min() > 0.999


def turned(field: np.ndarray) -> np.ndarray:
    """Returns a field turned with its picture from (x, y) to (y, -x), a quarter of a turn anticlockwise as seen."""
    x, y = np.rot90(field, axes=(1, 2))
    return np.stack([y, -x])


@settings(max_examples=25, deadline=None)
@given(place=ANGLES)
def test_a_turned_picture_has_the_turned_field(place: float) -> None:
    y, x = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
    ring = (np.abs(np.hypot(x, 1.3 * y) - 13) < 5).astype(np.float32)
    angles = np.arctan2(x, -1.69 * y)
    direction = at(np.hypot(x - 13 * np.cos(place), y - 10 * np.sin(place)) < 3, polar(angles, 4.0))
    axis = polar(2 * angles, 5.0)
    found, certainty = orient(axis, direction, ring)
    # twice the angle turns by half a turn
    other, other_certainty = orient(-np.rot90(axis, axes=(1, 2)), turned(direction), np.rot90(ring))
    inside = np.rot90(ring) > 0
    assert (turned(found) * other).sum(axis=0)[inside].min() > 0.999
    assert other_certainty == pytest.approx(np.rot90(certainty), abs=1e-6)


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (17, 23)])
def test_no_directions_and_no_motion_give_a_finite_field(shape: tuple[int, int]) -> None:
    none, still = np.zeros((2, *shape), np.float32), np.zeros(shape, np.float32)
    for axis in (none, polar(np.full(shape, 1.0), 5.0)):
        for moving in (still, still + 1):
            found, certainty = orient(axis, none, moving)
            assert np.hypot(*found) == pytest.approx(1, abs=1e-5)
            assert np.isfinite(certainty).all()
    assert orient(none, none, still)[1].max() == 0


@given(concentration=st.floats(0, 500))
def test_resultant_length_is_the_mean_cosine(concentration: float) -> None:
    """The mean of cos t under the density exp(k cos t), by the trapezoid rule, exact for periodic functions."""
    t = np.linspace(-np.pi, np.pi, 4096, endpoint=False)
    density = np.exp(concentration * (np.cos(t) - 1))
    expected = (np.cos(t) * density).sum() / density.sum()
    assert resultant_length(np.array([concentration]))[0] == pytest.approx(expected, abs=1e-6)


def test_resultant_length_grows_from_none_to_one() -> None:
    lengths = resultant_length(np.geomspace(1e-3, 1e6, 200))
    assert resultant_length(np.zeros(1))[0] == 0
    assert (np.diff(lengths) >= 0).all() and lengths[0] < 1e-3 and 0.999 < lengths[-1] <= 1


@settings(max_examples=10, deadline=None)
@given(angle=ANGLES)
def test_the_sense_is_certain_where_strong_directions_agree(angle: float) -> None:
    angles, moves = np.full((SIDE, SIDE), angle), np.ones((SIDE, SIDE), np.float32)
    left = np.arange(SIDE) < SIDE // 2

    def certainty(direction: np.ndarray) -> np.ndarray:
        return sense_certainty(polar(2 * angles, 5.0), direction, moves)

    strong = certainty(polar(angles, 4.0))
    weak = certainty(polar(angles, 0.1))
    torn = certainty(polar(np.where(np.arange(SIDE) % 2, angles, angles + np.pi), 4.0))
    one = certainty(at(left, polar(angles, 4.0)))
    assert strong.min() > 0.99 and torn.max() < 0.1 and one.min() > 0.99
    assert weak == pytest.approx(np.tanh(0.1), abs=1e-3)
