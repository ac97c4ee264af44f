# SPDX-License-Identifier: Apache-2.0
"""The kernels of a loop of several cycles: a weighted mean of any number of transported copies, with steady looks.

On the grid of `blend`, a node carries for each copy where it is fetched from, as a displacement in pixels, its
weight, and the long axis of what one pixel of the frame covers in the plate; and, last, by how much the tone of each
channel is shifted.

Convention: as in `transport.cpu`; kernels work on bands of rows of flat float32 arrays.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from loopcore.loop.blend import (
    BORDER_RAMP,
    MIN_RATIO,
    MIN_WEIGHT,
    TILE_CELLS,
    beyond,
    fetch_along,
    jacobian,
    line_between,
    long_axis,
    smoothing,
    to_grid,
)
from loopcore.loop.plate_contrast import COPY, SHIFT
from loopcore.loop.smooth import box_filter
from loopcore.parallel import parallel_rows
from loopcore.transport.cpu import fetch4_at_border
from loopcore.transport.jit import kernel
from loopcore.transport.pixels import add4, shift_dark4
from loopcore.transport.simd import cubic_fetch4

if TYPE_CHECKING:
    from loopcore.loop.paths import Paths

_F = np.float32

# Weights are lowered by this, so that copies which hardly count need not be fetched.
NEGLIGIBLE = 1 / 128
# Below this mask at a node, the mask where content comes from does not matter.
MIN_MASK = 0.05


def mask_grid(paths: Paths) -> np.ndarray:
    """The mask at the nodes of the grid: (rows, columns)."""
    return to_grid(paths.mask[..., None], paths.step)[..., 0]


@kernel
def _lookup(field, rows, columns, channels, c, y, x):
    """Channel c of the field at node position (x, y), bilinear; beyond its border, the border's."""
    y, x = min(max(y, _F(0)), _F(rows - 1)), min(max(x, _F(0)), _F(columns - 1))
    i, j = int(y), int(x)
    v, u = y - _F(i), x - _F(j)
    below, right = min(i + 1, rows - 1), min(j + 1, columns - 1)
    a, b = field[(i * columns + j) * channels + c], field[(i * columns + right) * channels + c]
    d, e = field[(below * columns + j) * channels + c], field[(below * columns + right) * channels + c]
    top, bottom = a + u * (b - a), d + u * (e - d)
    return top + v * (bottom - top)


@kernel
def _quality(shift, mask, looks, rows, columns, i, j):
    """How well a copy fits, 0..1: less where squeezed, stretched or sheared, or fetched from what does not move or
    looks different.

    With the singular values s1 >= s2 of the Jacobian J, the area |det J| = s1 s2 counts as in a splat, and
    2 |det J| / ||J||^2 = 2 s1 s2 / (s1^2 + s2^2) is 1 for rotations and falls as detail turns into lines. Looks that
    differ by d count exp(-(s d)^2 / 2), with d and s as `steady.looks` has them.
    """
    xx, xy, yx, yy = jacobian(shift, rows, columns, i, j)
    area = max(xx * yy - xy * yx, _F(0))
    squares = xx * xx + xy * xy + yx * yx + yy * yy
    fit = min(area, _F(1) / max(area, _F(1))) * _F(2) * area / max(squares, _F(1e-6))
    p = i * columns + j
    y, x = _F(i) + shift[2 * p + 1], _F(j) + shift[2 * p]
    moved = min((_lookup(mask, rows, columns, 1, 0, y, x) + _F(MIN_MASK)) / (mask[p] + _F(MIN_MASK)), _F(1))
    change = looks[2 * p + 1] * (_lookup(looks, rows, columns, 2, 0, y, x) - looks[2 * p])
    return min(fit, _F(1)) * moved * moved * math.exp(_F(-0.5) * change * change)


@kernel
def _quality_rows(shift, mask, looks, rows, columns, out, first, last):
    for i in range(first, last):
        for j in range(columns):
            out[i * columns + j] = _quality(shift, mask, looks, rows, columns, i, j)


def quality(shift: np.ndarray, mask: np.ndarray, looks: np.ndarray) -> np.ndarray:
    """(rows, columns): how well a copy displaced by `shift` (in cells) fits, 0..1; looks: of `steady.looks`."""
    rows, columns = mask.shape
    out = np.empty((rows, columns), np.float32)
    flat = [a.reshape(-1) for a in (shift, mask, looks, out)]
    parallel_rows(rows, lambda a, b: _quality_rows(*flat[:3], rows, columns, flat[3], a, b))
    return out


@kernel
def _node_rows(shift, mask, looks, rows, columns, step, channels, k, nodes, weights, first, last):
    """Copy k of the nodes, all but its weight; `weights` is multiplied by how well it fits."""
    scale = _F(step)
    for i in range(first, last):
        for j in range(columns):
            p = i * columns + j
            n = channels * p + COPY * k
            nodes[n], nodes[n + 1] = shift[2 * p] * scale, shift[2 * p + 1] * scale
            xx, xy, yx, yy = jacobian(shift, rows, columns, i, j)
            nodes[n + 3], nodes[n + 4] = long_axis(xx, xy, yx, yy)
            if weights[p] > 0:
                weights[p] *= max(_quality(shift, mask, looks, rows, columns, i, j), _F(MIN_WEIGHT))


