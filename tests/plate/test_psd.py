# SPDX-License-Identifier: Apache-2.0
"""Layers of Photoshop documents: alone on the canvas, and split so that the stack gives the document's picture."""

from __future__ import annotations

import struct
import sys
from pathlib import Path

import numpy as np
import pytest
from _psd_blend import over
from PIL import Image

from loopcore import color
from loopcore.errors import PlateError
from loopcore.plate import read_plate
from loopcore.plate.psd import Split, StackStill, list_layers, split, unobstructed

pytest.importorskip("psd_tools")

from psd_tools import PSDImage
from psd_tools.composite import composite
from psd_tools.constants import BlendMode

SIZE = (40, 28)  # width, height


def codes(seed: int, channels: int = 4, size: tuple[int, int] = SIZE) -> Image.Image:
    array = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], channels), dtype=np.uint8)
    return Image.fromarray(array)


def document(path: Path) -> PSDImage:
    """Sky, a group of rocks and water, a boat over the water, haze, fog (screen), dirt (multiply), a hidden note."""
    psd = PSDImage.new("RGB", SIZE)
    psd.create_pixel_layer(codes(1, 3), name="Sky")
    group = psd.create_group(name="River")
    group.create_pixel_layer(codes(2), name="Rocks")
    group.create_pixel_layer(codes(3, size=(30, 12)), name="Water", left=6, top=14, opacity=200)
    group.create_pixel_layer(codes(4), name="Shine").clipping = True
    boat = np.zeros((8, 10, 4), np.uint8) + np.array([200, 30, 20, 255], np.uint8)
    psd.create_pixel_layer(Image.fromarray(boat), name="Boat", left=10, top=16)
    psd.create_pixel_layer(codes(5), name="Haze", opacity=120)
    psd.create_pixel_layer(codes(6), name="Fog", blend_mode=BlendMode.SCREEN, opacity=150)
    psd.create_pixel_layer(codes(7), name="Dirt", blend_mode=BlendMode.MULTIPLY)
    psd.create_pixel_layer(codes(8), name="Note").visible = False
    psd.save(str(path))
    return psd


@pytest.fixture(scope="module")
def psd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("psd") / "matte.psd"
    document(path)
    return path


def picture(path: Path) -> np.ndarray:
    """The document's opaque picture as psd-tools composites it, (H, W, 3) sRGB."""
    values, _, alpha = composite(PSDImage.open(path), color=0.0)
    assert alpha.min() > 0.999
    return values


def stacked(parts: Split, layer: StackStill) -> np.ndarray:
    """Returns the stills of a split over each other, (H, W, 4) straight, in the document's encoding."""
    result = np.zeros((SIZE[1], SIZE[0], 4))
    for item in filter(None, (parts.below, layer, *parts.above)):
        result = over(result, item.still.values[..., :3], item.still.values[..., 3:], item.blend)
    return result


def test_layers_are_listed_with_their_groups(psd: Path) -> None:
    layers = {layer.name: layer for layer in list_layers(psd)}
    assert list(layers) == [
        "Sky",
        "River",
        "River/Rocks",
        "River/Water",
        "River/Shine",
        "Boat",
        "Haze",
        "Fog",
        "Dirt",
        "Note",
    ]
    water = layers["River/Water"]
    assert (water.kind, water.blend, water.box) == ("pixel", "normal", (6, 14, 36, 26))
    assert water.opacity == 200 / 255 and water.visible and not layers["Note"].visible
    assert layers["Fog"].blend == "screen" and layers["River"].kind == "group"


@pytest.mark.parametrize("name", ["River/Water", "river/water", "Water"])
def test_a_layer_is_read_on_the_canvas(psd: Path, name: str) -> None:
    plate = read_plate(psd, layer=name)
    stored = np.asarray(codes(3, size=(30, 12))).astype(np.float64) / 255
    shine = np.asarray(codes(4)).astype(np.float64)[14:26, 6:36] / 255
    light = stored[..., :3] * (1 - shine[..., 3:]) + shine[..., :3] * shine[..., 3:]
    alpha = stored[..., 3:] * (200 / 255)
    assert plate.channels == ("R", "G", "B", "A") and plate.pixels.shape == (28, 40, 4)
    inside = plate.pixels[14:26, 6:36]
    np.testing.assert_allclose(inside[..., 3:], alpha, atol=1e-6)
    np.testing.assert_allclose(inside[..., :3], color.srgb_to_linear(light) * alpha, atol=1e-5)
    assert not plate.pixels[:14].any() and not plate.pixels[:, :6].any()
    assert plate.metadata["psdLayer"] == "River/Water" and plate.metadata["psdBlendMode"] == "normal"


