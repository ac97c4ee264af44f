# SPDX-License-Identifier: Apache-2.0
"""Stills other than EXR, as stored: 8-bit PNG, JPEG and WebP by Pillow, all others by OpenImageIO.

Formats are detected from content, not from names. Pillow silently reduces 16-bit colour to 8 bits, so that
a PNG's depth is read from its header first.
"""

from __future__ import annotations

import importlib.util
import io
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from loopcore import color
from loopcore.errors import PlateError, first_line
from loopcore.exr.layout import MAX_PIXELS
from loopcore.files.regular import open_regular, utf8_name
from loopcore.plate.icc import Profile, description, parse

if TYPE_CHECKING:
    from loopcore.plate.ocio import OcioSpace

INSTALL = 'pip install "loopcore[openimageio]"'
_EXIF_TEXTS = {0x8298: "owner", 0x013B: "owner", 0x010E: "comments"}  # copyright, artist, description
_PNG_TEXTS = {"Copyright": "owner", "Author": "owner", "Description": "comments", "Comment": "comments"}
# For OpenImageIO's formats these only serve messages.
_SIGNATURES = (
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x76\x2f\x31\x01", "EXR"),
    (b"SDPX", "DPX"),
    (b"XPDS", "DPX"),
    (b"8BPS", "PSD"),
    (b"#?R", "HDR"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),
    (b"MM\0+", "TIFF"),
    (b"\0\0\0\x0cjP  \r\n", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
)
# Brands of ISO base media files (ISO/IEC 23008-12), of which no library here reads all depths.
_BRANDS = {b"avif": "AVIF", b"avis": "AVIF", b"heic": "HEIC", b"heix": "HEIC", b"mif1": "HEIF"}
_PILLOW_FORMATS = {"PNG": ("PNG",), "JPEG": ("JPEG", "MPO"), "WebP": ("WEBP",)}


@dataclass(frozen=True, eq=False)
class Still:
    """Pixels as a file stores them, upright, and their encoding.

    Attributes:
        values: (H, W, C) uint8, uint16 or float32.
        channels: ("Y",), ("Y", "A"), ("R", "G", "B") or ("R", "G", "B", "A").
        encoding: colour-space name of `values`, alpha aside; empty for linear values of unknown primaries.
        profile: decodes the values, instead of `encoding`: the file's, or a colour space of OpenColorIO.
        associated: whether the stored colour is premultiplied.
    """

    values: np.ndarray
    channels: tuple[str, ...]
    encoding: str
    profile: Profile | OcioSpace | None = None
    associated: bool = False
    pixel_aspect: float = 1.0
    metadata: dict[str, object] = field(default_factory=dict)


def sniff(head: bytes) -> str:
    """Format of a file by its first 16 bytes: ``"EXR"``, ``"PNG"``... or ``""``."""
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WebP"
    if head[4:8] == b"ftyp" and head[8:12] in _BRANDS:
        return _BRANDS[head[8:12]]
    return next((name for signature, name in _SIGNATURES if head.startswith(signature)), "")


def format_of(path: Path) -> str:
    """Format of a file by its content; see `sniff`.

    Raises:
        OSError: it cannot be opened.
    """
    with open_regular(path) as file:
        return sniff(file.read(16))


def read_still(path: Path, kind: str, colorspace: str | None = None) -> Still:
    """Read a still of the format `kind`, as `sniff` names it; a `colorspace` overrides what the file says.

    Raises:
        PlateError: it cannot be read. The message does not name the path.
        OSError: nor can it be opened.
    """
    if kind in _BRANDS.values():
        raise PlateError(f"it is a {kind} file, which cannot be read: save it as TIFF, 16-bit PNG or EXR")
    if kind in _PILLOW_FORMATS and not (kind == "PNG" and png_depth(path) == 16):
        return _read_with_pillow(path, kind, colorspace)
    return _read_with_oiio(path, "16-bit PNG" if kind == "PNG" else kind, colorspace)


def png_depth(path: Path) -> int:
    """Bits of a sample from the header of a PNG file; 0 if the header is damaged."""
    with path.open("rb") as file:
        head = file.read(25)
    return head[24] if len(head) == 25 and head[12:16] == b"IHDR" else 0


def _read_with_pillow(path: Path, kind: str, colorspace: str | None) -> Still:
    from PIL import Image, ImageOps

    try:
        with Image.open(path, formats=_PILLOW_FORMATS[kind]) as image:
            metadata = _texts(image)
            aspect = _pillow_aspect(image)
            turned = image.getexif().get(0x0112, 1) in (5, 6, 7, 8)
            upright = ImageOps.exif_transpose(image)
            still = _still_of(upright, image.info.get("icc_profile"), colorspace, metadata)
            return replace(still, pixel_aspect=1 / aspect if turned else aspect)
    except PlateError:
        raise
    except Image.DecompressionBombError as error:
        raise PlateError(f"it is too large for Pillow ({error}): save it as EXR or TIFF") from error
    except Exception as error:  # OSError, SyntaxError, struct.error, EOFError and more
        raise PlateError(f"its {kind} data are damaged: {first_line(error)}") from error


def jpeg_is_damaged(path: Path) -> bool:
    """Whether FFmpeg's decoder notices damage in a JPEG: 200 zeroed bytes in a third of files. Pillow's never tells.

    Entropy coding gives most wrong bytes a meaning, in WebP all, so that nothing is noticed there.
    """
    import av

    try:
        decoder = av.CodecContext.create("mjpeg", "r")
        decoder.options = {"err_detect": "explode"}
        decoder.decode(av.Packet(path.read_bytes()))
        decoder.decode(None)
    except av.InvalidDataError:
        return True
    except (av.FFmpegError, OSError, ValueError):
        return False  # a kind of JPEG that FFmpeg does not know
    return False


def _still_of(image: Any, icc: bytes | None, colorspace: str | None, metadata: dict[str, object]) -> Still:
    if image.mode == "CMYK":
        image, icc = _cmyk_to_srgb(image, icc), None
    mode = _plain_mode(image)
    values = np.asarray(image.convert(mode) if image.mode != mode else image)
    values = values[..., None] if values.ndim == 2 else values
    channels = {"L": ("Y",), "LA": ("Y", "A")}.get(mode, tuple(mode))
    profile = None
    if icc and colorspace is None:
        profile, values = with_profile(icc, values, channels, metadata)
    return Still(values, channels, colorspace or color.SRGB, profile, metadata=metadata)


def _plain_mode(image: Any) -> str:
    """Which of L, LA, RGB and RGBA holds `image` without loss."""
    transparent = "transparency" in image.info
    if image.mode in ("1", "L", "LA"):
        return "LA" if image.mode == "LA" or transparent else "L"
    if image.mode in ("P", "PA"):
        has_alpha = image.mode == "PA" or transparent or image.palette.mode == "RGBA"
        return "RGBA" if has_alpha else "RGB"
    if image.mode in ("RGB", "RGBA", "RGBX", "YCbCr"):
        return "RGBA" if image.mode == "RGBA" or transparent else "RGB"
    raise PlateError(f"its pixel format {image.mode} cannot be read without loss: save it as EXR")


def with_profile(
    icc: bytes, values: np.ndarray, channels: tuple[str, ...], metadata: dict[str, object]
) -> tuple[Profile | None, np.ndarray]:
    """The profile to decode with, if any, and the values, converted to sRGB if the profile has lookup tables."""
    profile = parse(icc)
    name = profile.description if profile else description(icc)
    colors = len(channels) - ("A" in channels)
    if profile is not None and len(profile.curves) == colors:
        if profile.is_srgb():
            return None, values
        metadata["iccProfile"] = name or "unnamed"
        return profile, values
    if colors != 3 or icc[16:20] != b"RGB " or icc[36:40] != b"acsp":
        return None, values  # damaged, or for another kind of image: ignored
    if values.dtype != np.uint8:
        raise PlateError(f"its ICC profile {name!r} has lookup tables for 8 bits: convert the image to sRGB first")
    metadata["iccProfile"] = name or "unnamed"
    return None, _tables_to_srgb(icc, values)


def _tables_to_srgb(icc: bytes, values: np.ndarray) -> np.ndarray:
    from PIL import Image, ImageCms

    try:
        source, target = ImageCms.ImageCmsProfile(io.BytesIO(icc)), ImageCms.createProfile("sRGB")
        rgb = Image.fromarray(np.ascontiguousarray(values[..., :3]))
        converted = ImageCms.profileToProfile(rgb, source, target, ImageCms.Intent.RELATIVE_COLORIMETRIC)
    except (ImageCms.PyCMSError, OSError, ValueError) as error:
        raise PlateError(f"its ICC profile cannot be used ({first_line(error)}): convert it to sRGB first") from error
    return np.concatenate([np.asarray(converted), values[..., 3:]], axis=2)


def _cmyk_to_srgb(image: Any, icc: bytes | None) -> Any:
    from PIL import ImageCms

    if not icc:
        raise PlateError("it is CMYK without an ICC profile of its inks: convert it to RGB first")
    try:
        source, target = ImageCms.ImageCmsProfile(io.BytesIO(icc)), ImageCms.createProfile("sRGB")
        intent = ImageCms.Intent.RELATIVE_COLORIMETRIC
        return ImageCms.profileToProfile(image, source, target, intent, outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError) as error:
        raise PlateError(f"its CMYK profile cannot be used ({first_line(error)}): convert it to RGB first") from error


def _pillow_aspect(image: Any) -> float:
    # PNG has an aspect or dots per inch; JPEG's density without a unit (0) is an aspect.
    density = image.info.get("aspect") or image.info.get("dpi") or image.info.get("jfif_density")
    return _aspect_of(density)


def _aspect_of(density: Any) -> float:
    """Width over height of a pixel from dots per length across and down; 1.0 if those are invalid."""
    try:
        across, down = (float(number) for number in density)
        aspect = down / across
    except (TypeError, ValueError, ZeroDivisionError):
        return 1.0
    return aspect if 0.25 <= aspect <= 4 and abs(aspect - 1) > 1e-3 else 1.0


def _texts(image: Any) -> dict[str, object]:
    """Owner, comments and date of the image, under the names of EXR attributes."""
    exif = image.getexif()
    found = [(name, exif.get(tag)) for tag, name in _EXIF_TEXTS.items()]
    found += [(name, image.info.get(key)) for key, name in _PNG_TEXTS.items()]
    found.append(("capDate", exif.get_ifd(0x8769).get(0x9003)))
    texts: dict[str, object] = {}
    for name, value in found:
        text = value.strip("\0 \n") if isinstance(value, str) else ""
        if text:
            texts.setdefault(name, text.replace("\0", " "))
    return texts


def _read_with_oiio(path: Path, kind: str, colorspace: str | None) -> Still:
    try:
        import OpenImageIO as oiio
    except ImportError as error:
        what = f"it is a {kind}" if kind else "it is not an EXR, PNG, JPEG or WebP"
        raise PlateError(f"{what}, which needs OpenImageIO: {INSTALL}") from error

    if kind == "PSD":
        _check_psd(path)
    wanted = oiio.ImageSpec()
    # Alpha unassociated: it is multiplied here, in linear light.
    wanted.attribute("oiio:UnassociatedAlpha", 1)
    source = oiio.ImageInput.open(utf8_name(path), wanted)
    if source is None:
        raise PlateError(f"it cannot be read: {_oiio_reason(oiio)}")
    try:
        spec = source.spec()
        if spec.deep or spec.depth > 1:
            raise PlateError("it is deep or a volume, not a still")
        if spec.width < 1 or spec.height < 1 or spec.width * spec.height > MAX_PIXELS:
            raise PlateError(f"its size is {spec.width}x{spec.height} pixels: give 1 to {MAX_PIXELS} pixels")
        stored = str(spec.format)
        if stored.startswith("int"):
            raise PlateError(f"its pixels are signed integers ({stored}): save it as half or float")
        layout = {"uint8": "uint8", "uint16": "uint16", "uint32": "uint16"}.get(stored, "float")
        values = source.read_image(0, 0, 0, spec.nchannels, layout)
        if values is None:
            raise PlateError(f"its pixels are damaged: {_oiio_reason(source)}")
        shaped = np.asarray(values).reshape(spec.height, spec.width, spec.nchannels)
        return _oiio_still(shaped, spec, colorspace)
    finally:
        source.close()


def has_openimageio() -> bool:
    """Whether OpenImageIO is installed."""
    return importlib.util.find_spec("OpenImageIO") is not None


def _check_psd(path: Path) -> None:
    # OpenImageIO silently converts inks to RGB by a rough formula.
    with path.open("rb") as file:
        head = file.read(26)
    mode = int.from_bytes(head[24:26], "big")
    names = {4: "CMYK", 7: "multichannel", 8: "duotone", 9: "Lab"}
    if mode in names:
        raise PlateError(f"it is {names[mode]}: convert it to RGB first")


def _oiio_still(values: np.ndarray, spec: Any, colorspace: str | None) -> Still:
    def attribute(name: str) -> Any:
        return spec.getattribute(name)

    if attribute("tiff:PhotometricInterpretation") == 5:
        raise PlateError("it is CMYK: convert it to RGB first")
    channels, indices = _oiio_channels(spec)
    values = np.ascontiguousarray(values[..., indices])
    metadata: dict[str, object] = {}
    for name, key in (("Copyright", "owner"), ("Artist", "owner"), ("ImageDescription", "comments")):
        if isinstance(attribute(name), str) and attribute(name).strip():
            metadata.setdefault(key, attribute(name).strip())
    encoding, profile = colorspace or _oiio_encoding(values, spec), None
    icc = attribute("ICCProfile")
    if icc is not None and colorspace is None and values.dtype != np.float32:
        profile, values = with_profile(bytes(np.asarray(icc, np.uint8)), values, channels, metadata)
    orientation = int(attribute("Orientation") or 1)
    aspect = attribute("PixelAspectRatio")
    aspect = _aspect_of((1.0, aspect)) if aspect else 1.0
    return Still(
        _upright(values, orientation),
        channels,
        encoding,
        profile,
        associated="A" in channels and not attribute("oiio:UnassociatedAlpha"),
        pixel_aspect=1 / aspect if orientation in (5, 6, 7, 8) else aspect,
        metadata=metadata,
    )


def _oiio_channels(spec: Any) -> tuple[tuple[str, ...], list[int]]:
    names = [name.upper() for name in spec.channelnames]
    colors: tuple[str, ...]
    alpha = [spec.alpha_channel] if 0 <= spec.alpha_channel < spec.nchannels else []
    if all(name in names for name in "RGB"):
        colors, picked = ("R", "G", "B"), [names.index(name) for name in "RGB"]
    elif "Y" in names or spec.nchannels - len(alpha) == 1:
        colors, picked = ("Y",), [names.index("Y") if "Y" in names else next(iter({0, 1} - set(alpha)))]
    else:
        raise PlateError(f"it holds no colour, only the channels {', '.join(spec.channelnames)}")
    return (*colors, *("A" for _ in alpha)), picked + alpha


def _oiio_encoding(values: np.ndarray, spec: Any) -> str:
    """Floats are linear, integers sRGB, DPX by the transfer in its header."""
    transfer = spec.getattribute("dpx:Transfer")
    if transfer is not None:
        if transfer in ("Printing density", "Logarithmic"):
            return color.CINEON
        if transfer == "Linear":
            return ""
        raise PlateError(
            f"its DPX header gives the transfer as {transfer!r}, which does not define an encoding:"
            f" give its colour space with colorspace=, for instance {color.CINEON} or {color.SRGB}"
        )
    if values.dtype != np.float32:
        return color.SRGB
    return color.LINEAR if spec.getattribute("oiio:ColorSpace") == color.LINEAR else ""


def _upright(values: np.ndarray, orientation: int) -> np.ndarray:
    """Undo a camera's rotation or mirroring, by the EXIF and TIFF orientation number."""
    if orientation in (5, 6, 7, 8):
        values = values.transpose(1, 0, 2)
    flips = {2: (1,), 3: (0, 1), 4: (0,), 6: (1,), 7: (0, 1), 8: (0,)}.get(orientation, ())
    return np.ascontiguousarray(np.flip(values, flips)) if flips or orientation == 5 else values


def _oiio_reason(source: Any) -> str:
    try:
        reason = source.geterror()
    except UnicodeDecodeError:  # damaged headers end up in the message
        reason = ""
    return reason.splitlines()[0][:200] if reason else "no known image format"
