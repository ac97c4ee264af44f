# SPDX-License-Identifier: Apache-2.0
"""Training of the fluid network on pictures and footage: what is learned, what stays, files and errors."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from _films import supervision_of, write_pictures
from torch import Tensor

from loopcore.cli.main import main
from loopcore.errors import LoopcoreError, MotionError
from loopcore.motion.estimate import shipped_network
from loopcore.motion.networks import CLASSES, EARLY, FluidNet, load_weights, save_weights
from loopcore.training import fluid_batches
from loopcore.training import train_fluid as train_fluid_module
from loopcore.training.config import FluidConfig
from loopcore.training.evaluate_segmentation import evaluate_segmentation
from loopcore.training.fluid_batches import Batch, TrainSettings, draw_batches
from loopcore.training.motion_losses import motion_losses
from loopcore.training.pictures import Sample, read_manifest
from loopcore.training.synthetic import make_scene
from loopcore.training.teachers import Taught
from loopcore.training.train_fluid import fit_network, new_network, segmentation_loss, train_fluid

SETTINGS = TrainSettings(seed=3, steps=3, pictures=1, footage=2, side=64, alone=0)


@pytest.fixture(autouse=True)
def small_crops(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes crops of footage small, which training does not depend on."""
    monkeypatch.setattr(fluid_batches, "_SIZES", ((64, 96), (96, 64)))


@pytest.fixture
def plan(labelled: Path) -> list[Sample]:
    return [s for s in read_manifest(labelled) if s.split == "train"] * 3


@pytest.fixture(scope="module")
def footage() -> list[Taught]:
    """A sea and falls, with their true motion and classes."""
    found = []
    for kind, index in (("sea", 1), ("falls", 1)):
        clip = supervision_of(kind, 5, (64, 96))
        classes = np.zeros((5, 64, 96), np.float32)
        classes[0], classes[index] = ~clip.moving, clip.moving
        found.append(Taught(clip, classes))
    return found


def state(network: FluidNet) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in network.state_dict().items()}


def changed(before: dict[str, Tensor], network: FluidNet) -> set[str]:
    return {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}


def parts(names: set[str]) -> set[str]:
    """The modules of weights: decoder, motion, and the encoder's stages."""
    return {".".join(name.split(".")[:3]) if name.startswith("encoder") else name.split(".")[0] for name in names}


LATE = {f"encoder.stages.{stage}" for stage in range(EARLY, 7)}


def test_loss_is_lower_for_correct_scores_and_ignores_unknown_pixels() -> None:
    target = torch.zeros(1, 5, 4, 4)
    target[:, 1, :2] = 1  # the lower half is unknown
    right, wrong = torch.zeros(1, 5, 4, 4), torch.zeros(1, 5, 4, 4)
    right[:, 1], wrong[:, 2] = 9, 9
    assert segmentation_loss(right, target, 0.5) < 0.01 < segmentation_loss(wrong, target, 0.5)
    unknown_wrong = right.clone()
    unknown_wrong[:, :, 2:] = wrong[:, :, 2:]
    assert torch.allclose(segmentation_loss(unknown_wrong, target, 0.5), segmentation_loss(right, target, 0.5))


def test_training_on_pictures_lowers_the_loss_and_is_deterministic(plan: list[Sample]) -> None:
    network, twin = new_network(3), new_network(3)
    before = state(network)
    reported: list[str] = []
    settings = replace(SETTINGS, steps=10, save=5, footage=1, average=0.5, decoder_rate=2e-3)
    losses = fit_network(network, plan, [], settings, lambda what, done, total: reported.append(what))
    means = [float(what.removeprefix("classes ")) for what in reported if what != "train"]
    assert len(means) == 2 and means[1] < 0.8 * means[0] and losses["classes"] == pytest.approx(means[-1], abs=1e-4)
    assert reported.count("train") == 10
    assert fit_network(twin, plan, [], settings) == losses and not changed(state(network), twin)
    # the motion decoder was never trained, so that it does not depend on the encoder
    assert parts(changed(before, network)) == {"decoder", *LATE} and not network.has_motion
    assert "decoder.scores.weight" in changed(state(new_network(4)), new_network(3))


