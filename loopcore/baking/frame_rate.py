# SPDX-License-Identifier: Apache-2.0
"""Frame rates as exact fractions."""

from __future__ import annotations

from fractions import Fraction

from loopcore.errors import SequenceError


def frame_rate(fps: Fraction | float | str) -> Fraction:
    """Returns a frame rate as an exact fraction.

    Args:
        fps: frames per second, for example 24, 23.976 or "30000/1001". Rates within 0.005 of a television rate
            (24000/1001, 30000/1001 and so on) become that rate.

    Raises:
        SequenceError: not a number from 0.1 to 1000.
    """
    try:
        rate = Fraction(fps)
    except (ValueError, TypeError, OverflowError, ZeroDivisionError) as error:
        raise SequenceError(f"frame rate {fps!r} is not a number: write 24, 23.976 or 24000/1001") from error
    if not Fraction(1, 10) <= rate <= 1000:
        raise SequenceError(f"frame rate {fps} must be from 0.1 to 1000 frames a second")
    for whole in (24, 30, 48, 60, 120):
        television = Fraction(whole * 1000, 1001)
        if abs(rate - television) < Fraction(5, 1000):
            return television
    return rate.limit_denominator(10_000)
