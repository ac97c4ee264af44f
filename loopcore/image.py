# SPDX-License-Identifier: Apache-2.0
"""Arrays of pixels: equality, resizing, luminance of display pictures, PNG files with text.

Convention: row 0 at the top, x right, y down; (H, W) or (H, W, C).
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import fields
from fractions import Fraction
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, cast

import numpy as np

from loopcore.errors import EngineError
from loopcore.files.regular import PIXELS, check_regular

if TYPE_CHECKING:
    from PIL.Image import Image as PillowImage

# ITU-R BT.709: the luminance of red, green and blue.
REC709_WEIGHTS = (0.2126, 0.7152, 0.0722)

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_END = struct.pack(">I", 0) + b"IEND" + struct.pack(">I", zlib.crc32(b"IEND"))
_PNG_HEADER = 33  # bytes of the signature and the header chunk
# Pixel format of FFmpeg's PNG encoder by bits and number of channels.
_PNG_FORMATS = {
    (8, 1): "gray", (8, 2): "ya8", (8, 3): "rgb24", (8, 4): "rgba",
    (16, 1): "gray16be", (16, 2): "ya16be", (16, 3): "rgb48be", (16, 4): "rgba64be",
}  # fmt: skip

# Of Pillow: those that it reads itself. For others, PostScript among them, it starts external programs.
_PICTURE_FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "WEBP", "GIF", "TGA", "PPM", "PSD", "SGI", "JPEG2000")

Filter = Literal["box", "bilinear", "bicubic"]


def open_picture(source: str | os.PathLike[str] | BinaryIO) -> PillowImage:
    """Opens a picture with Pillow, in a format that needs no external program, whatever the file's name says.

    Args:
        source: path, or an open file.

    Raises:
        OSError: no such file, not a regular file, or no picture of these formats. Reading a damaged one raises nearly
            anything, here and later.
    """
    from PIL import Image

    if isinstance(source, str | os.PathLike):
        check_regular(source, PIXELS)
    Image.init()  # registers the formats; without it, only some can be named
    return Image.open(source, formats=_PICTURE_FORMATS)


class EqualByContent:
    """Base of dataclasses made with ``eq=False``: objects are equal if their classes and fields are.

    Arrays are compared bit for bit, with dtype and shape: NaN equals the same NaN, and 0 differs from -0. Other NaN
    values are equal. Objects cannot be hashed (TypeError), as their arrays may be written to; use ``digest()``, if
    there is one, or ``id()`` as a key.
    """

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return all(_same(getattr(self, f.name), getattr(other, f.name)) for f in fields(cast(Any, self)))


def _same(a: Any, b: Any) -> bool:
    if a is b:
        return True
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        alike = type(a) is type(b) and a.dtype == b.dtype and a.shape == b.shape
        return alike and bool(np.array_equal(_bits(a), _bits(b)))
    if type(a) is type(b) and isinstance(a, tuple | list):
        return len(a) == len(b) and all(map(_same, a, b))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_same(a[key], b[key]) for key in a)
    return bool(a == b) or bool(a != a and b != b)


def _bits(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)


def resize(
    values: np.ndarray, height: int, width: int, filter: Filter, box: tuple[float, float, float, float] | None = None
) -> np.ndarray:
    """Returns float32 `values` (H, W) at another size; when shrinking, the filter is widened to prevent aliasing.

    Args:
        filter: "box" (means of areas), "bilinear" (triangle), "bicubic" (Catmull-Rom; overshoots at edges).
        box: the part to resize, (left, top, right, bottom) in source pixels; by default everything.
    """
    from PIL import Image

    picture = Image.fromarray(np.ascontiguousarray(values, np.float32))
    return np.array(picture.resize((width, height), Image.Resampling[filter.upper()], box=box))


def resize_linear(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    """Returns linear (H, W, C) float32 pixels at a smaller size, as means of areas: no ringing, no aliasing."""
    if pixels.shape[:2] == (height, width):
        return pixels
    return np.stack([resize(pixels[..., k], height, width, "box") for k in range(pixels.shape[2])], axis=2)


def luma(rgb: np.ndarray) -> np.ndarray:
    """Returns the Rec. 709 weighted sum (...) of (..., 3) float32 pixels in any encoding."""
    return rgb @ np.array(REC709_WEIGHTS, np.float32)


def encode_png(
    codes: np.ndarray, *, texts: Mapping[str, str], chunks: Mapping[bytes, bytes | None] | None = None
) -> bytes:
    """Returns a PNG of (H, W, 1 to 4) uint8 or uint16 codes.

    By FFmpeg's encoder, because Pillow writes no 16-bit colour; further chunks are inserted after the header.

    Args:
        texts: key and value of tEXt chunks, Latin-1.
        chunks: further chunks by kind, in place of the encoder's own; None removes those.

    Raises:
        EngineError: the av package cannot encode it.
    """
    import av

    height, width, count = codes.shape
    bits = 8 * codes.dtype.itemsize
    try:
        encoder: Any = av.CodecContext.create("png", "w")
        encoder.width, encoder.height, encoder.pix_fmt = width, height, _PNG_FORMATS[bits, count]
        encoder.time_base = Fraction(1, 24)
        frame = av.VideoFrame(width, height, _PNG_FORMATS[bits, count])
        rows = codes.astype(">u2" if bits == 16 else np.uint8).reshape(height, -1).view(np.uint8)
        plane = frame.planes[0]
        padded = np.zeros((height, plane.line_size), np.uint8)
        padded[:, : rows.shape[1]] = rows
        plane.update(padded)
        png = b"".join(bytes(packet) for packet in [*encoder.encode(frame), *encoder.encode(None)])
    except (av.FFmpegError, ValueError) as error:
        raise EngineError(f"the av package cannot encode a {bits}-bit PNG ({error}): reinstall it") from error
    ours = dict(chunks or {})
    extra = b"".join(_png_chunk(kind, body) for kind, body in ours.items() if body is not None)
    for key, text in texts.items():
        extra += _png_chunk(b"tEXt", key.encode("latin-1") + b"\0" + text.encode("latin-1", "replace"))
    kept = (whole for kind, whole in _png_chunks(png, _PNG_HEADER) if kind not in ours)
    return png[:_PNG_HEADER] + extra + b"".join(kept)


def is_whole_png(png: bytes) -> bool:
    """Returns whether bytes are a PNG from its first to its last chunk, each with the right checksum."""
    if not png.startswith(PNG_SIGNATURE) or not png.endswith(_PNG_END):
        return False
    at = len(PNG_SIGNATURE)
    for _, whole in _png_chunks(png, at):
        at += len(whole)
        if whole[-4:] != struct.pack(">I", zlib.crc32(memoryview(whole)[4:-4])):
            return False
    return at == len(png)


def png_texts(png: bytes) -> dict[str, str]:
    """Returns the texts of a PNG's tEXt chunks by key."""
    texts = {}
    for kind, whole in _png_chunks(png, len(PNG_SIGNATURE)):
        if kind == b"tEXt":
            key, _, text = whole[8:-4].partition(b"\0")
            texts[key.decode("latin-1")] = text.decode("latin-1")
    return texts


def _png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _png_chunks(png: bytes, at: int) -> Iterator[tuple[bytes, bytes]]:
    """Yields kind and bytes, with length and checksum, of the chunks from a position on."""
    while at + 12 <= len(png):
        size = struct.unpack_from(">I", png, at)[0] + 12
        yield png[at + 4 : at + 8], png[at : at + size]
        at += size
