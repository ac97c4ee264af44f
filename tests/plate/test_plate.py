# SPDX-License-Identifier: Apache-2.0
"""Plates from EXR: layers, channels and colour spaces give the right linear pixels, or are refused."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import OpenEXR
import pytest
from _plate_files import noise
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import loopcore
from loopcore import color, exr
from loopcore.errors import PlateError
from loopcore.plate import Plate, read_plate


def write_raw(path: Path, channels: dict, **header: object) -> Path:
    """Write with the library itself: windows, subsampling and types that `write_exr` does not support."""
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

    def test_nan_and_infinity_are_kept(self, tmp_path: Path) -> None:
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
        left, top = min(at[0], shown[0]), min(at[1], shown[1])
        right, bottom = max(at[2], shown[2]), max(at[3], shown[3])
        assert plate.windows == exr.Windows((left, top, right, bottom), shown)
        assert (plate.width, plate.height) == (right - left + 1, bottom - top + 1)
        for y in range(top, bottom + 1):
            for x in range(left, right + 1):
                inside = at[0] <= x <= at[2] and at[1] <= y <= at[3]
                expected = [pixels[name][y - at[1], x - at[0]] if inside else 0 for name in "RGBA"]
                np.testing.assert_array_equal(plate.pixels[y - top, x - left], expected)
        corner = plate.displayed().pixels[0, 0]
        np.testing.assert_array_equal(corner, plate.pixels[shown[1] - top, shown[0] - left])

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
    def test_choosing_a_layer(self, tmp_path: Path, names: list[str], layer: str | None, first: str) -> None:
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
    def test_layers_that_cannot_be_chosen(
        self, tmp_path: Path, names: list[str], layer: str | None, reason: str
    ) -> None:
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
    def test_smooth_colour_round_trips(self, tmp_path: Path, space: str, step: int) -> None:
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
        # The last chroma sample is repeated for the filter, as in OpenEXR's own reader.
        inner = plate.pixels[16:-16, 16:-16, :3] if step == 2 else plate.pixels[..., :3]
        expected = rgb[16:-16, 16:-16] if step == 2 else rgb
        np.testing.assert_allclose(inner, expected, rtol=3e-4 if step == 2 else 1e-5)
        np.testing.assert_allclose(plate.pixels[..., :3], rgb, rtol=0.05)

    def test_grey_is_exact(self, tmp_path: Path) -> None:
        y = np.abs(noise(10, 12))
        flat = (np.zeros((5, 6)), 2, 2)
        path = write_by_hand(tmp_path / "x.exr", {"Y": (y, 1, 1), "RY": flat, "BY": flat})
        np.testing.assert_array_equal(read_plate(path).pixels, np.repeat(y[..., None], 3, axis=2))

    def test_saturated_specks_are_desaturated_at_equal_luminance(self, tmp_path: Path) -> None:
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

    def test_encoded_files_with_alpha_are_unpremultiplied_for_decoding(self, tmp_path: Path) -> None:
        plate, stored = self.read(tmp_path, {"colorInteropID": "srgb_rec709_scene"}, "RGBA")
        alpha = stored[..., 3:]
        np.testing.assert_allclose(
            plate.pixels[..., :3], color.srgb_to_linear(stored[..., :3] / alpha) * alpha, rtol=1e-5
        )
        np.testing.assert_array_equal(plate.pixels[..., 3:], alpha)

    def test_a_given_colorspace_overrides_the_file(self, tmp_path: Path) -> None:
        tagged = {"colorInteropID": "lin_ap1_scene"}
        plate, stored = self.read(tmp_path, tagged, colorspace="g22_adobergb_scene")
        assert plate.colorspace == "lin_adobergb_scene"
        np.testing.assert_allclose(plate.pixels, stored**2.2, rtol=1e-5)
        with pytest.raises(PlateError, match="'sRGB' is unknown"):
            self.read(tmp_path, tagged, colorspace="sRGB")

    def test_metadata_is_carried(self, tmp_path: Path) -> None:
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
    def test_invalid_plates_are_refused(self, pixels: np.ndarray, channels: tuple[str, ...]) -> None:
        with pytest.raises(PlateError):
            Plate(pixels, channels)


def test_importing_loads_no_heavy_library() -> None:
    script = (
        "import sys, loopcore.plate; print([n for n in ('PIL', 'OpenEXR', 'OpenImageIO', 'torch') if n in sys.modules])"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(loopcore.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, env=environment)
    assert done.stdout.strip() == "[]", done.stderr
