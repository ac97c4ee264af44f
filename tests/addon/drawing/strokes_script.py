# SPDX-License-Identifier: Apache-2.0
"""Inside Blender: draw strokes, anchors and masks on planes, and write hints for the test."""

import sys
from pathlib import Path

import bpy
import inside
import numpy as np
import pictures
from mathutils import Matrix

from addon.drawing import hints as hints_module
from addon.drawing import mask, strokes
from addon.errors import PlaneError
from addon.plane.image import find_plane_image

FOLDER = Path(sys.argv[1])
WIDTH, HEIGHT = 64, 48
LINE, SPOT = [(10.0, 5.5), (30.25, 20.0), (50.0, 40.0)], (33.0, 12.5)
CORNERS = {"whole": [(0, 0), (1, 0), (1, 1), (0, 1)], "flipped": [(1, 0), (0, 0), (0, 1), (1, 1)],
           "turned": [(1, 0), (1, 1), (0, 1), (0, 0)],
           "cropped": [(0.2, 0.1), (0.9, 0.1), (0.9, 0.7), (0.2, 0.7)]}  # fmt: skip


def plane(corners=CORNERS["whole"]):
    bpy.ops.wm.read_factory_settings(use_empty=True)
    still = FOLDER / "still.png"
    if not still.exists():
        pictures.save(still, np.random.default_rng(0).random((HEIGHT, WIDTH, 3)))
    obj = inside.image_plane(still, size=(3.2, 2.4))
    for loop in obj.data.loops:
        x, y, _ = np.sign(obj.data.vertices[loop.vertex_index].co)
        index = {(-1, -1): 0, (1, -1): 1, (1, 1): 2, (-1, 1): 3}[int(x), int(y)]
        obj.data.uv_layers[0].uv[loop.index].vector = corners[index]
    return obj


def hints(obj):
    return hints_module.hints_json(find_plane_image(obj))


def write_hints(found, folder):
    """Write the hints and the mask as a bake does; returns the hints' file."""
    drawn = hints_module.hints_file(found, folder)
    if drawn is None:
        return None
    path, write, _ = drawn
    write()
    if mask.source_of(found.object) is not None:
        mask.mask_writer(found, folder)()
    return path


def placed():
    """Strokes and anchors have the pixels they were drawn at, with several UVs and after moving the plane."""
    out = {}
    for name, corners in CORNERS.items():
        obj = plane(corners)
        obj.location, obj.rotation_euler = (3, -2, 7), (0.3, 1.1, -0.4)
        found = find_plane_image(obj)
        made = strokes.add_stroke(bpy.context, found, LINE, 2.5)
        strokes.add_anchor(bpy.context, found, SPOT)
        before = hints(obj)
        obj.location, obj.scale = (0, 5, 0), (1, -4, 2)
        bpy.context.view_layer.update()
        after = hints(obj)
        out[name] = [before, before == after, made.parent == obj and made.hide_render]
    return out


def curves():
    obj = plane()
    found = find_plane_image(obj)
    easy = strokes.add_stroke(bpy.context, found)
    out = {"default": hints(obj)["strokes"]}
    easy[strokes.SPEED] = 4.0
    for point, radius in zip(easy.data.splines[0].bezier_points, (1, 1, 0.5), strict=True):
        point.radius = radius
    out["radius"] = hints(obj)["strokes"][0]["speed"]
    easy.hide_viewport = True
    out["hidden"] = hints(obj)
    # A curve made by other means, then parented with Keep Transform.
    data = bpy.data.curves.new("drawn", "CURVE")
    data.dimensions = "3D"
    spline = data.splines.new("NURBS")
    spline.points.add(2)
    for point, (x, z) in zip(spline.points, ((-1.6, 1.2), (0, 0), (1.6, -1.2)), strict=True):
        point.co = (x, -0.5, z, 1)
    spline.use_cyclic_u = True
    drawn = bpy.data.objects.new("Drawn", data)
    bpy.context.scene.collection.objects.link(drawn)
    bpy.context.view_layer.update()
    drawn.parent, drawn.matrix_parent_inverse = obj, obj.matrix_world.inverted()
    out["drawn"] = hints(obj)["strokes"]
    drawn.matrix_basis = Matrix.Translation((0.8, 0, 0))
    out["moved"] = hints(obj)["strokes"][0]["points"][1]
    return out


