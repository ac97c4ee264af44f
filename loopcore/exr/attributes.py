# SPDX-License-Identifier: Apache-2.0
"""OpenEXR header attributes: bytes of a file -> plain Python values -> values that the bindings write correctly.

The bindings infer an attribute's type from the Python value, and for many they are wrong or fail: 24 instead of a
rational for ``framesPerSecond``, 0 for integers beyond 31 bits, nothing for lists of integers, an error for numpy
scalars, an unreadable file for Latin-1 text. Here each type has one Python value, for reading and writing:

=================== =======================================================================
in the file         in Python
=================== =======================================================================
int, float, double  ``int``, ``float``
string              ``str`` (UTF-8, else taken as Latin-1)
rational            ``fractions.Fraction``
v2i .. v3d          tuple of 2 or 3 numbers
box2i, box2f        ``((x_min, y_min), (x_max, y_max))``
m33f .. m44d        tuple of rows
chromaticities      8-tuple: red, green, blue, white, each x then y
stringvector        ``list[str]``
floatvector         ``list[float]``
timecode            ``"HH:MM:SS:FF"`` (``;`` before the frames when frames are dropped)
keycode             7-tuple of ``int``
envmap              ``"latlong"`` or ``"cube"``
=================== =======================================================================
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import numpy as np

from loopcore.errors import PlateError

# Attributes that describe the file's structure: the caller cannot set them.
STRUCTURAL = frozenset(
    "channels compression dataWindow displayWindow lineOrder pixelAspectRatio screenWindowCenter screenWindowWidth"
    " tiles type version chunkCount maxSamplesPerPixel preview".split()
)
# Attributes that the OpenEXR standard defines as float: an int would be written as int, which readers ignore.
_FLOATS = frozenset(
    "altitude aperture expTime focus isoSpeed latitude longitude utcOffset whiteLuminance xDensity"
    " effectiveFocalLength entrancePupilOffset nominalFocalLength pinholeFocalLength shutterOpen shutterClose"
    " tStop".split()
)
_RATIONALS = frozenset({"framesPerSecond", "captureRate"})
_ENVMAPS = ("latlong", "cube")

_NUMBERS = {
    "int": "<i", "float": "<f", "double": "<d",
    "v2i": "<2i", "v2f": "<2f", "v2d": "<2d", "v3i": "<3i", "v3f": "<3f", "v3d": "<3d",
    "chromaticities": "<8f", "keycode": "<7i",
}  # fmt: skip
_BOXES = {"box2i": "<4i", "box2f": "<4f"}
_MATRICES = {"m33f": ("<9f", 3), "m33d": ("<9d", 3), "m44f": ("<16f", 4), "m44d": ("<16d", 4)}


def text(data: bytes) -> str:
    """Return header text as str: UTF-8, else Latin-1, which older cameras and scanners write."""
    return data.decode("utf-8" if is_utf8(data) else "latin-1")


def is_utf8(data: bytes) -> bool:
    """Return whether `data` is valid UTF-8 text."""
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def decode(kind: str, data: bytes) -> Any:
    """Return the value of an attribute of type `kind`; None for types without a plain value (previews, opaque data).

    Raises:
        struct.error: the data are too short or too long for the type.
    """
    if kind == "string":
        return text(data)
    if kind in _NUMBERS:
        numbers = struct.unpack(_NUMBERS[kind], data)
        return numbers if len(numbers) > 1 else numbers[0]
    if kind in _BOXES:
        x_min, y_min, x_max, y_max = struct.unpack(_BOXES[kind], data)
        return (x_min, y_min), (x_max, y_max)
    if kind in _MATRICES:
        layout, side = _MATRICES[kind]
        cells = struct.unpack(layout, data)
        return tuple(cells[row * side : (row + 1) * side] for row in range(side))
    if kind == "rational":
        numerator, denominator = struct.unpack("<iI", data)
        return Fraction(numerator, denominator) if denominator else None
    if kind == "timecode":
        return _decode_timecode(struct.unpack("<2I", data)[0])
    if kind == "envmap":
        (index,) = struct.unpack("<B", data)
        return _ENVMAPS[index] if index < len(_ENVMAPS) else None
    if kind == "floatvector":
        return list(struct.unpack(f"<{len(data) // 4}f", data))
    if kind == "stringvector":
        return _decode_strings(data)
    return None


def _decode_strings(data: bytes) -> list[str]:
    strings, at = [], 0
    while at < len(data):
        (length,) = struct.unpack_from("<i", data, at)
        if length < 0 or at + 4 + length > len(data):
            raise struct.error(f"string of {length} bytes in an attribute of {len(data)}")
        strings.append(text(data[at + 4 : at + 4 + length]))
        at += 4 + length
    return strings


def _decode_timecode(packed: int) -> str | None:
    # SMPTE 12M: binary-coded decimals, frames lowest; bit 6 of the frames is the drop-frame flag.
    def field(shift: int, tens_bits: int) -> int:
        return (packed >> shift & 15) + 10 * (packed >> (shift + 4) & ((1 << tens_bits) - 1))

    separator = ";" if packed >> 6 & 1 else ":"
    spelt = f"{field(24, 2):02d}:{field(16, 3):02d}:{field(8, 3):02d}{separator}{field(0, 2):02d}"
    return spelt if _timecode_fields(spelt) else None


def encode_all(attributes: Mapping[str, object]) -> dict[str, Any]:
    """Return attributes as values that the OpenEXR bindings store with the right types.

    Raises:
        PlateError: an EXR header cannot hold a name or value, or the bindings would store it wrongly.
    """
    return {_checked_name(name): _encode(name, value) for name, value in attributes.items()}


def _checked_name(name: object) -> str:
    if not isinstance(name, str) or not name or "\0" in name:
        raise PlateError(f"EXR attribute name {name!r}: give a non-empty text")
    if name in STRUCTURAL:
        raise PlateError(f"EXR attribute {name!r} is set from the image: leave it out of the attributes")
    try:
        size = len(name.encode("utf-8"))
    except UnicodeEncodeError as error:
        raise PlateError(f"EXR attribute name {name!r} is not valid Unicode text") from error
    if size > 255:
        raise PlateError(f"EXR attribute name {name[:40]!r}... has {size} bytes: the format allows 255")
    return name


def _encode(name: str, value: object) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, np.ndarray):
        value = _nested_tuple(value.tolist())
    if name in _RATIONALS:
        return _encode_rational(name, value)
    if name == "timeCode":
        return _encode_timecode(value)
    if name == "keyCode" and isinstance(value, tuple | list) and len(value) == 7:
        import OpenEXR

        return OpenEXR.KeyCode(*(_whole(name, item) for item in value))
    if name == "envmap" and value in _ENVMAPS:
        import OpenEXR

        return OpenEXR.ENVMAP_LATLONG if value == "latlong" else OpenEXR.ENVMAP_CUBE
    if name == "chromaticities":
        if not isinstance(value, tuple | list) or len(value) != 8:
            raise PlateError(
                f"EXR attribute chromaticities is {value!r}: give 8 numbers, x and y of each primary and white"
            )
        return tuple(_real(name, item) for item in value)
    if isinstance(value, tuple | list):
        return _encode_series(name, value)
    return _encode_scalar(name, value)


def _encode_scalar(name: str, value: object) -> Any:
    if isinstance(value, str):
        try:
            value.encode("utf-8")
        except UnicodeEncodeError as error:
            raise PlateError(f"EXR attribute {name!r} is not valid Unicode text: {value[:40]!r}") from error
        return value
    if isinstance(value, Fraction):
        return _encode_rational(name, value)
    if isinstance(value, int) and name not in _FLOATS:
        return _whole(name, value)
    if isinstance(value, int | float):
        return _real(name, value)
    raise PlateError(f"EXR attribute {name!r} is a {type(value).__name__}, {value!r:.60}: store it as text")


def _encode_series(name: str, value: tuple[Any, ...] | list[Any]) -> Any:
    items = [item.item() if isinstance(item, np.generic) else item for item in value]
    if not items:
        raise PlateError(f"EXR attribute {name!r} is empty: leave it out")
    if all(isinstance(item, str) for item in items):
        return [_encode_scalar(name, item) for item in items]
    if all(isinstance(item, tuple | list) for item in items):
        return _encode_rows(name, items)
    if isinstance(value, tuple) and len(items) in (2, 3):
        if all(isinstance(item, int) for item in items):
            return tuple(_whole(name, item) for item in items)
        return tuple(_real(name, item) for item in items)
    return [_real(name, item) for item in items]


def _encode_rows(name: str, rows: list[Any]) -> Any:
    sides = {len(rows), *(len(row) for row in rows)}
    if sides == {2}:
        return tuple(_encode_series(name, tuple(row)) for row in rows)
    if sides in ({3}, {4}):
        return np.array([[_real(name, item) for item in row] for row in rows], np.float32)
    raise PlateError(f"EXR attribute {name!r} has rows of {sorted(sides)} items: give 2x2, 3x3 or 4x4")


def _nested_tuple(value: Any) -> Any:
    return tuple(_nested_tuple(item) for item in value) if isinstance(value, list) else value


def _whole(name: str, value: object) -> int:
    if not isinstance(value, int) or not -(2**31) <= value < 2**31:
        raise PlateError(f"EXR attribute {name!r} is {value!r}: EXR integers have 32 bits; store it as text")
    return int(value)


def _real(name: str, value: object) -> float:
    if not isinstance(value, int | float):
        raise PlateError(f"EXR attribute {name!r} holds {value!r}: give numbers")
    number = float(value)
    if math.isfinite(number) and abs(number) > float(np.finfo(np.float32).max):
        raise PlateError(f"EXR attribute {name!r} is {number!r}: beyond what a 32-bit float holds; store it as text")
    return number


def _encode_rational(name: str, value: object) -> Fraction:
    if isinstance(value, tuple) and len(value) == 2 and all(isinstance(item, int) for item in value) and value[1]:
        value = Fraction(*value)
    if isinstance(value, float) and math.isfinite(value):
        # 23.976, 29.97, 59.94 stand for N * 1000 / 1001.
        ntsc = Fraction(round(value * 1.001) * 1000, 1001)
        is_ntsc = value != round(value) and abs(value - ntsc) < 5e-4
        value = ntsc if is_ntsc else Fraction(value).limit_denominator(100_000)
    if not isinstance(value, int | Fraction):
        raise PlateError(f"EXR attribute {name!r} is {value!r}: give a number or a fractions.Fraction")
    rate = Fraction(value)
    if not -(2**31) <= rate.numerator < 2**31 or rate.denominator >= 2**31:
        raise PlateError(f"EXR attribute {name!r} is {rate}: its terms must fit in 32 bits")
    return rate


def _timecode_fields(value: object) -> tuple[int, int, int, int, bool] | None:
    match = re.fullmatch(r"(\d\d):([0-5]\d):([0-5]\d)([:;])(\d\d)", value) if isinstance(value, str) else None
    if match is None or int(match[1]) > 23 or int(match[5]) > 29:
        return None
    return int(match[1]), int(match[2]), int(match[3]), int(match[5]), match[4] == ";"


def _encode_timecode(value: object) -> Any:
    fields = _timecode_fields(value)
    if fields is None:
        raise PlateError(f"EXR attribute timeCode is {value!r}: give HH:MM:SS:FF, frames at most 29")
    import OpenEXR

    return OpenEXR.TimeCode(*fields, *[0] * 13)
