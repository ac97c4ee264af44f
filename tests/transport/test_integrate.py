# SPDX-License-Identifier: Apache-2.0
"""Integration: against the reference, against analytic flows, and by the properties of a flow."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import map_coordinates

from loopcore.errors import EngineError, MotionError, PlateError
from loopcore.transport import integrate

SHAPES = [(1, 1), (1, 2), (2, 1), (2, 2), (1, 37), (29, 1), (3, 5), (13, 17), (31, 8), (7, 103)]
Flow = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


def grid(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    y, x = np.mgrid[:height, :width].astype(np.float64)
    return x, y


def field(flow: Flow, height: int, width: int) -> np.ndarray:
    u, v = flow(*grid(height, width))
    return np.stack([u + 0 * v, v + 0 * u], axis=-1).astype(np.float32)


def waves(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.sin(y / 9) + 0.4 * np.sin(x / 7 + 1), 0.8 * np.cos(x / 11) - 0.2


def sampled(picture: np.ndarray, x: np.ndarray, y: np.ndarray, order: int) -> np.ndarray:
    """picture (H, W, 2) at (x, y), clamped to the frame, in float64."""
    return np.stack(
        [map_coordinates(picture[..., k].astype(np.float64), [y, x], order=order, mode="nearest") for k in (0, 1)], -1
    )


def traced(flow: Flow, x: np.ndarray, y: np.ndarray, steps: float, substeps: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Displacement by RK4 in float64, and the extent of each path: (x low, x high, y low, y high)."""
    count = int(np.ceil(abs(steps) * substeps))
    h, px, py = steps / count, x.copy(), y.copy()
    reach = np.stack([px, px, py, py])
    for _ in range(count):
        k1 = flow(px, py)
        k2 = flow(px + h / 2 * k1[0], py + h / 2 * k1[1])
        k3 = flow(px + h / 2 * k2[0], py + h / 2 * k2[1])
        k4 = flow(px + h * k3[0], py + h * k3[1])
        px = px + h / 6 * (k1[0] + 2 * k2[0] + 2 * k3[0] + k4[0])
        py = py + h / 6 * (k1[1] + 2 * k2[1] + 2 * k3[1] + k4[1])
        reach = np.stack(
            [np.minimum(reach[0], px), np.maximum(reach[1], px), np.minimum(reach[2], py), np.maximum(reach[3], py)]
        )
    return np.stack([px - x, py - y], -1), reach


def stays(reach: np.ndarray, height: int, width: int) -> np.ndarray:
    return (reach[0] >= 0) & (reach[1] <= width - 1) & (reach[2] >= 0) & (reach[3] <= height - 1)


# Against the reference


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("steps", [1, -3.7, 12.5])
def test_kernel_matches_the_reference(shape: tuple[int, int], steps: float) -> None:
    velocity = field(waves, *shape)
    kernel, oracle = integrate(velocity, steps), integrate(velocity, steps, backend="reference")
    assert kernel.shape == (*shape, 2) and kernel.dtype == np.float32
    assert np.abs(kernel - oracle).max() <= 0.01


def test_beyond_the_frame_the_borders_velocity_continues() -> None:
    velocity = np.zeros((5, 9, 2), np.float32)
    velocity[..., 0] = 100
    velocity[:, -1, 0] = 3
    # Paths leave the last column within 1/100 of a frame, and then move 3 per frame.
    gone = integrate(velocity, 51)[:, -1, 0] - integrate(velocity, 50)[:, -1, 0]
    assert np.allclose(gone, 3, atol=1e-3)


def test_zero_steps_and_no_motion_give_zeros() -> None:
    assert not integrate(field(waves, 9, 14), 0).any()
    assert not integrate(np.zeros((9, 14, 2), np.float32), 1e4).any()


def test_still_pixels_beside_moving_ones_stay_exactly_still() -> None:
    velocity = field(waves, 24, 40)
    velocity[:, 21:] = 0
    assert not integrate(velocity, 25)[:, 21:].any()


# Types and layouts


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_numpy_types_are_kept(dtype: type) -> None:
    velocity = field(waves, 11, 13)
    result = integrate(velocity.astype(dtype), 5)
    assert isinstance(result, np.ndarray) and result.dtype == dtype
    assert np.allclose(result, integrate(velocity, 5), atol=0.02 if dtype == np.float16 else 0.002)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_tensors_give_tensors(dtype: torch.dtype) -> None:
    velocity = field(waves, 11, 13)
    result = integrate(torch.from_numpy(velocity).to(dtype), -5)
    assert isinstance(result, torch.Tensor) and result.dtype == dtype
    assert np.allclose(result.float().numpy(), integrate(velocity, -5), atol=0.02 if dtype == torch.float16 else 0.002)


