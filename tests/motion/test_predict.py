# SPDX-License-Identifier: Apache-2.0
"""Prediction: deterministic, independent of size and exposure, refused where nothing flows."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from loopcore.color import decode_codes
from loopcore.errors import MotionError
from loopcore.motion import Hints, MotionField, Stroke
from loopcore.motion.direction import direction_and_speed
from loopcore.motion.display import display_copy, white_balanced
from loopcore.motion.predict import plate_mask, predict_motion
from loopcore.motion.segmentation import MIN_SCORE, Segmentation, class_probabilities, segment, segment_plate
from loopcore.motion.streaks import axis_angle, bank_axes, streak_axes
from loopcore.plate import Plate, read_plate

PHOTOGRAPH = Path(__file__).resolve().parents[2] / "examples" / "waterfall" / "plate.jpg"


def photograph(width: int, height: int) -> np.ndarray:
    """Returns the example photograph, a fall between rocks and trees, (height, width, 3) uint8."""
    from PIL import Image

    with Image.open(PHOTOGRAPH) as picture:
        return np.asarray(picture.convert("RGB").resize((width, height)))


def plate(codes: np.ndarray, encoded: str = "srgb", exposure: float = 1.0) -> Plate:
    return Plate(decode_codes(codes) * np.float32(exposure), ("R", "G", "B"), "lin_rec709_scene", encoded)


@pytest.fixture(scope="module")
def fall() -> Plate:
    return plate(photograph(320, 213))


@pytest.fixture(scope="module")
def motion(fall: Plate) -> MotionField:
    return predict_motion(fall)


def test_brook_moves_and_much_of_the_picture_is_still(motion: MotionField) -> None:
    moving = motion.mask > 0.5
    assert 0.02 < moving.mean() < 0.7
    assert moving[192:, 80:160].mean() > 0.8  # the pool
    assert moving[150:, 60:140].mean() > 0.35  # with the last fall, rocks around both
    assert moving[:, 200:].mean() < 0.02  # rocks
    assert (motion.mask == 0).mean() > 0.2  # exactly still, not nearly
    assert 0.05 < np.hypot(*motion.velocity[moving].T).mean() < 3


def test_the_same_plate_gives_the_same_field(fall: Plate, motion: MotionField) -> None:
    assert predict_motion(fall).digest() == motion.digest()


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_any_number_of_threads_gives_the_same_field(threads: int) -> None:
    larger = plate(photograph(1000, 667))  # small pictures are a single task
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        one = predict_motion(larger).digest()
        torch.set_num_threads(5)
        assert predict_motion(larger).digest() == one
        assert torch.get_num_threads() == 5  # restored
    finally:
        torch.set_num_threads(before)


def test_another_process_gives_the_same_field_without_a_network(tmp_path: Path, motion: MotionField) -> None:
    from PIL import Image

    Image.fromarray(photograph(320, 213)).save(tmp_path / "p.png")
    script = (
        "import socket, sys\n"
        "def refuse(*a, **k): raise OSError('offline')\n"
        "socket.socket.connect = refuse\n"
        "import loopcore as lc\n"
        "print(lc.predict_motion(lc.read_plate(sys.argv[1])).digest())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, tmp_path / "p.png"], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == motion.digest()


@pytest.mark.parametrize("exposure", [1 / 64, 1.0, 37.0])
def test_exposure_changes_nothing_in_a_linear_plate(exposure: float) -> None:
    codes = photograph(240, 160)
    other, same = plate(codes, "linear", exposure), plate(codes, "linear")
    assert np.abs(display_copy(other) - display_copy(same)).max() <= 1 / 255
    seen, plain = segment_plate(other), segment_plate(same)
    assert np.abs(seen.moving - plain.moving).max() < 0.05


def test_highlights_and_broken_pixels_are_tolerated() -> None:
    codes = photograph(240, 160)
    pixels = decode_codes(codes)
    pixels[2:5, 2:5] = 5e4
    pixels[80, 100] = np.nan
    pixels[81, 100] = np.inf
    seen = segment_plate(Plate(pixels, ("R", "G", "B")))
    assert np.isfinite(seen.moving).all() and seen.score > 0.5


@pytest.mark.parametrize("size", [(17, 11), (33, 200), (401, 97), (640, 640)])
def test_any_size_and_shape(size: tuple[int, int]) -> None:
    width, height = size
    seen = segment_plate(plate(photograph(width, height)))
    assert seen.moving.shape[0] / seen.moving.shape[1] == pytest.approx(height / width, rel=0.3)
    try:
        field = predict_motion(plate(photograph(width, height)))
    except MotionError as error:
        assert "nothing here seems to flow" in str(error)  # too small
    else:
        assert field.velocity.shape == (height, width, 2)


@pytest.mark.parametrize("channels", [("Y",), ("R", "G", "B", "A"), ("Y", "A")])
def test_grey_and_transparent_plates(channels: tuple[str, ...]) -> None:
    rgb = decode_codes(photograph(192, 128))
    colour = rgb if "R" in channels else rgb[..., 1:2]
    alpha = [np.ones((128, 192, 1), np.float32)] if "A" in channels else []
    pixels = np.ascontiguousarray(np.concatenate([colour, *alpha], axis=2))
    seen = segment_plate(Plate(pixels, channels, "lin_rec709_scene", "srgb"))
    assert seen.picture.shape == (*seen.moving.shape, 3) and seen.score > 0.3


@pytest.mark.parametrize("frames", [5, 60])
def test_a_small_plate_moves_more_than_it_fades(frames: int) -> None:
    """A slow field's loop shows mostly the cross-fade, which changes least at the seam."""
    from loopcore.loop import Loop

    small = plate(photograph(160, 107))
    field = predict_motion(small)
    loop = Loop(small, field, frames=frames)
    pictures = [loop.frame(time) for time in (*range(frames), 0)]
    moving = field.mask > 0
    steps = [np.abs(b - a)[moving].mean() for a, b in zip(pictures, pictures[1:], strict=False)]
    assert 0.8 <= steps[-1] / np.median(steps[:-1]) <= 1.25


