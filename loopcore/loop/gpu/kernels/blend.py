# SPDX-License-Identifier: Apache-2.0
"""Triton kernels of the loop: nodes of the displacement grid, the blend of the two copies, the composite.

The same as `loopcore.loop.blend` on the CPU: a grid of every `step`-th pixel carries where the copies are fetched from.
Here its NODE numbers lie in planes of `rows` x `columns`, one after another. Pictures have four channels.

Convention: as in `transport.cpu`. `period` arguments as in the kernels of the warp.
"""

import triton
import triton.language as tl

from loopcore.transport.gpu.kernels.common import bicubic, pixel_tile
from loopcore.transport.gpu.kernels.splat import gather_cells


@triton.jit
def jacobian(shift, x, y, p, inside, rows, columns):
    """I + dB/dy by central differences: xx, xy, yx, yy, where xy is how x changes along y."""
    left, right = tl.minimum(x, 1), tl.minimum(columns - 1 - x, 1)
    above, below = tl.minimum(y, 1), tl.minimum(rows - 1 - y, 1)
    across = tl.maximum(left + right, 1).to(tl.float32)
    along = tl.maximum(above + below, 1).to(tl.float32)
    a, b = shift + 2 * (p + right), shift + 2 * (p - left)
    xx = (tl.load(a, inside, 0.0) - tl.load(b, inside, 0.0)) / across
    yx = (tl.load(a + 1, inside, 0.0) - tl.load(b + 1, inside, 0.0)) / across
    a, b = shift + 2 * (p + below * columns), shift + 2 * (p - above * columns)
    xy = (tl.load(a, inside, 0.0) - tl.load(b, inside, 0.0)) / along
    yy = (tl.load(a + 1, inside, 0.0) - tl.load(b + 1, inside, 0.0)) / along
    return 1.0 + xx, xy, yx, 1.0 + yy


@triton.jit
def long_axis(xx, xy, yx, yy, MIN: tl.constexpr):
    """The longest vector that the Jacobian makes of a unit one; 0 if hardly over 1.

    Its direction has half the angle of (a - d, 2 b). The half is taken on the side where nothing cancels.
    """
    a, b, d = xx * xx + xy * xy, xx * yx + xy * yy, yx * yx + yy * yy
    spread = tl.sqrt_rn((a - d) * (a - d) + 4.0 * b * b)
    square = 0.5 * (a + d + spread)
    some = tl.where(spread > 0, spread, 1.0)
    cosine, sine = tl.where(spread > 0, (a - d) / some, 1.0), 2.0 * b / some
    larger = tl.sqrt_rn(0.5 * (1.0 + tl.abs(cosine)))
    smaller = 0.5 * tl.abs(sine) / larger
    length = tl.where(square > MIN * MIN, tl.sqrt_rn(square), 0.0)
    x, y = tl.where(cosine >= 0, larger, smaller), tl.where(cosine >= 0, smaller, larger)
    return length * x, length * tl.where(b < 0, -y, y)


