# SPDX-License-Identifier: Apache-2.0
"""Moving water and flames pasted into photographs, with their motion.

Footage shows its fluids large, in few places. Pasted into other pictures, small and partly hidden, they teach that
white streaks between any rocks fall. Source: Ghiasi et al., "Simple Copy-Paste is a Strong Data Augmentation Method for
Instance Segmentation" (CVPR 2021).

Motion is (h, w, 5): vx and vy times the weight of this velocity, the weight, the fraction that moves, and the fraction
of which this is known.

Convention: (vx, vy) x right, y down, where content goes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter

from loopcore.image import luma
from loopcore.motion.networks import CLASSES
from loopcore.training.estimators import opencv
from loopcore.training.flames import FLAMES, flame
from loopcore.training.footage import Supervision
from loopcore.training.overlays import gaps
from loopcore.training.whitewater import WATERS, white_water

STRIDE = 8  # of motion targets, px
# Of labelled pictures: how far a class is evidence of moving, or of staying. A sky may do either.
_LABEL_WEIGHTS = np.array([1.0, 0.6, 0.0, 1.0, 1.0], np.float32)
_KINDS = {"fall": 0.4, "rapids": 0.3, "fire": 0.15, "river": 0.15}  # of footage, and how often they are pasted
_FOOTAGE_PROBABILITY = 0.65  # of a patch; else it is drawn
_FLAME_PROBABILITY = 0.12  # of a drawn patch; else it is water
# Weights of the velocity of drawn water, by seed: two falls, a rapid in perspective, a fountain (up and down), a brook.
_DRAWN_WEIGHTS = (0.7, 0.7, 0.1, 0.0, 0.6)
_FLAME_WEIGHT = 0.3
_STILL_PROBABILITY = 0.3  # of patches that show the photograph, pale, instead of their fluid
_SIZES = (0.2, 1.6)  # of a patch's longer side over the crop's, log-uniform
_MAX_PATCHES = 3
_BEHIND = 0.5  # fraction of crops whose patches are behind bright or dark parts of the photograph
_EXPOSURES = (0.6, 1.05)
_SOFT = 2.5  # deviation of the border of what moves, px of footage
# Coverage above which a pixel becomes unknown, and above which it becomes the patch's, if it can be seen.
_BEGINS, _COVERS, _SEEN = 0.15, 0.6, 0.03
_MIN_PIXELS = 30  # covered by a patch that is worth pasting


@dataclass(frozen=True)
class Patch:
    """A fluid to be pasted.

    Attributes:
        colours: (h, w, 3) float32 sRGB 0..1.
        coverage: (h, w) float32 0..1.
        motion: (h, w, 5) float32, in px of the patch per frame, up to a factor.
        label: index into :data:`loopcore.motion.networks.CLASSES`.
    """

    colours: np.ndarray
    coverage: np.ndarray
    motion: np.ndarray
    label: int


def label_motion(labels: np.ndarray) -> np.ndarray:
    """Returns what (h, w) labels say of motion, (h, w, 5): what is static stays, fluids mostly move."""
    motion = np.zeros((*labels.shape, 5), np.float32)
    known = labels < len(CLASSES)
    motion[known, 4] = _LABEL_WEIGHTS[labels[known]]
    motion[..., 3] = motion[..., 4] * (labels != CLASSES.index("static"))
    return motion


def motion_target(motion: np.ndarray) -> np.ndarray:
    """Returns (h, w, 5) motion at stride 8, as :func:`loopcore.training.motion_losses.motion_losses` expects it.

    Velocities are means by their weights.
    """
    height, width, count = motion.shape
    blocks: np.ndarray = motion.reshape(height // STRIDE, STRIDE, width // STRIDE, STRIDE, count).mean(axis=(1, 3))
    blocks[..., :2] /= np.maximum(blocks[..., 2:3], 1e-6)
    return blocks


def add_patches(
    picture: np.ndarray, labels: np.ndarray, clips: Sequence[Supervision], random: np.random.Generator, unknown: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pastes one to three patches of footage or drawn ones into a picture.

    Args:
        picture: (h, w, 3) float32 sRGB 0..1.
        labels: (h, w) uint8.
        clips: to paste from; their kinds of :data:`_KINDS` are used.
        random: decides everything.
        unknown: label of partly covered pixels.

    Returns:
        The picture, its labels and its motion.
    """
    motion = label_motion(labels)
    visible = gaps(picture, random) if random.random() < _BEHIND else np.ones(labels.shape, np.float32)
    ground = visible * (labels != CLASSES.index("sky"))
    for _ in range(int(random.integers(1, _MAX_PATCHES + 1))):
        low, high = _SIZES
        size = max(labels.shape) * low * (high / low) ** random.random()
        patch = _scaled(_random_patch(clips, random), size, random)
        if random.random() < _STILL_PROBABILITY:
            patch = still_patch(patch.coverage, picture, labels, random)
        shown = ground if patch.label == CLASSES.index("water") else visible
        picture, labels, motion = paste(picture, labels, motion, patch, random, unknown, shown)
    return picture, labels, motion


