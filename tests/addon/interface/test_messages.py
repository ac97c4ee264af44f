# SPDX-License-Identifier: Apache-2.0
"""What the worker says, in the panel's words: from what Loopcore really says, not from copies of it."""

from __future__ import annotations

from typing import Any

import _package
import _scenes
import numpy as np
import pytest

from loopcore.errors import MotionError
from loopcore.motion.hints import Hints, Stroke
from loopcore.motion.predict import predict_motion
from loopcore.motion.solve import solve_motion
from loopcore.plate import Plate, read_plate

for_artists = _package.module("interface.messages").for_artists
NAMES = ["Plate Stroke", 'Weir "B"']


def said(act: Any, *arguments: Any) -> str:
    with pytest.raises(MotionError) as caught:
        act(*arguments)
    return str(caught.value)


def test_of_a_picture_without_water() -> None:
    grey = Plate(np.full((90, 160, 3), 0.2, np.float32), ("R", "G", "B"))
    plain = said(predict_motion, grey)
    words = for_artists(plain, NAMES)
    assert "--" in plain and "--" not in words and "motion field" not in words
    assert words.startswith("Nothing here seems to flow (the highest score") and words.endswith("a mask around it")


def test_of_nothing_drawn() -> None:
    plain = said(solve_motion, 90, 160, Hints())
    words = for_artists(plain, NAMES)
    assert "(in the hints)" in plain and "hints" not in words and "motion field" not in words
    assert words.endswith("draw at least one stroke along the flow")


def test_a_stroke_has_its_name() -> None:
    """The second one is drawn over rock."""
    plate = read_plate(_scenes.PHOTOGRAPH)
    strokes = tuple(Stroke(np.array(points, float), 2.0) for points in
                    ([(840, 850), (900, 950)], [(1500, 500), (1600, 700)]))  # fmt: skip
    plain = said(predict_motion, plate, Hints(strokes=strokes))
    words = for_artists(plain, NAMES)
    assert plain.startswith("strokes[1] ") and "--mask" in plain
    assert words.startswith('The stroke "Weir "B"" lies where nothing') and "--" not in words and "hints" not in words


def test_other_words_stay_as_they_are() -> None:
    assert for_artists("no stroke touches the mask (the first starts at 3, 4): x", []) == (
        "No stroke touches the mask (the first starts at 3, 4): x"
    )
    assert for_artists("strokes[7].points[2] must be 0 or more", NAMES) == "Strokes[7].points[2] must be 0 or more"
    assert for_artists("strokes[0].speed must be 0 or more", NAMES) == 'The stroke "Plate Stroke" must be 0 or more'
