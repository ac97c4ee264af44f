# SPDX-License-Identifier: Apache-2.0
"""Helpers for the tests of EXR files: noise, a small file, and scripts in a separate process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import loopcore
from loopcore import exr

RNG = np.random.default_rng(7)


def noise(height: int, width: int, dtype: type = np.float32) -> np.ndarray:
    if dtype is np.uint32:
        return RNG.integers(0, 2**32, (height, width), dtype=np.uint32)
    return (RNG.standard_normal((height, width)) * 100).astype(dtype)


def only_part(path: Path) -> exr.ExrPart:
    (part,) = exr.read_exr(path)
    return part


def patched(path: Path, old: bytes, new: bytes) -> Path:
    data = path.read_bytes()
    assert data.count(old) == 1 and len(old) == len(new)
    path.write_bytes(data.replace(old, new))
    return path


def run_script(script: str, folder: Path, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(Path(loopcore.__file__).parents[1])}
    return subprocess.run(
        [sys.executable, "-c", script], cwd=folder, env=environment, capture_output=True, text=True, timeout=timeout
    )


@pytest.fixture
def small(tmp_path: Path) -> Path:
    path = tmp_path / "small.exr"
    exr.write_exr(path, {name: noise(40, 31, np.float16) for name in "RGBA"}, attributes={"owner": "somebody"})
    return path