@kernel
def _weight_rows(weights, rows, columns, step, height, width, ramp, count, nodes, first, last):
    """The smoothed weights (count, rows, columns), lowered for what comes from outside the frame, made to sum to 1."""
    size, channels = rows * columns, COPY * count + SHIFT
    for p in range(first * columns, last * columns):
        x, y = _F(step * (p % columns)), _F(step * (p // columns))
        n = channels * p
        total = _F(0)
        for k in range(count):
            a = beyond(x + nodes[n + COPY * k], y + nodes[n + COPY * k + 1], height, width) / ramp
            nodes[n + COPY * k + 2] = max(weights[k * size + p], _F(0)) * max(_F(1) - a, _F(MIN_WEIGHT))
            total += nodes[n + COPY * k + 2]
        rest = _F(0)
        for k in range(count):
            w = max(nodes[n + COPY * k + 2] / total - _F(NEGLIGIBLE), _F(0))
            nodes[n + COPY * k + 2] = w
            rest += w
        for k in range(count):
            nodes[n + COPY * k + 2] /= rest


@kernel
def _shift_rows(mean, strength, rows, columns, step, count, nodes, first, last):
    """The shifts of tone: strength times sum_k w_k (A(x) - A(x + d_k))."""
    channels = COPY * count + SHIFT
    per_pixel = _F(1) / _F(step)
    for i in range(first, last):
        for j in range(columns):
            p = i * columns + j
            n = channels * p
            for c in range(SHIFT):
                total = _F(0)
                for k in range(count):
                    q = n + COPY * k
                    if nodes[q + 2] > 0:
                        y, x = _F(i) + nodes[q + 1] * per_pixel, _F(j) + nodes[q] * per_pixel
                        total += nodes[q + 2] * (mean[SHIFT * p + c] - _lookup(mean, rows, columns, SHIFT, c, y, x))
                nodes[n + COPY * count + c] = strength[p] * total


def nodes(
    shifts: list[np.ndarray], weights: np.ndarray, mask: np.ndarray, looks: np.ndarray, step: int,
    size: tuple[int, int], mean: np.ndarray | None, strength: np.ndarray,
) -> np.ndarray:  # fmt: skip
    """The grid's nodes (rows, columns, COPY * copies + SHIFT).

    Args:
        shifts: of each copy, (rows, columns, 2) in cells: where it is fetched from. weights: (copies, rows, columns),
            in time; overwritten. mask: (rows, columns). looks: of `steady.looks`. size: height and width in pixels.
            mean: (rows, columns, 4) local mean of tone; None where looks are not kept. strength: (rows, columns), by
            how much they are.
    """
    (rows, columns), count = mask.shape, len(shifts)
    out = np.zeros((rows, columns, COPY * count + SHIFT), np.float32)
    target, fits = out.reshape(-1), (mask.reshape(-1), looks.reshape(-1))
    for k, shift in enumerate(shifts):
        _copy_nodes(shift.reshape(-1), fits, mask.shape, step, out.shape[2], k, target, weights[k].reshape(-1))
    weights /= weights.sum(axis=0)
    box = smoothing(step, *size)
    for plane in weights:
        for _ in range(2):  # Two boxes make a tent. Weights that are all 1, or all 0, stay so to the bit.
            plane[...] = box_filter(plane, box)
    ramp, flat = _F(max(4.0, BORDER_RAMP * max(size))), weights.reshape(-1)
    parallel_rows(rows, lambda a, b: _weight_rows(flat, rows, columns, step, *size, ramp, count, target, a, b))
    if mean is not None:
        local, part = mean.reshape(-1), strength.reshape(-1)
        parallel_rows(rows, lambda a, b: _shift_rows(local, part, rows, columns, step, count, target, a, b))
    return out


def _copy_nodes(shift, fits, shape, step, channels, k, target, weights) -> None:
    parallel_rows(shape[0], lambda a, b: _node_rows(shift, *fits, *shape, step, channels, k, target, weights, a, b))


@kernel
def _shifted(value, shift, white):
    """A channel's value with its tone shifted: never below MIN_RATIO of its tone, and as it was below 0."""
    if shift == 0 or value <= 0:
        return value
    part = value / white
    tone = math.sqrt(part) if part <= 1 else _F(1) + _F(0.5) * math.log(part)
    tone = max(tone + shift, _F(MIN_RATIO) * tone)
    return white * (tone * tone if tone <= 1 else math.exp(_F(2) * (tone - _F(1))))


@kernel
def _mix_rows(plate, height, width, grid, rows, columns, channels, step, mask, spans, luma, colour, white, copy, tone,
              fetched, first, last):  # fmt: skip
    line = np.empty((columns + 1) * channels, np.float32)
    sample = np.empty(4, np.float32)
    # Rows of a large plate are longer than the cache: tile by tile, the rows that several fetches read stay in it.
    for left in range(0, columns, TILE_CELLS):
        for y in range(first, last):
            start = max(spans[2 * y], left * step)
            stop = min(spans[2 * y + 1], (left + TILE_CELLS) * step)
            if start >= stop:
                continue
            line_between(grid, rows, columns, channels, step, y, start // step, min(stop // step + 2, columns), line)
            for c in range(channels):  # one more, where the last node is the last pixel
                line[columns * channels + c] = line[(columns - 1) * channels + c]
            if not fetched:
                _fetch_span(plate, height, width, grid, rows, columns, channels, step, mask, copy, y, start, stop,
                            line, sample)  # fmt: skip
            _finish_span(mask, width, channels, step, luma, colour, white, copy, tone, y, start, stop, line)


@kernel(inline="always")
def _fetch_span(plate, height, width, grid, rows, columns, channels, step, mask, copy, y, start, stop, line,
                sample):  # fmt: skip
    for p in range(4 * (y * width + start), 4 * (y * width + stop)):
        copy[p] = _F(0)
    row = min((y + step // 2) // step, rows - 1) * columns
    for j in range(start // step, (stop - 1) // step + 1):
        a, b = max(start, j * step), min(stop, (j + 1) * step)
        left, right = (row + j) * channels, (row + min(j + 1, columns - 1)) * channels
        for k in range(0, channels - SHIFT, COPY):
            n, m = j * channels + k, (j + 1) * channels + k
            if line[n + 2] > 0 or line[m + 2] > 0:
                _add_copy(plate, height, width, grid, left + k, right + k, step, mask, copy, y, a, b, j * step, line,
                          n, m, sample)  # fmt: skip


@kernel(inline="always")
def _finish_span(mask, width, channels, step, luma, colour, white, copy, tone, y, start, stop, line):
    """Shift the tone of the pixels start..stop-1 of a row, and take the square root of their luminance."""
    per_pixel = _F(1) / _F(step)
    for x in range(start, stop):
        p = y * width + x
        if mask[p] <= 0:
            continue
        j = x // step
        n = (j + 1) * channels - SHIFT
        part = _F(x - j * step) * per_pixel
        if not shift_dark4(copy, 4 * p, line, n, n + channels, part, colour, white, _F(MIN_RATIO)):
            for c in range(4):
                if colour[c] > 0:
                    shift = line[n + c] + part * (line[n + channels + c] - line[n + c])
                    copy[4 * p + c] = _shifted(copy[4 * p + c], shift, white)
        light = _F(0)
        for c in range(4):
            light += luma[c] * copy[4 * p + c]
        tone[p] = math.sqrt(max(light, _F(0)))


@kernel(inline="always")
def _add_copy(plate, height, width, grid, left, right, step, mask, copy, y, start, stop, origin, line, n, m,
              sample):  # fmt: skip
    """Add one copy, times its weight, to the pixels start..stop-1 of a cell."""
    per_pixel = _F(1) / _F(step)
    dx, dy, weight = line[n], line[n + 1], line[n + 2]
    dx_step, dy_step, weight_step = (line[m] - dx) * per_pixel, (line[m + 1] - dy) * per_pixel, (line[m + 2] - weight)
    weight_step *= per_pixel
    # An axis and its opposite mean the same, so axes are not interpolated: the nearest node's serves.
    plain = grid[left + 3] == 0 and grid[left + 4] == 0 and grid[right + 3] == 0 and grid[right + 4] == 0
    for x in range(start, stop):
        p = y * width + x
        if mask[p] <= 0:
            continue
        t = _F(x - origin)
        u, v, w = _F(x) + (dx + t * dx_step), _F(y) + (dy + t * dy_step), weight + t * weight_step
        if plain:
            if not cubic_fetch4(plate, height, width, u, v, sample, 0):
                fetch4_at_border(plate, height, width, u, v, sample, 0)
        else:
            axis = left if 2 * (x - origin) < step else right
            fetch_along(plate, height, width, u, v, grid[axis + 3], grid[axis + 4], sample, 0)
        add4(sample, w, copy, 4 * p)


def mix(
    plate: np.ndarray, grid: np.ndarray, step: int, mask: np.ndarray, spans: np.ndarray, luma: np.ndarray,
    colour: np.ndarray, white: float, copy: np.ndarray, tone: np.ndarray, fetched: np.ndarray | None = None,
) -> None:  # fmt: skip
    """Into `copy` (H, W, 4) and `tone` (H, W): the copies mixed where the mask is above 0, their tone shifted.

    The tone is the square root of the luminance; `spans` (H, 2) holds the first moving pixel of each row and one past
    the last; `white` is the plate's, as `steady` has it. `fetched` (H, W, 4) is what to use for the mixed copies
    instead of fetching them.
    """
    if fetched is not None:
        copy[...] = fetched
    (height, width), (rows, columns, channels) = mask.shape, grid.shape
    flat = [a.reshape(-1) for a in (plate, grid, mask, spans, copy, tone)]
    parallel_rows(
        height,
        lambda a, b: _mix_rows(
            flat[0], height, width, flat[1], rows, columns, channels, step, flat[2], flat[3], luma, colour, _F(white),
            flat[4], flat[5], fetched is not None, a, b,
        ),
    )  # fmt: skip
