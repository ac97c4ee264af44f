# SPDX-License-Identifier: Apache-2.0
"""Inside Blender: the motion as lines on flat, bent and cropped planes, and the work per piece.

python overlay_script.py FOLDER
"""

import json
import sys
import time
from pathlib import Path

import bpy
import inside
import numpy as np

from addon.drawing import motion_lines, overlay, strokes
from addon.plane import map as plane_map
from addon.plane.image import find_plane_image
from addon.plane.map import PlaneMap

FOLDER = Path(sys.argv[1])
WIDTH, HEIGHT, SPACING = 320, 180, 10
FIELD = FOLDER / "arrows.json"


def flow(x, y):
    """A vortex around the center, with no motion in the left tenth."""
    u, v = -(y - HEIGHT / 2) / 50, (x - WIDTH / 2) / 50
    moves = x > WIDTH / 10
    return u * moves, v * moves


def write_field():
    """Write the worker's result of `arrows`: the nodes with motion."""
    columns, rows = WIDTH // SPACING, HEIGHT // SPACING
    x = ((np.arange(columns) + 0.5) * WIDTH / columns).astype(int)
    y = ((np.arange(rows) + 0.5) * HEIGHT / rows).astype(int)
    x, y = (axis.ravel() for axis in np.meshgrid(x, y))
    points = np.column_stack([x, y, *flow(x, y)])
    points = points[(points[:, 2:] != 0).any(axis=1)]
    FIELD.write_text(json.dumps({"points": points.tolist(), "width": WIDTH, "height": HEIGHT, "spacing": SPACING}))


def plane(cuts=0, bend=False, crop=False):
    bpy.ops.wm.read_factory_settings(use_empty=True)
    obj = inside.image_plane(inside.photograph(FOLDER, WIDTH, HEIGHT))
    if cuts:
        cut = obj.modifiers.new("Cut", "SUBSURF")
        cut.subdivision_type, cut.levels = "SIMPLE", cuts
    if bend:
        wave = obj.modifiers.new("Wave", "WAVE")
        wave.height, wave.width, wave.narrowness = 0.1, 0.4, 4
    if crop:
        for corner in obj.data.uv_layers[0].uv:
            corner.vector = corner.vector * 0.5
    bpy.context.view_layer.update()
    return obj


def pieces(obj, style):
    """Compute the lines; returns them and the time of each piece in milliseconds."""
    took, lines, began = [], None, time.thread_time()
    making = motion_lines.compute(obj, FIELD, style)
    while lines is None:
        lines = next(making)
        took.append(1000 * (time.thread_time() - began))
        began = time.thread_time()
    return lines, took


def checked(obj, style):
    """Compare the position and direction of the lines in the image with the flow."""
    lines, took = pieces(obj, style)
    mapping = PlaneMap.of(find_plane_image(obj))
    ends = mapping.pixels_of_local(lines.points).reshape(-1, 2, 2)
    if style == "ARROWS":
        ends = ends[::3]  # the shafts
    along, middle = ends[:, 1] - ends[:, 0], ends.mean(axis=1)
    wanted = np.stack(flow(*middle.T), axis=1)
    length, speed = np.linalg.norm(along, axis=1), np.linalg.norm(wanted, axis=1)
    clear = (length > 0.3) & (speed > 0.2)
    agree = (along * wanted).sum(axis=1)[clear] / (length * speed)[clear]
    alpha = lines.colors.reshape(-1, 2, 4)[..., 3]
    return {
        "count": len(ends), "agree": float(np.quantile(agree, 0.02)), "longest": float(length.max()),
        "faster is longer": float(np.corrcoef(length[clear], speed[clear])[0, 1]), "pieces": len(took),
        "slowest": max(took), "box": [*ends.reshape(-1, 2).min(axis=0), *ends.reshape(-1, 2).max(axis=0)],
        "brightens": bool((alpha[:, 1] >= alpha[:, 0]).all() and alpha.min() < alpha.max()),
    }  # fmt: skip


def shown():
    out = {}
    for name, options in {"flat": {}, "cut": {"cuts": 5}, "bent": {"cuts": 6, "bend": True},
                          "cropped": {"crop": True}}.items():  # fmt: skip
        obj = plane(**options)
        out[name] = {style: checked(obj, style) for style in ("ARROWS", "STREAKS")}
    return out


