# SPDX-License-Identifier: Apache-2.0
"""Seeded damage: of bytes, of JSON documents, and of what lies at a path."""

from __future__ import annotations

import copy
import json
import os
import random
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

# As JSON text, since json.dumps writes no 1e400 and no NUL.
VALUES = [
    "null", "true", "0", "-1", "1e400", "-1e400", "NaN", "Infinity", "-Infinity", "1e308", "1e-320", "9" * 400,
    "18446744073709551616", '""', '"\\u0000"', '"\\ud800"', '"../../outside.png"', '"[/x]"', '"a\\nb"', '"\\u202e"',
    '"/dev/zero"', '"' + "x" * 5000 + '"', "[]", "{}", "[[]]", "[null]", "[" * 300 + "]" * 300,
    '{"a":' * 100 + "1" + "}" * 100,
]  # fmt: skip
# Also float32's infinity, its largest number and a NaN.
LENGTHS = [0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0, 1, 1 << 20, 0x7F800000, 0x7F7FFFFF]


def damage(data: bytes, rng: random.Random) -> tuple[str, bytes]:
    """Returns what was done, and the damaged bytes."""
    at, size = rng.randrange(len(data)), rng.choice([1, 4, 64, len(data) // 4 + 1])
    kind = rng.choice(["empty", "truncate", "flip", "zero", "splice", "double", "number", "random", "trailing", "none"])
    changed = bytearray(data)
    if kind == "empty":
        changed = bytearray()
    elif kind == "truncate":
        del changed[at:]
    elif kind == "flip":
        for _ in range(rng.choice([1, 3, 20])):
            changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    elif kind == "zero":
        changed[at : at + size] = bytes(len(changed[at : at + size]))
    elif kind == "splice":
        other = rng.randrange(len(data))
        changed[at : at + size] = data[other : other + size]
    elif kind == "double":
        changed[at:at] = data[at : at + size]
    elif kind == "number":  # sizes and offsets stand near the start of most formats
        near = rng.randrange(min(len(data), 400))
        changed[near : near + 4] = struct.pack(rng.choice("<>") + "I", rng.choice(LENGTHS))
    elif kind == "random":
        changed[at : at + size] = rng.randbytes(len(changed[at : at + size]))
    elif kind == "trailing":
        changed += rng.randbytes(1000)
    return kind, bytes(changed)


def huge_png(data: bytes, width: int, height: int) -> bytes:
    """Returns a PNG that declares another size, with the right checksum of its header."""
    header = b"IHDR" + struct.pack(">II", width, height) + data[24:29]
    return data[:12] + header + struct.pack(">I", zlib.crc32(header)) + data[33:]


def _places(document: Any, above: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Yields the path of every value in a document."""
    if isinstance(document, dict | list):
        for key, inner in document.items() if isinstance(document, dict) else enumerate(document):
            yield (*above, key)
            yield from _places(inner, (*above, key))


def damage_json(
    document: Any, rng: random.Random, allowed: Callable[[tuple[str | int, ...], str], bool] = lambda place, value: True
) -> tuple[str, bytes]:
    """Returns what was done, and a document in which one value is replaced or left out.

    Args:
        document: the valid one.
        rng: chooses.
        allowed: whether a value may be put in a place.
    """
    place = rng.choice([place for place in _places(document) if any(allowed(place, value) for value in VALUES)])
    value = rng.choice([value for value in VALUES if allowed(place, value)])
    changed = copy.deepcopy(document)
    holder = changed
    for key in place[:-1]:
        holder = holder[key]
    what = ".".join(map(str, place))
    if rng.random() < 0.15:
        del holder[place[-1]]
        return f"without {what}", json.dumps(changed).encode()
    holder[place[-1]] = "\x01"
    return f"{what} = {value[:30]}", json.dumps(changed).replace('"\\u0001"', value).encode()


SPECIALS = ["missing", "folder", "fifo", "device", "loop", "nothing", "memory"]


def special(path: Path, kind: str) -> None:
    """Puts something that is no readable file at a path."""
    if kind == "folder":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "loop":
        path.symlink_to(path.name)
    elif kind == "nothing":
        path.symlink_to("/dev/null")
    elif kind == "memory":
        path.symlink_to("/proc/self/mem")