def test_probabilities_sum_to_one(fall: Plate) -> None:
    probabilities = class_probabilities(display_copy(fall))
    assert probabilities.min() >= 0
    assert np.allclose(probabilities.sum(axis=0), 1, atol=1e-4)


@pytest.mark.parametrize("shade", [0, 90, 255])
def test_a_blank_plate_is_refused(shade: int) -> None:
    with pytest.raises(MotionError, match=r"nothing here seems to flow.*score is 0\.\d\d.*--hints"):
        predict_motion(plate(np.full((90, 160, 3), shade, np.uint8)))


@pytest.mark.parametrize("name", ["astronaut", "camera", "chelsea", "coffee"])
def test_people_animals_and_rooms_are_refused(name: str) -> None:
    """A portrait, a man at work, a cat and a cup on a table: sources in pictures/CREDITS.md."""
    with pytest.raises(MotionError, match="nothing here seems to flow"):
        predict_motion(read_plate(Path(__file__).with_name("pictures") / f"{name}.jpg"))


def test_photographs_without_fluid_are_refused(corpus: Path) -> None:
    """Photographs of people, animals and rooms whose labels name no fluid; none of them was trained on."""
    from loopcore.training.pictures import read_manifest, read_sample

    folder = corpus / "seg"
    if not folder.is_dir():
        pytest.skip("no labelled pictures")
    scores = []
    for sample in read_manifest(folder):
        if sample.set == "bsds" and sample.split == "val":
            picture, labels = read_sample(sample)
            if not np.isin(labels, (1, 2, 3, 4)).any():
                scores.append(segment_plate(plate(picture)).score)
    assert len(scores) > 10 and np.mean(np.array(scores) < MIN_SCORE) > 0.8


@pytest.mark.parametrize(("light", "burns"), [((1.0, 0.8, 0.4), True), ((0.7, 0.8, 0.9), False)])
def test_warm_water_within_fire_is_flame(light: tuple[float, ...], burns: bool) -> None:
    shown = np.full((64, 96, 3), light, np.float32)
    shown[::2] *= 0.5
    probabilities = np.zeros((5, 16, 24), np.float32)
    probabilities[0], probabilities[:, :, 8:16] = 1, 0
    # water above fire
    probabilities[1, :8, 8:16], probabilities[4, 8:, 8:16] = 1, 1
    seen = segment(shown, probabilities)
    assert (seen.fire[8:24, 44:52] > 0.9).all() == burns
    assert (seen.water[8:24, 44:52] > 0.9).all() != burns
    assert (seen.moving[8:56, 44:52] > 0.9).all()
    assert seen.moving[:, :16].max() == 0


