# SPDX-License-Identifier: Apache-2.0
"""Embedded ICC profiles: codes of Adobe RGB, Display P3, ProPhoto and the like to linear Rec.709, at any bit depth.

For profiles of curves and a matrix, as cameras, phones and editors embed them. Colours outside Rec.709 are not clipped:
they become negative. Profiles of lookup tables are left to the caller.
Source: ICC.1:2022, sections 7 to 10.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np

from loopcore import color

# White of the profile connection space: D50.
_PCS_WHITE = np.array([0.9642, 1.0, 0.8249])
_XYZ_TAGS = (b"rXYZ", b"gXYZ", b"bXYZ")
_CURVE_TAGS = (b"rTRC", b"gTRC", b"bTRC")


@dataclass(frozen=True, eq=False)
class Profile:
    """A matrix profile: curves from codes to light, a matrix from light to linear Rec.709 (None for grey)."""

    description: str
    curves: tuple[np.ndarray, ...]  # each (n,) light for evenly spaced codes, 0..1
    matrix: np.ndarray | None  # (3, 3) float32

    # As of `loopcore.plate.ocio.OcioSpace`.
    linear_space = color.LINEAR
    encoded = "srgb"

    def to_linear(self, values: np.ndarray) -> np.ndarray:
        """(H, W, C) uint8 or uint16 codes, or floats 0..1, a channel per curve, to float32 linear Rec.709 or grey."""
        light = np.empty(values.shape, np.float32)
        for index, curve in enumerate(self.curves):
            steps = np.linspace(0, 1, curve.size)
            if values.dtype.kind == "f":
                light[..., index] = np.interp(values[..., index], steps, curve)
            else:
                codes = np.linspace(0, 1, 1 << (8 * values.dtype.itemsize))
                light[..., index] = np.interp(codes, steps, curve).astype(np.float32)[values[..., index]]
        return light if self.matrix is None else light @ self.matrix.T

    def is_srgb(self) -> bool:
        """Whether it equals sRGB, which images without a profile have, within a step of 8 bits."""
        codes = np.linspace(0, 1, self.curves[0].size)
        same_curve = all(np.abs(color.linear_to_srgb(curve) - codes).max() < 1 / 255 for curve in self.curves)
        return same_curve and (self.matrix is None or bool(np.abs(self.matrix - np.eye(3)).max() < 5e-3))


def parse(data: bytes) -> Profile | None:
    """The profile, or None if `data` is damaged or a profile of lookup tables."""
    try:
        tags = _tags(data)
        kind = data[16:20]
        if kind == b"GRAY":
            return Profile(description(data), (_curve(tags[b"kTRC"]),), None)
        if kind != b"RGB " or data[20:24] != b"XYZ ":
            return None
        columns = [struct.unpack_from(">3i", tags[tag], 8) for tag in _XYZ_TAGS]
        to_pcs = np.array(columns, np.float64).T / 65536
        rec709 = color.rgb_to_xyz(color.PRIMARIES["rec709"])
        rec709_to_pcs = color.adaptation(rec709.sum(1), _PCS_WHITE) @ rec709
        matrix = np.linalg.solve(rec709_to_pcs, to_pcs).astype(np.float32)
        return Profile(description(data), tuple(_curve(tags[tag]) for tag in _CURVE_TAGS), matrix)
    except (KeyError, IndexError, ValueError, struct.error, np.linalg.LinAlgError):
        return None


def description(data: bytes) -> str:
    """The profile's description, or an empty text."""
    try:
        tag = _tags(data)[b"desc"]
        if tag[:4] == b"desc":
            (length,) = struct.unpack_from(">I", tag, 8)
            return tag[12 : 12 + length].split(b"\0")[0].decode("ascii", "replace").strip()
        if tag[:4] == b"mluc":
            length, offset = struct.unpack_from(">II", tag, 20)
            return tag[offset : offset + length].decode("utf-16-be", "replace").strip("\0 ")
    except (KeyError, struct.error):
        pass
    return ""


def _tags(data: bytes) -> dict[bytes, bytes]:
    if len(data) < 132 or data[36:40] != b"acsp":
        raise ValueError("not an ICC profile")
    (count,) = struct.unpack_from(">I", data, 128)
    tags = {}
    for index in range(min(count, 200)):
        name, offset, size = struct.unpack_from(">4sII", data, 132 + 12 * index)
        tags[name] = data[offset : offset + size]
    return tags


def _curve(tag: bytes, size: int = 16384) -> np.ndarray:
    """Light for `size` evenly spaced codes."""
    x = np.linspace(0, 1, size)
    if tag[:4] == b"curv":
        (count,) = struct.unpack_from(">I", tag, 8)
        if count == 0:
            return x
        entries = np.frombuffer(tag, ">u2", count, 12).astype(np.float64)
        return x ** (entries[0] / 256) if count == 1 else np.interp(x, np.linspace(0, 1, count), entries / 65535)
    if tag[:4] != b"para":
        raise ValueError(f"curve of type {tag[:4]!r}")
    (form,) = struct.unpack_from(">H", tag, 8)
    names = ("g", "gab", "gabc", "gabcd", "gabcdef")[form]
    numbers = struct.unpack_from(f">{len(names)}i", tag, 12)
    p = dict.fromkeys("abcdef", 0.0) | {"a": 1.0} | {n: v / 65536 for n, v in zip(names, numbers, strict=True)}
    if form in (1, 2):
        # Below the zero of the power's base the curve is the constant c, which is added above it too.
        base = np.maximum(p["a"] * x + p["b"], 0)
        return base ** p["g"] + p["c"]
    power = np.maximum(p["a"] * x + p["b"], 0) ** p["g"] + p["e"]
    return np.where(x >= p["d"], power, p["c"] * x + p["f"]) if form >= 3 else power
