# SPDX-License-Identifier: Apache-2.0
"""Tests of child processes and of the Windows job object, with a recorder in place of kernel32 on other systems."""

from __future__ import annotations

import ctypes
import gc
import os
import subprocess
import sys
from collections.abc import Callable

import _package
import pytest

process = _package.module("engine.process")
# More than 32 bits: passed as a C int it would be truncated.
HANDLE = 0x1_2345_6789
CREATE, END, CLOSE = "CreateJobObjectW", "TerminateJobObject", "CloseHandle"


class Function:
    """A C function that is called through ctypes with its declared types, and records its first argument."""

    def __init__(self, name: str, calls: list[tuple[str, int | None]], result: int) -> None:
        self.name, self.calls, self.result = name, calls, result
        self.argtypes: list[type] | None = None
        self.restype: type = ctypes.c_int

    def __call__(self, *arguments: object) -> int | None:
        types = self.argtypes or [ctypes.c_int] * len(arguments)
        assert len(types) == len(arguments)
        return ctypes.CFUNCTYPE(self.restype, *types)(self._record)(*arguments)

    def _record(self, first: int | None, *_: object) -> int:
        self.calls.append((self.name, first))
        return self.result


class Kernel:
    def __init__(self) -> None:
        self.calls: list[tuple[str, int | None]] = []
        results = {CREATE: HANDLE, "SetInformationJobObject": 1, "AssignProcessToJobObject": 1, END: 1, CLOSE: 1}
        for name, result in results.items():
            setattr(self, name, Function(name, self.calls, result))

    def called(self) -> list[str]:
        return [name for name, _ in self.calls if name in (END, CLOSE)]


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    made = Kernel()
    monkeypatch.setattr(ctypes, "WinDLL", lambda *_, **__: made, raising=False)
    return made


def test_handles_are_not_truncated(kernel: Kernel) -> None:
    job = process.JobObject(HANDLE + 1)
    job.terminate()
    job.close()
    assert kernel.calls == [
        (CREATE, None), ("SetInformationJobObject", HANDLE), ("AssignProcessToJobObject", HANDLE), (END, HANDLE),
        (CLOSE, HANDLE),
    ]  # fmt: skip


def test_a_handle_is_closed_once(kernel: Kernel) -> None:
    job = process.JobObject(HANDLE + 1)
    job.close()
    job.close()
    job.terminate()
    assert kernel.called() == [CLOSE]


def test_a_collected_job_object_is_closed(kernel: Kernel) -> None:
    job = process.JobObject(HANDLE + 1)
    del job
    gc.collect()
    assert kernel.called() == [CLOSE]


def test_the_limits_have_the_size_of_the_system_structure() -> None:
    assert ctypes.sizeof(process._ExtendedLimits) == (144 if ctypes.sizeof(ctypes.c_void_p) == 8 else 112)


@pytest.mark.parametrize("end", ["wait", "poll", "kill"])
def test_the_handle_is_closed_when_the_child_ends(kernel: Kernel, monkeypatch: pytest.MonkeyPatch, end: str) -> None:
    code = "input()" if end == "kill" else "pass"
    child = process.Child([sys.executable, "-c", code], env=process.clean_environment(), stderr=subprocess.DEVNULL)
    child._job = process.JobObject(HANDLE + 1)
    ends: dict[str, Callable[[], object]] = {"wait": child.wait, "poll": lambda: _poll(child), "kill": child.kill}
    ends[end]()
    assert kernel.called()[-1] == CLOSE and kernel.called().count(CLOSE) == 1
    child.wait()
    assert kernel.called().count(CLOSE) == 1
    child.stdin.close()
    child.stdout.close()


def _poll(child: object) -> None:
    while child.poll() is None:  # type: ignore[attr-defined]
        pass


@pytest.mark.skipif(os.name != "nt", reason="Windows job objects")
def test_a_job_object_ends_its_process() -> None:
    child = process.Child([sys.executable, "-c", "input()"], env=process.clean_environment(), stderr=subprocess.DEVNULL)
    child.kill()
    assert child.wait() != 0
