# SPDX-License-Identifier: Apache-2.0
"""How the CPU kernels are compiled; `loopcore.transport.kernel_cache` keeps the compiled code."""

from __future__ import annotations

import hashlib
import pkgutil
from collections.abc import Callable
from typing import Any

from loopcore.errors import EngineError

try:
    import llvmlite
    import numba
except ValueError as error:  # of a setting in the environment, NUMBA_NUM_THREADS=0 for example
    raise EngineError(f"Numba cannot be loaded ({error}): correct or unset NUMBA_* in the environment") from error

from loopcore.transport.kernel_cache import kernel_cache

# All sources of the machine code: the kernels, what they inline, the options below, and the format of the files.
SOURCES = (
    "flowmap/planes.py", "loop/blend.py", "loop/carrying.py", "loop/contrast.py", "loop/cycles.py", "loop/mixing.py",
    "loop/plate_contrast.py", "loop/smooth.py", "loop/storing.py", "transport/cpu.py", "transport/halves.py",
    "transport/jit.py", "transport/kernel_cache.py", "transport/limited.py", "transport/pixels.py", "transport/simd.py",
)  # fmt: skip


def _hash_sources() -> str:
    """12 hexadecimal digits; empty where the sources cannot be read, as in a frozen program."""
    state = hashlib.sha256(f"numba {numba.__version__}, llvmlite {llvmlite.__version__}".encode())
    for name in SOURCES:
        try:
            source = pkgutil.get_data("loopcore", name)
        except OSError:
            source = None
        if source is None:
            return ""
        state.update(f"\n{name} {len(source)}\n".encode() + source)
    return state.hexdigest()[:12]


KEY = _hash_sources()


def kernel(function: Callable[..., Any] | None = None, *, inline: str = "never") -> Any:
    """Decorator: compile a function when first called, without the GIL, dividing by 0 as numpy does.

    Args:
        inline: "always" inlines the function into the kernels that call it before types are inferred.
    """

    def compiled(function: Callable[..., Any]) -> Any:
        dispatcher = numba.njit(nogil=True, error_model="numpy", inline=inline)(function)
        if (cache := kernel_cache(function, KEY)) is not None:
            dispatcher._cache = cache
        return dispatcher

    return compiled if function is None else compiled(function)
