# SPDX-License-Identifier: Apache-2.0
"""Tests of what the viewport's tools do with a pointer, in real Blenders without a window."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from loopcore.motion import Flip, MotionField, read_hints

SCRIPT = Path(__file__).with_name("pointing_script.py")


@pytest.fixture(scope="module")
def results(blender: Any, extension: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return blender.run(SCRIPT, extension, tmp_path_factory.mktemp("pointing")).result


@pytest.mark.parametrize("bent", [0, 1])
@pytest.mark.parametrize("perspective", [0, 1])
def test_the_pixel_under_the_pointer_is_the_one_that_is_seen_there(
    results: dict[str, Any], bent: int, perspective: int
) -> None:
    """Beside a flat plane pixels are extrapolated; beside a bent one there are none."""
    error, over, beside = results["pointed"][f"{bent} {perspective}"]
    assert error < 0.05
    assert over == [True, True, True, True, False]
    assert beside is (bent == 0)


def test_flips_are_written_at_their_pixels(results: dict[str, Any]) -> None:
    path, names, refused = results["flips"]
    hints = read_hints(path)
    assert [(round(f.x, 2), round(f.y, 2)) for f in hints.flips] == [(100.5, 30.0)]
    assert len(hints.anchors) == 1 and hints.anchors[0] != Flip(100.5, 30.0)
    assert names == {"strokes": [], "flips": ["Plate Flip"]}
    assert len(refused) == 4 and all("point must be a JSON list" in error for error in refused)


def test_dragged_lines_keep_their_corners_and_pressures(results: dict[str, Any]) -> None:
    kept, radii, speeds = results["simplified"]
    assert kept == [0, 30, 49]
    assert radii == [0.5, 1.0, 0.25] and speeds == [1.0, 2.0, 0.5]


def test_drafts_are_small_and_shown_at_the_size_of_the_image(results: dict[str, Any]) -> None:
    motion, arrows, size, nodes, middle, furthest, message = results["drafted"]
    field = MotionField.load(motion)
    assert (field.width, field.height) == (100, 56) and arrows == "draft_arrows.json"
    assert size == [320, 180] and nodes == [18, 33] and 300 < furthest < 320
    assert middle == pytest.approx([2.0, 0.0], abs=0.1)
    assert message == "Motion solved"
