# SPDX-License-Identifier: Apache-2.0
"""Transfer curves, tables, luminance and display pictures."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loopcore import color
from loopcore.errors import PlateError


class TestCurves:
    def test_published_values(self) -> None:
        # IEC 61966-2-1: the ends, where line and curve meet, and middle grey.
        np.testing.assert_allclose(
            color.srgb_to_linear(np.array([0.0, 0.04045, 0.5, 1.0])), [0, 0.0031308, 0.2140411, 1], 1e-4
        )
        np.testing.assert_allclose(
            color.linear_to_srgb(np.array([0.0, 0.0031308, 0.18, 1.0])), [0, 0.04045, 0.4613561, 1], 1e-4
        )
        np.testing.assert_allclose(color.cineon_to_linear(np.array([95, 445, 685]) / 1023), [0, 0.15, 1], atol=0.01)

    @given(st.floats(-100, 100, width=32))
    def test_curves_are_inverse_and_mirrored(self, value: float) -> None:
        x = np.array([value, -value])
        np.testing.assert_allclose(color.linear_to_srgb(color.srgb_to_linear(x)), x, rtol=1e-6, atol=1e-9)
        linear = color.srgb_to_linear(x)
        assert linear[0] == -linear[1]

    def test_float32_nan_and_infinity_are_kept(self) -> None:
        x = np.array([np.nan, np.inf, -np.inf, 2.0], np.float32)
        for curve in (color.srgb_to_linear, color.linear_to_srgb):
            y = curve(x)
            assert y.dtype == np.float32 and np.isnan(y[0]) and y[1] == np.inf and y[2] == -np.inf and np.isfinite(y[3])

    def test_decoding_by_name(self) -> None:
        x = np.array([0.0, 0.25, 1.0], np.float32)
        np.testing.assert_array_equal(color.decode(x, "lin_ap1_scene"), x)
        np.testing.assert_array_equal(color.decode(x, "srgb_ap1_scene"), color.srgb_to_linear(x))
        np.testing.assert_allclose(color.decode(x, "g22_adobergb_scene"), x**2.2, rtol=1e-6)
        assert color.linear_space("srgb_p3d65_scene") == "lin_p3d65_scene"
        assert color.linear_space("cineon") == "" == color.linear_space("unknown")
        assert color.linear_space("data") == "data" and color.linear_space("lin_ap0_scene") == "lin_ap0_scene"

    @pytest.mark.parametrize(
        "name", ["sRGB", "srgb", "srgb_rec709", "lin_rec708_scene", "g23_rec709_scene", "ACEScg", ""]
    )
    def test_unknown_names_are_refused(self, name: str) -> None:
        with pytest.raises(PlateError, match="srgb_rec709_scene"):
            color.check_colorspace(name)


class TestCodes:
    @pytest.mark.parametrize("bits, encode", [(8, color.encode_8bit), (16, color.encode_16bit)])
    def test_every_code_round_trips(self, bits: int, encode: object) -> None:
        codes = np.arange(1 << bits).astype(f"u{bits // 8}")
        linear = color.decode_codes(codes)
        assert linear.dtype == np.float32 and linear[0] == 0 and linear[-1] == 1 and np.all(np.diff(linear) > 0)
        np.testing.assert_array_equal(encode(linear), codes)  # type: ignore[operator]

    @pytest.mark.parametrize("bits, encode", [(8, color.encode_8bit), (16, color.encode_16bit)])
    def test_codes_are_the_nearest(self, bits: int, encode: object) -> None:
        rng = np.random.default_rng(1)
        linear = np.concatenate([rng.random(200_000) ** 4, 2.0 ** rng.uniform(-40, 0, 50_000)]).astype(np.float32)
        exact = color.linear_to_srgb(linear.astype(np.float64)) * ((1 << bits) - 1)
        error = np.abs(encode(linear).astype(np.float64) - exact)  # type: ignore[operator]
        assert error.max() < 0.512

    def test_out_of_range(self) -> None:
        x = np.array([[np.nan, -1.0, -0.0, np.inf, -np.inf, 7.0, 1.0, 1e-45]], np.float64)
        np.testing.assert_array_equal(color.encode_8bit(x), [[0, 0, 0, 255, 0, 255, 255, 0]])
        np.testing.assert_array_equal(color.encode_16bit(x), [[0, 0, 0, 65535, 0, 65535, 65535, 0]])

    def test_shapes_and_views(self) -> None:
        x = np.random.default_rng(0).random((5, 7, 3)).astype(np.float32)
        np.testing.assert_array_equal(color.encode_8bit(x[::-1, :, 1]), color.encode_8bit(x)[::-1, :, 1])
        assert color.encode_8bit(np.zeros((0, 3), np.float32)).shape == (0, 3)
        kept = x.copy()
        color.encode_16bit(x)
        np.testing.assert_array_equal(x, kept)

    def test_only_codes_are_decoded(self) -> None:
        with pytest.raises(PlateError):
            color.decode_codes(np.zeros(3, np.int32))

    def test_a_frame_encodes_quickly(self) -> None:
        frame = np.random.default_rng(0).random((1080, 1920, 4)).astype(np.float32)
        color.encode_8bit(frame[:8])
        best = min(_cpu_seconds(lambda: color.encode_8bit(frame)) for _ in range(3))
        assert best < 0.3  # a quarter of a 4K frame, where 0.05 is usual


def _cpu_seconds(work: object) -> float:
    start = time.process_time()
    work()  # type: ignore[operator]
    return time.process_time() - start


class TestAlpha:
    def test_premultiplying_round_trips(self) -> None:
        rng = np.random.default_rng(2)
        codes = rng.integers(0, 256, (40, 50, 3)).astype(np.uint8)
        alpha = rng.integers(1, 256, (40, 50, 1)) / np.float32(255)
        pixels = np.concatenate([color.decode_codes(codes), alpha], axis=2).astype(np.float32)
        whole = color.unpremultiply(color.premultiply(pixels))
        assert whole.dtype == np.float32
        np.testing.assert_array_equal(whole[..., 3], pixels[..., 3])
        np.testing.assert_array_equal(color.encode_8bit(whole[..., :3]), codes)

    def test_colour_is_kept_where_alpha_is_0(self) -> None:
        pixels = np.array([[[4.0, 2.0, 1.0, 0.0], [4.0, 2.0, 1.0, 0.5], [1.0, np.nan, 1.0, np.nan]]], np.float32)
        whole = color.unpremultiply(pixels)
        np.testing.assert_array_equal(whole[0, :2], [[4, 2, 1, 0], [8, 4, 2, 0.5]])
        np.testing.assert_array_equal(color.unpremultiply(pixels[..., ::-1], 0)[0, 1], [0.5, 2, 4, 8])


class TestLuminance:
    def test_weights(self) -> None:
        rgba = np.zeros((2, 3, 4), np.float32)
        rgba[0, 0] = (1, 0, 0, 9)
        rgba[0, 1] = (0, 1, 0, 9)
        rgba[0, 2] = (0, 0, 1, 9)
        rgba[1, 0] = (2, 2, 2, 9)
        np.testing.assert_allclose(color.luminance(rgba)[0], [0.2126, 0.7152, 0.0722], rtol=1e-6)
        np.testing.assert_allclose(color.luminance(rgba)[1], [2, 0, 0], rtol=1e-6)
        np.testing.assert_array_equal(
            color.luminance(rgba[..., 2::-1], ("B", "G", "R")), color.luminance(rgba[..., :3])
        )

    def test_single_channels_pass_through(self) -> None:
        pixels = np.random.default_rng(3).random((4, 5, 2)).astype(np.float32)
        for channels in (None, ("Y", "A"), ("G", "A"), ("mask", "A")):
            np.testing.assert_array_equal(color.luminance(pixels, channels), pixels[..., 0])
        np.testing.assert_array_equal(color.luminance(pixels[..., :1], ("A",)), pixels[..., 0])
        np.testing.assert_allclose(color.luminance(np.full((2, 2, 2), 3.0), ("R", "G")), 3.0, rtol=1e-6)

    @pytest.mark.parametrize("shape, channels", [((4, 5), None), ((4, 5, 7), None), ((4, 5, 3), ("R", "G"))])
    def test_channels_that_do_not_match(self, shape: tuple[int, ...], channels: tuple[str, ...] | None) -> None:
        with pytest.raises(PlateError):
            color.luminance(np.zeros(shape), channels)


class TestPrimaries:
    def test_matrices(self) -> None:
        # ITU-R BT.709 to XYZ as IEC 61966-2-1 prints it.
        expected = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
        np.testing.assert_allclose(color.rgb_to_xyz(color.PRIMARIES["rec709"]), expected, atol=2e-4)
        np.testing.assert_allclose(color.to_rec709(color.PRIMARIES["rec709"]), np.eye(3), atol=1e-12)
        # ACEScg to Rec.709 with Bradford, as the ACES colour-space conversion tables print it.
        expected = [[1.70505, -0.62179, -0.08326], [-0.13026, 1.14080, -0.01055], [-0.02400, -0.12897, 1.15297]]
        np.testing.assert_allclose(color.to_rec709(color.PRIMARIES["ap1"]), expected, atol=2e-4)

    @pytest.mark.parametrize("bad", [(0.0,) * 8, (np.nan,) * 8, (0.1, 0.1, 0.2, 0.2, 0.3, 0.3, 0.3, 0.3)])
    def test_invalid_chromaticities(self, bad: tuple[float, ...]) -> None:
        with pytest.raises(PlateError):
            color.rgb_to_xyz(bad)


@dataclass
class Looks:
    """The attributes of a plate that display_image uses."""

    pixels: np.ndarray
    channels: tuple[str, ...] = ("R", "G", "B")
    colorspace: str = ""
    encoded: str = "linear"
    metadata: dict = field(default_factory=dict)


class TestDisplay:
    def test_display_pixels_are_not_exposed(self) -> None:
        codes = np.random.default_rng(4).integers(0, 256, (30, 40, 3)).astype(np.uint8)
        np.testing.assert_array_equal(color.display_image(Looks(color.decode_codes(codes), encoded="srgb")), codes)
        np.testing.assert_array_equal(color.display_image(color.decode_codes(codes)), codes)

    @pytest.mark.parametrize("scale", [1e-3, 50.0, 1e5])
    def test_scenes_beyond_the_display_are_exposed(self, scale: float) -> None:
        scene = (2.0 ** np.random.default_rng(5).normal(0, 2, (60, 80, 3)) * scale).astype(np.float32)
        shown = color.display_image(scene)
        assert 80 < np.median(shown) < 150 and np.mean(shown == 255) < 0.05
        # One exposure for all frames of a loop.
        exposure = color.display_exposure(scene)
        np.testing.assert_array_equal(color.display_image(scene, exposure=exposure), shown)

    def test_nan_is_black(self) -> None:
        pixels = np.full((4, 4, 3), 0.5, np.float32)
        pixels[1, 1] = np.nan
        pixels[2, 2] = np.inf
        for exposure in (None, 3.0):
            shown = color.display_image(pixels, exposure=exposure)
            assert (shown[1, 1] == 0).all() and (shown[2, 2] == 255).all()
        assert not color.display_image(np.full((3, 3, 3), np.nan, np.float32)).any()

    def test_every_layout(self) -> None:
        grey = np.full((3, 4, 2), 0.214, np.float32)
        assert (color.display_image(grey[..., :1]) == 127).all() and (color.display_image(grey) == 127).all()
        red = color.display_image(grey[..., :1], ("R",))
        assert (red == (127, 0, 0)).all()
        assert color.display_image(np.ones((3, 4, 4), np.float16)).shape == (3, 4, 3)

    def test_wide_primaries_are_converted(self) -> None:
        rec709 = np.array([[[0.8, 0.2, 0.1], [0.3, 0.3, 0.3]]], np.float32)
        ap1 = (rec709 @ np.linalg.inv(color.to_rec709(color.PRIMARIES["ap1"])).T).astype(np.float32)
        expected = color.display_image(rec709).astype(int)
        for looks in (
            Looks(ap1, colorspace="lin_ap1_scene"),
            Looks(ap1, metadata={"chromaticities": color.PRIMARIES["ap1"]}),
        ):
            assert np.abs(color.display_image(looks).astype(int) - expected).max() <= 1
        assert np.abs(color.display_image(ap1).astype(int) - expected).max() > 20


def test_importing_loads_no_heavy_library() -> None:
    script = "import sys, loopcore.color; print([n for n in ('PIL', 'torch', 'scipy', 'numba') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]", done.stderr
