# SPDX-License-Identifier: Apache-2.0
"""Steady looks: the local mean of the plate stays where it is, and its texture moves.

In a steady flow the brightness and colour of the water at a place do not change with time: a fall stays white and its
pool dark. With A the local mean of the plate's tone and a copy fetched from x + d, the copy's tone is shifted by
A(x) - A(x + d). The shift is 0, and frame 0 the plate, wherever nothing is displaced.

The tone is the square root of a channel up to the plate's white, and grows with the logarithm above it (the shape of
HLG, ARIB STD-B67), so that a highlight does not darken what is near it.

The mean follows edges of the mean itself, such as the foot of a fall: a guided filter with the tone's luminance as its
guide (He, Sun and Tang, "Guided Image Filtering", ECCV 2010), apart for what moves and what does not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from loopcore.loop import blend
from loopcore.loop.smooth import box_filter

if TYPE_CHECKING:
    from loopcore.loop.paths import Paths

_F = np.float32

# Local means are taken over squares of this fraction of the frame's longer side.
SCALE = 0.015
# Edges of the tone of more than about this much stay edges of the mean.
EDGE = 0.2
# The plate's white: this quantile of the greatest channel where it moves.
WHITE = 0.95
_MIN_COUNT = 1e-3
# A copy whose local tone differs by this much from the place's counts exp(-1/2).
DIFFERENCE = 0.1
# Near is within squares of this fraction of the frame's longer side. Where the velocity changes by up to MIN_BEND of
# itself, looks move; by MAX_BEND and more, they stay.
BEND_SCALE = 0.06
MIN_BEND, MAX_BEND = 0.25, 0.45


def local_mean(source: np.ndarray, luma: np.ndarray, mask: np.ndarray, step: int) -> tuple[np.ndarray, float]:
    """The local mean of the tone at the nodes of the grid (rows, columns, 4), and the plate's white.

    Args:
        source: (H, W, 4) the plate in the window. luma: (4,) weights of luminance. mask: (H, W), above 0 where it
            moves. step: pixels between nodes.
    """
    moving = mask > 0
    values = source[moving][:, luma > 0]
    white = float(np.quantile(values.max(axis=1), WHITE)) if values.size else 1.0
    white = max(white, 1e-6)
    tone = blend.to_grid(to_tone(source, _F(white)), step)
    weight = blend.to_grid(mask[..., None], step)[..., 0]
    radius = max(round(SCALE * max(mask.shape) / step), 1)
    inside, outside = (_guided(tone, luma, part, 2 * radius + 1) for part in (weight, 1 - weight))
    mean = weight[..., None] * inside + (1 - weight[..., None]) * outside
    return np.ascontiguousarray(mean, np.float32), white


def looks(mean: np.ndarray, luma: np.ndarray, paths: Paths) -> np.ndarray:
    """(rows, columns, 2): the local tone in units of DIFFERENCE, and how far it belongs to its place, 0 to 1.

    Where the velocity is the same all around, what looks different moves with the flow, as the crest of a wave does.
    Where it changes, at the lip or the foot of a fall or beside what is still, looks change with it, and stay. With v
    the velocity and means taken near the place, the change is sqrt(mean |v|^2 - |mean v|^2) / sqrt(mean |v|^2).

    Args:
        mean: (rows, columns, 4) of `local_mean`. luma: (4,) weights of luminance. paths: of the content.
    """
    size = 2 * round(BEND_SCALE / 2 * max(paths.mask.shape) / paths.step) + 1
    # Relative to the fastest, so that no square overflows.
    velocity = paths.velocity / max(float(np.abs(paths.velocity).max(initial=0)), 1e-30)
    middle = [box_filter(np.ascontiguousarray(velocity[..., c]), size) for c in range(2)]
    squares = np.maximum(box_filter((velocity**2).sum(axis=-1), size), _F(1e-12))
    change = np.sqrt(np.maximum(1 - (middle[0] ** 2 + middle[1] ** 2) / squares, 0))
    stays = np.clip((change - _F(MIN_BEND)) / _F(MAX_BEND - MIN_BEND), 0, 1)
    if paths.drifting is not None:  # shapes move with clouds and smoke
        stays *= 1 - blend.to_grid(paths.drifting[..., None], paths.step)[..., 0]
    tone = (mean * luma).sum(axis=-1) / _F(max(float(luma.sum()), 1e-6) * DIFFERENCE)
    return np.stack([tone, stays], -1).astype(np.float32)


def to_tone(values: np.ndarray, white: np.float32) -> np.ndarray:
    """Tone of linear values: the square root up to `white`, the logarithm above it; 0 below 0."""
    part = np.asarray(np.maximum(values, 0) / white)
    tone = np.sqrt(part, out=np.empty(part.shape, np.float32))
    above = part > 1
    tone[above] = 1 + _F(0.5) * np.log(part[above])
    return tone


def _guided(tone: np.ndarray, luma: np.ndarray, weight: np.ndarray, size: int) -> np.ndarray:
    """The tone (h, w, 4), smoothed by a guided filter over boxes of `size` nodes, each counting with `weight`."""
    weight = weight + _F(_MIN_COUNT)
    count = box_filter(weight, size)

    def mean(values: np.ndarray) -> np.ndarray:
        return box_filter(values * weight, size) / count

    guide = (tone * luma).sum(axis=-1) / max(float(luma.sum()), 1e-6)
    guide_mean = mean(guide)
    variance = np.maximum(mean(guide * guide) - guide_mean**2, 0)
    out = np.empty_like(tone)
    for c in range(4):
        if not tone[..., c].any():  # an unused channel
            out[..., c] = 0
            continue
        middle = mean(tone[..., c])
        slope = (mean(guide * tone[..., c]) - guide_mean * middle) / (variance + _F(EDGE**2))
        out[..., c] = mean(slope) * guide + mean(middle - slope * guide_mean)
    return out
