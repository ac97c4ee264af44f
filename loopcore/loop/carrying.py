# SPDX-License-Identifier: Apache-2.0
"""The kernels that carry a plate's layers along: colour, data and ids, by the nodes of `mixing`.

Convention: as in `transport.cpu`; kernels work on bands of rows of flat float32 arrays.
"""

from __future__ import annotations

import math

import numpy as np

from loopcore.loop.blend import MAX_FETCHES, MAX_RATIO, MIN_RATIO, TILE_CELLS, line_between
from loopcore.loop.plate_contrast import COPY, SHIFT
from loopcore.parallel import parallel_rows
from loopcore.transport.cpu import all_finite, reflect, split
from loopcore.transport.jit import kernel
from loopcore.transport.limited import limited_fetch4, limited_fetch4_at_border, limits4, limits4_at_border

_F = np.float32


def as_mixture(nodes: np.ndarray) -> np.ndarray:
    """The nodes of two blended copies (rows, columns, NODE) as those of a mixture, without shifts of tone."""
    out = np.zeros((*nodes.shape[:2], 2 * COPY + SHIFT), np.float32)
    out[..., 0:2], out[..., COPY : COPY + 2] = nodes[..., 0:2], nodes[..., 2:4]
    out[..., 2], out[..., COPY + 2] = nodes[..., 4], 1 - nodes[..., 4]
    out[..., 3:5], out[..., COPY + 3 : COPY + 5] = nodes[..., 5:7], nodes[..., 7:9]
    return out


