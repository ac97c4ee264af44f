# SPDX-License-Identifier: Apache-2.0
"""Inside Blender: a picture that is projected from a camera onto three objects at different depths, by UV Project."""

import bpy
import numpy as np
from mathutils import Euler, Vector
from screen import area, there

NAMES = ("back", "middle", "front")
CELLS = 48


def scene(picture, cuts):
    """Empty the scene, and cover the camera's view with three objects from top to bottom.

    The first two have one material, the third another one; both show the same image.

    Args:
        picture: path of the picture.
        cuts: two shares of its height, where the middle object begins and ends.
    """
    for obj in list(bpy.data.objects):
        bpy.data.objects.remove(obj)
    image = bpy.data.images.load(picture)
    render = bpy.context.scene.render
    render.resolution_x, render.resolution_y = image.size
    camera = bpy.data.objects.new("Projector", bpy.data.cameras.new("Projector"))
    camera.location, camera.rotation_euler = (0, -6, 1.5), (np.pi / 2 - 0.1, 0, 0)
    bpy.context.scene.collection.objects.link(camera)
    bpy.context.scene.camera = camera
    bpy.context.view_layer.update()
    shared = material(image)
    ends = [0, *cuts, 1]
    depths = (lambda x, y: 9.0, lambda x, y: 7 - 1.5 * np.sin(np.pi * x), lambda x, y: 6 - 2.5 * y)
    for index, name in enumerate(NAMES):
        mesh = grid(camera, ends[index : index + 2], depths[index])
        mesh.materials.append(material(image) if index == 2 else shared)
        obj = bpy.data.objects.new(name, mesh)
        bpy.context.scene.collection.objects.link(obj)
        project = obj.modifiers.new("Project", "UV_PROJECT")
        project.uv_layer, project.projectors[0].object = mesh.uv_layers[0].name, camera
        project.aspect_x, project.aspect_y = image.size
    bpy.context.view_layer.objects.active = bpy.data.objects[NAMES[1]]
    bpy.data.objects[NAMES[1]].select_set(True)


def material(image):
    """Return a material that emits an image."""
    made = bpy.data.materials.new(bpy.path.display_name_from_filepath(image.filepath))
    if not made.node_tree:
        made.use_nodes = True
    tree = made.node_tree
    tree.nodes.clear()
    texture, light = tree.nodes.new("ShaderNodeTexImage"), tree.nodes.new("ShaderNodeEmission")
    output = tree.nodes.new("ShaderNodeOutputMaterial")
    texture.image = image
    texture.location, output.location = (-300, 0), (200, 0)
    tree.links.new(texture.outputs["Color"], light.inputs["Color"])
    tree.links.new(light.outputs["Emission"], output.inputs["Surface"])
    return made


def grid(camera, rows, depth):
    """Return a mesh that covers rows of the camera's view.

    Args:
        camera: the camera object.
        rows: (first, last) as shares of the view's height, downward.
        depth: function of the shares (x, y) of the mesh's width and height that gives the distance along the view.
    """
    frame = camera.data.view_frame(scene=bpy.context.scene)
    left, right = min(corner.x for corner in frame), max(corner.x for corner in frame)
    bottom, top = min(corner.y for corner in frame), max(corner.y for corner in frame)
    places = []
    for y in np.linspace(0, 1, CELLS + 1):
        height = top + (bottom - top) * (rows[0] + (rows[1] - rows[0]) * y)
        for x in np.linspace(0, 1, CELLS + 1):
            ray = Vector((left + (right - left) * x, height, frame[0].z))
            places.append(camera.matrix_world @ (ray * (depth(x, y) / -ray.z)))
    first = [CELLS * row + row + column for row in range(CELLS) for column in range(CELLS)]
    mesh = bpy.data.meshes.new("Grid")
    mesh.from_pydata(places, [], [(i, i + CELLS + 1, i + CELLS + 2, i + 1) for i in first])
    mesh.uv_layers.new(name="Projected")
    return mesh


def aside():
    """Look at the objects from beside the camera, without what is drawn on them."""
    view = area().spaces.active.region_3d
    view.view_perspective = "PERSP"
    view.view_rotation = Euler((1.25, 0, -0.6)).to_quaternion()
    for name in NAMES:
        bpy.data.objects[name].loopcore.show_motion = False
        bpy.data.objects[name].select_set(True)
    with there():
        bpy.ops.view3d.view_selected()
    for name in NAMES:
        bpy.data.objects[name].select_set(False)
    yield 1.0
