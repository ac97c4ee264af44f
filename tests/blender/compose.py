# SPDX-License-Identifier: Apache-2.0
"""Runs inside Blender's Python: composites flow maps and renders a Vector pass, as test_flowmap_blender.py asks.

python compose.py FOLDER    reads FOLDER/jobs.json, writes an EXR a job
"""

import json
import os
import sys
import tempfile
from pathlib import Path

# Before bpy is imported: it would use, and write, the user's own settings.
os.environ["BLENDER_USER_RESOURCES"] = tempfile.mkdtemp()
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "examples" / "blender"))

import bpy  # noqa: E402
import stmap_group as group  # noqa: E402


def main():
    folder = Path(sys.argv[1])
    for name, job in json.loads((folder / "jobs.json").read_text("utf-8")).items():
        scene = fresh_scene(*job.get("size", (64, 64)))
        path = str(folder / f"{name}.{bpy.app.version[0]}{bpy.app.version[1]}.exr")
        if job["kind"] == "vector":
            vector_pass(scene, path, *job["pixels"])
            continue
        if job["kind"] == "script":
            scripted(path, job)
            continue
        tree = group.compositor_tree(scene)
        tree.nodes.clear()
        group.show(tree, SHOWN[job["kind"]](tree, job))
        scene.frame_set(job.get("frame", 1))
        save_as(scene, path, "OPEN_EXR")
        bpy.ops.render.render(write_still=True)


def fresh_scene(width, height):
    bpy.ops.wm.read_factory_settings(use_empty=True)
    scene = bpy.context.scene
    scene.render.resolution_x, scene.render.resolution_y, scene.render.resolution_percentage = width, height, 100
    if hasattr(scene.render, "compositor_device"):
        scene.render.compositor_device = "CPU"
    scene.view_settings.view_transform = "Raw"
    return scene


def save_as(scene, path, kind):
    settings = scene.render.image_settings
    if hasattr(settings, "media_type"):
        settings.media_type = "MULTI_LAYER_IMAGE" if kind.endswith("MULTILAYER") else "IMAGE"
    settings.file_format, settings.color_depth = kind, "32"
    scene.render.filepath = path


def rebuilt(tree, job):
    """The loop, by the group that the examples hold."""
    return group.add_loop(tree, job["still"], job["maps"], job["first"], job["frames"])


def scripted(path, job):
    """The scene that the example sets up as a script, from relative paths: saved, opened again and rendered."""
    os.chdir(job["folder"])
    arguments = [Path(job["still"]).name, Path(job["maps"]).name, str(job["first"]), str(job["frames"])]
    sys.argv = ["blender", "-b", "-P", group.__file__, "--", *arguments]
    group.main()
    os.chdir("/")
    bpy.ops.wm.open_mainfile(filepath=f"{job['maps']}_loop.blend")
    scene = bpy.context.scene
    assert (scene.frame_start, scene.frame_end) == (1, job["frames"])
    if hasattr(scene.render, "compositor_device"):
        scene.render.compositor_device = "CPU"
    scene.view_settings.view_transform = "Raw"
    scene.frame_set(job["frame"])
    save_as(scene, path, "OPEN_EXR")
    bpy.ops.render.render(write_still=True)


def mapped(tree, job):
    """A still through Map UV."""
    still = group.add_image(tree, job["still"])
    return group._map_uv(tree, still.outputs[0], group.add_image(tree, job["map"]).outputs[0], (0, 0))


def displaced(tree, job):
    """A still through Displace, by one layer of a file."""
    node = tree.nodes.new("CompositorNodeDisplace")
    tree.links.new(group.add_image(tree, job["still"]).outputs[0], node.inputs["Image"])
    tree.links.new(socket(group.add_image(tree, job["map"]), job["layer"]), node.inputs[1])
    for name in ("X Scale", "Y Scale"):
        if name in node.inputs:
            node.inputs[name].default_value = 1
    return node.outputs[0]


def layer(tree, job):
    """One layer of a file as it is."""
    return socket(group.add_image(tree, job["map"]), job["layer"])


def socket(node, name):
    if name not in node.outputs:
        raise SystemExit(f"no output {name} among {[s.name for s in node.outputs]}")
    return node.outputs[name]


SHOWN = {"rebuilt": rebuilt, "mapped": mapped, "displaced": displaced, "layer": layer}


def vector_pass(scene, path, right, up):
    """Render a plane that fills the view and moves by so many pixels a frame, with Cycles' Vector pass."""
    bpy.ops.mesh.primitive_plane_add(size=10)
    plane = bpy.context.object
    unit = 4 / scene.render.resolution_x
    for frame in (0, 4):
        plane.location = ((frame - 2) * right * unit, (frame - 2) * up * unit, 0)
        plane.keyframe_insert("location", frame=frame)
    for curve in curves(plane.animation_data.action):
        for point in curve.keyframe_points:
            point.interpolation = "LINEAR"
    bpy.ops.object.camera_add(location=(0, 0, 5))
    scene.camera = bpy.context.object
    scene.camera.data.type, scene.camera.data.ortho_scale = "ORTHO", 4
    scene.render.engine, scene.cycles.samples, scene.render.use_motion_blur = "CYCLES", 1, False
    bpy.context.view_layer.use_pass_vector = True
    scene.frame_set(2)
    save_as(scene, path, "OPEN_EXR_MULTILAYER")
    bpy.ops.render.render(write_still=True)


def curves(action):
    """The action's curves: 5.0 keeps them in layers, strips and bags."""
    if hasattr(action, "fcurves"):
        return action.fcurves
    return [c for layer in action.layers for strip in layer.strips for bag in strip.channelbags for c in bag.fcurves]


if __name__ == "__main__":
    main()
