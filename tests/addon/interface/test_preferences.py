# SPDX-License-Identifier: Apache-2.0
"""The preferences in real Blenders: which Python is used, what is refused, and that nothing is fetched unasked."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
PYTHONS = [p for p in os.environ.get("LOOPCORE_BPY_PYTHONS", "").split(os.pathsep) if p]
pytestmark = pytest.mark.skipif(not PYTHONS, reason="LOOPCORE_BPY_PYTHONS names no Python with bpy")


@pytest.fixture(scope="module")
def found(blender: Any, extension: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    said = blender.run(HERE / "preferences_script.py", extension, tmp_path_factory.mktemp("no wheels")).result
    assert isinstance(said, dict)
    return said


def test_the_users_python_is_used_once_it_was_named(found: dict[str, Any]) -> None:
    assert found["missing"] == "" and found["check"] == ["FINISHED"]
    missing, check = found["gone"]
    assert "There is no Python at" in missing and "cannot be started" in check


def test_the_preferences_belong_to_the_root_package(found: dict[str, Any]) -> None:
    root = "bl_ext.user_default.loopcore"
    assert found["names"] == ["LoopcorePreferences", root, root, f"{root}.interface", True]


def test_nothing_is_set_up_without_being_asked_nor_without_access(found: dict[str, Any]) -> None:
    assert "not set up yet" in found["not set up"]
    assert "Online access is off" in found["offline"]
    assert "There are no wheels" in found["empty folder"]
    assert "not set up yet" in found["still not set up"]


def test_it_is_set_up_in_the_users_folder_from_the_addons_wheel(found: dict[str, Any]) -> None:
    folder, wheel, there = found["place"]
    assert there and Path(wheel).name.startswith("loopcore-") and Path(wheel).parent.name == "wheels"
    assert ".user" in Path(folder).parts and Path(folder).name == "engine"


def test_other_blenders_see_that_the_environment_is_in_use(found: dict[str, Any]) -> None:
    assert found["leases"] == [False, True, True, False]


def test_disabling_the_addon_ends_what_is_being_set_up(found: dict[str, Any]) -> None:
    assert found["disabled"] == "cancelled"