@triton.jit
def nodes(
    past, future, grid, rows, columns, step, alpha, MIN_WEIGHT: tl.constexpr, MIN_SQUEEZE: tl.constexpr,
    TILE_X: tl.constexpr, TILE_Y: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """grid (NODE, rows, columns) from displacements (rows, columns, 2), in cells, that lead back and ahead in time.

    Blend weights follow the distortion of the copies.
    """
    x, y, p, inside = pixel_tile(columns, rows, TILE_X, TILE_Y, WIDE)
    size = rows * columns
    first, second = tl.zeros((TILE_X * TILE_Y,), tl.float32), tl.zeros((TILE_X * TILE_Y,), tl.float32)
    for k in tl.static_range(2):
        shift = future if k else past
        dx = tl.load(shift + 2 * p, inside, 0.0) * step
        dy = tl.load(shift + 2 * p + 1, inside, 0.0) * step
        xx, xy, yx, yy = jacobian(shift, x, y, p, inside, rows, columns)
        area = tl.abs(xx * yy - xy * yx)
        w = tl.maximum(tl.minimum(area, 1.0 / tl.maximum(area, 1.0)), MIN_WEIGHT)
        if k:
            second = (1.0 - alpha) * w
        else:
            first = alpha * w
        axis_x, axis_y = long_axis(xx, xy, yx, yy, MIN_SQUEEZE)
        tl.store(grid + (2 * k) * size + p, dx, inside)
        tl.store(grid + (2 * k + 1) * size + p, dy, inside)
        tl.store(grid + (5 + 2 * k) * size + p, axis_x, inside)
        tl.store(grid + (6 + 2 * k) * size + p, axis_y, inside)
    # Correctly rounded: where the other copy has no weight this one's is 1, and the blend is this copy to the bit.
    tl.store(grid + 4 * size + p, tl.div_rn(first, first + second), inside)


@triton.jit
def reach(x, y, height, width, ramp, MIN: tl.constexpr):
    """What is left of a copy's weight at (x, y), by how far that lies outside the frame."""
    beyond_x = tl.maximum(tl.maximum(-x, x - (width - 1.0)), 0.0)
    beyond_y = tl.maximum(tl.maximum(-y, y - (height - 1.0)), 0.0)
    return tl.maximum(1.0 - tl.maximum(beyond_x, beyond_y) / ramp, MIN)


@triton.jit
def blend_weights(
    smooth, grid, rows, columns, step, height, width, ramp,
    MIN_WEIGHT: tl.constexpr, TILE_X: tl.constexpr, TILE_Y: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """The grid's blend weights: smoothed (rows, columns), and less of a copy the further it comes from outside."""
    column, row, p, inside = pixel_tile(columns, rows, TILE_X, TILE_Y, WIDE)
    size, x, y = rows * columns, (column * step).to(tl.float32), (row * step).to(tl.float32)
    past_weight = tl.minimum(tl.maximum(tl.load(smooth + p, inside, 0.0), 0.0), 1.0)
    at_x, at_y = x + tl.load(grid + p, inside, 0.0), y + tl.load(grid + size + p, inside, 0.0)
    first = past_weight * reach(at_x, at_y, height, width, ramp, MIN_WEIGHT)
    at_x, at_y = x + tl.load(grid + 2 * size + p, inside, 0.0), y + tl.load(grid + 3 * size + p, inside, 0.0)
    second = (1.0 - past_weight) * reach(at_x, at_y, height, width, ramp, MIN_WEIGHT)
    both = tl.where(inside, first + second, 1.0)
    tl.store(grid + 4 * size + p, tl.div_rn(first, both), inside)


@triton.jit
def cell(x, y, step, rows, columns):
    """Where pixels lie in a grid of every step-th: the four nodes, and how far along x (in pixels) and y (in cells)."""
    i, j = tl.minimum(y // step, rows - 1), x // step
    low, right = tl.minimum(i + 1, rows - 1), tl.minimum(j + 1, columns - 1)
    along = (y - i * step).to(tl.float32) / step
    corners = i * columns + j, i * columns + right, low * columns + j, low * columns + right
    return corners[0], corners[1], corners[2], corners[3], (x - j * step).to(tl.float32), along


@triton.jit
def between(plane, a, b, c, d, across, along, per_pixel, known, STRIDE: tl.constexpr):
    """One number of the grid, interpolated between the nodes a and b above, c and d below."""
    a, b = tl.load(plane + STRIDE * a, known, 0.0), tl.load(plane + STRIDE * b, known, 0.0)
    c, d = tl.load(plane + STRIDE * c, known, 0.0), tl.load(plane + STRIDE * d, known, 0.0)
    left, right = a + along * (c - a), b + along * (d - b)
    return left + across * ((right - left) * per_pixel)


@triton.jit
def fetch_along(
    plate, x, y, axis_x, axis_y, moving, c, height, width, period_y, period_x, MAX: tl.constexpr, WIDE: tl.constexpr
):
    """The mean of fetches along an axis through (x, y): what one pixel sees of a squeezed plate; one where it is 0."""
    count = tl.ceil(tl.sqrt_rn(axis_x * axis_x + axis_y * axis_y))
    count = tl.minimum(tl.maximum(count, 1.0), MAX)
    each, max_count = tl.div_rn(tl.full(count.shape, 1.0, tl.float32), count), tl.max(tl.where(moving, count, 1.0))
    mask = moving[:, None] & (c < 4)[None, :]
    total = tl.zeros(mask.shape, tl.float32)
    k = 0
    while k < max_count:
        s = (k + 0.5) * each - 0.5
        lit = k < count
        sample = bicubic(
            plate, x + s * axis_x, y + s * axis_y, c, mask & lit[:, None], height, width, period_y, period_x,
            4, tl.float32, WIDE,
        )  # fmt: skip
        total += tl.where(lit[:, None], sample * each[:, None], 0.0)
        k += 1
    return total


@triton.jit
def sqrt_luminance(picture, luma):
    """The square root of luminance, 0 where that is negative."""
    return tl.sqrt_rn(tl.maximum(tl.sum(picture * luma[None, :], 1), 0.0))


@triton.jit
def blend(
    plate, grid, mask, luma, copy, tone, past_tone, future_tone, height, width, rows, columns, step,
    period_y, period_x, MAX: tl.constexpr, TILE_X: tl.constexpr, TILE_Y: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """copy (H, W, 4): the two warped copies blended where the mask is above 0, and the tones of all three."""
    x, y, p, inside = pixel_tile(width, height, TILE_X, TILE_Y, WIDE)
    moving = inside & (tl.load(mask + p, inside, 0.0) > 0)
    if tl.max(moving.to(tl.int32)) > 0:
        c = tl.arange(0, 4)
        brightness = tl.load(luma + c)
        size, per_pixel = rows * columns, 1.0 / step
        n0, n1, n2, n3, across, along = cell(x, y, step, rows, columns)
        # An axis and its opposite mean the same, so axes are not interpolated: the nearest node's serves.
        nearest = tl.minimum((y + step // 2) // step, rows - 1) * columns
        nearest += tl.where(2 * across < step, x // step, tl.minimum(x // step + 1, columns - 1))
        past_weight = between(grid + 4 * size, n0, n1, n2, n3, across, along, per_pixel, moving, 1)
        total, tones = tl.zeros((TILE_X * TILE_Y, 4), tl.float32), tl.zeros((TILE_X * TILE_Y,), tl.float32)
        for k in tl.static_range(2):
            at_x = x.to(tl.float32) + between(grid + 2 * k * size, n0, n1, n2, n3, across, along, per_pixel, moving, 1)
            at_y = y.to(tl.float32) + between(
                grid + (2 * k + 1) * size, n0, n1, n2, n3, across, along, per_pixel, moving, 1
            )
            axis_x = tl.load(grid + (5 + 2 * k) * size + nearest, moving, 0.0)
            axis_y = tl.load(grid + (6 + 2 * k) * size + nearest, moving, 0.0)
            fetched = fetch_along(
                plate, at_x, at_y, axis_x, axis_y, moving, c, height, width, period_y, period_x, MAX, WIDE
            )
            part = 1.0 - past_weight if k else past_weight
            total += fetched * part[:, None]
            own = sqrt_luminance(fetched, brightness)
            tl.store((future_tone if k else past_tone) + p, own, moving)
            tones = tl.where(part == 1.0, own, tones)
        # A blend that is one copy alone has that copy's tone to the bit, whichever way the compiler adds up.
        single = (past_weight == 1.0) | (past_weight == 0.0)
        tl.store(tone + p, tl.where(single, tones, sqrt_luminance(total, brightness)), moving)
        tl.store(copy + (4 * p)[:, None] + c[None, :], total, moving[:, None] & (c < 4)[None, :])


@triton.jit
def expand(
    grid, out, height, width, rows, columns, step, factor, CHANNELS: tl.constexpr,
    TILE_X: tl.constexpr, TILE_Y: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """out (H, W, CHANNELS): a grid (rows, columns, CHANNELS) interpolated to every pixel, times `factor`."""
    x, y, p, inside = pixel_tile(width, height, TILE_X, TILE_Y, WIDE)
    n0, n1, n2, n3, across, along = cell(x, y, step, rows, columns)
    for k in tl.static_range(CHANNELS):
        value = between(grid + k, n0, n1, n2, n3, across, along, 1.0 / step, inside, CHANNELS)
        tl.store(out + CHANNELS * p + k, value * factor, inside)


@triton.jit
def gather_both(
    values, ahead, back, pieces, offsets, entries, mask, luma, copy, weights, tone, alpha, height, width,
    STRETCHED: tl.constexpr, NONE: tl.constexpr, SORTED: tl.constexpr,
    TILE_X: tl.constexpr, TILE_Y: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """copy (H, W, 4): the symmetric splat, divided by its `weights` (H, W), 0 in its holes; its tone where it moves.

    Bins and `pieces` hold the splat `ahead` in time, which counts `alpha`, then the one `back`, which counts the
    rest. Both are gathered into the same registers: neither one's sums reach memory.
    """
    x, y, t, inside = pixel_tile(width, height, TILE_X, TILE_Y, WIDE)
    c = tl.arange(0, 4)
    total, weight_sum = tl.zeros((TILE_X * TILE_Y, 4), tl.float32), tl.zeros((TILE_X * TILE_Y,), tl.float32)
    for k in tl.static_range(2):
        importance = 1.0 - alpha if k else alpha
        if importance > 0:
            total, weight_sum = gather_cells(
                total, weight_sum, values, back if k else ahead, values, pieces + k * height * width,
                offsets + k * (height + 1) * (width + 1), entries, x, y, t, inside, c, importance, width, height,
                4, False, STRETCHED, tl.float32, NONE, SORTED,
            )  # fmt: skip
    found = weight_sum > 0
    total = tl.where(found[:, None], total / tl.where(found, weight_sum, 1.0)[:, None], 0.0)
    tl.store(copy + (4 * t)[:, None] + c[None, :], total, inside[:, None] & (c < 4)[None, :])
    tl.store(weights + t, weight_sum, inside)
    moving = inside & (tl.load(mask + t, inside, 0.0) > 0)
    tl.store(tone + t, sqrt_luminance(total, tl.load(luma + c)), moving)


@triton.jit
def between_blocks(grid, x, y, known, rows, columns, SIZE: tl.constexpr):
    """A grid of blocks of SIZE x SIZE pixels, interpolated between their centres."""
    v = (y.to(tl.float32) - 0.5 * (SIZE - 1)) / SIZE
    v = tl.minimum(tl.maximum(v, 0.0), rows - 1.0)
    u = (x.to(tl.float32) - 0.5 * (SIZE - 1)) / SIZE
    u = tl.minimum(tl.maximum(u, 0.0), columns - 1.0)
    i, j = v.to(tl.int32), u.to(tl.int32)
    low, right = tl.minimum(i + 1, rows - 1), tl.minimum(j + 1, columns - 1)
    a, b = tl.load(grid + i * columns + j, known, 0.0), tl.load(grid + i * columns + right, known, 0.0)
    c, d = tl.load(grid + low * columns + j, known, 0.0), tl.load(grid + low * columns + right, known, 0.0)
    v, u = v - i, u - j
    left, right_value = a + v * (c - a), b + v * (d - b)
    return left + u * (right_value - left)


@triton.jit
def composite(
    still, copy, tone, change, lower, mask, colour, out, height, width, stride, margin, patch_rows, patch_columns,
    HAS_CHANGE: tl.constexpr, PATCH: tl.constexpr, MIN: tl.constexpr, MAX: tl.constexpr, HALF: tl.constexpr,
    TILE_X: tl.constexpr, TILE_Y: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """Write the moving pixels into `out` (H, stride, 4), from column `margin` on; the still ones stay as they are.

    `change` less `lower` (by patches) is what is added to the tone; a pixel's colour is scaled by the square of the
    tone's ratio. From a mask of 1 on it is the moved pixel to the bit. Half ends at plus and minus `HALF`.
    """
    x, y, p, inside = pixel_tile(width, height, TILE_X, TILE_Y, WIDE)
    m = tl.load(mask + p, inside, 0.0)
    moving = inside & (m > 0)
    if tl.max(moving.to(tl.int32)) > 0:
        c = tl.arange(0, 4)
        lit = moving[:, None] & (c < 4)[None, :]
        top = tl.load(copy + (4 * p)[:, None] + c[None, :], lit, 0.0)
        if HAS_CHANGE:
            light = tl.load(tone + p, moving, 0.0)
            more = tl.load(change + p, moving, 0.0)
            more -= between_blocks(lower, x, y, moving, patch_rows, patch_columns, PATCH)
            ratio = tl.where(light > 0, 1.0 + tl.div_rn(more, tl.where(light > 0, light, 1.0)), 1.0)
            ratio = tl.minimum(tl.maximum(ratio, MIN), MAX)
            scaled = tl.load(colour + c) > 0
            top = top * tl.where(scaled[None, :], (ratio * ratio)[:, None], 1.0)
        base = tl.load(still + (4 * p)[:, None] + c[None, :], lit, 0.0)
        value = tl.where((m >= 1)[:, None], top, base + m[:, None] * (top - base))
        if out.dtype.element_ty == tl.float16:
            value = tl.where(value > HALF, HALF, value)
            value = tl.where(value < -HALF, -HALF, value)
        row = y.to(tl.int64) if WIDE else y
        place = row * stride + x + margin
        tl.store(out + (4 * place)[:, None] + c[None, :], value.to(out.dtype.element_ty), lit)
