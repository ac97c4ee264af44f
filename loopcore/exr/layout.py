# SPDX-License-Identifier: Apache-2.0
"""The structure of an OpenEXR file, read without decoding pixels: headers, kinds of parts, positions of chunks.

Checked before the library decodes, so that a damaged or hostile file cannot make it allocate gigabytes, and that a
truncated frame is recognised in a millisecond. Source: "OpenEXR File Layout", openexr.com.
"""

from __future__ import annotations

import io
import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from loopcore.errors import PlateError
from loopcore.exr import attributes
from loopcore.files.regular import open_regular

Window = tuple[int, int, int, int]

MAGIC = b"\x76\x2f\x31\x01"
# Most pixels in a window: those of a 32768 x 16384 panorama.
MAX_PIXELS = 1 << 29
_TILED, _DEEP, _MULTI_PART = 0x200, 0x800, 0x1000
_SAMPLE_BYTES = (4, 2, 4)  # uint, half, float
# By the number in the file: name, scan lines in a chunk, highest compression ratio. RLE packs 128 bytes in 2, deflate
# 1032 in 1, B44A a block of 32 in 3; the others have no such bound, and are given one far beyond real images.
_COMPRESSIONS = (
    ("none", 1, 1), ("rle", 1, 64), ("zips", 1, 1032), ("zip", 16, 1032), ("piz", 32, 50_000), ("pxr24", 16, 1500),
    ("b44", 32, 3), ("b44a", 32, 11), ("dwaa", 32, 50_000), ("dwab", 256, 50_000),
    ("htj2k256", 256, 50_000), ("htj2k32", 32, 50_000), ("lj2k", 256, 50_000), ("zstd", 1, 50_000),
)  # fmt: skip
# The ratio is not checked below this many bytes of pixels.
_RATIO_FREE_BYTES = 1 << 26


@dataclass(frozen=True)
class ChannelLayout:
    """A channel as declared in the header."""

    name: str
    sample_bytes: int
    x_sampling: int
    y_sampling: int


@dataclass(frozen=True)
class PartLayout:
    """A part of the file as declared in its header. Windows are (x_min, y_min, x_max, y_max), inclusive, y down."""

    name: str
    kind: str  # "scanline", "tiled" or "deep"
    compression: int
    channels: tuple[ChannelLayout, ...]
    data_window: Window
    display_window: Window
    pixel_aspect: float
    tiles: tuple[int, int, int, int] | None  # width, height, level mode (0 one, 1 mip, 2 rip), rounding (0 down, 1 up)
    declared_chunks: int | None
    attributes: dict[str, object] = field(default_factory=dict)

    @property
    def compression_name(self) -> str:
        """The name that `write_exr` takes."""
        known = 0 <= self.compression < len(_COMPRESSIONS)
        return _COMPRESSIONS[self.compression][0] if known else f"unknown ({self.compression})"

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the data window."""
        return window_size(self.data_window)

    def pixel_bytes(self) -> int:
        """Return the bytes of the decoded data window, all channels."""
        width, height = self.size
        area = sum(channel.sample_bytes / (channel.x_sampling * channel.y_sampling) for channel in self.channels)
        return math.ceil(width * height * area)

    def levels(self) -> list[tuple[int, int, int, int]]:
        """Return tile grids (level x, level y, columns, rows) in the order of the offset table; none unless tiled."""
        if self.tiles is None:
            return []
        tile_width, tile_height, mode, rounding = self.tiles
        width, height = self.size
        if mode == 1:
            numbers = [(level, level) for level in range(_level_count(max(width, height), rounding))]
        elif mode == 2:
            across, down = _level_count(width, rounding), _level_count(height, rounding)
            numbers = [(x, y) for y in range(down) for x in range(across)]
        else:
            numbers = [(0, 0)]
        return [
            (
                *(x, y),
                -(-_level_size(width, x, rounding) // tile_width),
                -(-_level_size(height, y, rounding) // tile_height),
            )
            for x, y in numbers
        ]

    def chunk_count(self) -> int:
        """Return the number of chunks that a complete file has for this part.

        Raises:
            PlateError: the compression is unknown.
        """
        if self.tiles is not None:
            return sum(columns * rows for _, _, columns, rows in self.levels())
        return -(-self.size[1] // self._chunk_lines())

    def chunk_leaders(self) -> Iterator[tuple[int, ...]]:
        """Yield the position that each chunk starts with, (y,) or (tile x, y, level x, y), in the table's order."""
        if self.tiles is None:
            _, first, _, last = self.data_window
            yield from ((y,) for y in range(first, last + 1, self._chunk_lines()))
        for level_x, level_y, columns, rows in self.levels():
            yield from ((x, y, level_x, level_y) for y in range(rows) for x in range(columns))

    def compression_ratio(self) -> int:
        """Return the highest possible ratio of the part's pixels to its bytes in the file."""
        return self._compression()[2]

    def _chunk_lines(self) -> int:
        return self._compression()[1]

    def _compression(self) -> tuple[str, int, int]:
        if not 0 <= self.compression < len(_COMPRESSIONS):
            raise PlateError(f"its compression number {self.compression} is unknown")
        return _COMPRESSIONS[self.compression]


