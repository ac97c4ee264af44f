# SPDX-License-Identifier: Apache-2.0
"""Claims on a folder: processes that write the same loop share it, and those of another loop are refused.

Each process creates a hidden file of its own, named by what it writes, and then lists those of the others. Of two
processes, the one whose list came last sees the other's file, whatever the order of their steps, so never do both go
on. Where two start at once and see each other, the greater name gives way and the smaller one waits for that; neither
waits for one that goes on.

Nothing but exclusive creation and listing is needed, which network file systems have; a client that created a file in a
folder lists that folder anew. A process rewrites its file every few seconds. Those of processes that ended on this
machine, or that were not rewritten for a while, by the clock of the file server, count for nothing and are removed. A
process that was only suspended finds its file gone and stops.
"""

import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path

from loopcore.errors import SequenceError
from loopcore.files.atomic import is_leftover, make_folder, temporary_beside
from loopcore.files.regular import list_files, os_reason

BEAT_S = 5.0
STALE_S = 120.0
# How long to wait for one that gives way.
_PATIENCE_S = 3.0
_HOLDS = b"\nholds\n"  # follows the host's name once the claim has prevailed
_NAME = re.compile(r"\.loopcore-(?P<loop>[0-9a-f]{16})\.tmp-(?P<pid>[1-9][0-9]*)-(?P<host>[0-9a-f]{16})[0-9a-f]{8}")


class Claim:
    """A claim that is held; see `claim_folder`."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def check(self) -> None:
        """Checks that the claim still stands; call it before each file that is written.

        Raises:
            SequenceError: it was removed: this process was suspended, and another took the folder.
        """
        if not self._path.exists():
            raise SequenceError(
                f"'{self._path.parent}' was taken over by another process while this one was suspended: choose another "
                "folder, or bake again once that has ended"
            )


@contextmanager
def claim_folder(folder: Path, loop: str) -> Iterator[Claim]:
    """Claims a folder for what is written to it, within a `with` block; makes the folder.

    Args:
        folder: the folder.
        loop: identifies what is written. Processes with the same text may write at once.

    Raises:
        SequenceError: another process writes something else there, or the folder cannot be written to.
    """
    make_folder(folder)
    with temporary_beside(folder / f"loopcore-{sha256(loop.encode()).hexdigest()[:16]}") as path:
        try:
            with open(path, "xb") as file:
                file.write(_host_name())
        except OSError as error:
            raise SequenceError(f"cannot write to folder '{folder}': {os_reason(error, path)}") from error
        _wait_for_others(path)
        _rewrite(path, _host_name() + _HOLDS)
        ended = threading.Event()
        thread = threading.Thread(target=_beat, args=(path, ended), name="loopcore-claim", daemon=True)
        thread.start()
        try:
            yield Claim(path)
        finally:
            ended.set()
            thread.join()


def _wait_for_others(path: Path) -> None:
    """Returns once no other loop claims the folder; raises SequenceError where one goes on."""
    end = time.monotonic() + _PATIENCE_S
    while others := _others(path):
        texts = [_text(other) for other in others]
        # All names of a loop begin alike, so its processes agree on who gives way.
        if any(text.endswith(_HOLDS) for text in texts) or min(others).name < path.name or time.monotonic() > end:
            raise SequenceError(_refusal(others[0], texts[0]))
        time.sleep(0.05)


def _others(path: Path) -> list[Path]:
    """Returns the claims of other loops that stand, and removes those that do not."""
    own = _NAME.fullmatch(path.name)
    assert own is not None
    found = []
    for name in list_files(path.parent):
        other = _NAME.fullmatch(name)
        if other is None or other["loop"] == own["loop"]:
            continue
        there = path.parent / name
        if is_leftover(there, int(other["pid"][:20]), other["host"]) or _age(there, path) > STALE_S:
            with suppress(OSError):
                there.unlink()
        else:
            found.append(there)
    return found


def _age(other: Path, own: Path) -> float:
    """Returns the seconds since a claim was rewritten; infinite where it is gone."""
    try:
        _rewrite(own, _host_name())  # Both times are then of the file server's clock.
        return own.stat().st_mtime - other.stat().st_mtime
    except OSError:
        return float("inf") if not other.exists() else 0.0


def _beat(path: Path, ended: threading.Event) -> None:
    while not ended.wait(BEAT_S):
        with suppress(OSError):
            _rewrite(path, _host_name())


def _rewrite(path: Path, text: bytes) -> None:
    # Not os.utime, which on Windows takes this machine's clock; nor a mode that would create a file that was removed.
    with open(path, "r+b") as file:
        file.write(text)


def _text(claim: Path) -> bytes:
    try:
        with open(claim, "rb") as file:
            return file.read(300)
    except OSError:
        return b""


def _refusal(other: Path, text: bytes) -> str:
    found = _NAME.fullmatch(other.name)
    assert found is not None
    host = text.removesuffix(_HOLDS).decode("utf-8", "replace") or "another machine"
    who = f"process {found['pid']} on {host}"
    return f"another loop is being written to '{other.parent}' by {who}: wait for its end, or choose another folder"


def _host_name() -> bytes:
    import platform

    return (platform.node() or "this machine").encode("utf-8", "replace")[:200]
