# SPDX-License-Identifier: Apache-2.0
"""Plates: every kind of still comes out as the right linear pixels, or is refused with a reason."""

from __future__ import annotations

import io
import json
import os
import struct
import subprocess
import sys
import time
import zlib
from fractions import Fraction
from pathlib import Path

import numpy as np
import OpenEXR
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, PngImagePlugin

from loopcore import color, exr
from loopcore.errors import PlateError
from loopcore.plate import Plate, read_plate

RNG = np.random.default_rng(21)


def noise(*shape: int) -> np.ndarray:
    return (RNG.standard_normal(shape) * 3).astype(np.float32)


def codes(*shape: int, dtype: type = np.uint8) -> np.ndarray:
    return RNG.integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)


def write_raw(path: Path, channels: dict, **header: object) -> Path:
    """With the library itself: windows, subsampling and types that `write_exr` does not offer."""
    OpenEXR.File({"type": OpenEXR.scanlineimage, **header}, dict(channels)).write(str(path))  # which alters the dict
    return path


def write_parts(path: Path, parts: dict[str, list[str]], size: tuple[int, int] = (5, 7), **views: str) -> dict:
    """A multi-part file; returns part name -> channel -> pixels."""
    made, pixels = [], {}
    for name, channels in parts.items():
        pixels[name] = {channel: noise(*size) for channel in channels}
        header = {"type": OpenEXR.scanlineimage, **({"view": views[name]} if name in views else {})}
        made.append(OpenEXR.Part(header, dict(pixels[name]), name))
    OpenEXR.File(made).write(str(path))
    return pixels


