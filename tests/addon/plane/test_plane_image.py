# SPDX-License-Identifier: Apache-2.0
"""The picture of a plane, in every Blender: through materials of many shapes, with reasons, on UVs of many kinds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).with_name("plane_image_script.py")


@pytest.fixture(scope="module")
def told(blender: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return blender.run(SCRIPT, tmp_path_factory.mktemp("plane")).result


def test_the_picture_is_found_whatever_the_material(told: dict[str, Any]) -> None:
    wanted = {"principled", "mixed", "grouped", "adjusted", "second slot active"}
    assert {name for name, right in told["materials"].items() if right} == wanted


@pytest.mark.parametrize("shader", ["PRINCIPLED", "SHADELESS", "EMISSION"])
def test_blenders_own_import_of_planes_is_understood(told: dict[str, Any], shader: str) -> None:
    assert told["imported"][shader] == ["True", [0.0, 1.0, pytest.approx(64 / 36, abs=1e-3)]]


@pytest.mark.parametrize(
    ("case", "says"),
    {
        "movie": '"film" is a movie', "udim": "UDIM", "missing": "nothing.png", "sequence": "sequence already",
        "empty texture": "no image: open one", "unconnected": "No image is connected", "no material": "no material",
        "boxed": "set it to Flat", "no mesh": "is no mesh", "reference": "reference image", "nothing": "No object",
    }.items(),
)  # fmt: skip
def test_what_cannot_be_animated_is_refused_with_the_reason(told: dict[str, Any], case: str, says: str) -> None:
    assert says in told["reasons"][case]


def test_pictures_that_live_in_the_blend_become_files(told: dict[str, Any]) -> None:
    files = told["files"]
    assert files["packed"] and files["untouched"]
    for name, suffix in (("painted", ".png"), ("generated", ".png"), ("generated float", ".exr")):
        assert files[name][0] == suffix
        assert files[name][1] <= 0.5 / 255 + 1e-6 if suffix == ".png" else files[name][1] == 0
    assert "cannot be written" in files["refused"]


@pytest.mark.parametrize(
    "case", ["whole", "cropped", "flipped", "turned", "skewed", "next tile", "mapping nodes", "bent"]
)
def test_the_pixel_that_is_seen_is_the_pixel_that_is_said(told: dict[str, Any], case: str) -> None:
    """Cycles renders a picture whose colours say where they are; so does the map, and the way back."""
    across, down, back = told["maps"][case]
    assert across < 1e-3 and down < 1e-3 and back < 1e-5


def test_a_flat_plane_is_one_triangle_however_finely_cut(told: dict[str, Any]) -> None:
    count, across, down, back = told["maps"]["cut"]
    assert count == 1 and across < 1e-3 and down < 1e-3 and back < 1e-5
