# SPDX-License-Identifier: Apache-2.0
"""Pictures and displacements for the kernels' cases, and a faster interpreter."""

from __future__ import annotations

from typing import Any

import torch


def quicken() -> None:
    """Keep Triton 3.6's interpreter from wrapping triton.language again at each call of a device function.

    The launch has wrapped it already; further wrappers accumulate, and make each operation slower than the last.
    """
    import triton.language as tl
    from triton.runtime import interpreter

    if not hasattr(interpreter, "_patch_lang"):
        return

    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        for lang in (tl, tl.core):
            if any(value is lang for value in self.fn.__globals__.values()) and lang.load.__name__ != "<lambda>":
                interpreter._patch_lang(self.fn)
        return self.rewrite()(*args, **kwargs)

    interpreter.InterpretedFunction.__call__ = call


def picture(height: int, width: int, channels: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> torch.Tensor:
    """Scene-linear noise with negatives and highlights."""
    random = torch.Generator().manual_seed(seed)
    values = torch.randn(height, width, channels, generator=random, dtype=torch.float64)
    return (values * torch.randn(height, width, 1, generator=random, dtype=torch.float64).exp()).to(dtype)


def noise(height: int, width: int, reach: float, dtype: torch.dtype = torch.float32, seed: int = 1) -> torch.Tensor:
    random = torch.Generator().manual_seed(seed)
    return ((torch.rand(height, width, 2, generator=random, dtype=torch.float64) * 2 - 1) * reach).to(dtype)


def zoom(height: int, width: int, stretch: float, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Stretched evenly about a point off the centre, by `stretch` along x and its square root along y."""
    y, x = torch.meshgrid(torch.arange(height).double(), torch.arange(width).double(), indexing="ij")
    shift = torch.stack([(stretch - 1) * (x - width * 0.41), (stretch**0.5 - 1) * (y - height * 0.57)], -1)
    return shift.to(dtype)


def close(ours: Any, theirs: Any, tolerance: float) -> None:
    """Assert equal shapes and types, and values that differ by at most `tolerance` of the largest."""
    assert ours.shape == theirs.shape and ours.dtype == theirs.dtype
    ours, theirs = ours.detach().cpu().double(), theirs.detach().cpu().double()
    assert ((ours - theirs).abs().max() <= tolerance * theirs.abs().max()).item()


quicken()
