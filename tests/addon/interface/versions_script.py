# SPDX-License-Identifier: Apache-2.0
"""Inside Blender: versions of a file, planes that share a folder, moved projects, and unsaved files.

python versions_script.py ZIP FOLDER
"""

import hashlib
import importlib
import json
import shutil
import sys
from pathlib import Path

import bpy
import inside

SIZE = 64, 36


def main(zip_path, folder):
    bpy.ops.wm.read_factory_settings(use_empty=True)
    package = inside.install(zip_path)
    modules = {name: importlib.import_module(f"{package}.interface.{name}") for name in ("folders", "motion_path")}
    plane = plane_with_hints(folder)
    results = {"preview": unsaved_preview(plane, folder)}
    results["versions"] = versions(folder)
    results["shared"] = shared_folder(folder)
    results["names"] = names(modules["folders"])
    results["paths"] = moved(folder, modules["motion_path"])
    results["unsaved"] = unsaved(folder)
    inside.emit(results)


def plane_with_hints(folder, name="Plate"):
    plane = inside.image_plane(inside.photograph(folder, *SIZE), name)
    inside.camera_on(plane, SIZE)
    bpy.ops.loopcore.add_stroke(object_name=name, points=json.dumps([[20, 8], [24, 30]]), speed=1.0)
    inside.white_mask(plane)
    plane.loopcore.resolution = 100
    return plane


def bake(frames, **settings):
    """Bake "Plate"; returns the message, or the error."""
    try:
        bpy.ops.loopcore.bake(object_name="Plate", frames=frames, **settings)
    except RuntimeError as error:
        return f"{error}"
    return bpy.data.objects["Plate"].loopcore.message


def digests(folder):
    """Return the hash of each frame and proxy in a folder."""
    found = [p for p in sorted(folder.rglob("Plate_loop.*")) if p.is_file()]
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in found}


def node_of(plane):
    return next(n for n in plane.active_material.node_tree.nodes if n.type == "TEX_IMAGE")


def viewport_image(plane):
    mesh = plane.evaluated_get(bpy.context.evaluated_depsgraph_get()).data
    nodes = mesh.materials[0].original.node_tree.nodes
    return next(n for n in nodes if n.type == "TEX_IMAGE").image.name


def unsaved_preview(plane, folder):
    """A preview plays in the viewport, and is in no render."""
    before = node_of(plane).image.name
    inside.render(folder / "still.exr")
    bpy.ops.loopcore.preview(object_name="Plate", frames=4)
    inside.render(folder / "previewed.exr")
    seen = {"message": plane.loopcore.message, "viewport": viewport_image(plane)}
    seen["material"] = [before, node_of(plane).image.name]
    bpy.ops.loopcore.restore_still(object_name="Plate")
    seen["restored"] = [viewport_image(plane), len(plane.modifiers), "loopcore_playback_speed" in plane]
    return seen


def versions(folder):
    """Bake 6 frames, save as a new version, change a stroke, bake 4: the first version keeps its 6."""
    first, second = folder / "shot_v001.blend", folder / "shot_v002.blend"
    bpy.ops.wm.save_as_mainfile(filepath=str(first))
    seen = {"first": bake(6)}
    bpy.ops.wm.save_mainfile()
    place = folder / "loops" / "shot_v001" / "Plate"
    before = digests(place)
    bpy.ops.wm.save_as_mainfile(filepath=str(second))
    bpy.data.objects["Plate Stroke"]["loopcore_speed"] = 2.5
    seen["second"] = bake(4)
    bpy.ops.wm.save_mainfile()
    bpy.ops.wm.open_mainfile(filepath=str(first))
    node = node_of(bpy.data.objects["Plate"])
    seen["kept"] = before == digests(place)
    seen["files"] = [sorted(before), sorted(digests(folder / "loops" / "shot_v002" / "Plate"))]
    seen["plays"] = [bpy.path.abspath(node.image.filepath), node.image_user.frame_duration]
    bpy.context.scene.frame_set(6)
    inside.render(folder / "v001.6.exr")
    return seen


