# SPDX-License-Identifier: Apache-2.0
"""Transfer curves, colour-space names, and display pictures of scene-linear pixels.

Colour spaces have the names of the Color Interop Forum (``srgb_rec709_scene``, ``lin_ap1_scene``), which OpenEXR files
store as ``colorInteropID``: a curve, then primaries. Pixels inside Loopcore are linear; this module decodes and encodes
them, codes of 8 and 16 bits by tables, which are fast and give the same bytes on every machine.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from loopcore.errors import PlateError
from loopcore.image import REC709_WEIGHTS

SRGB = "srgb_rec709_scene"
LINEAR = "lin_rec709_scene"
CINEON = "cineon"

# x and y of red, green, blue and white: ITU-R BT.709 and BT.2020, SMPTE EG 432-1 (P3), Adobe RGB (1998),
# SMPTE ST 2065-1 and Academy S-2014-004 (ACES).
_D65 = (0.3127, 0.3290)
PRIMARIES: dict[str, tuple[float, ...]] = {
    "rec709": (0.64, 0.33, 0.30, 0.60, 0.15, 0.06, *_D65),
    "rec2020": (0.708, 0.292, 0.170, 0.797, 0.131, 0.046, *_D65),
    "p3d65": (0.680, 0.320, 0.265, 0.690, 0.150, 0.060, *_D65),
    "adobergb": (0.64, 0.33, 0.21, 0.71, 0.15, 0.06, *_D65),
    "ap0": (0.7347, 0.2653, 0.0, 1.0, 0.0001, -0.0770, 0.32168, 0.33767),
    "ap1": (0.713, 0.293, 0.165, 0.830, 0.128, 0.044, 0.32168, 0.33767),
    "ciexyzd65": (1.0, 0.0, 0.0, 1.0, 0.0, 0.0, *_D65),
}
_GAMMAS = {"g18": 1.8, "g22": 2.2, "g24": 2.4}
_NOT_COLOR = ("data", "unknown", "")

# Encoding tables: exponent and 9 bits of mantissa of a float32 of 0..1 are the index of a piece of the curve.
_CUT = 14
_PIECES = (0x3F800000 >> _CUT) + 1
_BLOCK = 1 << 16


def srgb_to_linear(x: Any) -> np.ndarray:
    """sRGB code values (0..1) to linear light, IEC 61966-2-1; extended above 1, and mirrored below 0."""
    x = _floats(x)
    magnitude = np.abs(x)
    return np.copysign(np.where(magnitude <= 0.04045, magnitude / 12.92, ((magnitude + 0.055) / 1.055) ** 2.4), x)


def linear_to_srgb(x: Any) -> np.ndarray:
    """Linear light to sRGB code values (0..1), IEC 61966-2-1; extended above 1, and mirrored below 0."""
    x = _floats(x)
    magnitude = np.abs(x)
    curve = 1.055 * magnitude ** (1 / 2.4) - 0.055
    return np.copysign(np.where(magnitude <= 0.0031308, magnitude * 12.92, curve), x)


def cineon_to_linear(x: Any) -> np.ndarray:
    """Printing density of scanned film (0..1 for codes 0..1023) to linear light, 1.0 at code 685, 0.0 at code 95.

    Kodak, "Conversion of 10-bit Log Film Data to 8-bit Linear or Video Data" (1995): 0.002 density per code, gamma 0.6.
    """
    code = _floats(x) * 1023
    black = 10 ** ((95 - 685) * 0.002 / 0.6)
    return (10 ** ((code - 685) * (0.002 / 0.6)) - black) / (1 - black)


def _floats(x: Any) -> np.ndarray:
    x = np.asarray(x)
    return x if x.dtype in (np.float32, np.float64) else x.astype(np.float32)


def is_linear(colorspace: str) -> bool:
    """Whether values need no decoding: ``lin_*``, ``data``, unknown and empty names."""
    return _curve(colorspace) is None


def linear_space(colorspace: str) -> str:
    """Name of a colour space once decoded: ``srgb_ap1_scene`` -> ``lin_ap1_scene``; empty for ``cineon``."""
    if colorspace == CINEON or colorspace == "unknown":
        return ""
    curve = _curve(colorspace)
    return colorspace if curve is None else f"lin_{colorspace.split('_')[1]}_scene"


def check_colorspace(colorspace: str) -> str:
    """Return `colorspace` if it can be decoded.

    Raises:
        PlateError: its curve or primaries are unknown.
    """
    curve, _, rest = colorspace.partition("_")
    known = curve in ("lin", "srgb", *_GAMMAS) and rest.partition("_")[0] in PRIMARIES and rest.endswith("_scene")
    if not known and colorspace not in (CINEON, "data", "unknown"):
        raise PlateError(
            f"colour space {colorspace!r} is unknown: give {SRGB}, {LINEAR}, another lin_, srgb_ or g22_ name"
            f" ({', '.join(PRIMARIES)}), {CINEON}, data, or a name of the configuration in $OCIO"
        )
    return colorspace


def decode(x: Any, colorspace: str) -> np.ndarray:
    """Values (0..1) stored in `colorspace` to linear light; a copy unless they are linear already."""
    curve = _curve(colorspace)
    if curve is None:
        return _floats(x)
    if curve == "srgb":
        return srgb_to_linear(x)
    if curve == CINEON:
        return cineon_to_linear(x)
    x = _floats(x)
    return np.copysign(np.abs(x) ** _GAMMAS[curve], x)


def _curve(colorspace: str) -> str | None:
    head = colorspace.partition("_")[0]
    return head if head in ("srgb", CINEON, *_GAMMAS) else None


@functools.lru_cache(maxsize=16)
def decode_table(bits: int, colorspace: str = SRGB) -> np.ndarray:
    """Linear float32 value of each of the 2**bits codes; read-only."""
    table = decode(np.arange(1 << bits) / ((1 << bits) - 1), colorspace).astype(np.float32)
    table.flags.writeable = False
    return table


def decode_codes(codes: np.ndarray, colorspace: str = SRGB) -> np.ndarray:
    """uint8 or uint16 codes, any shape, to linear float32.

    Raises:
        PlateError: the codes have another type.
    """
    if codes.dtype not in (np.uint8, np.uint16):
        raise PlateError(f"codes are {codes.dtype}: give uint8 or uint16")
    return decode_table(codes.dtype.itemsize * 8, colorspace)[codes]


def encode_8bit(linear: np.ndarray) -> np.ndarray:
    """Linear light, any shape, to sRGB codes 0..255 (uint8), clipped to 0..1; NaN is 0. Undoes `decode_codes`."""
    return _encode(linear, 255, np.uint8)


def encode_16bit(linear: np.ndarray) -> np.ndarray:
    """Linear light, any shape, to sRGB codes 0..65535 (uint16), clipped to 0..1; NaN is 0. Undoes `decode_codes`."""
    return _encode(linear, 65535, np.uint16)


@functools.lru_cache(maxsize=2)
def _encode_pieces(top: int) -> tuple[np.ndarray, np.ndarray]:
    """Offset and slope of the line that approximates the sRGB curve in each piece of the float32 range 0..1.

    Pieces are 2^-9 of their value wide; with float32 rounding the error is at most 0.01 of a 16-bit code.
    """
    edges = (np.arange(_PIECES + 1, dtype=np.uint32) << np.uint32(_CUT)).view(np.float32).astype(np.float64)
    values = linear_to_srgb(edges) * top
    slope = np.diff(values) / np.diff(edges)
    return (values[:-1] - slope * edges[:-1] + 0.5).astype(np.float32), slope.astype(np.float32)


def _encode(linear: np.ndarray, top: int, dtype: type) -> np.ndarray:
    offset, slope = _encode_pieces(top)
    flat = np.ascontiguousarray(linear, np.float32).reshape(-1)
    codes: np.ndarray = np.empty(flat.shape, dtype)
    for start in range(0, flat.size, _BLOCK):  # blocks stay in the cache
        block = np.fmin(np.fmax(flat[start : start + _BLOCK], np.float32(0)), np.float32(1))  # these drop NaN
        piece = block.view(np.uint32) >> np.uint32(_CUT)
        block *= slope.take(piece)
        block += offset.take(piece)
        codes[start : start + _BLOCK] = block
    return codes.reshape(np.shape(linear))


def premultiply(pixels: np.ndarray, alpha_index: int = -1) -> np.ndarray:
    """(H, W, C) float pixels with every channel but alpha multiplied by it; a new array."""
    result = pixels * pixels[..., alpha_index, None]
    result[..., alpha_index] = pixels[..., alpha_index]
    return result


def unpremultiply(pixels: np.ndarray, alpha_index: int = -1) -> np.ndarray:
    """(H, W, C) float pixels with all but alpha divided by it, where alpha is above 0; a new array."""
    alpha = pixels[..., alpha_index, None]
    result = pixels / np.where(alpha > 0, alpha, alpha.dtype.type(1))
    result[..., alpha_index] = pixels[..., alpha_index]
    return result


def luminance(pixels: np.ndarray, channels: Sequence[str] | None = None) -> np.ndarray:
    """(H, W) luminance of (H, W, C) linear pixels: Rec.709 weights for R, G, B; a single colour channel unchanged.

    `channels` names the last axis: by default Y, YA, RGB or RGBA, from the number of channels.
    """
    indices = _color_indices(pixels, channels)
    if len(indices) == 1:
        return pixels[..., next(iter(indices.values()))]
    weights = {name: weight for name, weight in zip("RGB", REC709_WEIGHTS, strict=True) if name in indices}
    total = sum(weights.values())
    first, *rest = weights.items()
    result = pixels[..., indices[first[0]]] * np.float32(first[1] / total)
    for name, weight in rest:
        result += pixels[..., indices[name]] * np.float32(weight / total)
    return result


def contrast_weights(channels: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Weights of at most 4 `channels` for contrast preservation: two (4,) float32, 0 beyond the channels.

    The first is their weight in luminance (Rec.709 for R, G, B), the second 1 for those whose detail is scaled: never
    for alpha.
    """
    indices = {name: index for index, name in enumerate(channels)}
    known = [name for name in "RGB" if name in indices] or (["Y"] if "Y" in indices else [])
    colors = known or [name for name in channels if name != "A"]
    weights, scaled = np.zeros(4, np.float32), np.zeros(4, np.float32)
    for name in colors or channels:
        weights[indices[name]] = dict(zip("RGB", REC709_WEIGHTS, strict=True)).get(name, 1 / len(colors or channels))
    scaled[[indices[name] for name in colors]] = 1
    return weights, scaled


