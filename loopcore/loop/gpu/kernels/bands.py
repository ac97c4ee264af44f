# SPDX-License-Identifier: Apache-2.0
"""Triton kernels that keep contrast: `loopcore.loop.contrast` on the GPU, all pyramid levels in one buffer.

Levels lie one after another, finest first, in buffers of one or more planes (blend, past, future). A table says, for
each level, where it begins, its height and width, where its blocks begin, their rows and columns, and where in
`nearest` its rows and columns find the grid of blend weights: for the finest level by blocks, else by pixels. Sums
are ordered without atomics: the same bits each time.
"""

import triton
import triton.language as tl

from loopcore.loop.gpu.kernels.blend import between_blocks
from loopcore.transport.gpu.kernels.common import pixel_tile

# Numbers in a line of the table.
FIELDS: tl.constexpr = tl.constexpr(8)


@triton.jit
def _entry(table, level):
    """A level's line of the table; sizes in 32 bits, offsets in 64."""
    line = table + level * FIELDS
    start, blocks = tl.load(line), tl.load(line + 3)
    height, width = tl.load(line + 1).to(tl.int32), tl.load(line + 2).to(tl.int32)
    return start, height, width, blocks, tl.load(line + 4).to(tl.int32), tl.load(line + 5).to(tl.int32)


@triton.jit
def _filtered_column(fine, x, y, inside, height, width):
    """The binomial 1 4 6 4 1 down a column of the fine level."""
    a = tl.load(fine + tl.maximum(y - 2, 0) * width + x, inside, 0.0)
    b = tl.load(fine + tl.maximum(y - 1, 0) * width + x, inside, 0.0)
    c = tl.load(fine + y * width + x, inside, 0.0)
    d = tl.load(fine + tl.minimum(y + 1, height - 1) * width + x, inside, 0.0)
    e = tl.load(fine + tl.minimum(y + 2, height - 1) * width + x, inside, 0.0)
    return (1 / 16) * (a + e) + (4 / 16) * (b + d) + (6 / 16) * c


@triton.jit
def reduce(buffer, stride, table, level, TILE_X: tl.constexpr, TILE_Y: tl.constexpr):
    """The next level of each plane: every second pixel of this one, low-passed."""
    fine, height, width, _, _, _ = _entry(table, level)
    coarse, rows, columns, _, _, _ = _entry(table, level + 1)
    plane = buffer + tl.program_id(1).to(tl.int64) * stride
    x, y, p, inside = pixel_tile(columns, rows, TILE_X, TILE_Y, False)
    fine, x, y = plane + fine, 2 * x, 2 * y
    a = _filtered_column(fine, tl.maximum(x - 2, 0), y, inside, height, width)
    b = _filtered_column(fine, tl.maximum(x - 1, 0), y, inside, height, width)
    c = _filtered_column(fine, x, y, inside, height, width)
    d = _filtered_column(fine, tl.minimum(x + 1, width - 1), y, inside, height, width)
    e = _filtered_column(fine, tl.minimum(x + 2, width - 1), y, inside, height, width)
    tl.store(plane + coarse + p, (1 / 16) * (a + e) + (4 / 16) * (b + d) + (6 / 16) * c, inside)


