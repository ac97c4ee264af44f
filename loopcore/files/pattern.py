# SPDX-License-Identifier: Apache-2.0
"""Names of a sequence's files (``plate_loop.####.exr``), and finding them in a folder."""

import os
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from loopcore.errors import SequenceError
from loopcore.files.regular import list_files

MAX_PADDING = 12

_TOKEN = re.compile(r"#+|%(?:0[0-9]+)?d")
_NUMBERED = re.compile(
    r"(?P<prefix>.*?)(?P<number>(?:(?<=[._])-|^-)?[0-9]+)(?P<suffix>\.[A-Za-z][A-Za-z0-9]*)", re.DOTALL
)
_EXTENSION = re.compile(r"\.(?!v[0-9])[A-Za-z][A-Za-z0-9]{1,4}", re.IGNORECASE)


def check_letters(text: str, name: str) -> None:
    """Raises SequenceError, about ``name``, if a text cannot be part of a file name, or would leave the folder."""
    forbidden = "/\\" + (':*?"<>|' if os.name == "nt" else "")
    for letter in text:
        if 0xD800 <= ord(letter) <= 0xDFFF:
            raise SequenceError(
                f"file name {name!r} may not hold {letter!r}, which is not {sys.getfilesystemencoding()}: rename the "
                "file that it is taken from, or choose another name"
            )
        if letter in forbidden or ord(letter) < 32:
            raise SequenceError(f"file name {name!r} may not hold {letter!r}: choose a plainer name")


@dataclass(frozen=True)
class FramePattern:
    """The names of a sequence's files: ``folder/prefix + number + suffix``.

    Convention: one ``#`` is one digit (``####`` gives 1001, 0007, -007, 10000), the same as ``%04d``;
    ``#`` and ``%d`` do not pad. Names padded otherwise do not belong to the sequence.
    """

    folder: Path
    prefix: str
    suffix: str
    padding: int = 4

    def __post_init__(self) -> None:
        object.__setattr__(self, "folder", Path(self.folder))
        check_letters(self.prefix + self.suffix, self.name)
        if not 1 <= self.padding <= MAX_PADDING:
            raise SequenceError(f"file name {self.name!r} pads to {self.padding} digits: use 1 to {MAX_PADDING}")

    @classmethod
    def from_text(cls, text: str | Path, folder: str | Path | None = None) -> "FramePattern":
        """Parse ``plate_loop.####.exr``, ``plate_loop.%04d.exr``, or a plain name.

        A plain name (``plate_loop.exr``) gets ``.####`` before its extension; the name of one frame
        (``plate_loop.1001.exr``) gives its sequence. With ``folder`` the text must be a bare file
        name, so that a name from a file or a farm job cannot leave that folder.

        Raises:
            SequenceError: more than one frame number, one in the folder's name, or a name that leaves ``folder``.
        """
        text = str(text)
        name = Path(text).name
        if folder is None:
            folder = Path(text).parent
        elif name != text:
            raise SequenceError(f"frame pattern {text!r} must be a bare file name inside '{folder}'")
        if name in ("", ".", ".."):
            raise SequenceError(f"frame pattern {text!r} has no file name: write one like plate_loop.####.exr")
        tokens = list(_TOKEN.finditer(name))
        if len(tokens) > 1:
            raise SequenceError(f"frame pattern {text!r} has {len(tokens)} places for the frame number: keep one")
        if not tokens:
            return cls._from_plain_name(Path(folder), name)
        if _TOKEN.search(str(Path(text).parent)):
            raise SequenceError(f"frame pattern {text!r} numbers its folder: only the file name may be numbered")
        token = tokens[0].group()
        digits = len(token) if token[0] == "#" else int(token[1:-1][:4] or 1)
        return cls(Path(folder), name[: tokens[0].start()], name[tokens[0].end() :], max(digits, 1))

    @classmethod
    def _from_plain_name(cls, folder: Path, name: str) -> "FramePattern":
        numbered = _NUMBERED.fullmatch(name)
        if numbered and (not numbered["prefix"] or numbered["prefix"].endswith(".")):
            return cls(folder, numbered["prefix"], numbered["suffix"], len(numbered["number"]))
        extension = Path(name).suffix
        if not _EXTENSION.fullmatch(extension):
            extension = ""
        return cls(folder, name[: len(name) - len(extension)] + ".", extension)

    @property
    def name(self) -> str:
        """The file name with one ``#`` per digit."""
        return f"{self.prefix}{'#' * min(self.padding, MAX_PADDING)}{self.suffix}"

    def path(self, frame: int) -> Path:
        """Return the file of one frame."""
        return self.folder / f"{self.prefix}{frame:0{self.padding}d}{self.suffix}"

    def find(self) -> dict[int, Path]:
        """Return the frames that exist, ascending, with their files.

        Raises:
            SequenceError: the folder is missing or cannot be listed.
        """
        found = {}
        for name in list_files(self.folder):
            if not (name.startswith(self.prefix) and name.endswith(self.suffix)):
                continue
            number = name[len(self.prefix) : len(name) - len(self.suffix)]
            if len(number) > MAX_PADDING + 1 or not re.fullmatch(r"-?[0-9]+", number, re.ASCII):
                continue
            if self.path(int(number)).name == name:
                found[int(number)] = self.folder / name
        return dict(sorted(found.items()))

    def find_all(self) -> dict[int, Path]:
        """Return the frames that exist, ascending, with their files, provided that they have no gaps.

        Raises:
            SequenceError: there is no frame, or some are missing; the message names them.
        """
        found = self.find()
        if not found:
            raise SequenceError(f"no frame of {self.name} in '{self.folder}'")
        gaps = [f"{a + 1}-{b - 1}" if b - a > 2 else f"{a + 1}" for a, b in pairwise(found) if b - a > 1]
        if gaps:
            named = ",".join(gaps[:12]) + (",..." if len(gaps) > 12 else "")
            raise SequenceError(f"{self.name} in '{self.folder}' lacks frames {named}: render them first")
        return found


