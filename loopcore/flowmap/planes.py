# SPDX-License-Identifier: Apache-2.0
"""Bilinear interpolation of the loop's grid nodes to full-size channel planes, compiled with Numba."""

import numpy as np

from loopcore.parallel import parallel_rows
from loopcore.transport.jit import kernel

_F = np.float32


@kernel
def _plane_rows(nodes, rows, columns, stride, count, step, mask, height, width, top, left, span, planes, first, last):
    line = np.empty(columns + 1, np.float32)
    for y in range(first, last):
        i = min(y // step, rows - 1)
        below = min(i + 1, rows - 1)
        t = _F(y - i * step) / _F(step)
        for k in range(count):
            for j in range(columns):
                a = nodes[(i * columns + j) * stride + k]
                line[j] = a + t * (nodes[(below * columns + j) * stride + k] - a)
            line[columns] = line[columns - 1]
            start = (k * height + top + y) * width + left
            still = (top + y) * width + left
            for j in range(columns):
                a, slope = line[j], (line[j + 1] - line[j]) / _F(step)
                for x in range(j * step, min((j + 1) * step, span)):
                    moves = mask[still + x] > 0
                    planes[start + x] = a + slope * _F(x - j * step) if moves else _F(0)


def to_planes(nodes: np.ndarray, count: int, step: int, window: tuple[slice, slice], mask: np.ndarray) -> np.ndarray:
    """Interpolates values of a coarse grid at every pixel.

    Args:
        nodes: (rows, columns, K) float32, one node every `step` pixels, the first at the window's first pixel.
        count: how many of the K values to interpolate.
        step: distance of the nodes in pixels.
        window: the rows and columns of the picture that the nodes cover.
        mask: (H, W); the result is 0 where it is 0.

    Returns:
        (count, H, W) float32, 0 outside the window.
    """
    height, width = mask.shape
    top, left = window[0].start, window[1].start
    inner, span = window[0].stop - top, window[1].stop - left
    rows, columns, stride = nodes.shape
    planes = np.zeros((count, height, width), np.float32)
    flat, still, target = nodes.reshape(-1), np.ascontiguousarray(mask).reshape(-1), planes.reshape(-1)
    parallel_rows(
        inner,
        lambda a, b: _plane_rows(
            flat, rows, columns, stride, count, step, still, height, width, top, left, span, target, a, b
        ),
    )
    return planes
