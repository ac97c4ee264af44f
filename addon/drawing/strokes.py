# SPDX-License-Identifier: GPL-3.0-or-later
"""Strokes, anchors and flips on a plane, and what they have in common with areas.

A stroke is any curve parented to the plane without the property AREA: the flow goes from its first point to its last.
Its speed is a custom property of the object, scaled by the radius of each point. An anchor, a point that stays still,
is any empty parented to the plane; a flip, which turns the predicted flow around it, is one with the property FLIP.
Objects disabled in viewports are ignored.

Convention:
    Children are in the plane's object space, so moving the plane does not change the hints. They are projected
    orthogonally onto the plane, and mapped to pixels by its UVs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import bpy
import numpy as np
from mathutils import Vector
from mathutils.geometry import interpolate_bezier

from ..errors import PlaneError
from ..plane.image import PlaneImage
from ..plane.map import PlaneMap
from ..texts import rpt_

# Property on a stroke: pixels per frame. Curves without it have the default.
SPEED = "loopcore_speed"
DEFAULT_SPEED = 1.0
# Property on an empty: it is a flip.
FLIP = "loopcore_flip"
# Property on a curve: it is an area.
AREA = "loopcore_area"


def add_stroke(
    context: bpy.types.Context, plane: PlaneImage, points: Iterable[tuple[float, float]] | None = None,
    speed: float = DEFAULT_SPEED, radii: Iterable[float] | None = None,
) -> bpy.types.Object:  # fmt: skip
    """Add a curve through `points` (pixels), or across the middle of the visible image; returns its object.

    `radii` scale the speed at each point.

    Raises:
        PlaneError: there are fewer than two different points, or the speed is negative.
    """
    context.view_layer.update()  # a script may have moved the plane
    mapping = PlaneMap.of(plane)
    if speed < 0:
        raise PlaneError(
            rpt_(
                "A stroke's speed must be 0 or more, not {speed:g}: to reverse the flow, switch the curve's direction"
            ).format(speed=speed)
        )
    drawn = points is not None
    places = np.array(list(points) if drawn else _across(mapping), float)
    if places.ndim != 2 or len(places) < 2 or not np.ptp(places, axis=0).any():
        raise PlaneError(rpt_("A stroke needs at least two different points"))
    obj = child(context, plane, "Stroke", curve(mapping.locals_of(places), "POLY" if drawn else "BEZIER"))
    if radii is not None:
        obj.data.splines[0].points.foreach_set("radius", list(radii))
    obj.color = (0.1, 0.8, 1.0, 1.0)
    obj[SPEED] = float(speed)
    obj.id_properties_ui(SPEED).update(
        min=0.0, soft_max=10.0, subtype="PIXEL",
        description="Pixels of the image per frame, scaled by the radius of each point",
    )  # fmt: skip
    return obj


def curve(points: np.ndarray, kind: str) -> bpy.types.Curve:
    """Return a curve with one spline, POLY or BEZIER, through (n, 3) points."""
    data = bpy.data.curves.new("Stroke", "CURVE")
    data.dimensions = "3D"
    spline = data.splines.new(kind)
    ends = spline.points if kind == "POLY" else spline.bezier_points
    ends.add(len(points) - 1)
    for end, point in zip(ends, points, strict=True):
        if kind == "POLY":
            end.co = (*point, 1)
        else:
            end.co = point
            end.handle_left_type = end.handle_right_type = "AUTO"
    return data


def add_anchor(
    context: bpy.types.Context, plane: PlaneImage, point: tuple[float, float] | None = None
) -> bpy.types.Object:
    """Add an empty at `point` (pixels), else at the 3D cursor if that is over the plane, else at its center."""
    context.view_layer.update()
    mapping = PlaneMap.of(plane)
    low, high = mapping.box
    if point is None:
        point = mapping.pixel_of(context.scene.cursor.location)
        if context.scene.cursor.location.length == 0 or not ((low <= point) & (point <= high)).all():
            point = (low + high) / 2
    return _spot(context, plane, mapping, "Anchor", point)


def add_flip(context: bpy.types.Context, plane: PlaneImage, point: tuple[float, float]) -> bpy.types.Object:
    """Add an empty at `point` (pixels) that turns the predicted flow of the region there round."""
    context.view_layer.update()
    obj = _spot(context, plane, PlaneMap.of(plane), "Flip", point)
    obj.empty_display_type, obj[FLIP] = "CIRCLE", True
    # A circle lies in the plane of its x and z axes, an image plane in that of x and y.
    obj.rotation_euler = (np.pi / 2, 0, 0)
    obj.scale.yz = obj.scale.zy
    return obj


def _spot(context, plane, mapping, name, point):
    """Add an empty that is seen as a sphere, with a radius of 1/50 of the image's longer side."""
    low, high = mapping.box
    obj = child(context, plane, name, None)
    obj.empty_display_type = "SPHERE"
    obj.location = mapping.locals_of([point])[0]
    # The scale undoes the plane's, so the sphere is round.
    size = float(np.ptp(mapping.worlds_of([low, high]), axis=0).max()) / 50
    obj.empty_display_size = 1.0
    obj.scale = [size / (s or 1) for s in plane.object.matrix_world.to_scale()]
    return obj