def test_training_on_pictures_leaves_a_trained_motion_as_it_is(plan: list[Sample]) -> None:
    network = new_network(3)
    network.has_motion = True
    before, picture = state(network), torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    motion = network(picture)[1]
    fit_network(network, plan, [], SETTINGS)
    assert parts(changed(before, network)) == {"decoder"} and network.has_motion
    after = network(picture)[1]
    for name in ("moving", "axis", "direction", "speed"):
        assert torch.equal(getattr(motion, name), getattr(after, name))
    assert not network.training and not any(value.requires_grad for value in network.parameters())


def test_training_on_footage_lowers_the_losses_of_motion_and_is_deterministic(footage: list[Taught]) -> None:
    network, twin = new_network(3), new_network(3)
    before = state(network)
    (checked,) = draw_batches([], footage, replace(SETTINGS, seed=99, steps=1, footage=6))
    assert checked.footage is not None and checked.motion is not None
    untrained, unseen = motion_losses(network(checked.footage)[1], checked.motion), _agreeing(network, checked)
    settings = replace(SETTINGS, steps=24, average=0.8)
    losses = fit_network(network, [], footage, settings)
    trained = motion_losses(network(checked.footage)[1], checked.motion)
    assert trained["moving"] < 0.8 * untrained["moving"] and trained["speed"] < untrained["speed"]
    for name in ("axis", "direction"):
        assert trained[name] < untrained[name] - 0.2, name
    assert losses.keys() == {"moving", "axis", "direction", "speed", "taught"}
    assert _agreeing(network, checked) > max(0.6, unseen + 0.2)
    assert parts(changed(before, network)) == {"decoder", "motion", *LATE} and network.has_motion
    assert fit_network(twin, [], footage, settings) == losses and not changed(state(network), twin)


def test_a_new_motion_decoder_is_first_trained_alone(plan: list[Sample], footage: list[Taught]) -> None:
    network = new_network(3)
    before, seen = state(network), []

    def report(what: str, done: int, total: int) -> None:
        if what != "train":
            seen.append(parts(changed(before, network)))

    settings = replace(SETTINGS, steps=4, save=2, footage=1, alone=0.5)
    fit_network(network, plan, footage, settings, report)
    assert seen == [{"motion"}, {"decoder", "motion", *LATE}]
    before = state(network)
    fit_network(network, plan, footage, replace(settings, steps=1))
    assert parts(changed(before, network)) == {"decoder", "motion", *LATE}  # it is not new any more


def test_teachers_keep_the_classes_that_they_see_in_pictures(plan: list[Sample], footage: list[Taught]) -> None:
    settings = replace(SETTINGS, steps=12, average=0.5, decoder_rate=1e-3)
    (checked,) = draw_batches(plan, footage, replace(SETTINGS, seed=99, steps=1, pictures=6))
    assert checked.pictures is not None
    moved = []
    for taught in (True, False):
        network, teacher = new_network(3), new_network(3)
        before = network(checked.pictures)[0].softmax(dim=1)
        losses = fit_network(network, plan, footage, settings, teachers=[teacher] if taught else [])
        assert ("picture_taught" in losses) == taught
        moved.append(float((network(checked.pictures)[0].softmax(dim=1) - before).abs().mean()))
        assert not changed(state(new_network(3)), teacher)
    assert moved[0] < 0.9 * moved[1]


def _agreeing(network: FluidNet, batch: Batch) -> float:
    """The share of a batch's footage whose most probable class is that of the teachers."""
    assert batch.footage is not None and batch.classes is not None
    known = batch.classes.sum(dim=1) > 0.9
    return float((network(batch.footage)[0].argmax(dim=1) == batch.classes.argmax(dim=1))[known].float().mean())


def test_weights_are_averaged_over_the_steps(footage: list[Taught]) -> None:
    network, seen = new_network(1), []
    average = network.motion.outputs.weight.clone()
    settings = replace(SETTINGS, steps=4, footage=1, average=0.2, save=2)

    def report(what: str, done: int, total: int) -> None:
        weights = network.motion.outputs.weight.detach().clone()
        seen.append((what == "train", weights))

    fit_network(network, [], footage, settings, report)
    steps = 0
    for training, weights in seen:
        if training:  # the decay is lower in the first steps
            steps += 1
            decay = min(0.2, steps / (steps + 10))
            average = decay * average + (1 - decay) * weights
            assert not torch.allclose(weights, average, atol=1e-6)
        else:
            assert torch.allclose(weights, average, atol=1e-6)
    assert [training for training, _ in seen] == [True, True, False, True, True, False]
    assert torch.equal(network.motion.outputs.weight, seen[-1][1])


