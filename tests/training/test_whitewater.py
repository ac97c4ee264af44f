# SPDX-License-Identifier: Apache-2.0
"""Synthetic falls, rapids, brooks and fountains: directions of streaks, and places of water."""

from __future__ import annotations

import numpy as np

from loopcore.training.streaks import axis_angle, streak_axes
from loopcore.training.whitewater import SIDE, white_water


def test_streaks_of_falls_are_vertical() -> None:
    upright = []
    for seed in (0, 1, 5, 6, 10, 11, 15, 16):
        colours, coverage = white_water(seed)
        thick = (coverage > 0.7).astype(np.float32)
        axes = streak_axes(colours.mean(axis=-1), thick, 10.0)
        angle = axis_angle(axes.reshape(2, -1) @ thick.reshape(-1, 1))
        upright.append(abs(float(np.rad2deg(angle[0]))))
    assert np.median(upright) > 75


def test_rapids_are_smaller_and_narrower_farther_away() -> None:
    finer, narrower = [], []
    for seed in range(2, 62, 5):
        colours, coverage = white_water(seed)
        light = colours.mean(axis=-1) / np.maximum(coverage, 1e-3)
        half = SIDE // 2
        thick = coverage > 0.9
        if min(thick[:half].sum(), thick[half:].sum()) < 500:
            continue
        far, near = (_roughness(light[part], thick[part]) for part in (slice(0, half), slice(half, None)))
        finer.append(far / near)
        narrower.append(thick[:half].mean() / thick[half:].mean())
    assert len(finer) >= 6
    assert np.median(finer) > 1.1
    assert np.median(narrower) < 0.9


def _roughness(light: np.ndarray, inside: np.ndarray) -> float:
    """Returns the change between pixels over the deviation, larger for smaller features."""
    both = inside[1:] & inside[:-1]
    return float(np.abs(np.diff(light, axis=0))[both].mean() / light[inside].std())


def test_fountains_stand_on_their_nozzles() -> None:
    for seed in (3, 8, 13):
        coverage = white_water(seed)[1]
        rows = coverage.mean(axis=1)
        assert rows[-SIDE // 4 :].mean() > rows[: SIDE // 16].mean()


def test_brooks_are_falls_between_dark_pools() -> None:
    stepped = []
    for seed in range(4, 64, 5):
        colours, coverage = white_water(seed)
        thick = coverage > 0.9
        light = np.ma.array(colours.mean(axis=-1), mask=~thick)
        rows, columns = (light.mean(axis=a)[thick.sum(axis=a) > 12] for a in (1, 0))
        stepped.append(rows.std() / columns.std())
    assert np.median(stepped) > 1.3
