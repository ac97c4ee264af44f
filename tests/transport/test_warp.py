# SPDX-License-Identifier: Apache-2.0
"""Backward warping: against the reference, and by the properties of a resampling."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from loopcore.errors import EngineError, PlateError
from loopcore.transport import warp

SHAPES = [(1, 1), (1, 2), (2, 1), (1, 41), (37, 1), (2, 3), (3, 5), (13, 17), (23, 4)]
FLOATS = st.floats(-1e4, 1e4, width=32)


def picture(height: int, width: int, channels: int, seed: int = 0) -> np.ndarray:
    """Scene-linear noise with negatives and highlights."""
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(height, width, channels)) * np.exp(rng.normal(size=(height, width, 1)))).astype(np.float32)


def shifts(height: int, width: int, reach: float, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-reach, reach, (height, width, 2)).astype(np.float32)


def constant(height: int, width: int, dx: float, dy: float) -> np.ndarray:
    return np.full((height, width, 2), (dx, dy), np.float32)


def mirrored(index: np.ndarray, size: int) -> np.ndarray:
    """Index in a picture mirrored about its border pixels, as by np.pad's 'reflect'."""
    reach = int(np.abs(index).max()) + size
    return np.pad(np.arange(size), reach, mode="reflect" if size > 1 else "edge")[index + reach]


@st.composite
def pictures(draw: st.DrawFn) -> np.ndarray:
    shape = draw(st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(1, 5)))
    return draw(hnp.arrays(np.float32, shape, elements=FLOATS))


# Against the reference


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5, 64])
@pytest.mark.parametrize("reach", [0.7, 5.0, 1000.0])
def test_kernel_matches_the_reference(shape: tuple[int, int], channels: int, reach: float) -> None:
    values, moved = picture(*shape, channels), shifts(*shape, reach)
    kernel, oracle = warp(values, moved), warp(values, moved, backend="reference")
    assert kernel.shape == values.shape and kernel.dtype == np.float32
    assert np.abs(kernel - oracle).max() <= 1e-5 * np.abs(values).max()


@pytest.mark.parametrize("channels", [3, 4])
def test_reference_matches_keys_convolution_in_one_dimension(channels: int) -> None:
    """The reference against eq. 15 of the paper, in float64, where nothing is clamped."""
    values = np.broadcast_to(np.cumsum(np.linspace(1, 2, 12))[:, None], (12, channels)).reshape(1, 12, channels)
    t = 0.3
    out = warp(np.ascontiguousarray(values), np.full((1, 12, 2), (t, 0.0)), backend="reference")
    d = np.array([1 + t, t, 1 - t, 2 - t])
    w = np.where(d <= 1, 1.5 * d**3 - 2.5 * d**2 + 1, -0.5 * d**3 + 2.5 * d**2 - 4 * d + 2)
    wanted = sum(w[k] * values[0, 4 + k] for k in range(4))
    assert np.allclose(out[0, 5], wanted, rtol=0, atol=1e-12)


# Types and layouts


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_numpy_types_are_kept(channels: int, dtype: type) -> None:
    values, moved = picture(11, 13, channels).astype(dtype), shifts(11, 13, 2)
    result = warp(values, moved)
    assert isinstance(result, np.ndarray) and result.dtype == dtype
    assert np.allclose(result, warp(values.astype(np.float32), moved), rtol=2e-3 if dtype == np.float16 else 1e-6)
    assert np.allclose(warp(values, moved.astype(np.float64)), result)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_tensors_give_tensors(dtype: torch.dtype) -> None:
    values, moved = torch.from_numpy(picture(11, 13, 4)).to(dtype), torch.from_numpy(shifts(11, 13, 2))
    result = warp(values, moved)
    assert isinstance(result, torch.Tensor) and result.dtype == dtype
    assert torch.allclose(result, warp(values.float(), moved).to(dtype), rtol=2e-3 if dtype == torch.float16 else 1e-6)


def test_integers_give_float32() -> None:
    assert warp(np.ones((3, 4, 2), np.uint8), constant(3, 4, 0.5, 0)).dtype == np.float32


