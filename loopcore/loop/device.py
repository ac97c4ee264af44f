# SPDX-License-Identifier: Apache-2.0
"""Which device computes a loop: whether a GPU can and, if not, why. Finding out loads torch only where needed."""

from __future__ import annotations

import ctypes
import os
import sys
from contextlib import AbstractContextManager
from importlib.util import find_spec
from typing import Any

from loopcore.errors import EngineError

DEVICES = ("auto", "cpu", "cuda")
# NVIDIA's driver, by the name that its library has on each system.
_DRIVERS = {"linux": "libcuda.so.1", "win32": "nvcuda.dll"}
# What Triton supports.
_MIN_CAPABILITY = (8, 0)


class translate_errors(AbstractContextManager[None]):
    """Translates torch's GPU errors into EngineErrors that say what to do."""

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        import torch

        if isinstance(error, torch.OutOfMemoryError):
            raise EngineError("the GPU ran out of memory: close what else uses it, or use --device cpu") from error
        if isinstance(error, RuntimeError):
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise EngineError(f"the GPU failed ({reason}): bake again, or use --device cpu") from error


def uses_triton_interpreter() -> bool:
    """Whether Triton's kernels are to run through its interpreter, on the CPU: slow, and there for tests."""
    return os.environ.get("TRITON_INTERPRET", "0") == "1" and find_spec("triton") is not None


def gpu_unavailable_reason(load: bool = True) -> str:
    """Reason why loops cannot be computed on a GPU here, or "". Loads torch if there is a GPU and `load` is set."""
    if not _driver_sees_a_gpu():
        return "no NVIDIA GPU was found"
    if find_spec("triton") is None:
        return "triton is not installed (pip install 'loopcore[gpu]')"
    if not load:
        return ""
    import torch

    if not torch.cuda.is_available():
        return f"this torch ({torch.__version__}) sees no GPU"
    capability = torch.cuda.get_device_capability()
    if capability < _MIN_CAPABILITY:
        return f"{gpu_name()} is too old (compute capability {'.'.join(map(str, capability))}, 8.0 is needed)"
    return ""


def gpu_name() -> str:
    """The name of the GPU that torch would use."""
    import torch

    return str(torch.cuda.get_device_name())


def gpu_hint() -> str:
    """How to ask for the GPU that is here, or "" if there is none. Does not load torch to make sure of it."""
    if gpu_unavailable_reason(load="torch" in sys.modules):
        return ""
    return "there is a GPU, too: --device cuda uses it (its kernels have not been tested on a card yet)"


def device_line() -> str:
    """The device that "auto" uses: the CPU, until the GPU's kernels have been tested on a card."""
    from loopcore.parallel import thread_count

    return f"cpu, {thread_count()} threads of {os.cpu_count()}"


def _driver_sees_a_gpu() -> bool:
    """Asks NVIDIA's driver, in a millisecond; torch would take a second to load, and most machines have no GPU."""
    try:
        driver = ctypes.CDLL(_DRIVERS[sys.platform])
        count = ctypes.c_int()
        return driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0 and count.value > 0
    except (KeyError, OSError, AttributeError):
        return False
