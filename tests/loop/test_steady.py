# SPDX-License-Identifier: Apache-2.0
"""Steady looks: mean and colour stay at a place, texture moves, highlights have no halo."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, uniform_filter

from loopcore.loop import Loop
from loopcore.loop.paths import Paths
from loopcore.loop.steady import local_mean, looks, to_tone
from loopcore.motion import MotionField
from loopcore.plate import Plate

H, W, N = 160, 200, 24


def falling(speed: float, mask: np.ndarray | None = None) -> MotionField:
    velocity = np.zeros((H, W, 2), np.float32)
    velocity[..., 1] = speed
    ones = np.ones((H, W), np.float32)
    return MotionField(velocity, ones if mask is None else mask, ones)


def texture(seed: int = 3) -> np.ndarray:
    noise = gaussian_filter(np.random.default_rng(seed).standard_normal((H, W)), 1.5, mode="wrap")
    return noise / noise.std()


def fall() -> tuple[Plate, np.ndarray, np.ndarray]:
    """A fall that is brightest half way down; its mean and its deviation over time are known in each place."""
    y = np.sin(np.linspace(0, np.pi, H))[:, None] ** 2 * np.ones(W)
    mean = np.stack([0.35 + 0.3 * y, 0.4 + 0.3 * y, 0.45 + 0.35 * y], -1)
    deviation = 0.05
    codes = mean + deviation * texture()[..., None]
    return Plate((codes**2).astype(np.float32), ("R", "G", "B")), mean, np.full((H, W), deviation)


def over_time(steady: float, cycles: int = 1) -> tuple[np.ndarray, np.ndarray]:
    still, _, _ = fall()
    loop = Loop(still, falling(2.5), frames=N, cycles=cycles, steady=steady)
    codes = np.sqrt(np.stack([loop.frame(t) for t in range(N)]))
    return codes.mean(axis=0), codes.std(axis=0)


class TestAFall:
    def test_its_mean_and_deviation_over_time_are_those_of_the_flow(self) -> None:
        _, mean, deviation = fall()
        inner = (slice(50, -50), slice(30, -30))
        steady_mean, steady_deviation = over_time(1.0)
        wandering_mean, _ = over_time(0.0)

        def error(found: np.ndarray) -> float:
            return float(np.abs(gaussian_filter(found - mean, (6, 6, 0))[inner]).mean())

        assert error(steady_mean) < 0.012
        assert error(steady_mean) < 0.5 * error(wandering_mean)
        assert np.median(steady_deviation[inner] / deviation[inner][..., None]) == pytest.approx(1, abs=0.3)

    def test_no_white_water_stands_above_its_lip(self) -> None:
        """A dark pool flows into a fall: what is fetched from beyond the lip counts less there."""
        white = np.arange(H)[:, None] * np.ones(W) >= H // 2
        codes = np.where(white, 0.8, 0.3) + 0.04 * texture()
        still = Plate(np.repeat((codes**2)[..., None], 3, -1).astype(np.float32), ("R", "G", "B"))
        velocity = np.zeros((H, W, 2), np.float32)
        velocity[..., 1] = np.where(white, 0.32, 0.08)
        ones = np.ones((H, W), np.float32)
        loop = Loop(still, MotionField(velocity, ones, ones), frames=60)
        above, below = slice(H // 2 - 5, H // 2), slice(H // 2, H // 2 + 5)
        for t in (15, 30, 45):
            tone = np.sqrt(loop.frame(t)[..., 1])
            assert abs(tone[above].mean() - 0.3) < 0.12 and abs(tone[below].mean() - 0.8) < 0.12

    def test_its_looks_do_not_wander(self) -> None:
        still, _, _ = fall()

        def wander(steady: float) -> float:
            loop = Loop(still, falling(2.5), frames=N, cycles=1, steady=steady)
            blurred = [gaussian_filter(np.sqrt(loop.frame(t)), (6, 6, 0)) for t in (0, 6, 12)]
            return float(max(np.abs(b - blurred[0])[50:-50, 30:-30].mean() for b in blurred[1:]))

        assert wander(1.0) < 0.5 * wander(0.0)

    def test_its_texture_moves(self) -> None:
        still, mean, _ = fall()
        loop = Loop(still, falling(2.5), frames=N, cycles=1, steady=1)
        frame = np.sqrt(loop.frame(2))[..., 1] - mean[..., 1]
        first = np.sqrt(still.pixels)[..., 1] - mean[..., 1]
        inner = (slice(40, 120), slice(40, 160))
        moved = np.corrcoef(frame[inner].ravel(), first[35:115, 40:160].ravel())[0, 1]
        assert moved > 0.8 > 0.4 > np.corrcoef(frame[inner].ravel(), first[inner].ravel())[0, 1]


class TestHdr:
    def test_a_highlight_has_no_halo(self) -> None:
        pixels = np.full((H, W, 3), 0.3, np.float32) * (1 + 0.05 * texture()[..., None]).astype(np.float32)
        pixels[78:82, 98:102] = 60
        frame = Loop(Plate(pixels, ("R", "G", "B")), falling(1.5), frames=N, cycles=2, steady=1).frame(7)
        # Far enough from the highlight itself to hold none of it.
        away = uniform_filter(frame[..., 1], 3)[np.hypot(*(np.mgrid[:H, :W] - np.array([80, 100])[:, None, None])) > 40]
        assert away.min() > 0.2 and away.max() < 0.45
        assert frame.min() > 0.1 and frame.max() > 5

    def test_negative_values_and_alpha_are_left_alone(self) -> None:
        still, _, _ = fall()
        pixels = np.concatenate([still.pixels, np.ones((H, W, 1), np.float32)], -1)
        pixels[:, :60, 0] = -0.05
        frame = Loop(Plate(pixels, ("R", "G", "B", "A")), falling(2), frames=N, cycles=3, steady=1, contrast=0).frame(9)
        np.testing.assert_allclose(frame[..., 3], 1, atol=1e-6)
        np.testing.assert_allclose(frame[:, :50, 0], -0.05, atol=1e-6)

    def test_it_is_the_same_at_every_exposure(self) -> None:
        still, _, _ = fall()
        frames = [
            Loop(Plate(still.pixels * gain, ("R", "G", "B")), falling(2), frames=N, cycles=2, steady=1).frame(8) / gain
            for gain in (np.float32(1), np.float32(16))
        ]
        np.testing.assert_allclose(frames[0], frames[1], rtol=2e-3, atol=1e-4)


class TestTheMean:
    def test_an_edge_stays_an_edge(self) -> None:
        pixels = np.where(np.arange(W) < W // 2, 0.02, 0.8)[None, :, None] * np.ones((H, W, 4))
        mean, _ = local_mean(
            pixels.astype(np.float32), np.array([1, 1, 1, 0], np.float32) / 3, np.ones((H, W), np.float32), 1
        )
        rise = mean[H // 2, W // 2, 1] - mean[H // 2, W // 2 - 1, 1]
        assert rise > 0.6 * (mean[0, -1, 1] - mean[0, 0, 1])

    def test_what_is_still_has_a_mean_of_its_own(self) -> None:
        mask = np.zeros((H, W), np.float32)
        mask[:, : W // 2] = 1
        pixels = np.where(mask > 0, 0.5, 0.45)[..., None] * np.ones((H, W, 4))
        mean, white = local_mean(pixels.astype(np.float32), np.array([1, 1, 1, 0], np.float32) / 3, mask, 1)
        for column in (W // 2 - 1, W // 2):
            assert mean[80, column, 1] == pytest.approx(to_tone(pixels[80, column, 1], np.float32(white)), abs=0.005)

    def test_looks_belong_to_places_where_the_velocity_changes(self) -> None:
        luma = np.array([0.2, 0.7, 0.1, 0], np.float32)

        def stays(field: MotionField) -> np.ndarray:
            paths = Paths(field, N)
            found = looks(np.full((*paths.mask.shape, 4), 0.5, np.float32), luma, paths)
            np.testing.assert_allclose(found[..., 0], 5, rtol=1e-5)
            return found[..., 1]

        left = np.arange(W)[None, :] * np.ones((H, 1)) < W // 2
        turning, ones = np.where(left[..., None], (2.0, 0.0), (0.0, 2.0)), np.ones((H, W), np.float32)
        for speed in (2, 1e30, 1e-30):
            assert stays(falling(speed)).max() == 0
        bent = stays(MotionField(turning.astype(np.float32), ones, ones))
        assert bent[:, W // 2].min() == 1 and bent[:, : W // 4].max() == 0
        beside = stays(MotionField(falling(2).velocity, left.astype(np.float32), ones))
        assert beside[:, W // 2 - 2].min() > 0.9
        assert stays(MotionField(turning.astype(np.float32), ones, ones, drifting=ones)).max() == 0

    def test_the_tone_is_smooth_at_white(self) -> None:
        values = np.linspace(0.5, 2, 3001, dtype=np.float64)
        slope = np.diff(to_tone(values, np.float32(1)).astype(np.float64)) / np.diff(values)
        assert np.abs(np.diff(slope)).max() < 0.02 and (slope > 0).all()
