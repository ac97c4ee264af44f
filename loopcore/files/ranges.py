# SPDX-License-Identifier: Apache-2.0
"""The text of a frame range: ``1001-1024,1030``."""

import re
from collections.abc import Iterable

from loopcore.errors import SequenceError

MAX_FRAMES = 1_000_000
MAX_FRAME_NUMBER = 999_999_999
_PIECE = re.compile(r"\s*(-?[0-9]+)\s*(?:-\s*(-?[0-9]+)\s*(?:[x:]\s*(-?[0-9]+)\s*)?)?", re.ASCII | re.IGNORECASE)


def parse_range(text: str) -> tuple[int, ...]:
    """Return the frames of a frame range, ascending, without duplicates.

    Pieces are separated by commas: ``1001`` one frame, ``1001-1024`` both ends included, ``1-100x2`` or
    ``1-100:2`` every second one from the first. Numbers may be negative (``-10--5``); spaces are ignored.
    Pieces may overlap, in any order.

    Raises:
        SequenceError: a piece is not a range, runs backward or steps by less than 1, or there are more than
            ``MAX_FRAMES`` frames.
    """
    frames: set[int] = set()
    named = 0
    for piece in text.split(","):
        span = _parse_piece(piece, text)
        # Counted with duplicates, so that the work is bounded too.
        named += len(span)
        if named > MAX_FRAMES:
            raise SequenceError(f"frame range {_quote(text)} names more than {MAX_FRAMES} frames at {_quote(piece)}")
        frames.update(span)
    return tuple(sorted(frames))


def check_frames(frames: int, first: int) -> None:
    """Raises SequenceError if a loop has more than ``MAX_FRAMES`` frames, or numbers beyond ``MAX_FRAME_NUMBER``."""
    if frames > MAX_FRAMES or max(abs(first), abs(first + frames - 1)) > MAX_FRAME_NUMBER:
        raise SequenceError(
            f"{frames} frames numbered from {first}: at most {MAX_FRAMES} frames are possible, with numbers up to "
            f"{MAX_FRAME_NUMBER}"
        )


def _parse_piece(piece: str, text: str) -> range:
    where = f"{_quote(piece.strip())} in frame range {_quote(text)}"
    found = _PIECE.fullmatch(piece)
    if not found:
        raise SequenceError(f"cannot read {where}: write frames like 1001, 1001-1024 or 1-100x2, joined by commas")
    first = _parse_number(found[1], where)
    last = _parse_number(found[2] or found[1], where)
    step = _parse_number(found[3] or "1", where)
    if last < first:
        raise SequenceError(f"{where} runs backward: write it ascending, {last}-{first}")
    if step < 1:
        raise SequenceError(f"{where} steps by {step}: a step is 1 or more")
    return range(first, last + 1, step)


def _parse_number(digits: str, where: str) -> int:
    # Length first: Python raises an error of its own for thousands of digits.
    if len(digits) > 20 or abs(int(digits)) > MAX_FRAME_NUMBER:
        raise SequenceError(f"{where}: {_quote(digits)} is beyond the largest frame number, {MAX_FRAME_NUMBER}")
    return int(digits)


def _quote(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "...")


def format_range(frames: Iterable[int]) -> str:
    """Return the text that ``parse_range`` parses to these frames.

    Order and duplicates do not matter. Three or more evenly spaced frames become one piece;
    no frames give an empty text.
    """
    left = sorted(set(frames))
    pieces: list[str] = []
    start = 0
    while start < len(left):
        stop = _even_run(left, start)
        if stop - start < 3:
            pieces.append(str(left[start]))
            start += 1
            continue
        step = left[start + 1] - left[start]
        pieces.append(f"{left[start]}-{left[stop - 1]}" + (f"x{step}" if step > 1 else ""))
        start = stop
    return ",".join(pieces)


def _even_run(frames: list[int], start: int) -> int:
    """Return the end (exclusive) of the evenly spaced run that begins at ``start``."""
    stop = min(start + 2, len(frames))
    while stop < len(frames) and frames[stop] - frames[stop - 1] == frames[start + 1] - frames[start]:
        stop += 1
    return stop
