# SPDX-License-Identifier: Apache-2.0
"""Frame ranges, numbered file names, and writing files so that nobody ever sees half of one.

Three small things every command needs: the text of a frame range (``1001-1024,1030``), the name of
a frame's file (``plate_loop.####.exr``), and a write that leaves either the old file or the whole new one.
"""

import hashlib
import os
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from loopcore.errors import LoopcoreError, SequenceError

MAX_FRAMES = 1_000_000
MAX_FRAME_NUMBER = 999_999_999
MAX_PADDING = 12

_PIECE = re.compile(r"\s*(-?[0-9]+)\s*(?:-\s*(-?[0-9]+)\s*(?:[x:]\s*(-?[0-9]+)\s*)?)?", re.ASCII | re.IGNORECASE)
_TOKEN = re.compile(r"#+|%(?:0[0-9]+)?d")
_NUMBERED = re.compile(
    r"(?P<prefix>.*?)(?P<number>(?:(?<=[._])-|^-)?[0-9]+)(?P<suffix>\.[A-Za-z][A-Za-z0-9]*)", re.DOTALL
)
_EXTENSION = re.compile(r"\.(?!v[0-9])[A-Za-z][A-Za-z0-9]{1,4}", re.IGNORECASE)


def parse_range(text: str) -> tuple[int, ...]:
    """Return the frames that a frame range names, ascending, each once.

    Pieces are joined by commas: ``1001`` one frame, ``1001-1024`` both ends included, ``1-100x2`` or
    ``1-100:2`` every second one from the first. Numbers may be negative (``-10--5``), spaces are free.
    The result is sorted and free of duplicates, whatever the order and overlap of the pieces.

    Raises:
        SequenceError: a piece is not a range, runs backward, steps by less than 1, or the whole
            names more than ``MAX_FRAMES`` frames.
    """
    frames: set[int] = set()
    named = 0
    for piece in text.split(","):
        span = _parse_piece(piece, text)
        # Counted before duplicates fall away, so that the work stays bounded too.
        named += len(span)
        if named > MAX_FRAMES:
            raise SequenceError(f"frame range {_quote(text)} names more than {MAX_FRAMES} frames at {_quote(piece)}")
        frames.update(span)
    return tuple(sorted(frames))


def _parse_piece(piece: str, text: str) -> range:
    where = f"{_quote(piece.strip())} in frame range {_quote(text)}"
    found = _PIECE.fullmatch(piece)
    if not found:
        raise SequenceError(f"cannot read {where}: write frames like 1001, 1001-1024 or 1-100x2, joined by commas")
    first = _parse_number(found[1], where)
    last = _parse_number(found[2] or found[1], where)
    step = _parse_number(found[3] or "1", where)
    if last < first:
        raise SequenceError(f"{where} runs backward: write it ascending, {last}-{first}")
    if step < 1:
        raise SequenceError(f"{where} steps by {step}: a step is 1 or more")
    return range(first, last + 1, step)


def _parse_number(digits: str, where: str) -> int:
    # Length first: Python refuses to convert thousands of digits with an error of its own.
    if len(digits) > 20 or abs(int(digits)) > MAX_FRAME_NUMBER:
        raise SequenceError(f"{where}: {_quote(digits)} is beyond the largest frame number, {MAX_FRAME_NUMBER}")
    return int(digits)


def _quote(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "...")


def format_range(frames: Iterable[int]) -> str:
    """Return the shortest plain text that ``parse_range`` reads back as these frames.

    Order and duplicates do not matter. Three or more evenly spaced frames become one piece;
    no frames give an empty text.
    """
    left = sorted(set(frames))
    pieces: list[str] = []
    start = 0
    while start < len(left):
        stop = _even_run(left, start)
        if stop - start < 3:
            pieces.append(str(left[start]))
            start += 1
            continue
        step = left[start + 1] - left[start]
        pieces.append(f"{left[start]}-{left[stop - 1]}" + (f"x{step}" if step > 1 else ""))
        start = stop
    return ",".join(pieces)


