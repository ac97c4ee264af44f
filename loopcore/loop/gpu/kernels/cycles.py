# SPDX-License-Identifier: Apache-2.0
"""The Triton kernel of the weights in time: `Cycles.weights` on the GPU, for one copy at a time."""

import triton
import triton.language as tl

from loopcore.transport.gpu.kernels.common import pixel_tile


@triton.jit
def _noise_at(noise, number, y, x, known, noise_rows, noise_columns):
    """Noise of a copy between the nodes of its lattice, with a smooth step."""
    i, k = y.to(tl.int32), x.to(tl.int32)
    v, u = y - i, x - k
    v, u = v * v * (3.0 - 2.0 * v), u * u * (3.0 - 2.0 * u)
    corner = noise + (number * noise_rows + i) * noise_columns + k
    a, b = tl.load(corner, known, 0.0), tl.load(corner + 1, known, 0.0)
    corner += noise_columns
    c, d = tl.load(corner, known, 0.0), tl.load(corner + 1, known, 0.0)
    top, bottom = a + u * (b - a), c + u * (d - c)
    return top + v * (bottom - top)


@triton.jit
def _birth(noise, i, stride, frames, layer, y, x, known, noise_rows, noise_columns, MAX_SHIFT: tl.constexpr):
    """When copy i of a layer is at full weight; 0 and `frames` to the bit for the first and the last."""
    place = i + MAX_SHIFT * _noise_at(noise, i * stride, y, x, known, noise_rows, noise_columns)
    return tl.div_rn(frames * place, tl.zeros_like(place) + layer)


@triton.jit(do_not_specialize=["number", "count", "levels"])
def time_weights(
    need, noise, layers, out, number, count, levels, time, frames, cell, rows, columns, noise_rows, noise_columns,
    MAX_SHIFT: tl.constexpr, TILE_X: tl.constexpr, TILE_Y: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """out (rows, columns): how much copy `number` of `count` cycles counts at a time."""
    column, row, p, inside = pixel_tile(columns, rows, TILE_X, TILE_Y, WIDE)
    y, x = row.to(tl.float32) / cell, column.to(tl.float32) / cell
    wanted, total = tl.load(need + p, inside, 0.0), tl.zeros((TILE_X * TILE_Y,), tl.float32)
    level = 0
    while level < levels:
        layer = tl.load(layers + level)
        stride = count // layer
        if number % stride == 0:
            i = number // stride
            middle = _birth(noise, i, stride, frames, layer, y, x, inside, noise_rows, noise_columns, MAX_SHIFT)
            weight = tl.where(middle == time, 1.0, 0.0)
            if i > 0:
                near = _birth(noise, i - 1, stride, frames, layer, y, x, inside, noise_rows, noise_columns, MAX_SHIFT)
                rise = tl.maximum((time - near) / (middle - near), 0.0)
                weight = tl.where(middle > time, rise, weight)
            if i < layer:
                near = _birth(noise, i + 1, stride, frames, layer, y, x, inside, noise_rows, noise_columns, MAX_SHIFT)
                fall = tl.maximum((near - time) / (near - middle), 0.0)
                weight = tl.where(middle < time, fall, weight)
            part = tl.maximum(1.0 - tl.abs(wanted - level), 0.0)
            total += tl.where(levels == 1, 1.0, part) * weight
        level += 1
    tl.store(out + p, total, inside)
