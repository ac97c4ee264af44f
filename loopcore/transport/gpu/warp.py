# SPDX-License-Identifier: Apache-2.0
"""The backward warp on the GPU, differentiable."""

from typing import Any

import torch
from torch.autograd.function import once_differentiable

from loopcore.transport.gpu.kernels import warp as warp_kernels
from loopcore.transport.gpu.kernels.bins import make_bins
from loopcore.transport.gpu.plan import Plan, arithmetic, on


def warp(values: torch.Tensor, displacement: torch.Tensor) -> torch.Tensor:
    """values (H, W, C) sampled at each pixel of displacement (h, w, 2) plus its displacement: (h, w, C).

    Differentiable in both. The gradient of a result that is clamped to the range of its 4 x 4 pixels goes to the pixel
    of that value, the first of equals.
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
            warp_kernels.fetch[plan.tiles, plan.blocks](
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
            warp_kernels.slope[(plan.tiles,)](
                values, displacement, gradient, moved, choice, *_frames(values, displacement), **plan.whole
            )
            spread = _warp_spread(values, displacement, gradient, choice) if ctx.needs_input_grad[0] else None
        return spread, moved if ctx.needs_input_grad[1] else None


def _warp_plan(values: torch.Tensor, displacement: torch.Tensor) -> Plan:
    rows, columns = displacement.shape[:2]
    return Plan(rows, columns, values.shape[2], arithmetic(values, displacement), elements=values.numel())


def _frames(values: torch.Tensor, displacement: torch.Tensor) -> tuple[int, ...]:
    """Sizes of the picture and of the result, and the periods of the mirrored picture."""
    (height, width), (rows, columns) = values.shape[:2], displacement.shape[:2]
    return height, width, rows, columns, max(2 * (height - 1), 1), max(2 * (width - 1), 1)


def _warp_spread(
    values: torch.Tensor, displacement: torch.Tensor, gradient: torch.Tensor, choice: torch.Tensor
) -> torch.Tensor:
    """The gradient by the values: each pixel gathers from the results that sampled it."""
    height, width, channels = values.shape
    sizes, here = _frames(values, displacement), _warp_plan(values, displacement)
    there = Plan(height, width, channels, here.dtype, elements=gradient.numel())

    def binning(fill: bool, *arrays: torch.Tensor) -> None:
        warp_kernels.bin_fetches[(here.tiles,)](displacement, *arrays, *sizes, FILL=fill, **here.tile)

    bins = make_bins(
        height * width, here.index, values.device,
        lambda counts: binning(False, counts, counts), lambda *arrays: binning(True, *arrays),
    )  # fmt: skip
    out = torch.empty_like(values)
    warp_kernels.spread[there.tiles, there.blocks](
        displacement, gradient, choice, bins.offsets, bins.entries, out,
        height, width, sizes[3], *sizes[4:], NONE=bins.none, SORTED=bins.is_sorted, **there.whole,
    )  # fmt: skip
    return out