def _random_patch(clips: Sequence[Supervision], random: np.random.Generator) -> Patch:
    kinds = [kind for kind in _KINDS if any(clip.kind == kind for clip in clips)]
    if kinds and random.random() < _FOOTAGE_PROBABILITY:
        chances = np.array([_KINDS[kind] for kind in kinds])
        kind = kinds[int(random.choice(len(kinds), p=chances / chances.sum()))]
        chosen = [clip for clip in clips if clip.kind == kind]
        return footage_patch(chosen[int(random.integers(len(chosen)))], random)
    return drawn_patch(random)


def footage_patch(clip: Supervision, random: np.random.Generator) -> Patch:
    """Returns what moves of one of a clip's frames."""
    frame = clip.frames[int(random.integers(len(clip.frames)))].astype(np.float32) / 255
    moving, trust = clip.moving.astype(np.float32), clip.trust[..., None]
    coverage = np.clip(1.8 * gaussian_filter(moving, _SOFT) - 0.4, 0, 1)
    known = np.maximum(moving, clip.still)
    motion = np.concatenate([clip.velocity * trust, trust, moving[..., None], known[..., None]], axis=-1)
    return Patch(frame, coverage, motion, CLASSES.index("fire" if clip.kind == "fire" else "water"))


def drawn_patch(random: np.random.Generator) -> Patch:
    """Returns synthetic water that falls, or flames that rise."""
    if random.random() < _FLAME_PROBABILITY:
        (colours, coverage), label = flame(int(random.integers(FLAMES))), CLASSES.index("fire")
        down, weight = -1.0, _FLAME_WEIGHT
    else:
        seed = int(random.integers(WATERS))
        (colours, coverage), label = white_water(seed), CLASSES.index("water")
        down, weight = 1.0, _DRAWN_WEIGHTS[seed % len(_DRAWN_WEIGHTS)]
    motion = np.empty((*coverage.shape, 5), np.float32)
    motion[:] = (0, down * weight, weight, 1, 1)
    return Patch(np.clip(colours / np.maximum(coverage, 1e-3)[..., None], 0, 1), coverage, motion, label)


def still_patch(coverage: np.ndarray, picture: np.ndarray, labels: np.ndarray, random: np.random.Generator) -> Patch:
    """Returns a patch of what is static in a photograph, made pale.

    Neither whiteness nor the borders of patches are to be evidence of motion: rocks and snow are as white as falls.

    Args:
        coverage: (h, w) float32 0..1, of the fluid whose shape the patch has.
        picture: (H, W, 3) float32 sRGB 0..1.
        labels: (H, W) uint8.
        random: decides what part of the picture, and how pale.
    """
    rows, columns = (
        _reflected(length + int(random.integers(2 * size)) - np.arange(length), size)
        for length, size in zip(coverage.shape, labels.shape, strict=True)
    )
    colours = pale(picture[np.ix_(rows, columns)], random)
    static = labels[np.ix_(rows, columns)] == CLASSES.index("static")
    motion = np.zeros((*coverage.shape, 5), np.float32)
    motion[..., 4] = 1
    return Patch(colours, coverage * static, motion, CLASSES.index("static"))


