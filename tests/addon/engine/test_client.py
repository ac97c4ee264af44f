# SPDX-License-Identifier: Apache-2.0
"""Tests of the engine with real workers, kills and times; without Blender."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import _package
import _scenes
import pytest
from _workers import animation, group, make_scene, seconds_until_gone

from loopcore.files.atomic import temporary_mark

Engine = _package.module("engine.client").Engine
KILL_AFTER_S = _package.module("engine.worker").KILL_AFTER_S
ROOT = Path(__file__).resolve().parents[3]
posix = pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
# Time limit of a poll, which runs in Blender's main thread.
POLL_LIMIT_S = 0.005


class Timed:
    """An engine whose polls are timed."""

    def __init__(self, engine: Any) -> None:
        self.engine, self.polls = engine, [0.0]

    def until(self, condition: Callable[[], object], seconds: float = 300) -> float:
        """Poll as Blender does until `condition()`; returns the seconds it took."""
        start = time.monotonic()
        while not condition():
            begin = time.perf_counter()
            self.engine.poll()
            self.polls.append(time.perf_counter() - begin)
            assert time.monotonic() < start + seconds, "it took too long"
            time.sleep(0.005)
        return time.monotonic() - start

    def run(self, method: str, params: dict[str, Any]) -> Any:
        job = self.engine.submit(method, params)
        self.until(lambda: job.state != "running")
        return job


@pytest.fixture
def timed(tmp_path: Path) -> Iterator[Timed]:
    env = {"PYTHONPATH": str(ROOT), "LOOPCORE_THREADS": "1"}
    engine = Engine(Path(sys.executable), tmp_path / "log folder" / "worker.log", env=env)
    yield Timed(engine)
    pid = engine.pid
    engine.stop()
    if pid is not None:
        seconds_until_gone([pid])


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_scene(tmp_path_factory.mktemp("scene"))


def test_a_job_reports_its_progress_and_result(timed: Timed, scene: Path, tmp_path: Path) -> None:
    changes = []
    assert not timed.engine.running
    job = timed.engine.submit(
        "animate", animation(scene, tmp_path / "o", frames=40), lambda j: changes.append((j.state, j.done))
    )
    assert job.state == "running" and timed.engine.job is job and job.eta() is None
    left = []
    timed.until(lambda: left.append(job.eta()) or job.state != "running")
    assert job.state == "done" and job.result["written"] == 40 and timed.engine.job is None
    assert changes[-1] == ("done", 40) and len(changes) > 3 and [t[0] for t in changes].count("done") == 1
    assert [done for _, done in changes] == sorted(done for _, done in changes)
    assert any(seconds is not None and 0 <= seconds < 60 for seconds in left)
    assert timed.engine.running and timed.run("hello", {}).result["version"]


def test_jobs_run_in_order(timed: Timed, scene: Path, tmp_path: Path) -> None:
    jobs = [timed.engine.submit("animate", animation(scene, tmp_path / str(n), frames=3)) for n in range(2)]
    jobs.append(timed.engine.submit("animate", {"plate": "gone.png", "folder": "x"}))
    jobs.append(timed.engine.submit("hello", {}))
    ended: list[int] = []

    def all_ended() -> bool:
        ended.extend(job.id for job in jobs if job.state != "running" and job.id not in ended)
        return len(ended) == len(jobs)

    timed.until(all_ended)
    assert ended == [job.id for job in jobs]
    assert [job.state for job in jobs] == ["done", "done", "failed", "done"]
    assert "gone.png does not exist" in jobs[2].error and jobs[2].result is None


def test_an_error_in_a_callback_does_not_stop_the_worker(timed: Timed, capsys: pytest.CaptureFixture[str]) -> None:
    job = timed.engine.submit("hello", {}, lambda job: 1 / 0)
    timed.until(lambda: job.state == "done")
    assert "ZeroDivisionError" in capsys.readouterr().err
    assert timed.run("hello", {}).state == "done"


def test_polls_do_not_block(timed: Timed, scene: Path, tmp_path: Path) -> None:
    begin = time.perf_counter()
    job = timed.engine.submit("animate", animation(scene, tmp_path / "o", frames=60, proxy=True))
    submitted = time.perf_counter() - begin
    timed.until(lambda: job.state != "running")
    assert job.state == "done"
    # The 99th percentile, since another process may have had the processor during a poll.
    polls = sorted(timed.polls)
    assert polls[len(polls) * 99 // 100] < POLL_LIMIT_S and submitted < 0.05


def test_cancelling_takes_less_than_a_second(timed: Timed, scene: Path, tmp_path: Path) -> None:
    job = timed.engine.submit("animate", animation(scene, tmp_path, frames=5000))
    later = timed.engine.submit("hello", {})
    waiting = timed.engine.submit("hello", {})
    timed.until(lambda: job.done > 2)
    timed.engine.cancel(waiting)
    timed.engine.cancel(job)
    timed.engine.cancel(job)
    assert timed.until(lambda: job.state != "running") < 1
    assert job.state == "cancelled" and waiting.state == "cancelled" and not _scenes.hidden(tmp_path)
    timed.until(lambda: later.state != "running")
    assert later.state == "done"


def test_a_cancelled_worker_survives_a_busy_main_thread(timed: Timed, scene: Path, tmp_path: Path) -> None:
    """The worker answers in time and is not killed, although no poll happens until after KILL_AFTER_S."""
    job = timed.engine.submit("animate", animation(scene, tmp_path, frames=5000))
    timed.until(lambda: job.done > 2)
    pid = timed.engine.pid
    timed.engine.cancel(job)
    time.sleep(2 * KILL_AFTER_S)
    timed.until(lambda: job.state != "running")
    assert job.state == "cancelled" and timed.engine.pid == pid
    assert timed.run("hello", {}).state == "done" and timed.engine.pid == pid


@posix
def test_an_unresponsive_worker_is_killed(timed: Timed, scene: Path, tmp_path: Path) -> None:
    job = timed.engine.submit("animate", animation(scene, tmp_path, frames=5000))
    timed.until(lambda: job.done > 2)
    pids = group(timed.engine.pid)
    os.kill(timed.engine.pid, signal.SIGSTOP)
    timed.engine.cancel(job)
    assert timed.until(lambda: job.state != "running") < 1 and job.state == "cancelled"
    assert seconds_until_gone(pids) < 1 and not _scenes.hidden(tmp_path)
    assert timed.run("hello", {}).state == "done"


@posix
def test_a_killed_worker_is_reported_and_replaced(timed: Timed, scene: Path, tmp_path: Path) -> None:
    job = timed.engine.submit("animate", animation(scene, tmp_path, frames=300, range="1001-1040"))
    later = timed.engine.submit("animate", animation(scene, tmp_path, frames=300, range="1001-1040"))
    timed.until(lambda: job.done > 2)
    first = timed.engine.pid
    os.kill(first, signal.SIGKILL)
    assert timed.until(lambda: job.state != "running") < 1
    assert job.state == "failed" and "ended unexpectedly (killed by SIGKILL)" in job.error
    timed.until(lambda: later.state != "running")
    assert later.state == "done" and timed.engine.pid != first and later.result["skipped"] >= 2
    assert not _scenes.hidden(tmp_path)


@posix
def test_only_temporary_files_of_the_killed_worker_are_removed(timed: Timed, scene: Path, tmp_path: Path) -> None:
    """A file server's folder may hold those of a worker with the same process id on another machine."""
    job = timed.engine.submit("animate", animation(scene, tmp_path, frames=5000))
    timed.until(lambda: job.done > 2)
    pid, host = timed.engine.pid, temporary_mark().partition("-")[2]
    own, longer = (tmp_path / f".a.1001.exr.tmp-{number}-{host}00c0ffee" for number in (pid, f"{pid}0"))
    foreign = tmp_path / f".a.1001.exr.tmp-{pid}-{'0' * 16}00c0ffee"
    for path in (own, longer, foreign):
        path.touch()
    os.kill(pid, signal.SIGKILL)
    timed.until(lambda: job.state != "running")
    assert sorted(_scenes.hidden(tmp_path)) == sorted([longer.name, foreign.name])


