# SPDX-License-Identifier: Apache-2.0
"""Tests of the motion overlay in real Blenders: position and direction of its lines, and the work per redraw."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).with_name("overlay_script.py")
AT_ONCE = 2000


@pytest.fixture(scope="module")
def results(blender: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    result = blender.run(SCRIPT, tmp_path_factory.mktemp("overlay")).result
    assert isinstance(result, dict)
    return result


@pytest.mark.parametrize("style", ["ARROWS", "STREAKS"])
@pytest.mark.parametrize("shape", ["flat", "cut", "bent", "cropped"])
def test_lines_follow_the_flow(results: dict[str, Any], shape: str, style: str) -> None:
    """Mapped back to pixels: the direction of 98 %, length by speed, only in the visible part of the image."""
    seen = results["shown"][shape][style]
    assert seen["count"] > 50 and seen["agree"] > 0.95 and seen["faster is longer"] > 0.8
    assert seen["longest"] <= 10
    left, top, right, bottom = seen["box"]
    wide, high = (160, 90) if shape == "cropped" else (320, 180)
    assert left > -8 and right < wide + 8 and bottom < 188 and top > 180 - high - 8
    assert style == "ARROWS" or seen["brightens"]


def test_the_work_per_piece_is_bounded(results: dict[str, Any]) -> None:
    """On 8192 triangles: one search tree, and points in chunks, one chunk per piece."""
    counted = results["counted"]
    assert counted["trees"] == [8192] and max(counted["placed"]) <= AT_ONCE
    assert sum(counted["placed"]) == counted["points"] > AT_ONCE
    assert counted["pieces"] >= len(counted["placed"]) + 2


def test_lines_are_computed_over_several_redraws(results: dict[str, Any]) -> None:
    calls, meanwhile, kept, moved, changed, gone = results["one_piece_a_draw"]
    assert calls >= 4 and meanwhile and kept and moved and changed and gone


def test_several_objects_share_the_time_of_a_redraw(results: dict[str, Any]) -> None:
    counts, first, finished = results["shared_time"]
    assert set(counts[:3]) == {1} and first == 3 and finished == [True] * 3


def test_strokes_have_arrow_heads_at_their_end(results: dict[str, Any]) -> None:
    heads = results["heads"]
    tip, *back = heads["head"]
    assert tip[0] > 100 and all(x < 100 for x, _ in back) and back[0][1] == -back[1][1] != 0
    assert heads["nothing"] == []
    start, end = heads["line"]
    assert start[0] < end[0] and abs(end[0] - start[0]) == pytest.approx(3.2 * 290 / 320, rel=1e-4)


def test_invalid_files_give_no_lines(results: dict[str, Any]) -> None:
    assert results["nonsense"] == [0] * 5
