# SPDX-License-Identifier: Apache-2.0
"""The loop: what must not change by a bit, what must come back, and that detail neither fades nor smears on the way."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from _textures import RGB, Record, motion, plate
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import uniform_filter

from loopcore.errors import EngineError, MotionError, PlateError
from loopcore.loop import Loop, paths
from loopcore.loop.loop import METHODS
from loopcore.motion import MotionField
from loopcore.plate import Plate

CHANNELS = [("Y",), ("Y", "A"), ("R", "G", "B"), ("R", "G", "B", "A"), ("G",)]
SIZES = [(1, 1), (1, 2), (2, 1), (2, 3), (1, 23), (19, 1), (7, 5), (17, 33)]
both_methods = pytest.mark.parametrize("method", METHODS)


def uniform(height: int, width: int, vx: float, vy: float, mask: np.ndarray | None = None) -> MotionField:
    ones = np.ones((height, width), np.float32)
    velocity = np.stack([ones * np.float32(vx), ones * np.float32(vy)], -1)
    return MotionField(velocity, ones if mask is None else mask.astype(np.float32), ones)


def is_the_plate(frame: np.ndarray, pixels: np.ndarray, method: str) -> bool:
    """Equal to the bit; a splat, after its division by weights and with its tone, to a float32's rounding."""
    return frame.dtype == np.float32 and np.allclose(frame, pixels, rtol=0 if method == "warp" else 3e-7, atol=0)


def same_bits(a: np.ndarray, b: np.ndarray) -> bool:
    return a.shape == b.shape and a.dtype == b.dtype and a.tobytes() == b.tobytes()


# The ends of the loop, and what stays still


@both_methods
@pytest.mark.parametrize("channels", CHANNELS)
def test_frame_0_is_the_plate_and_frame_n_is_frame_0(method: str, channels: tuple[str, ...]) -> None:
    still = plate(47, 61, channels)
    still.pixels[5, 6], still.pixels[20:22, 30] = -0.75, 6e4
    for field in (motion(47, 61, 0.7), motion(47, 61, 3, masked=False)):
        loop = Loop(still, field, frames=12, method=method)
        first = loop.frame(0)
        assert first.shape == still.pixels.shape and first.dtype == np.float32
        assert is_the_plate(first, still.pixels, method)
        assert np.abs(loop.frame(12) - first).max() <= 1e-6 * np.ptp(still.pixels)


@both_methods
def test_outside_the_mask_every_bit_stays(method: str) -> None:
    still, field = plate(53, 70, ("R", "G", "B", "A")), motion(53, 70)
    rng = np.random.default_rng(4)
    odd = np.array([np.nan, np.inf, -np.inf, -0.0, -3.5, 7e4, 1e-42, 1e30], np.float32)
    hit = (rng.random((53, 70)) < 0.3) & (field.mask == 0)
    still.pixels[hit] = rng.choice(odd, (int(hit.sum()), 4))
    still.pixels.view(np.uint32)[0, 0, 0] = 0x7FC12345  # a NaN with a message in it
    loop = Loop(still, field, frames=8, method=method)
    outside = field.mask == 0
    assert outside.sum() > 500 and hit.sum() > 100
    for t in (0, 1, 3.5, 7, 8):
        assert same_bits(loop.frame(t)[outside], still.pixels[outside])


@both_methods
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_does_not_spread(method: str, bad: float) -> None:
    still, field = plate(48, 64), motion(48, 64, 1.5)
    clean = [Loop(still, field, frames=10, method=method).frame(t) for t in (0, 4, 7.5)]
    spoiled = still.pixels.copy()
    spoiled[24, 30, 1] = spoiled[10, 32] = spoiled[20, 2] = bad
    assert field.mask[24, 30] == 1 and field.mask[20, 2] == 0
    loop = Loop(Plate(spoiled, RGB), field, frames=10, method=method)
    moving, fine = field.mask > 0, np.isfinite(spoiled).all(-1)
    for t, wanted in zip((0, 4, 7.5), clean, strict=True):
        frame = loop.frame(t)
        assert np.isfinite(frame[moving]).all()
        assert same_bits(frame[~moving], spoiled[~moving])
        # A repaired pixel is a guess from around it: nothing gets brighter than the texture is.
        assert frame[moving].max() <= 1.5 * still.pixels.max()
        assert np.abs(frame - wanted)[moving].mean() <= 0.01
    assert is_the_plate(loop.frame(0)[fine], still.pixels[fine], method)


