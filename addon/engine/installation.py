# SPDX-License-Identifier: GPL-3.0-or-later
"""The Python that the worker runs in: the one named in the preferences, or the add-on's own environment.

Keeps the one installation, check or removal that runs in the background.
"""

from pathlib import Path

import bpy

from .. import package
from . import tasks
from .place import Place, state_of
from .setup import Setup

POLL_SECONDS = 0.1

# The setup that runs, or ran last. Kept here: an RNA property would outlive the add-on.
_setup: Setup | None = None


def preferences():
    """Return the add-on's preferences, or None while it is not enabled as one."""
    addon = bpy.context.preferences.addons.get(package.NAME)
    return addon.preferences if addon is not None else None


def place(create=False) -> Place:
    """Return where the private environment and the add-on's loopcore wheel are."""
    try:
        folder = Path(bpy.utils.extension_path_user(package.NAME, path="engine", create=create))
    except ValueError:
        # Not installed as an extension, but imported from its source.
        folder = Path(bpy.app.tempdir) / "loopcore_engine"
    wheels = sorted((package.FOLDER / "wheels").glob("loopcore-*.whl"))
    return Place(folder, wheels[-1] if wheels else package.FOLDER / "wheels" / "loopcore.whl")


def worker() -> tuple[Path, Path, Path | None]:
    """Return the worker's Python, its log, and loopcore's wheel where that Python is the user's own."""
    where, chosen = place(), _chosen()
    return chosen or where.python, where.folder / "worker.log", where.wheel_if_there if chosen else None


def missing() -> str:
    """Return why there is no Python for the worker and what to do; empty when there is one."""
    chosen = _chosen()
    if chosen is not None:
        return "" if chosen.is_file() else f"There is no Python at '{chosen}': choose another in the preferences"
    if busy():
        return f"{_setup.title}: {_setup.message}"
    state = state_of(place())
    if state.name == "ready":
        return ""
    if state.name == "busy":
        return f"The engine cannot be used yet. {state.message}"
    if state.name == "absent":
        return "Loopcore's engine is not set up yet: Set Up in the add-on's preferences"
    return f"The engine cannot be used. {state.message} in the add-on's preferences"


def _chosen() -> Path | None:
    mine = preferences()
    return Path(bpy.path.abspath(mine.python)) if mine is not None and mine.python else None


def current() -> Setup | None:
    """Return the setup that runs, or ran last."""
    return _setup


def busy() -> bool:
    """Return whether a setup runs."""
    return _setup is not None and _setup.state == "running"


def begin(setup: Setup) -> None:
    """Make it the current setup; with a window, poll it from a timer."""
    global _setup
    _setup = setup
    if not bpy.app.background:
        bpy.app.timers.register(_poll, first_interval=POLL_SECONDS, persistent=True)


def _poll() -> float | None:
    if _setup is None:
        return None
    _setup.poll()
    tasks.redraw()
    return POLL_SECONDS if busy() else None


def register():
    """Nothing runs before the user asks for it."""


def unregister():
    """Cancel what is being set up."""
    global _setup
    if _setup is not None:
        _setup.cancel()
        _setup = None
    if bpy.app.timers.is_registered(_poll):
        bpy.app.timers.unregister(_poll)
