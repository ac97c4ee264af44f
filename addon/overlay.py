# SPDX-License-Identifier: GPL-3.0-or-later
"""Arrows of the motion, drawn over the planes in the viewport: where things go, and how fast by length and colour."""

import json
import math
from dataclasses import dataclass

import bpy

from . import plane, work

LIFT = 0.002  # towards the viewer, of the plane's larger side: else lines and plane flicker
SLOW, FAST = (0.15, 0.75, 1.0, 0.95), (1.0, 0.55, 0.1, 0.95)
SHADE = (0.0, 0.0, 0.0, 0.55)
LONGEST = 0.9  # the fastest arrow, of the distance from one to the next
SHORTEST = 0.25

_handle = None
_drawn: dict[int, "Drawn"] = {}


@dataclass
class Drawn:
    """The lines of one object, and of what they were made: drawn again when that changes."""

    made_of: tuple
    points: list
    colors: list


def register():
    global _handle
    # Nothing is drawn in background mode, and the gpu module refuses to be used there.
    if not bpy.app.background and _handle is None:
        _handle = bpy.types.SpaceView3D.draw_handler_add(_draw, (), "WINDOW", "POST_VIEW")


def unregister():
    global _handle
    if _handle is not None:
        bpy.types.SpaceView3D.draw_handler_remove(_handle, "WINDOW")
        _handle = None
    _drawn.clear()


def lines_of(obj) -> Drawn | None:
    """The arrows of `obj`, as pairs of points in the world with a colour each; None where no motion was solved."""
    file = work.arrows_file(obj)
    try:
        made_of = (str(file), file.stat().st_mtime_ns, *(round(x, 6) for row in obj.matrix_world for x in row))
    except (AttributeError, OSError):
        _drawn.pop(obj.session_uid, None)
        return None
    kept = _drawn.get(obj.session_uid)
    if kept is None or kept.made_of != made_of:
        kept = _drawn[obj.session_uid] = Drawn(made_of, *_lines(obj, file))
    return kept


def _lines(obj, file):
    try:
        field = json.loads(file.read_text("utf-8"))
        mapping = plane.PlaneMap.of(plane.find_plane_image(obj))
    except (OSError, ValueError, plane.PlaneError):
        return [], []
    pixels, colors = [], []
    fastest = max((math.hypot(u, v) for _x, _y, u, v in field["points"]), default=0) or 1
    # The part of the picture that the plane shows.
    (left, top), (right, bottom) = mapping.pixels.min(axis=(0, 1)), mapping.pixels.max(axis=(0, 1))
    for x, y, u, v in field["points"]:
        speed = math.hypot(u, v)
        if speed < 0.02 * fastest or not (left <= x <= right and top <= y <= bottom):
            continue
        share = math.sqrt(speed / fastest)
        length = field["spacing"] * (SHORTEST + (LONGEST - SHORTEST) * share)
        tail, tip, *ends = _arrow(x, y, u / speed * length, v / speed * length)
        pixels += [tail, tip, ends[0], tip, ends[1], tip]
        colors += [tuple(a + (b - a) * share for a, b in zip(SLOW, FAST, strict=True))] * 6
    return (mapping.worlds_of(pixels).tolist() if pixels else []), colors


def _arrow(x, y, u, v):
    """Tail, tip, and the two ends of the head, in pixels; its middle is at (x, y)."""
    tip = (x + u / 2, y + v / 2)
    back, side = 0.35, 0.22
    ends = [(tip[0] - back * u - s * side * v, tip[1] - back * v + s * side * u) for s in (1, -1)]
    return [(x - u / 2, y - v / 2), tip, *ends]


def _draw():
    space = bpy.context.space_data
    if space is None or not space.overlay.show_overlays:
        return
    for obj in bpy.context.visible_objects:
        state = getattr(obj, "loopcore", None)
        if state is not None and state.show_motion:
            lines = lines_of(obj)
            if lines is not None and lines.points:
                _draw_lines(lines, max(obj.dimensions) * LIFT)


def _draw_lines(lines: Drawn, lift: float):
    import gpu
    from gpu_extras.batch import batch_for_shader
    from mathutils import Vector

    region, view = bpy.context.region, bpy.context.region_data
    scale = bpy.context.preferences.system.ui_scale
    shader = gpu.shader.from_builtin("POLYLINE_SMOOTH_COLOR")
    gpu.state.blend_set("ALPHA")
    gpu.state.depth_test_set("LESS_EQUAL")
    shader.bind()
    shader.uniform_float("viewportSize", (region.width, region.height))
    with gpu.matrix.push_pop():
        # A dark edge first, so that arrows are seen over bright water as well.
        for width, colors in ((4.0, [SHADE] * len(lines.colors)), (2.0, lines.colors)):
            gpu.matrix.translate(view.view_rotation @ Vector((0, 0, lift)))
            shader.uniform_float("lineWidth", width * scale)
            batch_for_shader(shader, "LINES", {"pos": lines.points, "color": colors}).draw(shader)
    gpu.state.depth_test_set("NONE")
    gpu.state.blend_set("NONE")
