# SPDX-License-Identifier: Apache-2.0
"""Bins: sources listed cell by cell, so that a gather replaces a scatter.

Count (integer atomics, whose sums do not depend on the order), scan, fill. The order in which a cell is filled is not
fixed; the gather therefore takes its entries in ascending order. If any cell holds too many for that, all are sorted
once instead.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl

# Largest number of entries in a cell for which a gather finds the next one by a linear search.
MAX_PICKED = 24


class Bins(NamedTuple):
    """Entries of cell c: entries[offsets[c]:offsets[c + 1]]; in ascending order if `is_sorted`.

    none: greater than any entry. noted: the number that the count returned, or 0.
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

    count(counts) adds up each cell's entries, and returns one more number to read back, or None;
    fill(offsets, entries) lists them from each cell's end to its beginning, decrementing the cell's offset.
    """
    counts = torch.zeros(cells + 1, dtype=index, device=device)
    noted = count(counts)
    offsets = torch.cumsum(counts, 0, dtype=index)
    # The only synchronisation with the device: how much to allocate, and whether to sort.
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
    """Each cell's entry number k in ascending order; `last` is its entry number k - 1, or -1."""
    if SORTED:
        entry = tl.load(entries + start + k, k < count, NONE)
    else:
        entry = tl.full(last.shape, NONE, last.dtype)
        # Not range(max_count): the interpreter accepts no tensor there.
        j = 0
        while j < max_count:
            other = tl.load(entries + start + j, j < count, NONE)
            entry = tl.where((other > last) & (other < entry), other, entry)
            j += 1
    return entry
