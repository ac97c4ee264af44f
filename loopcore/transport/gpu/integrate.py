# SPDX-License-Identifier: Apache-2.0
"""Integration of a velocity field on the GPU."""

import torch

from loopcore.transport.cpu import MIN_STEP, STEP_TOLERANCE
from loopcore.transport.gpu.kernels import integrate as integrate_kernels
from loopcore.transport.gpu.plan import Plan, arithmetic, on

# Longest first step of a path, in frames.
FIRST_STEP = 1.0


def integrate(velocity: torch.Tensor, steps: float) -> torch.Tensor:
    """Displacement (H, W, 2) after `steps` frames (negative: backward) of a finite velocity (H, W, 2)."""
    velocity = velocity.detach().contiguous()
    (height, width), out = velocity.shape[:2], torch.zeros_like(velocity)
    plan = Plan(height, width, 1, arithmetic(velocity))
    if steps != 0:
        with on(velocity.device):
            integrate_kernels.trace[(plan.tiles,)](
                velocity, out, height, width, float(abs(steps)), 1.0 if steps > 0 else -1.0,
                TOLERANCE=STEP_TOLERANCE, MIN_STEP=MIN_STEP, FIRST=FIRST_STEP, **plan.tile,
            )  # fmt: skip
    return out
