# SPDX-License-Identifier: Apache-2.0
"""The Triton warp and its gradients against the reference."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from _scenes import close, noise, picture, zoom

from loopcore.errors import EngineError
from loopcore.transport import warp
from loopcore.transport.gpu import plan
from loopcore.transport.gpu.kernels.bins import MAX_PICKED


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 9, 3), (8, 1, 2), (2, 3, 5), (5, 7, 4), (33, 65, 3), (3, 4, 70)])
@pytest.mark.parametrize("reach", [0.7, 100.0])
def test_the_reference_is_matched(shape: tuple[int, int, int], reach: float) -> None:
    values, moved = picture(*shape), noise(*shape[:2], reach)
    close(warp(values, moved, backend="triton"), warp(values, moved, backend="reference"), 1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_tensors_give_tensors(dtype: torch.dtype) -> None:
    values, moved = picture(5, 7, 4, dtype), noise(5, 7, 2)
    ours = warp(values, moved, backend="triton")
    assert ours.dtype == dtype and ours.device == values.device
    exact = warp(values.double(), moved.double(), backend="reference")
    step = 1e-5 if dtype == torch.float64 else max(torch.finfo(dtype).eps, 1e-5)
    close(ours.double(), exact, step)


def test_numpy_gives_numpy_and_integers_give_float32() -> None:
    values, moved = picture(5, 7, 3).numpy(), noise(5, 7, 2).numpy()
    ours = warp(values, moved, backend="triton")
    assert isinstance(ours, np.ndarray) and ours.dtype == np.float32
    assert np.abs(ours - warp(values, moved)).max() <= 1e-5 * np.abs(values).max()
    assert warp(np.ones((3, 4, 2), np.uint8), moved[:3, :4], backend="triton").dtype == np.float32


def test_memory_layout_does_not_matter() -> None:
    values, moved = picture(6, 9, 3), noise(6, 9, 2)
    wanted = warp(values, moved, backend="triton")
    planar, flipped = values.permute(2, 0, 1).contiguous().permute(1, 2, 0), values.flip(0, 1).contiguous().flip(0, 1)
    shifts = moved.permute(2, 0, 1).contiguous().permute(1, 2, 0)
    assert not planar.is_contiguous() and not shifts.is_contiguous()
    assert torch.equal(warp(planar, shifts, backend="triton"), wanted)
    assert torch.equal(warp(flipped, moved, backend="triton"), wanted)


def test_64_bit_offsets_give_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    values, moved = picture(3, 4, 2).requires_grad_(), noise(3, 4, 0.6)
    narrow = warp(values, moved, backend="triton")
    (gradient,) = torch.autograd.grad(narrow.sum(), values)
    monkeypatch.setattr(plan, "INT32_ELEMENTS", 1)
    wide = warp(values, moved, backend="triton")
    assert torch.equal(wide, narrow) and torch.equal(torch.autograd.grad(wide.sum(), values)[0], gradient)


def test_no_motion_is_bit_identical_and_a_constant_stays() -> None:
    values, moved = picture(5, 7, 4) * 1e30, torch.zeros(5, 7, 2)
    assert torch.equal(warp(values, moved, backend="triton"), values)
    assert (warp(torch.full((5, 7, 3), 3.7), noise(5, 7, 9), backend="triton") == 3.7).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf, 3e38, -(2.0**63)])
def test_invalid_input_affects_the_same_pixels_as_on_the_cpu(bad: float) -> None:
    values, moved = picture(9, 11, 3), noise(9, 11, 1)
    moved[4, 5, 0] = bad
    close(warp(values, moved, backend="triton"), warp(values, moved, backend="cpu"), 1e-5)
    values[4, 5] = bad
    ours, theirs = (warp(values, torch.full((9, 11, 2), 0.4), backend=name) for name in ("triton", "cpu"))
    assert torch.equal(ours.isfinite(), theirs.isfinite())
    if not np.isfinite(bad):
        assert not ours.isfinite().all()


def gradients(backend: str, values: torch.Tensor, moved: torch.Tensor) -> list[torch.Tensor]:
    given = [values.clone().requires_grad_(), moved.clone().requires_grad_()]
    out = warp(*given, backend=backend)
    upstream = picture(*out.shape, out.dtype, seed=5)
    return list(torch.autograd.grad(out, given, upstream))


@pytest.mark.parametrize("shape", [(3, 5, 2), (1, 5, 3), (3, 2, 6)])
def test_gradients_match_the_references(shape: tuple[int, int, int]) -> None:
    """In float64, with noise, a good part of which is clamped; and far outside the frame."""
    values = picture(*shape, torch.float64)
    for moved in (zoom(*shape[:2], 1.3, torch.float64) + 0.123, noise(*shape[:2], 9.0, torch.float64)):
        for ours, theirs in zip(gradients("triton", values, moved), gradients("reference", values, moved), strict=True):
            close(ours, theirs, 1e-10)


def test_gradients_pass_gradcheck() -> None:
    values, moved = picture(2, 3, 1, torch.float64), noise(2, 3, 0.4, torch.float64, 3)
    values, moved = values.requires_grad_(), moved.requires_grad_()
    assert torch.autograd.gradcheck(lambda v, d: warp(v, d, backend="triton"), (values, moved), fast_mode=True)


def test_gradients_match_where_many_results_sample_one_pixel() -> None:
    """More entries than are searched linearly: they are sorted."""
    values = picture(4, 7, 1)
    moved = torch.stack(torch.meshgrid(1.3 - torch.arange(4.0), 3.6 - torch.arange(7.0), indexing="ij")[::-1], -1)
    assert moved.numel() / 2 > MAX_PICKED
    ours, theirs = gradients("triton", values, moved), gradients("reference", values.double(), moved.double())
    close(ours[0].double(), theirs[0], 1e-5)


def test_gradients_have_the_same_bits_each_time() -> None:
    values, moved = picture(3, 4, 3), noise(3, 4, 1.5)
    one, two = gradients("triton", values, moved), gradients("triton", values, moved)
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


def test_unsuitable_devices_are_refused() -> None:
    values, moved = picture(3, 4, 2), noise(3, 4, 1)
    with pytest.raises(EngineError, match="meta"):
        warp(values.to("meta"), moved.to("meta"), backend="triton")
    with pytest.raises(EngineError, match="cpu and meta were mixed"):
        warp(values, moved.to("meta"))
