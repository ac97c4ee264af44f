# SPDX-License-Identifier: Apache-2.0
"""The Triton kernel that traces paths through a velocity field, each in registers from start to end.

Convention: as in `cpu`.
"""

import triton
import triton.language as tl

from loopcore.transport.gpu.kernels.common import pixel_tile


@triton.jit
def _velocity_at(velocity, x, y, height, width, WIDE: tl.constexpr):
    """Bilinear lookup, clamped to the frame."""
    x = tl.minimum(tl.maximum(x, 0.0), width - 1.0)
    y = tl.minimum(tl.maximum(y, 0.0), height - 1.0)
    left, top = x.to(tl.int32), y.to(tl.int32)
    right, low = tl.minimum(left + 1, width - 1), tl.minimum(top + 1, height - 1)
    tx, ty = (x - left)[:, None], (y - top)[:, None]
    if WIDE:
        top, low = top.to(tl.int64), low.to(tl.int64)
    pair = tl.arange(0, 2)[None, :]
    a = tl.load(velocity + (2 * (top * width + left))[:, None] + pair).to(tx.dtype)
    b = tl.load(velocity + (2 * (top * width + right))[:, None] + pair).to(tx.dtype)
    c = tl.load(velocity + (2 * (low * width + left))[:, None] + pair).to(tx.dtype)
    d = tl.load(velocity + (2 * (low * width + right))[:, None] + pair).to(tx.dtype)
    west, east = a + ty * (c - a), b + ty * (d - b)
    return tl.split(west + tx * (east - west))


@triton.jit
def trace(
    velocity, out, height, width, span, direction,
    TOLERANCE: tl.constexpr, MIN_STEP: tl.constexpr, FIRST: tl.constexpr,
    COMPUTE: tl.constexpr, TILE_X: tl.constexpr, TILE_Y: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """out (H, W, 2): displacements after `span` frames of the velocity times `direction` (1 or -1).

    Bogacki & Shampine 1989, RK3(2) with first same as last; each path adapts its own step.
    """
    column, row, p, inside = pixel_tile(width, height, TILE_X, TILE_Y, WIDE)
    x, y = column.to(COMPUTE), row.to(COMPUTE)
    u1 = tl.load(velocity + 2 * p, inside, 0.0).to(COMPUTE) * direction
    v1 = tl.load(velocity + 2 * p + 1, inside, 0.0).to(COMPUTE) * direction
    moved_x, moved_y = tl.zeros_like(x), tl.zeros_like(x)
    left = tl.where((u1 != 0) | (v1 != 0), tl.zeros_like(x) + span, 0.0)
    h = tl.minimum(left, FIRST)
    while tl.max(left) > 0:
        now = tl.minimum(h, left)
        at_x, at_y = x + moved_x, y + moved_y
        u2, v2 = _velocity_at(velocity, at_x + now * (u1 / 2), at_y + now * (v1 / 2), height, width, WIDE)
        u2, v2 = u2 * direction, v2 * direction
        u3, v3 = _velocity_at(velocity, at_x + now * (0.75 * u2), at_y + now * (0.75 * v2), height, width, WIDE)
        u3, v3 = u3 * direction, v3 * direction
        step_x = now * ((2 / 9) * u1 + (1 / 3) * u2 + (4 / 9) * u3)
        step_y = now * ((2 / 9) * v1 + (1 / 3) * v2 + (4 / 9) * v3)
        u4, v4 = _velocity_at(velocity, at_x + step_x, at_y + step_y, height, width, WIDE)
        u4, v4 = u4 * direction, v4 * direction
        error_x = (-5 / 72) * u1 + (1 / 12) * u2 + (1 / 9) * u3 - (1 / 8) * u4
        error_y = (-5 / 72) * v1 + (1 / 12) * v2 + (1 / 9) * v3 - (1 / 8) * v4
        error = tl.maximum(tl.abs(error_x), tl.abs(error_y)) * now
        good = (error <= TOLERANCE) | (now <= MIN_STEP)
        moved_x, moved_y = tl.where(good, moved_x + step_x, moved_x), tl.where(good, moved_y + step_y, moved_y)
        u1, v1 = tl.where(good, u4, u1), tl.where(good, v4, v1)
        left = tl.where(good, left - now, left)
        # The error grows as the cube of the step. A last step, cut to `left`, may only shorten h.
        growth = 0.9 * tl.exp2(tl.log2(TOLERANCE / tl.maximum(error, 1e-9)) / 3)
        wanted = now * tl.minimum(tl.maximum(growth, 0.2), 4.0)
        h = tl.where((now == h) | (wanted < h), tl.maximum(wanted, MIN_STEP), h)
    tl.store(out + 2 * p, moved_x, inside)
    tl.store(out + 2 * p + 1, moved_y, inside)
