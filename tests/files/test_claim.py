# SPDX-License-Identifier: Apache-2.0
"""Tests of claims on folders, with threads and with real processes, some of them killed."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import _scenes
import pytest

from loopcore.errors import SequenceError
from loopcore.files import claim
from loopcore.files.claim import claim_folder

HOLD = """
import sys
from pathlib import Path
from loopcore.files.claim import claim_folder
with claim_folder(Path(sys.argv[1]), sys.argv[2]):
    print("held", flush=True)
    sys.stdin.read()
"""
# Claims the folder at a given time and says when it held it.
RACE = """
import sys, time
from pathlib import Path
from loopcore.errors import SequenceError
from loopcore.files.claim import claim_folder
time.sleep(max(0, float(sys.argv[3]) - time.time()))
try:
    with claim_folder(Path(sys.argv[1]), sys.argv[2]):
        start = time.time()
        time.sleep(0.3)
        print(start, time.time())
except SequenceError as error:
    assert "another loop is being written" in str(error), error
"""


def process(script: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def holder(folder: Path, loop: str) -> subprocess.Popen[str]:
    held = process(HOLD, folder, loop)
    assert held.stdout is not None and held.stdout.readline() == "held\n"
    return held


def claims(folder: Path) -> list[Path]:
    return list(folder.glob(".loopcore-*"))


def foreign(folder: Path, age: float, host: str = "0" * 16) -> Path:
    """The claim of another loop by a process of another machine."""
    path = folder / f".loopcore-{'f' * 16}.tmp-1-{host}00000000"
    path.write_text("render07")
    os.utime(path, (time.time() - age,) * 2)
    return path


def test_another_loop_is_refused_until_the_first_has_ended(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "out"
    first = holder(folder, "a")
    try:
        with pytest.raises(SequenceError, match=f"another loop is being written to '.*out' by process {first.pid} on "):
            with claim_folder(folder, "b"):
                pass
        with claim_folder(folder, "a"):
            assert len(claims(folder)) == 2
        assert first.poll() is None and len(claims(folder)) == 1
    finally:
        first.communicate("")
    with claim_folder(folder, "b"):
        pass
    assert not claims(folder)


def test_the_claim_of_a_killed_process_counts_for_nothing(tmp_path: Path) -> None:
    first = holder(tmp_path, "a")
    first.kill()
    first.communicate()
    assert len(claims(tmp_path)) == 1
    with claim_folder(tmp_path, "b"):
        assert len(claims(tmp_path)) == 1
    assert not claims(tmp_path)


def test_claims_of_other_machines_stand_while_they_are_renewed(tmp_path: Path) -> None:
    other = foreign(tmp_path, claim.STALE_S - 20)
    with pytest.raises(SequenceError, match="by process 1 on render07: wait for its end"), claim_folder(tmp_path, "a"):
        pass
    os.utime(other, (time.time() - claim.STALE_S - 20,) * 2)
    with claim_folder(tmp_path, "a"):
        assert not other.exists()


def test_a_claim_is_renewed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claim, "BEAT_S", 0.05)
    with claim_folder(tmp_path, "a") as held:
        (path,) = claims(tmp_path)
        os.utime(path, (0, 0))
        _scenes.wait_for(lambda: time.time() - path.stat().st_mtime < 10)
        held.check()
        path.unlink()
        time.sleep(0.2)
        assert not path.exists()
        with pytest.raises(SequenceError, match="was taken over by another process"):
            held.check()


def test_of_threads_that_start_at_once_one_loop_goes_on(tmp_path: Path) -> None:
    rounds, loops = 40, ("a", "b", "c", "a")
    barrier, lock = threading.Barrier(len(loops)), threading.Lock()
    inside: list[str] = []
    mixed: list[list[str]] = []
    went_on = [0] * rounds

    def work(loop: str) -> None:
        for number in range(rounds):
            barrier.wait()
            try:
                with claim_folder(tmp_path, loop):
                    with lock:
                        inside.append(loop)
                        went_on[number] += 1
                        if len(set(inside)) > 1:
                            mixed.append(list(inside))
                    time.sleep(0.002)
                    with lock:
                        inside.remove(loop)
            except SequenceError:
                pass

    threads = [threading.Thread(target=work, args=(loop,)) for loop in loops]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not mixed and all(went_on) and not claims(tmp_path)


def test_of_processes_that_start_at_once_one_loop_goes_on(tmp_path: Path) -> None:
    loops = ("a", "b", "a", "b")
    start = time.time() + 2
    racing = [process(RACE, tmp_path, loop, start) for loop in loops]
    outputs = [one.communicate(timeout=60)[0] for one in racing]
    assert [one.returncode for one in racing] == [0] * 4
    spans: dict[str, list[tuple[float, ...]]] = {"a": [], "b": []}
    for loop, out in zip(loops, outputs, strict=True):
        if out:
            spans[loop].append(tuple(map(float, out.split())))
    assert spans["a"] or spans["b"]
    assert all(a[1] <= b[0] or b[1] <= a[0] for a in spans["a"] for b in spans["b"]) and not claims(tmp_path)


def test_a_folder_that_cannot_be_written_to_is_a_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SequenceError, match="cannot make folder"), claim_folder(tmp_path / "file" / "out", "a"):
        pass
