# SPDX-License-Identifier: Apache-2.0
"""The fluid network: shapes, shipped weights, and invalid files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from loopcore.errors import MotionError
from loopcore.motion.estimate import WEIGHTS, shipped_network
from loopcore.motion.networks import (
    CLASSES,
    DecoderSettings,
    FluidNet,
    feature_widths,
    load_weights,
    read_published_encoder,
    save_weights,
    texture_axes,
)
from loopcore.motion.weights_shape import check_shapes


def test_shipped_weights_are_one_small_file_with_a_card() -> None:
    assert list(WEIGHTS.parent.glob("*.safetensors")) == [WEIGHTS]
    assert WEIGHTS.stat().st_size <= 16e6
    assert WEIGHTS.with_suffix(".md").is_file()


def test_shipped_weights_note_how_they_were_trained() -> None:
    assert {"seed", "steps"} <= load_weights(WEIGHTS)[1].keys()


@pytest.mark.parametrize(("height", "width"), [(32, 32), (64, 160), (96, 64)])
@pytest.mark.parametrize("lite", [2, 0])
def test_classes_have_a_quarter_of_the_resolution_and_motion_an_eighth(lite: int, height: int, width: int) -> None:
    network = FluidNet(lite=lite)
    features = network.encoder(torch.zeros(2, 3, height, width))
    sizes = [
        (2, c, height // s, width // s)
        for c, s in zip(feature_widths(network.encoder.lite), (4, 8, 16, 32), strict=True)
    ]
    assert [tuple(x.shape) for x in features] == sizes
    scores, motion = network(torch.zeros(2, 3, height, width))
    assert scores.shape == (2, len(CLASSES), height // 4, width // 4)
    planes = (motion.moving, motion.axis, motion.direction, motion.speed)
    assert [tuple(x.shape) for x in planes] == [(2, n, height // 8, width // 8) for n in (1, 2, 2, 1)]


@pytest.mark.parametrize("angle", [0.0, 30.0, 90.0, 135.0])
def test_axes_of_texture_are_those_of_its_streaks(angle: float) -> None:
    y, x = torch.meshgrid(torch.arange(128.0), torch.arange(192.0), indexing="ij")
    across = -x * np.sin(np.radians(angle)) + y * np.cos(np.radians(angle))
    stripes = (0.5 + 0.3 * torch.sin(across / 2)).expand(1, 3, -1, -1)
    found = texture_axes(stripes)
    assert found.shape == (1, 7, 16, 24)
    for plane in range(0, 6, 2):
        cosine, sine = found[0, plane : plane + 2, 2:-2, 2:-2].mean(dim=(1, 2)).tolist()
        assert (cosine, sine) == pytest.approx((np.cos(np.radians(2 * angle)), np.sin(np.radians(2 * angle))), abs=0.03)
    flat = texture_axes(torch.full((1, 3, 64, 64), 0.4))
    assert not flat[:, :6].any() and flat[0, 6].max() < found[0, 6].min()


def test_each_motion_output_has_its_own_channels() -> None:
    network = FluidNet(DecoderSettings(width=16, fine_width=8), lite=0)
    torch.nn.init.zeros_(network.motion.outputs.weight)
    network.motion.outputs.bias.data = torch.arange(6.0)
    motion = network(torch.rand(1, 3, 64, 32))[1]
    values = {name: getattr(motion, name)[0, :, 3, 2].tolist() for name in ("moving", "axis", "direction", "speed")}
    assert values == {"moving": [0], "axis": [1, 2], "direction": [3, 4], "speed": [5]}


def test_early_and_late_stages_make_up_the_encoder() -> None:
    network = shipped_network()
    picture = torch.from_numpy(np.random.default_rng(2).random((1, 3, 64, 96), np.float32))
    early = network.encoder.early(picture)
    assert [tuple(x.shape[2:]) for x in early] == [(16, 24), (8, 12)]
    for one, other in zip(network.encoder.late(early), network.encoder(picture), strict=True):
        assert torch.equal(one, other)


def test_pictures_of_a_batch_are_independent() -> None:
    pictures = torch.from_numpy(np.random.default_rng(1).random((2, 3, 64, 64), np.float32))
    network = shipped_network()
    (both, both_motion), (alone, alone_motion) = network(pictures), network(pictures[1:])
    assert torch.allclose(both[1:], alone, atol=1e-3)
    for name in ("moving", "axis", "direction", "speed"):
        assert torch.allclose(getattr(both_motion, name)[1:], getattr(alone_motion, name), atol=1e-3)


def test_weights_are_saved_in_half_precision(tmp_path: Path) -> None:
    network = shipped_network()
    save_weights(network, tmp_path / "w.safetensors", {"seed": "7"})
    loaded, notes = load_weights(tmp_path / "w.safetensors")
    assert notes == {"seed": "7"}
    for name, value in loaded.state_dict().items():
        assert torch.equal(value, network.state_dict()[name])  # the shipped ones are half precision already
    assert not loaded.training and not any(p.requires_grad for p in loaded.parameters())


def test_weights_without_a_motion_decoder_load_for_their_classes_only(tmp_path: Path) -> None:
    network = FluidNet(DecoderSettings(width=16, fine_width=8), lite=0)
    whole, classes = tmp_path / "whole.safetensors", tmp_path / "classes.safetensors"
    save_weights(network, whole, {"seed": "7"})
    with safe_open(whole, framework="pt") as file:
        metadata = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys() if not name.startswith("motion.")}
    save_file(tensors, classes, metadata)
    with pytest.raises(MotionError, match="train it again"):
        load_weights(classes)
    picture = torch.rand(1, 3, 64, 64)
    expected, expected_motion = load_weights(whole)[0](picture)
    loaded, notes = load_weights(classes, classes_only=True)
    assert notes == {"seed": "7"}
    assert torch.equal(loaded(picture)[0], expected)
    complete = load_weights(whole, classes_only=True)[0]  # what a file has is used
    assert torch.equal(complete(picture)[1].axis, expected_motion.axis)
    del tensors["decoder.scores.bias"]
    save_file(tensors, classes, metadata)
    with pytest.raises(MotionError, match="train it again"):
        load_weights(classes, classes_only=True)


def test_files_that_are_not_weights_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text.safetensors").write_text("no weights", encoding="utf-8")
    save_file({"a": torch.zeros(3)}, tmp_path / "other.safetensors")
    for name in ("none.safetensors", "text.safetensors"):
        with pytest.raises(MotionError, match="cannot be read"):
            load_weights(tmp_path / name)
    with pytest.raises(MotionError, match="train it again"):
        load_weights(tmp_path / "other.safetensors")
    for name in ("none.pth", "text.safetensors"):
        with pytest.raises(MotionError, match="EfficientNet-Lite0 or Lite2"):
            read_published_encoder(tmp_path / name)


@pytest.mark.parametrize("lite", [0, 2])
def test_folding_batch_norms_changes_nothing(lite: int, tmp_path: Path) -> None:
    """In the published layout with random numbers: a block with its norms equals the folded one."""
    torch.manual_seed(3)
    encoder = FluidNet(lite=lite).encoder
    published: dict[str, torch.Tensor] = {}
    for name, there, norm in _published_names(encoder):
        conv = encoder.get_submodule(name).conv  # type: ignore[union-attr]
        published[f"{there}.weight"] = torch.randn_like(conv.weight)  # type: ignore[arg-type]
        count = conv.weight.shape[0]  # type: ignore[union-attr]
        for part in ("weight", "bias", "running_mean", "running_var"):
            published[f"{norm}.{part}"] = torch.rand(int(count)) + 0.5
    torch.save(published, tmp_path / "published.pth")
    encoder = read_published_encoder(tmp_path / "published.pth")
    assert encoder.lite == lite
    x = torch.rand(1, 3, 9, 9)
    padded = torch.nn.functional.pad(x, (0, 1, 0, 1))
    y = torch.nn.functional.conv2d(padded, published["_conv_stem.weight"], stride=2)
    stats = [published[f"_bn0.{part}"] for part in ("running_mean", "running_var", "weight", "bias")]
    expected = torch.nn.functional.batch_norm(y, *stats, eps=1e-3)
    assert torch.allclose(encoder.stem(x), expected, atol=1e-4)


def _published_names(encoder: torch.nn.Module) -> list[tuple[str, str, str]]:
    names, number = [("stem", "_conv_stem", "_bn0")], 0
    for stage_number, stage in enumerate(encoder.stages):  # type: ignore[arg-type, var-annotated]
        for block_number, block in enumerate(stage):
            here, there = f"stages.{stage_number}.{block_number}", f"_blocks.{number}"
            if block.expand is not None:
                names.append((f"{here}.expand", f"{there}._expand_conv", f"{there}._bn0"))
            names.append((f"{here}.depthwise", f"{there}._depthwise_conv", f"{there}._bn1"))
            names.append((f"{here}.project", f"{there}._project_conv", f"{there}._bn2"))
            number += 1
    return names


@pytest.mark.parametrize("change", [{"groups": "-1"}, {"groups": "0"}, {"width": "8000"}, {"width": "9" * 30},
                                    {"reach": "9" * 4000}, {"lite": "7"}])  # fmt: skip
def test_shapes_that_are_not_those_of_the_tensors_are_refused(tmp_path: Path, change: dict[str, str]) -> None:
    path = tmp_path / "w.safetensors"
    save_weights(FluidNet(DecoderSettings(width=16, fine_width=8), lite=0), path, {})
    with safe_open(path, framework="pt") as file:
        metadata, tensors = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}
    save_file(tensors, path, {**metadata, **change})
    with pytest.raises(MotionError, match="train it again"):
        load_weights(path)


def test_checking_shapes_draws_no_random_numbers() -> None:
    settings = DecoderSettings(width=16, fine_width=8)
    before = torch.get_rng_state()
    check_shapes(lambda: FluidNet(settings, 0), {})
    assert torch.equal(before, torch.get_rng_state())