@dataclass(frozen=True)
class FileLayout:
    """All parts of a file, and the position of its offset tables."""

    parts: tuple[PartLayout, ...]
    multi_part: bool
    tables_at: int
    file_bytes: int
    foreign_text: tuple[tuple[int, bytes], ...] = ()  # offset and bytes of header strings that are not UTF-8


def window_size(window: Window) -> tuple[int, int]:
    """Return the width and height of a window.

    Args:
        window: (x_min, y_min, x_max, y_max), inclusive.
    """
    return window[2] - window[0] + 1, window[3] - window[1] + 1


def _level_count(size: int, rounding: int) -> int:
    return 1 + (size.bit_length() - 1 if rounding == 0 else (size - 1).bit_length())


def _level_size(size: int, level: int, rounding: int) -> int:
    return max(1, size >> level if rounding == 0 else -(-size >> level))


def read_layout(path: Path) -> FileLayout:
    """Read the structure of the EXR file at `path`.

    Raises:
        PlateError: it is not an EXR file, or its header is invalid. The message does not name the path.
        OSError: the file cannot be opened or read.
    """
    with open_regular(path) as file:
        return layout_of(file)


def layout_of(file: BinaryIO) -> FileLayout:
    """Do as `read_layout` with an open file."""
    file_bytes = file.seek(0, io.SEEK_END)
    file.seek(0)
    head = file.read(8)
    if len(head) < 8 or head[:4] != MAGIC:
        raise PlateError("it is not an OpenEXR file")
    (version,) = struct.unpack("<I", head[4:])
    if version & 0xFF != 2:
        raise PlateError(f"its OpenEXR file version {version & 0xFF} is unknown")
    multi_part = bool(version & _MULTI_PART)
    foreign: list[tuple[int, bytes]] = []
    parts = [_read_part(file, file_bytes, version, foreign)]
    while multi_part and _peek(file) != b"\0":
        parts.append(_read_part(file, file_bytes, version, foreign))
    if multi_part:
        file.read(1)
    return FileLayout(tuple(parts), multi_part, file.tell(), file_bytes, tuple(foreign))


def _peek(file: BinaryIO) -> bytes:
    byte = file.read(1)
    if not byte:
        raise PlateError("it ends within the header")
    file.seek(-1, io.SEEK_CUR)
    return byte


def _read_name(file: BinaryIO) -> str:
    name = bytearray()
    while (byte := file.read(1)) != b"\0":
        if not byte:
            raise PlateError("it ends within the header")
        name += byte
        if len(name) > 255:
            raise PlateError("its header is damaged (a name longer than 255 bytes)")
    return attributes.text(bytes(name))


def _read_part(file: BinaryIO, file_bytes: int, version: int, foreign: list[tuple[int, bytes]]) -> PartLayout:
    raw: dict[str, tuple[str, bytes]] = {}
    while name := _read_name(file):
        kind = _read_name(file)
        size_bytes = file.read(4)
        size = struct.unpack("<i", size_bytes)[0] if len(size_bytes) == 4 else -1
        if not 0 <= size <= file_bytes - file.tell():
            raise PlateError(f"its header is damaged (attribute {name!r} claims {size} bytes)")
        raw[name] = (kind, file.read(size))
        if kind == "string" and not attributes.is_utf8(raw[name][1]):
            foreign.append((file.tell() - size, raw[name][1]))
    try:
        return _part_of(raw, version)
    except (struct.error, IndexError) as error:
        raise PlateError(f"its header is damaged ({error})") from error


