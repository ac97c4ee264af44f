# SPDX-License-Identifier: Apache-2.0
"""Box and Gaussian filters against scipy's."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from loopcore.loop.smooth import box_filter, gaussian_filter

SIZES = [(1, 1), (1, 7), (9, 1), (5, 5), (37, 61), (135, 240)]


@pytest.mark.parametrize("shape", SIZES)
@pytest.mark.parametrize("size", [1, 2, 3, 5, 8, 11])
def test_box_filter_equals_scipys_to_the_bit(shape: tuple[int, int], size: int) -> None:
    grid = np.random.default_rng(size).normal(size=shape).astype(np.float32)
    kept = grid.copy()
    assert np.array_equal(box_filter(grid, size), ndimage.uniform_filter(grid, size, mode="nearest"))
    assert np.array_equal(box_filter(grid, size, border=False), ndimage.uniform_filter(grid, size, mode="constant"))
    assert np.array_equal(grid, kept)


@pytest.mark.parametrize("shape", SIZES)
@pytest.mark.parametrize("sigma", [0.1, 0.5, 2.7, 9.3])
def test_gaussian_filter_equals_scipys_to_the_bit(shape: tuple[int, int], sigma: float) -> None:
    grid = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    assert np.array_equal(gaussian_filter(grid, sigma), ndimage.gaussian_filter(grid, sigma, mode="nearest"))


@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 12), st.sampled_from([0.0, 1.0]))
def test_constant_grids_stay_as_they_are(rows: int, columns: int, size: int, value: float) -> None:
    grid = np.full((rows, columns), value, np.float32)
    assert np.array_equal(box_filter(grid, size), grid)


def test_strided_grids_are_taken() -> None:
    grid = np.random.default_rng(1).normal(size=(20, 30)).astype(np.float32)
    assert np.array_equal(box_filter(grid[::2, ::3], 3), box_filter(grid[::2, ::3].copy(), 3))
