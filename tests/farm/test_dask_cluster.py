# SPDX-License-Identifier: Apache-2.0
"""Frames computed by a Dask cluster on the loopback interface: the bytes of a bake on one machine."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import _farm
import _scenes
import pytest

from loopcore.cli import main

pytest.importorskip("distributed", reason="distributed is not installed")
pytestmark = pytest.mark.skipif(os.name == "nt", reason="POSIX signals")

FRAMES = 40
CLUSTER = """
import sys
from distributed import LocalCluster
if __name__ == "__main__":
    with LocalCluster(n_workers=int(sys.argv[1]), threads_per_worker=1, host="127.0.0.1",
                      dashboard_address="127.0.0.1:0") as cluster:
        print(cluster.scheduler_address, flush=True)
        sys.stdin.read()
"""


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a plate, its hints, and the loop as this machine makes it alone."""
    folder = tmp_path_factory.mktemp("scene")
    still, hints = _farm.scene(folder)
    _farm.loopcore("animate", still, "--hints", hints, "-o", folder / "plain", "--frames", FRAMES)
    return folder


def job(scene: Path, out: Path, *more: object) -> list[str]:
    motion = scene / "plain" / "motion.exr"
    options = ("--motion", motion, "-o", out, "--frames", FRAMES, *more)
    return [str(part) for part in ("animate", scene / "plate.png", *options)]


def start_cluster(script: Path, workers: int) -> tuple[subprocess.Popen[str], str]:
    script.write_text(CLUSTER)
    process = subprocess.Popen(
        [sys.executable, str(script), str(workers)], env=_scenes.environment(None), stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a scheduler with two worker processes."""
    process, address = start_cluster(tmp_path_factory.mktemp("cluster") / "cluster.py", 2)
    yield address
    process.communicate(timeout=200)


def workers(address: str) -> dict[str, int]:
    """Process ids of the workers."""
    from distributed import Client

    with Client(address, set_as_default=False) as client:
        return client.run(os.getpid)


def test_a_killed_worker_costs_only_its_frame(scene: Path, cluster: str, tmp_path: Path) -> None:
    before = workers(cluster)
    out = tmp_path / "out"
    process = _scenes.start(*job(scene, out, "--dask", cluster))
    _scenes.wait_for(lambda: len(_scenes.frames(out)) >= 3, 200, process)
    os.kill(next(iter(before.values())), signal.SIGKILL)
    log, err = process.communicate(timeout=200)
    assert process.returncode == 0 and not err, err
    assert f"{FRAMES} frames written, 0 up to date, 0 failed" in log and log.count("Saved:") == FRAMES
    assert _farm.files(out) == _farm.files(scene / "plain")
    assert set(workers(cluster).values()) - set(before.values()), "the killed worker is replaced"


def test_an_interrupted_job_is_continued_in_local_processes(scene: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    process = _scenes.start(*job(scene, out, "--dask", "local:2"), start_new_session=True)
    _scenes.wait_for(lambda: len(_scenes.frames(out)) >= 2, 200, process)
    assert listening(process.pid) and all(host == "127.0.0.1" for host in listening(process.pid))
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does, to the workers too
    _, err = process.communicate(timeout=200)
    assert process.returncode == 130 and err == "loopcore: interrupted\n"
    made = _farm.files(out)
    assert not _scenes.hidden(out)
    assert made == {name: (scene / "plain" / name).read_bytes() for name in made} and len(made) < FRAMES
    _farm.loopcore(*job(scene, out))
    assert _farm.files(out) == _farm.files(scene / "plain")


def listening(group: int) -> list[str]:
    """Addresses on which the processes of a group listen."""
    import psutil

    processes = [one for one in psutil.process_iter() if os.getpgid(one.pid) == group]
    connections = [found for one in processes for found in one.net_connections("inet")]
    return [found.laddr.ip for found in connections if found.status == psutil.CONN_LISTEN]


@pytest.mark.parametrize(
    "address, message",
    [
        ("local:none", "give the number of processes"),
        ("", "--dask is empty"),
        ("tcp://127.0.0.1:{closed}", "no Dask scheduler answers at tcp://127.0.0.1:"),
    ],
)
def test_no_such_cluster_is_one_sentence(
    address: str, message: str, scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("loopcore.farm.dask.CONNECT_SECONDS", 0.5)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = address.format(closed=taken.getsockname()[1])
        assert main(job(scene, tmp_path / "out", "--dask", address)) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1 and not (tmp_path / "out").exists()


@pytest.mark.skipif(not Path("/proc/self/cwd").exists(), reason="a folder that others do not see")
def test_a_cluster_that_cannot_do_it_is_refused(
    scene: Path, cluster: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("loopcore.farm.dask.__version__", "9.9")
    assert main(job(scene, tmp_path / "out", "--dask", cluster)) == 2
    assert "has Loopcore" in (error := capsys.readouterr().err) and "and this machine has 9.9" in error
    monkeypatch.undo()
    # The same path is another folder for each process: that of its working directory.
    monkeypatch.chdir(tmp_path)
    assert main(job(scene, Path("/proc/self/cwd/out"), "--dask", cluster)) == 2
    error = capsys.readouterr().err
    assert "cannot use the folder '/proc/self/cwd/out' (No such file or directory): write to a folder that all" in error
    assert not _scenes.frames(tmp_path / "out") and not _scenes.hidden(tmp_path / "out")


def test_without_distributed_the_extra_is_named(
    scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    assert main(job(scene, tmp_path / "out", "--dask", "local:2")) == 2
    assert "pip install 'loopcore[dask]'" in capsys.readouterr().err


def test_a_frame_that_fails_names_its_reason(
    scene: Path, cluster: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    (out / "plate_loop.1003.exr").mkdir(parents=True)
    assert main(job(scene, out, "--dask", cluster, "--range", "1001-1004")) == 1
    assert f"frame 1003: cannot write '{out / 'plate_loop.1003.exr'}'" in capsys.readouterr().err
    assert json.loads((out / "recipe.json").read_text("utf-8"))["recipe"]["frames"] == FRAMES
