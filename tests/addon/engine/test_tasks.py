# SPDX-License-Identifier: Apache-2.0
"""What may go wrong while a loop is made, in real Blenders: a clear word, no torn file, nothing left running."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from _workers import group, seconds_until_gone

HERE = Path(__file__).parent
SCRIPT = HERE / "tasks_script.py"
posix = pytest.mark.skipif(os.name == "nt", reason="POSIX signals")


@pytest.fixture(scope="module")
def disks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Folders on a disk that cannot be written and on one that is nearly full; empty where none can be made."""
    mount, umount = shutil.which("mount"), shutil.which("umount")
    made: dict[str, str] = {"read-only": "", "full": ""}
    if sys.platform == "linux" and mount and umount:
        for name, options in (("read-only", "ro"), ("full", "size=1m")):
            place = tmp_path_factory.mktemp(name)
            command = [mount, "-t", "tmpfs", "-o", options, "tmpfs", str(place)]
            if subprocess.run(command, capture_output=True).returncode == 0:
                made[name] = str(place)
    yield made
    for place_ in filter(None, made.values()):
        subprocess.run([str(umount), place_], check=True)


@pytest.fixture(scope="module")
def told(
    blender: Any, extension: Path, disks: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("shot") / ("l'eau 水" + ("" if os.name == "nt" else ' "plate"'))
    result = blender.run(SCRIPT, extension, folder, disks["read-only"], disks["full"], timeout=600).result
    assert isinstance(result, dict)
    return result


def assert_usable(usable: list[Any]) -> None:
    result, message, torn = usable
    assert result == ["FINISHED"] and "3 frames written" in message and torn == []


def test_a_plane_that_was_renamed_plays_its_loop(told: dict[str, Any]) -> None:
    seen = told["renamed"]
    assert seen["said"][0].startswith("12 frames written") and seen["said"][1:] == [False, 0]
    assert seen["kept"] and seen["playing"]


def test_of_a_plane_that_was_removed_the_frames_stay(told: dict[str, Any]) -> None:
    seen = told["removed"]
    message, failed, _ = seen["said"]
    assert failed and "'Plate' was removed meanwhile" in message and "//loops" in message and "played by" in message
    assert seen["files"] == 12
    assert_usable(seen["usable"][1:])
    message, failed, _ = told["removed_before_the_motion"]["said"]
    assert failed and "'Plate' was removed meanwhile" in message


def test_disabling_the_addon_ends_the_bake(told: dict[str, Any]) -> None:
    seen = told["disabled"]
    assert seen["ended"] == [True, "Cancelled: the add-on was disabled"] and seen["gone"] and not seen["type"]
    assert_usable(seen["usable"])


def test_a_bake_goes_on_when_saved_and_ends_when_another_file_is_opened(told: dict[str, Any]) -> None:
    seen = told["saved_and_another_opened"]
    assert seen["goes on"] and seen["none"] and seen["still"] is False and seen["one worker"]
    assert seen["ended"] == [True, "Cancelled: another file was opened"]
    assert_usable(seen["usable"])


def test_a_picture_that_has_gone_is_named(told: dict[str, Any]) -> None:
    seen = told["missing_picture"]
    assert "plate.png" in seen["said"] and "is not there" in seen["said"] and seen["kept"] in seen["said"]
    assert_usable(seen["usable"])
    message, failed, _ = told["missing_during_the_bake"]["said"]
    assert not failed or "plate.png" in message
    assert_usable(told["missing_during_the_bake"]["usable"])


@pytest.mark.parametrize(("disk", "words"), [("read-only", "Read-only file system"), ("full", "No space left")])
def test_a_disk_that_takes_nothing_is_told(told: dict[str, Any], disks: dict[str, str], disk: str, words: str) -> None:
    if not disks[disk]:
        pytest.skip("no such disk can be made here")
    said, failed, torn = told["bad_disks"][disk]
    assert words in said and disks[disk] in said and failed and torn == []
    assert_usable(told["bad_disks"]["usable"])


def test_blender_waits_for_little_at_a_time(told: dict[str, Any]) -> None:
    """What takes long is done beside it, each in a step of its own."""
    seen = told["a_long_way_to_the_bake"]
    assert seen["said"][1] is False, seen
    assert seen["steps"][:4] == ["Writing the picture", "Writing the hints", "Writing the mask", "Solving the motion"]
    print(f"computed at a time, in ms, at the end of each step: {seen['computed ms']}")


@posix
def test_the_worker_goes_with_a_blender_that_is_killed(blender: Any, extension: Path, tmp_path: Path) -> None:
    process = blender.start(SCRIPT, extension, tmp_path, "--until-killed")
    try:
        lines: list[str] = []
        for line in process.stdout:
            lines.append(line)
            if line.startswith("WORKER "):
                break
        assert lines and lines[-1].startswith("WORKER "), "".join(lines)
        pids = group(int(lines[-1].split()[1]))
        assert len(pids) == 2  # the worker and its guard
        process.send_signal(signal.SIGKILL)
        assert seconds_until_gone(pids) < 1
        assert not [path for path in tmp_path.rglob(".*.tmp-*")]
    finally:
        process.kill()
        process.communicate()
