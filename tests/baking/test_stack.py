# SPDX-License-Identifier: Apache-2.0
"""The stills around an animated layer, stacked again, give the document's picture."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from loopcore import color
from loopcore.baking.stack import write_stack
from loopcore.exr import write_exr
from loopcore.plate import read_plate

pytest.importorskip("psd_tools")
from psd_tools import PSDImage
from psd_tools.composite import composite
from psd_tools.constants import BlendMode

BLENDS = {
    "normal": lambda below, above: above,
    "multiply": lambda below, above: below * above,
    "screen": lambda below, above: below + above - below * above,
}


def over(result: np.ndarray, path: Path, blend: str) -> np.ndarray:
    """Blends an EXR over straight sRGB colour and alpha (PDF 1.7, 11.3.6)."""
    pixels = read_plate(path).pixels.astype(np.float64)
    alpha = pixels[..., 3:]
    above = color.linear_to_srgb(pixels[..., :3] / np.maximum(alpha, 1e-9))
    below, under = result[..., :3], result[..., 3:]
    union = alpha + under - alpha * under
    mixed = (1 - under) * above + under * BLENDS[blend](below, above)
    light = (under * (1 - alpha) * below + alpha * mixed) / np.maximum(union, 1e-9)
    return np.concatenate([light, union], axis=2)


@pytest.mark.parametrize("blend", [BlendMode.NORMAL, BlendMode.MULTIPLY, BlendMode.SCREEN])
def test_the_stack_gives_the_documents_picture(tmp_path: Path, blend: BlendMode) -> None:
    rng = np.random.default_rng(5)
    document = PSDImage.new("RGB", (33, 21))
    for name, channels, mode in (
        ("Sky", 3, BlendMode.NORMAL), ("Water", 4, blend), ("Boat", 4, BlendMode.NORMAL), ("Fog", 4, BlendMode.SCREEN),
        ("Grade", 4, BlendMode.MULTIPLY), ("Birds", 4, BlendMode.NORMAL),
    ):  # fmt: skip
        codes = rng.integers(0, 256, (21, 33, channels), dtype=np.uint8)
        document.create_pixel_layer(Image.fromarray(codes), name=name, blend_mode=mode)
    document.save(str(tmp_path / "matte.psd"))
    written = write_stack(tmp_path, "water", "water.####.exr", tmp_path / "matte.psd", "Water", None)
    assert [path.name for path in written] == [
        "water_below.exr", *(f"water_above_{number}.exr" for number in range(1, 5)), "water_stack.json",
    ]  # fmt: skip
    plate = read_plate(tmp_path / "matte.psd", layer="Water")
    write_exr(tmp_path / "water.1001.exr", {name: plate.pixels[..., k].copy() for k, name in enumerate("RGBA")})
    result = np.zeros((21, 33, 4))
    stack = json.loads((tmp_path / "water_stack.json").read_text())["stack"]
    assert [entry["layer"] for entry in stack] == ["", "Water", "Boat", "Fog", "Grade", "Birds"]
    for entry in stack:
        result = over(result, tmp_path / entry["file"].replace("####", "1001"), entry["blend"])
    values, _, _ = composite(PSDImage.open(tmp_path / "matte.psd"), color=0.0)
    np.testing.assert_allclose(result[..., :3], values, atol=1e-4)
