# SPDX-License-Identifier: Apache-2.0
"""Plates: stills of any format as scene-linear float pixels, alpha premultiplied, with their metadata."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np

from loopcore import color, exr
from loopcore.errors import LoopcoreWarning, PlateError
from loopcore.exr.windows import WHOLE, Windows, checked_windows, place
from loopcore.files.regular import existing_file
from loopcore.image import EqualByContent
from loopcore.plate import chroma, ocio, psd, stills
from loopcore.plate import layers as layer_choice
from loopcore.plate.carried import CarriedLayers, carried_layers
from loopcore.plate.icc import Profile
from loopcore.plate.layers import Layer
from loopcore.plate.stills import Still

# Attributes of the file, not of the picture: they would be wrong in another file.
_NOT_CARRIED = frozenset(
    "name view multiView dwaCompressionLevel colorInteropID acesImageContainerFlag BlenderMultiChannel"
    " deepImageState idManifest hash".split()
)
_NOT_CARRIED_PREFIXES = ("loopcore/", "cryptomatte/", "oiio:")

# Names the picture among the layers of a frame.
OWN_LAYER = "loopcore/layer"

_STRIP_PIXELS = 1 << 20


@dataclass(frozen=True, eq=False)
class Plate(EqualByContent):
    """A still as scene-linear pixels.

    Plates are equal if their attributes are, pixels bit for bit; they cannot be hashed: use ``digest()`` as a key.

    Attributes:
        pixels: (H, W, C) float32 scene-linear, colour premultiplied if there is alpha; covers the display window and
            any overscan. Values above 1 and below 0, NaN and infinity are kept.
        channels: names of the last axis: ("R", "G", "B"), ("R", "G", "B", "A"), ("Y",) or ("Y", "A"), fewer if the file
            has fewer ("G",); other single channels keep their name ("mask",).
        colorspace: Color Interop Forum name of `pixels` (``lin_rec709_scene``); empty if unknown.
        encoded: encoding of the source: ``"srgb"`` for display images of 8 or 16 bits, else ``"linear"``.
        pixel_aspect: width over height of a pixel.
        windows: the window that `pixels` cover and the display window in it; by default both are the picture.
        metadata: attributes to copy to other files (owner, comments, framesPerSecond, chromaticities...), plain values
            that `loopcore.exr.write_exr` takes.
        source: the file that was read.
        layers: the layers that move with it, if any; `digest` leaves them out.

    Raises:
        PlateError: pixels, channels and windows do not match, or have invalid types.

    Convention:
        Row 0 is the top, x right, y down, pixel centres at integers.
    """

    pixels: np.ndarray
    channels: tuple[str, ...]
    colorspace: str = ""
    encoded: str = "linear"
    pixel_aspect: float = 1.0
    windows: Windows = WHOLE
    metadata: dict[str, object] = field(default_factory=dict)
    source: Path | None = None
    layers: CarriedLayers | None = None

    def __post_init__(self) -> None:
        pixels, count = self.pixels, len(self.channels)
        is_array = isinstance(pixels, np.ndarray)
        if (
            not is_array
            or pixels.ndim != 3
            or pixels.shape[2] != count
            or not pixels.size
            or pixels.dtype != np.float32
        ):
            found = f"{pixels.dtype} {pixels.shape}" if is_array else f"a {type(pixels).__name__}"
            raise PlateError(f"plate pixels are {found}: give (H, W, {count}) float32, one channel per name")
        if len(set(self.channels)) != len(self.channels):
            raise PlateError(f"plate channels {self.channels} are not unique")
        object.__setattr__(self, "windows", checked_windows(self.windows, *pixels.shape[:2]))

    @property
    def height(self) -> int:
        """Rows."""
        return int(self.pixels.shape[0])

    @property
    def width(self) -> int:
        """Columns."""
        return int(self.pixels.shape[1])

    @property
    def alpha_index(self) -> int | None:
        """Index of alpha in the last axis of `pixels`, or None."""
        return self.channels.index("A") if "A" in self.channels else None

    def displayed(self) -> Plate:
        """Return the plate cropped to its display window."""
        if not self.windows.overscan:
            return self
        pixels = np.ascontiguousarray(self.pixels[self.windows.shown])
        return replace(self, pixels=pixels, windows=WHOLE)

    def digest(self) -> str:
        """Return the SHA-256, in hex, of pixels, channels, colour space and windows. Takes 0.1 s at 4K."""
        # Not cached: the pixels may be written to.
        sha = hashlib.sha256(f"{self.pixels.shape} {self.channels} {self.colorspace}".encode())
        sha.update(np.ascontiguousarray(self.pixels).data)
        if self.windows != Windows.whole(self.height, self.width):
            sha.update(repr(self.windows).encode())
        return sha.hexdigest()


def read_plate(
    path: str | os.PathLike[str], *, layer: str | None = None, colorspace: str | None = None,
    layers: Sequence[str] = (), data: Sequence[str] = (),
) -> Plate:  # fmt: skip
    """Read a still as scene-linear float32.

    The format is detected from the file's content, not its name. EXR of any layout but deep is linear, unless
    ``colorInteropID`` names another encoding. 8-bit PNG, JPEG and WebP are sRGB, or decoded by their ICC profile, and
    rotated upright. All other formats, 16-bit PNG among them, need the optional OpenImageIO: integers are sRGB, floats
    linear, and DPX is film density if its header says so.

    Args:
        path: the file.
        layer: layer, part or view of an EXR file, see `plate.layers.choose_layer`; by default the main picture. Of a
            PSD file a layer or group by its path, `Group/Water`, on the document's canvas; by default its picture.
        colorspace: encoding of the stored values, instead of the file's: ``srgb_rec709_scene``, ``lin_rec709_scene``,
            another such name, ``cineon`` (film printing density) or ``data``; or a name of the configuration in
            ``$OCIO``, converted to its scene-linear role.
        layers: names of further layers, parts, views or channels of an EXR that are to move with it; "all" for all.
        data: those of them that hold data and no light, where their names do not say so.

    Returns:
        The plate, alpha premultiplied. Warns of a damaged JPEG where the decoder notices it (`LoopcoreWarning`).

    Raises:
        PlateError: the file is missing, damaged, of an unknown kind, or cannot be read without loss.
    """
    source = existing_file(path)
    layers, data = ((names,) if isinstance(names, str) else tuple(names) for names in (layers, data))
    try:
        space = None if colorspace is None else named_space(colorspace)
        with source.open("rb") as file:
            head = file.read(16)
        if not head:
            raise PlateError("it is empty")
        kind = stills.sniff(head)
        if kind == "EXR" or (not kind and source.suffix.lower() == ".exr"):
            return _read_exr_plate(source, layer, space or colorspace, layers, data)
        if further := (*layers, *data):
            raise PlateError(f"its layers cannot move together ({further[0]!r}): only those of EXR files can")
        if layer is not None and kind != "PSD":
            raise PlateError(f"it has no layer {layer!r}: only EXR and PSD files have layers")
        if layer is not None:
            still = psd.read_layer(source, layer, colorspace)
        elif kind == "PSD" and psd.is_installed() and not stills.has_openimageio():
            still = psd.read_flat(source, colorspace)
        else:
            still = stills.read_still(source, kind, colorspace)
        plate = still_plate(still if space is None else replace(still, profile=space), source)
        if kind == "JPEG" and stills.jpeg_is_damaged(source):
            warnings.warn(
                f"{source}: its JPEG data are damaged, and pixels may be wrong: save it again", LoopcoreWarning, 2
            )
        return plate
    except PlateError as error:
        if str(error).startswith(str(source)):
            raise
        raise PlateError(f"{source}: {error}") from error.__cause__
    except OSError as error:
        raise PlateError(f"{source} cannot be read: {error.strerror or error}") from error
    except MemoryError as error:
        raise PlateError(f"{source}: not enough memory for its pixels") from error


def named_space(colorspace: str) -> ocio.OcioSpace | None:
    """Return the colour space of that name in $OCIO, or None for a name that Loopcore decodes itself, which come first.

    Raises:
        PlateError: it is unknown.
    """
    try:
        color.check_colorspace(colorspace)
        return None
    except PlateError:
        space = ocio.find_space(colorspace)
        if space is None:
            raise
        return space


def _read_exr_plate(
    source: Path, layer: str | None, colorspace: str | ocio.OcioSpace | None, further: Sequence[str],
    data: Sequence[str],
) -> Plate:  # fmt: skip
    parts = exr.read_exr(source)
    # Frames of several layers say which one is the picture.
    own = parts[0].attributes.get(OWN_LAYER)
    chosen = layer_choice.choose_layer(parts, layer or (own if isinstance(own, str) else None))
    part = chosen.part
    # Attributes of the whole file are in its first part.
    attributes = {**parts[0].attributes, **part.attributes}
    windows = Windows.around(part.display_window, part.data_window)
    pixels, channels = _layer_pixels(chosen, attributes)
    encoding = colorspace or _exr_colorspace(attributes)
    if further and (isinstance(encoding, ocio.OcioSpace) or not color.is_linear(encoding)):
        name = encoding.name if isinstance(encoding, ocio.OcioSpace) else encoding
        raise PlateError(f"its pixels are encoded as {name}: layers are carried of linear files only")
    if isinstance(encoding, ocio.OcioSpace):
        pixels = _decoded(pixels, channels, encoding.to_linear)
    elif not color.is_linear(encoding):
        pixels = _decoded(pixels, channels, partial(color.decode, colorspace=encoding))
    carried = {
        name: value
        for name, value in attributes.items()
        if name not in _NOT_CARRIED and not name.startswith(_NOT_CARRIED_PREFIXES)
    }
    return Plate(
        pixels=place(pixels, part.data_window, windows.data),
        channels=channels,
        colorspace=_linear_space(encoding),
        encoded=_encoded(encoding),
        pixel_aspect=part.pixel_aspect,
        windows=windows,
        metadata=exr.writable(carried),
        source=source,
        layers=carried_layers(parts, chosen, channels, further, data) if further else None,
    )


def _exr_colorspace(attributes: dict[str, object]) -> str:
    # In the order that the Color Interop Forum prescribes; chromaticities alone do not name a space.
    if attributes.get("acesImageContainerFlag") == 1:
        return "lin_ap0_scene"
    named = attributes.get("colorInteropID")
    return named if isinstance(named, str) and named != "unknown" else ""


def _layer_pixels(layer: Layer, attributes: dict[str, object]) -> tuple[np.ndarray, tuple[str, ...]]:
    """(h, w, C) float32 pixels of the data window, channels in a plate's order."""
    found = {short: layer.part.channels[full] for short, full in layer.channels.items()}
    if layer.kind == "ycc":
        names: tuple[str, ...] = ("R", "G", "B")
    elif layer.kind == "rgb":
        names = tuple(name for name in "RGB" if name in found)
    else:
        names = ("Y",) if layer.kind == "y" else tuple(found)
    if "A" in found and "A" not in names:
        names = (*names, "A")
    width, height = exr.window_size(layer.part.data_window)
    pixels = np.empty((height, width, len(names)), np.float32)
    if layer.kind == "ycc":
        pixels[..., :3] = _chroma_pixels(found, attributes)
    for index, name in enumerate(names):
        if layer.kind == "ycc" and name in "RGB":
            continue
        if found[name].shape != (height, width):
            raise PlateError(f"its channel {layer.channels[name]!r} is subsampled: only RY and BY are supported")
        pixels[..., index] = found[name]
    return pixels, names


