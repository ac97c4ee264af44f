# SPDX-License-Identifier: Apache-2.0
"""Compiled kernels are cached on disk, and compiled again after any of their sources has changed."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from _kernels import PACKAGE, copy_package, run

from loopcore.transport import jit


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the package with a cache of its own."""
    return copy_package(tmp_path / "copy")


def edit(folder: Path) -> None:
    """Make fetches beyond the border 100 times as bright; the file keeps its length in lines."""
    file = folder / "loopcore" / "transport" / "cpu.py"
    source = file.read_text(encoding="utf-8")
    call = "mirrored_fetch4(values, width, columns, rows, tx, ty, out, position)\n"
    assert source.count(call) == 1
    file.write_text(source.replace(call, call[:-1] + "; out[position] *= _F(100)\n"), encoding="utf-8")


def test_an_edited_inlined_function_is_recompiled_in_the_next_process(copy: Path) -> None:
    value, _, before, _ = run(copy)
    assert value == 1
    value, hits, again, err = run(copy)
    assert value == 1 and hits == 1 and again == before and not err
    edit(copy)
    value, hits, after, _ = run(copy)
    assert value == 100 and hits == 0
    assert before and after and after != before
    assert after.parent == before.parent == copy / "loopcore" / "loop" / "__pycache__"


def test_sources_are_all_files_with_kernels() -> None:
    """The modules with kernels, and those that the kernels call or take constants from."""
    made_of = set()
    for path in PACKAGE.rglob("*.py"):
        modules = {
            (node.module or "").rpartition(".")[2] if node.level else node.module or ""
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.ImportFrom)
        }
        if any(re.match(r"numba\b|llvmlite\b|(.*\.)?(jit|kernel_cache)$", name) for name in modules):
            made_of.add(path.relative_to(PACKAGE).as_posix())
    made_of.remove("transport/gpu/cache_folder.py")  # the cache's folder alone
    assert made_of == set(jit.SOURCES)
    others = set()
    for name in made_of:
        for node in ast.walk(ast.parse((PACKAGE / name).read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.level or (node.module or "").startswith("loopcore")):
                others.add((node.module or "").rpartition(".")[2])
    # errors, parallel and paths run outside the kernels.
    assert others <= {Path(name).stem for name in made_of} | {"errors", "parallel", "paths"}
