# SPDX-License-Identifier: Apache-2.0
"""The maps of a frame of several copies: layers, each with the place to fetch from and a weight, and a shift of tone.

With S the still, d_k the displacement and a_k the weight of layer k, m = sum_k a_k the mask, and v the plate's white:

    moving = (1 / m) sum_k a_k S(x + d_k)
    frame = m light(max(tone(moving) + shift, tone(moving) / 4)) + (1 - m) S
    tone(y) = sqrt(y / v) where y <= v, else 1 + ln(y / v) / 2;  light is its inverse

Values of `moving` that are not above 0 stay as they are, and so does alpha. Without steady looks the shift is 0.

Convention: displacements as in `maps`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from loopcore.flowmap.planes import to_planes
from loopcore.image import EqualByContent
from loopcore.loop.mixture import Mixture
from loopcore.loop.paths import Paths
from loopcore.loop.plate_contrast import COPY, SHIFT


@dataclass(frozen=True, eq=False)
class Layer(EqualByContent):
    """One layer of a frame, float32, stored as planes.

    Attributes:
        displacement: (H, W, 2) displacement to where the layer's copy has its content in the still.
        weight: (H, W) share of the frame; over all layers they sum to the mask.
        span: frames between the still and the frame that the displacement spans, negative backward; 0 for a layer
            without a copy.
    """

    displacement: np.ndarray
    weight: np.ndarray
    span: float


@dataclass(frozen=True, eq=False)
class LayerMaps(EqualByContent):
    """The maps of one frame.

    Attributes:
        layers: always as many, whether they hold a copy or not.
        shift: (H, W, 4) float32, what to add to the tone of each of the plate's channels; None without steady looks.
    """

    layers: tuple[Layer, ...]
    shift: np.ndarray | None


class Layers:
    """Distributes the copies of a loop over the fewest layers, each of which holds one copy at a time.

    A layer changes its copy where its weight is 0 everywhere, except between the loop's last frame and its first.

    Args:
        mixture: what the loop is mixed from.
        paths: of the content.
        mask: (H, W) of the whole picture.
    """

    def __init__(self, mixture: Mixture, paths: Paths, mask: np.ndarray) -> None:
        self._mixture, self._paths, self._mask = mixture, paths, mask
        self._layer_of = layers_of(mixture.cycles.lives())
        self.count = max(self._layer_of) + 1
        self.white = float(mixture.white) if mixture.steady else None

    def at(self, t: float) -> LayerMaps:
        """Returns the maps of a frame.

        Args:
            t: loop time, 0 to N.
        """
        height, width = self._mask.shape
        nodes, copies = self._mixture.nodes(t), self._mixture.copies(t)
        still = np.zeros((3, height, width), np.float32)
        layers = [_layer(still, 0.0)] * self.count
        for k, (number, span) in enumerate(copies):
            planes = self._planes(nodes[..., COPY * k : COPY * k + 3])
            planes[2] *= self._mask
            layers[self._layer_of[number]] = _layer(planes, -span)
        shift = np.moveaxis(self._planes(nodes[..., -SHIFT:]), 0, 2) if self._mixture.steady else None
        return LayerMaps(tuple(layers), shift)

    def _planes(self, nodes: np.ndarray) -> np.ndarray:
        nodes = np.ascontiguousarray(nodes)
        return to_planes(nodes, nodes.shape[2], self._paths.step, self._paths.window, self._mask)


def _layer(planes: np.ndarray, span: float) -> Layer:
    return Layer(np.moveaxis(planes[:2], 0, 2), planes[2], span)


def layers_of(lives: Sequence[tuple[float, float]]) -> list[int]:
    """Returns a layer for each copy, such that copies that live at the same time have different layers.

    Copies take the first free layer in the order of their births, which needs no more layers than the most copies
    that live at one time.

    Args:
        lives: start and end of each copy; those without a duration are never shown.
    """
    ends: list[float] = []
    chosen = [0] * len(lives)
    for number in sorted(range(len(lives)), key=lambda number: lives[number]):
        start, end = lives[number]
        if start >= end:
            continue
        free = [layer for layer, busy_until in enumerate(ends) if busy_until <= start]
        chosen[number] = free[0] if free else len(ends)
        ends[chosen[number] :] = [end, *ends[chosen[number] + 1 :]]
    return chosen
