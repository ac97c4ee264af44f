# SPDX-License-Identifier: Apache-2.0
"""Plates from other formats: read without loss, or refused with a reason."""

from __future__ import annotations

import struct
import sys
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from _plate_files import ADOBE, P3, RNG, SRGB_CURVE, as_codes, codes, icc_profile, noise, png, png_chunk, psd, save
from PIL import Image, PngImagePlugin

from loopcore import color, exr
from loopcore.errors import PlateError
from loopcore.plate import read_plate


class TestPillow:
    def test_every_8_bit_code_round_trips(self, tmp_path: Path) -> None:
        ramp = np.arange(256, dtype=np.uint8).reshape(16, 16)
        plate = read_plate(save(Image.fromarray(np.stack([ramp, ramp.T, 255 - ramp], axis=-1)), tmp_path / "x.png"))
        assert plate.colorspace == "lin_rec709_scene" and plate.encoded == "srgb" and not plate.windows.overscan
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
        # Pixels as a camera stores them in each orientation (TIFF 6.0, section "Orientation").
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

    def test_owner_and_comments(self, tmp_path: Path) -> None:
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


class TestRefused:
    def test_files_that_are_not_pictures(self, tmp_path: Path) -> None:
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
    def test_truncated_files(self, tmp_path: Path, suffix: str) -> None:
        path = save(Image.fromarray(codes(64, 64, 3)), tmp_path / f"x.{suffix}")
        data = path.read_bytes()
        for part in (0.02, 0.2, 0.5, 0.9):
            path.write_bytes(data[: int(len(data) * part)])
            with pytest.raises(PlateError, match="damaged|not an|OpenImageIO|cannot be read"):
                read_plate(path)

    def test_decompression_bombs(self, tmp_path: Path) -> None:
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
        for module in ("OpenImageIO", "psd_tools"):
            monkeypatch.setitem(sys.modules, module, None)
        (tmp_path / "x.tif").write_bytes(head + bytes(100))
        with pytest.raises(PlateError, match=rf"{kind}.*loopcore\[openimageio\]"):
            read_plate(tmp_path / "x.tif")


@pytest.mark.parametrize("brand, kind", [(b"avif", "AVIF"), (b"heic", "HEIC"), (b"mif1", "HEIF")])
def test_formats_that_no_library_reads_are_named(tmp_path: Path, brand: bytes, kind: str) -> None:
    (tmp_path / "x").write_bytes(b"\0\0\0\x1cftyp" + brand + bytes(40))
    with pytest.raises(PlateError, match=f"it is a {kind} file, which cannot be read: save it as"):
        read_plate(tmp_path / "x")


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
    def test_every_16_bit_code_round_trips(self, tmp_path: Path, oiio: object, suffix: str) -> None:
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

    def test_jpeg_2000(self, tmp_path: Path, oiio: object) -> None:
        ramp = np.add.outer(np.arange(64), np.arange(96)).astype(np.uint16) * 400
        stored = np.stack([ramp, ramp[::-1], 65535 - ramp], axis=-1)
        plate = read_plate(self.write(tmp_path / "x.jp2", stored, "uint16"))
        assert plate.encoded == "srgb" and plate.pixels.shape == (64, 96, 3)
        assert np.abs(color.encode_16bit(plate.pixels).astype(int) - stored).max() < 600  # its writer loses a little

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

    def test_truncated_files(self, tmp_path: Path, oiio: object, capfd: pytest.CaptureFixture[str]) -> None:
        path = self.write(tmp_path / "x.tif", codes(64, 64, 3, dtype=np.uint16), "uint16", compression="none")
        data = path.read_bytes()
        for part in (0.01, 0.3, 0.9):
            path.write_bytes(data[: int(len(data) * part)])
            with pytest.raises(PlateError):
                read_plate(path)


def test_strips_of_a_picture_with_alpha_are_one_picture(tmp_path: Path) -> None:
    stored = np.random.default_rng(4).integers(0, 256, (700, 803, 4), np.uint8)
    Image.fromarray(stored).save(tmp_path / "a.png")
    alpha = stored[..., 3:].astype(np.float32) / np.float32(255)
    expected = np.concatenate([color.decode_codes(stored[..., :3]) * alpha, alpha], axis=2)
    assert np.array_equal(read_plate(tmp_path / "a.png").pixels, expected)


def test_large_pictures_with_alpha_need_no_copies_of_their_light(tmp_path: Path) -> None:
    Image.new("RGBA", (1500, 1500), (9, 99, 199, 128)).save(tmp_path / "a.png")
    read_plate(tmp_path / "a.png")  # imports
    tracemalloc.start()
    try:
        plate = read_plate(tmp_path / "a.png")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2 * plate.pixels.nbytes
