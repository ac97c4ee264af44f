# SPDX-License-Identifier: Apache-2.0
"""Plate to motion field: from hints, where the plate itself says nothing yet."""

from __future__ import annotations

import numpy as np

from loopcore.errors import MotionError
from loopcore.motion.field import MotionField
from loopcore.motion.hints import Hints
from loopcore.motion.solve import solve_motion
from loopcore.plate import Plate


def predict_motion(plate: Plate, hints: Hints | None = None, mask: np.ndarray | None = None) -> MotionField:
    """The motion field of a plate, as the hints say.

    hints: strokes, anchors and mask; drawn for another size of the same shape they are rescaled. mask: (H, W)
    in 0..1, instead of the hints' own.

    Convention: (vx, vy) in pixels per frame, x right, y down, where content goes.

    Raises MotionError without hints that have a stroke: this version does not read motion from the picture alone.
    """
    if hints is None:
        raise MotionError(
            "nothing says how the plate moves: give strokes along the flow (--hints hints.json) or a motion field "
            "(--motion motion.exr); this version does not read motion from the picture alone"
        )
    return solve_motion(plate.height, plate.width, hints, mask=mask)
