# SPDX-License-Identifier: Apache-2.0
"""Made-up falls and fountains: what they cover, which way their streaks run, and that they are the same each time."""

from __future__ import annotations

import numpy as np
import pytest

from loopcore.motion.streaks import axis_angle, streak_axes
from loopcore.training.whitewater import SIDE, white_water


def test_water_is_the_same_each_time_and_no_other() -> None:
    colours, coverage = white_water(4)
    white_water.cache_clear()
    again, covered = white_water(4)
    assert np.array_equal(colours, again)
    assert np.array_equal(coverage, covered)
    assert not np.array_equal(coverage, white_water(5)[1])


@pytest.mark.parametrize("seed", range(8))
def test_colours_are_within_their_coverage(seed: int) -> None:
    colours, coverage = white_water(seed)
    assert colours.shape == (SIDE, SIDE, 3)
    assert colours.dtype == coverage.dtype == np.float32
    assert 0 <= coverage.min() <= coverage.max() <= 1 + 1e-5
    assert colours.min() >= 0
    assert (colours <= coverage[..., None] + 1e-5).all()


def test_falls_are_drawn_out_downwards() -> None:
    upright = []
    for seed in (0, 1, 2, 4, 5, 6, 8, 9):
        colours, coverage = white_water(seed)
        thick = (coverage > 0.7).astype(np.float32)
        axes = streak_axes(colours.mean(axis=-1), thick, 10.0)
        angle = axis_angle(axes.reshape(2, -1) @ thick.reshape(-1, 1))
        upright.append(abs(float(np.rad2deg(angle[0]))))
    assert np.median(upright) > 75


def test_fountains_stand_on_their_nozzles() -> None:
    for seed in (3, 7, 11):
        coverage = white_water(seed)[1]
        rows = coverage.mean(axis=1)
        assert rows[-SIDE // 4 :].mean() > rows[: SIDE // 16].mean()
