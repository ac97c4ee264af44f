# SPDX-License-Identifier: GPL-3.0-or-later
"""Child processes that end when Blender does, on POSIX and on Windows.

A child leads a process group, so that it is killed together with its own children, and does not receive Ctrl-C from
Blender's terminal. On Windows the group is a job object, whose processes the system ends when its last handle is
closed; on POSIX the child has to exit when its stdin closes.
"""

import contextlib
import ctypes
import os
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from ctypes import wintypes
from pathlib import Path
from typing import IO, Any

_WINDOWS = os.name == "nt"
_NICENESS = 5
# No console, no Ctrl-C from Blender's terminal, lower priority than Blender.
_WINDOWS_FLAGS = sum(
    getattr(subprocess, name, 0)
    for name in ("CREATE_NO_WINDOW", "CREATE_NEW_PROCESS_GROUP", "BELOW_NORMAL_PRIORITY_CLASS")
)
_KILL_ON_JOB_CLOSE, _EXTENDED_LIMITS = 0x2000, 9


def clean_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return os.environ without the variables of Blender, debuggers and conda that would affect another Python."""
    dropped = ("PYTHON", "LD_PRELOAD", "LD_LIBRARY_PATH", "DYLD_", "VIRTUAL_ENV", "__PYVENV_LAUNCHER__")
    clean = {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
    return {**clean, "PYTHONUTF8": "1", **(extra or {})}


def environment_python(folder: Path) -> Path:
    """Return the interpreter of a virtual environment."""
    return folder / "Scripts" / "python.exe" if _WINDOWS else folder / "bin" / "python"


class Child:
    """A running child process and its pipes.

    Raises:
        OSError: the process cannot be started.
    """

    def __init__(
        self, command: Sequence[str], *, env: Mapping[str, str], stderr: IO[bytes] | int, cwd: Path | None = None
    ) -> None:
        options: dict = {"start_new_session": True}
        if _WINDOWS:
            options = {"creationflags": _WINDOWS_FLAGS}
        self._process = subprocess.Popen(
            list(command), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, env=dict(env), cwd=cwd,
            bufsize=0, **options,
        )  # fmt: skip
        self.pid = self._process.pid
        self.stdin, self.stdout = self._process.stdin, self._process.stdout
        self._job = JobObject(int(self._process._handle)) if _WINDOWS else None
        if not _WINDOWS:
            # Lower priority than Blender. Not by preexec_fn, which would slow down the start.
            with contextlib.suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, self.pid, _NICENESS)

    def poll(self) -> int | None:
        """Return the exit code, or None while the process runs."""
        code = self._process.poll()
        if code is not None:
            self._close_job()
        return code

    def wait(self) -> int:
        """Wait for the end of the process, and return the exit code."""
        code = self._process.wait()
        self._close_job()
        return code

    def kill(self) -> None:
        """Kill the process and all processes that it started."""
        if self._job is not None:
            self._job.terminate()
            self._job.close()
        if self._process.poll() is not None:
            return
        try:
            if _WINDOWS:
                self._process.kill()
            else:
                os.killpg(self.pid, signal.SIGKILL)
        except OSError:
            pass  # It has just ended.

    def _close_job(self) -> None:
        if self._job is not None:
            self._job.close()


def ending(code: int) -> str:
    """Describe an exit code."""
    if code < 0:
        try:
            return f"killed by {signal.Signals(-code).name}"
        except ValueError:
            return f"killed by signal {-code}"
    return f"exit code {code}" if code < 0x80000000 else f"exit code {code:#x}"


class JobObject:
    """A Windows job object that contains one process and its descendants. Thread-safe."""

    def __init__(self, process: int) -> None:
        """Assign a process, given by its handle, to a job object that ends its processes when closed."""
        self._lock, self._handle = threading.Lock(), None
        self._kernel = kernel = _kernel32()
        self._handle = kernel.CreateJobObjectW(None, None)
        if self._handle is None:
            return  # Without a job object, only the process itself is ended.
        limits = _ExtendedLimits()
        limits.flags = _KILL_ON_JOB_CLOSE
        kernel.SetInformationJobObject(self._handle, _EXTENDED_LIMITS, ctypes.byref(limits), ctypes.sizeof(limits))
        kernel.AssignProcessToJobObject(self._handle, process)

    def terminate(self) -> None:
        """End all its processes. Ignored after `close`."""
        with self._lock:
            if self._handle is not None:
                self._kernel.TerminateJobObject(self._handle, 1)

    def close(self) -> None:
        """Close the handle, which ends all its remaining processes. Ignored after `close`."""
        with self._lock:
            handle, self._handle = self._handle, None
            if handle is not None:
                self._kernel.CloseHandle(handle)

    def __del__(self) -> None:
        self.close()


def _kernel32() -> Any:
    """Return kernel32 with the argument types of the functions used: ctypes would cut handles to 32 bits."""
    kernel = ctypes.WinDLL("kernel32", use_last_error=True)
    for name, result, arguments in (
        ("CreateJobObjectW", wintypes.HANDLE, [wintypes.LPVOID, wintypes.LPCWSTR]),
        (
            "SetInformationJobObject", wintypes.BOOL,
            [wintypes.HANDLE, ctypes.c_int, ctypes.POINTER(_ExtendedLimits), wintypes.DWORD],
        ),
        ("AssignProcessToJobObject", wintypes.BOOL, [wintypes.HANDLE, wintypes.HANDLE]),
        ("TerminateJobObject", wintypes.BOOL, [wintypes.HANDLE, wintypes.UINT]),
        ("CloseHandle", wintypes.BOOL, [wintypes.HANDLE]),
    ):  # fmt: skip
        function = getattr(kernel, name)
        function.restype, function.argtypes = result, arguments
    return kernel


class _ExtendedLimits(ctypes.Structure):
    """JOBOBJECT_EXTENDED_LIMIT_INFORMATION."""

    _fields_ = [
        ("times", ctypes.c_int64 * 2),
        ("flags", ctypes.c_uint32),
        ("working_set", ctypes.c_size_t * 2),
        ("processes", ctypes.c_uint32),
        ("affinity", ctypes.c_size_t),
        ("priority", ctypes.c_uint32 * 2),
        ("io", ctypes.c_uint64 * 6),
        ("memory", ctypes.c_size_t * 4),
    ]
