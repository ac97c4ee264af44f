# SPDX-License-Identifier: Apache-2.0
"""Folders of labelled pictures: manifests, crops and targets."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from _films import supervision_of

from loopcore.errors import PlateError
from loopcore.training.pasting import label_motion
from loopcore.training.pictures import (
    UNKNOWN,
    Crop,
    Sample,
    crop_of,
    crop_plan,
    random_crop,
    read_manifest,
    read_sample,
    soft_targets,
)


@pytest.fixture(scope="module")
def plan(labelled: Path) -> list[Sample]:
    return [s for s in read_manifest(labelled) if s.split == "train"] * 3


def equal(one: Crop, other: Crop) -> bool:
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in ("picture", "labels", "motion"))


def test_rare_classes_and_small_sets_are_cropped_more_often(labelled: Path) -> None:
    samples = read_manifest(labelled)
    assert len(samples) == 6 and samples[5].split == "test"
    assert len(crop_plan(samples[:1])) == 24  # factor 8 for the small set, 3 for water


def test_a_crop_keeps_labels_on_their_pixels(labelled: Path) -> None:
    picture, labels = read_sample(read_manifest(labelled)[0])
    for seed in range(8):
        found = random_crop(picture, labels, np.random.default_rng(seed), 64)
        crop, known = found.picture, found.labels
        assert crop.shape == (3, 64, 64) and crop.dtype == np.float32 and 0 <= crop.min() <= crop.max() <= 1
        assert equal(found, random_crop(picture, labels, np.random.default_rng(seed), 64))
        if (known == 0).sum() > 50 and (known == 1).sum() > 50:
            assert crop[:, known == 1].mean() > 1.5 * crop[:, known == 0].mean()  # some are darkened


def test_crops_differ_between_epochs_and_are_deterministic(plan: list[Sample]) -> None:
    first = crop_of(plan, 0, seed=1, epoch=0, size=64)
    assert equal(first, crop_of(plan, 0, seed=1, epoch=0, size=64))
    for other in (crop_of(plan, 0, 1, 1, 64), crop_of(plan, 0, 2, 0, 64), crop_of(plan, 2, 1, 0, 64)):
        assert not np.array_equal(first.picture, other.picture)


def test_overlays_change_the_labels(plan: list[Sample]) -> None:
    mixed = 0
    for epoch in range(40):
        found = crop_of(plan, 0, 1, epoch, 64)
        crop, known = found.picture, found.labels
        plain = random_crop(*read_sample(plan[0]), np.random.default_rng((1, epoch, 0)), 64)
        laid = (crop != plain.picture).any(axis=0)
        assert np.array_equal(known[~laid], plain.labels[~laid])
        assert np.array_equal(found.motion, label_motion(known))
        shown, water, still = crop.mean(axis=0), laid & (known == 1), laid & (known == 0)
        if min(water.sum(), still.sum()) > 99:  # water is bright in these pictures
            assert shown[water].mean() > shown[still].mean() + 0.1
            mixed += 1
    assert mixed > 1


def test_targets_are_fractions_of_the_known_pixels() -> None:
    labels = np.zeros((8, 8), np.uint8)
    labels[:4, :2] = 1
    labels[4:, :4] = UNKNOWN
    target = soft_targets(labels, 5, 4)
    assert target.shape == (5, 2, 2)
    assert target[:, 0, 0] == pytest.approx([0.5, 0.5, 0, 0, 0])
    assert target[:, 1, 0].sum() == 0 and target[0, 1, 1] == 1


@pytest.mark.parametrize(
    ("manifest", "message"),
    [
        (None, "manifest.csv"),
        ("image,label,set\na,b,c", "no column 'split'"),
        ("image,label,set,split\n", "lists no pictures"),
        ("image,label,set,split\n../a.png,b.png,s,train", "not in its folder"),
        ("image,label,set,split\na.png,b.png,s,train", "cannot be read"),
    ],
)
def test_invalid_folders_are_refused(tmp_path: Path, manifest: str | None, message: str) -> None:
    if manifest is not None:
        (tmp_path / "manifest.csv").write_text(manifest, "utf-8")
    with pytest.raises(PlateError, match=message):
        crop_plan(read_manifest(tmp_path))


def test_footage_is_pasted_into_some_crops_with_its_motion(plan: list[Sample]) -> None:
    pytest.importorskip("cv2")
    clip = replace(supervision_of("falls", 1, (96, 96)), kind="fall")
    pasted = 0
    for epoch in range(24):
        found = crop_of(plan, 0, 1, epoch, 64, [clip])
        assert equal(found, crop_of(plan, 0, 1, epoch, 64, [clip]))
        trusted = found.motion[..., 2] > 0
        pasted += trusted.any()
        assert (found.labels[trusted] != 0).all()
    assert 4 < pasted < 20


def test_static_pictures_get_backdrops() -> None:
    random = np.random.default_rng(3)
    picture, labels = random.integers(0, 255, (80, 80, 3), dtype=np.uint8), np.zeros((80, 80), np.uint8)
    smooth = 0
    for seed in range(30):
        found = random_crop(picture, labels, np.random.default_rng(seed), 64)
        steps = np.abs(np.diff(found.picture.mean(axis=0), axis=1))
        smooth += (steps < 0.02).mean() > 0.25
        assert (found.motion[found.labels == 0] == [0, 0, 0, 0, 1]).all()
    assert 5 < smooth < 28
