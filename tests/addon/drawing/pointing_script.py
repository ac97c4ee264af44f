# SPDX-License-Identifier: Apache-2.0
"""Inside Blender: pixels under a pointer, lines that are dragged, flips, and drafts. Arguments: ZIP FOLDER."""

import json
import sys
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import bpy
import inside
import numpy as np
from mathutils import Matrix

ZIP, FOLDER = sys.argv[1], Path(sys.argv[2])
WIDTH, HEIGHT = 320, 180
bpy.ops.wm.read_factory_settings(use_empty=True)
PACKAGE = inside.install(ZIP)
PLATE = inside.photograph(FOLDER, WIDTH, HEIGHT)


def module(name):
    return import_module(f"{PACKAGE}.{name}")


def plane():
    return inside.tilted_plane(PLATE)


def found(obj):
    return module("plane.image").find_plane_image(obj)


def view(perspective):
    """Return the region and the view of a viewer at (0, -6, 0) who looks along +y."""
    look = Matrix.Rotation(-np.pi / 2, 4, "X") @ Matrix.Translation((0, 6, 0))
    near, far, half = 0.1, 100.0, 0.4
    if perspective:
        rows = ((near / (half * near * 1.6), 0, 0, 0), (0, 1 / half, 0, 0),
                (0, 0, -(far + near) / (far - near), -2 * far * near / (far - near)), (0, 0, -1, 0))  # fmt: skip
    else:
        rows = ((1 / 4.0, 0, 0, 0), (0, 1 / 2.5, 0, 0), (0, 0, -2 / (far - near), -(far + near) / (far - near)),
                (0, 0, 0, 1))  # fmt: skip
    window = Matrix(rows)
    kind = "PERSP" if perspective else "ORTHO"
    return SimpleNamespace(width=800, height=500), SimpleNamespace(
        is_perspective=perspective, view_perspective=kind, view_matrix=look, window_matrix=window,
        perspective_matrix=window @ look,
    )  # fmt: skip


def pointed(bent, perspective):
    """Return the largest error of pixels that are seen and pointed at, and whether beside the plane is beside it."""
    obj = plane()
    if bent:
        cut, wave = obj.modifiers.new("Cut", "SUBSURF"), obj.modifiers.new("Wave", "WAVE")
        cut.subdivision_type, cut.levels, wave.height, wave.width = "SIMPLE", 4, 0.1, 0.5
        bpy.context.scene.frame_set(20)
    pointer = module("plane.pointing").Pointer(found(obj))
    region, seen_by = view(perspective)
    pixels = [(10.0, 20.0), (160.0, 90.0), (300.0, 170.0), (40.5, 120.25)]
    seen = pointer.seen(region, seen_by, pixels)
    errors = [np.abs(np.subtract(pointer.pixel(region, seen_by, at), pixel)).max()
              for at, pixel in zip(seen, pixels, strict=True)]  # fmt: skip
    corner = pointer.pixel(region, seen_by, (1.0, 1.0))
    over = [pointer.over(region, seen_by, at) for at in (*seen, (1.0, 1.0))]
    return [float(max(errors)), over, corner is not None]


def flips():
    """A flip is at its pixel, is no anchor, and the operator refuses what is no point."""
    obj = plane()
    bpy.ops.loopcore.flip_flow(object_name=obj.name, point="[100.5, 30]")
    bpy.ops.loopcore.add_anchor(object_name=obj.name)
    hints = module("drawing.hints")
    _, write, names = hints.hints_file(found(obj), FOLDER / "flips")
    write()
    refused = []
    for point in ("", "[1]", '["a", 2]', "7"):
        try:
            bpy.ops.loopcore.flip_flow(object_name=obj.name, point=point)
        except RuntimeError as error:
            refused.append(str(error))
    return [str(FOLDER / "flips" / "hints.json"), names, refused]


def simplified():
    """A dragged line keeps its corners, and the pressures there are the curve's radii."""
    line = np.array([*[(x, 0.4 * (x % 6 > 2)) for x in range(0, 90, 3)], *[(90, y) for y in range(0, 60, 3)]], float)
    kept = module("drawing.dragging").needed(line, 1.5)
    obj = plane()
    stroke = module("drawing.strokes").add_stroke(
        bpy.context, found(obj), [(10, 10), (100, 20), (200, 90)], 2.0, [0.5, 1.0, 0.25]
    )
    (drawn,) = module("drawing.hints").hints_json(found(obj))["strokes"]
    return [kept, [round(p.radius, 6) for p in stroke.data.splines[0].points], drawn["speed"]]


def drafted():
    """A draft is small, and its arrows have the pixels of the image."""
    obj = plane()
    obj.loopcore.folder = str(FOLDER / "out")
    bpy.ops.loopcore.add_stroke(object_name=obj.name, points="[[40, 90], [280, 90]]", speed=2.0)
    inside.white_mask(obj)
    actions = module("interface.actions")
    actions.DRAFT_SIDE = 100
    bpy.ops.loopcore.draft_motion(object_name=obj.name)
    lines = module("drawing.motion_lines")
    path = lines.arrows_file(obj)
    grid = lines.Grid.read(path)
    data = json.loads(path.read_text("utf-8"))
    return [
        obj.loopcore.motion, path.name, list(grid.size), list(grid.velocity.shape[:2]),
        grid.at(np.array([(160.0, 90.0)]))[0].tolist(), float(np.array(data["points"])[:, :2].max()),
        obj.loopcore.message,
    ]  # fmt: skip


POINTED = {f"{bent} {perspective}": pointed(bent, perspective) for bent in (0, 1) for perspective in (0, 1)}
inside.emit({"pointed": POINTED, "flips": flips(), "simplified": simplified(), "drafted": drafted()})
