# SPDX-License-Identifier: Apache-2.0
"""Inside Blender: stills in formats that only Blender reads, layers of an EXR, linked and overridden planes.

python sources_script.py ZIP FOLDER

FOLDER has the pictures, whose values the test knows.
"""

import importlib
import json
import sys
from pathlib import Path

import bpy
import inside
import numpy as np


def main(zip_path, folder):
    bpy.ops.wm.read_factory_settings(use_empty=True)
    package = inside.install(zip_path)
    image, still = (importlib.import_module(f"{package}.plane.{name}") for name in ("image", "still"))
    results = {"formats": formats(folder, image, still), "layers": layers(folder, image)}
    bake_deep(folder, results)
    results["linked"] = linked(folder)
    results["override"] = override(folder)
    inside.emit(results)


def formats(folder, image, still):
    """Write the still of each picture for the worker, and the pixels that Blender has."""
    seen = {}
    for path in sorted((folder / "pictures").iterdir()):
        plane = inside.image_plane(path, path.stem)
        found = image.find_plane_image(plane)
        written = still.still_file(found, folder / "written" / path.stem)
        if written.write is not None:
            written.write()
        np.save(folder / f"{path.stem}.npy", still.pixels_of(found.image)[::-1])
        seen[path.stem] = {**written.params, "float": found.image.is_float, "own": written.path == path}
        bpy.data.objects.remove(plane)
    return seen


def layers(folder, image):
    """The layers of an EXR: their names, the default one, and one that is chosen."""
    bpy.ops.wm.save_as_mainfile(filepath=str(folder / "layers.blend"))
    plane = inside.image_plane(folder / "layers.exr", "Plate")
    found = image.find_plane_image(plane)
    seen = {"names": [layer.name for layer in found.layers], "size": found.size, "default": found.layer}
    hints("Plate")
    for chosen in ("", "Fg.Diffuse"):
        plane.loopcore.layer = chosen
        place = f"//loops/{chosen or 'default'}"
        bpy.ops.loopcore.bake(object_name="Plate", frames=2, proxy=False, folder=place, passes=bool(chosen))
        seen[place] = plane.loopcore.message
    bpy.ops.loopcore.bake(object_name="Plate", frames=2, resolution=50, folder="//loops/half", passes=True)
    seen["half"] = plane.loopcore.message
    bpy.data.objects.remove(plane)
    return seen


def hints(name):
    bpy.ops.loopcore.add_stroke(object_name=name, points=json.dumps([[4, 4], [30, 20]]), speed=0.5)
    mask = bpy.data.images.new(f"{name} white", 8, 4)
    mask.pixels.foreach_set([1.0] * len(mask.pixels))
    bpy.ops.loopcore.set_mask(object_name=name, source=f"IMAGE {mask.name}")


def bake_deep(folder, results):
    """Bake an opaque PNG of 16 bits, and render its loop."""
    plane = inside.image_plane(folder / "pictures" / "opaque16.png", "Deep")
    inside.camera_on(plane, (40, 24))
    inside.render(folder / "deep still.exr")
    hints("Deep")
    bpy.ops.loopcore.bake(object_name="Deep", frames=4, proxy=False)
    inside.render(folder / "deep loop.exr")
    results["deep"] = plane.loopcore.message


def error_of(operator, **arguments):
    try:
        operator(**arguments)
    except RuntimeError as error:
        return str(error)
    return ""


def asset(folder):
    """Save a plane in a collection as a library, and link the collection into an empty file."""
    bpy.ops.wm.read_homefile(use_empty=True)
    plane = inside.image_plane(inside.photograph(folder, 64, 36), "Plate")
    collection = bpy.data.collections.new("Asset")
    bpy.context.scene.collection.children.link(collection)
    collection.objects.link(plane)
    bpy.context.scene.collection.objects.unlink(plane)
    bpy.ops.wm.save_as_mainfile(filepath=str(folder / "library.blend"))
    bpy.ops.wm.read_homefile(use_empty=True)
    with bpy.data.libraries.load(str(folder / "library.blend"), link=True) as (_, wanted):
        wanted.collections = ["Asset"]
    bpy.context.scene.collection.children.link(wanted.collections[0])
    return wanted.collections[0]


def linked(folder):
    """Operators on a linked plane are refused, and leave nothing behind."""
    asset(folder)
    bpy.ops.wm.save_as_mainfile(filepath=str(folder / "linked.blend"))
    before = names()
    ops = bpy.ops.loopcore
    seen = {name: error_of(getattr(ops, name), object_name="Plate")
            for name in ("add_stroke", "add_anchor", "paint_mask", "predict_motion", "preview", "bake", "restore_still",
                         "export_flow")}  # fmt: skip
    return {"errors": seen, "same": names() == before, "folder": (folder / "loops" / "linked").exists()}


def names():
    kinds = (bpy.data.objects, bpy.data.curves, bpy.data.images, bpy.data.materials, bpy.data.node_groups)
    return [sorted(block.name for block in kind) for kind in kinds]


def override(folder):
    """An overridden plane is drawn on, baked, saved and opened again."""
    asset(folder).override_hierarchy_create(bpy.context.scene, bpy.context.view_layer)
    plane = overridden()
    inside.camera_on(plane, (64, 36))
    bpy.ops.wm.save_as_mainfile(filepath=str(folder / "override.blend"))
    seen = {"mask": error_of(bpy.ops.loopcore.paint_mask, object_name=plane.name)}
    before = names()[0]
    hints(plane.name)
    bpy.ops.loopcore.add_anchor(object_name=plane.name)
    seen["strokes"] = [set(names()[0]) - set(before), [child.name for child in plane.children]]
    seen["strokes"] = [sorted(seen["strokes"][0]), sorted(seen["strokes"][1])]
    plane.loopcore.frames, plane.loopcore.method = 4, "SPLAT"
    seen["bake"] = sorted(bpy.ops.loopcore.bake(object_name=plane.name))
    bpy.ops.loopcore.set_playback(object_name=plane.name, speed=1.0, offset=1.0)
    seen["name"] = plane.name
    bpy.ops.wm.save_mainfile()
    bpy.ops.wm.open_mainfile(filepath=str(folder / "override.blend"))
    plane = overridden()
    state = plane.loopcore
    seen["after"] = [state.frames, state.method, state.speed, state.motion, plane["loopcore_mask"].name]
    bpy.context.scene.frame_set(2)
    inside.render(folder / "override.exr")
    bpy.ops.loopcore.restore_still(object_name=plane.name)
    node = next(n for n in plane.material_slots[0].material.node_tree.nodes if n.type == "TEX_IMAGE")
    seen["restored"] = [node.image.name, plane.material_slots[0].link, len(plane.modifiers)]
    return seen


def overridden():
    return next(obj for obj in bpy.data.objects if obj.override_library and obj.type == "MESH")


main(sys.argv[1], Path(sys.argv[2]))