def test_pictures_and_footage_train_one_network(plan: list[Sample], footage: list[Taught]) -> None:
    network = new_network(1)
    losses = fit_network(network, plan, footage, SETTINGS)
    assert losses.keys() == {"moving", "axis", "direction", "speed", "taught", "classes"} | {
        f"picture_{name}" for name in ("moving", "axis", "direction")
    }
    assert all(np.isfinite(value) for value in losses.values())


@pytest.mark.parametrize("steps", [1, 9, 10])
def test_any_number_of_steps(footage: list[Taught], steps: int) -> None:
    done: list[int] = []
    settings = replace(SETTINGS, steps=steps, footage=1)
    fit_network(new_network(1), [], footage[:1], settings, lambda what, step, total: done.append(step))
    assert done == [*range(1, steps + 1), steps]


def test_nothing_to_train_on_and_diverging_losses(footage: list[Taught]) -> None:
    with pytest.raises(MotionError, match="no pictures and no clips"):
        fit_network(new_network(1), [], [], SETTINGS)
    with pytest.raises(MotionError, match="not finite at step 3: train with lower learning rates"):
        fit_network(new_network(1), [], footage, replace(SETTINGS, motion_rate=1e30, encoder_rate=1e30))


def test_unknown_pictures_teach_nothing(plan: list[Sample], monkeypatch: pytest.MonkeyPatch) -> None:
    none = torch.zeros(1, 5, 16, 16)
    unknown = Batch(torch.rand(1, 3, 64, 64), none, none[..., :8, :8], None, None, None)
    monkeypatch.setattr(train_fluid_module, "draw_batches", lambda plan, footage, settings: [unknown] * 2)
    network = new_network(1)
    before = state(network)
    assert fit_network(network, plan, [], replace(SETTINGS, steps=2)) == {} and not changed(before, network)


