# SPDX-License-Identifier: Apache-2.0
"""Atomic writes: a path holds either the old file or the complete new one."""

import hashlib
import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from loopcore.errors import LoopcoreError, SequenceError
from loopcore.files.regular import list_files, os_reason, read_regular

_TEMPORARY = re.compile(r"\..+\.tmp-(?P<pid>[1-9][0-9]*)-(?P<host>[0-9a-f]{16}|[0-9a-f]{4})[0-9a-f]{8}", re.DOTALL)
# Older versions wrote a host of four digits: it matches no host, so that age decides.
_FOREIGN_AGE_S = 24 * 3600.0
_PATIENCE_S = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64) if os.name == "nt" else ()
_busy: set[str] = set()
_busy_lock = threading.Lock()


def _renew_lock() -> None:
    """Replace the lock in a forked child, where a thread that held it does not exist."""
    global _busy_lock
    _busy_lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)


def make_folder(folder: str | Path) -> None:
    """Make a folder, and its missing parents.

    Raises:
        SequenceError: it cannot be made.
    """
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SequenceError(f"cannot make folder '{folder}': {error.strerror or error}") from error


def write_atomically(path: str | Path, write: Callable[[Path], None]) -> None:
    """Call ``write(temporary)`` and rename the result to ``path``.

    The temporary file is hidden (``.NAME.tmp-<pid>-<host and random>``), lies in the same folder, and is flushed to
    the disk before the rename. On any error ``path`` is unchanged and the temporary is removed.

    Raises:
        SequenceError: the folder is missing or unwritable, the disk is full, or ``path`` is a folder or is kept open
            by another program. Other exceptions of ``write`` propagate, Loopcore's own with ``path`` in place of the
            temporary's name.
    """
    path = Path(path)
    with temporary_beside(path) as temporary:
        try:
            write(temporary)
            _flush_to_disk(temporary)
            _replace(temporary, path)
        except OSError as error:
            raise SequenceError(f"cannot write '{path}': {os_reason(error, temporary, path)}") from error
        except LoopcoreError as error:
            if str(temporary) not in str(error):
                raise
            # The user does not know the hidden file.
            raise type(error)(str(error).replace(str(temporary), str(path))) from error


def write_text_atomically(path: str | Path, text: str) -> None:
    """Write ``text`` as UTF-8, line ends unchanged; as `write_atomically`."""
    write_bytes_atomically(path, text.encode("utf-8"))


def write_bytes_atomically(path: str | Path, data: bytes) -> None:
    """Write ``data``; as `write_atomically`."""

    def write(temporary: Path) -> None:
        temporary.write_bytes(data)

    write_atomically(path, write)


def has_bytes(path: Path, data: bytes) -> bool:
    """Return whether a file holds this and nothing else."""
    try:
        return path.stat().st_size == len(data) and read_regular(path, len(data)) == data
    except OSError:
        return False


@contextmanager
def temporary_beside(path: Path) -> Iterator[Path]:
    """Yield the name of a temporary of this process for ``path``, and remove it at the end of the ``with`` block."""
    # Names are limited to 255 bytes: cut, so that the additions fit.
    stem = os.fsencode(path.name)[:200].decode("utf-8", "ignore")
    name = f".{os.fsdecode(stem.encode())}.tmp-{temporary_mark()}{os.urandom(4).hex()}"
    temporary = path.parent / name
    with _busy_lock:
        _busy.add(name)
    try:
        yield temporary
    finally:
        _remove(temporary)
        with _busy_lock:
            _busy.discard(name)


def _remove(temporary: Path) -> None:
    """Remove a file; on Windows retry while another program holds it open."""
    for delay in (*_PATIENCE_S, 0):
        try:
            temporary.unlink()
        except FileNotFoundError:
            return
        except OSError:
            time.sleep(delay)


