# SPDX-License-Identifier: Apache-2.0
"""One frame on disk: how it is encoded, and how its recipe is read back."""

import struct
import zlib
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from loopcore import __version__, color, exr
from loopcore.baking.recipe import Recipe, carried_attributes
from loopcore.errors import EngineError
from loopcore.plate import Plate

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_HASH_KEY, _TIME_KEY = "loopcore/recipe_hash", "loopcore/loop_time"
_END = struct.pack(">I", 0) + b"IEND" + struct.pack(">I", zlib.crc32(b"IEND"))
# pixel format of FFmpeg's PNG encoder by depth and number of channels
_PNG_FORMATS = {
    ("8", 1): "gray", ("8", 2): "ya8", ("8", 3): "rgb24", ("8", 4): "rgba",
    ("16", 1): "gray16be", ("16", 2): "ya16be", ("16", 3): "rgb48be", ("16", 4): "rgba64be",
}  # fmt: skip


def exr_attributes(plate: Plate, recipe: Recipe, time: int) -> dict[str, object]:
    """What is written into an EXR frame's header besides the pixels."""
    attributes = carried_attributes(plate)
    attributes["framesPerSecond"] = Fraction(recipe.fps)
    attributes["software"] = f"Loopcore {__version__}"
    attributes["loopcore/version"] = __version__
    attributes["loopcore/recipe"] = recipe.to_json()
    attributes[_HASH_KEY] = recipe.digest()
    attributes["loopcore/loop_frames"] = recipe.frames
    attributes[_TIME_KEY] = time
    return attributes


def write_frame(path: Path, canvas: np.ndarray, plate: Plate, recipe: Recipe, time: int) -> None:
    """Write one frame, (H, W, 4) with the plate's channels first, to `path` as the recipe says.

    An EXR has the plate's windows; a PNG, which knows none, shows the display window only.
    """
    channels = plate.channels
    if recipe.format == "png":
        straight = np.ascontiguousarray(canvas[plate.windows.shown][..., : len(channels)])
        path.write_bytes(_png(straight, plate, recipe, time))
        return
    if channels in (("R", "G", "B", "A"), ("R", "G", "B")):
        arrays = {"".join(channels): np.ascontiguousarray(canvas[..., : len(channels)])}
    else:
        arrays = {name: np.ascontiguousarray(canvas[..., k]) for k, name in enumerate(channels)}
    exr.write_exr(
        path, arrays, attributes=exr_attributes(plate, recipe, time), compression=recipe.compression,
        pixel_aspect=plate.pixel_aspect, windows=plate.windows,
    )


def _png(pixels: np.ndarray, plate: Plate, recipe: Recipe, time: int) -> bytes:
    """An sRGB PNG, alpha not premultiplied, with the recipe's hash and its time in it.

    FFmpeg's encoder knows 16 bits, which pillow does not; the chunks it does not write are put in after the header.
    """
    import av

    if plate.alpha_index is not None:
        pixels = color.unpremultiply(pixels, plate.alpha_index)
    codes = srgb_codes(pixels, plate, recipe.depth)
    if plate.alpha_index is not None:
        top = 255 if recipe.depth == "8" else 65535
        alpha = np.clip(np.nan_to_num(pixels[..., plate.alpha_index], posinf=1.0, neginf=0.0), 0, 1)
        codes[..., plate.alpha_index] = np.rint(alpha * top).astype(codes.dtype)
    height, width, count = codes.shape
    layout = _PNG_FORMATS[recipe.depth, count]
    try:
        encoder: Any = av.CodecContext.create("png", "w")
        encoder.width, encoder.height, encoder.pix_fmt = width, height, layout
        encoder.time_base = Fraction(1, 24)
        frame = av.VideoFrame(width, height, layout)
        rows = codes.astype(">u2" if recipe.depth == "16" else np.uint8).reshape(height, -1).view(np.uint8)
        plane = frame.planes[0]
        padded = np.zeros((height, plane.line_size), np.uint8)
        padded[:, : rows.shape[1]] = rows
        plane.update(padded)
        packets = [*encoder.encode(frame), *encoder.encode(None)]
    except (av.FFmpegError, ValueError) as error:
        raise EngineError(f"the av package cannot encode a {recipe.depth}-bit PNG ({error}): reinstall it") from error
    return _with_chunks(b"".join(bytes(p) for p in packets), plate, recipe, time)


def srgb_codes(straight: np.ndarray, plate: Plate, depth: str) -> np.ndarray:
    """A PNG's codes for this plate's pixels, alpha not premultiplied: in sRGB's primaries, what it cannot show clipped.

    NaN is 0. Alpha is encoded like the colours.
    """
    finite = np.nan_to_num(straight, nan=0.0, posinf=1.0, neginf=0.0)
    shown = color.to_srgb_primaries(finite, plate.channels, plate.colorspace, plate.metadata)
    return color.encode_8bit(shown) if depth == "8" else color.encode_16bit(shown)


def _with_chunks(png: bytes, plate: Plate, recipe: Recipe, time: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    extra = chunk(b"sRGB", b"\0")
    if plate.pixel_aspect != 1.0:
        extra += chunk(b"pHYs", struct.pack(">IIB", 10000, round(10000 * plate.pixel_aspect), 0))
    for key, text in ((_HASH_KEY, recipe.digest()), (_TIME_KEY, str(time))):
        extra += chunk(b"tEXt", f"{key}\0{text}".encode("latin-1"))
    # Ours replace the encoder's own pHYs; every other chunk stays.
    out, at = [png[:33], extra], 33
    while at < len(png):
        size = struct.unpack_from(">I", png, at)[0] + 12
        if png[at + 4 : at + 8] not in (b"pHYs", b"sRGB"):
            out.append(png[at : at + size])
        at += size
    return b"".join(out)


def is_current(path: Path, recipe: Recipe, number: int) -> bool:
    """Whether `path` holds, whole, the frame of this number by this recipe: not absent, torn, foreign or misplaced."""
    try:
        if path.suffix.lower() == ".png":
            texts: Mapping[str, object] = _png_texts(path.read_bytes())
        elif exr.is_complete(path):
            texts = exr.read_attributes(path)
        else:
            return False
    except (OSError, ValueError):
        return False
    return texts.get(_HASH_KEY) == recipe.digest() and str(texts.get(_TIME_KEY)) == str(recipe.time(number))


def _png_texts(png: bytes) -> dict[str, object]:
    """The texts in a whole PNG; none in one that is not."""
    texts: dict[str, object] = {}
    if not png.startswith(_PNG_SIGNATURE) or not png.endswith(_END):
        return texts
    at = len(_PNG_SIGNATURE)
    while at + 12 <= len(png):
        size, kind = struct.unpack_from(">I4s", png, at)
        if kind == b"tEXt":
            key, _, text = png[at + 8 : at + 8 + size].partition(b"\0")
            texts[key.decode("latin-1")] = text.decode("latin-1")
        at += size + 12
    return texts
