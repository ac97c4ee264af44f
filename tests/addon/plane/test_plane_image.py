# SPDX-License-Identifier: Apache-2.0
"""Tests of a plane's image in real Blenders: found through materials, refused with reasons, mapped by UVs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).with_name("plane_image_script.py")


@pytest.fixture(scope="module")
def results(blender: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return blender.run(SCRIPT, tmp_path_factory.mktemp("plane")).result


def test_the_image_is_found_through_the_material(results: dict[str, Any]) -> None:
    wanted = {"principled", "mixed", "grouped", "adjusted", "second slot active"}
    assert {name for name, right in results["materials"].items() if right} == wanted


@pytest.mark.parametrize("shader", ["PRINCIPLED", "SHADELESS", "EMISSION"])
def test_planes_imported_by_blender_are_supported(results: dict[str, Any], shader: str) -> None:
    assert results["imported"][shader] == ["True", [0.0, 1.0, pytest.approx(64 / 36, abs=1e-3)]]


@pytest.mark.parametrize(
    ("case", "text"),
    {
        "movie": '"film" is a movie', "udim": "UDIM", "missing": "nothing.png", "sequence": "is an image sequence",
        "empty texture": "no image: open one", "unconnected": "No image is connected", "no material": "no material",
        "boxed": "set it to Flat", "no mesh": "is not a mesh", "reference": "reference image",
        "nothing": "No active object",
    }.items(),
)  # fmt: skip
def test_other_images_are_refused_with_a_reason(results: dict[str, Any], case: str, text: str) -> None:
    assert text in results["reasons"][case]


def test_images_in_the_blend_are_written_to_files(results: dict[str, Any]) -> None:
    files = results["files"]
    assert files["packed"] and files["untouched"]
    for name, suffix in (("painted", ".png"), ("generated", ".png"), ("generated float", ".exr")):
        assert files[name][0] == suffix
        assert files[name][1] <= 0.5 / 255 + 1e-6 if suffix == ".png" else files[name][1] == 0
    assert "cannot be written" in files["refused"]


@pytest.mark.parametrize(
    "case", ["whole", "cropped", "flipped", "turned", "skewed", "next tile", "mapping nodes", "bent"]
)
def test_the_map_agrees_with_the_render(results: dict[str, Any], case: str) -> None:
    """Cycles renders an image whose colors are its pixel coordinates; the map gives the same, and its inverse."""
    across, down, back = results["maps"][case]
    assert across < 1e-3 and down < 1e-3 and back < 1e-5


def test_the_map_of_a_flat_plane_is_one_triangle(results: dict[str, Any]) -> None:
    count, across, down, back = results["maps"]["cut"]
    assert count == 1 and across < 1e-3 and down < 1e-3 and back < 1e-5