def _part_of(raw: dict[str, tuple[str, bytes]], version: int) -> PartLayout:
    def required(name: str, kind: str) -> bytes:
        found_kind, data = raw.get(name, ("missing", b""))
        if found_kind != kind:
            raise PlateError(f"its header is damaged (attribute {name!r} is {found_kind}, not {kind})")
        return data

    kind = _part_kind(raw, version)
    tiles = None
    if kind == "tiled" or (kind == "deep" and "tiles" in raw and b"tile" in raw.get("type", ("", b""))[1]):
        width, height, mode = struct.unpack("<IIB", required("tiles", "tiledesc"))
        if not (0 < width < 2**31 and 0 < height < 2**31 and mode & 15 < 3 and mode >> 4 < 2):
            raise PlateError(f"its tiles of {width}x{height}, mode {mode}, are invalid")
        tiles = (width, height, mode & 15, mode >> 4)
    aspect = struct.unpack("<f", required("pixelAspectRatio", "float"))[0]
    declared = struct.unpack("<i", required("chunkCount", "int"))[0] if "chunkCount" in raw else None
    return PartLayout(
        name=attributes.text(raw["name"][1]) if raw.get("name", ("", b""))[0] == "string" else "",
        kind=kind,
        compression=required("compression", "compression")[0],
        channels=_channels(required("channels", "chlist")),
        data_window=struct.unpack("<4i", required("dataWindow", "box2i")),
        display_window=struct.unpack("<4i", required("displayWindow", "box2i")),
        pixel_aspect=aspect if math.isfinite(aspect) and aspect > 0 else 1.0,
        tiles=tiles,
        declared_chunks=declared,
        attributes=_plain_attributes(raw),
    )


def _part_kind(raw: dict[str, tuple[str, bytes]], version: int) -> str:
    # In a file of one flat part the version's flags decide; a contradicting `type` is ignored, as the library does.
    declared = raw.get("type", ("", b""))[1]
    if version & (_MULTI_PART | _DEEP):
        kinds = {b"scanlineimage": "scanline", b"tiledimage": "tiled", b"deepscanline": "deep", b"deeptile": "deep"}
        if declared not in kinds:
            raise PlateError(f"its part type {attributes.text(declared)[:40]!r} is unknown")
        return kinds[declared]
    return "tiled" if version & _TILED else "scanline"


def _channels(data: bytes) -> tuple[ChannelLayout, ...]:
    channels, at = [], 0
    while data[at] != 0:
        end = data.index(b"\0", at) if b"\0" in data[at:] else len(data)
        pixel_type, _linear, x_sampling, y_sampling = struct.unpack_from("<iB3xii", data, end + 1)
        name = attributes.text(data[at:end])
        if not 0 <= pixel_type < len(_SAMPLE_BYTES) or x_sampling < 1 or y_sampling < 1:
            raise PlateError(f"its channel {name!r} is damaged (type {pixel_type}, sampling {x_sampling}x{y_sampling})")
        channels.append(ChannelLayout(name, _SAMPLE_BYTES[pixel_type], x_sampling, y_sampling))
        at = end + 17
    if not channels:
        raise PlateError("it has no channels")
    return tuple(channels)


def _plain_attributes(raw: dict[str, tuple[str, bytes]]) -> dict[str, object]:
    plain: dict[str, object] = {}
    for name, (kind, data) in raw.items():
        if name in attributes.STRUCTURAL:
            continue
        try:
            value: Any = attributes.decode(kind, data)
        except struct.error:
            continue  # a damaged attribute is no reason to refuse the plate
        if value is not None:
            plain[name] = value
    return plain


