# SPDX-License-Identifier: Apache-2.0
"""What the Triton kernels share: tiles of pixels, their loads, coordinates, the cubic filter.

A program works on a tile of pixels, flat along the first axis of its tensors, and on a block of channels along the
second. Indices have 32 bits, or 64 for large arrays (`WIDE`).
"""

import triton
import triton.language as tl


@triton.jit
def pixel_tile(width, height, TILE_X: tl.constexpr, TILE_Y: tl.constexpr, WIDE: tl.constexpr):
    """This program's pixels, (TILE_X * TILE_Y,): their x, y, index y * width + x, and which lie inside the frame."""
    across = (width + TILE_X - 1) // TILE_X
    tile = tl.program_id(0)
    lane = tl.arange(0, TILE_X * TILE_Y)
    x = (tile % across) * TILE_X + lane % TILE_X
    y = (tile // across) * TILE_Y + lane // TILE_X
    if WIDE:
        index = y.to(tl.int64) * width + x
    else:
        index = y * width + x
    return x, y, index, (x < width) & (y < height)


@triton.jit
def channels_at(values, p, c, mask, CHANNELS: tl.constexpr, COMPUTE: tl.constexpr):
    """Channels c of the pixels p of `values` (..., CHANNELS), as (pixels, channels); 0 where masked out."""
    return tl.load(values + (p * CHANNELS)[:, None] + c[None, :], mask, 0.0).to(COMPUTE)


@triton.jit
def shift_at(displacement, p, known, COMPUTE: tl.constexpr):
    """The displacement (x, y) of the pixels p; 0 where not `known`."""
    u = tl.load(displacement + 2 * p, known, 0.0).to(COMPUTE)
    return u, tl.load(displacement + 2 * p + 1, known, 0.0).to(COMPUTE)


@triton.jit
def split(x):
    """Whole and fractional part of a coordinate; NaN and magnitudes from 1e9 on count as 0."""
    x = tl.where(tl.abs(x) < 1e9, x, 0.0)
    whole = tl.floor(x)
    return whole.to(tl.int32), x - whole


@triton.jit
def keys(t):
    """Keys 1981, a = -1/2: the weights of four samples at t in [0, 1) past the second."""
    s = 1.0 - t
    return (
        -0.5 * t * s * s,
        1.0 + t * t * (1.5 * t - 2.5),
        1.0 + s * s * (1.5 * s - 2.5),
        -0.5 * s * t * t,
    )


@triton.jit
def keys_slope(t):
    """The derivatives of `keys` by t."""
    s = 1.0 - t
    return (
        s * (t - 0.5 * s),
        t * (4.5 * t - 5.0),
        s * (5.0 - 4.5 * s),
        t * (0.5 * t - s),
    )


@triton.jit
def fold(i, period):
    """The index modulo the period of the mirrored frame, from 0 to period - 1."""
    i = i % period
    return tl.where(i < 0, i + period, i)


@triton.jit
def mirror(i, size, period):
    """Index in the frame, mirrored about its border pixels, of an index from -1 to period + 1."""
    i = tl.abs(i)
    return tl.minimum(tl.where(i < size, i, tl.abs(period - i)), size - 1)


@triton.jit
def cell_of(x, y, period_y, period_x):
    """Column and row of the pixel at the upper left of (x, y), within one period, and how far past it (x, y) lies."""
    ix, tx = split(x)
    iy, ty = split(y)
    return fold(ix, period_x), fold(iy, period_y), tx, ty


@triton.jit
def bicubic(
    values, x, y, c, mask, height, width, period_y, period_x,
    CHANNELS: tl.constexpr, COMPUTE: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """values (height, width, CHANNELS) at (x, y), clamped to the range of the 4 x 4 pixels: (pixels, channels)."""
    ix, iy, tx, ty = cell_of(x, y, period_y, period_x)
    wx, wy = keys(tx), keys(ty)
    total = tl.zeros(mask.shape, COMPUTE)
    low, high = total + float("inf"), total - float("inf")
    for j in tl.static_range(4):
        row = mirror(iy + (j - 1), height, period_y)
        if WIDE:
            row = row.to(tl.int64)
        line = tl.zeros(mask.shape, COMPUTE)
        for i in tl.static_range(4):
            source = row * width + mirror(ix + (i - 1), width, period_x)
            value = channels_at(values, source, c, mask, CHANNELS, COMPUTE)
            line += wx[i][:, None] * value
            low, high = tl.minimum(low, value), tl.maximum(high, value)
        total += wy[j][:, None] * line
    # Comparisons, not minimum and maximum: those would drop a NaN.
    total = tl.where(total < low, low, total)
    return tl.where(total > high, high, total)
