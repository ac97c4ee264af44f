# SPDX-License-Identifier: Apache-2.0
"""Tests of the worker as another program meets it: real processes, real pipes, real kills."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import _scenes
import numpy as np
import pytest
from _workers import animation, group, make_scene, seconds_until_gone

from loopcore import __version__
from loopcore.color import encode_8bit
from loopcore.plate import read_plate

posix = pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
GONE_WITHIN = 1.0
# A worker with methods that misbehave, made of the real one.
NAUGHTY = """
import ctypes, os, sys
from loopcore import worker
def noise(task):
    print("from python")
    os.write(1, b"from c\\n")
    os.system("echo from a child")
    return {"stdin": sys.stdin.read()}
def hang(task):
    task.tell("hanging", 0, 0)
    ctypes.PyDLL(None).sleep(20)   # holds the interpreter's lock: no other thread runs
def crash(task):
    raise RuntimeError("unforeseen")
worker.METHODS.update(noise=noise, hang=hang, crash=crash)
worker.serve()
"""

PARENT = """
import subprocess, sys
worker = subprocess.Popen([sys.executable, "-m", "loopcore", "worker"], stdin=subprocess.PIPE)
print(worker.pid, flush=True)
worker.stdin.write(sys.argv[1].encode() + b"\\n")
worker.stdin.flush()
worker.wait()
"""


class Client:
    """A worker and both ends of its pipes."""

    def __init__(self, command: list[str]) -> None:
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env=_scenes.environment(None),
        )  # fmt: skip
        self.progress: list[dict[str, Any]] = []
        self.errors = b""
        self._drain = threading.Thread(target=self._read_errors, daemon=True)
        self._drain.start()
        self._id = 0

    def _read_errors(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.errors += line

    def send(self, text: str | bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write((text if isinstance(text, bytes) else text.encode()) + b"\n")
        self.process.stdin.flush()

    def request(self, method: str, /, **params: object) -> int:
        self._id += 1
        self.send(json.dumps({"jsonrpc": "2.0", "id": self._id, "method": method, "params": params}))
        return self._id

    def hear(self) -> dict[str, Any]:
        """The next message, which has to be a line of JSON-RPC."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, self.errors.decode()
        message = json.loads(line)
        assert message["jsonrpc"] == "2.0"
        return message

    def answer(self, id: int | None) -> dict[str, Any]:
        """The answer to a request; its progress on the way is kept."""
        while True:
            message = self.hear()
            if message.get("method") == "progress":
                self.progress.append(message["params"])
                continue
            assert message["id"] == id
            return message

    def call(self, method: str, /, **params: object) -> dict[str, Any]:
        answer = self.answer(self.request(method, **params))
        assert "error" not in answer, answer
        return answer["result"]

    def error(self, method: str, /, **params: object) -> tuple[int, str]:
        error = self.answer(self.request(method, **params))["error"]
        return error["code"], error["message"]

    def wait_for_frames(self, count: int) -> None:
        while True:
            message = self.hear()
            if message.get("params", {}).get("done", 0) >= count:
                return

    def close(self) -> float:
        """Close its stdin; the seconds until it was gone."""
        assert self.process.stdin is not None
        start = time.monotonic()
        self.process.stdin.close()
        self.process.wait(10)
        return time.monotonic() - start

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        self._drain.join(5)
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            assert pipe is not None
            pipe.close()


@pytest.fixture
def client() -> Iterator[Client]:
    client = Client(_scenes.command("worker"))
    yield client
    client.end()


@pytest.fixture
def naughty() -> Iterator[Client]:
    client = Client([sys.executable, "-c", NAUGHTY])
    yield client
    client.end()


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_scene(tmp_path_factory.mktemp("scene"))


def long_bake(client: Client, scene: Path, folder: Path) -> int:
    """Start a bake of minutes, and return once it is writing frames."""
    id = client.request("animate", **animation(scene, folder, frames=5000))
    client.wait_for_frames(3)
    return id


