# SPDX-License-Identifier: GPL-3.0-or-later
"""The one engine of this Blender, which lives as long as the add-on is enabled, and what the panel asks about it."""

import bpy

from . import mask, preferences, setup, tasks
from .engine import Engine
from .lock import Lock

_engine: Engine | None = None
_seat: Lock | None = None


def register():
    for handlers, handler in _handlers():
        if handler not in handlers:
            handlers.append(handler)


def unregister():
    """End what runs: disabling an add-on does not cancel its operators."""
    tasks.stop("Cancelled: the add-on was disabled")
    for handlers, handler in _handlers():
        if handler in handlers:
            handlers.remove(handler)
    stop()


def _handlers():
    return (bpy.app.handlers.load_pre, _opening), (bpy.app.handlers.save_pre, _saving)


def stop():
    """End the worker; the next task starts another."""
    global _engine, _seat
    engine, _engine = _engine, None
    if engine is not None:
        engine.stop()
    if _seat is not None:
        _seat.free()
        _seat = None


@bpy.app.handlers.persistent
def _opening(*_arguments):
    tasks.stop("Cancelled: another file was opened")


@bpy.app.handlers.persistent
def _saving(*_arguments):
    mask.keep_painted()


def plane_of(obj):
    """The plane that `obj` is about: itself, or, for a stroke or an anchor, the plane that it lies on."""
    if obj is not None and obj.type in {"CURVE", "EMPTY"} and obj.parent is not None:
        return obj.parent
    return obj


def engine() -> Engine:
    """The engine, in the Python that the preferences name.

    Raises Refused while there is no such Python.
    """
    global _engine, _seat
    reason = missing()
    if reason:
        raise tasks.Refused(reason)
    python, log, wheel = preferences.worker()
    if _engine is None or _engine.python != python:
        stop()
        where = preferences.place()
        _seat = setup.take_seat(where) if python == where.python else None
        _engine = Engine(python, log, wheel=wheel)
    return _engine


def missing() -> str:
    """Why nothing can be made yet; empty when all is there."""
    return preferences.missing()
