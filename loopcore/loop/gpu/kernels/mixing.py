# SPDX-License-Identifier: Apache-2.0
"""Triton kernels of a loop of several cycles: `loopcore.loop.mixing` on the GPU.

The numbers of a node lie in planes of `rows` x `columns`: by how much the tone of each channel is shifted (SHIFT
planes), then of each copy where it is fetched from (x, y), its weight, and its long axis (COPY planes).

Convention: as in `transport.cpu`. `period` arguments as in the kernels of the warp.
"""

import triton
import triton.language as tl

from loopcore.loop.gpu.kernels.blend import (
    between,
    cell,
    fetch_along,
    jacobian,
    long_axis,
    reach,
    sqrt_luminance,
)
from loopcore.transport.gpu.kernels.common import pixel_tile


@triton.jit
def _lookup(field, y, x, known, rows, columns, CHANNELS: tl.constexpr):
    """A field at node position (x, y), bilinear; beyond its border, the border's."""
    y = tl.minimum(tl.maximum(y, 0.0), rows - 1.0)
    x = tl.minimum(tl.maximum(x, 0.0), columns - 1.0)
    i, j = y.to(tl.int32), x.to(tl.int32)
    v, u = y - i, x - j
    below, right = tl.minimum(i + 1, rows - 1), tl.minimum(j + 1, columns - 1)
    a = tl.load(field + CHANNELS * (i * columns + j), known, 0.0)
    b = tl.load(field + CHANNELS * (i * columns + right), known, 0.0)
    c = tl.load(field + CHANNELS * (below * columns + j), known, 0.0)
    d = tl.load(field + CHANNELS * (below * columns + right), known, 0.0)
    top, bottom = a + u * (b - a), c + u * (d - c)
    return top + v * (bottom - top)


