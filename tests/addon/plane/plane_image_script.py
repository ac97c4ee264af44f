# SPDX-License-Identifier: Apache-2.0
"""Inside Blender: images found through several materials, and pixels mapped to planes with several UVs."""

import sys
from pathlib import Path

import bpy
import inside
import numpy as np
import pictures

from addon.errors import PlaneError
from addon.plane.image import find_plane_image
from addon.plane.map import PlaneMap
from addon.plane.still import still_file

FOLDER = Path(sys.argv[1])
WIDTH, HEIGHT = 64, 48


def fresh():
    bpy.ops.wm.read_factory_settings(use_empty=True)


def test_picture():
    """Write an image whose pixels contain their position: red the column, green the row from the top."""
    path = FOLDER / "picture.exr"
    if not path.exists():
        y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
        pictures.save(path, np.stack([x / WIDTH, y / HEIGHT, x * 0], axis=-1))
    return path


def plane():
    fresh()
    obj = inside.image_plane(test_picture(), size=(3.2, 2.4))
    tree = obj.material_slots[0].material.node_tree
    texture = next(n for n in tree.nodes if n.type == "TEX_IMAGE")
    output = next(n for n in tree.nodes if n.type == "OUTPUT_MATERIAL")
    texture.image.colorspace_settings.name, texture.interpolation = "Non-Color", "Linear"
    return obj, tree, texture, output


def reason(change):
    """Return why no image is found on a plane after `change`."""
    parts = plane()
    obj = change(*parts) or parts[0]
    try:
        find_plane_image(obj)
    except PlaneError as error:
        return str(error)
    return ""


# Materials


def principled(obj, tree, texture, output):
    shader = tree.nodes.new("ShaderNodeBsdfPrincipled")
    tree.links.new(texture.outputs[0], shader.inputs["Base Color"])
    tree.links.new(texture.outputs[1], shader.inputs["Alpha"])
    rough = tree.nodes.new("ShaderNodeTexImage")
    rough.image = bpy.data.images.new("rough", 256, 256)
    tree.links.new(rough.outputs[0], shader.inputs["Roughness"])
    tree.links.new(rough.outputs[0], shader.inputs["Specular Tint"])
    tree.nodes.active = rough
    tree.links.new(shader.outputs[0], output.inputs[0])


def mixed(obj, tree, texture, output):
    mix, clear = tree.nodes.new("ShaderNodeMixShader"), tree.nodes.new("ShaderNodeBsdfTransparent")
    light = next(n for n in tree.nodes if n.type == "EMISSION")
    other = tree.nodes.new("ShaderNodeTexImage")
    other.image = bpy.data.images.new("matte", 512, 512)
    tree.links.new(other.outputs[0], mix.inputs[0])
    tree.links.new(clear.outputs[0], mix.inputs[1])
    tree.links.new(light.outputs[0], mix.inputs[2])
    tree.links.new(mix.outputs[0], output.inputs[0])


def grouped(obj, tree, texture, output):
    """Move the texture to a nested group whose coordinates come from outside."""
    inner, outer = (bpy.data.node_groups.new(n, "ShaderNodeTree") for n in ("Inner", "Outer"))
    for group in (inner, outer):
        group.interface.new_socket("Place", in_out="INPUT", socket_type="NodeSocketVector")
        group.interface.new_socket("Grey", in_out="OUTPUT", socket_type="NodeSocketFloat")
        group.interface.new_socket("Picture", in_out="OUTPUT", socket_type="NodeSocketColor")
    image = texture.image
    tree.nodes.remove(texture)
    texture = inner.nodes.new("ShaderNodeTexImage")
    texture.image, texture.interpolation = image, "Closest"
    nested = outer.nodes.new("ShaderNodeGroup")
    nested.node_tree = inner
    for group, node in ((inner, texture), (outer, nested)):
        ends = group.nodes.new("NodeGroupInput"), group.nodes.new("NodeGroupOutput")
        group.links.new(ends[0].outputs[0], node.inputs[0])
        group.links.new(node.outputs[0 if group is inner else "Picture"], ends[1].inputs["Picture"])
    top, place = tree.nodes.new("ShaderNodeGroup"), tree.nodes.new("ShaderNodeUVMap")
    top.node_tree, place.uv_map = outer, "UVMap"
    tree.links.new(place.outputs[0], top.inputs[0])
    light = next(n for n in tree.nodes if n.type == "EMISSION")
    tree.links.new(top.outputs["Picture"], light.inputs[0])


