# SPDX-License-Identifier: Apache-2.0
"""Inside Blender, before a command: enable the add-on that drive.py installed, and draw a stroke and a mask.

The file worker.txt in the folder of the .blend has the path of the worker's Python.
"""

from pathlib import Path

import bpy

PACKAGE = "bl_ext.user_default.loopcore"
bpy.ops.preferences.addon_enable(module=PACKAGE)
worker = Path(bpy.data.filepath).with_name("worker.txt").read_text("utf-8")
bpy.context.preferences.addons[PACKAGE].preferences.python = worker
bpy.ops.loopcore.add_stroke(object_name="Plate", points="[[100, 180], [300, 180], [500, 180]]", speed=2.0)
bpy.ops.loopcore.paint_mask(object_name="Plate")
mask = bpy.data.images["Plate mask"]
mask.pixels.foreach_set([1.0] * len(mask.pixels))
mask.update()
