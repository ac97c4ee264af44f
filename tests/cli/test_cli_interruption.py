# SPDX-License-Identifier: Apache-2.0
"""Ctrl-C and SIGTERM: complete frames are left, and the exit code says what happened."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import IO

import _scenes
import pytest

from loopcore.baking.frames import is_current
from loopcore.baking.recipe import read_recipe

pytestmark = pytest.mark.skipif(os.name == "nt", reason="POSIX signals and terminals")


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a plate and its hints."""
    folder = tmp_path_factory.mktemp("scene")
    _scenes.png(folder / "p.png")
    _scenes.hints(folder / "h.json")
    return folder


def animate(scene: Path, out: Path, *more: object) -> list[str]:
    return [str(part) for part in ("animate", scene / "p.png", "--hints", scene / "h.json", "-o", out, *more)]


@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_leaves_complete_frames(number: signal.Signals, code: int, scene: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    process = _scenes.start(*animate(scene, out, "--frames", 600))
    _scenes.wait_for(lambda: len(_scenes.frames(out)) >= 3, process=process)
    process.send_signal(number)
    begun = time.monotonic()
    _, err = process.communicate(timeout=60)
    assert process.returncode == code and time.monotonic() - begun < 5
    assert err == "loopcore: interrupted\n"
    assert not _scenes.hidden(out) and 3 <= len(_scenes.frames(out)) < 600
    recipe, _ = read_recipe(out)
    assert all(is_current(path, recipe, 1001 + k) for k, path in enumerate(_scenes.frames(out)))


WAITING = """
import sys
from pathlib import Path
from loopcore.cli.main import main
from loopcore.motion import hints
read = hints.read_hints
def wait_and_read(path):
    Path(sys.argv[1]).read_text()
    return read(path)
hints.read_hints = wait_and_read
sys.exit(main(sys.argv[2:]))
"""


def waiting_for_hints(scene: Path, tmp_path: Path) -> tuple[subprocess.Popen[str], IO[str]]:
    """An `animate` that waits for the end of the returned pipe before it reads its hints."""
    os.mkfifo(tmp_path / "pipe")
    script = [sys.executable, "-c", WAITING, str(tmp_path / "pipe"), *animate(scene, tmp_path / "out")]
    process = subprocess.Popen(script, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    return process, (tmp_path / "pipe").open("w", encoding="utf-8")  # opens once the command reads


def test_a_signal_before_the_first_frame(scene: Path, tmp_path: Path) -> None:
    process, pipe = waiting_for_hints(scene, tmp_path)
    with pipe:
        process.send_signal(signal.SIGTERM)
        time.sleep(0.1)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 143 and err == "loopcore: interrupted\n"
    assert not (tmp_path / "out").exists()


def test_a_second_ctrl_c_ends_the_command_at_once(scene: Path, tmp_path: Path) -> None:
    process, pipe = waiting_for_hints(scene, tmp_path)
    with pipe:
        process.send_signal(signal.SIGINT)
        time.sleep(0.3)
        assert process.poll() is None, "the first one lets what was begun end"
        process.send_signal(signal.SIGINT)
        # The pipe stays open and empty, so the command ends only by interrupting the read.
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130 and err == "loopcore: interrupted\n" and not (tmp_path / "out").exists()


HOST = """
import ctypes, os, signal, sys
from loopcore.cli import console
# A handler installed in C, before Python's signal module is imported.
kept = ctypes.CFUNCTYPE(None, ctypes.c_int)(lambda number: os.write(1, b"host "))
ctypes.CDLL(None).signal(signal.SIGTERM, kept)
old = [sys.modules.pop(name) for name in ("signal", "_signal")]
import signal
assert signal.getsignal(signal.SIGTERM) is None
console.signal = signal
with console.Stop():
    pass
os.kill(os.getpid(), signal.SIGTERM)
os.write(1, b"lives")
"""


def test_a_hosts_signal_handler_is_kept() -> None:
    done = subprocess.run([sys.executable, "-c", HOST], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "host lives"), done.stderr
