# SPDX-License-Identifier: Apache-2.0
"""The kernels of the loop: displacement grid, blend of the two transported copies, composite over the still.

The displacement is traced on a grid of every s-th pixel and interpolated between its nodes; node (i, j) lies at pixel
(s j, s i). A node carries, for the copy carried forward and for the one carried backward, where it is fetched from, as
a displacement in pixels, then the blend weight of the first, then for each the long axis of what one pixel of the
frame covers in the plate, where that is more than a pixel or so, else 0.

Convention: as in `transport.cpu`; kernels work on bands of rows of flat float32 arrays.
"""

import math

import numpy as np

from loopcore.loop.smooth import box_filter
from loopcore.parallel import parallel_rows
from loopcore.transport.cpu import fetch4_at_border
from loopcore.transport.jit import kernel
from loopcore.transport.pixels import composite4, mix4
from loopcore.transport.simd import cubic_fetch4, store_half4

_F = np.float32

NODE = 9
# Over this many pixels beyond the frame a copy's weight falls to nothing, as a fraction of the frame's longer side.
BORDER_RAMP = 1 / 64
# What is left of the weight of a copy that is torn or comes from far outside: it still fills where the other has none.
MIN_WEIGHT = 1e-4
# Blend weights are smoothed over this fraction of the frame's longer side: where both copies are torn or squeezed,
# the weights are noise, and rows of the one would alternate with rows of the other.
SMOOTHING = 1 / 128
# Amplification of detail must not turn it inside out: the new value is at least this fraction of the old.
MIN_RATIO = 0.25
MAX_RATIO = 2.0
# Where the motion squeezes the plate by more than this, a pixel is the mean of fetches along the squeeze, at most so
# many.
MIN_SQUEEZE = 1.25
MAX_FETCHES = 16
# A tile of the frame is so many cells of the grid wide.
TILE_CELLS = 96


@kernel
def _tent_rows(field, height, width, channels, step, rows, columns, out, first, last):
    for i in range(first, last):
        for j in range(columns):
            for c in range(channels):
                total, weights = _F(0), _F(0)
                for dy in range(-step + 1, step):
                    y = min(max(step * i + dy, 0), height - 1)
                    for dx in range(-step + 1, step):
                        x = min(max(step * j + dx, 0), width - 1)
                        w = _F((step - abs(dy)) * (step - abs(dx)))
                        total += w * field[(y * width + x) * channels + c]
                        weights += w
                out[(i * columns + j) * channels + c] = total / weights


