# SPDX-License-Identifier: GPL-3.0-or-later
"""While a mask is painted: no seam bleed, by which Blender paints over an image's edge onto the opposite one.

The setting of the scene is restored when Texture Paint mode ends, and in what is saved before that.
"""

from __future__ import annotations

import bpy

_EVERY_S = 0.5
# What the setting of each scene was, by the scene's name.
_before: dict[str, int] = {}


def register():
    bpy.app.handlers.save_pre.append(_restore_all)
    bpy.app.handlers.save_post.append(_stop_again)
    bpy.app.handlers.load_pre.append(_forget)


def unregister():
    _restore_all()
    _forget()
    for handlers, handler in (
        (bpy.app.handlers.save_pre, _restore_all),
        (bpy.app.handlers.save_post, _stop_again),
        (bpy.app.handlers.load_pre, _forget),
    ):
        if handler in handlers:
            handlers.remove(handler)


def stop(scene: bpy.types.Scene) -> None:
    """Turn seam bleed off until no object is painted on any more."""
    settings = scene.tool_settings.image_paint
    _before.setdefault(scene.name, settings.seam_bleed)
    settings.seam_bleed = 0
    if not bpy.app.timers.is_registered(_watch):
        bpy.app.timers.register(_watch, first_interval=_EVERY_S)


def _watch():
    if any(obj.mode == "TEXTURE_PAINT" for obj in bpy.data.objects):
        return _EVERY_S
    _restore_all()
    _before.clear()
    return None


@bpy.app.handlers.persistent
def _restore_all(*_arguments):
    for name, pixels in _before.items():
        if (scene := bpy.data.scenes.get(name)) is not None:
            scene.tool_settings.image_paint.seam_bleed = pixels


@bpy.app.handlers.persistent
def _stop_again(*_arguments):
    for name in _before:
        if (scene := bpy.data.scenes.get(name)) is not None:
            scene.tool_settings.image_paint.seam_bleed = 0


@bpy.app.handlers.persistent
def _forget(*_arguments):
    _before.clear()
    if bpy.app.timers.is_registered(_watch):
        bpy.app.timers.unregister(_watch)
