# SPDX-License-Identifier: Apache-2.0
"""Box and Gaussian filters of small grids, equal to those of `scipy.ndimage` to the bit.

Importing `scipy.ndimage` takes 0.2 s, a sixth of the time that a farm's chunk may take before its first frame.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from loopcore.parallel import parallel_rows
from loopcore.transport.jit import kernel

_F = np.float32

# The Gaussian ends at so many standard deviations.
TRUNCATE = 4.0
MIN_LINES = 64  # for a thread


@kernel
def _values(source, zeros, columns, y, rows, border, first, last):
    """Values first .. last - 1 of row y; beyond the rows lie zeros, or with `border` the ends."""
    inside = min(max(y, 0), rows - 1)
    return source[inside * columns + first : inside * columns + last] if border or y == inside else zeros


@kernel
def _box_columns(source, out, rows, columns, size, border, first, last):
    """Means over `size` values of columns first .. last - 1: side by side, so that they are read by rows."""
    total, zeros, before = np.zeros(last - first, np.float64), np.zeros(last - first, np.float32), size // 2
    for p in range(size):
        entering = _values(source, zeros, columns, p - before, rows, border, first, last)
        for x in range(len(total)):
            total[x] += np.float64(entering[x])
    for p in range(rows):
        if p > 0:
            entering = _values(source, zeros, columns, p + size - 1 - before, rows, border, first, last)
            leaving = _values(source, zeros, columns, p - 1 - before, rows, border, first, last)
            for x in range(len(total)):
                total[x] += np.float64(entering[x]) - np.float64(leaving[x])
        means = out[p * columns + first : p * columns + last]
        for x in range(len(total)):
            means[x] = total[x] / size


@kernel
def _box_rows(values, columns, size, border, first, last):
    """Means over `size` values of rows first .. last - 1, in place; beyond them as `_values`."""
    line, before = np.empty(columns + size, np.float64), size // 2
    for i in range(first, last):
        row = values[i * columns : (i + 1) * columns]
        for p in range(columns + size):
            q = p - before
            inside = min(max(q, 0), columns - 1)
            line[p] = row[inside] if border or q == inside else 0.0
        total = 0.0
        for p in range(size):
            total += line[p]
        row[0] = total / size
        for p in range(1, columns):
            total += line[p + size - 1] - line[p - 1]
            row[p] = total / size


@kernel
def _weighted_lines(source, out, length, step, along, weights, first, last):
    """Sums of lines first .. last - 1 with symmetric weights; beyond their ends lie the values of the ends."""
    reach = len(weights) // 2
    line, total = np.empty(length + 2 * reach, np.float64), np.empty(length, np.float64)
    for i in range(first, last):
        start = i * step
        for p in range(length + 2 * reach):
            line[p] = source[start + min(max(p - reach, 0), length - 1) * along]
        for p in range(length):
            total[p] = line[p + reach] * weights[reach]
        for k in range(reach):
            for p in range(length):
                total[p] += (line[p + k] + line[p + 2 * reach - k]) * weights[k]
        for p in range(length):
            out[start + p * along] = total[p]


def box_filter(grid: np.ndarray, size: int, *, border: bool = True) -> np.ndarray:
    """Returns the means over squares of `size` nodes.

    Args:
        grid: (rows, columns) float32.
        size: at least 1; the nodes of an even one reach further up and left.
        border: beyond the grid lie the values of its border, else zeros.

    Returns:
        (rows, columns) float32.
    """
    if size == 1:
        return np.array(grid, _F)
    rows, columns = grid.shape
    source, out = np.ascontiguousarray(grid, _F).reshape(-1), np.empty(grid.shape, _F)
    flat = out.reshape(-1)
    parallel_rows(
        columns, lambda a, b: _box_columns(source, flat, rows, columns, size, border, a, b), min_rows=MIN_LINES
    )
    parallel_rows(rows, lambda a, b: _box_rows(flat, columns, size, border, a, b), min_rows=MIN_LINES)
    return out


def gaussian_filter(grid: np.ndarray, sigma: float) -> np.ndarray:
    """Returns the grid smoothed by a Gaussian; beyond the grid lie the values of its border.

    Args:
        grid: (rows, columns) float32.
        sigma: the standard deviation, above 0, in nodes.

    Returns:
        (rows, columns) float32.
    """
    reach = int(TRUNCATE * sigma + 0.5)
    weights = np.exp(-0.5 / (sigma * sigma) * np.arange(-reach, reach + 1) ** 2)
    weights /= weights.sum()
    return _both_ways(grid, lambda *lines: _weighted_lines(*lines[:5], weights, *lines[5:]))


def _both_ways(grid: np.ndarray, smooth: Callable[..., None]) -> np.ndarray:
    """Returns a grid of which first all columns and then all rows are smoothed."""
    rows, columns = grid.shape
    source, out = np.ascontiguousarray(grid, _F).reshape(-1), np.empty(grid.shape, _F)
    flat = out.reshape(-1)
    parallel_rows(columns, lambda a, b: smooth(source, flat, rows, 1, columns, a, b), min_rows=MIN_LINES)
    parallel_rows(rows, lambda a, b: smooth(flat, flat, columns, columns, 1, a, b), min_rows=MIN_LINES)
    return out
