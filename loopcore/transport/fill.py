# SPDX-License-Identifier: Apache-2.0
"""Fills what is missing from what is around it: holes of a splat, NaN and Inf of a plate.

A normalised pull-push pyramid (Gortler et al., "The Lumigraph", SIGGRAPH 1996, section 3.4): weighted
means are pulled to ever coarser levels, and pushed back to where the finer level has none.
"""

import numpy as np


def _pull(sums: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sums and weights over 2 x 2 pixels, weights kept at most 1 a pixel so that none outweighs the rest."""
    height, width = weights.shape
    pad = ((0, height % 2), (0, width % 2))
    sums, weights = np.pad(sums, (*pad, (0, 0))), np.pad(weights, pad)
    sums = sums[0::2, 0::2] + sums[1::2, 0::2] + sums[0::2, 1::2] + sums[1::2, 1::2]
    weights = weights[0::2, 0::2] + weights[1::2, 0::2] + weights[0::2, 1::2] + weights[1::2, 1::2]
    scale = 1 / np.maximum(weights, 1)
    return sums * scale[..., None], weights * scale


def _push(coarse: np.ndarray, height: int, width: int) -> np.ndarray:
    """The coarse picture at twice the size, bilinear between the centres of its pixels."""
    for axis, size in ((0, height), (1, width)):
        place = (np.arange(size, dtype=np.float32) - 0.5) / 2
        low = np.clip(np.floor(place).astype(int), 0, coarse.shape[axis] - 1)
        high = np.clip(low + 1, 0, coarse.shape[axis] - 1)
        t = np.clip(place - low, 0, 1).astype(np.float32).reshape((-1, 1, 1) if axis == 0 else (1, -1, 1))
        coarse = coarse.take(low, axis) * (1 - t) + coarse.take(high, axis) * t
    return coarse


def _pull_push(sums: np.ndarray, weights: np.ndarray) -> np.ndarray:
    known = weights > 0
    values = sums / np.where(known, weights, 1)[..., None]
    if known.all() or min(weights.shape) == 0 or max(weights.shape) == 1:
        return values
    # One vote a pixel, however much landed on it: a bright, heavy neighbour is no better a guess.
    coarse = _pull_push(*_pull(np.where(known[..., None], values, 0), known.astype(np.float32)))
    return np.where(known[..., None], values, _push(coarse, *weights.shape)).astype(np.float32)


def fill(sums: np.ndarray, weights: np.ndarray, where: np.ndarray | None = None) -> np.ndarray:
    """sums (H, W, C) / weights (H, W), with the pixels of no weight filled from around them.

    `where` (H, W) says which pixels matter: with no hole among them nothing is filled, and the rest stay 0.
    """
    holes = weights <= 0
    if not (holes & where).any() if where is not None else not holes.any():
        return sums / np.where(holes, 1, weights)[..., None]
    return _pull_push(sums, weights)


def repair(picture: np.ndarray) -> np.ndarray:
    """The picture (H, W, C) itself when all of it is finite, else a copy whose NaN and Inf are filled, per pixel."""
    from loopcore.transport.cpu import all_finite

    if all_finite(picture):
        return picture
    good = np.isfinite(picture).all(axis=-1)
    return _pull_push(np.where(good[..., None], picture, 0), good.astype(np.float32))
