# SPDX-License-Identifier: GPL-3.0-or-later
"""The location of the worker's private environment, and its state.

An environment is ready only while it has a valid marker file: see `setup`.
"""

import hashlib
import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from ..texts import rpt_
from .lock import Lock
from .process import environment_python

_SEATS = 16


@dataclass(frozen=True)
class Place:
    """The folder of the private environment, and the loopcore wheel to install in it."""

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
    def leases(self) -> list[Lock]:
        """Locks, one of which is held by each Blender that uses the environment."""
        return [Lock(self.folder / f"worker-{number}.lock") for number in range(_SEATS)]

    @property
    def wheel_if_there(self) -> Path | None:
        """The wheel, or None in a source tree without one."""
        return self.wheel if self.wheel.is_file() else None


@dataclass(frozen=True)
class State:
    """name: "absent", "busy", "unfinished", "broken", "outdated" or "ready"; message: a description for the user."""

    name: str
    message: str


def state_of(place: Place) -> State:
    """Return the state of the environment. Reads one or two small files: fast enough for drawing a panel."""
    if not place.marker.exists() and Lock(place.lock).is_held():
        return State("busy", "another Blender is setting it up")
    if not place.environment.exists():
        return State("absent", "Not set up")
    try:
        marker = json.loads(place.marker.read_text("utf-8"))
        facts = describe(marker)
        wheel = marker["wheel"]
    except FileNotFoundError:
        return State("unfinished", "The installation is incomplete: choose Repair")
    except (OSError, ValueError, KeyError, TypeError):
        return State("unfinished", rpt_("'{marker}' cannot be read: choose Repair").format(marker=place.marker))
    if not place.python.exists():
        return State("broken", "The Python that it was created with is missing: choose Repair")
    if not place.wheel.is_file() or wheel != digest(place.wheel, place.wheel.stat().st_mtime_ns):
        return State(
            "outdated",
            rpt_("It has the Loopcore of another version of the add-on ({facts}): choose Repair").format(facts=facts),
        )
    return State("ready", facts)


def take_lease(place: Place) -> Lock | None:
    """Take a lock that prevents other Blenders from removing the environment; None if no lock is available."""
    try:
        return next((lease for lease in place.leases if lease.take()), None)
    except OSError:
        return None


def describe(facts: dict) -> str:
    """Return a worker's result of `hello` as one line of text."""
    torch = f"torch {facts['torch']}" if facts["torch"] else rpt_("no torch: no prediction, draw strokes and a mask")
    return f"Loopcore {facts['version']}, Python {facts['python']}, {torch}"


@lru_cache(maxsize=4)
def digest(path: Path, changed: int) -> str:
    """Return the SHA-256 of a file; `changed`, its modification time, invalidates the cache."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
