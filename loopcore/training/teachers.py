# SPDX-License-Identifier: Apache-2.0
"""Classes of pictures as networks see them that were trained before: all there are of clips, which have no labels.

Source: Hinton, Vinyals, Dean, "Distilling the Knowledge in a Neural Network" (2015).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from loopcore.motion.deterministic import resize_planes
from loopcore.motion.estimate import class_probabilities
from loopcore.motion.networks import FluidNet
from loopcore.training.footage import Supervision

_SIDES = (384, 576)  # pixels of the inputs' longer sides
_MIN_PROBABILITY = 1e-3  # which limits the effect of one network on the mean of logarithms


@dataclass(frozen=True)
class Taught:
    """A clip's supervision, and the class probabilities that teachers see in it, (5, h, w) float32."""

    supervision: Supervision
    classes: np.ndarray


def teach(
    footage: Sequence[Supervision], teachers: Sequence[FluidNet], on_progress: Callable[[int, int], None] | None = None
) -> list[Taught]:
    """Returns the clips with the classes that the teachers see in them.

    Args:
        footage: clips.
        teachers: networks, the logarithms of whose probabilities are averaged, over two sizes of the picture.
        on_progress: called with (done, total); may raise to interrupt.
    """
    found = []
    for number, clip in enumerate(footage):
        # of one frame, for all of them, since the camera is fixed
        found.append(Taught(clip, _seen(clip.frames[0] / np.float32(255), teachers)))
        if on_progress:
            on_progress(number + 1, len(footage))
    return found


@torch.no_grad()
def taught_classes(pictures: Tensor, teachers: Sequence[FluidNet]) -> Tensor:
    """Returns the class probabilities of the same mean for crops (N, 3, H, W), each seen once, (N, 5, H / 4, W / 4)."""
    least = float(np.log(_MIN_PROBABILITY))
    logarithms = [
        F.log_softmax(teacher.decoder(teacher.encoder(pictures)), dim=1).clamp(min=least) for teacher in teachers
    ]
    return torch.stack(logarithms).mean(dim=0).softmax(dim=1)


def _seen(frame: np.ndarray, teachers: Sequence[FluidNet]) -> np.ndarray:
    from scipy.special import softmax

    size = tuple(length // 4 for length in frame.shape[:2])
    logarithms = [
        np.log(np.maximum(resize_planes(class_probabilities(frame, teacher, side), *size), _MIN_PROBABILITY))
        for teacher in teachers
        for side in _SIDES
    ]
    return softmax(np.mean(logarithms, axis=0), axis=0)
