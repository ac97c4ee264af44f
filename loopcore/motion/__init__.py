# SPDX-License-Identifier: Apache-2.0
"""Motion of a plate: hints, the solver, prediction, and the motion field."""

from loopcore.motion.field import MotionField
from loopcore.motion.hints import Anchor, Flip, Hints, Stroke, read_hints, read_mask, write_hints
from loopcore.motion.solve import solve_motion

__all__ = [
    "Anchor",
    "Flip",
    "Hints",
    "MotionField",
    "Stroke",
    "read_hints",
    "read_mask",
    "solve_motion",
    "write_hints",
]
