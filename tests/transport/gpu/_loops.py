# SPDX-License-Identifier: Apache-2.0
"""Loops of both devices, and what is compared of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from loopcore.loop import Loop
from loopcore.loop.gpu import loop as gpu_loop
from loopcore.motion import MotionField
from loopcore.plate import Plate
from loopcore.transport import cpu

# Of the frame's greatest value, where both devices trace the same paths; what the order of additions leaves.
TOLERANCE = 1e-5
WARM_UP = gpu_loop.GpuLoop.warm_up


@pytest.fixture
def same_paths(monkeypatch: pytest.MonkeyPatch) -> None:
    """Paths traced on the CPU for both: two tracers' errors would hide the rest."""

    def trace(self: gpu_loop.GpuLoop, steps: float) -> torch.Tensor:
        return torch.from_numpy(cpu.integrate(self._velocity.cpu().numpy(), steps)).to(self.device)

    monkeypatch.setattr(gpu_loop.GpuLoop, "_trace", trace)


@pytest.fixture(autouse=True)
def no_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    """No first frame for nothing: the interpreter is slow."""
    monkeypatch.setattr(gpu_loop.GpuLoop, "warm_up", lambda self: None)


def both(still: Plate, field: MotionField, **settings: Any) -> tuple[Loop, Loop]:
    ours, theirs = (Loop(still, field, device=device, **settings) for device in ("cuda", "cpu"))
    assert ours.device == "cuda" and theirs.device == "cpu"
    return ours, theirs


def assert_same(ours: np.ndarray, theirs: np.ndarray, field: MotionField, tolerance: float = TOLERANCE) -> None:
    """Still pixels to the bit; the others within `tolerance` of the greatest value, and both finite."""
    still = field.mask == 0
    assert ours.shape == theirs.shape and ours.dtype == theirs.dtype
    assert ours[still].tobytes() == theirs[still].tobytes()
    if not still.all():
        greatest = np.abs(theirs[~still]).max()
        assert np.abs(ours[~still].astype(np.float64) - theirs[~still]).max() <= tolerance * greatest


def bytes_held(loop: Loop) -> int:
    """Memory that a loop's tensors take, each block once."""
    parts = [loop._gpu, loop._gpu._contrast] + ([loop._gpu._mixture] if loop._gpu._mixture is not None else [])
    held = [t for part in parts for t in vars(part).values() if isinstance(t, torch.Tensor)]
    held += [slot.pixels for slots in loop._gpu._slots.values() for slot in slots]
    return sum({t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in held}.values())
