# SPDX-License-Identifier: Apache-2.0
"""The Triton splats and their gradients against the reference."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from _scenes import close, noise, picture, zoom

from loopcore.transport import splat
from loopcore.transport.gpu import plan
from loopcore.transport.gpu.kernels.bins import MAX_PICKED

BACKENDS = ("triton", "triton-atomic")


def importance(height: int, width: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Weights, a third of them 0."""
    weight = torch.rand(height, width, generator=torch.Generator().manual_seed(2), dtype=torch.float64).to(dtype) * 3
    weight.view(-1)[::3] = 0
    return weight


def both_match(
    values: torch.Tensor, moved: torch.Tensor, weight: torch.Tensor | None, backend: str, tolerance: float = 1e-5
) -> None:
    ours, theirs = splat(values, moved, weight, backend=backend), splat(values, moved, weight, backend="reference")
    for a, b in zip(ours, theirs, strict=True):
        close(a, b, tolerance)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 9, 3), (8, 1, 2), (5, 7, 4), (33, 65, 3), (3, 4, 70)])
def test_the_reference_is_matched(shape: tuple[int, int, int], backend: str) -> None:
    values, moved = picture(*shape), torch.tensor([0.3, -1.6]) + 0.2 * zoom(*shape[:2], 1.2)
    both_match(values, moved, None, backend)
    both_match(values, moved, importance(*shape[:2]), backend)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("stretch", [0.6, 2.3, 5.2, 12.0])
def test_the_reference_is_matched_where_pixels_are_subdivided(stretch: float, backend: str) -> None:
    both_match(picture(5, 7, 3), zoom(5, 7, stretch), importance(5, 7), backend)


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_reference_is_matched_where_the_field_is_torn_and_leaves_the_frame(backend: str) -> None:
    both_match(picture(5, 7, 2), noise(5, 7, 4), None, backend)
    for far in (7.0, -1e6, 1e30, float("nan"), float("inf")):
        sums, weights = splat(picture(3, 7, 2), torch.full((3, 7, 2), far), backend=backend)
        assert not sums.any() and not weights.any()


@pytest.mark.parametrize("backend", BACKENDS)
def test_weights_of_0_give_zeros_and_exclude_nan(backend: str) -> None:
    values, moved, weight = picture(5, 6, 3), torch.full((5, 6, 2), 0.25), importance(5, 6)
    sums, weights = splat(values, moved, torch.zeros(5, 6), backend=backend)
    assert not sums.any() and not weights.any()
    wanted = splat(values, moved, weight, backend="reference")
    values[weight == 0] = float("nan")
    for ours, theirs in zip(splat(values, moved, weight, backend=backend), wanted, strict=True):
        close(ours, theirs, 1e-5)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_tensors_give_tensors(dtype: torch.dtype, backend: str) -> None:
    values, moved = picture(4, 5, 3, dtype), torch.full((4, 5, 2), 0.3)
    exact = splat(values.double(), moved.double(), backend="reference")
    for ours, theirs in zip(splat(values, moved, backend=backend), exact, strict=True):
        assert ours.dtype == dtype
        close(ours.double(), theirs, max(torch.finfo(dtype).eps, 1e-5))


def test_numpy_gives_numpy() -> None:
    values, moved = picture(4, 5, 3).numpy(), zoom(4, 5, 1.8).numpy()
    for ours, theirs in zip(splat(values, moved, backend="triton"), splat(values, moved), strict=True):
        assert isinstance(ours, np.ndarray) and ours.dtype == np.float32
        assert np.abs(ours - theirs).max() <= 1e-5 * np.abs(values).max()


def test_memory_layout_and_64_bit_offsets_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    values, moved, weight = picture(5, 7, 3), zoom(5, 7, 1.8), importance(5, 7)
    wanted = splat(values, moved, weight, backend="triton")
    planar, shifts = (t.permute(2, 0, 1).contiguous().permute(1, 2, 0) for t in (values, moved))
    for ours, theirs in zip(splat(planar, shifts, weight.t().contiguous().t(), backend="triton"), wanted, strict=True):
        assert torch.equal(ours, theirs)
    monkeypatch.setattr(plan, "INT32_ELEMENTS", 1)
    for backend in BACKENDS:
        for ours, theirs in zip(splat(values, moved, weight, backend=backend), wanted, strict=True):
            close(ours, theirs, 1e-6)


def test_bits_do_not_depend_on_the_order_in_which_bins_were_filled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each bin of a splat is reversed, as another order of programs could have filled it."""
    values, moved = picture(4, 6, 3), 0.7 * zoom(4, 6, 0.2)
    wanted = splat(values, moved, backend="triton")
    launcher = sys.modules["loopcore.transport.gpu.splat"]
    made = launcher.make_bins

    def turned(*args: object) -> object:
        bins = made(*args)
        assert not bins.is_sorted and bins.offsets.diff().max() > 2
        for first, last in zip(bins.offsets[:-1].tolist(), bins.offsets[1:].tolist(), strict=True):
            bins.entries[first:last] = bins.entries[first:last].flip(0)
        return bins

    monkeypatch.setattr(launcher, "make_bins", turned)
    assert all(torch.equal(a, b) for a, b in zip(splat(values, moved, backend="triton"), wanted, strict=True))


def test_a_cell_of_many_entries_is_sorted() -> None:
    values = picture(4, 8, 2, torch.float64)
    y, x = torch.meshgrid(torch.arange(4.0), torch.arange(8.0), indexing="ij")
    moved = torch.stack([3.4 - 0.9 * x - 0.34, 1.6 - 0.95 * y - 0.1], -1).double()
    assert moved.numel() / 2 > MAX_PICKED
    both_match(values, moved, None, "triton", 1e-12)


def gradients(backend: str, *given: torch.Tensor) -> list[torch.Tensor]:
    inputs = [tensor.clone().requires_grad_() for tensor in given]
    sums, weights = splat(*inputs, backend=backend)
    upstream = picture(*sums.shape, sums.dtype, seed=5), picture(*weights.shape, 1, weights.dtype, seed=6)[..., 0]
    return list(torch.autograd.grad((sums, weights), inputs, upstream))


@pytest.mark.parametrize("shift", ["gentle", "stretched", "torn"])
def test_gradients_match_the_references(shift: str) -> None:
    """By values, displacement and weight, in float64; stretched pixels depend on their neighbours."""
    moved = {
        "gentle": 0.3 * zoom(4, 5, 1.4, torch.float64) + 0.123, "stretched": zoom(4, 5, 2.6, torch.float64) + 0.05,
        "torn": noise(4, 5, 2.0, torch.float64),
    }[shift]  # fmt: skip
    given = picture(4, 5, 3, torch.float64), moved, importance(4, 5, torch.float64)
    for ours, theirs in zip(gradients("triton", *given), gradients("reference", *given), strict=True):
        close(ours, theirs, 1e-10)


def test_gradients_match_over_many_channels_without_weight() -> None:
    given = picture(2, 3, 70, torch.float64), noise(2, 3, 1.0, torch.float64)
    for backend in BACKENDS:
        for ours, theirs in zip(gradients(backend, *given), gradients("reference", *given), strict=True):
            close(ours, theirs, 1e-10)


def test_gradients_pass_gradcheck() -> None:
    values, weight = picture(2, 3, 2, torch.float64), importance(2, 3, torch.float64) + 0.5
    inputs = [tensor.requires_grad_() for tensor in (values, zoom(2, 3, 1.7, torch.float64) + 0.11, weight)]
    assert torch.autograd.gradcheck(lambda v, d, w: splat(v, d, w, backend="triton"), inputs, fast_mode=True)
