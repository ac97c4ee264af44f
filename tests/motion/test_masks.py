# SPDX-License-Identifier: Apache-2.0
"""Masks: drawn and painted ones, feathering, and files that are none."""

from __future__ import annotations

import os
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from loopcore import exr
from loopcore.errors import MotionError
from loopcore.motion import read_mask
from loopcore.motion.masks import feathered, rasterise

SQUARE = np.array([[20.0, 10.0], [100.0, 10.0], [100.0, 70.0], [20.0, 70.0]])


@pytest.mark.parametrize("feather", [0, 1, 5, 12.5, 24, 60])
def test_feather_goes_inward(feather: float) -> None:
    mask = rasterise([SQUARE], [], feather, 80, 120)
    y, x = np.mgrid[:80, :120]
    inside = np.minimum(np.minimum(x - 20, 100 - x), np.minimum(y - 10, 70 - y))  # signed distance to the edge
    assert not mask[inside < -0.5].any()
    assert (mask[inside > feather + 4] == 1).all()
    assert (np.diff(mask[40, 10:60]) >= 0).all()
    if feather >= 5:
        middle = np.abs(inside - feather / 2) < 0.6
        assert 0.25 < mask[middle & (np.abs(y - 40) < 3)].mean() < 0.75 or feather > 50


def test_edges_are_antialiased_and_holes_cut() -> None:
    slanted = np.array([[10.0, 10.0], [90.0, 22.0], [88.0, 60.0], [12.0, 55.0]])
    mask = rasterise([slanted], [], 0, 80, 120)
    assert ((mask > 0) & (mask < 1)).sum() > 50
    area = 0.5 * abs(
        np.dot(slanted[:, 0], np.roll(slanted[:, 1], 1)) - np.dot(slanted[:, 1], np.roll(slanted[:, 0], 1))
    )
    assert mask.sum() == pytest.approx(area, rel=0.02)
    holed = rasterise([slanted], [np.array([[30.0, 30.0], [50.0, 30.0], [50.0, 45.0], [30.0, 45.0]])], 4, 80, 120)
    assert holed[37, 40] == 0 and holed[37, 70] == 1 and 0 < holed[37, 52] < 1


def test_frame_is_not_feathered() -> None:
    mask = feathered(np.ones((20, 30), np.float32), 8)
    assert (mask == 1).all()


@pytest.mark.parametrize("mode", ["L", "I;16", "RGB", "RGBA", "LA", "1", "P"])
def test_painted_masks_read_as_data(tmp_path: Path, mode: str) -> None:
    ramp = np.tile(np.linspace(0, 255, 40).astype(np.uint8), (30, 1))
    if mode == "I;16":
        picture = Image.fromarray(ramp.astype(np.uint16) * 257)
    elif mode in ("RGBA", "LA"):
        base = Image.new(mode[:-1], (40, 30), "white")
        base.putalpha(Image.fromarray(ramp))
        picture = base
    else:
        picture = Image.fromarray(ramp).convert(mode)
    picture.save(tmp_path / "m.png")
    mask = read_mask(tmp_path / "m.png", 30, 40)
    assert mask.dtype == np.float32 and mask.shape == (30, 40)
    if mode == "1":
        assert set(np.unique(mask)) <= {0.0, 1.0}
    else:
        np.testing.assert_allclose(mask, ramp / 255, atol=1e-3)


def test_an_opaque_alpha_is_not_the_mask(tmp_path: Path) -> None:
    ramp = np.tile(np.linspace(0, 255, 40).astype(np.uint8), (30, 1))
    picture = Image.fromarray(ramp).convert("RGBA")
    picture.save(tmp_path / "m.png")
    np.testing.assert_allclose(read_mask(tmp_path / "m.png", 30, 40), ramp / 255, atol=1e-3)


@pytest.mark.parametrize("names", [("mask.V",), ("A", "R", "G", "B"), ("Y",), ("R", "G", "B"), ("anything.Q",)])
def test_exr_masks_read(tmp_path: Path, names: tuple[str, ...]) -> None:
    ramp = np.tile(np.linspace(0, 1, 40, dtype=np.float32), (30, 1))
    exr.write_exr(tmp_path / "m.exr", {name: ramp for name in names})
    np.testing.assert_allclose(read_mask(tmp_path / "m.exr", 30, 40), ramp, atol=1e-6)


