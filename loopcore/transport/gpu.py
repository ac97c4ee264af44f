# SPDX-License-Identifier: Apache-2.0
"""The Triton kernels: integrate, warp and splat on the GPU; warp and splat differentiable in torch.

Runs CUDA tensors where they are; with TRITON_INTERPRET=1 in the environment, CPU tensors through Triton's interpreter,
which is slow and there for tests. The same input gives the same bits on each run: no kernel adds floats atomically,
but for the splat that is asked for by that name.

Convention: as in `cpu`.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import triton
import triton.language as tl
from torch.autograd.function import once_differentiable

from . import _gpu_integrate, _gpu_splat, _gpu_splat_gradient, _gpu_warp
from ._gpu_bins import Bins, make_bins
from .cpu import SHORTEST_STEP, STEP_TOLERANCE

INTERPRETED = not isinstance(_gpu_warp.fetch, triton.runtime.JITFunction)
# Offsets into arrays below this many elements are computed in 32 bits.
NARROW = 2**31
# Integration: the length of a path's first step, in frames, at most.
FIRST_STEP = 1.0


class Plan:
    """How a kernel covers a frame: tiles of pixels, blocks of channels, the width of its indices, its arithmetic."""

    def __init__(self, rows: int, columns: int, channels: int, dtype: torch.dtype, *, elements: int = 0) -> None:
        self.block = min(triton.next_power_of_2(channels), 64)
        # One pixel of up to 4 channels a thread, or 16 channels of a pixel; a tile as square as keeps its rows whole.
        self.tile_x, self.tile_y = (32, 4) if self.block <= 4 else (16, 4) if self.block <= 16 else (8, 4)
        if INTERPRETED:  # which takes as long for many pixels as for one
            self.tile_x, self.tile_y = 64, 32
        self.tiles = triton.cdiv(columns, self.tile_x) * triton.cdiv(rows, self.tile_y)
        self.blocks = triton.cdiv(channels, self.block)
        self.wide = max(rows * columns * max(channels, 2), elements) >= NARROW
        self.index = torch.int64 if self.wide else torch.int32
        self.dtype = dtype
        self.tile = {
            "COMPUTE": tl.float64 if dtype == torch.float64 else tl.float32,
            "TILE_X": self.tile_x, "TILE_Y": self.tile_y, "WIDE": self.wide,
        }  # fmt: skip
        self.whole = {**self.tile, "CHANNELS": channels, "BLOCK_C": self.block}


def arithmetic(*tensors: torch.Tensor | None) -> torch.dtype:
    """Kernels compute in float32, or in float64 when any of their inputs is."""
    return torch.float64 if any(t is not None and t.dtype == torch.float64 for t in tensors) else torch.float32


def on(device: torch.device) -> AbstractContextManager[Any]:
    """Launch on this device, whichever is the current one."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