def test_stroke_overrides_the_prediction_around_it(fall: Plate, motion: MotionField) -> None:
    solid = np.argwhere(motion.mask > 0.99)
    y, x = solid[solid[:, 1].argmax()]  # at one end of the pool
    stroke = Stroke(np.array([[x, y + 6.0], [x, y - 6.0]]), 1.5)  # up the fall
    corrected = predict_motion(fall, Hints((stroke,)))
    assert corrected.velocity[y, x, 1] < -0.7
    assert np.array_equal(corrected.mask, motion.mask)
    away = np.hypot(*(np.indices(motion.mask.shape) - np.array([y, x])[:, None, None]))
    changed = np.hypot(*np.moveaxis(corrected.velocity - motion.velocity, -1, 0))
    assert np.median(changed[away < 8]) > 0.7
    assert np.median(changed[(away > 80) & (motion.mask > 0.5)]) < 0.1


def test_a_stroke_where_nothing_flows_asks_for_a_mask(fall: Plate, motion: MotionField) -> None:
    still = np.argwhere(motion.mask == 0)
    box = next((y, x) for y, x in still[:: max(1, len(still) // 500)]
               if 5 < x < 310 and y < 200 and not motion.mask[y : y + 9, x : x + 2].any())  # fmt: skip
    stroke = Stroke(np.array([[box[1], box[0]], [box[1], box[0] + 8.0]]), 1.0)
    with pytest.raises(MotionError, match=r"strokes\[0\] lies where nothing seems to flow: draw a mask"):
        predict_motion(fall, Hints((stroke,)))


def test_mask_replaces_the_predicted_one(fall: Plate) -> None:
    mask = np.zeros((fall.height, fall.width), np.float32)
    mask[60:140, 120:220] = 1
    field = predict_motion(fall, mask=mask)
    assert np.array_equal(field.mask, mask)
    assert np.hypot(*field.velocity[mask > 0].T).mean() > 0.05


def test_strokes_and_mask_together_need_no_picture() -> None:
    mask = np.zeros((60, 80), np.float32)
    mask[20:40] = 1
    grey = plate(np.full((60, 80, 3), 99, np.uint8))
    field = predict_motion(grey, Hints((Stroke(np.array([[10.0, 30.0], [70.0, 30.0]]), 2.0),)), mask)
    assert np.allclose(field.velocity[30, 40], (2, 0), atol=0.1)


def full_of(kind: str, shown: np.ndarray) -> Segmentation:
    """Returns the segmentation of a picture that shows one class."""
    probabilities = {name: np.zeros(shown.shape[:2], np.float32) for name in ("water", "spray", "sky", "smoke", "fire")}
    probabilities[kind] = np.ones(shown.shape[:2], np.float32)
    return Segmentation(**probabilities, moving=probabilities[kind], picture=np.repeat(shown[..., None], 3, axis=2))


def streaky(horizontal: float, vertical: float) -> np.ndarray:
    from scipy.ndimage import gaussian_filter

    noise = gaussian_filter(np.random.default_rng(2).random((120, 160)), (vertical, horizontal))
    return ((noise - noise.min()) / np.ptp(noise)).astype(np.float32)


@pytest.mark.parametrize(
    ("kind", "shown", "way"),
    [
        ("water", streaky(1, 9), (0, 1)),  # a fall
        ("water", streaky(9, 1), (1, 0)),  # ripples
        ("water", np.full((120, 160), 0.5, np.float32), (1, 0)),  # a calm lake
        ("sky", streaky(6, 6), (1, 0)),
        ("smoke", streaky(6, 6), (0, -1)),
        ("fire", streaky(6, 6), (0, -1)),
    ],
)
def test_each_class_moves_in_its_direction(kind: str, shown: np.ndarray, way: tuple[float, float]) -> None:
    segmentation = full_of(kind, shown)
    velocity, sure = direction_and_speed(segmentation, segmentation.moving)
    inner = velocity[20:-20, 20:-20]
    unit = inner / np.hypot(inner[..., 0], inner[..., 1])[..., None]
    assert np.median(unit @ np.array(way, np.float32)) > 0.95
    assert (sure > 0).all() and sure.max() <= 1


def test_lines_along_the_frame_are_not_falls() -> None:
    shown = streaky(9, 1)
    shown[:, [0, -1]] = 0
    segmentation = full_of("water", shown)
    velocity, _ = direction_and_speed(segmentation, segmentation.moving)
    steep = np.abs(velocity[..., 1]) > np.abs(velocity[..., 0])
    assert steep[:, :8].mean() + steep[:, -8:].mean() < 0.05


def test_near_water_moves_faster_than_far_water() -> None:
    segmentation = full_of("water", streaky(9, 1))
    segmentation.sky[:30], segmentation.water[:30] = 1, 0
    speed = np.hypot(*np.moveaxis(direction_and_speed(segmentation, segmentation.moving)[0], -1, 0))
    assert np.median(speed[-15:]) > 1.5 * np.median(speed[35:50]) > 0


@pytest.mark.parametrize("degrees", [-70, -20, 0, 35, 90])
def test_streaks_are_found_at_their_angle(degrees: float) -> None:
    y, x = np.mgrid[:120, :160]
    a = np.deg2rad(degrees)
    across = -np.sin(a) * x + np.cos(a) * y
    grey = (0.5 + 0.3 * np.sin(across * 0.9)).astype(np.float32)
    found = streak_axes(grey, np.ones_like(grey), 8.0)[:, 60, 80]
    off = (axis_angle(found[:, None, None])[0, 0] - a + np.pi / 2) % np.pi - np.pi / 2
    assert np.degrees(abs(off)) < 3 and np.hypot(*found) > 0.5


def test_flat_colour_has_no_streaks_and_borders_have_an_axis() -> None:
    flat = np.full((80, 80), 0.4, np.float32)
    assert np.abs(streak_axes(flat, np.ones_like(flat), 8.0)).max() < 1e-6
    inside = np.zeros((80, 80), np.float32)
    inside[:, 30:50] = 1  # a vertical channel
    axes = bank_axes(inside, 6.0)
    assert axes[0, 40, 40] < -0.3 and abs(axes[1, 40, 40]) < 0.05


def test_only_blue_light_is_white_balanced(fall: Plate) -> None:
    grey = np.full((20, 30, 3), 0.5, np.float32) * np.linspace(0.2, 1, 30, dtype=np.float32)[:, None]
    assert white_balanced(grey) is None
    assert white_balanced(grey * np.float32([1, 0.8, 0.5])) is None
    assert white_balanced(display_copy(fall)) is None
    plain = white_balanced(grey * np.float32([0.8, 1, 1.1]))
    assert plain is not None
    assert np.ptp(plain.mean(axis=(0, 1))) < 0.02
    assert plain.dtype == np.float32 and 0 <= plain.min() <= plain.max() <= 1
    strong = white_balanced(grey * np.float32([0.1, 0.5, 1]))  # more likely a sea
    assert strong is not None
    assert strong[..., 2].mean() > 3 * strong[..., 0].mean()


def test_a_fall_in_blue_light_is_found(corpus: Path) -> None:
    found = predict_motion(read_plate(corpus / "stills" / "wikimedia" / "048.png"))
    height, width = found.mask.shape
    assert found.mask[int(0.45 * height) : int(0.65 * height), int(0.45 * width) : int(0.6 * width)].mean() > 0.5
    assert (found.mask > 0).mean() < 0.3


def test_weak_motion_counts_only_where_connected_to_strong_motion() -> None:
    grey = plate(np.full((120, 160, 3), 128, np.uint8))
    moving = np.zeros((120, 160), np.float32)
    moving[20:60, 10:40] = 0.9
    moving[20:60, 40:70] = 0.47  # connected
    moving[20:60, 100:140] = 0.47  # separate
    mask = plate_mask(grey, display_copy(grey), moving)
    assert mask[30:50, 15:35].min() == 1
    assert mask[30:50, 50:62].min() > 0.5
    assert mask[30:50, 105:135].max() == 0
    moving[:, :80] = 0
    assert plate_mask(grey, display_copy(grey), moving)[30:50, 105:135].min() > 0.5


@pytest.mark.parametrize("shape", [(1, 512), (4, 512), (8, 512), (512, 8), (3, 3)])
def test_grids_of_very_thin_plates_have_directions(shape: tuple[int, int]) -> None:
    random = np.random.default_rng(2)
    water, none = np.full(shape, 0.9, np.float32), np.zeros(shape, np.float32)
    estimate = Segmentation(water, none, none, none, none, water, random.random((*shape, 3), np.float32))
    velocity, confidence = direction_and_speed(estimate, water)
    assert velocity.shape == (*shape, 2) and confidence.shape == shape
    assert np.isfinite(velocity).all()