def to_grid(field: np.ndarray, step: int) -> np.ndarray:
    """field (H, W, C) averaged around every step-th pixel, with a tent as wide as two cells."""
    height, width, channels = field.shape
    if step == 1:
        return np.ascontiguousarray(field, np.float32)
    rows, columns = -(-(height - 1) // step) + 1, -(-(width - 1) // step) + 1
    out = np.empty((rows, columns, channels), np.float32)
    flat, target = np.ascontiguousarray(field, np.float32).reshape(-1), out.reshape(-1)
    parallel_rows(rows, lambda a, b: _tent_rows(flat, height, width, channels, step, rows, columns, target, a, b))
    return out


@kernel
def jacobian(displacement, rows, columns, i, j):
    """I + dB/dy by central differences: xx, xy, yx, yy, where xy is how x changes along y."""
    left, right = max(j - 1, 0), min(j + 1, columns - 1)
    above, below = max(i - 1, 0), min(i + 1, rows - 1)
    across, along = _F(max(right - left, 1)), _F(max(below - above, 1))
    p, q = 2 * (i * columns + right), 2 * (i * columns + left)
    xx, yx = (displacement[p] - displacement[q]) / across, (displacement[p + 1] - displacement[q + 1]) / across
    p, q = 2 * (below * columns + j), 2 * (above * columns + j)
    xy, yy = (displacement[p] - displacement[q]) / along, (displacement[p + 1] - displacement[q + 1]) / along
    return _F(1) + xx, xy, yx, _F(1) + yy


@kernel
def long_axis(xx, xy, yx, yy):
    """The longest vector that the Jacobian makes of a unit one (its first singular vector, scaled); 0 if hardly over 1.

    The eigenvector of J J^T = [[a, b], [b, d]] for its larger eigenvalue lies at half the angle of (a - d, 2 b).
    """
    a, b, d = xx * xx + xy * xy, xx * yx + xy * yy, yx * yx + yy * yy
    spread = math.sqrt((a - d) * (a - d) + _F(4) * b * b)
    square = _F(0.5) * (a + d + spread)
    if not square > _F(MIN_SQUEEZE * MIN_SQUEEZE):
        return _F(0), _F(0)
    angle = _F(0.5) * math.atan2(_F(2) * b, a - d)
    length = math.sqrt(square)
    return length * math.cos(angle), length * math.sin(angle)


@kernel
def beyond(x, y, height, width):
    """How far (x, y) lies outside the frame, in pixels."""
    dx = max(max(-x, x - _F(width - 1)), _F(0))
    dy = max(max(-y, y - _F(height - 1)), _F(0))
    return max(dx, dy)


@kernel
def _node_rows(past, future, rows, columns, step, alpha, nodes, first, last):
    scale = _F(step)
    for i in range(first, last):
        for j in range(columns):
            p = i * columns + j
            n = NODE * p
            weights = (_F(0), _F(0))
            for k in range(2):
                shift = past if k == 0 else future
                dx, dy = shift[2 * p] * scale, shift[2 * p + 1] * scale
                xx, xy, yx, yy = jacobian(shift, rows, columns, i, j)
                # The weight that a splat would gather here, at most 1; less where the plate is squeezed, so that the
                # copy that is less distorted shows.
                area = abs(xx * yy - xy * yx)
                w = max(min(area, _F(1) / max(area, _F(1))), _F(MIN_WEIGHT))
                weights = (alpha * w, weights[1]) if k == 0 else (weights[0], (_F(1) - alpha) * w)
                nodes[n + 2 * k], nodes[n + 2 * k + 1] = dx, dy
                nodes[n + 5 + 2 * k], nodes[n + 6 + 2 * k] = long_axis(xx, xy, yx, yy)
            nodes[n + 4] = weights[0] / (weights[0] + weights[1])


@kernel
def _blend_weight_rows(smooth, columns, step, height, width, ramp, nodes, first, last):
    """The blend weights: smoothed, and lowered for a copy the further it comes from outside the frame."""
    for p in range(first * columns, last * columns):
        n = NODE * p
        x, y = _F(step * (p % columns)), _F(step * (p // columns))
        a = beyond(x + nodes[n], y + nodes[n + 1], height, width) / ramp
        b = beyond(x + nodes[n + 2], y + nodes[n + 3], height, width) / ramp
        past_weight = min(max(smooth[p], _F(0)), _F(1))
        a = past_weight * max(_F(1) - a, _F(MIN_WEIGHT))
        b = (_F(1) - past_weight) * max(_F(1) - b, _F(MIN_WEIGHT))
        nodes[n + 4] = a / (a + b)


def nodes(past: np.ndarray, future: np.ndarray, step: int, height: int, width: int, alpha: float) -> np.ndarray:
    """The grid's nodes (rows, columns, NODE) for displacements in grid units that lead back and ahead in time."""
    rows, columns = past.shape[:2]
    out = np.empty((rows, columns, NODE), np.float32)
    b, f, target = past.reshape(-1), future.reshape(-1), out.reshape(-1)
    parallel_rows(rows, lambda p, q: _node_rows(b, f, rows, columns, step, _F(alpha), target, p, q))
    past_weight, size = out[..., 4], smoothing(step, height, width)
    for _ in range(2):  # Two boxes make a tent. Weights that are all 1, or all 0, stay so to the bit.
        past_weight = box_filter(past_weight, size)
    smooth, ramp = past_weight.reshape(-1), _F(max(4.0, BORDER_RAMP * max(height, width)))
    parallel_rows(rows, lambda p, q: _blend_weight_rows(smooth, columns, step, height, width, ramp, target, p, q))
    return out


def smoothing(step: int, height: int, width: int) -> int:
    """Over how many nodes, an odd number, a box smooths the blend weights."""
    return 2 * round(max(4.0, SMOOTHING * max(height, width)) / 2 / step) + 1


@kernel
def line_between(grid, rows, columns, channels, step, y, first, last, line):
    """Columns first..last-1 of the grid, interpolated to pixel row y, into the same place of `line`."""
    i = min(y // step, rows - 1)
    below = min(i + 1, rows - 1)
    t = _F(y - i * step) / _F(step)
    # Slices, so that the loop's index is known not to be negative: such indices keep it from being vectorised.
    top = grid[(i * columns + first) * channels : (i * columns + last) * channels]
    low = grid[(below * columns + first) * channels : (below * columns + last) * channels]
    out = line[first * channels : last * channels]
    for k in range(len(out)):
        out[k] = top[k] + t * (low[k] - top[k])


@kernel
def fetch_along(plate, height, width, x, y, ax, ay, out, position):
    """The mean of fetches along the axis (ax, ay) through (x, y): what one pixel sees of a squeezed plate."""
    count = max(1, min(int(math.ceil(math.sqrt(ax * ax + ay * ay))), MAX_FETCHES))
    size = _F(count)
    # Kept in variables: an array made for each pixel takes longer than a fetch.
    a, b, c, d = _F(0), _F(0), _F(0), _F(0)
    for k in range(count):
        s = (_F(k) + _F(0.5)) / size - _F(0.5)
        if not cubic_fetch4(plate, height, width, x + s * ax, y + s * ay, out, position):
            fetch4_at_border(plate, height, width, x + s * ax, y + s * ay, out, position)
        a, b = a + out[position] / size, b + out[position + 1] / size
        c, d = c + out[position + 2] / size, d + out[position + 3] / size
    out[position], out[position + 1], out[position + 2], out[position + 3] = a, b, c, d


@kernel
def _blend_rows(plate, height, width, grid, rows, columns, step, mask, spans, luma, copy, tones, first, last):
    line = np.empty((columns + 1) * NODE, np.float32)
    pair = np.empty(8, np.float32)
    # Rows of a large plate are longer than the cache: tile by tile, the rows that several fetches read stay in it.
    for left in range(0, columns, TILE_CELLS):
        for y in range(first, last):
            start, stop = max(spans[2 * y], left * step), min(spans[2 * y + 1], (left + TILE_CELLS) * step)
            if start < stop:
                _blend_span(
                    plate, height, width, grid, rows, columns, step, mask, luma, copy, tones, y, start, stop, line,
                    pair,
                )  # fmt: skip


@kernel
def _blend_span(plate, height, width, grid, rows, columns, step, mask, luma, copy, tones, y, start, stop, line,
                pair):  # fmt: skip
    size, per_pixel = height * width, _F(1) / _F(step)
    first, last = start // step, (stop - 1) // step + 1
    line_between(grid, rows, columns, NODE, step, y, first, min(last + 1, columns), line)
    if last == columns:
        for c in range(NODE):
            line[columns * NODE + c] = line[(columns - 1) * NODE + c]
    nearest_row = min((y + step // 2) // step, rows - 1) * columns
    for j in range(first, last):
        n, m = j * NODE, (j + 1) * NODE
        px, py, fx, fy, past_weight = line[n], line[n + 1], line[n + 2], line[n + 3], line[n + 4]
        px_step, py_step = (line[m] - px) * per_pixel, (line[m + 1] - py) * per_pixel
        fx_step, fy_step = (line[m + 2] - fx) * per_pixel, (line[m + 3] - fy) * per_pixel
        weight_step = (line[m + 4] - past_weight) * per_pixel
        # An axis and its opposite mean the same, so axes are not interpolated: the nearest node's serves.
        left, right = (nearest_row + j) * NODE + 5, (nearest_row + min(j + 1, columns - 1)) * NODE + 5
        plain = True
        for c in range(4):
            plain = plain and grid[left + c] == 0 and grid[right + c] == 0
        for x in range(max(start, j * step), min(stop, (j + 1) * step)):
            p = y * width + x
            if mask[p] <= 0:
                continue
            k = x - j * step
            t = _F(k)
            x0, y0 = _F(x) + (px + t * px_step), _F(y) + (py + t * py_step)
            x1, y1 = _F(x) + (fx + t * fx_step), _F(y) + (fy + t * fy_step)
            if plain:
                if not cubic_fetch4(plate, height, width, x0, y0, pair, 0):
                    fetch4_at_border(plate, height, width, x0, y0, pair, 0)
                if not cubic_fetch4(plate, height, width, x1, y1, pair, 4):
                    fetch4_at_border(plate, height, width, x1, y1, pair, 4)
            else:
                axis = left if 2 * k < step else right
                fetch_along(plate, height, width, x0, y0, grid[axis], grid[axis + 1], pair, 0)
                fetch_along(plate, height, width, x1, y1, grid[axis + 2], grid[axis + 3], pair, 4)
            mix4(pair, past_weight + t * weight_step, luma, copy, 4 * p, tones, p, size)


def blend(
    plate: np.ndarray,
    grid: np.ndarray,
    step: int,
    mask: np.ndarray,
    spans: np.ndarray,
    luma: np.ndarray,
    copy: np.ndarray,
    tones: np.ndarray,
) -> None:
    """Into `copy` (H, W, 4) and `tones` (3, H, W): the two warped copies blended where the mask is above 0.

    The tones are the square roots of the luminance of the blend, the copy from the past and the one from the
    future; `spans` (H, 2) holds the first moving pixel of each row and one past the last.
    """
    height, width = mask.shape
    rows, columns = grid.shape[:2]
    flat = [a.reshape(-1) for a in (plate, grid, mask, spans, copy, tones)]
    parallel_rows(
        height,
        lambda a, b: _blend_rows(
            flat[0], height, width, flat[1], rows, columns, step, flat[2], flat[3], luma, flat[4], flat[5], a, b
        ),
    )


@kernel
def _sqrt_luminance_rows(picture, width, luma, tone, first, last):
    for p in range(first * width, last * width):
        light = _F(0)
        for c in range(4):
            light += luma[c] * picture[4 * p + c]
        tone[p] = math.sqrt(max(light, _F(0)))


def sqrt_luminance(picture: np.ndarray, luma: np.ndarray) -> np.ndarray:
    """Square root of the luminance of a (H, W, 4) picture: contrast is measured on it."""
    height, width = picture.shape[:2]
    out = np.empty((height, width), np.float32)
    flat, target = picture.reshape(-1), out.reshape(-1)
    parallel_rows(height, lambda a, b: _sqrt_luminance_rows(flat, width, luma, target, a, b))
    return out


@kernel
def _expand_rows(grid, rows, columns, channels, step, width, out, first, last):
    line = np.empty(columns * channels, np.float32)
    for y in range(first, last):
        line_between(grid, rows, columns, channels, step, y, 0, columns, line)
        for x in range(width):
            j = min(x // step, columns - 1)
            t = _F(x - j * step) / _F(step)
            n, m = j * channels, min(j + 1, columns - 1) * channels
            for c in range(channels):
                out[(y * width + x) * channels + c] = line[n + c] + t * (line[m + c] - line[n + c])


def expand(grid: np.ndarray, step: int, height: int, width: int) -> np.ndarray:
    """A grid (rows, columns, C) interpolated to every pixel: (H, W, C)."""
    rows, columns, channels = grid.shape
    out = np.empty((height, width, channels), np.float32)
    flat, target = grid.reshape(-1), out.reshape(-1)
    parallel_rows(height, lambda a, b: _expand_rows(flat, rows, columns, channels, step, width, target, a, b))
    return out


@kernel
def _composite_rows(
    still, copy, tone, change, has_change, mask, spans, colour, width, half, out, bits, start, stride, first, last
):
    """Composite over the still, with the detail's change of tone; see `composite`."""
    value = np.empty(4, np.float32)
    for y in range(first, last):
        for x in range(spans[2 * y], spans[2 * y + 1]):
            p = y * width + x
            m = mask[p]
            if m <= 0:
                continue
            ratio = _F(1)
            if has_change and tone[p] > 0:
                ratio = min(max(_F(1) + change[p] / tone[p], _F(MIN_RATIO)), _F(MAX_RATIO))
                ratio *= ratio
            q = start + y * stride + 4 * x
            composite4(still, copy, 4 * p, m, ratio, colour, value)
            if half:
                store_half4(value, 0, bits, q)
            else:
                for c in range(4):
                    out[q + c] = value[c]


def composite(
    still: np.ndarray,
    copy: np.ndarray,
    tone: np.ndarray,
    change: np.ndarray | None,
    mask: np.ndarray,
    spans: np.ndarray,
    colour: np.ndarray,
    out: np.ndarray,
    corner: tuple[int, int] = (0, 0),
) -> None:
    """Write the moving pixels into `out`, float32 or float16 (clamped to its range); the still ones are left alone.

    `out` is (H, W, 4) or larger, with the others' first pixel at its row and column `corner`.

    `change` (H, W) is what contrast keeping adds to the tone: a pixel's colour is scaled by the square of the tone's
    ratio, which keeps hue and sign. `mask` above 0 is how much of the moved picture shows.
    """
    height, width = mask.shape
    stride = 4 * out.shape[1]
    start = corner[0] * stride + 4 * corner[1]
    half = out.dtype == np.float16
    bits = out.view(np.uint16).reshape(-1) if half else np.empty(0, np.uint16)
    whole = np.empty(0, np.float32) if half else out.reshape(-1)
    has_change = change is not None
    delta = np.empty(0, np.float32) if change is None else change.reshape(-1)
    flat = [a.reshape(-1) for a in (still, copy, tone, mask, spans)]
    parallel_rows(
        height,
        lambda a, b: _composite_rows(
            flat[0],
            flat[1],
            flat[2],
            delta,
            has_change,
            flat[3],
            flat[4],
            colour,
            width,
            half,
            whole,
            bits,
            start,
            stride,
            a,
            b,
        ),
    )
