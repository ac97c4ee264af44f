# SPDX-License-Identifier: Apache-2.0
"""Fills missing pixels from their surroundings: holes of a splat, NaN and Inf of a plate.

A normalised pull-push pyramid (Gortler et al., "The Lumigraph", SIGGRAPH 1996, section 3.4): weighted means are pulled
to coarser levels, and pushed back to where the finer level has none.

In torch operations for numpy arrays and GPU tensors alike; torch is imported only when there is something to fill.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


def fill(sums: np.ndarray, weights: np.ndarray, where: np.ndarray | None = None) -> np.ndarray:
    """Divides a splat's sums by its weights and fills the pixels of weight 0 from those around them.

    Args:
        sums: (H, W, C) float32, weighted sums.
        weights: (H, W) float32, at least 0.
        where: (H, W) bool; unless one of these pixels is a hole, nothing is filled, and holes stay 0.

    Returns:
        (H, W, C) float32.
    """
    holes = weights <= 0
    if not (holes & where).any() if where is not None else not holes.any():
        return sums / np.where(holes, 1, weights)[..., None]
    return _fill_array(sums / np.where(holes, 1, weights)[..., None], weights)


def repair(picture: np.ndarray) -> np.ndarray:
    """Fills the pixels of a picture (H, W, C) that hold NaN or Inf from those around them.

    Returns:
        The picture itself if it is finite, else a repaired copy.
    """
    from loopcore.transport.cpu import all_finite

    if all_finite(picture):
        return picture
    good = np.isfinite(picture).all(axis=-1)
    return _fill_array(np.where(good[..., None], picture, 0), good.astype(np.float32))


def _fill_array(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    import torch

    filled: np.ndarray = fill_tensor(torch.from_numpy(values), torch.from_numpy(weights)).numpy()
    return filled


def fill_tensor(values: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Fills the pixels of values (H, W, C) whose weight (H, W) is 0, on any device, deterministically."""
    import torch

    known = weights > 0
    if bool(known.all()) or min(weights.shape) == 0 or max(weights.shape) == 1:
        return values
    # Known pixels count alike, whatever their weights: a heavy neighbour is no better a guess.
    sums, coverage = _pull(torch.where(known[..., None], values, 0), known.to(values.dtype))
    coarse = fill_tensor(sums / torch.where(coverage > 0, coverage, 1)[..., None], coverage)
    return torch.where(known[..., None], values, _push(coarse, *weights.shape))


def _pull(sums: torch.Tensor, coverage: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Sums and coverage over 2 x 2 pixels, coverage clamped to 1 so that no pixel outweighs the rest."""
    from torch.nn.functional import pad

    height, width = coverage.shape
    sums, coverage = pad(sums, (0, 0, 0, width % 2, 0, height % 2)), pad(coverage, (0, width % 2, 0, height % 2))
    sums = sums[0::2, 0::2] + sums[1::2, 0::2] + sums[0::2, 1::2] + sums[1::2, 1::2]
    coverage = coverage[0::2, 0::2] + coverage[1::2, 0::2] + coverage[0::2, 1::2] + coverage[1::2, 1::2]
    scale = 1 / coverage.clamp(min=1)
    return sums * scale[..., None], coverage * scale


def _push(coarse: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """The coarse picture at twice the size, bilinear between the centres of its pixels."""
    import torch

    for axis, size in ((0, height), (1, width)):
        place = (torch.arange(size, device=coarse.device, dtype=torch.float32) - 0.5) / 2
        low = place.floor().long().clamp(0, coarse.shape[axis] - 1)
        high = (low + 1).clamp(max=coarse.shape[axis] - 1)
        t = (place - low).clamp(0, 1).reshape((-1, 1, 1) if axis == 0 else (1, -1, 1))
        coarse = coarse.index_select(axis, low) * (1 - t) + coarse.index_select(axis, high) * t
    return coarse
