# SPDX-License-Identifier: Apache-2.0
"""The formats, depths and compressions of frames."""

from __future__ import annotations

from loopcore.errors import SequenceError

COMPRESSIONS = ("zip", "zips", "piz", "rle", "none", "pxr24", "dwaa", "dwab")
FORMATS = {"exr": ("half", "float"), "png": ("8", "16")}


def check_format(format: str, depth: str | None, compression: str = "zip") -> None:
    """Checks what `bake` takes.

    Args:
        format: of the frames.
        depth: of their pixels; None is chosen by the format.
        compression: of EXR frames.

    Raises:
        SequenceError: one is unknown, or has no meaning for the format.
    """
    if format not in FORMATS:
        raise SequenceError(f"unknown format {format!r}: choose one of {', '.join(FORMATS)}")
    if depth is not None and depth not in FORMATS[format]:
        raise SequenceError(f"{format} has no depth {depth!r}: choose one of {', '.join(FORMATS[format])}")
    if compression not in COMPRESSIONS:
        raise SequenceError(f"unknown compression {compression!r}: choose one of {', '.join(COMPRESSIONS)}")
    if format == "png" and compression != "zip":
        raise SequenceError(f"compression {compression!r} has no meaning for PNG, only for EXR: leave it out")
