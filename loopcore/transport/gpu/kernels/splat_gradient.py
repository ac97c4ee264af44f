# SPDX-License-Identifier: Apache-2.0
"""The Triton kernel of the splat's gradients: a gather, because the transpose of a deposit is a lookup.

A pixel contributes to its own pieces and, by interpolation, to those of its four neighbours that lie on its side.

Convention: as in `cpu`; `pieces` as in `splat`.
"""

import triton
import triton.language as tl

from loopcore.transport.gpu.kernels.common import channels_at, pixel_tile, shift_at
from loopcore.transport.gpu.kernels.splat import landing, lean


@triton.jit
def slope(
    values, displacement, weight, pieces, by_sums, by_weights, by_values, by_shift, by_weight, width, height,
    CHANNELS: tl.constexpr, WEIGHTED: tl.constexpr, STRETCHED: tl.constexpr, COMPUTE: tl.constexpr,
    TILE_X: tl.constexpr, TILE_Y: tl.constexpr, BLOCK_C: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """Gradients by values (H, W, C), displacement (H, W, 2) and weight (H, W) from those by sums and weights."""
    x, y, p, inside = pixel_tile(width, height, TILE_X, TILE_Y, WIDE)
    in_x, in_y = tl.zeros((TILE_X * TILE_Y,), COMPUTE), tl.zeros((TILE_X * TILE_Y,), COMPUTE)
    in_weight = tl.zeros((TILE_X * TILE_Y,), COMPUTE)
    for start in range(0, CHANNELS, BLOCK_C):
        c = start + tl.arange(0, BLOCK_C)
        in_values = tl.zeros((TILE_X * TILE_Y, BLOCK_C), COMPUTE)
        # The pixel itself, then those to the left, right, above and below.
        for near in range(5 if STRETCHED else 1):
            step_x = (near == 2) * 1 - (near == 1) * 1
            step_y = (near == 4) * 1 - (near == 3) * 1
            column, row, q = x + step_x, y + step_y, p + step_x + step_y * width
            known = inside & (column >= 0) & (column < width) & (row >= 0) & (row < height)
            piece = tl.load(pieces + q, known, 0).to(tl.int32)
            known = known & ((piece > 0) | (near == 0))
            nx, ny = piece % 8 + 1, piece // 8 + 1
            u, v = shift_at(displacement, q, known, COMPUTE)
            each = 1.0 / (nx * ny).to(COMPUTE)
            piece_weight = each
            if WEIGHTED:
                piece_weight = piece_weight * tl.load(weight + q, known, 0.0).to(COMPUTE)
            max_count = tl.max(tl.where(known, nx * ny, 0))
            k = 0
            while k < max_count:
                at_x, at_y, lit, r, s, ax, ay = landing(
                    displacement, q, column, row, u, v, k % nx, k // nx, nx, ny, known, width, height, COMPUTE
                )
                factor = tl.where(r == p, ax, 0.0) + tl.where(s == p, ay, 0.0)
                factor = tl.where(near == 0, 1.0 - ax - ay, factor)
                lit = lit & (factor != 0)
                mask = lit[:, None] & (c < CHANNELS)[None, :]
                sample = channels_at(values, q, c, mask, CHANNELS, COMPUTE)
                sample = lean(sample, values, q, r, s, ax, ay, c, mask, CHANNELS, COMPUTE)
                pulled, to_x, to_y, to_weight = _pull(
                    by_sums, by_weights, sample, at_x, at_y, c, lit, start == 0, width, height,
                    CHANNELS, COMPUTE, WIDE,
                )  # fmt: skip
                factor = tl.where(lit, factor, 0.0)
                in_values += (factor * piece_weight)[:, None] * pulled
                in_x += factor * piece_weight * to_x
                in_y += factor * piece_weight * to_y
                in_weight += tl.where(near == 0, each * to_weight, 0.0)
                k += 1
        mask = inside[:, None] & (c < CHANNELS)[None, :]
        tl.store(by_values + (p * CHANNELS)[:, None] + c[None, :], in_values, mask)
    tl.store(by_shift + 2 * p, in_x, inside)
    tl.store(by_shift + 2 * p + 1, in_y, inside)
    if WEIGHTED:
        tl.store(by_weight + p, in_weight, inside)


@triton.jit
def _pull(
    by_sums, by_weights, sample, at_x, at_y, c, lit, first, width, height,
    CHANNELS: tl.constexpr, COMPUTE: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """Gradients by a piece's sample, position and weight, from the four pixels it was added to."""
    left, top = tl.floor(at_x), tl.floor(at_y)
    tx, ty = at_x - left, at_y - top
    pulled = tl.zeros_like(sample)
    to_x, to_y, to_weight = tl.zeros_like(tx), tl.zeros_like(tx), tl.zeros_like(tx)
    for corner in tl.static_range(4):
        column, row = left.to(tl.int32) + corner % 2, top.to(tl.int32) + corner // 2
        wx, wy = tx if corner % 2 else 1.0 - tx, ty if corner // 2 else 1.0 - ty
        known = lit & (column >= 0) & (column < width) & (row >= 0) & (row < height)
        if WIDE:
            row = row.to(tl.int64)
        t = row * width + column
        mask = known[:, None] & (c < CHANNELS)[None, :]
        given = channels_at(by_sums, t, c, mask, CHANNELS, COMPUTE)
        gain = tl.sum(given * sample, 1) + tl.load(by_weights + t, known & first, 0.0).to(COMPUTE)
        pulled += (wx * wy)[:, None] * given
        to_weight += wx * wy * gain
        to_x += (2 * (corner % 2) - 1) * wy * gain
        to_y += (2 * (corner // 2) - 1) * wx * gain
    return pulled, to_x, to_y, to_weight
