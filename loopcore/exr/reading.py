# SPDX-License-Identifier: Apache-2.0
"""Reads EXR files through the OpenEXR bindings, with checks that the bindings lack.

The bindings (3.4.14 to 3.5) have these faults, which reading and writing here avoid:

- Arrays that are not C-contiguous are written wrongly without an error, and arrays of one or two channels in the last
  axis become three channels of undefined memory. Here each channel is a checked, contiguous 2-D array.
- A write that fills the disk with its last buffer reports no error. Here the written file is checked.
- A damaged file opens without an error and with parts missing, after the memory that its header claims was allocated.
  Here the header and the position of every chunk are checked first (`loopcore.exr.layout`), and the number of parts
  afterwards.
- Header text that is not UTF-8 makes the file unreadable. Here such a file is read from a cleaned copy.
- Attributes are stored with the wrong type or not at all (`loopcore.exr.attributes`).
- Paths that are text are taken as UTF-8, whatever the system's encoding. Here they are bytes.
- The caller's dict of channels is modified. Here it is a dict of our own.
- A chunk that cannot be decoded makes them ``print`` a warning. Here it is dropped, because the worker's protocol uses
  stdout. What C code writes to stderr (HTJ2K to stdout too) is not: that would need the descriptor of the whole process
  redirected, with the output of other threads. Truncated files are refused before.

The bindings read whole files only: all parts and channels.
"""

from __future__ import annotations

import contextlib
import os
import struct
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from loopcore.errors import PlateError
from loopcore.exr.layout import (
    FileLayout,
    PartLayout,
    Window,
    check_chunks,
    check_sizes,
    read_layout,
)
from loopcore.files.regular import existing_file

DTYPES = (np.float16, np.float32, np.uint32)

# The largest finite half.
HALF_MAX = 65504.0


def as_stored(pixels: np.ndarray, dtype: type) -> np.ndarray:
    """Return a copy of pixels as an EXR stores them: finite values clamped to the range of the type; NaN and Inf stay.

    Args:
        pixels: floats of any shape.
        dtype: np.float16 or np.float32.
    """
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
        name: the part's name; may be empty.
        channels: full channel name -> (h, w) float16, float32 or uint32 covering the data window; a channel
            subsampled by (x, y) is (h / y, w / x).
        data_window, display_window: (x_min, y_min, x_max, y_max), inclusive, x right, y down.
        pixel_aspect: width over height of a pixel.
        compression: its name, as `write_exr` takes it.
        tiles: width and height of its tiles; None for scan lines.
        attributes: all other attributes, as plain Python values (see `loopcore.exr.attributes`).
    """

    name: str
    channels: dict[str, np.ndarray]
    data_window: Window
    display_window: Window
    pixel_aspect: float
    compression: str
    attributes: dict[str, object] = field(default_factory=dict)
    tiles: tuple[int, int] | None = None


def read_exr(path: str | os.PathLike[str]) -> list[ExrPart]:
    """Read all parts of an EXR file: scan lines or tiles (the largest level), any compression.

    Returns:
        The parts in the file's order, pixels as stored.

    Raises:
        PlateError: the file is missing, damaged, truncated, deep or too large, or cannot be decoded.
    """
    source = existing_file(path)
    layout = _checked_layout(source)
    for part in layout.parts:
        if part.kind == "deep":
            raise PlateError(f"{source}: its part {part.name!r} holds deep pixels: flatten it first")
    try:
        check_chunks(source, layout)
        with _text_cleaned(source, layout) as readable:
            decoded = _decode(readable)
    except PlateError as error:
        raise PlateError(f"{source}: {error}") from error.__cause__
    except OSError as error:
        raise PlateError(f"{source} cannot be read: {error.strerror or error}") from error
    if len(decoded) != len(layout.parts):
        lost = len(layout.parts) - len(decoded)
        raise PlateError(f"{source}: the pixels of {lost} of its {len(layout.parts)} parts are damaged: write it again")
    return [_part(source, part, pixels) for part, pixels in zip(layout.parts, decoded, strict=True)]


def read_attributes(path: str | os.PathLike[str]) -> dict[str, object]:
    """Read the header of an EXR file's first part, without pixels, in about 0.1 ms.

    Returns:
        Attributes as plain Python values (see `loopcore.exr.attributes`), with ``dataWindow`` and ``displayWindow``
        (x_min, y_min, x_max, y_max), ``pixelAspectRatio``, ``compression`` (a name that `write_exr` takes) and
        ``channels`` (tuple of names).

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
    """Check without decoding whether `path` is an EXR file with a valid header and all its chunks. Never raises.

    Returns:
        False for missing, damaged and truncated files; wrong pixels inside chunks are not noticed.
    """
    try:
        source = Path(path)
        layout = read_layout(source)
        check_sizes(layout)
        check_chunks(source, layout)
    except (OSError, ValueError, TypeError, OverflowError, MemoryError, struct.error):
        return False
    return True


