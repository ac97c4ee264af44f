# SPDX-License-Identifier: Apache-2.0
"""What is laid over a photograph, and what its labels say then."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from loopcore.training.overlays import lay_over, with_overlay
from loopcore.training.plumes import plume
from loopcore.training.whitewater import white_water

WATER, SMOKE, UNKNOWN = 1, 3, 255


@pytest.fixture
def ground() -> tuple[np.ndarray, np.ndarray]:
    return np.full((90, 130, 3), 0.25, np.float32), np.zeros((90, 130), np.uint8)


@pytest.mark.parametrize("make", [plume, white_water])
def test_a_sprite_is_the_same_each_time_and_within_its_coverage(make: Any) -> None:
    for seed in range(8):  # falls and fountains, thick smoke and thin
        colours, coverage = make(seed)
        assert colours.shape == (*coverage.shape, 3)
        assert colours.dtype == coverage.dtype == np.float32
        assert 0 <= coverage.min() <= coverage.max() <= 1 + 1e-5
        assert colours.min() >= 0
        assert (colours <= coverage[..., None] + 1e-5).all()
    make.cache_clear()
    assert np.array_equal(make(7)[0], colours)
    assert not np.array_equal(make(6)[1], coverage)


@pytest.mark.parametrize("size", [7, 60, 192, 400])
def test_labels_follow_what_covers(size: int, ground: tuple[np.ndarray, np.ndarray]) -> None:
    before, labels = ground
    seen: set[int] = set()
    for seed in range(12):
        sprite = plume(1) if seed % 2 else white_water(0)
        picture, known = lay_over(before, labels, np.random.default_rng(seed), sprite, size, (7, UNKNOWN))
        assert picture.shape == before.shape
        assert picture.dtype == np.float32
        assert known.dtype == np.uint8
        # what is still called ground shows it, but for the tenth that begins to cover
        assert np.abs(picture - before)[known == 0].max(initial=0) < 0.11
        seen |= set(np.unique(known).tolist())
    assert seen == {0, 7, UNKNOWN}
    assert (before == 0.25).all()
    assert not labels.any()


def test_most_pictures_stay_and_some_show_either(ground: tuple[np.ndarray, np.ndarray]) -> None:
    before, labels = ground
    kinds = {"same": 0, WATER: 0, SMOKE: 0}
    for seed in range(150):
        picture, known = with_overlay(before, labels, np.random.default_rng(seed), UNKNOWN)
        kinds["same"] += np.array_equal(picture, before)
        for what in (WATER, SMOKE):
            kinds[what] += bool((known == what).any())
    assert kinds["same"] > 100
    assert kinds[WATER] >= 5
    assert kinds[SMOKE] >= 3