def write_by_hand(
    path: Path, channels: dict[str, tuple[np.ndarray, int, int]], **attributes: tuple[str, bytes]
) -> Path:
    """An uncompressed scan-line file, laid out by "OpenEXR File Layout": name -> pixels, x sampling, y sampling.

    The library's bindings write no subsampled channels.
    """
    full = next(array for array, across, down in channels.values() if across == down == 1)
    height, width = full.shape
    listed = b"".join(
        name.encode() + b"\0" + struct.pack("<iB3xii", 2, 0, *channels[name][1:]) for name in sorted(channels)
    )
    window = struct.pack("<4i", 0, 0, width - 1, height - 1)
    head = {
        "channels": ("chlist", listed + b"\0"),
        "compression": ("compression", b"\0"),
        "dataWindow": ("box2i", window),
        "displayWindow": ("box2i", window),
        "lineOrder": ("lineOrder", b"\0"),
        "pixelAspectRatio": ("float", struct.pack("<f", 1)),
        "screenWindowCenter": ("v2f", bytes(8)),
        "screenWindowWidth": ("float", struct.pack("<f", 1)),
        **attributes,
    }
    data = b"\x76\x2f\x31\x01\2\0\0\0"
    for name, (kind, value) in head.items():
        data += name.encode() + b"\0" + kind.encode() + b"\0" + struct.pack("<i", len(value)) + value
    lines, offsets, at = b"", b"", len(data) + 1 + 8 * height
    for y in range(height):
        row = b"".join(
            channels[name][0][y // channels[name][2]].astype("<f4").tobytes()
            for name in sorted(channels)
            if y % channels[name][2] == 0
        )
        offsets += struct.pack("<Q", at + len(lines))
        lines += struct.pack("<ii", y, len(row)) + row
    path.write_bytes(data + b"\0" + offsets + lines)
    return path


class TestExrPixels:
    @pytest.mark.parametrize("dtype", [np.float16, np.float32, np.uint32])
    @pytest.mark.parametrize(
        "stored, expected", [("ABGR", "RGBA"), ("BGR", "RGB"), ("Y", "Y"), ("YA", "YA"), ("G", "G")]
    )
    def test_channels_and_types(self, tmp_path: Path, dtype: type, stored: str, expected: str) -> None:
        arrays = {name: (np.abs(noise(6, 9)) * 50).astype(dtype) for name in stored}
        exr.write_exr(tmp_path / "x.exr", arrays, pixel_aspect=1.5)
        plate = read_plate(tmp_path / "x.exr")
        assert plate.channels == tuple(expected) and plate.pixels.dtype == np.float32
        assert (plate.height, plate.width, plate.pixel_aspect) == (6, 9, 1.5)
        assert plate.colorspace == "" and plate.encoded == "linear" and plate.source == tmp_path / "x.exr"
        assert plate.alpha_index == (len(expected) - 1 if "A" in expected else None)
        for index, name in enumerate(expected):
            np.testing.assert_array_equal(plate.pixels[..., index], arrays[name].astype(np.float32))

    def test_lower_case_and_long_names(self, tmp_path: Path) -> None:
        arrays = {f"fg.{name}": noise(3, 4) for name in ("red", "green", "blue", "alpha")}
        exr.write_exr(tmp_path / "x.exr", arrays)
        plate = read_plate(str(tmp_path / "x.exr"))
        assert plate.channels == ("R", "G", "B", "A")
        np.testing.assert_array_equal(plate.pixels[..., 2], arrays["fg.blue"])

    def test_what_is_beyond_numbers_is_kept(self, tmp_path: Path) -> None:
        values = np.array([[np.nan, np.inf, -np.inf, -3.0, 60000.0, 1e-7]], np.float32)
        exr.write_exr(tmp_path / "x.exr", {name: values for name in "RGBA"})
        np.testing.assert_array_equal(read_plate(tmp_path / "x.exr").pixels, np.repeat(values[..., None], 4, axis=2))

    @given(data=st.data())
    @settings(max_examples=60, deadline=None)
    def test_windows(self, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
        def window() -> tuple[int, int, int, int]:
            left, top = data.draw(st.integers(-9, 9)), data.draw(st.integers(-9, 9))
            return left, top, left + data.draw(st.integers(0, 8)), top + data.draw(st.integers(0, 8))

        at, shown = window(), window()
        pixels = {name: noise(at[3] - at[1] + 1, at[2] - at[0] + 1) for name in "RGBA"}
        corners = {"dataWindow": (at[:2], at[2:]), "displayWindow": (shown[:2], shown[2:])}
        path = write_raw(tmp_path_factory.getbasetemp() / "windows.exr", pixels, **corners)
        plate = read_plate(path)
        assert plate.data_window == at and plate.display_window == shown
        assert (plate.width, plate.height) == (shown[2] - shown[0] + 1, shown[3] - shown[1] + 1)
        for y in range(shown[1], shown[3] + 1):
            for x in range(shown[0], shown[2] + 1):
                inside = at[0] <= x <= at[2] and at[1] <= y <= at[3]
                expected = [pixels[name][y - at[1], x - at[0]] if inside else 0 for name in "RGBA"]
                np.testing.assert_array_equal(plate.pixels[y - shown[1], x - shown[0]], expected)

    def test_tiles(self, tmp_path: Path) -> None:
        tiles = OpenEXR.TileDescription()
        tiles.xSize, tiles.ySize = 16, 8
        pixels = noise(30, 41)
        OpenEXR.File({"type": OpenEXR.tiledimage, "tiles": tiles}, {"Y": pixels}).write(str(tmp_path / "x.exr"))
        np.testing.assert_array_equal(read_plate(tmp_path / "x.exr").pixels[..., 0], pixels)


class TestLayers:
    def written(self, tmp_path: Path, names: list[str], **attributes: object) -> tuple[Path, dict[str, np.ndarray]]:
        arrays = {name: noise(4, 5) for name in names}
        exr.write_exr(tmp_path / "x.exr", arrays, attributes=attributes)
        return tmp_path / "x.exr", arrays

    BLENDER = (
        [f"ViewLayer.Combined.{c}" for c in "RGBA"] + [f"ViewLayer.Vector.{c}" for c in "XYZW"] + ["ViewLayer.Depth.Z"]
    )
    NUKE = [*"RGBA", *(f"beauty.{c}" for c in "RGB"), "depth.Z", "forward.u", "forward.v", "mask.a"]

    @pytest.mark.parametrize(
        "names, layer, first",
        [
            (BLENDER, None, "ViewLayer.Combined.R"),
            (BLENDER, "Combined", "ViewLayer.Combined.R"),
            (BLENDER, "viewlayer.combined", "ViewLayer.Combined.R"),
            (BLENDER, "Depth", "ViewLayer.Depth.Z"),
            (NUKE, None, "R"),
            (NUKE, "beauty", "beauty.R"),
            (NUKE, "mask", "mask.a"),
            (NUKE, "depth", "depth.Z"),
            (["diffuse.R", "diffuse.G", "diffuse.B", "N.X", "N.Y", "N.Z"], None, "diffuse.R"),
            (["diffuse.R", "rgba.R", "specular.R"], None, "rgba.R"),
            (["a.R", "b.Combined.R", "rgba.R"], None, "b.Combined.R"),
            (["mask"], None, "mask"),
            (["left.R", "R"], "left", "left.R"),
            (["crypto.R", "fg.sky.R", "bg.sky.G"], "fg.sky", "fg.sky.R"),
        ],
    )
    def test_the_layer_that_is_meant(self, tmp_path: Path, names: list[str], layer: str | None, first: str) -> None:
        path, arrays = self.written(tmp_path, names)
        plate = read_plate(path, layer=layer)
        np.testing.assert_array_equal(plate.pixels[..., 0], arrays[first])

    @pytest.mark.parametrize(
        "names, layer, reason",
        [
            (["diffuse.R", "specular.R"], None, r"several layers.*diffuse \(R\), specular \(R\)"),
            (["a.Combined.R", "b.Combined.R"], None, "several layers"),
            (["a.Combined.R", "b.Combined.R"], "Combined", "could be any of a.Combined"),
            (NUKE, "nothing", r"no layer 'nothing', only \(unnamed\) \(R, G, B, A\), beauty"),
            (NUKE, "forward", "no colour, only the channels forward.u, forward.v"),
            (["N.X", "N.Y", "N.Z"], None, "no colour"),
            (["u", "v"], None, "no colour"),
            (["a.Z", "b.Z"], None, "no colour"),
            (BLENDER, "Vector", "no colour"),
        ],
    )
    def test_what_cannot_be_meant(self, tmp_path: Path, names: list[str], layer: str | None, reason: str) -> None:
        path, _ = self.written(tmp_path, names)
        with pytest.raises(PlateError, match=reason):
            read_plate(path, layer=layer)

    def test_views_of_one_part(self, tmp_path: Path) -> None:
        path, arrays = self.written(tmp_path, ["R", "right.R", "mask.left.Z"], multiView=["left", "right"])
        for layer, name in ((None, "R"), ("left", "R"), ("right", "right.R")):
            np.testing.assert_array_equal(read_plate(path, layer=layer).pixels[..., 0], arrays[name])

    def test_parts_and_views(self, tmp_path: Path) -> None:
        path = tmp_path / "x.exr"
        parts = {"rgba_right": list("RGBA"), "depth_right": ["Z"], "rgba_left": list("RGBA"), "diffuse": list("RGB")}
        pixels = write_parts(path, parts, rgba_right="right", depth_right="right", rgba_left="left", diffuse="left")
        for layer, part in ((None, "rgba_right"), ("left", None), ("rgba_left", "rgba_left"), ("Diffuse", "diffuse")):
            if part is None:
                with pytest.raises(PlateError, match="rgba_left .*diffuse"):
                    read_plate(path, layer=layer)
            else:
                np.testing.assert_array_equal(read_plate(path, layer=layer).pixels[..., 0], pixels[part]["R"])
        assert read_plate(path, layer="depth_right").channels == ("Z",)
        assert read_plate(path, layer="right").channels == ("R", "G", "B", "A")

    def test_parts_as_blender_writes_them(self, tmp_path: Path) -> None:
        path = tmp_path / "x.exr"
        names = {
            "ViewLayer.Combined": [f"ViewLayer.Combined.{c}" for c in "RGBA"],
            "ViewLayer.Depth": ["ViewLayer.Depth.Z"],
        }
        pixels = write_parts(path, names)
        for layer in (None, "Combined", "ViewLayer.Combined"):
            plate = read_plate(path, layer=layer)
            np.testing.assert_array_equal(plate.pixels[..., 3], pixels["ViewLayer.Combined"]["ViewLayer.Combined.A"])

    def test_only_exr_has_layers(self, tmp_path: Path) -> None:
        Image.new("RGB", (2, 2)).save(tmp_path / "x.png")
        with pytest.raises(PlateError, match="layers"):
            read_plate(tmp_path / "x.png", layer="beauty")


class TestChroma:
    def to_chroma(self, rgb: np.ndarray, weights: np.ndarray) -> dict[str, np.ndarray]:
        y = rgb @ weights
        return {"Y": y, "RY": (rgb[..., 0] - y) / y, "BY": (rgb[..., 2] - y) / y}

    def smooth(self, height: int = 64, width: int = 90) -> np.ndarray:
        rows, columns = np.mgrid[:height, :width] / 20.0
        waves = [np.sin(rows + phase) + np.cos(columns * 0.7 - phase) for phase in (0.0, 1.0, 2.5)]
        return np.stack([1.5 + 0.4 * wave for wave in waves], axis=-1)

    @pytest.mark.parametrize("space", ["rec709", "ap1", "ciexyzd65"])
    @pytest.mark.parametrize("step", [1, 2])
    def test_smooth_colour_comes_back(self, tmp_path: Path, space: str, step: int) -> None:
        rgb = self.smooth()
        chroma = self.to_chroma(rgb, color.rgb_to_xyz(color.PRIMARIES[space])[1])
        channels = {
            "Y": (chroma["Y"], 1, 1),
            **{name: (chroma[name][::step, ::step], step, step) for name in ("RY", "BY")},
            "A": (np.full(rgb.shape[:2], 0.5), 1, 1),
        }
        packed = struct.pack("<8f", *color.PRIMARIES[space])
        header = {} if space == "rec709" else {"chromaticities": ("chromaticities", packed)}
        plate = read_plate(write_by_hand(tmp_path / "x.exr", channels, **header))
        assert plate.channels == ("R", "G", "B", "A") and (plate.pixels[..., 3] == 0.5).all()
        # Beyond the last chroma sample there is none to filter with: it is repeated, as the format's own reader does.
        inner = plate.pixels[16:-16, 16:-16, :3] if step == 2 else plate.pixels[..., :3]
        expected = rgb[16:-16, 16:-16] if step == 2 else rgb
        np.testing.assert_allclose(inner, expected, rtol=3e-4 if step == 2 else 1e-5)
        np.testing.assert_allclose(plate.pixels[..., :3], rgb, rtol=0.05)

    def test_grey_is_exact(self, tmp_path: Path) -> None:
        y = np.abs(noise(10, 12))
        flat = (np.zeros((5, 6)), 2, 2)
        path = write_by_hand(tmp_path / "x.exr", {"Y": (y, 1, 1), "RY": flat, "BY": flat})
        np.testing.assert_array_equal(read_plate(path).pixels, np.repeat(y[..., None], 3, axis=2))

    def test_saturated_specks_are_toned_down_at_equal_luminance(self, tmp_path: Path) -> None:
        y, ry = np.full((16, 16), 0.5), np.zeros((8, 8))
        ry[4, 4] = 3.0
        channels = {"Y": (y, 1, 1), "RY": (ry, 2, 2), "BY": (np.zeros((8, 8)), 2, 2)}
        path = write_by_hand(tmp_path / "x.exr", channels)
        pixels = read_plate(path).pixels
        assert pixels.min() >= 0
        np.testing.assert_allclose(pixels @ color.rgb_to_xyz(color.PRIMARIES["rec709"])[1], y, rtol=1e-3)

    def test_other_subsampling_is_refused(self, tmp_path: Path) -> None:
        half, full, wide = (np.ones((5, 6)), 2, 2), (np.ones((10, 12)), 1, 1), (np.ones((10, 6)), 2, 1)
        for channels in (
            {"R": full, "G": full, "B": half},
            {"Y": full, "RY": wide, "BY": wide},
            {"Y": full, "RY": half, "BY": full},
            {"Y": full, "A": half},
        ):
            with pytest.raises(PlateError, match="subsampled|chroma"):
                read_plate(write_by_hand(tmp_path / "x.exr", channels))


class TestColor:
    def read(self, tmp_path: Path, attributes: dict, channels: str = "RGB", **kwargs: str) -> tuple[Plate, np.ndarray]:
        stored = np.abs(noise(5, 6, len(channels)))
        arrays = {name: np.ascontiguousarray(stored[..., index]) for index, name in enumerate(channels)}
        exr.write_exr(tmp_path / "x.exr", arrays, attributes=attributes)
        return read_plate(tmp_path / "x.exr", **kwargs), stored

    @pytest.mark.parametrize(
        "attributes, expected",
        [
            ({"colorInteropID": "lin_ap1_scene"}, "lin_ap1_scene"),
            ({"colorInteropID": "data"}, "data"),
            ({"colorInteropID": "unknown"}, ""),
            ({"colorInteropID": "studio:own"}, "studio:own"),
            ({"acesImageContainerFlag": 1, "colorInteropID": "lin_ap1_scene"}, "lin_ap0_scene"),
            ({"chromaticities": color.PRIMARIES["ap1"]}, ""),
        ],
    )
    def test_tags_of_linear_files(self, tmp_path: Path, attributes: dict, expected: str) -> None:
        plate, stored = self.read(tmp_path, attributes)
        assert plate.colorspace == expected and plate.encoded == "linear"
        np.testing.assert_array_equal(plate.pixels, stored)
        assert "colorInteropID" not in plate.metadata

    def test_encoded_files_are_decoded(self, tmp_path: Path) -> None:
        plate, stored = self.read(tmp_path, {"colorInteropID": "srgb_p3d65_scene"})
        assert plate.colorspace == "lin_p3d65_scene" and plate.encoded == "srgb"
        np.testing.assert_allclose(plate.pixels, color.srgb_to_linear(stored), rtol=1e-6)

    def test_encoded_files_with_alpha_are_decoded_apart_from_it(self, tmp_path: Path) -> None:
        plate, stored = self.read(tmp_path, {"colorInteropID": "srgb_rec709_scene"}, "RGBA")
        alpha = stored[..., 3:]
        np.testing.assert_allclose(
            plate.pixels[..., :3], color.srgb_to_linear(stored[..., :3] / alpha) * alpha, rtol=1e-5
        )
        np.testing.assert_array_equal(plate.pixels[..., 3:], alpha)

    def test_the_caller_knows_better(self, tmp_path: Path) -> None:
        tagged = {"colorInteropID": "lin_ap1_scene"}
        plate, stored = self.read(tmp_path, tagged, colorspace="g22_adobergb_scene")
        assert plate.colorspace == "lin_adobergb_scene"
        np.testing.assert_allclose(plate.pixels, stored**2.2, rtol=1e-5)
        with pytest.raises(PlateError, match="'sRGB' is unknown"):
            self.read(tmp_path, tagged, colorspace="sRGB")

    def test_metadata_goes_on(self, tmp_path: Path) -> None:
        kept = {
            "owner": "somebody",
            "framesPerSecond": Fraction(24000, 1001),
            "timeCode": "01:02:03:04",
            "expTime": 0.5,
        }
        kept["chromaticities"] = tuple(float(np.float32(number)) for number in color.PRIMARIES["ap1"])
        plate, _ = self.read(tmp_path, {**kept, "loopcore/recipe": "{}", "view": "left", "cryptomatte/1/name": "x"})
        assert plate.metadata == kept
        exr.write_exr(tmp_path / "again.exr", {"Y": noise(2, 2)}, attributes=plate.metadata)
        assert read_plate(tmp_path / "again.exr").metadata == kept


class TestPlate:
    def test_digest(self) -> None:
        pixels = noise(4, 5, 3)
        pixels[0, 0, 0] = np.nan
        plate = Plate(pixels, ("R", "G", "B"))
        assert plate.digest() == plate.digest() == Plate(pixels.copy(), ("R", "G", "B"), pixel_aspect=2.0).digest()
        changed = pixels.copy()
        changed[3, 4, 2] += 1
        others = [
            Plate(changed, ("R", "G", "B")),
            Plate(pixels, ("R", "G", "Z")),
            Plate(pixels, ("R", "G", "B"), colorspace="lin_ap1_scene"),
            Plate(pixels.reshape(5, 4, 3), ("R", "G", "B")),
        ]
        assert len({plate.digest(), *(other.digest() for other in others)}) == 5
        assert len(plate.digest()) == 64

    @pytest.mark.parametrize(
        "pixels, channels",
        [
            (np.zeros((4, 4, 3), np.float64), ("R", "G", "B")),
            (np.zeros((4, 4), np.float32), ("Y",)),
            (np.zeros((4, 4, 3), np.float32), ("R", "G")),
            (np.zeros((0, 4, 1), np.float32), ("Y",)),
            (np.zeros((4, 4, 2), np.float32), ("Y", "Y")),
            ([[[0.0]]], ("Y",)),
        ],
    )
    def test_what_is_no_plate(self, pixels: np.ndarray, channels: tuple[str, ...]) -> None:
        with pytest.raises(PlateError):
            Plate(pixels, channels)


def save(image: Image.Image, path: Path, **options: object) -> Path:
    image.save(path, **options)
    return path


def as_codes(plate: Plate) -> np.ndarray:
    """A plate of 8-bit origin back to the codes of its file."""
    if plate.alpha_index is None:
        return color.encode_8bit(plate.pixels)
    whole = color.unpremultiply(plate.pixels)
    alpha = np.round(whole[..., -1:] * 255).astype(np.uint8)
    return np.concatenate([color.encode_8bit(whole[..., :-1]), alpha], axis=2)


class TestPillow:
    def test_every_8_bit_code_comes_back(self, tmp_path: Path) -> None:
        ramp = np.arange(256, dtype=np.uint8).reshape(16, 16)
        plate = read_plate(save(Image.fromarray(np.stack([ramp, ramp.T, 255 - ramp], axis=-1)), tmp_path / "x.png"))
        assert plate.colorspace == "lin_rec709_scene" and plate.encoded == "srgb" and plate.data_window is None
        np.testing.assert_array_equal(as_codes(plate), np.stack([ramp, ramp.T, 255 - ramp], axis=-1))
        np.testing.assert_allclose(plate.pixels[..., 0], color.srgb_to_linear(ramp / 255), rtol=1e-6)

    @pytest.mark.parametrize("suffix, options", [("png", {}), ("webp", {"lossless": True, "exact": True})])
    def test_alpha_is_multiplied_in_linear_light(self, tmp_path: Path, suffix: str, options: dict) -> None:
        stored = codes(30, 40, 4)
        stored[0, :, 3] = 0
        plate = read_plate(save(Image.fromarray(stored), tmp_path / f"x.{suffix}", **options))
        assert plate.channels == ("R", "G", "B", "A")
        alpha = stored[..., 3:].astype(np.float64) / 255
        np.testing.assert_allclose(
            plate.pixels[..., :3], color.srgb_to_linear(stored[..., :3] / 255) * alpha, rtol=1e-5
        )
        np.testing.assert_array_equal(as_codes(plate)[1:][stored[1:, :, 3] > 0], stored[1:][stored[1:, :, 3] > 0])

    def test_kinds_of_png(self, tmp_path: Path) -> None:
        grey = codes(9, 13)
        light = color.decode_codes(grey)
        plate = read_plate(save(Image.fromarray(grey), tmp_path / "l.png"))
        assert plate.channels == ("Y",)
        np.testing.assert_array_equal(plate.pixels[..., 0], light)

        both = codes(9, 13, 2)
        plate = read_plate(save(Image.fromarray(both, "LA"), tmp_path / "la.png"))
        assert plate.channels == ("Y", "A")
        np.testing.assert_allclose(
            plate.pixels[..., 0], color.decode_codes(both[..., 0]) * (both[..., 1] / np.float32(255))
        )

        plate = read_plate(save(Image.fromarray(grey > 99), tmp_path / "1.png"))
        assert plate.channels == ("Y",)
        np.testing.assert_array_equal(plate.pixels[..., 0], (grey > 99).astype(np.float32))

        palette = Image.fromarray((grey % 3).astype(np.uint8), "P")
        palette.putpalette([10, 20, 30, 200, 100, 50, 255, 0, 255])
        table = np.array([[10, 20, 30], [200, 100, 50], [255, 0, 255]], np.uint8)
        plate = read_plate(save(palette, tmp_path / "p.png"))
        np.testing.assert_array_equal(as_codes(plate), table[grey % 3])
        plate = read_plate(save(palette, tmp_path / "pt.png", transparency=bytes([255, 128, 0])))
        assert plate.channels == ("R", "G", "B", "A")
        np.testing.assert_array_equal(np.round(plate.pixels[..., 3] * 255), np.array([255, 128, 0])[grey % 3])

        keyed = np.where((grey % 2 == 0)[..., None], np.uint8((1, 2, 3)), np.uint8((9, 9, 9)))
        plate = read_plate(save(Image.fromarray(keyed), tmp_path / "k.png", transparency=(1, 2, 3)))
        np.testing.assert_array_equal(plate.pixels[..., 3], (grey % 2).astype(np.float32))

    def test_jpeg(self, tmp_path: Path) -> None:
        smooth = np.stack(np.meshgrid(np.arange(64), np.arange(48)), axis=-1).astype(np.uint8)
        smooth = np.concatenate([smooth * 2, 255 - smooth[..., :1] * 3], axis=2)
        path = save(Image.fromarray(smooth), tmp_path / "x.jpg", quality=95, subsampling=0)
        plate = read_plate(path)
        np.testing.assert_array_equal(as_codes(plate), np.asarray(Image.open(path)))
        assert np.abs(as_codes(plate).astype(int) - smooth).max() < 12
        assert read_plate(save(Image.fromarray(smooth[..., 0]), tmp_path / "grey.jpg")).channels == ("Y",)

    @pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_orientation(self, tmp_path: Path, orientation: int, suffix: str) -> None:
        upright = np.kron(np.array([[250, 130, 60], [10, 200, 90]], np.uint8), np.ones((8, 8), np.uint8))
        # What a camera stores when it was held so (TIFF 6.0, section "Orientation").
        stored = {
            1: upright,
            2: upright[:, ::-1],
            3: upright[::-1, ::-1],
            4: upright[::-1],
            5: upright.T,
            6: upright.T[::-1],
            7: upright.T[::-1, ::-1],
            8: upright.T[:, ::-1],
        }[orientation]
        exif = Image.Exif()
        exif[0x0112] = orientation
        options = {"jpg": {"quality": 100}, "png": {}, "webp": {"lossless": True}}[suffix]
        image = Image.fromarray(np.repeat(np.ascontiguousarray(stored)[..., None], 3, axis=2))
        plate = read_plate(save(image, tmp_path / f"x.{suffix}", exif=exif, **options))
        assert plate.pixels.shape == (16, 24, 3)
        assert np.abs(as_codes(plate)[..., 1].astype(int) - upright).max() <= 2

    def test_pixel_aspect(self, tmp_path: Path) -> None:
        image = Image.new("RGB", (8, 8))
        assert read_plate(save(image, tmp_path / "a.png", dpi=(72, 72))).pixel_aspect == 1
        assert read_plate(save(image, tmp_path / "b.png", dpi=(100, 200))).pixel_aspect == pytest.approx(2, rel=1e-3)
        assert read_plate(save(image, tmp_path / "c.jpg", dpi=(300, 150))).pixel_aspect == pytest.approx(0.5)
        assert read_plate(save(image, tmp_path / "d.jpg", dpi=(1, 300))).pixel_aspect == 1

    def test_who_made_it(self, tmp_path: Path) -> None:
        exif = Image.Exif()
        exif[0x8298], exif[0x010E] = "(c) Ana", "A waterfall"
        exif.get_ifd(0x8769)[0x9003] = "2024:05:06 07:08:09"
        plate = read_plate(save(Image.new("RGB", (8, 8)), tmp_path / "x.jpg", exif=exif))
        assert plate.metadata == {"owner": "(c) Ana", "comments": "A waterfall", "capDate": "2024:05:06 07:08:09"}
        texts = PngImagePlugin.PngInfo()
        texts.add_text("Author", "Ana")
        assert read_plate(save(Image.new("L", (8, 8)), tmp_path / "x.png", pnginfo=texts)).metadata == {"owner": "Ana"}

    def test_gamma_chunks_are_ignored(self, tmp_path: Path) -> None:
        stored = codes(6, 6, 3)
        data = save(Image.fromarray(stored), tmp_path / "x.png").read_bytes()
        (tmp_path / "x.png").write_bytes(data[:33] + png_chunk(b"gAMA", struct.pack(">I", 100000)) + data[33:])
        np.testing.assert_array_equal(as_codes(read_plate(tmp_path / "x.png")), stored)

    def test_an_override(self, tmp_path: Path) -> None:
        stored = codes(6, 7, 3)
        path = save(Image.fromarray(stored), tmp_path / "x.png", icc_profile=icc_profile(ADOBE, gamma=2.2))
        plate = read_plate(path, colorspace="lin_rec709_scene")
        assert plate.encoded == "linear" and plate.colorspace == "lin_rec709_scene" and plate.metadata == {}
        np.testing.assert_allclose(plate.pixels, stored / np.float32(255), rtol=1e-6)
        assert read_plate(path, colorspace="data").colorspace == "data"

    def test_a_large_jpeg_reads_quickly(self, tmp_path: Path) -> None:
        smooth = np.kron(codes(68, 120, 3), np.ones((16, 16, 1), np.uint8))[:1080, :1920]
        path = save(Image.fromarray(smooth), tmp_path / "x.jpg", quality=92)
        seconds = []
        for _ in range(4):
            start = time.process_time()
            read_plate(path)
            seconds.append(time.process_time() - start)
        assert min(seconds) < 0.15


def png_chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(depth: int, kind: int, width: int = 3, height: int = 2, rows: bytes | None = None) -> bytes:
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0))
    if rows is None:
        samples = {0: 1, 2: 3, 4: 2, 6: 4}[kind]
        rows = bytes(height * (1 + width * samples * depth // 8))
    return b"\x89PNG\r\n\x1a\n" + header + png_chunk(b"IDAT", zlib.compress(rows)) + png_chunk(b"IEND", b"")


ADOBE, P3 = color.PRIMARIES["adobergb"], color.PRIMARIES["p3d65"]
D50 = np.array([0.9642, 1.0, 0.8249])


def icc_profile(
    chromaticities: tuple[float, ...],
    *,
    gamma: float | None = None,
    curve: np.ndarray | None = None,
    para: tuple[int, tuple[float, ...]] | None = None,
    space: bytes = b"RGB ",
) -> bytes:
    """A small matrix or grey profile, laid out by ICC.1:2022."""
    if para is not None:
        shape = b"para" + bytes(4) + struct.pack(">HH", para[0], 0)
        shape += b"".join(struct.pack(">i", round(number * 65536)) for number in para[1])
    elif curve is not None:
        shape = b"curv" + bytes(4) + struct.pack(">I", len(curve)) + np.round(curve * 65535).astype(">u2").tobytes()
    else:
        assert gamma is not None
        shape = b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256))

    def xyz(values: np.ndarray) -> bytes:
        return b"XYZ " + bytes(4) + struct.pack(">3i", *(round(value * 65536) for value in values))

    source = color.rgb_to_xyz(chromaticities)
    columns = color.adaptation(source.sum(1), D50) @ source
    text = "Made for a test".encode("utf-16-be")
    tags = {
        b"desc": b"mluc" + bytes(4) + struct.pack(">II2s2sII", 1, 12, b"en", b"US", len(text), 28) + text,
        b"wtpt": xyz(D50),
    }
    if space == b"GRAY":
        tags[b"kTRC"] = shape
    else:
        tags |= {name: xyz(columns[:, index]) for index, name in enumerate((b"rXYZ", b"gXYZ", b"bXYZ"))}
        tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), shape)
    table, body, at = struct.pack(">I", len(tags)), b"", 132 + 12 * len(tags)
    for name, data in tags.items():
        data += bytes(-len(data) % 4)
        table += struct.pack(">4sII", name, at + len(body), len(data))
        body += data
    head = struct.pack(">I4xI4s4s4s12x4s", at + len(body), 0x04200000, b"mntr", space, b"XYZ ", b"acsp")
    head += bytes(68 - len(head)) + struct.pack(">3i", *(round(value * 65536) for value in D50))
    return head + bytes(128 - len(head)) + table + body


