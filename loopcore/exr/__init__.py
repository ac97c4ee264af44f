# SPDX-License-Identifier: Apache-2.0
"""OpenEXR files: reading and writing, with checks that the OpenEXR bindings lack."""

from loopcore.exr.layout import MAGIC, Window, window_size
from loopcore.exr.packed import check_packed
from loopcore.exr.reading import HALF_MAX, ExrPart, as_stored, is_complete, read_attributes, read_exr
from loopcore.exr.windows import Windows
from loopcore.exr.writing import COMPRESSIONS, writable, write_exr, write_parts

__all__ = [
    "COMPRESSIONS",
    "HALF_MAX",
    "MAGIC",
    "ExrPart",
    "Window",
    "Windows",
    "as_stored",
    "check_packed",
    "is_complete",
    "read_attributes",
    "read_exr",
    "window_size",
    "writable",
    "write_exr",
    "write_parts",
]
