# SPDX-License-Identifier: Apache-2.0
"""Where compiled CPU kernels are kept between processes, and how they are read back.

Numba's cache on disk follows the file of each kernel alone, but kernels inline functions of other files. Here the
compiled code lies in a folder named after a hash of all their sources and of the compiler's versions, inside the folder
that Numba would have used: NUMBA_CACHE_DIR where that is set, else ``__pycache__`` beside the source, else the user's
cache. Where none of them can be written, it lies in a private folder of the temporary directory, and without that in
memory. Files begin with a SHA-256 of what follows, as damaged machine code would crash when run.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import shutil
import stat
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from numba.core.caching import CompileResultCacheImpl, FunctionCache, IndexDataCacheFile, _CacheLocator

PREFIX = "loopcore-"
# Folders of other hashes that are kept: other environments may share the parent folder.
MAX_OTHERS = 3
_CHECKSUM_BYTES = 32
_CHOOSE = "NUMBA_CACHE_DIR chooses another folder"
_said: set[str] = set()


def kernel_cache(function: Callable[..., Any], key: str) -> FunctionCache | None:
    """Returns the cache of a kernel, or None where no folder can be written.

    Args:
        function: the kernel, not compiled.
        key: hash of the sources and the compiler; "" for no cache.
    """
    if not key:
        return None
    try:
        return _KernelCache(function, key)
    except (RuntimeError, UnicodeError):  # no folder, or the package's path is no text
        say_once("none", f"no folder for compiled kernels can be written, so every run compiles them again; {_CHOOSE}")
        return None


def say_once(what: str, text: str) -> None:
    """Prints a line on stderr, once in a process for each ``what``."""
    if what not in _said and sys.stderr is not None:
        _said.add(what)
        print(f"loopcore: {text}", file=sys.stderr)


def private_folder() -> Path | None:
    """Returns a folder of the temporary directory that only this user can write to, made if absent; None if refused.

    Code is loaded from it, so that neither it nor its place may be in the hands of another user.
    """
    if not hasattr(os, "geteuid"):
        return None
    user = os.geteuid()
    try:
        parent = Path(tempfile.gettempdir())
        folder = parent / f"{PREFIX}kernels-{user}"
        with suppress(FileExistsError):
            folder.mkdir(0o700)
        own, above = folder.lstat(), parent.stat()
    except OSError:
        return None
    sticky_or_closed = above.st_mode & stat.S_ISVTX or not above.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    is_safe = above.st_uid in (0, user) and sticky_or_closed
    is_private = stat.S_ISDIR(own.st_mode) and own.st_uid == user and not own.st_mode & (stat.S_IRWXG | stat.S_IRWXO)
    return folder if is_safe and is_private else None


class _TemporaryLocator(_CacheLocator):
    """Numba's way to find a folder, for the private one; tried after Numba's own."""

    def __init__(self, function: Callable[..., Any], file: str, folder: Path) -> None:
        self._py_file, self._line = file, function.__code__.co_firstlineno
        self._folder = folder / self.get_suitable_cache_subpath(file)

    def get_cache_path(self) -> str:
        return str(self._folder)

    def get_source_stamp(self) -> str:
        return ""  # replaced by the key

    def get_disambiguator(self) -> str:
        return str(self._line)

    @classmethod
    def from_function(cls, py_func: Callable[..., Any], py_file: str) -> _TemporaryLocator | None:
        folder = private_folder()
        if folder is None:
            return None
        found = cls(py_func, py_file, folder)
        try:
            found.ensure_cache_path()
        except OSError:
            return None
        text = f"compiled kernels are kept in '{folder}', as neither package nor home folder can be written"
        say_once("temporary", f"{text}; {_CHOOSE}")
        return found


class _Locator(_CacheLocator):
    """The folder of a key inside the folder that a locator found."""

    def __init__(self, found: Any, key: str) -> None:
        self._found, self._key, self._py_file = found, key, found._py_file

    def get_cache_path(self) -> str:
        return os.path.join(self._found.get_cache_path(), PREFIX + self._key)

    def get_source_stamp(self) -> str:
        return self._key

    def get_disambiguator(self) -> str:
        return str(self._found.get_disambiguator())


def _locators() -> list[type[_CacheLocator]]:
    """Numba's, and ours. With an unknown home folder, Numba's for the user would take one of the current folder."""
    user = os.environ.get("XDG_CACHE_HOME", os.path.expanduser("~"))
    known = CompileResultCacheImpl._locator_classes
    return [*(one for one in known if os.path.isabs(user) or "UserWide" not in one.__name__), _TemporaryLocator]


class _Implementation(CompileResultCacheImpl):
    _locator: Any
    _locator_classes = _locators()


class _Files(IndexDataCacheFile):
    """Numba's files of a kernel, an index and machine code by types of arguments, with checksums."""

    def _dump(self, obj: Any) -> bytes:
        data: bytes = super()._dump(obj)
        return hashlib.sha256(data).digest() + data

    def _save_index(self, overloads: dict[Any, str]) -> None:
        with self._open_for_write(self._index_path) as file:
            file.write(self._dump((self._source_stamp, overloads)))

    def _load_index(self) -> dict[Any, str]:
        stamp, overloads = self._read(self._index_path) or (None, {})
        return overloads if stamp == self._source_stamp else {}

    def _load_data(self, name: str) -> Any:
        return self._read(self._data_path(name))

    def _read(self, path: str) -> Any:
        """Returns the object in a file; None where it is absent or damaged, which removes it."""
        try:
            data = Path(path).read_bytes()
        except FileNotFoundError:
            return None
        if hashlib.sha256(data[_CHECKSUM_BYTES:]).digest() == data[:_CHECKSUM_BYTES]:
            return pickle.loads(data[_CHECKSUM_BYTES:])
        with suppress(OSError):
            os.unlink(path)
        say_once("damaged", f"compiled kernels in '{os.path.dirname(path)}' are damaged: they are compiled again")
        return None


class _KernelCache(FunctionCache):
    """Numba's cache in the folder of a key; after an error of the disk, kernels are compiled again."""

    _impl_class = _Implementation

    def __init__(self, function: Callable[..., Any], key: str) -> None:
        super().__init__(function)
        self._impl._locator = locator = _Locator(self._impl.locator, key)
        self._cache_path = locator.get_cache_path()
        self._cache_file = _Files(self._cache_path, self._impl.filename_base, key)

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
                remove_old(folder)
        except OSError as error:
            text = f"compiled kernels cannot be kept in '{folder}' ({error.strerror or error})"
            say_once("unsaved", f"{text}, so every run compiles them again; {_CHOOSE}")


def remove_old(folder: Path) -> None:
    """Removes all but the latest folders of other keys beside `folder`.

    Processes that still use one compile again; one that another process removes meanwhile is no error.
    """
    others = [other for other in folder.parent.glob(f"{PREFIX}*") if other != folder]
    for other in sorted(others, key=_modified)[:-MAX_OTHERS]:
        shutil.rmtree(other, ignore_errors=True)


def _modified(folder: Path) -> float:
    try:
        return folder.stat().st_mtime
    except OSError:
        return 0.0
