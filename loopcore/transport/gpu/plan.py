# SPDX-License-Identifier: Apache-2.0
"""How a kernel covers a frame, and where its tensors are."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import triton
import triton.language as tl

from loopcore.transport.gpu.kernels import (
    warp as warp_kernels,
)

INTERPRETED = not isinstance(warp_kernels.fetch, triton.runtime.JITFunction)
# Offsets into arrays below this many elements are computed in 32 bits.
INT32_ELEMENTS = 2**31


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
        self.wide = max(rows * columns * max(channels, 2), elements) >= INT32_ELEMENTS
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


def to_device(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor where the kernels can reach it."""
    return tensor if tensor.is_cuda or INTERPRETED else tensor.cuda()
