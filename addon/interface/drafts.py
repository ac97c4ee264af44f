# SPDX-License-Identifier: GPL-3.0-or-later
"""Solve the motion again after hints were drawn, undone or redone: small, and by itself.

Handlers and operators only note the plane's name and start a timer, which invokes the operator `draft_motion`.
"""

import json

import bpy

from ..drawing import areas
from ..drawing.hints import hints_json
from ..engine import installation, tasks
from ..errors import PlaneError
from ..plane.image import find_plane_image

TITLE = "Solve Draft"
_RETRY_S = 0.2

# Names of planes whose motion is to be solved, and the hints of those that were, as text.
_wanted: set[str] = set()
_solved: dict[str, str] = {}


def register():
    for handlers in (bpy.app.handlers.undo_post, bpy.app.handlers.redo_post):
        handlers.append(_undone)
    bpy.app.handlers.load_pre.append(_forget)


def unregister():
    _forget()
    for handlers in (bpy.app.handlers.undo_post, bpy.app.handlers.redo_post):
        if _undone in handlers:
            handlers.remove(_undone)
    if _forget in bpy.app.handlers.load_pre:
        bpy.app.handlers.load_pre.remove(_forget)


def want(name: str) -> None:
    """Solve the motion of the plane `name` soon, after the running draft is cancelled or the running task has ended."""
    if bpy.app.background or installation.missing():
        return
    _wanted.add(name)
    running = tasks.current()
    if running is not None and running.title == TITLE:
        running.cancel()
    _start_timer()


def began(name: str) -> None:
    """Remember the hints that the plane's motion is being solved from."""
    _solved[name] = _hints_of(name) or ""


def _start_timer():
    if not bpy.app.timers.is_registered(_solve):
        bpy.app.timers.register(_solve, first_interval=0.01)


def _solve():
    if tasks.current() is not None:
        return _RETRY_S
    while _wanted:
        name = _wanted.pop()
        window = bpy.context.window_manager.windows[0]
        if name not in bpy.data.objects or bpy.context.mode != "OBJECT":
            continue
        with bpy.context.temp_override(window=window):
            if not bpy.ops.loopcore.draft_motion.poll():
                continue
            bpy.ops.loopcore.draft_motion("INVOKE_DEFAULT", object_name=name)
        return _RETRY_S if _wanted else None
    return None


@bpy.app.handlers.persistent
def _undone(*_arguments):
    if _solved and not bpy.app.background and not bpy.app.timers.is_registered(_compare):
        bpy.app.timers.register(_compare, first_interval=0.05)


def _compare():
    """Solve again where undo has changed the hints."""
    for name, text in list(_solved.items()):
        now = _hints_of(name)
        if now is None:
            del _solved[name]
        elif now != text:
            want(name)


def _hints_of(name):
    """Return the plane's hints as text; None if it cannot be used."""
    obj = bpy.data.objects.get(name)
    try:
        plane = find_plane_image(obj)
        return json.dumps([hints_json(plane), areas.outlines(plane)])
    except PlaneError:
        return None


@bpy.app.handlers.persistent
def _forget(*_arguments):
    _wanted.clear()
    _solved.clear()
    for timer in (_solve, _compare):
        if bpy.app.timers.is_registered(timer):
            bpy.app.timers.unregister(timer)
