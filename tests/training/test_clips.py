# SPDX-License-Identifier: Apache-2.0
"""Clips from films: search, refusal, and the error of their mean motion against the known one."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
from _films import film_of, write_film, write_flo
from PIL import Image

from loopcore.errors import MotionError, PlateError, SequenceError
from loopcore.training.clips import Clip, ClipSettings, read_clip, read_windows
from loopcore.training.mean_flow import average, given
from loopcore.training.synthetic import Scene, make_scene
from loopcore.training.video import find_clips, read_shots, scene_of, split_of

pytest.importorskip("cv2")
SIZE = (120, 160)


@pytest.fixture(scope="module")
def brook(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Scene]:
    path = tmp_path_factory.mktemp("films") / "brook_01.mp4"
    return path, film_of(path, "channel", 2, SIZE, 12)


def small(path: Path) -> Clip:
    return next(read_windows(path, ClipSettings(long_side=160)))


def grown(field: np.ndarray, height: int, width: int) -> np.ndarray:
    factor = height / len(field)
    planes = [Image.fromarray(np.ascontiguousarray(field[..., i], np.float32)) for i in (0, 1)]
    return np.stack([np.asarray(p.resize((width, height), Image.Resampling.BILINEAR)) for p in planes], -1) * factor


def test_clips_scenes_and_splits(tmp_path: Path) -> None:
    for name in ("a.mp4", "a_mask.mp4", "b.txt", "train/00001_00000_gt.mp4", "validation/x.gif", ".hidden/c.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "stills").mkdir()
    for name in ("stills/1.png", "stills/2.png", "train/cover.jpg"):
        (tmp_path / name).touch()
    names = [path.relative_to(tmp_path).as_posix() for path in find_clips(tmp_path)]
    assert names == ["a.mp4", "stills", "train/00001_00000_gt.mp4", "validation/x.gif"]
    assert scene_of(Path("00001_00000_gt.mp4")) == scene_of(Path("00001_00060_gt.mp4")) == "00001"
    assert scene_of(Path("brook.mp4")) == scene_of(Path("brook_2.mov")) == "brook"
    assert scene_of(Path("2019.mp4")) == "2019"
    assert split_of(tmp_path / "train" / "a.mp4", tmp_path, 1.0) == "train"
    assert split_of(tmp_path / "validation" / "x.gif", tmp_path, 0.0) == "val"
    with pytest.raises(SequenceError, match="contains no clips"):
        find_clips(tmp_path / "stills")
    with pytest.raises(SequenceError, match="not a folder"):
        find_clips(tmp_path / "none")


def test_split_of_a_scene_is_stable(tmp_path: Path) -> None:
    paths = [tmp_path / f"scene{name}_{i}.mp4" for name in map(chr, range(97, 197)) for i in range(3)]
    splits = {path: split_of(path, tmp_path, 0.4) for path in paths}
    for path in paths:
        assert splits[path] == splits[path.with_name(f"{scene_of(path)}_1.mp4")]
    count = {split: list(splits.values()).count(split) // 3 for split in ("train", "val", "test")}
    assert 45 <= count["train"] <= 75 and min(count.values()) >= 10
    assert {split_of(path, tmp_path, 0.0) for path in paths} == {"train"}
    # expected values are literal, since a change would mix the splits of existing data
    assert [split_of(tmp_path / f"{name}.mp4", tmp_path, 0.4) for name in ("brook", "river", "sky")] == [
        "train",
        "test",
        "val",
    ]


def test_repeats_are_dropped_and_cuts_found(brook: tuple[Path, Scene], tmp_path: Path) -> None:
    scene, other = brook[1], make_scene("falls", 3, *SIZE)
    frames = [scene.frame(t) for t in range(8)]
    frames = [frame for i, frame in enumerate(frames) for _ in range(2 if i % 3 == 1 else 1)]
    path = write_film(tmp_path / "mixed.mp4", [*frames, *(other.frame(t) for t in range(6))])
    shots = read_shots(path, 160, 60)
    assert [len(shot.frames) for shot in shots] == [8, 6]
    assert shots[0].numbers == (0, 1, 3, 4, 5, 7, 8, 9)  # 2, 6 and 10 are repeats
    assert np.abs(shots[1].frames[0].astype(int) - other.frame(0)).mean() < 6


def test_flicker_is_not_a_cut(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    flames = [np.full((*SIZE, 3), random.integers(40, 220), np.uint8) for _ in range(20)]
    assert len(read_shots(write_film(tmp_path / "flames.mp4", flames), 160, 60)) == 1


def test_mean_motion_is_close_to_the_known_one(brook: tuple[Path, Scene]) -> None:
    path, scene = brook
    clip = read_clip(path)
    assert clip.frames.shape == (12, 480, 640, 3) and clip.source == "DIS" and clip.name == "brook_01"
    truth = grown(scene.velocity, 480, 640)
    inner = np.asarray(Image.fromarray(scene.mask).resize((640, 480))) > 0.99
    inner[:40], inner[-40:], inner[:, :40], inner[:, -40:] = False, False, False, False
    error = np.hypot(*np.moveaxis(clip.velocity - truth, -1, 0))[inner]
    assert np.median(error) < 0.15 * np.hypot(*truth[inner].T).mean()
    moves = np.asarray(Image.fromarray(scene.mask).resize((640, 480))) > 0.5
    assert (clip.mask & moves).sum() / (clip.mask | moves).sum() > 0.8
    assert clip.steady and clip.steadiness > 0.9


def test_moving_camera_is_refused_with_a_reason(tmp_path: Path) -> None:
    ground = np.asarray(Image.fromarray(make_scene("eddies", 1, 200, 320).frame(0)))
    for name, step in (("pan", 3), ("slow", 1)):
        path = write_film(tmp_path / f"{name}.mp4", [ground[20:140, step * t : step * t + 160] for t in range(24)])
        clip = small(path)
        assert not clip.steady and "the camera moves" in clip.rejection
    wide = Image.fromarray(ground)
    zoom = [wide.resize((160, 120), box=(2 * t, t, 320 - 2 * t, 200 - t)) for t in range(20)]
    assert "the camera moves" in small(write_film(tmp_path / "zoom.mp4", map(np.asarray, zoom))).rejection
    shaken = [ground[20 + d : 140 + d, 20 - d : 180 - d] for d in (0, 3, -2, 4, 1, -3, 2, -4, 0, 3)]
    assert "the camera moves" in small(write_film(tmp_path / "hand.mp4", shaken)).rejection


@pytest.mark.parametrize("kind", ["falls", "river", "clouds", "sea"])
def test_fluids_are_not_camera_motion(kind: str, tmp_path: Path) -> None:
    film_of(tmp_path / "a.mp4", kind, 1, SIZE, 10, speed=2.0)
    assert "camera" not in small(tmp_path / "a.mp4").rejection


def test_unsteady_motion_is_refused(tmp_path: Path) -> None:
    random = np.random.default_rng(2)
    scenes = [make_scene("eddies", int(seed), *SIZE, speed=3.0) for seed in random.integers(99, size=10)]
    base = scenes[0].frame(0)
    from loopcore.transport import integrate, warp

    shaken = [warp(base.astype(np.float32), integrate(scene.velocity, 1.0)).astype(np.uint8) for scene in scenes]
    clip = small(write_film(tmp_path / "fire.mp4", shaken))
    assert not clip.steady and "one field explains" in clip.rejection


def test_outliers_are_excluded() -> None:
    flow = np.zeros((20, 40, 60, 2), np.float32)
    flow[..., 0] = 1.0
    for t in range(20):
        flow[t, 10:20, 3 * t : 3 * t + 6] = (-6, 2)
    known = np.ones(flow.shape[:3], bool)
    known[3:9] = False
    flow[3:9] += 0.3  # excluded as unknown, unless most are
    truth = average(flow, known)
    assert np.abs(truth.velocity - (1, 0)).max() < 0.01
    assert truth.mask.all() and truth.steadiness > 0.95
    assert np.isnan(given(truth.velocity).steadiness)


def test_flow_files_beside_the_clip(brook: tuple[Path, Scene], tmp_path: Path) -> None:
    path = tmp_path / "brook_01.mp4"
    shutil.copy(brook[0], path)
    truth = brook[1].velocity
    folder = tmp_path / "brook_01_flow"
    folder.mkdir()
    for i in range(10):
        write_flo(folder / f"{i:03}.flo", truth)
    with pytest.raises(MotionError, match="10 .flo files, but 11 are needed"):
        small(path)
    write_flo(folder / "010.flo", truth)
    clip = small(path)
    assert clip.source == "brook_01_flow" and clip.steadiness > 0.999
    assert np.abs(clip.velocity - truth).max() < 0.01
    write_flo(tmp_path / "brook_01_motion.flo", truth * 2)
    clip = small(path)
    assert clip.source == "brook_01_motion.flo" and np.isnan(clip.steadiness) and clip.steady
    assert np.abs(clip.velocity - 2 * truth).max() < 0.02


def test_released_layout(brook: tuple[Path, Scene], tmp_path: Path) -> None:
    lz4 = pytest.importorskip("lz4.frame")
    (tmp_path / "train").mkdir()
    path = tmp_path / "train" / "00001_00000_gt.mp4"
    shutil.copy(brook[0], path)
    flow = brook[1].velocity.transpose(2, 0, 1)[None]
    (tmp_path / "train" / "00001_00000_motion.pth").write_bytes(lz4.compress(pickle.dumps(flow)))
    clip = small(find_clips(tmp_path)[0])
    assert (clip.name, clip.source) == ("00001_00000", "00001_00000_motion.pth")
    assert np.abs(clip.velocity - brook[1].velocity).max() < 0.01


def test_windows_of_a_long_clip(brook: tuple[Path, Scene]) -> None:
    windows = list(read_windows(brook[0], ClipSettings(long_side=96, frames=5, windows=3, least=3)))
    assert [(w.name, len(w.frames)) for w in windows] == [("brook_01", 5), ("brook_01.1", 5)]  # two frames remain
    assert all(isinstance(w, Clip) and w.frames.shape[1:] == (72, 96, 3) for w in windows)
    with pytest.raises(PlateError, match="has 12 frame"):
        next(read_windows(brook[0], ClipSettings(least=30)))


def test_unreadable_clips_are_refused(brook: tuple[Path, Scene], tmp_path: Path) -> None:
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"no film" * 50)
    with pytest.raises(PlateError, match="bad.mp4 cannot be read"):
        small(bad)
    cut = tmp_path / "cut.avi"
    write_film(cut, (brook[1].frame(t) for t in range(8)))
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size * 3 // 4])
    assert 2 <= len(small(cut).frames) <= 8
