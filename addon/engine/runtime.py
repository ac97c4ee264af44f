# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine of this Blender process, which exists while the add-on is enabled."""

import bpy

from ..errors import Refused
from . import installation, tasks
from .client import Engine
from .lock import Lock
from .place import take_lease

_engine: Engine | None = None
_lease: Lock | None = None


def register():
    if _on_load not in bpy.app.handlers.load_pre:
        bpy.app.handlers.load_pre.append(_on_load)


def unregister():
    """Stop the running task, since Blender does not cancel an add-on's operators when it is disabled."""
    tasks.stop("Cancelled: the add-on was disabled")
    if _on_load in bpy.app.handlers.load_pre:
        bpy.app.handlers.load_pre.remove(_on_load)
    stop()


def stop():
    """Stop the worker; the next task starts a new one."""
    global _engine, _lease
    engine, _engine = _engine, None
    if engine is not None:
        engine.stop()
    if _lease is not None:
        _lease.free()
        _lease = None


@bpy.app.handlers.persistent
def _on_load(*_arguments):
    tasks.stop("Cancelled: another file was opened")


def engine() -> Engine:
    """Return the engine with the Python selected in the preferences.

    Raises:
        Refused: there is no such Python.
    """
    global _engine, _lease
    reason = installation.missing()
    if reason:
        raise Refused(reason)
    python, log, wheel = installation.worker()
    if _engine is None or _engine.python != python:
        stop()
        where = installation.place()
        _lease = take_lease(where) if python == where.python else None
        _engine = Engine(python, log, wheel=wheel)
    return _engine
