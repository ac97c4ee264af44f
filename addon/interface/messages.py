# SPDX-License-Identifier: GPL-3.0-or-later
"""Adapt messages to the panel: the worker's, written for the command line, and their lines to its width."""

import re

from ..texts import rpt_, sentences

# Options of the command line: the panel has buttons for them.
_OPTION_NOTE = re.compile(r"\s*\((?:[^()]*--[^()]*|in the hints)\)")
_HINTS_FILE = re.compile(r"^hints .*?hints\.json: ")
_FIELD_NOTE = re.compile(r",? or give a motion field")
_HINT = re.compile(r"(stroke|flip)s\[(\d+)\](?:\.\w+(?:\[\d+\])?)?")

PIXELS_PER_LETTER = 7  # of the interface's font, on average
# Where a path or a name may be parted: after these characters.
_PARTS = re.compile(r"[^/\\_.,:=-]*[/\\_.,:=-]+|[^/\\_.,:=-]+")


def letters_in(context) -> int:
    """Return how many letters fit in a line of the region."""
    scale = context.preferences.system.ui_scale
    return max(20, int((context.region.width / scale - 60) / PIXELS_PER_LETTER))


def wrapped(text: str, letters: int) -> list[str]:
    """Return `text` in lines of at most `letters`: parted at spaces, a longer word after a separator if it has any."""
    lines = [""]
    for word in text.split():
        joint = " " if lines[-1] else ""
        if len(lines[-1] + joint + word) <= letters:
            lines[-1] += joint + word
            continue
        if lines[-1]:
            lines.append("")
        for part in _PARTS.findall(word) if len(word) > letters else [word]:
            if lines[-1] and len(lines[-1] + part) > letters:
                lines.append("")
            lines[-1] += part
    return [piece for line in lines for piece in _pieces(line, letters)]


def _pieces(line, letters):
    """Cut what has no separator."""
    return [line[start : start + letters] for start in range(0, max(1, len(line)), letters)]


def for_artists(message: str, names: dict[str, list[str]]) -> str:
    """Return `message` without files and command-line options, with the names of strokes and flips, not indices.

    Args:
        message: the worker's.
        names: of the objects of "strokes" and "flips".
    """

    def named(found: re.Match) -> str:
        known, index = names.get(f"{found[1]}s", []), int(found[2])
        kind = rpt_('the stroke "{name}"') if found[1] == "stroke" else rpt_('the flip "{name}"')
        return kind.format(name=known[index]) if index < len(known) else found[0]

    text = _HINT.sub(named, _FIELD_NOTE.sub("", _OPTION_NOTE.sub("", _HINTS_FILE.sub("", message))))
    return text[:1].upper() + text[1:]


def predicted(found: dict) -> str:
    """Return the outcome of a prediction, from the worker's result."""
    share, few = found["moving"], found["moving"] < 0.01
    if found["predicted"]:
        text = rpt_("Motion predicted: less than 1 % of the picture moves")
        text = text if few else rpt_("Motion predicted: {percent:.0f} % of the picture moves")
    else:
        text = rpt_("Motion solved from the strokes: less than 1 % of the picture moves")
        text = text if few else rpt_("Motion solved from the strokes: {percent:.0f} % of the picture moves")
    return sentences(text.format(percent=100 * share), guessed(found))


def guessed(found: dict) -> str:
    """Return a sentence: where the direction of the worker's result is a guess; empty if nowhere."""
    places = found["guesses"]
    if not places:
        return ""
    names = list(dict.fromkeys(_place(x / found["width"], y / found["height"]) for x, y in places))
    text = rpt_("Direction is a guess in 1 region ({places}): Flip or draw a stroke")
    if len(places) > 1:
        text = rpt_("Direction is a guess in {count} regions ({places}): Flip or draw a stroke")
    return text.format(count=len(places), places=", ".join(names[:3]))


def _place(x: float, y: float) -> str:
    """Return the name of a place in the picture; x and y from 0 to 1, y down."""
    names = (
        (rpt_("top left"), rpt_("top"), rpt_("top right")),
        (rpt_("left"), rpt_("middle"), rpt_("right")),
        (rpt_("bottom left"), rpt_("bottom"), rpt_("bottom right")),
    )
    return names[_third(y)][_third(x)]


def _third(share: float) -> int:
    return 0 if share < 1 / 3 else 2 if share > 2 / 3 else 1
