# SPDX-License-Identifier: Apache-2.0
"""Tests that texts can be translated: those with values are one format string, and labels have the add-on's context."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import _package
import pytest

ADDON = Path(__file__).resolve().parents[3] / "addon"
SCRIPT = Path(__file__).with_name("texts_script.py")
# Commands print English, as `loopcore` does; environment.py and lock.py write for another process.
ENGLISH = ("interface/commands.py", "engine/environment.py", "engine/lock.py", "engine/process.py")
# Names, of data-blocks and programs.
NAMES = {"{} mask", "{} flow", "{} viewport", "Loopcore: {}", "torch {}", "Loopcore {}, Python {}, {}"}
# Words, or a word beside a value.
SENTENCE = re.compile(r"[A-Za-z'’]{2,}[,:]? [A-Za-z]{2,}|[a-z]{2,}:? ['\"]?\{\}|\{\}['\"]? [a-z]{2,}")
ERRORS = {"Refused", "PlaneError", "Failed", "Cancelled", "AddonError"}


def sources() -> list[Path]:
    """Return the modules with texts for users."""
    rooms = ("drawing", "engine", "interface", "plane", "playing")
    return [path for room in rooms for path in sorted((ADDON / room).rglob("*.py"))
            if path.relative_to(ADDON).as_posix() not in ENGLISH]  # fmt: skip


def text_of(node: ast.AST) -> str:
    """Return a string with its values as {}; empty if the node is no string."""
    if isinstance(node, ast.JoinedStr):
        return "".join(part.value if isinstance(part, ast.Constant) else "{}" for part in node.values)
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def untranslatable(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield the line and the text of each sentence that is put together, or raised without a translation."""
    printed = {id(part) for call in ast.walk(tree) if isinstance(call, ast.Call) for part in ast.walk(call)
               if isinstance(call.func, ast.Name) and call.func.id == "print"}  # fmt: skip
    for node in ast.walk(tree):
        if id(node) in printed:
            continue
        if isinstance(node, ast.JoinedStr) and SENTENCE.search(text_of(node)) and text_of(node) not in NAMES:
            yield node.lineno, text_of(node)
        elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Mod):
            for side in (node.left, node.right):
                if SENTENCE.search(text_of(side)) or isinstance(side, ast.Call) and name_of(side) == "rpt_":
                    yield node.lineno, text_of(side) or "rpt_() in a sum"
        elif isinstance(node, ast.Call) and name_of(node) in ERRORS and node.args and text_of(node.args[0]):
            yield node.lineno, text_of(node.args[0])
        elif isinstance(node, ast.Call) and name_of(node) == "rpt_" and not isinstance(node.args[0], ast.Constant):
            yield node.lineno, "rpt_() of something that is no constant"


def name_of(call: ast.Call) -> str:
    return getattr(call.func, "id", getattr(call.func, "attr", ""))


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(ADDON)))
def test_texts_with_values_are_one_translated_format_string(path: Path) -> None:
    found = [f"{path.name}:{line}: {text}" for line, text in untranslatable(ast.parse(path.read_text("utf-8")))]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    "source",
    [
        'f"The folder {x} is full"', 'text += f"{n} files"', '"There are " + n', 'raise Refused("Begin on the image")',
        'rpt_("Motion solved") + note', 'rpt_(f"{n}")', '"No frames in %s" % folder',
    ],
)  # fmt: skip
def test_what_cannot_be_translated_is_found(source: str) -> None:
    assert list(untranslatable(ast.parse(source)))


def test_sentences_are_joined() -> None:
    texts = _package.module("texts")
    assert texts.sentences("Motion solved", "", "Draw a stroke") == "Motion solved. Draw a stroke"
    assert texts.rpt_("{n} files").format(n=3) == "3 files"


def test_labels_have_the_context_of_the_addon(blender: Any, extension: Path) -> None:
    checked, without = blender.run(SCRIPT, extension).result
    assert checked > 60 and without == []
