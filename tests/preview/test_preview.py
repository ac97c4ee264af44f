# SPDX-License-Identifier: Apache-2.0
"""Tests of pictures of motion and contact sheets."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from _preview_files import read_picture

from loopcore.errors import MotionError, SequenceError
from loopcore.preview import arrow_picture, contact_sheet, flow_picture, write_picture
from loopcore.preview.flow import colour_wheel


def read_flo(path: Path) -> np.ndarray:
    raw = path.read_bytes()
    width, height = np.frombuffer(raw, "<i4", 2, 4)
    return np.frombuffer(raw, "<f4", width * height * 2, 12).reshape(height, width, 2)


# Flow pictures


@pytest.mark.parametrize("name", ["frame_0001", "frame_0003", "wheel257"])
def test_flow_picture_matches_the_reference_renderings(corpus: Path, name: str) -> None:
    picture = flow_picture(read_flo(corpus / "flow" / f"{name}.flo")).astype(int)
    references = sorted((corpus / "flow").glob(f"{name}.flow_vis.png")) + sorted(
        (corpus / "flow").glob(f"{name}.flo.png")
    )
    assert references
    for reference in references:
        assert np.abs(picture - read_picture(reference)).max() <= 1


def test_colour_wheel_has_the_published_corners() -> None:
    wheel = np.rint(colour_wheel() * 255)
    assert wheel.shape == (55, 3)
    for index, colour in [(0, (255, 0, 0)), (15, (255, 255, 0)), (21, (0, 255, 0)), (25, (0, 255, 255))]:
        assert tuple(wheel[index]) == colour
    assert tuple(wheel[36]) == (0, 0, 255)
    assert tuple(wheel[49]) == (255, 0, 255)


def test_flow_picture_directions_and_strength() -> None:
    ways = np.array([[[1, 0], [0, 1], [-1, 0], [0, -1], [0, 0], [0.5, 0], [2, 0]]], np.float32)
    right, down, left, up, still, half, fast = flow_picture(ways, max_speed=1.0)[0].astype(int)
    assert tuple(right) == (255, 0, 0)
    assert down[0] == 255 and down[1] > 200 and down[2] == 0
    assert left[0] == 0 and left[1] > 180 and left[2] == 255
    assert up[1] == 0 and up[2] == 255
    assert tuple(still) == (255, 255, 255)
    assert tuple(half) == (255, 127, 127)
    assert tuple(fast) == (191, 0, 0)


def test_flow_picture_shows_unknown_black_and_ignores_it_in_the_scale() -> None:
    velocity = np.zeros((300, 5, 2), np.float64)
    velocity[0, :, 0] = [1, np.nan, np.inf, 2e9, -1e10]
    velocity[299, 0] = (3, 4)
    picture = flow_picture(velocity)
    assert picture[0, 1:].max() == 0
    assert np.array_equal(picture[0, 0], flow_picture(np.array([[[1.0, 0.0]]]), max_speed=5.0)[0, 0])


@pytest.mark.parametrize("shape", [(1, 1, 2), (3, 1, 2), (257, 3, 2), (0, 4, 2)])
def test_flow_picture_of_a_still_field_is_white(shape: tuple[int, int, int]) -> None:
    picture = flow_picture(np.zeros(shape, np.float32))
    assert picture.shape == (*shape[:2], 3)
    assert picture.size == 0 or picture.min() == 255


def test_flow_picture_refuses_bad_input() -> None:
    with pytest.raises(MotionError, match=r"\(4, 4, 3\)"):
        flow_picture(np.zeros((4, 4, 3)))
    for speed in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(MotionError, match="max_speed"):
            flow_picture(np.zeros((4, 4, 2)), max_speed=speed)


# Arrows


@dataclass
class Motion:
    """The attributes of a motion field that the picture uses."""

    velocity: np.ndarray
    mask: np.ndarray

    @property
    def effective(self) -> np.ndarray:
        return self.velocity * self.mask[..., None]


def uniform_motion(height: int, width: int, velocity: tuple[float, float]) -> Motion:
    mask = np.zeros((height, width), np.float32)
    mask[height // 4 : -height // 4, width // 4 : -width // 4] = 1
    return Motion(np.broadcast_to(np.array(velocity, np.float32), (height, width, 2)), mask)


def test_arrows_stay_near_the_mask_and_show_its_edge() -> None:
    plate = np.full((240, 320, 3), 120, np.uint8)
    picture = arrow_picture(plate, uniform_motion(240, 320, (3.0, 0.0)))
    assert picture.shape == plate.shape
    dark = picture[0, 0]
    assert (dark < 70).all()
    assert (picture[:40] == dark).all() and (picture[:, :50] == dark).all()
    assert (picture[59:61, 100:200].min(axis=(0, 2)) > 120).all()
    colours = picture[80:160, 100:220].reshape(-1, 3).astype(int)
    assert (colours.max(axis=1) - colours.min(axis=1) > 100).mean() > 0.05


def test_arrows_point_where_the_content_goes() -> None:
    plate = np.zeros((121, 121, 3), np.uint8)
    motion = Motion(np.full((121, 121, 2), (2.0, 0.0), np.float32), np.ones((121, 121), np.float32))
    single = arrow_picture(plate, motion, spacing=121)
    lit = single.max(axis=2) > 100
    rows_per_column = lit.sum(axis=0)
    columns = np.flatnonzero(rows_per_column)
    # The head is wider than the tail, so the widest column is right of the middle.
    assert np.argmax(rows_per_column) > columns.mean()
    motion.velocity = -motion.velocity
    rows_per_column = (arrow_picture(plate, motion, spacing=121).max(axis=2) > 100).sum(axis=0)
    assert np.argmax(rows_per_column) < np.flatnonzero(rows_per_column).mean()


def test_faster_arrows_are_longer() -> None:
    plate = np.zeros((300, 300, 3), np.uint8)
    velocity = np.zeros((300, 300, 2), np.float32)
    velocity[:, :, 1] = 1.0
    velocity[:, 150:, 1] = 4.0
    lit = arrow_picture(plate, Motion(velocity, np.ones((300, 300), np.float32)), spacing=60).max(axis=2) > 100
    assert lit[:, 150:].sum() > 2 * lit[:, :150].sum() > 0


@pytest.mark.parametrize(("height", "width"), [(1, 1), (3, 200), (33, 47)])
def test_arrows_take_odd_sizes_and_fields_without_motion(height: int, width: int) -> None:
    plate = np.full((height, width, 3), 200, np.uint8)
    for value in (0.0, 1.0, float("nan")):
        motion = Motion(np.full((height, width, 2), value, np.float32), np.full((height, width), value, np.float32))
        assert arrow_picture(plate, motion).shape == plate.shape


def test_arrows_refuse_another_size_or_spacing() -> None:
    motion = uniform_motion(40, 60, (1.0, 1.0))
    with pytest.raises(MotionError, match="60x40"):
        arrow_picture(np.zeros((60, 40, 3), np.uint8), motion)
    with pytest.raises(MotionError, match="apart"):
        arrow_picture(np.zeros((40, 60, 3), np.uint8), motion, spacing=1)


# Contact sheets


def test_contact_sheet_places_every_frame_and_label() -> None:
    frames = [(str(1001 + index), np.full((90, 160, 3), 40 * index + 55, np.uint8)) for index in range(5)]
    sheet = contact_sheet(frames, columns=2, width=400)
    assert sheet.shape[1] == 400 and sheet.dtype == np.uint8
    levels = [level for level in (55, 95, 135, 175, 215) if (sheet == level).all(axis=2).sum() > 90 * 160]
    assert levels == [55, 95, 135, 175, 215]
    bare = contact_sheet([("", picture) for _, picture in frames], columns=2, width=400)
    assert (sheet != bare).any()


def test_contact_sheet_keeps_aspect_ratios() -> None:
    frames = [("a", np.full((90, 160, 3), 255, np.uint8)), ("b", np.full((160, 90, 3), 200, np.uint8))]
    sheet = contact_sheet(frames, columns=2, width=800)
    rows, columns = np.nonzero((sheet == 200).all(axis=2))
    assert (np.ptp(rows) + 1) / (np.ptp(columns) + 1) == pytest.approx(160 / 90, rel=0.03)


@pytest.mark.parametrize(
    ("frames", "columns", "width"),
    [
        ([], 4, 800),
        ([("a", np.zeros((4, 4), np.uint8))], 4, 800),
        ([("a", np.zeros((4, 4, 3), np.float32))], 4, 800),
        ([("a", np.zeros((4, 4, 3), np.uint8))] * 30, 30, 300),
        ([("a", np.zeros((4, 4, 3), np.uint8))], 0, 300),
    ],
)
def test_contact_sheet_refuses_bad_input(frames: list[tuple[str, np.ndarray]], columns: int, width: int) -> None:
    with pytest.raises(SequenceError):
        contact_sheet(frames, columns, width)


def test_write_picture_round_trips(tmp_path: Path) -> None:
    picture = np.random.default_rng(1).integers(0, 255, (31, 17, 3), np.uint8)
    write_picture(picture[:, ::-1], tmp_path / "a.png")
    assert np.array_equal(read_picture(tmp_path / "a.png"), picture[:, ::-1])
    write_picture(np.full((16, 16, 3), 77, np.uint8), tmp_path / "a.JPG")
    assert np.abs(read_picture(tmp_path / "a.JPG").astype(int) - 77).max() <= 1
    with pytest.raises(SequenceError, match=r"name it .png"):
        write_picture(picture, tmp_path / "a.exr")
    with pytest.raises(SequenceError, match="cannot write"):
        write_picture(picture, tmp_path / "gone" / "a.png")


def test_contact_sheet_of_thin_pictures_stays_small() -> None:
    sheet = contact_sheet([(str(i), np.full((2000, 3, 3), 90, np.uint8)) for i in range(5)], width=480)
    assert sheet.shape[1] == 480
    assert sheet.shape[0] < 2 * 9 * 120
    assert (sheet == 90).all(axis=-1).any()
