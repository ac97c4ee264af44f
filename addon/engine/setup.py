# SPDX-License-Identifier: GPL-3.0-or-later
"""Set up, check or remove the worker's Python: a private environment in the user's folder, or one the user chooses.

The marker file that declares the environment ready is removed before any change, and written only after a bake with the
worker has succeeded, so an incomplete environment is never used.
"""

import json
import os
import queue
import shutil
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

from ..files import write_whole
from ..texts import rpt_
from .base_python import find_base_python
from .client import Engine, Job
from .lock import Lock
from .place import Place, describe, digest
from .process import Child, clean_environment, ending
from .trial import write_trial

_TAIL_LINES = 8
_SCRIPT = Path(__file__).with_name("environment.py")
_TRIAL_FRAMES = 4
_LOCK_TIMEOUT_S = 3.0
# Share of the progress bar for the build; the rest is for the check.
_BUILD_SHARE = 0.85


class SetupError(Exception):
    """The setup failed; the message is for the user."""


class Setup:
    """An installation, check or removal in the background. Call `poll` until `state` is no longer "running".

    Attributes:
        state: "running", "done", "failed" or "cancelled".
        message: the current step, or the outcome.
        error: why it failed, and the end of the log.
        fraction: progress, 0 to 1.
        facts: the worker's result of `hello`, once checked.
        cleaning: whether files are still being removed, for which the lock of the place may be held.
    """

    def __init__(self, place: Place, steps: "Iterator[None]", title: str) -> None:
        self.place, self.title = place, title
        self.state, self.message, self.error, self.fraction = "running", title, "", 0.0
        self.facts: dict = {}
        self._steps = steps
        self._child: Child | None = None
        self._engine: Engine | None = None
        self._lock = Lock(place.lock)
        self._removals: list[threading.Thread] = []

    @property
    def cleaning(self) -> bool:
        return any(thread.is_alive() for thread in self._removals)

    @classmethod
    def install(
        cls, place: Place, base: Path | None = None, *, wheels: Path | None = None, torch: bool = True
    ) -> "Setup":
        """Rebuild the environment and check it.

        Args:
            base: the Python to create it with; None searches for one.
            wheels: a folder of wheels; None downloads them, which requires the user's consent.
            torch: whether to install torch.
        """
        self = cls(place, iter(()), "Setting up")
        self._steps = self._install(base, wheels, torch)
        return self

    @classmethod
    def check(cls, place: Place, python: Path) -> "Setup":
        """Check a Python by a bake. Installs nothing; a Python without loopcore uses the one from the wheel."""
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
        """Advance as far as possible without blocking."""
        if self.state != "running":
            return
        try:
            next(self._steps)
        except StopIteration:
            self.state, self.fraction = "done", 1.0
            self._lock.free()
        except SetupError as error:
            self._fail(str(error))
        except OSError as error:
            self._fail(f"{error.strerror or error}" + (f": '{error.filename}'" if error.filename else ""))

    def cancel(self) -> None:
        """Stop at once. An incomplete environment is removed, or is in state "unfinished"."""
        if self.state == "running":
            self.state, self.message = "cancelled", "Cancelled"
            self._end()

    def _fail(self, error: str) -> None:
        self.state, self.error, self.message = "failed", error, rpt_("{title} failed").format(title=self.title)
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
            raise SetupError(
                rpt_("The add-on's Loopcore wheel is missing, '{wheel}': reinstall the add-on").format(
                    wheel=place.wheel
                )
            )
        if wheels is not None and not any(Path(wheels).glob("*.whl")):
            raise SetupError(rpt_("There are no wheels (*.whl) in '{wheels}'").format(wheels=wheels))
        if base is None:
            base = yield from _in_thread(lambda: find_base_python(Path(sys.executable)))
        if base is None:
            raise SetupError(
                rpt_(
                    "Neither Blender's Python ('{executable}') nor one on PATH can create the environment: it "
                    "takes Python 3.11 to 3.13 with venv and pip. Install one, or choose one in Use This Python"
                ).format(executable=sys.executable)
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
                # Keep the lock until the folder is removed: another Blender may build in the same place.
                lock, self._lock = self._lock, Lock(place.lock)
                self._removals.append(_remove_later(place.environment, lock.free))
        yield from self._check(place.python, _BUILD_SHARE)
        about = {**self.facts, "wheel": digest(place.wheel, place.wheel.stat().st_mtime_ns)}
        write_whole(place.marker, (json.dumps(about, indent=2) + "\n").encode())

    def _take_lock(self) -> Iterator[None]:
        self.place.folder.mkdir(parents=True, exist_ok=True)
        # A cancelled setup may hold the lock until its environment is removed.
        end = time.monotonic() + _LOCK_TIMEOUT_S
        while not self._lock.take():
            if time.monotonic() > end:
                holder = self._lock.holder()
                raise SetupError(
                    rpt_("{holder} is setting up the same environment: wait until it is done, then try again").format(
                        holder=holder
                    )
                )
            yield
        while taken := [lease for lease in self.place.leases if lease.is_held()]:
            if time.monotonic() > end:
                raise SetupError(
                    rpt_("{holder} is using the same environment: close it, then try again").format(
                        holder=taken[0].holder()
                    )
                )
            yield

    def _build(self, command: list[str]) -> Iterator[None]:
        """Run the build script."""
        messages: queue.SimpleQueue[dict | int] = queue.SimpleQueue()
        with self.place.log.open("wb") as log:
            self._child = child = Child(command, env=clean_environment(), stderr=log)
            threading.Thread(target=_read, args=(child, messages), daemon=True).start()
        error = ""
        while True:
            try:
                message = messages.get_nowait()
            except queue.Empty:
                yield
                continue
            if isinstance(message, int):
                break
            error = str(message.get("error", error))
            self.message = str(message.get("message") or self.message)
            if message.get("total"):
                self.fraction = _BUILD_SHARE * message["done"] / message["total"]
        self._child = None
        if message:
            raise SetupError(
                self._with_tail(
                    error or rpt_("The installer ended unexpectedly ({ending})").format(ending=ending(message))
                )
            )

    def _with_tail(self, error: str) -> str:
        try:
            lines = self.place.log.read_text("utf-8", "replace").splitlines()
        except OSError:
            return error
        last = [line for line in lines if line.strip()][-_TAIL_LINES:]
        return (
            "\n".join([error, rpt_("The end of the log, {log}:").format(log=self.place.log), *last]) if last else error
        )

    def _check(self, python: Path, begin: float, wheel: Path | None = None) -> Iterator[None]:
        """Bake a small loop with a worker in `python`, and check its frames."""
        self.message, self.fraction = "Baking a small loop", begin
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
            self._removals.append(_remove_later(folder))
        broken = [row["name"] for row in report["rows"][:3] if not row["passed"]]
        if baked["written"] != _TRIAL_FRAMES or broken:
            reason = ", ".join(broken) or "not all written"
            raise SetupError(
                rpt_("The frames of a test bake with '{python}' are wrong ({reason})").format(
                    python=python, reason=reason
                )
            )
        self.message = describe(self.facts)

    def _ask(self, engine: Engine, method: str, params: dict) -> Iterator[None]:
        job: Job = engine.submit(method, params)
        while job.state == "running":
            yield
            engine.poll()
        if job.state != "done":
            raise SetupError(job.error or "The worker was stopped")
        return job.result

    def _remove(self) -> Iterator[None]:
        place = self.place
        yield from self._take_lock()
        place.marker.unlink(missing_ok=True)
        if place.environment.exists():
            yield from _in_thread(lambda: _remove_tree(place.environment))
        self.message = "Removed"


def _in_thread(work):
    """Run `work` in a thread, and yield until it is done. Returns its result, or raises its error."""
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


def _read(child: Child, messages: "queue.SimpleQueue[dict | int]") -> None:
    stray: deque[bytes] = deque(maxlen=4)
    with child.stdout as stdout:
        rest = b""
        while data := stdout.read(1 << 16):
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                try:
                    messages.put(dict(json.loads(line)))
                except (ValueError, TypeError):
                    stray.append(line)
    code = child.wait()
    child.stdin.close()
    if code and stray:
        messages.put({"error": b" ".join(stray).decode("utf-8", "replace")})
    messages.put(code)


def _remove_tree(folder: Path) -> None:
    """Remove a folder; retries, since on Windows an ending process may still hold its files."""
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


def _remove_later(folder: Path, then: Callable[[], None] = lambda: None) -> threading.Thread:
    """Remove a folder in a thread, and call `then`; returns the thread."""

    def run() -> None:
        try:
            _remove_tree(folder)
        except OSError:
            pass  # Without a marker it is not used.
        finally:
            then()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread
