# SPDX-License-Identifier: Apache-2.0
"""Embedded colour profiles: applied if supported, else refused."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from _plate_files import ADOBE, P3, RNG, SRGB_CURVE, as_codes, codes, icc_profile, save
from PIL import Image, ImageCms

from loopcore import color
from loopcore.errors import PlateError
from loopcore.plate import read_plate


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
        # Not too saturated: Little CMS clips colours outside sRGB.
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

    def test_colours_outside_srgb_are_kept(self, tmp_path: Path) -> None:
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

    def test_alpha_is_not_converted(self, tmp_path: Path) -> None:
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
    def test_damaged_profiles_are_ignored(self, tmp_path: Path, cut: int) -> None:
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