@pytest.mark.parametrize("channels", [2, 4])
def test_memory_layout_does_not_matter(channels: int) -> None:
    values, moved = picture(19, 23, channels), shifts(19, 23, 3)
    wanted = warp(values, moved)
    planar = np.moveaxis(np.ascontiguousarray(np.moveaxis(values, -1, 0)), 0, -1)
    strided = np.repeat(np.repeat(values, 2, 0), 3, 1)[::2, ::3]
    flipped = np.ascontiguousarray(values[::-1, ::-1])[::-1, ::-1]
    for odd in (planar, strided, flipped):
        assert not odd.flags.c_contiguous
        assert np.array_equal(warp(odd, np.asfortranarray(moved)), wanted)
    assert np.array_equal(warp(torch.from_numpy(planar), torch.from_numpy(moved)).numpy(), wanted)


def test_the_input_is_not_modified() -> None:
    values, moved = picture(9, 10, 4), shifts(9, 10, 2)
    copies = values.copy(), moved.copy()
    warp(values, moved)
    assert np.array_equal(values, copies[0]) and np.array_equal(moved, copies[1])


def test_the_reference_is_differentiable() -> None:
    # Long waves: within the range of the 4 x 4 pixels, so that no clamp is at a kink.
    y, x = torch.meshgrid(torch.arange(5.0), torch.arange(6.0), indexing="ij")
    values = torch.stack([x * 0.7 + y, x - 0.4 * y + 0.01 * x * y], -1).double().requires_grad_()
    moved = torch.full((5, 6, 2), 0.31, dtype=torch.float64)[:3, :4]
    moved = torch.nn.functional.pad(moved, (0, 0, 0, 2, 0, 2)).requires_grad_()
    assert torch.autograd.gradcheck(lambda v: warp(v, moved.detach()), (values,))
    inner = np.s_[1:3, 1:4]
    assert torch.autograd.gradcheck(lambda d: warp(values.detach(), d)[inner], (moved.detach().requires_grad_(),))


# Errors


def test_wrong_shapes_are_refused() -> None:
    good, moved = picture(4, 5, 3), constant(4, 5, 0, 0)
    for values in (good[..., 0], good[None], np.zeros((0, 5, 3), np.float32), np.zeros((4, 5, 0), np.float32)):
        with pytest.raises(PlateError, match="values has shape"):
            warp(values, moved)
    for odd in (moved[:-1], moved[:, :-1], moved[..., :1], moved[..., 0], constant(5, 4, 0, 0)):
        with pytest.raises(PlateError, match=r"displacement has shape .* where \(4, 5, 2\) is needed"):
            warp(good, odd)


def test_mixed_kinds_and_unknown_backends_are_refused() -> None:
    values, moved = picture(4, 5, 3), constant(4, 5, 0, 0)
    with pytest.raises(EngineError, match="mixed"):
        warp(values, torch.from_numpy(moved))
    with pytest.raises(EngineError, match="mixed"):
        warp(torch.from_numpy(values), moved)
    with pytest.raises(EngineError, match="unknown backend 'opencl'"):
        warp(values, moved, backend="opencl")
    if not torch.cuda.is_available():
        with pytest.raises(EngineError, match="not available"):
            warp(values, moved, backend="triton")


# Properties


@settings(max_examples=80, deadline=None)
@given(pictures())
def test_warp_by_zero_is_bit_identical(values: np.ndarray) -> None:
    out = warp(values, constant(*values.shape[:2], 0, 0))
    assert np.array_equal(out.view(np.uint32) & 0x7FFFFFFF, values.view(np.uint32) & 0x7FFFFFFF)
    assert np.array_equal(out, values)


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("span", [1e-38, 1e30])
def test_warp_by_zero_is_the_identity_at_any_exposure(channels: int, span: float) -> None:
    values = picture(14, 15, channels) * np.float32(span)
    assert np.array_equal(warp(values, constant(14, 15, 0, 0)), values)


@settings(max_examples=80, deadline=None)
@given(pictures(), st.integers(-40, 40), st.integers(-40, 40))
def test_warp_by_whole_pixels_is_a_shift_with_mirrored_borders(values: np.ndarray, dx: int, dy: int) -> None:
    height, width = values.shape[:2]
    rows, columns = mirrored(np.arange(height) + dy, height), mirrored(np.arange(width) + dx, width)
    assert np.array_equal(warp(values, constant(height, width, dx, dy)), values[rows][:, columns])


