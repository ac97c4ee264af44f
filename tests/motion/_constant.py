# SPDX-License-Identifier: Apache-2.0
"""Small fluid networks with a constant output, whatever the picture."""

from __future__ import annotations

import numpy as np
import torch

from loopcore.motion.networks import CLASSES, DecoderSettings, FluidNet


def constant_network(
    kind: str = "water",
    *,
    moving: float = 30.0,
    axis: tuple[float, float] = (0.0, 20.0),
    direction: tuple[float, float] = (0.0, 1.0),
    speed: float = 0.0,
) -> FluidNet:
    """Returns a network that sees one class and one motion everywhere.

    Args:
        kind: the class.
        moving: the logit of moving.
        axis: angle in degrees, right to down, and concentration.
        direction: the same.
        speed: logarithm.
    """
    network = FluidNet(DecoderSettings(width=16, fine_width=8), lite=0)
    torch.nn.init.zeros_(network.decoder.scores.weight)
    torch.nn.init.zeros_(network.motion.outputs.weight)
    network.decoder.scores.bias.data = 50 * torch.eye(len(CLASSES))[CLASSES.index(kind)]
    (a, axis_weight), (d, direction_weight) = axis, direction
    a, d = 2 * np.radians(a), np.radians(d)
    values = [moving, axis_weight * np.cos(a), axis_weight * np.sin(a)]
    values += [direction_weight * np.cos(d), direction_weight * np.sin(d), speed]
    network.motion.outputs.bias.data = torch.tensor(values, dtype=torch.float32)
    return network.eval().requires_grad_(False)
