# SPDX-License-Identifier: Apache-2.0
"""Commands and their exit codes, and what happens when things go wrong during a bake, in real Blenders."""

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
    """One for each Blender: the next finds nothing baked."""
    return tmp_path_factory.mktemp("shot")


@pytest.fixture(scope="module")
def found(blender: Any, extension: Path, folder: Path) -> dict[str, Any]:
    result = blender.run(HERE / "commands_script.py", extension, folder).result
    assert isinstance(result, dict)
    return result


def test_a_bake_prints_its_progress_and_saves(found: dict[str, Any], folder: Path) -> None:
    bake = found["bake"]
    assert bake["code"] == 0, bake
    lines = bake["out"].splitlines()
    frames = [folder / "loops" / "Plate" / f"Plate_loop.{1001 + t}.png" for t in range(6)]
    assert [line for line in lines if "_loop." in line] == [f"Saved: '{path}'" for path in frames]
    percents = [int(line[10:-1]) for line in lines if line.startswith("Progress: ") and line.endswith("%")]
    assert percents == [16, 33, 50, 66, 83, 100]
    assert any(line.startswith("6 frames written") for line in lines)
    assert lines[-1] == f"Saved: '{folder / 'shot.blend'}'"
    assert found["saved"] == "SEQUENCE"
    assert len(list((folder / "loops" / "Plate").glob("Plate_loop.*.png"))) == 6


def test_a_farm_makes_its_part(found: dict[str, Any], folder: Path) -> None:
    assert found["part"]["code"] == 0, found["part"]
    assert sorted(p.name for p in (folder / "part").glob("*.exr") if p.name != "motion.exr") == [
        "Plate_loop.1001.exr", "Plate_loop.1002.exr"
    ]  # fmt: skip


def test_predict_says_where_the_motion_is(found: dict[str, Any], folder: Path) -> None:
    assert found["predict"]["code"] == 0, found["predict"]
    assert found["predict"]["out"].splitlines()[-1] == f"Saved: '{found['motion']}'"
    assert Path(found["motion"]).is_file()


def test_flow_and_restore(found: dict[str, Any], folder: Path) -> None:
    assert "Saved: '" in found["flow"]["out"] and "Progress: 100%" in found["flow"]["out"]
    assert found["flow"]["code"] == 0 and "1 flow map written" in found["flow"]["out"]
    assert found["restore"] == {"code": 0, "out": "The still is back\n", "err": ""}
    assert found["again"] == {"code": 0, "out": "The still is shown already\n", "err": ""}


@pytest.mark.parametrize(
    ("case", "code", "words"),
    [
        ("usage", 2, "--frames"),
        ("nobody", 2, "no object 'Nobody'"),
        ("unsaved", 2, "save the .blend file"),
        ("no folder", 2, "Cannot make the folder"),
        ("bad range", 2, "not in the loop"),
        ("no speed", 2, "speed 0"),
        ("frame fails", 1, "frame 1003: "),
    ],
)
def test_bad_input_is_told_in_a_line_and_a_code(found: dict[str, Any], case: str, code: int, words: str) -> None:
    assert found[case]["code"] == code
    assert words in found[case]["err"] and "Traceback" not in found[case]["err"]


def test_interrupted_it_says_so_by_its_code(found: dict[str, Any]) -> None:
    assert [said["code"] for said in found["interrupted"]] == [130, 143]
    assert [said["err"] for said in found["interrupted"]] == ["loopcore: error: interrupted\n"] * 2


def test_help_is_there(found: dict[str, Any]) -> None:
    assert found["help"]["code"] == 0
    assert all(word in found["help"]["out"] for word in ("bake", "predict", "flow", "restore"))


def test_what_was_painted_on_the_mask_is_saved(found: dict[str, Any]) -> None:
    assert found["mask kept"] == 1.0


def test_the_worker_speaks_the_panels_words(found: dict[str, Any]) -> None:
    answer = found["panel's words"]
    assert "Nothing here seems to flow" in answer and "draw strokes" in answer and "--" not in answer


def test_a_killed_worker_is_told_and_another_takes_over(found: dict[str, Any]) -> None:
    killed = found["killed"]
    assert killed["failed"] and "ended unexpectedly" in killed["answer"], killed
    assert "ended unexpectedly" in killed["message"], killed
    assert found["after"]["code"] == 0 and found["torn"] == [], found["after"]


def test_a_cancelled_bake_says_so(found: dict[str, Any]) -> None:
    assert found["cancelled"]["failed"] and found["cancelled"]["message"] == "Cancelled"
