# SPDX-License-Identifier: Apache-2.0
"""The kernels that carry colour layers along by the nodes of `mixing`: all of them are looked up at once.

Layers are packed side by side, four channels each: (H, W, size) as float32, or uint16 the bits of halves. Lookups and
what is made of them are of one region of the frame, small enough to stay in the cache: (rows, columns, size) float32.

Convention: as in `transport.cpu`; kernels work on flat arrays.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from loopcore.loop.blend import MAX_FETCHES, MAX_RATIO, MIN_RATIO, TILE_CELLS, line_between
from loopcore.loop.plate_contrast import COPY, SHIFT
from loopcore.transport.cpu import gather_patch, split
from loopcore.transport.halves import flat_bits, value_at
from loopcore.transport.jit import kernel
from loopcore.transport.limited import (
    FOUND,
    TAPS,
    add_found4,
    add_limited4,
    add_limited8,
    footprint,
    guide4,
    guide4_at_border,
)

_F = np.float32

# Rows of a region; it is as wide as a tile.
REGION_ROWS = 32


class Region(NamedTuple):
    """Rows top..bottom-1 and columns left..right-1 of the loop's window."""

    top: int
    bottom: int
    left: int
    right: int


def regions(first: int, last: int, width: int, tile: int) -> Iterator[Region]:
    """The regions of rows first..last-1, `tile` columns wide."""
    for top in range(first, last, REGION_ROWS):
        for left in range(0, width, tile):
            yield Region(top, min(top + REGION_ROWS, last), left, min(left + tile, width))


def tile_width(step: int) -> int:
    """Columns of a region on a grid of every `step`-th pixel."""
    return TILE_CELLS * step


def as_mixture(nodes: np.ndarray) -> np.ndarray:
    """The nodes of two blended copies (rows, columns, NODE) as those of a mixture, without shifts of tone."""
    out = np.zeros((*nodes.shape[:2], 2 * COPY + SHIFT), np.float32)
    out[..., 0:2], out[..., COPY : COPY + 2] = nodes[..., 0:2], nodes[..., 2:4]
    out[..., 2], out[..., COPY + 2] = nodes[..., 4], 1 - nodes[..., 4]
    out[..., 3:5], out[..., COPY + 3 : COPY + 5] = nodes[..., 5:7], nodes[..., 7:9]
    return out


