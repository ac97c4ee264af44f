# SPDX-License-Identifier: Apache-2.0
"""Inside Blender: install from the zip, and the whole workflow on a plane with a photograph.

python operators_script.py ZIP FOLDER
"""

import json
import sys
from pathlib import Path

import bpy
import inside

FRAMES, FIRST = 8, 1001
HINTS = inside.PHOTOGRAPH.with_name("hints.json")


def main(zip_path, folder):
    bpy.ops.wm.read_factory_settings(use_empty=True)
    package = inside.install(zip_path)
    plate = inside.photograph(folder)
    plane = inside.image_plane(plate)
    inside.camera_on(plane)
    node = next(n for n in plane.active_material.node_tree.nodes if n.type == "TEX_IMAGE")
    before = node_state(node)
    bpy.ops.wm.save_as_mainfile(filepath=str(folder / "shot.blend"))
    results = {"package": package, "before": before, "refused": refused(plane)}
    draw_hints(plane)
    bake(plane, folder, results)
    flow = folder / "flow maps"
    bpy.ops.loopcore.export_flow(object_name=plane.name, convention="blender", flow_folder=str(flow), frames=FRAMES)
    results["flow"] = names(flow)
    maps = folder / "maps"
    bpy.ops.loopcore.export_flow(object_name=plane.name, convention="stmap", flow_folder=str(maps), frames=24)
    results["maps"] = names(maps)
    bpy.ops.wm.save_mainfile()
    bpy.ops.wm.open_mainfile(filepath=str(folder / "shot.blend"))
    restore_and_preview(bpy.data.objects["Plate"], folder, results)
    uninstall(package)
    results["uninstalled"] = package not in bpy.context.preferences.addons
    inside.emit(results)


def draw_hints(plane):
    """Add the strokes of the example, an anchor, and a white mask."""
    hints = json.loads(HINTS.read_text("utf-8"))
    for stroke in hints["strokes"]:
        points = [[x * 320 / hints["size"][0], y * 180 / hints["size"][1]] for x, y in stroke["points"]]
        bpy.ops.loopcore.add_stroke(object_name=plane.name, points=json.dumps(points), speed=1.5)
    bpy.ops.loopcore.add_anchor(object_name=plane.name)
    inside.white_mask(plane)


def bake(plane, folder, results):
    """Bake twice, and render frames of the loop."""
    results["result"] = sorted(
        bpy.ops.loopcore.bake("EXEC_DEFAULT", object_name=plane.name, frames=FRAMES, first=FIRST)
    )
    results["message"] = plane.loopcore.message
    results["files"] = names(folder / "loops" / "shot" / plane.name)
    results["again"] = sorted(bpy.ops.loopcore.bake(object_name=plane.name, frames=FRAMES, first=FIRST))
    results["message again"] = plane.loopcore.message
    results["playing"] = node_state(node_of(plane))
    results["viewport"] = [shown_in_viewport(plane).filepath, names(folder / "loops" / "shot" / plane.name / "proxy")]
    for frame in (-3, 1, 5, 8, 9, 15):
        bpy.context.scene.frame_set(frame)
        inside.render(folder / f"render.{frame}.exr")
    bpy.context.scene.frame_set(4)
    inside.render(folder / "eevee.4.exr", "BLENDER_EEVEE")


def shown_in_viewport(plane):
    """Return the image that the viewport shows."""
    evaluated = plane.evaluated_get(bpy.context.evaluated_depsgraph_get())
    nodes = evaluated.data.materials[0].original.node_tree.nodes
    return next(n for n in nodes if n.type == "TEX_IMAGE").image


def restore_and_preview(plane, folder, results):
    """Render the loop, restore the still, and make and remove both previews."""
    bpy.context.scene.frame_set(5)
    inside.render(folder / "reloaded.5.exr")

    bpy.ops.loopcore.restore_still(object_name=plane.name)
    results["after"] = node_state(node_of(plane))
    results["modifiers after"] = len(plane.modifiers)
    inside.render(folder / "restored.exr")

    results["preview"] = sorted(bpy.ops.loopcore.preview(object_name=plane.name, frames=FRAMES))
    results["preview playing"] = [shown_in_viewport(plane).name, node_state(node_of(plane))["image"]]
    bpy.ops.loopcore.restore_still(object_name=plane.name)
    results["live"] = sorted(bpy.ops.loopcore.live_preview(object_name=plane.name, frames=FRAMES))
    bpy.context.scene.frame_set(3)
    inside.render(folder / "live.3.exr")
    bpy.ops.loopcore.restore_still(object_name=plane.name)
    results["after all"] = node_state(node_of(plane))


def uninstall(package):
    """Disable and enable the add-on twice, and uninstall it."""
    for _ in range(2):
        bpy.ops.preferences.addon_disable(module=package)
        assert not hasattr(bpy.types.Object, "loopcore") and "predict_motion" not in dir(bpy.ops.loopcore)
        bpy.ops.preferences.addon_enable(module=package)
    assert bpy.data.objects["Plate"].loopcore.message
    bpy.ops.extensions.package_uninstall(repo_index=0, pkg_id="loopcore")
    for index, _repo in enumerate(bpy.context.preferences.extensions.repos):
        bpy.ops.extensions.package_uninstall(repo_index=index, pkg_id="loopcore")


def refused(plane):
    """Return the errors of operators with invalid arguments."""
    answers = {}
    for name, operator, arguments in (
        ("no object", bpy.ops.loopcore.bake, {"object_name": "Nobody"}),
        ("no picture", bpy.ops.loopcore.bake, {"object_name": "Camera"}),
        ("bad points", bpy.ops.loopcore.add_stroke, {"object_name": plane.name, "points": "[1, 2]"}),
    ):
        try:
            operator(**arguments)
        except RuntimeError as error:
            answers[name] = str(error)
    return answers


def node_of(plane):
    return next(n for n in plane.active_material.node_tree.nodes if n.type == "TEX_IMAGE")


def node_state(node):
    user = node.image_user
    return {
        "image": bpy.path.basename(node.image.filepath), "source": node.image.source,
        "colorspace": node.image.colorspace_settings.name, "interpolation": node.interpolation,
        "user": [user.frame_duration, user.frame_start, user.frame_offset, user.use_cyclic, user.use_auto_refresh],
        "links": sorted(f"{link.to_node.name}.{link.to_socket.name}" for out in node.outputs for link in out.links),
        "nodes": len(node.id_data.nodes),
    }  # fmt: skip


def names(folder):
    return sorted(p.name for p in Path(folder).iterdir())


main(Path(sys.argv[1]), Path(sys.argv[2]))
