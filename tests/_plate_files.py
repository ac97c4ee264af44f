# SPDX-License-Identifier: Apache-2.0
"""Files of still pictures, written byte by byte or by other libraries."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from loopcore import color
from loopcore.plate import Plate

RNG = np.random.default_rng(21)


def noise(*shape: int) -> np.ndarray:
    return (RNG.standard_normal(shape) * 3).astype(np.float32)


def codes(*shape: int, dtype: type = np.uint8) -> np.ndarray:
    return RNG.integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)


def save(image: Image.Image, path: Path, **options: object) -> Path:
    image.save(path, **options)
    return path


def as_codes(plate: Plate) -> np.ndarray:
    """The 8-bit codes of the file that a plate was read from."""
    if plate.alpha_index is None:
        return color.encode_8bit(plate.pixels)
    whole = color.unpremultiply(plate.pixels)
    alpha = np.round(whole[..., -1:] * 255).astype(np.uint8)
    return np.concatenate([color.encode_8bit(whole[..., :-1]), alpha], axis=2)


def png_chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(depth: int, kind: int, width: int = 3, height: int = 2, rows: bytes | None = None) -> bytes:
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0))
    if rows is None:
        samples = {0: 1, 2: 3, 4: 2, 6: 4}[kind]
        rows = bytes(height * (1 + width * samples * depth // 8))
    return b"\x89PNG\r\n\x1a\n" + header + png_chunk(b"IDAT", zlib.compress(rows)) + png_chunk(b"IEND", b"")


ADOBE, P3 = color.PRIMARIES["adobergb"], color.PRIMARIES["p3d65"]


D50 = np.array([0.9642, 1.0, 0.8249])


def icc_profile(
    chromaticities: tuple[float, ...],
    *,
    gamma: float | None = None,
    curve: np.ndarray | None = None,
    para: tuple[int, tuple[float, ...]] | None = None,
    space: bytes = b"RGB ",
) -> bytes:
    """A small matrix or grey profile, laid out by ICC.1:2022."""
    if para is not None:
        shape = b"para" + bytes(4) + struct.pack(">HH", para[0], 0)
        shape += b"".join(struct.pack(">i", round(number * 65536)) for number in para[1])
    elif curve is not None:
        shape = b"curv" + bytes(4) + struct.pack(">I", len(curve)) + np.round(curve * 65535).astype(">u2").tobytes()
    else:
        assert gamma is not None
        shape = b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256))

    def xyz(values: np.ndarray) -> bytes:
        return b"XYZ " + bytes(4) + struct.pack(">3i", *(round(value * 65536) for value in values))

    source = color.rgb_to_xyz(chromaticities)
    columns = color.adaptation(source.sum(1), D50) @ source
    text = "Made for a test".encode("utf-16-be")
    tags = {
        b"desc": b"mluc" + bytes(4) + struct.pack(">II2s2sII", 1, 12, b"en", b"US", len(text), 28) + text,
        b"wtpt": xyz(D50),
    }
    if space == b"GRAY":
        tags[b"kTRC"] = shape
    else:
        tags |= {name: xyz(columns[:, index]) for index, name in enumerate((b"rXYZ", b"gXYZ", b"bXYZ"))}
        tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), shape)
    table, body, at = struct.pack(">I", len(tags)), b"", 132 + 12 * len(tags)
    for name, data in tags.items():
        data += bytes(-len(data) % 4)
        table += struct.pack(">4sII", name, at + len(body), len(data))
        body += data
    head = struct.pack(">I4xI4s4s4s12x4s", at + len(body), 0x04200000, b"mntr", space, b"XYZ ", b"acsp")
    head += bytes(68 - len(head)) + struct.pack(">3i", *(round(value * 65536) for value in D50))
    return head + bytes(128 - len(head)) + table + body


SRGB_CURVE = (3, (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045))


def psd(path: Path, values: np.ndarray, mode: int) -> Path:
    """A Photoshop file with a merged image only: mode 3 is RGB, 4 CMYK."""
    height, width, count = values.shape
    depth = values.dtype.itemsize * 8
    head = b"8BPS" + struct.pack(">H6xHIIHH", 1, count, height, width, depth, mode) + bytes(12) + bytes(2)
    path.write_bytes(head + values.transpose(2, 0, 1).astype(f">u{depth // 8}").tobytes())
    return path