@kernel
def node_line(grid, rows, columns, channels, step, y, start, stop, line):
    """The nodes interpolated to row y, as far as the pixels start..stop-1 need them."""
    line_between(grid, rows, columns, channels, step, y, start // step, min(stop // step + 2, columns), line)
    for c in range(channels):  # one more, where the last node is the last pixel
        line[columns * channels + c] = line[(columns - 1) * channels + c]


@kernel
def _add_lookup(values, size, start, pixel, row, taps, found, weight, fresh, moved, q):
    for c in range(0, size - 4, 8):
        add_limited8(values, start + c, pixel, row, taps, found, weight, fresh, moved, q + c)
    if size % 8 > 0:
        add_limited4(values, start + size - 4, pixel, row, taps, found, weight, fresh, moved, q + size - 4)


@kernel
def _add_mean(values, size, guide, height, width, x, y, ax, ay, weight, fresh, taps, found, least, guide_patch, patch,
              moved, reference, q):  # fmt: skip
    """Add the mean of lookups along the axis (ax, ay) through (x, y), or one lookup, also across the border."""
    for c in range(4):
        least[c] = _F(255)
    count = max(1, min(int(math.ceil(math.sqrt(ax * ax + ay * ay))), MAX_FETCHES))
    weight /= _F(count)
    # All lookups have the least limits of any: they are found first.
    for adding in range(2):
        for k in range(count):
            s = (_F(k) + _F(0.5)) / _F(count) - _F(0.5)
            u, v = x + s * ax, y + s * ay
            if guide4(guide, height, width, u, v, taps, found) < 0:
                guide4_at_border(guide, height, width, u, v, guide_patch, taps, found)
            for c in range(4):
                least[c] = min(least[c], found[8 + c])
                found[8 + c] = least[c]
            if adding == 0 and count > 1:
                continue
            first = fresh and k == 0
            add_found4(found, weight, first, reference, 4 * q)
            start, pixel, row = footprint(height, width, u, v)
            if pixel != 0:
                _add_lookup(values, size, size * start, size * pixel, size * row, taps, found, weight, first, moved,
                            size * q)  # fmt: skip
                continue
            ix, _ = split(u)
            iy, _ = split(v)
            gather_patch(values, height, width, size, ix, iy, patch)
            _add_lookup(patch, size, 0, size, 4 * size, taps, found, weight, first, moved, size * q)
        if count == 1:
            break


@kernel
def _fetch_region(values, size, guide, height, width, grid, rows, columns, channels, step, mask, spans, top, bottom,
                  left, right, moved, reference):  # fmt: skip
    line = np.empty((columns + 1) * channels, np.float32)
    # Made once and passed on: an array made, or a slice, takes longer than a lookup.
    taps, found, least = np.empty(TAPS, np.float32), np.empty(FOUND, np.float32), np.empty(4, np.float32)
    guide_patch, patch = np.empty(64, np.float32), np.empty(16 * size, values.dtype)
    per_pixel = _F(1) / _F(step)
    for y in range(top, bottom):
        start, stop = max(spans[2 * y], left), min(spans[2 * y + 1], right)
        if start >= stop:
            continue
        node_line(grid, rows, columns, channels, step, y, start, stop, line)
        row = min((y + step // 2) // step, rows - 1) * columns
        # No calls of functions in here, but of intrinsics: passing arrays takes longer than a lookup.
        for j in range(start // step, (stop - 1) // step + 1):
            near, far = (row + j) * channels, (row + min(j + 1, columns - 1)) * channels
            for x in range(max(start, j * step), min(stop, (j + 1) * step)):
                if mask[y * width + x] <= 0:
                    continue
                pixel, t = (y - top) * (right - left) + x - left, _F(x - j * step) * per_pixel
                fresh = True
                for k in range(0, channels - SHIFT, COPY):
                    n = j * channels + k
                    m = n + channels
                    if line[n + 2] <= 0 and line[m + 2] <= 0:
                        continue
                    u = _F(x) + (line[n] + t * (line[m] - line[n]))
                    v = _F(y) + (line[n + 1] + t * (line[m + 1] - line[n + 1]))
                    w = line[n + 2] + t * (line[m + 2] - line[n + 2])
                    # An axis and its opposite mean the same, so axes are not interpolated: the nearest node's serves.
                    a, b = near + k + 3, far + k + 3
                    if grid[a] == 0 and grid[a + 1] == 0 and grid[b] == 0 and grid[b + 1] == 0:
                        corner = guide4(guide, height, width, u, v, taps, found)
                        if corner >= 0:
                            add_found4(found, w, fresh, reference, 4 * pixel)
                            for c in range(0, size - 4, 8):
                                add_limited8(values, size * corner + c, size, size * width, taps, found, w, fresh,
                                             moved, size * pixel + c)  # fmt: skip
                            if size % 8 > 0:
                                add_limited4(values, size * corner + size - 4, size, size * width, taps, found, w,
                                             fresh, moved, size * pixel + size - 4)  # fmt: skip
                            fresh = False
                            continue
                    axis = a if 2 * (x - j * step) < step else b
                    _add_mean(values, size, guide, height, width, u, v, grid[axis], grid[axis + 1], w, fresh, taps,
                              found, least, guide_patch, patch, moved, reference, pixel)  # fmt: skip
                    fresh = False
                if fresh:
                    reference[4 * pixel : 4 * pixel + 4] = _F(0)
                    moved[size * pixel : size * (pixel + 1)] = _F(0)


def fetch(values: np.ndarray, guide: np.ndarray, grid: np.ndarray, step: int, mask: np.ndarray, spans: np.ndarray,
          region: Region, moved: np.ndarray, reference: np.ndarray) -> None:  # fmt: skip
    """Carry packed layers and the picture that guides into a region, where it moves.

    Args:
        values: (H, W, size) the layers. guide: (H, W, 4) float32; how far lookups of the layers are limited is how far
            it has to be, to keep it from overshooting. grid: of `as_mixture` or `mixing.nodes`. mask: (H, W).
            spans: (H, 2), the first moving pixel of each row and one past the last.
        moved: flat, room for size channels of the region; the layers, linear in them. reference: flat, room for four;
            the guide.
    """
    (height, width), (rows, columns, channels) = mask.shape, grid.shape
    _fetch_region(
        flat_bits(values), values.shape[2], guide.reshape(-1), height, width, grid.reshape(-1), rows, columns, channels,
        step, mask.reshape(-1), spans.reshape(-1), *region, moved, reference,
    )  # fmt: skip


@kernel
def _match_region(moved, size, values, reference, guide, final, final_start, final_stride, floor, means, guide_means,
                  rows, columns, step, mask, spans, width, top, bottom, left, right):  # fmt: skip
    line, guide_line = np.empty(size * columns, np.float32), np.empty(4 * columns, np.float32)
    gain, rest, whole = np.empty(4, np.float32), np.empty(4, np.float32), np.empty(4, np.float32)
    for y in range(top, bottom):
        start, stop = max(spans[2 * y], left), min(spans[2 * y + 1], right)
        if start >= stop:
            continue
        first, last = start // step, min(stop // step + 2, columns)
        line_between(means, rows, columns, size, step, y, first, last, line)
        line_between(guide_means, rows, columns, 4, step, y, first, last, guide_line)
        for x in range(start, stop):
            p, pixel = y * width + x, (y - top) * (right - left) + x - left
            m = min(mask[p], _F(1))
            if m <= 0:
                continue
            j = min(x // step, columns - 1)
            t, after = _F(x - j * step) / _F(step), min(j + 1, columns - 1)
            for c in range(4):
                base, there = guide[4 * p + c], reference[4 * pixel + c]
                plain = there if m >= 1 else base + m * (there - base)
                shown = value_at(final, final_start + final_stride * y + 4 * x + c)
                ratio = (max(shown, _F(0)) + floor[c]) / (max(plain, _F(0)) + floor[c])
                ratio = min(max(ratio, _F(MIN_RATIO * MIN_RATIO)), _F(MAX_RATIO * MAX_RATIO))
                gain[c], rest[c] = ratio, shown - ratio * plain
                n, k = 4 * j + c, 4 * after + c
                whole[c] = guide_line[n] + t * (guide_line[k] - guide_line[n])
            for g in range(0, size, 4):
                for c in range(4):
                    q, n, k = size * pixel + g + c, size * j + g + c, size * after + g + c
                    value = moved[q]
                    if m < 1:
                        still = value_at(values, size * p + g + c)
                        value = still + m * (value - still)
                    part = line[n] + t * (line[k] - line[n])
                    share = min(max(part / whole[c], _F(0)), _F(1)) if whole[c] > 0 else _F(0)
                    moved[q] = gain[c] * value + rest[c] * share


def match(moved: np.ndarray, values: np.ndarray, reference: np.ndarray, guide: np.ndarray, final: np.ndarray,
          corner: tuple[int, int], floor: np.ndarray, means: np.ndarray, guide_means: np.ndarray, mean_step: int,
          mask: np.ndarray, spans: np.ndarray, region: Region) -> None:  # fmt: skip
    """Give carried layers of a region, in place, what steady looks and contrast did to the plate.

    Args:
        moved, reference: flat, of `fetch` for the layers and the plate. values: (H, W, size) the layers. guide:
            (H, W, 4) the plate. final: the frame, four channels, float32 or float16, or one larger than the window,
            whose first pixel is at its row and column `corner`. floor: (4,) of each channel, below it gains tend to 1.
            means, guide_means: (rows, columns, size or 4), local means of the layers and the plate on a grid of every
            `mean_step`-th pixel. mask, spans: as `fetch`.

    With U the layer and P the plate, both carried and laid over the still, and F the frame: the gain g is
    (F + e) / (P + e), limited as that of contrast, and what it leaves of the frame, F - g P, goes to the layers by
    their shares in the local mean of the plate: it is what steady looks add where the plate is dark.
    Layers that add up to the plate add up to the frame: g P + (F - g P) = F.
    """
    (rows, columns, size), stride = means.shape, 4 * final.shape[1]
    _match_region(
        moved, size, flat_bits(values), reference, guide.reshape(-1), flat_bits(final),
        corner[0] * stride + 4 * corner[1], stride, floor, means.reshape(-1), guide_means.reshape(-1), rows, columns,
        mean_step, mask.reshape(-1), spans.reshape(-1), mask.shape[1], *region,
    )  # fmt: skip
