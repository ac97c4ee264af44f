# SPDX-License-Identifier: Apache-2.0
"""Tests in real Blenders: versions of a file keep their loops, folders have owners, paths survive moving."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

HERE = Path(__file__).parent
PYTHONS = [p for p in os.environ.get("LOOPCORE_BPY_PYTHONS", "").split(os.pathsep) if p]
pytestmark = pytest.mark.skipif(not PYTHONS, reason="LOOPCORE_BPY_PYTHONS names no Python with bpy")


@pytest.fixture(scope="module")
def folder(blender: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("versions") / "project"
    made.mkdir()
    return made


@pytest.fixture(scope="module")
def seen(blender: Any, extension: Path, folder: Path) -> dict[str, Any]:
    found = blender.run(HERE / "versions_script.py", extension, folder, timeout=400).result
    assert isinstance(found, dict)
    return found


def picture(path: Path) -> np.ndarray:
    from loopcore.plate import read_plate

    return read_plate(path).pixels[..., :3]


def frames(count: int) -> list[str]:
    exr = [f"Plate_loop.{1001 + t}.exr" for t in range(count)]
    return exr + [f"proxy/Plate_loop.{1001 + t}.jpg" for t in range(count)]


def test_a_version_does_not_replace_the_frames_of_another(seen: dict[str, Any], folder: Path) -> None:
    found = seen["versions"]
    assert found["first"].startswith("6 frames written") and found["second"].startswith("4 frames written")
    assert found["kept"]
    assert found["files"] == [frames(6), frames(4)]
    first = folder / "loops" / "shot_v001" / "Plate" / "Plate_loop.1001.exr"
    assert Path(found["plays"][0]) == first and found["plays"][1] == 6
    baked = picture(first.with_name("Plate_loop.1006.exr"))
    assert np.abs(picture(folder / "v001.6.exr") - baked).max() < 2e-3


def test_a_folder_of_another_version_is_refused_until_it_is_taken_over(seen: dict[str, Any]) -> None:
    found = seen["shared"]
    assert found["mine"].startswith("6 frames written") and found["kept"]
    assert '"Plate" in shot_v001.blend' in found["refused"] and "take it over" in found["refused"]
    assert found["taken"].startswith("4 frames written") or found["taken"].startswith("0 frames written, 4")
    assert "older version" in found["unrecorded"]


def test_only_frames_of_loopcore_are_removed(seen: dict[str, Any]) -> None:
    found = seen["shared"]
    assert "4 files of a longer loop are left" in found["taken"] and found["left"] == 4
    mine = sorted([*frames(4), "Plate_loop.1010.exr", "Plate_loop.1006.txt", "proxy/Plate_loop.1011.jpg"])
    assert found["removed"] == mine and all(found["strangers"])


def test_names_give_different_folders(seen: dict[str, Any]) -> None:
    places = seen["names"]["places"]
    assert len({place.lower() for place in places}) == len(places)
    assert places[:3] == [f"/tmp/shot_v003/{name}" for name in ("a.b", "a b", "a_b")]
    assert seen["names"]["version"] == "v003"
    assert "no version such as v001" in seen["names"]["no version"]


def test_a_preview_is_in_the_viewport_only(seen: dict[str, Any], folder: Path) -> None:
    found = seen["preview"]
    assert found["viewport"].startswith("Plate_preview") and found["material"] == ["plate.png", "plate.png"]
    assert np.array_equal(picture(folder / "still.exr"), picture(folder / "previewed.exr"))
    assert "viewport only" in found["message"] and "lost when Blender quits" in found["message"]
    assert found["restored"] == ["plate.png", 0, False]


def test_the_motion_is_found_after_moving(seen: dict[str, Any]) -> None:
    found = seen["paths"]
    assert found["stored"].replace("\\", "/") == "//loops/shot_v002/Plate/setup/motion.exr"
    assert found["beside a copy"]
    assert found["elsewhere"] == ["//../loops/shot_v002/Plate/setup/motion.exr", True]
    assert found["shot_v002.blend"] == found["sub/copy.blend"] == [True, False]
    assert found["missing"]


def test_an_unsaved_file_owns_its_frames(seen: dict[str, Any]) -> None:
    found = seen["unsaved"]
    assert found["first"].startswith("2 frames written")
    assert found["again"].startswith("0 frames written, 2") and found["saved"].startswith("0 frames written, 2")
    assert '"Plate" in named.blend' in found["other"]
