# SPDX-License-Identifier: Apache-2.0
"""Tests of texture coordinates in real Blenders: followed exactly, or refused with a reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).with_name("coordinates_script.py")


@pytest.fixture(scope="module")
def results(blender: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    found = blender.run(SCRIPT, tmp_path_factory.mktemp("coordinates")).result
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize("case", ["Generated", "Object", "Camera", "Window", "Window, moved", "Generated, bent"])
def test_the_map_agrees_with_the_render(results: dict[str, Any], case: str) -> None:
    """Cycles renders a tilted plane in perspective, with an image whose colors are its pixel coordinates."""
    count, pixels, worlds = results["maps"][case]
    assert count >= 2 and pixels < 1e-3 and worlds < 1e-5


@pytest.mark.parametrize(
    ("case", "text"),
    {
        "reflection": '"Texture Coordinate" (Reflection)', "computed": '"Vector Math" (Vector)',
        "no camera": "the scene has no camera", "panorama": "is panoramic", "modifier": "its modifiers change",
        "no UVs": "has no UV map",
    }.items(),
)  # fmt: skip
def test_others_are_refused_with_a_reason(results: dict[str, Any], case: str, text: str) -> None:
    """The fast reason for the panel is the one that the map gives."""
    assert text in results["refusals"][case]


def test_coordinates_that_are_followed_are_not_refused(results: dict[str, Any]) -> None:
    assert results["refusals"]["followed"] == ["", "", ""]
