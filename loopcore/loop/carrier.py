# SPDX-License-Identifier: Apache-2.0
"""Carries the layers of a plate to a frame: the same paths, masks, cycles and weights for each."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from loopcore.exr import ExrPart, Window, as_stored
from loopcore.exr.windows import place
from loopcore.loop import carrying, storing
from loopcore.loop.blend import to_grid
from loopcore.loop.packing import Packed, local_means, packed_layers
from loopcore.loop.steady import SCALE
from loopcore.parallel import parallel_rows
from loopcore.plate import Plate
from loopcore.plate.carried import DATA, ID, CarriedLayers

if TYPE_CHECKING:
    from loopcore.loop.mixture import Mixture
    from loopcore.loop.paths import Paths

_F = np.float32

# Gains of a channel tend to 1 where it is less than this fraction of its mean.
FLOOR = 1e-3
# Packs of more bytes in all are packed again for each frame.
KEPT_BYTES = 1 << 29


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
        self._moves = bool((paths.mask > 0).any())
        moving = np.maximum(source[paths.mask > 0], 0)
        self._floor = _F(FLOOR) * (moving.mean(axis=0) if len(moving) else np.ones(4, np.float32))
        self._floor = np.maximum(self._floor, _F(1e-30)).astype(np.float32)
        left, top = plate.windows.data[:2]
        rows, columns = paths.window
        self._window: Window = (left + columns.start, top + rows.start, left + columns.stop - 1, top + rows.stop - 1)
        self._boxes = [storing.box_of(part.data_window, self._window) for part in self._layers.parts]
        self._mean_step = max(round(SCALE * max(self._mask.shape)), 8)
        self._preparing, self._prepared = threading.Lock(), False

    def parts(self) -> list[ExrPart]:
        """New parts for `carry`, with the still values."""
        parts = [replace(part, channels={k: v.copy() for k, v in part.channels.items()}) for part in self._layers.parts]
        own = parts[self._layers.plate_part]
        left, top, right, bottom = own.data_window
        for full, dtype in self._layers.plate_channels.values():
            own.channels[full] = np.empty((bottom - top + 1, right - left + 1), dtype)
        return parts

    def carry(self, time: float, canvas: np.ndarray, parts: list[ExrPart]) -> None:
        """Put a frame into parts, which may have held another.

        Args:
            time: of the frame.
            canvas: (H, W, 4) the frame, all of the plate, float32 or float16.
            parts: of `parts`.
        """
        if self._moves:
            self._prepare()
            self._carry(time, canvas, parts)
        own = parts[self._layers.plate_part]
        for k, (full, dtype) in enumerate(self._layers.plate_channels.values()):
            pixels = place(canvas[..., k], self._plate.windows.data, own.data_window)
            own.channels[full][...] = pixels if pixels.dtype == dtype else as_stored(pixels, dtype.type)

    def _prepare(self) -> None:
        """Pack the colour layers, and find what of the data is finite, once."""
        with self._preparing:
            if self._prepared:
                return
            layers, alone = self._layers, self._splat is not None
            self._packs, others = packed_layers(layers, self._plate.channels, self._window, alone)
            data = [(a.part, full) for a in layers.layers if a.kind == DATA for full in a.channels.values()]
            self._ids = [(a.part, full) for a in layers.layers if a.kind == ID for full in a.channels.values()]
            self._data = [(*key, bool(np.isfinite(self._placed(*key)).all())) for key in others + data]
            self._kept, self._means, total = dict[int, np.ndarray](), list[np.ndarray](), 0
            for k, pack in enumerate(self._packs):
                values = pack.values(layers.parts, self._window)
                self._means.append(local_means(values, self._mean_step))
                total += values.nbytes
                if total <= KEPT_BYTES:
                    self._kept[k] = values
            self._plate_means = to_grid(self._source, self._mean_step)
            self._prepared = True

    def _carry(self, time: float, canvas: np.ndarray, parts: list[ExrPart]) -> None:
        nodes = carrying.as_mixture(self._paths.nodes(time)) if self._mixture is None else self._mixture.nodes(time)
        step, mask, spans = self._paths.step, self._mask, self._spans
        reference = None if self._splat is None or not self._packs else self._splat(time, self._source)
        for k, pack in enumerate(self._packs):
            values = self._kept[k] if k in self._kept else pack.values(self._layers.parts, self._window)
            if self._splat is None or reference is None:
                self._carry_colours(pack, values, self._means[k], nodes, canvas, parts)
            else:
                self._match_splatted(
                    pack, values, self._means[k], (self._splat(time, values), reference), canvas, parts
                )
        for part, full, finite in self._data:
            out, box = parts[part].channels[full], self._boxes[part]
            storing.data(self._placed(part, full), nodes, step, mask, spans, finite, out, box)
        if self._ids:
            places = storing.sources(nodes, step, mask, spans)
            for part, full in self._ids:
                storing.ids(
                    self._placed(part, full), places, mask, spans, parts[part].channels[full], self._boxes[part]
                )

    def _carry_colours(
        self, pack: Packed, values: np.ndarray, means: np.ndarray, nodes: np.ndarray, canvas: np.ndarray,
        parts: list[ExrPart],
    ) -> None:  # fmt: skip
        """Carry the layers of a pack, region by region."""
        (height, width), step = self._mask.shape, self._paths.step
        tile = carrying.tile_width(step)

        def band(first: int, last: int) -> None:
            pixels = carrying.REGION_ROWS * min(tile, width)
            moved, reference = np.empty(pixels * pack.size, np.float32), np.empty(4 * pixels, np.float32)
            for region in carrying.regions(first, last, width, tile):
                carrying.fetch(values, self._source, nodes, step, self._mask, self._spans, region, moved, reference)
                self._finish(pack, values, means, moved, reference, region, canvas, parts)

        parallel_rows(height, band)

    def _match_splatted(
        self, pack: Packed, values: np.ndarray, means: np.ndarray, splatted: tuple[np.ndarray, np.ndarray],
        canvas: np.ndarray, parts: list[ExrPart],
    ) -> None:  # fmt: skip
        """Finish a layer, given it and the plate splatted to the frame."""
        height, width = self._mask.shape
        moved, reference = (picture.reshape(height, -1) for picture in splatted)

        def band(first: int, last: int) -> None:
            region = carrying.Region(first, last, 0, width)
            flat = moved[first:last].reshape(-1), reference[first:last].reshape(-1)
            self._finish(pack, values, means, *flat, region, canvas, parts)

        parallel_rows(height, band)

    def _finish(
        self, pack: Packed, values: np.ndarray, means: np.ndarray, moved: np.ndarray, reference: np.ndarray,
        region: carrying.Region, canvas: np.ndarray, parts: list[ExrPart],
    ) -> None:  # fmt: skip
        """Match a region's layers to the frame, and store them."""
        corner = (self._paths.window[0].start, self._paths.window[1].start)
        carrying.match(
            moved, values, reference, self._source, canvas, corner, self._floor, means, self._plate_means,
            self._mean_step, self._mask, self._spans, region,
        )  # fmt: skip
        for part, full, slot in pack.targets():
            out, box = parts[part].channels[full], self._boxes[part]
            storing.put(moved, pack.size, slot, self._mask, self._spans, region, out, box)

    def _placed(self, part: int, full: str) -> np.ndarray:
        """A channel in the loop's window, as stored; 0 outside of its part's data window."""
        of = self._layers.parts[part]
        return np.ascontiguousarray(place(of.channels[full], of.data_window, self._window))
