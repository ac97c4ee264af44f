# SPDX-License-Identifier: Apache-2.0
"""Measures the layers that move with a plate: what is still keeps its bits, and frame N is frame 0."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from loopcore.errors import SequenceError
from loopcore.exr import ExrPart, read_exr
from loopcore.exr.windows import place
from loopcore.loop import Loop
from loopcore.quality.report import Row, judged

CLOSURE = 1e-6


class LayerMeasurement:
    """What is measured of the layers of the frames, added in order of time."""

    def __init__(self, loop: Loop, moving: np.ndarray) -> None:
        assert loop.plate.layers is not None
        self._loop, self._layers, window = loop, loop.plate.layers, loop.plate.windows.data
        self._still = [~place(moving, window, part.data_window) for part in self._layers.parts]
        self._changed, self._gap = 0, 0.0

    def add(self, time: int, path: Path) -> None:
        parts = read_exr(path)
        named = [(part.name, part.data_window) for part in self._layers.parts]
        if [(part.name, part.data_window) for part in parts] != named:
            raise SequenceError(f"'{path}' has other parts than the plate: bake the loop again")
        for part, source, still in zip(parts, self._layers.parts, self._still, strict=True):
            for name, values in source.channels.items():
                found = part.channels.get(name)
                if found is None or found.dtype != values.dtype:
                    raise SequenceError(f"'{path}' lacks the channel {name!r} of the plate: bake the loop again")
                self._changed += int(np.count_nonzero((_bits(found) != _bits(values)) & still))
        if time == 0:
            self._gap = self._closure(parts)

    def _closure(self, first: list[ExrPart]) -> float:
        """The greatest difference of frame N from frame 0 of any channel, beyond rounding, over its range."""
        canvas = self._loop.canvas(np.float32)
        self._loop.render(self._loop.frames, canvas)
        gap = 0.0
        for part, start, source in zip(
            self._loop.carried(self._loop.frames, canvas), first, self._layers.parts, strict=True
        ):
            for name in source.channels:
                gap = max(gap, _gap(part.channels[name], start.channels[name]))
        return gap

    def rows(self, advice: str) -> Iterator[Row]:
        limit = f"<= {CLOSURE:g} of the range"
        yield judged(
            "layers, static: values that differ outside the mask", self._changed, "0", not self._changed, advice
        )
        yield judged("layers, closure: frame N against frame 0", self._gap, limit, self._gap <= CLOSURE, advice)


def _bits(values: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(values).view(f"u{values.itemsize}")


def _gap(end: np.ndarray, start: np.ndarray) -> float:
    unlike = _bits(end) != _bits(start)
    if not unlike.any():
        return 0.0
    if end.dtype == np.uint32:
        return float("inf")
    step = np.spacing(np.abs(end[unlike])).astype(np.float64)
    gap = np.abs(end[unlike].astype(np.float64) - start[unlike]) - step
    finite = end[np.isfinite(end)].astype(np.float64)
    span = float(np.ptp(finite)) if finite.size else 0.0
    return max(float(np.where(np.isfinite(gap), gap, np.inf).max()), 0.0) / (span or 1.0)
