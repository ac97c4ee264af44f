# SPDX-License-Identifier: Apache-2.0
"""Tests of strokes, anchors and masks drawn in real Blenders, as Loopcore reads them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from loopcore.motion.hints import read_hints

SCRIPT = Path(__file__).with_name("strokes_script.py")
WIDTH, HEIGHT = 64, 48


@pytest.fixture(scope="module")
def results(blender: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return blender.run(SCRIPT, tmp_path_factory.mktemp("strokes")).result


@pytest.mark.parametrize("case", ["whole", "flipped", "turned", "cropped"])
def test_strokes_are_written_at_the_pixels_they_were_drawn_at(results: dict[str, Any], case: str) -> None:
    """Also after the plane, and with it its children, was moved, scaled and mirrored."""
    hints, same, parented = results["placed"][case]
    assert hints["size"] == [WIDTH, HEIGHT] and same and parented
    (stroke,) = hints["strokes"]
    assert stroke["speed"] == 2.5
    assert np.allclose(stroke["points"], [(10.0, 5.5), (30.25, 20.0), (50.0, 40.0)], atol=2e-3)
    assert np.allclose(hints["anchors"], [(33.0, 12.5)], atol=2e-3)


def test_all_kinds_of_curves_are_strokes(results: dict[str, Any]) -> None:
    curves = results["curves"]
    (default,) = curves["default"]
    points = np.array(default["points"])
    assert np.allclose(points[:, 1], 23.5) and (np.diff(points[:, 0]) > 0).all() and default["speed"] == 1
    assert np.allclose(points[[0, -1], 0], 31.5 + np.array([-64, 64]) / 6, atol=2e-3)
    assert curves["radius"][0] == 4 and curves["radius"][-1] == 2 and len(curves["radius"]) == len(points)
    assert curves["hidden"] is None
    (drawn,) = curves["drawn"]
    assert np.allclose(drawn["points"], [(-0.5, -0.5), (31.5, 23.5), (63.5, 47.5), (-0.5, -0.5)], atol=2e-3)
    assert np.allclose(curves["moved"], (47.5, 23.5), atol=2e-3)


def test_anchors_are_added_at_the_cursor_over_the_image(results: dict[str, Any]) -> None:
    spots, uneven = results["cursor"]
    assert np.allclose(spots, [(31.5, 23.5), (47.5, 11.5), (31.5, 23.5)], atol=2e-3)
    assert uneven < 1e-6


def test_loopcore_reads_the_painted_mask(results: dict[str, Any]) -> None:
    painted = results["painted"]
    assert painted["again"] and painted["size"] == [WIDTH, HEIGHT] and painted["kind"] == ["Non-Color", 0]
    assert "completely black" in painted["black"] and "another aspect ratio" in painted["shape"] and painted["none"]
    assert painted["kept"] <= 0.5 / 255 + 1e-6, "the .blend does not hold what was painted"
    hints = read_hints(painted["file"])
    wanted = np.zeros((HEIGHT, WIDTH))
    wanted[5:20, 10:50] = np.linspace(0, 1, 40)
    assert hints.mask is not None and np.abs(hints.mask - wanted).max() <= 0.5 / 255 + 1e-6
    assert hints.size == (WIDTH, HEIGHT) and hints.strokes[0].speed == 1.5


@pytest.mark.parametrize("domain", ["POINT", "CORNER"])
def test_a_color_attribute_is_a_mask(results: dict[str, Any], domain: str) -> None:
    """It increases from the plane's left to its right, which shows the image's left."""
    mask = read_hints(results["vertex_colors"][domain]).mask
    assert mask is not None
    assert np.abs(mask - (1 - (np.arange(WIDTH) + 0.5) / WIDTH)).max() < 1 / 255
    assert '"gone"' in results["vertex_colors"]["gone"]


def test_invalid_hints_are_refused(results: dict[str, Any]) -> None:
    short, still, backward, file, nothing, made, children = results["refusals"]
    assert "two different points" in short and "two different points" in still and "reverse the flow" in backward
    assert "cannot be written" in file
    assert nothing is None and made is False and children == 1