@posix
def test_the_end_of_the_log_is_in_the_error(tmp_path: Path) -> None:
    """With a loopcore package that aborts when loaded."""
    package = tmp_path / "site" / "loopcore"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("", "utf-8")
    (package / "__main__.py").write_text(
        "import os, sys\nprint('not JSON')\nfor n in range(50): print('line', n, file=sys.stderr)\n"
        "sys.stderr.flush(); os.abort()\n", "utf-8",
    )  # fmt: skip
    log = tmp_path / "w.log"
    log.write_text("of an earlier worker\n", "utf-8")
    timed = Timed(Engine(Path(sys.executable), log, env={"PYTHONPATH": str(tmp_path / "site")}))
    job = timed.run("hello", {})
    assert job.state == "failed" and "SIGABRT" in job.error and str(log) in job.error
    assert job.error.splitlines()[-1] == "line 49" and "earlier" not in job.error and "line 1\n" not in job.error
    assert timed.run("hello", {}).state == "failed"  # again, with a new worker


def _other_python(folder: Path) -> Path:
    """Create an environment without packages; returns its interpreter."""
    import venv

    venv.EnvBuilder(with_pip=False, symlinks=os.name != "nt").create(folder)
    return _package.module("engine.process").environment_python(folder)


def test_an_unsuitable_python_is_reported(tmp_path: Path) -> None:
    bare = _other_python(tmp_path / "bare")
    missing = tmp_path / "nowhere" / "python"
    file = tmp_path / "notes.txt"
    file.write_text("no program", "utf-8")
    for python, words in (
        (bare, "has no Loopcore"), (missing, "cannot be started"), (file, "cannot be started"),
        (tmp_path, "cannot be started"),
    ):  # fmt: skip
        timed = Timed(Engine(python, tmp_path / "log"))
        job = timed.run("hello", {})
        assert job.state == "failed" and words in job.error and str(python) in job.error, job.error
    timed = Timed(Engine(bare, tmp_path / "log", env={"PYTHONPATH": str(ROOT)}))
    job = timed.run("animate", {"plate": "p.png", "folder": "x"})
    assert job.state == "failed" and "lacks the package 'numpy'" in job.error


