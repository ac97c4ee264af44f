# SPDX-License-Identifier: GPL-3.0-or-later
"""The path of an object's motion file: relative to the .blend, so that both can be moved, also when saved elsewhere."""

from __future__ import annotations

from pathlib import Path

import bpy

from .folders import relative_to

# What `_saving` changed, to undo it if only a copy was saved: session_uid of the object to its path before.
_before: dict[int, str] = {}


def stored(path: Path, blend: str | None = None) -> str:
    """Return a path as a .blend stores it, by default the open one: relative with "//", else absolute.

    Temporary files and those on other drives stay absolute.
    """
    blend = bpy.data.filepath if blend is None else blend
    if not blend or path.is_relative_to(bpy.app.tempdir):
        return str(path)
    relative = relative_to(path, Path(blend).parent)
    return str(path) if Path(relative).is_absolute() else f"//{relative}"


def missing(obj: bpy.types.Object) -> bool:
    """Return whether the object has a motion whose file does not exist."""
    motion = obj.loopcore.motion
    return bool(motion) and not Path(bpy.path.abspath(motion)).is_file()


@bpy.app.handlers.persistent
def _saving(filepath="", *_arguments) -> None:
    """Before a save: make all paths relative to the file that is written."""
    _before.clear()
    for obj in bpy.data.objects if filepath else ():
        motion = obj.loopcore.motion
        if not motion or obj.library or (motion.startswith("//") and not bpy.data.filepath):
            continue
        path = stored(Path(bpy.path.abspath(motion)), filepath)
        if path != motion:
            _before[obj.session_uid] = motion
            obj.loopcore.motion = path


@bpy.app.handlers.persistent
def _saved(filepath="", *_arguments) -> None:
    """After a save: the open file is another one if a copy was saved, or the save failed."""
    if filepath and _before and filepath != bpy.data.filepath:
        for obj in bpy.data.objects:
            if obj.session_uid in _before:
                obj.loopcore.motion = _before[obj.session_uid]
    _before.clear()


def _handlers():
    handlers = bpy.app.handlers
    return (handlers.save_pre, _saving), (handlers.save_post, _saved), (handlers.save_post_fail, _saved)


def register():
    for handlers, handler in _handlers():
        handlers.append(handler)


def unregister():
    for handlers, handler in _handlers():
        if handler in handlers:
            handlers.remove(handler)
