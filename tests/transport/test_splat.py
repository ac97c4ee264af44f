# SPDX-License-Identifier: Apache-2.0
"""Forward warping: against the reference, and by the quantities that it conserves."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from loopcore.errors import EngineError, PlateError
from loopcore.transport import splat

SHAPES = [(1, 1), (1, 2), (2, 1), (1, 41), (37, 1), (3, 5), (13, 17), (31, 8)]


def picture(height: int, width: int, channels: int, seed: int = 0) -> np.ndarray:
    """Scene-linear noise with negatives and highlights."""
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(height, width, channels)) * np.exp(rng.normal(size=(height, width, 1)))).astype(np.float32)


def constant(height: int, width: int, dx: float, dy: float) -> np.ndarray:
    return np.full((height, width, 2), (dx, dy), np.float32)


def gentle(height: int, width: int, reach: float = 3.0, seed: int = 1) -> np.ndarray:
    """A displacement that stretches by at most 1.4: no pixel is subdivided."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    wave = [np.sin(0.11 * (x * c + y * s) + p) for c, s, p in rng.uniform(-1, 1, (2, 3)) * (1, 1, 3)]
    offset = rng.uniform(-reach, reach, 2)
    return np.stack([2 * wave[0] + offset[0], 2 * wave[1] + offset[1]], -1).astype(np.float32)


def bulge(height: int, width: int, stretch: float) -> np.ndarray:
    """Stretched by `stretch` at the centre, falling to 1 at a third of the way to the border."""
    y, x = np.mgrid[:height, :width].astype(np.float64)
    x, y = x - (width - 1) / 2, y - (height - 1) / 2
    fall = np.clip(1 - (3 * x / width) ** 2 - (3 * y / height) ** 2, 0, 1) ** 2
    return np.stack([(stretch - 1) * x * fall, (stretch - 1) * y * fall], -1).astype(np.float32)


def assert_same(kernel: tuple[np.ndarray, np.ndarray], oracle: tuple[np.ndarray, np.ndarray], scale: float) -> None:
    # Many deposits are added in one pixel, in another order and with other rounding.
    for ours, theirs in zip(kernel, oracle, strict=True):
        assert ours.shape == theirs.shape and ours.dtype == np.float32
        assert np.abs(ours - theirs).max() <= 2e-5 * scale


# Against the reference


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5, 64])
def test_kernel_matches_the_reference(shape: tuple[int, int], channels: int) -> None:
    values = picture(*shape, channels)
    weight = np.random.default_rng(2).uniform(0, 3, shape).astype(np.float32)
    weight[::3, ::2] = 0
    for moved in (gentle(*shape), constant(*shape, 0.25, -1.75)):
        for given_weight in (None, weight):
            kernel = splat(values, moved, given_weight)
            assert_same(kernel, splat(values, moved, given_weight, backend="reference"), 3 * np.abs(values).max())


@pytest.mark.parametrize("stretch", [1.6, 2.3, 3.0, 5.2, 7.7, 12.0])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_kernel_matches_the_reference_where_pixels_are_subdivided(stretch: float, channels: int) -> None:
    values, moved = picture(45, 57, channels), bulge(45, 57, stretch)
    weight = np.random.default_rng(2).uniform(0, 3, (45, 57)).astype(np.float32)
    for given_weight in (None, weight):
        kernel = splat(values, moved, given_weight)
        assert_same(kernel, splat(values, moved, given_weight, backend="reference"), 3 * np.abs(values).max())


@pytest.mark.parametrize("stretch", [0.4, 2.3, 5.2])
def test_kernel_matches_the_reference_where_the_border_is_stretched(stretch: float) -> None:
    """Border pixels have an outer half too: here they land inside the frame."""
    y, x = np.mgrid[:9, :11].astype(np.float32)
    moved = np.stack([(stretch - 1) * np.minimum(x, 4), (1 / stretch - 1) * np.minimum(8 - y, 5)], -1)
    values = picture(9, 11, 3)
    for shift in (moved, np.random.default_rng(4).uniform(-3, 3, (9, 11, 2)).astype(np.float32)):
        kernel = splat(values, shift)
        assert_same(kernel, splat(values, shift, backend="reference"), 3 * np.abs(values).max())