def _chroma_pixels(found: dict[str, np.ndarray], attributes: dict[str, object]) -> np.ndarray:
    y, ry, by = (found[name] for name in ("Y", "RY", "BY"))
    half = (y.shape[0] // 2, y.shape[1] // 2)
    if ry.shape != by.shape or ry.shape not in (y.shape, half):
        raise PlateError(
            f"its chroma is {ry.shape} and {by.shape} for a luminance of {y.shape}: give full or half size"
        )
    chromaticities = attributes.get("chromaticities", color.PRIMARIES["rec709"])
    weights = color.rgb_to_xyz(chromaticities)[1]  # type: ignore[arg-type]
    weights = weights / weights.sum()
    if abs(weights[1]) < 1e-6:
        raise PlateError(f"its chromaticities {chromaticities} give green no luminance")
    return chroma.to_rgb(y, ry, by, weights)


def still_plate(still: Still, source: Path) -> Plate:
    """Return a still's pixels as a plate, linear and premultiplied."""
    return Plate(
        pixels=_still_pixels(still),
        channels=still.channels,
        colorspace=_linear_space(still.profile or still.encoding),
        encoded=_encoded(still.profile or still.encoding),
        pixel_aspect=still.pixel_aspect,
        metadata=exr.writable(still.metadata),
        source=source,
    )


def _still_pixels(still: Still) -> np.ndarray:
    """Stored values as linear float32, premultiplied in linear light; in strips, to save memory."""
    values = still.values
    if "A" not in still.channels and still.profile is None:
        is_code = values.dtype.kind == "u"
        decoded = color.decode_codes(values, still.encoding) if is_code else color.decode(values, still.encoding)
        return np.ascontiguousarray(decoded, np.float32)
    pixels = np.empty(values.shape, np.float32)
    rows = max(1, _STRIP_PIXELS // values.shape[1])
    for start in range(0, len(values), rows):
        strip = slice(start, start + rows)
        _decode_strip(replace(still, values=values[strip]), pixels[strip])
    return pixels


def _decode_strip(still: Still, out: np.ndarray) -> None:
    """Writes some rows of a still as linear, premultiplied float32; see `_still_pixels`."""
    values, profile = still.values, still.profile
    if "A" not in still.channels:
        assert profile is not None
        out[:] = profile.to_linear(values)
        return
    top = np.float32(np.iinfo(values.dtype).max if values.dtype.kind == "u" else 1)
    alpha = out[..., -1:]
    np.divide(values[..., -1:], top, out=alpha, dtype=np.float32)
    if still.associated:
        # The codes are premultiplied: divide by alpha before decoding, unless they are linear.
        stored = values.astype(np.float32) / top
        if profile is None and color.is_linear(still.encoding):
            out[:] = stored
            return
        straight = color.unpremultiply(stored)[..., :-1]
        decoded = profile.to_linear(straight) if profile is not None else color.decode(straight, still.encoding)
    elif profile is not None:
        decoded = profile.to_linear(values[..., :-1])
    elif values.dtype.kind == "u":
        decoded = color.decode_codes(values[..., :-1], still.encoding)
    else:
        decoded = color.decode(values[..., :-1], still.encoding)
    np.multiply(decoded, alpha, out=out[..., :-1])


def _decoded(pixels: np.ndarray, channels: tuple[str, ...], decode: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Premultiplied, encoded EXR pixels as premultiplied linear ones."""
    if "A" not in channels:
        return decode(pixels).astype(np.float32, copy=False)
    straight = color.unpremultiply(pixels)
    straight[..., :-1] = decode(straight[..., :-1])
    # Pixels of alpha 0 were not divided: light that adds to the background stays.
    alpha = np.where(pixels[..., -1:] > 0, pixels[..., -1:], 1)
    straight[..., :-1] *= alpha
    return straight


def _linear_space(encoding: str | Profile | ocio.OcioSpace) -> str:
    return color.linear_space(encoding) if isinstance(encoding, str) else encoding.linear_space


def _encoded(encoding: str | Profile | ocio.OcioSpace) -> str:
    if not isinstance(encoding, str):
        return encoding.encoded
    return "linear" if color.is_linear(encoding) or encoding == color.CINEON else "srgb"