@kernel
def _node_line(grid, rows, columns, channels, step, y, start, stop, line):
    """The nodes interpolated to row y, as far as the pixels start..stop-1 need them."""
    line_between(grid, rows, columns, channels, step, y, start // step, min(stop // step + 2, columns), line)
    for c in range(channels):  # one more, where the last node is the last pixel
        line[columns * channels + c] = line[(columns - 1) * channels + c]


@kernel
def _along(picture, height, width, x, y, ax, ay, find, limits, place, weight, out):
    """Do what `limited_fetch4` does, or with `find` `limits4`, for the mean along the axis (ax, ay) through (x, y)."""
    count = max(1, min(int(math.ceil(math.sqrt(ax * ax + ay * ay))), MAX_FETCHES))
    # All lookups have the least limits of any: they are found first.
    for rounds in range(2 if find else 1):
        finding = find and rounds == 0
        for k in range(count):
            s = (_F(k) + _F(0.5)) / _F(count) - _F(0.5)
            u, v, w = x + s * ax, y + s * ay, weight / _F(count)
            if finding:
                if not limits4(picture, height, width, u, v, limits, place, _F(0), out):
                    limits4_at_border(picture, height, width, u, v, limits, place, _F(0), out)
            elif not limited_fetch4(picture, height, width, u, v, limits, place, w, out):
                limited_fetch4_at_border(picture, height, width, u, v, limits, place, w, out)


@kernel
def _colour_rows(picture, height, width, grid, rows, columns, channels, step, mask, spans, find, limits, out, first,
                 last):  # fmt: skip
    line = np.empty((columns + 1) * channels, np.float32)
    total = np.empty(4, np.float32)
    copies, per_pixel = (channels - SHIFT) // COPY, _F(1) / _F(step)
    # Rows of a large plate are longer than the cache: tile by tile, the rows that several fetches read stay in it.
    for tile in range(0, columns, TILE_CELLS):
        for y in range(first, last):
            start, stop = max(spans[2 * y], tile * step), min(spans[2 * y + 1], (tile + TILE_CELLS) * step)
            if start >= stop:
                continue
            _node_line(grid, rows, columns, channels, step, y, start, stop, line)
            row = min((y + step // 2) // step, rows - 1) * columns
            # No calls of functions in here, but of intrinsics: passing arrays takes longer than a lookup.
            for j in range(start // step, (stop - 1) // step + 1):
                near, far = (row + j) * channels, (row + min(j + 1, columns - 1)) * channels
                for x in range(max(start, j * step), min(stop, (j + 1) * step)):
                    p = y * width + x
                    if mask[p] <= 0:
                        continue
                    t = _F(x - j * step) * per_pixel
                    total[0], total[1], total[2], total[3] = _F(0), _F(0), _F(0), _F(0)
                    for k in range(copies):
                        n = j * channels + COPY * k
                        m, left, right = n + channels, near + COPY * k, far + COPY * k
                        if line[n + 2] <= 0 and line[m + 2] <= 0:
                            continue
                        u, v = (
                            _F(x) + (line[n] + t * (line[m] - line[n])),
                            line[n + 1] + t * (line[m + 1] - line[n + 1]),
                        )
                        v += _F(y)
                        plain = grid[left + 3] == 0 and grid[left + 4] == 0
                        plain = plain and grid[right + 3] == 0 and grid[right + 4] == 0
                        axis = left if 2 * (x - j * step) < step else right
                        place = 4 * ((k * height + y) * width + x)
                        w = line[n + 2] + t * (line[m + 2] - line[n + 2])
                        if not plain:
                            _along(picture, height, width, u, v, grid[axis + 3], grid[axis + 4], find, limits, place, w,
                                   total)  # fmt: skip
                        elif find:
                            if not limits4(picture, height, width, u, v, limits, place, w, total):
                                limits4_at_border(picture, height, width, u, v, limits, place, w, total)
                        elif not limited_fetch4(picture, height, width, u, v, limits, place, w, total):
                            limited_fetch4_at_border(picture, height, width, u, v, limits, place, w, total)
                    for c in range(4):
                        out[4 * p + c] = total[c]


def _each_copy(picture: np.ndarray, grid: np.ndarray, step: int, mask: np.ndarray, spans: np.ndarray, find: bool,
               limits: np.ndarray, out: np.ndarray) -> None:  # fmt: skip
    (height, width), (rows, columns, channels) = mask.shape, grid.shape
    flat = [a.reshape(-1) for a in (picture, grid, mask, spans, limits, out)]
    parallel_rows(
        height,
        lambda a, b: _colour_rows(
            flat[0], height, width, flat[1], rows, columns, channels, step, flat[2], flat[3], find, flat[4], flat[5],
            a, b,
        ),
    )  # fmt: skip


def colour(picture: np.ndarray, grid: np.ndarray, step: int, mask: np.ndarray, spans: np.ndarray,
           limits: np.ndarray | None, out: np.ndarray) -> np.ndarray:  # fmt: skip
    """Into `out` (H, W, 4): a picture (H, W, 4) carried, linear in it but for its limits, where it moves.

    Returns the limits (copies, H, W, 4), uint8, by how much lookups of each copy are limited; without any, those
    that keep this picture from overshooting.
    """
    find = limits is None
    if limits is None:
        limits = np.full(((grid.shape[2] - SHIFT) // COPY, *mask.shape, 4), 255, np.uint8)
    _each_copy(picture, grid, step, mask, spans, find, limits, out)
    return limits


@kernel
def _match_rows(moved, values, reference, plate, final, floor, means, plate_means, rows, columns, step, mask, spans,
                width, first, last):  # fmt: skip
    near, plate_near = np.empty(4 * columns, np.float32), np.empty(4 * columns, np.float32)
    for y in range(first, last):
        if spans[2 * y] >= spans[2 * y + 1]:
            continue
        line_between(means, rows, columns, 4, step, y, 0, columns, near)
        line_between(plate_means, rows, columns, 4, step, y, 0, columns, plate_near)
        for x in range(spans[2 * y], spans[2 * y + 1]):
            p = y * width + x
            m = min(mask[p], _F(1))
            if m <= 0:
                continue
            j = min(x // step, columns - 1)
            t, after = _F(x - j * step) / _F(step), min(j + 1, columns - 1)
            for c in range(4):
                q, n, k = 4 * p + c, 4 * j + c, 4 * after + c
                still, base = values[q], plate[q]
                value = moved[q] if m >= 1 else still + m * (moved[q] - still)
                plain = reference[q] if m >= 1 else base + m * (reference[q] - base)
                gain = (max(final[q], _F(0)) + floor[c]) / (max(plain, _F(0)) + floor[c])
                gain = min(max(gain, _F(MIN_RATIO * MIN_RATIO)), _F(MAX_RATIO * MAX_RATIO))
                rest = final[q] - gain * plain
                part = near[n] + t * (near[k] - near[n])
                whole = plate_near[n] + t * (plate_near[k] - plate_near[n])
                share = min(max(part / whole, _F(0)), _F(1)) if whole > 0 else _F(0)
                moved[q] = gain * value + rest * share


def match(moved: np.ndarray, values: np.ndarray, reference: np.ndarray, plate: np.ndarray, final: np.ndarray,
          floor: np.ndarray, means: np.ndarray, plate_means: np.ndarray, mean_step: int, mask: np.ndarray,
          spans: np.ndarray) -> None:  # fmt: skip
    """Give a carried layer, in place, what steady looks and contrast did to the plate.

    Args:
        moved: (H, W, 4) of `colour` for the layer. values: the layer. reference: of `colour` for the plate. plate: the
            plate. final: the frame. floor: (4,) of each channel, below it gains tend to 1. means, plate_means: local
            means of the layer and the plate on a grid of every `mean_step`-th pixel. mask, spans: as `colour`.

    With U the layer and P the plate, both carried and laid over the still, and F the frame: the gain g is
    (F + e) / (P + e), limited as that of contrast, and what it leaves of the frame, F - g P, goes to the layers by
    their shares in the local mean of the plate: it is what steady looks add where the plate is dark.
    Layers that add up to the plate add up to the frame: g P + (F - g P) = F.
    """
    (height, width), (rows, columns, _) = mask.shape, means.shape
    flat = [a.reshape(-1) for a in (moved, values, reference, plate, final)]
    grids = [a.reshape(-1) for a in (means, plate_means)]
    cover, edges = mask.reshape(-1), spans.reshape(-1)
    parallel_rows(
        height,
        lambda a, b: _match_rows(*flat, floor, *grids, rows, columns, mean_step, cover, edges, width, a, b),
    )


@kernel
def _data_rows(values, height, width, grid, rows, columns, channels, step, mask, spans, count, finite, out, first,
               last):  # fmt: skip
    line = np.empty((columns + 1) * channels, np.float32)
    copies, per_pixel = (channels - SHIFT) // COPY, _F(1) / _F(step)
    place, weight = np.empty(4 * copies, np.int64), np.empty(4 * copies, np.float32)
    for y in range(first, last):
        start, stop = spans[2 * y], spans[2 * y + 1]
        if start >= stop:
            continue
        _node_line(grid, rows, columns, channels, step, y, start, stop, line)
        for x in range(start, stop):
            p = y * width + x
            if mask[p] <= 0:
                continue
            taps, j = 0, x // step
            t = _F(x - j * step) * per_pixel
            for k in range(copies):
                n = j * channels + COPY * k
                m = n + channels
                w = line[n + 2] + t * (line[m + 2] - line[n + 2])
                if w > 0:
                    ix, u = split(_F(x) + line[n] + t * (line[m] - line[n]))
                    iy, v = split(_F(y) + line[n + 1] + t * (line[m + 1] - line[n + 1]))
                    left, right, top, low = ix, ix + 1, iy, iy + 1
                    if left < 0 or top < 0 or right >= width or low >= height:
                        left, right = reflect(left, width), reflect(right, width)
                        top, low = reflect(top, height), reflect(low, height)
                    place[taps], weight[taps] = top * width + left, w * (_F(1) - u) * (_F(1) - v)
                    place[taps + 1], weight[taps + 1] = top * width + right, w * u * (_F(1) - v)
                    place[taps + 2], weight[taps + 2] = low * width + left, w * (_F(1) - u) * v
                    place[taps + 3], weight[taps + 3] = low * width + right, w * u * v
                    taps += 4
            _means_of_valid(values, p, place, weight, taps, min(mask[p], _F(1)), count, finite, out)


@kernel
def _means_of_valid(values, p, place, weight, taps, m, count, finite, out):
    """The mean of the finite samples over the still, never outside of their range; the still where there are none."""
    for c in range(count):
        total, weights, least, most = _F(0), _F(0), _F(np.inf), _F(-np.inf)
        for k in range(taps):
            value = values[4 * place[k] + c]
            if weight[k] > 0 and (finite or math.isfinite(value)):
                total += weight[k] * value
                weights += weight[k]
                least, most = min(least, value), max(most, value)
        still = values[4 * p + c]
        if weights <= 0:
            out[4 * p + c] = still
            continue
        mean = min(max(total / weights, least), most)
        if m < 1 and (finite or math.isfinite(still)):
            mean = min(max(still + m * (mean - still), min(mean, still)), max(mean, still))
        out[4 * p + c] = mean


def data(values: np.ndarray, count: int, grid: np.ndarray, step: int, mask: np.ndarray, spans: np.ndarray,
         out: np.ndarray) -> None:  # fmt: skip
    """Into `out` (H, W, 4): the first `count` of `values`, bilinearly and laid over the still, where it moves."""
    (height, width), (rows, columns, channels) = mask.shape, grid.shape
    flat = [a.reshape(-1) for a in (values, grid, mask, spans, out)]
    finite = all_finite(values)
    parallel_rows(
        height,
        lambda a, b: _data_rows(
            flat[0],
            height,
            width,
            flat[1],
            rows,
            columns,
            channels,
            step,
            flat[2],
            flat[3],
            count,
            finite,
            flat[4],
            a,
            b,
        ),
    )


@kernel
def _source_rows(height, width, grid, rows, columns, channels, step, mask, spans, out, first, last):
    line = np.empty((columns + 1) * channels, np.float32)
    per_pixel = _F(1) / _F(step)
    for y in range(first, last):
        for x in range(width):
            out[y * width + x] = y * width + x
        start, stop = spans[2 * y], spans[2 * y + 1]
        if start >= stop:
            continue
        _node_line(grid, rows, columns, channels, step, y, start, stop, line)
        for x in range(start, stop):
            p = y * width + x
            most = _F(1) - mask[p]
            for k in range(0, channels - SHIFT, COPY):
                n = (x // step) * channels + k
                m, t = n + channels, _F(x % step) * per_pixel
                w = mask[p] * (line[n + 2] + t * (line[m + 2] - line[n + 2]))
                if w > most:
                    most = w
                    u, v = line[n] + t * (line[m] - line[n]), line[n + 1] + t * (line[m + 1] - line[n + 1])
                    ix, _ = split(_F(x) + u + _F(0.5))
                    iy, _ = split(_F(y) + v + _F(0.5))
                    out[p] = reflect(iy, height) * width + reflect(ix, width)


def sources(grid: np.ndarray, step: int, mask: np.ndarray, spans: np.ndarray) -> np.ndarray:
    """(H, W) int32: which pixel shows at each, of the copy with the greatest weight, or of the still; for ids."""
    (height, width), (rows, columns, channels) = mask.shape, grid.shape
    out = np.empty((height, width), np.int32)
    flat = [a.reshape(-1) for a in (grid, mask, spans, out)]
    parallel_rows(
        height,
        lambda a, b: _source_rows(
            height, width, flat[0], rows, columns, channels, step, flat[1], flat[2], flat[3], a, b
        ),
    )
    return out