def _even_run(frames: list[int], start: int) -> int:
    """Return the end (exclusive) of the evenly spaced run that begins at ``start``."""
    stop = min(start + 2, len(frames))
    while stop < len(frames) and frames[stop] - frames[stop - 1] == frames[start + 1] - frames[start]:
        stop += 1
    return stop


@dataclass(frozen=True)
class FramePattern:
    """The names of a sequence's files: ``folder/prefix + number + suffix``.

    Convention: one ``#`` is one digit (``####`` gives 1001, 0007, -007, 10000), the same as ``%04d``;
    ``#`` and ``%d`` do not pad. Only names written exactly so belong to the sequence.
    """

    folder: Path
    prefix: str
    suffix: str
    padding: int = 4

    def __post_init__(self) -> None:
        object.__setattr__(self, "folder", Path(self.folder))
        forbidden = "/\\" + (':*?"<>|' if os.name == "nt" else "")
        for letter in self.prefix + self.suffix:
            if letter in forbidden or ord(letter) < 32:
                raise SequenceError(f"file name {self.name!r} may not hold {letter!r}: choose a plainer name")
        if not 1 <= self.padding <= MAX_PADDING:
            raise SequenceError(f"file name {self.name!r} pads to {self.padding} digits: use 1 to {MAX_PADDING}")

    @classmethod
    def from_text(cls, text: str | Path, folder: str | Path | None = None) -> "FramePattern":
        """Read ``plate_loop.####.exr``, ``plate_loop.%04d.exr``, or a plain name.

        A plain name (``plate_loop.exr``) gets ``.####`` before its extension; the name of one frame
        (``plate_loop.1001.exr``) stands for its sequence. With ``folder`` the text must be a bare file
        name, so that a name from a file or a farm job cannot reach outside that folder.

        Raises:
            SequenceError: more than one frame number, one in the folder's name, or a name that leaves ``folder``.
        """
        text = str(text)
        name = Path(text).name
        if folder is None:
            folder = Path(text).parent
        elif name != text:
            raise SequenceError(f"frame pattern {text!r} must be a bare file name inside '{folder}'")
        if name in ("", ".", ".."):
            raise SequenceError(f"frame pattern {text!r} has no file name: write one like plate_loop.####.exr")
        tokens = list(_TOKEN.finditer(name))
        if len(tokens) > 1:
            raise SequenceError(f"frame pattern {text!r} has {len(tokens)} places for the frame number: keep one")
        if not tokens:
            return cls._from_plain_name(Path(folder), name)
        if _TOKEN.search(str(Path(text).parent)):
            raise SequenceError(f"frame pattern {text!r} numbers its folder: only the file name may be numbered")
        token = tokens[0].group()
        digits = len(token) if token[0] == "#" else int(token[1:-1][:4] or 1)
        return cls(Path(folder), name[: tokens[0].start()], name[tokens[0].end() :], max(digits, 1))

    @classmethod
    def _from_plain_name(cls, folder: Path, name: str) -> "FramePattern":
        numbered = _NUMBERED.fullmatch(name)
        if numbered and (not numbered["prefix"] or numbered["prefix"].endswith(".")):
            return cls(folder, numbered["prefix"], numbered["suffix"], len(numbered["number"]))
        extension = Path(name).suffix
        if not _EXTENSION.fullmatch(extension):
            extension = ""
        return cls(folder, name[: len(name) - len(extension)] + ".", extension)

    @property
    def name(self) -> str:
        """The file name with one ``#`` a digit."""
        return f"{self.prefix}{'#' * min(self.padding, MAX_PADDING)}{self.suffix}"

    def path(self, frame: int) -> Path:
        """Return the file of one frame."""
        return self.folder / f"{self.prefix}{frame:0{self.padding}d}{self.suffix}"

    def find(self) -> dict[int, Path]:
        """Return the frames that are there, ascending, with their files.

        Raises:
            SequenceError: the folder is missing or cannot be listed.
        """
        found = {}
        for name in _list_files(self.folder):
            if not (name.startswith(self.prefix) and name.endswith(self.suffix)):
                continue
            number = name[len(self.prefix) : len(name) - len(self.suffix)]
            if len(number) > MAX_PADDING + 1 or not re.fullmatch(r"-?[0-9]+", number, re.ASCII):
                continue
            if self.path(int(number)).name == name:
                found[int(number)] = self.folder / name
        return dict(sorted(found.items()))

    def find_all(self) -> dict[int, Path]:
        """Return the frames that are there, and make sure that none between the first and the last is missing.

        Raises:
            SequenceError: no frame at all, or gaps; the message names them.
        """
        found = self.find()
        if not found:
            raise SequenceError(f"no frame of {self.name} in '{self.folder}'")
        gaps = [f"{a + 1}-{b - 1}" if b - a > 2 else f"{a + 1}" for a, b in pairwise(found) if b - a > 1]
        if gaps:
            named = ",".join(gaps[:12]) + (",..." if len(gaps) > 12 else "")
            raise SequenceError(f"{self.name} in '{self.folder}' lacks frames {named}: render them first")
        return found


