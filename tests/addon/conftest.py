# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the tests that run scripts in real Blenders, each in its own process.

``LOOPCORE_BPY_PYTHONS`` lists Pythons that can ``import bpy``, separated as in PATH; `make test-blender` creates some
and sets it. The worker runs in the Python that runs pytest: as for users, not in Blender's.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
PYTHONS = [p for p in os.environ.get("LOOPCORE_BPY_PYTHONS", "").split(os.pathsep) if p]
RESULT = "RESULT: "


@dataclass(frozen=True)
class Ran:
    """A script that succeeded: the result that it passed to `emit`, and its output."""

    result: Any
    output: str


@dataclass(frozen=True)
class Blender:
    """A Python with bpy, and a new folder of user resources."""

    python: str
    resources: Path

    def environment(self, extra: Mapping[str, str] | None = None) -> dict[str, str]:
        """Return this process's environment without Python's variables, with the `addon` package on the path."""
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "LOOPCORE_"))}
        return {
            **clean,
            "BLENDER_USER_RESOURCES": str(self.resources),
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(Path(__file__).parent)]),
            "PYTHONDONTWRITEBYTECODE": "1",
            "LOOPCORE_WORKER_PYTHON": sys.executable,
            **(extra or {}),
        }

    def start(self, script: Path, *arguments: object, env: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
        """Start the script in a process, which the caller has to end."""
        command = [self.python, "-u", str(script), *map(str, arguments)]
        return subprocess.Popen(
            command, env=self.environment(env), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, encoding="utf-8", errors="replace",
        )  # fmt: skip

    def run(
        self, script: Path, *arguments: object, env: Mapping[str, str] | None = None, timeout: float = 240,
        code: int = 0,
    ) -> Ran:  # fmt: skip
        """Run `script`; the result is the JSON in its last line that begins with ``RESULT: ``."""
        process = self.start(script, *arguments, env=env)
        try:
            output, _ = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            output, _ = process.communicate()
            pytest.fail(f"{script.name} did not end in {timeout} s:\n{output[-4000:]}")
        assert process.returncode == code, f"{script.name} ended with {process.returncode}:\n{output[-6000:]}"
        results = [line[len(RESULT) :] for line in output.splitlines() if line.startswith(RESULT)]
        return Ran(json.loads(results[-1]) if results else None, output)


@pytest.fixture(scope="module", params=PYTHONS or ["none"], ids=lambda p: Path(p).parent.parent.name)
def blender(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Blender:
    """Each available Blender, with new user resources for each test module."""
    if not PYTHONS:
        pytest.skip("LOOPCORE_BPY_PYTHONS names no Python with bpy")
    return Blender(request.param, tmp_path_factory.mktemp("resources"))


@pytest.fixture(scope="session")
def extension(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The extension's zip, built from the tree."""
    folder = tmp_path_factory.mktemp("extension")
    command = [sys.executable, str(ROOT / "build_addon.py"), "--output", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = folder.glob("*.zip")
    return built
