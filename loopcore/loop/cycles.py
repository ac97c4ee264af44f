# SPDX-License-Identifier: Apache-2.0
"""The cycles of a loop: when copies of the plate are born, how long they live, and how much each counts where.

A copy of the plate that is carried too far no longer fits where it is shown. A loop of N frames therefore runs in K
cycles of P = N / K frames. Copy j is at home, not displaced, at h_j = j P - o_j; at every moment two neighbouring
copies are blended, so that none is shown further than about P frames from home. The offsets o_j and births that vary
over the picture keep the cycles from being one short film K times over, and the frame from pulsing as a whole (noise
on the phase: Vlachos, "Water Flow in Portal 2", SIGGRAPH 2010). Copies 0 and K are the plate itself at frames 0 and N.

Fast water needs short lives, and slow water or clouds long ones: layers of 1, 2, 4, ... cycles stand side by side, and
each place mixes the two that suit it best (choosing among lifetimes by the deformation that has accumulated: Neyret,
"Advected Textures", SCA 2003). Births of a layer are births of the next one, too, so layers share copies.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from loopcore.loop.smooth import gaussian_filter
from loopcore.parallel import parallel_rows
from loopcore.transport.jit import kernel

if TYPE_CHECKING:
    from loopcore.loop.paths import Paths

_F = np.float32

# The shortest life that "auto" chooses, in frames from birth to full weight.
MIN_PERIOD = 12
# Layers of up to 2^MAX_LAYER cycles are chosen from.
MAX_LAYER = 10
# Greatest offset of a copy along its path, and greatest shift of its birth, as fractions of the cycle.
MAX_OFFSET = 0.35
MAX_SHIFT = 0.3
# Births vary over the picture with cells of this fraction of its longer side.
NOISE_CELL = 1 / 8
# Halfway through its life a copy is too far from home where it is displaced by more than this fraction of the longer
# side of what moves and half of its weight is lost to distortion (the product counts, a fifth where none is lost); what
# falls breaks up sooner than what flows level. It is, too, where less than MIN_QUALITY of its weight is left.
MAX_DISPLACEMENT, MAX_FALL = 0.1, 0.06
MIN_LOSS = 0.2
# Each further halving takes this much more: lives that are too short look still.
RELUCTANCE = 0.5
MIN_QUALITY = 0.25
# Where less than this fraction of what moves needs more than half a halving, all has the plain loop.
MIN_AREA = 0.0075
# A need of less than about this many halvings is none: the plain loop is best there.
ENOUGH = 0.25
# The layers that places need are smoothed by a Gaussian of this fraction of the longer side.
SMOOTHING = 0.01


class Cycles:
    """Which copies of the plate a frame is blended from, and their weights in time.

    Attributes:
        count: K, cycles of the shortest-lived layer.
        layers: cycles of each layer, ascending; each divides K.
        need: (rows, columns) float32 on the grid of the paths: which layer a place needs, 0 to len(layers) - 1.
        noise: (K + 1, nodes, nodes) float32, by how much each copy's birth is shifted, every `cell` nodes of the grid.
    """

    def __init__(self, paths: Paths, cycles: int | str, looks: np.ndarray | None = None) -> None:
        self.frames = paths.frames
        self._shape, self._step = paths.velocity.shape[:2], paths.step
        if cycles == "auto":
            self.need = needed_layers(paths, looks)
            top = math.ceil(float(self.need.max(initial=0)))
            self.layers = tuple(2**k for k in range(top + 1))
        else:
            self.need = np.zeros(self._shape, np.float32)
            self.layers = (int(cycles),)
        self.count = self.layers[-1]
        cell = max(paths.mask.shape) * NOISE_CELL / paths.step
        self.cell = _F(max(cell, 1.0))
        self.noise = _lattice(self.count, *(math.ceil(side / float(self.cell)) + 2 for side in self._shape))
        period = self.frames / self.count
        self._offsets = [MAX_OFFSET * period * _spread(j) if 0 < j < self.count else 0.0 for j in range(self.count + 1)]

    def copies(self, t: float) -> list[tuple[int, float]]:
        """The copies that may show in frame t: number, and frames from home (negative before it)."""
        alive = set()
        for layer in self.layers:
            stride, life = self.count // layer, self.frames / layer
            first = math.floor(t / life)
            for i in range(max(first - 1, 0), min(first + 2, layer) + 1):
                reach = (1 + 2 * MAX_SHIFT) * life
                if abs(t - i * life) < reach:
                    alive.add(i * stride)
        return [(j, t - j * self.frames / self.count + self._offsets[j]) for j in sorted(alive)]

    def lives(self) -> list[tuple[float, float]]:
        """Of each copy: the times between which it counts anywhere; infinite at the loop's ends, (0, 0) if never."""
        lives = [(math.inf, -math.inf)] * (self.count + 1)
        for level, layer in enumerate(self.layers):
            births = np.empty((layer + 1, 2), np.float32)
            shown = np.abs(self.need - _F(level)) < 1 if len(self.layers) > 1 else np.ones(self._shape, np.bool_)
            if not shown.any():
                continue
            _births(_F(self.frames), self.count // layer, layer, shown, self.noise, self.cell, births)
            for i in range(layer + 1):
                start = -math.inf if i == 0 else float(births[i - 1, 0])
                end = math.inf if i == layer else float(births[i + 1, 1])
                known = lives[i * self.count // layer]
                lives[i * self.count // layer] = (min(known[0], start), max(known[1], end))
        return [life if life[0] < life[1] else (0.0, 0.0) for life in lives]

    @property
    def most_copies(self) -> int:
        """`copies` lists no more than this."""
        return min(sum(min(layer + 1, 4) for layer in self.layers), self.count + 1)

    def weights(self, t: float, numbers: list[int]) -> np.ndarray:
        """(copies, rows, columns) float32: how much each copy counts at time t; they sum to 1."""
        out = np.empty((len(numbers), *self._shape), np.float32)
        layers = np.array(self.layers, np.int64)
        chosen = np.array(numbers, np.int64)
        parallel_rows(
            self._shape[0],
            lambda a, b: _weight_rows(
                _F(t), _F(self.frames), self.count, layers, chosen, self.need, self.noise, self.cell, out, a, b
            ),
        )
        return out


def needed_layers(paths: Paths, looks: np.ndarray | None) -> np.ndarray:
    """(rows, columns): how often N frames have to be halved until a copy still fits halfway through its life.

    Args:
        paths: of the content. looks: of `steady.looks`; None where the plate is not known.
    """
    from loopcore.loop.blend import to_grid
    from loopcore.loop.mixing import mask_grid, quality

    mask = mask_grid(paths)
    looks = np.zeros((*mask.shape, 2), np.float32) if looks is None else looks
    most = min(max(math.floor(math.log2(max(paths.frames / MIN_PERIOD, 1))), 0), MAX_LAYER)
    speed = np.hypot(paths.velocity[..., 0], paths.velocity[..., 1])
    down = np.clip(paths.velocity[..., 1] / np.maximum(speed, _F(1e-6)), 0, 1) ** 2
    limit = _F(max(paths.mask.shape)) * (_F(MAX_DISPLACEMENT) - _F(MAX_DISPLACEMENT - MAX_FALL) * down)
    need = np.zeros(mask.shape, np.float32)
    for layer in range(most):
        half, reluctance = paths.frames / 2 ** (layer + 1), _F(1 + RELUCTANCE * layer)
        misfit = np.zeros(mask.shape, np.float32)
        for span in (-half, half):
            shift = paths.trace(span)
            fit = quality(shift, mask, looks)
            length = np.hypot(shift[..., 0], shift[..., 1]) * _F(paths.step)
            too_far = _beyond(2 * np.maximum(1 - fit, _F(MIN_LOSS)) * length / (limit * reluctance))
            misfit += _F(0.5) * np.maximum(too_far, 1 - _beyond(fit * reluctance / _F(MIN_QUALITY)))
        need += misfit
    sigma = SMOOTHING * max(paths.mask.shape) / paths.step
    weight = mask + _F(1e-4)
    if paths.drifting is not None:  # shapes move with clouds and smoke: they have the plain loop
        need *= 1 - to_grid(paths.drifting[..., None], paths.step)[..., 0]
    need = gaussian_filter(need * weight, sigma) / gaussian_filter(weight, sigma)
    need = np.clip(_F(1 + ENOUGH) * need - _F(ENOUGH), 0, most)
    few = ((need > 0.5) * mask).sum() < MIN_AREA * mask.sum()
    return np.zeros_like(need) if few else need


def _beyond(ratio: np.ndarray) -> np.ndarray:
    """0 well below 1, 1 well above it."""
    return np.clip(_F(1.5) * (ratio - _F(1)) + _F(0.5), 0, 1)


def _spread(j: int) -> float:
    """The j-th number of a sequence that fills -1..1 evenly (multiples of the golden ratio)."""
    return 2 * ((j * 0.6180339887498949) % 1) - 1


def _lattice(count: int, rows: int, columns: int) -> np.ndarray:
    """(count + 1, rows, columns): noise in -1..1 for the births of each copy; the first and last have none."""
    number = np.arange((count + 1) * rows * columns, dtype=np.uint32)
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):  # an integer hash of 32 bits
        number = (number ^ (number >> np.uint32(shift))) * np.uint32(factor)
    noise = (number ^ (number >> np.uint32(16))).astype(np.float64) / 2**31 - 1
    out = noise.astype(np.float32).reshape(count + 1, rows, columns)
    out[0] = out[-1] = 0
    return out


@kernel
def _noise_at(noise, j, y, x):
    """Noise of copy j between the nodes of its lattice, with a smooth step."""
    i, k = int(y), int(x)
    v, u = y - _F(i), x - _F(k)
    v, u = v * v * (_F(3) - _F(2) * v), u * u * (_F(3) - _F(2) * u)
    top = noise[j, i, k] + u * (noise[j, i, k + 1] - noise[j, i, k])
    bottom = noise[j, i + 1, k] + u * (noise[j, i + 1, k + 1] - noise[j, i + 1, k])
    return top + v * (bottom - top)


@kernel
def _birth(noise, i, stride, frames, layer, y, x):
    """When copy i of a layer is at full weight; 0 and `frames` to the bit for the first and the last."""
    return frames * (_F(i) + _F(MAX_SHIFT) * _noise_at(noise, i * stride, y, x)) / _F(layer)


@kernel
def _births(frames, stride, layer, shown, noise, cell, births):
    """The first and last time at which each copy of a layer is at full weight, among the nodes where it is shown."""
    for i in range(layer + 1):
        births[i, 0], births[i, 1] = _F(np.inf), _F(-np.inf)
        for row in range(shown.shape[0]):
            for column in range(shown.shape[1]):
                if shown[row, column]:
                    time = _birth(noise, i, stride, frames, layer, _F(row) / cell, _F(column) / cell)
                    births[i, 0], births[i, 1] = min(births[i, 0], time), max(births[i, 1], time)


@kernel
def _weight_rows(t, frames, count, layers, numbers, need, noise, cell, out, first, last):
    for row in range(first, last):
        for column in range(need.shape[1]):
            y, x = _F(row) / cell, _F(column) / cell
            for k in range(numbers.size):
                out[k, row, column] = _F(0)
            for level in range(layers.size):
                part = _F(1) - abs(need[row, column] - _F(level))
                if layers.size == 1:
                    part = _F(1)
                if part <= 0:
                    continue
                stride, layer = count // layers[level], layers[level]
                for k in range(numbers.size):
                    if numbers[k] % stride:
                        continue
                    i = numbers[k] // stride
                    middle = _birth(noise, i, stride, frames, layer, y, x)
                    weight = _F(0)
                    if t == middle:
                        weight = _F(1)
                    elif t < middle and i > 0:
                        before = _birth(noise, i - 1, stride, frames, layer, y, x)
                        weight = max((t - before) / (middle - before), _F(0))
                    elif t > middle and i < layer:
                        after = _birth(noise, i + 1, stride, frames, layer, y, x)
                        weight = max((after - t) / (after - middle), _F(0))
                    out[k, row, column] += part * weight
