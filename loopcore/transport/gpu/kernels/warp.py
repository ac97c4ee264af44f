# SPDX-License-Identifier: Apache-2.0
"""Triton kernels of the backward warp: the lookup, its derivative by the displacement, and its transpose.

Convention: as in `cpu`. `period` arguments are 2 (size - 1), at least 1: the period of the mirrored frame.
"""

import triton
import triton.language as tl

from loopcore.transport.gpu.kernels.bins import next_entry
from loopcore.transport.gpu.kernels.common import (
    bicubic,
    cell_of,
    channels_at,
    keys,
    keys_slope,
    mirror,
    pixel_tile,
    shift_at,
)


@triton.jit
def fetch(
    values, displacement, out, height, width, rows, columns, period_y, period_x,
    CHANNELS: tl.constexpr, COMPUTE: tl.constexpr, TILE_X: tl.constexpr, TILE_Y: tl.constexpr,
    BLOCK_C: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """out (rows, columns, C) = values (height, width, C), bicubic, clamped to the range of the 4 x 4 pixels."""
    x, y, p, inside = pixel_tile(columns, rows, TILE_X, TILE_Y, WIDE)
    u, v = shift_at(displacement, p, inside, COMPUTE)
    c = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    mask = inside[:, None] & (c < CHANNELS)[None, :]
    total = bicubic(
        values, x.to(COMPUTE) + u, y.to(COMPUTE) + v, c, mask, height, width, period_y, period_x,
        CHANNELS, COMPUTE, WIDE,
    )  # fmt: skip
    tl.store(out + (p * CHANNELS)[:, None] + c[None, :], total, mask)


@triton.jit
def slope(
    values, displacement, gradient, moved, choice, height, width, rows, columns, period_y, period_x,
    CHANNELS: tl.constexpr, COMPUTE: tl.constexpr, TILE_X: tl.constexpr, TILE_Y: tl.constexpr,
    BLOCK_C: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """moved (rows, columns, 2): the gradient by the displacement. choice (rows, columns, C) int8: 0 where the sum of
    the 4 x 4 pixels was not clamped, k + 1 where it was clamped to pixel k."""
    x, y, p, inside = pixel_tile(columns, rows, TILE_X, TILE_Y, WIDE)
    u, v = shift_at(displacement, p, inside, COMPUTE)
    ix, iy, tx, ty = cell_of(x.to(COMPUTE) + u, y.to(COMPUTE) + v, period_y, period_x)
    wx, wy, vx, vy = keys(tx), keys(ty), keys_slope(tx), keys_slope(ty)
    along_x, along_y = tl.zeros((TILE_X * TILE_Y,), COMPUTE), tl.zeros((TILE_X * TILE_Y,), COMPUTE)
    for start in range(0, CHANNELS, BLOCK_C):
        c = start + tl.arange(0, BLOCK_C)
        mask = inside[:, None] & (c < CHANNELS)[None, :]
        total = tl.zeros((TILE_X * TILE_Y, BLOCK_C), COMPUTE)
        by_x, by_y = total, total
        low, high = total + float("inf"), total - float("inf")
        low_at, high_at = total.to(tl.int32), total.to(tl.int32)
        for j in tl.static_range(4):
            row = mirror(iy + (j - 1), height, period_y)
            if WIDE:
                row = row.to(tl.int64)
            line, line_slope = tl.zeros_like(total), tl.zeros_like(total)
            for i in tl.static_range(4):
                source = row * width + mirror(ix + (i - 1), width, period_x)
                value = channels_at(values, source, c, mask, CHANNELS, COMPUTE)
                line += wx[i][:, None] * value
                line_slope += vx[i][:, None] * value
                low_at = tl.where(value < low, 4 * j + i, low_at)
                high_at = tl.where(value > high, 4 * j + i, high_at)
                low, high = tl.minimum(low, value), tl.maximum(high, value)
            total += wy[j][:, None] * line
            by_x += wy[j][:, None] * line_slope
            by_y += vy[j][:, None] * line
        chosen = tl.where(total < low, low_at + 1, tl.where(total > high, high_at + 1, 0))
        place = (p * CHANNELS)[:, None] + c[None, :]
        tl.store(choice + place, chosen.to(tl.int8), mask)
        given = channels_at(gradient, p, c, mask, CHANNELS, COMPUTE)
        given = tl.where(chosen == 0, given, 0.0)
        along_x += tl.sum(given * by_x, 1)
        along_y += tl.sum(given * by_y, 1)
    tl.store(moved + 2 * p, along_x, inside)
    tl.store(moved + 2 * p + 1, along_y, inside)


@triton.jit
def first_pixel(displacement, p, x, y, inside, height, width, period_y, period_x, COMPUTE: tl.constexpr):
    """The smallest column and row among the 4 x 4 pixels that each pixel p of a warp samples."""
    u, v = shift_at(displacement, p, inside, COMPUTE)
    ix, iy, _, _ = cell_of(x.to(COMPUTE) + u, y.to(COMPUTE) + v, period_y, period_x)
    column, row = mirror(ix - 1, width, period_x), mirror(iy - 1, height, period_y)
    for k in tl.static_range(3):
        column = tl.minimum(column, mirror(ix + k, width, period_x))
        row = tl.minimum(row, mirror(iy + k, height, period_y))
    return column, row


@triton.jit
def bin_fetches(
    displacement, counts, entries, height, width, rows, columns, period_y, period_x,
    FILL: tl.constexpr, COMPUTE: tl.constexpr, TILE_X: tl.constexpr, TILE_Y: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """Count the pixels of a warp by the `first_pixel` that each samples; or, with FILL, list them downward from the
    ends in `counts`."""
    x, y, p, inside = pixel_tile(columns, rows, TILE_X, TILE_Y, WIDE)
    column, row = first_pixel(displacement, p, x, y, inside, height, width, period_y, period_x, COMPUTE)
    if WIDE:
        row = row.to(tl.int64)
    cell = row * width + column
    if FILL:
        place = tl.atomic_add(counts + cell, -1, inside) - 1
        tl.store(entries + place, p, inside)
    else:
        tl.atomic_add(counts + cell, 1, inside)


@triton.jit
def spread(
    displacement, gradient, choice, offsets, entries, out, height, width, columns, period_y, period_x,
    CHANNELS: tl.constexpr, COMPUTE: tl.constexpr, TILE_X: tl.constexpr, TILE_Y: tl.constexpr,
    BLOCK_C: tl.constexpr, WIDE: tl.constexpr, NONE: tl.constexpr, SORTED: tl.constexpr,
):  # fmt: skip
    """out (height, width, C): the gradient by the values. Each pixel gathers from all results that sampled it, whose
    bins are at most three pixels up and to the left."""
    x, y, s, inside = pixel_tile(width, height, TILE_X, TILE_Y, WIDE)
    c = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    total = tl.zeros((TILE_X * TILE_Y, BLOCK_C), COMPUTE)
    for near in range(16):
        up, left = near // 4, near % 4
        known = inside & (x >= left) & (y >= up)
        cell = s - up * width - left
        start = tl.load(offsets + cell, known, 0)
        count = tl.load(offsets + cell + 1, known, 0) - start
        max_count = tl.max(count)
        entry = tl.full((TILE_X * TILE_Y,), -1, entries.dtype.element_ty)
        k = 0
        while k < max_count:
            entry = next_entry(entries, start, count, max_count, k, entry, NONE, SORTED)
            there = k < count
            p = tl.where(there, entry, 0)
            row, column = p // columns, p % columns
            u, v = shift_at(displacement, p, there, COMPUTE)
            ix, iy, tx, ty = cell_of(column.to(COMPUTE) + u, row.to(COMPUTE) + v, period_y, period_x)
            mask = there[:, None] & (c < CHANNELS)[None, :]
            given = channels_at(gradient, p, c, mask, CHANNELS, COMPUTE)
            chosen = channels_at(choice, p, c, mask, CHANNELS, tl.int32) - 1
            wx, wy = keys(tx), keys(ty)
            # Mirrored at the border, a pixel is sampled more than once: its weights add up.
            in_x, in_y = tl.zeros_like(tx), tl.zeros_like(ty)
            held_x, held_y = chosen != chosen, chosen != chosen
            for i in tl.static_range(4):
                at_x = mirror(ix + (i - 1), width, period_x) == x
                at_y = mirror(iy + (i - 1), height, period_y) == y
                in_x += tl.where(at_x, wx[i], 0.0)
                in_y += tl.where(at_y, wy[i], 0.0)
                held_x = held_x | (at_x[:, None] & (chosen % 4 == i))
                held_y = held_y | (at_y[:, None] & (chosen // 4 == i))
            weight = tl.where(chosen < 0, (in_x * in_y)[:, None], (held_x & held_y).to(COMPUTE))
            total += weight * given
            k += 1
    mask = inside[:, None] & (c < CHANNELS)[None, :]
    tl.store(out + (s * CHANNELS)[:, None] + c[None, :], total, mask)
