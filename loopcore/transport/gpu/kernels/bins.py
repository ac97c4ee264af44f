# SPDX-License-Identifier: Apache-2.0
"""Bins: which sources belong to which cell, listed cell by cell, so that a gather can take the place of a scatter.

Count (integer atomics, whose sums depend on no order), scan, fill. The fill's order inside a cell does depend on
which program came first; the gather therefore takes the entries of a cell in rising order. Where one
cell holds too many for that, all are sorted once instead.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl

# Entries of one cell up to which a gather finds the next by looking at all of them.
MAX_PICKED = 24


class Bins(NamedTuple):
    """Entries of cell c: entries[offsets[c]:offsets[c + 1]]; in rising order when `is_sorted`.

    none: greater than any entry. noted: the number that the count returned.
    """

    offsets: Any
    entries: Any
    is_sorted: bool
    none: int
    noted: int


def make_bins(
    cells: int, index: torch.dtype, device: Any,
    count: Callable[[Any], Any], fill: Callable[[Any, Any], object],
) -> Bins:  # fmt: skip
    """Bins of entries of type `index`.

    count(counts) adds up each cell's entries, and returns one number to read along, or None;
    fill(offsets, entries) lists them, from each cell's end to its beginning, and counts its offset down on the way.
    """
    counts = torch.zeros(cells + 1, dtype=index, device=device)
    noted = count(counts)
    offsets = torch.cumsum(counts, 0, dtype=index)
    # The one wait for the device: how much to allocate, and how the gather has to go about it.
    read = [offsets[-1], counts.max()] + ([] if noted is None else [noted.to(index)])
    total, max_count, *rest = torch.stack(read).tolist()
    entries = torch.empty(max(total, 1), dtype=index, device=device)
    fill(offsets, entries)
    if max_count > MAX_PICKED:
        order = torch.argsort(entries)
        cell = torch.repeat_interleave(torch.arange(cells, device=device), offsets.diff())
        entries = entries[order[torch.argsort(cell[order], stable=True)]]
    return Bins(offsets, entries, max_count > MAX_PICKED, torch.iinfo(index).max, sum(rest))


@triton.jit
def next_entry(entries, start, count, max_count, k, last, NONE: tl.constexpr, SORTED: tl.constexpr):
    """Each cell's entry number k in rising order; `last` is its entry number k - 1, or -1."""
    if SORTED:
        entry = tl.load(entries + start + k, k < count, NONE)
    else:
        entry = tl.full(last.shape, NONE, last.dtype)
        # Not range(max_count): the interpreter takes no tensor there.
        j = 0
        while j < max_count:
            other = tl.load(entries + start + j, j < count, NONE)
            entry = tl.where((other > last) & (other < entry), other, entry)
            j += 1
    return entry
