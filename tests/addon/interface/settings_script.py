# SPDX-License-Identifier: Apache-2.0
"""Inside Blender: cycles and steadiness, from the object's properties to the recipe of the baked frames.

python settings_script.py ZIP FOLDER
"""

import json
import sys
from importlib import import_module
from pathlib import Path

import bpy
import inside

NAMES = ("auto_looks", "cycles", "steady")


def main(zip_path, folder):
    bpy.ops.wm.read_factory_settings(use_empty=True)
    package = inside.install(zip_path)
    properties = import_module(f"{package}.interface.properties")
    plane = inside.image_plane(inside.photograph(folder, 160, 90))
    blend = folder / "shot.blend"
    bpy.ops.wm.save_as_mainfile(filepath=str(blend))
    bpy.ops.loopcore.add_stroke(object_name="Plate", points="[[20, 45], [140, 45]]", speed=2.0)
    inside.white_mask(plane)
    results = {"default": values(plane), "params": params(properties, plane)}
    results["baked"] = baked(plane, folder)
    results["refused"] = [error_of(operator, frames=6, cycles=4) for operator in
                          (bpy.ops.loopcore.bake, bpy.ops.loopcore.preview, bpy.ops.loopcore.live_preview)]  # fmt: skip
    bpy.ops.loopcore.live_preview(object_name="Plate", frames=8, cycles=2)
    results["live"] = plane.loopcore.message
    results["clamped"] = clamped(plane)
    results["undo"] = undone()
    plane = bpy.data.objects["Plate"]
    set_values(plane, False, 4, 0.25)
    bpy.ops.wm.save_mainfile()
    set_values(plane, True, 1, 0.0)
    bpy.ops.wm.open_mainfile(filepath=str(blend))
    results["loaded"] = values(bpy.data.objects["Plate"])
    inside.emit(results)


def values(plane):
    return [getattr(plane.loopcore, name) for name in NAMES]


def set_values(plane, *wanted):
    for name, value in zip(NAMES, wanted, strict=True):
        setattr(plane.loopcore, name, value)


def params(properties, plane):
    """Return the worker's cycles and steady for an object's settings, with and without overrides."""
    out = []
    for own, overrides in (
        ((True, 4, 0.25), {}),
        ((True, 4, 0.25), {"cycles": 2}),
        ((True, 4, 0.25), {"steady": 1.0}),
        ((True, 4, 0.25), {"auto_looks": False}),
        ((False, 3, 0.3), {}),
        ((False, 3, 0.3), {"steady": "auto"}),
        ((False, 3, 0.3), {"auto_looks": True, "cycles": 5}),
    ):
        set_values(plane, *own)
        made = properties.Settings.of(plane, **overrides).to_params()
        out.append([made["cycles"], made["steady"]])
    set_values(plane, True, 1, 0.0)
    return out


def baked(plane, folder):
    """Bake with settings of the object and of the operator; returns the recipes' cycles and steady, and the frames."""
    out = []
    for own, given in (
        ((True, 1, 0.0), {}),
        ((False, 1, 0.0), {}),
        ((False, 3, 0.5), {}),
        ((True, 1, 0.0), {"cycles": 3, "steady": 0.5}),
        ((True, 1, 0.0), {"cycles": 3}),
    ):
        set_values(plane, *own)
        bpy.ops.loopcore.bake(object_name="Plate", frames=6, format="EXR_FLOAT", proxy=False, wire=False, **given)
        place = folder / "loops" / "shot" / "Plate"
        recipe = json.loads((place / "recipe.json").read_text("utf-8"))["recipe"]
        (place / "Plate_loop.1003.exr").replace(folder / f"{len(out)}.exr")
        out.append([recipe["cycles"], recipe["steady"], plane.loopcore.message.split(":")[0]])
    return out


def error_of(operator, **settings):
    try:
        return sorted(operator(object_name="Plate", **settings))
    except RuntimeError as error:
        return str(error)


def clamped(plane):
    """Return what values out of range are clamped to."""
    set_values(plane, False, 0, 2.0)
    high = values(plane)
    set_values(plane, False, 100000, -1.0)
    return [high, values(plane)]


def undone():
    """Return the settings as they were, changed, undone and redone."""
    out = []
    set_values(bpy.data.objects["Plate"], True, 1, 0.0)
    bpy.ops.ed.undo_push(message="before")
    out.append(values(bpy.data.objects["Plate"]))
    set_values(bpy.data.objects["Plate"], False, 5, 0.75)
    bpy.ops.ed.undo_push(message="settings")
    out.append(values(bpy.data.objects["Plate"]))
    for step in (bpy.ops.ed.undo, bpy.ops.ed.redo):
        step()
        out.append(values(bpy.data.objects["Plate"]))
    return out


main(Path(sys.argv[1]), Path(sys.argv[2]))