def find_sequence(folder: str | Path, suffixes: Iterable[str] = (".exr", ".png")) -> FramePattern:
    """Return the pattern of the one numbered sequence in a folder.

    Single numbered files beside a sequence of several frames are ignored.

    Raises:
        SequenceError: no sequence, more than one, or one frame under two names (``a.7.exr`` and ``a.0007.exr``).
    """
    folder = Path(folder)
    wanted = {suffix.lower() for suffix in suffixes}
    groups: dict[tuple[str, str], list[str]] = {}
    for name in list_files(folder):
        numbered = _NUMBERED.fullmatch(name)
        if numbered and numbered["suffix"].lower() in wanted and len(numbered["number"]) <= MAX_PADDING:
            groups.setdefault((numbered["prefix"], numbered["suffix"]), []).append(numbered["number"])
    patterns = [
        # The padding is the shortest width; longer numbers exceed it.
        (FramePattern(folder, prefix, suffix, min(map(len, numbers))), numbers)
        for (prefix, suffix), numbers in sorted(groups.items())
    ]
    several = [entry for entry in patterns if len(entry[1]) > 1] or patterns
    if not several:
        raise SequenceError(f"no numbered frames ({', '.join(sorted(wanted))}) in '{folder}'")
    if len(several) > 1:
        names = ", ".join(pattern.name for pattern, _ in several[:5])
        raise SequenceError(f"'{folder}' holds {len(several)} sequences ({names}): say which")
    pattern, numbers = several[0]
    stray = sorted(number for number in numbers if f"{int(number):0{pattern.padding}d}" != number)
    if stray:
        raise SequenceError(
            f"'{folder}' holds frame numbers of different widths for {pattern.name} "
            f"({pattern.prefix}{stray[0]}{pattern.suffix}): rename or remove the odd ones"
        )
    return pattern
