# SPDX-License-Identifier: Apache-2.0
"""Direction and speed of each class of fluid, from its texture, its banks and physical priors.

Falls go down, smoke and fire rise, rivers follow their bed, seas and skies drift sideways, and near water moves faster
than far water. A still does not show the sense of a level drift: it is to the right, unless falls in the same region
lead to the left.
"""

from __future__ import annotations

import numpy as np

from loopcore.image import luma
from loopcore.motion.segmentation import Segmentation
from loopcore.motion.streaks import axis_angle, bank_axes, streak_axes

# Longer sides of the picture per frame: about a pixel per frame at 2K. Much faster shows double images in mid-loop.
_SPEED = {"water": 0.6e-3, "sky": 0.3e-3, "smoke": 0.6e-3, "fire": 1.0e-3}
_CONFIDENCE = {"water": 0.9, "sky": 0.5, "smoke": 0.7, "fire": 0.7}
_FALL_SPEEDUP = 0.6  # extra speed of upright water
_MIN_LEAD = 0.05  # mean horizontal component of a region's falls above which they set its sense
_STEEP = np.deg2rad(30)  # angle from level above which water goes down

# Weights of the axes of water beside those of fine streaks, which have 1.
_WIDE_STREAK_WEIGHT, _BANK_WEIGHT, _LEVEL_WEIGHT = 0.6, 0.5, 0.3


def direction_and_speed(segmentation: Segmentation, moving: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Estimates motion by the most probable class at each cell.

    Args:
        segmentation: of the plate, (h, w).
        moving: (h, w) 0..1, the probability that a cell moves.

    Returns:
        Velocity (h, w, 2) float32 in longer sides a frame, and its confidence (h, w) 0..1.

    Convention: (vx, vy), x right, y down, where content goes.
    """
    distance = _ground_distance(segmentation.sky)
    estimates = {
        "water": (segmentation.water, *_water(segmentation, distance)),
        "sky": (segmentation.sky, *_sideways(segmentation.sky, 1.3 - distance)),
        "smoke": (segmentation.smoke, *_upwards(segmentation.smoke)),
        "fire": (segmentation.fire, *_upwards(segmentation.fire)),
    }
    names = list(estimates)
    probabilities = np.stack([estimates[name][0] for name in names])
    best = probabilities.argmax(axis=0)
    velocity = np.zeros((*moving.shape, 2), np.float32)
    confidence = np.zeros_like(moving)
    for index, name in enumerate(names):
        here = best == index
        _, direction, certainty = estimates[name]
        velocity[here] = direction[here] * np.float32(_SPEED[name])
        confidence[here] = (certainty * np.float32(_CONFIDENCE[name]))[here]
    ranked = np.sort(probabilities, axis=0)
    margin = (ranked[-1] - ranked[-2]) / np.maximum(ranked[-1], 1e-3)
    return velocity, np.clip(confidence * np.maximum(0.1, margin) * np.minimum(1, 2 * moving), 0, 1)


def _ground_distance(sky: np.ndarray) -> np.ndarray:
    """Returns relative distance on level ground by row, (h, 1) float32: 1 at the horizon, 0 at the lower edge."""
    rows = np.arange(len(sky), dtype=np.float32)[:, None] / max(1, len(sky) - 1)
    sky_rows = np.flatnonzero(sky.mean(axis=1) > 0.5)
    # without a horizon the camera looks down: distances differ little
    horizon = rows[sky_rows[-1], 0] if len(sky_rows) else -1.0
    return np.clip((1 - rows) / max(1 - horizon, 0.2), 0, 1) if horizon < 0.95 else np.zeros_like(rows)


def _sideways(probability: np.ndarray, speed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    direction = np.zeros((*probability.shape, 2), np.float32)
    direction[..., 0] = speed
    return direction, np.ones_like(probability)


def _upwards(probability: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    direction = np.zeros((*probability.shape, 2), np.float32)
    direction[..., 1] = -1
    return direction, np.ones_like(probability)


def _water(segmentation: Segmentation, distance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns direction times relative speed of water, (h, w, 2), and the confidence of its axis, (h, w)."""
    from scipy.ndimage import grey_erosion

    water = segmentation.water
    side = max(water.shape)
    inside = (water > 0.5).astype(np.float32)
    # excludes edges at the banks, and the lines that scans and films have along the frame
    rows, columns = water.shape
    margin = min(max(2, side // 100), (min(rows, columns) - 1) // 2)
    interior = grey_erosion(
        np.pad(inside[margin : rows - margin, margin : columns - margin], margin), size=max(3, margin)
    )
    grey = luma(segmentation.picture)
    axes = streak_axes(grey, interior, 0.0125 * side) + _WIDE_STREAK_WEIGHT * streak_axes(grey, interior, 0.04 * side)
    axes += _BANK_WEIGHT * bank_axes(inside, 0.04 * side)
    # calm water is level, spray falls
    axes[0] += _LEVEL_WEIGHT * (1 - 2 * segmentation.spray / np.maximum(water, 1e-3))
    angle = axis_angle(axes)
    direction = np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    steep = np.abs(angle) > _STEEP
    direction[steep & (direction[..., 1] < 0)] *= -1
    direction[_flows_left(inside, direction, steep) & ~steep] *= -1
    upright = np.abs(np.sin(angle))
    speed = (1.2 - 0.9 * distance) * (1 - upright) + (1 + _FALL_SPEEDUP) * upright
    return (direction * speed[..., None]).astype(np.float32), np.clip(np.hypot(*axes), 0.1, 1)


def _flows_left(inside: np.ndarray, direction: np.ndarray, steep: np.ndarray) -> np.ndarray:
    """Returns (h, w) bool: regions of water whose falls lead to the left."""
    from scipy.ndimage import label, sum_labels

    regions, count = label(inside)
    lead, area = (sum_labels(x, regions, np.arange(count + 1)) for x in (direction[..., 0] * steep, inside))
    lead[0] = 0
    return (lead < -_MIN_LEAD * area)[regions]
