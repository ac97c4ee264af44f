# SPDX-License-Identifier: Apache-2.0
"""Quick solves while an artist draws: on a small copy of the plate, and the network runs once for each plate."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from loopcore.job import Source
from loopcore.motion.field import MotionField
from loopcore.observer import Observer
from loopcore.plate import Plate

if TYPE_CHECKING:
    from loopcore.motion.estimate import Estimate
    from loopcore.motion.findings import Findings

# The draft of the last plate, by what it was made from.
_last: tuple[object, Draft] | None = None


def solve_draft(source: Source, side: int, observer: Observer) -> tuple[MotionField, Findings, tuple[int, int]]:
    """Returns the motion of a plate reduced to ``side`` pixels, what was found, and the full width and height.

    The network sees the full plate, so the flow's directions are those of a full solve.

    Args:
        source: without weights.
        side: pixels of the longer side; a smaller plate keeps its size.
        observer: receives the stages.

    Raises:
        PlateError, MotionError: as `Source.read_plate` and `Source.predict`.
    """
    draft = _draft_of(source, side, observer)
    motion, found = source.predict(draft.plate, observer, lambda _small: draft.estimate)
    return motion, found, (draft.width, draft.height)


@dataclass
class Draft:
    """A small copy of a plate.

    Attributes:
        plate: the copy.
        picture: display copy of what the full plate's motion is predicted from, (h, w, 3).
        width: of the full plate.
        height: of the full plate.
    """

    plate: Plate
    picture: np.ndarray
    width: int
    height: int

    @cached_property
    def estimate(self) -> Estimate:
        """The network's estimate of the full plate."""
        from loopcore.motion.estimate import estimate_picture

        return estimate_picture(self.picture)


def _draft_of(source: Source, side: int, observer: Observer) -> Draft:
    """Returns the draft of a plate, the last one while its file is unchanged."""
    global _last
    stat = os.stat(source.plate) if source.plate.exists() else None
    key = (source.plate, source.layer, source.colorspace, side, stat and (stat.st_mtime_ns, stat.st_size))
    if _last is None or _last[0] != key:
        _last = None  # frees the memory first
        _last = key, _made(source, source.read_plate(observer), side)
    return _last[1]


def _made(source: Source, plate: Plate, side: int) -> Draft:
    from loopcore.image import resize_linear
    from loopcore.motion.display import display_copy

    scale = min(1.0, side / max(plate.width, plate.height))
    height, width = (max(1, round(length * scale)) for length in (plate.height, plate.width))
    pixels = resize_linear(plate.pixels, height, width)
    small = plate if scale == 1 else replace(plate, pixels=pixels, windows=plate.windows.scaled(height, width))
    return Draft(small, display_copy(source.looked_at(plate)), plate.width, plate.height)
