# SPDX-License-Identifier: GPL-3.0-or-later
"""Find a Python to create the private environment with."""

import os
import shutil
import subprocess
from functools import lru_cache
from pathlib import Path

from .process import clean_environment


def find_base_python(own: Path) -> Path | None:
    """Return `own`, Blender's Python, if it can create environments, else the first on PATH that can, else None."""
    names = [f"python3.{minor}" for minor in (12, 11, 13)] + ["python3", "python"]
    found = (shutil.which(name) for name in names)
    for candidate in [own, *(Path(path) for path in found if path)]:
        if _can_create_environments(candidate):
            return candidate
    return None


@lru_cache(maxsize=16)
def _can_create_environments(python: Path) -> bool:
    test = "import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))"
    flags = subprocess.CREATE_NO_WINDOW if os.name == "nt" else 0
    try:
        done = subprocess.run(
            [str(python), "-I", "-c", test], env=clean_environment(), stdin=subprocess.DEVNULL, capture_output=True,
            timeout=10, creationflags=flags,
        )  # fmt: skip
    except (OSError, ValueError, subprocess.SubprocessError):
        return False
    return done.returncode == 0
