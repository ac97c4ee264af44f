# SPDX-License-Identifier: Apache-2.0
"""Made-up falls and fountains: which way streaks run, and where the water is."""

from __future__ import annotations

import numpy as np

from loopcore.motion.streaks import axis_angle, streak_axes
from loopcore.training.whitewater import SIDE, white_water


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
