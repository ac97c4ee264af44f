# SPDX-License-Identifier: Apache-2.0
"""Seeded damage: of bytes, of JSON documents, tables and weights, and of what lies at a path."""

from __future__ import annotations

import copy
import json
import os
import random
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# As JSON text, since json.dumps writes no 1e400 and no NUL.
VALUES = [
    "null", "true", "0", "-1", "1e400", "-1e400", "NaN", "Infinity", "-Infinity", "1e6", "1e308", "1e-320", "9" * 400,
    "18446744073709551616", "65536", '""', '"\\u0000"', '"\\ud800"', '"../../outside.png"', '"[/x]"', '"a\\nb"',
    '"\\u202e"', '"/dev/zero"', '"' + "x" * 5000 + '"', "[]", "{}", "[[]]", "[null]", "[" * 300 + "]" * 300,
    '{"a":' * 100 + "1" + "}" * 100,
]  # fmt: skip
# Also float32's infinity, its largest number and a NaN.
LENGTHS = [0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0, 1, 1 << 20, 0x7F800000, 0x7F7FFFFF]


def damage(data: bytes, rng: random.Random) -> tuple[str, bytes]:
    """Returns what was done, and the damaged bytes."""
    data = data or b"\0"
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


def damage_json(document: Any, rng: random.Random) -> tuple[str, bytes]:
    """Returns what was done, and a document in which one value is replaced or left out."""
    place = rng.choice(list(_places(document)))
    value = rng.choice(VALUES)
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


def damage_safetensors(data: bytes, rng: random.Random) -> tuple[str, bytes]:
    """Returns what was done, and weights of which one value of the header is replaced: a note, shape, type, offset."""
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    if rng.random() < 0.5 and "__metadata__" in header:  # whose values are texts
        name = rng.choice(list(header["__metadata__"]))
        header["__metadata__"][name] = value = rng.choice(NOTES)
        label, packed = f"note {name} = {value[:30]!r}", json.dumps(header).encode()
    else:
        label, packed = damage_json(header, rng)
    return label, len(packed).to_bytes(8, "little") + packed + data[8 + size :]


NOTES = ["", "-1", "0", "1.5", "nan", "9" * 400, "2147483647", "64", "None", "x\ny", "\0", "\u0663", "1_0", " 2 "]


def damage_csv(data: bytes, rng: random.Random) -> tuple[str, bytes]:
    """Returns what was done, and a table of which one cell is replaced."""
    rows = [line.split(",") for line in data.decode().splitlines()]
    row = rng.choice(rows)
    cell = rng.randrange(len(row))
    row[cell] = value = rng.choice(CELLS)
    return f"{value[:30]!r} in a table", "\n".join(map(",".join, rows)).encode("utf-8", "surrogateescape")


CELLS = [
    "", "..", "../../outside", "/dev/zero", "/etc/passwd", "\0", '"', '"a\nb"', "[/x]", "x" * 200_000, "nan", "\udcff",
    "\u2028", ".", "a,b,c,d,e,f",
]  # fmt: skip


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
