# SPDX-License-Identifier: Apache-2.0
"""Tests of the settings of cycles and steadiness in real Blenders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from loopcore.loop import Loop
from loopcore.motion.field import MotionField
from loopcore.plate import read_plate

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def folder(blender: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new folder for each Blender, without baked frames."""
    return tmp_path_factory.mktemp("settings")


@pytest.fixture(scope="module")
def results(blender: Any, extension: Path, folder: Path) -> dict[str, Any]:
    result = blender.run(HERE / "settings_script.py", extension, folder, timeout=400).result
    assert isinstance(result, dict)
    return result


def test_new_planes_are_automatic(results: dict[str, Any]) -> None:
    assert results["default"] == [True, 1, 0.0]


def test_the_worker_receives_numbers_or_auto(results: dict[str, Any]) -> None:
    assert results["params"] == [
        ["auto", "auto"], [2, "auto"], ["auto", 1.0], [4, 0.25], [3, 0.3], [3, "auto"], [5, "auto"]
    ]  # fmt: skip


def test_bakes_have_the_settings_in_their_recipe(results: dict[str, Any]) -> None:
    recipes = [made[:2] for made in results["baked"]]
    assert recipes == [["auto", "auto"], ["1", "0.0"], ["3", "0.5"], ["3", "0.5"], ["3", "auto"]]


@pytest.mark.parametrize(("number", "cycles", "steady"), [(1, 1, 0.0), (2, 3, 0.5)])
def test_frames_are_those_of_the_settings(
    results: dict[str, Any], folder: Path, number: int, cycles: int, steady: float
) -> None:
    made = read_plate(folder / f"{number}.exr").pixels[..., :3]
    still, field = (
        read_plate(folder / "plate.png"),
        MotionField.load(folder / "loops" / "shot" / "Plate" / "motion.exr"),
    )
    wanted = Loop(still, field, frames=6, cycles=cycles, steady=steady).frame(2)[..., :3]
    other = Loop(still, field, frames=6, cycles=4 - cycles, steady=0.5 - steady).frame(2)[..., :3]
    assert np.abs(made - wanted).max() < 1e-5 < 1e-2 < np.abs(made - other).max()


def test_frames_of_equal_settings_are_kept(results: dict[str, Any]) -> None:
    """One frame was moved away after each bake; where settings change, all are baked again."""
    assert [made[2].partition(",")[0] for made in results["baked"]] == [
        f"{count} frames written" for count in (6, 6, 6, 1, 6)
    ]


def test_too_many_cycles_are_refused(results: dict[str, Any]) -> None:
    for message in results["refused"]:
        assert "cycles 4 is out of range: give 'auto' or a whole number from 1 to 3" in message


def test_the_live_preview_has_the_cycles(results: dict[str, Any]) -> None:
    assert results["live"].startswith("Live preview of 2 cycles added")


def test_values_out_of_range_are_clamped(results: dict[str, Any]) -> None:
    assert results["clamped"] == [[False, 1, 1.0], [False, 5000, 0.0]]


def test_settings_are_undone_and_saved(results: dict[str, Any]) -> None:
    before, after = [True, 1, 0.0], [False, 5, 0.75]
    assert results["undo"] == [before, after, before, after]
    assert results["loaded"] == [False, 4, 0.25]
