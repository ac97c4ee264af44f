# SPDX-License-Identifier: Apache-2.0
"""Tests of the recipe: its JSON, hash and file."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, fields, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loopcore.baking.recipe import ENGINE, FILE_NAME, Recipe, read_recipe, write_recipe
from loopcore.errors import SequenceError
from loopcore.loop import Loop
from loopcore.motion.field import MotionField
from loopcore.plate import Plate

RECIPE = Recipe("ab" * 32, "cd" * 32, 24, 1001, "24000/1001", "warp", 1.0, "auto", "auto", "exr", "half")
OTHERS: dict[str, object] = {
    "plate": "ef" * 32, "motion": "ef" * 32, "frames": 25, "first": 1, "fps": "24", "method": "splat", "contrast": 0.5,
    "cycles": "4", "steady": "0.5",
    "format": "png", "depth": "16", "compression": "piz", "backend": "cuda", "engine": ENGINE + 1, "header": "ef" * 32,
    "layers": "ef" * 32,
}  # fmt: skip


def test_every_field_changes_the_hash() -> None:
    assert set(OTHERS) == {field.name for field in fields(Recipe)}
    digests = {replace(RECIPE, **{name: value}).digest() for name, value in OTHERS.items()}  # type: ignore[arg-type]
    assert len(digests | {RECIPE.digest()}) == len(OTHERS) + 1


def test_hash_of_the_canonical_json() -> None:
    text = RECIPE.to_json()
    assert RECIPE.digest() == hashlib.sha256(text.encode()).hexdigest()
    entries = asdict(RECIPE)
    assert entries.pop("layers") == "" and json.loads(text) == entries  # as it was before there were layers
    assert json.loads(replace(RECIPE, layers="ab").to_json()) == entries | {"layers": "ab"}
    assert list(json.loads(text)) == sorted(json.loads(text)) and " " not in text


@given(st.integers(-5000, 5000), st.integers(2, 500), st.integers(0, 499))
def test_loop_time_of_frame_numbers(first: int, count: int, time: int) -> None:
    recipe = replace(RECIPE, first=first, frames=count)
    assert recipe.time(first) == 0
    assert recipe.time(first + time % count) == time % count
    assert recipe.time(first + count) == 0


def scene(plate_value: float = 0.5, speed: float = 1.0) -> Loop:
    plate = Plate(np.full((8, 9, 3), plate_value, np.float32), ("R", "G", "B"))
    ones = np.ones((8, 9), np.float32)
    return Loop(plate, MotionField(np.full((8, 9, 2), speed, np.float32), ones, ones), frames=6)


def test_recipe_of_a_loop() -> None:
    def of(loop: Loop) -> Recipe:
        return Recipe.of(loop, first=7, fps=Fraction(30000, 1001), format="png", depth="16")

    recipe = of(scene())
    assert (recipe.frames, recipe.first, recipe.fps, recipe.method) == (6, 7, "30000/1001", "warp")
    assert (recipe.format, recipe.depth, recipe.contrast, recipe.backend) == ("png", "16", 1.0, "cpu")
    assert recipe == of(scene())
    assert recipe.plate != of(scene(plate_value=0.6)).plate
    assert recipe.motion != of(scene(speed=2)).motion


def test_header_attributes_change_the_recipe() -> None:
    plate, ones = Plate(np.full((8, 9, 3), 0.5, np.float32), ("R", "G", "B")), np.ones((8, 9), np.float32)
    field = MotionField(np.ones((8, 9, 2), np.float32), ones, ones)

    def digest(**changes: Any) -> str:
        loop = Loop(replace(plate, **changes), field, frames=6)
        return Recipe.of(loop, first=1, fps=24, format="exr", depth="half").digest()

    values: list[dict[str, Any]] = [
        {}, {"pixel_aspect": 2.0}, {"channels": ("B", "G", "R")}, {"colorspace": "lin_ap1_scene"},
        {"metadata": {"owner": "A"}}, {"metadata": {"owner": "B"}}, {"metadata": {"isoSpeed": 100.0}},
        {"metadata": {"chromaticities": (0.7, 0.3, 0.2, 0.7, 0.1, 0.1, 0.3, 0.3)}},
        {"metadata": {"captureRate": Fraction(24000, 1001)}},
    ]  # fmt: skip
    assert len({digest(**changes) for changes in values}) == len(values)
    # Time code and path of the plate do not change the pixels.
    assert digest(metadata={"timeCode": "01:00:00:00"}, source=Path("moved.exr")) == digest()
    arrays = {"worldToCamera": np.eye(4, dtype=np.float32), "isoSpeed": np.float32(100)}
    assert digest(metadata=arrays) == digest(metadata={key: value.tolist() for key, value in arrays.items()})


@pytest.mark.parametrize(
    "fps, said",
    [(24, "24"), (23.976, "24000/1001"), ("23.976", "24000/1001"), ("30000/1001", "30000/1001"),
     (Fraction(25), "25"), (12.5, "25/2")],
)  # fmt: skip
def test_frame_rates_are_exact(fps: Any, said: str) -> None:
    assert Recipe.of(scene(), first=1, fps=fps, format="exr", depth="half").fps == said


def test_write_and_read_with_notes(tmp_path: Path) -> None:
    write_recipe(tmp_path, RECIPE, "plate_loop", Path("plate.exr"), {"layer": "beauty", "speed": 2.0})
    recipe, document = read_recipe(tmp_path)
    assert recipe == RECIPE
    assert (document["name"], document["layer"], document["speed"]) == ("plate_loop", "beauty", 2.0)
    assert Path(document["plate_path"]) == Path("plate.exr").resolve()
    assert b"\r" not in (tmp_path / FILE_NAME).read_bytes()


def test_notes_do_not_replace_other_entries(tmp_path: Path) -> None:
    write_recipe(tmp_path, RECIPE, "plate_loop", None, {"recipe": {}, "hash": "", "name": "other"})
    assert read_recipe(tmp_path)[0] == RECIPE


def test_an_equal_file_is_not_rewritten(tmp_path: Path) -> None:
    write_recipe(tmp_path, RECIPE, "plate_loop", None, {})
    before = (tmp_path / FILE_NAME).stat().st_mtime_ns
    write_recipe(tmp_path, RECIPE, "plate_loop", None, {})
    assert (tmp_path / FILE_NAME).stat().st_mtime_ns == before
    write_recipe(tmp_path, replace(RECIPE, frames=25), "plate_loop", None, {})
    assert read_recipe(tmp_path)[0].frames == 25


def test_missing_recipe(tmp_path: Path) -> None:
    with pytest.raises(SequenceError, match=f"{tmp_path.name}.*has no recipe.json.*loopcore animate"):
        read_recipe(tmp_path)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", "{}", '{"recipe": 3}', '{"recipe": {}}', "\x00\x01", "[" * 9999]
)
def test_invalid_documents_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE_NAME).write_text(text, encoding="utf-8")
    with pytest.raises(SequenceError, match="cannot be read"):
        read_recipe(tmp_path)


def test_bytes_that_are_not_utf_8_are_refused(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes(b"\xff\xfe{}\x80")
    with pytest.raises(SequenceError, match="cannot be read"):
        read_recipe(tmp_path)


@pytest.mark.parametrize("name", ["../x", "[/x]", "a\u0000b", "a\ud800"])
def test_names_that_leave_the_folder_are_refused(tmp_path: Path, name: str) -> None:
    write_recipe(tmp_path, RECIPE, "plate_loop", None, {})
    document = json.loads((tmp_path / FILE_NAME).read_text("utf-8"))
    (tmp_path / FILE_NAME).write_text(json.dumps({**document, "name": name}), "utf-8")
    with pytest.raises(SequenceError, match="recipe.json' cannot be read .file name .* may not hold"):
        read_recipe(tmp_path)


@pytest.mark.parametrize("name, value", [("frames", 30), ("contrast", 0.0), ("plate", "00" * 32)])
def test_a_changed_recipe_is_refused(tmp_path: Path, name: str, value: object) -> None:
    write_recipe(tmp_path, RECIPE, "plate_loop", None, {})
    document = json.loads((tmp_path / FILE_NAME).read_text("utf-8"))
    document["recipe"][name] = value
    (tmp_path / FILE_NAME).write_text(json.dumps(document), "utf-8")
    with pytest.raises(SequenceError, match="changed or damaged"):
        read_recipe(tmp_path)


@pytest.mark.parametrize(
    "name, value",
    [("frames", 1), ("frames", 10**12), ("frames", "24"), ("frames", 24.0), ("first", None), ("contrast", "1")],
)
def test_an_invalid_recipe_with_a_valid_hash_is_refused(tmp_path: Path, name: str, value: Any) -> None:
    write_recipe(tmp_path, replace(RECIPE, **{name: value}), "plate_loop", None, {})
    with pytest.raises(SequenceError, match="bake the loop again"):
        read_recipe(tmp_path)
