# SPDX-License-Identifier: GPL-3.0-or-later
"""Adapt the worker's messages, written for the command line, to the panel."""

import re

# Options of the command line: the panel has buttons for them.
_OPTION_NOTE = re.compile(r"\s*\((?:[^()]*--[^()]*|in the hints)\)")
_FIELD_NOTE = re.compile(r",? or give a motion field")
_STROKE = re.compile(r"strokes\[(\d+)\](?:\.\w+(?:\[\d+\])?)?")


def for_artists(message: str, strokes: list[str]) -> str:
    """Return `message` without command-line options, and with the names of strokes instead of their indices."""

    def named(found: re.Match) -> str:
        index = int(found[1])
        return f'the stroke "{strokes[index]}"' if index < len(strokes) else found[0]

    text = _STROKE.sub(named, _FIELD_NOTE.sub("", _OPTION_NOTE.sub("", message)))
    return text[:1].upper() + text[1:]