def test_one_sample_is_shared_bilinearly() -> None:
    values, weight = picture(7, 8, 3), np.zeros((7, 8), np.float32)
    weight[2, 3] = 2
    sums, weights = splat(values, constant(7, 8, 1.25, 2.75), weight)
    wanted = np.zeros((7, 8), np.float32)
    wanted[4:6, 4:6] = 2 * np.outer([0.25, 0.75], [0.75, 0.25])
    assert np.allclose(weights, wanted, atol=1e-6)
    assert np.allclose(sums, wanted[..., None] * values[2, 3], atol=1e-5)


# Types and layouts


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_numpy_types_are_kept(dtype: type) -> None:
    values, moved = picture(11, 13, 4).astype(dtype), gentle(11, 13)
    weight = np.full((11, 13), 0.5)
    wanted = splat(values.astype(np.float32), moved, weight)
    for result, exact in zip(splat(values, moved.astype(np.float64), weight), wanted, strict=True):
        assert isinstance(result, np.ndarray) and result.dtype == dtype
        assert np.allclose(result, exact, rtol=2e-3 if dtype == np.float16 else 1e-6, atol=1e-3)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_tensors_give_tensors(dtype: torch.dtype) -> None:
    values, moved = torch.from_numpy(picture(11, 13, 3)).to(dtype), torch.from_numpy(gentle(11, 13))
    wanted = splat(values.float(), moved)
    for result, exact in zip(splat(values, moved), wanted, strict=True):
        assert isinstance(result, torch.Tensor) and result.dtype == dtype
        assert torch.allclose(result.float(), exact, rtol=2e-3 if dtype == torch.float16 else 1e-6, atol=1e-3)


def test_integers_give_float32() -> None:
    sums, weights = splat(np.ones((3, 4, 2), np.uint8), constant(3, 4, 0.5, 0))
    assert sums.dtype == weights.dtype == np.float32


@pytest.mark.parametrize("channels", [3, 4])
def test_memory_layout_does_not_matter(channels: int) -> None:
    values, moved = picture(19, 23, channels), bulge(19, 23, 2.5)
    weight = np.random.default_rng(2).random((19, 23), np.float32)
    wanted = splat(values, moved, weight)
    planar = np.moveaxis(np.ascontiguousarray(np.moveaxis(values, -1, 0)), 0, -1)
    flipped = np.ascontiguousarray(values[::-1, ::-1])[::-1, ::-1]
    wide = np.repeat(weight, 2, 1)[:, ::2]
    for odd in (planar, flipped):
        assert not odd.flags.c_contiguous and not wide.flags.c_contiguous
        for result, exact in zip(splat(odd, np.asfortranarray(moved), wide), wanted, strict=True):
            assert np.array_equal(result, exact)
    tensors = splat(torch.from_numpy(planar), torch.from_numpy(moved), torch.from_numpy(wide))
    assert all(np.array_equal(t.numpy(), exact) for t, exact in zip(tensors, wanted, strict=True))


def test_the_input_is_not_modified() -> None:
    values, moved, weight = picture(9, 10, 4), bulge(9, 10, 3), np.ones((9, 10), np.float32)
    copies = values.copy(), moved.copy(), weight.copy()
    splat(values, moved, weight)
    assert all(np.array_equal(a, b) for a, b in zip((values, moved, weight), copies, strict=True))


def test_the_reference_is_differentiable() -> None:
    values = torch.from_numpy(picture(4, 5, 2)).double().requires_grad_()
    weight = torch.linspace(0.5, 2, 20, dtype=torch.float64).reshape(4, 5).requires_grad_()
    moved = torch.from_numpy(gentle(4, 5, 1.0)).double()
    assert torch.autograd.gradcheck(lambda v, w: splat(v, moved, w), (values, weight))


# Errors


def test_wrong_shapes_are_refused() -> None:
    values, moved = picture(4, 5, 3), constant(4, 5, 0, 0)
    for odd in (values[..., 0], values[None], np.zeros((0, 5, 3), np.float32), np.zeros((4, 5, 0), np.float32)):
        with pytest.raises(PlateError, match="values has shape"):
            splat(odd, moved)
    for odd in (moved[:-1], moved[..., :1], moved[..., 0], constant(5, 4, 0, 0)):
        with pytest.raises(PlateError, match="displacement has shape"):
            splat(values, odd)
    for odd in (np.ones((5, 4)), np.ones((4, 5, 1)), np.ones(20), np.ones((4, 0))):
        with pytest.raises(PlateError, match=r"weight has shape .* where \(4, 5\) is needed"):
            splat(values, moved, odd)


