# SPDX-License-Identifier: Apache-2.0
"""Checks of files and folders before they are opened."""

from __future__ import annotations

import os
from pathlib import Path

from loopcore.errors import PlateError, SequenceError


def existing_file(path: str | os.PathLike[str]) -> Path:
    """Return `path` as the Path of an existing file.

    Raises:
        PlateError: it is missing, a folder, not a regular file, or not a path.
    """
    try:
        source = Path(path)
        if source.is_dir():
            raise PlateError(f"{source} is a folder: give a file")
        if not source.exists():
            raise PlateError(f"{source} does not exist")
        if not source.is_file():
            raise PlateError(f"{source} is not a regular file")
    except (TypeError, ValueError, OSError) as error:
        if isinstance(error, PlateError):
            raise
        raise PlateError(f"{path!r} is not a path to a file: {error}") from error
    return source


def list_files(folder: Path) -> list[str]:
    """Return the names of the files in a folder; raise SequenceError if it cannot be listed."""
    try:
        with os.scandir(folder) as entries:
            return [entry.name for entry in entries if entry.is_file()]
    except OSError as error:
        raise SequenceError(f"cannot list folder '{folder}': {os_reason(error)}") from error


def os_reason(error: OSError, *ours: Path) -> str:
    """Return the system's message for an error, and the file it names unless that is among ``ours``."""
    words = error.strerror or str(error) or type(error).__name__
    if isinstance(error.filename, str | bytes) and ours and Path(os.fsdecode(error.filename)) not in ours:
        words += f" ('{os.fsdecode(error.filename)}')"
    if isinstance(error, PermissionError):
        words += "; may this user write there, and is it closed in other programs?"
    return words
