# SPDX-License-Identifier: GPL-3.0-or-later
"""What the worker says, in the words of the panel: it was written for the command line."""

import re

# Options and files of the command line, which a panel has buttons for.
_ASIDE = re.compile(r"\s*\((?:[^()]*--[^()]*|in the hints)\)")
_OTHER_WAY = re.compile(r",? or give a motion field")
_STROKE = re.compile(r"strokes\[(\d+)\](?:\.\w+(?:\[\d+\])?)?")


def for_artists(message: str, strokes: list[str]) -> str:
    """`message` without options of the command line, strokes by the names that they have, in the order of the hints."""

    def named(found: re.Match) -> str:
        index = int(found[1])
        return f'the stroke "{strokes[index]}"' if index < len(strokes) else found[0]

    text = _STROKE.sub(named, _OTHER_WAY.sub("", _ASIDE.sub("", message)))
    return text[:1].upper() + text[1:]
