# SPDX-License-Identifier: Apache-2.0
"""Synthetic flames: their place and colours."""

from __future__ import annotations

import numpy as np

from loopcore.training.flames import SIDE, flame

SEEDS = range(16)


def test_flames_stand_on_the_ground() -> None:
    low, high = [], []
    for seed in SEEDS:
        rows = flame(seed)[1].mean(axis=1)
        low.append(rows[-SIDE // 4 :].mean())
        high.append(rows[: SIDE // 4].mean())
    assert np.median(low) > 0.05
    assert np.median(low) > 4 * np.median(high)


def test_flames_are_red_where_thin_and_whiter_where_thick() -> None:
    for seed in SEEDS:
        colours, coverage = flame(seed)
        seen = coverage > 0.02
        red, green, blue = np.moveaxis(colours[seen], -1, 0)
        assert (red >= green).all()
        assert (green >= blue).all()
        whiteness = blue / np.maximum(red, 1e-6)
        bright = blue > np.quantile(blue, 0.9)
        assert whiteness[bright].mean() >= whiteness[~bright].mean()