def cursor():
    obj = plane()
    found = find_plane_image(obj)
    strokes.add_anchor(bpy.context, found)
    bpy.context.scene.cursor.location = (0.8, -1, 0.6)
    strokes.add_anchor(bpy.context, found)
    bpy.context.scene.cursor.location = (8, 0, 0)
    round_one = strokes.add_anchor(bpy.context, found)
    bpy.context.view_layer.update()
    return [hints(obj)["anchors"], float(np.ptp(np.array(round_one.matrix_world.to_scale())))]


def painted():
    obj = plane()
    image = mask.add_mask(find_plane_image(obj))
    out = {"again": mask.add_mask(find_plane_image(obj)) == image, "size": tuple(image.size),
           "kind": [image.colorspace_settings.name, max(image.pixels[:3])]}  # fmt: skip
    try:
        write_hints(find_plane_image(obj), FOLDER)
    except PlaneError as error:
        out["black"] = str(error)
    values = np.zeros((HEIGHT, WIDTH, 4), np.float32)
    values[5:20, 10:50, :3], values[..., 3] = np.linspace(0, 1, 40)[None, :, None], 1
    image.pixels.foreach_set(values[::-1].ravel())
    strokes.add_stroke(bpy.context, find_plane_image(obj), LINE, 1.5)
    out["file"] = str(write_hints(find_plane_image(obj), FOLDER / 'hints of "ümlaut"'))
    mask.keep_painted()
    path = str(FOLDER / "painted.blend")
    bpy.ops.wm.save_as_mainfile(filepath=path)
    bpy.ops.wm.open_mainfile(filepath=path)
    obj = bpy.data.objects["Plate"]
    kept = np.array(mask.source_of(obj).pixels[:]).reshape(HEIGHT, WIDTH, -1)[::-1, :, 0]
    out["kept"] = float(np.abs(kept - values[..., 0]).max())
    other = bpy.data.images.new("square", 32, 32)
    mask.set_mask(obj, other)
    try:
        write_hints(find_plane_image(obj), FOLDER)
    except PlaneError as error:
        out["shape"] = str(error)
    mask.set_mask(obj, None)
    out["none"] = "mask" not in hints(obj)
    return out


def vertex_colors():
    """From black to white from the left of the plane, which shows the image flipped, to its right."""
    out = {}
    for domain in ("POINT", "CORNER"):
        obj = plane(CORNERS["flipped"])
        attribute = obj.data.color_attributes.new("Moves", "FLOAT_COLOR", domain)
        for index in range(len(attribute.data)):
            vertex = index if domain == "POINT" else obj.data.loops[index].vertex_index
            value = float(obj.data.vertices[vertex].co.x > 0)
            attribute.data[index].color = (value, value, value, 1)
        mask.set_mask(obj, "Moves")
        out[domain] = str(write_hints(find_plane_image(obj), FOLDER / domain))
    mask.set_mask(obj, "gone")
    try:
        write_hints(find_plane_image(obj), FOLDER)
    except PlaneError as error:
        out["gone"] = str(error)
    return out


def refusals():
    obj, out = plane(), []
    found = find_plane_image(obj)
    for points, speed in (([(1, 1)], 1), ([(1, 1), (1, 1)], 1), (LINE, -1)):
        try:
            strokes.add_stroke(bpy.context, found, points, speed)
        except PlaneError as error:
            out.append(str(error))
    nothing = write_hints(found, FOLDER / "nothing")
    strokes.add_stroke(bpy.context, found, LINE)
    try:
        write_hints(found, FOLDER / "still.png")
    except PlaneError as error:
        out.append(str(error))
    return [*out, nothing, (FOLDER / "nothing").exists(), len(obj.children)]


CASES = (placed, curves, cursor, painted, vertex_colors, refusals)
inside.emit({case.__name__: case() for case in CASES})
