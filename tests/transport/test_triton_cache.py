# SPDX-License-Identifier: Apache-2.0
"""Where Triton keeps compiled kernels, by its own file cache in processes with different homes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton")
pytestmark = pytest.mark.skipif(os.name == "nt", reason="owners and modes of POSIX")
STORE = """
import loopcore.transport.gpu
from triton.runtime.cache import get_cache_manager
print(get_cache_manager("ab" * 32).put(b"kernel", "kernel.cubin"))
"""


def stored(tmp_path: Path, **variables: str) -> tuple[Path, str]:
    """Returns where a process stores a kernel, and what it prints on stderr."""
    (tmp_path / "temporary").mkdir()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TRITON")}
    environment |= {"TMPDIR": str(tmp_path / "temporary"), **variables}
    ran = subprocess.run([sys.executable, "-c", STORE], env=environment, capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stderr
    path = Path(ran.stdout.strip())
    assert path.read_bytes() == b"kernel"
    return path, ran.stderr


def test_a_home_that_can_be_written_is_used(tmp_path: Path) -> None:
    path, errors = stored(tmp_path, HOME=str(tmp_path))
    assert path.is_relative_to(tmp_path / ".triton" / "cache") and not errors


def test_without_a_home_kernels_are_kept_in_the_private_temporary_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder", "utf-8")
    private = tmp_path / "temporary" / f"loopcore-kernels-{os.geteuid()}"
    path, errors = stored(tmp_path, HOME=str(tmp_path / "file" / "home"))
    assert path.is_relative_to(private / "triton") and private.stat().st_mode & 0o777 == 0o700
    assert errors.count("\n") == 1 and "TRITON_CACHE_DIR chooses another folder" in errors


def test_a_chosen_folder_is_used(tmp_path: Path) -> None:
    chosen = tmp_path / "chosen"
    path, errors = stored(tmp_path, HOME=str(tmp_path / "none"), TRITON_CACHE_DIR=str(chosen))
    assert path.is_relative_to(chosen) and not errors and not (tmp_path / "none").exists()