# What it does


def test_hello_says_who_answers(client: Client) -> None:
    said = client.call("hello")
    assert said["version"] == __version__ and said["python"] == ".".join(map(str, sys.version_info[:3]))
    assert said["device"].startswith("cpu") and (said["torch"] is None or said["torch"][0].isdigit())


def test_a_whole_job(client: Client, scene: Path, tmp_path: Path) -> None:
    out, motion = tmp_path / "frames 画", tmp_path / "new" / "m.exr"
    plate, hints = str(scene / "plate.png"), str(scene / "hints.json")
    solved = client.call("predict", plate=plate, hints=hints, motion_out=str(motion))
    assert solved == {"motion": str(motion), "width": 160, "height": 90} and motion.is_file()
    baked = client.call(
        "animate", plate=plate, motion=str(motion), folder=str(out), name="falls", frames=6, fps="24000/1001",
        first=1001, method="warp", contrast=1, speed=2.0, format="exr", overwrite=False, resolution=100,
    )  # fmt: skip
    assert baked == {
        "folder": str(out), "pattern": "falls.####.exr", "first": 1001, "frames": 6, "written": 6, "skipped": 0,
        "motion": str(out / "motion.exr"), "width": 160, "height": 90,
    }  # fmt: skip
    told = [step for step in client.progress if step["message"] == "Baking"]
    assert [step["done"] for step in told] == [1, 2, 3, 4, 5, 6] and {step["total"] for step in told} == {6}
    assert {step["path"] for step in told} == {str(out / f"falls.{n}.exr") for n in range(1001, 1007)}
    rows = {row["name"]: row for row in client.call("check", folder=str(out))["rows"]}
    assert rows["missing frames"]["passed"] and rows["static: largest difference outside the mask"]["value"] == 0
    flow = {"motion": str(motion), "folder": str(tmp_path / "flow"), "convention": "stmap", "frames": 3}
    files = client.call("flow", **flow)["files"]
    assert len(files) == 9 and all(Path(file).is_file() for file in files)
    again = client.call(
        "animate", plate=plate, motion=str(motion), folder=str(out), name="falls", frames=6, fps="24000/1001", speed=2.0
    )
    assert (again["written"], again["skipped"]) == (0, 6)


def test_arrows_are_the_motion_at_a_grid(client: Client, scene: Path, tmp_path: Path) -> None:
    from loopcore.motion.field import MotionField

    y, x = np.mgrid[0:90, 0:160].astype(np.float32)
    mask = (x > 79).astype(np.float32)
    motion = MotionField(np.stack([x / 100, -y / 50], axis=-1), mask, np.ones_like(mask))
    motion.save(tmp_path / "m.exr")
    drawn = client.call("arrows", motion=str(tmp_path / "m.exr"), spacing_px=20)
    assert (drawn["width"], drawn["height"]) == (160, 90)
    points = np.array(drawn["points"])
    assert len(points) == 4 * 4 and points[:, 0].min() > 79  # nothing where nothing moves
    assert np.unique(np.diff(np.unique(points[:, 0]))).tolist() == [20]
    np.testing.assert_allclose(points[:, 2:], points[:, :2] / (100, -50), atol=1e-4)


def test_a_percentage_of_the_size_is_a_loop_of_its_own(client: Client, scene: Path, tmp_path: Path) -> None:
    motion = tmp_path / "m.exr"
    client.call("predict", plate=str(scene / "plate.png"), hints=str(scene / "hints.json"), motion_out=str(motion))
    for given in ({"hints": str(scene / "hints.json")}, {"motion": str(motion)}):
        out = tmp_path / next(iter(given))
        plate = {"plate": str(scene / "plate.png"), "folder": str(out)}
        baked = client.call("animate", **plate, **given, frames=4, resolution=33)
        assert (baked["width"], baked["height"]) == (53, 30)
        frame = read_plate(out / "plate_loop.1001.exr")
        still = read_plate(scene / "plate.png").pixels
        assert frame.pixels.shape == (30, 53, 3)
        assert abs(frame.pixels.mean() - still.mean()) < 0.02 * still.mean()  # light is averaged, not codes
        rows = {row["name"]: row["passed"] for row in client.call("check", folder=str(out))["rows"]}
        assert rows["closure: frame N against frame 0"] and rows["damaged, misplaced or of another recipe"]