def _color_indices(pixels: np.ndarray, channels: Sequence[str] | None) -> dict[str, int]:
    if pixels.ndim != 3:
        raise PlateError(f"pixels have shape {pixels.shape}: give (H, W, C)")
    if channels is None:
        channels = {1: "Y", 2: "YA", 3: "RGB", 4: "RGBA"}.get(pixels.shape[2], ())
    if len(channels) != pixels.shape[2]:
        raise PlateError(f"pixels of shape {pixels.shape} do not have the channels {tuple(channels)}")
    indices = {name: index for index, name in enumerate(channels)}
    if any(name in indices for name in "RGB"):
        return {name: indices[name] for name in "RGB" if name in indices}
    colors = {name: index for name, index in indices.items() if name != "A"} or indices
    name, index = next(iter(colors.items()))
    return {name: index}


def rgb_to_xyz(chromaticities: Sequence[float]) -> np.ndarray:
    """3x3 matrix from linear RGB with these primaries and white (8 numbers) to XYZ, white at Y = 1. SMPTE RP 177."""
    corners = np.asarray(chromaticities, np.float64).reshape(4, 2)
    if not np.all(np.isfinite(corners)) or corners[3, 1] == 0:
        raise PlateError(f"chromaticities {tuple(chromaticities)} are not valid")
    primaries = np.stack([corners[:3, 0], corners[:3, 1], 1 - corners[:3].sum(1)])
    x, y = corners[3]
    if abs(np.linalg.det(primaries)) < 1e-9:
        raise PlateError(f"chromaticities {tuple(chromaticities)} are not valid: the primaries lie on a line")
    return primaries * np.linalg.solve(primaries, np.array([x / y, 1.0, (1 - x - y) / y]))


