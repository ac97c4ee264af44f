# SPDX-License-Identifier: GPL-3.0-or-later
"""Operators on the files that were written."""

import bpy

from ...errors import Refused
from ..properties import Settings
from .base import OnObject


class LOOPCORE_OT_open_folder(OnObject, bpy.types.Operator):
    """Show the output folder in the system's file browser"""

    bl_idname, bl_label = "loopcore.open_folder", "Open Output Folder"
    object_mode_only = False

    def act(self, context, obj):
        folder = Settings.of(obj).folder_of(obj)
        if folder is None or not folder.is_dir():
            raise Refused("There is no output folder yet: bake first")
        bpy.ops.wm.path_open(filepath=str(folder))


CLASSES = (LOOPCORE_OT_open_folder,)