SRGB_CURVE = (3, (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045))


class TestProfiles:
    @pytest.mark.parametrize(
        "profile",
        [
            icc_profile(ADOBE, gamma=2.2),
            icc_profile(P3, para=SRGB_CURVE),
            icc_profile(P3, curve=np.linspace(0, 1, 1024) ** 1.8),
            icc_profile(ADOBE, para=(0, (2.2,))),
            icc_profile(ADOBE, para=(1, (2.0, 1.1, -0.1))),
            icc_profile(ADOBE, para=(2, (2.0, 1.0, -0.05, 0.01))),
            icc_profile(ADOBE, para=(4, (2.4, 0.9, 0.1, 0.05, 0.04, 0.0, 0.0))),
        ],
    )
    def test_colours_agree_with_little_cms(self, tmp_path: Path, profile: bytes) -> None:
        # Not too saturated: Little CMS clips what sRGB lacks, which is the point of not using it.
        stored = np.clip(codes(40, 40, 1).astype(int) + RNG.integers(-20, 20, (40, 40, 3)), 30, 235).astype(np.uint8)
        image = Image.fromarray(stored)
        plate = read_plate(save(image, tmp_path / "x.png", icc_profile=profile))
        assert plate.metadata["iccProfile"] == "Made for a test" and plate.colorspace == "lin_rec709_scene"
        expected = ImageCms.profileToProfile(
            image, ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB"), renderingIntent=1
        )
        reference = np.asarray(expected).astype(int)
        difference = np.abs(as_codes(plate).astype(int) - reference)[
            (reference > 8).all(-1) & (reference < 247).all(-1)
        ]
        assert difference.size > 1000 and difference.max() <= 1

    def test_colours_beyond_srgb_survive(self, tmp_path: Path) -> None:
        stored = np.zeros((4, 4, 3), np.uint8)
        stored[..., 1] = 255
        plate = read_plate(
            save(Image.fromarray(stored), tmp_path / "x.png", icc_profile=icc_profile(P3, para=SRGB_CURVE))
        )
        expected = color.to_rec709(P3)[:, 1]
        assert expected[0] < -0.2
        np.testing.assert_allclose(plate.pixels[0, 0], expected, atol=2e-3)

    def test_srgb_itself_changes_nothing(self, tmp_path: Path) -> None:
        stored = codes(9, 9, 3)
        for profile in (
            ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(),
            icc_profile(color.PRIMARIES["rec709"], para=SRGB_CURVE),
        ):
            plate = read_plate(save(Image.fromarray(stored), tmp_path / "x.png", icc_profile=profile))
            assert plate.metadata == {}
            np.testing.assert_array_equal(plate.pixels, color.decode_codes(stored))

    def test_alpha_stands_apart(self, tmp_path: Path) -> None:
        stored = codes(9, 9, 4)
        path = save(Image.fromarray(stored), tmp_path / "x.png", icc_profile=icc_profile(ADOBE, gamma=2.2))
        opaque = save(Image.fromarray(stored[..., :3]), tmp_path / "y.png", icc_profile=icc_profile(ADOBE, gamma=2.2))
        alpha = stored[..., 3:] / np.float32(255)
        np.testing.assert_allclose(
            read_plate(path).pixels[..., :3], read_plate(opaque).pixels * alpha, rtol=1e-5, atol=1e-7
        )

    def test_grey(self, tmp_path: Path) -> None:
        stored = codes(9, 9)
        profile = icc_profile(ADOBE, gamma=1.8, space=b"GRAY")
        plate = read_plate(save(Image.fromarray(stored), tmp_path / "x.png", icc_profile=profile))
        assert plate.channels == ("Y",)
        np.testing.assert_allclose(plate.pixels[..., 0], (stored / 255) ** (461 / 256), atol=1e-4)

    @pytest.mark.parametrize("cut", [10, 130, 200, 300])
    def test_damaged_profiles_are_left_aside(self, tmp_path: Path, cut: int) -> None:
        stored = codes(5, 5, 3)
        path = save(Image.fromarray(stored), tmp_path / "x.png", icc_profile=icc_profile(ADOBE, gamma=2.2)[:cut])
        try:
            plate = read_plate(path)
        except PlateError as error:
            assert "ICC profile" in str(error)
        else:
            np.testing.assert_array_equal(as_codes(plate), stored)

    def test_cmyk(self, tmp_path: Path) -> None:
        image = Image.fromarray(codes(8, 8, 4), "CMYK")
        with pytest.raises(PlateError, match="CMYK"):
            read_plate(save(image, tmp_path / "x.jpg"))
        with pytest.raises(PlateError, match="CMYK"):
            read_plate(save(image, tmp_path / "x.jpg", icc_profile=icc_profile(ADOBE, gamma=2.2)))