def shared_folder(folder):
    """A folder that another version owns is refused, taken over, and cleared of a longer loop's frames."""
    plane, place = bpy.data.objects["Plate"], folder / "loops" / "Plate"
    plane.loopcore.folder = "//loops/{object}"
    seen = {"mine": bake(6)}
    before = digests(place)
    bpy.ops.wm.save_as_mainfile(filepath=str(folder / "shot_v003.blend"))
    seen["refused"] = bake(4)
    seen["kept"] = before == digests(place)
    bpy.ops.loopcore.take_over_folder(object_name="Plate")
    seen["taken"] = bake(4)
    strangers = [place / "Plate_loop.1010.exr", place / "Plate_loop.1006.txt", place / "proxy" / "Plate_loop.1011.jpg"]
    shutil.copy(folder / "still.exr", strangers[0])
    strangers[1].write_text("notes")
    shutil.copy(inside.PHOTOGRAPH, strangers[2])
    seen["left"] = bpy.data.objects["Plate"].loopcore.leftovers
    bpy.ops.loopcore.remove_leftovers(object_name="Plate")
    seen["removed"] = sorted(digests(place))
    seen["strangers"] = [p.is_file() for p in strangers]
    (place / "loopcore_owner.json").unlink()
    seen["unrecorded"] = bake(4)
    plane.loopcore.property_unset("folder")
    return seen


def names(folders):
    """Folders of names that differ only in signs."""
    objects = [bpy.data.objects.new(name, None) for name in ("a.b", "a b", "a_b", "a/b", "a:b", "con", "a.", "{blend}")]
    places = [folders.expanded("/tmp/{blend}/{object}", obj) for obj in objects]
    seen = {"places": [p.as_posix() for p in places], "version": folders.expanded("//{version}", objects[0]).name}
    bpy.ops.wm.save_as_mainfile(filepath=str(Path(bpy.data.filepath).with_name("final.blend")))
    try:
        folders.expanded("//{version}", objects[0])
    except RuntimeError as error:
        seen["no version"] = str(error)
    return seen


def moved(folder, motion_path):
    """The motion is found after a save elsewhere, beside a copy, and in a moved project; a missing one is noticed."""
    bpy.ops.wm.open_mainfile(filepath=str(folder / "shot_v002.blend"))
    state = bpy.data.objects["Plate"].loopcore
    file = Path(bpy.path.abspath(state.motion))
    seen = {"stored": state.motion}
    state.motion = str(file)  # as older versions stored it
    sub = folder / "sub"
    sub.mkdir()
    bpy.ops.wm.save_as_mainfile(filepath=str(sub / "copy.blend"), copy=True)
    seen["beside a copy"] = state.motion == str(file)
    bpy.ops.wm.save_as_mainfile(filepath=str(sub / "elsewhere.blend"))
    seen["elsewhere"] = [state.motion, Path(bpy.path.abspath(state.motion)).samefile(file)]
    shutil.copytree(folder, folder.with_name("moved"), dirs_exist_ok=True)
    for blend in ("shot_v002.blend", "sub/copy.blend"):
        bpy.ops.wm.open_mainfile(filepath=str(folder.with_name("moved") / blend))
        plane = bpy.data.objects["Plate"]
        found = Path(bpy.path.abspath(plane.loopcore.motion))
        seen[blend] = [found.is_relative_to(folder.with_name("moved")), motion_path.missing(plane)]
    found.unlink()
    seen["missing"] = motion_path.missing(plane)
    return seen


def unsaved(folder):
    """The frames of an unsaved file belong to it, and after the first save to the saved one."""
    place, seen = str(folder / "common"), {}
    for run in ("first", "other"):
        bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=False)
        plane_with_hints(folder)
        seen[run] = bake(2, folder=place)
        if run == "first":
            seen["again"] = bake(2, folder=place)
            bpy.ops.wm.save_as_mainfile(filepath=str(folder / "named.blend"))
            seen["saved"] = bake(2, folder=place)
    return seen


main(sys.argv[1], Path(sys.argv[2]))