def test_the_documents_picture_is_the_same_by_either_library(psd: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("OpenImageIO")
    first = read_plate(psd)
    monkeypatch.setitem(sys.modules, "OpenImageIO", None)
    second = read_plate(psd)
    np.testing.assert_allclose(second.pixels[..., :3], first.pixels, atol=1e-6)


def test_a_hidden_layer_and_a_group_are_read(psd: Path) -> None:
    hidden = read_plate(psd, layer="Note").pixels
    np.testing.assert_allclose(hidden[..., 3], np.asarray(codes(8))[..., 3] / 255, atol=1e-6)
    group = PSDImage.open(psd).find("River")
    values, _, alpha = composite(group, viewport=(0, 0, *SIZE), color=0.0)
    read = read_plate(psd, layer="River").pixels
    np.testing.assert_allclose(read[..., 3:], alpha, atol=1e-6)
    np.testing.assert_allclose(read[..., :3], color.srgb_to_linear(values) * alpha, atol=1e-5)


def test_where_a_layer_is_seen(psd: Path) -> None:
    seen = unobstructed(psd, "Water")
    own, haze = read_plate(psd, layer="Water").pixels[..., 3], read_plate(psd, layer="Haze").pixels[..., 3]
    boat = np.zeros_like(own)
    boat[16:24, 10:20] = 1  # fog and dirt do not cover, since what is below shines through
    np.testing.assert_allclose(seen, own * (1 - boat) * (1 - haze), atol=1e-6)


@pytest.mark.parametrize("name", ["River/Water", "River/Rocks", "Sky", "River", "Boat", "Fog", "Dirt"])
def test_a_split_stacks_to_the_documents_picture(psd: Path, name: str) -> None:
    from loopcore.plate.psd import read_layer

    parts = split(psd, name)
    again = stacked(parts, StackStill(name, parts.blend.replace("pass_through", "normal"), read_layer(psd, name)))
    np.testing.assert_allclose(again[..., 3], 1, atol=1e-5)
    np.testing.assert_allclose(again[..., :3], picture(psd), atol=2e-5)


def test_normal_neighbours_are_one_still(psd: Path) -> None:
    parts = split(psd, "Water")
    assert [(still.name, still.blend) for still in parts.above] == [
        ("", "normal"), ("Fog", "screen"), ("Dirt", "multiply"),
    ]  # fmt: skip
    assert split(psd, "Sky").below is None and split(psd, "Dirt").above == ()


def test_a_group_that_blends_as_a_whole_is_not_taken_apart(tmp_path: Path) -> None:
    psd = PSDImage.new("RGB", SIZE)
    psd.create_pixel_layer(codes(1, 3), name="Sky")
    group = psd.create_group(name="River", opacity=128)
    group.create_pixel_layer(codes(2), name="Water")
    psd.save(str(tmp_path / "a.psd"))
    with pytest.raises(PlateError, match="'River' blends as a whole.*give the group"):
        split(tmp_path / "a.psd", "Water")
    assert split(tmp_path / "a.psd", "River").above == ()


def test_a_clipped_layer_is_part_of_the_one_below(psd: Path) -> None:
    with pytest.raises(PlateError, match="'River/Shine' is clipped to the one below"):
        read_plate(psd, layer="Shine")


@pytest.mark.parametrize("name, message", [("Lava", "no layer 'Lava', only 'Sky', 'River'"), ("", "no layer ''")])
def test_unknown_layers_are_refused(psd: Path, name: str, message: str) -> None:
    with pytest.raises(PlateError, match=message):
        read_plate(psd, layer=name)


def test_two_layers_of_one_name_are_refused(tmp_path: Path) -> None:
    psd = PSDImage.new("RGB", SIZE)
    for seed in (1, 2):
        psd.create_pixel_layer(codes(seed), name="Layer 1")
    psd.save(str(tmp_path / "a.psd"))
    with pytest.raises(PlateError, match="could be any of 'Layer 1', 'Layer 1'.*rename one"):
        read_plate(tmp_path / "a.psd", layer="Layer 1")


def test_damaged_documents_are_refused(psd: Path, tmp_path: Path) -> None:
    data = psd.read_bytes()
    rng = np.random.default_rng(0)
    for number in range(60):
        broken = bytearray(data[: rng.integers(30, len(data))] if number % 2 else data)
        for place in rng.integers(26, len(broken), 12):
            broken[place] = rng.integers(256)
        (tmp_path / "x.psd").write_bytes(broken)
        try:
            read_plate(tmp_path / "x.psd", layer="Water")
        except PlateError as error:
            assert "\n" not in str(error)
    (tmp_path / "x.psd").write_bytes(struct.pack(">4sH6xHIIHH", b"8BPS", 1, 4, 30, 40, 8, 4) + bytes(20))
    with pytest.raises(PlateError, match="CMYK|damaged"):
        read_plate(tmp_path / "x.psd", layer="Water")