def _checked_layout(source: Path) -> FileLayout:
    try:
        layout = read_layout(source)
        check_sizes(layout)
    except PlateError as error:
        raise PlateError(f"{source}: {error}") from error.__cause__
    except OSError as error:
        raise PlateError(f"{source} cannot be read: {error.strerror or error}") from error
    return layout


def _decode(readable: Path) -> list[dict[str, np.ndarray]]:
    """Channel arrays of each part that can be decoded."""
    import OpenEXR

    try:
        with _prints_dropped():
            file = OpenEXR.File(os.fsencode(readable), separate_channels=True)
            return [{name: channel.pixels for name, channel in part.channels.items()} for part in file.parts]
    except Exception as error:  # RuntimeError mostly, but also MemoryError and UnicodeDecodeError
        raise PlateError(f"it cannot be decoded: {first_line(error, str(readable))}") from error


def _part(source: Path, layout: PartLayout, pixels: dict[str, np.ndarray]) -> ExrPart:
    width, height = layout.size
    for channel in layout.channels:
        array = pixels.get(channel.name)
        shape = (height // channel.y_sampling, width // channel.x_sampling)
        if array is None or array.shape != shape or array.dtype not in DTYPES:
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
        tiles=None if layout.tiles is None else layout.tiles[:2],
    )


def first_line(error: Exception, path: str) -> str:
    if isinstance(error, MemoryError):
        return "not enough memory"
    message = str(error)
    if isinstance(error, UnicodeDecodeError) and os.fsencode(path) in error.object:
        message = os.fsdecode(error.object)  # the library's message, which names the path
    text = message.strip().splitlines()
    reason = text[0] if text else type(error).__name__
    return reason.replace(f'"{path}"', "").replace(f"'{path}'", "").replace("Cannot open image file . ", "").strip()


@contextlib.contextmanager
def _text_cleaned(source: Path, layout: FileLayout) -> Iterator[Path]:
    """`source`, or a temporary copy of it whose header text is ASCII where it was not UTF-8."""
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
    """Replaces sys.stdout, and drops what the threads in `muted` write."""

    def __init__(self) -> None:
        self.stream: Any = None
        self.muted: Counter[int] = Counter()

    def write(self, text: str) -> int:
        if self.muted[threading.get_ident()] or self.stream is None:
            return len(text)
        return int(self.stream.write(text))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


# Never freed: another thread's `print` uses sys.stdout without a reference of its own, and would crash.
_guard = _WithoutPrints()
_guard_lock = threading.Lock()


def _reset_guard() -> None:
    """Reset in a forked child, where the threads that were muted, or held the lock, do not exist."""
    global _guard_lock
    _guard_lock = threading.Lock()
    _guard.muted.clear()
    if sys.stdout is _guard:
        sys.stdout = _guard.stream


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset_guard)


@contextlib.contextmanager
def _prints_dropped() -> Iterator[None]:
    """Drop what this thread prints to sys.stdout; other threads, which may be decoding too, are not affected."""
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
