# SPDX-License-Identifier: Apache-2.0
"""Compiled kernels are cached on disk, and compiled again after any of their sources has changed."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import loopcore
from loopcore.transport import jit

PACKAGE = Path(loopcore.__path__[0])
# A kernel of loop/blend.py that fetches beyond the border, by a function of transport/cpu.py.
SCRIPT = """
import numpy as np
from loopcore.loop import blend
out = np.zeros(4, np.float32)
blend.fetch_along(np.ones(256, np.float32), 8, 8, *np.array([-3, -3, 1, 0], np.float32), out, 0)
print(float(out[0]), *blend.fetch_along.stats.cache_hits.values(), blend.fetch_along.stats.cache_path)
"""


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the package with a cache of its own."""
    left_out = shutil.ignore_patterns("__pycache__", "weights")
    shutil.copytree(PACKAGE, tmp_path / "copy" / "loopcore", ignore=left_out)
    return tmp_path / "copy"


def run(folder: Path, **environment: str) -> tuple[float, int, Path | None]:
    """From a new process: the kernel's result, how often it came from the cache, and the cache's folder."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("NUMBA_")}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False, cwd=folder,
        env={**inherited, "PYTHONPATH": str(folder), **environment},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    value, *hits, path = done.stdout.split()
    return float(value), sum(map(int, hits)), None if path == "None" else Path(path)


def edit(folder: Path) -> None:
    """Make fetches beyond the border 100 times as bright; the file keeps its length in lines."""
    file = folder / "loopcore" / "transport" / "cpu.py"
    source = file.read_text(encoding="utf-8")
    call = "_gather_patch(values, height, width, 4, ix, iy, patch)\n"
    assert source.count(call) == 1
    file.write_text(source.replace(call, call[:-1] + "; patch *= _F(100)\n"), encoding="utf-8")


def test_an_edited_inlined_function_is_recompiled_in_the_next_process(copy: Path) -> None:
    value, _, before = run(copy)
    assert value == 1
    value, hits, again = run(copy)
    assert value == 1 and hits == 1 and again == before
    edit(copy)
    value, hits, after = run(copy)
    assert value == 100 and hits == 0
    assert before and after and after != before
    assert after.parent == before.parent == copy / "loopcore" / "loop" / "__pycache__"


def test_numba_cache_dir_is_used(copy: Path, tmp_path: Path) -> None:
    chosen = tmp_path / "chosen"
    _, _, kept = run(copy, NUMBA_CACHE_DIR=str(chosen))
    assert kept and kept.is_relative_to(chosen) and any(kept.glob("*.nbc"))
    assert not [*copy.rglob("*.nbi")]


def test_without_a_writable_folder_kernels_are_compiled_in_memory(copy: Path, tmp_path: Path) -> None:
    """A file in place of each of Numba's folders, which root cannot write to either."""
    nowhere = tmp_path / "file"
    nowhere.write_text("no folder")
    for folder in {(copy / "loopcore" / name).parent for name in jit.SOURCES}:
        (folder / "__pycache__").write_text("no folder")
    value, hits, kept = run(copy, HOME=str(nowhere), XDG_CACHE_HOME=str(nowhere), LOCALAPPDATA=str(nowhere))
    assert value == 1 and hits == 0 and kept is None


def test_old_folders_are_removed(tmp_path: Path) -> None:
    for age in range(6):
        (tmp_path / f"loopcore-{age:012}").mkdir()
        (tmp_path / f"loopcore-{age:012}" / "cpu.nbi").write_text("compiled")
        os.utime(tmp_path / f"loopcore-{age:012}", (1e9 - age, 1e9 - age))
    (tmp_path / "of_others").mkdir()
    own = tmp_path / f"loopcore-{5:012}"
    jit._remove_old(own)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        *(f"loopcore-{age:012}" for age in (0, 1, 2, 5)), "of_others"
    ]  # fmt: skip


def test_sources_are_all_files_with_kernels() -> None:
    """The modules with kernels, and those that the kernels call or take constants from."""
    made_of = set()
    for path in PACKAGE.rglob("*.py"):
        modules = {
            (node.module or "").rpartition(".")[2] if node.level else node.module or ""
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.ImportFrom)
        }
        if any(re.match(r"numba\b|llvmlite\b|(.*\.)?jit$", name) for name in modules):
            made_of.add(path.relative_to(PACKAGE).as_posix())
    assert made_of == set(jit.SOURCES)
    others = set()
    for name in made_of:
        for node in ast.walk(ast.parse((PACKAGE / name).read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.level or (node.module or "").startswith("loopcore")):
                others.add((node.module or "").rpartition(".")[2])
    # errors, parallel and paths run outside the kernels.
    assert others <= {Path(name).stem for name in made_of} | {"errors", "parallel", "paths"}
