# SPDX-License-Identifier: GPL-3.0-or-later
"""The add-on's own loopcore, unpacked from its wheel, for Pythons that have all that it needs but not loopcore itself.

Not the wheel itself: kernels that were compiled once are kept beside the code, which a zip has no place for.
"""

import hashlib
import os
import shutil
import tempfile
import time
import zipfile
from pathlib import Path

_PREFIX = "loopcore-"


def unpacked(wheel: Path, folder: Path) -> Path:
    """The folder in `folder` that holds what is in `wheel`, made when there is none; those of other wheels go.

    Raises:
        OSError, zipfile.BadZipFile: it cannot be unpacked.
    """
    place = folder / f"{_PREFIX}{hashlib.sha256(wheel.read_bytes()).hexdigest()[:16]}"
    if place.is_dir():
        return place
    folder.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f".{_PREFIX}", dir=folder))
    try:
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(part)
        _move(part, place)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    for other in folder.glob(f"{_PREFIX}*"):
        if other != place and other.is_dir():
            shutil.rmtree(other, ignore_errors=True)
    return place


def _move(part: Path, place: Path) -> None:
    """Unless another Blender was first. On Windows what looks at new files may hold them for a moment."""
    for delay in (0.1, 0.4, 1.0, 0.0):
        try:
            os.replace(part, place)
            return
        except OSError:
            if place.is_dir():
                return
            if not delay:
                raise
            time.sleep(delay)
