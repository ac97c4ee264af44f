# SPDX-License-Identifier: Apache-2.0
"""Crops of footage: picture, motion and classes show the same place, and vectors turn with the picture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from _films import supervision_of

from loopcore.training import footage_crops
from loopcore.training.footage import Supervision
from loopcore.training.footage_crops import footage_crop
from loopcore.training.pasting import STRIDE
from loopcore.training.pictures import vary

pytest.importorskip("cv2")
FRAME, SIZE = (160, 224), (64, 96)
SEEDS = range(12)


@dataclass(frozen=True)
class Crop:
    """A crop of :func:`ramps`, and which place of the frame each pixel shows."""

    motion: np.ndarray
    classes: np.ndarray
    places: np.ndarray  # (h, w, 2) x, y at pixel corners
    matrix: np.ndarray  # from crop to frame

    @property
    def scale(self) -> float:
        """Pixels of the frame per pixel of the crop."""
        return float(np.sqrt(abs(np.linalg.det(self.matrix))))


def velocity_at(places: np.ndarray) -> np.ndarray:
    """A linear velocity field, px of the frame."""
    return places @ np.array([[0.01, -0.004], [0.006, 0.02]]).T + (-0.5, 1.0)


def positions(height: int, width: int) -> np.ndarray:
    """(height, width, 2) x, y of the pixels' centres."""
    return np.stack(np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5), axis=-1)


