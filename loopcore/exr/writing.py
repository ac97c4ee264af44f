# SPDX-License-Identifier: Apache-2.0
"""Writes EXR files through the OpenEXR bindings, with the checks that `loopcore.exr.reading` describes."""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from loopcore.errors import PlateError, SequenceError
from loopcore.exr.attributes import encode_all
from loopcore.exr.reading import DTYPES, ExrPart, first_line, is_complete
from loopcore.exr.windows import Windows

COMPRESSIONS = (
    *("none", "rle", "zips", "zip", "piz", "pxr24", "b44", "b44a", "dwaa", "dwab"),
    *("htj2k256", "htj2k32", "zstd"),
)


def writable(attributes: Mapping[str, object]) -> dict[str, object]:
    """Return those of `attributes` that `write_exr` can store, in their order."""
    kept = {}
    for name, value in attributes.items():
        with contextlib.suppress(PlateError):
            encode_all({name: value})
            kept[name] = value
    return kept


def write_exr(
    path: str | os.PathLike[str],
    channels: Mapping[str, np.ndarray],
    *,
    attributes: Mapping[str, object] | None = None,
    compression: str = "zip",
    pixel_aspect: float = 1.0,
    windows: Windows | None = None,
    threads: int = 1,
) -> None:
    """Write an EXR file of one scan-line part directly to `path`.

    Args:
        path: the file; overwritten.
        channels: name -> (H, W) float16, float32 or uint32. Or the single key ``"RGB"`` or ``"RGBA"`` -> (H, W, 3 or 4)
            float16 or float32, which is written without a copy if it is C-contiguous.
        attributes: plain Python values, see `loopcore.exr.attributes`.
        compression: one of `COMPRESSIONS`.
        pixel_aspect: width over height of a pixel.
        windows: data window, of the channels' size, and display window; by default both are the image.
        threads: threads of the library, from 3.5 on, for compression; the bytes do not depend on it. The 3.5.3 wheels
            are no faster with it, but threads can write several files in parallel.

    Raises:
        PlateError: channels, attributes or settings are invalid.
        SequenceError: the file could not be written, or not completely; delete what is at `path`.
    """
    arrays = _checked_channels(channels)
    header = {**encode_all(attributes or {}), **_checked_settings(compression, pixel_aspect)}
    header |= _checked_windows(arrays, windows)
    if not isinstance(threads, int) or threads < 1:
        raise PlateError(f"threads is {threads!r}: give at least 1")
    _write(path, lambda: _new_file(header, arrays, threads))


def write_parts(path: str | os.PathLike[str], parts: Sequence[ExrPart]) -> None:
    """Write an EXR file of parts directly to `path`: their names, windows, tiles, compression and attributes.

    Args:
        path: the file; overwritten.
        parts: as `read_exr` returns them, without subsampled channels. Of tiles, one level is written.

    Raises:
        PlateError: channels, attributes or settings are invalid.
        SequenceError: the file could not be written, or not completely; delete what is at `path`.
    """
    import OpenEXR

    written = []
    for part in parts:
        arrays = _checked_channels(part.channels)
        header = {**encode_all(part.attributes), **_checked_settings(part.compression, part.pixel_aspect)}
        header |= _checked_windows(arrays, Windows(part.data_window, part.display_window))
        if part.tiles is not None:
            tiles = OpenEXR.TileDescription()
            tiles.xSize, tiles.ySize = part.tiles
            header |= {"type": OpenEXR.tiledimage, "tiles": tiles}
        written.append((header, arrays, part.name))
    if len(written) == 1:
        ((header, arrays, name),) = written
        _write(path, lambda: _new_file(header | ({"name": name} if name else {}), arrays, 1))
    else:
        _write(path, lambda: OpenEXR.File([OpenEXR.Part(*part) for part in written]))


def _write(path: str | os.PathLike[str], make: Callable[[], Any]) -> None:
    target = str(path)
    try:
        make().write(os.fsencode(path))
    except Exception as error:  # RuntimeError, ValueError or TypeError, for a full disk as for a bad value
        raise SequenceError(f"{target} cannot be written: {first_line(error, target)}") from error
    if not is_complete(target):
        raise SequenceError(f"{target} was not written whole: is the disk full?")


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
        if not isinstance(array, np.ndarray) or array.ndim != 2 or array.dtype not in DTYPES or not array.size:
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


def _checked_windows(arrays: Mapping[str, np.ndarray], windows: Windows | None) -> dict[str, Any]:
    height, width = next(iter(arrays.values())).shape[:2]
    if windows is None or windows == Windows.whole(height, width):
        return {}
    if windows.size != (height, width):
        raise PlateError(f"the data window {windows.data} is not of the channels' size, {width}x{height}")
    named = {"dataWindow": windows.data, "displayWindow": windows.display}
    return {name: (window[:2], window[2:]) for name, window in named.items()}


def _new_file(header: dict[str, Any], arrays: dict[str, np.ndarray], threads: int) -> Any:
    import OpenEXR

    # 0 compresses in the calling thread. Before 3.5 the argument does not exist, which only the docstring shows.
    if "num_threads" in (OpenEXR.File.__init__.__doc__ or ""):
        return OpenEXR.File(header, arrays, num_threads=threads if threads > 1 else 0)
    return OpenEXR.File(header, arrays)
