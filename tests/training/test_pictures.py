# SPDX-License-Identifier: Apache-2.0
"""Folders of labelled pictures: manifests, crops and targets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from loopcore.errors import PlateError
from loopcore.training.pictures import (
    UNKNOWN,
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


def test_rare_classes_and_small_sets_are_cropped_more_often(labelled: Path) -> None:
    samples = read_manifest(labelled)
    assert len(samples) == 6 and samples[5].split == "test"
    assert len(crop_plan(samples[:1])) == 24  # factor 8 for the small set, 3 for water


def test_a_crop_keeps_labels_on_their_pixels(labelled: Path) -> None:
    picture, labels = read_sample(read_manifest(labelled)[0])
    for seed in range(8):
        crop, known = random_crop(picture, labels, np.random.default_rng(seed), 64)
        assert crop.shape == (3, 64, 64) and crop.dtype == np.float32 and 0 <= crop.min() <= crop.max() <= 1
        again = random_crop(picture, labels, np.random.default_rng(seed), 64)
        assert np.array_equal(crop, again[0]) and np.array_equal(known, again[1])
        if (known == 0).sum() > 50 and (known == 1).sum() > 50:
            assert crop[:, known == 1].mean() > 1.5 * crop[:, known == 0].mean()  # some are darkened


def test_crops_differ_between_epochs_and_are_deterministic(plan: list[Sample]) -> None:
    first = crop_of(plan, 0, seed=1, epoch=0, size=64)
    again = crop_of(plan, 0, seed=1, epoch=0, size=64)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    for other in (crop_of(plan, 0, 1, 1, 64), crop_of(plan, 0, 2, 0, 64), crop_of(plan, 2, 1, 0, 64)):
        assert not np.array_equal(first[0], other[0])


def test_overlays_change_the_labels(plan: list[Sample]) -> None:
    mixed = 0
    for epoch in range(40):
        crop, known = crop_of(plan, 0, 1, epoch, 64)
        plain, its = random_crop(*read_sample(plan[0]), np.random.default_rng((1, epoch, 0)), 64)
        laid = (crop != plain).any(axis=0)
        assert np.array_equal(known[~laid], its[~laid])
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
