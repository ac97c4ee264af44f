# SPDX-License-Identifier: Apache-2.0
"""Tests of the preferences in real Blenders: the Python in use, refusals, and no network access without consent."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
PYTHONS = [p for p in os.environ.get("LOOPCORE_BPY_PYTHONS", "").split(os.pathsep) if p]
pytestmark = pytest.mark.skipif(not PYTHONS, reason="LOOPCORE_BPY_PYTHONS names no Python with bpy")


@pytest.fixture(scope="module")
def results(blender: Any, extension: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    result = blender.run(HERE / "preferences_script.py", extension, tmp_path_factory.mktemp("no wheels")).result
    assert isinstance(result, dict)
    return result


def test_the_chosen_python_is_used(results: dict[str, Any]) -> None:
    assert results["missing"] == "" and results["check"] == ["FINISHED"]
    missing, check = results["gone"]
    assert "There is no Python at" in missing and "cannot be started" in check


def test_the_preferences_belong_to_the_root_package(results: dict[str, Any]) -> None:
    root = "bl_ext.user_default.loopcore"
    assert results["names"] == ["LoopcorePreferences", root, root, f"{root}.interface", True]


def test_no_setup_without_request_or_online_access(results: dict[str, Any]) -> None:
    assert "engine is not set up" in results["not set up"]
    assert "Online access is off" in results["offline"]
    assert "There are no wheels" in results["empty folder"]
    assert "engine is not set up" in results["still not set up"]


def test_the_environment_is_in_the_users_folder(results: dict[str, Any]) -> None:
    folder, wheel, there = results["place"]
    assert there and Path(wheel).name.startswith("loopcore-") and Path(wheel).parent.name == "wheels"
    assert ".user" in Path(folder).parts and Path(folder).name == "engine"


def test_an_engine_holds_a_lease_of_the_environment(results: dict[str, Any]) -> None:
    assert results["leases"] == [False, True, True, False]


def test_disabling_the_addon_cancels_a_setup(results: dict[str, Any]) -> None:
    assert results["disabled"] == "cancelled"


def test_a_cancelled_setup_tells_that_it_cleans_up(results: dict[str, Any]) -> None:
    """Its own lock is no other Blender, and buttons are disabled only while it runs."""
    before, during, cleaning, after = results["cancelled"]
    assert before[0] and during == [False, "Setting up: Creating the environment"]
    assert cleaning[1] == "The engine is not ready: its incomplete environment is being removed" or (
        "engine is not set up" in cleaning[1]  # removed already
    )
    assert after[0] and "engine is not set up" in after[1]
