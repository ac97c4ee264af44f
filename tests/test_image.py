# SPDX-License-Identifier: Apache-2.0
"""Objects with arrays compare by content, and are unhashable."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from loopcore import Anchor, Hints, MotionField, Plate, Stroke
from loopcore.flowmap.maps import FrameMaps


def motion() -> MotionField:
    return MotionField(np.ones((3, 4, 2)), np.ones((3, 4)), np.ones((3, 4)))


def plate(value: float = np.nan) -> Plate:
    pixels = np.ones((3, 4, 3), np.float32)
    pixels[1, 2, 0] = value
    return Plate(pixels, ("R", "G", "B"), metadata={"chromaticities": (0.1, np.nan), "fits": np.eye(3)})


def stroke() -> Stroke:
    return Stroke(np.array([[0, 0], [5, 5]]), np.array([1.0, 2.0]))


def hints() -> Hints:
    return Hints((stroke(),), (Anchor(1, 2),), np.ones((3, 4)), None, (np.eye(3, 2),))


def frame_maps() -> FrameMaps:
    zeros = np.zeros((3, 4, 2), np.float32)
    return FrameMaps(zeros, zeros.copy(), np.zeros((3, 4, 3), np.float32))


OTHERS: list[tuple[Any, Any]] = [
    (motion(), replace(motion(), mask=np.zeros((3, 4)))),
    (motion(), MotionField(np.ones((4, 3, 2)), np.ones((4, 3)), np.ones((4, 3)))),
    (plate(), plate(2.0)),
    (plate(0.0), plate(-0.0)),
    (plate(), replace(plate(), metadata={"chromaticities": (0.1, np.nan)})),
    (stroke(), replace(stroke(), speed=1.0)),
    (stroke(), replace(stroke(), points=np.array([[0, 0], [5, 6]]))),
    (hints(), replace(hints(), mask=None)),
    (hints(), replace(hints(), strokes=(stroke(), stroke()))),
    (frame_maps(), replace(frame_maps(), future=np.ones((3, 4, 2), np.float32))),
    (stroke(), Anchor(1, 2)),
]


@pytest.mark.parametrize("make", [motion, plate, stroke, hints, frame_maps])
def test_equal_content_is_equal_and_cannot_be_hashed(make: Any) -> None:
    one, other = make(), make()
    assert one == other and not one != other and one in [other]
    with pytest.raises(TypeError, match=f"unhashable type: '{type(one).__name__}'"):
        hash(one)


@pytest.mark.parametrize(("one", "other"), OTHERS)
def test_different_content_is_not_equal(one: Any, other: Any) -> None:
    assert one != other and not one == other and other != one
