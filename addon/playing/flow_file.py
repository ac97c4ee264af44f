# SPDX-License-Identifier: GPL-3.0-or-later
"""The motion file as an image that shaders can read.

Blender's image textures cannot select a layer of an EXR, so the two channels are read here (ZIP-compressed scanlines,
as Loopcore writes them) into a float image, packed in the .blend.
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import bpy
import numpy as np

from ..errors import PlaneError
from ..texts import rpt_

_KINDS = {0: np.dtype("<u4"), 1: np.dtype("<f2"), 2: np.dtype("<f4")}
# Rows per chunk, by the supported compressions: none, ZIPS, ZIP.
_ROWS = {0: 1, 2: 1, 3: 16}


def read_velocity(path: str | Path) -> np.ndarray:
    """Return the motion in `path`: (H, W, 2) in pixels per frame, row 0 at the top, v up.

    Raises:
        PlaneError: the file is not a motion field, or cannot be read.
    """
    return np.stack(list(read_channels(path, ("forward.u", "forward.v")).values()), axis=-1)


def flow_image(velocity: np.ndarray, name: str) -> bpy.types.Image:
    """Return a motion as an image: red in image widths per frame, green in image heights per frame, v up."""
    height, width = velocity.shape[:2]
    pixels = np.zeros((height, width, 4), np.float32)
    pixels[..., :2] = velocity[::-1] / np.float32([width, height])
    pixels[..., 3] = 1
    image = bpy.data.images.new(name, width, height, alpha=True, float_buffer=True, is_data=True)
    image.pixels.foreach_set(pixels.ravel())
    image.pack()
    return image


def read_channels(path: str | Path, wanted: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Return the (H, W) named channels of an EXR with uncompressed or ZIP scanlines.

    Raises:
        PlaneError: the file is not such an EXR, or lacks a channel.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        text = rpt_("The motion {path} cannot be read: {reason}")
        raise PlaneError(text.format(path=path, reason=error.strerror or error)) from None
    try:
        header, start = _header(data)
        layout = _layout(header["channels"])
        missing = [name for name in wanted if name not in {entry[0] for entry in layout}]
        if missing:
            text = rpt_("{path} is not a motion field: it has no channel {channel}")
            raise PlaneError(text.format(path=path, channel=missing[0]))
        if header["compression"][0] not in _ROWS:
            text = rpt_("{path} has an unsupported compression: write it with ZIP compression, as Loopcore does")
            raise PlaneError(text.format(path=path))
        return _pixels(data, start, header, layout, wanted)
    except (struct.error, zlib.error, KeyError, IndexError, ValueError) as error:
        raise PlaneError(rpt_("{path} is not a valid EXR: {reason}").format(path=path, reason=error)) from None


def _header(data):
    """Return the attributes of a single-part file as bytes, and the position of the offset table."""
    magic, version = struct.unpack_from("<II", data)
    if magic != 20000630 or version & 0xFF != 2 or version & 0x1A00:
        raise ValueError(rpt_("not a single-part scanline EXR"))
    place, header = 8, {}
    while data[place]:
        name, place = _text(data, place)
        _kind, place = _text(data, place)
        (size,) = struct.unpack_from("<i", data, place)
        header[name] = data[place + 4 : place + 4 + size]
        place += 4 + size
    return header, place + 1


def _text(data, place):
    end = data.index(b"\0", place)
    return data[place:end].decode("utf-8"), end + 1


def _layout(block):
    """Return [(name, dtype)] of the channels, in their order in a row."""
    place, layout = 0, []
    while block[place]:
        name, place = _text(block, place)
        kind, _linear, across, down = struct.unpack_from("<iIii", block, place)
        if (across, down) != (1, 1):
            raise ValueError(rpt_("channel {name} is subsampled").format(name=name))
        layout.append((name, _KINDS[kind]))
        place += 16
    return layout


def _pixels(data, start, header, layout, wanted):
    left, top, right, bottom = struct.unpack("<4i", header["dataWindow"])
    width, height = right - left + 1, bottom - top + 1
    rows, compression = _ROWS[header["compression"][0]], header["compression"][0]
    count = -(-height // rows)
    row = np.dtype([(name, kind, (width,)) for name, kind in layout])
    full = np.empty(height, row)
    for offset in struct.unpack_from(f"<{count}Q", data, start):
        y, size = struct.unpack_from("<ii", data, offset)
        y -= top
        lines = min(rows, height - y)
        block = data[offset + 8 : offset + 8 + size]
        if compression and size < lines * row.itemsize:
            block = _unpacked(block)
        full[y : y + lines] = np.frombuffer(block, row, lines)
    return {name: full[name].astype(np.float32) for name in wanted}


def _unpacked(block):
    """Decode EXR's ZIP: zlib, byte differences, and separated even and odd bytes."""
    raw = np.frombuffer(zlib.decompress(block), np.uint8).copy()
    raw[1:] -= 128
    raw = np.cumsum(raw, dtype=np.uint8)
    woven = np.empty_like(raw)
    half = (len(raw) + 1) // 2
    woven[0::2], woven[1::2] = raw[:half], raw[half:]
    return woven.tobytes()
