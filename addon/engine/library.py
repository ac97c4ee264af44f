# SPDX-License-Identifier: GPL-3.0-or-later
"""The add-on's loopcore, unpacked from its wheel, for Pythons that have its dependencies but not loopcore itself.

Unpacked because compiled kernels are cached in the code's folder, which is impossible in a zip.
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
    """Return the subfolder of `folder` with the contents of `wheel`, unpacked once; removes those of other wheels.

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
    """Rename, unless another Blender has done so. On Windows a virus scanner may hold new files for a moment."""
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
