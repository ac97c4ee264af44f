# SPDX-License-Identifier: Apache-2.0
"""Chooses the backend and converts arrays: numpy or torch from the caller, float32 for the kernels, and back."""

import sys
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np

from loopcore.errors import EngineError, PlateError

Array = Any  # numpy.ndarray or torch.Tensor
BACKENDS = ("reference", "cpu", "triton")


class Dispatch(NamedTuple):
    """The backend of a call, and the kind of array to return."""

    backend: str
    is_tensor: bool
    dtype: Any
    device: Any


def is_tensor(x: object) -> bool:
    """Whether x is a torch tensor, without importing torch."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(x, torch.Tensor)


def dispatch(
    backend: str | None, first: Array, *others: Array | None, extra: tuple[str, ...] = (), gradient: bool = True
) -> Dispatch:
    """Choose the backend: Triton's for CUDA tensors, plain torch for gradients and other devices, else Numba's.

    extra: backends besides the usual. gradient: whether the Triton kernel has one.

    Raises EngineError for a backend that is unknown, not available, or without the gradient asked for.
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


def to_gpu(x: Array) -> Any:
    """A floating torch tensor for the Triton kernels."""
    from loopcore.transport.gpu import to_device

    return to_device(to_tensor(x))


def from_gpu(x: Any, kind: Dispatch) -> Array:
    """The Triton kernel's result as the caller's kind of array, where the caller's is."""
    return x.to(kind.device) if kind.is_tensor else x.cpu().numpy()


def to_numpy(x: Array) -> np.ndarray:
    """A C-contiguous float32 array for the kernels."""
    if is_tensor(x):
        x = x.detach().numpy()
    return np.ascontiguousarray(x, dtype=np.float32)


def from_numpy(x: np.ndarray, kind: Dispatch) -> Array:
    """The kernel's result as the caller's kind of array, in the caller's floating type."""
    if kind.is_tensor:
        import torch

        tensor = torch.from_numpy(x)
        return tensor.to(kind.dtype) if kind.dtype.is_floating_point else tensor
    return x.astype(kind.dtype, copy=False) if np.issubdtype(kind.dtype, np.floating) else x


def to_tensor(x: Array) -> Any:
    """A floating torch tensor for the reference."""
    import torch

    tensor = x if is_tensor(x) else torch.from_numpy(np.ascontiguousarray(x))
    return tensor if tensor.is_floating_point() else tensor.float()


def from_tensor(x: Any, kind: Dispatch) -> Array:
    """The reference's result as the caller's kind of array."""
    return x if kind.is_tensor else x.numpy()


def require_shape(name: str, x: Array, expected: tuple[int | None, ...]) -> None:
    """Raise PlateError unless x has this shape (None: any positive size)."""
    shape = tuple(x.shape)
    fits = len(shape) == len(expected) and all(
        n > 0 and (e is None or n == e) for n, e in zip(shape, expected, strict=True)
    )
    if not fits:
        wanted = ", ".join("any" if e is None else str(e) for e in expected)
        raise PlateError(f"{name} has shape {shape}, where ({wanted}) is needed")
