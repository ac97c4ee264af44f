# SPDX-License-Identifier: GPL-3.0-or-later
"""The pixel of a plane's image under the mouse pointer.

Convention: `coord` is (x, y) in pixels of the region, y up; pixels of the image as in `map`.
"""

from __future__ import annotations

import bpy
from bpy_extras.view3d_utils import (
    location_3d_to_region_2d,
    region_2d_to_origin_3d,
    region_2d_to_vector_3d,
)
from mathutils import Vector
from mathutils.bvhtree import BVHTree
from mathutils.geometry import intersect_line_plane

from ..errors import PlaneError
from .image import PlaneImage, find_plane_image, plane_of
from .map import PlaneMap


class Pointer:
    """Finds pixels of one plane's image under the pointer. Holds no data-block, so it survives undo.

    Raises:
        PlaneError: the plane's UVs cannot be used.
    """

    def __init__(self, plane: PlaneImage):
        self.name = plane.object.name
        self.mapping = PlaneMap.of(plane)
        self._inverse = self.mapping.matrix.inverted_safe()
        corners = self.mapping.corners
        self._flat = [Vector(corner) for corner in corners[0]] if len(corners) == 1 else None
        self._tree = None
        if self._flat is None:
            places = corners.reshape(-1, 3).tolist()
            order = [(i, i + 1, i + 2) for i in range(0, len(places), 3)]
            self._tree = BVHTree.FromPolygons(places, order, all_triangles=True)

    def pixel(self, region, view, coord) -> tuple[float, float] | None:
        """Return the pixel under `coord`, also beyond the edge of a flat plane; None beside a curved one."""
        hit = self._hit(region, view, coord)
        return None if hit is None else tuple(self.mapping.pixels_of_local([hit])[0].tolist())

    def over(self, region, view, coord) -> bool:
        """Return whether the image is under `coord`."""
        pixel = self.pixel(region, view, coord)
        if pixel is None:
            return False
        low, high = self.mapping.box
        return all(a - 0.5 <= p <= b + 0.5 for a, p, b in zip(low, pixel, high, strict=True))

    def distance(self, view, coord, region) -> float:
        """Return the distance of the hit from the viewer; infinite without one."""
        hit = self._hit(region, view, coord)
        if hit is None:
            return float("inf")
        return (self.mapping.matrix @ hit - region_2d_to_origin_3d(region, view, coord)).length

    def seen(self, region, view, pixels) -> list[Vector | None]:
        """Return where pixels of the image are seen, in pixels of the region; None behind the viewer."""
        return [location_3d_to_region_2d(region, view, Vector(place)) for place in self.mapping.worlds_of(pixels)]

    def _hit(self, region, view, coord):
        origin = self._inverse @ region_2d_to_origin_3d(region, view, coord)
        along = (self._inverse.to_3x3() @ region_2d_to_vector_3d(region, view, coord)).normalized()
        if self._tree is not None:
            return self._tree.ray_cast(origin, along)[0]
        a, b, c = self._flat
        hit = intersect_line_plane(origin, origin + along, a, (b - a).cross(c - a))
        return hit if hit is not None and (hit - origin).dot(along) > 0 else None


def plane_under(context: bpy.types.Context, coord) -> Pointer:
    """Return the pointer of the active plane, if its image is under `coord`, else of the nearest visible one there.

    Raises:
        PlaneError: there is none; with an active plane the pointer may be beside it.
    """
    region, view = context.region, context.region_data
    try:
        active = Pointer(find_plane_image(plane_of(context.active_object)))
    except PlaneError as error:
        active, reason = None, error
    if active is not None and active.over(region, view, coord):
        return active
    others = [pointer for pointer in _pointers(context) if pointer.over(region, view, coord)]
    if others:
        return min(others, key=lambda pointer: pointer.distance(view, coord, region))
    if active is None:
        raise reason
    return active


def _pointers(context):
    for obj in context.visible_objects:
        if obj.type == "MESH":
            try:
                yield Pointer(find_plane_image(obj))
            except PlaneError:
                continue
