# SPDX-License-Identifier: Apache-2.0
"""LZ4 frames unpacked, as the motion of published clips is packed in them.

Source: "LZ4 Frame Format Description" 1.6 and "LZ4 Block Format Description" (lz4/lz4, doc/). Checksums are skipped:
what is read is checked for shape and values afterwards.
"""

from __future__ import annotations

import struct

from loopcore.errors import MotionError

MAGIC = b"\x04\x22\x4d\x18"
_UNPACKED = 0x80000000  # bit of a block's size: its bytes are stored as they are
_SIZE, _CHECKSUM, _BLOCK_CHECKSUM, _DICTIONARY = 0x08, 0x04, 0x10, 0x01


def decompress(data: bytes, most: int) -> bytes:
    """What an LZ4 frame holds, ``most`` bytes at most.

    Raises:
        MotionError: not such a frame, cut short, damaged, or larger than ``most``.
    """
    try:
        return bytes(_frame(data, most))
    except (IndexError, struct.error):
        raise MotionError("its LZ4 data is cut short or damaged") from None


def _frame(data: bytes, most: int) -> bytearray:
    flags = data[4]
    if not data.startswith(MAGIC) or flags >> 6 != 1 or flags & _DICTIONARY:
        raise MotionError("it is no LZ4 frame of version 1")
    at = 7 + (8 if flags & _SIZE else 0)
    out = bytearray()
    while True:
        (size,) = struct.unpack_from("<I", data, at)
        at += 4
        if not size:
            return out
        stored, size = bool(size & _UNPACKED), size & ~_UNPACKED
        block = data[at : at + size]
        if len(block) < size:
            raise IndexError
        at += size + (4 if flags & _BLOCK_CHECKSUM else 0)
        if stored:
            out += block
        else:
            _block(block, out, most)
        if len(out) > most:
            raise _too_large(most)


def _block(block: bytes, out: bytearray, most: int) -> None:
    """Appends what a block holds: runs of its own bytes, each followed by a copy of what came before."""
    at, end = 0, len(block)
    while True:
        token = block[at]
        count, at = _length(block, at + 1, token >> 4)
        if at + count > end:
            raise IndexError
        out += block[at : at + count]
        at += count
        if at == end:  # the last run has no copy after it
            return
        back = block[at] | block[at + 1] << 8
        count, at = _length(block, at + 2, token & 15)
        count += 4
        start = len(out) - back
        if back == 0 or start < 0:
            raise IndexError
        if len(out) + count > most:  # before it is unpacked: a few bytes can stand for gigabytes
            raise _too_large(most)
        if count <= back:
            out += out[start : start + count]
        else:  # a copy that reaches into itself repeats
            out += (out[start:] * (count // back + 1))[:count]


def _too_large(most: int) -> MotionError:
    return MotionError(f"its LZ4 data unpacks to more than {most} bytes")


def _length(block: bytes, at: int, length: int) -> tuple[int, int]:
    if length == 15:
        while True:
            more = block[at]
            at += 1
            length += more
            if more != 255:
                break
    return length, at
