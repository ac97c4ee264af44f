# SPDX-License-Identifier: Apache-2.0
"""Synthetic smoke: its coverage and billows."""

from __future__ import annotations

import numpy as np

from loopcore.training.plumes import plume


def test_plumes_have_coverage_and_billows() -> None:
    covers = []
    for seed in range(6):
        colours, coverage = plume(seed)
        thick = coverage > 0.9
        covers.append(float(thick.mean()))
        if thick.mean() > 0.02:
            assert colours[thick].mean(axis=-1).std() > 0.01
    assert np.median(covers) > 0.05
