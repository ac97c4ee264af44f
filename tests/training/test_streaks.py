# SPDX-License-Identifier: Apache-2.0
"""Axes of texture: found at their angle, and none in a flat colour."""

from __future__ import annotations

import numpy as np
import pytest

from loopcore.training.streaks import axis_angle, streak_axes


@pytest.mark.parametrize("degrees", [-70, -20, 0, 35, 90])
def test_streaks_are_found_at_their_angle(degrees: float) -> None:
    y, x = np.mgrid[:120, :160]
    a = np.deg2rad(degrees)
    across = -np.sin(a) * x + np.cos(a) * y
    grey = (0.5 + 0.3 * np.sin(across * 0.9)).astype(np.float32)
    found = streak_axes(grey, np.ones_like(grey), 8.0)[:, 60, 80]
    off = (axis_angle(found[:, None, None])[0, 0] - a + np.pi / 2) % np.pi - np.pi / 2
    assert np.degrees(abs(off)) < 3 and np.hypot(*found) > 0.5


def test_flat_colour_has_no_streaks() -> None:
    flat = np.full((80, 80), 0.4, np.float32)
    assert np.abs(streak_axes(flat, np.ones_like(flat), 8.0)).max() < 1e-6


def test_texture_outside_the_fluid_is_ignored() -> None:
    y, x = np.mgrid[:80, :160]
    grey = np.where(x < 80, 0.5 + 0.3 * np.sin(0.9 * y), 0.5 + 0.3 * np.sin(0.9 * x)).astype(np.float32)
    inside = (x < 70).astype(np.float32)
    axes = streak_axes(grey, inside, 8.0)
    assert axes[0, 20:60, 10:70].min() > 0.5  # level
    assert np.abs(axes[:, :, 130:]).max() < 1e-3
