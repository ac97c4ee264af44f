# SPDX-License-Identifier: Apache-2.0
"""Tests of the worker's errors and of how it ends: invalid requests, write errors, kills."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import _scenes
import pytest
from _workers import Client, animation, group, make_scene, seconds_until_gone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from loopcore import __version__

posix = pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
GONE_WITHIN = 1.0
# A worker with additional, misbehaving methods.
FAULTY = """
import ctypes, os, sys
from loopcore.worker import methods, server
def noise(task):
    print("from python")
    os.write(1, b"from c\\n")
    os.system("echo from a child")
    return {"stdin": sys.stdin.read()}
def hang(task):
    task.step("hanging", 0, 0)
    ctypes.PyDLL(None).sleep(20)   # holds the interpreter's lock: no other thread runs
def crash(task):
    raise RuntimeError("unexpected")
methods.METHODS.update(noise=noise, hang=hang, crash=crash)
server.serve()
"""

PARENT = """
import subprocess, sys
worker = subprocess.Popen([sys.executable, "-m", "loopcore", "worker"], stdin=subprocess.PIPE)
print(worker.pid, flush=True)
worker.stdin.write(sys.argv[1].encode() + b"\\n")
worker.stdin.flush()
worker.wait()
"""


@pytest.fixture
def client() -> Iterator[Client]:
    client = Client(_scenes.command("worker"))
    yield client
    client.end()


@pytest.fixture
def faulty() -> Iterator[Client]:
    client = Client([sys.executable, "-c", FAULTY])
    yield client
    client.end()


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_scene(tmp_path_factory.mktemp("scene"))


def long_bake(client: Client, scene: Path, folder: Path) -> int:
    """Start a bake of several minutes; return its request once it writes frames."""
    id = client.request("animate", **animation(scene, folder, frames=5000))
    client.wait_for_frames(3)
    return id


# Errors


def test_only_the_protocol_reaches_stdout(faulty: Client) -> None:
    assert faulty.call("noise") == {"stdin": ""}
    assert faulty.call("hello")["version"] == __version__
    faulty.close()
    faulty.end()
    assert {b"from python", b"from c", b"from a child"} <= set(faulty.errors.split(b"\n"))


def test_an_unexpected_error_is_reported_and_the_worker_continues(faulty: Client) -> None:
    assert faulty.error("crash") == (-32603, "crash failed: RuntimeError: unexpected")
    assert faulty.call("hello")["version"] == __version__
    faulty.close()
    faulty.end()
    assert b"Traceback" in faulty.errors


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("this is not JSON", -32700),
        (b"\xff\xfe", -32700),
        ("[" * 100_000, -32700),
        ("[]", -32600),
        ('{"id": 1}', -32600),
        ('{"id": null, "method": "hello"}', -32600),
        ('{"id": [1], "method": "hello"}', -32600),
        ('{"id": NaN, "method": "hello"}', -32700),
        ('{"id": -Infinity, "method": "hello"}', -32700),
        ('{"id": 1e400, "method": "hello"}', -32700),
        ('{"id": 1, "method": "hello", "params": {"a": [1e999]}}', -32700),
        ('{"id": 1.5, "method": "hello"}', -32600),
        ('{"id": {"a": []}, "method": 7}', -32600),
        ('{"id": ' + "9" * 5000 + ', "method": "hello"}', -32700),
    ],
)
def test_invalid_requests(client: Client, line: str | bytes, code: int) -> None:
    client.send(line)
    message = client.receive()
    assert message["error"]["code"] == code
    assert client.call("hello")["version"] == __version__


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(max_value=-1) | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
IDS = st.sampled_from([float("nan"), float("inf"), -1, "\ud800", "a\0", True]) | JSON
METHODS = st.sampled_from(["hello", "cancel", "animate", "predict", "flow", "check", "sing"]) | JSON
REQUESTS = st.fixed_dictionaries(
    {}, optional={"jsonrpc": JSON, "id": IDS, "method": METHODS, "params": JSON, "extra": JSON}
).map(json.dumps)
LINES = REQUESTS.map(str.encode) | JSON.map(json.dumps).map(str.encode) | st.binary(max_size=60)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lines=st.lists(LINES.filter(lambda line: b"\n" not in line), min_size=1, max_size=4))
def test_no_line_makes_it_deaf(client: Client, lines: list[bytes]) -> None:
    for line in lines:
        client.send(line)
    wanted = client.request("hello")
    while (message := client.receive()).get("id") != wanted:
        assert message.get("method") == "progress" or "error" in message or "result" in message
        assert message.get("error", {}).get("code") != -32603  # an internal error
    assert message["result"]["version"] == __version__


@pytest.mark.parametrize(
    ("method", "change", "code", "words"),
    [
        ("sing", {}, -32601, "no method 'sing'"),
        ("animate", {"plate": None}, -32602, "needs 'plate'"),
        ("animate", {"frames": "many"}, -32602, "'frames' of animate must be a whole number, not 'many'"),
        ("animate", {"frames": True}, -32602, "whole number"),
        ("animate", {"colour": 1}, -32602, "takes no 'colour'"),
        ("animate", {"folder": "a\0b"}, -32602, "contains NUL"),
        ("animate", {"name": "a\ud800b"}, -32602, "half of a surrogate pair"),
        ("animate", {"folder": ""}, -32602, "not a path"),
        ("animate", {"speed": 10**400}, -32602, "too large"),
        ("animate", {"first": 10**400}, -32000, "at most 1000000 frames"),
        ("animate", {"resolution": 0}, -32000, "1 to 100"),
        ("animate", {"plate": "gone.png"}, -32000, "gone.png does not exist"),
        ("animate", {"frames": 1}, -32000, "at least 2"),
        ("animate", {"range": "1-5"}, -32000, "not in the loop"),
        ("animate", {"speed": 0}, -32000, "speed 0"),
        ("animate", {"motion": "m.exr"}, -32000, "leave one out"),
        ("animate", {"method": "magic"}, -32000, "unknown method"),
        ("animate", {"compression": "lzw"}, -32000, "unknown compression"),
        ("animate", {"threads": 0}, -32000, "0 threads cannot compute"),
    ],
)
def test_error_codes_and_messages(
    client: Client, scene: Path, tmp_path: Path, method: str, change: dict[str, object], code: int, words: str
) -> None:
    found, message = client.error(method, **{**animation(scene, tmp_path / "out", frames=4), **change})
    assert found == code and words in message and "\n" not in message


def test_a_folder_that_cannot_be_made(client: Client, scene: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way", "utf-8")
    for resolution in (100, 50):
        out = tmp_path / "file" / "out"
        code, message = client.error("animate", **animation(scene, out, frames=4, resolution=resolution))
        assert code == -32000 and f"cannot make folder '{out}'" in message


def test_a_read_only_folder(client: Client, scene: Path, tmp_path: Path) -> None:
    mount, umount = shutil.which("mount"), shutil.which("umount")
    if not (sys.platform == "linux" and mount and umount):
        pytest.skip("no read-only disk can be made here")
    command = [mount, "-t", "tmpfs", "-o", "ro,size=1m", "tmpfs", str(tmp_path)]
    if subprocess.run(command, capture_output=True).returncode:
        pytest.skip("this user may not mount a read-only disk")
    try:
        for folder, resolution in ((tmp_path, 100), (tmp_path, 50), (tmp_path / "new", 100)):
            code, message = client.error("animate", **animation(scene, folder, frames=4, resolution=resolution))
            assert code == -32000 and "Read-only file system" in message and str(folder) in message
    finally:
        subprocess.run([umount, str(tmp_path)], check=True)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits the size of files by RLIMIT_FSIZE")
def test_a_failing_disk_ends_the_bake_with_the_reason(client: Client, scene: Path, tmp_path: Path) -> None:
    import resource

    resource.prlimit(client.process.pid, resource.RLIMIT_FSIZE, (20_000, 20_000))
    code, message = client.error("animate", **animation(scene, tmp_path / "out", frames=4))
    assert code == -32002 and "cannot be written" in message and "File too large" in message
    assert not _scenes.hidden(tmp_path / "out") and not _scenes.frames(tmp_path / "out")


def test_scaling_the_motion_of_the_output_folder_is_refused(client: Client, scene: Path, tmp_path: Path) -> None:
    client.call("animate", **animation(scene, tmp_path, frames=4))
    own = {"plate": str(scene / "plate.png"), "motion": str(tmp_path / "motion.exr"), "folder": str(tmp_path)}
    for change in ({"speed": 2}, {"resolution": 50}):
        code, message = client.error("animate", **own, frames=4, **change)
        assert code == -32000 and "replaced by itself" in message
    assert client.call("animate", **own, frames=4)["skipped"] == 4


# Ends


def test_cancel_ends_a_bake_within_a_second(client: Client, scene: Path, tmp_path: Path) -> None:
    id = long_bake(client, scene, tmp_path)
    start = time.monotonic()
    client.send(json.dumps({"jsonrpc": "2.0", "method": "cancel", "params": {"id": id}}))
    assert client.answer(id)["error"]["code"] == -32001
    assert time.monotonic() - start < 1
    assert len(_scenes.frames(tmp_path)) >= 3 and not _scenes.hidden(tmp_path)
    assert client.call("hello")["version"] == __version__


def test_a_waiting_request_can_be_cancelled(client: Client, scene: Path, tmp_path: Path) -> None:
    first = long_bake(client, scene, tmp_path / "a")
    second = client.request("animate", **animation(scene, tmp_path / "b", frames=4))
    third = client.request("hello")
    for id in (second, first):
        client.send(json.dumps({"jsonrpc": "2.0", "method": "cancel", "params": {"id": id}}))
    assert client.answer(first)["error"]["code"] == client.answer(second)["error"]["code"] == -32001
    assert client.answer(third)["result"]["version"] == __version__ and not (tmp_path / "b").exists()


def test_closing_stdin_ends_a_busy_worker(client: Client, scene: Path, tmp_path: Path) -> None:
    client.call("hello")
    long_bake(client, scene, tmp_path)
    assert client.close() < GONE_WITHIN
    assert client.process.returncode == 0 and not _scenes.hidden(tmp_path)


def test_shutdown_ends_the_worker(client: Client) -> None:
    client.call("hello")
    client.send('{"jsonrpc": "2.0", "method": "shutdown"}')
    client.process.wait(5)
    assert client.process.returncode == 0


@posix
def test_closing_stdin_ends_a_worker_that_holds_the_interpreter_lock(faulty: Client) -> None:
    faulty.request("hang")
    assert faulty.receive()["params"]["message"] == "hanging"
    pids = group(faulty.process.pid)
    assert faulty.close() < 1.5 and seconds_until_gone(pids) < 1


@posix
def test_killing_the_parent_ends_the_worker(scene: Path, tmp_path: Path) -> None:
    request = {"jsonrpc": "2.0", "id": 1, "method": "animate", "params": animation(scene, tmp_path, frames=5000)}
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, json.dumps(request)], stdout=subprocess.PIPE, env=_scenes.environment(None)
    )
    assert parent.stdout is not None
    try:
        pids = group(int(parent.stdout.readline()))
        _scenes.wait_for(lambda: len(_scenes.frames(tmp_path)) > 2)
        pids = group(pids[0])
        parent.send_signal(signal.SIGKILL)
        parent.wait()
        assert seconds_until_gone(pids) < GONE_WITHIN
        assert not _scenes.hidden(tmp_path)
    finally:
        parent.kill()
        parent.stdout.close()


@posix
def test_a_killed_worker_leaves_no_process_and_the_next_resumes(scene: Path, tmp_path: Path) -> None:
    killed = Client(_scenes.command("worker"))
    try:
        killed.request("animate", **animation(scene, tmp_path, frames=300))
        killed.wait_for_frames(3)
        pids = group(killed.process.pid)
        assert len(pids) > 1  # with its guard
        killed.process.kill()
        killed.process.wait()
        assert seconds_until_gone(pids) < GONE_WITHIN
    finally:
        killed.end()
    there = len(_scenes.frames(tmp_path))
    heir = Client(_scenes.command("worker"))
    try:
        baked = heir.call("animate", **animation(scene, tmp_path, frames=300, range="1001-1020"))
        assert baked["skipped"] == min(there, 20) and baked["written"] == 20 - baked["skipped"]
        assert not _scenes.hidden(tmp_path)
    finally:
        heir.end()


@posix
def test_sigint_is_ignored(client: Client) -> None:
    client.call("hello")
    client.process.send_signal(signal.SIGINT)
    assert client.call("hello")["version"] == __version__


@posix
def test_sigterm_ends_the_worker(client: Client, scene: Path, tmp_path: Path) -> None:
    long_bake(client, scene, tmp_path)
    pids = group(client.process.pid)
    client.process.terminate()
    client.process.wait(5)
    assert client.process.returncode == -signal.SIGTERM and seconds_until_gone(pids) < GONE_WITHIN
