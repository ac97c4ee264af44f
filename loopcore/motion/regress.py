# SPDX-License-Identifier: Apache-2.0
"""What a trained motion generator sees in a plate: where things move, and the velocity itself.

The generator takes the place of the network that names classes; masks, hints and the solver are the same.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from loopcore.motion.steady import interpolated, side_by_side

if TYPE_CHECKING:
    from loopcore.motion.generator import FieldGenerator

_SURE = 0.9  # of what certainly moves
_LEAST_SHARE = 0.25


@dataclass(frozen=True)
class FieldSight:
    """velocity: (h, w, 2) float32 in longer sides a frame; moving: (h, w) float32 in 0..1, how sure it is to move.

    Convention: (vx, vy), x right, y down, where content goes.
    """

    velocity: np.ndarray
    moving: np.ndarray

    @property
    def score(self) -> float:
        """How sure something moves, 0..1: what three hundredths of the picture exceed."""
        return float(np.quantile(self.moving, 0.97))

    def motion(self, moving: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The velocity, and how sure it is, (h, w): what was drawn to move besides is left to the solver."""
        return self.velocity, (_SURE * np.minimum(moving, self.moving)).astype(np.float32)


def regress(weights: str | Path, picture: np.ndarray, height: int, width: int) -> FieldSight:
    """What the generator in a file sees in a display picture, (h, w, 3) float32 sRGB 0..1, on a grid of a size.

    Raises:
        MotionError: not the weights of a generator.
    """
    import torch
    from torch.nn import functional as F

    path = Path(weights)
    network = _network(path, path.stat().st_mtime_ns if path.is_file() else 0)
    step = network.settings.multiple
    scale = network.settings.side / max(picture.shape[:2])
    tall, wide = (max(2, round(side * scale / step)) * step for side in picture.shape[:2])
    shown = torch.from_numpy(interpolated(np.moveaxis(picture, -1, 0), tall, wide, "antialias"))[None]

    def answer() -> torch.Tensor:
        velocity, score = network(shown.clamp(0, 1))
        both = torch.cat([velocity, score.sigmoid()], dim=1)
        return F.interpolate(both, size=(height, width), mode="bilinear", align_corners=False)[0]

    vx, vy, moving = side_by_side([answer])[0].numpy()
    # what the network learnt is the mean over its doubt: velocity times the chance of moving
    certain = np.maximum(moving, _LEAST_SHARE) * max(height, width)
    velocity = np.stack([vx * (width / wide) / certain, vy * (height / tall) / certain], axis=-1)
    return FieldSight(np.ascontiguousarray(velocity), np.ascontiguousarray(moving))


@functools.lru_cache(maxsize=1)
def _network(path: Path, changed: int) -> FieldGenerator:
    from loopcore.motion.generator import load_generator

    return load_generator(path)[0]
