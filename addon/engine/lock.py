# SPDX-License-Identifier: GPL-3.0-or-later
"""A lock between processes: only one Blender at a time changes the environment that all of a user's Blenders share,
and none while another uses it.

It is the system's lock on a file, released by the system when the process ends, so it is never stale. The file remains,
and contains a description of the last holder.
"""

import contextlib
import errno
import os
import time
from pathlib import Path

# Offset of the locked byte: after the text, since on Windows locked bytes cannot be read.
_PLACE = 1 << 30


class Lock:
    """A lock that is held from `take` to `free` or to the end of the process."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: int | None = None

    def take(self) -> bool:
        """Try to take the lock, without waiting; returns whether it is held.

        May fail while another process runs `is_held`: retry. Always succeeds on file systems without locks.

        Raises:
            OSError: the file cannot be created.
        """
        if self._file is not None:
            return True
        file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
        if not _locked(file):
            os.close(file)
            return False
        self._file = file
        os.ftruncate(file, 0)
        os.write(file, f"process {os.getpid()}, since {time.strftime('%H:%M')}".encode())
        return True

    def free(self) -> None:
        """Release the lock. Does nothing if it is not held."""
        file, self._file = self._file, None
        if file is not None:
            os.close(file)

    def is_held(self) -> bool:
        """Return whether any process, including this one, holds the lock."""
        if self._file is not None:
            return True
        try:
            file = os.open(self.path, os.O_RDWR)
        except OSError:
            return False
        try:
            return not _locked(file)
        finally:
            os.close(file)

    def holder(self) -> str:
        """Return a description of the holder for the user."""
        with contextlib.suppress(OSError, UnicodeDecodeError):
            if who := self.path.read_text("utf-8").strip():
                return f"Another Blender ({who})"
        return "Another Blender"


def _locked(file: int) -> bool:
    """Lock an open file without waiting; returns False if another process holds it. Closing the file releases it."""
    try:
        if os.name == "nt":
            import msvcrt

            os.lseek(file, _PLACE, os.SEEK_SET)
            try:
                msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
            finally:
                os.lseek(file, 0, os.SEEK_SET)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in (errno.EACCES, errno.EAGAIN, errno.EDEADLK)
    return True
