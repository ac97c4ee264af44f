# SPDX-License-Identifier: Apache-2.0
"""The kernels that put what was carried into the channels of a frame's file: colours, and data and ids straight.

Channels are (h, w) of their part's window, float32, uint32 or float16, whose bits the kernels work with; only what
moves is written. A `Frame` of numbers says where a part's window lies in the loop's.

Convention: as in `transport.cpu`; kernels work on bands of rows of flat arrays.
"""

from __future__ import annotations

import math

import numpy as np

from loopcore.loop.carrying import Region, node_line
from loopcore.loop.plate_contrast import COPY, SHIFT
from loopcore.parallel import parallel_rows
from loopcore.transport.cpu import reflect, split
from loopcore.transport.halves import flat_bits, store_at, value_at
from loopcore.transport.jit import kernel

_F = np.float32


def box_of(part: tuple[int, int, int, int], window: tuple[int, int, int, int]) -> np.ndarray:
    """Where a part lies in the loop's window: six whole numbers for the kernels.

    Args:
        part: (x_min, y_min, x_max, y_max), inclusive, y down. window: alike.

    Returns:
        The first row of the loop's window in the part, one past the last, the same of columns; the index in a channel
        of the loop's first pixel, which may lie outside, and the channel's width.
    """
    left, top, width = part[0] - window[0], part[1] - window[1], part[2] - part[0] + 1
    rows, columns = window[3] - window[1] + 1, window[2] - window[0] + 1
    bottom, right = part[3] - window[1] + 1, part[2] - window[0] + 1
    return np.array(
        [max(top, 0), min(bottom, rows), max(left, 0), min(right, columns), -top * width - left, width], np.int64
    )


@kernel
def _put_region(moved, size, slot, mask, spans, width, out, box, top, bottom, left, right):
    for y in range(max(top, box[0]), min(bottom, box[1])):
        start = max(spans[2 * y], max(left, box[2]))
        stop = min(spans[2 * y + 1], min(right, box[3]))
        q = size * ((y - top) * (right - left) - left) + slot
        for x in range(start, stop):
            if mask[y * width + x] > 0:
                store_at(out, box[4] + y * box[5] + x, moved[q + size * x])


def put(moved: np.ndarray, size: int, slot: int, mask: np.ndarray, spans: np.ndarray, region: Region, out: np.ndarray,
        box: np.ndarray) -> None:  # fmt: skip
    """Store one of the channels carried into a region.

    Args:
        moved: flat, size channels a pixel of the region. slot: which of them. mask, spans: as `carrying.fetch`. out:
            the channel, float32, or float16, whose range finite values are clamped to. box: of `box_of`.
    """
    _put_region(moved, size, slot, mask.reshape(-1), spans.reshape(-1), mask.shape[1], flat_bits(out), box, *region)


@kernel(inline="always")
def _counted(sums, value, weight, finite):
    """The sum, the weights, and the least and greatest of samples, with one more where that is finite."""
    if weight > 0 and (finite or math.isfinite(value)):
        return sums[0] + weight * value, sums[1] + weight, min(sums[2], value), max(sums[3], value)
    return sums


@kernel(inline="always")
def _mean_over(still, sums, m, finite):
    """The mean of the samples over the still, never outside of their range; the still where there are none."""
    total, weights, least, most = sums
    if weights <= 0:
        return still
    mean = min(max(total / weights, least), most)
    if m < 1 and (finite or math.isfinite(still)):
        mean = min(max(still + m * (mean - still), min(mean, still)), max(mean, still))
    return mean


