# SPDX-License-Identifier: Apache-2.0
"""Synthetic scenes against their ground truth, with frames warped by another implementation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import binary_erosion

from loopcore.errors import MotionError
from loopcore.training.fields import eddies
from loopcore.training.synthetic import KINDS, backtrace, make_scene
from loopcore.training.textures import positions
from loopcore.transport import integrate, warp

SIZE = (96, 128)


def error(a: np.ndarray, b: np.ndarray, where: np.ndarray) -> float:
    return float(np.sqrt(((a.astype(np.float64) - b) ** 2)[where].mean()))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_field_warps_one_frame_to_the_next(kind: str, seed: int) -> None:
    scene = make_scene(kind, seed, *SIZE, speed=1.5)
    before, after = scene.frame(0), scene.frame(1)
    # far from the edges of mask and picture, without inflow
    reach = 2 + int(np.ceil(np.abs(scene.velocity[scene.mask > 0.5]).max()))
    inner = binary_erosion(scene.mask > 0.999, iterations=reach)
    assert inner.sum() > 200
    carried = warp(before.astype(np.float32), integrate(scene.velocity, -1.0))
    still, moved = error(before, after, inner), error(carried, after, inner)
    backward = error(warp(before.astype(np.float32), integrate(scene.velocity, 1.0)), after, inner)
    assert moved < 0.35 * still and moved < 0.3 * backward
    assert np.array_equal(before[scene.mask == 0], after[scene.mask == 0])


@pytest.mark.parametrize("kind", KINDS)
def test_scenes_are_deterministic_by_seed(kind: str) -> None:
    one, same, other = (make_scene(kind, seed, *SIZE) for seed in (4, 4, 5))
    assert np.array_equal(one.frame(3), same.frame(3)) and np.array_equal(one.velocity, same.velocity)
    assert not np.array_equal(one.velocity, other.velocity)
    assert 0.03 < one.mask.mean() < 0.97
    speed = np.hypot(one.velocity[..., 0], one.velocity[..., 1])
    assert 0.2 < (speed * one.mask).sum() / one.mask.sum() < 1.0  # 0.6 to 1.8 pixels at 256
    assert (make_scene(kind, 4, *SIZE, speed=2.5).velocity / one.velocity)[0, 0] == pytest.approx(
        2.5 / ((speed * one.mask).sum() / one.mask.sum()), rel=1e-4
    )


@pytest.mark.parametrize("kind", ["falls", "eddies"])
def test_frames_equal_those_made_one_by_one(kind: str) -> None:
    scene = make_scene(kind, 5, 40, 56)
    assert np.array_equal(scene.frames(3, 4), [scene.frame(t) for t in (0, 4, 8)])


def test_directions_of_each_kind() -> None:
    for seed in range(6):
        down = make_scene("falls", seed, *SIZE)
        rows = np.average(down.velocity[..., 1], axis=1, weights=down.mask + 1e-9)
        shown = np.flatnonzero((down.mask > 0.9).any(axis=1))
        upper, lower = rows[shown[len(shown) // 6]], rows[shown[len(shown) // 2]]
        assert lower > upper > 0  # gravity
        up = make_scene("smoke", seed, *SIZE)
        assert (up.velocity[..., 1][up.mask > 0.9] < 0).mean() > 0.9
        near_far = make_scene("river", seed, *SIZE)
        speed = np.hypot(near_far.velocity[..., 0], near_far.velocity[..., 1])
        rows = np.average(speed, axis=1, weights=near_far.mask + 1e-9)
        shown = np.flatnonzero((near_far.mask > 0.9).any(axis=1))
        assert rows[shown[-1]] > 1.5 * rows[shown[len(shown) // 4]]


def test_eddies_are_divergence_free() -> None:
    flow = eddies(np.random.default_rng(1), 128)
    points = positions(40, 40) * 3
    step = np.array([1e-4, 0]), np.array([0, 1e-4])
    across, down = ((flow(points + d) - flow(points - d)) / 2e-4 for d in step)
    assert np.abs(across[..., 0] + down[..., 1]).max() < 1e-6 < np.abs(across).max()


def test_backtracing_follows_a_circle() -> None:
    def turn(points: np.ndarray) -> np.ndarray:
        return np.stack([-points[..., 1], points[..., 0]], axis=-1) * 0.1

    start = np.array([[10.0, 0.0]])
    angle = 0.1 * 20
    assert backtrace(turn, start, 20) == pytest.approx(np.array([[10 * np.cos(angle), -10 * np.sin(angle)]]), abs=1e-4)
    assert backtrace(turn, backtrace(turn, start, 7), -7) == pytest.approx(start, abs=1e-6)


def test_a_photograph_as_ground() -> None:
    photo = np.random.default_rng(1).integers(0, 255, (*SIZE, 3)).astype(np.uint8)
    scene = make_scene("clouds", 1, *SIZE, ground=photo)
    assert np.array_equal(scene.frame(2)[scene.mask == 0], photo[scene.mask == 0])
    with pytest.raises(MotionError, match="ground has the shape"):
        make_scene("clouds", 1, *SIZE, ground=photo[:10])


def test_invalid_arguments_are_refused() -> None:
    with pytest.raises(MotionError, match="unknown kind of scene 'lava'"):
        make_scene("lava", 1, *SIZE)
    with pytest.raises(MotionError, match="too small"):
        make_scene("sea", 1, 8, 64)
