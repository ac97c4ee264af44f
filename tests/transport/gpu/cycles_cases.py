# SPDX-License-Identifier: Apache-2.0
"""Loops of several cycles and with steady looks, made by the Triton kernels, against the same made on the CPU."""

from __future__ import annotations

import numpy as np
import pytest
from _loops import WARM_UP, assert_same, both, bytes_held, no_trial, same_paths  # noqa: F401
from _textures import RGB, motion, plate

from loopcore.exr import HALF_MAX
from loopcore.loop import Loop, paths
from loopcore.loop.gpu import loop as gpu_loop
from loopcore.loop.plate_contrast import COPY, SHIFT
from loopcore.motion import MotionField
from loopcore.plate import Plate
from loopcore.transport.gpu import plan

N = 12
RGBA = (*RGB, "A")


def two_speeds(height: int, width: int, fast: float) -> MotionField:
    """Slow on the left, `fast` on the right, downward."""
    velocity = np.zeros((height, width, 2), np.float32)
    velocity[..., 1] = np.where(np.arange(width) < width // 2, 0.02, fast)
    return MotionField(velocity, np.ones((height, width)), np.ones((height, width)))


@pytest.mark.usefixtures("same_paths")
@pytest.mark.parametrize(
    ("method", "channels", "size", "cycles", "steady", "contrast"),
    [("warp", RGBA, (33, 67), 3, 0.5, 1.0), ("warp", ("Y",), (19, 23), 2, 0.0, 0.6),
     ("warp", RGB, (31, 53), 4, 1.0, 0.0), ("warp", RGB, (21, 33), 1, 0.7, 1.0),
     ("splat", RGBA, (31, 41), 2, 0.5, 1.0), ("splat", ("Y", "A"), (19, 23), 3, 0.0, 0.0)],
)  # fmt: skip
def test_frames_match(
    method: str, channels: tuple[str, ...], size: tuple[int, int], cycles: int, steady: float, contrast: float
) -> None:
    still, field = plate(*size, channels), motion(*size, 1.5)
    assert ((field.mask > 0) & (field.mask < 1)).sum() > 20 and (field.mask == 0).sum() > 20
    settings = {"frames": N, "method": method, "contrast": contrast}
    ours, theirs = both(still, field, cycles=cycles, steady=steady, **settings)
    frame = ours.frame(4.5)
    assert_same(frame, theirs.frame(4.5), field)
    assert np.abs(frame - still.pixels).max() > 0.05
    assert np.abs(frame - Loop(still, field, cycles=1, steady=0, **settings).frame(4.5)).max() > 0.05


@pytest.mark.usefixtures("same_paths")
@pytest.mark.parametrize("method", ["warp", "splat"])
def test_the_ends_are_the_plate_and_frames_have_the_same_bits_each_time(method: str) -> None:
    still, field = plate(13, 21, RGBA), motion(13, 21, 1.5)
    ours, again = (Loop(still, field, frames=N, method=method, cycles=3, steady=1, device="cuda") for _ in range(2))
    first, later = ours.frame(0), ours.frame(7)
    for end in (first, ours.frame(N)):
        assert np.allclose(end, still.pixels, rtol=0 if method == "warp" else 3e-7, atol=0)
    assert np.abs(later - first).max() > 0.05
    assert ours.frame(7).tobytes() == again.frame(7).tobytes() == later.tobytes()


@pytest.mark.usefixtures("same_paths")
def test_a_coarser_grid_and_64_bit_offsets_match(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "MAX_NODES", 31 * 53 // 7)
    monkeypatch.setattr(plan, "INT32_ELEMENTS", 1)
    still, field = plate(31, 53), motion(31, 53, 1.5)
    for method in ("warp", "splat"):
        ours, theirs = both(still, field, frames=N, method=method, cycles=2, steady=0.6)
        assert ours._step == 3
        assert_same(ours.frame(2.5), theirs.frame(2.5), field)


@pytest.mark.usefixtures("same_paths")
def test_layers_side_by_side_match() -> None:
    """Copies that several layers share, for places that need lives of different lengths."""
    still, field = plate(33, 40), two_speeds(33, 40, 1.2)
    ours, theirs = both(still, field, frames=60)
    assert len(theirs._mixture.cycles.layers) >= 3 and np.ptp(theirs._mixture.strength) > 0.2
    assert_same(ours.frame(23), theirs.frame(23), field)


@pytest.mark.usefixtures("same_paths")
@pytest.mark.parametrize("cycles", [1, 3, "auto"])
def test_nodes_match_at_all_times(cycles: int | str) -> None:
    """What each copy counts, where it is fetched from, and the shifts of tone; copies that never count are left out."""
    still, field = plate(20, 26), two_speeds(20, 26, 1.0)
    ours, theirs = both(still, field, frames=60, cycles=cycles, steady=0.8)
    mixture, wanted = ours._gpu._mixture, theirs._mixture
    for time in (0.0, 3.0, 20.0, 31.7, 60.0):
        spans, (kept, weights) = mixture.weigh(time), wanted._alive(time)
        chosen = [spans.index(span) for _, span in kept]
        assert len(spans) <= wanted.cycles.most_copies
        in_time = mixture.weights[: len(spans)].cpu().numpy()
        np.testing.assert_allclose(in_time[chosen], weights, atol=2e-6)
        np.testing.assert_allclose(in_time.sum(axis=0), 1, atol=2e-6)
        mixture.make_nodes(spans)
        planes, nodes = mixture.grid.cpu().numpy(), np.moveaxis(wanted.nodes(time), -1, 0)
        np.testing.assert_allclose(planes[:SHIFT], nodes[-SHIFT:], atol=1e-5)
        for k, place in enumerate(chosen):
            own = planes[SHIFT + COPY * place :][:COPY]
            np.testing.assert_allclose(own[:3], nodes[COPY * k :][:3], atol=1e-5)
            # An axis and its opposite mean the same.
            axes = own[3:], nodes[COPY * k + 3 :][:2]
            np.testing.assert_allclose(*(a * np.where(a[:1] < 0, -1, 1) for a in axes), atol=1e-4)
        if time in (0.0, 60.0):
            assert planes[SHIFT + COPY * chosen[0] + 2].min() == 1 and not planes[:SHIFT].any()


@pytest.mark.usefixtures("same_paths")
def test_the_detail_wanted_matches() -> None:
    """Texture is carried to where there was little, and is taken off again, as looks are steady."""
    still, field = plate(36, 150), motion(36, 150, masked=False)
    still.pixels[:, 60:] = 0.3 + 0.1 * (still.pixels[:, 60:] - 0.3)
    field.velocity[...] = (8, 0)
    ours, theirs = both(still, field, frames=N, cycles=2, steady=0.9)
    assert_same(ours.frame(5), theirs.frame(5), field)
    wanted, contrast = theirs._mixture.wanted(theirs._mixture.nodes(5.0)), ours._gpu._contrast
    found, table = contrast._wanted.cpu().numpy(), contrast._table.cpu().numpy()
    assert len(wanted) == contrast.levels == 2
    for level, energy in enumerate(wanted):
        start = table[level, 3]
        np.testing.assert_allclose(found[start : start + energy.size], energy.ravel(), rtol=1e-4, atol=1e-7)
    gains = contrast._gain.cpu().numpy()
    assert gains.min() < 0.99 and gains.max() > 1.01, "detail is given and taken"


@pytest.mark.usefixtures("same_paths")
def test_half_frames_negative_values_and_highlights() -> None:
    """Tones below 0, and far above the plate's white; alpha is moved as it is, and half ends at its greatest value."""
    still, field = plate(19, 25, RGBA), motion(19, 25, 1.5)
    still.pixels[..., :3] *= np.where(np.random.default_rng(0).random((19, 25, 1)) > 0.8, 200000, 1)
    still.pixels[8:11, 10:14, 0] *= -1
    settings = {"frames": N, "cycles": 2, "steady": 1.0}
    ours, theirs = both(still, field, **settings)
    half, frame = ours.canvas(np.float16), theirs.frame(5)
    ours.render(5, half)
    assert_same(ours.frame(5), frame, field)
    assert half.max() == HALF_MAX and frame[..., :3].min() < -0.01
    moving = field.mask > 0
    with np.errstate(over="ignore"):
        rounded = np.clip(frame, -HALF_MAX, HALF_MAX).astype(np.float16).astype(np.float32)
    gap = np.abs(half.astype(np.float32) - rounded)[moving]
    assert (gap <= 1e-3 * np.abs(rounded[moving]) + 2e-5 * np.abs(frame).max()).all()
    free = Loop(still, field, device="cuda", **{**settings, "steady": 0.0, "contrast": 0.0}).frame(5)
    kept = Loop(still, field, device="cuda", **{**settings, "contrast": 0.0}).frame(5)
    assert np.array_equal(free[..., 3], kept[..., 3]) and not np.array_equal(free, kept)


@pytest.mark.usefixtures("same_paths")
@pytest.mark.parametrize("size", [(1, 1), (1, 17), (9, 1), (16, 18)])
def test_small_sizes_match(size: tuple[int, int]) -> None:
    field = motion(*size, masked=False)
    for method in ("warp", "splat"):
        ours, theirs = both(plate(*size), field, frames=8, method=method, cycles=2, steady=0.5)
        assert_same(ours.frame(3.5), theirs.frame(3.5), field)


@pytest.mark.usefixtures("same_paths")
def test_a_torn_motion_matches_holes_filled() -> None:
    field = motion(21, 30, masked=False)
    field.velocity[:, 15:] = (3, 0.3)
    field.velocity[:, :15] = (-3, -0.2)
    ours, theirs = both(plate(21, 30), field, frames=16, method="splat", cycles=2, steady=0.5)
    assert theirs.holes(4) > 0.05
    assert_same(ours.frame(4), theirs.frame(4), field)


@pytest.mark.usefixtures("same_paths")
def test_a_squeezed_plate_matches() -> None:
    """Pixels that are means of several fetches, along axes of all directions."""
    field = motion(33, 40, masked=False)
    y, x = np.mgrid[:33, :40].astype(np.float32)
    field.velocity[...] = -0.2 * np.stack([x - 20, 0.4 * (y - 16) + 0.5 * (x - 20)], -1)
    ours, theirs = both(plate(33, 40), field, frames=N, cycles=2, steady=0.3)
    nodes = theirs._mixture.nodes(5.0)
    assert max(np.abs(nodes[..., k + 3 : k + 5]).max() for k in range(0, nodes.shape[2] - SHIFT, COPY)) > 2
    assert_same(ours.frame(5), theirs.frame(5), field)


@pytest.mark.parametrize("method", ["warp", "splat"])
def test_paths_of_its_own_show_the_same_to_the_eye(method: str) -> None:
    """Both tracers may be off by hundredths of a pixel, each by its own."""
    still, field = plate(35, 53), motion(35, 53, 0.6)
    ours, theirs = both(still, field, frames=8, method=method, cycles=2, steady=0.5)
    gap = np.abs(ours.frame(3) - theirs.frame(3))
    assert gap.max() <= 0.01 * np.abs(still.pixels).max() and gap.mean() <= 1e-3


@pytest.mark.usefixtures("same_paths")
def test_a_trial_leaves_nothing_behind_and_memory_is_estimated() -> None:
    still, field = plate(64, 80, slope=1.5), motion(64, 80, 0.3, masked=False)
    loop = Loop(still, field, frames=N, cycles=3, steady=0.5, device="cuda")
    WARM_UP(loop._gpu)
    copies = loop._mixture.cycles.most_copies
    estimate = gpu_loop.bytes_needed(64, 80, 80, 64 * 80, False, copies) - gpu_loop._RESERVED_BYTES
    assert 0.5 * estimate <= bytes_held(loop) <= estimate
    assert np.array_equal(loop.frame(0), still.pixels)


def test_nothing_moves_without_a_mask() -> None:
    still, field = plate(20, 30, RGBA), motion(20, 30)
    loop = Loop(
        still, MotionField(field.velocity, np.zeros_like(field.mask), field.confidence), frames=N, cycles=3, steady=1,
        device="cuda",
    )  # fmt: skip
    assert loop.frame(3).tobytes() == still.pixels.tobytes()


@pytest.mark.usefixtures("same_paths")
def test_what_is_not_finite_stays_where_it_is_still() -> None:
    still, field = plate(19, 31), motion(19, 31, 1.5)
    still.pixels[0, :2] = [[np.nan] * 3, [np.inf] * 3]
    still.pixels[9, 15] = np.nan
    ours, theirs = both(Plate(still.pixels, RGB), field, frames=N, cycles=2, steady=0.5)
    frame = theirs.frame(5)
    assert np.isfinite(frame[field.mask > 0]).all()
    assert_same(ours.frame(5), frame, field)