def test_integers_give_float32() -> None:
    assert integrate(np.ones((3, 4, 2), np.int64), 2).dtype == np.float32
    assert integrate(torch.ones((3, 4, 2), dtype=torch.int32), 2).dtype == torch.float32


def test_memory_layout_does_not_matter() -> None:
    velocity = field(waves, 20, 33)
    wanted = integrate(velocity, 6)
    planar = np.moveaxis(np.ascontiguousarray(np.moveaxis(velocity, -1, 0)), 0, -1)
    strided = np.repeat(np.repeat(velocity, 2, 0), 3, 1)[::2, ::3]
    flipped = np.ascontiguousarray(velocity[::-1, ::-1])[::-1, ::-1]
    for odd in (planar, strided, flipped, np.asfortranarray(velocity)):
        assert not odd.flags.c_contiguous
        assert np.array_equal(integrate(odd, 6), wanted)
    assert np.array_equal(integrate(torch.from_numpy(planar), 6).numpy(), wanted)


def test_the_input_is_not_modified() -> None:
    velocity = field(waves, 9, 10)
    before = velocity.copy()
    velocity.flags.writeable = False
    integrate(velocity, 7)
    assert np.array_equal(velocity, before)


def test_the_reference_is_differentiable() -> None:
    velocity = torch.from_numpy(field(waves, 3, 4)).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda v: integrate(v, 1.3), (velocity,))


# Errors


@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 3), (4, 5, 1), (0, 5, 2), (4, 0, 2), (1, 4, 5, 2)])
def test_a_wrong_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(PlateError, match="velocity has shape"):
        integrate(np.zeros(shape, np.float32), 1)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_velocities_that_are_not_finite_are_refused(bad: float) -> None:
    velocity = field(waves, 5, 6)
    with pytest.raises(MotionError, match="steps|frames"):
        integrate(velocity, bad)
    velocity[4, 5, 1] = bad
    for backend in ("cpu", "reference"):
        with pytest.raises(MotionError, match="NaN or Inf"):
            integrate(velocity, 1, backend=backend)


def test_unknown_backends_are_refused() -> None:
    for backend in ("cuda", "Triton", ""):
        with pytest.raises(EngineError, match="backend"):
            integrate(np.zeros((2, 2, 2), np.float32), 1, backend=backend)
    if not torch.cuda.is_available():
        with pytest.raises(EngineError, match="triton"):
            integrate(np.zeros((2, 2, 2), np.float32), 1, backend="triton")


# Properties of a flow


@st.composite
def smooth_fields(draw: st.DrawFn) -> np.ndarray:
    """A field of long waves, still at the frame's edge, whose velocity changes by at most 0.05 per pixel."""
    height, width = draw(st.integers(24, 48)), draw(st.integers(24, 48))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    x, y = grid(height, width)
    window = np.sin(np.pi * x / (width - 1)) * np.sin(np.pi * y / (height - 1))
    parts = []
    for _ in range(2):
        kx, ky = rng.uniform(-0.1, 0.1, 2)
        parts.append(window * (rng.uniform(-1, 1) + np.sin(kx * x + ky * y + rng.uniform(0, 6))))
    velocity = np.stack(parts, -1)
    steepest = max(np.abs(np.diff(velocity, axis=0)).max(), np.abs(np.diff(velocity, axis=1)).max())
    return (velocity * rng.uniform(0.01, 0.05) / steepest).astype(np.float32)


@settings(max_examples=60, deadline=None)
@given(
    st.tuples(st.floats(-5, 5, width=32), st.floats(-5, 5, width=32)), st.floats(-120, 120),
    st.integers(1, 9), st.integers(1, 19),
)  # fmt: skip
def test_a_constant_field_moves_by_steps_times_velocity(
    velocity: tuple[float, float], steps: float, height: int, width: int
) -> None:
    moved = integrate(np.full((height, width, 2), velocity, np.float32), steps)
    assert np.allclose(moved, steps * np.asarray(velocity, np.float64), rtol=1e-6, atol=1e-4)


@settings(max_examples=30, deadline=None)
@given(smooth_fields(), st.floats(-10, 10), st.floats(-10, 10))
def test_displacements_compose(velocity: np.ndarray, a: float, b: float) -> None:
    height, width = velocity.shape[:2]
    x, y = grid(height, width)
    first, second, both = integrate(velocity, a), integrate(velocity, b), integrate(velocity, a + b)
    px, py = x + first[..., 0], y + first[..., 1]
    inside = (px >= 0) & (py >= 0) & (px <= width - 1) & (py <= height - 1)
    chained = first + sampled(second, px, py, order=1)
    assert np.abs(chained - both)[inside].max(initial=0) <= 0.04


