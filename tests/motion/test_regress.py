# SPDX-License-Identifier: Apache-2.0
"""Prediction by a generator: sizes, units, masks and invalid weights."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from loopcore.cli.main import main
from loopcore.errors import MotionError
from loopcore.motion.field import MotionField
from loopcore.motion.generator import (
    FieldGenerator,
    GeneratorSettings,
    load_generator,
    save_generator,
    weights_kind,
)
from loopcore.motion.networks import DecoderSettings, FluidNet, save_weights
from loopcore.motion.predict import predict_motion
from loopcore.motion.regress import regress_motion
from loopcore.plate import Plate

SMALL = GeneratorSettings(width=4, widest=8, halvings=2, blocks=1, side=64)


def constant(path: Path, velocity: tuple[float, float], score: float) -> Path:
    """Writes the weights of a generator with a constant output."""
    network = FieldGenerator(SMALL)
    state = network.state_dict()
    state["last.weight"] = torch.zeros_like(state["last.weight"])
    state["last.bias"] = torch.tensor([*velocity, score])
    save_generator(state, SMALL, path, {"step": "1"})
    return path


@pytest.fixture()
def plate() -> Plate:
    noise = np.random.default_rng(1).random((120, 160, 3)).astype(np.float32)
    return Plate(noise, ("R", "G", "B"), "lin_rec709_scene", "srgb")


def test_shapes_and_size() -> None:
    for settings in (SMALL, GeneratorSettings(width=4, widest=16, halvings=4, blocks=2)):
        network = FieldGenerator(settings)
        velocity, score = network(torch.rand(2, 3, 4 * settings.multiple, 2 * settings.multiple))
        assert velocity.shape == (2, 2, 4 * settings.multiple, 2 * settings.multiple) and score.shape[1] == 1
    published = FieldGenerator(GeneratorSettings())
    assert 150e6 < sum(p.numel() for p in published.parameters()) < 200e6  # pix2pixHD's global generator: 182 million


def test_velocity_scales_with_the_plate(tmp_path: Path, plate: Plate) -> None:
    weights = constant(tmp_path / "w.safetensors", (2.0, -1.0), 6.0)
    motion = predict_motion(plate, weights=weights)
    # 160 pixels are resized to 64, so velocities grow by 2.5
    assert np.median(motion.velocity, axis=(0, 1)) == pytest.approx([5.0, -2.5], rel=0.02)
    assert motion.mask.min() > 0.9 and motion.confidence.mean() > 0.8
    seen = regress_motion(weights, np.zeros((300, 100, 3), np.float32), 60, 20)
    assert seen.velocity.shape == (60, 20, 2)
    assert seen.velocity[0, 0] == pytest.approx([2 / 64, -1 / 64], rel=0.1)  # sides are rounded to multiples


def test_velocity_is_an_expectation_over_moving_and_still(tmp_path: Path) -> None:
    picture = np.zeros((64, 64, 3), np.float32)
    sure = regress_motion(constant(tmp_path / "sure.safetensors", (2.0, -1.0), 30.0), picture, 16, 16)
    open_ = regress_motion(constant(tmp_path / "open.safetensors", (2.0, -1.0), 0.0), picture, 16, 16)
    assert sure.moving == pytest.approx(1) and open_.moving == pytest.approx(0.5)
    assert open_.velocity == pytest.approx(2 * sure.velocity)
    assert 0 < open_.confidence.max() < sure.confidence.min() < 1
    assert sure.classes is None and sure.score == pytest.approx(1)


def test_still_plate_is_refused_or_uses_hints(tmp_path: Path, plate: Plate) -> None:
    still = constant(tmp_path / "still.safetensors", (2.0, 0.0), -6.0)
    with pytest.raises(MotionError, match="nothing here seems to flow"):
        predict_motion(plate, weights=still)


def test_saved_generator_loads(tmp_path: Path) -> None:
    network = FieldGenerator(SMALL)
    path = tmp_path / "w.safetensors"
    save_generator(network.state_dict(), SMALL, path, {"step": "7"})
    loaded, notes = load_generator(path)
    assert loaded.settings == SMALL and notes == {"step": "7"}
    for name, value in network.state_dict().items():
        assert torch.equal(value.half().float(), loaded.state_dict()[name])


def test_weights_of_a_fluid_network_and_invalid_files(tmp_path: Path, plate: Plate) -> None:
    pictures = tmp_path / "p.safetensors"
    save_weights(FluidNet(DecoderSettings(width=16, fine_width=8)), pictures, {})
    assert weights_kind(pictures) == ""
    try:  # the output of untrained weights is arbitrary
        assert predict_motion(plate, weights=pictures).height == 120
    except MotionError as error:
        assert "seems to flow" in str(error)
    with pytest.raises(MotionError, match="not those of a generator"):
        load_generator(pictures)
    bad = tmp_path / "bad.safetensors"
    with pytest.raises(MotionError, match="cannot be read"):
        predict_motion(plate, weights=bad)
    bad.write_bytes(b"x" * 100)
    with pytest.raises(MotionError, match="cannot be read"):
        predict_motion(plate, weights=bad)


def test_predict_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from PIL import Image

    still = tmp_path / "plate.png"
    Image.fromarray(np.random.default_rng(2).integers(0, 255, (60, 80, 3)).astype(np.uint8)).save(still)
    weights = constant(tmp_path / "w.safetensors", (0.0, 1.0), 6.0)
    out = tmp_path / "m.exr"
    assert main(["predict", str(still), "--weights", str(weights), "-o", str(out)]) == 0
    motion = MotionField.load(out)
    assert np.median(motion.velocity[..., 1]) == pytest.approx(80 / 64, rel=0.02)
    assert main(["predict", str(still), "--weights", str(still), "-o", str(out)]) == 2
    assert "cannot be read" in capsys.readouterr().err


def test_weights_that_give_no_numbers_are_named(tmp_path: Path, plate: Plate) -> None:
    path = constant(tmp_path / "nan.safetensors", (math.nan, 0), 9)
    with pytest.raises(MotionError, match="nan.safetensors give NaN or Inf"):
        predict_motion(plate, weights=path)
