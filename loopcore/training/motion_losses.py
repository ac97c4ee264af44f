# SPDX-License-Identifier: Apache-2.0
"""Losses of the fluid network's motion: moving or not, axis, direction and relative speed.

Angles have von Mises distributions, p(a) = exp(k cos(a - m)) / (2 pi I0(k)), of which the network gives k (cos m, sin
m); so k is small where the angle cannot be told. Mixed with a uniform distribution, an outlier costs a constant.
Source: Mardia, Jupp, "Directional Statistics" (2000), section 3.5.4.

Weights are normalised for each picture, so that a picture counts alike however much of it moves.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from loopcore.motion.networks import MotionOutput

_OUTLIERS = 0.1  # fraction of angles that are wrong
_SPEED_KNEE = 0.4  # difference of logarithms above which the loss of speed is linear
# Fractions of a picture below which its weight falls to 0.
_MIN_MOVING, _MIN_KNOWN = 0.02, 0.05


def motion_losses(output: MotionOutput, target: Tensor) -> dict[str, Tensor]:
    """Returns each loss, of the mean picture.

    Args:
        output: of the network.
        target: (N, 5, h, w): vx, vy, the weight of this velocity, the fraction that moves, and the fraction of which
            this is known.
    """
    velocity, weight = target[:, :2], target[:, 2:3]
    speed = torch.linalg.vector_norm(velocity, dim=1, keepdim=True).clamp(min=1e-6)
    unit = velocity / speed
    cosine, sine = unit[:, :1], unit[:, 1:]
    twice = torch.cat([cosine * cosine - sine * sine, 2 * cosine * sine], dim=1)
    share = _per_picture(weight, _MIN_MOVING)
    return {
        "moving": _moving(output.moving, target[:, 3:4], target[:, 4:5]),
        "axis": (share * angle_loss(output.axis, twice)).sum() / len(target),
        "direction": (share * angle_loss(output.direction, unit)).sum() / len(target),
        "speed": (share * _speed(output.speed, speed.log(), share)).sum() / len(target),
    }


def angle_loss(parameters: Tensor, unit: Tensor) -> Tensor:
    """Returns the negative logarithm of the density of angles, relative to a uniform one, (N, 1, h, w).

    Args:
        parameters: (N, 2, h, w), k (cos m, sin m).
        unit: (N, 2, h, w), cosine and sine of the angle.
    """
    parameters = parameters.float()
    k = torch.sqrt((parameters * parameters).sum(dim=1, keepdim=True) + 1e-8)
    density = torch.exp((parameters * unit).sum(dim=1, keepdim=True) - k) / torch.special.i0e(k)
    return -torch.log(_OUTLIERS + (1 - _OUTLIERS) * density)


def _per_picture(weight: Tensor, least: float) -> Tensor:
    """Returns weights (N, 1, h, w) that sum to nearly 1 for each picture, less if they cover less than ``least``."""
    size = weight.shape[2] * weight.shape[3]
    return weight / (weight.sum(dim=(1, 2, 3), keepdim=True) + least * size)


def _moving(logit: Tensor, moving: Tensor, known: Tensor) -> Tensor:
    """Returns the cross-entropy over what is known of each picture."""
    fraction = (moving / known.clamp(min=1e-6)).clamp(max=1)
    share = _per_picture(known, _MIN_KNOWN)
    return (share * F.binary_cross_entropy_with_logits(logit.float(), fraction, reduction="none")).sum() / len(logit)


def _speed(predicted: Tensor, true: Tensor, share: Tensor) -> Tensor:
    """Returns the Huber loss of logarithms less their means over each picture."""
    total = share.sum(dim=(1, 2, 3), keepdim=True).clamp(min=1e-6)
    gap = predicted.float() - true
    gap = gap - (share * gap).sum(dim=(1, 2, 3), keepdim=True) / total
    return F.smooth_l1_loss(gap, torch.zeros_like(gap), reduction="none", beta=_SPEED_KNEE)
