# SPDX-License-Identifier: Apache-2.0
"""Training of the motion generator: it overfits two films, and interrupted runs resume exactly."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from _films import film_of
from PIL import Image

from loopcore.cli.main import main
from loopcore.errors import EngineError, MotionError
from loopcore.motion.field import MotionField
from loopcore.motion.generator import GeneratorSettings, load_generator
from loopcore.motion.predict import predict_motion
from loopcore.training.clips import ClipSettings, read_windows
from loopcore.training.config import DataSettings, FieldConfig, LossSettings, RunSettings, checked, read_config
from loopcore.training.dataset import Dataset, prepare_dataset, read_example
from loopcore.training.evaluate_motion import frame_to_plate
from loopcore.training.losses import (
    Discriminator,
    end_point_error,
    least_squares_loss,
    matching_loss,
    moving_loss,
    relative_error,
)
from loopcore.training.sampling import Sampler, centre_crops, mirrored
from loopcore.training.synthetic import Scene
from loopcore.training.train_generator import Callbacks, Trainer, choose_precision, train_generator

SIZE = (72, 96)


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Scene]]:
    pytest.importorskip("cv2")
    home = tmp_path_factory.mktemp("films")
    kinds = {"fall": ("falls", 1), "brook": ("channel", 2)}
    scenes = {name: film_of(home / f"{name}.mp4", *kind, SIZE, 13) for name, kind in kinds.items()}
    # flow is measured for the brook only, since the fall's streaks are too long for that at this size
    shown = scenes["fall"].velocity * (scenes["fall"].mask > 0.5)[..., None]
    (home / "fall_motion.flo").write_bytes(b"PIEH" + np.array(SIZE[::-1], "<i4").tobytes() + shown.tobytes())
    return home, scenes


SETTINGS = """
[data]
clips = "films"
long_side = 96
flow_side = 96    # the films' size
side = 64
held_out = 0      # both films are for training
synthetic = 0

[model]
width = 8
widest = 64
halvings = 3
blocks = 2

[loss]
scales = 0        # no discriminator
moving = 3