def adjusted(obj, tree, texture, output):
    light, hue = next(n for n in tree.nodes if n.type == "EMISSION"), tree.nodes.new("ShaderNodeHueSaturation")
    dot = tree.nodes.new("NodeReroute")
    tree.links.new(texture.outputs[0], dot.inputs[0])
    tree.links.new(dot.outputs[0], hue.inputs["Color"])
    tree.links.new(hue.outputs[0], light.inputs[0])


def materials():
    found = {}
    for shape in (principled, mixed, grouped, adjusted):
        parts = plane()
        image = parts[2].image
        shape(*parts)
        got = find_plane_image(parts[0])
        found[shape.__name__] = (got.image == image and got.path == test_picture().resolve()
                                 and got.size == (WIDTH, HEIGHT) and got.playing is None)  # fmt: skip
        PlaneMap.of(got)
    obj, *_ = plane()
    obj.data.materials.append(bpy.data.materials.new("other"))
    obj.active_material_index = 1
    found["second slot active"] = find_plane_image(obj).slot == 0
    return found


def imported():
    """Planes imported by Blender with each shader."""
    found = {}
    for shader in ("PRINCIPLED", "SHADELESS", "EMISSION"):
        fresh()
        path = inside.photograph(FOLDER, 64, 36)
        bpy.ops.image.import_as_mesh_planes(
            files=[{"name": path.name}], directory=str(path.parent), shader=shader, relative=False
        )
        got = find_plane_image(bpy.context.object)
        corners = PlaneMap.of(got).worlds_of([(-0.5, -0.5), (63.5, 35.5)])
        span = np.abs(corners[0] - corners[1])
        found[shader] = [str(got.path == path.resolve()), sorted(span.round(4).tolist())]
    return found


# What cannot be animated


def movie():
    image = bpy.data.images.new("film", 8, 8)
    image.source = "MOVIE"
    return image


def udim():
    return bpy.data.images.new("tiles", 8, 8, tiled=True)


def missing():
    image = bpy.data.images.load(str(test_picture()))
    image.filepath = str(FOLDER / "gone" / "nothing.png")
    return image


def sequence():
    image = bpy.data.images.load(str(test_picture()))
    image.source = "SEQUENCE"
    return image


def with_image(make):
    """Return a change that sets the texture's image."""

    def change(obj, tree, texture, output):
        texture.image = make()

    return change


def no_nodes(obj, tree, texture, output):
    tree.links.remove(output.inputs[0].links[0])


def no_material(obj, tree, texture, output):
    obj.data.materials.clear()


def boxed(obj, tree, texture, output):
    texture.projection = "BOX"


def no_mesh(*_):
    bpy.ops.object.light_add()
    return bpy.context.object


def reference(*_):
    bpy.ops.object.empty_add()
    bpy.context.object.empty_display_type = "IMAGE"
    return bpy.context.object


def reasons():
    images = {"movie": movie, "udim": udim, "missing": missing, "sequence": sequence, "empty texture": lambda: None}
    cases = {name: with_image(make) for name, make in images.items()}
    cases |= {"unconnected": no_nodes, "no material": no_material, "boxed": boxed, "no mesh": no_mesh,
              "reference": reference}  # fmt: skip
    answers = {name: reason(change) for name, change in cases.items()}
    try:
        find_plane_image(None)
    except PlaneError as error:
        answers["nothing"] = str(error)
    return answers


# Files


def image_file(found, folder):
    written = still_file(found, folder)
    written.write()
    return written.path.resolve()


def files():
    """Packed, painted and generated images: the file that still_file writes has the same pixels."""
    out = {}
    photo = inside.photograph(FOLDER, 64, 36)
    obj, tree, texture, output = plane()
    texture.image = bpy.data.images.load(str(photo))
    texture.image.pack()
    target = FOLDER / "written"
    path = image_file(find_plane_image(obj), target)
    out["packed"] = path.parent == target.resolve() and path.read_bytes() == photo.read_bytes()
    texture.image = bpy.data.images.load(str(photo))
    pixels = np.array(texture.image.pixels[:])
    pixels[: 64 * 4] = 0.25
    texture.image.pixels.foreach_set(pixels.astype(np.float32))
    texture.image.name = 'painted: "Ümlaut" / 1'
    painted = image_file(find_plane_image(obj), target)
    back = bpy.data.images.load(str(painted))
    out["painted"] = [painted.suffix, float(np.abs(np.array(back.pixels[:]) - pixels).max())]
    out["untouched"] = texture.image.is_dirty and texture.image.filepath == str(photo)
    for name, floats in (("generated", False), ("generated float", True)):
        image = bpy.data.images.new(name, 32, 16, float_buffer=floats)
        image.generated_type = "COLOR_GRID"
        if floats:
            image.pixels.foreach_set(np.linspace(-1, 5, 32 * 16 * 4).astype(np.float32))
        texture.image = image
        made = image_file(find_plane_image(obj), target)
        back = bpy.data.images.load(str(made))
        if floats:
            back.colorspace_settings.name = "Non-Color"
        out[name] = [made.suffix, float(np.abs(np.array(back.pixels[:]) - np.array(image.pixels[:])).max())]
    # A file has the name of the folder.
    try:
        image_file(find_plane_image(obj), photo)
        out["refused"] = ""
    except PlaneError as error:
        out["refused"] = str(error)
    return out


