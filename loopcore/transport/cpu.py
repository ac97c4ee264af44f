# SPDX-License-Identifier: Apache-2.0
"""The Numba kernels: integrate, warp and splat on the CPU.

Each kernel works on a band of rows of flat float32 arrays, without the GIL; `loopcore.parallel` spreads the bands over
threads. The functions are tested against those of the same names in `reference`.

Convention: arrays (H, W, C), row 0 at the top; x right, y down; pixel centres at integers;
displacements and velocities are (x, y) in pixels.
"""

import math

import numpy as np

from loopcore.parallel import parallel_rows
from loopcore.transport.jit import kernel
from loopcore.transport.simd import LANES, cubic_fetch4, mirrored_fetch4, splat_pair4, trace_step

_F = np.float32

# Integration: error allowed in one step, in pixels, and the shortest step tried, in frames.
STEP_TOLERANCE = 3e-3
MIN_STEP = 1.0 / 16.0
# Splat: a pixel is subdivided where the field stretches it beyond 1.5 and up to this many times;
# beyond that the field is considered torn, and the hole stays.
MAX_SUBDIVISION = 8


@kernel
def _integrate_rows(velocity, height, width, steps, out, first, last):
    span = abs(steps)
    direction = _F(1) if steps >= 0 else _F(-1)
    origin, place, moved = np.zeros(2 * LANES, _F), np.zeros(2 * LANES, _F), np.zeros(2 * LANES, _F)
    slope, step, next_slope = np.zeros(2 * LANES, _F), np.zeros(2 * LANES, _F), np.zeros(2 * LANES, _F)
    for y in range(first, last):
        # The step length carries over from block to block and is reset in each row, so that results do not depend
        # on where a band begins.
        h = span
        for start in range(0, width, LANES):
            moving = False
            for lane in range(LANES):
                x = min(start + lane, width - 1)
                p = 2 * (y * width + x)
                origin[2 * lane], origin[2 * lane + 1] = x, y
                slope[2 * lane], slope[2 * lane + 1] = velocity[p], velocity[p + 1]
                moving = moving or velocity[p] != 0 or velocity[p + 1] != 0
            moved[:] = 0
            place[:] = origin
            left = span
            while moving and left > 0:
                now = min(h, left)
                error = trace_step(velocity, height, width, place, slope, direction * now, step, next_slope)
                if error <= _F(STEP_TOLERANCE) or now <= _F(MIN_STEP):
                    for k in range(2 * LANES):
                        moved[k] += step[k]
                        place[k] = origin[k] + moved[k]
                        slope[k] = next_slope[k]
                    left -= now
                # The error grows as the cube of the step. A last step, cut to `left`, may only shorten h.
                growth = _F(0.9) * (_F(STEP_TOLERANCE) / max(error, _F(1e-9))) ** _F(1 / 3)
                wanted = now * min(max(growth, _F(0.2)), _F(4))
                if now == h or wanted < h:
                    h = max(wanted, _F(MIN_STEP))
            for lane in range(min(LANES, width - start)):
                p = 2 * (y * width + start + lane)
                out[p], out[p + 1] = moved[2 * lane], moved[2 * lane + 1]


def integrate(velocity: np.ndarray, steps: float) -> np.ndarray:
    """Displacement (H, W, 2) after `steps` frames (negative: backward) of a velocity (H, W, 2)."""
    height, width = velocity.shape[:2]
    if height < 2 or width < 2:
        # The kernel loads cells of 2 x 2: a single row or column is doubled, and the result cropped.
        doubled = np.pad(velocity, ((0, height < 2), (0, width < 2), (0, 0)), mode="edge")
        return np.ascontiguousarray(integrate(doubled, steps)[:height, :width])
    out = np.zeros((height, width, 2), np.float32)
    flat, target, span = velocity.reshape(-1), out.reshape(-1), _F(steps)
    if span != 0:
        parallel_rows(height, lambda a, b: _integrate_rows(flat, height, width, span, target, a, b))
    return out


@kernel(inline="always")
def cubic_weights(t):
    """Keys 1981, a = -1/2 (Catmull-Rom), at t in [0, 1) past the second of four samples."""
    s = _F(1) - t
    return (
        _F(-0.5) * t * s * s,
        _F(1) + t * t * (_F(1.5) * t - _F(2.5)),
        _F(1) + s * s * (_F(1.5) * s - _F(2.5)),
        _F(-0.5) * s * t * t,
    )


@kernel(inline="always")
def reflect(i, size):
    """Index in the frame of pixel i of its periodic mirroring about the border pixels."""
    if size == 1:
        return 0
    period = 2 * (size - 1)
    i = abs(i)
    if i >= period:  # Few are, and a division takes longer than all else.
        i %= period
    return min(i, period - i)


@kernel(inline="always")
def split(x):
    """Whole and fractional part of a coordinate; NaN and magnitudes from 1e9 on count as 0."""
    if not abs(x) < _F(1e9):
        x = _F(0)
    whole = np.floor(x)
    return np.int64(whole), x - whole


