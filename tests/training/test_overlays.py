# SPDX-License-Identifier: Apache-2.0
"""Overlays on photographs, and their labels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from loopcore.training.flames import flame
from loopcore.training.overlays import add_overlay, composite
from loopcore.training.plumes import plume
from loopcore.training.whitewater import white_water

WATER, SKY, SMOKE, FIRE, UNKNOWN = 1, 2, 3, 4, 255


@pytest.fixture
def ground() -> tuple[np.ndarray, np.ndarray]:
    return np.full((90, 130, 3), 0.25, np.float32), np.zeros((90, 130), np.uint8)


@pytest.mark.parametrize("make", [plume, white_water, flame])
def test_sprites_are_deterministic_and_within_their_coverage(make: Any) -> None:
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
def test_labels_follow_coverage(size: int, ground: tuple[np.ndarray, np.ndarray]) -> None:
    before, labels = ground
    seen: set[int] = set()
    for seed in range(12):
        sprite = plume(1) if seed % 2 else white_water(0)
        picture, known = composite(before, labels, np.random.default_rng(seed), sprite, size, (7, UNKNOWN))
        assert picture.shape == before.shape
        assert picture.dtype == np.float32
        assert known.dtype == np.uint8
        # pixels still labelled ground have at most a tenth of coverage
        assert np.abs(picture - before)[known == 0].max(initial=0) < 0.11
        seen |= set(np.unique(known).tolist())
    assert seen == {0, 7, UNKNOWN}
    assert (before == 0.25).all()
    assert not labels.any()


def test_occluded_parts_are_unchanged(ground: tuple[np.ndarray, np.ndarray]) -> None:
    before, labels = ground
    shown = np.zeros(labels.shape, np.float32)
    shown[:, 60:] = 1
    for seed in range(8):
        picture, known = composite(before, labels, np.random.default_rng(seed), plume(1), 100, (7, UNKNOWN), shown)
        assert np.array_equal(picture[:, :60], before[:, :60])
        assert not known[:, :60].any()


def test_invisible_overlays_are_not_labelled(ground: tuple[np.ndarray, np.ndarray]) -> None:
    before, labels = ground
    same = np.full((50, 50, 3), 0.26, np.float32), np.ones((50, 50), np.float32)
    for seed in range(8):
        known = composite(before, labels, np.random.default_rng(seed), same, 50, (7, UNKNOWN))[1]
        assert set(np.unique(known).tolist()) <= {0, UNKNOWN}


def test_water_does_not_cover_the_sky(ground: tuple[np.ndarray, np.ndarray]) -> None:
    before, labels = ground
    labels[:40] = SKY
    wet = 0
    for seed in range(150):
        known = add_overlay(before, labels, np.random.default_rng(seed), UNKNOWN)[1]
        assert not (known[:40] == WATER).any()
        wet += bool((known == WATER).any())
    assert wet >= 5


def test_flames_light_their_surroundings(ground: tuple[np.ndarray, np.ndarray]) -> None:
    before, labels = ground
    warmer = []
    for seed in range(300):
        picture, known = add_overlay(before, labels, np.random.default_rng(seed), UNKNOWN)
        if (known == FIRE).sum() > 50 and (known == 0).any():
            red, _, blue = picture[known == 0].mean(axis=0)
            warmer.append(red / blue)
    assert len(warmer) >= 5
    assert min(warmer) >= 1
    assert np.median(warmer) > 1.02


def test_most_pictures_are_unchanged_and_some_show_each_fluid(ground: tuple[np.ndarray, np.ndarray]) -> None:
    before, labels = ground
    before = before + np.random.default_rng(1).uniform(0, 0.3, before.shape).astype(np.float32)
    kinds = {"same": 0, WATER: 0, SMOKE: 0, FIRE: 0}
    for seed in range(150):
        picture, known = add_overlay(before, labels, np.random.default_rng(seed), UNKNOWN)
        kinds["same"] += np.array_equal(picture, before)
        for what in (WATER, SMOKE, FIRE):
            kinds[what] += bool((known == what).any())
    assert kinds["same"] > 90
    assert kinds[WATER] >= 10
    assert kinds[SMOKE] >= 3
    assert kinds[FIRE] >= 2
