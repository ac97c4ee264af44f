# SPDX-License-Identifier: Apache-2.0
"""Colour layers packed side by side, so that one lookup serves all of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from loopcore.exr import ExrPart, Window
from loopcore.exr.windows import place
from loopcore.loop.blend import to_grid
from loopcore.plate.carried import COLOUR, CarriedLayers
from loopcore.transport.fill import repair

# Layers packed together, at most, as halves; of float32, half as many.
MOST = 6


@dataclass(frozen=True)
class Packed:
    """Layers that are packed together.

    Attributes:
        channels: of each layer, the index of its part, and of each channel its full name and which of four it is.
        dtype: np.float16 where all their pixels are halves and finite, else np.float32.
    """

    channels: tuple[tuple[int, dict[str, int]], ...]
    dtype: type

    @property
    def size(self) -> int:
        """Numbers of a pixel."""
        return 4 * len(self.channels)

    def targets(self) -> Iterator[tuple[int, str, int]]:
        """Yield the part, the full name, and the place in a pixel of each channel."""
        for k, (part, slots) in enumerate(self.channels):
            for full, slot in slots.items():
                yield part, full, 4 * k + slot

    def values(self, parts: Sequence[ExrPart], window: Window) -> np.ndarray:
        """Return the pixels in a window (H, W, size), finite: NaN and Inf are filled from around them."""
        shape = window[3] - window[1] + 1, window[2] - window[0] + 1
        out: np.ndarray = np.zeros((*shape, self.size), self.dtype)
        for part, full, n in self.targets():
            out[..., n] = place(parts[part].channels[full], parts[part].data_window, window)
        for n in range(0, self.size, 4):
            if self.dtype == np.float32:
                out[..., n : n + 4] = repair(np.ascontiguousarray(out[..., n : n + 4]))
        return out


def local_means(values: np.ndarray, step: int) -> np.ndarray:
    """Return the means of packed layers around every `step`-th pixel: (rows, columns, size)."""
    grids = [to_grid(values[..., n : n + 4], step) for n in range(0, values.shape[2], 4)]
    return np.ascontiguousarray(np.concatenate(grids, axis=2))


def packed_layers(
    layers: CarriedLayers, plate_channels: Sequence[str], window: Window, alone: bool
) -> tuple[list[Packed], list[tuple[int, str]]]:
    """Return the colour layers in packs, and the part and full name of their channels that the plate does not have.

    Args:
        layers: of the plate. plate_channels: a layer's are looked up with these. window: to look at.
        alone: whether each layer is a pack of its own, in float32.
    """
    colours: dict[type, list[tuple[int, dict[str, int]]]] = {np.float16: [], np.float32: []}
    others = []
    for layer in layers.layers:
        if layer.kind != COLOUR:
            continue
        part = layers.parts[layer.part]
        slots = {full: plate_channels.index(name) for name, full in layer.channels.items() if name in plate_channels}
        others += [(layer.part, full) for full in layer.channels.values() if full not in slots]
        half = not alone and all(_finite_half(place(part.channels[full], part.data_window, window)) for full in slots)
        if slots:
            colours[np.float16 if half else np.float32].append((layer.part, slots))
    packs = []
    for dtype, found in colours.items():
        most = 1 if alone else MOST if dtype == np.float16 else MOST // 2
        packs += [Packed(tuple(found[k : k + most]), dtype) for k in range(0, len(found), most)]
    return packs, others


def _finite_half(values: np.ndarray) -> bool:
    """Return whether values are halves, none of them NaN or Inf."""
    return values.dtype == np.float16 and not ((values.view(np.uint16) & 0x7FFF) >= 0x7C00).any()
