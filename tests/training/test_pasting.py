# SPDX-License-Identifier: Apache-2.0
"""Patches of moving fluids on photographs: picture, labels and motion change at the same places."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from _films import supervision_of

from loopcore.training.footage import Supervision
from loopcore.training.pasting import (
    STRIDE,
    Patch,
    add_patches,
    drawn_patch,
    footage_patch,
    label_motion,
    motion_target,
    pale,
    paste,
    still_patch,
)

pytest.importorskip("cv2")
STATIC, WATER, SKY, SMOKE, FIRE, UNKNOWN = 0, 1, 2, 3, 4, 255
SEEDS = range(12)


@pytest.fixture
def ground() -> tuple[np.ndarray, np.ndarray]:
    return np.full((96, 128, 3), 0.25, np.float32), np.zeros((96, 128), np.uint8)


@pytest.fixture(scope="module")
def clip() -> Supervision:
    return replace(supervision_of("falls", 1, (80, 100)), kind="fall")


def test_labels_say_what_stays_and_what_mostly_moves() -> None:
    motion = label_motion(np.array([[STATIC, WATER, SKY, SMOKE, FIRE, UNKNOWN]], np.uint8))
    assert motion.shape == (1, 6, 5) and not motion[..., :3].any()
    moving, known = motion[0, :, 3], motion[0, :, 4]
    assert known[[0, 3, 4]].tolist() == [1, 1, 1] and known[[2, 5]].tolist() == [0, 0] and 0 < known[1] < 1
    assert moving.tolist() == [0, known[1], 0, 1, 1, 0]


def test_targets_are_means_of_velocity_by_its_weight() -> None:
    motion = np.zeros((STRIDE, 2 * STRIDE, 5), np.float32)
    motion[:2, :STRIDE] = (3.0, -1.0, 1.0, 1.0, 1.0)
    motion[2:4, :STRIDE] = (0.5 * 1.0, 0.5 * 1.0, 0.5, 1.0, 1.0)
    target = motion_target(motion)
    assert target.shape == (1, 2, 5)
    assert target[0, 0] == pytest.approx([(3 + 0.5) / 1.5, (-1 + 0.5) / 1.5, 0.375, 0.5, 0.5])
    assert not target[0, 1].any()


def test_a_patch_changes_picture_labels_and_motion_together(ground: tuple[np.ndarray, np.ndarray]) -> None:
    before, labels = ground
    still, visible = label_motion(labels), np.ones(labels.shape, np.float32)
    coverage = np.clip(np.linspace(-0.5, 1.5, 40), 0, 1)[None].repeat(30, axis=0).astype(np.float32)
    own = np.array([0.5, 2.0, 1.0, 1.0, 1.0], np.float32)
    patch = Patch(np.ones((30, 40, 3), np.float32), coverage, np.tile(own, (30, 40, 1)), WATER)
    places = set()
    for seed in SEEDS:
        picture, known, motion = paste(before, labels, still, patch, np.random.default_rng(seed), UNKNOWN, visible)
        change = (picture - before)[..., 0] / 0.75  # the coverage
        assert np.isfinite(picture).all() and 0 <= picture.min() <= picture.max() <= 1
        assert (known[change < 0.14] == STATIC).all() and (known[(change > 0.16) & (change < 0.59)] == UNKNOWN).all()
        assert (motion[known == WATER] == own).all() and not motion[known == UNKNOWN].any()
        assert np.array_equal(motion[known == STATIC], still[known == STATIC])
        assert (known == WATER).any() and (change[known == WATER] > 0.59).all()
        places.add(tuple(np.argwhere(known == WATER)[0]))
    assert len(places) > len(SEEDS) / 2
    assert (before == 0.25).all() and not labels.any()


def test_hidden_and_invisible_patches_are_not_labelled(ground: tuple[np.ndarray, np.ndarray]) -> None:
    before, labels = ground
    still, random = label_motion(labels), np.random.default_rng(1)
    half = np.ones(labels.shape, np.float32)
    half[:, :64] = 0
    ones = np.ones((30, 40), np.float32)
    motion = np.tile(np.array([0, 1, 1, 1, 1], np.float32), (30, 40, 1))
    bright, same = (Patch(np.full((30, 40, 3), value, np.float32), ones, motion, WATER) for value in (1.0, 0.25))
    for _ in SEEDS:
        picture, known, found = paste(before, labels, still, bright, random, UNKNOWN, half)
        assert np.array_equal(picture[:, :64], before[:, :64])
        assert not known[:, :64].any() and np.array_equal(found[:, :64], still[:, :64])
        known = paste(before, labels, still, same, random, UNKNOWN, np.ones_like(half))[1]
        assert set(np.unique(known)) == {STATIC, UNKNOWN}


def test_drawn_water_falls_and_drawn_flames_rise() -> None:
    seen = set()
    for seed in range(60):
        patch = drawn_patch(np.random.default_rng(seed))
        vx, vy, weight, moving, known = np.moveaxis(patch.motion, -1, 0)
        assert not vx.any() and (moving == 1).all() and (known == 1).all() and 0 <= weight.min() <= weight.max() < 1
        assert (np.sign(vy) == np.sign(weight) * (-1 if patch.label == FIRE else 1)).all()
        assert patch.colours.min() >= 0 and patch.colours.max() <= 1 and patch.label in (WATER, FIRE)
        seen.add((patch.label, bool(weight.any())))
    assert seen == {(WATER, True), (WATER, False), (FIRE, True)}  # a fountain goes up and down


def test_a_patch_of_footage_is_what_moves(clip: Supervision) -> None:
    patch = footage_patch(clip, np.random.default_rng(1))
    assert patch.colours.shape == (80, 100, 3) and patch.colours.max() <= 1
    inside = patch.coverage > 0.6
    assert clip.moving[inside].mean() > 0.97 and inside.sum() > 0.7 * clip.moving.sum()
    assert np.allclose(patch.motion[..., :2], clip.velocity * clip.trust[..., None])
    assert patch.label == WATER
    assert footage_patch(replace(clip, kind="fire"), np.random.default_rng(1)).label == FIRE


def test_patches_keep_their_angles_when_scaled_and_mirrored(ground: tuple[np.ndarray, np.ndarray]) -> None:
    picture, labels = ground
    frames = np.full((1, 60, 60, 3), 255, np.uint8)
    velocity, ones = np.tile(np.float32([3.0, 4.0]), (60, 60, 1)), np.ones((60, 60), np.float32)
    moving = np.zeros((60, 60), bool)
    moving[10:50, 10:50] = True
    slanted = Supervision("s", "fall", "s", frames, velocity, ones, moving, ~moving)
    angles = set()
    for seed in range(40):
        _, known, motion = add_patches(picture, labels, [slanted], np.random.default_rng(seed), UNKNOWN)
        wholly = motion[(known == WATER) & (motion[..., 2] > 0.99)]
        angles |= set(np.round(np.degrees(np.arctan2(wholly[:, 1], wholly[:, 0]))).tolist())
    assert angles == {53.0, 127.0}


def test_patches_are_deterministic_and_leave_skies_without_water(clip: Supervision) -> None:
    random = np.random.default_rng(5)
    picture, labels = random.random((96, 96, 3), np.float32), np.full((96, 96), SKY, np.uint8)
    labels[48:] = STATIC
    for seed in SEEDS:
        one, other = (add_patches(picture, labels, [clip], np.random.default_rng(seed), UNKNOWN) for _ in range(2))
        assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))
        assert not (one[1][:48] == WATER).any()
        assert 0 <= one[0].min() <= one[0].max() <= 1 and np.isfinite(one[2]).all()


def test_without_footage_patches_are_drawn(ground: tuple[np.ndarray, np.ndarray]) -> None:
    seen = set()
    for seed in range(30):
        seen |= set(np.unique(add_patches(*ground, [], np.random.default_rng(seed), UNKNOWN)[1]).tolist())
    assert seen == {STATIC, WATER, FIRE, UNKNOWN}


def test_still_patches_show_the_static_part_of_the_photograph_and_stay() -> None:
    random = np.random.default_rng(5)
    picture, labels = random.random((40, 60, 3), np.float32), np.zeros((40, 60), np.uint8)
    picture[:, :30], labels[:, :30] = (0, 0, 1), WATER
    coverage = np.ones((90, 70), np.float32)  # larger than the picture
    for _ in SEEDS:
        patch = still_patch(coverage, picture, labels, random)
        assert patch.label == STATIC and (patch.motion == (0, 0, 0, 0, 1)).all()
        assert patch.colours.shape == (90, 70, 3) and patch.colours.dtype == np.float32
        assert set(np.unique(patch.coverage)) == {0, 1}
        assert (np.ptp(patch.colours[patch.coverage == 0], axis=0) == 0).all()  # the water's one colour
        assert (patch.colours[patch.coverage == 1].std(axis=0) > 0.05).all()


def test_pale_pictures_are_brighter_and_have_less_colour() -> None:
    random = np.random.default_rng(6)
    picture = np.clip(random.normal(0.35, 0.1, (40, 60, 3)), 0, 1).astype(np.float32)
    colourful = np.abs(picture - picture.mean(axis=2, keepdims=True)) / picture.mean()
    for _ in SEEDS:
        white = pale(picture, random)
        assert white.min() >= 0 and white.max() <= 1 and white.mean() > picture.mean() + 0.1
        assert np.abs(white - white.mean(axis=2, keepdims=True)).mean() / white.mean() < colourful.mean()
        assert np.corrcoef(white.mean(axis=2).ravel(), picture.mean(axis=2).ravel())[0, 1] > 0.6
    assert np.isfinite(pale(np.zeros_like(picture), random)).all()
