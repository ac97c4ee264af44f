# SPDX-License-Identifier: Apache-2.0
"""Tests in real Blenders: what Blender shows, the worker reads; layers; linked and overridden planes."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

HERE = Path(__file__).parent
PYTHONS = [p for p in os.environ.get("LOOPCORE_BPY_PYTHONS", "").split(os.pathsep) if p]
pytestmark = pytest.mark.skipif(not PYTHONS, reason="LOOPCORE_BPY_PYTHONS names no Python with bpy")
WIDTH, HEIGHT = 40, 24


def codes(top: int, channels: int) -> np.ndarray:
    """Random codes with all alphas."""
    return np.random.default_rng(4).integers(0, top + 1, (HEIGHT, WIDTH, channels))


@pytest.fixture(scope="module")
def folder(blender: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a picture of each format, and an EXR of four layers with constant values."""
    import OpenEXR
    from PIL import Image

    from loopcore.image import encode_png

    made = tmp_path_factory.mktemp("sources")
    pictures = made / "pictures"
    pictures.mkdir()
    eight = codes(255, 4).astype(np.uint8)
    for name, channels in (("tiff8.tif", 4), ("tga.tga", 4), ("bmp.bmp", 3), ("plain.png", 4)):
        Image.fromarray(np.ascontiguousarray(eight[..., :channels])).save(pictures / name)
    (pictures / "png16.png").write_bytes(encode_png(codes(65535, 4).astype(np.uint16), texts={}))
    (pictures / "opaque16.png").write_bytes(encode_png(codes(65535, 3).astype(np.uint16), texts={}))
    planes = b"".join(np.ascontiguousarray(eight[..., k]).tobytes() for k in range(3))
    header = struct.pack(">4sH6xHIIHH", b"8BPS", 1, 3, HEIGHT, WIDTH, 8, 3)
    (pictures / "psd.psd").write_bytes(header + bytes(12) + b"\0\0" + planes)
    rgbe = np.ascontiguousarray(codes(255, 4).astype(np.uint8))
    rgbe[..., 3] = 120 + rgbe[..., 3] % 16
    rgbe[..., 0] |= 128  # a mantissa without a leading zero
    (pictures / "hdr.hdr").write_bytes(
        b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n" + f"-Y {HEIGHT} +X {WIDTH}\n".encode() + _scanlines(rgbe)
    )
    layers = {
        f"{layer}.{name}.{channel}": np.full((HEIGHT, WIDTH), value + k / 10, np.float32)
        for value, (layer, name) in enumerate([(a, b) for a in ("Bg", "Fg") for b in ("Combined", "Diffuse")], 1)
        for k, channel in enumerate("RGB")
    }
    layers["Bg.Depth.Z"] = np.ones((HEIGHT, WIDTH), np.float32)
    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    OpenEXR.File(header, layers).write(str(made / "layers.exr"))
    return made


def _scanlines(rgbe: np.ndarray) -> bytes:
    """Encode RGBE rows, each channel in runs of at most 128 literals."""
    out = b""
    for row in rgbe:
        out += struct.pack(">BBH", 2, 2, WIDTH)
        out += b"".join(bytes([WIDTH]) + np.ascontiguousarray(row[:, k]).tobytes() for k in range(4))
    return out


@pytest.fixture(scope="module")
def seen(blender: Any, extension: Path, folder: Path) -> dict[str, Any]:
    found = blender.run(HERE / "sources_script.py", extension, folder, timeout=400).result
    assert isinstance(found, dict)
    return found


def plate(path: Path | str, **options: Any) -> np.ndarray:
    from loopcore.plate import read_plate

    return read_plate(path, **options).pixels


@pytest.mark.parametrize("name", ["tiff8", "tga", "bmp", "plain", "png16", "opaque16", "psd", "hdr"])
def test_the_worker_reads_what_blender_shows(seen: dict[str, Any], folder: Path, name: str) -> None:
    """The worker's pixels are Blender's: float ones as they are, codes decoded and premultiplied."""
    from loopcore.color import decode

    found = dict(seen["formats"][name])
    kind, own = found.pop("float"), found.pop("own")
    assert own == (name == "plain") and kind == (name in ("png16", "opaque16", "hdr"))
    read = plate(found.pop("plate"), **found)
    shown = np.load(folder / f"{name}.npy")
    if shown.shape[2] == 3:
        shown = np.dstack([shown, np.ones_like(shown[..., :1])])
    if not kind:
        light = decode(shown[..., :3], "srgb_rec709_scene") * shown[..., 3:]
        assert np.abs(read - np.dstack([light, shown[..., 3:]])[..., : read.shape[2]]).max() < 1e-6
    else:
        assert np.array_equal(read, shown[..., : read.shape[2]])