def ramps() -> tuple[Supervision, np.ndarray]:
    """A clip whose colours say the place, x in red and y in green, and whose classes do so too."""
    places = positions(*FRAME)
    codes = np.concatenate([places - 0.5, np.full((*FRAME, 1), 255)], axis=-1).astype(np.uint8)
    whole = np.ones(FRAME, bool)
    supervision = Supervision(
        "ramps", "river", "ramps", codes[None], velocity_at(places).astype(np.float32), whole.astype(np.float32),
        whole, ~whole,
    )  # fmt: skip
    coarse = positions(FRAME[0] // 4, FRAME[1] // 4) * 4 / 224
    classes = np.concatenate([coarse, np.ones((*coarse.shape[:2], 3))], axis=-1)
    return supervision, np.moveaxis(classes, -1, 0).astype(np.float32)


@pytest.fixture
def true_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves the colours of crops as they are, so that they say the place."""
    monkeypatch.setattr(footage_crops, "vary", lambda rgb, random: rgb)


@pytest.fixture
def crops(true_colours: None) -> list[Crop]:
    """Some crops of the ramps."""
    supervision, classes = ramps()
    made = []
    for seed in SEEDS:
        picture, motion, labels = footage_crop(supervision, classes, np.random.default_rng(seed), SIZE)
        places = np.moveaxis(picture[:2], 0, -1) * 255 + 0.5
        inside = np.repeat(np.repeat(motion[4] > 0.999, STRIDE, 0), STRIDE, 1)  # elsewhere the frame is mirrored
        known, here = places[inside], positions(*SIZE)[inside]
        solved = np.linalg.lstsq(np.column_stack([here, np.ones(len(here))]), known, rcond=None)[0]
        made.append(Crop(motion, labels, positions(*SIZE) @ solved[:2] + solved[2], solved[:2].T))
        assert np.abs(known - made[-1].places[inside]).max() < 1  # codes are rounded
    return made


def block_means(planes: np.ndarray, side: int) -> np.ndarray:
    return planes.reshape(len(planes) // side, side, -1, side, planes.shape[2]).mean(axis=(1, 3))


def test_crops_are_similarities_with_gravity_nearly_downwards(crops: list[Crop]) -> None:
    fits = min(FRAME[0] / SIZE[0], FRAME[1] / SIZE[1])
    mirrored = 0
    for crop in crops:
        matrix = crop.matrix / crop.scale
        assert matrix.T @ matrix == pytest.approx(np.eye(2), abs=0.02)
        assert 0.55 * fits - 0.02 < crop.scale < 1.25 * fits + 0.02
        down = matrix[:, 1]
        assert np.degrees(np.arccos(down[1])) < 16  # four deviations
        mirrored += int(np.linalg.det(matrix) < 0)
    assert 2 < mirrored < len(crops) - 2
    assert np.std([crop.scale for crop in crops]) > 0.2


def test_velocities_are_in_pixels_of_the_crop_and_turn_with_it(crops: list[Crop]) -> None:
    for crop in crops:
        inside = crop.motion[2] > 0.999
        in_frame = np.moveaxis(crop.motion[:2], 0, -1) @ crop.matrix.T
        expected = velocity_at(block_means(crop.places, STRIDE))
        assert inside.sum() > 20 and in_frame[inside] == pytest.approx(expected[inside], abs=0.03)


def test_classes_are_those_of_the_same_place(crops: list[Crop]) -> None:
    for crop in crops:
        expected = np.moveaxis(block_means(crop.places, 4), -1, 0) / 224
        whole = crop.classes[2] > 0.999
        border = 2 / 224  # the classes' grid ends half a cell before the frame
        assert whole.sum() > 100 and np.abs(crop.classes[:2] - expected)[:, whole].max() < border


@pytest.mark.usefixtures("true_colours")
def test_nothing_is_known_beyond_the_frame() -> None:
    supervision, classes = ramps()
    beyond = 0
    for seed in SEEDS:
        picture, motion, labels = footage_crop(supervision, classes, np.random.default_rng(seed), (96, 96))
        tall = footage_crop(supervision, classes, np.random.default_rng(seed), (192, 96))
        for shown, known, seen in ((picture, motion, labels), tall):
            outside = known[4] == 0
            beyond += int(outside.sum())
            assert not known[:, outside].any() and not seen[:, np.repeat(np.repeat(outside, 2, 0), 2, 1)][0].any()
            assert shown[2].min() == 1  # mirrored, not black
    assert beyond > 20


def test_partly_trusted_blocks_have_the_mean_velocity_by_trust() -> None:
    trust = np.zeros(FRAME, np.float32)
    trust[:, 112:] = 0.5
    velocity = np.zeros((*FRAME, 2), np.float32)
    velocity[:, 112:], velocity[:, :112] = (2, 0), (0, 9)
    moving = np.ones(FRAME, bool)
    supervision, classes = ramps()
    half = Supervision("half", "sea", "half", supervision.frames, velocity, trust, moving, ~moving)
    for seed in SEEDS:
        _, motion, _ = footage_crop(half, classes, np.random.default_rng(seed), SIZE)
        some = motion[2] > 0.02
        speed = np.hypot(*motion[:2])[some]
        assert np.ptp(speed) < 1e-3 * speed.max()  # untrusted velocities do not mix in
        assert motion[2].max() == 0.5


@pytest.mark.parametrize("kind", ["falls", "clouds"])
def test_values_are_in_range_and_determined_by_the_generator(kind: str) -> None:
    supervision = supervision_of(kind, 1, (90, 130))
    classes = np.full((5, 22, 32), 0.2, np.float32)
    for seed in SEEDS:
        crop = footage_crop(supervision, classes, np.random.default_rng(seed), SIZE)
        picture, motion, labels = crop
        assert [part.shape for part in crop] == [(3, 64, 96), (5, 8, 12), (5, 16, 24)]
        assert all(part.dtype == np.float32 and part.flags.c_contiguous for part in crop)
        assert 0 <= picture.min() and picture.max() <= 1 and picture.std() > 0.01
        weight, moving, known = motion[2:]
        assert weight.min() >= 0 and (weight <= moving + 1e-5).all() and (moving <= known + 1e-5).all()
        assert known.max() <= 1 + 1e-5 and 0 <= labels.min() and labels.sum(axis=0).max() <= 1 + 1e-5
        again = footage_crop(supervision, classes, np.random.default_rng(seed), SIZE)
        assert all(np.array_equal(one, other) for one, other in zip(crop, again, strict=True))
        other = footage_crop(supervision, classes, np.random.default_rng(seed + 100), SIZE)
        assert not np.array_equal(picture, other[0]) and not np.array_equal(motion, other[1])


@pytest.mark.usefixtures("true_colours")
def test_colours_vary(monkeypatch: pytest.MonkeyPatch) -> None:
    supervision, classes = ramps()
    plain = footage_crop(supervision, classes, np.random.default_rng(0), SIZE)
    monkeypatch.setattr(footage_crops, "vary", vary)
    varied = footage_crop(supervision, classes, np.random.default_rng(0), SIZE)
    assert np.array_equal(plain[1], varied[1]) and np.abs(plain[0] - varied[0]).max() > 0.05
