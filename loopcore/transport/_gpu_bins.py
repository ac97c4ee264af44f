# SPDX-License-Identifier: Apache-2.0
"""Bins: which sources belong to which cell, listed cell by cell, so that a gather can take the place of a scatter.

Count (integer atomics, whose sums depend on no order), scan, fill. The fill's order inside a cell does depend on
which program came first; the gather therefore takes the entries of a cell from the least to the greatest. Where one
cell holds too many for that, all are sorted once instead.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl

# Entries of one cell up to which a gather finds the next by looking at all of them.
MOST_PICKED = 24


class Bins(NamedTuple):
    """Entries of cell c: entries[offsets[c]:offsets[c + 1]]; in rising order when `is_sorted`.

    places: two floats for each entry, or an empty tensor. none: greater than any entry. noted: what the count
    gave back.
    """

    offsets: Any
    entries: Any
    places: Any
    is_sorted: bool
    none: int
    noted: int


def make_bins(
    cells: int, index: torch.dtype, places: torch.dtype | None, device: Any,
    count: Callable[[Any], Any], fill: Callable[[Any, Any, Any, Any], object],
) -> Bins:  # fmt: skip
    """Bins of entries of type `index`.

    count(counts) adds up each cell's entries, and gives back one number to read along, or None;
    fill(counts, offsets, entries, places) counts down again and lists them.
    """
    counts = torch.zeros(cells, dtype=index, device=device)
    noted = count(counts)
    offsets = torch.zeros(cells + 1, dtype=index, device=device)
    torch.cumsum(counts, 0, dtype=index, out=offsets[1:])
    # The one wait for the device: how much to allocate, and how the gather has to go about it.
    read = [offsets[-1], counts.max()] + ([] if noted is None else [noted.to(index)])
    total, most, *rest = torch.stack(read).tolist()
    entries = torch.empty(max(total, 1), dtype=index, device=device)
    beside = torch.empty((max(total, 1) if places else 0, 2), dtype=places or torch.float32, device=device)
    fill(counts, offsets, entries, beside)
    if most > MOST_PICKED:
        order = torch.argsort(entries)
        cell = torch.repeat_interleave(torch.arange(cells, device=device), offsets.diff())
        order = order[torch.argsort(cell[order], stable=True)]
        entries, beside = entries[order], beside[order] if places else beside
    return Bins(offsets, entries, beside, most > MOST_PICKED, torch.iinfo(index).max, sum(rest))


@triton.jit
def next_entry(entries, start, count, most, k, last, NONE: tl.constexpr, SORTED: tl.constexpr):
    """Each cell's entry number k in rising order, and where it lies; `last` is its entry number k - 1, or -1."""
    place = start + k
    if SORTED:
        entry = tl.load(entries + place, k < count, NONE)
    else:
        entry = tl.full(last.shape, NONE, last.dtype)
        # Not range(most): the interpreter takes no tensor there.
        j = 0
        while j < most:
            other = tl.load(entries + start + j, j < count, NONE)
            better = (other > last) & (other < entry)
            entry = tl.where(better, other, entry)
            place = tl.where(better, start + j, place)
            j += 1
    return entry, place
