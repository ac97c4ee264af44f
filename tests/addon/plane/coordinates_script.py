# SPDX-License-Identifier: Apache-2.0
"""Inside Blender: where a tilted plane shows each pixel by several texture coordinates, and which are refused."""

import sys
from pathlib import Path

import bpy
import inside
import numpy as np
import pictures

from addon.errors import PlaneError
from addon.plane.coordinates import refusal
from addon.plane.image import find_plane_image
from addon.plane.map import PlaneMap

FOLDER = Path(sys.argv[1])
WIDTH, HEIGHT = 64, 48
SPOTS = [(9, 8), (40, 12), (14, 36), (52, 40), (31, 25)]


def scene(kind, moved=False):
    """A tilted plane before a perspective camera; its texture contains each pixel's position."""
    bpy.ops.wm.read_factory_settings(use_empty=True)
    path = FOLDER / "picture.exr"
    if not path.exists():
        y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
        pictures.save(path, np.stack([x / WIDTH, y / HEIGHT, x * 0], axis=-1))
    obj = inside.image_plane(path, size=(5, 4))
    obj.rotation_euler = (1.1, 0.3, 0.7)
    texture = find_plane_image(obj).node
    texture.image.colorspace_settings.name, texture.interpolation = "Non-Color", "Linear"
    texture.extension = "EXTEND"
    camera = inside.camera_on(obj, (WIDTH, HEIGHT))
    camera.data.type, camera.data.lens, camera.data.shift_x = "PERSP", 60, 0.02
    tree = texture.id_data
    source = tree.nodes.new("ShaderNodeTexCoord")
    place = source.outputs[kind]
    if moved:
        mapping = tree.nodes.new("ShaderNodeMapping")
        tree.links.new(place, mapping.inputs[0])
        mapping.inputs["Location"].default_value, mapping.inputs["Rotation"].default_value = (0.3, 0.2, 0), (0, 0, 0.2)
        mapping.inputs["Scale"].default_value = (0.5, 0.6, 1)
        place = mapping.outputs[0]
    tree.links.new(place, texture.inputs[0])
    bpy.context.view_layer.update()
    return obj, source, texture


def far(obj):
    """Return the largest differences, in pixels and world units, of the map from the rendered pixel positions."""
    seen, camera = pictures.render(), bpy.context.scene.camera
    mapping = PlaneMap.of(find_plane_image(obj))
    deps = bpy.context.evaluated_depsgraph_get()
    pixels, worlds = [0.0], [0.0]
    for x, y in SPOTS:
        right, down = (x + 0.5) / WIDTH, (y + 0.5) / HEIGHT
        top_right, bottom_right, bottom_left, top_left = camera.data.view_frame(scene=bpy.context.scene)
        along = top_left + (top_right - top_left) * right + (bottom_left - top_left) * down
        begin = camera.matrix_world.translation
        hit, place, *_ = bpy.context.scene.ray_cast(deps, begin, camera.matrix_world.to_3x3() @ along)
        shown = seen[y, x, :2] * (WIDTH, HEIGHT)
        # Beyond the middle of the outer pixels the texture is clamped.
        if hit and (shown > 0.5).all() and (shown < (WIDTH - 1.5, HEIGHT - 1.5)).all():
            found = mapping.pixel_of(place)
            pixels.append(float(np.abs(shown - found).max()))
            worlds.append(float(np.abs(np.array(mapping.world_of(*found)) - place).max()))
    return [len(pixels) - 1, max(pixels), max(worlds)]


def bent(obj):
    """Cut the plane's mesh, and bend it by a modifier."""
    bpy.ops.object.mode_set(mode="EDIT")
    bpy.ops.mesh.subdivide(number_cuts=12)
    bpy.ops.object.mode_set(mode="OBJECT")
    bend = obj.modifiers.new("Bend", "SIMPLE_DEFORM")
    bend.deform_method, bend.deform_axis, bend.factor = "TAPER", "Y", 0.2


def maps():
    out = {}
    for kind in ("Generated", "Object", "Camera", "Window"):
        obj, source, texture = scene(kind, moved=kind != "Window")
        if kind == "Object":
            source.object = bpy.context.scene.camera
        out[kind] = far(obj)
    obj, *_ = scene("Window", moved=True)
    out["Window, moved"] = far(obj)
    obj, *_ = scene("Generated")
    bent(obj)
    out["Generated, bent"] = far(obj)
    return out


def refusals():
    """Return the reasons, by what is wrong, and whether the map gives the same."""
    out = {}

    def note(name, obj):
        out[name] = refusal(find_plane_image(obj))
        try:
            PlaneMap.of(find_plane_image(obj))
            raise AssertionError(name)
        except PlaneError as error:
            assert str(error) == out[name], (str(error), out[name])

    note("reflection", scene("Reflection")[0])
    for name, kind in (("no camera", "Window"), ("panorama", "Camera"), ("modifier", "Generated")):
        obj, *_ = scene(kind)
        if name == "no camera":
            bpy.context.scene.camera = None
        elif name == "panorama":
            bpy.context.scene.camera.data.type = "PANO"
        else:
            obj.modifiers.new("Cut", "SUBSURF")
        note(name, obj)
    obj, _, texture = scene("UV")
    texture.id_data.links.remove(texture.inputs[0].links[0])
    obj.data.uv_layers.remove(obj.data.uv_layers[0])
    note("no UVs", obj)
    obj, source, texture = scene("Camera")
    tree = texture.id_data
    divide, depth = tree.nodes.new("ShaderNodeVectorMath"), tree.nodes.new("ShaderNodeCameraData")
    divide.operation = "DIVIDE"
    tree.links.new(source.outputs["Camera"], divide.inputs[0])
    tree.links.new(depth.outputs["View Z Depth"], divide.inputs[1])
    tree.links.new(divide.outputs[0], texture.inputs[0])
    note("computed", obj)
    out["followed"] = [refusal(find_plane_image(scene(kind)[0])) for kind in ("UV", "Window", "Generated")]
    return out


inside.emit({"maps": maps(), "refusals": refusals()})
