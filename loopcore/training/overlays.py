# SPDX-License-Identifier: Apache-2.0
"""Made-up smoke and white water laid over photographs that are learnt from: what they show too little of."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional as F

from loopcore.motion.networks import CLASSES
from loopcore.training.plumes import PLUMES, plume
from loopcore.training.whitewater import WATERS, white_water

# Share of the pictures that show either, and their size over the picture's longer side.
_SMOKED, _WATERED = 0.09, 0.14
_SMOKE_SIZES, _WATER_SIZES = (0.5, 2.5), (0.4, 1.6)
_EXPOSURES = (0.6, 1.05)  # in shadow to full light
# Coverage from which on a pixel is no longer what lies behind, and from which on it is what lies before.
_BEGINS, _COVERS = 0.1, 0.7


def with_overlay(
    picture: np.ndarray, labels: np.ndarray, random: np.random.Generator, unknown: int
) -> tuple[np.ndarray, np.ndarray]:
    """A picture, (h, w, 3) float32 sRGB 0..1, and its labels, (h, w) uint8: mostly as they are, or behind something."""
    chance = random.random()
    if chance < _SMOKED:
        sprite, what, sizes = plume(int(random.integers(PLUMES))), "smoke", _SMOKE_SIZES
    elif chance < _SMOKED + _WATERED:
        sprite, what, sizes = white_water(int(random.integers(WATERS))), "water", _WATER_SIZES
    else:
        return picture, labels
    size = round(max(labels.shape) * float(random.uniform(*sizes)))
    return lay_over(picture, labels, random, sprite, size, (CLASSES.index(what), unknown))


def lay_over(
    picture: np.ndarray,
    labels: np.ndarray,
    random: np.random.Generator,
    sprite: tuple[np.ndarray, np.ndarray],
    size: int,
    named: tuple[int, int],
) -> tuple[np.ndarray, np.ndarray]:
    """Copies of a picture and its labels, with a sprite somewhere before it, maybe mirrored, in more or less light.

    picture: (h, w, 3) float32; labels: (h, w) uint8. sprite: (s, s, 3) colours times coverage and (s, s) coverage 0..1,
    float32, made ``size`` pixels wide. named: the label of what it covers most of, and of what it begins to cover.
    """
    colours, coverage = sprite
    colours = colours * np.float32(random.uniform(*_EXPOSURES))
    planes = torch.from_numpy(np.concatenate([colours, coverage[..., None]], axis=-1)).permute(2, 0, 1)[None]
    if random.random() < 0.5:
        planes = planes.flip(3)
    shrinks = size < len(coverage)
    planes = F.interpolate(planes, size=(size, size), mode="bilinear", align_corners=False, antialias=shrinks)[0]
    height, width = labels.shape
    top, left = (int(random.integers(-size // 2, length - size // 2)) for length in labels.shape)
    here = (slice(max(0, top), min(height, top + size)), slice(max(0, left), min(width, left + size)))
    there = (slice(here[0].start - top, here[0].stop - top), slice(here[1].start - left, here[1].stop - left))
    part = planes[:, *there].permute(1, 2, 0).numpy()
    picture, labels = picture.copy(), labels.copy()
    picture[here] = part[..., :3] + (1 - part[..., 3:]) * picture[here]
    labels[here][part[..., 3] > _BEGINS] = named[1]
    labels[here][part[..., 3] > _COVERS] = named[0]
    return picture, labels