@triton.jit
def _expanded(coarse, x, y, known, rows, columns):
    """The coarse level at pixels of the fine one: bilinear, its own pixels lying on the even ones."""
    above, left = (y // 2) * columns, x // 2
    below = tl.minimum(y // 2 + y % 2, rows - 1) * columns
    right = tl.minimum(left + x % 2, columns - 1)
    near = 0.5 * (tl.load(coarse + above + left, known, 0.0) + tl.load(coarse + below + left, known, 0.0))
    far = 0.5 * (tl.load(coarse + above + right, known, 0.0) + tl.load(coarse + below + right, known, 0.0))
    return 0.5 * (near + far)


@triton.jit
def energies(
    buffer, stride, weights, past_weight, weight_columns, nearest, table, out, out_stride, first,
    BLOCK: tl.constexpr, PER_PIXEL_FROM: tl.constexpr, COUNT: tl.constexpr,
):  # fmt: skip
    """out (planes, blocks): weighted sums over each block of the squared band between a level and the next.

    From level PER_PIXEL_FROM on, the plane of the past counts by its blend weight, that of the future by the rest.
    """
    level, plane = first + tl.program_id(1), tl.program_id(2)
    fine, height, width, blocks, rows, columns = _entry(table, level)
    coarse, low_rows, low_columns, _, _, _ = _entry(table, level + 1)
    if tl.program_id(0) * COUNT < rows * columns:
        block = tl.program_id(0) * COUNT + tl.arange(0, COUNT)
        lane = tl.arange(0, BLOCK * BLOCK)
        y = (block // columns * BLOCK)[:, None] + (lane // BLOCK)[None, :]
        x = (block % columns * BLOCK)[:, None] + (lane % BLOCK)[None, :]
        known = (block < rows * columns)[:, None] & (y < height) & (x < width)
        picture, p = buffer + plane.to(tl.int64) * stride, y * width + x
        detail = tl.load(picture + fine + p, known, 0.0)
        detail -= _expanded(picture + coarse, x, y, known, low_rows, low_columns)
        weight = tl.load(weights + fine + p, known, 0.0)
        if level >= PER_PIXEL_FROM:
            if plane > 0:
                near_y = tl.load(nearest + tl.load(table + level * FIELDS + 6) + y, known, 0)
                near_x = tl.load(nearest + tl.load(table + level * FIELDS + 7) + x, known, 0)
                part = weight * tl.load(past_weight + near_y * weight_columns + near_x, known, 0.0)
                weight = tl.where(plane == 1, part, weight - part)
        total = tl.sum(weight * (detail * detail), 1)
        tl.store(out + plane.to(tl.int64) * out_stride + blocks + block, total, block < rows * columns)


@triton.jit
def _smoothed_column(grid, x, y, known, rows, columns):
    known = known & (x >= 0) & (x < columns)
    place = grid + y * columns + x
    above = tl.load(place - columns, known & (y > 0), 0.0)
    below = tl.load(place + columns, known & (y + 1 < rows), 0.0)
    return 0.5 * tl.load(place, known, 0.0) + 0.25 * (below + above)


@triton.jit
def _smoothed(grid, n, known, rows, columns):
    """Sums of blocks, smoothed over 3 x 3 blocks; nothing beyond the border."""
    x, y = n % columns, n // columns
    beside = _smoothed_column(grid, x + 1, y, known, rows, columns)
    beside += _smoothed_column(grid, x - 1, y, known, rows, columns)
    return 0.5 * _smoothed_column(grid, x, y, known, rows, columns) + 0.25 * beside


@triton.jit
def pool(sums, out, table, first, POOL: tl.constexpr, COUNT: tl.constexpr):
    """out: smoothed sums of blocks, averaged over POOL x POOL blocks; nothing beyond the border."""
    _, _, _, blocks, rows, columns = _entry(table, first + tl.program_id(1))
    n = tl.program_id(0) * COUNT + tl.arange(0, COUNT)
    known, total = n < rows * columns, tl.zeros((COUNT,), tl.float32)
    for j in range(POOL):
        for i in range(POOL):
            x, y = n % columns + (i - POOL // 2), n // columns + (j - POOL // 2)
            near = known & (x >= 0) & (x < columns) & (y >= 0) & (y < rows)
            total += _smoothed(sums + blocks, y * columns + x, near, rows, columns)
    tl.store(out + blocks + n, total / (POOL * POOL), known)


@triton.jit
def _variance_at(variance, counts, y, x, known, default, rows, columns):
    """The variance at block position (x, y), bilinear over blocks that have moving pixels."""
    y = tl.minimum(tl.maximum(y, 0.0), rows - 1.0)
    x = tl.minimum(tl.maximum(x, 0.0), columns - 1.0)
    i, j = y.to(tl.int32), x.to(tl.int32)
    v, u = y - i, x - j
    total, weights = tl.zeros_like(y), tl.zeros_like(y)
    for corner in tl.static_range(4):
        q = tl.minimum(i + corner // 2, rows - 1) * columns + tl.minimum(j + corner % 2, columns - 1)
        weight = (v if corner // 2 else 1.0 - v) * (u if corner % 2 else 1.0 - u) * tl.load(counts + q, known, 0.0)
        total += weight * tl.load(variance + q, known, 0.0)
        weights += weight
    return tl.where(weights > 0.1, total / tl.where(weights > 0.1, weights, 1.0), default)


@triton.jit(do_not_specialize=["copies"])
def advected(
    variance, counts, grid, steady, table, out, copies, node_rows, node_columns, step, level, size,
    SHIFT: tl.constexpr, COPY: tl.constexpr, COUNT: tl.constexpr,
):  # fmt: skip
    """out: energy of a band by blocks of `size` pixels: the variance where the copies come from, times the count.

    grid: nodes as in `mixing`. steady (node_rows, node_columns): how much of the variance is the place's own.
    """
    _, _, _, blocks, rows, columns = _entry(table, level)
    n = tl.program_id(0) * COUNT + tl.arange(0, COUNT)
    known, nodes = n < rows * columns, node_rows * node_columns
    y, x = size * ((n // columns).to(tl.float32) + 0.5), size * ((n % columns).to(tl.float32) + 0.5)
    # The node nearest to the middle of the block.
    row, column = (y / step + 0.5).to(tl.int32), (x / step + 0.5).to(tl.int32)
    p = tl.minimum(row, node_rows - 1) * node_columns + tl.minimum(column, node_columns - 1)
    own, total = tl.load(variance + blocks + n, known, 0.0), tl.zeros((COUNT,), tl.float32)
    k = 0
    while k < copies:
        plane = grid + (SHIFT + COPY * k) * nodes
        weight = tl.load(plane + 2 * nodes + p, known, 0.0)
        v = (y + tl.load(plane + nodes + p, known, 0.0)) / size - 0.5
        u = (x + tl.load(plane + p, known, 0.0)) / size - 0.5
        total += weight * _variance_at(variance + blocks, counts + blocks, v, u, known, own, rows, columns)
        k += 1
    total += tl.load(steady + p, known, 0.0) * (own - total)
    tl.store(out + blocks + n, tl.load(counts + blocks + n, known, 0.0) * total, known)


@triton.jit
def gains(
    sums, sums_stride, counts, past_weight, weight_columns, nearest, table, wanted, gain, scale, partial, first,
    INITIAL: tl.constexpr, GIVEN: tl.constexpr, PER_PIXEL_FROM: tl.constexpr, MIN_VARIANCE: tl.constexpr,
    MIN_GAIN: tl.constexpr, MAX_GAIN: tl.constexpr, COUNT: tl.constexpr,
):  # fmt: skip
    """Each block's gain, and sums over COUNT blocks of what `scales` needs: a, b and c of its equation.

    The initial pass finds what is wanted from the sums of the copies; the others raise the gain by what is missing.
    GIVEN: `wanted` is known, and the second plane of the sums holds the first one's, pooled.
    """
    tile, level = tl.program_id(0), first + tl.program_id(1)
    _, _, _, blocks, rows, columns = _entry(table, level)
    n = tile * COUNT + tl.arange(0, COUNT)
    known = n < rows * columns
    if GIVEN:
        has = tl.load(sums + sums_stride + blocks + n, known, 0.0)
    else:
        has = _smoothed(sums + blocks, n, known, rows, columns)
    if INITIAL and not GIVEN:
        past = _smoothed(sums + sums_stride + blocks, n, known, rows, columns)
        future = _smoothed(sums + 2 * sums_stride + blocks, n, known, rows, columns)
        target = past + future
        if level < PER_PIXEL_FROM:
            near_y = tl.load(nearest + tl.load(table + level * FIELDS + 6) + n // columns, known, 0)
            near_x = tl.load(nearest + tl.load(table + level * FIELDS + 7) + n % columns, known, 0)
            part = tl.load(past_weight + near_y * weight_columns + near_x, known, 0.0)
            target = part * past + (1.0 - part) * future
        tl.store(wanted + blocks + n, target, known)
    else:
        target = tl.load(wanted + blocks + n, known, 0.0)
    floor = MIN_VARIANCE * tl.load(counts + blocks + n, known, 1.0)
    ratio = tl.sqrt_rn(tl.div_rn(target + floor, has + floor))
    if INITIAL:
        new = tl.minimum(tl.maximum(ratio, MIN_GAIN), MAX_GAIN)
    else:
        before = 1.0 + tl.load(scale + level) * (tl.load(gain + blocks + n, known, 1.0) - 1.0)
        new = before * tl.minimum(tl.maximum(ratio, 0.8), MAX_GAIN)
        new = tl.minimum(tl.maximum(new, MIN_GAIN), MAX_GAIN)
        has = has / (before * before)
    tl.store(gain + blocks + n, new, known)
    change, has = tl.where(known, new - 1.0, 0.0).to(tl.float64), has.to(tl.float64)
    a, b = tl.sum(change * change * has), tl.sum(change * has)
    c = tl.sum(has) - tl.sum(target.to(tl.float64))
    place = partial + 3 * (level * tl.num_programs(0) + tile)
    tl.store(place, a)
    tl.store(place + 1, b)
    tl.store(place + 2, c)


@triton.jit
def scales(partial, tiles, floors, scale, first, MIN: tl.constexpr, MAX: tl.constexpr, COUNT: tl.constexpr):
    """For each level the s that solves sum (1 + s (gain - 1))^2 has = sum wanted, within limits."""
    level = first + tl.program_id(0)
    a, b = tl.zeros((COUNT,), tl.float64), tl.zeros((COUNT,), tl.float64)
    c = tl.zeros((COUNT,), tl.float64)
    start = 0
    while start < tiles:
        tile = start + tl.arange(0, COUNT)
        place = partial + 3 * (level * tiles + tile)
        a += tl.load(place, tile < tiles, 0.0)
        b += tl.load(place + 1, tile < tiles, 0.0)
        c += tl.load(place + 2, tile < tiles, 0.0)
        start += COUNT
    total_a, total_b, total_c = tl.sum(a), tl.sum(b), tl.sum(c)
    some = total_a > tl.load(floors + level)
    root = tl.sqrt(tl.maximum(total_b * total_b - total_a * total_c, 0.0))
    value = (root - total_b) / tl.where(some, total_a, 1.0)
    value = tl.minimum(tl.maximum(value, MIN), MAX)
    tl.store(scale + level, tl.where(some, value, 1.0).to(tl.float32))


@triton.jit
def change(
    buffer, gain, scale, strength, table, out, weights, shown, level,
    BLOCK: tl.constexpr, SHOW: tl.constexpr, TILE_X: tl.constexpr, TILE_Y: tl.constexpr,
):  # fmt: skip
    """out: the change of tone at a level, that of the next one expanded and this band's added.

    SHOW: what is seen of it, by the weights, is added to the level, into `shown`.
    """
    fine, height, width, blocks, rows, columns = _entry(table, level)
    coarse, low_rows, low_columns, _, _, _ = _entry(table, level + 1)
    x, y, p, inside = pixel_tile(width, height, TILE_X, TILE_Y, False)
    here = tl.load(buffer + fine + p, inside, 0.0)
    detail = here - _expanded(buffer + coarse, x, y, inside, low_rows, low_columns)
    # Interpolated between centres: gains, and one less all the same.
    more = between_blocks(gain + blocks, x, y, inside, rows, columns, BLOCK) - 1.0
    total = _expanded(out + coarse, x, y, inside, low_rows, low_columns)
    total += strength * tl.load(scale + level) * more * detail
    tl.store(out + fine + p, total, inside)
    if SHOW:
        weight = tl.load(weights + fine + p, inside, 0.0)
        tl.store(shown + fine + p, here + weight * total, inside)


@triton.jit
def surplus(tone, delta, weight, brighter, light, height, width, PATCH: tl.constexpr, ROWS: tl.constexpr):
    """Per patch: the luminance that the change adds, and the sum of the new tone."""
    columns = (width + PATCH - 1) // PATCH
    patch, lane = tl.program_id(0), tl.arange(0, ROWS * PATCH)
    x = patch % columns * PATCH + lane % PATCH
    more, total = tl.zeros((ROWS * PATCH,), tl.float32), tl.zeros((ROWS * PATCH,), tl.float32)
    for start in range(0, PATCH, ROWS):
        y = patch // columns * PATCH + start + lane // PATCH
        inside = (x < width) & (y < height)
        p = y * width + x
        t, d = tl.load(tone + p, inside, 0.0), tl.load(delta + p, inside, 0.0)
        w = tl.load(weight + p, inside, 0.0)
        more += w * d * (2.0 * t + d)
        total += w * (t + d)
    tl.store(brighter + patch, tl.sum(more))
    tl.store(light + patch, tl.sum(total))


@triton.jit
def lowering(brighter, light, out, rows, columns, COUNT: tl.constexpr):
    """What the change has to be lowered by, patch by patch, to keep the local mean of luminance."""
    n = tl.program_id(0) * COUNT + tl.arange(0, COUNT)
    known = n < rows * columns
    below = tl.maximum(2.0 * _smoothed(light, n, known, rows, columns), 1e-6)
    tl.store(out + n, _smoothed(brighter, n, known, rows, columns) / below, known)
