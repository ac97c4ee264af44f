# SPDX-License-Identifier: Apache-2.0
"""One frame on disk: encoding it, and checking whether it is up to date and whole.

An EXR frame stores a checksum of its pixels: the CRC-32 of the little-endian samples of R, G, B (and A) pixel by pixel,
else of one channel after the other in the order of their names. Lossy compression changes them, so such a frame has
none. A PNG has one for each of its chunks anyway.
"""

import struct
import sys
import zlib
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path

import numpy as np

from loopcore import __version__, color, exr
from loopcore.baking.recipe import Recipe, plate_attributes
from loopcore.files.regular import PIXELS, read_regular
from loopcore.image import encode_png, is_whole_png, png_texts
from loopcore.plate import Plate

_HASH_KEY, _TIME_KEY, _CHECKSUM_KEY = "loopcore/recipe_hash", "loopcore/loop_time", "loopcore/pixels_crc32"
_GROUPS = (("R", "G", "B", "A"), ("R", "G", "B"))  # channels that are written together


def _exr_attributes(plate: Plate, recipe: Recipe, time: int) -> dict[str, object]:
    """Returns the header attributes of an EXR frame."""
    attributes = plate_attributes(plate)
    attributes["framesPerSecond"] = Fraction(recipe.fps)
    attributes["software"] = f"Loopcore {__version__}"
    attributes["loopcore/version"] = __version__
    attributes["loopcore/recipe"] = recipe.to_json()
    attributes[_HASH_KEY] = recipe.digest()
    attributes["loopcore/loop_frames"] = recipe.frames
    attributes[_TIME_KEY] = time
    return attributes


def write_frame(path: Path, canvas: np.ndarray, plate: Plate, recipe: Recipe, time: int) -> None:
    """Writes one frame in the recipe's format and depth.

    Args:
        path: the file.
        canvas: (H, W, 4), the plate's channels first; scene-linear, alpha premultiplied.
        plate: gives the channels, windows and metadata. An EXR has the plate's windows, a PNG the display window only.
        recipe: stored with its hash in the frame.
        time: loop time of the frame, 0 to N - 1.
    """
    channels = plate.channels
    if recipe.format == "png":
        straight = np.ascontiguousarray(canvas[plate.windows.shown][..., : len(channels)])
        path.write_bytes(_png(straight, plate, recipe, time))
        return
    if channels in _GROUPS:
        arrays = {"".join(channels): np.ascontiguousarray(canvas[..., : len(channels)])}
    else:
        arrays = {name: np.ascontiguousarray(canvas[..., k]) for k, name in enumerate(channels)}
    checksum = {} if recipe.lossy else {_CHECKSUM_KEY: _checksum(arrays)}
    exr.write_exr(
        path,
        arrays,
        attributes=_exr_attributes(plate, recipe, time) | checksum,
        compression=recipe.compression,
        pixel_aspect=plate.pixel_aspect,
        windows=plate.windows,
    )


def _checksum(arrays: Mapping[str, np.ndarray]) -> str:
    """Returns the checksum of the arrays of a file as 8 hexadecimal digits."""
    state = 0
    for _, values in sorted(arrays.items()):
        little = values if sys.byteorder == "little" else values.astype(values.dtype.newbyteorder("<"))
        state = zlib.crc32(np.ascontiguousarray(little).data, state)
    return f"{state:08x}"


def damage(path: Path) -> str:
    """Returns what is wrong with a frame's file and pixels; "" where they are as written. Decodes the file.

    Frames without a checksum, of lossy compression or older versions, need only decode.

    Args:
        path: the file.
    """
    try:
        if path.suffix.lower() == ".png":
            return "" if is_whole_png(path.read_bytes()) else f"{path}: its data are damaged"
        exr.check_packed(path)
        part = exr.read_exr(path)[0]
    except (OSError, ValueError) as error:
        return str(error)
    stored, arrays = part.attributes.get(_CHECKSUM_KEY), part.channels
    group = next((names for names in _GROUPS if arrays.keys() == set(names)), None)
    if stored is not None and group is not None:
        arrays = {"".join(group): np.stack([arrays[name] for name in group], axis=-1)}
    return "" if stored in (None, _checksum(arrays)) else f"{path}: its pixels differ from its checksum"


def _png(pixels: np.ndarray, plate: Plate, recipe: Recipe, time: int) -> bytes:
    """Returns an sRGB PNG with straight alpha, which stores the recipe's hash and the loop time."""
    if plate.alpha_index is not None:
        pixels = color.unpremultiply(pixels, plate.alpha_index)
    codes = srgb_codes(pixels, plate, recipe.depth)
    if plate.alpha_index is not None:
        top = 255 if recipe.depth == "8" else 65535
        alpha = np.clip(np.nan_to_num(pixels[..., plate.alpha_index], posinf=1.0, neginf=0.0), 0, 1)
        codes[..., plate.alpha_index] = np.rint(alpha * top).astype(codes.dtype)
    aspect = struct.pack(">IIB", 10000, round(10000 * plate.pixel_aspect), 0) if plate.pixel_aspect != 1.0 else None
    texts = {_HASH_KEY: recipe.digest(), _TIME_KEY: str(time)}
    return encode_png(codes, texts=texts, chunks={b"sRGB": b"\0", b"pHYs": aspect})


def srgb_codes(straight: np.ndarray, plate: Plate, depth: str) -> np.ndarray:
    """Returns the PNG codes of a plate's pixels: converted to sRGB primaries, clipped and encoded.

    Args:
        straight: (H, W, C) scene-linear, alpha not premultiplied. NaN becomes 0.
        plate: gives the channels and colour space.
        depth: "8" or "16".

    Returns:
        (H, W, C) uint8 or uint16. Alpha is encoded like the colours.
    """
    finite = np.nan_to_num(straight, nan=0.0, posinf=1.0, neginf=0.0)
    shown = color.to_srgb_primaries(finite, plate.channels, plate.colorspace, plate.metadata)
    return color.encode_8bit(shown) if depth == "8" else color.encode_16bit(shown)


def is_current(path: Path, recipe: Recipe, number: int, verify: bool = False) -> bool:
    """Returns whether a frame is up to date: a complete file with the recipe's hash and the right loop time.

    Args:
        path: the file; it may be missing.
        recipe: the bake's recipe.
        number: frame number.
        verify: also decode the pixels and compare their checksum.
    """
    try:
        if path.suffix.lower() == ".png":
            png = read_regular(path, PIXELS)
            texts: Mapping[str, object] = png_texts(png) if is_whole_png(png) else {}
        elif exr.is_complete(path):
            texts = exr.read_attributes(path)
        else:
            return False
    except (OSError, ValueError):
        return False
    current = texts.get(_HASH_KEY) == recipe.digest() and str(texts.get(_TIME_KEY)) == str(recipe.time(number))
    return current and not (verify and damage(path))
