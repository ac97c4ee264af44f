# SPDX-License-Identifier: Apache-2.0
"""Motion regressed from a plate by a trained generator: the probability of moving, and the velocity.

The generator replaces the segmentation networks; masks, hints and the solver are the same.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from loopcore.motion.deterministic import resize_planes, run_parallel

if TYPE_CHECKING:
    from loopcore.motion.generator import FieldGenerator

_CONFIDENCE = 0.9  # where the probability of moving is 1
_MIN_MOVING = 0.25  # smallest probability that velocities are divided by
_SCORE_AREA = 0.03  # of the picture


@dataclass(frozen=True)
class RegressedMotion:
    """A generator's output on a grid.

    Attributes:
        velocity: (h, w, 2) float32, longer sides a frame.
        moving: (h, w) float32 0..1, the probability of moving.

    Convention: (vx, vy), x right, y down, where content goes.
    """

    velocity: np.ndarray
    moving: np.ndarray

    @property
    def score(self) -> float:
        """Confidence that something moves, 0..1: the probability that 3 % of the picture exceed."""
        return float(np.quantile(self.moving, 1 - _SCORE_AREA))

    def confidence(self, moving: np.ndarray) -> np.ndarray:
        """Returns the velocity's confidence, (h, w) float32, by the lower of ``moving`` and the network's own."""
        return (_CONFIDENCE * np.minimum(moving, self.moving)).astype(np.float32)


def regress_motion(weights: str | Path, picture: np.ndarray, height: int, width: int) -> RegressedMotion:
    """Runs a generator on a display picture.

    Args:
        weights: the generator's file.
        picture: (h, w, 3) float32 sRGB 0..1.
        height: rows of the result.
        width: columns of the result.

    Raises:
        MotionError: not the weights of a generator.
    """
    import torch
    from torch.nn import functional as F

    path = Path(weights)
    network = _generator(path, path.stat().st_mtime_ns if path.is_file() else 0)
    step = network.settings.multiple
    scale = network.settings.side / max(picture.shape[:2])
    rows, columns = (max(2, round(side * scale / step)) * step for side in picture.shape[:2])
    planes = resize_planes(np.moveaxis(picture, -1, 0), rows, columns, "antialias")
    scaled = torch.from_numpy(planes)[None]

    def infer() -> torch.Tensor:
        velocity, score = network(scaled.clamp(0, 1))
        output = torch.cat([velocity, score.sigmoid()], dim=1)
        return F.interpolate(output, size=(height, width), mode="bilinear", align_corners=False)[0]

    vx, vy, moving = run_parallel([infer])[0].numpy()
    # trained with a mean error, the network outputs an expectation: velocity times the probability of moving
    scale_back = np.maximum(moving, _MIN_MOVING) * max(height, width)
    velocity = np.stack([vx * (width / columns) / scale_back, vy * (height / rows) / scale_back], axis=-1)
    return RegressedMotion(np.ascontiguousarray(velocity), np.ascontiguousarray(moving))


@functools.lru_cache(maxsize=1)
def _generator(path: Path, modified_ns: int) -> FieldGenerator:
    from loopcore.motion.generator import load_generator

    return load_generator(path)[0]