@both_methods
def test_all_of_the_moving_part_may_be_bad(method: str) -> None:
    still, field = plate(20, 24), motion(20, 24)
    still.pixels[field.mask > 0] = np.nan
    assert np.isfinite(Loop(still, field, frames=6, method=method).frame(3)[field.mask > 0]).all()


@both_methods
def test_nothing_moves_without_motion(method: str) -> None:
    still, field = plate(40, 50, ("R", "G", "B", "A")), motion(40, 50)
    masked_out = MotionField(field.velocity, np.zeros_like(field.mask), field.confidence)
    loop = Loop(still, masked_out, frames=6, method=method)
    assert all(same_bits(loop.frame(t), still.pixels) for t in (0, 1, 2.5, 5, 6))
    loop = Loop(still, field.scaled(0), frames=6, method=method)
    for t in (0, 1, 2.5, 5, 6):
        assert np.allclose(loop.frame(t), still.pixels, rtol=2e-6, atol=1e-7)


# Any frame, made any way


@both_methods
def test_a_frame_made_alone_is_the_frame_made_in_sequence(method: str) -> None:
    still, field = plate(44, 58), motion(44, 58)
    sequence = Loop(still, field, frames=9, method=method)
    frames = [sequence.frame(t) for t in range(9)]
    for t in (0, 4, 8):
        assert same_bits(Loop(still, field, frames=9, method=method).frame(t), frames[t])
    with ThreadPoolExecutor(4) as pool:
        assert all(map(same_bits, pool.map(sequence.frame, reversed(range(9))), reversed(frames)))
    assert len({frame.tobytes() for frame in frames}) == 9


