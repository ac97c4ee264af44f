# SPDX-License-Identifier: Apache-2.0
"""The one guarded door to OpenEXR: every EXR that Loopcore reads or writes goes through here.

The OpenEXR bindings (3.4.14 to 3.5) trust their caller, and this module does not trust them:

- Arrays that are not C-contiguous are written wrong, in silence; arrays of one or two channels in the last axis
  become three channels of stray memory. Here every channel is a checked, contiguous 2-D array.
- A write that runs out of room in its last buffer reports no error. Here the file is looked at once more.
- A damaged file opens without an error and with parts missing, after memory for whatever its header claims was
  taken. Here the header and the place of every chunk are checked first (`loopcore._exr_layout`), and the parts
  counted afterwards.
- Header text that is not UTF-8 makes the whole file unreadable. Here such a file is read through a cleaned copy.
- Attributes are stored with the wrong type or not at all (`loopcore._exr_attributes`).
- The dict of channels handed over is altered. Here it is one of our own.
- For a chunk that will not decode they ``print`` a warning: dropped, because a worker speaks a protocol on stdout.
  What C code itself says about it on stderr (HTJ2K on stdout too) stays: only redirecting the descriptor of the whole
  process would hide it, and swallow what other threads say. Files cut short never get that far.

Memory: the bindings read whole files only, all parts and channels.
"""

from __future__ import annotations

import contextlib
import os
import struct
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from loopcore import _exr_attributes, _exr_layout
from loopcore._exr_layout import MAGIC, FileLayout, PartLayout, Window, window_size
from loopcore.errors import PlateError, SequenceError

__all__ = [
    "COMPRESSIONS",
    "MAGIC",
    "ExrPart",
    "Window",
    "existing_file",
    "is_complete",
    "read_attributes",
    "read_exr",
    "window_size",
    "writable",
    "write_exr",
]

COMPRESSIONS = (
    *("none", "rle", "zips", "zip", "piz", "pxr24", "b44", "b44a", "dwaa", "dwab"),
    *("htj2k256", "htj2k32", "zstd"),
)
_DTYPES = (np.float16, np.float32, np.uint32)

# The largest finite half: beyond it, and half a step, float16 is infinite.
HALF_MAX = 65504.0


def as_stored(pixels: np.ndarray, dtype: type) -> np.ndarray:
    """A copy as float16 or float32. Finite values are clamped to the range of half; NaN and Inf stay."""
    with np.errstate(over="ignore", invalid="ignore"):
        stored: np.ndarray = pixels.astype(dtype)
        if dtype == np.float16:
            over = np.isinf(stored)
            if over.any():
                np.copyto(stored, np.copysign(np.float16(HALF_MAX), stored), where=over & np.isfinite(pixels))
    return stored


@dataclass(frozen=True, eq=False)
class ExrPart:
    """One part of an EXR file, pixels as stored.

    Attributes:
        channels: full channel name -> (h, w) float16, float32 or uint32 covering the data window; a channel
            subsampled by (x, y) is (h / y, w / x).
        data_window, display_window: (x_min, y_min, x_max, y_max), inclusive, y down.
        pixel_aspect: width over height of a pixel.
        attributes: every other attribute, as plain Python values (see `loopcore._exr_attributes`).
    """

    name: str
    channels: dict[str, np.ndarray]
    data_window: Window
    display_window: Window
    pixel_aspect: float
    compression: str
    attributes: dict[str, object] = field(default_factory=dict)


def existing_file(path: str | os.PathLike[str]) -> Path:
    """`path` as a Path to a file that is there.

    Raises:
        PlateError: it is missing, a folder, no regular file, or not a path at all.
    """
    try:
        source = Path(path)
        if source.is_dir():
            raise PlateError(f"{source} is a folder: give a file")
        if not source.exists():
            raise PlateError(f"{source} does not exist")
        if not source.is_file():
            raise PlateError(f"{source} is not a regular file")
    except (TypeError, ValueError, OSError) as error:
        if isinstance(error, PlateError):
            raise
        raise PlateError(f"{path!r} is not a path to a file: {error}") from error
    return source


def read_exr(path: str | os.PathLike[str]) -> list[ExrPart]:
    """Read all parts of an EXR file, pixels as stored: scan lines or tiles (the largest level), any compression.

    Raises:
        PlateError: the file is missing, damaged, cut short, deep, absurdly large, or the library cannot decode it.
    """
    source = existing_file(path)
    layout = _checked_layout(source)
    for part in layout.parts:
        if part.kind == "deep":
            raise PlateError(f"{source}: its part {part.name!r} holds deep pixels: flatten it first")
    try:
        _exr_layout.check_chunks(source, layout)
        with _text_cleaned(source, layout) as readable:
            decoded = _decode(readable)
    except PlateError as error:
        raise PlateError(f"{source}: {error}") from error.__cause__
    except OSError as error:
        raise PlateError(f"{source} cannot be read: {error.strerror or error}") from error
    if len(decoded) != len(layout.parts):
        lost = len(layout.parts) - len(decoded)
        raise PlateError(f"{source}: the pixels of {lost} of its {len(layout.parts)} parts are damaged")
    return [_part(source, part, pixels) for part, pixels in zip(layout.parts, decoded, strict=True)]


