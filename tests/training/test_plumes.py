# SPDX-License-Identifier: Apache-2.0
"""Made-up smoke: what it covers, and that it is the same each time."""

from __future__ import annotations

import numpy as np
import pytest

from loopcore.training.plumes import SIDE, plume


def test_a_plume_is_the_same_each_time_and_no_other() -> None:
    colours, coverage = plume(5)
    plume.cache_clear()
    again, covered = plume(5)
    assert np.array_equal(colours, again)
    assert np.array_equal(coverage, covered)
    assert not np.array_equal(coverage, plume(6)[1])


@pytest.mark.parametrize("seed", range(6))
def test_colours_are_within_their_coverage(seed: int) -> None:
    colours, coverage = plume(seed)
    assert colours.shape == (SIDE, SIDE, 3)
    assert colours.dtype == coverage.dtype == np.float32
    assert 0 <= coverage.min() <= coverage.max() <= 1 + 1e-5
    assert colours.min() >= 0
    assert (colours <= coverage[..., None] + 1e-5).all()


def test_plumes_cover_something_and_have_billows() -> None:
    covers = []
    for seed in range(6):
        colours, coverage = plume(seed)
        thick = coverage > 0.9
        covers.append(float(thick.mean()))
        if thick.mean() > 0.02:
            assert colours[thick].mean(axis=-1).std() > 0.01
    assert np.median(covers) > 0.05
