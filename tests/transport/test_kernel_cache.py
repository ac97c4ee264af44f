# SPDX-License-Identifier: Apache-2.0
"""Where compiled kernels are kept, without a folder to write to, on a full disk, and when files are damaged."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from _kernels import copy_package, run

from loopcore.transport import jit, kernel_cache

posix = pytest.mark.skipif(os.name == "nt", reason="owners and modes of POSIX")
# A kernel that compiles in a moment, in a module of its own.
MODULE = """
from loopcore.transport.jit import kernel
@kernel
def double(x):
    return 2 * x
"""
TINY = """
from tiny import double
print(double(21.0), *double.stats.cache_hits.values(), double.stats.cache_path)
"""


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A folder of a module with one kernel."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    (folder / "tiny.py").write_text(MODULE, "utf-8")
    return folder


@pytest.fixture
def nowhere(tmp_path: Path) -> dict[str, str]:
    """An environment whose home is a file, and whose temporary directory is empty."""
    (tmp_path / "file").write_text("no folder")
    (tmp_path / "temporary").mkdir()
    home = dict.fromkeys(("HOME", "XDG_CACHE_HOME", "LOCALAPPDATA"), str(tmp_path / "file" / "home"))
    return {**home, "TMPDIR": str(tmp_path / "temporary")}


def private(tmp_path: Path) -> Path:
    return tmp_path / "temporary" / f"loopcore-kernels-{os.geteuid()}"


def close(*folders: Path) -> None:
    """Put a file in place of the folders' caches, where root cannot write either."""
    for folder in folders:
        (folder / "__pycache__").write_text("no folder")


def test_numba_cache_dir_is_used(tiny: Path, tmp_path: Path) -> None:
    chosen = tmp_path / "chosen"
    ran = run(tiny, TINY, NUMBA_CACHE_DIR=str(chosen))
    assert ran.folder and ran.folder.is_relative_to(chosen) and any(ran.folder.glob("*.nbc")) and not ran.err
    assert not [*tiny.rglob("*.nbi")]


@posix
def test_a_read_only_package_keeps_kernels_in_a_private_temporary_folder(
    tmp_path: Path, nowhere: dict[str, str]
) -> None:
    copy = copy_package(tmp_path / "copy")
    close(*{(copy / "loopcore" / name).parent for name in jit.SOURCES})
    for hits in (0, 1):
        ran = run(copy, **nowhere)
        assert ran.value == 1 and ran.hits == hits
        assert ran.folder and ran.folder.is_relative_to(private(tmp_path)) and any(ran.folder.glob("*.nbc"))
        assert ran.err.startswith(f"loopcore: compiled kernels are kept in '{private(tmp_path)}'")
        assert "NUMBA_CACHE_DIR" in ran.err and ran.err.count("\n") == 1
    status = private(tmp_path).stat()
    assert stat.S_IMODE(status.st_mode) == 0o700 and status.st_uid == os.geteuid()


@posix
def test_an_unknown_home_is_not_taken_from_the_current_folder(
    tiny: Path, tmp_path: Path, nowhere: dict[str, str]
) -> None:
    close(tiny)
    ran = run(tiny, TINY, **{**nowhere, "XDG_CACHE_HOME": ""})
    assert ran.value == 42 and ran.folder and ran.folder.is_relative_to(private(tmp_path))
    assert sorted(path.name for path in tiny.iterdir()) == ["__pycache__", "tiny.py"]


def link_elsewhere(folder: Path) -> None:
    elsewhere = folder.parent.parent / "elsewhere"
    elsewhere.mkdir(0o700)
    folder.symlink_to(elsewhere)


@posix
@pytest.mark.parametrize(
    "prepare",
    [
        lambda folder: folder.write_text("a file"),
        lambda folder: (folder.mkdir(), folder.chmod(0o770)),
        lambda folder: (folder.mkdir(), folder.chmod(0o705)),
        lambda folder: folder.parent.chmod(0o777),
        link_elsewhere,
    ],
    ids=["a file", "writable by a group", "readable by all", "replaceable by all", "a link"],
)
def test_a_folder_that_is_not_private_is_not_used(
    prepare: Callable[[Path], object], tiny: Path, tmp_path: Path, nowhere: dict[str, str]
) -> None:
    """Kernels are compiled in memory instead."""
    close(tiny)
    prepare(private(tmp_path))
    ran = run(tiny, TINY, **nowhere)
    assert ran.value == 42 and ran.hits == 0 and ran.folder is None
    assert ran.err.startswith("loopcore: no folder for compiled kernels can be written")
    assert "NUMBA_CACHE_DIR" in ran.err and ran.err.count("\n") == 1
    assert not [*tmp_path.rglob("*.nb?")]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs root, to give a folder away")
def test_a_folder_of_another_user_is_not_used(tiny: Path, tmp_path: Path, nowhere: dict[str, str]) -> None:
    close(tiny)
    private(tmp_path).mkdir(0o700)
    os.chown(private(tmp_path), 12345, 12345)
    ran = run(tiny, TINY, **nowhere)
    assert ran.value == 42 and ran.folder is None and not [*private(tmp_path).iterdir()]


@pytest.mark.parametrize("how", ["halved", "emptied", "one bit"])
@pytest.mark.parametrize("kind", ["nbi", "nbc"])
def test_damaged_files_are_replaced(kind: str, how: str, tiny: Path, tmp_path: Path) -> None:
    cache = {"NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    first = run(tiny, TINY, **cache)
    assert first.folder is not None
    (path,) = first.folder.glob(f"*.{kind}")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 16
    path.write_bytes({"halved": data[: len(data) // 2], "emptied": b"", "one bit": data}[how])
    second = run(tiny, TINY, **cache)
    assert second.value == 42 and second.hits == 0
    assert second.err == f"loopcore: compiled kernels in '{first.folder}' are damaged: they are compiled again\n"
    third = run(tiny, TINY, **cache)
    assert third.value == 42 and third.hits == 1 and third.err == ""


def test_a_file_missing_beside_the_index_is_compiled_again(tiny: Path) -> None:
    first = run(tiny, TINY)
    assert first.folder is not None
    next(first.folder.glob("*.nbc")).unlink()
    assert run(tiny, TINY)[:2] == (42, 0) and run(tiny, TINY)[:2] == (42, 1)


def no_bytes() -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))


@posix
def test_a_disk_that_takes_no_bytes_leaves_kernels_in_memory(tiny: Path) -> None:
    """As on a full one, files can be made there, but not written."""
    ran = run(tiny, TINY, limit=no_bytes)
    assert ran.value == 42 and ran.hits == 0 and ran.folder is not None
    assert ran.err.startswith(f"loopcore: compiled kernels cannot be kept in '{ran.folder}' (File too large)")
    assert "NUMBA_CACHE_DIR" in ran.err and ran.err.count("\n") == 1
    assert not [*ran.folder.iterdir()]


def test_old_folders_are_removed(tmp_path: Path) -> None:
    for age in range(6):
        (tmp_path / f"loopcore-{age:012}").mkdir()
        (tmp_path / f"loopcore-{age:012}" / "cpu.nbi").write_text("compiled")
        os.utime(tmp_path / f"loopcore-{age:012}", (1e9 - age, 1e9 - age))
    (tmp_path / "of_others").mkdir()
    own = tmp_path / f"loopcore-{5:012}"
    kernel_cache.remove_old(own)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        *(f"loopcore-{age:012}" for age in (0, 1, 2, 5)), "of_others"
    ]  # fmt: skip
