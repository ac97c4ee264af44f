# SPDX-License-Identifier: GPL-3.0-or-later
"""Setting up the worker's Python: a private environment in the user's folder, or one the user names; both checked.

An environment counts as ready only while the marker beside it says so. The marker is removed before anything is
touched, and written after a real bake through the worker; so a half-done one is never taken for a whole one.
"""

import hashlib
import json
import os
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from .engine import Engine, Job
from .files import write_whole
from .lock import Lock
from .process import Child, clean_environment, ending, environment_python
from .trial import write_trial

_TAIL_LINES = 8
_SCRIPT = Path(__file__).with_name("environment.py")
_TRIAL_FRAMES = 4
_LOCK_PATIENCE_S = 3.0
_SEATS = 16
# The share of the whole that building takes; the rest is the check.
_BUILDING = 0.85


@dataclass(frozen=True)
class Place:
    """Where the environment is: the folder of its own, and the wheel of loopcore that goes into it."""

    folder: Path
    wheel: Path

    @property
    def environment(self) -> Path:
        return self.folder / "environment"

    @property
    def python(self) -> Path:
        return environment_python(self.environment)

    @property
    def marker(self) -> Path:
        return self.folder / "ready.json"

    @property
    def log(self) -> Path:
        return self.folder / "setup.log"

    @property
    def lock(self) -> Path:
        return self.folder / "setup.lock"

    @property
    def seats(self) -> list[Lock]:
        """One is held by each Blender that works with the environment."""
        return [Lock(self.folder / f"worker-{number}.lock") for number in range(_SEATS)]

    @property
    def wheel_if_there(self) -> Path | None:
        """None in a tree that was never built."""
        return self.wheel if self.wheel.is_file() else None


@dataclass(frozen=True)
class State:
    """name: "absent", "busy", "unfinished", "broken", "outdated" or "ready"; message: the same, for people."""

    name: str
    message: str


def state_of(place: Place) -> State:
    """What is there. Reads a small file or two: quick enough for a panel."""
    if not place.marker.exists() and Lock(place.lock).is_held():
        return State("busy", "Another Blender is setting it up")
    if not place.environment.exists():
        return State("absent", "Not set up")
    try:
        marker = json.loads(place.marker.read_text("utf-8"))
        facts = describe(marker)
        wheel = marker["wheel"]
    except FileNotFoundError:
        return State("unfinished", "Setting up did not come to its end: Repair")
    except (OSError, ValueError, KeyError, TypeError):
        return State("unfinished", f"'{place.marker}' cannot be read: Repair")
    if not place.python.exists():
        return State("broken", "The Python that it was made from has gone: Repair")
    if not place.wheel.is_file() or wheel != _digest(place.wheel, place.wheel.stat().st_mtime_ns):
        return State("outdated", f"It has the Loopcore of another version of the add-on ({facts}): Repair")
    return State("ready", facts)


def take_seat(place: Place) -> Lock | None:
    """Keep other Blenders from removing the environment until it is freed. None where no lock can be had."""
    try:
        return next((seat for seat in place.seats if seat.take()), None)
    except OSError:
        return None


def describe(facts: dict) -> str:
    """What a worker said in `hello`, in a line."""
    torch = f"torch {facts['torch']}" if facts["torch"] else "no torch: draw strokes and a mask, no prediction"
    return f"Loopcore {facts['version']}, Python {facts['python']}, {torch}"


@lru_cache(maxsize=4)
def _digest(path: Path, changed: int) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def find_base_python(own: Path) -> Path | None:
    """A Python to make the environment from: `own`, Blender's, where it can, else one on PATH; None without one."""
    names = [f"python3.{minor}" for minor in (12, 11, 13)] + ["python3", "python"]
    found = (shutil.which(name) for name in names)
    for candidate in [own, *(Path(path) for path in found if path)]:
        if _can_make_environments(candidate):
            return candidate
    return None


@lru_cache(maxsize=16)
def _can_make_environments(python: Path) -> bool:
    test = "import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))"
    flags = subprocess.CREATE_NO_WINDOW if os.name == "nt" else 0
    try:
        done = subprocess.run(
            [str(python), "-I", "-c", test], env=clean_environment(), stdin=subprocess.DEVNULL, capture_output=True,
            timeout=10, creationflags=flags,
        )  # fmt: skip
    except (OSError, ValueError, subprocess.SubprocessError):
        return False
    return done.returncode == 0


