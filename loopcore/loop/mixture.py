# SPDX-License-Identifier: Apache-2.0
"""What a frame of several cycles is mixed from: the copies alive, their weights, and how steady the looks are."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from loopcore.errors import MotionError
from loopcore.loop import blend, mixing
from loopcore.loop.cycles import Cycles
from loopcore.loop.paths import Paths
from loopcore.loop.plate_contrast import PlateContrast
from loopcore.loop.steady import local_mean, looks, to_tone

_F = np.float32

# How steady "auto" makes what moves fast.
STEADY = 0.3


class Mixture:
    """The nodes of any frame, as `mixing.mix` takes them.

    Attributes:
        cycles: the copies and their lives.
        strength: (rows, columns) float32, 0 to 1: how steady the looks are at each node.
        mask: (rows, columns), the mask at the nodes.
        looks: (rows, columns, 2), of `steady.looks`; 0 where the plate is not known.
        mean: (rows, columns, 4), the local mean of tone; None where looks are not kept.
        white: the plate's white, for the tone.
        contrast: gives a frame its detail.
    """

    def __init__(
        self, paths: Paths, cycles: int | str, steady: float | str, source: np.ndarray | None, luma: np.ndarray,
        tone: np.ndarray, contrast: float,
    ) -> None:  # fmt: skip
        self._paths, self.mask, self.mean, self.white = paths, mixing.mask_grid(paths), None, 1.0
        self.looks, mean = np.zeros((*self.mask.shape, 2), np.float32), None
        if source is not None:
            mean, self.white = local_mean(source, luma, paths.mask, paths.step)
            self.looks = looks(mean, luma, paths)
        self.cycles = Cycles(paths, cycles, self.looks)
        if steady == "auto":
            need = self.cycles.need if cycles == "auto" else Cycles(paths, "auto", self.looks).need
            self.strength = _F(STEADY) * np.clip(need - _F(0.5), 0, 1)
        else:
            self.strength = np.full(paths.velocity.shape[:2], steady, np.float32)
        if self.strength.max() > 0:
            if mean is None:
                raise MotionError("steady looks need the plate: give it (--plate), or set steady to 0")
            self.mean = mean
        self.contrast = PlateContrast(tone, paths.mask, contrast)

    def wanted(self, nodes: np.ndarray) -> list[np.ndarray]:
        """The detail that the frame of these nodes is to have, as `PlateContrast.change` takes it."""
        return self.contrast.wanted(nodes, self._paths.step, self.strength)

    @property
    def steady(self) -> bool:
        """Whether the tone is shifted."""
        return self.mean is not None

    @property
    def plain(self) -> bool:
        """Whether this is the loop of one cycle without steady looks."""
        return self.cycles.count == 1 and self.mean is None

    def nodes(self, t: float) -> np.ndarray:
        """The grid's nodes of frame t: (rows, columns, COPY * copies + SHIFT)."""
        copies, weights = self._alive(t)
        shifts = [self._paths.trace(-span) for _, span in copies]
        size = self._paths.mask.shape
        return mixing.nodes(shifts, weights, self.mask, self.looks, self._paths.step, size, self.mean, self.strength)

    def copies(self, t: float) -> list[tuple[int, float]]:
        """The copies in the nodes of frame t, in their order: number, and frames from home."""
        return self._alive(t)[0]

    def splats(self, t: float) -> Iterator[tuple[float, np.ndarray]]:
        """Frames from home of each copy that shows in frame t, and the weight (H, W) of its pixels."""
        for (_, span), weight in zip(*self._alive(t), strict=True):
            yield span, blend.expand(weight[..., None], self._paths.step, *self._paths.mask.shape)[..., 0]

    def bound(self, peak: float) -> float:
        """No value greater than this is made of values up to `peak` by shifting their tone."""
        if self.mean is None:
            return peak
        shift = float(self.strength.max()) * float(np.ptp(self.mean, axis=(0, 1)).max())
        tone = float(to_tone(np.array(peak), _F(self.white))) + shift
        return max(peak, self.white * (tone**2 if tone <= 1 else math.exp(2 * (tone - 1))))

    def _alive(self, t: float) -> tuple[list[tuple[int, float]], np.ndarray]:
        """The copies that show in frame t, and their weights in time (copies, rows, columns)."""
        copies = self.cycles.copies(t)
        weights = self.cycles.weights(t, [number for number, _ in copies])
        kept = [k for k in range(len(copies)) if weights[k].any()]
        return [copies[k] for k in kept], weights[kept]


def mixture_of(
    paths: Paths, cycles: int | str, steady: float | str, source: np.ndarray | None, luma: np.ndarray,
    tone: np.ndarray, contrast: float,
) -> Mixture | None:  # fmt: skip
    """Returns the mixture of a loop; None for the plain loop of two copies.

    Args:
        paths: of the content.
        cycles: as `Loop`.
        steady: as `Loop`.
        source: (H, W, 4) the plate in the window of the paths; None if it is not known.
        luma: (4,) weights of luminance.
        tone: (H, W) square root of the plate's luminance; not used where contrast is 0.
        contrast: as `Loop`.

    Raises:
        MotionError: looks are steady, and the plate is not known.
    """
    if (cycles, steady) == (1, 0) or not (paths.mask > 0).any():
        return None
    mixture = Mixture(paths, cycles, steady, source, luma, tone, contrast)
    return None if mixture.plain else mixture
