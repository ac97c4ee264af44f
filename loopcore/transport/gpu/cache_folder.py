# SPDX-License-Identifier: Apache-2.0
"""Where Triton keeps compiled kernels: its own folder of the home, else the private one of the CPU's kernels."""

from __future__ import annotations

import os
from pathlib import Path

from loopcore.transport.kernel_cache import private_folder, say_once

VARIABLE = "TRITON_CACHE_DIR"


def choose_cache_folder() -> None:
    """Sets TRITON_CACHE_DIR for this process where it is unset and Triton's own folder cannot be written."""
    own = Path(os.environ.get("TRITON_HOME") or os.path.expanduser("~"), ".triton", "cache")
    if os.environ.get(VARIABLE) or _is_writable(own):
        return
    folder = private_folder()
    if folder is not None:
        os.environ[VARIABLE] = str(folder / "triton")
        text = f"Triton's compiled kernels are kept in '{folder / 'triton'}', as '{own}' cannot be written"
        say_once("triton", f"{text}; {VARIABLE} chooses another folder")


def _is_writable(folder: Path) -> bool:
    if not folder.is_absolute():  # of an unknown home
        return False
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK | os.X_OK)