def read_attributes(path: str | os.PathLike[str]) -> dict[str, object]:
    """Header of the first part as plain Python values, no pixels: about a tenth of a millisecond.

    Besides the file's own attributes: ``dataWindow`` and ``displayWindow`` (x_min, y_min, x_max, y_max),
    ``pixelAspectRatio``, ``compression`` (a name that `write_exr` takes) and ``channels`` (tuple of names).

    Raises:
        PlateError: the file is missing, not an EXR, or its header is damaged.
    """
    part = _checked_layout(existing_file(path)).parts[0]
    return {
        **part.attributes,
        "dataWindow": part.data_window,
        "displayWindow": part.display_window,
        "pixelAspectRatio": part.pixel_aspect,
        "compression": part.compression_name,
        "channels": tuple(channel.name for channel in part.channels),
    }


def is_complete(path: str | os.PathLike[str]) -> bool:
    """Whether `path` is an EXR file whose header parses and whose every chunk lies whole inside it.

    Decodes no pixels, so that a flipped bit goes unnoticed. Never raises.
    """
    try:
        source = Path(path)
        layout = _exr_layout.read_layout(source)
        _exr_layout.check_sizes(layout)
        _exr_layout.check_chunks(source, layout)
    except (OSError, ValueError, TypeError, OverflowError, MemoryError, struct.error):
        return False
    return True


def writable(attributes: Mapping[str, object]) -> dict[str, object]:
    """Those of `attributes` that `write_exr` can store, in their order."""
    kept = {}
    for name, value in attributes.items():
        with contextlib.suppress(PlateError):
            _exr_attributes.encode_all({name: value})
            kept[name] = value
    return kept


def write_exr(
    path: str | os.PathLike[str],
    channels: Mapping[str, np.ndarray],
    *,
    attributes: Mapping[str, object] | None = None,
    compression: str = "zip",
    pixel_aspect: float = 1.0,
    threads: int = 1,
) -> None:
    """Write one scan-line part straight to `path`; data window and display window are the image.

    Args:
        channels: name -> (H, W) float16, float32 or uint32. Or the single key ``"RGB"`` or ``"RGBA"`` -> (H, W, 3 or 4)
            float16 or float32, which is written without a copy when it is C-contiguous.
        attributes: plain Python values, see `loopcore._exr_attributes`.
        compression: one of `COMPRESSIONS`.
        threads: handed to the library, from 3.5 on, for compressing; the bytes do not depend on it. The 3.5.3 wheels
            gain nothing by it: several files written from several threads do go side by side.

    Raises:
        PlateError: channels, attributes or settings that cannot be written.
        SequenceError: the disk refused the file or took only a part of it; what lies at `path` is worthless then.
    """
    arrays = _checked_channels(channels)
    header = {**_exr_attributes.encode_all(attributes or {}), **_checked_settings(compression, pixel_aspect)}
    if not isinstance(threads, int) or threads < 1:
        raise PlateError(f"threads is {threads!r}: give at least 1")
    target = str(path)
    try:
        _new_file(header, arrays, threads).write(target)
    except Exception as error:  # RuntimeError, ValueError or TypeError, for a full disk as for a bad value
        raise SequenceError(f"{target} cannot be written: {_reason(error, target)}") from error
    if not is_complete(target):
        raise SequenceError(f"{target} was not written whole: is the disk full?")


def _checked_layout(source: Path) -> FileLayout:
    try:
        layout = _exr_layout.read_layout(source)
        _exr_layout.check_sizes(layout)
    except PlateError as error:
        raise PlateError(f"{source}: {error}") from error.__cause__
    except OSError as error:
        raise PlateError(f"{source} cannot be read: {error.strerror or error}") from error
    return layout


def _decode(readable: Path) -> list[dict[str, np.ndarray]]:
    """Channel arrays of every part that decodes."""
    import OpenEXR

    try:
        with _prints_dropped():
            file = OpenEXR.File(str(readable), separate_channels=True)
            return [{name: channel.pixels for name, channel in part.channels.items()} for part in file.parts]
    except Exception as error:  # RuntimeError mostly, but also MemoryError and UnicodeDecodeError
        raise PlateError(f"it cannot be decoded: {_reason(error, str(readable))}") from error