@pytest.mark.parametrize("channels", ["RGB", "RGBA"])
def test_viewport_copies_show_what_the_frames_show(
    client: Client, scene: Path, tmp_path: Path, channels: str
) -> None:  # fmt: skip
    from PIL import Image

    plate = _scenes.png(tmp_path / "p.png", channels)
    params = animation(scene, tmp_path / "out", plate=str(plate), frames=3, proxy=True)
    baked = client.call("animate", **params)
    suffix = ".png" if channels == "RGBA" else ".jpg"
    assert baked["proxy_pattern"] == f"proxy/p_loop.####{suffix}"
    copies = sorted((tmp_path / "out" / "proxy").iterdir())
    assert [copy.name for copy in copies] == [f"p_loop.{n}{suffix}" for n in (1001, 1002, 1003)]
    frame = read_plate(tmp_path / "out" / "p_loop.1002.exr").pixels
    with Image.open(copies[1]) as picture:
        assert picture.mode == channels
        shown = np.asarray(picture).astype(int)
    colour = frame[..., :3] / frame[..., 3:] if channels == "RGBA" else frame
    limit = 1 if suffix == ".png" else 60
    off = abs(shown[..., :3] - encode_8bit(np.ascontiguousarray(colour)))
    assert np.percentile(off, 99) <= limit and off.mean() <= limit / 10
    copies[2].unlink()
    before = copies[0].stat().st_mtime_ns
    client.call("animate", **params)
    assert copies[2].is_file() and copies[0].stat().st_mtime_ns == before  # only what was missing


# What goes wrong


def test_nothing_but_the_protocol_reaches_stdout(naughty: Client) -> None:
    assert naughty.call("noise") == {"stdin": ""}
    assert naughty.call("hello")["version"] == __version__
    naughty.close()
    naughty.end()
    assert {b"from python", b"from c", b"from a child"} <= set(naughty.errors.split(b"\n"))


def test_an_unforeseen_error_is_told_and_the_worker_goes_on(naughty: Client) -> None:
    assert naughty.error("crash") == (-32603, "crash failed: RuntimeError: unforeseen")
    assert naughty.call("hello")["version"] == __version__
    naughty.close()
    naughty.end()
    assert b"Traceback" in naughty.errors


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
    ],
)
def test_lines_that_are_no_requests(client: Client, line: str | bytes, code: int) -> None:
    client.send(line)
    message = client.hear()
    assert message["error"]["code"] == code
    assert client.call("hello")["version"] == __version__


@pytest.mark.parametrize(
    ("method", "change", "code", "words"),
    [
        ("sing", {}, -32601, "no method 'sing'"),
        ("animate", {"plate": None}, -32602, "needs 'plate'"),
        ("animate", {"frames": "many"}, -32602, "'frames' of animate must be a whole number, not 'many'"),
        ("animate", {"frames": True}, -32602, "whole number"),
        ("animate", {"colour": 1}, -32602, "takes no 'colour'"),
        ("animate", {"folder": "a\0b"}, -32602, "no path"),
        ("animate", {"resolution": 0}, -32602, "1 to 100"),
        ("animate", {"plate": "gone.png"}, -32000, "gone.png does not exist"),
        ("animate", {"frames": 1}, -32000, "at least 2"),
        ("animate", {"range": "1-5"}, -32000, "not in the loop"),
        ("animate", {"speed": 0}, -32000, "speed 0"),
        ("animate", {"motion": "m.exr"}, -32000, "leave one out"),
        ("animate", {"method": "magic"}, -32000, "unknown method"),
    ],
)
def test_what_is_wrong_is_said(
    client: Client, scene: Path, tmp_path: Path, method: str, change: dict[str, object], code: int, words: str
) -> None:
    found, message = client.error(method, **{**animation(scene, tmp_path / "out", frames=4), **change})
    assert found == code and words in message and "\n" not in message


