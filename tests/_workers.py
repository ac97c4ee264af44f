# SPDX-License-Identifier: Apache-2.0
"""What the tests of workers share, whoever starts them: a request, and whether processes have gone."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path
from typing import Any

import _scenes


def make_scene(parent: Path) -> Path:
    """A plate and hints, in a folder whose name has all that names should not have."""
    folder = parent / ("it's a größe 滝 %d" + ("" if os.name == "nt" else ' "x"'))
    folder.mkdir()
    _scenes.png(folder / "plate.png")
    _scenes.hints(folder / "hints.json")
    return folder


def animation(scene: Path, folder: Path, **more: object) -> dict[str, Any]:
    """Parameters of `animate` for the plate and hints in `scene`."""
    return {"plate": str(scene / "plate.png"), "hints": str(scene / "hints.json"), "folder": str(folder), **more}


def alive(pid: int) -> bool:
    """Whether it runs; one that only waits to be asked how it ended does not."""
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    stat = Path(f"/proc/{pid}/stat")
    return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] != "Z"


def group(pid: int) -> list[int]:
    """A process and its children."""
    done = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=True)
    rows = [tuple(map(int, line.split())) for line in done.stdout.splitlines()]
    return [pid, *(child for child, parent in rows if parent == pid)]


def seconds_until_gone(pids: list[int]) -> float:
    """Wait for their end; how long that took."""
    start = time.monotonic()
    while any(alive(pid) for pid in pids):
        assert time.monotonic() < start + 20, "still there"
        time.sleep(0.01)
    return time.monotonic() - start