def _part(source: Path, layout: PartLayout, pixels: dict[str, np.ndarray]) -> ExrPart:
    width, height = layout.size
    for channel in layout.channels:
        array = pixels.get(channel.name)
        shape = (height // channel.y_sampling, width // channel.x_sampling)
        if array is None or array.shape != shape or array.dtype not in _DTYPES:
            found = "missing" if array is None else f"{array.dtype} {array.shape}"
            raise PlateError(f"{source}: its channel {channel.name!r} came out as {found}, not {shape}")
    return ExrPart(
        name=layout.name,
        channels={channel.name: pixels[channel.name] for channel in layout.channels},
        data_window=layout.data_window,
        display_window=layout.display_window,
        pixel_aspect=layout.pixel_aspect,
        compression=layout.compression_name,
        attributes=layout.attributes,
    )


def _checked_channels(channels: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    if not channels:
        raise PlateError("no channels to write: give at least one")
    if len(channels) == 1:
        ((name, array),) = channels.items()
        if name in ("RGB", "RGBA") and getattr(array, "ndim", 0) == 3:
            return {name: _checked_group(name, array)}
    arrays = {}
    for name, array in channels.items():
        if not isinstance(name, str) or not name or "\0" in name or len(name.encode("utf-8", "replace")) > 255:
            raise PlateError(f"channel name {name!r}: give a text of 1 to 255 bytes")
        if not isinstance(array, np.ndarray) or array.ndim != 2 or array.dtype not in _DTYPES or not array.size:
            raise PlateError(f"channel {name!r} is {_described(array)}: give (H, W) float16, float32 or uint32")
        arrays[name] = np.ascontiguousarray(array)
    shapes = Counter(array.shape for array in arrays.values())
    if len(shapes) > 1:
        listed = ", ".join(f"{name} {array.shape}" for name, array in arrays.items())
        raise PlateError(f"channels differ in size: {listed}")
    return arrays


def _checked_group(name: str, array: np.ndarray) -> np.ndarray:
    if array.shape[2] != len(name) or array.dtype not in (np.float16, np.float32) or not array.size:
        raise PlateError(f"channel group {name!r} is {_described(array)}: give (H, W, {len(name)}) float16 or float32")
    return np.ascontiguousarray(array)


def _described(array: object) -> str:
    return f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else f"a {type(array).__name__}"


def _checked_settings(compression: str, pixel_aspect: float) -> dict[str, Any]:
    import OpenEXR

    if compression not in COMPRESSIONS:
        raise PlateError(f"compression {compression!r} is unknown: choose {', '.join(COMPRESSIONS)}")
    chosen = getattr(OpenEXR, f"{'NO' if compression == 'none' else compression.upper()}_COMPRESSION", None)
    if chosen is None:
        raise PlateError(f"compression {compression!r} needs a newer OpenEXR than the installed {OpenEXR.__version__}")
    # The format's own limits on the pixel aspect ratio.
    if not isinstance(pixel_aspect, int | float | np.floating) or not 1e-6 <= pixel_aspect <= 1e6:
        raise PlateError(f"pixel aspect ratio {pixel_aspect!r}: give a number above 0, 1.0 for square pixels")
    return {"compression": chosen, "pixelAspectRatio": float(pixel_aspect), "type": OpenEXR.scanlineimage}


def _new_file(header: dict[str, Any], arrays: dict[str, np.ndarray], threads: int) -> Any:
    import OpenEXR

    # 0 compresses in the calling thread. Before 3.5 there is no such argument, and only its docstring tells.
    if "num_threads" in (OpenEXR.File.__init__.__doc__ or ""):
        return OpenEXR.File(header, arrays, num_threads=threads if threads > 1 else 0)
    return OpenEXR.File(header, arrays)


def _reason(error: Exception, path: str) -> str:
    if isinstance(error, MemoryError):
        return "not enough memory"
    text = str(error).strip().splitlines()
    reason = text[0] if text else type(error).__name__
    return reason.replace(f'"{path}"', "").replace(f"'{path}'", "").replace("Cannot open image file . ", "").strip()


@contextlib.contextmanager
def _text_cleaned(source: Path, layout: FileLayout) -> Iterator[Path]:
    """`source`, or a temporary copy of it with the header text that is not UTF-8, and so not readable, made ASCII."""
    if not layout.foreign_text:
        yield source
        return
    import shutil
    import tempfile

    with tempfile.TemporaryDirectory(prefix="loopcore-") as folder:
        copy = Path(folder) / "plate.exr"
        shutil.copyfile(source, copy)
        with copy.open("r+b") as file:
            for offset, data in layout.foreign_text:
                file.seek(offset)
                file.write(bytes(byte if byte < 128 else ord("?") for byte in data))
        yield copy


class _WithoutPrints:
    """Stands in for sys.stdout and drops what the threads in `muted` write; everything else goes through."""

    def __init__(self) -> None:
        self.stream: Any = None
        self.muted: Counter[int] = Counter()

    def write(self, text: str) -> int:
        if self.muted[threading.get_ident()] or self.stream is None:
            return len(text)
        return int(self.stream.write(text))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


# One, for ever: another thread's `print` holds sys.stdout without a reference of its own, so freeing it would crash.
_guard = _WithoutPrints()
_guard_lock = threading.Lock()


@contextlib.contextmanager
def _prints_dropped() -> Iterator[None]:
    """Drop what this thread prints on sys.stdout; other threads, which may be decoding too, are not disturbed."""
    ident = threading.get_ident()
    with _guard_lock:
        _guard.muted[ident] += 1
        if sys.stdout is not _guard:
            _guard.stream, sys.stdout = sys.stdout, _guard
    try:
        yield
    finally:
        with _guard_lock:
            _guard.muted -= Counter({ident: 1})
            if not _guard.muted and sys.stdout is _guard:
                sys.stdout = _guard.stream
