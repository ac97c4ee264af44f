# SPDX-License-Identifier: Apache-2.0
"""Loops made by the Triton kernels against the same loops made on the CPU, frame by frame."""

from __future__ import annotations

from pathlib import Path

import _loops
import numpy as np
import pytest
import torch
from _loops import WARM_UP, assert_same, bytes_held, no_trial, same_paths  # noqa: F401
from _scenes import close, noise, picture, zoom
from _textures import RGB, motion, plate

from loopcore.baking.bake import bake
from loopcore.baking.recipe import read_recipe
from loopcore.errors import EngineError
from loopcore.exr import read_exr
from loopcore.loop import Loop, paths
from loopcore.loop.gpu import loop as gpu_loop
from loopcore.loop.gpu.kernels import blend as blend_kernels
from loopcore.motion import MotionField
from loopcore.plate import Plate
from loopcore.transport import gpu, splat
from loopcore.transport.gpu import plan

N = 8
RGBA = (*RGB, "A")


def both(still: Plate, field: MotionField, method: str = "warp", contrast: float = 1.0) -> tuple[Loop, Loop]:
    return _loops.both(still, field, frames=N, method=method, contrast=contrast)


@pytest.mark.usefixtures("same_paths")
@pytest.mark.parametrize(
    ("method", "channels", "contrast", "size"),
    [("warp", RGB, 1.0, (33, 67)), ("warp", RGBA, 0.0, (31, 53)), ("warp", ("Y",), 0.6, (19, 23)),
     ("splat", RGBA, 1.0, (33, 41)), ("splat", ("Y", "A"), 0.0, (19, 23))],
)  # fmt: skip
def test_frames_match(method: str, channels: tuple[str, ...], contrast: float, size: tuple[int, int]) -> None:
    still, field = plate(*size, channels), motion(*size, 0.6)
    assert ((field.mask > 0) & (field.mask < 1)).sum() > 20 and (field.mask == 0).sum() > 20
    ours, theirs = both(still, field, method, contrast)
    frame = ours.frame(3)
    assert_same(frame, theirs.frame(3), field)
    assert np.abs(frame - still.pixels).max() > 0.05


def test_contrast_never_touches_alpha() -> None:
    still, field = plate(19, 23, ("R", "A")), motion(19, 23)
    kept, plain = (
        Loop(still, field, frames=N, method="warp", contrast=contrast, device="cuda").frame(3)
        for contrast in (1.0, 0.0)
    )
    assert np.array_equal(kept[..., 1], plain[..., 1]) and not np.array_equal(kept[..., 0], plain[..., 0])


@pytest.mark.usefixtures("same_paths")
def test_half_frames_are_clamped() -> None:
    bright = np.where(np.random.default_rng(0).random((19, 23, 1)) > 0.5, 60000, 6000)
    still = Plate(np.repeat(bright, 3, axis=2).astype(np.float32), RGB)
    still.pixels[0, 0] = 1e6, -1e6, np.inf  # where it is still
    for loop in both(still, motion(19, 23)):
        half = loop.canvas(np.float16)
        loop.render(4, half)
        assert half[0, 0, :3].tolist() == [65504, -65504, np.inf]
        half[0, 0] = 0
        assert np.isfinite(half).all() and half.max() == 65504


@pytest.mark.usefixtures("same_paths")
@pytest.mark.parametrize("method", ["warp", "splat"])
def test_frame_0_is_the_plate_and_frame_n_is_frame_0(method: str) -> None:
    still, field = plate(21, 33, RGBA), motion(21, 33, 0.6)
    loop = Loop(still, field, frames=N, method=method, device="cuda")
    first = loop.frame(0)
    assert np.allclose(first, still.pixels, rtol=0 if method == "warp" else 3e-7, atol=0)
    assert np.abs(loop.frame(N) - first).max() <= 1e-6 * np.ptp(still.pixels)