@triton.jit
def copy_nodes(
    shift, mask, looks, weight, grid, rows, columns, step, MIN_WEIGHT: tl.constexpr, MIN_SQUEEZE: tl.constexpr,
    MIN_MASK: tl.constexpr, TILE_X: tl.constexpr, TILE_Y: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """A copy's planes of the grid, all but its weight; `weight` (rows, columns) is multiplied by how well it fits.

    shift (rows, columns, 2), in cells: where it is fetched from.
    """
    x, y, p, inside = pixel_tile(columns, rows, TILE_X, TILE_Y, WIDE)
    size = rows * columns
    dx, dy = tl.load(shift + 2 * p, inside, 0.0), tl.load(shift + 2 * p + 1, inside, 0.0)
    xx, xy, yx, yy = jacobian(shift, x, y, p, inside, rows, columns)
    axis_x, axis_y = long_axis(xx, xy, yx, yy, MIN_SQUEEZE)
    tl.store(grid + p, dx * step, inside)
    tl.store(grid + size + p, dy * step, inside)
    tl.store(grid + 3 * size + p, axis_x, inside)
    tl.store(grid + 4 * size + p, axis_y, inside)
    area = tl.maximum(xx * yy - xy * yx, 0.0)
    squares = xx * xx + xy * xy + yx * yx + yy * yy
    fit = tl.minimum(area, 1.0 / tl.maximum(area, 1.0)) * 2.0 * area / tl.maximum(squares, 1e-6)
    at_y, at_x = y.to(tl.float32) + dy, x.to(tl.float32) + dx
    there = _lookup(mask, at_y, at_x, inside, rows, columns, 1)
    moved = tl.minimum((there + MIN_MASK) / (tl.load(mask + p, inside, 0.0) + MIN_MASK), 1.0)
    change = _lookup(looks, at_y, at_x, inside, rows, columns, 2) - tl.load(looks + 2 * p, inside, 0.0)
    change *= tl.load(looks + 2 * p + 1, inside, 0.0)
    quality = tl.maximum(tl.minimum(fit, 1.0) * moved * moved * tl.exp(-0.5 * change * change), MIN_WEIGHT)
    tl.store(weight + p, tl.load(weight + p, inside, 0.0) * quality, inside)


@triton.jit
def _part(
    smooth, planes, k, x, y, p, inside, size, height, width, ramp,
    SHIFT: tl.constexpr, COPY: tl.constexpr, MIN_WEIGHT: tl.constexpr,
):  # fmt: skip
    """A copy's smoothed weight, less the further it comes from outside the frame, and where it comes from."""
    plane = planes + (SHIFT + COPY * k) * size
    dx, dy = tl.load(plane + p, inside, 0.0), tl.load(plane + size + p, inside, 0.0)
    weight = tl.maximum(tl.load(smooth + k * size + p, inside, 0.0), 0.0)
    return weight * reach(x + dx, y + dy, height, width, ramp, MIN_WEIGHT), dx, dy


@triton.jit(do_not_specialize=["count"])
def mix_weights(
    smooth, mean, steady, grid, count, rows, columns, step, height, width, ramp,
    SHIFT: tl.constexpr, COPY: tl.constexpr, NEGLIGIBLE: tl.constexpr, MIN_WEIGHT: tl.constexpr,
    HAS_MEAN: tl.constexpr, TILE_X: tl.constexpr, TILE_Y: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """The grid's weights from the smoothed ones (count, rows, columns), made to sum to 1, and its shifts of tone.

    HAS_MEAN: the shifts are `steady` (rows, columns) times sum_k w_k (A(x) - A(x + d_k)), with A the local mean
    (rows, columns, SHIFT).
    """
    column, row, p, inside = pixel_tile(columns, rows, TILE_X, TILE_Y, WIDE)
    size, x, y = rows * columns, (column * step).to(tl.float32), (row * step).to(tl.float32)
    total, rest = tl.zeros((TILE_X * TILE_Y,), tl.float32), tl.zeros((TILE_X * TILE_Y,), tl.float32)
    k = 0
    while k < count:
        part, _, _ = _part(smooth, grid, k, x, y, p, inside, size, height, width, ramp, SHIFT, COPY, MIN_WEIGHT)
        total += part
        k += 1
    total = tl.where(inside, total, 1.0)
    k = 0
    while k < count:
        part, _, _ = _part(smooth, grid, k, x, y, p, inside, size, height, width, ramp, SHIFT, COPY, MIN_WEIGHT)
        rest += tl.maximum(tl.div_rn(part, total) - NEGLIGIBLE, 0.0)
        k += 1
    rest = tl.where(inside, rest, 1.0)
    c = tl.arange(0, SHIFT)
    shifts, known = tl.zeros((TILE_X * TILE_Y, SHIFT), tl.float32), inside[:, None] & (c < SHIFT)[None, :]
    k = 0
    while k < count:
        part, dx, dy = _part(smooth, grid, k, x, y, p, inside, size, height, width, ramp, SHIFT, COPY, MIN_WEIGHT)
        # Correctly rounded: the weight of a copy alone is 1 to the bit.
        weight = tl.div_rn(tl.maximum(tl.div_rn(part, total) - NEGLIGIBLE, 0.0), rest)
        tl.store(grid + (SHIFT + COPY * k + 2) * size + p, weight, inside)
        if HAS_MEAN:
            at_y, at_x = row.to(tl.float32) + dy / step, column.to(tl.float32) + dx / step
            here = tl.load(mean + (SHIFT * p)[:, None] + c[None, :], known, 0.0)
            there = _lookup(mean + c[None, :], at_y[:, None], at_x[:, None], known, rows, columns, SHIFT)
            shifts += weight[:, None] * (here - there)
        k += 1
    if HAS_MEAN:
        shifts *= tl.load(steady + p, inside, 0.0)[:, None]
        tl.store(grid + (c * size)[None, :] + p[:, None], shifts, known)


@triton.jit
def _shifted(value, shift, white, MIN: tl.constexpr):
    """Values with their tone shifted: never below MIN of their tone, and as they were below 0."""
    part = tl.maximum(value / white, 0.0)
    tone = tl.where(part <= 1, tl.sqrt_rn(part), 1.0 + 0.5 * tl.log(tl.maximum(part, 1.0)))
    tone = tl.maximum(tone + shift, MIN * tone)
    moved = white * tl.where(tone <= 1, tone * tone, tl.exp(2.0 * (tone - 1.0)))
    return tl.where((shift == 0) | (value <= 0), value, moved)


@triton.jit
def _mixed(
    plate, grid, count, x, y, n0, n1, n2, n3, across, along, nearest, moving, c, step, size,
    height, width, period_y, period_x, SHIFT: tl.constexpr, COPY: tl.constexpr, MAX: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """The weighted sum of the copies' fetches (pixels, 4)."""
    per_pixel = 1.0 / step
    total = tl.zeros((moving.shape[0], 4), tl.float32)
    k = 0
    while k < count:
        plane = grid + (SHIFT + COPY * k) * size
        weight = between(plane + 2 * size, n0, n1, n2, n3, across, along, per_pixel, moving, 1)
        shown = moving & (weight > 0)
        if tl.max(shown.to(tl.int32)) > 0:
            at_x = x.to(tl.float32) + between(plane, n0, n1, n2, n3, across, along, per_pixel, shown, 1)
            at_y = y.to(tl.float32) + between(plane + size, n0, n1, n2, n3, across, along, per_pixel, shown, 1)
            axis_x = tl.load(plane + 3 * size + nearest, shown, 0.0)
            axis_y = tl.load(plane + 4 * size + nearest, shown, 0.0)
            fetched = fetch_along(
                plate, at_x, at_y, axis_x, axis_y, shown, c, height, width, period_y, period_x, MAX, WIDE
            )
            total += weight[:, None] * fetched
        k += 1
    return total


@triton.jit(do_not_specialize=["count"])
def mix(
    plate, grid, mask, luma, colour, copy, tone, count, white, height, width, rows, columns, step, period_y, period_x,
    FETCHED: tl.constexpr, SHIFTED: tl.constexpr, SHIFT: tl.constexpr, COPY: tl.constexpr, MIN: tl.constexpr,
    MAX: tl.constexpr, TILE_X: tl.constexpr, TILE_Y: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """copy (H, W, 4): the copies mixed where the mask is above 0, their tone shifted; and the tone of the sum (H, W).

    FETCHED: `copy` holds the mix already. SHIFTED: looks are steady.
    """
    x, y, p, inside = pixel_tile(width, height, TILE_X, TILE_Y, WIDE)
    moving = inside & (tl.load(mask + p, inside, 0.0) > 0)
    if tl.max(moving.to(tl.int32)) > 0:
        c = tl.arange(0, 4)
        lit = moving[:, None] & (c < 4)[None, :]
        size = rows * columns
        n0, n1, n2, n3, across, along = cell(x, y, step, rows, columns)
        if FETCHED:
            total = tl.load(copy + (4 * p)[:, None] + c[None, :], lit, 0.0)
        else:
            # An axis and its opposite mean the same, so axes are not interpolated: the nearest node's serves.
            nearest = tl.minimum((y + step // 2) // step, rows - 1) * columns
            nearest += tl.where(2 * across < step, x // step, tl.minimum(x // step + 1, columns - 1))
            total = _mixed(
                plate, grid, count, x, y, n0, n1, n2, n3, across, along, nearest, moving, c, step, size,
                height, width, period_y, period_x, SHIFT, COPY, MAX, WIDE,
            )  # fmt: skip
        if SHIFTED:
            shift = between(
                grid + (c * size)[None, :], n0[:, None], n1[:, None], n2[:, None], n3[:, None],
                across[:, None], along[:, None], 1.0 / step, lit, 1,
            )  # fmt: skip
            scaled = (tl.load(colour + c) > 0)[None, :]
            total = tl.where(scaled, _shifted(total, shift, white, MIN), total)
        tl.store(tone + p, sqrt_luminance(total, tl.load(luma + c)), moving)
        tl.store(copy + (4 * p)[:, None] + c[None, :], total, lit)
