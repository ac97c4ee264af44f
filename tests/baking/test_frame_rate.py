# SPDX-License-Identifier: Apache-2.0
"""Tests of frame rates."""

from fractions import Fraction
from pathlib import Path

import _scenes
import pytest
from _bakes import loop_of, make_motion

from loopcore import exr
from loopcore.baking.bake import bake
from loopcore.baking.frame_rate import frame_rate
from loopcore.errors import SequenceError


@pytest.mark.parametrize(
    ("fps", "rate"),
    [
        (24, Fraction(24)),
        (25.0, Fraction(25)),
        (23.976, Fraction(24000, 1001)),
        (23.98, Fraction(24000, 1001)),
        ("29.97", Fraction(30000, 1001)),
        ("24000/1001", Fraction(24000, 1001)),
        (Fraction(60000, 1001), Fraction(60000, 1001)),
        (12.5, Fraction(25, 2)),
        (1 / 3, Fraction(1, 3)),
    ],
)
def test_frame_rate(fps: Fraction | float | str, rate: Fraction) -> None:
    assert frame_rate(fps) == rate


@pytest.mark.parametrize("fps", [0, -24, float("nan"), float("inf"), "fast", "24/0", 1e9, 1e-9, None])
def test_frame_rate_refuses(fps: float) -> None:
    with pytest.raises(SequenceError, match="frame rate"):
        frame_rate(fps)


@pytest.mark.parametrize("fps", [23.976, "23.976", Fraction(24000, 1001)])
def test_bake_accepts_every_form_of_rate(fps: Fraction | float | str, tmp_path: Path) -> None:
    loop = loop_of(_scenes.exr(tmp_path / "p.exr", _scenes.linear("RGB"), "RGB"), make_motion(tmp_path))
    bake(loop, tmp_path / "out", "p_loop", fps=fps, numbers=[1001])
    header = exr.read_attributes(tmp_path / "out" / "p_loop.1001.exr")
    assert header["framesPerSecond"] == Fraction(24000, 1001)
    with pytest.raises(SequenceError, match="'film'.*write 24"):
        bake(loop, tmp_path / "other", "p_loop", fps="film")
    assert not (tmp_path / "other").exists()
