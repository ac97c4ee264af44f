# SPDX-License-Identifier: Apache-2.0
"""Colour spaces named by an OpenColorIO configuration."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from loopcore.errors import PlateError
from loopcore.exr import write_exr
from loopcore.plate import read_plate

ocio = pytest.importorskip("PyOpenColorIO")

RNG = np.random.default_rng(3)


@pytest.fixture(autouse=True)
def studio(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OCIO", "ocio://studio-config-latest")


def expected(values: np.ndarray, space: str) -> np.ndarray:
    """OpenColorIO's own result a pixel at a time, the channels in a list."""
    config = ocio.Config.CreateFromEnv()
    processor = config.getProcessor(space, ocio.ROLE_SCENE_LINEAR).getDefaultCPUProcessor()
    flat = [processor.applyRGB([float(v) for v in pixel]) for pixel in values.reshape(-1, 3)]
    return np.array(flat, np.float32).reshape(values.shape)


def test_an_exr_in_a_log_space(tmp_path: Path) -> None:
    values = RNG.uniform(0.1, 0.9, (9, 11, 3)).astype(np.float32)
    write_exr(tmp_path / "a.exr", {name: values[..., k] for k, name in enumerate("RGB")})
    plate = read_plate(tmp_path / "a.exr", colorspace="ACEScct")
    np.testing.assert_allclose(plate.pixels, expected(values, "ACEScct"), rtol=1e-5)
    assert (plate.colorspace, plate.encoded) == ("lin_ap1_scene", "srgb")
    assert plate.pixels.max() > 2  # log codes hold highlights


def test_a_png_with_alpha(tmp_path: Path) -> None:
    stored = RNG.integers(1, 256, (7, 8, 4), dtype=np.uint8)
    Image.fromarray(stored).save(tmp_path / "a.png")
    plate = read_plate(tmp_path / "a.png", colorspace="sRGB Encoded Rec.709 (sRGB)")
    alpha = stored[..., 3:] / np.float32(255)
    light = expected(stored[..., :3].astype(np.float32) / 255, "sRGB Encoded Rec.709 (sRGB)")
    np.testing.assert_allclose(plate.pixels[..., :3], light * alpha, atol=1e-6)
    np.testing.assert_array_equal(plate.pixels[..., 3:], alpha)


def test_a_grey_still(tmp_path: Path) -> None:
    Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8) * 4).save(tmp_path / "a.png")
    plate = read_plate(tmp_path / "a.png", colorspace="ACEScct")
    grey = np.repeat(np.arange(64, dtype=np.float32).reshape(8, 8, 1) * 4 / 255, 3, axis=2)
    np.testing.assert_allclose(plate.pixels[..., 0], expected(grey, "ACEScct")[..., 0], rtol=1e-5, atol=1e-6)


def test_loopcores_own_names_come_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.fromarray(RNG.integers(0, 256, (7, 8, 3), dtype=np.uint8)).save(tmp_path / "a.png")
    with_config = read_plate(tmp_path / "a.png", colorspace="srgb_rec709_scene")
    monkeypatch.delenv("OCIO")
    assert with_config == read_plate(tmp_path / "a.png", colorspace="srgb_rec709_scene")


def test_unknown_names_and_configurations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    with pytest.raises(PlateError, match="a.png: colour space 'Mars' is unknown"):
        read_plate(tmp_path / "a.png", colorspace="Mars")
    monkeypatch.setenv("OCIO", str(tmp_path / "none.ocio"))
    with pytest.raises(PlateError, match=r"\$OCIO cannot be used.*none.ocio"):
        read_plate(tmp_path / "a.png", colorspace="ACEScct")
    monkeypatch.delenv("OCIO")
    with pytest.raises(PlateError, match="'ACEScct' is unknown"):
        read_plate(tmp_path / "a.png", colorspace="ACEScct")
