# SPDX-License-Identifier: Apache-2.0
"""Estimates: score, units, the sense of motion, and the same laws for any picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from _constant import constant_network
from hypothesis import given
from hypothesis import strategies as st

from loopcore.color import decode_codes
from loopcore.motion.display import display_copy
from loopcore.motion.estimate import (
    MIN_SCORE,
    Estimate,
    class_probabilities,
    estimate_picture,
    estimate_plate,
    grid_size,
    shipped_network,
)
from loopcore.motion.networks import CLASSES, FluidNet, MotionOutput
from loopcore.motion.orientation import resultant_length
from loopcore.plate import Plate

PHOTOGRAPH = Path(__file__).resolve().parents[2] / "examples" / "waterfall" / "plate.jpg"
FASTEST_TO_SLOWEST = 12 * (1 + 1e-4)  # of the relative speeds of a picture


@pytest.fixture(scope="module")
def brook() -> np.ndarray:
    """A fall between rocks and trees, (213, 320, 3) sRGB 0..1."""
    from PIL import Image

    with Image.open(PHOTOGRAPH) as picture:
        return np.asarray(picture.convert("RGB").resize((320, 213)), np.float32) / 255


@pytest.fixture(scope="module")
def estimate(brook: np.ndarray) -> Estimate:
    return estimate_picture(brook)


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(4).random((height, width, 3), np.float32)


def speeds(estimate: Estimate) -> np.ndarray:
    return np.hypot(estimate.velocity[..., 0], estimate.velocity[..., 1])


def angles_between(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Returns the degrees between two (n, 2) sets of vectors."""
    turn = np.arctan2(one[:, 1], one[:, 0]) - np.arctan2(other[:, 1], other[:, 0])
    return np.degrees(np.abs((turn + np.pi) % (2 * np.pi) - np.pi))


@given(part=st.floats(0, 0.2), shown=st.floats(0.1, 1))
def test_the_score_ignores_the_smallest_areas(part: float, shown: float) -> None:
    moving = np.zeros(10_000, np.float32)
    moving[: round(part * moving.size)] = shown
    found = Estimate(moving.reshape(100, 100), np.zeros((100, 100, 2), np.float32), moving.reshape(100, 100)).score
    if part > 0.016:
        assert found == pytest.approx(shown)
    if part < 0.014:
        assert found == 0


@given(height=st.integers(1, 5000), width=st.integers(1, 5000))
def test_the_grid_has_the_picture_s_aspect(height: int, width: int) -> None:
    rows, columns = grid_size(height, width)
    assert 8 <= min(rows, columns) and max(rows, columns) <= 512
    if min(height, width) >= 8 and max(height, width) <= 512:
        assert (rows, columns) == (height, width)
    elif min(rows, columns) > 8:
        assert rows / columns == pytest.approx(height / width, rel=0.07)


class Brightness(torch.nn.Module):
    """Sees moving water where the picture is bright."""

    def forward(self, pictures: torch.Tensor) -> tuple[torch.Tensor, MotionOutput]:
        bright = 60 * (pictures.mean(dim=1, keepdim=True) - 0.5)
        water = torch.nn.functional.avg_pool2d(bright, 4)
        scores = torch.cat([-water, water, *(0 * water - 99,) * 3], dim=1)
        moving = torch.nn.functional.avg_pool2d(bright, 8)
        right = torch.cat([20 + 0 * moving, 0 * moving], dim=1)
        return scores, MotionOutput(moving, right, right, 0 * moving)


@pytest.mark.parametrize("size", [(90, 160), (300, 200), (1100, 700)])
def test_what_is_seen_is_where_it_is_in_the_picture(size: tuple[int, int]) -> None:
    height, width = size
    y, x = (np.indices(size) + 0.5) / np.array(size)[:, None, None]
    bright = (x > 0.6) & (x < 0.95) & (y > 0.1) & (y < 0.4)
    found = estimate_picture(np.repeat(bright[..., None], 3, axis=2).astype(np.float32), Brightness())  # type: ignore[arg-type]
    assert found.classes is not None
    y, x = (np.indices(found.moving.shape) + 0.5) / np.array(found.moving.shape)[:, None, None]
    for plane in (found.moving, found.classes[CLASSES.index("water")], 1 - found.classes[CLASSES.index("static")]):
        shown = plane > 0.5
        edges = (x[shown].min(), x[shown].max(), y[shown].min(), y[shown].max())
        assert edges == pytest.approx((0.6, 0.95, 0.1, 0.4), abs=0.02)
        assert shown.mean() == pytest.approx(0.35 * 0.3, rel=0.1)