@both_methods
def test_bits_do_not_depend_on_threads(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    still, field = plate(211, 90), motion(211, 90, 1.7)
    for t in (3, 8.25):
        results = set()
        for threads in ("1", "2", "3", "7"):
            monkeypatch.setenv("LOOPCORE_THREADS", threads)
            results.add(Loop(still, field, frames=12, method=method).frame(t).tobytes())
        assert len(results) == 1


@both_methods
@pytest.mark.parametrize("channels", [("Y",), RGB, ("R", "G", "B", "A")])
def test_a_canvas_is_used_again_and_half_is_the_rounded_frame(method: str, channels: tuple[str, ...]) -> None:
    still, field = plate(38, 45, channels), motion(38, 45)
    still.pixels[0, 0], still.pixels[19, 22], still.pixels[3, 40] = np.nan, 3e5, 1e-7
    loop = Loop(still, field, frames=8, method=method)
    whole, half = loop.canvas(), loop.canvas(np.float16)
    assert whole.shape == half.shape == (38, 45, 4) and whole.dtype == np.float32 and half.dtype == np.float16
    for t in (5, 2, 0, 6.5):
        loop.render(t, whole)
        loop.render(t, half)
        frame = loop.frame(t)
        assert same_bits(np.ascontiguousarray(whole[..., : len(channels)]), frame)
        assert same_bits(half, np.clip(whole, -65504, 65504).astype(np.float16))
    assert not whole[..., len(channels) :].any()


@both_methods
def test_time_wraps_and_may_be_a_fraction(method: str) -> None:
    still, field = plate(36, 44), motion(36, 44)
    loop = Loop(still, field, frames=10, method=method)
    for t, same in ((13, 3), (-2, 8), (25.5, 5.5), (-10, 0), (1000, 0)):
        assert same_bits(loop.frame(t), loop.frame(same))
    assert same_bits(loop.frame(np.float32(3)), loop.frame(3)) and same_bits(loop.frame(np.int64(3)), loop.frame(3))
    before, between, after = loop.frame(3), loop.frame(3.02), loop.frame(4)
    assert 0 < np.abs(between - before).max() < 0.2 * np.abs(after - before).max()


@both_methods
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("channels", CHANNELS)
def test_any_size_and_channels(method: str, size: tuple[int, int], channels: tuple[str, ...]) -> None:
    still = plate(*size, channels)
    for field in (motion(*size, masked=False), motion(*size), uniform(*size, 700, -400)):
        loop = Loop(still, field, frames=3, method=method)
        for t in (0, 1, 2.5):
            frame = loop.frame(t)
            assert frame.shape == still.pixels.shape and np.isfinite(frame).all()
        assert is_the_plate(loop.frame(0), still.pixels, method)
        assert 0 <= loop.holes(1) <= 1


@settings(max_examples=25, deadline=None)
@given(
    st.tuples(st.integers(1, 40), st.integers(1, 40)), st.sampled_from(METHODS), st.integers(2, 40),
    st.integers(0, 2**32 - 1), st.sampled_from([0.1, 3.0, 1e3, 1e9]), st.floats(0, 1),
)  # fmt: skip
def test_any_motion_gives_finite_frames_that_close(
    size: tuple[int, int], method: str, frames: int, seed: int, speed: float, contrast: float
) -> None:
    rng = np.random.default_rng(seed)
    still = plate(*size, seed=seed)
    mask = np.clip(rng.normal(0.5, 0.7, size), 0, 1).astype(np.float32)
    field = MotionField(rng.normal(0, speed, (*size, 2)).astype(np.float32), mask, mask)
    loop = Loop(still, field, frames=frames, method=method, contrast=contrast)
    assert is_the_plate(loop.frame(0), still.pixels, method)
    for t in (1, frames / 2, frames - 0.5):
        frame = loop.frame(t)
        assert np.isfinite(frame).all() and np.array_equal(frame[mask == 0], still.pixels[mask == 0])
    assert np.abs(loop.frame(frames) - still.pixels).max() <= 1e-6 * max(np.ptp(still.pixels), 1e-3)


@both_methods
def test_a_coarser_grid_shows_the_same_loop(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    still, field = plate(97, 131, slope=1.5), motion(97, 131)
    fine = Loop(still, field, frames=12, method=method)
    monkeypatch.setattr(paths, "MAX_NODES", 97 * 131 // 3)
    coarse = Loop(still, field, frames=12, method=method)
    assert is_the_plate(coarse.frame(0), still.pixels, method)
    outside = field.mask == 0
    for t in (4, 9):
        frame, wanted = coarse.frame(t), fine.frame(t)
        assert not same_bits(frame, wanted), "the grid was not coarser"
        assert same_bits(frame[outside], still.pixels[outside])
        assert np.abs(frame - wanted)[~outside].mean() <= 0.05 * np.abs(wanted - still.pixels)[~outside].mean()


# Errors


def test_settings_that_make_no_sense_are_refused() -> None:
    still, field = plate(8, 9), motion(8, 9)
    with pytest.raises(MotionError, match="9x8 and the motion 8x9"):
        Loop(still, motion(9, 8))
    for frames in (1, 0, -5, 2.5, 24.0, True, "24", None):
        with pytest.raises(MotionError, match="frames"):
            Loop(still, field, frames=frames)  # type: ignore[arg-type]
    for contrast in (-0.01, 1.01, np.nan, np.inf):
        with pytest.raises(MotionError, match="contrast"):
            Loop(still, field, contrast=contrast)
    for method in ("mean", "Warp", ""):
        with pytest.raises(MotionError, match="method"):
            Loop(still, field, method=method)
    for device in ("tpu", "cuda", ""):
        with pytest.raises(EngineError, match="device"):
            Loop(still, field, device=device)
    for t in (np.nan, np.inf, -np.inf):
        with pytest.raises(MotionError, match="frame .* does not exist"):
            Loop(still, field).frame(t)


# Alpha, direction, borders


@both_methods
def test_alpha_is_carried_with_the_colour_and_keeps_its_own_values(method: str) -> None:
    still, field = plate(50, 66, ("R", "G", "B", "A")), motion(50, 66)
    still.pixels[..., 0] = still.pixels[..., 3]
    plain, kept = (Loop(still, field, frames=10, method=method, contrast=c) for c in (0, 1))
    alpha = still.pixels[..., 3]
    for t in (2, 5, 7.5):
        frame, with_contrast = plain.frame(t), kept.frame(t)
        assert np.abs(frame[..., 0] - frame[..., 3]).max() <= 1e-6
        assert np.abs(frame[..., 3] - alpha).max() > 0.05
        assert same_bits(np.ascontiguousarray(with_contrast[..., 3]), np.ascontiguousarray(frame[..., 3]))
        assert alpha.min() <= frame[..., 3].min() and frame[..., 3].max() <= alpha.max()


@both_methods
@pytest.mark.parametrize(
    "channels",
    ["A", "YA", "RA", "GA", "BA", "RGA", "RBA", "GBA", "RGBA", "AR", "AY", "RAG", "ARGB", "ZA", "uvA", "YZA"],
)
def test_contrast_never_touches_alpha(method: str, channels: str) -> None:
    index = channels.index("A")
    still = plate(50, 66, tuple(channels))
    rng = np.random.default_rng(8)
    still.pixels[..., index] = rng.random((50, 66)).astype(np.float32)
    plain, kept = (Loop(still, motion(50, 66), frames=10, method=method, contrast=c) for c in (0, 1))
    for t in (2, 5):
        without, frame = plain.frame(t), kept.frame(t)
        assert same_bits(np.ascontiguousarray(frame[..., index]), np.ascontiguousarray(without[..., index]))
        colour = [k for k, name in enumerate(channels) if name != "A"]
        assert not colour or np.abs(frame - without)[..., colour].max() > 0.01


def test_five_channels_are_refused() -> None:
    with pytest.raises(PlateError, match="R, G, B, A, Z: a loop takes at most 4"):
        Loop(Plate(np.ones((8, 9, 5), np.float32), ("R", "G", "B", "A", "Z")), motion(8, 9))


@both_methods
def test_content_goes_where_the_velocity_points(method: str) -> None:
    """A spot on the frame shortly after the start lies ahead along (vx, vy), x right and y down."""
    y, x = np.mgrid[:60, :80]
    light = 0.1 + np.exp(-((x - 30) ** 2 + (y - 20) ** 2) / 18)
    still = Plate(np.repeat(light[..., None], 3, -1).astype(np.float32), RGB)
    loop = Loop(still, uniform(60, 80, 1.5, 0.75), frames=100, method=method, contrast=0, cycles=1, steady=0)
    spot = loop.frame(8)[..., 0] - 0.1
    ahead = (x > 20) & (x < 60) & (y > 10) & (y < 40)
    spot = np.where(ahead, spot, 0)
    centre = (spot * x).sum() / spot.sum(), (spot * y).sum() / spot.sum()
    assert np.allclose(centre, (42, 26), atol=0.3)


def border_contrast(pixels: np.ndarray) -> np.ndarray:
    """Mean square of the finest detail along the left, right, top and bottom border, and in the middle."""
    tone = np.sqrt(np.maximum(pixels[..., 1], 0)).astype(np.float64)
    energy = (tone - uniform_filter(tone, 5, mode="reflect")) ** 2
    lines = energy[20:-20, :8], energy[20:-20, -8:], energy[:8, 20:-20], energy[-8:, 20:-20]
    return np.array([*(line.mean() for line in lines), energy[20:-20, 20:-20].mean()])


@both_methods
@pytest.mark.parametrize(("vx", "vy"), [(1.3, 0), (-1.3, 0), (0, 1.3), (0, -0.7), (0.9, 0.9)])
def test_borders_neither_smear_nor_open(method: str, vx: float, vy: float, record_property: Record) -> None:
    """What enters the frame has the detail that the middle of the frame has, over several textures."""
    times = (1, 5, 9, 12, 15, 19, 23)
    found = np.zeros((len(times), 5))
    for seed in range(4):
        loop = Loop(plate(110, 140, slope=0.5, seed=seed), uniform(110, 140, vx, vy), frames=24, method=method)
        found += [border_contrast(loop.frame(t)) for t in times]
        # A diagonal flow opens two corners that neither copy reaches.
        assert vx * vy != 0 or max(map(loop.holes, times)) == 0
    contrast = np.sqrt(found[:, :4] / found[:, 4:])
    record_property("least", float(contrast.min()))
    record_property("most", float(contrast.max()))
    print(f"{method} ({vx}, {vy}): contrast at the borders is {contrast.min():.3f} to {contrast.max():.3f} times")
    assert 0.75 <= contrast.min() and contrast.max() <= 1.25


@both_methods
def test_the_last_step_is_as_long_as_the_others(method: str, record_property: Record) -> None:
    still, field = plate(96, 128), motion(96, 128, 0.8)
    loop = Loop(still, field, frames=16, method=method)
    frames = [loop.frame(t) for t in range(16)]
    steps = [np.abs(b - a)[field.mask > 0].mean() for a, b in zip(frames, frames[1:], strict=False)]
    seam = np.abs(frames[0] - frames[-1])[field.mask > 0].mean() / np.median(steps)
    record_property("seam", float(seam))
    assert 0.8 <= seam <= 1.25


def test_what_the_blend_is_made_of() -> None:
    still, field = plate(60, 80), uniform(60, 80, 1.0, 0.0)
    loop = Loop(still, field, frames=20)
    past, future, share = loop.copies(5)
    assert past.shape == future.shape == share.shape == (60, 80)
    assert np.allclose(share[:, 30:50], 0.75, atol=1e-5)
    assert np.allclose(past[:, 30:50], loop.sqrt_luminance(still.pixels)[:, 25:45], atol=1e-5)
    assert np.allclose(future[:, 30:50], loop.sqrt_luminance(still.pixels)[:, 45:65], atol=1e-5)
    assert (share >= 0).all() and (share <= 1).all() and (share[:, 0] < 0.01).all() and (share[:, -1] > 0.99).all()


@pytest.mark.parametrize("rate", [-0.06, 0.06])
def test_the_less_distorted_copy_has_the_larger_share(rate: float) -> None:
    """Along x the flow spreads (or gathers) at a known rate: a copy's area is exp(rate * frames) of what it was."""
    x = np.mgrid[:60, :160][1] - 79.5
    field = uniform(60, 160, 0, 0)
    field.velocity[..., 0] = rate * x
    loop = Loop(plate(60, 160), field, frames=20)
    for t in (3, 8, 15):
        areas = np.exp(-rate * t), np.exp(rate * (20 - t))
        past, future = ((1 - t / 20) * min(areas[0], 1 / areas[0]), t / 20 * min(areas[1], 1 / areas[1]))
        middle = loop.copies(t)[2][10:-10, 65:95]
        assert np.allclose(middle, past / (past + future), rtol=0.02)


def test_a_squeezed_plate_does_not_alias() -> None:
    """Stripes of 3 pixels squeezed to less than one turn even, and do not beat against the pixels."""
    x = np.mgrid[:40, :200][1]
    field = uniform(40, 200, 0, 0)
    field.velocity[..., 0] = -0.07 * (x - 99.5)
    stripes = (1 + 0.9 * np.sin(2 * np.pi * x / 3)).astype(np.float32)
    loop = Loop(Plate(stripes[..., None], ("Y",)), field, frames=40)
    middle = np.s_[10:-10, 90:110]
    before, after = loop.copies(0)[0][middle].std(), loop.copies(20)[0][middle].std()
    assert after <= 0.35 * before


def test_holes_of_a_torn_motion_are_counted_and_filled() -> None:
    still = plate(60, 80)
    field = uniform(60, 80, 0, 0)
    field.velocity[:, 40:, 0], field.velocity[:, :40, 0] = 3, -3
    loop = Loop(still, field, frames=16, method="splat")
    assert loop.holes(0) == 0 and loop.holes(8) > 0
    assert np.isfinite(loop.frame(8)).all() and (loop.frame(8) > 0).all()
    assert Loop(still, field, frames=16, method="warp").holes(8) == 0