@kernel
def gather_patch(values, height, width, channels, ix, iy, patch):
    """The 4 x 4 footprint from (ix - 1, iy - 1), mirrored at the border."""
    n = 0
    for j in range(-1, 3):
        line = reflect(iy + j, height) * width
        for i in range(-1, 3):
            source = (line + reflect(ix + i, width)) * channels
            for c in range(channels):
                patch[n] = values[source + c]
                n += 1


@kernel
def fetch4_at_border(values, height, width, x, y, out, position):
    """Do what `cubic_fetch4` does where the footprint crosses the border; the picture is mirrored there."""
    ix, tx = split(x)
    iy, ty = split(y)
    columns = (reflect(ix - 1, width), reflect(ix, width), reflect(ix + 1, width), reflect(ix + 2, width))
    rows = (reflect(iy - 1, height), reflect(iy, height), reflect(iy + 1, height), reflect(iy + 2, height))
    # Rounded as a place past the first of the four is.
    below_two = _F(1.9999999)
    tx, ty = min(_F(1) + tx, below_two) - _F(1), min(_F(1) + ty, below_two) - _F(1)
    mirrored_fetch4(values, width, columns, rows, tx, ty, out, position)


@kernel
def _warp4_rows(values, height, width, displacement, out_width, out, first, last):
    for y in range(first, last):
        for x in range(out_width):
            p = y * out_width + x
            sx, sy = _F(x) + displacement[2 * p], _F(y) + displacement[2 * p + 1]
            if not cubic_fetch4(values, height, width, sx, sy, out, 4 * p):
                fetch4_at_border(values, height, width, sx, sy, out, 4 * p)


@kernel
def _warp_rows(values, height, width, channels, displacement, out_width, out, first, last):
    patch = np.empty(16 * channels, np.float32)
    wx, wy = np.empty(4, np.float32), np.empty(4, np.float32)
    for y in range(first, last):
        for x in range(out_width):
            p = y * out_width + x
            ix, tx = split(_F(x) + displacement[2 * p])
            iy, ty = split(_F(y) + displacement[2 * p + 1])
            wx[0], wx[1], wx[2], wx[3] = cubic_weights(tx)
            wy[0], wy[1], wy[2], wy[3] = cubic_weights(ty)
            gather_patch(values, height, width, channels, ix, iy, patch)
            for c in range(channels):
                total, low, high = _F(0), patch[c], patch[c]
                for j in range(4):
                    line = _F(0)
                    for i in range(4):
                        value = patch[(4 * j + i) * channels + c]
                        line += wx[i] * value
                        low, high = min(low, value), max(high, value)
                    total += wy[j] * line
                out[p * channels + c] = min(max(total, low), high)


def warp(values: np.ndarray, displacement: np.ndarray) -> np.ndarray:
    """values (H, W, C) sampled at each pixel of displacement (h, w, 2) plus its displacement: (h, w, C)."""
    height, width, channels = values.shape
    rows, columns = displacement.shape[:2]
    out = np.empty((rows, columns, channels), np.float32)
    source, shift, target = values.reshape(-1), displacement.reshape(-1), out.reshape(-1)
    if channels == 4:
        parallel_rows(rows, lambda a, b: _warp4_rows(source, height, width, shift, columns, target, a, b))
    else:
        parallel_rows(rows, lambda a, b: _warp_rows(source, height, width, channels, shift, columns, target, a, b))
    return out


@kernel
def _landing_rows(displacement, height, width, low, high, first, last):
    """Per source row, the lowest and highest target row that its samples can touch."""
    for y in range(first, last):
        lowest, highest = _F(np.inf), _F(-np.inf)
        for x in range(width):
            v = displacement[2 * (y * width + x) + 1]
            if abs(v) < _F(1e9):
                lowest, highest = min(lowest, v), max(highest, v)
        low[y], high[y] = y + lowest, y + highest


@kernel(inline="always")
def _side(displacement, p, q):
    """Displacement of q relative to that of p."""
    return displacement[2 * q] - displacement[2 * p], displacement[2 * q + 1] - displacement[2 * p + 1]


@kernel(inline="always")
def _square(u, v):
    """Squared length; 0 for NaN, so that neighbours without a valid displacement are ignored."""
    square = u * u + v * v
    return square if square == square else _F(0)


@kernel(inline="always")
def _pieces(longest):
    """Number of pieces along one axis, from the square of the longer side: that side less a half, rounded up."""
    if not (longest > _F(2.25)) or longest > _F(MAX_SUBDIVISION * MAX_SUBDIVISION):
        return 1
    return int(math.ceil(math.sqrt(longest) - _F(0.5)))


