# SPDX-License-Identifier: Apache-2.0
"""Strokes, anchors and masks drawn in every Blender, as Loopcore reads them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from loopcore.motion.hints import read_hints

SCRIPT = Path(__file__).with_name("strokes_script.py")
WIDTH, HEIGHT = 64, 48


@pytest.fixture(scope="module")
def told(blender: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return blender.run(SCRIPT, tmp_path_factory.mktemp("strokes")).result


@pytest.mark.parametrize("case", ["whole", "flipped", "turned", "cropped"])
def test_what_is_drawn_at_pixels_is_written_at_those_pixels(told: dict[str, Any], case: str) -> None:
    """Also after the plane was moved, scaled and mirrored, which its children follow."""
    hints, same, parented = told["placed"][case]
    assert hints["size"] == [WIDTH, HEIGHT] and same and parented
    (stroke,) = hints["strokes"]
    assert stroke["speed"] == 2.5
    assert np.allclose(stroke["points"], [(10.0, 5.5), (30.25, 20.0), (50.0, 40.0)], atol=2e-3)
    assert np.allclose(hints["anchors"], [(33.0, 12.5)], atol=2e-3)


def test_curves_of_every_kind_are_strokes(told: dict[str, Any]) -> None:
    curves = told["curves"]
    (default,) = curves["default"]
    points = np.array(default["points"])
    assert np.allclose(points[:, 1], 23.5) and (np.diff(points[:, 0]) > 0).all() and default["speed"] == 1
    assert np.allclose(points[[0, -1], 0], 31.5 + np.array([-64, 64]) / 6, atol=2e-3)
    assert curves["radius"][0] == 4 and curves["radius"][-1] == 2 and len(curves["radius"]) == len(points)
    assert curves["hidden"] is None
    (drawn,) = curves["drawn"]
    assert np.allclose(drawn["points"], [(-0.5, -0.5), (31.5, 23.5), (63.5, 47.5), (-0.5, -0.5)], atol=2e-3)
    assert np.allclose(curves["moved"], (47.5, 23.5), atol=2e-3)


def test_anchors_go_to_the_cursor_when_it_is_over_the_picture(told: dict[str, Any]) -> None:
    spots, uneven = told["cursor"]
    assert np.allclose(spots, [(31.5, 23.5), (47.5, 11.5), (31.5, 23.5)], atol=2e-3)
    assert uneven < 1e-6


def test_a_painted_mask_is_what_loopcore_reads(told: dict[str, Any]) -> None:
    painted = told["painted"]
    assert painted["again"] and painted["size"] == [WIDTH, HEIGHT] and painted["kind"] == ["Non-Color", 0]
    assert "black all over" in painted["black"] and "another shape" in painted["shape"] and painted["none"]
    assert painted["kept"] <= 0.5 / 255 + 1e-6, "the .blend does not hold what was painted"
    hints = read_hints(painted["file"])
    wanted = np.zeros((HEIGHT, WIDTH))
    wanted[5:20, 10:50] = np.linspace(0, 1, 40)
    assert hints.mask is not None and np.abs(hints.mask - wanted).max() <= 0.5 / 255 + 1e-6
    assert hints.size == (WIDTH, HEIGHT) and hints.strokes[0].speed == 1.5


@pytest.mark.parametrize("domain", ["POINT", "CORNER"])
def test_a_colour_attribute_is_a_mask(told: dict[str, Any], domain: str) -> None:
    """It grows from the plane's left to its right, where the picture's left is seen."""
    mask = read_hints(told["vertex_colors"][domain]).mask
    assert mask is not None
    assert np.abs(mask - (1 - (np.arange(WIDTH) + 0.5) / WIDTH)).max() < 1 / 255
    assert '"gone"' in told["vertex_colors"]["gone"]


def test_what_makes_no_hints_is_refused(told: dict[str, Any]) -> None:
    short, still, backward, file, nothing, made, children = told["refusals"]
    assert "two different points" in short and "two different points" in still and "reverse the curve" in backward
    assert "cannot be written" in file
    assert nothing is None and made is False and children == 1
