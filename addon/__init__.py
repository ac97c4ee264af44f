# SPDX-License-Identifier: GPL-3.0-or-later
"""Loopcore for Blender: turn the still on an image plane into a seamless loop, guided by strokes drawn on it.

Blender's process holds the interface and the nodes; the images are computed by loopcore in a worker process.
"""

import importlib

# Imported in register(), so that the modules that do not use bpy can be imported and tested without it.
MODULES = (
    "engine.installation", "interface.preferences", "interface.properties", "interface.folders",
    "interface.motion_path", "interface.overridden", "engine.runtime", "drawing.mask", "drawing.seam_bleed",
    "playing.viewport", "interface.operators", "interface.panels", "drawing.overlay", "drawing.marks",
    "drawing.mask_view", "interface.drafts", "interface.tools", "interface.commands",
)  # fmt: skip


def register():
    """Register every module; if one fails, unregister those before it."""
    done = []
    try:
        for name in MODULES:
            module = importlib.import_module(f".{name}", __package__)
            module.register()
            done.append(module)
    except Exception:
        for module in reversed(done):
            module.unregister()
        raise


def unregister():
    """Unregister every module in reverse order; running tasks are stopped with the engine."""
    for name in reversed(MODULES):
        importlib.import_module(f".{name}", __package__).unregister()
