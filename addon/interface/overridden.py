# SPDX-License-Identifier: GPL-3.0-or-later
"""Keep the settings of library overrides, whose groups of properties Blender 5 does not save.

Before a save they are stored in a custom property of the scene, as JSON, and set again when the file is opened.
"""

from __future__ import annotations

import json

import bpy

from ..drawing.mask import MASK

STORE = "loopcore_overrides"


@bpy.app.handlers.persistent
def _saving(*_arguments) -> None:
    scene = next((scene for scene in bpy.data.scenes if not scene.library), None)
    states = {obj.name: _state(obj) for obj in bpy.data.objects if obj.override_library}
    text = json.dumps({name: state for name, state in states.items() if state}, sort_keys=True)
    if scene is not None and scene.get(STORE, "{}") != text:
        scene[STORE] = text


@bpy.app.handlers.persistent
def _loaded(*_arguments) -> None:
    texts = [scene[STORE] for scene in bpy.data.scenes if not scene.library and STORE in scene]
    for name, state in (json.loads(texts[0]) if texts else {}).items():
        obj = next((o for o in bpy.data.objects if o.name == name and o.override_library), None)
        if obj is not None:
            _set(obj, state)


def _state(obj):
    """Return the settings of an object that are not defaults, and its mask."""
    settings = obj.loopcore
    names = [p.identifier for p in settings.bl_rna.properties if p.identifier not in ("rna_type", "name")]
    state = {name: getattr(settings, name) for name in names if settings.is_property_set(name)}
    source = obj.get(MASK)
    if source:
        state[MASK] = ["ATTRIBUTE", source] if isinstance(source, str) else ["IMAGE", source.name]
    return state


def _set(obj, state):
    kind, name = state.pop(MASK, (None, None))
    source = bpy.data.images.get(name) if kind == "IMAGE" else name
    if source is not None:
        obj[MASK] = source
    for name, value in state.items():
        try:
            setattr(obj.loopcore, name, value)
        except (AttributeError, TypeError):
            continue  # a setting of another version


def register():
    bpy.app.handlers.save_pre.append(_saving)
    bpy.app.handlers.load_post.append(_loaded)


def unregister():
    for handlers, handler in ((bpy.app.handlers.save_pre, _saving), (bpy.app.handlers.load_post, _loaded)):
        if handler in handlers:
            handlers.remove(handler)
