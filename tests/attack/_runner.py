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
from dataclasses import dataclass
from pathlib import Path

import _scenes
from _cases import Case
from _workers import Client

SECONDS, BYTES = 60.0, 3 << 30
ERROR = "loopcore: error:"


@dataclass(frozen=True)
class Outcome:
    """How a process ended: its exit code (negative: a signal), stderr, seconds, peak of resident bytes."""

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


def run(command: list[str], temporary: Path) -> Outcome:
    """Runs ``loopcore`` to its end, or kills it at a limit.

    Args:
        command: its arguments.
        temporary: the process's folder for temporary files.
    """
    start = time.monotonic()
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            _scenes.command(*command), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=errors,
            env=_scenes.environment({"TMPDIR": str(temporary)}), cwd=temporary, start_new_session=True,
        )  # fmt: skip
        over = threading.Event()
        watch = threading.Thread(target=_kill_at_limit, args=(process.pid, start, over))
        watch.start()
        _, status, usage = os.wait4(process.pid, 0)
        over.set()
        watch.join()
        process.returncode = os.waitstatus_to_exitcode(status)
        errors.seek(0)
        text = errors.read().decode("utf-8", "surrogateescape")
    return Outcome(process.returncode, text, time.monotonic() - start, usage.ru_maxrss << 10)


def _kill_at_limit(pid: int, start: float, ended: threading.Event) -> None:
    while not ended.wait(0.05):
        if time.monotonic() > start + SECONDS or resident(pid) > BYTES:
            os.killpg(pid, signal.SIGKILL)
            return


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
    outcome = run(case.command(), temporary)
    problems = [*_wrong_end(outcome), *_wrong_words(outcome, case)]
    after = listing(case.folder, skipped)
    changed = {path for path in {*before, *after} if before.get(path) != after.get(path)}
    problems += [f"changed outside the output folder: {sorted(changed)}"] if changed else []
    problems += [f"left over: {names}" for names in [leftovers(case.folder)] if names]
    return outcome, problems


def run_in_worker(client: Client, case: Case) -> list[str]:
    """Runs a case in a worker, and returns what is wrong with the answer; a worker that does not answer is killed."""
    skipped = None if case.method == "check" else case.folder / "out"
    before = listing(case.folder, skipped)
    killer = threading.Timer(SECONDS, client.process.kill)
    killer.start()
    try:
        answer = client.answer(client.request(case.method, **case.settings))
    except (AssertionError, OSError) as error:
        return [f"no answer ({error}), exit code {client.process.poll()}"]
    finally:
        killer.cancel()
    problems = []
    if "error" in answer:
        code, words = answer["error"]["code"], answer["error"]["message"].replace(case.subjects[0], "")
        if code not in (-32000, -32002) or "\n" in words:  # but in the input's name
            problems.append(f"error {code}: {words}")
    problems += ["a traceback"] if b"Traceback" in client.errors else []
    problems += ["memory"] if resident(client.process.pid) > BYTES else []
    problems += ["changed outside the output folder"] if listing(case.folder, skipped) != before else []
    return problems + [f"left over: {names}" for names in [leftovers(case.folder)] if names]


def _wrong_end(outcome: Outcome) -> list[str]:
    problems = []
    if outcome.code not in (0, 1, 2):
        problems.append(f"exit code {outcome.code} after {outcome.seconds:.1f} s")
    if outcome.seconds > SECONDS:
        problems.append(f"{outcome.seconds:.0f} s")
    if outcome.peak > BYTES:
        problems.append(f"{outcome.peak >> 20} MiB")
    return problems


def _wrong_words(outcome: Outcome, case: Case) -> list[str]:
    problems = ["a traceback"] if "Traceback" in outcome.errors else []
    lines = outcome.errors.splitlines()
    found = [line for line in lines if line.startswith(ERROR) or line.startswith(f"loopcore {case.method}: error:")]
    if len(found) > 1 or (outcome.code == 2 and len(found) != 1):
        problems.append(f"{len(found)} lines of error")
    if outcome.code == 2 and len(found) == 1 and case.subjects:
        words = found[0]
        if not any(subject in words or _shown(subject) in words for subject in case.subjects):
            problems.append("the error names neither the input nor the option")
    return problems


def _shown(text: str) -> str:
    """Returns a text as messages show it, with escapes for what does not print."""
    return repr(text)[1:-1]
