# SPDX-License-Identifier: Apache-2.0
"""Chooses the backend of a call, and converts its arrays: numpy or torch to what the backend takes, and back."""

import sys
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np

from loopcore.errors import EngineError, PlateError

Array = Any  # numpy.ndarray or torch.Tensor
BACKENDS = ("reference", "cpu", "triton")


class Dispatch(NamedTuple):
    """The backend of a call, and what its results are converted to."""

    backend: str
    is_tensor: bool
    dtype: Any
    device: Any

    def kernels(self) -> Any:
        """Return the backend's module, which has `integrate`, `warp` and `splat`."""
        if self.backend == "cpu":
            from loopcore.transport import cpu

            return cpu
        if self.backend == "reference":
            from loopcore.transport import reference

            return reference
        from loopcore.transport import gpu

        return gpu

    def given(self, x: Array | None) -> Any:
        """Return the caller's array as the backend takes it: contiguous float32 numpy, or a floating torch tensor."""
        if x is None:
            return None
        if self.backend == "cpu":
            return np.ascontiguousarray(x.detach().numpy() if self.is_tensor else x, dtype=np.float32)
        import torch

        tensor = x if self.is_tensor else torch.from_numpy(np.ascontiguousarray(x))
        tensor = tensor if tensor.is_floating_point() else tensor.float()
        return tensor if self.backend == "reference" else self.kernels().to_device(tensor)

    def returned(self, x: Any) -> Array:
        """Return the backend's result as the caller's kind of array, on its device, float32 for integers."""
        if self.backend != "cpu":
            return x.to(self.device) if self.is_tensor else x.cpu().numpy()
        if self.is_tensor:
            import torch

            return torch.from_numpy(x).to(self.dtype if self.dtype.is_floating_point else torch.float32)
        return x.astype(self.dtype, copy=False) if np.issubdtype(self.dtype, np.floating) else x


def is_tensor(x: object) -> bool:
    """Return whether x is a torch tensor, without importing torch."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(x, torch.Tensor)


def dispatch(
    backend: str | None, first: Array, *others: Array | None, extra: tuple[str, ...] = (), gradient: bool = True
) -> Dispatch:
    """Choose the backend: Triton for CUDA tensors, plain torch for gradients and other devices, Numba otherwise.

    Args:
        extra: backends allowed besides BACKENDS.
        gradient: whether the Triton kernel is differentiable.

    Raises:
        EngineError: the backend is unknown, not available, or lacks a gradient that is needed; or arrays of different
            kinds or devices.
    """
    if backend is not None and backend not in BACKENDS + extra:
        raise EngineError(f"unknown backend {backend!r}: choose one of {', '.join(BACKENDS + extra)}")
    on_gpu = backend is not None and backend.startswith("triton")
    if on_gpu:
        _require_triton(backend)
    arrays = [a for a in (first, *others) if a is not None]
    tensors = [a for a in arrays if is_tensor(a)]
    if tensors and len(tensors) != len(arrays):
        raise EngineError("numpy arrays and torch tensors were mixed in one call: convert them to one kind")
    if not tensors:
        return Dispatch(backend or "cpu", False, np.asarray(first).dtype, None)
    devices = {t.device for t in tensors}
    if len(devices) > 1:
        raise EngineError(f"tensors on {' and '.join(sorted(map(str, devices)))} were mixed: move them to one device")
    kind = first.device.type
    if backend == "cpu" and kind != "cpu":
        raise EngineError(f"backend 'cpu' was asked for tensors on {first.device}: move them with .cpu()")
    if on_gpu and kind not in ("cpu", "cuda"):
        raise EngineError(f"backend {backend!r} was asked for tensors on {first.device}: use 'reference'")
    wanted = any(t.requires_grad for t in tensors)
    if on_gpu and wanted and not gradient:
        raise EngineError(f"backend {backend!r} has no gradient here: use 'reference'")
    if backend is None:
        backend = "reference" if wanted or kind != "cpu" else "cpu"
        if kind == "cuda" and (gradient or not wanted) and find_spec("triton"):
            backend = "triton"
    return Dispatch(backend, True, first.dtype, first.device)


def _require_triton(backend: str | None) -> None:
    if not find_spec("triton"):
        raise EngineError(f"backend {backend!r} is not available: install triton, or use 'cpu' or 'reference'")
    import torch

    from loopcore.transport import gpu

    if not (torch.cuda.is_available() or gpu.INTERPRETED):
        raise EngineError(f"backend {backend!r} is not available: torch sees no GPU; use 'cpu' or 'reference'")


def require_shape(name: str, x: Array, expected: tuple[int | None, ...]) -> None:
    """Raise PlateError unless x has this shape (None: any positive size)."""
    shape = tuple(x.shape)
    fits = len(shape) == len(expected) and all(
        n > 0 and (e is None or n == e) for n, e in zip(shape, expected, strict=True)
    )
    if not fits:
        wanted = ", ".join("any" if e is None else str(e) for e in expected)
        raise PlateError(f"{name} has shape {shape}, where ({wanted}) is needed")