def strokes(plane: bpy.types.Object) -> list[bpy.types.Object]:
    """Return the strokes of a plane that are enabled in viewports."""
    return [obj for obj in curves(plane) if AREA not in obj]


def curves(plane: bpy.types.Object) -> list[bpy.types.Object]:
    """Return the curves parented to a plane that are enabled in viewports."""
    return [obj for obj in plane.children if obj.type == "CURVE" and not obj.hide_viewport]


def anchors(plane: bpy.types.Object) -> list[bpy.types.Object]:
    """Return the empties parented to a plane that are enabled in viewports, except flips."""
    return [spot for spot in _spots(plane) if FLIP not in spot]


def flips(plane: bpy.types.Object) -> list[bpy.types.Object]:
    """Return the flips of a plane that are enabled in viewports."""
    return [spot for spot in _spots(plane) if FLIP in spot]


def _spots(plane):
    return [
        obj for obj in plane.children
        if obj.type == "EMPTY" and obj.empty_display_type != "IMAGE" and not obj.hide_viewport
        and obj.instance_type == "NONE"
    ]  # fmt: skip


def world_lines(obj: bpy.types.Object) -> Iterator[list[Vector]]:
    """Yield the points of each spline of a stroke in world space, in its direction."""
    for spline in obj.data.splines:
        points, _ = sampled(spline)
        if len(points) > 1:
            yield [obj.matrix_world @ Vector(point) for point in points]


def stroke_speed(obj: bpy.types.Object) -> float:
    """Return the speed of a stroke, in pixels of the image per frame."""
    return max(float(obj.get(SPEED, DEFAULT_SPEED)), 0.0)


def sampled(spline) -> tuple[list, list]:
    """Return points along a spline in the curve's space, and the radius at each."""
    if spline.type != "BEZIER":
        # For NURBS the control points do: the motion field is smoother than the difference.
        ends = [*spline.points, *(spline.points[:1] if spline.use_cyclic_u else ())]
        return [point.co[:3] for point in ends], [point.radius for point in ends]
    ends = [*spline.bezier_points, *(spline.bezier_points[:1] if spline.use_cyclic_u else ())]
    points, radii = [], []
    steps = max(spline.resolution_u, 4)
    for a, b in zip(ends, ends[1:], strict=False):
        points += interpolate_bezier(a.co, a.handle_right, b.handle_left, b.co, steps + 1)[:-1]
        radii += np.linspace(a.radius, b.radius, steps, endpoint=False).tolist()
    return [*points, ends[-1].co], [*radii, ends[-1].radius]


def local_matrix(obj):
    """Return the matrix from a child's space to the plane's, valid also before the depsgraph is evaluated."""
    return obj.matrix_parent_inverse @ obj.matrix_basis


def child(context: bpy.types.Context, plane: PlaneImage, name: str, data: bpy.types.ID | None) -> bpy.types.Object:
    """Add an object that is parented to a plane, and shown through it."""
    homes = [c for c in plane.object.users_collection if not c.library and not c.override_library]
    obj = bpy.data.objects.new(f"{plane.object.name} {name}", data)
    obj.parent = plane.object
    obj.show_in_front, obj.hide_render = True, True
    (homes[0] if homes else context.scene.collection).objects.link(obj)
    return obj


def _across(mapping):
    low, high = mapping.box
    middle, reach = (low + high) / 2, (high - low)[0] / 6
    return [middle - (reach, 0), middle, middle + (reach, 0)]