class Setup:
    """One thing done to the worker's Python, in the background. `poll` it until `state` is no longer "running".

    state: "running", "done", "failed" or "cancelled". message: what is being done, or was; error: why it failed, with
    the end of the log. fraction: 0 to 1. facts: of a checked Python, what the worker said in `hello`.
    """

    def __init__(self, place: Place, steps: "Iterator[None]", title: str) -> None:
        self.place, self.title = place, title
        self.state, self.message, self.error, self.fraction = "running", title, "", 0.0
        self.facts: dict = {}
        self._steps = steps
        self._child: Child | None = None
        self._engine: Engine | None = None
        self._lock = Lock(place.lock)

    @classmethod
    def install(
        cls, place: Place, base: Path | None = None, *, wheels: Path | None = None, torch: bool = True
    ) -> "Setup":
        """Build the environment anew and check it. Without `wheels`, a folder, from the network: ask the user first.

        base: the Python to make it from; one is looked for where it is not given.
        """
        self = cls(place, iter(()), "Setting up")
        self._steps = self._install(base, wheels, torch)
        return self

    @classmethod
    def check(cls, place: Place, python: Path) -> "Setup":
        """Check a Python that the user named, by a bake. Nothing is installed; without a loopcore it is given ours."""
        self = cls(place, iter(()), "Checking")
        self._steps = self._check(python, 0.0, place.wheel_if_there)
        return self

    @classmethod
    def remove(cls, place: Place) -> "Setup":
        """Remove the environment."""
        self = cls(place, iter(()), "Removing")
        self._steps = self._remove()
        return self

    def poll(self) -> None:
        """Go on where there is something to do. Never blocks."""
        if self.state != "running":
            return
        try:
            next(self._steps)
        except StopIteration:
            self.state, self.fraction = "done", 1.0
            self._lock.free()
        except _Failed as error:
            self._fail(str(error))
        except OSError as error:
            self._fail(f"{error.strerror or error}" + (f": '{error.filename}'" if error.filename else ""))

    def cancel(self) -> None:
        """End it now; what was half built is removed, or is known as unfinished."""
        if self.state == "running":
            self.state, self.message = "cancelled", "Cancelled"
            self._end()

    def _fail(self, error: str) -> None:
        self.state, self.error, self.message = "failed", error, f"{self.title} failed"
        self._end()

    def _end(self) -> None:
        if self._child is not None:
            self._child.kill()
        self._steps.close()
        if self._engine is not None:
            self._engine.stop()
        self._lock.free()

    def _install(self, base: Path | None, wheels: Path | None, torch: bool) -> Iterator[None]:
        place = self.place
        if not place.wheel.is_file():
            raise _Failed(f"The add-on lacks its wheel of Loopcore, '{place.wheel}': install the add-on again")
        if wheels is not None and not any(Path(wheels).glob("*.whl")):
            raise _Failed(f"There are no wheels (*.whl) in '{wheels}'")
        if base is None:
            base = yield from _in_thread(lambda: find_base_python(Path(sys.executable)))
        if base is None:
            raise _Failed(
                f"Neither Blender's Python ('{sys.executable}') nor one on PATH can make the environment: it takes "
                "Python 3.11 to 3.13 with venv and pip. Install one, or choose Use This Python"
            )
        yield from self._take_lock()
        place.marker.unlink(missing_ok=True)
        order = {
            "folder": str(place.environment), "wheel": str(place.wheel), "torch": torch,
            "wheels": None if wheels is None else str(wheels),
        }  # fmt: skip
        built = False
        try:
            yield from self._build([str(base), "-I", "-u", str(_SCRIPT), json.dumps(order)])
            built = True
        finally:
            if not built:
                # Ours until it has gone: another Blender would make its own in the same place.
                lock, self._lock = self._lock, Lock(place.lock)
                _remove_later(place.environment, lock.free)
        yield from self._check(place.python, _BUILDING)
        about = {**self.facts, "wheel": _digest(place.wheel, place.wheel.stat().st_mtime_ns)}
        write_whole(place.marker, (json.dumps(about, indent=2) + "\n").encode())

    def _take_lock(self) -> Iterator[None]:
        self.place.folder.mkdir(parents=True, exist_ok=True)
        # What was cancelled just now may still be going away.
        end = time.monotonic() + _LOCK_PATIENCE_S
        while not self._lock.take():
            if time.monotonic() > end:
                raise _Failed(f"{self._lock.holder()} is setting up this very environment: wait for it, then try again")
            yield
        while taken := [seat for seat in self.place.seats if seat.is_held()]:
            if time.monotonic() > end:
                raise _Failed(f"{taken[0].holder()} is working with this very environment: close it, then try again")
            yield

    def _build(self, command: list[str]) -> Iterator[None]:
        """Run the script, until it has ended well."""
        said: queue.SimpleQueue[dict | int] = queue.SimpleQueue()
        with self.place.log.open("wb") as log:
            self._child = child = Child(command, env=clean_environment(), stderr=log)
            threading.Thread(target=_read, args=(child, said), daemon=True).start()
        error = ""
        while True:
            try:
                message = said.get_nowait()
            except queue.Empty:
                yield
                continue
            if isinstance(message, int):
                break
            error = str(message.get("error", error))
            self.message = str(message.get("message") or self.message)
            if message.get("total"):
                self.fraction = _BUILDING * message["done"] / message["total"]
        self._child = None
        if message:
            raise _Failed(self._with_tail(error or f"The installer ended unexpectedly ({ending(message)})"))

    def _with_tail(self, error: str) -> str:
        try:
            lines = self.place.log.read_text("utf-8", "replace").splitlines()
        except OSError:
            return error
        last = [line for line in lines if line.strip()][-_TAIL_LINES:]
        return "\n".join([error, f"The end of the log, {self.place.log}:", *last]) if last else error

    def _check(self, python: Path, begin: float, wheel: Path | None = None) -> Iterator[None]:
        """Have a worker in that Python bake a tiny loop, and measure what it wrote."""
        self.message, self.fraction = "Checking with a small bake", begin
        self.place.folder.mkdir(parents=True, exist_ok=True)
        self._engine = engine = Engine(python, self.place.folder / "check.log", wheel=wheel)
        folder = Path(tempfile.mkdtemp(prefix="check-", dir=self.place.folder))
        try:
            self.facts = yield from self._ask(engine, "hello", {"import_torch": True})
            plate, hints = write_trial(folder)
            baked = yield from self._ask(engine, "animate", {
                "plate": str(plate), "hints": str(hints), "folder": str(folder / "loop"), "frames": _TRIAL_FRAMES,
                "proxy": True,
            })  # fmt: skip
            report = yield from self._ask(engine, "check", {"folder": str(folder / "loop")})
        finally:
            engine.stop()
            _remove_later(folder)
        broken = [row["name"] for row in report["rows"][:3] if not row["passed"]]
        if baked["written"] != _TRIAL_FRAMES or broken:
            raise _Failed(f"'{python}' bakes, but the frames are not right ({', '.join(broken) or 'not all written'})")
        self.message = describe(self.facts)

    def _ask(self, engine: Engine, method: str, params: dict) -> Iterator[None]:
        job: Job = engine.submit(method, params)
        while job.state == "running":
            yield
            engine.poll()
        if job.state != "done":
            raise _Failed(job.error or "The worker was stopped")
        return job.result

    def _remove(self) -> Iterator[None]:
        place = self.place
        yield from self._take_lock()
        place.marker.unlink(missing_ok=True)
        if place.environment.exists():
            yield from _in_thread(lambda: _remove_tree(place.environment))
        self.message = "Removed"


