# SPDX-License-Identifier: Apache-2.0
"""What the Triton kernels share: tiles of pixels, coordinates, the cubic filter.

A program works on a tile of pixels, flat along the first axis of its tensors, and on a block of channels along the
second. Indices are 32 bits where the array allows, 64 where it does not (`WIDE`).
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
def split(x):
    """Whole and fractional part of a coordinate; NaN and the absurdly far, which no integer holds, count as 0."""
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
    """An index brought into one period of the mirrored frame, from 0 to period - 1."""
    i = i % period
    return tl.where(i < 0, i + period, i)


@triton.jit
def mirror(i, size, period):
    """The pixel that an index from -1 to period + 1 falls on, the frame being mirrored about its border pixels."""
    i = tl.abs(i)
    return tl.minimum(tl.where(i < size, i, tl.abs(period - i)), size - 1)
