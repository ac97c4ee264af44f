# SPDX-License-Identifier: GPL-3.0-or-later
"""The Python that runs the worker: the one chosen in the preferences, or the add-on's private environment.

Holds the one installation, check or removal that runs in the background.
"""

from pathlib import Path

import bpy

from .. import package
from ..texts import rpt_
from . import tasks
from .place import Place, State, state_of
from .setup import Setup

POLL_SECONDS = 0.1

# The running setup, or the last one. Not an RNA property, since that would outlive the add-on.
_setup: Setup | None = None


def preferences():
    """Return the add-on's preferences, or None if the package is not enabled as an add-on."""
    addon = bpy.context.preferences.addons.get(package.NAME)
    return addon.preferences if addon is not None else None


def place(create=False) -> Place:
    """Return the place of the private environment and of the add-on's loopcore wheel."""
    try:
        folder = Path(bpy.utils.extension_path_user(package.NAME, path="engine", create=create))
    except ValueError:
        # Not installed as an extension: imported from the source tree.
        folder = Path(bpy.app.tempdir) / "loopcore_engine"
    wheels = sorted((package.FOLDER / "wheels").glob("loopcore-*.whl"))
    return Place(folder, wheels[-1] if wheels else package.FOLDER / "wheels" / "loopcore.whl")


def worker() -> tuple[Path, Path, Path | None]:
    """Return the worker's Python, its log, and loopcore's wheel if the Python is one chosen in the preferences."""
    where, chosen = place(), _chosen()
    return chosen or where.python, where.folder / "worker.log", where.wheel_if_there if chosen else None


def missing() -> str:
    """Return why there is no Python for the worker and what to do about it; empty if there is one."""
    chosen = _chosen()
    if chosen is not None:
        text = rpt_("There is no Python at '{chosen}': choose another in the preferences").format(chosen=chosen)
        return "" if chosen.is_file() else text
    if busy():
        return f"{_setup.title}: {_setup.message}"
    state = environment()
    if state.name == "ready":
        return ""
    if state.name == "busy":
        return rpt_("The engine is not ready: {message}").format(message=state.message)
    if state.name == "absent":
        return "Loopcore's engine is not set up: choose Set Up in the add-on's preferences"
    return rpt_("The engine cannot be used. {message} in the add-on's preferences").format(message=state.message)


def environment() -> State:
    """Return the state of the private environment."""
    # Asked first: the removal may end between the two.
    cleaning = _setup is not None and _setup.cleaning
    state = state_of(place())
    if state.name == "busy" and cleaning:
        return State("busy", "its incomplete environment is being removed")
    return state


def _chosen() -> Path | None:
    mine = preferences()
    return Path(bpy.path.abspath(mine.python)) if mine is not None and mine.python else None


def current() -> Setup | None:
    """Return the running setup, or the last one."""
    return _setup


def busy() -> bool:
    """Return whether a setup is running."""
    return _setup is not None and _setup.state == "running"


def begin(setup: Setup) -> None:
    """Make this the current setup; outside background mode, poll it from a timer."""
    global _setup
    _setup = setup
    if not bpy.app.background:
        bpy.app.timers.register(_poll, first_interval=POLL_SECONDS, persistent=True)


def _poll() -> float | None:
    if _setup is None:
        return None
    # Read before the redraw, so that the last one shows the end.
    going_on = busy() or _setup.cleaning
    _setup.poll()
    tasks.redraw()
    return POLL_SECONDS if going_on or busy() or _setup.cleaning else None


def register():
    """Does nothing: setups start only on the user's request."""


def unregister():
    """Cancel the running setup."""
    global _setup
    if _setup is not None:
        _setup.cancel()
        _setup = None
    if bpy.app.timers.is_registered(_poll):
        bpy.app.timers.unregister(_poll)
