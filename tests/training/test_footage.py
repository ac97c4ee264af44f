# SPDX-License-Identifier: Apache-2.0
"""Supervision from clips: what is measured, the cache of prepared clips, and the lists of clips."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from _films import write_pictures

from loopcore.errors import LoopcoreError, MotionError, PlateError, SequenceError
from loopcore.training import footage
from loopcore.training.estimators import Dis, Estimator, Farneback
from loopcore.training.footage import Listed, Supervision, list_footage, measure, prepare_footage
from loopcore.training.learned_flow import LearnedFlow
from loopcore.training.synthetic import make_scene

pytest.importorskip("cv2")
SIZE = (96, 128)
ESTIMATORS: tuple[Estimator, Estimator] = (Dis(), Farneback())


class Turned(Farneback):
    """Another estimator, with the opposite sign right of column 64."""

    name = "turned"

    def calc(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        flow = super().calc(a, b)
        flow[:, 64:] *= -1
        return flow


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Listed:
    """A sea of 10 frames."""
    path = tmp_path_factory.mktemp("clips") / "sea_1"
    return Listed(write_pictures(path, make_scene("sea", 4, *SIZE, speed=1.5).frames(10, 1)), "sea", "made up")


@pytest.fixture(scope="module")
def measured(clip: Listed) -> Supervision:
    return measure(clip, *ESTIMATORS)


def shifted(steps: tuple[int, ...]) -> np.ndarray:
    """Frames of a texture that moves to the right by each step, except for black left of column 40."""
    from scipy.ndimage import gaussian_filter

    wide = gaussian_filter(np.random.default_rng(1).normal(size=(96, 400)), 1.5)
    grey = (128 + 45 * wide / wide.std()).clip(0, 255).astype(np.uint8)
    frames = np.stack([np.roll(grey, sum(steps[:n]), axis=1)[:, 100:228] for n in range(len(steps) + 1)])
    frames[:, :, :40] = 0
    return np.repeat(frames[..., None], 3, axis=-1)


def test_motion_of_a_made_up_sea_is_measured(measured: Supervision) -> None:
    scene = make_scene("sea", 4, *SIZE, speed=1.5)
    water, shore = scene.mask > 0.5, scene.mask < 0.01
    assert (measured.name, measured.kind, measured.scene) == ("sea_1", "sea", "made up")
    assert measured.frames.shape == (6, *SIZE, 3) and measured.frames.dtype == np.uint8
    assert (measured.moving & water).sum() / (measured.moving | water).sum() > 0.8
    assert measured.still[shore].mean() > 0.6 and not (measured.still & (water | measured.moving)).any()
    trusted = measured.trust > 0.7
    assert trusted[water].mean() > 0.8 and not measured.trust[~measured.moving].any() and measured.trust.max() <= 1
    error = np.hypot(*np.moveaxis(measured.velocity - scene.velocity, -1, 0))[trusted & water]
    assert np.median(error) < 0.1 < 1.4 < np.hypot(*np.moveaxis(scene.velocity, -1, 0))[trusted & water].mean()


def test_kept_frames_are_spread_over_the_clip(clip: Listed, measured: Supervision) -> None:
    scene = make_scene("sea", 4, *SIZE, speed=1.5)
    frames = scene.frames(10, 1)
    assert np.array_equal(measured.frames[0], frames[0]) and np.array_equal(measured.frames[-1], frames[-1])


def test_motion_is_not_trusted_where_the_second_estimator_differs(clip: Listed, measured: Supervision) -> None:
    doubtful = measure(clip, Dis(), Turned())
    assert np.array_equal(doubtful.velocity, measured.velocity) and np.array_equal(doubtful.moving, measured.moving)
    assert np.array_equal(doubtful.trust[:, :60], measured.trust[:, :60]) and measured.trust[:, 68:].any()
    assert not (doubtful.trust * measured.trust)[:, 68:].any()


def test_trust_is_the_energy_that_the_mean_explains(tmp_path: Path) -> None:
    steady = measure(Listed(write_pictures(tmp_path / "a", shifted((2,) * 8)), "river", "a"), *ESTIMATORS)
    wavering = measure(Listed(write_pictures(tmp_path / "b", shifted((1, 3) * 4)), "river", "b"), *ESTIMATORS)
    inside = (slice(16, 80), slice(60, 112))
    for found in (steady, wavering):
        assert found.velocity[inside] == pytest.approx(np.broadcast_to((2, 0), (64, 52, 2)), abs=0.15)
    # steps of 1 and 3: the mean has the energy 4 of (1 + 9) / 2
    assert steady.trust[inside].min() > 0.97 and wavering.trust[inside] == pytest.approx(0.8, abs=0.05)
    assert not steady.moving[:, :36].any() and steady.moving[inside].all()  # flow spreads over black, beyond column 36


@pytest.mark.parametrize("frames", [1, 5])
def test_clips_without_two_different_frames_are_refused(tmp_path: Path, frames: int) -> None:
    path = write_pictures(tmp_path / "frozen", np.full((frames, *SIZE, 3), 90, np.uint8))
    with pytest.raises(PlateError, match="frozen has no two different frames"):
        measure(Listed(path, "sea", "frozen"), *ESTIMATORS)


def test_prepared_clips_are_read_again(clip: Listed, measured: Supervision, tmp_path: Path) -> None:
    cache, seen = tmp_path / "new" / "cache", []
    (found,) = prepare_footage([clip], cache, ESTIMATORS, lambda done, total: seen.append((done, total)))
    (file,) = cache.iterdir()
    assert file.name.startswith("sea_1-") and seen == [(1, 1)]
    assert found.velocity == pytest.approx(measured.velocity, rel=1e-3, abs=1e-4)  # half precision
    assert found.trust == pytest.approx(measured.trust, abs=1e-3) and found.trust.dtype == np.float32
    for name in ("frames", "moving", "still"):
        assert np.array_equal(getattr(found, name), getattr(measured, name))
    before = file.stat()
    renamed = replace(clip, kind="lake", scene="other")  # not measured, so not a reason to measure again
    (again,) = prepare_footage([renamed], cache, ESTIMATORS)
    assert file.stat().st_mtime_ns == before.st_mtime_ns and list(cache.iterdir()) == [file]
    assert np.array_equal(again.velocity, found.velocity) and (again.kind, again.scene) == ("lake", "other")


def test_damaged_prepared_clip_is_named(clip: Listed, tmp_path: Path) -> None:
    prepare_footage([clip], tmp_path, ESTIMATORS)
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:-99])
    with pytest.raises(MotionError, match=f"{file.name} is damaged .*: delete it and train again"):
        prepare_footage([clip], tmp_path, ESTIMATORS)


def test_clips_are_measured_again_if_they_or_the_estimators_change(clip: Listed, tmp_path: Path) -> None:
    moved = replace(clip, path=Path(shutil.copytree(clip.path, tmp_path / clip.path.name)))
    keys = {footage._key(moved.path, ESTIMATORS)}
    keys.add(footage._key(moved.path, (Farneback(), Dis())))
    keys.add(footage._key(moved.path, (Dis(), Turned())))
    for weights in ("a.ckpt 7 1", "a.ckpt 7 2"):
        keys.add(footage._key(moved.path, (Dis(), LearnedFlow("ptlflow:pwcnet", torch.nn.Identity(), weights))))
    os.utime(moved.path, ns=(1, 1))
    keys.add(footage._key(moved.path, ESTIMATORS))
    assert len(keys) == 6


def test_clips_in_which_nothing_moves_are_left_out(clip: Listed, tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    still = random.integers(0, 200, (*SIZE, 3)) + random.integers(0, 3, (6, *SIZE, 3))
    frozen = Listed(write_pictures(tmp_path / "frozen", still.astype(np.uint8)), "sea", "frozen")
    found = prepare_footage([frozen, clip], tmp_path / "cache", ESTIMATORS)
    assert [one.name for one in found] == ["sea_1"] and len(list((tmp_path / "cache").iterdir())) == 2


def test_unusable_paths_are_named(clip: Listed, tmp_path: Path) -> None:
    with pytest.raises(PlateError, match="clip none.mp4 cannot be read"):
        prepare_footage([replace(clip, path=Path("none.mp4"))], tmp_path, ESTIMATORS)
    (tmp_path / "text.mp4").write_text("no video", "utf-8")
    with pytest.raises(PlateError, match="text.mp4 cannot be read"):
        prepare_footage([replace(clip, path=tmp_path / "text.mp4")], tmp_path, ESTIMATORS)
    with pytest.raises(SequenceError, match="cannot make folder"):
        prepare_footage([clip], tmp_path / "text.mp4", ESTIMATORS)


def manifest(folder: Path, rows: tuple[str, ...], columns: str = "clip,kind,split,repository") -> Path:
    (folder / "manifest.csv").write_text("\n".join((columns, *rows)), "utf-8")
    return folder


def test_footage_is_listed_by_split_with_its_scenes(tmp_path: Path) -> None:
    rows = ("a.mp4,fall,train,brooks", "b_gt.mp4,sea,val,seas", "c/d.mp4,sky,train,", "e,fire,train,brooks")
    manifest(tmp_path, rows)
    assert list_footage(tmp_path, "train") == [
        Listed(tmp_path / "a.mp4", "fall", "brooks"),
        Listed(tmp_path / "c" / "d.mp4", "sky", "d"),
        Listed(tmp_path / "e", "fire", "brooks"),
    ]
    assert [one.scene for one in list_footage(tmp_path, "val")] == ["seas"]
    # names of other splits may be excluded too, so that one list serves all
    assert [one.path.name for one in list_footage(tmp_path, "train", ("a", "b", "e"))] == ["d.mp4"]
    manifest(tmp_path, ("a_gt.mp4,fall,train", "b.mp4,sea,train"), "clip,kind,split")
    assert [one.scene for one in list_footage(tmp_path, "train")] == ["a", "b"]


@pytest.mark.parametrize(
    ("rows", "without", "message"),
    [
        ((), (), "lists no clips"),
        (("a.mp4,fall,val,r",), (), "has no clips in the split 'train'"),
        (("a.mp4,fall,train,r",), ("a",), "has no clips in the split 'train'"),
        (("a.mp4,fall,train,r",), ("a.mp4", "x"), "has no clip a.mp4, x to leave out"),
        (("../a.mp4,fall,train,r",), (), "not in its folder"),
    ],
)
def test_unusable_lists_are_refused(
    tmp_path: Path, rows: tuple[str, ...], without: tuple[str, ...], message: str
) -> None:
    with pytest.raises(LoopcoreError, match=message):
        list_footage(manifest(tmp_path, rows), "train", without)


def test_a_list_needs_its_columns(tmp_path: Path) -> None:
    with pytest.raises(PlateError, match="no column 'kind': it needs clip, kind and split"):
        list_footage(manifest(tmp_path, ("a.mp4,train",), "clip,split"), "train")
    with pytest.raises(PlateError, match="manifest.csv"):
        list_footage(tmp_path / "none", "train")