def at_hand(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor where the kernels can reach it."""
    return tensor if tensor.is_cuda or INTERPRETED else tensor.cuda()


def integrate(velocity: torch.Tensor, steps: float) -> torch.Tensor:
    """Displacement (H, W, 2) after `steps` frames (negative: backward) of a velocity (H, W, 2), which is finite."""
    velocity = velocity.detach().contiguous()
    (height, width), out = velocity.shape[:2], torch.zeros_like(velocity)
    plan = Plan(height, width, 1, arithmetic(velocity))
    if steps != 0:
        with on(velocity.device):
            _gpu_integrate.trace[(plan.tiles,)](
                velocity, out, height, width, float(abs(steps)), 1.0 if steps > 0 else -1.0,
                TOLERANCE=STEP_TOLERANCE, SHORTEST=SHORTEST_STEP, FIRST=FIRST_STEP, **plan.tile,
            )  # fmt: skip
    return out


def warp(values: torch.Tensor, displacement: torch.Tensor) -> torch.Tensor:
    """values (H, W, C) fetched at each pixel of displacement (h, w, 2) plus its displacement: (h, w, C).

    Differentiable in both. Where the range of the 4 x 4 pixels holds a result, its gradient goes to the pixel that
    holds it, the first of equals.
    """
    return _Warp.apply(values.contiguous(), displacement.contiguous())


class _Warp(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: torch.Tensor, displacement: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(values, displacement)
        channels, (rows, columns) = values.shape[2], displacement.shape[:2]
        plan = _warp_plan(values, displacement)
        out = torch.empty((rows, columns, channels), dtype=values.dtype, device=values.device)
        with on(values.device):
            _gpu_warp.fetch[plan.tiles, plan.blocks](
                values, displacement, out, *_frames(values, displacement), **plan.whole
            )
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        values, displacement = ctx.saved_tensors
        gradient = gradient.contiguous()
        plan = _warp_plan(values, displacement)
        moved = torch.empty_like(displacement)
        choice = torch.empty_like(gradient, dtype=torch.int8)
        with on(values.device):
            _gpu_warp.slope[(plan.tiles,)](
                values, displacement, gradient, moved, choice, *_frames(values, displacement), **plan.whole
            )
            spread = _warp_spread(values, displacement, gradient, choice) if ctx.needs_input_grad[0] else None
        return spread, moved if ctx.needs_input_grad[1] else None


def _warp_plan(values: torch.Tensor, displacement: torch.Tensor) -> Plan:
    rows, columns = displacement.shape[:2]
    return Plan(rows, columns, values.shape[2], arithmetic(values, displacement), elements=values.numel())


def _frames(values: torch.Tensor, displacement: torch.Tensor) -> tuple[int, ...]:
    """Sizes of the picture and of the result, periods of the mirrored picture."""
    (height, width), (rows, columns) = values.shape[:2], displacement.shape[:2]
    return height, width, rows, columns, max(2 * (height - 1), 1), max(2 * (width - 1), 1)


def _warp_spread(
    values: torch.Tensor, displacement: torch.Tensor, gradient: torch.Tensor, choice: torch.Tensor
) -> torch.Tensor:
    """The gradient by the values, gathered for each of their pixels from the pixels made of it."""
    height, width, channels = values.shape
    sizes, here = _frames(values, displacement), _warp_plan(values, displacement)
    there = Plan(height, width, channels, here.dtype, elements=gradient.numel())

    def binning(fill: bool, *arrays: torch.Tensor) -> None:
        _gpu_warp.bin_fetches[(here.tiles,)](displacement, *arrays, *sizes, FILL=fill, **here.tile)

    bins = make_bins(
        height * width, here.index, values.device,
        lambda counts: binning(False, counts, counts), lambda *arrays: binning(True, *arrays),
    )  # fmt: skip
    out = torch.empty_like(values)
    _gpu_warp.spread[there.tiles, there.blocks](
        displacement, gradient, choice, bins.offsets, bins.entries, out,
        height, width, sizes[3], *sizes[4:], NONE=bins.none, SORTED=bins.is_sorted, **there.whole,
    )  # fmt: skip
    return out


def splat(
    values: torch.Tensor, displacement: torch.Tensor, weight: torch.Tensor | None = None, *, atomic: bool = False
) -> tuple[torch.Tensor, torch.Tensor]:
    """Weighted sums (H, W, C) and weights (H, W) of values (H, W, C) deposited where they land.

    Differentiable in values, displacement and weight. atomic: add up in whatever order the pieces come, with float
    atomics; the last bits then differ from run to run.
    """
    given = weight.contiguous() if weight is not None else None
    return _Splat.apply(values.contiguous(), displacement.contiguous(), given, atomic)


class _Splat(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, values: torch.Tensor, displacement: torch.Tensor, weight: torch.Tensor | None, atomic: bool
    ) -> tuple[torch.Tensor, torch.Tensor]:
        with on(values.device):
            if atomic:
                sums, weights = _splat_atomic(values, displacement, weight)
            else:
                sums, weights = _splat_binned(values, displacement, weight)
        ctx.save_for_backward(values, displacement, weight)
        return sums, weights

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, by_sums: torch.Tensor, by_weights: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        values, displacement, weight = ctx.saved_tensors
        height, width, channels = values.shape
        plan = Plan(height, width, channels, arithmetic(values, displacement, weight))
        pieces = torch.zeros((height, width), dtype=torch.uint8, device=values.device)
        counts = torch.zeros((height + 1) * (width + 1), dtype=plan.index, device=values.device)
        given = values if weight is None else weight
        found = [torch.empty_like(tensor) for tensor in (values, displacement, given)]
        with on(values.device):
            _bin_pieces(False, plan, displacement, None, pieces, counts, counts)
            _gpu_splat_gradient.slope[(plan.tiles,)](
                values, displacement, given, pieces, by_sums.contiguous(), by_weights.contiguous(), *found,
                width, height, WEIGHTED=weight is not None, STRETCHED=bool(pieces.any()), **plan.whole,
            )  # fmt: skip
        wanted = zip(found, ctx.needs_input_grad[:3], strict=True)
        return *(gradient if needed else None for gradient, needed in wanted), None


def _bin_pieces(
    fill: bool, plan: Plan, displacement: torch.Tensor, weight: torch.Tensor | None, pieces: torch.Tensor,
    *arrays: torch.Tensor,
) -> None:  # fmt: skip
    """Count, or list, the pieces of one splat."""
    height, width = displacement.shape[:2]
    given = displacement if weight is None else weight
    _gpu_splat.bin_pieces[(plan.tiles,)](
        displacement, given, pieces, *arrays, width, height, FILL=fill, WEIGHTED=weight is not None, **plan.tile
    )


def bin_splats(
    plan: Plan, shifts: Sequence[torch.Tensor], weight: torch.Tensor | None = None
) -> tuple[Bins, torch.Tensor]:
    """Bins of the pieces of splats of one size by displacements (H, W, 2), one splat's cells after the other's.

    Also in how many pieces each pixel of each splat comes, (splats, H, W) as in `_gpu_splat`; the bins' `noted` is
    above 0 where some come in more than one. The plan's indices have to suffice for 64 times all splats' cells.
    """
    height, width = shifts[0].shape[:2]
    cells = (height + 1) * (width + 1)
    pieces = torch.empty((len(shifts), height, width), dtype=torch.uint8, device=shifts[0].device)

    def each(fill: bool, counts: torch.Tensor, entries: torch.Tensor) -> torch.Tensor:
        for k, shift in enumerate(shifts):
            _bin_pieces(fill, plan, shift, weight, pieces[k], counts[k * cells :], entries)
        return pieces.max()

    bins = make_bins(
        len(shifts) * cells, plan.index, pieces.device,
        lambda counts: each(False, counts, counts), lambda *arrays: each(True, *arrays),
    )  # fmt: skip
    return bins, pieces


def _splat_binned(
    values: torch.Tensor, displacement: torch.Tensor, weight: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor]:
    height, width, channels = values.shape
    # An entry of the bins is 64 times a pixel's number, and more.
    plan = Plan(
        height, width, channels, arithmetic(values, displacement, weight), elements=64 * (height + 1) * (width + 1)
    )
    bins, pieces = bin_splats(plan, [displacement], weight)
    sums = torch.empty_like(values)
    weights = torch.empty((height, width), dtype=values.dtype, device=values.device)
    _gpu_splat.gather[plan.tiles, plan.blocks](
        values, displacement, values if weight is None else weight, pieces, bins.offsets, bins.entries, sums, weights,
        width, height, WEIGHTED=weight is not None, STRETCHED=bins.noted > 0, NONE=bins.none,
        SORTED=bins.is_sorted, **plan.whole,
    )  # fmt: skip
    return sums, weights


def _splat_atomic(
    values: torch.Tensor, displacement: torch.Tensor, weight: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor]:
    height, width, channels = values.shape
    plan = Plan(height, width, channels, arithmetic(values, displacement, weight))
    sums = torch.zeros(values.shape, dtype=plan.dtype, device=values.device)
    weights = torch.zeros((height, width), dtype=plan.dtype, device=values.device)
    _gpu_splat.scatter[plan.tiles, plan.blocks](
        values, displacement, values if weight is None else weight, sums, weights, width, height,
        WEIGHTED=weight is not None, **plan.whole,
    )  # fmt: skip
    return sums.to(values.dtype), weights.to(values.dtype)