# Bradford cone responses, as ICC.1:2022 annex E uses them.
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])


def adaptation(white: np.ndarray, target: np.ndarray) -> np.ndarray:
    """3x3 matrix that adapts XYZ from the white point `white` (XYZ) to `target`. Bradford."""
    gains = (_BRADFORD @ target) / (_BRADFORD @ white)
    return np.asarray(np.linalg.inv(_BRADFORD) @ (gains[:, None] * _BRADFORD))


def to_rec709(chromaticities: Sequence[float]) -> np.ndarray:
    """3x3 matrix from linear RGB with these primaries to linear Rec.709, white to white.

    SMPTE RP 177 for the matrices; different white points, as ACES' (near D60) and D65, are adapted by Bradford.
    """
    source, target = rgb_to_xyz(chromaticities), rgb_to_xyz(PRIMARIES["rec709"])
    adapted = adaptation(source.sum(1), target.sum(1)) @ source
    return np.asarray(np.linalg.solve(target, adapted))


def display_exposure(pixels: np.ndarray, channels: Sequence[str] | None = None) -> float:
    """Factor that brings linear pixels into a display's range; 1.0 for those that already fill it.

    Otherwise middle grey (0.18) over the log-average luminance, after Reinhard et al. (SIGGRAPH 2002).
    """
    step = max(1, int((pixels.shape[0] * pixels.shape[1] / 250_000) ** 0.5))
    light = luminance(pixels[::step, ::step], channels)
    light = light[np.isfinite(light) & (light > 0)].astype(np.float64)
    if not light.size or 0.1 <= np.percentile(light, 99.5) <= 1.5:
        return 1.0
    return float(np.clip(0.18 / np.exp(np.log(light).mean()), 1e-6, 1e6))


