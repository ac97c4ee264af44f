# SPDX-License-Identifier: Apache-2.0
"""The copies that a frame of several cycles is mixed from, on the GPU: `Mixture`'s nodes, made by kernels.

Which copies may show is found on the CPU, in a few steps; their paths, weights and shifts of tone are found on the GPU.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch.nn.functional import avg_pool2d, pad

from loopcore.loop import blend
from loopcore.loop.cycles import MAX_SHIFT
from loopcore.loop.gpu.kernels import cycles as cycle_kernels
from loopcore.loop.gpu.kernels import mixing as mixing_kernels
from loopcore.loop.mixing import MIN_MASK, NEGLIGIBLE
from loopcore.loop.mixture import Mixture
from loopcore.loop.plate_contrast import COPY, SHIFT
from loopcore.transport import gpu


class GpuMixture:
    """Makes a mixture's nodes: call `weigh`, then `make_nodes`.

    Attributes:
        grid: (SHIFT + COPY * copies, rows, columns), the nodes of the frame made last, as the kernels of `mixing` take
            them; copies that do not show lie behind.
        weights: (copies, rows, columns), after `weigh` in time, after `make_nodes` overwritten.
        strength: (rows, columns), how steady the looks are. is_shifted: whether they are anywhere.
        white: the plate's, for the tone.
    """

    def __init__(
        self, mixture: Mixture, step: int, size: tuple[int, int], trace: Callable[[float], torch.Tensor],
        device: torch.device,
    ) -> None:  # fmt: skip
        self._cycles, self._step, self._size, self._trace = mixture.cycles, step, size, trace
        (rows, columns), copies = mixture.mask.shape, mixture.cycles.most_copies
        self.grid = torch.zeros((SHIFT + COPY * copies, rows, columns), device=device)
        self.weights = torch.zeros((copies, rows, columns), device=device)
        self._layers = torch.tensor(mixture.cycles.layers, dtype=torch.int32, device=device)
        self.is_shifted, self.white = mixture.mean is not None, mixture.white
        self._need, self._noise, self._mask, self._looks, self.strength, self._mean = (
            torch.from_numpy(np.ascontiguousarray(array, np.float32)).to(device)
            for array in (
                mixture.cycles.need, mixture.cycles.noise, mixture.mask, mixture.looks, mixture.strength,
                mixture.strength if mixture.mean is None else mixture.mean,
            )
        )  # fmt: skip
        self._plan = gpu.Plan(rows, columns, 1, torch.float32)
        self._tile = {"TILE_X": self._plan.tile_x, "TILE_Y": self._plan.tile_y, "WIDE": self._plan.wide}

    def weigh(self, time: float) -> list[float]:
        """Frames from home of each copy that may show; `weights` are those in time."""
        copies, cycles = self._cycles.copies(time), self._cycles
        for weight, (number, _) in zip(self.weights, copies, strict=False):
            cycle_kernels.time_weights[(self._plan.tiles,)](
                self._need, self._noise, self._layers, weight, number, cycles.count, len(cycles.layers), float(time),
                float(cycles.frames), float(cycles.cell), *weight.shape, *self._noise.shape[1:],
                MAX_SHIFT=MAX_SHIFT, **self._tile,
            )  # fmt: skip
        return [span for _, span in copies]

    def make_nodes(self, spans: list[float]) -> None:
        """The nodes of copies so many frames from home, of which `weights` holds the weights in time."""
        rows, columns = self._mask.shape
        for k, span in enumerate(spans):
            mixing_kernels.copy_nodes[(self._plan.tiles,)](
                self._trace(-span), self._mask, self._looks, self.weights[k], self.grid[SHIFT + COPY * k :], rows,
                columns, self._step, MIN_WEIGHT=blend.MIN_WEIGHT, MIN_SQUEEZE=blend.MIN_SQUEEZE, MIN_MASK=MIN_MASK,
                **self._tile,
            )  # fmt: skip
        weights, (height, width) = self.weights[: len(spans)], self._size
        weights /= weights.sum(0)
        mixing_kernels.mix_weights[(self._plan.tiles,)](
            smoothed(weights, blend.smoothing(self._step, height, width)), self._mean, self.strength, self.grid,
            len(spans), rows, columns, self._step, height, width, max(4.0, blend.BORDER_RAMP * max(height, width)),
            SHIFT=SHIFT, COPY=COPY, NEGLIGIBLE=NEGLIGIBLE, MIN_WEIGHT=blend.MIN_WEIGHT, HAS_MEAN=self.is_shifted,
            **self._tile,
        )  # fmt: skip


def bytes_per_node(copies: int) -> int:
    """GPU memory of a node: its numbers and weights, these while they are smoothed, and what they are made from."""
    return 4 * (SHIFT + COPY * copies) + 4 * copies + 12 * copies + 4 * 5 + 4 * SHIFT


def smoothed(weights: torch.Tensor, size: int) -> torch.Tensor:
    """Weights (planes, rows, columns) under a tent, of two boxes of `size` nodes, an odd number."""
    edge, picture = size // 2, weights[:, None]
    for _ in range(2):
        for box, border in (((size, 1), (0, 0, edge, edge)), ((1, size), (edge, edge, 0, 0))):
            picture = avg_pool2d(pad(picture, border, mode="replicate"), box, 1)
    return picture[:, 0]
