# SPDX-License-Identifier: Apache-2.0
"""Runs cases in processes of their own, within limits of time and memory, and judges what they did."""

from __future__ import annotations

import hashlib
import os
import signal
import stat
import subprocess
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import _scenes
from _case import Case
from _workers import Client

# Seconds of processor time; of waiting in all, which other processes may cause; and bytes of memory.
SECONDS, WAITING, BYTES = 60.0, 600.0, 3 << 30
ERROR = "loopcore: error:"
NOTHING = "nothing here seems to flow"  # a sound file whose picture shows no motion


@dataclass(frozen=True)
class Outcome:
    """How a process ended: exit code (negative: a signal), stderr, seconds of processor, peak of resident bytes."""

    code: int
    errors: str
    seconds: float
    peak: int


def resident(pid: int) -> int:
    """Returns the resident bytes of a process, 0 once it ended."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):
        return 0


def processor_seconds(pid: int) -> float:
    """Returns the processor time that a process has used, 0 once it ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")  # utime and stime
    except (OSError, IndexError):
        return 0.0


class Limits:
    """Kills a process that exceeds a limit, within a `with` block.

    Attributes:
        exceeded: what it exceeded, or "".
    """

    def __init__(self, pid: int) -> None:
        self.exceeded = ""
        self._pid, self._used, self._start = pid, processor_seconds(pid), time.monotonic()
        self._ended = threading.Event()
        self._watch = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Limits:
        self._watch.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._watch.join()

    def _run(self) -> None:
        while not self._ended.wait(0.05):
            if processor_seconds(self._pid) - self._used > SECONDS:
                self.exceeded = f"over {SECONDS:.0f} s of processor time"
            elif time.monotonic() - self._start > WAITING:
                self.exceeded = f"no end within {WAITING:.0f} s"
            elif resident(self._pid) > BYTES:
                self.exceeded = f"over {BYTES >> 20} MiB"
            if self.exceeded:
                with suppress(ProcessLookupError):
                    os.kill(self._pid, signal.SIGKILL)
                return


def run(command: list[str], temporary: Path) -> tuple[Outcome, str]:
    """Runs ``loopcore`` to its end, or kills it at a limit; returns how it ended, and the limit or "".

    Args:
        command: its arguments.
        temporary: the process's folder for temporary files.
    """
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            _scenes.command(*command), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=errors,
            env=_scenes.environment({"TMPDIR": str(temporary)}), cwd=temporary, start_new_session=True,
        )  # fmt: skip
        with Limits(process.pid) as limits:
            _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        errors.seek(0)
        text = errors.read().decode("utf-8", "surrogateescape")
    seconds = usage.ru_utime + usage.ru_stime
    return Outcome(process.returncode, text, seconds, usage.ru_maxrss << 10), limits.exceeded


def listing(folder: Path, skipped: Path | None = None) -> dict[str, str]:
    """Returns what lies below a folder: the hash of files, the target of links, the type of the rest."""
    found = {}
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if Path(place, name) != skipped]
        for name in (*folders, *files):
            path = Path(place, name)
            mode = path.lstat().st_mode
            if stat.S_ISREG(mode):
                found[str(path)] = hashlib.sha256(path.read_bytes()).hexdigest()
            else:
                found[str(path)] = os.readlink(path) if stat.S_ISLNK(mode) else str(stat.S_IFMT(mode))
    return found


def leftovers(folder: Path) -> list[str]:
    """Returns the names of temporary files below a folder."""
    return [path.name for path in folder.rglob(".*tmp-*")]


def run_case(case: Case) -> tuple[Outcome, list[str]]:
    """Runs a case's command, and returns how it ended and what is wrong with that."""
    temporary = case.folder / "temporary"
    temporary.mkdir()
    out = case.folder / "out"
    skipped = None if case.method == "check" else out
    before = listing(case.folder, skipped)
    outcome, exceeded = run(case.command(), temporary)
    problems = [exceeded] if exceeded else [*_wrong_end(outcome), *_wrong_words(outcome, case)]
    after = listing(case.folder, skipped)
    changed = {path for path in {*before, *after} if before.get(path) != after.get(path)}
    changed = {path for path in changed if not path.startswith(f"{temporary}/torchinductor_")}  # torch's own cache
    problems += [f"changed outside the output folder: {sorted(changed)}"] if changed else []
    problems += [f"left over: {names}" for names in [leftovers(case.folder)] if names]
    return outcome, problems


def run_in_worker(client: Client, case: Case) -> list[str]:
    """Runs a case in a worker, and returns what is wrong with the answer; a worker that does not answer is killed."""
    skipped = None if case.method == "check" else case.folder / "out"
    before = listing(case.folder, skipped)
    with Limits(client.process.pid) as limits:
        try:
            answer = client.answer(client.request(case.method, **case.settings))
        except (AssertionError, OSError) as error:
            return [limits.exceeded or f"no answer ({error}), exit code {client.process.poll()}"]
    problems = []
    if "error" in answer:
        code, words = answer["error"]["code"], answer["error"]["message"]
        if code not in (-32000, -32002):
            problems.append(f"error {code}: {words}")
        if len(words.splitlines()) != 1:
            problems.append(f"several lines: {words}")
        if code == -32000 and not _names(words, case):
            problems.append(f"the error does not name the input: {words}")
    problems += ["a traceback"] if b"Traceback" in client.errors else []
    problems += ["changed outside the output folder"] if listing(case.folder, skipped) != before else []
    return problems + [f"left over: {names}" for names in [leftovers(case.folder)] if names]


def _wrong_end(outcome: Outcome) -> list[str]:
    problems = []
    if outcome.code not in (0, 1, 2):
        problems.append(f"exit code {outcome.code}")
    if outcome.peak > BYTES:
        problems.append(f"{outcome.peak >> 20} MiB")
    return problems


def _wrong_words(outcome: Outcome, case: Case) -> list[str]:
    problems = ["a traceback"] if "Traceback" in outcome.errors else []
    lines = outcome.errors.splitlines()
    found = [line for line in lines if line.startswith(ERROR) or line.startswith(f"loopcore {case.method}: error:")]
    if len(found) > 1 or (outcome.code == 2 and len(found) != 1):
        problems.append(f"{len(found)} lines of error")
    if outcome.code == 2 and len(found) == 1 and not _names(found[0], case):
        problems.append("the error names neither the input nor the option")
    return problems


def _names(words: str, case: Case) -> bool:
    """Whether an error names what was hostile, as it is or with escapes for what does not print."""
    return (
        not case.subjects
        or NOTHING in words
        or any(subject in words or _shown(subject) in words for subject in case.subjects)
    )


def _shown(text: str) -> str:
    """Returns a text as messages show it, with escapes for what does not print."""
    return repr(text)[1:-1]
