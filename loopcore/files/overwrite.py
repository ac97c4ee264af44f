# SPDX-License-Identifier: Apache-2.0
"""Refuses to overwrite the files that a command reads."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path

from loopcore.errors import SequenceError


def refuse_overwriting(inputs: Iterable[Path | None], outputs: Iterable[Path]) -> None:
    """Checks that no output is an input, under the same or another name, links included.

    Args:
        inputs: files that are read; None and missing files are ignored.
        outputs: files to be written; they may be missing.

    Raises:
        SequenceError: an output is an input.
    """
    known = {key: path for path in inputs if path is not None and (key := _identity(path)) is not None}
    if not known:
        return
    for output in outputs:
        if (source := known.get(_identity(output))) is not None:
            named = "an input" if source == output else f"the input '{source}'"
            raise SequenceError(f"'{output}' is {named} and would be overwritten: choose another output")


def _identity(path: Path) -> object:
    """Returns what identifies an existing regular file, as `os.path.samefile` does; None for others."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    if not stat.S_ISREG(found.st_mode):
        return None
    # Some Windows file systems number no files.
    return (found.st_dev, found.st_ino) if found.st_ino else os.path.normcase(os.path.realpath(path))