[run]
steps = 300
batch = 4
learning_rate = 0.003
average = 0.98
device = "cpu"
threads = 1
log = 20
sample = 150
save = 100
"""


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    return float((one & other).sum() / (one | other).sum())


def turned(true: np.ndarray, guess: np.ndarray) -> float:
    """Returns the median angle between vectors, degrees."""
    return float(np.median(np.degrees(np.abs(np.angle((true @ [1, 1j]) * (guess @ [1, -1j]))))))


def curve(folder: Path) -> list[dict[str, str]]:
    with (folder / "curve.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_two_films_are_overfitted(
    films: tuple[Path, dict[str, Scene]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home, scenes = films
    shutil.copytree(home, tmp_path / "films")
    (tmp_path / "run.toml").write_text(SETTINGS, "utf-8")
    started = time.process_time()
    assert main(["train", str(tmp_path / "run.toml"), "-o", str(tmp_path / "run")]) == 0
    assert time.process_time() - started < 120
    said = capsys.readouterr().out
    assert "2 clips (2 train, 0 val, 0 test)" in said and "step 300 of 300: loss" in said and " left" in said
    errors = [float(row["end_point"]) for row in curve(tmp_path / "run")]
    assert errors[-1] < 0.45 * errors[0] and len(errors) == 15
    assert Image.open(tmp_path / "run" / "samples" / "step_0000300.png").size == (3 * 64 + 8, 2 * 64 + 4)
    weights = tmp_path / "run" / "generator.safetensors"
    assert load_generator(weights)[0].settings.side == 96
    for name, scene in scenes.items():
        plate = tmp_path / f"{name}.png"
        Image.fromarray(scene.frame(0)).save(plate)
        assert main(["predict", str(plate), "--weights", str(weights), "-o", str(tmp_path / "m.exr")]) == 0
        motion = MotionField.load(tmp_path / "m.exr")
        inner = scene.mask > 0.99
        true, guess = scene.velocity[inner], motion.velocity[inner]
        error = np.hypot(*(guess - true).T).mean() / np.hypot(*true.T).mean()
        assert error < 0.5 and turned(true, guess) < 15 and overlap(motion.mask > 0.5, scene.mask > 0.5) > 0.6, name


@pytest.mark.slow
def test_two_real_films_are_overfitted(corpus: Path, tmp_path: Path) -> None:
    pytest.importorskip("cv2")
    home = tmp_path / "films"
    home.mkdir()
    for name in ("dyntex_6486110_fountain.avi", "smoke_plume_1.gif"):
        if not (corpus / "clips" / name).is_file():
            absent = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
            absent(f"no clip {name} in {corpus}")
        shutil.copy(corpus / "clips" / name, home / name)
    data = DataSettings(clips=home, long_side=96, side=64, frames=12, windows=1, held_out=0.0, synthetic=0)
    run = RunSettings(steps=400, batch=4, learning_rate=3e-3, average=0.98, device="cpu", threads=1, log=20)
    model = GeneratorSettings(width=8, widest=64, halvings=3, blocks=2)
    config = checked(FieldConfig(data, model, LossSettings(scales=0, moving=3.0), run))
    result = train_generator(config, tmp_path / "run")
    errors = [float(row["end_point"]) for row in curve(tmp_path / "run")]
    assert errors[-1] < 0.7 * errors[0]
    for path in sorted(home.iterdir()):
        clip = next(read_windows(path, ClipSettings(640, 12)))
        motion = predict_motion(frame_to_plate(clip.frames[0]), weights=result.weights)
        assert overlap(motion.mask > 0.5, clip.mask) > 0.5, path.name
        assert turned(clip.velocity[clip.mask], motion.velocity[clip.mask]) < 35, path.name


def small(folder: Path, **changes: object) -> FieldConfig:
    data = DataSettings(clips=folder, long_side=64, flow_side=64, side=32, held_out=0.0, synthetic=3, kept=2)
    run = RunSettings(steps=11, batch=2, accumulate=2, device="cpu", threads=1, log=3, validate=6, sample=50, save=4)
    config = FieldConfig(data, GeneratorSettings(4, 8, 2, 1), LossSettings(scales=2, width=4), replace(run, **changes))
    return checked(config)


class Killed(Exception):
    """Simulates a power failure: no handler of the run catches it."""


def test_killed_run_resumes_to_the_same_result(films: tuple[Path, dict[str, Scene]], tmp_path: Path) -> None:
    config, cache = small(films[0]), tmp_path / "cache"
    whole = train_generator(config, tmp_path / "whole", cache)
    assert whole.step == 11 and not whole.stopped

    def die(what: str, done: int, total: int) -> None:
        if what == "train" and done == 7:  # after the checkpoint of step 4 and the row of metrics of step 6
            raise Killed

    with pytest.raises(Killed):
        train_generator(config, tmp_path / "cut", cache, Callbacks(progress=die))
    assert [row["step"] for row in curve(tmp_path / "cut")] == ["3", "6"]
    asked = iter([False, False, True])  # then Ctrl-C, between two rows of metrics
    stopped = train_generator(config, tmp_path / "cut", cache, Callbacks(stop_requested=lambda: next(asked)))
    assert stopped.stopped and stopped.step == 6 and stopped.weights.is_file()
    resumed = train_generator(config, tmp_path / "cut", cache)
    assert resumed.step == 11
    assert (tmp_path / "cut" / "curve.csv").read_bytes() == (tmp_path / "whole" / "curve.csv").read_bytes()
    one, other = (load_generator(tmp_path / name / "generator.safetensors")[0] for name in ("whole", "cut"))
    for name, value in one.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]), name
    assert len(list((tmp_path / "cut").glob("checkpoint_*"))) == 1


def test_killed_process_leaves_a_valid_checkpoint(films: tuple[Path, dict[str, Scene]], tmp_path: Path) -> None:
    text = SETTINGS.replace('"films"', f"'{films[0].as_posix()}'").replace("save = 100", "save = 2")
    (tmp_path / "run.toml").write_text(text.replace("steps = 300", "steps = 100000"), "utf-8")
    command = [sys.executable, "-m", "loopcore", "train", str(tmp_path / "run.toml"), "-o", str(tmp_path / "run")]
    for end in (signal.SIGTERM, getattr(signal, "SIGKILL", signal.SIGTERM)):
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            for line in process.stdout:
                if line.startswith("step "):
                    break
            process.send_signal(end)
            said = process.stdout.read()
            process.wait(60)
        if end == signal.SIGTERM and os.name != "nt":
            assert process.returncode == 143 and "the same command continues from there" in said
            assert (tmp_path / "run" / "generator.safetensors").is_file()
    trainer = Trainer(small_of(tmp_path / "run.toml"), tmp_path / "run")
    assert trainer.step > 20
    assert not [p for p in (tmp_path / "run").glob("checkpoint_*") if p.stat().st_size == 0]


def small_of(path: Path) -> FieldConfig:
    config = read_config(path)
    assert isinstance(config, FieldConfig)
    return config


def test_another_run_in_the_same_folder_is_refused(films: tuple[Path, dict[str, Scene]], tmp_path: Path) -> None:
    config, cache = small(films[0], steps=4), tmp_path / "cache"
    train_generator(config, tmp_path / "run", cache)
    with pytest.raises(MotionError, match=r"run.learning_rate = 0.0002, not 0.01"):
        train_generator(small(films[0], steps=4, learning_rate=0.01), tmp_path / "run", cache)
    assert train_generator(small(films[0], steps=6), tmp_path / "run", cache).step == 6  # more steps continue the run
    state = tmp_path / "run" / "state.json"
    saved = json.loads(state.read_text("utf-8"))
    assert saved["config"]["data"].pop("flow") == "dis"  # a run of a version without this entry
    state.write_text(json.dumps(saved), "utf-8")
    assert train_generator(small(films[0], steps=6), tmp_path / "run", cache).step == 6
    other = small(films[0], steps=6)
    with pytest.raises(MotionError, match="data.flow = 'dis', not 'farneback'"):
        train_generator(replace(other, data=replace(other.data, flow="farneback")), tmp_path / "run", cache)
    state.write_text(json.dumps(saved | {"config": {"data": "x"}}), "utf-8")
    with pytest.raises(MotionError, match="settings of the checkpoint in .* are damaged"):
        train_generator(other, tmp_path / "run", cache)
    state.write_text(state.read_text("utf-8")[:50], "utf-8")
    with pytest.raises(MotionError, match="cannot be read"):
        train_generator(small(films[0], steps=6), tmp_path / "run", cache)


def test_prepared_clips_are_reused_until_they_change(films: tuple[Path, dict[str, Scene]], tmp_path: Path) -> None:
    home = tmp_path / "films"
    shutil.copytree(films[0], home)
    (home / "torn.mp4").write_bytes(b"torn" * 99)
    settings = replace(small(home).data, synthetic=2)
    pairs = prepare_dataset(settings, tmp_path / "cache")
    assert sorted(p.name for p in pairs.clips) == ["brook", "fall"] and [p.name for p in pairs.synthetic] == [
        "channel 0", "river 1"]  # fmt: skip
    assert [name for name, _ in pairs.refused] == ["torn"] and "cannot be read" in pairs.refused[0][1]
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").iterdir()}
    assert prepare_dataset(settings, tmp_path / "cache") == pairs
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").iterdir()} == before
    shutil.copy(home / "fall.mp4", home / "torn.mp4")
    again = prepare_dataset(settings, tmp_path / "cache")
    assert len(again.clips) == 3 and not again.refused
    picture, velocity, mask = read_example(again.clips[0], 1)
    assert picture.shape == (48, 64, 3) and velocity.shape == (48, 64, 2) and set(np.unique(mask)) <= {0, 1}
    assert np.abs(velocity[mask == 0]).max() == 0
    again.clips[0].file.write_bytes(b"x")
    with pytest.raises(MotionError, match="damaged"):
        read_example(again.clips[0], 1)


def test_synthetic_scenes_over_photographs(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    settings = DataSettings(long_side=64, side=32, synthetic=2, kept=1, backgrounds=photos)
    with pytest.raises(MotionError, match="photos contains no pictures"):
        prepare_dataset(settings, tmp_path / "cache")
    photos.mkdir()
    Image.new("RGB", (90, 50), (10, 200, 30)).save(photos / "lawn.png")
    for pair in prepare_dataset(settings, tmp_path / "cache").synthetic:
        picture, velocity, mask = read_example(pair, 0)
        still = np.hypot(velocity[..., 0], velocity[..., 1]) == 0
        assert (np.abs(picture[still].astype(int) - (10, 200, 30)).max(axis=1) < 2).mean() > 0.8
        assert 0 < mask.mean() < 1
    (photos / "lawn.png").write_bytes(b"torn")
    with pytest.raises(MotionError, match="lawn.png cannot be read"):
        prepare_dataset(settings, tmp_path / "other")


def test_crops_depend_only_on_seed_and_step(films: tuple[Path, dict[str, Scene]], tmp_path: Path) -> None:
    settings = small(films[0]).data
    pairs = prepare_dataset(settings, tmp_path)
    one, same, other = (Sampler(pairs, settings, seed) for seed in (1, 1, 2))
    for a, b in zip(one.crop(5, 1), same.crop(5, 1), strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(one.crop(5, 1)[0], other.crop(5, 1)[0])
    batches = list(one.batches(range(3, 8), 2, 2))
    assert len(batches) == 5 and torch.equal(batches[2][0][1], same.crop(5, 1)[0][0])
    for pictures, velocity, mask in batches:
        assert pictures.shape == (2, 3, 32, 32) and velocity.shape == (2, 2, 32, 32) and mask.shape == (2, 1, 32, 32)
        assert 0 <= pictures.min() and pictures.max() <= 1
    flipped = mirrored(batches[0])
    assert torch.equal(flipped[1][:, 0], -batches[0][1][:, 0].flip(-1))
    with pytest.raises(MotionError, match=r"nothing to train on: 0 clips.*1 refused \(a: why\)"):
        Sampler(Dataset((), (), (("a", "why"),)), settings, 1)
    # at half the size motion is half as fast
    whole = centre_crops(pairs.clips[:1], replace(settings, side=48), 1)[0]
    half = centre_crops(pairs.clips[:1], replace(settings, side=24), 1)[0]
    assert half[1].shape[-1] == 24 and whole[1].shape[-1] == 48


def test_losses() -> None:
    truth = torch.zeros(1, 2, 64, 64)
    truth[:, 0] = 3
    assert end_point_error(torch.zeros_like(truth), truth) == 3
    assert end_point_error(truth + torch.tensor([3.0, 4.0])[:, None, None], truth) == 5
    # relative to speed, and without division by zero in a still crop
    mask = torch.ones(1, 1, 64, 64)
    assert relative_error(0.5 * truth, truth, mask) == relative_error(0.25 * truth, 0.5 * truth, mask) == 0.5
    assert relative_error(0 * truth, 0 * truth, 0 * mask) == 0
    mask = torch.ones(1, 1, 8, 8)
    assert moving_loss(9 * mask, mask) < 0.01 < moving_loss(-9 * mask, mask)
    torch.manual_seed(1)
    discriminator = Discriminator(4, 2)
    pictures = torch.rand(1, 3, 64, 64)
    real, made = discriminator(pictures, truth), discriminator(pictures, 0 * truth)
    assert len(real) == 2 and len(real[0]) == 5 and real[1][0].shape[-1] < real[0][0].shape[-1]
    assert matching_loss(real, real) == 0 < matching_loss(made, real)
    one = [[torch.ones(1, 1, 4, 4)]]
    assert least_squares_loss(one, True) == 0 and least_squares_loss(one, False) == 1


def test_discriminator_learns(films: tuple[Path, dict[str, Scene]], tmp_path: Path) -> None:
    train_generator(small(films[0], steps=60, accumulate=1, learning_rate=1e-3), tmp_path / "run", tmp_path / "cache")
    rows = curve(tmp_path / "run")
    assert all(0 < float(row["discriminator"]) < 1 for row in rows[3:])
    assert np.mean([float(row["discriminator"]) for row in rows[-5:]]) < float(rows[0]["discriminator"])
    assert [row["val_error"] != "" for row in rows[:4]] == [False, False, False, False]  # no scene is held out


def test_unavailable_devices_and_precisions_are_refused(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="device 'warp' is not available"):
        Trainer(small(tmp_path, device="warp"), tmp_path)
    with pytest.raises(EngineError, match="needs an NVIDIA GPU"):
        choose_precision("float16", torch.device("cpu"))
    assert choose_precision("auto", torch.device("cpu")) == torch.float32


def test_half_precision_learns_too(films: tuple[Path, dict[str, Scene]], tmp_path: Path) -> None:
    config = small(films[0], steps=6, precision="bfloat16")
    assert train_generator(config, tmp_path / "run", tmp_path / "cache").step == 6
    assert all(np.isfinite(float(row["loss"])) for row in curve(tmp_path / "run"))
