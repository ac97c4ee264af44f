# SPDX-License-Identifier: Apache-2.0
"""Tests of locks between Blenders: one at a time sets up the environment, and a dead process holds no lock."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import _package
import pytest
from _setups import failure, finish, install, setup, wheel

place_module = _package.module("engine.place")
Place, state_of, take_lease = place_module.Place, place_module.state_of, place_module.take_lease
Setup = setup.Setup
Lock = _package.module("engine.lock").Lock
LOCK_HOLDER = """
import json, sys, time
sys.path[:0] = json.loads(sys.argv[1])
import _package
from pathlib import Path
lock = _package.module("engine.lock").Lock(Path(sys.argv[2]))
print(lock.take(), flush=True)
time.sleep(60)
"""


@pytest.fixture
def another_blender(tmp_path: Path) -> Iterator[tuple[Any, subprocess.Popen[str]]]:
    """A place whose setup lock another process holds, and that process."""
    place = Place(tmp_path / "engine", tmp_path / "loopcore.whl")
    place.folder.mkdir()
    where = json.dumps([str(Path(_package.__file__).parent)])
    process = subprocess.Popen(
        [sys.executable, "-c", LOCK_HOLDER, where, str(place.lock)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None and process.stdout.readline() == "True\n"
        yield place, process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_two_blenders_cannot_set_up_the_same_environment(another_blender: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    place, process = another_blender
    monkeypatch.setattr(setup, "_LOCK_TIMEOUT_S", 0.2)
    assert state_of(place).name == "busy"
    wheel(place.folder.parent / "wheels", "something", {})
    place.wheel.write_bytes(b"a wheel")
    for work in (install(place, place.folder.parent / "wheels"), Setup.remove(place)):
        error = failure(work)
        assert f"process {process.pid}, since" in error and "wait until it is done" in error
    assert not place.environment.exists()
    # A killed process releases its lock.
    process.kill()
    process.wait()
    assert state_of(place).name == "absent"
    removal = Setup.remove(place)
    finish(removal)
    assert removal.state == "done", removal.error


def test_an_environment_in_use_is_not_changed(
    another_blender: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock, process = another_blender[0].lock, another_blender[1]
    monkeypatch.setattr(setup, "_LOCK_TIMEOUT_S", 0.2)
    # The lock file that the other process holds becomes a lease of this place.
    place = Place(tmp_path / "used", tmp_path / "loopcore.whl")
    place.python.parent.mkdir(parents=True)
    place.python.write_text("", "utf-8")
    place.marker.write_text("{}", "utf-8")
    os.link(lock, place.leases[0].path)
    wheel(tmp_path / "wheels", "something", {})
    place.wheel.write_bytes(b"a wheel")
    for work in (install(place, tmp_path / "wheels"), Setup.remove(place)):
        error = failure(work)
        assert f"process {process.pid}, since" in error and "is using" in error and "close it" in error
    assert place.python.exists() and place.marker.exists() and not Lock(place.lock).is_held()
    lease = take_lease(place)
    assert lease.path == place.leases[1].path
    lease.free()
    process.kill()
    process.wait()
    removal = Setup.remove(place)
    finish(removal)
    assert removal.state == "done" and not place.environment.exists()


def test_no_lease_without_a_folder(tmp_path: Path) -> None:
    assert take_lease(Place(tmp_path / "nowhere", tmp_path / "loopcore.whl")) is None


def test_a_lock_has_one_holder(tmp_path: Path) -> None:
    mine, other = Lock(tmp_path / "l"), Lock(tmp_path / "l")
    assert not mine.is_held() and not (tmp_path / "l").exists()
    assert mine.take() and mine.take() and not other.take() and other.is_held() and mine.is_held()
    assert str(os.getpid()) in other.holder()
    mine.free()
    mine.free()
    assert not other.is_held() and other.take() and not mine.take()
    other.free()
