# SPDX-License-Identifier: Apache-2.0
"""Triton: integrate, warp and splat on an NVIDIA GPU; warp and splat differentiable in torch.

Runs CUDA tensors on their own device; with TRITON_INTERPRET=1 in the environment, CPU tensors in Triton's interpreter,
which is slow and meant for tests. The same input gives the same bits on every run, except with `splat(atomic=True)`,
which alone adds floats atomically.

Convention: as in `loopcore.transport.cpu`.
"""

from loopcore.transport.gpu.cache_folder import choose_cache_folder
from loopcore.transport.gpu.integrate import integrate
from loopcore.transport.gpu.plan import INTERPRETED, Plan, arithmetic, on, to_device
from loopcore.transport.gpu.splat import bin_splats, splat
from loopcore.transport.gpu.warp import warp

choose_cache_folder()

__all__ = ["INTERPRETED", "Plan", "arithmetic", "to_device", "bin_splats", "integrate", "on", "splat", "warp"]