class TestRefused:
    def test_what_is_no_picture(self, tmp_path: Path) -> None:
        (tmp_path / "empty.png").write_bytes(b"")
        (tmp_path / "notes.txt").write_text("a waterfall, 1920x1080\n" * 30)
        (tmp_path / "notes.exr").write_text("a waterfall\n" * 30)
        for name, reason in {
            "none.exr": "does not exist",
            ".": "is a folder",
            "empty.png": "is empty",
            "notes.txt": "OpenImageIO|cannot be read",
            "notes.exr": "not an OpenEXR file",
        }.items():
            with pytest.raises(PlateError, match=reason) as caught:
                read_plate(tmp_path / name)
            assert str(caught.value).count(str(tmp_path / name)) <= 2
        for path in (None, 7, "a\0b"):
            with pytest.raises(PlateError):
                read_plate(path)  # type: ignore[arg-type]

    def test_the_content_decides(self, tmp_path: Path) -> None:
        stored = codes(8, 9, 3)
        path = tmp_path / "really a png.exr"
        Image.fromarray(stored).save(path, "PNG")
        np.testing.assert_array_equal(as_codes(read_plate(path)), stored)
        exr.write_exr(tmp_path / "x.jpg", {"Y": noise(3, 3)})
        assert read_plate(tmp_path / "x.jpg").channels == ("Y",)

    @pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
    def test_cut_short(self, tmp_path: Path, suffix: str) -> None:
        path = save(Image.fromarray(codes(64, 64, 3)), tmp_path / f"x.{suffix}")
        data = path.read_bytes()
        for part in (0.02, 0.2, 0.5, 0.9):
            path.write_bytes(data[: int(len(data) * part)])
            with pytest.raises(PlateError, match="damaged|not an|OpenImageIO|cannot be read"):
                read_plate(path)

    def test_bombs(self, tmp_path: Path) -> None:
        (tmp_path / "x.png").write_bytes(png(8, 2, 60000, 60000, bytes(100)))
        with pytest.raises(PlateError, match="too large"):
            read_plate(tmp_path / "x.png")

    @pytest.mark.parametrize("kind", [0, 2, 4, 6])
    def test_16_bits_without_openimageio(self, tmp_path: Path, kind: int, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "OpenImageIO", None)
        (tmp_path / "x.png").write_bytes(png(16, kind))
        with pytest.raises(PlateError, match=r'16-bit PNG.*pip install "loopcore\[openimageio\]"'):
            read_plate(tmp_path / "x.png")

    @pytest.mark.parametrize(
        "head, kind", [(b"II*\0", "TIFF"), (b"SDPX", "DPX"), (b"8BPS", "PSD"), (b"#?RADIANCE\n", "HDR")]
    )
    def test_other_formats_without_openimageio(
        self, tmp_path: Path, head: bytes, kind: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "OpenImageIO", None)
        (tmp_path / "x.tif").write_bytes(head + bytes(100))
        with pytest.raises(PlateError, match=rf"{kind}.*loopcore\[openimageio\]"):
            read_plate(tmp_path / "x.tif")