@pytest.mark.parametrize("angle", [-135.0, -90.0, 0.0, 37.0, 90.0, 180.0])
def test_velocity_has_the_axis_and_the_sense_of_the_direction(angle: float) -> None:
    found = estimate_picture(noise(48, 96), constant_network(axis=(angle + 180, 20.0), direction=(angle + 40, 0.5)))
    expected = np.array([[np.cos(np.radians(angle)), np.sin(np.radians(angle))]])
    assert angles_between(found.velocity.reshape(-1, 2), expected).max() < 0.1
    assert found.moving.min() > 0.999 and found.score > 0.999


@pytest.mark.parametrize("concentration", [0.0, 1.0, 8.0])
def test_confidence_is_that_of_the_axis(concentration: float) -> None:
    found = estimate_picture(noise(48, 96), constant_network(axis=(30.0, concentration)))
    assert found.confidence == pytest.approx(float(resultant_length(np.array(concentration))), abs=1e-5)


@pytest.mark.parametrize("logit", [-3.0, 0.0, 2.0])
def test_moving_is_a_probability(logit: float) -> None:
    assert estimate_picture(noise(48, 96), constant_network(moving=logit)).moving == pytest.approx(
        1 / (1 + np.exp(-logit)), abs=1e-5
    )


def test_each_class_has_its_speed() -> None:
    found = {kind: estimate_picture(noise(32, 64), constant_network(kind)) for kind in CLASSES}
    for number, kind in enumerate(CLASSES):
        classes = found[kind].classes
        assert classes is not None and classes[number].min() > 0.999
        assert np.ptp(speeds(found[kind])) < 1e-3 * speeds(found[kind]).max()
    mean = {kind: float(speeds(one).mean()) for kind, one in found.items()}
    assert mean["fire"] > mean["water"] > mean["smoke"] > mean["sky"] > 1e-4  # longer sides a frame
    assert min(mean.values()) < mean["static"] < max(mean.values())  # in a drawn mask: that of any fluid


def test_only_relative_speeds_are_learned(brook: np.ndarray) -> None:
    """The logarithm of the speed has an arbitrary constant."""
    slow, fast = (estimate_picture(brook, with_learned_speeds(1.0, constant)) for constant in (-2.0, 5.0))
    assert fast.velocity == pytest.approx(slow.velocity, rel=1e-3)
    assert np.ptp(speeds(slow)) > 0.1 * speeds(slow).mean()


@pytest.mark.parametrize("spread", [0.05, 1.0, 30.0])
def test_relative_speeds_have_a_mean_of_one_and_a_range(spread: float, brook: np.ndarray) -> None:
    """The shipped network's speeds, spread less or more, in one direction everywhere."""
    mean = speeds(estimate_picture(noise(32, 64), constant_network())).mean()
    found = speeds(estimate_picture(brook, with_learned_speeds(spread))) / mean
    assert found.mean() == pytest.approx(1, rel=0.02)  # but for the resampling to the estimate's grid
    assert found.max() <= FASTEST_TO_SLOWEST * found.min()
    assert np.log(found.max() / found.min()) > min(1.0, 0.3 * spread)


def with_learned_speeds(spread: float, constant_speed: float = 0.0) -> FluidNet:
    """Returns the shipped network, of which all but the speed is that of moving water; logarithms times ``spread``."""
    network, constant = FluidNet(), constant_network()
    network.load_state_dict(shipped_network().state_dict())
    network.decoder.scores.weight.data.zero_()
    network.decoder.scores.bias.data = constant.decoder.scores.bias.data
    network.motion.outputs.weight.data[:5] = 0
    network.motion.outputs.bias.data[:5] = constant.motion.outputs.bias.data[:5]
    network.motion.outputs.weight.data[5] *= spread
    network.motion.outputs.bias.data[5] = constant_speed
    return network.eval()