def counted():
    """Count the points mapped per piece on a mesh of many triangles, and the search trees built."""
    obj = plane(cuts=6, bend=True)
    placed, trees = [], []
    weights, made = plane_map._Triangles.weights, plane_map._Triangles.__init__

    def counting(self, points):
        placed.append(len(points))
        return weights(self, points)

    def counting_trees(self, corners):
        trees.append(len(corners))
        made(self, corners)

    plane_map._Triangles.weights, plane_map._Triangles.__init__ = counting, counting_trees
    lines, took = pieces(obj, "STREAKS")
    plane_map._Triangles.weights, plane_map._Triangles.__init__ = weights, made
    return {"placed": placed, "trees": trees, "points": len(lines.points), "pieces": len(took)}


def one_piece_a_draw():
    """`lines_of` computes one piece per call, and returns the previous lines until the new ones are finished."""
    import addon.interface.properties

    addon.interface.properties.register()
    obj = plane(cuts=6, bend=True)
    obj.loopcore.motion = str(FIELD.with_name("motion.exr"))
    overlay.BUDGET_S = 0
    calls = 0
    while (drawn := overlay.lines_of(obj)).computation is not None:
        calls += 1
    first = drawn.lines
    obj.loopcore.motion_style = "STREAKS"
    meanwhile = overlay.lines_of(obj).lines is first
    while (drawn := overlay.lines_of(obj)).computation is not None:
        pass
    kept = overlay.lines_of(obj) is drawn and drawn.lines is not first
    bpy.app.handlers.depsgraph_update_post.append(overlay._changed)
    updates = overlay._updates
    obj.location.x += 1
    bpy.context.view_layer.update()
    # Moving the object does not change its lines.
    moved = overlay._updates > updates and overlay.lines_of(obj) is drawn
    obj.data.vertices[0].co.x += 0.1
    obj.data.update()
    bpy.context.view_layer.update()
    bpy.app.handlers.depsgraph_update_post.remove(overlay._changed)
    changed = overlay.lines_of(obj) is not drawn
    obj.loopcore.motion = ""
    out = [calls, meanwhile, kept, moved, changed, overlay.lines_of(obj) is None]
    addon.interface.properties.unregister()
    return out


def shared_time():
    """Three objects and no time: each call computes a piece for one of them, until all are finished, and in turns."""
    import addon.interface.properties

    addon.interface.properties.register()
    objects = [plane(cuts=6, bend=True)]
    for _ in range(2):
        copy = objects[0].copy()
        bpy.context.collection.objects.link(copy)
        objects.append(copy)
    for obj in objects:
        obj.loopcore.motion = str(FIELD.with_name("motion.exr"))
    bpy.context.view_layer.update()
    overlay.BUDGET_S, began, asked = 0, overlay.lines_of, []
    overlay.lines_of = lambda obj: asked.append(obj.name) or began(obj)
    counts, turns = [], []
    unfinished = True
    while unfinished:
        asked.clear()
        found = overlay.lines_of_all(objects)
        unfinished = overlay._waiting or any(drawn.computation is not None for _, drawn in found)
        counts.append(len(asked))
        turns.append(asked[0])
    overlay.lines_of = began
    addon.interface.properties.unregister()
    return [counts[:-1], len(set(turns[:3])), [len(drawn.lines.points) > 100 for _, drawn in found]]


def heads():
    """The arrow head of a stroke in screen space."""
    across = overlay.head_of([(0, 0), (50, 0), (100, 0), (100.5, 0)], 10)
    obj = plane()
    made = strokes.add_stroke(bpy.context, find_plane_image(obj), [(10, 90), (300, 90)])
    bpy.context.view_layer.update()
    (line,) = strokes.world_lines(made)
    return {
        "head": [list(corner) for corner in across], "nothing": overlay.head_of([(5, 5), (5, 5)], 10),
        "line": [list(point) for point in line],
    }  # fmt: skip


def nonsense():
    obj, out = plane(), []
    for text in ("", "[]", "{}", '{"points": [[1]], "width": 3, "height": 2, "spacing": 1}'):
        bad = FOLDER / "bad.json"
        bad.write_text(text)
        out.append(len(next(motion_lines.compute(obj, bad, "ARROWS")).points))
    return [*out, len(next(motion_lines.compute(obj, FOLDER / "gone.json", "ARROWS")).points)]


write_field()
CASES = (shown, counted, one_piece_a_draw, shared_time, heads, nonsense)
inside.emit({case.__name__: case() for case in CASES})
