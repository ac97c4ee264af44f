# SPDX-License-Identifier: Apache-2.0
"""Means of motion scores over clips, by kind, and the share of clips that move the right way round."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np

from loopcore.training.motion_scores import MethodScore

_Z = 1.959964  # standard deviations of a normal distribution on either side that hold 95 %


class _Kind(Protocol):
    @property
    def kind(self) -> str: ...


Clip = TypeVar("Clip", bound=_Kind)


@dataclass(frozen=True)
class MethodMeans:
    """One method over several clips.

    Attributes:
        mean: mean of each score; NaN are left out.
        median_axis: of the clips' axis errors, degrees.
        median_direction: of the clips' direction errors, degrees.
        right: number of clips the right way round; those without a direction are not.
        clips: their number.
    """

    mean: MethodScore
    median_axis: float
    median_direction: float
    right: int
    clips: int

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of the share of clips the right way round."""
        return wilson_interval(self.right, self.clips)


def method_means(rows: Iterable[MethodScore]) -> dict[str, MethodMeans]:
    """Returns the means by method, in the order of the first clip's rows."""
    made: dict[str, list[MethodScore]] = {}
    for row in rows:
        made.setdefault(row.method, []).append(row)
    return {method: _over(own) for method, own in made.items()}


def _over(rows: Sequence[MethodScore]) -> MethodMeans:
    def mean(name: str) -> float:
        return mean_of_known([getattr(row, name) for row in rows])

    def mean_pair(name: str) -> tuple[float, float]:
        median, high = zip(*(getattr(row, name) for row in rows), strict=True)
        return mean_of_known(median), mean_of_known(high)

    return MethodMeans(
        MethodScore(
            rows[0].method, mean("overlap"), mean_pair("axis"), mean_pair("direction"), mean("scaled_error"),
            mean("speed_correlation"), mean("sense"), mean("scale"), mean("psnr"), mean("ssim"),
        ),
        float(np.median([row.axis[0] for row in rows])),
        float(np.median([row.direction[0] for row in rows])),
        sum(row.right for row in rows),
        len(rows),
    )  # fmt: skip


def wilson_interval(right: int, count: int) -> tuple[float, float]:
    """Returns the 95 % score interval of a share, 0..1 (Wilson, JASA 1927).

    Args:
        right: successes.
        count: trials, at least 1.
    """
    share, z2 = right / count, _Z * _Z
    middle = share + z2 / (2 * count)
    spread = _Z * math.sqrt(share * (1 - share) / count + z2 / (4 * count * count))
    low, high = ((middle + way * spread) / (1 + z2 / count) for way in (-1, 1))
    return max(0.0, low), min(1.0, high)


def by_kind(clips: Sequence[Clip]) -> dict[str, list[Clip]]:
    """Returns clips by their kinds, in alphabetical order; without those of no kind."""
    kinds = sorted({clip.kind for clip in clips} - {""})
    return {kind: [clip for clip in clips if clip.kind == kind] for kind in kinds}


def mean_of_known(values: Sequence[float]) -> float:
    """Returns the mean of the finite values; NaN if there are none."""
    known = [value for value in values if math.isfinite(value)]
    return float(np.mean(known)) if known else math.nan
