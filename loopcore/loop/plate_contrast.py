# SPDX-License-Identifier: Apache-2.0
"""Contrast keeping for any number of copies: the detail that a frame should have is known from the plate alone.

Content that comes from x + d has the variance of the plate there; where looks are steady, the variance should be that
of the plate at x. Both are looked up in one grid of variances a band, measured once, so that a frame costs the same
whatever the number of its copies.
"""

from __future__ import annotations

import numpy as np

from loopcore.loop.contrast import BLOCK, Contrast, bands
from loopcore.loop.smooth import box_filter
from loopcore.parallel import parallel_rows
from loopcore.transport.jit import kernel

_F = np.float32

# Numbers of a node of `mixing`: of each copy, then the shift of four channels' tone.
COPY, SHIFT = 5, 4
# Energies are compared over so many blocks: those of a moving texture vary from block to block.
POOL = 5
# Detail is reduced, too, down to this gain.
MIN_GAIN = 0.6


@kernel
def _advected_rows(variance, count, nodes, strength, size, step, out, first, last):
    """Energy of a band by blocks of `size` pixels: the plate's variance where the copies come from, times the count."""
    rows, blocks = variance.shape
    for i in range(first, last):
        for j in range(blocks):
            # The node nearest to the middle of the block.
            y, x = size * (_F(i) + _F(0.5)), size * (_F(j) + _F(0.5))
            row = min(int(y / step + _F(0.5)), nodes.shape[0] - 1)
            column = min(int(x / step + _F(0.5)), nodes.shape[1] - 1)
            total = _F(0)
            for k in range((nodes.shape[2] - SHIFT) // COPY):
                w = nodes[row, column, COPY * k + 2]
                if w > 0:
                    v = (y + nodes[row, column, COPY * k + 1]) / size - _F(0.5)
                    u = (x + nodes[row, column, COPY * k]) / size - _F(0.5)
                    total += w * _variance_at(variance, count, v, u, variance[i, j])
            place = strength[row, column]
            out[i, j] = count[i, j] * (total + place * (variance[i, j] - total))


@kernel
def _variance_at(variance, count, y, x, default):
    """The variance at block position (x, y), bilinear over blocks that have moving pixels."""
    rows, blocks = variance.shape
    y, x = min(max(y, _F(0)), _F(rows - 1)), min(max(x, _F(0)), _F(blocks - 1))
    i, j = int(y), int(x)
    v, u = y - _F(i), x - _F(j)
    total, weights = _F(0), _F(0)
    for a in range(2):
        for b in range(2):
            p, q = min(i + a, rows - 1), min(j + b, blocks - 1)
            w = (v if a else _F(1) - v) * (u if b else _F(1) - u) * count[p, q]
            total += w * variance[p, q]
            weights += w
    return total / weights if weights > _F(0.1) else default


class PlateContrast(Contrast):
    """Gives a mix of copies the detail that the plate has where they come from, or where they are shown.

    tone: (H, W) the plate's. weight, strength: as `Contrast`. variances: the plate's in each band, by blocks.
    """

    min_gain, min_scale = MIN_GAIN, 0.0

    def __init__(self, tone: np.ndarray, weight: np.ndarray, strength: float) -> None:
        super().__init__(weight, strength)
        self.counts = [_pooled(count) for count in self.counts]
        energies = self._energies(bands(tone), 0)
        self.variances = [values / count for values, count in zip(energies, self.counts, strict=False)]

    def wanted(self, nodes: np.ndarray, step: int, steady: np.ndarray) -> list[np.ndarray]:
        """Energy of each band, by blocks, that the mix of these `mixing.nodes` is to have.

        steady: (rows, columns) on the nodes, 0 to 1: how much of it is the plate's own at the place shown.
        """
        if self.strength == 0:
            return []
        return [self._advected(k, nodes, step, steady) for k in range(len(self.weights))]

    def _energies(self, levels: list[tuple[np.ndarray, np.ndarray]], start: int) -> list[np.ndarray]:
        return [_pooled(values) for values in super()._energies(levels, start)]

    def _advected(self, k: int, nodes: np.ndarray, step: int, steady: np.ndarray) -> np.ndarray:
        variance, count = self.variances[k], self.counts[k]
        out, size = np.empty_like(count), _F(BLOCK * 2**k)
        parallel_rows(
            len(count),
            lambda a, b: _advected_rows(variance, count, nodes, steady, size, _F(step), out, a, b),
            min_rows=2,
        )
        return out


def _pooled(grid: np.ndarray) -> np.ndarray:
    return box_filter(grid, POOL, border=False)
