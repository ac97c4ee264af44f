# SPDX-License-Identifier: Apache-2.0
"""Triton kernels of the forward warp: bin the pieces by the cell they land in, and gather; or add them up atomically.

A cell is the square between four pixel centres, indexed by the one at its upper left; those of row or column -1 cross
the border, so that there are (H + 1) x (W + 1). An entry of a bin is 64 p + 8 j + i: piece (i, j) of pixel p.
`pieces` (H, W) uint8 holds 8 (ny - 1) + nx - 1.

Convention: as in `cpu`.
"""

import triton
import triton.language as tl

from loopcore.transport.gpu.kernels.bins import next_entry
from loopcore.transport.gpu.kernels.common import channels_at, pixel_tile, shift_at


@triton.jit
def _longer(longest, u, v, known):
    """The greater of two squared lengths; missing and NaN neighbours are ignored."""
    square = u * u + v * v
    return tl.maximum(longest, tl.where(known & (square == square), square, 0.0))


@triton.jit
def _pieces(longest):
    """Number of pieces from the square of the longer side: that side less a half, rounded up; 1 where torn."""
    count = tl.full(longest.shape, 1, tl.int32)
    for k in tl.static_range(1, 8):
        count += (longest > (k + 0.5) * (k + 0.5)).to(tl.int32)
    return tl.where(longest <= 64.0, count, 1)


@triton.jit
def _stretch(displacement, p, x, y, u, v, inside, width, height, COMPUTE: tl.constexpr):
    """Number of pieces of each pixel along x and along y."""
    longest_x, longest_y = tl.zeros_like(u), tl.zeros_like(u)
    for side in tl.static_range(2):
        known = inside & ((x + 1 < width) if side else (x > 0))
        u2, v2 = shift_at(displacement, p + (2 * side - 1), known, COMPUTE)
        longest_x = _longer(longest_x, 1.0 + (2 * side - 1) * (u2 - u), v2 - v, known)
        known = inside & ((y + 1 < height) if side else (y > 0))
        u2, v2 = shift_at(displacement, p + (2 * side - 1) * width, known, COMPUTE)
        longest_y = _longer(longest_y, u2 - u, 1.0 + (2 * side - 1) * (v2 - v), known)
    return _pieces(longest_x), _pieces(longest_y)


@triton.jit
def towards(p, place, piece, count, size, stride, COMPUTE: tl.constexpr):
    """Along one axis: the piece's offset from the pixel's centre (numerator, 1 / denominator), the neighbour on that
    side (at the frame's border the pixel itself), and that neighbour's weight."""
    numerator = 2 * piece + 1 - count
    # Two factors, which `landing` multiplies with a single rounding, the same in every kernel.
    part = 1.0 / (2 * count).to(COMPUTE)
    has = ((numerator > 0) & (place + 1 < size)) | ((numerator < 0) & (place > 0))
    other = tl.where(has, p + tl.where(numerator > 0, stride, -stride), p)
    numerator = numerator.to(COMPUTE)
    return numerator, part, other, tl.where(has, tl.abs(numerator * part), 0.0)


@triton.jit
def landing(displacement, p, x, y, u, v, i, j, nx, ny, known, width, height, COMPUTE: tl.constexpr):
    """Where piece (i, j) lands, whether it touches the frame, and its neighbours with their weights.

    Counting and filling must find the same cell, so that every product is an explicit fused multiply-add.
    """
    way_x, part_x, r, ax = towards(p, x, i, nx, width, 1, COMPUTE)
    way_y, part_y, s, ay = towards(p, y, j, ny, height, width, COMPUTE)
    u2, v2 = shift_at(displacement, r, known & (r != p), COMPUTE)
    u3, v3 = shift_at(displacement, s, known & (s != p), COMPUTE)
    at_x = tl.fma(ay, u3 - u, tl.fma(ax, u2 - u, tl.fma(way_x, part_x, x.to(COMPUTE) + u)))
    at_y = tl.fma(ay, v3 - v, tl.fma(ax, v2 - v, tl.fma(way_y, part_y, y.to(COMPUTE) + v)))
    known = known & (i < nx) & (j < ny) & (at_x > -1) & (at_y > -1) & (at_x < width) & (at_y < height)
    return tl.where(known, at_x, 0.0), tl.where(known, at_y, 0.0), known, r, s, ax, ay