# UVs


def uv_variants():
    """Return UVs of the corners: lower left, lower right, upper right, upper left."""
    whole = [(0, 0), (1, 0), (1, 1), (0, 1)]
    return {
        "whole": whole,
        "cropped": [(0.2, 0.1), (0.9, 0.1), (0.9, 0.7), (0.2, 0.7)],
        "flipped": [(1, 0), (0, 0), (0, 1), (1, 1)],
        "turned": whole[1:] + whole[:1],
        "skewed": [(0.1, 0), (0.9, 0.1), (1, 0.9), (0, 0.8)],
        "next tile": [(u + 3, v - 1) for u, v in whole],
    }


def seen_at(obj, chosen):
    """Render the plane, and return the largest differences between the map and the rendered pixel positions."""
    scene = bpy.context.scene
    read = pictures.render()
    matrix = scene.camera.matrix_world
    width, height = scene.render.resolution_x, scene.render.resolution_y
    far, spots = [], [(5, 7), (40, 9), (12, 38), (55, 41), (31, 25)]
    mapping = PlaneMap.of(find_plane_image(obj))
    for x, y in spots:
        scale = scene.camera.data.ortho_scale / width
        world = matrix @ type(matrix.translation)(((x + 0.5 - width / 2) * scale, (height / 2 - y - 0.5) * scale, -5))
        px, py = mapping.pixel_of(world)
        red, green = read[y, x, 0] * WIDTH, read[y, x, 1] * HEIGHT
        back = mapping.world_of(px, py)
        flat = np.array(back) - world
        flat[1] = 0 if chosen != "bent" else flat[1]
        far.append([abs(red - px), abs(green - py), float(np.abs(flat).max()) if chosen != "bent" else 0.0])
    return np.max(far, axis=0).tolist()


def maps():
    out = {}
    for name, corners in uv_variants().items():
        obj, *_ = plane()
        inside.camera_on(obj, (64, 48))
        layer = obj.data.uv_layers[0]
        for loop in obj.data.loops:
            x, y, _ = obj.data.vertices[loop.vertex_index].co
            layer.uv[loop.index].vector = corners[{(-1, -1): 0, (1, -1): 1, (1, 1): 2, (-1, 1): 3}[
                int(np.sign(x)), int(np.sign(y))]]  # fmt: skip
        out[name] = seen_at(obj, name)
    obj, tree, texture, output = plane()
    inside.camera_on(obj, (64, 48))
    chain = [tree.nodes.new("ShaderNodeMapping") for _ in range(2)]
    place = tree.nodes.new("ShaderNodeTexCoord")
    tree.links.new(place.outputs["UV"], chain[0].inputs[0])
    tree.links.new(chain[0].outputs[0], chain[1].inputs[0])
    tree.links.new(chain[1].outputs[0], texture.inputs[0])
    chain[0].inputs["Location"].default_value, chain[0].inputs["Rotation"].default_value = (0.1, 0.05, 0), (0, 0, 0.3)
    chain[0].inputs["Scale"].default_value = (0.5, 0.6, 1)
    chain[1].vector_type = "TEXTURE"
    chain[1].inputs["Location"].default_value, chain[1].inputs["Scale"].default_value = (-0.2, 0.03, 0), (1.3, 1.1, 1)
    out["mapping nodes"] = seen_at(obj, "mapping")
    obj, *_ = plane()
    inside.camera_on(obj, (64, 48))
    cut = obj.modifiers.new("Cut", "SUBSURF")
    cut.subdivision_type, cut.levels, cut.render_levels = "SIMPLE", 4, 4
    wave = obj.modifiers.new("Wave", "SIMPLE_DEFORM")
    wave.deform_method, wave.deform_axis, wave.factor = "TAPER", "Y", 0.2
    out["bent"] = seen_at(obj, "bent")
    obj.modifiers.remove(wave)
    out["cut"] = [len(PlaneMap.of(find_plane_image(obj)).corners), *seen_at(obj, "cut")]
    return out


inside.emit({"materials": materials(), "imported": imported(), "reasons": reasons(), "files": files(), "maps": maps()})
