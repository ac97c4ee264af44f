# SPDX-License-Identifier: Apache-2.0
"""Carries the layers of a plate to a frame, one after another: the same paths, masks, cycles and weights for each."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from loopcore.exr import ExrPart, Window, as_stored
from loopcore.exr.windows import place
from loopcore.loop import carrying
from loopcore.loop.blend import to_grid
from loopcore.loop.steady import SCALE
from loopcore.plate import Plate
from loopcore.plate.carried import COLOUR, ID, CarriedLayer, CarriedLayers

if TYPE_CHECKING:
    from loopcore.loop.mixture import Mixture
    from loopcore.loop.paths import Paths

_F = np.float32

# Gains of a channel tend to 1 where it is less than this fraction of its mean.
FLOOR = 1e-3


class Carrier:
    """The parts of a frame's file, from the plate's layers and the frame's pixels.

    plate: with its layers. paths, mixture: of the loop; without a mixture, frames are blends of two copies. source:
    (H, W, 4) the plate in the window, finite. spans: as the loop's. splat: carries such a picture to a time, where the
    loop splats.
    """

    def __init__(
        self, plate: Plate, paths: Paths, mixture: Mixture | None, source: np.ndarray, spans: np.ndarray,
        splat: Callable[[float, np.ndarray], np.ndarray] | None,
    ) -> None:  # fmt: skip
        assert plate.layers is not None
        self._layers: CarriedLayers = plate.layers
        self._plate, self._paths, self._mixture, self._source = plate, paths, mixture, source
        self._mask, self._spans, self._splat = paths.mask, spans, splat
        self._moving = paths.mask > 0
        moving = np.maximum(source[self._moving], 0)
        self._floor = _F(FLOOR) * (moving.mean(axis=0) if len(moving) else np.ones(4, np.float32))
        self._floor = np.maximum(self._floor, _F(1e-30)).astype(np.float32)
        self._mean_step = max(round(SCALE * max(self._mask.shape)), 8)
        self._plate_means, self._means = to_grid(source, self._mean_step), dict[str, np.ndarray]()
        left, top = plate.windows.data[:2]
        rows, columns = paths.window
        self._window: Window = (left + columns.start, top + rows.start, left + columns.stop - 1, top + rows.stop - 1)
        self._scratch = threading.local()

    def parts(self, time: float, canvas: np.ndarray) -> list[ExrPart]:
        """The parts of the frame's file, with new arrays.

        Args:
            time: of the frame.
            canvas: (H, W, 4) the frame, all of the plate, float32 or float16.
        """
        parts = [replace(part, channels={k: v.copy() for k, v in part.channels.items()}) for part in self._layers.parts]
        if self._moving.any():
            self._carry(time, canvas, parts)
        own = parts[self._layers.plate_part]
        for k, (full, dtype) in enumerate(self._layers.plate_channels.values()):
            pixels = place(canvas[..., k], self._plate.windows.data, own.data_window)
            own.channels[full] = np.ascontiguousarray(as_stored(pixels, dtype.type))
        return parts

    def _carry(self, time: float, canvas: np.ndarray, parts: list[ExrPart]) -> None:
        nodes = carrying.as_mixture(self._paths.nodes(time)) if self._mixture is None else self._mixture.nodes(time)
        kinds = {layer.kind for layer in self._layers.layers}
        if COLOUR in kinds:
            reference, final = self._buffer("reference"), self._buffer("final")
            move = partial(self._move, time, nodes, self._move(time, nodes, None, self._source, reference))
            final[...] = canvas[self._paths.window]
        sources = carrying.sources(nodes, self._paths.step, self._mask, self._spans) if ID in kinds else None
        for layer in self._layers.layers:
            part = parts[layer.part]
            if layer.kind == COLOUR:
                others = self._carry_colour(move, layer, part, reference, final)
                self._carry_data(nodes, others, part)
            elif sources is not None and layer.kind == ID:
                self._carry_ids(layer, part, sources)
            else:
                self._carry_data(nodes, list(layer.channels.values()), part)

    def _carry_colour(
        self, move: Callable[[np.ndarray, np.ndarray], object], layer: CarriedLayer, part: ExrPart,
        reference: np.ndarray, final: np.ndarray,
    ) -> list[str]:  # fmt: skip
        """Carry the channels that the plate has; returns the others."""
        from loopcore.transport.fill import repair

        own = self._plate.channels
        slots = {full: own.index(short) for short, full in layer.channels.items() if short in own}
        if slots:
            values, moved = repair(self._filled(part, slots)), self._buffer("moved")
            move(values, moved)
            means = self._means_of(f"{layer.part} {layer.title}", values)
            carrying.match(
                moved, values, reference, self._source, final, self._floor, means, self._plate_means,
                self._mean_step, self._mask, self._spans,
            )  # fmt: skip
            for full, slot in slots.items():
                self._put(part, full, moved[..., slot])
        return [full for full in layer.channels.values() if full not in slots]

    def _means_of(self, name: str, values: np.ndarray) -> np.ndarray:
        """A layer's local means, computed once."""
        if name not in self._means:
            self._means[name] = to_grid(values, self._mean_step)
        return self._means[name]

    def _move(
        self, time: float, nodes: np.ndarray, limits: np.ndarray | None, values: np.ndarray, out: np.ndarray
    ) -> np.ndarray | None:
        """Carry a picture; returns the limits of its lookups, or the given ones."""
        if self._splat is None:
            return carrying.colour(values, nodes, self._paths.step, self._mask, self._spans, limits, out)
        out[...] = self._splat(time, values)
        return None

    def _carry_data(self, nodes: np.ndarray, channels: list[str], part: ExrPart) -> None:
        for start in range(0, len(channels), 4):
            slots = {full: slot for slot, full in enumerate(channels[start : start + 4])}
            values, moved = self._filled(part, slots), self._buffer("moved")
            carrying.data(values, len(slots), nodes, self._paths.step, self._mask, self._spans, moved)
            for full, slot in slots.items():
                self._put(part, full, moved[..., slot])

    def _filled(self, part: ExrPart, slots: dict[str, int]) -> np.ndarray:
        """A part's channels in the loop's window, in these places of four, the others 0."""
        values = self._buffer("values")
        values[...] = 0
        for full, slot in slots.items():
            values[..., slot] = self._placed(part, full)
        return values

    def _carry_ids(self, layer: CarriedLayer, part: ExrPart, sources: np.ndarray) -> None:
        for full in layer.channels.values():
            # As bits: ids stored as floats may be NaN or denormal.
            values = self._placed(part, full)
            bits = np.ascontiguousarray(values).view(f"u{values.itemsize}")
            self._put(part, full, bits.reshape(-1)[sources].view(values.dtype))

    def _placed(self, part: ExrPart, full: str) -> np.ndarray:
        """A layer's channel in the loop's window, as stored; 0 outside of its data window."""
        return place(part.channels[full], part.data_window, self._window)

    def _put(self, part: ExrPart, full: str, values: np.ndarray) -> None:
        """Put the moving pixels of the loop's window into a part's channel."""
        target, stored = part.channels[full], values
        if target.dtype != values.dtype:
            stored = as_stored(values, target.dtype.type)
        (left, top), (x, y) = self._window[:2], part.data_window[:2]
        a, b = max(left, x), max(top, y)
        c, d = min(self._window[2], part.data_window[2]) + 1, min(self._window[3], part.data_window[3]) + 1
        if a >= c or b >= d:
            return
        inside = slice(b - top, d - top), slice(a - left, c - left)
        bits = f"u{target.itemsize}"
        shown = target[b - y : d - y, a - x : c - x].view(bits)
        np.copyto(shown, stored[inside].view(bits), where=self._moving[inside])

    def _buffer(self, name: str) -> np.ndarray:
        """A thread's own (H, W, 4)."""
        if not hasattr(self._scratch, name):
            setattr(self._scratch, name, np.empty_like(self._source))
        buffer: np.ndarray = getattr(self._scratch, name)
        return buffer
