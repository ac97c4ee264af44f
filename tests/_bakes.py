# SPDX-License-Identifier: Apache-2.0
"""Shared by the tests of baking: the motion of the small plate, and short loops with it."""

from __future__ import annotations

from pathlib import Path

import _scenes

from loopcore.loop import Loop
from loopcore.motion import MotionField, read_hints
from loopcore.motion.predict import predict_motion
from loopcore.plate import read_plate

N = 6


def make_motion(folder: Path) -> MotionField:
    """Motion of the plate, predicted with hints; also writes the plate to `folder`/plate.png."""
    plate = read_plate(_scenes.png(folder / "plate.png"))
    return predict_motion(plate, read_hints(_scenes.hints(folder / "hints.json")))


def loop_of(plate: Path, motion: MotionField, count: int = N, method: str = "warp") -> Loop:
    return Loop(read_plate(plate), motion, frames=count, method=method)