@kernel(inline="always")
def _deposit(values, source, channels, weight, x, y, height, width, sums, weights, first, last):
    """Add one sample to the four pixels around (x, y), those of rows first..last-1 only."""
    if not (x > -1 and y > -1 and x < width and y < height):
        return
    fx, fy = np.floor(x), np.floor(y)
    ix, iy = np.int64(fx), np.int64(fy)
    tx, ty = x - fx, y - fy
    for j in range(2):
        row = iy + j
        if row < first or row >= last:
            continue
        across = (ty if j else _F(1) - ty) * weight
        left, right = across * (_F(1) - tx), across * tx
        p = row * width + ix
        # The arithmetic is the same on both sides of a band's edge, so that sums do not depend on the bands.
        if channels == 4 and ix >= 0 and ix + 1 < width:
            splat_pair4(sums, weights, p, values, source, left, right)
            continue
        for i in range(2):
            w = right if i else left
            if 0 <= ix + i < width and w != 0:
                for c in range(channels):
                    sums[(p + i) * channels + c] += w * values[source + c]
                weights[p + i] += w


@kernel
def _splat_pieces(
    values, displacement, p, left, right, above, below, nx, ny, piece_weight, tx, ty, channels, sample,
    height, width, sums, weights, first, last,
):  # fmt: skip
    """Deposit a stretched pixel in nx * ny pieces, interpolated towards its neighbours."""
    for j in range(ny):
        sy = (_F(j) + _F(0.5)) / _F(ny) - _F(0.5)
        q = below if sy > 0 else above if sy < 0 else p
        ay = abs(sy) if q != p else _F(0)
        for i in range(nx):
            sx = (_F(i) + _F(0.5)) / _F(nx) - _F(0.5)
            r = right if sx > 0 else left if sx < 0 else p
            ax = abs(sx) if r != p else _F(0)
            au, av = _side(displacement, p, r)
            bu, bv = _side(displacement, p, q)
            x, y = tx + sx + ax * au + ay * bu, ty + sy + ax * av + ay * bv
            for c in range(channels):
                here = values[p * channels + c]
                across = ax * (values[r * channels + c] - here)
                sample[c] = here + across + ay * (values[q * channels + c] - here)
            _deposit(sample, 0, channels, piece_weight, x, y, height, width, sums, weights, first, last)


@kernel
def _splat_rows(values, height, width, channels, displacement, weight, low, high, sums, weights, first, last):
    sample = np.empty(channels, np.float32)
    for y in range(height):
        # A subdivided pixel reaches half its span beyond where its centre lands.
        if not (high[y] + MAX_SUBDIVISION >= first and low[y] - MAX_SUBDIVISION <= last):
            continue
        # A pixel's left side is its left neighbour's right side.
        left_side = _F(0)
        for x in range(width):
            p = y * width + x
            right_side = _F(0)
            if x + 1 < width:
                du, dv = _side(displacement, p, p + 1)
                right_side = _square(_F(1) + du, dv)
            longest_x, left_side = max(left_side, right_side), right_side
            w = weight[p] if weight.size else _F(1)
            tx, ty = _F(x) + displacement[2 * p], _F(y) + displacement[2 * p + 1]
            if w == 0 or not (ty > first - MAX_SUBDIVISION and ty < last + MAX_SUBDIVISION):
                continue
            longest_y = _F(0)
            if y > 0:
                du, dv = _side(displacement, p - width, p)
                longest_y = _square(du, _F(1) + dv)
            if y + 1 < height:
                du, dv = _side(displacement, p, p + width)
                longest_y = max(longest_y, _square(du, _F(1) + dv))
            nx, ny = _pieces(longest_x), _pieces(longest_y)
            if nx == 1 and ny == 1:
                _deposit(values, p * channels, channels, w, tx, ty, height, width, sums, weights, first, last)
                continue
            _splat_pieces(
                values, displacement, p, p - (x > 0), p + (x + 1 < width), p - width * (y > 0),
                p + width * (y + 1 < height), nx, ny, w / _F(nx * ny), tx, ty, channels, sample,
                height, width, sums, weights, first, last,
            )  # fmt: skip


def splat(
    values: np.ndarray,
    displacement: np.ndarray,
    weight: np.ndarray | None = None,
    into: tuple[np.ndarray, np.ndarray] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Weighted sums (H, W, C) and weights (H, W) of values (H, W, C) deposited where they land.

    With `into`, sums and weights are added to those arrays.
    """
    height, width, channels = values.shape
    if into is None:
        into = np.zeros((height, width, channels), np.float32), np.zeros((height, width), np.float32)
    sums, weights = into[0].reshape(-1), into[1].reshape(-1)
    source, shift = values.reshape(-1), displacement.reshape(-1)
    source_weight = np.empty(0, np.float32) if weight is None else weight.reshape(-1)
    low, high = np.empty(height, np.float32), np.empty(height, np.float32)
    parallel_rows(height, lambda a, b: _landing_rows(shift, height, width, low, high, a, b))
    parallel_rows(
        height,
        lambda a, b: _splat_rows(source, height, width, channels, shift, source_weight, low, high, sums, weights, a, b),
        min_rows=64,
    )
    return into


@kernel
def all_finite(values) -> bool:
    """Whether a float32 array holds neither NaN nor Inf, without a temporary."""
    for value in values.flat:
        if not abs(value) < _F(np.inf):
            return False
    return True
