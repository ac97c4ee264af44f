# SPDX-License-Identifier: Apache-2.0
"""How a kernel is launched: its tiles, its arithmetic, its device."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import triton
import triton.language as tl

from loopcore.transport.gpu.kernels import warp as warp_kernels

INTERPRETED = not isinstance(warp_kernels.fetch, triton.runtime.JITFunction)
# Offsets into arrays below this many elements are computed in 32 bits.
INT32_ELEMENTS = 2**31


class Plan:
    """Tiles of pixels and blocks of channels that cover a frame, the width of indices, and the arithmetic.

    Args:
        rows, columns, channels: size of the frame.
        dtype: torch.float32 or torch.float64, the arithmetic.
        elements: size of the largest array that is indexed, if larger than the frame.

    Attributes:
        tiles, blocks: programs along the first and the second axis of the launch.
        index: torch.int64 where offsets need 64 bits, else torch.int32.
        tile: keyword arguments of kernels that work on pixels.
        whole: `tile` and the arguments of kernels that work on channels too.
    """

    def __init__(self, rows: int, columns: int, channels: int, dtype: torch.dtype, *, elements: int = 0) -> None:
        self.block = min(triton.next_power_of_2(channels), 64)
        # One pixel of up to 4 channels, or 16 channels of a pixel, per thread.
        self.tile_x, self.tile_y = (32, 4) if self.block <= 4 else (16, 4) if self.block <= 16 else (8, 4)
        if INTERPRETED:  # the interpreter takes as long for many pixels as for one
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
    """Return the type that kernels compute in: float64 if any input is, else float32."""
    return torch.float64 if any(t is not None and t.dtype == torch.float64 for t in tensors) else torch.float32


def on(device: torch.device) -> AbstractContextManager[Any]:
    """Return a context in which kernels are launched on this device."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


def to_device(tensor: torch.Tensor) -> torch.Tensor:
    """Return the tensor on a device that runs the kernels."""
    return tensor if tensor.is_cuda or INTERPRETED else tensor.cuda()
