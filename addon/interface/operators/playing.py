# SPDX-License-Identifier: GPL-3.0-or-later
"""Operators for the still, the playback of the loop, and the output folder."""

import bpy
from bpy.props import FloatProperty, StringProperty

from ...playing import image_sequence
from .. import actions
from .base import OnObject, no_task


class LOOPCORE_OT_restore_still(OnObject, bpy.types.Operator):
    """Put the still back as it was before. Frames on disk and strokes are kept"""

    bl_idname, bl_label, bl_options = "loopcore.restore_still", "Restore Still", {"REGISTER", "UNDO"}

    @classmethod
    def poll(cls, context):
        return super().poll(context) and no_task(cls)

    def act(self, context, obj):
        restored = actions.restore(obj)
        obj.loopcore.message = "The still is back" if restored else "The still is shown already"
        obj.loopcore.failed = False


class LOOPCORE_OT_set_playback(OnObject, bpy.types.Operator):
    """Play this plane's loop at a speed and offset of its own, whatever other planes with the same loop do"""

    bl_idname, bl_label, bl_options = "loopcore.set_playback", "Own Speed and Offset", {"REGISTER", "UNDO"}

    speed: FloatProperty(name="Speed", description="How fast the loop plays; negative: backward", default=1.0)
    offset: FloatProperty(name="Offset", description="Frames by which the loop is ahead", default=0.0)

    def act(self, context, obj):
        image_sequence.set_playback(obj, speed=self.speed, offset=self.offset)


class LOOPCORE_OT_choose_folder(OnObject, bpy.types.Operator):
    """Choose where frames and motion go"""

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


CLASSES = (LOOPCORE_OT_restore_still, LOOPCORE_OT_set_playback, LOOPCORE_OT_choose_folder)