def psd(path: Path, values: np.ndarray, mode: int) -> Path:
    """A Photoshop file of nothing but a merged image: mode 3 is RGB, 4 CMYK."""
    height, width, count = values.shape
    depth = values.dtype.itemsize * 8
    head = b"8BPS" + struct.pack(">H6xHIIHH", 1, count, height, width, depth, mode) + bytes(12) + bytes(2)
    path.write_bytes(head + values.transpose(2, 0, 1).astype(f">u{depth // 8}").tobytes())
    return path


class TestOpenImageIO:
    @pytest.fixture
    def oiio(self) -> object:
        return pytest.importorskip("OpenImageIO")

    def write(self, path: Path, values: np.ndarray, kind: str, **attributes: object) -> Path:
        import OpenImageIO as oiio

        spec = oiio.ImageSpec(values.shape[1], values.shape[0], values.shape[2], kind)
        spec.attribute("oiio:UnassociatedAlpha", 1)
        for name, value in attributes.items():
            spec.attribute(name.replace("__", ":"), *(value if isinstance(value, tuple) else (value,)))
        output = oiio.ImageOutput.create(str(path))
        assert output and output.open(str(path), spec), oiio.geterror()
        assert output.write_image(np.ascontiguousarray(values))
        output.close()
        return path

    @pytest.mark.parametrize("suffix", ["png", "tif", "psd"])
    def test_every_16_bit_code_comes_back(self, tmp_path: Path, oiio: object, suffix: str) -> None:
        ramp = np.arange(65536, dtype=np.uint16).reshape(256, 256)
        stored = np.stack([ramp, ramp.T, 65535 - ramp], axis=-1)
        path = tmp_path / f"x.{suffix}"
        plate = read_plate(psd(path, stored, 3) if suffix == "psd" else self.write(path, stored, "uint16"))
        assert plate.encoded == "srgb" and plate.colorspace == "lin_rec709_scene" and plate.channels == ("R", "G", "B")
        np.testing.assert_array_equal(color.encode_16bit(plate.pixels), stored)

    @pytest.mark.parametrize("suffix", ["png", "tif", "tga"])
    def test_alpha_is_multiplied_once(self, tmp_path: Path, oiio: object, suffix: str) -> None:
        dtype, top = (np.uint8, 255) if suffix == "tga" else (np.uint16, 65535)
        stored = codes(20, 20, 4, dtype=dtype)
        plate = read_plate(self.write(tmp_path / f"x.{suffix}", stored, dtype.__name__))
        alpha = stored[..., 3:] / top
        expected = color.srgb_to_linear(stored[..., :3] / top) * alpha
        np.testing.assert_allclose(plate.pixels, np.concatenate([expected, alpha], axis=2), rtol=1e-5, atol=1e-7)

    def test_alpha_multiplied_by_the_file(self, tmp_path: Path, oiio: object) -> None:
        straight, alpha = RNG.random((20, 20, 3)), RNG.uniform(0.2, 1, (20, 20, 1))
        stored = np.round(np.concatenate([straight * alpha, alpha], axis=2) * 65535).astype(np.uint16)
        plate = read_plate(self.write(tmp_path / "x.tif", stored, "uint16", oiio__UnassociatedAlpha=0))
        np.testing.assert_allclose(plate.pixels[..., :3], color.srgb_to_linear(straight) * alpha, atol=2e-4)
        linear = noise(5, 5, 4)
        plate = read_plate(self.write(tmp_path / "y.tif", linear, "float", oiio__UnassociatedAlpha=0))
        np.testing.assert_array_equal(plate.pixels, linear)

    @pytest.mark.parametrize("channels, names", [(1, ("Y",)), (2, ("Y", "A"))])
    def test_grey(self, tmp_path: Path, oiio: object, channels: int, names: tuple[str, ...]) -> None:
        stored = codes(6, 7, channels, dtype=np.uint16)
        plate = read_plate(self.write(tmp_path / "x.png", stored, "uint16"))
        assert plate.channels == names
        alpha = stored[..., 1] / np.float32(65535) if channels == 2 else 1
        np.testing.assert_allclose(plate.pixels[..., 0], color.decode_codes(stored[..., 0]) * alpha, rtol=1e-6)

    @pytest.mark.parametrize("suffix, space", [("tif", ""), ("hdr", "lin_rec709_scene")])
    def test_floats_are_linear(self, tmp_path: Path, oiio: object, suffix: str, space: str) -> None:
        stored = np.abs(noise(8, 30, 3))
        plate = read_plate(self.write(tmp_path / f"x.{suffix}", stored, "float"))
        assert plate.encoded == "linear" and plate.colorspace == space
        np.testing.assert_allclose(
            plate.pixels, stored, rtol=1e-6 if suffix == "tif" else 0, atol=0 if suffix == "tif" else 0.1
        )
        assert read_plate(tmp_path / f"x.{suffix}", colorspace="lin_ap1_scene").colorspace == "lin_ap1_scene"

    @pytest.mark.parametrize("transfer", ["Printing density", "Logarithmic", "Linear", "User defined", "ITU-R 709-4"])
    def test_dpx(self, tmp_path: Path, oiio: object, transfer: str) -> None:
        codes10 = np.repeat(np.array([[0, 95, 445, 685, 1023]], np.uint16)[..., None], 3, axis=2)
        wide = np.round(codes10 / 1023 * 65535).astype(np.uint16)
        attributes = {"oiio__BitsPerSample": 10, "dpx__Transfer": transfer}
        path = self.write(tmp_path / "x.dpx", wide, "uint16", **attributes)
        if transfer == "Linear":
            np.testing.assert_allclose(read_plate(path).pixels[0, :, 0], codes10[0, :, 0] / 1023, atol=1e-3)
        elif transfer in ("Printing density", "Logarithmic"):
            plate = read_plate(path)
            assert plate.encoded == "linear" and plate.colorspace == ""
            # Black at 95, white at 685, and 338 codes above white 13.5 times as bright (Kodak 1995).
            np.testing.assert_allclose(plate.pixels[0, :, 1], [-0.0057, 0, 0.1496, 1, 13.52], rtol=0.01, atol=1e-3)
        else:
            with pytest.raises(PlateError, match=f"'{transfer}'.*colorspace="):
                read_plate(path)
            plate = read_plate(path, colorspace="srgb_rec709_scene")
            np.testing.assert_allclose(plate.pixels[0, 2], color.srgb_to_linear(445 / 1023), rtol=1e-3)

    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_orientation(self, tmp_path: Path, oiio: object, orientation: int) -> None:
        upright = codes(4, 6, 3, dtype=np.uint16)
        turned = upright.transpose(1, 0, 2)
        stored = {
            1: upright,
            2: upright[:, ::-1],
            3: upright[::-1, ::-1],
            4: upright[::-1],
            5: turned,
            6: turned[::-1],
            7: turned[::-1, ::-1],
            8: turned[:, ::-1],
        }[orientation]
        plate = read_plate(self.write(tmp_path / "x.tif", stored, "uint16", Orientation=orientation))
        np.testing.assert_array_equal(color.encode_16bit(plate.pixels), upright)

    def test_profiles_at_16_bits(self, tmp_path: Path, oiio: object) -> None:
        import OpenImageIO

        eight = codes(10, 10, 3)
        profile = icc_profile(P3, para=SRGB_CURVE)
        array = np.frombuffer(profile, np.uint8)
        icc = (OpenImageIO.TypeDesc(f"uint8[{array.size}]"), array)
        wide = read_plate(self.write(tmp_path / "x.tif", eight.astype(np.uint16) * 257, "uint16", ICCProfile=icc))
        narrow = read_plate(save(Image.fromarray(eight), tmp_path / "x.png", icc_profile=profile))
        assert wide.metadata["iccProfile"] == "Made for a test"
        np.testing.assert_allclose(wide.pixels, narrow.pixels, atol=1e-5)

    def test_inks_are_refused(self, tmp_path: Path, oiio: object) -> None:
        inks = codes(8, 8, 4)
        with pytest.raises(PlateError, match="CMYK"):
            read_plate(psd(tmp_path / "x.psd", inks, 4))
        with pytest.raises(PlateError, match="CMYK"):
            read_plate(save(Image.fromarray(inks, "CMYK"), tmp_path / "x.tif"))

    def test_signed_integers_are_refused(self, tmp_path: Path, oiio: object) -> None:
        path = self.write(tmp_path / "x.tif", np.zeros((4, 4, 3), np.int16), "int16")
        with pytest.raises(PlateError, match="signed"):
            read_plate(path)

    def test_cut_short(self, tmp_path: Path, oiio: object, capfd: pytest.CaptureFixture[str]) -> None:
        path = self.write(tmp_path / "x.tif", codes(64, 64, 3, dtype=np.uint16), "uint16", compression="none")
        data = path.read_bytes()
        for part in (0.01, 0.3, 0.9):
            path.write_bytes(data[: int(len(data) * part)])
            with pytest.raises(PlateError):
                read_plate(path)


