# SPDX-License-Identifier: Apache-2.0
"""A small scene for farms, and `loopcore` as an executable that they start."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import _scenes

from loopcore.cli import main

WIDTH, HEIGHT = 96, 64


def scene(folder: Path, plate: str = "plate.png") -> tuple[Path, Path]:
    """Write a plate of real water and hints for it."""
    folder.mkdir(parents=True, exist_ok=True)
    return (
        _scenes.png(folder / plate, width=WIDTH, height=HEIGHT),
        _scenes.hints(folder / "hints.json", WIDTH, HEIGHT),
    )


def loopcore(*arguments: object) -> None:
    """Run a command in this process; it has to succeed."""
    assert main([str(argument) for argument in arguments]) == 0


def executables(folder: Path) -> dict[str, str]:
    """Write `loopcore` for this Python into a folder, and return an environment whose PATH begins with it.

    The script writes its process id to the file that LOOPCORE_PID names.
    """
    folder.mkdir(parents=True, exist_ok=True)
    script = folder / "loopcore"
    root = Path(__file__).resolve().parents[1]
    script.write_text(
        f'#!/bin/sh\necho $$ > "${{LOOPCORE_PID:-/dev/null}}"\nexec "{sys.executable}" -m loopcore "$@"\n'
    )
    script.chmod(0o755)
    path = os.pathsep.join([str(folder), str(Path(sys.executable).parent), os.environ["PATH"]])
    python_path = os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    return _scenes.environment({"PATH": path, "PYTHONPATH": python_path})


def files(folder: Path) -> dict[str, bytes]:
    """The files of a folder and those below, by relative name, without the motion that a farm's Predict writes."""
    found = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    found.pop("motion_predicted.exr", None)
    return found
