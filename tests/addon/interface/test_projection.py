# SPDX-License-Identifier: Apache-2.0
"""Tests in real Blenders of a painting that is projected from a camera onto three objects: one loop plays on all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).with_name("projection_script.py")
# Half floats, and the rounding of projected UVs.
EXACT = 4e-3
FRAMES = 4
NAMES = ("Left", "Middle", "Right")


@pytest.fixture(scope="module")
def results(blender: Any, extension: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    found = blender.run(SCRIPT, extension, tmp_path_factory.mktemp("projection"), timeout=400).result
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize("case", ["shared", "three"])
def test_one_bake_plays_on_all_users_of_the_picture(results: dict[str, Any], case: str) -> None:
    """One material on three objects, three materials with one image: rendered, in the viewport, after opening."""
    seen = results[case]
    assert seen["plays"] < EXACT and seen["saved"] < EXACT and seen["moves"] > 0.02
    assert seen["message"].startswith("4 frames written") and seen["folders"] == ["Left"]
    assert seen["proxies"] == [["Left_loop.1001.jpg"]] * 3
    assert seen["strokes"] == 2 and seen["motions"] == 1
    assert seen["messages"] == ['Plays the loop that was baked on "Left"'] * 2


@pytest.mark.parametrize(("case", "materials"), [("shared", ["Left"]), ("three", ["Left", "Left.001", "Left.002"])])
def test_nothing_is_copied_and_the_panel_names_the_users(
    results: dict[str, Any], case: str, materials: list[str]
) -> None:
    seen = results[case]
    assert seen["materials"] == materials
    assert seen["text"].startswith('Plays on "Middle", "Left", "Right", in the material')
    assert all(f'"{name}"' in seen["text"] for name in materials)


@pytest.mark.parametrize("case", ["shared", "three"])
def test_the_still_is_restored_on_all(results: dict[str, Any], case: str) -> None:
    seen = results[case]
    assert seen["differs"] == {} and seen["restored"] < 1e-6
    assert seen["restore messages"] == ["Still restored"]


def test_a_loop_on_one_object_copies_its_material_as_said_before(results: dict[str, Any]) -> None:
    seen = results["alone"]
    assert seen["text"] == 'Plays on "Left" only: it gets a copy of the material "Left"'
    assert seen["alone"][0] < EXACT and seen["alone"][1] < 1e-6 and seen["alone"][2] is False


def test_a_loop_for_all_leaves_a_loop_of_one_object(results: dict[str, Any]) -> None:
    seen = results["alone"]
    assert seen["text of other"].endswith('Not on "Left": plays a loop of its own')
    assert max(seen["both"]) < EXACT and max(seen["middle restored"]) < EXACT
    assert seen["differs"] == {}


def test_undo_and_redo_of_a_bake_for_all(results: dict[str, Any]) -> None:
    seen = results["undone"]
    assert seen["wired"] == [[False] * 3 + [True] * 3]
    assert seen["plays"] < EXACT and seen["still"] < 1e-6


def test_one_object_can_leave_the_common_playback(results: dict[str, Any]) -> None:
    seen = results["undone"]
    assert seen["apart"] == ["OBJECT", "ALL", "ALL"]
    assert max(seen["ahead"]) < EXACT and max(seen["kept"]) < EXACT


def test_previews_animate_all_users(results: dict[str, Any]) -> None:
    seen = results["previews"]
    assert seen["preview"] == [["Left_preview.1001.png"]] * 3 and seen["render"] < 1e-6
    assert seen["live"] > 0.02 and seen["differs"] == {}


def test_loops_of_older_files_stay_on_their_object(results: dict[str, Any]) -> None:
    """And of several planes that play one loop, `bake --all` chooses one."""
    assert results["older"] == [["OBJECT", "ALL", "ALL"], ["Left", "Middle"]]


def test_window_coordinates_are_followed_and_others_refused_before(results: dict[str, Any]) -> None:
    """By the texts of the panel, which are the operators' errors; without strokes on it any plane plays a loop."""
    seen = results["coordinates"]
    assert seen["window"][0] == "" and "painted by UVs" in seen["window"][1] and seen["window"][1] in seen["painted"]
    assert seen["baked"].startswith("4 frames written") and seen["plays"] < EXACT
    drawing, own, other = seen["reflection"]
    assert "cannot be found" in drawing and drawing in seen["stroke"] and drawing in seen["bake"]
    assert own == other == f'What is drawn on "Middle" cannot be used. {drawing}'
    assert seen["without strokes"][0] == "" and seen["without strokes"][1].startswith("2 frames written")


def test_selected_planes_are_baked_one_after_another(results: dict[str, Any]) -> None:
    """One in which nothing flows, and one without an image, do not stop the others."""
    seen = results["several"]
    assert "2 of 4 loops baked" in seen["report"] and seen["folders"] == ["Left", "Right"]
    assert all(f'"{name}": {seen["messages"][name][0]}' in seen["report"] for name in ("Middle", "Plain"))
    assert [seen["messages"][name][1:] for name in (*NAMES, "Plain")] == [
        [True, True], [True, False], [False, True], [True, False],
    ]  # fmt: skip
    assert seen["messages"]["Right"][0].startswith("4 frames written")


def test_progress_counts_the_planes_and_cancel_ends_the_rest(results: dict[str, Any]) -> None:
    seen = results["several"]
    assert {"Left, 1 of 4: Baking", "Right, 2 of 4: Baking"} <= set(seen["texts"])
    assert not any("3 of 4" in text for text in seen["texts"])
    assert seen["cancelled"] == ["Cancelled: 1 of 4 loops are baked", 130, "Cancelled: 1 of 4 loops are baked"]


def test_a_background_image_plays_in_the_camera(results: dict[str, Any]) -> None:
    """The numbers of the files by the evaluated camera, also after opening; and restored without a trace."""
    seen = results["background"]
    assert seen["hidden"].startswith('Error: "Projector" is not a mesh, and shows no background image')
    assert seen["stroke"] == [[10, 20], [80, 34]] and seen["seen"] == [[0, 1], [1, 0]]
    source, file, (*user, _), numbers = seen["plays"]
    assert (source, file, user) == ("SEQUENCE", "Projector_loop.1001.jpg", [FRAMES, 1, True])
    assert numbers == seen["saved"] == [1001, 1003, 1004, 1001, 1001, 1003]
    assert seen["objects"] == [False] * 3
    assert seen["restored"] == ["plate.png.001", True, 0, []]
    assert "is moved, turned, scaled" in seen["moved"] and "use Preview" in seen["live"]


def test_a_background_is_a_user_of_its_picture(results: dict[str, Any]) -> None:
    """Objects and the camera with one image: a bake on an object plays in all, and is removed from all."""
    seen = results["background"]
    assert seen["text"].startswith('Plays on "Projector", "Left", "Middle", "Right", in the materials')
    assert seen["together"] == [True] * 4 and seen["apart"] == [False] * 4


def test_a_selection_that_plays_one_loop_has_it_baked_once(results: dict[str, Any]) -> None:
    messages = results["several"]["one for all"]
    assert messages[0].startswith("2 frames written")
    assert messages[1:] == ['Plays the loop that was baked on "Left"'] * 2
    # When the object that it was baked on gets a loop of its own, the others keep a speed and an offset.
    assert results["several"]["left behind"] == [["Middle", True], ["Middle", True], False]
