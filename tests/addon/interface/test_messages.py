# SPDX-License-Identifier: Apache-2.0
"""Tests of the worker's messages as the panel shows them, with real messages of Loopcore."""

from __future__ import annotations

import itertools
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

messages = _package.module("interface.messages")
for_artists = messages.for_artists
NAMES = {"strokes": ["Plate Stroke", 'Weir "B"'], "flips": ["Plate Flip"]}


def error_of(act: Any, *arguments: Any) -> str:
    with pytest.raises(MotionError) as caught:
        act(*arguments)
    return str(caught.value)


def test_an_image_without_flow() -> None:
    grey = Plate(np.full((90, 160, 3), 0.2, np.float32), ("R", "G", "B"))
    plain = error_of(predict_motion, grey)
    words = for_artists(plain, NAMES)
    assert "--" in plain and "--" not in words and "motion field" not in words
    assert words.startswith("Nothing here seems to flow (the highest score") and words.endswith("a mask around it")


def test_no_hints() -> None:
    plain = error_of(solve_motion, 90, 160, Hints())
    words = for_artists(plain, NAMES)
    assert "(in the hints)" in plain and "hints" not in words and "motion field" not in words
    assert words.endswith("draw at least one stroke along the flow")


def test_strokes_are_named() -> None:
    """The second stroke is drawn over rock."""
    plate = read_plate(_scenes.PHOTOGRAPH)
    strokes = tuple(Stroke(np.array(points, float), 2.0) for points in
                    ([(840, 850), (900, 950)], [(1500, 500), (1600, 700)]))  # fmt: skip
    plain = error_of(predict_motion, plate, Hints(strokes=strokes))
    words = for_artists(plain, NAMES)
    assert plain.startswith("strokes[1] ") and "--mask" in plain
    assert words.startswith('The stroke "Weir "B"" lies where nothing') and "--" not in words and "hints" not in words
    assert for_artists(f"hints /shots/new hints/setup/hints.json: {plain}", NAMES) == words


def test_other_text_is_unchanged() -> None:
    assert for_artists("no stroke touches the mask (the first starts at 3, 4): x", {}) == (
        "No stroke touches the mask (the first starts at 3, 4): x"
    )
    assert for_artists("strokes[7].points[2] must be 0 or more", NAMES) == "Strokes[7].points[2] must be 0 or more"
    assert for_artists("strokes[0].speed must be 0 or more", NAMES) == 'The stroke "Plate Stroke" must be 0 or more'


def test_words_are_not_parted() -> None:
    text = "The worker ended: see '/home/an artist/.config/blender/5.2/extensions/loopcore/engine/worker.log' for more"
    lines = messages.wrapped(text, 24)
    assert max(map(len, lines)) <= 24
    for line, following in itertools.pairwise(lines):
        assert line.endswith(tuple("/_.,:=-")) or f"{line} {following}" in text, (line, following)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")
    assert messages.wrapped("x" * 50, 24) == ["x" * 24, "x" * 24, "xx"] and messages.wrapped("", 24) == [""]
    assert for_artists("flips[0] lies where nothing moves", NAMES) == 'The flip "Plate Flip" lies where nothing moves'


def test_a_guess_is_told() -> None:
    found = {"width": 300, "height": 200, "moving": 0.312, "predicted": True, "guesses": []}
    assert messages.predicted(found) == "Motion predicted: 31 % of the picture moves"
    found["guesses"] = [[20, 10]]
    assert messages.guessed(found) == "Direction is a guess in 1 region (top left): Flip or draw a stroke"
    found["guesses"] += [[150, 190], [160, 180], [150, 100]]
    assert messages.predicted(found).endswith(
        "Direction is a guess in 4 regions (top left, bottom, middle): Flip or draw a stroke"
    )
    drawn = {"moving": 0.002, "predicted": False, "guesses": []}
    assert messages.predicted(drawn) == "Motion solved from the strokes: less than 1 % of the picture moves"
