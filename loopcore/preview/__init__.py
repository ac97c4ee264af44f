# SPDX-License-Identifier: Apache-2.0
"""Pictures and films for viewing only: a loop as mp4 or contact sheet, a motion field as colours or arrows."""

from loopcore.preview.arrows import arrow_picture
from loopcore.preview.film import write_film
from loopcore.preview.flow import flow_picture
from loopcore.preview.frames import display_picture, preview_sequence
from loopcore.preview.sheet import contact_sheet, write_picture

__all__ = [
    "arrow_picture",
    "contact_sheet",
    "display_picture",
    "flow_picture",
    "preview_sequence",
    "write_film",
    "write_picture",
]
