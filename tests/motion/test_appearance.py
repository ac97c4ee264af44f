# SPDX-License-Identifier: Apache-2.0
"""Coarse masks corrected by appearance: still things in moving water, and what must not change."""

from __future__ import annotations

import numpy as np
import pytest

from loopcore.motion.appearance import correct_by_appearance
from loopcore.motion.estimate import _outlined
from loopcore.motion.networks import CLASSES

MOVES = 0.35  # probability at which a plate's mask is one half


def rock_in_water(gap: bool = False) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns a picture of a smooth dark disc in bright rough water, the disc, and a blurred mask of what moves.

    Args:
        gap: whether the water has a dark rough streak as well.
    """
    from scipy.ndimage import gaussian_filter

    y, x = np.mgrid[:160, :240]
    rock = np.hypot(x - 120, y - 80) < 30
    random = np.random.default_rng(5)
    grey = np.where(rock, 0.25 + random.normal(0, 0.01, rock.shape), 0.6 + random.normal(0, 0.12, rock.shape))
    if gap:
        grey[:, 30:36] -= 0.3
    picture = np.clip(grey[..., None] * np.array([0.95, 1, 1.05]), 0, 1).astype(np.float32)
    return picture, rock, gaussian_filter(np.where(rock, 0.1, 0.6), 10).astype(np.float32)


def wrong(moving: np.ndarray, rock: np.ndarray) -> float:
    return float(((moving > MOVES) == rock).sum() / rock.sum())


def test_a_still_thing_gets_its_own_outline() -> None:
    picture, rock, coarse = rock_in_water()
    assert wrong(correct_by_appearance(coarse, picture), rock) < 0.03 < 0.1 < wrong(coarse, rock)


def test_a_dark_streak_of_the_water_moves_on() -> None:
    picture, _, coarse = rock_in_water(gap=True)
    assert correct_by_appearance(coarse, picture)[:, 28:38].min() > MOVES


def test_what_is_surely_still_or_moving_stays_so() -> None:
    picture, _, coarse = rock_in_water()
    assert correct_by_appearance(np.zeros_like(coarse), picture).max() == 0
    assert correct_by_appearance(np.ones_like(coarse), picture).min() == 1


@pytest.mark.parametrize("size", [(4, 4), (4, 9), (3, 70), (450, 8)])
def test_appearance_of_any_size(size: tuple[int, int]) -> None:
    random = np.random.default_rng(6)
    found = correct_by_appearance(random.random(size, np.float32), random.random((*size, 3), np.float32))
    assert found.shape == size and found.dtype == np.float32
    assert found.min() >= 0 and found.max() <= 1


@pytest.mark.parametrize(("moves_less", "is_static"), [(True, True), (True, False), (False, True)])
def test_a_rock_needs_both_outputs_of_the_larger_input(moves_less: bool, is_static: bool) -> None:
    def run(stride_4: tuple[int, int], rock: slice | None) -> tuple[np.ndarray, np.ndarray]:
        classes = np.zeros((len(CLASSES), *stride_4), np.float32)
        motion = np.zeros((6, stride_4[0] // 2, stride_4[1] // 2), np.float32)
        classes[0], motion[0] = 0.1, 2
        if rock and is_static:
            classes[0, rock, rock] = 0.95
        if rock and moves_less:
            motion[0, rock.start // 2 : rock.stop // 2, rock.start // 2 : rock.stop // 2] = -1
        classes[1] = 1 - classes[0]
        return classes, motion

    outlined = _outlined([run((64, 64), None), run((128, 128), slice(60, 68))])
    mean = 1 / (1 + np.exp(-(2 + (-1 if moves_less else 2)) / 2))
    assert outlined.shape == (128, 128) and outlined[:30].min() == pytest.approx(1 / (1 + np.exp(-2)), abs=0.02)
    if moves_less and is_static:
        assert outlined[63:65, 63:65].max() < mean - 0.3
    else:
        assert outlined[63:65, 63:65].min() == pytest.approx(mean, abs=0.02)