def find_sequence(folder: str | Path, suffixes: Iterable[str] = (".exr", ".png")) -> FramePattern:
    """Return the pattern of the one numbered sequence in a folder.

    Single numbered files beside a sequence of several frames are passed over.

    Raises:
        SequenceError: no sequence, more than one, or one frame under two names (``a.7.exr`` and ``a.0007.exr``).
    """
    folder = Path(folder)
    wanted = {suffix.lower() for suffix in suffixes}
    groups: dict[tuple[str, str], list[str]] = {}
    for name in _list_files(folder):
        numbered = _NUMBERED.fullmatch(name)
        if numbered and numbered["suffix"].lower() in wanted and len(numbered["number"]) <= MAX_PADDING:
            groups.setdefault((numbered["prefix"], numbered["suffix"]), []).append(numbered["number"])
    patterns = [
        # Padded to the shortest width: longer numbers ran over.
        (FramePattern(folder, prefix, suffix, min(map(len, numbers))), numbers)
        for (prefix, suffix), numbers in sorted(groups.items())
    ]
    several = [entry for entry in patterns if len(entry[1]) > 1] or patterns
    if not several:
        raise SequenceError(f"no numbered frames ({', '.join(sorted(wanted))}) in '{folder}'")
    if len(several) > 1:
        names = ", ".join(pattern.name for pattern, _ in several[:5])
        raise SequenceError(f"'{folder}' holds {len(several)} sequences ({names}): say which")
    pattern, numbers = several[0]
    stray = sorted(number for number in numbers if f"{int(number):0{pattern.padding}d}" != number)
    if stray:
        raise SequenceError(
            f"'{folder}' holds frame numbers of different widths for {pattern.name} "
            f"({pattern.prefix}{stray[0]}{pattern.suffix}): rename or remove the odd ones"
        )
    return pattern


def _list_files(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return [entry.name for entry in entries if entry.is_file()]
    except OSError as error:
        raise SequenceError(f"cannot list folder '{folder}': {_reason(error)}") from error


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
            raise SequenceError(f"cannot write '{path}': {_reason(error, temporary, path)}") from error
        except LoopcoreError as error:
            if str(temporary) not in str(error):
                raise
            # Nobody knows the hidden file by its name.
            raise type(error)(str(error).replace(str(temporary), str(path))) from error


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


def _reason(error: OSError, *ours: Path) -> str:
    """Return the system's words for an error, with the file it is about if that is none of ``ours``."""
    words = error.strerror or str(error) or type(error).__name__
    if isinstance(error.filename, str | bytes) and ours and Path(os.fsdecode(error.filename)) not in ours:
        words += f" ('{os.fsdecode(error.filename)}')"
    if isinstance(error, PermissionError):
        words += "; may this user write there, and is it closed in other programs?"
    return words


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
    for name in _list_files(folder):
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
