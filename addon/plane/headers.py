# SPDX-License-Identifier: GPL-3.0-or-later
"""What the header of an image file says: its EXR layers, whether the worker reads it, whether Loopcore wrote it.

Does not use bpy, so it can be called from any thread.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

EXR = b"\x76\x2f\x31\x01"
HEAD_BYTES = 26  # what `is_read_by_worker` looks at
_MAX_BYTES = 4 << 20  # of an EXR header
_MULTI_PART = 0x1000
_LONG_NAMES = {"red": "R", "green": "G", "blue": "B", "alpha": "A"}
# What Loopcore writes into its frames, as an EXR attribute or a PNG text, and into proxies.
_FRAME_MARK, _PROXY_MARK = b"loopcore/recipe_hash", b"Loopcore"


@dataclass(frozen=True)
class Layer:
    """A layer of an EXR that has color: the name that `loopcore` selects it by, "" if unnamed, and its size."""

    name: str
    size: tuple[int, int]


def is_read_by_worker(head: bytes) -> bool:
    """Return whether the worker reads a file that begins so without optional packages: EXR, PNG, JPEG, or WebP.

    Not PNG of 16 bits per channel.
    """
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return head[24:25] != b"\x10"
    return head.startswith((EXR, b"\xff\xd8\xff")) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")


def exr_layers(path: Path) -> tuple[Layer, ...]:
    """Return the layers of an EXR that have color, in file order, as `loopcore` names them; none for other files."""
    try:
        facts = path.stat()
        return _layers_of(path, (facts.st_mtime_ns, facts.st_size))
    except (OSError, struct.error, ValueError, KeyError):
        return ()


@lru_cache(maxsize=64)
def _layers_of(path: Path, _version: tuple[int, int]) -> tuple[Layer, ...]:
    """Read the layers. Cached, since panels ask for them whenever they are drawn."""
    parts = list(_exr_parts(path))
    found = []
    for part in parts:
        title = part.get("name", b"").decode("utf-8", "replace")
        left, top, right, bottom = struct.unpack("<4i", part["displayWindow"])
        groups: dict[str, set[str]] = {}
        for full in _channels(part["channels"]):
            prefix, _, last = full.rpartition(".")
            groups.setdefault(prefix, set()).add(_LONG_NAMES.get(last.lower(), last.upper()))
        for prefix, channels in groups.items():
            if {"R", "G", "B"} & channels or {"Y", "RY", "BY"} <= channels or ("Y" in channels and "X" not in channels):
                joined = prefix if prefix.startswith(title) else ".".join(filter(None, (title, prefix)))
                name = joined if len(parts) > 1 else prefix
                found.append(Layer(name, (right - left + 1, bottom - top + 1)))
    return tuple(found)


def is_from_loopcore(path: Path) -> bool:
    """Return whether Loopcore wrote an EXR, PNG or JPEG, which its header says."""
    try:
        with path.open("rb") as file:
            head = file.read(1 << 10)
        if head.startswith(EXR):
            return any(_FRAME_MARK.decode() in part for part in _exr_parts(path))
        if head.startswith(b"\x89PNG"):
            return any(text.startswith((_FRAME_MARK + b"\0", b"Software\0" + _PROXY_MARK)) for text in _png_texts(path))
    except (OSError, struct.error, ValueError):
        return False
    return head.startswith(b"\xff\xd8\xff") and b"\xff\xfe\x00\x0a" + _PROXY_MARK in head


def _exr_parts(path: Path) -> Iterator[dict[str, bytes]]:
    """Yield the attributes of each part of an EXR, as bytes; nothing for other files."""
    with path.open("rb") as file:
        head = file.read(8)
        if head[:4] != EXR:
            return
        several = struct.unpack_from("<I", head, 4)[0] & _MULTI_PART
        while part := _exr_part(file):
            yield part
            if not several:
                return


def _exr_part(file: BinaryIO) -> dict[str, bytes]:
    attributes = {}
    while name := _text(file):
        _text(file)  # type
        (size,) = struct.unpack("<i", file.read(4))
        if not 0 <= size <= _MAX_BYTES:
            raise ValueError("an attribute has no valid size")
        attributes[name] = file.read(size)
    return attributes


def _text(file: BinaryIO) -> str:
    text = bytearray()
    while (letter := file.read(1)) != b"\0":
        text += letter
        if not letter or len(text) > 255:
            raise ValueError("a name is too long")
    return text.decode("utf-8", "replace")


def _channels(block: bytes) -> Iterator[str]:
    place = 0
    while place < len(block) and block[place]:
        end = block.index(b"\0", place)
        yield block[place:end].decode("utf-8", "replace")
        place = end + 17


def _png_texts(path: Path) -> Iterator[bytes]:
    """Yield the content of the text chunks before the pixels."""
    with path.open("rb") as file:
        file.seek(8)
        while len(head := file.read(8)) == 8 and head[4:] != b"IDAT":
            size = struct.unpack(">I", head[:4])[0]
            if head[4:] == b"tEXt":
                yield file.read(min(size, 1 << 16))
                file.seek(size - min(size, 1 << 16) + 4, 1)
            else:
                file.seek(size + 4, 1)
