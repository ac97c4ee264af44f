# SPDX-License-Identifier: GPL-3.0-or-later
"""Write files atomically, and images (PNG, EXR) without Blender, whose own writers block the window.

Does not use bpy, so it can be called from any thread.
"""

import contextlib
import os
import struct
import zlib
from pathlib import Path

import numpy as np

# zlib level: speed over size, since these files are read once or twice.
_LEVEL = 1
_PNG_COLORS = {1: 0, 3: 2, 4: 6}


def write_whole(path: Path, data: bytes) -> None:
    """Write a file atomically: under a temporary name, then rename it."""
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_bytes(data)
        os.replace(part, path)
    except OSError:
        with contextlib.suppress(OSError):
            part.unlink()
        raise


def write_png(path: Path, pixels: np.ndarray) -> None:
    """Write (H, W, 1, 3 or 4) uint8 pixels, row 0 at the top, as PNG, atomically.

    Raises:
        OSError: the file cannot be written.
    """
    height, width, channels = pixels.shape
    rows = np.zeros((height, 1 + width * channels), np.uint8)  # each row starts with its filter type, 0: none
    rows[:, 1:] = pixels.reshape(height, -1)
    header = struct.pack(">IIBBBBB", width, height, 8, _PNG_COLORS[channels], 0, 0, 0)
    parts = [b"\x89PNG\r\n\x1a\n", _chunk(b"IHDR", header), _chunk(b"IDAT", zlib.compress(rows, _LEVEL))]
    write_whole(path, b"".join([*parts, _chunk(b"IEND", b"")]))


def write_exr(path: Path, pixels: np.ndarray) -> None:
    """Write (H, W, 4) float32 RGBA pixels, row 0 at the top, as EXR with uncompressed scanlines, atomically.

    Raises:
        OSError: the file cannot be written.
    """
    height, width, _ = pixels.shape
    box = struct.pack("<4i", 0, 0, width - 1, height - 1)
    one_float = struct.pack("<iIii", 2, 0, 1, 1)
    attributes = (
        ("channels", "chlist", b"".join(name + b"\0" + one_float for name in (b"A", b"B", b"G", b"R")) + b"\0"),
        ("compression", "compression", b"\0"), ("dataWindow", "box2i", box), ("displayWindow", "box2i", box),
        ("lineOrder", "lineOrder", b"\0"), ("pixelAspectRatio", "float", struct.pack("<f", 1)),
        ("screenWindowCenter", "v2f", struct.pack("<2f", 0, 0)), ("screenWindowWidth", "float", struct.pack("<f", 1)),
    )  # fmt: skip
    header = struct.pack("<II", 20000630, 2)
    for name, kind, value in attributes:
        header += name.encode() + b"\0" + kind.encode() + b"\0" + struct.pack("<i", len(value)) + value
    header += b"\0"
    row = np.dtype([("y", "<i4"), ("size", "<i4"), ("values", "<f4", (4, width))])
    rows = np.empty(height, row)
    rows["y"], rows["size"] = np.arange(height), 16 * width
    rows["values"] = pixels[..., ::-1].transpose(0, 2, 1)
    offsets = np.arange(height, dtype="<u8") * row.itemsize + len(header) + 8 * height
    write_whole(path, header + offsets.tobytes() + rows.tobytes())


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
