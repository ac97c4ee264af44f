# SPDX-License-Identifier: Apache-2.0
"""Only regular files of a plausible size are opened."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from loopcore.files.regular import check_regular, list_files, open_regular, read_regular

posix = pytest.mark.skipif(os.name == "nt", reason="FIFOs and devices of POSIX")


def test_a_file_of_the_largest_size_is_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"12345678")
    assert read_regular(tmp_path / "file", 8) == b"12345678"
    with open_regular(tmp_path / "file") as file:
        assert file.read() == b"12345678"
    check_regular(tmp_path / "file", 8)
    (tmp_path / "large").write_bytes(bytes(3 << 20))
    for opened in (read_regular, check_regular, open_regular):
        with pytest.raises(OSError, match="it has 3 MiB, more than 2 MiB: is it the right file"):
            opened(tmp_path / "large", 2 << 20)


def test_missing_files_and_folders_have_the_system_s_errors(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        check_regular(tmp_path / "none")
    with pytest.raises(OSError):
        check_regular(tmp_path)


@posix
@pytest.mark.parametrize("kind", ["fifo", "device", "link"])
def test_fifos_and_devices_are_refused_at_once(kind: str, tmp_path: Path) -> None:
    path = Path("/dev/zero") if kind == "device" else tmp_path / kind
    if kind == "fifo":
        os.mkfifo(path)
    if kind == "link":
        path.symlink_to("/dev/zero")
    script = "import sys; from loopcore.files.regular import read_regular; read_regular(sys.argv[1], 10)"
    done = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and "it is a FIFO or a device: give a regular file" in done.stderr


@posix
def test_a_link_to_itself_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "frame").write_bytes(b"x")
    assert list_files(tmp_path) == ["frame"]
