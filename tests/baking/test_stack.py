# SPDX-License-Identifier: Apache-2.0
"""The stills around an animated layer, stacked again, give the document's picture."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from _psd_blend import over
from PIL import Image

from loopcore import color
from loopcore.baking.stack import write_stack
from loopcore.cli.main import main
from loopcore.exr import write_exr
from loopcore.motion.field import MotionField
from loopcore.plate import read_plate

pytest.importorskip("psd_tools")
from psd_tools import PSDImage
from psd_tools.composite import composite
from psd_tools.constants import BlendMode


def make_document(path: Path, blend: BlendMode) -> None:
    rng = np.random.default_rng(5)
    document = PSDImage.new("RGB", (33, 21))
    for name, channels, mode in (
        ("Sky", 3, BlendMode.NORMAL), ("Water", 4, blend), ("Boat", 4, BlendMode.NORMAL), ("Fog", 4, BlendMode.SCREEN),
        ("Grade", 4, BlendMode.MULTIPLY), ("Birds", 4, BlendMode.NORMAL),
    ):  # fmt: skip
        codes = rng.integers(0, 256, (21, 33, channels), dtype=np.uint8)
        document.create_pixel_layer(Image.fromarray(codes), name=name, blend_mode=mode)
    document.save(str(path))


def stacked(folder: Path, order: str, frame: str) -> np.ndarray:
    """Returns the stack's picture, (H, W, 4)."""
    result = np.zeros((21, 33, 4))
    for entry in json.loads((folder / order).read_text())["stack"]:
        pixels = read_plate(folder / entry["file"].replace("####", frame)).pixels.astype(np.float64)
        alpha = pixels[..., 3:]
        codes = color.linear_to_srgb(pixels[..., :3] / np.maximum(alpha, 1e-9))
        result = over(result, codes, alpha, entry["blend"])
    return result


def documents_picture(path: Path) -> np.ndarray:
    values: np.ndarray = composite(PSDImage.open(path), color=0.0)[0]
    return values


@pytest.mark.parametrize("blend", [BlendMode.NORMAL, BlendMode.MULTIPLY, BlendMode.SCREEN])
def test_the_stack_gives_the_documents_picture(tmp_path: Path, blend: BlendMode) -> None:
    make_document(tmp_path / "matte.psd", blend)
    written = write_stack(tmp_path, "water", "water.####.exr", tmp_path / "matte.psd", "Water", None)
    assert [path.name for path in written] == [
        "water_below.exr", *(f"water_above_{number}.exr" for number in range(1, 5)), "water_stack.json",
    ]  # fmt: skip
    plate = read_plate(tmp_path / "matte.psd", layer="Water")
    write_exr(tmp_path / "water.1001.exr", {name: plate.pixels[..., k].copy() for k, name in enumerate("RGBA")})
    stack = json.loads((tmp_path / "water_stack.json").read_text())["stack"]
    assert [entry["layer"] for entry in stack] == ["", "Water", "Boat", "Fog", "Grade", "Birds"]
    result = stacked(tmp_path, "water_stack.json", "1001")
    np.testing.assert_allclose(result[..., :3], documents_picture(tmp_path / "matte.psd"), atol=1e-4)


def test_animate_splits_a_document(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_document(tmp_path / "matte.psd", BlendMode.NORMAL)
    velocity = np.full((21, 33, 2), 0.5, np.float32)
    MotionField(velocity, np.ones((21, 33), np.float32), np.ones((21, 33), np.float32)).save(tmp_path / "m.exr")
    loop = tmp_path / "loop"
    arguments = ["animate", str(tmp_path / "matte.psd"), "--motion", str(tmp_path / "m.exr"), "--frames", "2"]
    arguments += ["--name", "water", "--depth", "float", "-o", str(loop)]
    assert main([*arguments, "--layer", "Water", "--layers", "split"]) == 0
    assert {"water_below.exr", "water_above_4.exr", "water_stack.json"} < {path.name for path in loop.iterdir()}
    result = stacked(loop, "water_stack.json", "1001")
    np.testing.assert_allclose(result[..., :3], documents_picture(tmp_path / "matte.psd"), atol=1e-4)
    assert main(["check", str(loop)]) in (0, 1)
    capsys.readouterr()
    assert main([*arguments, "--layers", "split"]) == 2
    assert "give its --layer" in capsys.readouterr().err
    Image.new("RGB", (33, 21)).save(tmp_path / "matte.png")
    arguments[1] = str(tmp_path / "matte.png")
    assert main([*arguments, "--layer", "Water", "--layers", "split"]) == 2
    assert "of PSD files only" in capsys.readouterr().err