def test_a_folder_that_cannot_be_one(client: Client, scene: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way", "utf-8")
    for resolution in (100, 50):
        out = tmp_path / "file" / "out"
        code, message = client.error("animate", **animation(scene, out, frames=4, resolution=resolution))
        assert code == -32000 and f"cannot make folder '{out}'" in message


def test_a_folder_that_may_only_be_read(client: Client, scene: Path, tmp_path: Path) -> None:
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
def test_a_disk_that_says_no_ends_the_bake_with_the_reason(client: Client, scene: Path, tmp_path: Path) -> None:
    import resource

    resource.prlimit(client.process.pid, resource.RLIMIT_FSIZE, (20_000, 20_000))
    code, message = client.error("animate", **animation(scene, tmp_path / "out", frames=4))
    assert code == -32002 and "cannot be written" in message and "File too large" in message
    assert not _scenes.hidden(tmp_path / "out") and not _scenes.frames(tmp_path / "out")


def test_motion_is_not_replaced_by_itself_at_another_speed(client: Client, scene: Path, tmp_path: Path) -> None:
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


def test_what_waits_can_be_cancelled_before_its_turn(client: Client, scene: Path, tmp_path: Path) -> None:
    first = long_bake(client, scene, tmp_path / "a")
    second = client.request("animate", **animation(scene, tmp_path / "b", frames=4))
    third = client.request("hello")
    for id in (second, first):
        client.send(json.dumps({"jsonrpc": "2.0", "method": "cancel", "params": {"id": id}}))
    assert client.answer(first)["error"]["code"] == client.answer(second)["error"]["code"] == -32001
    assert client.answer(third)["result"]["version"] == __version__ and not (tmp_path / "b").exists()


def test_it_ends_with_stdin_whatever_it_is_doing(client: Client, scene: Path, tmp_path: Path) -> None:
    client.call("hello")
    long_bake(client, scene, tmp_path)
    assert client.close() < GONE_WITHIN
    assert client.process.returncode == 0 and not _scenes.hidden(tmp_path)


def test_shutdown_ends_it(client: Client) -> None:
    client.call("hello")
    client.send('{"jsonrpc": "2.0", "method": "shutdown"}')
    client.process.wait(5)
    assert client.process.returncode == 0


@posix
def test_it_ends_with_stdin_even_when_no_thread_can_run(naughty: Client) -> None:
    naughty.request("hang")
    assert naughty.hear()["params"]["message"] == "hanging"
    pids = group(naughty.process.pid)
    assert naughty.close() < 1.5 and seconds_until_gone(pids) < 1


@posix
def test_a_killed_parent_takes_it_along(scene: Path, tmp_path: Path) -> None:
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
def test_killed_in_the_middle_it_leaves_nothing_running_and_the_next_goes_on(scene: Path, tmp_path: Path) -> None:
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
def test_control_c_in_the_parents_terminal_is_not_for_it(client: Client) -> None:
    client.call("hello")
    client.process.send_signal(signal.SIGINT)
    assert client.call("hello")["version"] == __version__


@posix
def test_asked_to_end_it_ends(client: Client, scene: Path, tmp_path: Path) -> None:
    long_bake(client, scene, tmp_path)
    pids = group(client.process.pid)
    client.process.terminate()
    client.process.wait(5)
    assert client.process.returncode == -signal.SIGTERM and seconds_until_gone(pids) < GONE_WITHIN
