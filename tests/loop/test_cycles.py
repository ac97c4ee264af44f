# SPDX-License-Identifier: Apache-2.0
"""Loops of several cycles: weights in time, what closes and stays still, and the kernel against a plain sum."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from _textures import motion, plate
from hypothesis import given, settings
from hypothesis import strategies as st

from loopcore.errors import MotionError
from loopcore.loop import Loop, blend, cycles, mixing
from loopcore.loop.cycles import Cycles
from loopcore.loop.mixture import Mixture
from loopcore.loop.paths import Paths
from loopcore.loop.plate_contrast import COPY, SHIFT
from loopcore.motion import MotionField
from loopcore.plate import Plate
from loopcore.transport import reference

RGB = ("R", "G", "B")


def uniform(height: int, width: int, vx: float, vy: float) -> MotionField:
    velocity = np.zeros((height, width, 2), np.float32)
    velocity[...] = vx, vy
    return MotionField(velocity, np.ones((height, width)), np.ones((height, width)))


def two_speeds(height: int, width: int, fast: float) -> MotionField:
    """Slow on the left, `fast` on the right, downward."""
    velocity = np.zeros((height, width, 2), np.float32)
    velocity[..., 1] = np.where(np.arange(width) < width // 2, 0.05, fast)
    return MotionField(velocity, np.ones((height, width)), np.ones((height, width)))


class TestWeights:
    @settings(max_examples=60, deadline=None)
    @given(frames=st.integers(2, 200), count=st.integers(1, 12), part=st.floats(0, 1))
    def test_the_listed_copies_make_up_the_frame(self, frames: int, count: int, part: float) -> None:
        count = min(count, frames // 2)
        chosen = Cycles(Paths(motion(24, 31, 2), frames), max(count, 1))
        t = part * frames
        copies = chosen.copies(t)
        weights = chosen.weights(t, [number for number, _ in copies])
        np.testing.assert_allclose(weights.sum(axis=0), 1, atol=1e-5)
        assert weights.min() >= 0
        period = frames / chosen.count
        reach = (1 + 2 * cycles.MAX_SHIFT + cycles.MAX_OFFSET) * period
        assert all(abs(span) <= reach for (_, span), plane in zip(copies, weights, strict=True) if plane.any())

    def test_auto_layers_make_up_the_frame(self) -> None:
        chosen = Cycles(Paths(two_speeds(120, 160, 12), 96), "auto")
        assert chosen.layers == (1, 2, 4, 8)
        for t in np.linspace(0, 96, 41):
            copies = chosen.copies(t)
            weights = chosen.weights(t, [number for number, _ in copies])
            np.testing.assert_allclose(weights.sum(axis=0), 1, atol=1e-5)

    def test_each_place_has_lives_that_suit_it(self) -> None:
        chosen = Cycles(Paths(two_speeds(120, 160, 12), 96), "auto")
        assert chosen.need[:, :50].max() == 0 and chosen.need[:, 110:].min() == 3
        copies = chosen.copies(30.0)
        weights = chosen.weights(30.0, [number for number, _ in copies])
        spans = np.array([abs(span) for _, span in copies])
        shown = (weights * spans[:, None, None]).sum(axis=0)
        assert shown[:, :50].min() > 20 and shown[:, 110:].max() < 20

    def test_clouds_have_long_lives(self) -> None:
        field = two_speeds(120, 160, 12)
        drifting = np.ones((120, 160), np.float32)
        assert Cycles(Paths(replace(field, drifting=drifting), 96), "auto").layers == (1,)
        drifting[:, 80:] = 0
        assert Cycles(Paths(replace(field, drifting=drifting), 96), "auto").need[60, 150] == 3

    def test_births_vary_over_the_picture(self) -> None:
        chosen = Cycles(Paths(motion(90, 160, 2, masked=False), 60), 4)
        weights = chosen.weights(30.0, [2])
        assert np.ptp(weights[0]) > 0.2
        assert len({round(span - 30 + 15 * number, 3) for number, span in chosen.copies(30.0)}) > 1

    def test_weights_are_continuous_in_time(self) -> None:
        chosen = Cycles(Paths(two_speeds(60, 80, 5), 60), "auto")
        times = np.arange(0, 60, 0.25)
        planes = np.zeros((len(times), chosen.count + 1, *chosen.need.shape))
        for plane, t in zip(planes, times, strict=True):
            numbers = [number for number, _ in chosen.copies(t)]
            plane[numbers] = chosen.weights(t, numbers)
        shortest = 60 / chosen.count * (1 - 2 * cycles.MAX_SHIFT)
        assert np.abs(np.diff(planes, axis=0)).max() <= 0.25 / shortest + 1e-4


class TestFrames:
    @settings(max_examples=25, deadline=None)
    @given(
        frames=st.integers(4, 40), count=st.integers(2, 9), steady=st.sampled_from([0.0, 0.4, 1.0]),
        speed=st.floats(-6, 6), part=st.floats(0, 1), channels=st.sampled_from([RGB, ("R", "G", "B", "A"), ("Y",)]),
    )  # fmt: skip
    def test_the_ends_are_the_plate_and_what_is_still_stays(
        self, frames: int, count: int, steady: float, speed: float, part: float, channels: tuple[str, ...]
    ) -> None:
        still, field = plate(37, 52, channels), motion(37, 52, speed)
        loop = Loop(still, field, frames=frames, cycles=min(count, frames // 2), steady=steady)
        np.testing.assert_array_equal(loop.frame(0), still.pixels)
        np.testing.assert_array_equal(loop.frame(frames), still.pixels)
        frame = loop.frame(part * frames)
        outside = field.mask == 0
        assert frame[outside].tobytes() == still.pixels[outside].tobytes()
        assert np.isfinite(frame).all() and np.abs(frame).max() <= loop.bound()

    @pytest.mark.parametrize("method", ["warp", "splat"])
    def test_a_frame_made_alone_is_the_frame_made_in_sequence(self, method: str) -> None:
        still, field = plate(60, 80), motion(60, 80, 4)
        first = Loop(still, field, frames=24, cycles=3, steady=0.5, method=method)
        frames = [first.frame(t) for t in range(24)]
        assert not np.array_equal(frames[8], frames[16]), "cycles must differ"
        for t in (17, 3):
            again = Loop(still, field, frames=24, cycles=3, steady=0.5, method=method).frame(t)
            assert again.tobytes() == frames[t].tobytes()

    def test_one_cycle_without_steadiness_is_the_plain_loop(self) -> None:
        still, field = plate(60, 80), motion(60, 80, 3)
        loop = Loop(still, field, frames=20, cycles=1, steady=0)
        past, future, weight = loop.copies(7)
        assert loop._mixture is None
        slow = Loop(still, motion(60, 80, 0.05), frames=20)
        plain = Loop(still, motion(60, 80, 0.05), frames=20, cycles=1, steady=0)
        assert slow._mixture is None and slow.frame(7).tobytes() == plain.frame(7).tobytes()
        assert past.shape == future.shape == weight.shape == loop._mask.shape

    def test_a_pattern_as_long_as_a_cycle_just_moves(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(cycles, "MAX_OFFSET", 0.0)
        # 10 frames a cycle at 1.6 pixels a frame: 16 pixels.
        wave = 0.5 + 0.3 * np.sin(2 * np.pi * np.arange(96) / 16)
        still = Plate(np.repeat(np.tile(wave, (64, 1))[..., None], 3, -1).astype(np.float32), RGB)
        loop = Loop(still, uniform(64, 96, 1.6, 0), frames=40, cycles=4, steady=0, contrast=0)
        for t in (5, 13.0, 27):
            moved = 0.5 + 0.3 * np.sin(2 * np.pi * (np.arange(96) - 1.6 * t) / 16)
            assert np.abs(loop.frame(t)[20:44, 30:66, 1] - moved[30:66]).max() < 0.002

    @pytest.mark.parametrize("bad", [0, -1, 2.5, 31, "many", None])
    def test_cycles_out_of_range_are_refused(self, bad: object) -> None:
        with pytest.raises(MotionError, match="cycles"):
            Loop(plate(20, 20), motion(20, 20), frames=60, cycles=bad)  # type: ignore[arg-type]

    @pytest.mark.parametrize("bad", [-0.1, 1.5, "much", float("nan")])
    def test_steadiness_out_of_range_is_refused(self, bad: object) -> None:
        with pytest.raises(MotionError, match="steady"):
            Loop(plate(20, 20), motion(20, 20), frames=60, steady=bad)  # type: ignore[arg-type]


class TestMixing:
    @pytest.mark.parametrize("nodes", [600_000, 400])
    def test_the_kernel_is_the_weighted_sum_of_warped_plates(self, nodes: int, monkeypatch: pytest.MonkeyPatch) -> None:
        from loopcore.loop import paths as paths_module

        monkeypatch.setattr(paths_module, "MAX_NODES", nodes)
        still = plate(66, 91, ("R", "G", "B", "A"))
        paths = Paths(uniform(66, 91, 0.7, -0.9), 48)
        ones = np.ones(4, np.float32)
        mixture = Mixture(paths, 4, 0, still.pixels, ones, still.pixels[..., 1], 1)
        grid = mixture.nodes(17.3)
        spans = np.tile(np.array([0, 91]), (66, 1))
        copy, tone = np.zeros((66, 91, 4), np.float32), np.zeros((66, 91), np.float32)
        mixing.mix(still.pixels, grid, paths.step, paths.mask, spans, ones, ones, 1.0, copy, tone)
        expected = np.zeros((66, 91, 4))
        planes = blend.expand(grid, paths.step, 66, 91)
        for k in range((grid.shape[2] - SHIFT) // COPY):
            dx, dy, weight = np.moveaxis(planes[..., COPY * k : COPY * k + 3], -1, 0)
            fetched = reference.warp(torch.from_numpy(still.pixels), torch.from_numpy(np.stack([dx, dy], -1)))
            expected += weight[..., None] * fetched.numpy()
        assert (grid.shape[2] - SHIFT) // COPY > 1
        np.testing.assert_allclose(copy, expected, atol=2e-4)
        np.testing.assert_allclose(tone, np.sqrt(np.maximum(copy.sum(axis=-1), 0)), rtol=1e-5)

    def test_what_comes_from_beyond_the_mask_counts_less(self) -> None:
        mask = np.zeros((60, 60), np.float32)
        mask[20:] = 1
        shift = np.zeros((60, 60, 2), np.float32)
        shift[..., 1] = -10
        fit = mixing.quality(shift, mask, np.zeros((60, 60, 2), np.float32))
        assert fit[40:].min() > 0.99 and fit[22:29].max() < 0.01

    @pytest.mark.parametrize("jacobian", [[[1.5, 0], [0, 1.5]], [[2, 0], [0, 0.5]], [[1, 3], [0, 1]]])
    def test_distortion_counts_as_its_singular_values_say(self, jacobian: list[list[float]]) -> None:
        y, x = np.mgrid[:20, :20].astype(np.float32)
        matrix = np.array(jacobian)
        shift = np.stack([x, y], -1) @ (matrix - np.eye(2)).T
        large, small = np.linalg.svd(matrix, compute_uv=False)
        area = large * small
        expected = min(area, 1 / area) * 2 * area / (large**2 + small**2)
        looks = np.zeros((20, 20, 2), np.float32)
        fit = mixing.quality(shift.astype(np.float32), np.ones((20, 20), np.float32), looks)
        assert fit[10, 10] == pytest.approx(expected, rel=1e-4)

    def test_looks_that_differ_count_as_far_as_they_belong_to_the_place(self) -> None:
        """A tone that rises by 0.3 a column, fetched from 5 columns to the right, differs by 1.5."""
        looks = np.zeros((20, 30, 2), np.float32)
        looks[..., 0], looks[10:, :, 1] = 0.3 * np.arange(30), 0.8
        shift = np.zeros((20, 30, 2), np.float32)
        shift[..., 0] = 5
        fit = mixing.quality(shift, np.ones((20, 30), np.float32), looks)
        np.testing.assert_allclose(fit[:10, :24], 1, rtol=1e-6)
        np.testing.assert_allclose(fit[10:, :24], np.exp(-((0.8 * 1.5) ** 2) / 2), rtol=1e-4)