def display_image(pixels: Any, channels: Sequence[str] | None = None, *, exposure: float | None = None) -> np.ndarray:
    """(H, W, 3) uint8 sRGB picture of a plate, or of (H, W, C) linear pixels, for viewing. Not for output.

    Premultiplied colour is shown over black, a single channel as grey, NaN as black. Exposure 1.0 clips values at
    white; any other, by default that of `display_exposure`, also rolls off the highlights.
    """
    colorspace, metadata, encoded = "", {}, "linear"
    if not isinstance(pixels, np.ndarray):
        plate = pixels
        pixels, channels = plate.pixels, plate.channels
        colorspace, metadata, encoded = plate.colorspace, plate.metadata, plate.encoded
    if exposure is None:
        exposure = 1.0 if encoded != "linear" else display_exposure(pixels, channels)
    indices = _color_indices(pixels, channels)
    if any(name in indices for name in "RGB"):
        rgb = np.zeros((*pixels.shape[:2], 3), np.float32)
        for name, index in indices.items():
            rgb[..., "RGB".index(name)] = pixels[..., index]
        if len(indices) == 3:
            rgb = to_srgb_primaries(rgb, "RGB", colorspace, metadata)
    else:
        rgb = np.repeat(pixels[..., list(indices.values())], 3, axis=2).astype(np.float32)
    if exposure != 1.0:
        with np.errstate(over="ignore", invalid="ignore"):
            rgb = _rolled_off(rgb * np.float32(exposure))
    return encode_8bit(rgb)


def to_srgb_primaries(
    pixels: np.ndarray, channels: Sequence[str], colorspace: str, metadata: Mapping[str, object]
) -> np.ndarray:
    """(H, W, C) linear pixels with R, G and B converted to sRGB's primaries, for a display or a file tagged sRGB.

    Converts from the primaries of the colour space, else from the metadata's chromaticities. Returns the same array if
    they are sRGB's or unknown, or if there is no RGB. Colours outside sRGB are not clipped, and leave 0..1.
    """
    matrix = _display_matrix(colorspace, metadata.get("chromaticities"))
    if matrix is None or not set("RGB") <= set(channels):
        return pixels
    rgb = [list(channels).index(name) for name in "RGB"]
    result = pixels.copy()
    with np.errstate(over="ignore", invalid="ignore"):
        result[..., rgb] = pixels[..., rgb] @ matrix.T
    return result


def _display_matrix(colorspace: str, chromaticities: Any) -> np.ndarray | None:
    name = colorspace.split("_")[1] if colorspace.count("_") == 2 else ""
    found = PRIMARIES.get(name, chromaticities if colorspace in _NOT_COLOR else None)
    if found is None or np.allclose(found, PRIMARIES["rec709"], atol=1e-3):
        return None
    try:
        return to_rec709(found).astype(np.float32)
    except PlateError:
        return None


def _rolled_off(rgb: np.ndarray, knee: float = 0.8) -> np.ndarray:
    """Values above `knee` compressed exponentially towards 1; NaN stays."""
    above = np.maximum(rgb - knee, 0)
    return np.where(rgb > knee, 1 - (1 - knee) * np.exp(-above / (1 - knee)), rgb).astype(np.float32)