@kernel
def _data_rows(values, height, width, grid, rows, columns, channels, step, mask, spans, finite, out, box, first,
               last):  # fmt: skip
    line = np.empty((columns + 1) * channels, np.float32)
    per_pixel = _F(1) / _F(step)
    for y in range(max(first, box[0]), min(last, box[1])):
        start, stop = max(spans[2 * y], box[2]), min(spans[2 * y + 1], box[3])
        if start >= stop:
            continue
        node_line(grid, rows, columns, channels, step, y, start, stop, line)
        for j in range(start // step, (stop - 1) // step + 1):
            for x in range(max(start, j * step), min(stop, (j + 1) * step)):
                p = y * width + x
                if mask[p] <= 0:
                    continue
                sums, t = (_F(0), _F(0), _F(np.inf), _F(-np.inf)), _F(x - j * step) * per_pixel
                for n in range(j * channels, (j + 1) * channels - SHIFT, COPY):
                    m = n + channels
                    w = line[n + 2] + t * (line[m + 2] - line[n + 2])
                    if w > 0:
                        ix, u = split(_F(x) + line[n] + t * (line[m] - line[n]))
                        iy, v = split(_F(y) + line[n + 1] + t * (line[m + 1] - line[n + 1]))
                        left, right, top, low = ix, ix + 1, iy, iy + 1
                        if left < 0 or top < 0 or right >= width or low >= height:
                            left, right = reflect(left, width), reflect(right, width)
                            top, low = reflect(top, height), reflect(low, height)
                        top, low = top * width, low * width
                        sums = _counted(sums, value_at(values, top + left), w * (_F(1) - u) * (_F(1) - v), finite)
                        sums = _counted(sums, value_at(values, top + right), w * u * (_F(1) - v), finite)
                        sums = _counted(sums, value_at(values, low + left), w * (_F(1) - u) * v, finite)
                        sums = _counted(sums, value_at(values, low + right), w * u * v, finite)
                mean = _mean_over(value_at(values, p), sums, min(mask[p], _F(1)), finite)
                store_at(out, box[4] + y * box[5] + x, mean)


def data(values: np.ndarray, grid: np.ndarray, step: int, mask: np.ndarray, spans: np.ndarray, finite: bool,
         out: np.ndarray, box: np.ndarray) -> None:  # fmt: skip
    """Carry a channel of data: bilinearly, and laid over the still.

    Args:
        values: (H, W) float32 or float16. grid, step, mask, spans: as `carrying.fetch`. finite: whether all values
            are; others do not count. out, box: as `put`.
    """
    (height, width), (rows, columns, channels) = mask.shape, grid.shape
    flat = [a.reshape(-1) for a in (grid, mask, spans)]
    still, target = flat_bits(values), flat_bits(out)
    parallel_rows(
        height,
        lambda a, b: _data_rows(
            still, height, width, flat[0], rows, columns, channels, step, flat[1], flat[2], finite, target, box, a, b
        ),
    )


@kernel
def _source_rows(height, width, grid, rows, columns, channels, step, mask, spans, out, first, last):
    line = np.empty((columns + 1) * channels, np.float32)
    per_pixel = _F(1) / _F(step)
    for y in range(first, last):
        start, stop = spans[2 * y], spans[2 * y + 1]
        if start >= stop:
            continue
        node_line(grid, rows, columns, channels, step, y, start, stop, line)
        for j in range(start // step, (stop - 1) // step + 1):
            for x in range(max(start, j * step), min(stop, (j + 1) * step)):
                p, t = y * width + x, _F(x - j * step) * per_pixel
                most, u, v = _F(1) - mask[p], _F(0), _F(0)
                out[p] = p
                found = False
                for n in range(j * channels, (j + 1) * channels - SHIFT, COPY):
                    m = n + channels
                    w = mask[p] * (line[n + 2] + t * (line[m + 2] - line[n + 2]))
                    if w > most:
                        most, found = w, True
                        u, v = line[n] + t * (line[m] - line[n]), line[n + 1] + t * (line[m + 1] - line[n + 1])
                if found:
                    ix, _ = split(_F(x) + u + _F(0.5))
                    iy, _ = split(_F(y) + v + _F(0.5))
                    out[p] = reflect(iy, height) * width + reflect(ix, width)


def sources(grid: np.ndarray, step: int, mask: np.ndarray, spans: np.ndarray) -> np.ndarray:
    """Which pixel shows at each that moves, of the copy with the greatest weight, or of the still: (H, W) int32."""
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


@kernel
def _take_rows(values, places, width, mask, spans, out, box, first, last):
    for y in range(max(first, box[0]), min(last, box[1])):
        for x in range(max(spans[2 * y], box[2]), min(spans[2 * y + 1], box[3])):
            p = y * width + x
            if mask[p] > 0:
                out[box[4] + y * box[5] + x] = values[places[p]]


def ids(values: np.ndarray, places: np.ndarray, mask: np.ndarray, spans: np.ndarray, out: np.ndarray,
        box: np.ndarray) -> None:  # fmt: skip
    """Carry a channel of ids: `values` (H, W) from the pixels that `sources` says; `out` and `box` as `put`."""
    # As bits: ids stored as floats may be NaN or denormal.
    flat = [a.reshape(-1).view(f"u{a.itemsize}") for a in (values, out)]
    cover, edges, origin = mask.reshape(-1), spans.reshape(-1), places.reshape(-1)
    width = mask.shape[1]
    parallel_rows(len(mask), lambda a, b: _take_rows(flat[0], origin, width, cover, edges, flat[1], box, a, b))
