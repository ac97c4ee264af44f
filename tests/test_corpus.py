# SPDX-License-Identifier: Apache-2.0
"""What tests over real files do where there are none."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

TEST = Path(__file__).with_name("plate") / "test_plate_corpus.py"


@pytest.mark.parametrize(("ci", "code", "said"), [("true", 1, "error"), ("", 0, "skipped")])
def test_missing_data_is_an_error_in_ci_alone(ci: str, code: int, said: str, tmp_path: Path) -> None:
    environment = {**os.environ, "CI": ci, "LOOPCORE_DATA": str(tmp_path / "none")}
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:xdist", str(TEST), "-k", "xyz"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == code and f"1 {said}" in done.stdout, done.stdout + done.stderr
