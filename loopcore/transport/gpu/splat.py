# SPDX-License-Identifier: Apache-2.0
"""The forward warp on the GPU, differentiable."""

from collections.abc import Sequence
from typing import Any

import torch
from torch.autograd.function import once_differentiable

from loopcore.transport.gpu.kernels import splat as splat_kernels
from loopcore.transport.gpu.kernels import splat_gradient
from loopcore.transport.gpu.kernels.bins import Bins, make_bins
from loopcore.transport.gpu.plan import Plan, arithmetic, on


def splat(
    values: torch.Tensor, displacement: torch.Tensor, weight: torch.Tensor | None = None, *, atomic: bool = False
) -> tuple[torch.Tensor, torch.Tensor]:
    """Weighted sums (H, W, C) and weights (H, W) of values (H, W, C) deposited where they land.

    Differentiable in values, displacement and weight.

    Args:
        atomic: add with float atomics, in no fixed order; the last bits then differ from run to run.
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
            splat_gradient.slope[(plan.tiles,)](
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
    splat_kernels.bin_pieces[(plan.tiles,)](
        displacement, given, pieces, *arrays, width, height, FILL=fill, WEIGHTED=weight is not None, **plan.tile
    )


def bin_splats(
    plan: Plan, shifts: Sequence[torch.Tensor], weight: torch.Tensor | None = None
) -> tuple[Bins, torch.Tensor]:
    """Bin the pieces of several splats of one size by the cell they land in.

    Args:
        plan: its indices must hold 64 times the number of all splats' cells.
        shifts: the splats' displacements, each (H, W, 2).
        weight: (H, W), one for all splats; pixels of weight 0 are left out.

    Returns:
        The bins, one splat's cells after the other's, `noted` above 0 if any pixel is subdivided; and the numbers of
        pieces, (splats, H, W) uint8 as in `splat_kernels`.
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
    splat_kernels.gather[plan.tiles, plan.blocks](
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
    splat_kernels.scatter[plan.tiles, plan.blocks](
        values, displacement, values if weight is None else weight, sums, weights, width, height,
        WEIGHTED=weight is not None, **plan.whole,
    )  # fmt: skip
    return sums.to(values.dtype), weights.to(values.dtype)