@settings(max_examples=30, deadline=None)
@given(smooth_fields(), st.floats(0.1, 10))
def test_negative_steps_undo_positive_ones(velocity: np.ndarray, steps: float) -> None:
    height, width = velocity.shape[:2]
    x, y = grid(height, width)
    ahead, back = integrate(velocity, steps), integrate(velocity, -steps)
    px, py = x + ahead[..., 0], y + ahead[..., 1]
    inside = (px >= 0) & (py >= 0) & (px <= width - 1) & (py <= height - 1)
    assert np.abs(ahead + sampled(back, px, py, order=1))[inside].max(initial=0) <= 0.04


@settings(max_examples=30, deadline=None)
@given(smooth_fields(), st.floats(-10, 10), st.floats(0.25, 4))
def test_scaling_velocity_and_time_inversely_gives_the_same(velocity: np.ndarray, steps: float, factor: float) -> None:
    scaled = integrate(velocity * np.float32(factor), steps / factor)
    assert np.abs(scaled - integrate(velocity, steps)).max() <= 0.01


def test_negative_steps_equal_minus_the_velocity_bit_for_bit() -> None:
    velocity = field(waves, 33, 47)
    assert np.array_equal(integrate(velocity, -9.5), integrate(-velocity, 9.5))


@pytest.mark.parametrize("steps", [17.3, -60])
def test_bits_do_not_depend_on_threads(steps: float, monkeypatch: pytest.MonkeyPatch) -> None:
    velocity = field(waves, 131, 77) * np.linspace(0, 1, 77, dtype=np.float32)[:, None]
    results = []
    for threads in ("1", "2", "3", "7"):
        monkeypatch.setenv("LOOPCORE_THREADS", threads)
        results.append(integrate(velocity, steps).tobytes())
    assert len(set(results)) == 1


# Against the exact flow, over 120 frames

HEIGHT, WIDTH = 256, 384
CENTRE = ((WIDTH - 1) / 2, (HEIGHT - 1) / 2)


def rotation(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return -0.02 * (y - CENTRE[1]), 0.02 * (x - CENTRE[0])


def shear(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return 0.01 * (y - CENTRE[1]) + 0.2, 0 * x


def saddle(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return 0.01 * (x - CENTRE[0]), -0.01 * (y - CENTRE[1])


def vortex(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    dx, dy = x - CENTRE[0], y - CENTRE[1]
    turn = 0.08 * np.exp(-(dx * dx + dy * dy) / (2 * 40.0**2))
    return -turn * dy, turn * dx


@pytest.mark.parametrize("flow", [rotation, shear, saddle, vortex])
@pytest.mark.parametrize("steps", [120, -120])
def test_error_over_120_frames_of_a_smooth_flow(
    flow: Flow, steps: int, record_property: Callable[[str, object], None]
) -> None:
    moved = integrate(field(flow, HEIGHT, WIDTH), steps)[::3, ::3]
    x, y = (axis[::3, ::3] for axis in grid(HEIGHT, WIDTH))
    exact, reach = traced(flow, x, y, steps)
    inside = stays(reach, HEIGHT, WIDTH)
    assert inside.mean() > 0.25
    error = np.linalg.norm(moved - exact, axis=-1)[inside]
    mean, high = float(error.mean()), float(np.percentile(error, 99.9))
    record_property("mean_px", mean)
    record_property("p99.9_px", high)
    print(f"{flow.__name__} {steps:+d} frames: mean {mean:.4f} px, 99.9th percentile {high:.4f} px")
    assert mean <= 0.02 and high <= 0.25


@pytest.mark.parametrize("feather", [1.5, 6.0])
def test_error_at_feathered_edges(feather: float, record_property: Callable[[str, object], None]) -> None:
    """The reference traces the same sampled field, so that only the steps across the edge's kinks are measured."""
    x, y = grid(160, 200)
    edge = np.clip((55 - np.hypot(x - 100, y - 80)) / feather, 0, 1)
    velocity = np.stack([(1.2 + 0.3 * np.sin(y / 15)) * edge, (0.5 + 0.3 * np.cos(x / 20)) * edge], -1)
    velocity = velocity.astype(np.float32)

    def lookup(px: np.ndarray, py: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        both = sampled(velocity, px, py, order=1)
        return both[..., 0], both[..., 1]

    part = np.s_[20:140:2, 40:160:2]
    exact, _ = traced(lookup, x[part], y[part], 60, substeps=8)
    error = np.linalg.norm(integrate(velocity, 60)[part] - exact, axis=-1)[edge[part] > 0]
    mean, high = float(error.mean()), float(np.percentile(error, 99.9))
    record_property("mean_px", mean)
    record_property("p99.9_px", high)
    print(f"feather {feather} px: mean {mean:.4f} px, 99.9th percentile {high:.4f} px, worst {error.max():.4f} px")
    assert mean <= 0.005 and high <= 0.05
