# SPDX-License-Identifier: Apache-2.0
"""Tests of loops on planes in real Blenders: rendered frames equal the files, and the still is restored exactly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).with_name("image_sequence_script.py")
# Tolerances: of EXR files, of decoded PNG files, and of EEVEE, which renders half floats.
EXACT, DECODED, HALF = 1e-6, 1e-5, 4e-3


@pytest.fixture(scope="module")
def results(blender: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return blender.run(SCRIPT, tmp_path_factory.mktemp("sequence"), timeout=400).result


def test_every_frame_shows_its_file(results: dict[str, Any]) -> None:
    """Over two periods and before the first frame, at other speeds, backward, and from another first frame."""
    plays = results["plays"]
    assert plays["settings"] == ["SEQUENCE", "Linear Rec.709", 5, 1000, 1, True, True]
    for case in ("two periods and before", "slower, ahead", "backward", "from 1001"):
        assert plays[case] < EXACT, case
    assert plays["eevee"] < HALF


def test_the_driver_runs_without_auto_run_scripts(results: dict[str, Any]) -> None:
    assert results["plays"]["simple"] == [True]


def test_the_color_space_matches_the_still(results: dict[str, Any]) -> None:
    looks = results["looks"]
    assert looks["exr for exr"][0] == "ACEScg"
    for case in ("png for png", "png for exr"):
        assert looks[case][0] == "sRGB" and looks[case][1] < DECODED
    assert looks["alpha"] == "CHANNEL_PACKED"


@pytest.mark.parametrize("case", ["plain", "grouped", "linked mesh", "shared"])
def test_restoring_leaves_nothing_behind(results: dict[str, Any], case: str) -> None:
    """Every setting of every node, links, drivers, data, properties, modifiers, and the picture."""
    seen = results["restores"][case]
    assert seen["played"] < EXACT and seen["wired"] == [True, "still.png", True]
    assert seen["differs"] == {} and seen["picture"] == 0 and seen["again"] == [False, False]


def test_two_planes_with_one_loop_have_their_own_offsets(results: dict[str, Any]) -> None:
    step = results["offsets"]
    assert step["cycles"] < EXACT and step["reloaded"] < EXACT and step["eevee"] < HALF
    assert step["still there"] == "still.png"
    assert step["one restored"] < DECODED and step["both restored"] < DECODED


def test_only_one_plane_of_a_shared_material_plays(results: dict[str, Any]) -> None:
    shared = results["material_shared"]
    assert shared == {"other": [False, True], "first restored": [False, True], "both restored": True}


def test_the_viewport_plays_proxies_and_renders_full_files(results: dict[str, Any]) -> None:
    proxies = results["proxies"]
    assert proxies["viewport"][:2] == ["plate_loop.1001.png", "sRGB"] and proxies["render"] < EXACT
    assert proxies["drivers"] == [True] and proxies["copies"]
    assert proxies["left"] == [["still.png"], ["Plate", "Plate.001"], [], 0]


def test_the_viewport_material_follows_changes(results: dict[str, Any]) -> None:
    kept = results["proxies_kept"]
    assert kept["opened"][0] == "plate_loop.1001.png" and kept["opened"][1] < EXACT
    assert kept["changed"] == [True, 0.25, 2]
    # With a node that the copy lacks, or no longer has, the viewport shows the material itself.
    assert kept["nodes"] == [[True, True, True], [False, True, False], [True, False, True]]
    assert kept["map"] == pytest.approx([7.5, 5.5], abs=1e-4)  # the middle of 16 x 12 pixels
    assert kept["again"] == ["plate_loop.1001.png", 1, 2]
    assert kept["differs"] == {}


@pytest.mark.parametrize("shader", ["PRINCIPLED", "SHADELESS", "EMISSION"])
def test_planes_imported_by_blender_play(results: dict[str, Any], shader: str) -> None:
    """Also rendered before it is wired, since an outdated evaluation must not be shown."""
    seen, differs = results["imports"][shader]
    assert max(seen) < DECODED and differs == []


def test_undo_and_redo(results: dict[str, Any]) -> None:
    wired, still, again, playing, restored = results["undo"]
    assert (wired, again, restored) == (False, True, True)
    assert still < DECODED and playing < EXACT


def test_the_viewport_material_follows_through_undo(results: dict[str, Any]) -> None:
    """The crashes of copies made outside undo steps need a window: tests/gui/stress.py."""
    assert results["undo_while_following"] == [8, ["plate_loop.1001.png", True, True], 2]


def test_invalid_sequences_are_refused(results: dict[str, Any]) -> None:
    nothing, plain, unwired, wired = results["refusals"]
    assert "nothing.####.exr" in nothing and "bake the loop" in nothing
    assert "not the name of a sequence" in plain and "does not play a loop" in unwired and wired is False
