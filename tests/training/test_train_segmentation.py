# SPDX-License-Identifier: Apache-2.0
"""Training of the segmentation network: folders, crops, targets, and deterministic learning."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from loopcore.cli.main import main
from loopcore.errors import MotionError, PlateError
from loopcore.motion.networks import CLASSES, EARLY, load_weights
from loopcore.training.evaluate_segmentation import evaluate_segmentation
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
from loopcore.training.train_segmentation import TrainSettings, fit_network, new_network, segmentation_loss


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Writes six pictures of bright bands (water) over dark ground."""
    home = tmp_path_factory.mktemp("pictures")
    random = np.random.default_rng(5)
    lines = ["image,label,set,split,licence"]
    for i in range(6):
        labels = np.zeros((96, 128), np.uint8)
        labels[20 + 5 * i : 60 + 5 * i] = 1
        labels[:, :3] = UNKNOWN
        picture = np.where(labels[..., None] == 1, (90, 160, 230), (60, 50, 20)) + random.integers(0, 20, (96, 128, 3))
        Image.fromarray(picture.astype(np.uint8)).save(home / f"{i}.png")
        Image.fromarray(labels).save(home / f"l{i}.png")
        lines.append(f"{i}.png,l{i}.png,bands,{('train', 'val', 'test')[i // 2]},own")
    (home / "manifest.csv").write_text("\n".join(lines), "utf-8")
    return home


@pytest.fixture(scope="module")
def plan(folder: Path) -> list[Sample]:
    return [s for s in read_manifest(folder) if s.split == "train"] * 3


def test_rare_classes_and_small_sets_are_cropped_more_often(folder: Path) -> None:
    samples = read_manifest(folder)
    assert len(samples) == 6 and samples[5].split == "test"
    assert len(crop_plan(samples[:1])) == 24  # factor 8 for the small set, 3 for water


def test_a_crop_keeps_labels_on_their_pixels(folder: Path) -> None:
    picture, labels = read_sample(read_manifest(folder)[0])
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


def test_loss_is_lower_for_correct_scores_and_ignores_unknown_pixels() -> None:
    target = torch.zeros(1, 5, 4, 4)
    target[:, 1, :2] = 1  # the lower half is unknown
    right, wrong = torch.zeros(1, 5, 4, 4), torch.zeros(1, 5, 4, 4)
    right[:, 1], wrong[:, 2] = 9, 9
    assert segmentation_loss(right, target, 0.5) < 0.01 < segmentation_loss(wrong, target, 0.5)
    unknown_wrong = right.clone()
    unknown_wrong[:, :, 2:] = wrong[:, :, 2:]
    assert torch.allclose(segmentation_loss(unknown_wrong, target, 0.5), segmentation_loss(right, target, 0.5))


def test_training_lowers_the_loss_and_is_deterministic(plan: list[Sample]) -> None:
    settings = TrainSettings(seed=3, epochs=3, batch=2)
    network, twin = new_network(3), new_network(3)
    losses = fit_network(network, plan, settings)
    assert losses[-1] < 0.8 * losses[0]
    assert fit_network(twin, plan, settings) == losses
    for name, value in network.state_dict().items():
        assert torch.equal(value, twin.state_dict()[name])
    other = new_network(4).decoder.scores.weight
    assert not torch.equal(other, new_network(3).decoder.scores.weight)


def test_only_late_stages_of_the_encoder_are_trained(plan: list[Sample]) -> None:
    network = new_network(1)
    before = {name: value.clone() for name, value in network.encoder.state_dict().items()}
    fit_network(network, plan[:2], TrainSettings(epochs=1, batch=2))
    after = network.encoder.state_dict()
    changed = {name for name, value in after.items() if not torch.equal(value, before[name])}
    late = tuple(f"stages.{stage}." for stage in range(EARLY, len(network.encoder.stages)))
    assert changed == {name for name in after if name.startswith(late)}


def test_train_and_evaluate_from_the_command_line(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "w.safetensors"
    assert main(["train", str(folder), "-o", str(out), "--epochs", "1"]) == 0
    text = capsys.readouterr().out
    assert "epoch 1 of 1: loss" in text and f"Saved: '{out}'" in text
    network, notes = load_weights(out)
    assert notes["epochs"] == "1" and notes["pictures"] == "2"
    assert main(["evaluate", str(folder), "--weights", str(out)]) == 0
    text = capsys.readouterr().out
    report = evaluate_segmentation(folder, "test", network)
    assert f"water   {report.overlap['water']:6.3f}" in text and "test: 2 pictures" in text
    assert np.isnan(report.overlap["fire"]) and set(report.overlap) == set(CLASSES)


def test_training_continues_from_weights(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = tmp_path / "first.safetensors", tmp_path / "second.safetensors"
    assert main(["train", str(folder), "-o", str(first), "--epochs", "2"]) == 0
    assert main(["train", str(folder), "-o", str(second), "--epochs", "1", "--weights", str(first)]) == 0
    losses = [float(line.split()[-1]) for line in capsys.readouterr().out.splitlines() if line.startswith("epoch")]
    assert losses[2] < losses[0]
    (before, _), (after, notes) = load_weights(first), load_weights(second)
    assert float(notes["learning_rate"]) == TrainSettings().learning_rate / 2
    early = "encoder.stages.0.0.depthwise.conv.weight"
    assert torch.equal(before.state_dict()[early], after.state_dict()[early])
    assert not torch.equal(before.decoder.scores.weight, after.decoder.scores.weight)
    # both options together, and invalid weights
    assert main(["train", str(folder), "-o", str(second), "--weights", str(first), "--encoder", str(first)]) == 2
    assert "not both" in capsys.readouterr().err
    assert main(["train", str(folder), "-o", str(second), "--weights", str(folder / "manifest.csv")]) == 2
    assert "cannot be read" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("manifest", "message"),
    [
        (None, "manifest.csv"),
        ("image,label,set\na,b,c", "no column 'split'"),
        ("image,label,set,split\n", "lists no pictures"),
        ("image,label,set,split\n../a.png,b.png,s,train", "not in its folder"),
        ("image,label,set,split\na.png,b.png,s,train", "cannot be read"),
        ("image,label,set,split\na.png,b.png,s,val", "nothing to train on"),
    ],
)
def test_invalid_folders_are_refused(tmp_path: Path, manifest: str | None, message: str) -> None:
    if manifest is not None:
        (tmp_path / "manifest.csv").write_text(manifest, "utf-8")
    with pytest.raises((PlateError, MotionError), match=message):
        samples = [s for s in read_manifest(tmp_path) if s.split == "train"]
        fit_network(new_network(1), crop_plan(samples), TrainSettings())