@settings(max_examples=80, deadline=None)
@given(pictures(), st.integers(0, 2**32 - 1), st.sampled_from([0.5, 3.0, 50.0]))
def test_warp_never_leaves_the_range_of_its_4x4_pixels(values: np.ndarray, seed: int, reach: float) -> None:
    height, width, channels = values.shape
    moved = shifts(height, width, reach, seed)
    out = warp(values, moved)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    left, top = (np.floor(axis).astype(int) for axis in (x + moved[..., 0], y + moved[..., 1]))
    footprint = np.stack([
        values[mirrored(top + j, height), mirrored(left + i, width)] for j in range(-1, 3) for i in range(-1, 3)
    ])  # fmt: skip
    assert (out >= footprint.min(0)).all() and (out <= footprint.max(0)).all()


@settings(max_examples=60, deadline=None)
@given(
    st.tuples(st.integers(1, 12), st.integers(1, 12), st.integers(1, 6)), st.floats(-1e6, 1e6, width=32),
    st.integers(0, 2**32 - 1), st.sampled_from([0.5, 20.0, 1e6]),
)  # fmt: skip
def test_a_constant_plate_stays_constant(shape: tuple[int, int, int], value: float, seed: int, reach: float) -> None:
    values = np.full(shape, value, np.float32)
    assert np.array_equal(warp(values, shifts(*shape[:2], reach, seed)), values)


@settings(max_examples=40, deadline=None)
@given(st.floats(-4, 4), st.floats(-4, 4), st.integers(1, 5))
def test_a_ramp_is_moved_exactly_away_from_the_border(dx: float, dy: float, channels: int) -> None:
    y, x = np.mgrid[:24, :26].astype(np.float32)
    values = np.stack([(1 + c) * x - (2 - c) * y + 7 for c in range(channels)], -1).astype(np.float32)
    out = warp(values, constant(24, 26, dx, dy))
    wanted = np.stack([(1 + c) * (x + dx) - (2 - c) * (y + dy) + 7 for c in range(channels)], -1)
    assert np.abs(out - wanted)[7:-7, 7:-7].max() <= 1e-4


@pytest.mark.parametrize("channels", [3, 4])
def test_channels_do_not_mix(channels: int) -> None:
    values, moved = picture(12, 15, channels), shifts(12, 15, 4)
    out = warp(values, moved)
    for c in range(channels):
        alone = warp(values[..., c : c + 1], moved)[..., 0]
        assert np.abs(alone - out[..., c]).max() <= 1e-5 * np.abs(values).max()


def test_bits_do_not_depend_on_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    for channels in (3, 4):
        values, moved = picture(149, 61, channels), shifts(149, 61, 30)
        results = set()
        for threads in ("1", "2", "3", "7"):
            monkeypatch.setenv("LOOPCORE_THREADS", threads)
            results.add(warp(values, moved).tobytes())
        assert len(results) == 1


# NaN and Inf


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 3e38, -3e38, 2.0**31, -(2.0**63)])
def test_an_invalid_displacement_affects_its_own_pixel_only(channels: int, bad: float) -> None:
    values, moved = picture(20, 21, channels), shifts(20, 21, 2)
    wanted = warp(values, moved)
    hit = np.zeros((20, 21), bool)
    hit[[0, 9, 19], [0, 10, 20]] = True
    moved[hit, 0] = bad
    out = warp(values, moved)
    assert np.array_equal(out[~hit], wanted[~hit])
    assert np.isfinite(out).all() and out.min() >= values.min() and out.max() <= values.max()
    moved[:] = bad
    assert np.isfinite(warp(values, moved)).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("channels", [1, 4])
def test_a_pixel_that_is_not_finite_affects_its_footprint_only(bad: float, channels: int) -> None:
    values = picture(16, 17, channels)
    moved = constant(16, 17, 0.4, -0.3)
    wanted = warp(values, moved)
    values[8, 9] = bad
    out = warp(values, moved)
    # (x + 0.4, y - 0.3) reads columns x - 1 to x + 2 and rows y - 2 to y + 1.
    touched = np.zeros((16, 17), bool)
    touched[7:11, 7:11] = True
    assert np.array_equal(out[~touched], wanted[~touched])
