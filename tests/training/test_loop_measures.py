# SPDX-License-Identifier: Apache-2.0
"""Measures over time, and distances between sets of pictures, where the right answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from loopcore.training.frechet import frechet_distance, region_features, relative_distance, shrunk_covariance
from loopcore.training.loop_measures import over_time, psnr, sample_times, wander


def test_mean_and_deviation_are_exact() -> None:
    frames = np.random.default_rng(1).integers(0, 256, (37, 5, 7, 3), np.uint8)
    mean, deviation = over_time(frames)
    np.testing.assert_allclose(mean, (frames / 255).mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(deviation, (frames / 255).std(axis=0), rtol=1e-12)
    assert (over_time(np.full((9, 2, 2, 3), 255, np.uint8))[1] == 0).all()


def test_wander_of_light_and_of_texture() -> None:
    """Light that grows by one code a frame wanders by the mean of 1 to 9 codes; texture that moves hardly does."""
    region = np.zeros((120, 160), bool)
    region[40:80, 50:90] = True
    brighter = np.repeat(np.arange(100, 110, dtype=np.uint8), 120 * 160 * 3).reshape(10, 120, 160, 3)
    assert wander(brighter, region) == pytest.approx(5 / 255, rel=1e-5)
    noise = np.random.default_rng(1).integers(0, 256, (1, 120, 160, 1), np.uint8).repeat(3, axis=3)
    moves = np.concatenate([np.roll(noise, 40 * t, axis=2) for t in range(3)])
    assert wander(moves, region) < 0.25 * np.abs(np.diff(moves.astype(float), axis=0)).mean() / 255
    # what lies further away than the Gaussian reaches does not count
    far = brighter.copy()
    far[5, :20] = 0
    assert wander(far, region) == wander(brighter, region)


def test_wander_scales_with_the_picture() -> None:
    """The same picture at twice the size wanders alike: the Gaussian grows with it."""
    noise = np.random.default_rng(1).integers(0, 256, (2, 96, 128, 3), np.uint8)
    small = noise.repeat(4, axis=1).repeat(4, axis=2)
    large = small.repeat(2, axis=1).repeat(2, axis=2)
    whole = [np.ones(frames.shape[1:3], bool) for frames in (small, large)]
    assert wander(large, whole[1]) == pytest.approx(wander(small, whole[0]), rel=0.02)


def test_times_are_even_and_in_step_with_no_cycle() -> None:
    for count in (45, 60, 120):
        times = sample_times(count)
        assert len(set(times)) == 12 and min(times) >= 0 and max(times) < count
        assert np.diff([0, *times, count]).max() < count / 5
    for period in (5, 10, 12, 15, 20, 30):
        phases = {4 * (t % period) // period for t in sample_times(60)}
        assert phases == {0, 1, 2, 3}
    assert sample_times(1) == [0]


def test_psnr_counts_the_region_alone() -> None:
    a, region = np.zeros((4, 4, 3)), np.zeros((4, 4), bool)
    region[:2] = True
    b = np.where(region[..., None], 0.1, 0.9)
    assert psnr(a, b, region) == pytest.approx(20)
    assert psnr(a, a, region) == 120


def test_frechet_distance_of_gaussians_in_closed_form() -> None:
    """|ma - mb|^2 + sum (sa - sb)^2 where the covariances have the same axes."""
    random = np.random.default_rng(1)
    axes = np.linalg.qr(random.normal(size=(3, 3)))[0]
    sa, sb, shift = np.array([1.0, 2.0, 0.5]), np.array([2.0, 1.0, 0.5]), np.array([1.0, 0.0, -2.0])
    a = random.normal(size=(100_000, 3)) * sa @ axes.T
    b = random.normal(size=(100_000, 3)) * sb @ axes.T + shift
    assert frechet_distance(a, b) == pytest.approx(5 + 2, rel=0.02)
    assert frechet_distance(b, a) == pytest.approx(frechet_distance(a, b), rel=1e-9)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-9)
    scaled = np.array([10.0, 0.1, 3.0])
    assert relative_distance(b * scaled, a * scaled) == pytest.approx(relative_distance(b, a), rel=0.01)


def test_few_samples_are_shrunk_and_many_are_not() -> None:
    random = np.random.default_rng(1)
    true = np.diag(np.linspace(1, 4, 40))
    few, many = (random.normal(size=(n, 40)) @ np.sqrt(true) for n in (20, 20_000))
    plain = np.cov(few.T, bias=True)
    assert np.linalg.matrix_rank(plain) < 40 == np.linalg.matrix_rank(shrunk_covariance(few))
    assert np.linalg.norm(shrunk_covariance(few) - true) < 0.5 * np.linalg.norm(plain - true)
    assert np.trace(shrunk_covariance(few)) == pytest.approx(np.trace(plain))
    np.testing.assert_allclose(shrunk_covariance(many), np.cov(many.T, bias=True), atol=0.03)
    assert (shrunk_covariance(np.ones((5, 3))) == 0).all()
    assert np.isnan(frechet_distance(few[:1], many)) and np.isnan(relative_distance(few[:0], few[:0]))


def test_features_are_of_the_region() -> None:
    random = np.random.default_rng(1)
    picture = random.random((150, 330, 3)).astype(np.float32)
    region = np.zeros((150, 330), bool)
    region[40:80, 48:112] = True  # 5 by 8 cells
    seen = []
    features = region_features([picture, picture], region, lambda: seen.append(1))
    assert features.shape == (80, 168) and len(seen) == 2 and np.isfinite(features).all()
    assert (features[:40] == features[40:]).all() and features.std(axis=0).min() > 0
    away, near = picture.copy(), picture.copy()
    away[:, 200:], near[60:, 60:] = 0, 0
    assert (region_features([away], region) == features[:40]).all()
    assert frechet_distance(region_features([near], region), features) > 1
    line = np.zeros_like(region)
    line[40] = True
    assert region_features([picture], line).shape == (0, 168)
