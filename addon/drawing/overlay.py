# SPDX-License-Identifier: GPL-3.0-or-later
"""The viewport overlay: the motion of planes as arrows or streaks, and the direction of each stroke."""

import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass

import bpy
from bpy_extras.view3d_utils import location_3d_to_region_2d
from mathutils import Vector

from . import motion_lines, strokes
from .motion_lines import Lines

LIFT = 0.002  # offset towards the viewer against z-fighting, as a share of the plane's larger side
SHADE = 0.55  # opacity of the dark outline that makes lines visible over bright areas
BUDGET_S = 0.008  # time limit per redraw for computing pieces of lines
HEAD, MIN_HEAD = 12, 6  # length of arrow heads in screen pixels

_handles: list = []
_drawn: dict[int, "Drawn"] = {}
_waiting: list[int] = []  # objects whose lines the last drawing had no time for
# Number of updates of any object or mesh. Reading which ones they were, depsgraph.updates, crashes Blender after undo.
_updates = 0


@dataclass
class Drawn:
    """The lines of one object, the inputs they were computed from, and the computation while it runs."""

    source: tuple
    updates: int  # the count when the shape in `source` was read
    computation: Iterator[Lines | None] | None
    lines: Lines
    batches: list | None = None


def register():
    # The gpu module cannot be used in background mode.
    if bpy.app.background or _handles:
        return
    for draw, when in ((_draw_motion, "POST_VIEW"), (_draw_strokes, "POST_PIXEL")):
        _handles.append(bpy.types.SpaceView3D.draw_handler_add(draw, (), "WINDOW", when))
    bpy.app.handlers.depsgraph_update_post.append(_changed)


def unregister():
    for handle in _handles:
        bpy.types.SpaceView3D.draw_handler_remove(handle, "WINDOW")
    _handles.clear()
    if bpy.app.timers.is_registered(_draw_again):
        bpy.app.timers.unregister(_draw_again)
    if _changed in bpy.app.handlers.depsgraph_update_post:
        bpy.app.handlers.depsgraph_update_post.remove(_changed)
    _drawn.clear()
    _waiting.clear()


@bpy.app.handlers.persistent
def _changed(_scene, depsgraph):
    global _updates
    if depsgraph.id_type_updated("OBJECT") or depsgraph.id_type_updated("MESH"):
        _updates += 1


def updates() -> int:
    """Return the number of updates of any object or mesh, which changes whenever one has moved or changed."""
    return _updates


def lines_of(obj) -> Drawn | None:
    """Compute further pieces; return the lines of `obj`, the previous ones until finished, or None without a motion."""
    uid, file = obj.session_uid, motion_lines.arrows_file(obj)
    try:
        stamp = (str(file), file.stat().st_mtime_ns, obj.loopcore.motion_style)
    except (AttributeError, OSError):
        _drawn.pop(uid, None)
        return None
    kept = _drawn.get(uid)
    shape = kept.source[-1] if kept is not None and kept.updates == _updates else motion_lines.shape_of(obj)
    source = (*stamp, shape)
    if kept is None or kept.source != source:
        computation = motion_lines.compute(obj, file, obj.loopcore.motion_style)
        kept = _drawn[uid] = Drawn(
            source, _updates, computation, kept.lines if kept else Lines(), kept and kept.batches
        )
    kept.updates = _updates
    until = time.perf_counter() + BUDGET_S
    while kept.computation is not None:
        lines = next(kept.computation)
        if lines is not None:
            kept.computation, kept.lines, kept.batches = None, lines, None
        if time.perf_counter() > until:
            break
    return kept


def _draw_motion():
    space = bpy.context.space_data
    if space is None or not space.overlay.show_overlays:
        return
    meshes = [obj for obj in bpy.context.visible_objects if obj.type == "MESH"]
    found = lines_of_all([obj for obj in meshes if obj.loopcore.show_motion])
    for obj, drawn in found:
        if len(drawn.lines.points):
            _draw_lines(drawn, obj.matrix_world, max(obj.dimensions) * LIFT)
    unfinished = _waiting or any(drawn.computation is not None for _, drawn in found)
    # Blender ignores tag_redraw while it draws the window.
    if unfinished and not bpy.app.timers.is_registered(_draw_again):
        bpy.app.timers.register(_draw_again, first_interval=0.0)


def lines_of_all(objects) -> list[tuple[bpy.types.Object, Drawn]]:
    """Compute further pieces within the time limit; return the objects with a motion, and their lines as `lines_of`.

    Objects for which there is no time keep the lines they have, and come first in the next call.
    """
    ranks = {uid: rank for rank, uid in enumerate(_waiting)}
    objects = sorted(objects, key=lambda obj: ranks.get(obj.session_uid, len(ranks)))
    _waiting.clear()
    found, until, late = [], time.perf_counter() + BUDGET_S, False
    for obj in objects:
        before = _drawn.get(obj.session_uid)
        if late:
            _waiting.append(obj.session_uid)
            drawn = before
        else:
            computing = before is not None and before.computation is not None
            drawn = lines_of(obj)
            late = (computing or drawn is not before) and time.perf_counter() > until
        if drawn is not None:
            found.append((obj, drawn))
    return found


def _draw_again():
    for window in bpy.context.window_manager.windows:
        for area in window.screen.areas:
            if area.type == "VIEW_3D":
                area.tag_redraw()


def _draw_lines(drawn: Drawn, matrix, lift: float):
    import gpu
    from gpu_extras.batch import batch_for_shader

    region, view = bpy.context.region, bpy.context.region_data
    scale = bpy.context.preferences.system.ui_scale
    shader = gpu.shader.from_builtin("POLYLINE_SMOOTH_COLOR")
    if drawn.batches is None:
        lines = drawn.lines
        points, colors, shade = lines.points.astype("f4"), lines.colors.astype("f4"), lines.colors.astype("f4")
        shade[:, :3], shade[:, 3] = 0, SHADE * shade[:, 3]
        # The outline first.
        drawn.batches = [(width, batch_for_shader(shader, "LINES", {"pos": points, "color": color}))
                         for width, color in ((4.5, shade), (2.5, colors))]  # fmt: skip
    gpu.state.blend_set("ALPHA")
    gpu.state.depth_test_set("LESS_EQUAL")
    shader.bind()
    shader.uniform_float("viewportSize", (region.width, region.height))
    for nearer, (width, batch) in enumerate(drawn.batches, 1):
        with gpu.matrix.push_pop():
            gpu.matrix.translate(view.view_rotation @ Vector((0, 0, nearer * lift)))
            gpu.matrix.multiply_matrix(matrix)
            shader.uniform_float("lineWidth", width * scale)
            batch.draw(shader)
    gpu.state.depth_test_set("NONE")
    gpu.state.blend_set("NONE")


# Strokes


def _draw_strokes():
    """Draw each stroke in its object color, with an arrow head and an outline, except in paint modes."""
    space = bpy.context.space_data
    if space is None or not space.overlay.show_overlays or bpy.context.mode.startswith("PAINT"):
        return
    shapes = stroke_shapes(bpy.context)
    if shapes.lines:
        _draw_shapes(shapes)


@dataclass
class Shapes:
    """Line ends and triangle corners in screen space, and the color of each; of lines also that of their outline."""

    lines: list
    line_colors: list
    outline_colors: list
    corners: list
    corner_colors: list


def stroke_shapes(context) -> Shapes:
    """Return all visible strokes in screen space; of one in Edit Mode, whose lines Blender draws, the arrow heads."""
    shapes, scale = Shapes([], [], [], [], []), context.preferences.system.ui_scale
    for obj in context.visible_objects:
        if obj.type != "CURVE" or not _is_stroke(obj):
            continue
        for line in strokes.world_lines(obj):
            line_2d = [location_3d_to_region_2d(context.region, context.region_data, point) for point in line]
            if all(line_2d):
                _add_stroke(shapes, line_2d, obj.color[:], _outline_color(context, obj), scale, obj.mode == "OBJECT")
    return shapes


def _is_stroke(obj):
    """Return whether a curve is a stroke: it has a speed, or the plane it is parented to has a motion."""
    parent = obj.parent
    return parent is not None and strokes.AREA not in obj and (strokes.SPEED in obj or bool(parent.loopcore.motion))


def _outline_color(context, obj):
    """Return the theme's color of selected and active objects, else a shade."""
    if not obj.select_get():
        return 0.0, 0.0, 0.0, SHADE
    theme = context.preferences.themes[0].view_3d
    return *(theme.object_active if obj == context.active_object else theme.object_selected), 1.0


def _add_stroke(shapes, seen, color, outline_color, scale, whole):
    length = sum((b - a).length for a, b in itertools.pairwise(seen))
    head = head_of(seen, min(HEAD * scale, max(MIN_HEAD * scale, length / 3)))
    outline = itertools.pairwise([*head, head[0]]) if head else ()
    ends = [(*point, 0) for pair in (*(itertools.pairwise(seen) if whole else ()), *outline) for point in pair]
    shapes.lines += ends
    shapes.line_colors += [color] * len(ends)
    shapes.outline_colors += [outline_color] * len(ends)
    shapes.corners += [(*point, 0) for point in head]
    shapes.corner_colors += [color] * len(head)


def _draw_shapes(shapes: Shapes):
    import gpu
    from gpu_extras.batch import batch_for_shader

    region, scale = bpy.context.region, bpy.context.preferences.system.ui_scale
    line, fill = (gpu.shader.from_builtin(name) for name in ("POLYLINE_SMOOTH_COLOR", "SMOOTH_COLOR"))
    gpu.state.blend_set("ALPHA")
    line.bind()
    line.uniform_float("viewportSize", (region.width, region.height))
    for width, colors in ((5.5, shapes.outline_colors), (2.5, shapes.line_colors)):
        line.uniform_float("lineWidth", width * scale)
        batch_for_shader(line, "LINES", {"pos": shapes.lines, "color": colors}).draw(line)
    if shapes.corners:
        fill.bind()
        batch_for_shader(fill, "TRIS", {"pos": shapes.corners, "color": shapes.corner_colors}).draw(fill)
    gpu.state.blend_set("NONE")


def head_of(seen, size):
    """Return the corners of the arrow head of a line in screen space, the tip first; none for a line of length 0."""
    tip = Vector(seen[-1])
    # The last segment may be very short, so take the direction from a point at least one head's length away.
    back = next((Vector(p) for p in reversed(seen) if (tip - Vector(p)).length >= size), Vector(seen[0]))
    along = tip - back
    if along.length < 1e-6:
        return []
    along = along.normalized() * size
    across = Vector((-along.y, along.x)) * 0.45
    return [tip + along * 0.35, tip - along * 0.65 + across, tip - along * 0.65 - across]
