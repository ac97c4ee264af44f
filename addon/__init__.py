# SPDX-License-Identifier: GPL-3.0-or-later
"""Loopcore for Blender: an image plane's still becomes a seamless loop, from strokes drawn on it.

Blender's process only draws, asks and wires; the work is done by loopcore in a worker process (`engine`).
"""

import importlib

# Imported when registered: the engine knows nothing of Blender, and can be used and tested without it.
MODULES = ("preferences", "properties", "runtime", "viewport_proxy", "operators", "panels", "overlay", "commands")


def register():
    """All or nothing: what was registered before a module failed is taken back."""
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
    """In the opposite order; what runs is ended first."""
    for name in reversed(MODULES):
        importlib.import_module(f".{name}", __package__).unregister()
