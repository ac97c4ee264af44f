# SPDX-License-Identifier: Apache-2.0
"""Checks of files and folders before they are opened."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path
from typing import BinaryIO

from loopcore.errors import PlateError, SequenceError

# Largest sizes in bytes by what a file holds: text (settings, recipes, manifests, reports), 2^29 pixels, weights.
TEXT, PIXELS, WEIGHTS = 64 << 20, 5 << 30, 4 << 30


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


def open_regular(path: str | os.PathLike[str], largest: int = sys.maxsize) -> BinaryIO:
    """Open a file for reading, unless it is a FIFO or a device, which could wait or be read for ever.

    Args:
        path: of the file.
        largest: size in bytes.

    Raises:
        OSError: it cannot be opened, is not a regular file, or is larger.
    """
    # Not to wait for a FIFO's writer; it has no effect on regular files.
    file = open(path, "rb", opener=lambda name, flags: os.open(name, flags | getattr(os, "O_NONBLOCK", 0)))
    status = os.fstat(file.fileno())
    if stat.S_ISREG(status.st_mode) and status.st_size <= largest:
        return file
    file.close()
    if not stat.S_ISREG(status.st_mode):
        raise OSError("it is a FIFO or a device: give a regular file")
    raise OSError(f"it has {status.st_size >> 20} MiB, more than {largest >> 20} MiB: is it the right file?")


def read_regular(path: str | os.PathLike[str], largest: int) -> bytes:
    """Return a file's bytes; as `open_regular`."""
    with open_regular(path, largest) as file:
        return file.read(largest)


def check_regular(path: str | os.PathLike[str], largest: int = sys.maxsize) -> None:
    """Check a file that a library opens by its name; as `open_regular`."""
    open_regular(path, largest).close()


def is_inside(path: Path, folder: Path) -> bool:
    """Return whether a path, which need not exist, leads into a folder once links are followed."""
    # Not Path.resolve, which raises RuntimeError for a link to itself before Python 3.13.
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))


def utf8_name(path: str | os.PathLike[str]) -> str:
    """Return a path as text for a library that opens files by UTF-8 names, whatever the system's encoding.

    Raises:
        OSError: the name on disk is not UTF-8.
    """
    try:
        return os.fsencode(path).decode()
    except UnicodeDecodeError:
        raise OSError("its path is not UTF-8, which this kind of file needs: rename the file or its folder") from None


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
