# SPDX-License-Identifier: GPL-3.0-or-later
"""Hints that are drawn on a plane: curves that the flow follows, empties that stay still; written for Loopcore.

A stroke is any curve parented to the plane: it flows from its first point to its last. Its speed is a property on the
object; the radius of each point scales it there. An anchor is any empty parented to the plane. Hidden ones (the monitor
in the outliner) do not count. The mask is in `mask`.

Convention: children lie in the plane's own space, so they follow it wherever it goes, and what they say about the
picture does not change with that. They are dropped straight onto the plane, and turned into pixels by its UVs.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import bpy
import numpy as np
from mathutils import Vector
from mathutils.geometry import interpolate_bezier

from . import mask
from .files import write_whole
from .mask import add_mask, refusing
from .plane import PlaneError, PlaneImage, PlaneMap

__all__ = ["add_anchor", "add_mask", "add_stroke", "anchors", "hints_file", "hints_json", "stroke_speed", "strokes"]

# On a stroke: pixels of the picture a frame. Curves without it, drawn by other means, have the default.
SPEED = "loopcore_speed"
DEFAULT_SPEED = 1.0


def add_stroke(
    context: bpy.types.Context, plane: PlaneImage, points: Iterable[tuple[float, float]] | None = None,
    speed: float = DEFAULT_SPEED,
) -> bpy.types.Object:  # fmt: skip
    """A curve on the plane through `points` (pixels), or one to be dragged, across the middle of what the plane shows.

    Raises:
        PlaneError: fewer than two different points, or a negative speed.
    """
    context.view_layer.update()  # scripts may have moved the plane just now
    mapping = PlaneMap.of(plane)
    if speed < 0:
        raise PlaneError(f"A stroke's speed is 0 or more, not {speed:g}: to turn the flow round, reverse the curve")
    drawn = points is not None
    places = np.array(list(points) if drawn else _across(mapping), float)
    if places.ndim != 2 or len(places) < 2 or not np.ptp(places, axis=0).any():
        raise PlaneError("A stroke needs two different points or more")
    curve = bpy.data.curves.new("Stroke", "CURVE")
    curve.dimensions = "3D"
    spots = mapping.locals_of(places)
    spline = curve.splines.new("POLY" if drawn else "BEZIER")
    if drawn:
        spline.points.add(len(spots) - 1)
        for point, spot in zip(spline.points, spots, strict=True):
            point.co = (*spot, 1)
    else:
        spline.bezier_points.add(len(spots) - 1)
        for point, spot in zip(spline.bezier_points, spots, strict=True):
            point.co = spot
            point.handle_left_type = point.handle_right_type = "AUTO"
    obj = _child(context, plane, "Stroke", curve)
    obj.color = (0.1, 0.8, 1.0, 1.0)
    obj[SPEED] = float(speed)
    obj.id_properties_ui(SPEED).update(
        min=0.0, soft_max=10.0, subtype="PIXEL",
        description="Pixels of the picture a frame; the points' radius scales it",
    )  # fmt: skip
    return obj


def add_anchor(
    context: bpy.types.Context, plane: PlaneImage, point: tuple[float, float] | None = None
) -> bpy.types.Object:
    """An empty on the plane at `point` (pixels); else at the 3D cursor, where that is over it, or in its middle."""
    context.view_layer.update()
    mapping = PlaneMap.of(plane)
    low, high = mapping.box
    if point is None:
        point = mapping.pixel_of(context.scene.cursor.location)
        if context.scene.cursor.location.length == 0 or not ((low <= point) & (point <= high)).all():
            point = (low + high) / 2
    obj = _child(context, plane, "Anchor", None)
    obj.empty_display_type = "SPHERE"
    obj.location = mapping.locals_of([point])[0]
    # A fiftieth of the picture, round whatever the plane's scale.
    size = float(np.ptp(mapping.worlds_of([low, high]), axis=0).max()) / 50
    obj.empty_display_size = 1.0
    obj.scale = [size / (s or 1) for s in plane.object.matrix_world.to_scale()]
    return obj


def strokes(plane: bpy.types.Object) -> list[bpy.types.Object]:
    """The curves parented to a plane that count."""
    return [child for child in plane.children if child.type == "CURVE" and not child.hide_viewport]


def anchors(plane: bpy.types.Object) -> list[bpy.types.Object]:
    """The empties parented to a plane that count."""
    return [
        child for child in plane.children
        if child.type == "EMPTY" and child.empty_display_type != "IMAGE" and not child.hide_viewport
        and child.instance_type == "NONE"
    ]  # fmt: skip


def world_lines(obj: bpy.types.Object) -> Iterator[list[Vector]]:
    """Points in space along each spline of a stroke, from its first to its last."""
    for spline in obj.data.splines:
        points, _ = _sampled(spline)
        if len(points) > 1:
            yield [obj.matrix_world @ Vector(point) for point in points]


def stroke_speed(obj: bpy.types.Object) -> float:
    """Pixels of the picture a frame along a stroke."""
    return max(float(obj.get(SPEED, DEFAULT_SPEED)), 0.0)


def hints_json(plane: PlaneImage) -> dict | None:
    """Loopcore's own hints JSON of all that was drawn; None where nothing was. A mask is named, not written.

    Raises:
        PlaneError: the plane has no UVs to place anything by.
    """
    return _document(plane)[0]


def _document(plane):
    """The hints, or None, and the names of the objects that the strokes in them come from, in their order."""
    mapping = PlaneMap.of(plane)
    document: dict = {"loopcore_hints": 1, "size": list(plane.size)}
    lines = [(obj.name, line) for obj in strokes(plane.object) for line in _lines(obj, mapping)]
    if lines:
        document["strokes"] = [line for _, line in lines]
    spots = [_local(obj).translation for obj in anchors(plane.object)]
    if spots:
        document["anchors"] = [[round(x, 3), round(y, 3)] for x, y in mapping.pixels_of_local(spots).tolist()]
    if mask.source_of(plane.object) is not None:
        document["mask"] = mask.MASK_FILE
    return document if len(document) > 2 else None, [name for name, _ in lines]


def hints_file(plane: PlaneImage, folder: str | Path) -> tuple[Path, Callable[[], None], list[str]] | None:
    """hints.json in `folder`, what writes it there and needs no Blender, and each stroke's object's name.

    None where nothing was drawn. A mask is to lie beside it, as MASK_FILE.

    Raises:
        PlaneError: as hints_json; when called: the folder cannot be written to.
    """
    document, names = _document(plane)
    if document is None:
        return None
    path, text = Path(folder) / "hints.json", json.dumps(document, indent=1) + "\n"
    return path, refusing(lambda: write_whole(path, text.encode()), path.parent), names


# Curves


def _lines(obj, mapping) -> Iterator[dict]:
    """The strokes of a curve object, one a spline, in pixels."""
    matrix, speed = _local(obj), stroke_speed(obj)
    for spline in obj.data.splines:
        points, radii = _sampled(spline)
        if len(points) < 2:
            continue
        pixels = mapping.pixels_of_local([matrix @ Vector(point) for point in points])
        kept = np.concatenate([[True], np.linalg.norm(np.diff(pixels, axis=0), axis=1) > 1e-6])
        pixels, radii = pixels[kept], np.asarray(radii)[kept]
        if len(pixels) < 2:
            continue
        even = np.ptp(radii) < 1e-6
        speeds = speed * float(radii[0]) if even else [round(v, 5) for v in (speed * radii).tolist()]
        yield {"points": [[round(x, 3), round(y, 3)] for x, y in pixels.tolist()], "speed": speeds}


def _sampled(spline) -> tuple[list, list]:
    """Points along a spline in the curve's own space, and the radius at each."""
    if spline.type != "BEZIER":
        # NURBS are taken by their control points: the flow is smoother than the difference.
        ends = [*spline.points, *(spline.points[:1] if spline.use_cyclic_u else ())]
        return [point.co[:3] for point in ends], [point.radius for point in ends]
    ends = [*spline.bezier_points, *(spline.bezier_points[:1] if spline.use_cyclic_u else ())]
    points, radii = [], []
    steps = max(spline.resolution_u, 4)
    for a, b in zip(ends, ends[1:], strict=False):
        points += interpolate_bezier(a.co, a.handle_right, b.handle_left, b.co, steps + 1)[:-1]
        radii += np.linspace(a.radius, b.radius, steps, endpoint=False).tolist()
    return [*points, ends[-1].co], [*radii, ends[-1].radius]


def _local(obj):
    """From the child's own space to the plane's; as it is now, whether or not the scene was evaluated since."""
    return obj.matrix_parent_inverse @ obj.matrix_basis


def _child(context, plane, name, data):
    obj = bpy.data.objects.new(f"{plane.object.name} {name}", data)
    obj.parent = plane.object
    obj.show_in_front, obj.hide_render = True, True
    home = plane.object.users_collection
    (home[0] if home else context.scene.collection).objects.link(obj)
    return obj


def _across(mapping):
    low, high = mapping.box
    middle, reach = (low + high) / 2, (high - low)[0] / 6
    return [middle - (reach, 0), middle, middle + (reach, 0)]
