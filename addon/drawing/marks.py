# SPDX-License-Identifier: GPL-3.0-or-later
"""Markers in the viewport: flips as two opposite arrows, and lines with a dark outline; and which hints are near.

Areas are drawn as closed lines.
"""

from __future__ import annotations

import itertools
import math

import blf
import bpy
import numpy as np
from bpy_extras.view3d_utils import location_3d_to_region_2d
from mathutils import Vector

from ..plane.pointing import Pointer
from ..texts import rpt_
from . import areas, strokes

SIZE = 13  # of a flip's marker, pixels
COLOR, SHADE = (1.0, 0.8, 0.1, 1.0), (0.0, 0.0, 0.0, 0.8)
_handles: list = []


def register():
    # The gpu module cannot be used in background mode.
    if not bpy.app.background and not _handles:
        _handles.append(bpy.types.SpaceView3D.draw_handler_add(_draw, (), "WINDOW", "POST_PIXEL"))


def unregister():
    for handle in _handles:
        bpy.types.SpaceView3D.draw_handler_remove(handle, "WINDOW")
    _handles.clear()


def hints_near(context, pointer: Pointer, coord, reach: float) -> list[bpy.types.Object]:
    """Return the visible hints and areas of a plane within `reach` pixels of `coord`, nearest first."""
    region, view = context.region, context.region_data
    plane, place = bpy.data.objects[pointer.name], Vector(coord)
    reach *= context.preferences.system.ui_scale
    found = []
    for obj in (*strokes.curves(plane), *strokes.anchors(plane), *strokes.flips(plane)):
        if not obj.visible_get():
            continue
        lines = strokes.world_lines(obj) if obj.type == "CURVE" else [[obj.matrix_world.translation] * 2]
        away = [_distance(place, [location_3d_to_region_2d(region, view, point) for point in line]) for line in lines]
        if away and min(away) <= reach:
            found.append((min(away), obj.name, obj))
    return [obj for _, _, obj in sorted(found)]


def _distance(place, line):
    """Return the distance of a point to a polyline in the region; infinite behind the viewer."""
    if not all(line):
        return float("inf")
    return min((_nearest(place, a, b) - place).length for a, b in itertools.pairwise(line))


def _nearest(place, a, b):
    along = b - a
    share = (place - a).dot(along) / max(along.length_squared, 1e-12)
    return a + along * min(max(share, 0), 1)


def draw_lines(lines, color, region, scale, width=2.5):
    """Draw line segments [((x, y), (x, y)), ...] with a dark outline."""
    import gpu
    from gpu_extras.batch import batch_for_shader

    shader = gpu.shader.from_builtin("POLYLINE_UNIFORM_COLOR")
    ends = [(*point, 0) for pair in lines for point in pair]
    batch = batch_for_shader(shader, "LINES", {"pos": ends})
    gpu.state.blend_set("ALPHA")
    shader.bind()
    shader.uniform_float("viewportSize", (region.width, region.height))
    for wide, tone in ((width + 2.5, SHADE), (width, color)):
        shader.uniform_float("lineWidth", wide * scale)
        shader.uniform_float("color", tone)
        batch.draw(shader)
    gpu.state.blend_set("NONE")


def speed_text(speed: float) -> str:
    return rpt_("{speed:.2f} px/frame").format(speed=speed)


def draw_text(text, line, scale):
    """Draw a text with a dark outline beside the end of a line, where the line does not cross it."""
    place = Vector(line[-1]) + Vector((14, 8 if line[-1][1] >= line[0][1] else -20)) * scale
    blf.size(0, 12 * scale)
    blf.enable(0, blf.SHADOW)
    blf.shadow(0, 5, 0, 0, 0, 1)
    blf.position(0, *place, 0)
    blf.color(0, 1, 1, 1, 1)
    blf.draw(0, text)
    blf.disable(0, blf.SHADOW)


def _draw():
    """Draw the markers of flips, areas, and the speeds of selected strokes at their ends."""
    context = bpy.context
    space = context.space_data
    if space is None or not space.overlay.show_overlays or context.mode.startswith("PAINT"):
        return
    scale, theme = context.preferences.system.ui_scale, context.preferences.themes[0].view_3d
    for obj in context.visible_objects:
        if obj.parent is None:
            continue
        if obj.type == "EMPTY" and strokes.FLIP in obj:
            color = (*theme.object_selected, 1.0) if obj.select_get() else COLOR
            place = _seen(context, obj.matrix_world.translation)
            if place is not None:
                _draw_disc(place, 1.7 * SIZE * scale)
                draw_lines(marker(place, SIZE * scale), color, context.region, scale)
        elif obj.type == "CURVE" and strokes.AREA in obj:
            _draw_area(context, obj, theme, scale)
        elif obj.type == "CURVE" and strokes.SPEED in obj and (obj.select_get() or obj.mode == "EDIT"):
            for line in strokes.world_lines(obj):
                ends = [_seen(context, line[0]), _seen(context, line[-1])]
                if all(ends):
                    draw_text(speed_text(strokes.stroke_speed(obj)), ends, scale)


def _draw_area(context, obj, theme, scale):
    """Draw an area's outlines, except in Edit Mode, where Blender does."""
    color = (*theme.object_selected, 1.0) if obj.select_get() else areas.COLORS[areas.sign(obj)]
    for line in strokes.world_lines(obj) if obj.mode == "OBJECT" else ():
        seen = [_seen(context, point) for point in line]
        if all(seen):
            ends = [(a[:], b[:]) for a, b in itertools.pairwise([*seen, seen[0]])]
            draw_lines(ends, color, context.region, scale, 1.2)


def _draw_disc(place, radius):
    """Draw a dark disc, on which a marker is seen over motion lines."""
    import gpu
    from gpu_extras.batch import batch_for_shader

    rim = [Vector((math.cos(angle), math.sin(angle))) * radius for angle in np.linspace(0, 2 * math.pi, 32)]
    corners = [(*(place + point), 0) for a, b in itertools.pairwise(rim) for point in (Vector((0, 0)), a, b)]
    shader = gpu.shader.from_builtin("UNIFORM_COLOR")
    gpu.state.blend_set("ALPHA")
    shader.bind()
    shader.uniform_float("color", (0, 0, 0, 0.65))
    batch_for_shader(shader, "TRIS", {"pos": corners}).draw(shader)
    gpu.state.blend_set("NONE")


def _seen(context, place):
    return location_3d_to_region_2d(context.region, context.region_data, place)


def marker(place, size):
    """Return two opposite arrows around `place`, as line segments."""
    lines = []
    for turn in (1, -1):
        tail, tip = (place + Vector((x, 0.45)) * size * turn for x in (-1, 1))
        side = [tip + Vector((-0.55, y)) * size * turn for y in (-0.4, 0.4)]
        lines += [(tail, tip), (side[0], tip), (side[1], tip)]
    return [(a[:], b[:]) for a, b in lines]
