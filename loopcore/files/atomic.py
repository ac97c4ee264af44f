# SPDX-License-Identifier: Apache-2.0
"""Writing a file in one step: either the old one or the whole new one is there, never half of one."""

import hashlib
import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from loopcore.errors import LoopcoreError, SequenceError
from loopcore.files.regular import list_files, os_reason

_TEMPORARY = re.compile(r"\..+\.tmp-(?P<pid>[1-9][0-9]*)-(?P<host>[0-9a-f]{16}|[0-9a-f]{4})[0-9a-f]{8}", re.DOTALL)
# The host of four digits is that of older versions: nobody's here, so it goes by age.
_FOREIGN_AGE_S = 24 * 3600.0
_PATIENCE_S = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64) if os.name == "nt" else ()
_busy: set[str] = set()
_busy_lock = threading.Lock()


def _renew_lock() -> None:
    """Start over in a forked child: a thread that held the lock is not there to release it."""
    global _busy_lock
    _busy_lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)


def make_folder(folder: str | Path) -> None:
    """Makes a folder and those above it, where they are missing.

    Raises:
        SequenceError: it cannot be made.
    """
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SequenceError(f"cannot make folder '{folder}': {error.strerror or error}") from error


def write_atomically(path: str | Path, write: Callable[[Path], None]) -> None:
    """Call ``write(temporary)`` and put the result in place of ``path`` in one step.

    The temporary file is hidden (``.NAME.tmp-<pid>-<host and random>``), lies in the same folder, and is
    on the disk before it takes the name. Whatever goes wrong, ``path`` keeps what it held and the temporary goes.

    Raises:
        SequenceError: the folder is missing or unwritable, the disk is full, ``path`` is a folder or stays
            open in another program. Other exceptions of ``write`` pass through, Loopcore's own with ``path`` for the
            temporary's name.
    """
    path = Path(path)
    with _temporary_beside(path) as temporary:
        try:
            write(temporary)
            _flush_to_disk(temporary)
            _replace(temporary, path)
        except OSError as error:
            raise SequenceError(f"cannot write '{path}': {os_reason(error, temporary, path)}") from error
        except LoopcoreError as error:
            if str(temporary) not in str(error):
                raise
            # Nobody knows the hidden file by its name.
            raise type(error)(str(error).replace(str(temporary), str(path))) from error


def write_text_atomically(path: str | Path, text: str) -> None:
    """Write ``text`` as UTF-8, its line ends as they are, by `write_atomically`, and raise what that raises."""
    write_bytes_atomically(path, text.encode("utf-8"))


def write_bytes_atomically(path: str | Path, data: bytes) -> None:
    """Write ``data`` by `write_atomically`, and raise what that raises."""

    def write(temporary: Path) -> None:
        temporary.write_bytes(data)

    write_atomically(path, write)


@contextmanager
def _temporary_beside(path: Path) -> Iterator[Path]:
    # Names are limited to 255 bytes; a long one is cut so that the additions still fit.
    stem = os.fsencode(path.name)[:200].decode("utf-8", "ignore")
    name = f".{stem}.tmp-{temporary_mark()}{os.urandom(4).hex()}"
    temporary = path.parent / name
    with _busy_lock:
        _busy.add(name)
    try:
        yield temporary
    finally:
        with suppress(OSError):
            temporary.unlink()
        with _busy_lock:
            _busy.discard(name)


def temporary_mark() -> str:
    """Return what the temporaries of this process have in their names after ``.tmp-``, and no other's have."""
    return f"{os.getpid()}-{_host_tag()}"


def _flush_to_disk(path: Path) -> None:
    # Without it a power cut can leave the new name on an empty file. The folder needs no such care:
    # at worst the rename is forgotten, and the frame is made again. Windows syncs only writable handles.
    handle = os.open(path, os.O_RDWR | getattr(os, "O_BINARY", 0))
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _replace(temporary: Path, path: Path) -> None:
    """Rename over ``path``, patiently where Windows says that a viewer or a virus scanner holds it."""
    for delay in _PATIENCE_S:
        with suppress(PermissionError):
            os.replace(temporary, path)
            return
        time.sleep(delay)
    os.replace(temporary, path)


def remove_leftovers(folder: str | Path) -> list[Path]:
    """Remove the hidden temporaries that dead processes left in a folder; return those removed.

    Kept are files of any other naming, those of live processes, and those that this process is writing
    now. Of another machine nobody here knows what lives: its files go when untouched for a day.

    Raises:
        SequenceError: the folder cannot be listed. A missing one holds nothing to remove.
    """
    folder = Path(folder)
    if not folder.exists():
        return []
    removed = []
    for name in list_files(folder):
        found = _TEMPORARY.fullmatch(name)
        if found and _is_leftover(folder / name, int(found["pid"][:20]), found["host"]):
            with suppress(OSError):
                (folder / name).unlink()
                removed.append(folder / name)
    return removed


def _is_leftover(path: Path, pid: int, host: str) -> bool:
    if host != _host_tag():
        try:
            return time.time() - path.stat().st_mtime > _FOREIGN_AGE_S
        except OSError:
            return False
    if pid == os.getpid():
        # Process numbers come round again: what carries ours but is not being written is an older one's.
        with _busy_lock:
            return path.name not in _busy
    return not _is_alive(pid)


def _host_tag() -> str:
    """Return 16 hex digits that tell those who share this machine's process numbers from all others.

    Containers on one machine count processes each by themselves, whatever they are called; a machine that was started
    again counts anew. Where the system does not say so, the network card's address stands for the machine.
    """
    import platform

    try:
        # The boot is no container's own, the namespace is, and its number is the same on other machines.
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
        pass  # It lives, under another user.
    return True


def _is_alive_on_windows(pid: int) -> bool:
    # os.kill would end the process there: ask the kernel for a handle instead.
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