def test_masks_are_resized_within_the_aspect(tmp_path: Path) -> None:
    grey = np.zeros((60, 80), np.uint8)
    grey[20:40, 30:60] = 255
    Image.fromarray(grey).save(tmp_path / "m.png")
    mask = read_mask(tmp_path / "m.png", 120, 160)
    assert mask.shape == (120, 160) and mask[60, 90] == 1 and mask[10, 10] == 0
    with pytest.raises(MotionError, match="80x60.*100x60"):
        read_mask(tmp_path / "m.png", 60, 100)


def test_invalid_masks_are_refused(tmp_path: Path) -> None:
    Image.new("L", (8, 6), 0).save(tmp_path / "black.png")
    with pytest.raises(MotionError, match="black all over"):
        read_mask(tmp_path / "black.png", 6, 8)
    exr.write_exr(tmp_path / "nan.exr", {"A": np.full((6, 8), np.nan, np.float32)})
    with pytest.raises(MotionError, match="NaN"):
        read_mask(tmp_path / "nan.exr", 6, 8)
    exr.write_exr(tmp_path / "odd.exr", {"a.x": np.ones((6, 8), np.float32), "b.x": np.ones((6, 8), np.float32)})
    with pytest.raises(MotionError, match="a.x, b.x"):
        read_mask(tmp_path / "odd.exr", 6, 8)
    (tmp_path / "text.png").write_text("no picture")
    for name in ("none.png", "text.png", "none.exr"):
        with pytest.raises(MotionError, match=name):
            read_mask(tmp_path / name, 6, 8)


def test_sixteen_bit_colour_is_refused(tmp_path: Path) -> None:
    import struct
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + b"\x80\x01" * 3 * 8 for _ in range(6))
    header = struct.pack(">IIBBBBB", 8, 6, 16, 2, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    (tmp_path / "deep.png").write_bytes(png)
    with pytest.raises(MotionError, match="16 bits"):
        read_mask(tmp_path / "deep.png", 6, 8)


def test_a_mask_720_pixels_wide_has_no_16_bits(tmp_path: Path) -> None:
    """Pillow describes the tile of this file with numbers that contain 16."""
    Image.new("RGB", (720, 4), "white").save(tmp_path / "m.bmp")
    assert (read_mask(tmp_path / "m.bmp", 4, 720) == 1).all()


@pytest.mark.skipif(os.name == "nt", reason="a shell script in place of Ghostscript")
def test_postscript_in_a_mask_is_not_run(tmp_path: Path) -> None:
    ghostscript = tmp_path / "bin" / "gs"
    ghostscript.parent.mkdir()
    ghostscript.write_text(f"#!/bin/sh\ntouch '{tmp_path / 'ran'}'\nexit 1\n")
    ghostscript.chmod(0o755)
    (tmp_path / "m.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 6\n%%EndComments\nshowpage\n")
    script = (
        "import sys\nfrom PIL import Image\nfrom loopcore.motion import read_mask\n"
        "if sys.argv[2] == 'pillow': Image.open(sys.argv[1]).load()\n"
        "read_mask(sys.argv[1], 6, 8)\n"
    )
    environment = {**os.environ, "PATH": f"{ghostscript.parent}{os.pathsep}{os.environ['PATH']}"}
    for way, ran in (("ours", False), ("pillow", True)):
        command = [sys.executable, "-c", script, str(tmp_path / "m.png"), way]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 1 and (tmp_path / "ran").exists() == ran, done.stderr
        if way == "ours":
            assert "cannot be read as a picture" in done.stderr


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no FIFOs here")
def test_a_fifo_is_no_mask(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "m.png")
    with pytest.raises(MotionError, match="give a regular file"):
        read_mask(tmp_path / "m.png", 6, 8)


@pytest.mark.parametrize("shape", [(48, 64), (2, 5000)])
def test_memory_does_not_grow_with_the_feather(shape: tuple[int, int]) -> None:
    tracemalloc.start()
    try:
        faded = feathered(np.ones(shape, np.float32), 1e6)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert faded.shape == shape
    assert peak < 50e6
