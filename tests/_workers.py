# SPDX-License-Identifier: Apache-2.0
"""Shared by the tests of workers: a scene, a client, and waiting for processes to end."""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import _scenes


def make_scene(parent: Path) -> Path:
    """A plate and hints, in a folder with spaces, quotes and non-ASCII letters in its name."""
    folder = parent / ("it's a größe 滝 %d" + ("" if os.name == "nt" else ' "x"'))
    folder.mkdir()
    _scenes.png(folder / "plate.png")
    _scenes.hints(folder / "hints.json")
    return folder


def animation(scene: Path, folder: Path, **more: object) -> dict[str, Any]:
    """Parameters of `animate` for the plate and hints in `scene`."""
    return {"plate": str(scene / "plate.png"), "hints": str(scene / "hints.json"), "folder": str(folder), **more}


def alive(pid: int) -> bool:
    """Whether a process runs; zombies do not count."""
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return not Path("/proc/self").exists()  # It ended just now, or this system has no /proc.
    return stat.rpartition(")")[2].split()[0] != "Z"


def group(pid: int) -> list[int]:
    """A process and its children."""
    done = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=True)
    rows = [tuple(map(int, line.split())) for line in done.stdout.splitlines()]
    return [pid, *(child for child, parent in rows if parent == pid)]


def seconds_until_gone(pids: list[int]) -> float:
    """Wait until processes have ended; returns how long that took."""
    start = time.monotonic()
    while any(alive(pid) for pid in pids):
        assert time.monotonic() < start + 20, "still there"
        time.sleep(0.01)
    return time.monotonic() - start


class Client:
    """A worker process and the client ends of its pipes."""

    def __init__(self, command: list[str]) -> None:
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env=_scenes.environment(None),
        )  # fmt: skip
        self.progress: list[dict[str, Any]] = []
        self.started: dict[str, Any] | None = None
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

    def receive(self) -> dict[str, Any]:
        """The next message after `started`; asserts that it is JSON-RPC."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, self.errors.decode()
        message = json.loads(line)
        assert message["jsonrpc"] == "2.0"
        if message.get("method") == "started":
            assert self.started is None
            self.started = message["params"]
            return self.receive()
        return message

    def answer(self, id: int | None) -> dict[str, Any]:
        """The answer to a request; collects its progress messages."""
        while True:
            message = self.receive()
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
            message = self.receive()
            if message.get("params", {}).get("done", 0) >= count:
                return

    def close(self) -> float:
        """Close the worker's stdin; returns the seconds until it ended."""
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
