# SPDX-License-Identifier: Apache-2.0
"""Commands in a daemon write and say what they do in a process of their own, whatever happens to daemon and client."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import _farm
import _scenes
import pytest

from loopcore.farm import daemon_client

pytestmark = pytest.mark.skipif(os.name == "nt", reason="FIFOs")

ROOT = str(Path(__file__).resolve().parents[2])
FRAMES = 120
HEAVY = ("numpy", "numba", "argparse", "loopcore.animate", "loopcore.cli")


@dataclass(frozen=True)
class Daemon:
    """A daemon's folder, and the scene and the loop that a plain process made of it."""

    folder: Path
    scene: Path
    plain: dict[str, bytes]

    @property
    def frames(self) -> Path:
        return self.scene / "loop"

    @property
    def pid(self) -> int:
        return int((self.folder / "loopcore-pid").read_text())

    def start(self, *arguments: object, python: tuple[str, ...] = ("-m", "loopcore")) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, *python, *map(str, arguments)], text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env=_scenes.environment({"LOOPCORE_DAEMON": str(self.folder), "PYTHONPATH": ROOT}), cwd=self.scene,
        )  # fmt: skip

    def run(self, *arguments: object, python: tuple[str, ...] = ("-m", "loopcore")) -> subprocess.CompletedProcess[str]:
        process = self.start(*arguments, python=python)
        out, err = process.communicate(timeout=120)
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)

    def chunk(self, numbers: str, *options: object) -> tuple[object, ...]:
        return ("animate", "plate.png", "--motion", "motion.exr", "-o", "loop", "--frames", FRAMES, "--range", numbers,
            *options)  # fmt: skip

    def made(self, numbers: range) -> None:
        """Check frames."""
        found = _scenes.contents([self.frames / f"plate_loop.{number}.exr" for number in numbers])
        assert found == {name: self.plain[name] for name in found}


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Daemon:
    folder = tmp_path_factory.mktemp("daemon")
    still, hints = _farm.scene(folder)
    _farm.loopcore("animate", still, "--hints", hints, "-o", folder / "plain", "--frames", FRAMES)
    shutil.copy(folder / "plain" / "motion.exr", folder)
    return Daemon(folder / "d", folder, _farm.files(folder / "plain"))


@pytest.fixture
def daemon(plain: Daemon) -> Iterator[Daemon]:
    """The daemon, which a test may find running or not, and no frames."""
    shutil.rmtree(plain.frames, ignore_errors=True)
    yield plain


@pytest.fixture(scope="module", autouse=True)
def stopped(plain: Daemon) -> Iterator[None]:
    yield
    assert plain.run("daemon", "stop").returncode == 0
    assert not plain.folder.exists()


def test_chunks_share_a_loop_and_the_client_imports_little(daemon: Daemon) -> None:
    first = daemon.run(*daemon.chunk("1001-1003"))
    assert first.returncode == 0 and "Preparing" not in first.stderr
    pid = daemon.pid
    second = daemon.run(*daemon.chunk("1004-1006"), python=("-X", "importtime", "-m", "loopcore"))
    imported = {line.rpartition("|")[2].strip() for line in second.stderr.splitlines()}
    assert second.returncode == 0 and "loopcore.farm.daemon_client" in imported and not imported.intersection(HEAVY)
    assert "Saved: 'loop/plate_loop.1006.exr'" in second.stdout and "3 frames written" in second.stdout
    assert daemon.pid == pid and _scenes.hidden(daemon.frames) == []
    daemon.made(range(1001, 1007))


def test_errors_and_exit_codes_are_those_of_the_command(daemon: Daemon) -> None:
    blocked = daemon.frames / "plate_loop.1002.exr"
    blocked.mkdir(parents=True)
    bad = ("animate", "missing.png", "-o", "loop")
    for command in (daemon.chunk("1001-1003"), (*daemon.chunk("1001"), "--nonsense"), bad):
        given = [str(part) for part in command]
        there = daemon.run(*given)
        here = _scenes.run(*given, cwd=daemon.scene, env={"PYTHONPATH": ROOT})
        assert there.returncode == here.returncode != 0
        assert there.stderr == here.stderr
    assert _scenes.ended(daemon.pid) is False


