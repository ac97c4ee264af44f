# SPDX-License-Identifier: Apache-2.0
"""The Triton integration against the reference, and by the properties of a flow."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from _scenes import picture

from loopcore.errors import EngineError, MotionError
from loopcore.transport import integrate
from loopcore.transport.gpu import plan


def waves(height: int, width: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    y, x = torch.meshgrid(torch.arange(height).double(), torch.arange(width).double(), indexing="ij")
    flow = [torch.sin(y / 9) + 0.4 * torch.sin(x / 7 + 1), 0.8 * torch.cos(x / 11) - 0.2]
    return torch.stack(flow, -1).to(dtype)


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (8, 1), (2, 3), (9, 70)])
@pytest.mark.parametrize("steps", [1, -3.7, 12.5])
def test_the_reference_is_matched_to_about_a_hundredth_of_a_pixel(shape: tuple[int, int], steps: float) -> None:
    velocity = waves(*shape)
    ours = integrate(velocity, steps, backend="triton")
    assert ours.shape == velocity.shape and ours.dtype == torch.float32
    exact = integrate(velocity.double(), steps, backend="reference")
    assert (ours - exact).abs().max() <= 0.015


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_tensors_give_tensors(dtype: torch.dtype) -> None:
    velocity = waves(5, 7, dtype)
    ours = integrate(velocity, -5, backend="triton")
    assert ours.dtype == dtype and ours.device == velocity.device
    assert (ours.double() - integrate(velocity.double(), -5, backend="reference")).abs().max() <= 0.02


def test_numpy_gives_numpy() -> None:
    velocity = waves(5, 7).numpy()
    ours = integrate(velocity, 5, backend="triton")
    assert isinstance(ours, np.ndarray) and np.abs(ours - integrate(velocity, 5)).max() <= 0.01


def test_memory_layout_and_64_bit_offsets_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    velocity = waves(6, 9)
    wanted = integrate(velocity, 3, backend="triton")
    assert torch.equal(integrate(velocity.permute(2, 0, 1).contiguous().permute(1, 2, 0), 3, backend="triton"), wanted)
    monkeypatch.setattr(plan, "INT32_ELEMENTS", 1)
    assert torch.equal(integrate(velocity, 3, backend="triton"), wanted)


def test_still_pixels_stay_exactly_still() -> None:
    velocity = waves(6, 20)
    velocity[:, 8:] = 0
    assert not integrate(velocity, 3, backend="triton")[:, 10:].any()
    assert not integrate(waves(4, 5), 0, backend="triton").any()
    assert not integrate(torch.zeros(4, 5, 2), 1e4, backend="triton").any()


def test_a_constant_flow_continues_straight_beyond_the_frame() -> None:
    ours = integrate(torch.full((4, 5, 2), 3.25), 40, backend="triton")
    assert torch.allclose(ours, torch.tensor(130.0), rtol=1e-6)


def test_integration_of_extreme_fields_ends() -> None:
    velocity = picture(5, 6, 2) * 1e3
    assert integrate(velocity, 0.5, backend="triton").isfinite().all()


def test_invalid_fields_and_gradients_are_refused() -> None:
    velocity = waves(3, 4)
    with pytest.raises(EngineError, match="no gradient"):
        integrate(velocity.clone().requires_grad_(), 1, backend="triton")
    velocity[1, 2, 0] = float("nan")
    with pytest.raises(MotionError, match="NaN or Inf"):
        integrate(velocity, 1, backend="triton")