def test_mixed_kinds_and_unknown_backends_are_refused() -> None:
    values, moved, weight = picture(4, 5, 3), constant(4, 5, 0, 0), np.ones((4, 5), np.float32)
    with pytest.raises(EngineError, match="mixed"):
        splat(values, torch.from_numpy(moved))
    with pytest.raises(EngineError, match="mixed"):
        splat(values, moved, torch.from_numpy(weight))
    with pytest.raises(EngineError, match="unknown backend 'gpu'"):
        splat(values, moved, backend="gpu")
    if not torch.cuda.is_available():
        with pytest.raises(EngineError, match="not available"):
            splat(values, moved, backend="triton")


# Properties


@st.composite
def deposits(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Values, displacement and weight that land wholly inside the frame, torn and stretched."""
    height, width = draw(st.integers(2, 12)), draw(st.integers(2, 12))
    channels = draw(st.integers(1, 5))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    values = draw(hnp.arrays(np.float32, (height, width, channels), elements=st.floats(-100, 100, width=32)))
    y, x = np.mgrid[:height, :width].astype(np.float32)
    # Pieces of a border pixel reach half a pixel beyond where it lands.
    low, high = 0.5, np.array([width - 1.5, height - 1.5]).clip(0.5)
    place = rng.uniform(low, high, (height, width, 2)) if draw(st.booleans()) else np.stack([x, y], -1).clip(low, high)
    moved = (place - np.stack([x, y], -1)).astype(np.float32)
    return values, moved, rng.uniform(0, 2, (height, width)).astype(np.float32)


@settings(max_examples=80, deadline=None)
@given(deposits())
def test_sums_and_weights_are_conserved_inside_the_frame(deposit: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    values, moved, weight = deposit
    for given_weight in (None, weight):
        total = weight.sum(dtype=np.float64) if given_weight is not None else float(weight.size)
        _, weights = splat(values, moved, given_weight)
        assert np.isclose(weights.sum(dtype=np.float64), total, rtol=1e-5)


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_a_splat_by_whole_pixels_is_a_shift(data: st.DataObject) -> None:
    height, width, channels = (data.draw(st.integers(1, n)) for n in (11, 11, 5))
    dx, dy = data.draw(st.integers(-12, 12)), data.draw(st.integers(-12, 12))
    values = picture(height, width, channels, data.draw(st.integers(0, 2**32 - 1)))
    sums, weights = splat(values, constant(height, width, dx, dy))
    wanted, there = np.zeros_like(values), np.zeros((height, width), np.float32)
    for y in range(max(0, dy), min(height, height + dy)):
        for x in range(max(0, dx), min(width, width + dx)):
            wanted[y, x], there[y, x] = values[y - dy, x - dx], 1
    assert np.array_equal(sums, wanted) and np.array_equal(weights, there)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 5), st.floats(0.5, 12))
def test_pixels_without_weight_contribute_nothing(seed: int, channels: int, reach: float) -> None:
    """Whatever their values are, NaN included, unless a neighbour's pieces are interpolated towards them."""
    rng = np.random.default_rng(seed)
    values, moved = picture(14, 15, channels, seed), gentle(14, 15, reach, seed)
    weight = (rng.random((14, 15)) < 0.6).astype(np.float32)
    wanted = splat(values, moved, weight)
    values[weight == 0] = np.nan
    for result, exact in zip(splat(values, moved, weight), wanted, strict=True):
        assert np.array_equal(result, exact)


def test_weights_of_0_give_zeros() -> None:
    sums, weights = splat(picture(9, 8, 4), bulge(9, 8, 3), np.zeros((9, 8), np.float32))
    assert not sums.any() and not weights.any()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 5), st.floats(-3, 3), st.floats(-3, 3), st.floats(1, 9))
def test_a_splat_is_linear_in_the_values(seed: int, channels: int, a: float, b: float, stretch: float) -> None:
    one, two = picture(14, 15, channels, seed), picture(14, 15, channels, seed + 1)
    moved = bulge(14, 15, stretch)
    both, weights = splat((a * one + b * two).astype(np.float32), moved)
    (sum_one, weights_one), (sum_two, _) = splat(one, moved), splat(two, moved)
    scale = (abs(a) * np.abs(one).max() + abs(b) * np.abs(two).max()) * max(1.0, weights.max())
    assert np.array_equal(weights, weights_one)
    assert np.abs(both - (a * sum_one + b * sum_two)).max() <= 1e-5 * max(scale, 1.0)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 5), st.floats(-100, 100, width=32))
