# SPDX-License-Identifier: Apache-2.0
"""Prediction: deterministic, independent of size and exposure, refused where nothing flows."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from _constant import constant_network

from loopcore.color import decode_codes
from loopcore.errors import MotionError
from loopcore.motion import Hints, MotionField, Stroke, read_hints, solve_motion
from loopcore.motion.display import display_copy
from loopcore.motion.estimate import MIN_SCORE, Estimate, estimate_plate
from loopcore.motion.networks import CLASSES, save_weights
from loopcore.motion.predict import plate_mask, predict_motion
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


def test_brook_moves_and_much_of_the_picture_is_still() -> None:
    motion = predict_motion(plate(photograph(480, 270)))
    moving = motion.mask > 0.5
    assert 0.02 < moving.mean() < 0.7
    assert moving[243:, 120:240].mean() > 0.8  # the pool
    assert moving[190:, 90:210].mean() > 0.35  # with the last fall, rocks around both
    assert moving[:, 300:].mean() < 0.02  # rocks
    assert (motion.mask == 0).mean() > 0.2  # exactly still, not nearly
    assert 0.05 < np.hypot(*motion.velocity[moving].T).mean() < 3


def test_the_same_plate_gives_the_same_field(fall: Plate, motion: MotionField) -> None:
    assert predict_motion(fall).digest() == motion.digest()


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_any_number_of_threads_gives_the_same_field(threads: int) -> None:
    larger = plate(photograph(1000, 667))
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
    seen, plain = estimate_plate(other), estimate_plate(same)
    assert np.abs(seen.moving - plain.moving).max() < 0.05


def test_highlights_and_broken_pixels_are_tolerated() -> None:
    codes = photograph(240, 160)
    pixels = decode_codes(codes)
    pixels[2:5, 2:5] = 5e4
    pixels[80, 100] = np.nan
    pixels[81, 100] = np.inf
    seen = estimate_plate(Plate(pixels, ("R", "G", "B")))
    assert np.isfinite(seen.moving).all() and seen.score > 0.5


@pytest.mark.parametrize("size", [(17, 11), (33, 200), (401, 97), (640, 640)])
def test_any_size_and_shape(size: tuple[int, int]) -> None:
    width, height = size
    seen = estimate_plate(plate(photograph(width, height)))
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
    seen = estimate_plate(Plate(pixels, channels, "lin_rec709_scene", "srgb"))
    assert seen.score > 0.3


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
                scores.append(estimate_plate(plate(picture)).score)
    assert len(scores) > 10 and np.mean(np.array(scores) < MIN_SCORE) > 0.8


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


def from_down(velocity: np.ndarray) -> np.ndarray:
    """Returns the degrees between (..., 2) velocities and down."""
    return np.degrees(np.abs(np.arctan2(velocity[..., 0], velocity[..., 1])))


@pytest.fixture(scope="module")
def blue_fall(corpus: Path) -> MotionField:
    """The motion of a fall in snow and blue light, predicted from the picture alone."""
    return predict_motion(read_plate(corpus / "stills" / "wikimedia" / "048.png"))


def box_of(field: MotionField) -> tuple[slice, slice]:
    """Returns the rows and columns of the fall."""
    height, width = field.mask.shape
    return slice(int(0.45 * height), int(0.65 * height)), slice(int(0.45 * width), int(0.6 * width))


def test_a_fall_in_blue_light_is_found_and_falls(blue_fall: MotionField) -> None:
    """Some of the snow around it moves as well (see the card of the weights)."""
    box = box_of(blue_fall)
    assert blue_fall.mask[box].mean() > 0.5 and blue_fall.mask.mean() < 0.6
    assert np.median(from_down(blue_fall.velocity[box][blue_fall.mask[box] > 0.5])) < 45


@pytest.fixture(scope="module")
def brook() -> tuple[MotionField, np.ndarray]:
    """The motion of the example predicted from the picture alone, and the mask of its own hints."""
    small = plate(photograph(960, 540))
    hints = read_hints(PHOTOGRAPH.with_name("hints.json")).fitted(small.height, small.width, small.windows)
    return predict_motion(small), solve_motion(small.height, small.width, hints).mask > 0.5


def test_the_lower_part_of_the_brook_is_found(brook: tuple[MotionField, np.ndarray]) -> None:
    """The upper falls are missed, and a part of the banks moves (see the card of the weights)."""
    motion, drawn = brook
    found = motion.mask > 0.5
    assert (found & drawn).sum() > 0.3 * (found | drawn).sum()
    assert (found & drawn)[350:].sum() > 0.6 * drawn[350:].sum()


def test_the_rock_in_the_lower_fall_of_the_brook_is_still(brook: tuple[MotionField, np.ndarray]) -> None:
    motion, _ = brook
    assert (motion.mask[432:448, 405:455] > 0.5).mean() < 0.05


def test_the_lower_fall_of_the_brook_falls(brook: tuple[MotionField, np.ndarray]) -> None:
    motion, _ = brook
    fall = (slice(418, 448), slice(338, 368))  # its left half; the right one goes aside
    assert (motion.mask[fall] > 0.5).mean() > 0.7
    assert np.median(from_down(motion.velocity[fall])) < 30
    assert (motion.velocity[fall][..., 1] > 0).mean() > 0.95


@pytest.mark.parametrize(("kind", "drifts"), [("water", 0), ("fire", 0), ("sky", 1), ("smoke", 1)])
def test_clouds_and_smoke_drift(kind: str, drifts: float, tmp_path: Path) -> None:
    save_weights(constant_network(kind, axis=(0.0, 20.0), direction=(0.0, 1.0)), tmp_path / "w.safetensors", {})
    textured = plate(np.random.default_rng(3).integers(0, 255, (120, 160, 3)).astype(np.uint8))
    field = predict_motion(textured, weights=tmp_path / "w.safetensors")
    assert field.drifting is not None and field.drifting == pytest.approx(drifts, abs=1e-3)
    assert (field.mask > 0.9).mean() > 0.9
    assert np.median(field.velocity[..., 0]) > 0.1 and np.abs(np.median(field.velocity[..., 1])) < 0.01


def test_plates_below_400_pixels_move_as_fast_as_one_of_400(tmp_path: Path) -> None:
    save_weights(constant_network(axis=(0.0, 20.0), direction=(0.0, 1.0)), tmp_path / "w.safetensors", {})
    speed = {}
    for width in (200, 400, 800):
        codes = np.random.default_rng(3).integers(0, 255, (width // 2, width, 3)).astype(np.uint8)
        speed[width] = np.median(predict_motion(plate(codes), weights=tmp_path / "w.safetensors").velocity[..., 0])
    assert speed[200] == pytest.approx(speed[400], rel=0.01)
    assert speed[800] == pytest.approx(2 * speed[400], rel=0.01)


def estimate_of(moving: np.ndarray, fluid: np.ndarray) -> Estimate:
    """Returns an estimate of probabilities of moving and of water, (h, w)."""
    classes = np.zeros((len(CLASSES), *moving.shape), np.float32)
    classes[0], classes[1] = 1 - fluid, fluid
    return Estimate(moving, np.zeros((*moving.shape, 2), np.float32), np.ones_like(moving), classes)


def test_weak_motion_counts_only_where_connected_to_strong_motion() -> None:
    grey = plate(np.full((120, 160, 3), 128, np.uint8))
    picture = display_copy(grey)
    moving, fluid = np.zeros((120, 160), np.float32), np.ones((120, 160), np.float32)
    moving[20:60, 10:40] = 0.9
    moving[20:60, 40:70] = 0.47  # connected
    moving[20:60, 100:140] = 0.47  # separate
    mask = plate_mask(grey, picture, estimate_of(moving, fluid))
    assert mask[30:50, 15:35].min() == 1
    assert mask[30:50, 50:62].min() > 0.5
    assert mask[30:50, 105:135].max() == 0
    moving[:, :80] = 0
    assert plate_mask(grey, picture, estimate_of(moving, fluid))[30:50, 105:135].min() > 0.5


def test_what_moves_but_is_no_fluid_counts_only_beside_a_fluid() -> None:
    grey = plate(np.full((120, 160, 3), 128, np.uint8))
    moving, fluid = np.zeros((120, 160), np.float32), np.zeros((120, 160), np.float32)
    moving[20:60, 10:70] = moving[20:60, 100:140] = 0.9
    fluid[20:60, 10:40] = 0.9
    mask = plate_mask(grey, display_copy(grey), estimate_of(moving, fluid))
    assert mask[30:50, 15:62].min() == 1
    assert mask[30:50, 105:135].max() == 0
