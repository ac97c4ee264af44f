# SPDX-License-Identifier: Apache-2.0
"""Keeps contrast on the GPU, as `contrast` does on the CPU and with its numbers: buffers, and the order of kernels.

Nothing waits for the GPU on the way: the limits that the CPU tests for are applied by the kernels.
"""

from __future__ import annotations

import numpy as np
import torch
import triton

from loopcore.loop.contrast import (
    BAND_SCALE_LIMITS,
    BLOCK,
    MAX_GAIN,
    MIN_VARIANCE,
    PATCH,
    REFINED_FROM_LEVEL,
    REFINEMENT_ROUNDS,
    Contrast,
)
from loopcore.loop.gpu.kernels import bands as band_kernels
from loopcore.loop.plate_contrast import COPY, POOL, SHIFT, PlateContrast
from loopcore.transport import gpu

# Pixels, blocks of a band, and blocks of a grid that one program takes.
TILE = {"TILE_X": 64, "TILE_Y": 64 if gpu.INTERPRETED else 4}
BLOCKS = 16
GRID = 256
_ALIGNED = 32


class GpuContrast:
    """Restores detail in blends (H, W) that lie in `tones`, beside the tones of their two copies.

    contrast: the CPU's, whose weights and limits are taken over. tone: (H, W) float32, what `tones` hold wherever
    nothing is written. grid_shape: (rows, columns) of the grid of blend weights.
    """

    # The blend, then the copy from the past and the one from the future.
    planes = 3
    # Whether what is wanted is known before the blend is, and sums are pooled.
    given = False

    def __init__(self, contrast: Contrast, tone: np.ndarray, grid_shape: tuple[int, int], device: torch.device) -> None:
        self.strength = contrast.strength
        self.levels = len(contrast.weights) if contrast.strength > 0 else 0
        self._device, self._weight_columns = device, grid_shape[1]
        shapes = [tone.shape]
        for _ in range(self.levels):
            shapes.append(((shapes[-1][0] + 1) // 2, (shapes[-1][1] + 1) // 2))
        starts = _starts([height * width for height, width in shapes])
        # Once the copies' energies are known, what is shown takes the place of the past.
        self._buffer = torch.zeros((self.planes, starts[-1]), dtype=torch.float32, device=device)
        height, width = tone.shape
        self.tones = self._buffer[:, : height * width].view(self.planes, height, width)
        self.tones.copy_(torch.from_numpy(tone))
        if self.levels:
            self._prepare(contrast, shapes, starts, grid_shape)

    def _prepare(
        self, contrast: Contrast, shapes: list[tuple[int, ...]], starts: list[int], grid_shape: tuple[int, int]
    ) -> None:
        grids = [(-(-height // BLOCK), -(-width // BLOCK)) for height, width in shapes]
        blocks = _starts([rows * columns for rows, columns in grids])
        table, nearest = [], np.empty(0, np.int32)
        for k, (shape, grid) in enumerate(zip(shapes, grids, strict=True)):
            line = [starts[k], *shape, blocks[k], *grid]
            # The finest level has one blend weight for each block, the others one for each pixel.
            for size, nodes in zip(grid if k < REFINED_FROM_LEVEL else shape, grid_shape, strict=True):
                line.append(len(nearest))
                nearest = np.append(nearest, ((np.arange(size) + 0.5) / size * nodes).astype(np.int32))
            table.append(line)
        self._min_gain, self._min_scale = contrast.min_gain, contrast.min_scale
        self._shapes, self._max_blocks = shapes, max(rows * columns for rows, columns in grids[: self.levels])
        self._table = self._up(np.array(table, np.int64))
        self._nearest = self._up(nearest.astype(np.int32))
        self._weights = self._up(_laid_out(contrast.weights, starts))
        self._counts = self._up(_laid_out(contrast.counts, blocks))
        floors = [MIN_VARIANCE * float(counts.sum(dtype=np.float64)) for counts in contrast.counts]
        self._floors = self._up(np.array(floors))
        self._change = torch.zeros(starts[-1], dtype=torch.float32, device=self._device)
        self._sums = torch.zeros((3, blocks[-1]), dtype=torch.float32, device=self._device)
        self._wanted, self._gain = torch.zeros_like(self._sums[0]), torch.ones_like(self._sums[0])
        self._scale = torch.ones(self.levels, dtype=torch.float32, device=self._device)
        self._tiles = triton.cdiv(self._max_blocks, GRID)
        self._partial = torch.zeros((self.levels, self._tiles, 3), dtype=torch.float64, device=self._device)
        self._patches = -(-shapes[0][0] // PATCH), -(-shapes[0][1] // PATCH)
        self._lower = torch.zeros((3, *self._patches), dtype=torch.float32, device=self._device)

    def _up(self, array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self._device)

    @property
    def patches(self) -> tuple[int, int]:
        """Rows and columns of the grid that brightness is kept on."""
        return self._patches

    def change(self, grid: torch.Tensor, copies: int) -> tuple[torch.Tensor, torch.Tensor] | None:
        """What to add to the tone of the blend (H, W, flat), and what to take off again, by patches of brightness.

        grid: the frame's nodes, as in `kernels.blend`. copies: how many are blended, 2. None where nothing is to do.
        """
        if not self.levels:
            return None
        past_weight = grid[4]
        self._reduce(self._buffer, 0, planes=3)
        self._energies(self._buffer, past_weight, 0, planes=3)
        return self._refined(past_weight)

    def _refined(self, past_weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Settle the gains from the energies of the blend; returns what `change` does."""
        self._gains(past_weight, 0, initial=True)
        start = min(REFINED_FROM_LEVEL, self.levels - 1)
        for _ in range(REFINEMENT_ROUNDS):
            shown = self._buffer[1]
            self._changes(start, shown)
            self._reduce(shown, start, planes=1)
            self._energies(shown, past_weight, start, planes=1)
            self._gains(past_weight, start, initial=False)
        self._changes(0, None)
        return self._change, self._keep_brightness()

    def _reduce(self, buffer: torch.Tensor, start: int, planes: int) -> None:
        for level in range(start, self.levels):
            tiles = _tiles(self._shapes[level + 1])
            band_kernels.reduce[tiles, planes](buffer, self._buffer.stride(0), self._table, level, **TILE)

    def _energies(self, buffer: torch.Tensor, past_weight: torch.Tensor, start: int, planes: int) -> None:
        band_kernels.energies[triton.cdiv(self._max_blocks, BLOCKS), self.levels - start, planes](
            buffer, self._buffer.stride(0), self._weights, past_weight, self._weight_columns, self._nearest,
            self._table, self._sums, self._sums.stride(0), start, BLOCK=BLOCK, PER_PIXEL_FROM=REFINED_FROM_LEVEL,
            COUNT=BLOCKS,
        )  # fmt: skip

    def _gains(self, past_weight: torch.Tensor, start: int, initial: bool) -> None:
        count = self.levels - start
        if self.given:
            band_kernels.pool[self._tiles, count](self._sums, self._sums[1], self._table, start, POOL=POOL, COUNT=GRID)
        band_kernels.gains[self._tiles, count](
            self._sums, self._sums.stride(0), self._counts, past_weight, self._weight_columns, self._nearest,
            self._table, self._wanted, self._gain, self._scale, self._partial, start, INITIAL=initial,
            GIVEN=self.given, PER_PIXEL_FROM=REFINED_FROM_LEVEL, MIN_VARIANCE=MIN_VARIANCE,
            MIN_GAIN=self._min_gain, MAX_GAIN=MAX_GAIN, COUNT=GRID,
        )  # fmt: skip
        band_kernels.scales[(count,)](
            self._partial, self._tiles, self._floors, self._scale, start, MIN=self._min_scale,
            MAX=BAND_SCALE_LIMITS[1], COUNT=GRID,
        )  # fmt: skip

    def _changes(self, start: int, shown: torch.Tensor | None) -> None:
        """From the coarsest band up to `start`, whose sum with its picture goes into `shown`, where that is given."""
        for level in reversed(range(start, self.levels)):
            band_kernels.change[(_tiles(self._shapes[level]),)](
                self._buffer, self._gain, self._scale, float(self.strength), self._table, self._change,
                self._weights, self._buffer if shown is None else shown, level,
                BLOCK=BLOCK, SHOW=shown is not None and level == start, **TILE,
            )  # fmt: skip

    def _keep_brightness(self) -> torch.Tensor:
        (height, width), (rows, columns) = self._shapes[0], self._patches
        brighter, light, lower = self._lower
        band_kernels.surplus[(rows * columns,)](
            self._buffer, self._change, self._weights, brighter, light, height, width, PATCH=PATCH, ROWS=8
        )
        band_kernels.lowering[(triton.cdiv(rows * columns, GRID),)](brighter, light, lower, rows, columns, COUNT=GRID)
        return lower


class GpuPlateContrast(GpuContrast):
    """Gives a mix of copies the detail that the plate has: `PlateContrast` on the GPU.

    strength: (rows, columns) on the grid, 0 to 1: how much of the detail is the plate's own at the place shown.
    """

    # The mix, and what is shown of it.
    planes = 2
    given = True

    def __init__(
        self, contrast: PlateContrast, tone: np.ndarray, strength: torch.Tensor, step: int, device: torch.device
    ) -> None:
        super().__init__(contrast, tone, tuple(strength.shape), device)
        self._steady, self._step = strength, step
        if self.levels:
            blocks = _starts([counts.size for counts in contrast.counts])
            self._variances = self._up(_laid_out(contrast.variances, blocks))

    def change(self, grid: torch.Tensor, copies: int) -> tuple[torch.Tensor, torch.Tensor] | None:
        """As `GpuContrast.change`, for any number of copies and nodes as in `kernels.mixing`."""
        if not self.levels:
            return None
        for level in range(self.levels):
            band_kernels.advected[(self._tiles,)](
                self._variances, self._counts, grid, self._steady, self._table, self._wanted, copies,
                *grid.shape[1:], self._step, level, float(BLOCK * 2**level), SHIFT=SHIFT, COPY=COPY, COUNT=GRID,
            )  # fmt: skip
        self._reduce(self._buffer, 0, planes=1)
        self._energies(self._buffer, grid, 0, planes=1)
        return self._refined(grid)


def _starts(sizes: list[int]) -> list[int]:
    """Where arrays of these sizes begin that lie one after another, each at a round address; and the end."""
    return [0, *np.cumsum([-(-size // _ALIGNED) * _ALIGNED for size in sizes]).tolist()]


def _laid_out(arrays: list[np.ndarray], starts: list[int]) -> np.ndarray:
    out = np.zeros(starts[len(arrays)], np.float32)
    for array, start in zip(arrays, starts, strict=False):
        out[start : start + array.size] = array.reshape(-1)
    return out


def _tiles(shape: tuple[int, ...]) -> int:
    return triton.cdiv(shape[0], TILE["TILE_Y"]) * triton.cdiv(shape[1], TILE["TILE_X"])
