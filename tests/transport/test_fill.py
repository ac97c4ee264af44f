# SPDX-License-Identifier: Apache-2.0
"""Filling: known pixels stay, missing ones come from their surroundings."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loopcore.transport.fill import fill, repair


@st.composite
def splatted(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A picture, weights with holes (at least one pixel known), and the sums that a splat would give."""
    shape = draw(st.integers(1, 21)), draw(st.integers(1, 21))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    values = rng.normal(0, 5, (*shape, draw(st.integers(1, 5)))).astype(np.float32)
    weights = rng.uniform(0.01, 4, shape).astype(np.float32)
    weights[rng.random(shape) < draw(st.sampled_from([0.1, 0.6, 0.98]))] = 0
    weights[rng.integers(shape[0]), rng.integers(shape[1])] = 1.5
    return values, weights, values * weights[..., None]


@settings(max_examples=80, deadline=None)
@given(splatted())
def test_known_pixels_stay_and_holes_lie_in_their_range(
    scene: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> None:
    values, weights, sums = scene
    out = fill(sums, weights)
    known = weights > 0
    assert out.shape == values.shape and out.dtype == np.float32
    assert np.array_equal(out[known], (sums / np.where(known, weights, 1)[..., None])[known])
    low, high = out[known].min(0), out[known].max(0)
    if max(weights.shape) > 1:
        slack = 1e-5 * (1 + np.abs(out[known]).max(0))
        assert (out >= low - slack).all() and (out <= high + slack).all()


@settings(max_examples=40, deadline=None)
@given(splatted(), st.floats(-1e3, 1e3, width=32))
def test_holes_of_a_constant_are_filled_with_it(scene: tuple[np.ndarray, np.ndarray, np.ndarray], value: float) -> None:
    _, weights, sums = scene
    constant = np.full_like(sums, value)
    assert np.allclose(fill(constant * weights[..., None], weights), value, rtol=1e-5, atol=1e-5)


def test_without_known_pixels_the_result_is_zero() -> None:
    for shape in ((1, 1), (1, 6), (5, 1), (8, 8), (7, 13)):
        assert not fill(np.zeros((*shape, 4), np.float32), np.zeros(shape, np.float32)).any()


def test_holes_outside_where_stay_empty() -> None:
    rng = np.random.default_rng(0)
    values, weights = rng.random((9, 11, 4), np.float32), np.ones((9, 11), np.float32)
    weights[2:4, 3:5] = 0
    sums = values * weights[..., None]
    where = np.ones((9, 11), bool)
    where[2:4, 3:5] = False
    out = fill(sums, weights, where)
    assert not out[2:4, 3:5].any() and np.array_equal(out[where], values[where])
    where[3, 4] = True
    assert np.array_equal(fill(sums, weights, where), fill(sums, weights))
    assert fill(sums, weights)[2:4, 3:5].all()


def test_weights_of_neighbours_do_not_matter() -> None:
    values = np.zeros((16, 16, 1), np.float32)
    values[:, 8:] = 1
    weights = np.ones((16, 16), np.float32)
    weights[6:10, 6:10] = 0
    even = fill(values * weights[..., None], weights)
    weights[:, 8:] *= 1000
    assert np.allclose(fill(values * weights[..., None], weights), even, atol=1e-6)


def test_a_hole_continues_its_surroundings() -> None:
    """A small hole in a ramp is filled to within the ramp's change across it: distant values have no influence."""
    y, x = np.mgrid[:64, :80].astype(np.float32)
    values = np.stack([0.1 * x, 0.05 * y], -1)
    weights = np.ones((64, 80), np.float32)
    hole = np.zeros((64, 80), bool)
    for row, column in ((5, 7), (31, 32), (50, 0), (63, 79)):
        hole[max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2] = True
    weights[hole] = 0
    out = fill(values * weights[..., None], weights)
    assert np.abs(out - values)[hole].max() <= 0.3


def test_repair_returns_a_finite_picture_itself() -> None:
    picture = np.full((5, 7, 4), 3e38, np.float32)
    assert repair(picture) is picture


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("shape", [(1, 2), (2, 1), (1, 9), (7, 5), (33, 18)])
def test_repair_replaces_all_channels_of_bad_pixels_only(bad: float, shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(1)
    picture = rng.normal(0, 100, (*shape, 4)).astype(np.float32)
    hit = rng.random(shape) < 0.4
    hit[0, 0], hit[-1, -1] = True, False
    spoiled = picture.copy()
    spoiled[hit, rng.integers(4)] = bad
    before = spoiled.copy()
    out = repair(spoiled)
    assert np.isfinite(out).all()
    assert np.array_equal(out[~hit], picture[~hit])
    assert (out >= picture[~hit].min(0) - 1e-3).all() and (out <= picture[~hit].max(0) + 1e-3).all()
    assert np.array_equal(spoiled, before, equal_nan=True)


@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (6, 7)])
def test_a_picture_without_finite_pixels_becomes_black(shape: tuple[int, int]) -> None:
    assert not repair(np.full((*shape, 4), np.nan, np.float32)).any()
