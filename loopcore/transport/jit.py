# SPDX-License-Identifier: Apache-2.0
"""How the CPU kernels are compiled, and where the compiled code is kept between processes.

Numba's cache on disk follows the file of each kernel alone, but kernels inline functions of other files. Here the
compiled code of all kernels lies in a folder named after a hash of all their sources and of the compiler's versions,
inside the folder that Numba would have used: NUMBA_CACHE_DIR where that is set, else ``__pycache__`` beside the
source, else the user's cache. Where none can be written, kernels are compiled in memory, once a process.
"""

from __future__ import annotations

import hashlib
import os
import pkgutil
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from loopcore.errors import EngineError

try:
    import llvmlite
    import numba
    from numba.core.caching import CompileResultCacheImpl, FunctionCache, _CacheLocator
except ValueError as error:  # of a setting in the environment, NUMBA_NUM_THREADS=0 for example
    raise EngineError(f"Numba cannot be loaded ({error}): correct or unset NUMBA_* in the environment") from error

# All sources of the machine code: the kernels, what they inline, and the options below.
SOURCES = (
    "flowmap/planes.py", "loop/blend.py", "loop/contrast.py", "loop/cycles.py", "loop/mixing.py",
    "loop/plate_contrast.py", "transport/cpu.py", "transport/jit.py", "transport/simd.py",
)  # fmt: skip
_PREFIX = "loopcore-"
# Folders of other hashes that are kept: other environments may share the parent folder.
MAX_OTHERS = 3


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


class _Locator(_CacheLocator):
    """A folder of this KEY inside the folder that one of Numba's own locators found."""

    def __init__(self, found: Any) -> None:
        self._found, self._py_file = found, found._py_file

    def get_cache_path(self) -> str:
        return os.path.join(self._found.get_cache_path(), _PREFIX + KEY)

    def get_source_stamp(self) -> str:
        return KEY

    def get_disambiguator(self) -> str:
        return str(self._found.get_disambiguator())


class _Implementation(CompileResultCacheImpl):
    _locator: Any

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)
        self._locator = _Locator(self._locator)


class _KernelCache(FunctionCache):
    """Numba's cache in the folder of this KEY; after an error of the disk, kernels are compiled again."""

    _impl_class = _Implementation

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        try:
            return super().load_overload(sig, target_context)
        except OSError:
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        folder = Path(self.cache_path)
        try:
            is_new = not folder.exists()
            super().save_overload(sig, data)
            if is_new:
                _remove_old(folder)
        except OSError:
            pass


def _remove_old(folder: Path) -> None:
    """Remove all but the latest folders of other keys beside `folder`.

    Processes that still use one compile again; one that another process removes meanwhile is no error.
    """
    others = [other for other in folder.parent.glob(f"{_PREFIX}*") if other != folder]
    for other in sorted(others, key=_modified)[:-MAX_OTHERS]:
        shutil.rmtree(other, ignore_errors=True)


def _modified(folder: Path) -> float:
    try:
        return folder.stat().st_mtime
    except OSError:
        return 0.0


def kernel(function: Callable[..., Any] | None = None, *, inline: str = "never") -> Any:
    """Decorator: compile a function when first called, without the GIL, dividing by 0 as numpy does.

    Args:
        inline: "always" inlines the function into the kernels that call it before types are inferred.
    """

    def compiled(function: Callable[..., Any]) -> Any:
        dispatcher = numba.njit(nogil=True, error_model="numpy", inline=inline)(function)
        if KEY:
            try:
                dispatcher._cache = _KernelCache(function)
            except RuntimeError:  # no folder can be written
                pass
        return dispatcher

    return compiled if function is None else compiled(function)
