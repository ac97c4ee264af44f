# SPDX-License-Identifier: Apache-2.0
"""What a frame of several cycles is mixed from: the copies alive, their weights, and how steady the looks are."""

from __future__ import annotations

import numpy as np

from loopcore.loop import mixing
from loopcore.loop.cycles import Cycles
from loopcore.loop.paths import Paths
from loopcore.loop.steady import local_mean

_F = np.float32

# How steady "auto" makes what moves fast.
STEADY = 0.3
# Where looks are steady, detail is taken off, too, down to this.
MIN_GAIN = 0.6


class Mixture:
    """The nodes of any frame, as `mixing.mix` takes them.

    Attributes:
        cycles: the copies and their lives.
        strength: (rows, columns) float32, 0 to 1: how steady the looks are at each node.
        white: the plate's white, for the tone.
        min_gain: how much detail contrast keeping may take off.
        plain: whether this is the loop of one cycle without steady looks.
    """

    def __init__(
        self, paths: Paths, cycles: int | str, steady: float | str, source: np.ndarray, luma: np.ndarray
    ) -> None:
        self._paths, self.cycles = paths, Cycles(paths, cycles)
        if steady == "auto":
            need = self.cycles.need if cycles == "auto" else Cycles(paths, "auto").need
            self.strength = _F(STEADY) * np.clip(need - _F(0.5), 0, 1)
        else:
            self.strength = np.full(paths.velocity.shape[:2], steady, np.float32)
        is_steady = bool(self.strength.max() > 0)
        self.plain = self.cycles.count == 1 and not is_steady
        self.min_gain = MIN_GAIN if is_steady else 1.0
        self._mask, self._mean, self.white = mixing.mask_grid(paths), None, 1.0
        if is_steady:
            self._mean, self.white = local_mean(source, luma, paths.mask, paths.step, self.strength)

    def nodes(self, t: float) -> np.ndarray:
        """The grid's nodes of frame t: (rows, columns, COPY * copies + SHIFT)."""
        copies = self.cycles.copies(t)
        weights = self.cycles.weights(t, [number for number, _ in copies])
        kept = [k for k in range(len(copies)) if weights[k].any()]
        shifts = [self._paths.trace(-copies[k][1]) for k in kept]
        size = self._paths.mask.shape
        return mixing.nodes(shifts, weights[kept], self._mask, self._paths.step, size, self._mean, self.strength)
