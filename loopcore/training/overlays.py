# SPDX-License-Identifier: Apache-2.0
"""Synthetic smoke, white water and flames composited over training photographs, where they are rare."""

from __future__ import annotations

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from torch.nn import functional as F

from loopcore.motion.networks import CLASSES
from loopcore.training.flames import FLAMES, flame
from loopcore.training.plumes import PLUMES, plume
from loopcore.training.whitewater import WATERS, white_water

Sprite = tuple[np.ndarray, np.ndarray]
"""Premultiplied colours (s, s, 3) and coverage (s, s) 0..1, float32."""

# Fraction of the pictures that show each, and sizes over the picture's longer side: uniform for smoke, which often
# fills the frame, log-uniform for the others.
_SMOKE_PROBABILITY, _WATER_PROBABILITY, _FLAME_PROBABILITY = 0.12, 0.2, 0.05
_SMOKE_SIZES, _WATER_SIZES, _FLAME_SIZES = (0.5, 2.5), (0.15, 1.6), (0.2, 1.5)
_EXPOSURES = (0.6, 1.05)  # in shadow to full light
# Coverage above which a pixel's label becomes unknown, and above which it becomes the overlay's.
_BEGINS, _COVERS = 0.1, 0.7
_SEEN = 0.03  # mean change of codes below which an overlay is invisible
_MAX_WATERS = 3  # falls of one picture
_BEHIND = 0.65  # fraction of water that is behind bright or dark parts of the photograph
_SHADED = 0.6  # fraction of water that is lit like its surroundings
_NIGHT = 0.6  # fraction of flames in the dark


def add_overlay(
    picture: np.ndarray, labels: np.ndarray, random: np.random.Generator, unknown: int
) -> tuple[np.ndarray, np.ndarray]:
    """Adds a fluid to some pictures, at random.

    Args:
        picture: (h, w, 3) float32 sRGB 0..1.
        labels: (h, w) uint8.
        random: decides everything.
        unknown: label of partly covered pixels.

    Returns:
        The picture and its labels.
    """
    chance = random.random()
    if chance < _SMOKE_PROBABILITY:
        sprite = plume(int(random.integers(PLUMES)))
        size = round(max(labels.shape) * float(random.uniform(*_SMOKE_SIZES)))
        return composite(picture, labels, random, _lit(sprite, random), size, (CLASSES.index("smoke"), unknown))
    if chance < _SMOKE_PROBABILITY + _WATER_PROBABILITY:
        return _with_water(picture, labels, random, unknown)
    if chance < _SMOKE_PROBABILITY + _WATER_PROBABILITY + _FLAME_PROBABILITY:
        return _with_flames(picture, labels, random, unknown)
    return picture, labels


def _size(labels: np.ndarray, random: np.random.Generator, sizes: tuple[float, float]) -> int:
    return round(max(labels.shape) * sizes[0] * (sizes[1] / sizes[0]) ** random.random())


def _lit(sprite: Sprite, random: np.random.Generator) -> Sprite:
    return sprite[0] * np.float32(random.uniform(*_EXPOSURES)), sprite[1]


def _with_water(
    picture: np.ndarray, labels: np.ndarray, random: np.random.Generator, unknown: int
) -> tuple[np.ndarray, np.ndarray]:
    """Adds falls, rapids or fountains, not over the sky, often behind bright or dark parts of the picture."""
    visible = (labels != CLASSES.index("sky")).astype(np.float32)
    if random.random() < _BEHIND:
        visible *= gaps(picture, random)
    light = _light_around(picture) if random.random() < _SHADED else None
    for _ in range(random.integers(1, _MAX_WATERS + 1)):
        sprite = _lit(white_water(int(random.integers(WATERS))), random)
        size = _size(labels, random, _WATER_SIZES)
        label_values = (CLASSES.index("water"), unknown)
        picture, labels = composite(picture, labels, random, sprite, size, label_values, visible, light)
    return picture, labels