def test_importing_is_light() -> None:
    script = (
        "import sys, loopcore.plate; print([n for n in ('PIL', 'OpenEXR', 'OpenImageIO', 'torch') if n in sys.modules])"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(exr.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, env=environment)
    assert done.stdout.strip() == "[]", done.stderr


# One process for all files, so that a crash fails a test and does not end the suite; it says where it is.
READ_ALL = """
import json, sys, time
from loopcore.errors import PlateError
from loopcore.plate import read_plate
for line in sys.stdin:
    path = line.rstrip("\\n")
    print(json.dumps({"at": path}), flush=True)
    start = time.monotonic()
    try:
        plate = read_plate(path)
        result = {"read": list(plate.pixels.shape)}
    except PlateError as error:
        result = {"refused": str(error)}
    print(json.dumps({**result, "seconds": time.monotonic() - start}), flush=True)
"""


def read_all(paths: list[Path]) -> dict[Path, dict]:
    environment = {**os.environ, "PYTHONPATH": str(Path(exr.__file__).parents[1])}
    process = subprocess.Popen(
        [sys.executable, "-c", READ_ALL],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment,
    )
    try:
        out, _ = process.communicate("".join(f"{path}\n" for path in paths), timeout=120)
    except subprocess.TimeoutExpired:
        process.kill()
        out, _ = process.communicate()
    lines = [json.loads(line) for line in out.splitlines()]
    assert process.returncode == 0, f"ended with {process.returncode} at {lines[-1:]}"
    return {path: result for path, result in zip(paths, lines[1::2], strict=True)}


def exr_files(corpus: Path, *folders: str) -> list[Path]:
    paths = [path for folder in folders for path in sorted((corpus / "exr" / folder).rglob("*"))]
    return [path for path in paths if path.is_file() and not path.name.startswith("LICENSE")]


# Whole files of OpenEXR's tests that hold what Loopcore does not take.
DEEP = {"11.deep.exr", "Trunks.exr"}
INVALID = {
    "comp_bad_bounds_piz.exr",
    "comp_bad_neg_bounds_pxr24.exr",
    "comp_bad_pos_bounds_piz.exr",
    "comp_bad_pos_bounds_pxr24.exr",
    "comp_early_eof_piz.exr",
    "comp_invalid_unknown.exr",
    "comp_short_decode_piz.exr",
    "invalid.exr",
    "invalid_shared_attrs_multipart.exr",
    "tiled.exr",
}


class TestCorpus:
    def test_damaged_files_are_refused(self, corpus: Path) -> None:
        paths = exr_files(corpus, "damaged")
        assert len(paths) > 80
        for path, result in read_all(paths).items():
            assert str(path) in result.get("refused", ""), (path, result)
            assert result["seconds"] < 10, path

    def test_sound_files_are_read_and_others_refused(self, corpus: Path) -> None:
        paths = exr_files(corpus, "valid", "openexr-test", "hdri")
        assert len(paths) > 70
        for path, result in read_all(paths).items():
            if path.name in DEEP:
                assert "deep" in result.get("refused", ""), path
            elif path.name in INVALID:
                assert str(path) in result.get("refused", ""), (path, result)
            else:
                assert "read" in result, (path, result)
            assert result["seconds"] < 30, path

    def test_pixels_are_what_another_reader_reads(self, corpus: Path) -> None:
        oiio = pytest.importorskip("OpenImageIO")
        compared = 0
        for path in exr_files(corpus, "valid", "openexr-test", "hdri"):
            source = None if path.name in DEEP | INVALID else oiio.ImageInput.open(str(path))
            if source is None:
                oiio.geterror() if path.name not in DEEP | INVALID else None
                continue  # and the luminance-chroma files, which it does not read
            spec, values = source.spec(), source.read_image("float")
            source.close()
            plate = read_plate(path)
            assert plate.display_window is not None
            left, top = plate.display_window[:2]
            expected = np.zeros_like(plate.pixels)
            rows = np.arange(spec.height) + spec.y - top
            columns = np.arange(spec.width) + spec.x - left
            on_rows = (rows >= 0) & (rows < plate.height)
            on_columns = (columns >= 0) & (columns < plate.width)
            for index, name in enumerate(plate.channels):
                stored = values[..., spec.channelnames.index(name)]
                expected[np.ix_(rows[on_rows], columns[on_columns], [index])] = stored[np.ix_(on_rows, on_columns)][
                    ..., None
                ]
            np.testing.assert_array_equal(plate.pixels, expected, err_msg=str(path))
            compared += 1
        assert compared > 50

    def test_luminance_chroma_looks_like_its_rgb(self, corpus: Path) -> None:
        folder = corpus / "exr" / "valid" / "Chromaticities"
        for name in ("Rec709", "XYZ"):
            rgb, chroma = read_plate(folder / f"{name}.exr"), read_plate(folder / f"{name}_YC.exr")
            assert chroma.channels == ("R", "G", "B")
            error = color.linear_to_srgb(np.clip(chroma.pixels, 0, 1)) - color.linear_to_srgb(np.clip(rgb.pixels, 0, 1))
            # What half-size chroma loses on this noisy picture; a shift by one pixel costs 6 dB more.
            assert 10 * np.log10(1 / np.mean(error**2)) > 36

    def test_named_layers(self, corpus: Path) -> None:
        folder = corpus / "exr" / "valid" / "Beachball"
        one, many = folder / "singlepart.0006.exr", folder / "multipart.0006.exr"
        for view in ("left", "right"):
            np.testing.assert_array_equal(read_plate(one, layer=view).pixels, read_plate(many, layer=view).pixels)
        np.testing.assert_array_equal(read_plate(one).pixels, read_plate(many, layer="rgba_right").pixels)
        with pytest.raises(PlateError, match="depth_left"):
            read_plate(many, layer="nothing")

    def test_xyz_stays_xyz(self, corpus: Path) -> None:
        plate = read_plate(corpus / "exr" / "valid" / "Chromaticities" / "XYZ.exr")
        assert plate.colorspace == ""
        np.testing.assert_allclose(plate.metadata["chromaticities"], (1, 0, 0, 1, 0, 0, 1 / 3, 1 / 3), atol=1e-6)

    def test_stills(self, corpus: Path) -> None:
        paths = [path for path in sorted((corpus / "stills").rglob("*")) if path.suffix in (".png", ".jpg")]
        assert len(paths) > 30
        for path in paths:
            plate = read_plate(path)
            with Image.open(path) as image:
                stored = np.asarray(image).reshape(plate.pixels.shape)
            np.testing.assert_array_equal(color.encode_8bit(plate.pixels), stored, err_msg=str(path))