@pytest.mark.parametrize("shade", [0.0, 0.4, 1.0])
def test_a_blank_picture_does_not_move(shade: float) -> None:
    for network in (None, constant_network()):  # the second would say that everything moves
        found = estimate_picture(np.full((60, 90, 3), shade, np.float32), network)
        assert found.score == 0 and found.moving.max() == 0
        assert np.isfinite(found.velocity).all() and np.isfinite(found.confidence).all()
    faint = np.full((60, 90, 3), shade, np.float32)
    faint[20:40] += 0.02 if shade < 0.5 else -0.02
    assert estimate_picture(faint, constant_network()).score > 0.999


@pytest.mark.parametrize("size", [(1, 2), (2, 600), (600, 2), (8, 1024), (1000, 30)])
def test_thin_pictures(size: tuple[int, int]) -> None:
    for network in (None, constant_network(direction=(-90.0, 1.0), axis=(90.0, 20.0))):
        found = estimate_picture(noise(*size), network)
        shape = grid_size(*size)
        assert found.classes is not None
        assert found.moving.shape == found.confidence.shape == found.classes.shape[1:] == shape
        assert found.velocity.shape == (*shape, 2) and np.isfinite(found.velocity).all()
        assert speeds(found).max() < 0.05
    assert (found.velocity[..., 1] < 0).all()


def test_estimates_are_in_their_ranges(estimate: Estimate) -> None:
    assert estimate.classes is not None
    assert estimate.moving.shape == (213, 320)
    for plane in (estimate.moving, estimate.confidence, estimate.classes):
        assert plane.dtype == np.float32 and plane.min() >= 0 and plane.max() <= 1
    assert estimate.velocity.dtype == np.float32 and estimate.velocity.flags["C_CONTIGUOUS"]
    assert np.allclose(estimate.classes.sum(axis=0), 1, atol=1e-4)
    assert estimate.score > MIN_SCORE


@pytest.mark.parametrize("side", [256, 512])
def test_classes_sum_to_one_at_a_quarter_of_the_input(side: int, brook: np.ndarray) -> None:
    found = class_probabilities(brook, side=side)
    rows = round(side * 213 / 320 / 32) * 32
    assert found.shape == (len(CLASSES), rows // 4, side // 4)
    assert found.min() >= 0 and np.allclose(found.sum(axis=0), 1, atol=1e-4)


def test_a_mirrored_picture_has_nearly_the_mirrored_estimate(brook: np.ndarray, estimate: Estimate) -> None:
    """Nearly, since neither the encoder's padding nor learning is symmetric; the sense of level water is a guess."""
    other = estimate_picture(np.ascontiguousarray(brook[:, ::-1]))
    assert estimate.classes is not None and other.classes is not None
    moving, velocity = other.moving[:, ::-1], other.velocity[:, ::-1] * np.float32([-1, 1])
    assert np.abs(moving - estimate.moving).mean() < 0.08
    assert np.abs(other.classes[..., ::-1] - estimate.classes).mean() < 0.05
    both = np.minimum(moving, estimate.moving) > 0.5
    assert both.mean() > 0.02
    between = angles_between(velocity[both], estimate.velocity[both])
    assert np.median(np.minimum(between, 180 - between)) < 40


def test_a_plate_is_estimated_from_its_display_copy(brook: np.ndarray, estimate: Estimate) -> None:
    plate = Plate(decode_codes(np.rint(255 * brook).astype(np.uint8)), ("R", "G", "B"), "lin_rec709_scene", "srgb")
    found = estimate_plate(plate)
    same = estimate_picture(display_copy(plate))
    assert np.array_equal(found.moving, same.moving) and np.array_equal(found.velocity, same.velocity)
    assert np.abs(found.moving - estimate.moving).max() < 0.01


def test_the_network_is_loaded_once_to_be_run() -> None:
    assert shipped_network() is shipped_network()
    assert not shipped_network().training
