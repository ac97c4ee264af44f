# SPDX-License-Identifier: Apache-2.0
"""Kernels run in new processes, to see where their compiled code comes from and goes to."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import loopcore

PACKAGE = Path(loopcore.__path__[0])
# A kernel of loop/blend.py that fetches beyond the border, by a function of transport/cpu.py.
FETCH = """
import numpy as np
from loopcore.loop import blend
out = np.zeros(4, np.float32)
blend.fetch_along(np.ones(256, np.float32), 8, 8, *np.array([-3, -3, 1, 0], np.float32), out, 0)
print(float(out[0]), *blend.fetch_along.stats.cache_hits.values(), blend.fetch_along.stats.cache_path)
"""


class Ran(NamedTuple):
    """What a script printed: the kernel's result, how often it came from the cache, its folder; and on stderr."""

    value: float
    hits: int
    folder: Path | None
    err: str


def copy_package(folder: Path) -> Path:
    """Copy the package, with a cache of its own, into a folder."""
    shutil.copytree(PACKAGE, folder / "loopcore", ignore=shutil.ignore_patterns("__pycache__", "weights"))
    return folder


def run(folder: Path, script: str = FETCH, *, limit: Any = None, **environment: str) -> Ran:
    """Run a script in a new process that imports from a folder.

    Args:
        limit: called in the process before it starts.
    """
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("NUMBA_")}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, cwd=folder, preexec_fn=limit,
        env={**inherited, "PYTHONPATH": f"{folder}{os.pathsep}{PACKAGE.parent}", **environment},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    value, *hits, path = done.stdout.split()
    return Ran(float(value), sum(map(int, hits)), None if path == "None" else Path(path), done.stderr)
