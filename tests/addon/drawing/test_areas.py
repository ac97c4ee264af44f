# SPDX-License-Identifier: Apache-2.0
"""Tests of areas, which add to the mask of a plane or are taken from it, in real Blenders without a window."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from loopcore.motion import read_hints

SCRIPT = Path(__file__).with_name("areas_script.py")


@pytest.fixture(scope="module")
def results(blender: Any, extension: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return blender.run(SCRIPT, extension, tmp_path_factory.mktemp("areas")).result


def test_coverage_is_exact_also_beyond_the_picture_and_where_a_lasso_overlaps_itself(results: dict[str, Any]) -> None:
    """Of 600 pixels; where the ends of the lasso cross, both windings lie in the same few."""
    off = results["coverage"]
    assert off["triangle"] == off["beyond"] == 0 and off["overlapping"] <= 10


def test_areas_are_a_mask_without_a_painted_one(results: dict[str, Any]) -> None:
    """An edge at half a pixel is that between two pixels; the feather goes inward."""
    refused, texts, kinds, path = results["alone"]
    assert "There is no mask to subtract from" in refused[0] and "three different points" in refused[1]
    assert all("points must be a JSON list" in text for text in refused[2:])
    assert texts == 3 and kinds == [0, 2, 1]
    mask = read_mask_of(read_hints(path))
    wanted = np.zeros((180, 320), np.float32)
    wanted[20:80, 10:100] = 1
    wanted[40:60, 50:70] = 0
    assert np.abs(mask[wanted == 0]).max() == 0
    assert 0 < mask[21, 30] < 1 and mask[30, 30] == 1


def test_areas_change_a_painted_mask_whatever_their_order(results: dict[str, Any]) -> None:
    mask = read_mask_of(read_hints(results["painted"]))
    assert mask[30, 30] == 1 and mask[50, 60] == 0 and mask[10, 5] == 0
    assert mask[110, 215] == pytest.approx(0.5, abs=0.01)


def test_masks_are_painted_without_seam_bleed(results: dict[str, Any]) -> None:
    """It paints over one edge of an image onto the opposite one."""
    going_on, saved, after_saving, ended, restored = results["bleed"]
    assert going_on == [0, 0.5] and saved == [3] and after_saving == 0
    assert ended is None and restored == 3


def read_mask_of(hints: Any) -> np.ndarray:
    return np.asarray(hints.fitted(180, 320).mask)
