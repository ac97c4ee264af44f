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
# The outcomes of the last drafts, as message and whether they failed; those shown before undo or redo.
_outcomes: dict[str, tuple[str, bool]] = {}
_shown: dict[str, tuple[str, bool]] = {}


def register():
    for handlers in (bpy.app.handlers.undo_post, bpy.app.handlers.redo_post):
        handlers.append(_undone)
    for handlers in (bpy.app.handlers.undo_pre, bpy.app.handlers.redo_pre):
        handlers.append(_undoing)
    bpy.app.handlers.load_pre.append(_forget)


def unregister():
    _forget()
    for handlers in (bpy.app.handlers.undo_post, bpy.app.handlers.redo_post):
        if _undone in handlers:
            handlers.remove(_undone)
    for handlers in (bpy.app.handlers.undo_pre, bpy.app.handlers.redo_pre):
        if _undoing in handlers:
            handlers.remove(_undoing)
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


def ended(name: str, message: str, failed: bool) -> None:
    """Remember the outcome of a draft."""
    _outcomes[name] = message, failed


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
def _undoing(*_arguments):
    """Note the messages, of which undo and redo restore older ones."""
    for name in _solved:
        if (obj := bpy.data.objects.get(name)) is not None:
            _shown.setdefault(name, (obj.loopcore.message, obj.loopcore.failed))


@bpy.app.handlers.persistent
def _undone(*_arguments):
    if _solved and not bpy.app.background and not bpy.app.timers.is_registered(_compare):
        bpy.app.timers.register(_compare, first_interval=0.05)


def _compare():
    """Solve again where undo has changed the hints; elsewhere the outcome of the last draft is still true."""
    shown = dict(_shown)
    _shown.clear()
    for name, text in list(_solved.items()):
        now = _hints_of(name)
        if now is None:
            del _solved[name]
        elif now != text:
            want(name)
        elif name in shown and shown[name] == _outcomes.get(name):
            state = bpy.data.objects[name].loopcore
            state.message, state.failed = shown[name]


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
    _outcomes.clear()
    _shown.clear()
    for timer in (_solve, _compare):
        if bpy.app.timers.is_registered(timer):
            bpy.app.timers.unregister(timer)