def _reflected(index: np.ndarray, size: int) -> np.ndarray:
    """Returns positions of an axis that is mirrored at its ends."""
    folded = index % (2 * size)
    return np.minimum(folded, 2 * size - 1 - folded)


def pale(rgb: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Returns (h, w, 3) sRGB codes 0..1 brighter and with less colour, as of pale rock or snow."""
    grey = luma(rgb)[..., None]
    faded = grey + np.float32(random.uniform(0, 0.7)) * (rgb - grey)
    bright = np.clip(faded / max(float(np.quantile(grey, 0.95)), 0.05), 0, 1) ** random.uniform(0.4, 1.0)
    paler: np.ndarray = (random.uniform(0.8, 1.0) * bright).astype(np.float32)
    return paler


def _scaled(patch: Patch, size: float, random: np.random.Generator) -> Patch:
    """Returns the patch at ``size`` px of its longer side, half the time mirrored, darkened or not."""
    cv2 = opencv()
    factor = size / max(patch.coverage.shape)
    height, width = (max(4, round(length * factor)) for length in patch.coverage.shape)
    method = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    planes = np.concatenate([patch.colours, patch.coverage[..., None], patch.motion], axis=-1)
    planes = np.concatenate(
        [cv2.resize(planes[..., i : i + 3], (width, height), interpolation=method) for i in range(0, 9, 3)], axis=-1
    )
    planes[..., 4:6] *= factor
    if random.random() < 0.5:
        planes = planes[:, ::-1]
        planes[..., 4] *= -1
    colours = np.clip(planes[..., :3] * random.uniform(*_EXPOSURES), 0, 1).astype(np.float32)
    return Patch(colours, np.clip(planes[..., 3], 0, 1), planes[..., 4:], patch.label)


def paste(
    picture: np.ndarray,
    labels: np.ndarray,
    motion: np.ndarray,
    patch: Patch,
    random: np.random.Generator,
    unknown: int,
    visible: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns copies with a patch at a random place.

    Args:
        picture: (h, w, 3) float32 sRGB 0..1.
        labels: (h, w) uint8.
        motion: (h, w, 5).
        patch: in the picture's pixels.
        random: decides the place: any covered pixel of the patch may be on any pixel of the picture.
        unknown: label of partly covered pixels.
        visible: (h, w) float32 0..1, where the patch is not hidden.
    """
    covered = np.argwhere(patch.coverage > 0.5)
    if len(covered) < _MIN_PIXELS:
        return picture, labels, motion
    from_y, from_x = covered[int(random.integers(len(covered)))]
    top, left = (int(random.integers(n)) - at for n, at in zip(labels.shape, (from_y, from_x), strict=True))
    (height, width), (rows, columns) = labels.shape, patch.coverage.shape
    here = (slice(max(0, top), min(height, top + rows)), slice(max(0, left), min(width, left + columns)))
    there = (slice(here[0].start - top, here[0].stop - top), slice(here[1].start - left, here[1].stop - left))
    before, picture, labels, motion = picture, picture.copy(), labels.copy(), motion.copy()
    coverage = patch.coverage[there] * visible[here]
    picture[here] += coverage[..., None] * (patch.colours[there] - picture[here])
    seen = gaussian_filter(np.abs(picture[here] - before[here]).mean(axis=-1), 2.0) > _SEEN
    partly, wholly = coverage > _BEGINS, (coverage > _COVERS) & seen
    labels[here][partly], motion[here][partly] = unknown, 0
    labels[here][wholly], motion[here][wholly] = patch.label, patch.motion[there][wholly]
    return picture, labels, motion
