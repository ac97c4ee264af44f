# SPDX-License-Identifier: Apache-2.0
"""Atomic writes, and the leftovers of killed writers."""

import os
import re
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest

from loopcore.errors import SequenceError
from loopcore.files import atomic
from loopcore.files.atomic import (
    remove_leftovers,
    write_atomically,
    write_bytes_atomically,
    write_text_atomically,
)
from loopcore.files.pattern import FramePattern

posix_only = pytest.mark.skipif(os.name == "nt", reason="relies on a POSIX limit or signal")


# Atomic writes


def names_in(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_write_is_hidden_until_whole(tmp_path: Path) -> None:
    target = tmp_path / "a.1001.exr"
    target.write_bytes(b"old")
    seen = []

    def write(temporary: Path) -> None:
        before = target.read_bytes()
        temporary.write_bytes(b"new")
        seen.append(temporary)
        assert target.read_bytes() == before
        assert temporary.parent == tmp_path
        assert temporary.name.startswith(f".a.1001.exr.tmp-{os.getpid()}-")
        assert FramePattern.from_text("a.####.exr", tmp_path).find() == {1001: target}

    write_atomically(target, write)
    assert target.read_bytes() == b"new"
    assert names_in(tmp_path) == ["a.1001.exr"]
    write_atomically(str(target), write)
    assert seen[0] != seen[1]


def test_text_and_bytes_replace_the_old_file_and_keep_their_line_ends(tmp_path: Path) -> None:
    target = tmp_path / "a.json"
    target.write_bytes(b"old")
    write_text_atomically(target, "\u00e9\nb\r\n")
    assert target.read_bytes() == b"\xc3\xa9\nb\r\n"
    write_bytes_atomically(str(target), b"\0\n")
    assert target.read_bytes() == b"\0\n"
    assert names_in(tmp_path) == ["a.json"]
    with pytest.raises(SequenceError, match="cannot write '.*missing.a.json'"):
        write_text_atomically(tmp_path / "missing" / "a.json", "text")


@pytest.mark.parametrize("error", [RuntimeError("codec"), KeyboardInterrupt(), SequenceError("inner")])
def test_failed_write_keeps_the_old_file_and_no_temporary(tmp_path: Path, error: BaseException) -> None:
    target = tmp_path / "a.exr"
    target.write_bytes(b"old")

    def write(temporary: Path) -> None:
        temporary.write_bytes(b"half")
        raise error

    with pytest.raises(type(error)) as caught:
        write_atomically(target, write)
    assert caught.value is error
    assert target.read_bytes() == b"old"
    assert names_in(tmp_path) == ["a.exr"]


def test_errors_name_the_file_instead_of_the_temporary(tmp_path: Path) -> None:
    def write(temporary: Path) -> None:
        raise SequenceError(f"cannot write '{temporary}': no room")

    with pytest.raises(SequenceError, match=re.escape(f"cannot write '{tmp_path / 'a.exr'}': no room")):
        write_atomically(tmp_path / "a.exr", write)


def write_a(temporary: Path) -> None:
    temporary.write_bytes(b"a")


@pytest.mark.parametrize("place", ["missing/a.exr", "file/a.exr", "folder", "n" * 300])
def test_unwritable_paths_are_sequence_errors_with_the_reason(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "folder").mkdir()
    before = names_in(tmp_path)
    with pytest.raises(SequenceError, match="cannot write") as caught:
        write_atomically(tmp_path / place, write_a)
    assert os.strerror(caught.value.__cause__.errno) in str(caught.value)
    assert names_in(tmp_path) == before


def test_long_names_still_fit(tmp_path: Path) -> None:
    target = tmp_path / ("é" * 120 + ".exr")
    write_atomically(target, write_a)
    assert names_in(tmp_path) == [target.name]


def test_folder_removed_during_the_write(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()

    def write(temporary: Path) -> None:
        temporary.write_bytes(b"a")
        temporary.rename(tmp_path / "stolen")
        folder.rmdir()

    with pytest.raises(SequenceError, match="No such file"):
        write_atomically(folder / "a.exr", write)


def test_error_about_another_file_names_it(tmp_path: Path) -> None:
    source = tmp_path / "source.exr"
    with pytest.raises(SequenceError, match="source.exr"):
        write_atomically(tmp_path / "a.exr", lambda temporary: temporary.write_bytes(source.read_bytes()) and None)


@posix_only
def test_file_size_limit_like_a_full_disk(tmp_path: Path) -> None:
    script = f"""
        import resource, pathlib
        from loopcore.files.atomic import write_atomically
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
        write_atomically({str(tmp_path / "a.exr")!r}, lambda temporary: temporary.write_bytes(bytes(50_000)) and None)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True)
    assert done.returncode == 1
    assert "SequenceError: cannot write" in done.stderr
    assert "File too large" in done.stderr
    assert names_in(tmp_path) == []


@posix_only
def test_full_device(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full")

    def write(temporary: Path) -> None:
        Path("/dev/full").write_bytes(b"a")

    with pytest.raises(SequenceError, match="No space left on device"):
        write_atomically(tmp_path / "a.exr", write)


def test_windows_retries_while_a_viewer_holds_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, tries = os.replace, []

    def held_twice(source: Path, target: Path) -> None:
        tries.append(source)
        if len(tries) < 3:
            raise PermissionError(13, "Access is denied", str(source), 5, str(target))
        real(source, target)

    monkeypatch.setattr(atomic.os, "replace", held_twice)
    monkeypatch.setattr(atomic, "_PATIENCE_S", (0.0, 0.0, 0.0))
    write_atomically(tmp_path / "a.exr", write_a)
    assert len(tries) == 3
    assert (tmp_path / "a.exr").read_bytes() == b"a"


def test_windows_gives_up_with_a_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def held(source: Path, target: Path) -> None:
        raise PermissionError(13, "Access is denied", str(source), 5, str(target))

    monkeypatch.setattr(atomic.os, "replace", held)
    monkeypatch.setattr(atomic, "_PATIENCE_S", (0.0,))
    with pytest.raises(SequenceError, match="closed in other programs"):
        write_atomically(tmp_path / "a.exr", write_a)
    assert names_in(tmp_path) == []


def test_many_threads_write_one_name(tmp_path: Path) -> None:
    target = tmp_path / "a.exr"
    contents = [bytes([number]) * 100_000 for number in range(8)]

    def write(content: bytes) -> None:
        write_atomically(target, lambda temporary: temporary.write_bytes(content) and None)

    threads = [threading.Thread(target=write, args=(content,)) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert target.read_bytes() in contents
    assert names_in(tmp_path) == ["a.exr"]


# Leftovers


@posix_only
def test_leftover_of_a_killed_writer_is_removed(tmp_path: Path) -> None:
    script = f"""
        import os, signal
        from loopcore.files.atomic import write_atomically
        def write(temporary):
            temporary.write_bytes(b"half")
            os.kill(os.getpid(), signal.SIGKILL)
        write_atomically({str(tmp_path / "a.1001.exr")!r}, write)
    """
    (tmp_path / "a.1002.exr").write_bytes(b"whole")
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=False)
    assert done.returncode == -9
    left = [name for name in names_in(tmp_path) if name.startswith(".a.1001.exr.tmp-")]
    assert len(left) == 1
    assert remove_leftovers(tmp_path) == [tmp_path / left[0]]
    assert names_in(tmp_path) == ["a.1002.exr"]


def leftover(folder: Path, pid: int, host: str | None = None) -> Path:
    path = folder / f".a.1001.exr.tmp-{pid}-{atomic._host_tag() if host is None else host}01234567"
    path.write_bytes(b"half")
    return path


def ended_process() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_leftovers_of_ended_processes_are_removed_and_of_running_ones_kept(tmp_path: Path) -> None:
    alive = leftover(tmp_path, os.getppid())
    dead = leftover(tmp_path, ended_process())
    absurd = leftover(tmp_path, 10**18)
    recycled = leftover(tmp_path, os.getpid())
    assert sorted(remove_leftovers(tmp_path)) == sorted([dead, absurd, recycled])
    assert names_in(tmp_path) == [alive.name]


@pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="zombies are known from /proc")
def test_leftovers_of_a_zombie_are_removed(tmp_path: Path) -> None:
    """A killed process whose parent has not asked for its exit code still has its number."""
    process = subprocess.Popen([sys.executable, "-c", ""], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.read()
    dead = leftover(tmp_path, process.pid)
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert remove_leftovers(tmp_path) == [dead]
    process.wait()


def test_own_write_in_progress_is_kept(tmp_path: Path) -> None:
    def write(temporary: Path) -> None:
        temporary.write_bytes(b"a")
        assert remove_leftovers(tmp_path) == []
        assert temporary.exists()

    write_atomically(tmp_path / "a.exr", write)
    assert names_in(tmp_path) == ["a.exr"]


def test_leftovers_of_another_machine_are_removed_only_when_old(tmp_path: Path) -> None:
    other = f"{int(atomic._host_tag(), 16) ^ 1:016x}"
    foreign = leftover(tmp_path, ended_process(), other)
    assert remove_leftovers(tmp_path) == []
    day_ago = foreign.stat().st_mtime - 25 * 3600
    os.utime(foreign, (day_ago, day_ago))
    assert remove_leftovers(tmp_path) == [foreign]


def test_leftovers_of_older_versions_are_removed_only_when_old(tmp_path: Path) -> None:
    older = leftover(tmp_path, ended_process(), "00ff")
    assert remove_leftovers(tmp_path) == []
    day_ago = older.stat().st_mtime - 25 * 3600
    os.utime(older, (day_ago, day_ago))
    assert remove_leftovers(tmp_path) == [older]


def test_the_longest_name_has_room_for_a_temporarys_mark(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 251 + ".exr")
    write_atomically(path, lambda temporary: temporary.write_bytes(b"whole") and None)
    assert path.read_bytes() == b"whole"


def test_a_container_of_the_same_name_on_the_same_machine_is_another_host() -> None:
    ask = [sys.executable, "-c", "from loopcore.files.atomic import _host_tag; print(_host_tag())"]
    here = subprocess.run(ask, capture_output=True, text=True, check=True).stdout.strip()
    assert here == atomic._host_tag() and re.fullmatch("[0-9a-f]{16}", here)
    try:
        inside = subprocess.run(
            ["unshare", "--pid", "--fork", "--mount-proc", *ask], capture_output=True, text=True, timeout=60
        )
    except OSError:
        pytest.skip("there is no unshare here")
    if inside.returncode:
        pytest.skip(f"this user may not make a namespace: {inside.stderr.strip()[-200:]}")
    assert re.fullmatch("[0-9a-f]{16}", inside.stdout.strip()) and inside.stdout.strip() != here


def test_files_of_other_naming_are_kept(tmp_path: Path) -> None:
    pid = ended_process()
    names = [
        f"a.exr.tmp-{pid}-0123456789ab",
        f".a.exr.tmp-{pid}",
        f".a.exr.tmp-{pid}-xyz",
        f".a.exr.tmp-{pid}-0123456789ab.swp",
        ".a.exr.tmp-0-0123456789ab",
        ".hidden",
        "a.1001.exr",
    ]
    for name in names:
        (tmp_path / name).touch()
    (tmp_path / f".b.exr.tmp-{pid}-{atomic._host_tag()}01234567").mkdir()
    assert remove_leftovers(tmp_path) == []
    assert len(names_in(tmp_path)) == len(names) + 1


def test_leftovers_of_a_missing_folder_are_none(tmp_path: Path) -> None:
    assert remove_leftovers(tmp_path / "gone") == []
    (tmp_path / "file").touch()
    with pytest.raises(SequenceError, match="cannot list"):
        remove_leftovers(tmp_path / "file")