@pytest.mark.usefixtures("same_paths")
def test_a_coarser_grid_and_64_bit_offsets_match(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "MAX_NODES", 31 * 53 // 7)
    monkeypatch.setattr(plan, "INT32_ELEMENTS", 1)
    still, field = plate(31, 53), motion(31, 53, 0.6)
    for method in ("warp", "splat"):
        ours, theirs = both(still, field, method)
        assert ours._step == 3
        assert_same(ours.frame(2.5), theirs.frame(2.5), field)


@pytest.mark.usefixtures("same_paths")
def test_a_squeezed_plate_matches() -> None:
    """Pixels that are means of several fetches, along axes of all directions."""
    field = motion(33, 40, masked=False)
    y, x = np.mgrid[:33, :40].astype(np.float32)
    field.velocity[...] = -0.2 * np.stack([x - 20, 0.4 * (y - 16) + 0.5 * (x - 20)], -1)
    ours, theirs = both(plate(33, 40), field)
    assert np.abs(theirs._paths.nodes(5.0)[..., 5:]).max() > 2
    assert_same(ours.frame(5), theirs.frame(5), field)


@pytest.mark.usefixtures("same_paths")
def test_a_torn_motion_matches_holes_filled() -> None:
    field = motion(21, 30, masked=False)
    field.velocity[:, 15:] = (3, 0.3)
    field.velocity[:, :15] = (-3, -0.2)
    ours, theirs = both(plate(21, 30), field, "splat")
    assert theirs.holes(4) > 0.05
    assert_same(ours.frame(4), theirs.frame(4), field)


@pytest.mark.usefixtures("same_paths")
def test_what_is_not_finite_stays_where_it_is_still() -> None:
    still, field = plate(31, 41), motion(31, 41, 0.6)
    still.pixels[0, :3] = [[np.nan] * 3, [np.inf] * 3, [-np.inf] * 3]
    still.pixels[15, 20], still.pixels[13, 22, 1], still.pixels[3, 40] = np.nan, np.inf, 1e-7
    still.pixels.view(np.uint32)[1, 0, 0] = 0x7FC12345  # a NaN with a message in it
    ours, theirs = both(still, field)
    whole, half = ours.canvas(), ours.canvas(np.float16)
    frame = theirs.frame(3)
    assert np.isfinite(frame[field.mask > 0]).all()
    assert_same(ours.frame(3), frame, field)
    ours.render(0, whole)
    ours.render(0, half)
    with np.errstate(over="ignore"):
        assert half.tobytes() == whole.astype(np.float16).tobytes()


@pytest.mark.usefixtures("same_paths")
@pytest.mark.parametrize("size", [(1, 1), (1, 17), (9, 1), (16, 18)])
def test_small_sizes_match(size: tuple[int, int]) -> None:
    field = motion(*size, masked=False)
    for method in ("warp", "splat"):
        ours, theirs = both(plate(*size), field, method)
        assert_same(ours.frame(3.5), theirs.frame(3.5), field)


def test_nothing_moves_without_a_mask() -> None:
    still, field = plate(20, 30, RGBA), motion(20, 30)
    ours, _ = both(still, MotionField(field.velocity, np.zeros_like(field.mask), field.confidence))
    assert ours.frame(3).tobytes() == still.pixels.tobytes()


@pytest.mark.parametrize("method", ["warp", "splat"])
def test_paths_of_its_own_show_the_same_to_the_eye(method: str) -> None:
    """Both tracers may be off by hundredths of a pixel, each by its own."""
    still, field = plate(35, 53), motion(35, 53, 0.6)
    ours, theirs = both(still, field, method)
    gap = np.abs(ours.frame(3) - theirs.frame(3))
    assert gap.max() <= 0.01 * np.abs(still.pixels).max() and gap.mean() <= 1e-3


@pytest.mark.usefixtures("same_paths")
@pytest.mark.parametrize("method", ["warp", "splat"])
def test_a_frame_has_the_same_bits_each_time(method: str) -> None:
    still, field = plate(17, 20), motion(17, 20, 0.6)
    ours, again = (Loop(still, field, frames=N, method=method, device="cuda") for _ in range(2))
    first = ours.frame(3).tobytes()
    ours.frame(N)
    assert ours.frame(3).tobytes() == first and again.frame(3).tobytes() == first


@pytest.mark.usefixtures("same_paths")
def test_a_trial_leaves_nothing_behind_and_memory_is_estimated() -> None:
    still, field = plate(64, 80, slope=1.5), motion(64, 80, 0.3, masked=False)
    loop = Loop(still, field, frames=N, device="cuda")
    WARM_UP(loop._gpu)
    estimate = gpu_loop.bytes_needed(64, 80, 80, 64 * 80, False) - gpu_loop._RESERVED_BYTES
    assert 0.5 * estimate <= bytes_held(loop) <= estimate
    assert np.array_equal(loop.frame(0), still.pixels)


def symmetric(values: torch.Tensor, shifts: list[torch.Tensor], alpha: float) -> tuple[torch.Tensor, torch.Tensor]:
    """By the oracle: two splats, and their sums."""
    sums, weights = (
        alpha * a + (1 - alpha) * b
        for a, b in zip(*(splat(values, shift, backend="reference") for shift in shifts), strict=True)
    )
    return torch.where(weights > 0, 1, 0)[..., None] * sums / weights.clamp(min=1e-30)[..., None], weights


@pytest.mark.parametrize(
    ("kind", "alpha"), [("stretched", 0.3), ("stretched", 0.0), ("stretched", 1.0), ("torn", 0.6), ("gathered", 0.4)]
)
def test_both_splats_in_one_pass_match_the_oracle(kind: str, alpha: float) -> None:
    size = (6, 9)
    shifts = {
        "stretched": [zoom(*size, 2.3), -0.3 * zoom(*size, 1.5)],
        "torn": [noise(*size, 2.0), noise(*size, 9.0, seed=5)],
        "gathered": [zoom(*size, 0.05), noise(*size, 0.4)],
    }[kind]
    device = "cpu" if gpu.INTERPRETED else "cuda"
    values, shifts = picture(*size, 4).to(device), [shift.to(device) for shift in shifts]
    plan = gpu.Plan(*size, 4, torch.float32, elements=128 * 7 * 10)
    bins, pieces = gpu.bin_splats(plan, shifts)
    copy, weights, tone = (torch.full(shape, 7.0, device=device) for shape in ((*size, 4), size, size))
    mask, luma = torch.ones(size, device=device), torch.tensor([0.2126, 0.7152, 0.0722, 0.0], device=device)
    blend_kernels.gather_both[(plan.tiles,)](
        values, *shifts, pieces, bins.offsets, bins.entries, mask, luma, copy, weights, tone, alpha, *size,
        STRETCHED=bins.noted > 0, NONE=bins.none, SORTED=bins.is_sorted,
        TILE_X=plan.tile_x, TILE_Y=plan.tile_y, WIDE=plan.wide,
    )  # fmt: skip
    wanted, total = symmetric(values.double(), [shift.double() for shift in shifts], alpha)
    close(weights.double(), total, 1e-5)
    # Where next to nothing landed, the quotient is of two roundings.
    sure = total > 1e-3
    close(copy.double()[sure], wanted[sure], 1e-4)
    assert not copy[weights == 0].any()
    light = (copy * luma).sum(-1).clamp(min=0).sqrt()
    assert torch.allclose(tone, light, rtol=1e-5, atol=1e-6)
    if kind == "gathered":
        assert bins.is_sorted
    if kind == "stretched":
        assert bins.noted > 0


@pytest.mark.usefixtures("same_paths")
def test_a_bake_writes_what_the_gpu_made(tmp_path: Path) -> None:
    still, field = plate(9, 12), motion(9, 12, 0.6)
    loop = Loop(still, field, frames=3, device="cuda")
    report = bake(loop, tmp_path, "p")
    assert report.written == [1001, 1002, 1003] and not report.failed
    assert read_recipe(tmp_path)[0].backend == "cuda"
    for t in range(3):
        channels = read_exr(tmp_path / f"p.{1001 + t}.exr")[0].channels
        written = np.stack([channels[name] for name in RGB], -1)
        assert written.tobytes() == loop.frame(t).astype(np.float16).tobytes()
    # What the GPU made is not up to date for the CPU, nor the other way round.
    assert bake(Loop(still, field, frames=3, device="cpu"), tmp_path, "p").written == [1001, 1002, 1003]
    assert bake(loop, tmp_path, "p", numbers=[1002]).written == [1002]


@pytest.mark.usefixtures("same_paths")
def test_a_bake_out_of_memory_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Frames of one loop are of one device: none is made on another."""
    loop, drawn = Loop(plate(16, 20), motion(16, 20), frames=3, device="cuda"), gpu_loop.GpuLoop._draw

    def fails(self: gpu_loop.GpuLoop, time: float, canvas: torch.Tensor) -> None:
        if time >= 1:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate much")
        drawn(self, time, canvas)

    monkeypatch.setattr(gpu_loop.GpuLoop, "_draw", fails)
    with pytest.raises(EngineError, match="out of memory.*--device cpu"):
        bake(loop, tmp_path, "p")
    assert loop.device == "cuda"


def test_a_gpu_that_fails_is_told_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(self: gpu_loop.GpuLoop, time: float, canvas: torch.Tensor) -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered\nCUDA kernel errors might ...")

    loop = Loop(plate(9, 9), motion(9, 9), frames=3, device="cuda")
    monkeypatch.setattr(gpu_loop.GpuLoop, "_draw", fails)
    with pytest.raises(ValueError, match=r"the GPU failed \(CUDA error: an illegal memory access.*\): bake again"):
        loop.frame(1)
