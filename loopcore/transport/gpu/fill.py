# SPDX-License-Identifier: Apache-2.0
"""Fills the holes of a splat on the GPU, as `fill` does on the CPU, in whole-array operations of torch.

Holes are rare, and few; no kernel of its own would pay. Every operation is deterministic.
"""

import torch
from torch.nn.functional import pad


def fill(values: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """values (H, W, C), with the pixels of no weight (H, W) filled from those around them."""
    known = weights > 0
    height, width = weights.shape
    if max(height, width) == 1 or bool(known.all()):
        return values
    sums, votes = _pull(torch.where(known[..., None], values, 0), known.to(values.dtype))
    coarse = fill(sums / torch.where(votes > 0, votes, 1)[..., None], votes)
    return torch.where(known[..., None], values, _push(_push(coarse, height, 0), width, 1))


def _pull(sums: torch.Tensor, votes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Sums and votes over 2 x 2 pixels, votes kept at most 1 a pixel so that none outweighs the rest."""
    height, width = votes.shape
    both = pad(torch.cat([sums, votes[..., None]], -1), (0, 0, 0, width % 2, 0, height % 2))
    both = both[0::2, 0::2] + both[1::2, 0::2] + both[0::2, 1::2] + both[1::2, 1::2]
    both = both / both[..., -1:].clamp(min=1)
    return both[..., :-1], both[..., -1]


def _push(coarse: torch.Tensor, size: int, axis: int) -> torch.Tensor:
    """The coarse picture at twice the size along an axis, linear between the centres of its pixels."""
    place = (torch.arange(size, device=coarse.device, dtype=coarse.dtype) - 0.5) / 2
    low = place.floor().long().clamp(0, coarse.shape[axis] - 1)
    high = (low + 1).clamp(max=coarse.shape[axis] - 1)
    t = (place - low).clamp(0, 1).reshape((-1, 1, 1) if axis == 0 else (1, -1, 1))
    return coarse.index_select(axis, low) * (1 - t) + coarse.index_select(axis, high) * t
