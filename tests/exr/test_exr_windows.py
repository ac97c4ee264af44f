# SPDX-License-Identifier: Apache-2.0
"""Data and display windows: where pixels are placed, and what sizes fit a picture with overscan."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loopcore import exr
from loopcore.errors import MotionError, PlateError
from loopcore.exr.windows import WHOLE, Windows, checked_windows, place
from loopcore.flowmap import read_motion
from loopcore.loop import Loop
from loopcore.motion import MotionField, read_mask
from loopcore.motion.masks import fit_windows
from loopcore.motion.strokes import Anchor, Hints, Stroke
from loopcore.plate import Plate, read_plate

CROP = Windows((24, 13, 71, 39), (0, 0, 95, 53))  # half the width, half the height
OVERSCAN = Windows((-20, -8, 83, 71), (0, 0, 63, 63))  # left 20, right 20, top 8, bottom 8


@st.composite
def windows(draw: st.DrawFn) -> tuple[int, int, int, int]:
    left, top = draw(st.integers(-9, 9)), draw(st.integers(-9, 9))
    return left, top, left + draw(st.integers(0, 8)), top + draw(st.integers(0, 8))


def motion_file(path: Path, size: tuple[int, int], where: Windows, *more: str) -> Path:
    channels = {"forward.u": np.full(size, 2, np.float32), "forward.v": np.full(size, 1, np.float32)}
    channels |= {name: np.ones(size, np.float32) for name in more}
    raw(path, channels, where)
    return path


def raw(path: Path, channels: dict[str, np.ndarray], where: Windows) -> Path:
    """Write with the library itself: `write_exr` is not under test."""
    import OpenEXR

    header = {
        "type": OpenEXR.scanlineimage, "dataWindow": (where.data[:2], where.data[2:]),
        "displayWindow": (where.display[:2], where.display[2:]),
    }  # fmt: skip
    OpenEXR.File(header, dict(channels)).write(str(path))
    return path


class TestPlacing:
    @given(source=windows(), target=windows(), extend=st.booleans())
    def test_each_pixel_lands_at_its_coordinates(
        self, source: tuple[int, int, int, int], target: tuple[int, int, int, int], extend: bool
    ) -> None:
        width, height = exr.window_size(source)
        pixels = np.arange(1, 1 + width * height * 2, dtype=np.float32).reshape(height, width, 2)
        placed = place(pixels, source, target, extend=extend)
        for y in range(target[1], target[3] + 1):
            for x in range(target[0], target[2] + 1):
                near = (np.clip(x, source[0], source[2]), np.clip(y, source[1], source[3]))
                expected = pixels[near[1] - source[1], near[0] - source[0]] if extend or near == (x, y) else [0, 0]
                np.testing.assert_array_equal(placed[y - target[1], x - target[0]], expected)

    def test_windows_too_far_apart_are_refused(self, tmp_path: Path) -> None:
        far = 10**6
        file = raw(tmp_path / "far.exr", {"Y": np.ones((2, 2), np.float32)}, Windows((far, far, far + 1, far + 1),
                                                                                    (0, 0, 9, 9)))  # fmt: skip
        for read in (read_plate, read_motion, lambda path: read_mask(path, 10, 10)):
            with pytest.raises((PlateError, MotionError), match="far.exr.*span .* crop it"):
                read(file)

    def test_windows_of_another_size_are_refused(self) -> None:
        pixels = np.ones((4, 5, 1), np.float32)
        with pytest.raises(PlateError, match="104x80 with overscan, 64x64 without, but the picture is 5x4"):
            Plate(pixels, ("Y",), windows=OVERSCAN)
        with pytest.raises(PlateError, match="not inside"):
            Plate(pixels, ("Y",), windows=Windows((0, 0, 4, 3), (0, 0, 5, 3)))
        with pytest.raises(PlateError, match="104x|not of the channels' size, 5x4"):
            exr.write_exr("never.exr", {"Y": pixels[..., 0]}, windows=OVERSCAN)
        with pytest.raises(MotionError, match="but the picture is 5x4"):
            MotionField(np.ones((4, 5, 2)), np.ones((4, 5)), np.ones((4, 5)), OVERSCAN)

    def test_scaled_windows(self) -> None:
        assert OVERSCAN.scaled(40, 52) == Windows((-10, -4, 41, 35), (0, 0, 31, 31))
        assert OVERSCAN.scaled(80, 104) == OVERSCAN and Windows.whole(9, 7).scaled(5, 4) == Windows.whole(5, 4)
        for size in ((1, 1), (3, 2), (77, 31)):
            small = OVERSCAN.scaled(*size)
            assert small.size == size and checked_windows(small, *size) == small

    def test_a_picture_of_its_own_needs_no_windows(self) -> None:
        assert checked_windows(WHOLE, 4, 5) == Windows((0, 0, 4, 3), (0, 0, 4, 3))
        plain = Plate(np.ones((4, 5, 1), np.float32), ("Y",))
        said = Plate(plain.pixels, ("Y",), windows=Windows.whole(4, 5))
        moved = Plate(plain.pixels, ("Y",), windows=Windows((1, 0, 5, 3), (1, 0, 5, 3)))
        assert plain.digest() == said.digest() != moved.digest()
        assert plain.displayed() is plain


class TestCropped:
    """A data window smaller than the display window: pixels outside are 0."""

    @pytest.mark.parametrize("names", [("mask.V",), ("A",), ("A", "R", "G", "B"), ("R", "G", "B")])
    def test_a_mask_covers_its_data_window_only(self, tmp_path: Path, names: tuple[str, ...]) -> None:
        size = CROP.size
        path = raw(tmp_path / "m.exr", {name: np.ones(size, np.float32) for name in names}, CROP)
        mask = read_mask(path, 54, 96)
        expected = np.zeros((54, 96), np.float32)
        expected[13:40, 24:72] = 1
        np.testing.assert_allclose(mask, expected, atol=1e-6)
        assert mask[expected == 0].max() == 0

    def test_a_mask_of_another_size_is_scaled_with_its_display_window(self, tmp_path: Path) -> None:
        path = raw(tmp_path / "m.exr", {"mask.V": np.ones(CROP.size, np.float32)}, CROP)
        mask = read_mask(path, 108, 192)
        assert mask.shape == (108, 192) and mask[40, 60] == 1 and mask[40, 40] == 0
        assert 0.2 < mask.mean() < 0.3

    def test_a_mask_whose_data_window_has_another_aspect_fits(self, tmp_path: Path) -> None:
        crop = Windows((10, 0, 19, 53), (0, 0, 95, 53))
        mask = read_mask(raw(tmp_path / "m.exr", {"A": np.ones(crop.size, np.float32)}, crop), 54, 96)
        assert mask[:, 10:20].min() == 1 and mask.sum() == 540

    def test_an_opaque_alpha_of_a_cropped_matte_is_not_the_mask(self, tmp_path: Path) -> None:
        grey = np.full(CROP.size, 0.5, np.float32)
        channels = {"R": grey, "G": grey, "B": grey, "A": np.ones(CROP.size, np.float32)}
        mask = read_mask(raw(tmp_path / "m.exr", channels, CROP), 54, 96)
        assert mask.max() == pytest.approx(0.5)

    @pytest.mark.parametrize("more", [(), ("mask.V",), ("mask.V", "confidence.V")])
    def test_a_motion_moves_inside_its_data_window_only(self, tmp_path: Path, more: tuple[str, ...]) -> None:
        path = motion_file(tmp_path / "v.exr", CROP.size, CROP, *more)
        for motion in (MotionField.load(path), read_motion(path), read_motion(path, size=(54, 96))):
            assert (motion.height, motion.width) == (54, 96) and not motion.windows.overscan
            assert (motion.effective[13:40, 24:72] == (2, -1)).all()
            assert np.abs(motion.effective).sum() == 3 * 27 * 48
            if motion.mask.min() == 0:
                assert motion.mask.sum() == 27 * 48
        assert MotionField.load(path).mask.sum() == 27 * 48

    def test_an_stmap_is_the_identity_outside(self, tmp_path: Path) -> None:
        x = (np.arange(24, 72, dtype=np.float32) + 0.5 - 2) / 96
        y = 1 - (np.arange(13, 40, dtype=np.float32) + 0.5) / 54
        channels = {"R": np.tile(x, (27, 1)), "G": np.tile(y[:, None], (1, 48)), "B": np.ones(CROP.size, np.float32)}
        motion = read_motion(raw(tmp_path / "st.exr", channels, CROP), "stmap")
        assert np.abs(motion.effective[20:30, 40:60] - (2, 0)).max() < 0.05
        assert np.abs(motion.effective[:8]).max() < 0.05


class TestFitting:
    """Masks, motion and hints over a plate with overscan."""

    def test_a_mask_of_the_display_window_is_extended_into_the_overscan(self, tmp_path: Path) -> None:
        from PIL import Image

        codes = np.random.default_rng(1).integers(0, 256, (64, 64), np.uint8)
        Image.fromarray(codes).save(tmp_path / "m.png")
        mask = read_mask(tmp_path / "m.png", 80, 104, OVERSCAN)
        inner = codes / np.float32(255)
        np.testing.assert_array_equal(mask, np.pad(inner, ((8, 8), (20, 20)), mode="edge"))

    def test_a_mask_as_large_as_all_the_plate_covers_it(self, tmp_path: Path) -> None:
        from PIL import Image

        codes = np.random.default_rng(1).integers(0, 256, (80, 104), np.uint8)
        Image.fromarray(codes).save(tmp_path / "m.png")
        np.testing.assert_array_equal(read_mask(tmp_path / "m.png", 80, 104, OVERSCAN), codes / np.float32(255))

    def test_a_mask_with_overscan_is_placed_by_its_windows(self, tmp_path: Path) -> None:
        where = Windows((-10, 0, 63, 63), (0, 0, 63, 63))
        path = raw(tmp_path / "m.exr", {"A": np.ones((64, 74), np.float32)}, where)
        mask = read_mask(path, 80, 104, OVERSCAN)
        assert mask[8:72, 10:84].min() == 1 and mask.sum() == 64 * 74
        # And is cropped for a plate that has less.
        assert read_mask(path, 64, 64).shape == (64, 64)

    def test_a_smaller_mask_is_scaled_with_the_display_window(self, tmp_path: Path) -> None:
        values = np.zeros((32, 32), np.float32)
        values[:, :16] = 1
        exr.write_exr(tmp_path / "m.exr", {"A": values})
        mask = read_mask(tmp_path / "m.exr", 80, 104, OVERSCAN)
        assert mask.shape == (80, 104)
        assert mask[:, : 20 + 30].min() == 1 and mask[:, 20 + 34 :].max() == 0

    def test_scaling_keeps_what_lies_in_the_overscan_in_place(self) -> None:
        half = Windows((-10, -4, 41, 35), (0, 0, 31, 31))
        ramp = np.add.outer(np.zeros(40), np.arange(-10, 42) + 0.5).astype(np.float32)  # x at pixel centres
        full = fit_windows(ramp, half, OVERSCAN)
        expected = (np.arange(-20, 84) + 0.5) / 2
        assert np.abs(full - expected)[:, 2:-2].max() < 1e-3

    def test_another_aspect_is_refused_with_both_sizes(self, tmp_path: Path) -> None:
        exr.write_exr(tmp_path / "m.exr", {"A": np.ones((30, 64), np.float32)})
        with pytest.raises(MotionError, match="64x30, but the plate is 104x80 with overscan, 64x64 without"):
            read_mask(tmp_path / "m.exr", 80, 104, OVERSCAN)
        motion_file(tmp_path / "v.exr", (30, 64), Windows.whole(30, 64))
        with pytest.raises(MotionError, match="64x30 and the plate 104x80 with overscan, 64x64 without: make it"):
            read_motion(tmp_path / "v.exr", size=(80, 104), windows=OVERSCAN)

    def test_a_motion_of_the_display_window_is_extended_into_the_overscan(self, tmp_path: Path) -> None:
        rng = np.random.default_rng(3)
        motion = MotionField(rng.normal(size=(64, 64, 2)), rng.random((64, 64)), rng.random((64, 64)))
        motion.save(tmp_path / "v.exr")
        wide = read_motion(tmp_path / "v.exr", size=(80, 104), windows=OVERSCAN)
        assert wide.windows == OVERSCAN
        around = ((8, 8), (20, 20))
        np.testing.assert_array_equal(wide.velocity, np.pad(motion.velocity, (*around, (0, 0)), mode="edge"))
        np.testing.assert_array_equal(wide.mask, np.pad(motion.mask, around, mode="edge"))
        assert wide.displayed().digest() == motion.digest()
        pixels = np.ones((80, 104, 3), np.float32)
        assert Loop(Plate(pixels, tuple("RGB"), windows=OVERSCAN), motion, frames=4).motion.digest() == wide.digest()

    def test_a_rescaled_motion_scales_with_the_display_window(self, tmp_path: Path) -> None:
        motion = MotionField(np.full((32, 32, 2), 1.5), np.ones((32, 32)), np.ones((32, 32)))
        motion.save(tmp_path / "v.exr")
        wide = read_motion(tmp_path / "v.exr", size=(80, 104), windows=OVERSCAN, rescale=True)
        assert np.allclose(wide.velocity, 3) and wide.velocity.shape == (80, 104, 2)

    def test_its_file_round_trips(self, tmp_path: Path) -> None:
        rng = np.random.default_rng(4)
        size = OVERSCAN.size
        motion = MotionField(rng.normal(size=(*size, 2)), rng.random(size), rng.random(size), OVERSCAN)
        motion.save(tmp_path / "motion.exr")
        header = exr.read_attributes(tmp_path / "motion.exr")
        assert (header["dataWindow"], header["displayWindow"]) == (OVERSCAN.data, OVERSCAN.display)
        for back in (read_motion(tmp_path / "motion.exr"), read_motion(tmp_path / "motion.exr")):
            assert back.windows == OVERSCAN and back.digest() == motion.digest()
            assert back.velocity.tobytes() == motion.velocity.tobytes()
        plain = MotionField(motion.velocity, motion.mask, motion.confidence)
        assert plain.digest() != motion.digest()

    def test_a_plate_and_a_motion_of_different_sizes_are_refused(self) -> None:
        plate = Plate(np.ones((80, 104, 3), np.float32), ("R", "G", "B"), windows=OVERSCAN)
        with pytest.raises(MotionError, match="plate is 104x80 with overscan, 64x64 without and the motion 70x64"):
            Loop(plate, MotionField(np.ones((64, 70, 2)), np.ones((64, 70)), np.ones((64, 70))), frames=4)

    def test_hints_are_pixels_of_the_display_window(self) -> None:
        hints = Hints((Stroke([[-10, 3], [30, 70]], 2.0),), (Anchor(0, 0),), size=(64, 64))
        fitted = hints.fitted(80, 104, OVERSCAN)
        np.testing.assert_allclose(fitted.strokes[0].points, [[10, 11], [50, 78]])
        assert (fitted.anchors[0].x, fitted.anchors[0].y) == (20, 8) and fitted.size == (104, 80)
        again = fitted.fitted(80, 104)
        np.testing.assert_allclose(again.strokes[0].points, [[10, 11], [50, 78]])
        half = Hints((Stroke([[-5, 1.5], [15, 35]], 1.0),), size=(32, 32)).fitted(80, 104, OVERSCAN)
        np.testing.assert_allclose(half.strokes[0].points, [[10.5, 11.5], [50.5, 78.5]])

    def test_hints_over_all_the_plate_are_pixels_of_that(self) -> None:
        hints = Hints((Stroke([[1, 2], [30, 70]], 2.0),), size=(104, 80)).fitted(80, 104, OVERSCAN)
        np.testing.assert_allclose(hints.strokes[0].points, [[1, 2], [30, 70]])

    def test_a_mask_that_ends_with_the_display_window_is_continued(self) -> None:
        left = np.array([[-0.5, -0.5], [31.5, -0.5], [31.5, 63.5], [-0.5, 63.5]])
        mask = Hints(polygons=(left,), size=(64, 64), feather=4).fitted(80, 104, OVERSCAN).mask
        assert mask is not None and mask.shape == (80, 104)
        assert (mask[:, : 20 + 27] == 1).all() and (mask[:, 20 + 32 :] == 0).all()

    def test_a_mask_that_reaches_beyond_it_is_as_drawn(self) -> None:
        left = np.array([[-10.5, -0.5], [31.5, -0.5], [31.5, 63.5], [-10.5, 63.5]])
        mask = Hints(polygons=(left,), size=(64, 64)).fitted(80, 104, OVERSCAN).mask
        assert mask is not None
        assert mask[9:71, 11:51].min() == 1 and mask[:7].max() == mask[:, :9].max() == mask[:, 53:].max() == 0
