# SPDX-License-Identifier: Apache-2.0
"""Helpers of the setup tests: small wheels, and polling as Blender does."""

from __future__ import annotations

import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import _package

setup = _package.module("engine.setup")


def wheel(folder: Path, name: str, files: dict[str, str], requires: tuple[str, ...] = ()) -> Path:
    """Write a small wheel, version 0.1.0, with these files."""
    info = f"{name}-0.1.0.dist-info"
    about = [f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.1.0"] + [f"Requires-Dist: {r}" for r in requires]
    contents = {
        **files,
        f"{info}/METADATA": "\n".join(about) + "\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    contents[f"{info}/RECORD"] = "".join(f"{path},,\n" for path in [*contents, f"{info}/RECORD"])
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-0.1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for inside, text in contents.items():
            archive.writestr(inside, text)
    return path


def install(place: Any, wheels: Path, torch: bool = False) -> Any:
    return setup.Setup.install(place, Path(sys.executable), wheels=wheels, torch=torch)


def finish(work: Any, seconds: float = 900, until: Callable[[], object] = lambda: False) -> list[float]:
    """Poll as Blender does, to the end or until `until()`; returns the sorted times of the polls."""
    end = time.monotonic() + seconds
    polls = [0.0]
    while work.state == "running" and not until():
        begin = time.perf_counter()
        work.poll()
        polls.append(time.perf_counter() - begin)
        assert time.monotonic() < end, work.message
        time.sleep(0.01)
    return sorted(polls)


def failure(work: Any) -> str:
    finish(work)
    assert work.state == "failed", (work.state, work.message)
    return work.error
