# SPDX-License-Identifier: Apache-2.0
"""Tests of baking when it is killed or files cannot be written, and of its memory use."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import _scenes
import pytest
from _bakes import N, loop_of, make_motion

from loopcore.baking.bake import Progress, bake
from loopcore.errors import SequenceError
from loopcore.loop import Loop

posix = pytest.mark.skipif(os.name == "nt", reason="POSIX signals and limits")


@pytest.fixture(scope="module")
def loop(tmp_path_factory: pytest.TempPathFactory) -> Loop:
    folder = tmp_path_factory.mktemp("loop")
    motion = make_motion(folder)
    return loop_of(folder / "plate.png", motion)


# Kills and write errors


@pytest.fixture(scope="module")
def long_bake(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[object], dict[str, bytes]]:
    """Arguments of a bake of a few seconds, and the files of an undisturbed run."""
    folder = tmp_path_factory.mktemp("long")
    plate, hints = _scenes.png(folder / "p.png", "RGBA", 200, 112), _scenes.hints(folder / "h.json", 200, 112)
    arguments: list[object] = ["animate", plate, "--hints", hints, "--frames", 64]
    done = _scenes.run(*arguments, "-o", folder / "whole")
    assert done.returncode == 0, done.stderr
    return arguments, _scenes.contents((folder / "whole").iterdir())


@posix
def test_a_killed_bake_resumes_to_the_same_bytes(
    long_bake: tuple[list[object], dict[str, bytes]], tmp_path: Path
) -> None:
    arguments, whole = long_bake
    out = tmp_path / "out"
    for least in (3, 20):
        process = _scenes.start(*arguments, "-o", out)
        _scenes.wait_for(lambda least=least: len(_scenes.frames(out)) >= least, process=process)  # type: ignore[misc]
        # While a frame is being written, so that the kill leaves a partial file.
        _scenes.wait_for(lambda: bool(_scenes.hidden(out)), process=process)
        process.kill()
        assert process.wait() == -signal.SIGKILL
        process.communicate()
        there = _scenes.contents(_scenes.frames(out))
        assert least <= len(there) < 64 and there.items() <= whole.items()
    done = _scenes.run(*arguments, "-o", out)
    assert done.returncode == 0 and f"{len(there)} up to date, 0 failed" in done.stdout
    assert _scenes.contents(out.iterdir()) == whole


@posix
def test_a_file_size_limit_leaves_no_partial_frame(
    long_bake: tuple[list[object], dict[str, bytes]], tmp_path: Path
) -> None:
    resource = pytest.importorskip("resource")
    if not hasattr(resource, "prlimit"):
        pytest.skip("no prlimit on this system")
    arguments, whole = long_bake
    out = tmp_path / "out"
    process = _scenes.start(*arguments, "-o", out)
    _scenes.wait_for(lambda: len(_scenes.frames(out)) >= 3, process=process)
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))
    _, err = process.communicate(timeout=60)
    assert_failed_cleanly(process.returncode, err, out, whole)
    assert _scenes.run(*arguments, "-o", out).returncode == 0
    assert _scenes.contents(out.iterdir()) == whole


@pytest.fixture
def small_disk(long_bake: tuple[list[object], dict[str, bytes]], tmp_path: Path) -> Iterator[Path]:
    """A disk with space for half of the long bake, where the user may mount one."""
    size = sum(map(len, long_bake[1].values())) // 2
    folder = tmp_path / "disk"
    folder.mkdir()
    mount, umount = shutil.which("mount"), shutil.which("umount")
    if not (sys.platform == "linux" and mount and umount):
        pytest.skip("mounting a disk needs Linux")
    asked = subprocess.run([mount, "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], capture_output=True)
    if asked.returncode:
        pytest.skip("this user may not mount a disk")
    try:
        yield folder
    finally:
        subprocess.run([umount, str(folder)], check=True)


def test_a_full_disk_leaves_no_partial_frame(
    long_bake: tuple[list[object], dict[str, bytes]], small_disk: Path
) -> None:
    arguments, whole = long_bake
    done = _scenes.run(*arguments, "-o", small_disk)
    assert_failed_cleanly(done.returncode, done.stderr, small_disk, whole)
    assert len(_scenes.frames(small_disk)) >= 3
    again = _scenes.run(*arguments, "-o", small_disk)
    assert_failed_cleanly(again.returncode, again.stderr, small_disk, whole)


def assert_failed_cleanly(code: int, err: str, out: Path, whole: dict[str, bytes]) -> None:
    assert code == 1
    lines = err.splitlines()
    assert lines and all(line.startswith("loopcore: error: frame ") for line in lines), err
    assert "p_loop.1" in lines[0] and ".tmp-" not in err
    there = _scenes.contents(_scenes.frames(out))
    assert there.items() <= whole.items() and len(there) < 64
    assert not _scenes.hidden(out)


@posix
def test_a_folder_removed_during_the_bake(long_bake: tuple[list[object], dict[str, bytes]], tmp_path: Path) -> None:
    arguments, _ = long_bake
    out = tmp_path / "out"
    process = _scenes.start(*arguments, "-o", out)
    _scenes.wait_for(lambda: len(_scenes.frames(out)) >= 3, process=process)
    out.rename(tmp_path / "gone")
    stdout, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert err.startswith("loopcore: error: frame ") and "Traceback" not in err and "p_loop.1" in err
    assert not out.exists()
    assert len(_scenes.hidden(tmp_path / "gone")) <= 1  # moved away with the folder while it was being written
    written = int(stdout.splitlines()[-1].split()[0])
    assert 3 <= written < 64 and f"{64 - written} failed" in stdout


def test_a_frame_that_vanishes_is_reported(loop: Loop, tmp_path: Path) -> None:
    def steal(progress: Progress) -> None:
        if progress.path is not None and progress.path.name == "p_loop.1002.exr":
            progress.path.unlink()

    report = bake(loop, tmp_path, "p_loop", on_progress=steal)
    assert list(report.failed) == [1002] and "vanished" in report.failed[1002]


def test_a_folder_with_the_name_of_a_frame_fails_the_bake(loop: Loop, tmp_path: Path) -> None:
    (tmp_path / "p_loop.1002.exr").mkdir()
    report = bake(loop, tmp_path, "p_loop")
    assert "p_loop.1002.exr" in report.failed[1002]
    assert sorted([*report.written, *report.failed]) == list(range(1001, 1001 + N))
    assert not _scenes.hidden(tmp_path)


@pytest.mark.parametrize("place", ["file", "file/below"])
def test_a_file_with_the_name_of_the_folder(loop: Loop, tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SequenceError, match="cannot make folder"):
        bake(loop, tmp_path / place, "p_loop")


@pytest.mark.skipif(getattr(os, "geteuid", lambda: 0)() == 0, reason="root and Windows may write anywhere")
def test_a_read_only_folder(loop: Loop, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(SequenceError, match="cannot write"):
            bake(loop, tmp_path, "p_loop")
    finally:
        tmp_path.chmod(0o700)


def test_temporary_files_of_ended_processes_are_removed(loop: Loop, tmp_path: Path) -> None:
    from loopcore.files.atomic import _host_tag

    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    alive = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        names = [f".p_loop.1001.exr.tmp-{process.pid}-{_host_tag()}00c0ffee" for process in (dead, alive)]
        for name in names:
            (tmp_path / name).write_bytes(b"half a frame")
        bake(loop, tmp_path, "p_loop", numbers=[1001])
        assert _scenes.hidden(tmp_path) == [names[1]]
    finally:
        alive.kill()
        alive.wait()


# Memory

_PEAK = """
import resource, sys
from loopcore.cli import main
code = main(sys.argv[1:])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)
sys.exit(code)
"""


@posix
def test_memory_does_not_grow_with_the_number_of_frames(tmp_path: Path) -> None:
    plate, hints = _scenes.png(tmp_path / "p.png", "RGBA", 640, 360), _scenes.hints(tmp_path / "h.json", 640, 360)

    def begin(count: int) -> subprocess.Popen[str]:
        arguments = ["animate", plate, "--hints", hints, "--frames", count, "-o", tmp_path / str(count)]
        return subprocess.Popen(
            [sys.executable, "-c", _PEAK, *map(str, arguments)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            text=True, env=_scenes.environment(None),
        )  # fmt: skip

    peaks = []
    for process in [begin(12), begin(48)]:
        _, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        peaks.append(int(err))
    few, many = peaks
    assert many <= 1.1 * few, f"{few} KB for 12 frames, {many} KB for 48"
