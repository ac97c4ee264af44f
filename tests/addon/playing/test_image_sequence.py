# SPDX-License-Identifier: Apache-2.0
"""Planes play loops in every Blender: rendered frames against the files, and the still put back exactly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).with_name("image_sequence_script.py")
# EXR comes through as it is; EEVEE renders to half floats.
EXACT, DECODED, HALF = 1e-6, 1e-5, 4e-3


@pytest.fixture(scope="module")
def told(blender: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return blender.run(SCRIPT, tmp_path_factory.mktemp("sequence"), timeout=400).result


def test_every_frame_is_its_file(told: dict[str, Any]) -> None:
    """Over two periods and before the first frame, at other speeds, backward, from another frame on."""
    plays = told["plays"]
    assert plays["settings"] == ["SEQUENCE", "Linear Rec.709", 5, 1000, 1, True, True]
    for case in ("two periods and before", "slower, ahead", "backward", "from 1001"):
        assert plays[case] < EXACT, case
    assert plays["eevee"] < HALF


def test_the_driver_runs_where_scripts_are_not_trusted(told: dict[str, Any]) -> None:
    assert told["plays"]["simple"] == [True]


def test_the_colour_space_gives_the_look_of_the_still(told: dict[str, Any]) -> None:
    looks = told["looks"]
    assert looks["exr for exr"][0] == "ACEScg"
    for case in ("png for png", "png for exr"):
        assert looks[case][0] == "sRGB" and looks[case][1] < DECODED
    assert looks["alpha"] == "CHANNEL_PACKED"


@pytest.mark.parametrize("case", ["plain", "grouped", "linked mesh", "shared"])
def test_restoring_leaves_nothing_behind(told: dict[str, Any], case: str) -> None:
    """Every setting of every node, links, drivers, data, properties, modifiers, and the picture."""
    seen = told["restores"][case]
    assert seen["played"] < EXACT and seen["wired"] == [True, "still.png", True]
    assert seen["differs"] == {} and seen["picture"] == 0 and seen["again"] == [False, False]


def test_two_planes_with_one_loop_are_out_of_step(told: dict[str, Any]) -> None:
    step = told["out_of_step"]
    assert step["cycles"] < EXACT and step["reloaded"] < EXACT and step["eevee"] < HALF
    assert step["still there"] == "still.png"
    assert step["one restored"] < DECODED and step["both restored"] < DECODED


def test_a_shared_material_is_played_by_the_one_plane_only(told: dict[str, Any]) -> None:
    shared = told["material_shared"]
    assert shared == {"other": [False, True], "first restored": [False, True], "both restored": True}


def test_light_files_for_the_viewport_full_ones_for_the_render(told: dict[str, Any]) -> None:
    light = told["light"]
    assert light["viewport"][:2] == ["plate_loop.1001.png", "sRGB"] and light["render"] < EXACT
    assert light["drivers"] == [True] and light["copies"]
    assert light["left"] == [["still.png"], ["Plate", "Plate.001"], [], 0]


def test_light_files_hold_and_follow_the_material(told: dict[str, Any]) -> None:
    kept = told["light_kept"]
    assert kept["opened"][0] == "plate_loop.1001.png" and kept["opened"][1] < EXACT
    assert kept["changed"] == [True, ["Plate"], "plate_loop.1001.png", 0.25, [], 2]
    assert kept["map"] == pytest.approx([7.5, 5.5], abs=1e-4)  # the middle of 16 x 12 pixels
    assert kept["again"] == ["plate_loop.1001.png", 1, 2]
    assert kept["differs"] == {}


@pytest.mark.parametrize("shader", ["PRINCIPLED", "SHADELESS", "EMISSION"])
def test_blenders_own_image_planes_play(told: dict[str, Any], shader: str) -> None:
    """Rendered before it is wired, too: what was evaluated then is not what is to be seen now."""
    seen, differs = told["imports"][shader]
    assert max(seen) < DECODED and differs == []


def test_undo_and_redo(told: dict[str, Any]) -> None:
    wired, still, again, playing, restored = told["undo"]
    assert (wired, again, restored) == (False, True, True)
    assert still < DECODED and playing < EXACT


def test_what_cannot_be_played_is_refused(told: dict[str, Any]) -> None:
    nothing, plain, unwired, wired = told["refusals"]
    assert "nothing.####.exr" in nothing and "bake the loop" in nothing
    assert "names no sequence" in plain and "plays no loop" in unwired and wired is False