def temporary_mark() -> str:
    """Return what follows ``.tmp-`` in the names of this process's temporaries, and only of its."""
    return f"{os.getpid()}-{_host_tag()}"


def _flush_to_disk(path: Path) -> None:
    # Otherwise a power cut can leave an empty file of the new name. The folder is not flushed: at worst the rename is
    # lost, and the frame is rendered again. Windows flushes only writable handles.
    handle = os.open(path, os.O_RDWR | getattr(os, "O_BINARY", 0))
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _replace(temporary: Path, path: Path) -> None:
    """Rename to ``path``; on Windows retry while a viewer or a virus scanner holds it open."""
    for delay in _PATIENCE_S:
        with suppress(PermissionError):
            os.replace(temporary, path)
            return
        time.sleep(delay)
    os.replace(temporary, path)


def remove_leftovers(folder: str | Path) -> list[Path]:
    """Remove the hidden temporaries that ended processes left in a folder, and return those removed.

    Keeps files of any other naming, those of running processes, and those that this process is writing. The processes
    of other machines are unknown: their files are removed a day after their last change.

    Raises:
        SequenceError: the folder exists and cannot be listed.
    """
    folder = Path(folder)
    if not folder.exists():
        return []
    removed = []
    for name in list_files(folder):
        found = _TEMPORARY.fullmatch(name)
        if found and is_leftover(folder / name, int(found["pid"][:20]), found["host"]):
            with suppress(OSError):
                (folder / name).unlink()
                removed.append(folder / name)
    return removed


def is_leftover(path: Path, pid: int, host: str) -> bool:
    """Return whether the process that made a temporary has ended, as far as that can be known; see the module."""
    if host != _host_tag():
        try:
            return time.time() - path.stat().st_mtime > _FOREIGN_AGE_S
        except OSError:
            return False
    if pid == os.getpid():
        # Process ids are reused: a file of ours that is not being written is an earlier process's.
        with _busy_lock:
            return path.name not in _busy
    return not _is_alive(pid)


def _host_tag() -> str:
    """Return 16 hex digits that identify the set of process ids that this process belongs to.

    Each container has process ids of its own, and so has each boot of a machine: the boot's id and the process
    namespace identify them; where the system has neither, the network card's address does.
    """
    import platform

    try:
        # Containers share the boot's id, and machines the numbers of namespaces: both are needed.
        identity = Path("/proc/sys/kernel/random/boot_id").read_text("ascii") + os.readlink("/proc/self/ns/pid")
    except OSError:
        import uuid

        identity = str(uuid.getnode())
    named = f"{platform.node()}\0{identity}".encode("utf-8", "surrogateescape")
    return hashlib.blake2b(named, digest_size=8).hexdigest()


def _is_alive(pid: int) -> bool:
    if os.name == "nt":
        return _is_alive_on_windows(pid)
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass  # running, as another user
    return not _is_zombie(pid)


def _is_zombie(pid: int) -> bool:
    """Whether a process has ended and nobody has asked for its exit code yet; False where the system does not say."""
    try:
        # After the name, which may have any characters, in brackets: proc(5).
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[:1] == [b"Z"]
    except OSError:
        return False


def _is_alive_on_windows(pid: int) -> bool:
    # On Windows os.kill would end the process: open a handle instead.
    import ctypes

    if pid > 0xFFFFFFFF:
        return False
    kernel = ctypes.WinDLL("kernel32", use_last_error=True)  # type: ignore[attr-defined,unused-ignore]
    query_limited, access_denied, still_active = 0x1000, 5, 259
    handle = kernel.OpenProcess(query_limited, False, pid)
    if not handle:
        return bool(ctypes.get_last_error() == access_denied)  # type: ignore[attr-defined,unused-ignore]
    code = ctypes.c_ulong()
    known = kernel.GetExitCodeProcess(handle, ctypes.byref(code))
    kernel.CloseHandle(handle)
    return not known or code.value == still_active