def test_the_worker_runs_without_a_log_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way", "utf-8")
    engine = Engine(Path(sys.executable), tmp_path / "file" / "log", env={"PYTHONPATH": str(ROOT)})
    assert Timed(engine).run("hello", {}).state == "done"
    engine.stop()


@posix
def test_stop_leaves_nothing_running(timed: Timed, scene: Path, tmp_path: Path) -> None:
    engine = timed.engine
    engine.stop()
    job, waiting = engine.submit("animate", animation(scene, tmp_path, frames=5000)), engine.submit("hello", {})
    timed.until(lambda: job.done > 2)
    pids = group(engine.pid)
    begin = time.monotonic()
    engine.stop()
    engine.stop()
    assert time.monotonic() - begin < 0.1 and seconds_until_gone(pids) < 1
    assert job.state == waiting.state == "cancelled" and not engine.running and engine.job is None
    assert not _scenes.hidden(tmp_path)
    assert timed.run("hello", {}).state == "done"


HOLDER = """
import json, sys, time
sys.path[:0] = json.loads(sys.argv[1])
import _package
from pathlib import Path
client = _package.module("engine.client")
engine = client.Engine(Path(sys.executable), Path(sys.argv[2]), env={"PYTHONPATH": sys.argv[4]})
job = engine.submit("animate", json.loads(sys.argv[3]))
while job.done < 3:
    engine.poll()
    time.sleep(0.01)
    assert job.state == "running", job.error
print(engine.pid, flush=True)
if sys.argv[5] == "stay":
    time.sleep(60)
"""


@posix
@pytest.mark.parametrize("end", ["killed", "ended"])
def test_the_worker_ends_with_its_parent(scene: Path, tmp_path: Path, end: str) -> None:
    where = json.dumps([str(Path(_package.__file__).parent)])
    params = json.dumps(animation(scene, tmp_path / "out", frames=5000))
    stay = "stay" if end == "killed" else "go"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, where, str(tmp_path / "log"), params, str(ROOT), stay], stdout=subprocess.PIPE,
        env=_scenes.environment(None),
    )  # fmt: skip
    try:
        assert holder.stdout is not None
        pids = group(int(holder.stdout.readline()))
        assert len(pids) == 2 or end == "ended"  # the worker and its guard
        if end == "killed":
            holder.send_signal(signal.SIGKILL)
        holder.wait(10)
        assert seconds_until_gone(pids) < 1 and not _scenes.hidden(tmp_path / "out")
    finally:
        holder.kill()
        holder.stdout.close()
