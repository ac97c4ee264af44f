# SPDX-License-Identifier: Apache-2.0
"""Batches for the fluid network."""

from __future__ import annotations

from collections import Counter
from dataclasses import astuple, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from _films import supervision_of

from loopcore.training import fluid_batches
from loopcore.training.fluid_batches import Batch, TrainSettings, draw_batches
from loopcore.training.pictures import Sample, read_manifest
from loopcore.training.teachers import Taught

pytest.importorskip("cv2")
SETTINGS = TrainSettings(seed=3, steps=5, pictures=1, footage=2, side=64)


@pytest.fixture
def plan(labelled: Path) -> list[Sample]:
    return read_manifest(labelled)[:2]


@pytest.fixture(scope="module")
def footage() -> list[Taught]:
    classes = np.full((5, 16, 24), 0.2, np.float32)
    return [Taught(supervision_of(kind, 1, (64, 96)), classes) for kind in ("falls", "sea")]


def equal(one: Batch, other: Batch) -> bool:
    return all(
        (a is None and b is None) or (a is not None and b is not None and torch.equal(a, b))
        for a, b in zip(astuple(one), astuple(other), strict=True)
    )


def test_batches_are_determined_by_seed_and_step(plan: list[Sample], footage: list[Taught]) -> None:
    batches = list(draw_batches(plan, footage, SETTINGS))
    assert len(batches) == 5
    for steps in (5, 2):  # of a shorter run too
        again = list(draw_batches(plan, footage, replace(SETTINGS, steps=steps)))
        assert len(again) == steps and all(equal(one, other) for one, other in zip(again, batches, strict=False))
    assert not equal(batches[0], batches[1])
    (other,) = draw_batches(plan, footage, replace(SETTINGS, seed=4, steps=1))
    assert not equal(other, batches[0])


def test_shapes_and_the_share_of_pictures(plan: list[Sample], footage: list[Taught]) -> None:
    shapes = set()
    for batch in draw_batches(plan, footage, SETTINGS):
        assert batch.pictures is not None and batch.labels is not None and batch.picture_motion is not None
        assert batch.footage is not None and batch.motion is not None and batch.classes is not None
        assert batch.pictures.shape == (1, 3, 64, 64) and batch.pictures.dtype == torch.float32
        assert batch.labels.shape == (1, 5, 16, 16) and batch.picture_motion.shape == (1, 5, 8, 8)
        assert batch.picture_motion.dtype == torch.float32
        static = torch.nn.functional.avg_pool2d(batch.labels, 2)[:, 0] == 1
        assert (batch.picture_motion[:, 3][static] == 0).all() and (batch.picture_motion[:, 4][static] == 1).all()
        height, width = batch.footage.shape[2:]
        assert batch.footage.shape[:2] == (2, 3) and height % 32 == width % 32 == 0
        assert batch.motion.shape == (2, 5, height // 8, width // 8)
        assert batch.classes.shape == (2, 5, height // 4, width // 4)
        shapes.add((height, width))
    assert len(shapes) > 1


def test_pictures_only_take_the_place_of_footage(plan: list[Sample]) -> None:
    for batch in draw_batches(plan, [], SETTINGS):
        assert batch.footage is batch.motion is batch.classes is None
        assert batch.pictures is not None and len(batch.pictures) == 3


def test_footage_only(footage: list[Taught]) -> None:
    for batch in draw_batches([], footage, SETTINGS):
        assert batch.pictures is batch.labels is batch.picture_motion is None
        assert batch.footage is not None and len(batch.footage) == 2


def test_rare_kinds_and_small_scenes_are_drawn_more_often_than_they_are_frequent() -> None:
    one = supervision_of("sea", 1, (32, 32))
    # 16 rivers, of which nine are of one scene, four of a second and three of scenes of their own, and one fire
    scenes = ["a"] * 9 + ["b"] * 4 + ["c", "d", "e"]
    clips = [replace(one, name=f"river {i}", kind="river", scene=scene) for i, scene in enumerate(scenes)]
    clips.append(replace(one, name="fire", kind="fire", scene="a"))  # a scene of two kinds
    draw = fluid_batches._Draw([Taught(clip, np.zeros((5, 8, 8), np.float32)) for clip in clips])
    random = np.random.default_rng(1)
    drawn = [draw.clip(random).supervision for _ in range(20_000)]
    share = Counter(clip.kind for clip in drawn)["fire"] / len(drawn)
    assert share == pytest.approx(1 / (1 + 16**0.6), abs=0.01)
    rivers = Counter(clip.scene for clip in drawn if clip.kind == "river")
    for scene, weight in {"a": 3, "b": 2, "c": 1, "d": 1, "e": 1}.items():  # roots of the numbers of clips
        assert rivers[scene] / rivers.total() == pytest.approx(weight / 8, abs=0.015)
    each = Counter(clip.name for clip in drawn)
    assert len(each) == 17 and min(each.values()) > 500


def test_an_error_in_the_background_is_raised(plan: list[Sample], tmp_path: Path) -> None:
    from loopcore.errors import PlateError

    lost = [replace(plan[0], image=tmp_path / "none.png")]
    with pytest.raises(PlateError, match=r"none\.png"):
        list(draw_batches(lost, [], SETTINGS))
