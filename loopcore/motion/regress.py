# SPDX-License-Identifier: Apache-2.0
"""Motion regressed from a plate by a trained generator: the probability of moving, and the velocity.

The generator replaces the fluid network; masks, hints and the solver are the same.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from loopcore.motion.deterministic import resize_planes, run_parallel
from loopcore.motion.estimate import Estimate

if TYPE_CHECKING:
    from loopcore.motion.generator import FieldGenerator

_CONFIDENCE = 0.9  # where the probability of moving is 1
_MIN_MOVING = 0.25  # smallest probability that velocities are divided by


def regress_motion(weights: str | Path, picture: np.ndarray, height: int, width: int) -> Estimate:
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
    confidence = np.float32(_CONFIDENCE) * moving
    return Estimate(np.ascontiguousarray(moving), np.ascontiguousarray(velocity), confidence)


@functools.lru_cache(maxsize=1)
def _generator(path: Path, modified_ns: int) -> FieldGenerator:
    from loopcore.motion.generator import load_generator

    return load_generator(path)[0]
