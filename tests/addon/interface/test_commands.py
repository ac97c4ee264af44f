# SPDX-License-Identifier: Apache-2.0
"""Tests of commands, their exit codes, and failures during a bake, in real Blenders."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
PYTHONS = [p for p in os.environ.get("LOOPCORE_BPY_PYTHONS", "").split(os.pathsep) if p]
pytestmark = pytest.mark.skipif(not PYTHONS, reason="LOOPCORE_BPY_PYTHONS names no Python with bpy")


@pytest.fixture(scope="module")
def folder(blender: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new folder for each Blender, without baked frames."""
    return tmp_path_factory.mktemp("shot")


@pytest.fixture(scope="module")
def results(blender: Any, extension: Path, folder: Path) -> dict[str, Any]:
    result = blender.run(HERE / "commands_script.py", extension, folder).result
    assert isinstance(result, dict)
    return result


def test_a_bake_prints_its_progress_and_saves(results: dict[str, Any], folder: Path) -> None:
    bake = results["bake"]
    assert bake["code"] == 0, bake
    lines = bake["out"].splitlines()
    frames = [folder / "loops" / "shot" / "Plate" / f"Plate_loop.{1001 + t}.png" for t in range(6)]
    assert [line for line in lines if "_loop." in line] == [f"Saved: '{path}'" for path in frames]
    percents = [int(line[10:-1]) for line in lines if line.startswith("Progress: ") and line.endswith("%")]
    assert percents == [16, 33, 50, 66, 83, 100]
    assert any(line.startswith("6 frames written") for line in lines)
    assert lines[-1] == f"Saved: '{folder / 'shot.blend'}'"
    assert results["saved"] == "SEQUENCE"
    assert len(list((folder / "loops" / "shot" / "Plate").glob("Plate_loop.*.png"))) == 6


def test_a_range_bakes_only_its_frames(results: dict[str, Any], folder: Path) -> None:
    assert results["part"]["code"] == 0, results["part"]
    assert sorted(p.name for p in (folder / "part").glob("*.exr") if p.name != "motion.exr") == [
        "Plate_loop.1001.exr", "Plate_loop.1002.exr"
    ]  # fmt: skip


def test_all_bakes_the_planes_that_are_prepared(results: dict[str, Any], folder: Path) -> None:
    """A second plane has neither motion nor hints."""
    assert results["all"]["code"] == 0, results["all"]
    assert [line for line in results["all"]["out"].splitlines() if line.startswith("Object")] == ["Object: 'Plate'"]
    assert len(list((folder / "all Plate").glob("Plate_loop.*.exr"))) == 4
    assert results["all of one"]["code"] == 2 and "cannot be combined" in results["all of one"]["err"]


def test_setup_checks_a_python(results: dict[str, Any]) -> None:
    assert results["python"]["code"] == 0, results["python"]
    assert results["left by checks"] == []
    error = results["no python"]["err"]
    assert results["no python"]["code"] == 1 and "nowhere" in error and "Error:" not in error
    assert results["two sources"]["code"] == 2


def test_predict_prints_the_motion_file(results: dict[str, Any], folder: Path) -> None:
    assert results["predict"]["code"] == 0, results["predict"]
    assert results["predict"]["out"].splitlines()[-1] == f"Saved: '{results['motion']}'"
    assert Path(results["motion"]).is_file()


def test_flow_and_restore(results: dict[str, Any], folder: Path) -> None:
    assert "Saved: '" in results["flow"]["out"] and "Progress: 100%" in results["flow"]["out"]
    assert results["flow"]["code"] == 0 and "1 flow map written" in results["flow"]["out"]
    assert results["restore"] == {"code": 0, "out": "Still restored\n", "err": ""}
    assert results["again"] == {"code": 0, "out": "The still is already shown\n", "err": ""}


@pytest.mark.parametrize(
    ("case", "code", "words"),
    [
        ("usage", 2, "--frames"),
        ("unknown object", 2, "no object 'Nobody'"),
        ("unsaved", 2, "save the .blend file"),
        ("no folder", 2, "Cannot create the folder"),
        ("bad range", 2, "not in the loop"),
        ("no speed", 2, "speed 0"),
        ("frame fails", 1, "frame 1003: "),
        ("cycles word", 2, "--cycles: give 'auto' or a whole number, not 'many'"),
        ("too many cycles", 2, "cycles 4 is out of range: give 'auto' or a whole number from 1 to 3"),
        ("too steady", 2, "steady 2.0 is out of range"),
    ],
)
def test_invalid_input_has_a_message_and_exit_code(results: dict[str, Any], case: str, code: int, words: str) -> None:
    assert results[case]["code"] == code
    assert words in results[case]["err"] and "Traceback" not in results[case]["err"]


def test_cycles_and_steadiness_are_options(results: dict[str, Any]) -> None:
    """Options override the object's settings, the first four times "Automatic", then 1 and 0."""
    assert results["looks"] == [[0, *made] for made in (
        ("auto", "auto"), ("3", "0.3"), ("2", "auto"), ("auto", "0.0"),
        ("1", "0.0"), ("auto", "0.0"), ("auto", "auto"),
    )]  # fmt: skip


def test_signals_have_their_exit_codes(results: dict[str, Any]) -> None:
    assert [run["code"] for run in results["interrupted"]] == [130, 143]
    assert [run["err"] for run in results["interrupted"]] == ["loopcore: error: interrupted\n"] * 2


def test_help_lists_the_commands(results: dict[str, Any]) -> None:
    assert results["help"]["code"] == 0
    assert all(word in results["help"]["out"] for word in ("bake", "predict", "flow", "restore"))


def test_the_painted_mask_is_saved(results: dict[str, Any]) -> None:
    assert results["mask kept"] == 1.0


def test_messages_of_the_worker_are_adapted_to_the_panel(results: dict[str, Any]) -> None:
    answer = results["adapted message"]
    assert "Nothing here seems to flow" in answer and "draw strokes" in answer and "--" not in answer


def test_a_killed_worker_is_reported_and_replaced(results: dict[str, Any]) -> None:
    killed = results["killed"]
    assert killed["failed"] and "ended unexpectedly" in killed["answer"], killed
    assert "ended unexpectedly" in killed["message"], killed
    assert results["after"]["code"] == 0 and results["temporaries"] == [], results["after"]


def test_a_cancelled_bake_is_reported(results: dict[str, Any]) -> None:
    assert results["cancelled"]["failed"] and results["cancelled"]["message"] == "Cancelled"