def gaps(picture: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Returns (h, w) float32 0..1, the gaps between the bright parts of a picture (pale rocks) or its dark ones."""
    tone = gaussian_filter(picture.mean(axis=-1), random.uniform(1.0, 6.0))
    if random.random() < 0.35:
        tone = -tone
    soft = max(1e-3, random.uniform(0.05, 0.3) * float(tone.std()))
    return np.clip(0.5 + (np.quantile(tone, random.uniform(0.35, 0.9)) - tone) / soft, 0, 1).astype(np.float32)


def _light_around(picture: np.ndarray) -> np.ndarray:
    """Returns the brightness around each pixel, (h, w, 1) float32, about 1 at middle codes, to shade water by."""
    grey = gaussian_filter(picture.mean(axis=-1), 0.1 * max(picture.shape))
    return np.clip(grey / 0.45, 0.3, 1.1)[..., None].astype(np.float32)


def _with_flames(
    picture: np.ndarray, labels: np.ndarray, random: np.random.Generator, unknown: int
) -> tuple[np.ndarray, np.ndarray]:
    """Adds flames, mostly at night, that light their surroundings."""
    sprite, size = flame(int(random.integers(FLAMES))), _size(labels, random, _FLAME_SIZES)
    if random.random() < _NIGHT:
        picture = picture * np.float32(random.uniform(0.02, 0.5))
    label_values = (CLASSES.index("fire"), unknown)
    bright, known = composite(picture, labels, random, sprite, size, label_values)
    glow = gaussian_filter(bright - picture, (0.15 * size, 0.15 * size, 0)) * random.uniform(0, 3)
    bright = bright * (1 + 3 * glow) + random.uniform(0, 0.3) * glow
    return np.clip(bright, 0, 1).astype(np.float32), known


def composite(
    picture: np.ndarray,
    labels: np.ndarray,
    random: np.random.Generator,
    sprite: Sprite,
    size: int,
    label_values: tuple[int, int],
    visible: np.ndarray | None = None,
    light: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Returns copies of a picture and its labels with a sprite at a random place, half the time mirrored.

    Args:
        picture: (h, w, 3) float32 sRGB 0..1.
        labels: (h, w) uint8.
        random: decides the place.
        sprite: premultiplied colours and coverage.
        size: of the sprite in the picture, pixels.
        label_values: labels of pixels that it mostly covers, and of those that it partly covers.
        visible: (h, w) float32 0..1, where it is not occluded; by default everywhere.
        light: (h, w, 1) float32, multiplies its colours.
    """
    planes = torch.from_numpy(np.concatenate([sprite[0], sprite[1][..., None]], axis=-1)).permute(2, 0, 1)[None]
    if random.random() < 0.5:
        planes = planes.flip(3)
    shrinks = size < len(sprite[1])
    planes = F.interpolate(planes, size=(size, size), mode="bilinear", align_corners=False, antialias=shrinks)[0]
    height, width = labels.shape
    top, left = (int(random.integers(-size // 2, length - size // 2)) for length in labels.shape)
    here = (slice(max(0, top), min(height, top + size)), slice(max(0, left), min(width, left + size)))
    there = (slice(here[0].start - top, here[0].stop - top), slice(here[1].start - left, here[1].stop - left))
    part = planes[:, *there].permute(1, 2, 0).numpy().copy()
    if light is not None:
        part[..., :3] *= light[here]
    if visible is not None:
        part *= visible[here][..., None]
    before, picture, labels = picture, picture.copy(), labels.copy()
    picture[here] = part[..., :3] + (1 - part[..., 3:]) * picture[here]
    changed = np.abs(picture[here] - before[here]).mean(axis=-1)
    labels[here][part[..., 3] > _BEGINS] = label_values[1]
    labels[here][(part[..., 3] > _COVERS) & (gaussian_filter(changed, 2.0) > _SEEN)] = label_values[0]
    return picture, labels