def test_an_interrupted_chunk_leaves_the_daemon_usable(daemon: Daemon) -> None:
    assert daemon.run(*daemon.chunk("1001")).returncode == 0
    pid = daemon.pid
    for number, code in ((signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGKILL, -9)):
        process = daemon.start(*daemon.chunk("1001-1120", "--overwrite"))
        assert process.stdout is not None
        process.stdout.readline()
        start = time.monotonic()
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
        assert process.returncode == code and time.monotonic() - start < 20
        assert number == signal.SIGKILL or err == "loopcore: interrupted\n"
        done = daemon.run(*daemon.chunk("1002-1003", "--overwrite"))
        assert done.returncode == 0 and "the daemon ended" not in done.stderr and daemon.pid == pid
    process = daemon.start(*daemon.chunk("1001-1120", "--overwrite"))
    assert process.stdout is not None
    process.stdout.close()
    assert process.wait(60) == 1 and daemon.pid == pid
    assert not (daemon.frames / "plate_loop.1120.exr").exists()
    daemon.made(range(1001, 1004))


def test_a_killed_daemon_costs_no_frame(daemon: Daemon) -> None:
    assert daemon.run(*daemon.chunk("1001")).returncode == 0
    killed = daemon.pid
    process = daemon.start(*daemon.chunk("1001-1120", "--overwrite"))
    assert process.stdout is not None
    process.stdout.readline()
    os.kill(killed, signal.SIGKILL)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0 and "the daemon ended: this process runs the command" in err
    assert _farm.files(daemon.frames) == daemon.plain
    # The next one starts another daemon.
    assert daemon.run(*daemon.chunk("1001", "--overwrite")).returncode == 0
    assert daemon.pid != killed and _scenes.ended(killed)


@pytest.mark.parametrize("cause", ["idle", "folder", "session"])
def test_it_ends_by_itself(plain: Daemon, tmp_path: Path, cause: str) -> None:
    """Nobody stops it: it is idle, or its folder or the process that runs its clients is gone."""
    daemon = Daemon(tmp_path / "d", plain.scene, {})
    idle = "2.5" if cause == "idle" else "60"
    program = (
        "import sys; from loopcore import __main__; from loopcore.farm import daemon\n"
        f"daemon.IDLE_S = {idle}\n"
        "sys.exit(__main__.main())"
    )
    bad = ("animate", "missing.png", "-o", "loop")
    if cause == "session":
        both = (
            f"import subprocess, sys\nfor _ in 1, 2: subprocess.run([sys.executable, '-c', {program!r}, *sys.argv[1:]])"
        )
        daemon.run(*bad, python=("-c", both))
    else:
        assert daemon.run(*bad, python=("-c", program)).returncode == 2
    pid = daemon.pid
    if cause == "folder":
        shutil.rmtree(daemon.folder)
    elif cause == "idle":
        (daemon.folder / "mine").mkdir()
        (daemon.folder / "mine" / "code").write_text("kept")
    _scenes.wait_for(lambda: _scenes.ended(pid), 15)
    left = [path.name for path in daemon.folder.rglob("*")]
    assert left == (["mine", "code"] if cause == "idle" else []) and daemon.folder.exists() == (cause == "idle")


def test_without_a_private_folder_or_fifos_there_is_no_daemon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def serve(folder: str) -> None:
        raise AssertionError

    folder = tmp_path / "d"
    folder.mkdir()
    folder.chmod(0o755)
    command = ["animate", "plate.png", "-o", "loop"]
    assert daemon_client.forward(command, serve) is None  # The variable is not set.
    monkeypatch.setenv("LOOPCORE_DAEMON", str(folder))
    assert daemon_client.forward(command, serve) is None and not list(folder.iterdir())
    assert "mode 0700" in capsys.readouterr().err
    folder.chmod(0o700)
    assert daemon_client.forward([*command, "--dask", "local:2"], serve) is None
    assert daemon_client.forward(["info"], serve) is None
    monkeypatch.delattr(os, "mkfifo")
    assert daemon_client.forward(command, serve) is None
