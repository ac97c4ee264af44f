# SPDX-License-Identifier: Apache-2.0
"""Tests of failures during a bake in real Blenders: a clear message, no temporary files, no running processes."""

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
    """Folders on a read-only disk and on one with 1 MiB; an empty path if it cannot be mounted."""
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
def results(
    blender: Any, extension: Path, disks: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("shot") / ("l'eau 水" + ("" if os.name == "nt" else ' "plate"'))
    if disks["full"]:
        for path in Path(disks["full"]).iterdir():  # frames of the Blender before, whose owner is another
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    result = blender.run(SCRIPT, extension, folder, disks["read-only"], disks["full"], timeout=600).result
    assert isinstance(result, dict)
    return result


def assert_usable(usable: list[Any]) -> None:
    result, message, temporaries = usable
    assert result == ["FINISHED"] and "3 frames written" in message and temporaries == []


def test_a_renamed_plane_plays_its_loop(results: dict[str, Any]) -> None:
    seen = results["renamed"]
    assert seen["outcome"][0].startswith("12 frames written") and seen["outcome"][1:] == [False, 0]
    assert seen["kept"] and seen["playing"]


def test_frames_of_a_removed_plane_are_kept(results: dict[str, Any]) -> None:
    seen = results["removed"]
    message, failed, _ = seen["outcome"]
    assert failed and "'Plate' was removed during" in message and "//loops" in message and "do not play" in message
    assert seen["files"] == 12
    assert_usable(seen["usable"][1:])
    message, failed, _ = results["removed_before_the_motion"]["outcome"]
    assert failed and "'Plate' was removed during" in message


def test_disabling_the_addon_ends_the_bake(results: dict[str, Any]) -> None:
    seen = results["disabled"]
    assert seen["ended"] == [True, "Cancelled: the add-on was disabled"] and seen["gone"] and not seen["type"]
    assert_usable(seen["usable"])


def test_saving_keeps_the_bake_and_opening_a_file_cancels_it(results: dict[str, Any]) -> None:
    seen = results["saved_and_another_opened"]
    assert seen["goes on"] and seen["none"] and seen["still"] is False and seen["one worker"]
    assert seen["ended"] == [True, "Cancelled: another file was opened"]
    assert_usable(seen["usable"])


def test_a_missing_image_is_reported(results: dict[str, Any]) -> None:
    seen = results["missing_picture"]
    assert "plate.png" in seen["outcome"] and "is missing" in seen["outcome"] and seen["kept"] in seen["outcome"]
    assert_usable(seen["usable"])
    message, failed, _ = results["missing_during_the_bake"]["outcome"]
    assert not failed or "plate.png" in message
    assert_usable(results["missing_during_the_bake"]["usable"])


@pytest.mark.parametrize(("disk", "words"), [("read-only", "Read-only file system"), ("full", "No space left")])
def test_an_unwritable_disk_is_reported(results: dict[str, Any], disks: dict[str, str], disk: str, words: str) -> None:
    if not disks[disk]:
        pytest.skip("no such disk can be made here")
    outcome, failed, temporaries = results["bad_disks"][disk]
    assert words in outcome and disks[disk] in outcome and failed and temporaries == []
    assert_usable(results["bad_disks"]["usable"])


def test_slow_work_is_done_outside_the_main_thread(results: dict[str, Any]) -> None:
    """Slow work is done by threads and the worker, each in its own step."""
    seen = results["slow_preparation"]
    assert seen["outcome"][1] is False, seen
    assert seen["steps"][:4] == ["Writing the image", "Writing the hints", "Writing the mask", "Solving the motion"]
    print(f"longest main-thread time in ms, by step: {seen['computed ms']}")


@posix
def test_the_worker_ends_when_blender_is_killed(blender: Any, extension: Path, tmp_path: Path) -> None:
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