# files and commands


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a manifest of clips: a sea, falls, and a still one."""
    home = tmp_path_factory.mktemp("footage")
    for kind in ("sea", "falls"):
        write_pictures(home / kind, make_scene(kind, 5, 64, 96, speed=1.5).frames(6, 1))
    noise = np.random.default_rng(1).integers(0, 3, (6, 64, 96, 3))
    write_pictures(home / "frozen", (make_scene("sea", 5, 64, 96).frame(0) // 2 + noise).astype(np.uint8))
    lines = ["clip,kind,split,repository", "sea,sea,train,a", "falls,fall,train,b", "frozen,lake,val,c"]
    (home / "manifest.csv").write_text("\n".join(lines), "utf-8")
    return home


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def test_train_on_pictures_from_the_command_line(
    labelled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "w.safetensors"
    assert main(["train", str(labelled), "-o", str(out), "--steps", "2"]) == 0
    text = capsys.readouterr().out
    assert "step 2 of 2: classes " in text and f"Saved: '{out}'" in text
    network, notes = load_weights(out)
    assert notes["steps"] == notes["step"] == "2" and notes["labelled"] == "2" and notes["clips"] == "0"
    assert notes["decoder_rate"] == str(TrainSettings().decoder_rate)  # of a trained decoder
    assert notes["losses"].startswith("classes ") and float(notes["seconds"]) >= 0
    shipped = state(shipped_network())
    assert parts(changed(shipped, network)) == {"decoder"}
    assert main(["evaluate", str(labelled), "--weights", str(out)]) == 0
    text = capsys.readouterr().out
    report = evaluate_segmentation(labelled, "test", network)
    assert f"water   {report.overlap['water']:6.3f}" in text and "test: 2 pictures" in text
    assert np.isnan(report.overlap["fire"]) and set(report.overlap) == set(CLASSES)


def test_train_on_footage_and_continue_from_the_command_line(
    clips: Path, cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = tmp_path / "first.safetensors", tmp_path / "second.safetensors"
    command = ["train", str(clips), "--cache", str(cache), "-o"]
    assert main([*command, str(first), "--steps", "3", "--seed", "7"]) == 0
    assert "step 3 of 3: " in capsys.readouterr().out
    prepared = {file: file.stat().st_mtime_ns for file in cache.iterdir()}
    assert sorted(file.name.split("-")[0] for file in prepared) == ["falls", "sea"]
    network, notes = load_weights(first)
    assert (notes["seed"], notes["clips"], notes["labelled"]) == ("7", "2", "0")
    assert notes["decoder_rate"] == str(TrainSettings().first_rate)  # of a random decoder
    assert main([*command, str(second), "--steps", "2", "--weights", str(first)]) == 0
    assert {file: file.stat().st_mtime_ns for file in cache.iterdir()} == prepared
    continued, notes = load_weights(second)
    assert notes["decoder_rate"] == str(TrainSettings().decoder_rate)
    assert {"decoder", "motion"} <= parts(changed(state(network), continued)) <= {"decoder", "motion", *LATE}
    # nearer to the first weights than to new ones
    new = new_network(1).motion.outputs.weight
    gap = (continued.motion.outputs.weight - network.motion.outputs.weight).norm()
    assert gap < 0.5 * (continued.motion.outputs.weight - new).norm()


def test_settings_file_trains_on_pictures_and_footage_with_teachers(
    labelled: Path, clips: Path, cache: Path, tmp_path: Path
) -> None:
    teacher = tmp_path / "teacher.safetensors"
    save_weights(new_network(5), teacher, {})
    file, out = tmp_path / "run.toml", tmp_path / "w.safetensors"
    file.write_text(
        f'pictures = "{labelled}"\nfootage = "{clips}"\ncache = "{cache}"\nexclude = ["falls"]\n'
        'teachers = ["teacher.safetensors"]\nsteps = 1\n',
        "utf-8",
    )
    assert main(["train", str(file), "-o", str(out)]) == 0
    notes = load_weights(out)[1]
    assert notes["clips"] == "1" and notes["labelled"] == "2"
    assert (notes["flow"], notes["teachers"]) == ("dis, farneback", "teacher.safetensors")
    assert notes["excluded"] == "falls"
    assert {"moving", "axis", "taught"} <= set(notes["losses"].split()[::2])


def test_weights_of_classes_alone_have_no_motion_until_they_are_trained_on_footage(
    labelled: Path, clips: Path, cache: Path, tmp_path: Path
) -> None:
    alone, more, whole = (tmp_path / f"{name}.safetensors" for name in ("alone", "more", "whole"))
    save_weights(new_network(2), alone, {})
    with pytest.raises(MotionError, match="network without motion: train it again, on footage"):
        load_weights(alone)
    train_fluid(FluidConfig(pictures=labelled, weights=alone, steps=1), more)
    before, after = (load_weights(path, classes_only=True)[0] for path in (alone, more))
    assert not after.has_motion and LATE & parts(changed(state(before), after))
    config = FluidConfig(footage=clips, cache=cache, weights=more, steps=1)
    train_fluid(config, whole)
    first = load_weights(whole)[0]
    torch.manual_seed(8)  # the motion decoder's initial weights are those of the seed
    train_fluid(config, whole)
    assert not changed(state(first), load_weights(whole)[0])


def test_settings_that_exclude_each_other_and_unusable_data(
    labelled: Path, clips: Path, cache: Path, tmp_path: Path
) -> None:
    on_clips = FluidConfig(footage=clips, cache=cache, steps=1)
    (tmp_path / "manifest.csv").write_text("clip,kind,split\nfrozen,lake,train\n", "utf-8")
    shutil.copytree(clips / "frozen", tmp_path / "frozen")
    only_val = tmp_path / "val"
    only_val.mkdir()
    (only_val / "manifest.csv").write_text("image,label,set,split\na.png,b.png,s,val\n", "utf-8")
    for config, message in (
        (replace(on_clips, weights=labelled, encoder=labelled), "give one of them, not both"),
        (FluidConfig(pictures=labelled, cache=cache), "no meaning without footage"),
        (replace(on_clips, cache=None), "needs a folder for prepared clips: cache, or --cache"),
        (replace(on_clips, second_flow="dis"), "is 'dis', the same as the first"),
        (replace(on_clips, flow="dos"), "no estimator 'dos'"),
        (replace(on_clips, exclude=("brook",)), "has no clip brook to leave out"),
        (replace(on_clips, weights=labelled / "manifest.csv"), "cannot be read"),
        (replace(on_clips, encoder=labelled / "manifest.csv"), "EfficientNet-Lite0 or Lite2"),
        (replace(on_clips, teachers=(labelled / "none",)), "cannot be read"),
        (replace(on_clips, footage=tmp_path), "nothing moves in the clips"),
        (replace(on_clips, pictures=only_val), "no pictures of .* are in 'train'"),
        (FluidConfig(), "nothing to train on"),
    ):
        with pytest.raises(LoopcoreError, match=message):
            train_fluid(config, tmp_path / "w.safetensors")
    assert not (tmp_path / "w.safetensors").exists()