def check_sizes(layout: FileLayout) -> None:
    """Check that the declared sizes are plausible: windows up to MAX_PIXELS, pixels that fit in a file of this size.

    Raises:
        PlateError: they are not. The message does not name the path.
    """
    for part in layout.parts:
        for label, window in (("data", part.data_window), ("display", part.display_window)):
            width, height = window_size(window)
            if width < 1 or height < 1:
                raise PlateError(f"its {label} window {window} is empty")
            if width * height > MAX_PIXELS:
                raise PlateError(f"its {label} window of {width}x{height} pixels is larger than {MAX_PIXELS} pixels")
        for channel in part.channels:
            steps = (channel.x_sampling, channel.y_sampling)
            if any(size % step for size, step in zip(part.size + part.data_window[:2], steps * 2, strict=True)):
                raise PlateError(f"its channel {channel.name!r}, subsampled by {steps}, does not fit its data window")
        if part.tiles and any(tile > max(2048, 2 * side) for tile, side in zip(part.tiles[:2], part.size, strict=True)):
            # Whole tiles are decoded, which takes memory and many seconds however little of them is in the image.
            raise PlateError(f"its tiles of {part.tiles[0]}x{part.tiles[1]} are absurd for {part.size} pixels")
        count = part.chunk_count() if part.kind != "deep" else 0
        if count * 8 > layout.file_bytes:
            raise PlateError(f"it is cut short: {count} chunks are declared in a file of {layout.file_bytes} bytes")
    total = sum(part.pixel_bytes() for part in layout.parts if part.kind != "deep")
    ratio = max(part.compression_ratio() for part in layout.parts)
    if total > _RATIO_FREE_BYTES + layout.file_bytes * ratio:
        raise PlateError(f"it claims {total} bytes of pixels but has only {layout.file_bytes} bytes")


def check_chunks(path: Path, layout: FileLayout) -> None:
    """Check that each chunk is complete, is where the offset table says, and overlaps no other.

    Raises:
        PlateError: one is not. The message does not name the path.
        OSError: the file cannot be read.
    """
    with path.open("rb", buffering=0) as file:
        file.seek(layout.tables_at)
        tables = []
        for part in layout.parts:
            count = part.chunk_count()
            if part.declared_chunks is not None and part.declared_chunks != count:
                raise PlateError(f"its header declares {part.declared_chunks} chunks, its size needs {count}")
            if count * 8 > layout.file_bytes:
                raise PlateError("it is cut short within its offset table")
            data = file.read(count * 8)
            if len(data) < count * 8:
                raise PlateError("it is cut short within its offset table")
            tables.append(struct.unpack(f"<{count}Q", data))
        first = file.tell()
        spans: list[tuple[int, int]] = []
        for number, (part, table) in enumerate(zip(layout.parts, tables, strict=True)):
            spans += _chunk_spans(file, layout, number, part, table)
    spans.sort()
    at = first
    for start, end in spans:
        if start < at:
            raise PlateError("its chunks overlap")
        at = end


def _chunk_spans(
    file: BinaryIO, layout: FileLayout, number: int, part: PartLayout, table: tuple[int, ...]
) -> Iterator[tuple[int, int]]:
    leader = struct.Struct("<" + ("i" if layout.multi_part else "") + ("4i" if part.tiles else "i"))
    sizes = struct.Struct("<QQQ" if part.kind == "deep" else "<i")  # deep: sample counts, samples, samples unpacked
    for index, (offset, place) in enumerate(zip(table, part.chunk_leaders(), strict=True)):
        if not offset:
            raise PlateError(f"it is cut short: chunk {index + 1} of {len(table)} was never written")
        if offset > layout.file_bytes - leader.size - sizes.size:
            raise PlateError(f"it is cut short: chunk {index + 1} of {len(table)} lies beyond its end")
        file.seek(offset)
        head = file.read(leader.size + sizes.size)
        if leader.unpack_from(head) != ((number, *place) if layout.multi_part else place):
            raise PlateError(f"its chunk {index + 1} of {len(table)} is damaged")
        size = sum(sizes.unpack_from(head, leader.size)[:2])
        end = offset + leader.size + sizes.size + size
        if size < 0 or (size == 0 and part.kind != "deep") or end > layout.file_bytes:
            raise PlateError(f"it is cut short: chunk {index + 1} of {len(table)} is not whole")
        yield offset, end
