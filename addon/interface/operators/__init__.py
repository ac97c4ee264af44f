# SPDX-License-Identifier: GPL-3.0-or-later
"""The operators, ``bpy.ops.loopcore.*``."""

import bpy

from . import areas, drawing, jobs, output, playing, pointing, setup

CLASSES = (*setup.CLASSES, *jobs.CLASSES, *drawing.CLASSES, *playing.CLASSES, *pointing.CLASSES, *areas.CLASSES,
           *output.CLASSES)  # fmt: skip


def register():
    for cls in CLASSES:
        bpy.utils.register_class(cls)


def unregister():
    for cls in reversed(CLASSES):
        bpy.utils.unregister_class(cls)