@triton.jit
def lean(here, values, p, r, s, ax, ay, c, mask, CHANNELS: tl.constexpr, COMPUTE: tl.constexpr):
    """Value of a piece of pixel p: `here`, interpolated towards neighbours r and s."""
    beside = (r != p)[:, None] & mask
    across = channels_at(values, r, c, beside, CHANNELS, COMPUTE)
    across = tl.where(beside, ax[:, None] * (across - here), 0.0)
    beside = (s != p)[:, None] & mask
    along = channels_at(values, s, c, beside, CHANNELS, COMPUTE)
    return here + across + tl.where(beside, ay[:, None] * (along - here), 0.0)


@triton.jit
def bin_pieces(
    displacement, weight, pieces, counts, entries, width, height, FILL: tl.constexpr,
    WEIGHTED: tl.constexpr, COMPUTE: tl.constexpr, TILE_X: tl.constexpr, TILE_Y: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """Count each cell's pieces and write `pieces`; or, with FILL, list them downward from the ends in `counts`."""
    x, y, p, inside = pixel_tile(width, height, TILE_X, TILE_Y, WIDE)
    u, v = shift_at(displacement, p, inside, COMPUTE)
    if FILL:
        piece = tl.load(pieces + p, inside, 0).to(tl.int32)
        nx, ny = piece % 8 + 1, piece // 8 + 1
    else:
        nx, ny = _stretch(displacement, p, x, y, u, v, inside, width, height, COMPUTE)
        tl.store(pieces + p, ((ny - 1) * 8 + nx - 1).to(tl.uint8), inside)
    if WEIGHTED:
        inside = inside & (tl.load(weight + p, inside, 0.0) != 0)
    max_count = tl.max(tl.where(inside, nx * ny, 0))
    k = 0
    while k < max_count:
        at_x, at_y, known, _, _, _, _ = landing(
            displacement, p, x, y, u, v, k % nx, k // nx, nx, ny, inside, width, height, COMPUTE
        )
        row = tl.floor(at_y).to(tl.int32) + 1
        if WIDE:
            row = row.to(tl.int64)
        cell = row * (width + 1) + (tl.floor(at_x).to(tl.int32) + 1)
        if FILL:
            place = tl.atomic_add(counts + cell, -1, known) - 1
            tl.store(entries + place, p * 64 + k // nx * 8 + k % nx, known)
        else:
            tl.atomic_add(counts + cell, 1, known)
        k += 1


@triton.jit
def gather_cells(
    total, weight_sum, values, displacement, weight, pieces, offsets, entries, x, y, t, inside, c, importance,
    width, height,
    CHANNELS: tl.constexpr, WEIGHTED: tl.constexpr, STRETCHED: tl.constexpr, COMPUTE: tl.constexpr,
    NONE: tl.constexpr, SORTED: tl.constexpr,
):  # fmt: skip
    """Add the pieces in the four cells around target pixels t, times `importance`, to their sums and weights, each cell
    in ascending order of its entries."""
    for near in range(4):
        up, left = near // 2, near % 2
        # A row of cells has one more than a row of pixels, and starts at -1.
        cell = t + y + (1 - left) + (1 - up) * (width + 1)
        start = tl.load(offsets + cell, inside, 0)
        count = tl.load(offsets + cell + 1, inside, 0) - start
        max_count = tl.max(count)
        entry = tl.full(weight_sum.shape, -1, entries.dtype.element_ty)
        k = 0
        while k < max_count:
            entry = next_entry(entries, start, count, max_count, k, entry, NONE, SORTED)
            known = k < count
            p = tl.where(known, entry // 64, 0)
            column, row = (p % width).to(tl.int32), (p // width).to(tl.int32)
            # Computing the position again reads less memory than a stored position would.
            u, v = shift_at(displacement, p, known, COMPUTE)
            at_x, at_y = column.to(COMPUTE) + u, row.to(COMPUTE) + v
            if STRETCHED:
                piece = tl.load(pieces + p, known, 0).to(tl.int32)
                nx, ny, which = piece % 8 + 1, piece // 8 + 1, tl.where(known, entry % 64, 0).to(tl.int32)
                at_x, at_y, _, r, s, ax, ay = landing(
                    displacement, p, column, row, u, v, which % 8, which // 8, nx, ny, known, width, height, COMPUTE
                )
            part = importance * tl.maximum(1.0 - tl.abs(at_x - x), 0.0) * tl.maximum(1.0 - tl.abs(at_y - y), 0.0)
            if STRETCHED:
                part = part / (nx * ny).to(COMPUTE)
            if WEIGHTED:
                part = part * tl.load(weight + p, known, 0.0).to(COMPUTE)
            part = tl.where(known, part, 0.0)
            mask = (known & (part != 0))[:, None] & (c < CHANNELS)[None, :]
            sample = channels_at(values, p, c, mask, CHANNELS, COMPUTE)
            if STRETCHED:
                if tl.max(piece) > 0:
                    sample = lean(sample, values, p, r, s, ax, ay, c, mask, CHANNELS, COMPUTE)
            total += part[:, None] * sample
            weight_sum += part
            k += 1
    return total, weight_sum


@triton.jit
def gather(
    values, displacement, weight, pieces, offsets, entries, sums, weights, width, height,
    CHANNELS: tl.constexpr, WEIGHTED: tl.constexpr, STRETCHED: tl.constexpr, COMPUTE: tl.constexpr,
    TILE_X: tl.constexpr, TILE_Y: tl.constexpr, BLOCK_C: tl.constexpr, WIDE: tl.constexpr,
    NONE: tl.constexpr, SORTED: tl.constexpr,
):  # fmt: skip
    """Sums and weights of each target pixel."""
    x, y, t, inside = pixel_tile(width, height, TILE_X, TILE_Y, WIDE)
    block = tl.program_id(1)
    c = block * BLOCK_C + tl.arange(0, BLOCK_C)
    total, weight_sum = gather_cells(
        tl.zeros((TILE_X * TILE_Y, BLOCK_C), COMPUTE), tl.zeros((TILE_X * TILE_Y,), COMPUTE), values, displacement,
        weight, pieces, offsets, entries, x, y, t, inside, c, 1.0, width, height,
        CHANNELS, WEIGHTED, STRETCHED, COMPUTE, NONE, SORTED,
    )  # fmt: skip
    mask = inside[:, None] & (c < CHANNELS)[None, :]
    tl.store(sums + (t * CHANNELS)[:, None] + c[None, :], total, mask)
    if block == 0:
        tl.store(weights + t, weight_sum, inside)


@triton.jit
def scatter(
    values, displacement, weight, sums, weights, width, height,
    CHANNELS: tl.constexpr, WEIGHTED: tl.constexpr, COMPUTE: tl.constexpr,
    TILE_X: tl.constexpr, TILE_Y: tl.constexpr, BLOCK_C: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """Add each piece atomically to the four pixels around it; the last bits differ from run to run."""
    x, y, p, inside = pixel_tile(width, height, TILE_X, TILE_Y, WIDE)
    block = tl.program_id(1)
    c = block * BLOCK_C + tl.arange(0, BLOCK_C)
    u, v = shift_at(displacement, p, inside, COMPUTE)
    nx, ny = _stretch(displacement, p, x, y, u, v, inside, width, height, COMPUTE)
    piece_weight = 1.0 / (nx * ny).to(COMPUTE)
    if WEIGHTED:
        piece_weight = piece_weight * tl.load(weight + p, inside, 0.0).to(COMPUTE)
    inside = inside & (piece_weight != 0)
    max_count = tl.max(tl.where(inside, nx * ny, 0))
    mask = inside[:, None] & (c < CHANNELS)[None, :]
    here = channels_at(values, p, c, mask, CHANNELS, COMPUTE)
    k = 0
    while k < max_count:
        at_x, at_y, known, r, s, ax, ay = landing(
            displacement, p, x, y, u, v, k % nx, k // nx, nx, ny, inside, width, height, COMPUTE
        )
        sample = lean(here, values, p, r, s, ax, ay, c, mask & known[:, None], CHANNELS, COMPUTE)
        left, top = tl.floor(at_x), tl.floor(at_y)
        tx, ty = at_x - left, at_y - top
        for corner in tl.static_range(4):
            column, row = left.to(tl.int32) + corner % 2, top.to(tl.int32) + corner // 2
            part = piece_weight * (tx if corner % 2 else 1.0 - tx) * (ty if corner // 2 else 1.0 - ty)
            lit = known & (column >= 0) & (column < width) & (row >= 0) & (row < height) & (part != 0)
            if WIDE:
                row = row.to(tl.int64)
            t = row * width + column
            place = (t * CHANNELS)[:, None] + c[None, :]
            tl.atomic_add(sums + place, part[:, None] * sample, lit[:, None] & mask)
            if block == 0:
                tl.atomic_add(weights + t, part, lit)
        k += 1
