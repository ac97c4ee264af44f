# SPDX-License-Identifier: Apache-2.0
"""Helpers of the scripts that conftest's `Blender.run` starts inside Blender."""

import json
import os
from pathlib import Path

import bpy

PHOTOGRAPH = Path(__file__).resolve().parents[2] / "examples" / "waterfall" / "plate.jpg"


def emit(value):
    """Return `value` to the test."""
    print("RESULT: " + json.dumps(value), flush=True)


def install(zip_path):
    """Install the extension from its zip and enable it; returns the package's name."""
    bpy.ops.extensions.package_install_files(filepath=str(zip_path), repo="user_default", enable_on_install=True)
    package = "bl_ext.user_default.loopcore"
    if package not in bpy.context.preferences.addons:
        raise RuntimeError("the extension was not installed")
    use_worker(package)
    return package


def use_worker(package):
    """Set the worker's Python in the preferences to the one that the test chose."""
    bpy.context.preferences.addons[package].preferences.python = os.environ["LOOPCORE_WORKER_PYTHON"]


def photograph(folder, width=320, height=180, name="plate.png"):
    """Write the example photograph, scaled down, as PNG to `folder`; returns its path."""
    image = bpy.data.images.load(str(PHOTOGRAPH))
    image.scale(width, height)
    path = Path(folder) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    image.file_format = "PNG"
    image.filepath_raw = str(path)
    image.save()
    bpy.data.images.remove(image)
    return path


def image_plane(path, name="Plate", size=(3.2, 1.8)):
    """Add an upright plane that faces the camera, with the image at `path` in an Emission shader."""
    bpy.ops.mesh.primitive_plane_add(size=1, rotation=(1.5707963267948966, 0, 0))
    plane = bpy.context.object
    plane.name, plane.scale = name, (*size, 1)
    material = bpy.data.materials.new(name)
    if not material.node_tree:
        material.use_nodes = True
    tree = material.node_tree
    tree.nodes.clear()
    texture = tree.nodes.new("ShaderNodeTexImage")
    texture.image = bpy.data.images.load(str(path))
    texture.interpolation = "Closest"
    light, output = tree.nodes.new("ShaderNodeEmission"), tree.nodes.new("ShaderNodeOutputMaterial")
    texture.location, light.location, output.location = (-300, 0), (0, 0), (200, 0)
    tree.links.new(texture.outputs["Color"], light.inputs["Color"])
    tree.links.new(light.outputs["Emission"], output.inputs["Surface"])
    plane.data.materials.append(material)
    return plane


def white_mask(plane):
    """Create the plane's mask, completely white."""
    bpy.ops.loopcore.paint_mask(object_name=plane.name)
    mask = bpy.data.images[f"{plane.name} mask"]
    mask.pixels.foreach_set([1.0] * len(mask.pixels))
    mask.update()


def camera_on(plane, pixels=(320, 180)):
    """Add an orthographic camera that frames the plane exactly, and set the render size."""
    scene = bpy.context.scene
    data = bpy.data.cameras.new("Camera")
    data.type, data.ortho_scale = "ORTHO", max(plane.scale[0], plane.scale[1])
    camera = bpy.data.objects.new("Camera", data)
    camera.location, camera.rotation_euler = (0, -5, 0), (1.5707963267948966, 0, 0)
    scene.collection.objects.link(camera)
    scene.camera = camera
    scene.render.resolution_x, scene.render.resolution_y = pixels
    scene.render.resolution_percentage = 100
    scene.view_settings.view_transform = "Raw"
    return camera


def render(path, engine="CYCLES"):
    """Render one frame as 32-bit EXR, with one sample at the center of each pixel."""
    scene = bpy.context.scene
    renamed = engine == "BLENDER_EEVEE" and bpy.app.version < (5, 0, 0)
    scene.render.engine = "BLENDER_EEVEE_NEXT" if renamed else engine
    if engine == "CYCLES":
        scene.cycles.samples, scene.cycles.use_denoising = 1, False
        scene.cycles.pixel_filter_type, scene.cycles.filter_width = "BLACKMAN_HARRIS", 0.01
    else:
        scene.eevee.taa_render_samples = 1
    settings = scene.render.image_settings
    if hasattr(settings, "media_type"):
        settings.media_type = "IMAGE"
    settings.file_format, settings.color_depth = "OPEN_EXR", "32"
    scene.render.filepath = str(path)
    bpy.ops.render.render(write_still=True)
    return path


def tilted_plane(path):
    """Remove all objects; return a new plane with the picture, moved and turned about all axes."""
    for obj in list(bpy.data.objects):
        bpy.data.objects.remove(obj)
    obj = image_plane(path)
    obj.location, obj.rotation_euler = (0.3, 2.0, -0.2), (1.2, 0.2, 0.3)
    bpy.context.view_layer.update()
    return obj
