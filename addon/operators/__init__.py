# SPDX-License-Identifier: GPL-3.0-or-later
"""All that the add-on's buttons do, and scripts with them: ``bpy.ops.loopcore.*``."""

import bpy

from . import drawing, jobs, playing

CLASSES = (*jobs.CLASSES, *drawing.CLASSES, *playing.CLASSES)


def register():
    for cls in CLASSES:
        bpy.utils.register_class(cls)


def unregister():
    for cls in reversed(CLASSES):
        bpy.utils.unregister_class(cls)
