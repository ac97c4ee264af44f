# SPDX-License-Identifier: Apache-2.0
"""Tests of how a loop's looks are measured: on made-up pictures, and on the example brook at several speeds."""

from __future__ import annotations

import numpy as np
import pytest
from _scenes import PHOTOGRAPH
from scipy.ndimage import gaussian_filter

from loopcore.color import display_image
from loopcore.image import luma
from loopcore.loop import Loop
from loopcore.motion import MotionField, read_hints
from loopcore.motion.predict import predict_motion
from loopcore.plate import Plate, read_plate
from loopcore.quality.looks import Contrast, Torn, Wander
from loopcore.quality.measure import BREATHING, TORN

SIZE = 256
MASK = np.zeros((SIZE, SIZE), np.float32)
MASK[32:-32, 32:-32] = 1
# Two falls of the brook and the pool between them.
FALLS = (slice(380, 720), slice(540, 1040))


def texture(seed: int, down: float = 1.2, across: float = 1.2) -> np.ndarray:
    """(SIZE, SIZE) noise, smooth over these lengths, of mean 0.5 and standard deviation 0.1."""
    noise = gaussian_filter(np.random.default_rng(seed).standard_normal((SIZE, SIZE)), (down, across))
    return (0.5 + 0.1 * noise / noise.std()).astype(np.float32)


def test_wander_is_the_distance_of_the_blurred_picture_in_the_mask() -> None:
    first = texture(0)
    wander = Wander(first, MASK, SIZE)
    assert wander.distance(first) == 0
    assert wander.distance(first + np.float32(0.1) * MASK) == pytest.approx(0.1, abs=1e-3)
    assert wander.distance(first + np.float32(0.5) * (1 - MASK)) == 0
    # Other texture of the same mean is no wander: its blur varies by 0.1 * 1.2 / 8, twice.
    assert wander.distance(texture(1)) < 0.03


def test_new_texture_of_the_same_kind_is_not_torn_and_lines_are() -> None:
    torn = Torn(texture(0), MASK)
    assert torn.share(texture(0)) == 0
    assert torn.share(texture(1)) < TORN
    assert torn.share(texture(1, 0.5, 8)) > 0.5
    half = np.where(np.arange(SIZE) < SIZE // 2, texture(1, 0.5, 8), texture(1))
    assert 0.25 < torn.share(half) < 0.6


def test_moved_texture_is_not_torn() -> None:
    first = texture(0, 0.8, 3)
    assert Torn(first, MASK).share(np.roll(first, (17, 9), (0, 1))) < TORN


def test_a_blend_of_two_textures_breathes_by_29_percent() -> None:
    contrast = Contrast(np.ones((SIZE, SIZE), np.float32))
    for frame in (texture(0), 0.5 * texture(0) + 0.5 * texture(1), texture(1)):
        contrast.add(frame.astype(np.float32))
    assert contrast.spread()[0] == pytest.approx(1 - 0.5**0.5, abs=0.06)
    assert contrast.spread()[0] - contrast.chance()[0] > BREATHING


@pytest.fixture(scope="module")
def brook() -> tuple[Plate, MotionField]:
    plate = read_plate(PHOTOGRAPH)
    return plate, predict_motion(plate, read_hints(PHOTOGRAPH.with_name("hints.json")))


@pytest.mark.parametrize(
    "speed, frames, cycles, whole",
    [
        (0.5, 60, 1, True), (1, 60, 1, True), (2, 20, 1, True), (2, 60, 1, False), (4, 60, 1, False),
        (2, 60, "auto", True), (4, 60, "auto", True),
    ],
)  # fmt: skip
def test_the_brook_tears_where_it_is_carried_too_far(
    brook: tuple[Plate, MotionField], speed: float, frames: int, cycles: int | str, whole: bool
) -> None:
    plate, motion = brook
    loop = Loop(
        plate, motion.scaled(speed), frames=frames, cycles=cycles, steady=0 if cycles == 1 else "auto", device="cpu"
    )
    start, middle = (
        luma(display_image(loop.frame(t), exposure=1.0)[FALLS].astype(np.float32) / 255) for t in (0, frames // 2)
    )
    share = Torn(start, np.ascontiguousarray(motion.mask[FALLS])).share(middle)
    assert (share <= TORN) == whole, share
