# SPDX-License-Identifier: Apache-2.0
"""Means over clips, and intervals of shares against published values."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest

from loopcore.training.motion_means import by_kind, mean_of_known, method_means, wilson_interval
from loopcore.training.motion_scores import MethodScore


def test_wilson_intervals() -> None:
    # Newcombe, Statistics in Medicine 17 (1998), table I, method 3
    for right, count, low, high in ((81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0, 0.1611)):
        assert wilson_interval(right, count) == pytest.approx((low, high), abs=1e-4)
    assert wilson_interval(20, 20) == pytest.approx((1 - 0.1611, 1), abs=1e-4)


def test_means_medians_and_the_share_that_is_right() -> None:
    rows = [
        MethodScore("ours", 0.5, (10, 20), (10, 30), 0.4, 0.1, 0.9, 2, 20.0, 0.5),
        MethodScore("none", 0.0),
        MethodScore("ours", 1.0, (20, 40), (170, 180), 0.6, 0.3, -0.5, 4),
        MethodScore("ours", 0.0),
    ]
    means = method_means(rows)
    assert list(means) == ["ours", "none"] and means["none"].clips == 1
    ours = means["ours"]
    assert ours.mean.overlap == 0.5 and ours.mean.axis == (25, 35) and ours.mean.direction == (90, 100)
    assert ours.mean.psnr == 20 and math.isnan(means["none"].mean.psnr)
    assert (ours.median_axis, ours.median_direction) == (20, 90)
    assert (ours.right, ours.clips) == (1, 3)  # wrong way round, and without a direction
    assert ours.interval == wilson_interval(1, 3)


def test_groups_by_kind() -> None:
    @dataclass(frozen=True)
    class Named:
        kind: str

    sea, fall, none = Named("sea"), Named("fall"), Named("")
    assert list(by_kind([sea, none, fall, sea]).items()) == [("fall", [fall]), ("sea", [sea, sea])]


def test_means_of_known_values() -> None:
    assert (
        mean_of_known([1, math.nan, 3]) == 2 and math.isnan(mean_of_known([math.inf])) and math.isnan(mean_of_known([]))
    )