def test_codes_of_16_bits_keep_their_light_and_alpha(seen: dict[str, Any]) -> None:
    from loopcore.color import decode

    found = seen["formats"]["png16"]
    stored = codes(65535, 4) / 65535
    wanted = np.dstack([decode(stored[..., :3], "srgb_rec709_scene") * stored[..., 3:], stored[..., 3:]])
    assert np.abs(plate(found["plate"], colorspace=found["colorspace"]) - wanted).max() < 1e-4
    assert found["colorspace"] == "lin_rec709_scene"


def test_a_loop_of_16_bits_looks_as_its_still(seen: dict[str, Any], folder: Path) -> None:
    """The first frame of a loop of random pixels is the still, as far as it is not transported."""
    assert seen["deep"].startswith("4 frames written")
    still, loop = (plate(folder / f"deep {name}.exr")[..., :3] for name in ("still", "loop"))
    assert np.corrcoef(still.ravel(), loop.ravel())[0, 1] > 0.9
    assert abs(still.mean() / loop.mean() - 1) < 0.02


def test_the_layer_of_an_exr_is_chosen(seen: dict[str, Any], folder: Path) -> None:
    found = seen["layers"]
    assert found["names"] == ["Bg.Combined", "Bg.Diffuse", "Fg.Combined", "Fg.Diffuse"]
    assert found["size"] == [WIDTH, HEIGHT] and found["default"] == "Bg.Combined"
    for name, value in (("default", 1.0), ("Fg.Diffuse", 4.0)):
        frame = plate(folder / "loops" / name / "Plate_loop.1001.exr")
        assert np.allclose(frame, np.float32([value, value + 0.1, value + 0.2]), atol=2e-3), name


def test_all_passes_come_along_if_asked(seen: dict[str, Any], folder: Path) -> None:
    from loopcore.exr import read_exr

    assert not (folder / "loops" / "default" / "passes").exists()
    assert "2 frames with all passes" in seen["layers"]["//loops/Fg.Diffuse"]
    (whole,) = read_exr(folder / "layers.exr")
    for number in (1001, 1002):
        (frame,) = read_exr(folder / "loops" / "Fg.Diffuse" / "passes" / f"Plate_loop.{number}.exr")
        assert frame.channels.keys() == whole.channels.keys()
        for name, values in frame.channels.items():
            assert values.dtype == whole.channels[name].dtype and np.allclose(values, whole.channels[name], atol=2e-3)
    assert "Passes are written at a resolution of 100 % only" in seen["layers"]["half"]


def test_linked_planes_are_refused_before_anything_happens(seen: dict[str, Any]) -> None:
    found = seen["linked"]
    for operator, error in found["errors"].items():
        assert '"Plate" is linked from' in error and "library override" in error, (operator, error)
        assert "Traceback" not in error
    assert found["same"] and not found["folder"]


def test_overridden_planes_are_animated(seen: dict[str, Any], folder: Path) -> None:
    found = seen["override"]
    assert "only local ones can be painted on" in found["mask"]
    assert found["strokes"][0] == found["strokes"][1] == ["Plate Anchor", "Plate Stroke"]
    assert found["bake"] == ["FINISHED"]
    frames, method, speed, motion, mask = found["after"]
    assert (frames, method, speed, mask) == (4, "SPLAT", 1.0, "Plate white") and motion.startswith("//loops/override")
    # Scene frame 2 with an offset of 1 shows the third file.
    baked = plate(folder / "loops" / "override" / found["name"] / "Plate_loop.1003.exr")[..., :3]
    other = plate(folder / "loops" / "override" / found["name"] / "Plate_loop.1002.exr")[..., :3]
    shown = plate(folder / "override.exr")[..., :3]
    assert np.abs(shown - baked).max() < 2e-3 < np.abs(shown - other).max()
    assert found["restored"] == ["plate.png", "DATA", 0]
