# SPDX-License-Identifier: Apache-2.0
"""Finds damage in packed pixels before the library does, which prints its errors on stderr.

A chunk packed by deflate (zip, zips) ends with the Adler-32 of its unpacked bytes (RFC 1950); one that packing would
not make smaller is stored as it is. Source: "OpenEXR File Layout", openexr.com.
"""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

from loopcore.errors import PlateError
from loopcore.exr.layout import PartLayout, check_chunks, check_sizes, read_layout
from loopcore.files.regular import existing_file

_LINES = {"zips": 1, "zip": 16}  # scan lines in a chunk


def check_packed(path: str | os.PathLike[str]) -> None:
    """Check that the file is complete and its chunks unpack: those of one part of scan lines packed by zip or zips.

    Raises:
        PlateError: one does not, or see `read_exr`.
    """
    source = existing_file(path)
    try:
        layout = read_layout(source)
        check_sizes(layout)
        check_chunks(source, layout)
        part = layout.parts[0]
        if len(layout.parts) == 1 and part.kind == "scanline" and part.compression_name in _LINES:
            _check_part(source, part, layout.tables_at)
    except PlateError as error:
        raise PlateError(f"{source}: {error}") from error.__cause__
    except OSError as error:
        raise PlateError(f"{source} cannot be read: {error.strerror or error}") from error


def _check_part(source: Path, part: PartLayout, tables_at: int) -> None:
    if any((channel.x_sampling, channel.y_sampling) != (1, 1) for channel in part.channels):
        return
    (width, height), lines, count = part.size, _LINES[part.compression_name], part.chunk_count()
    line = width * sum(channel.sample_bytes for channel in part.channels)
    with source.open("rb") as file:
        file.seek(tables_at)
        table = struct.unpack(f"<{count}Q", file.read(8 * count))
        for index, offset in enumerate(table):
            file.seek(offset)
            _, size = struct.unpack("<ii", file.read(8))
            whole = line * min(lines, height - index * lines)
            if size > whole or (size < whole and not _unpacks(file.read(size), whole)):
                raise PlateError(f"the pixels of its chunk {index + 1} of {count} are damaged")


def _unpacks(data: bytes, size: int) -> bool:
    unpacker = zlib.decompressobj()
    try:
        whole = len(unpacker.decompress(data, size)) == size
        return whole and not unpacker.decompress(unpacker.unconsumed_tail, 1) and unpacker.eof
    except zlib.error:
        return False