def test_a_constant_plate_stays_constant(seed: int, channels: int, value: float) -> None:
    rng = np.random.default_rng(seed)
    moved = rng.normal(0, 4, (12, 13, 2)).astype(np.float32)
    weight = rng.uniform(0.1, 2, (12, 13)).astype(np.float32)
    sums, weights = splat(np.full((12, 13, channels), value, np.float32), moved, weight)
    solid = weights > 1e-3
    assert np.allclose(sums[solid] / weights[solid][:, None], value, rtol=1e-4, atol=1e-4)


@settings(max_examples=40, deadline=None)
@given(st.floats(1, 7.9), st.floats(1, 7.9), st.floats(0, 3.1))
def test_a_stretched_plate_has_no_pinholes(along_x: float, along_y: float, angle: float) -> None:
    """All pixels between the centres of stretched source pixels have weight."""
    c, s = np.cos(angle), np.sin(angle)
    turn = np.array([[c, -s], [s, c]])
    matrix = turn @ np.diag([along_x, along_y]) @ turn.T
    y, x = np.mgrid[:40, :44].astype(np.float64)
    place = np.stack([x - 21.5, y - 19.5], -1)
    moved = place @ matrix.T - place
    _, weights = splat(np.ones((40, 44, 1), np.float32), moved.astype(np.float32))
    came_from = place @ np.linalg.inv(matrix).T
    covered = (np.abs(came_from[..., 0]) <= 21) & (np.abs(came_from[..., 1]) <= 19)
    assert (weights[covered] > 0).all()


def test_a_field_stretched_beyond_eight_is_torn() -> None:
    """The two halves of a torn plate leave a hole between them."""
    moved = constant(8, 40, 0, 0)
    moved[:, 20:, 0] = 12
    _, weights = splat(np.ones((8, 40, 1), np.float32), moved)
    assert not weights[:, 20:32].any() and (weights[:, :20] == 1).all() and (weights[:, 32:] == 1).all()


# Extreme input and many threads


def test_deposits_outside_the_frame_are_lost() -> None:
    values = picture(10, 12, 4)
    for dx, dy in ((12, 0), (-12, 0), (0, 10), (0, -10), (1e6, -1e6), (1e30, 0), (0, -3e38)):
        sums, weights = splat(values, constant(10, 12, dx, dy))
        assert not sums.any() and not weights.any()
    _, weights = splat(values, constant(10, 12, -0.5, 0))
    assert np.isclose(weights.sum(), 10 * 11.5)


@pytest.mark.parametrize("channels", [1, 4])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 3e38, 2.0**31, -(2.0**63)])
def test_an_invalid_displacement_loses_its_own_pixel_only(channels: int, bad: float) -> None:
    values, moved = picture(20, 21, channels), gentle(20, 21, 2)
    hit = np.zeros((20, 21), bool)
    hit[[0, 9, 19], [0, 10, 20]] = True
    wanted = splat(values, moved, (~hit).astype(np.float32))
    moved[hit, 1] = bad
    for result, exact in zip(splat(values, moved), wanted, strict=True):
        assert np.array_equal(result, exact)
    moved[:] = bad
    sums, weights = splat(values, moved)
    assert not sums.any() and not weights.any()


@pytest.mark.parametrize("channels", [3, 4])
def test_bits_do_not_depend_on_threads(channels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    values = picture(391, 47, channels)
    moved = bulge(391, 47, 4) + gentle(391, 47) + np.random.default_rng(3).normal(0, 0.4, (391, 47, 2))
    results = set()
    for threads in ("1", "2", "3", "7"):
        monkeypatch.setenv("LOOPCORE_THREADS", threads)
        results.add(b"".join(part.tobytes() for part in splat(values, moved.astype(np.float32))))
    assert len(results) == 1


@pytest.mark.parametrize("backend", [None, "cpu", "reference"])
@pytest.mark.parametrize("bad", [-1.0, -1e-30, np.nan, np.inf])
def test_invalid_weights_are_refused(backend: str | None, bad: float) -> None:
    weight = np.ones((5, 6), np.float32)
    weight[2, 3] = bad
    for convert in (np.asarray, torch.from_numpy):
        arrays = [convert(array) for array in (picture(5, 6, 3), constant(5, 6, 0.5, 0), weight)]
        with pytest.raises(PlateError, match=r"weight is .* at x=3, y=2"):
            splat(*arrays, backend=backend)
