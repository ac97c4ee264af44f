# SPDX-License-Identifier: GPL-3.0-or-later
"""Operators that restore the still, set the loop's playback, and choose the output folder."""

import bpy
from bpy.props import FloatProperty, StringProperty

from ...errors import Refused
from ...playing import playback, viewport
from ...texts import CONTEXT, rpt_
from .. import actions
from ..properties import Settings
from .base import OnObject, no_task


class LOOPCORE_OT_restore_still(OnObject, bpy.types.Operator):
    """Restore the still and the materials' nodes, wherever the loop plays. Frames on disk and strokes are kept"""

    bl_idname, bl_label, bl_options = "loopcore.restore_still", "Restore Still", {"REGISTER", "UNDO"}

    @classmethod
    def poll(cls, context):
        return super().poll(context) and no_task(cls)

    def act(self, context, obj):
        restored = actions.restore(obj)
        obj.loopcore.message, obj.loopcore.failed = "The still is already shown", False
        for changed in restored:
            changed.loopcore.message, changed.loopcore.failed = "Still restored", False


class LOOPCORE_OT_set_playback(OnObject, bpy.types.Operator):
    """Make the loop's speed and offset independent of the other objects that play it: a shared material is copied"""

    bl_idname, bl_label, bl_options = "loopcore.set_playback", "Make Playback Single-User", {"REGISTER", "UNDO"}

    speed: FloatProperty(
        name="Speed",
        description="Playback speed of the loop. Negative values play it backward",
        default=1.0,
        translation_context=CONTEXT,
    )
    offset: FloatProperty(
        name="Offset",
        description="Number of frames added to the position in the loop",
        default=0.0,
        translation_context=CONTEXT,
    )

    def act(self, context, obj):
        if playback.set_playback(obj, speed=self.speed, offset=self.offset):
            obj.loopcore.play_on = "OBJECT"


class LOOPCORE_OT_update_proxy(OnObject, bpy.types.Operator):
    """Show the proxy frames in the viewport again, after nodes of the material were added, removed or connected"""

    bl_idname, bl_label, bl_options = "loopcore.update_proxy", "Update Viewport Proxy", {"REGISTER", "UNDO"}

    def act(self, context, obj):
        if not viewport.update(obj):
            raise Refused(rpt_('"{name}" plays no proxy frames: bake with Viewport Proxy').format(name=obj.name))


class LOOPCORE_OT_take_over_folder(OnObject, bpy.types.Operator):
    """Let this plane write to its output folder, and replace frames there, although another plane or file does"""

    bl_idname, bl_label, bl_options = "loopcore.take_over_folder", "Take Over Folder", {"INTERNAL"}

    def invoke(self, context, event):
        return context.window_manager.invoke_confirm(self, event)

    def act(self, context, obj):
        actions.take_over(obj, Settings.of(obj))


class LOOPCORE_OT_remove_leftovers(OnObject, bpy.types.Operator):
    """Delete the frames that an earlier, longer loop left in the output folder. Other files are kept"""

    bl_idname, bl_label, bl_options = "loopcore.remove_leftovers", "Remove Left-Over Frames", {"INTERNAL"}

    @classmethod
    def poll(cls, context):
        return super().poll(context) and no_task(cls)

    def invoke(self, context, event):
        return context.window_manager.invoke_confirm(self, event)

    def act(self, context, obj):
        obj.loopcore.message = actions.remove_leftovers(obj, Settings.of(obj))
        obj.loopcore.failed = False


class LOOPCORE_OT_choose_folder(OnObject, bpy.types.Operator):
    """Choose the output folder"""

    bl_idname, bl_label, bl_options = "loopcore.choose_folder", "Choose Folder", {"UNDO", "INTERNAL"}

    directory: StringProperty(subtype="DIR_PATH", options={"SKIP_SAVE"})
    filter_folder: bpy.props.BoolProperty(default=True, options={"HIDDEN"})

    def invoke(self, context, event):
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def act(self, context, obj):
        folder = self.directory
        if bpy.data.filepath and context.preferences.filepaths.use_relative_paths:
            try:
                folder = bpy.path.relpath(folder)
            except ValueError:
                pass  # Another drive.
        obj.loopcore.folder = folder


CLASSES = (
    LOOPCORE_OT_restore_still,
    LOOPCORE_OT_set_playback,
    LOOPCORE_OT_update_proxy,
    LOOPCORE_OT_take_over_folder,
    LOOPCORE_OT_remove_leftovers,
    LOOPCORE_OT_choose_folder,
)