class _Failed(Exception):
    """It cannot be done; the message is for people."""


def _in_thread(work):
    """Do it in a thread, yielding until it is done; its result, or what it raised."""
    outcome: queue.SimpleQueue = queue.SimpleQueue()

    def run() -> None:
        try:
            outcome.put((work(), None))
        except Exception as error:
            outcome.put((None, error))

    threading.Thread(target=run, daemon=True).start()
    while outcome.empty():
        yield
    result, error = outcome.get()
    if error is not None:
        raise error
    return result


def _read(child: Child, said: "queue.SimpleQueue[dict | int]") -> None:
    stray: deque[bytes] = deque(maxlen=4)
    with child.stdout as stdout:
        rest = b""
        while data := stdout.read(1 << 16):
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                try:
                    said.put(dict(json.loads(line)))
                except (ValueError, TypeError):
                    stray.append(line)
    code = child.wait()
    child.stdin.close()
    if code and stray:
        said.put({"error": b" ".join(stray).decode("utf-8", "replace")})
    said.put(code)


def _remove_tree(folder: Path) -> None:
    """Remove it; what a process that is just ending still holds, on Windows, after a while."""
    aside = folder.with_name(f"{folder.name}-removed-{time.time_ns()}")
    for delay in (0.1, 0.4, 1.6, 0.0):
        try:
            os.replace(folder, aside)
            break
        except FileNotFoundError:
            return
        except OSError:
            if not delay:
                raise
            time.sleep(delay)
    shutil.rmtree(aside)


def _remove_later(folder: Path, then: Callable[[], None] = lambda: None) -> None:
    def run() -> None:
        try:
            _remove_tree(folder)
        except OSError:
            pass  # Without its marker nobody takes it for whole.
        finally:
            then()

    threading.Thread(target=run, daemon=True).start()
