# SPDX-License-Identifier: GPL-3.0-or-later
"""The one engine of this Blender process, alive while the add-on is enabled."""

import bpy

from ..errors import Refused
from . import installation, tasks
from .client import Engine
from .lock import Lock
from .place import take_lease

_engine: Engine | None = None
_lease: Lock | None = None


def register():
    if _opening not in bpy.app.handlers.load_pre:
        bpy.app.handlers.load_pre.append(_opening)


def unregister():
    """Stop the running task: disabling an add-on does not cancel its operators."""
    tasks.stop("Cancelled: the add-on was disabled")
    if _opening in bpy.app.handlers.load_pre:
        bpy.app.handlers.load_pre.remove(_opening)
    stop()


def stop():
    """End the worker; the next task starts a new one."""
    global _engine, _lease
    engine, _engine = _engine, None
    if engine is not None:
        engine.stop()
    if _lease is not None:
        _lease.free()
        _lease = None


@bpy.app.handlers.persistent
def _opening(*_arguments):
    tasks.stop("Cancelled: another file was opened")


def engine() -> Engine:
    """Return the engine, in the Python that the preferences select.

    Raises:
        Refused: there is no such Python yet.
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
