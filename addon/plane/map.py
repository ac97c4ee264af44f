# SPDX-License-Identifier: GPL-3.0-or-later
"""Map pixels of the image to points on the plane that shows it, and back.

Coordinates are interpolated over triangles as renderers do, so the mesh may be cropped, flipped, rotated, subdivided
or bent.

Convention:
    Pixels: x right, y down, (0, 0) at the center of the upper left pixel. UVs: origin at the lower left corner of the
    image, v up.
"""

import bpy
import numpy as np
from mathutils import Matrix
from mathutils.bvhtree import BVHTree

from ..errors import PlaneError
from ..texts import rpt_
from .background import frame_of, refuse_moved
from .coordinates import coordinates_of, no_uv_map


class PlaneMap:
    """The position in space of each pixel of a plane's image.

    Args:
        corners: (T, 3, 3) triangles in object space.
        pixels: (T, 3, 2) the same triangles in pixels of the image.
        matrix: from object to world space.
        box: upper left and lower right pixel of the part of the image that the plane shows.
        depths: (T, 3) of a projective map, see `coordinates`; None for an affine one.
    """

    def __init__(self, corners, pixels, matrix, box, depths=None):
        self.corners = np.asarray(corners, float)
        self.pixels = np.asarray(pixels, float)
        self.matrix = Matrix(matrix)
        self.box = np.asarray(box, float)
        self.depths = depths
        self._in_image = self._in_space = None  # made on first use

    @classmethod
    def of(cls, plane):
        """Return the map of a PlaneImage at the scene's current frame.

        Raises:
            PlaneError: the pixels cannot be found by the texture's coordinates.
        """
        if plane.is_background:
            return cls._of_background(plane)
        corners, pixels, depths, _ = _shown(plane)
        box = _box(pixels.reshape(-1, 2))
        if np.ptp(depths) > 1e-6 * depths.max():
            return cls(corners, pixels, plane.object.matrix_world, box, depths)
        return cls(*_flat(corners, pixels, box), plane.object.matrix_world, box)

    @classmethod
    def _of_background(cls, plane):
        refuse_moved(plane.object)
        width, height = plane.size
        low, high = np.array([-0.5, -0.5]), np.array([width - 0.5, height - 0.5])
        square = np.array([low, (high[0], low[1]), (low[0], high[1])])
        left_top, right_top, _, left_bottom = frame_of(plane.object, plane.size)
        corners = np.array([left_top, right_top, left_bottom])
        return cls(corners[None], square[None], plane.object.matrix_world, (low, high))

    def pixel_of(self, world):
        """Return (x, y) of the pixel at a point in world space; points off the plane are projected onto it."""
        return tuple(self.pixels_of([world])[0])

    def pixels_of(self, worlds):
        """Return (n, 2) pixels for (n, 3) points in world space."""
        inverse = np.array(self.matrix.inverted_safe())
        return self.pixels_of_local(np.atleast_2d(np.asarray(worlds, float)) @ inverse[:3, :3].T + inverse[:3, 3])

    def pixels_of_local(self, points):
        """Return (n, 2) pixels for (n, 3) points in object space."""
        if self._in_space is None:
            self._in_space = _Triangles(self.corners)
        weights, chosen = self._in_space.weights(np.atleast_2d(np.asarray(points, float)))
        if self.depths is not None:
            weights = _normalized(weights * self.depths[chosen])
        return np.einsum("nk,nkd->nd", weights, self.pixels[chosen])

    def world_of(self, x, y):
        """Return (x, y, z) in world space of a pixel; pixels beyond the plane's edge are extrapolated."""
        return tuple(self.worlds_of([(x, y)])[0])

    def worlds_of(self, pixels):
        """Return (n, 3) points in world space for (n, 2) pixels."""
        matrix = np.array(self.matrix)
        return self.locals_of(pixels) @ matrix[:3, :3].T + matrix[:3, 3]

    def locals_of(self, pixels):
        """Return (n, 3) points in object space for (n, 2) pixels."""
        if self._in_image is None:
            self._in_image = _Triangles(self.pixels)
        weights, chosen = self._in_image.weights(np.atleast_2d(np.asarray(pixels, float)))
        if self.depths is not None:
            weights = _normalized(weights / self.depths[chosen])
        return np.einsum("nk,nkd->nd", weights, self.corners[chosen])


class _Triangles:
    """Barycentric weights in triangles (T, 3, 2), or (T, 3, 3), onto which points are projected."""

    def __init__(self, corners):
        self.corners = corners
        self._sides = corners[:, 1:] - corners[:, :1]
        self._tree = None
        if len(corners) > 1:
            # The tree has single precision: it holds centered points, and only finds the nearest triangle.
            self._middle = corners.reshape(-1, corners.shape[2]).mean(axis=0)
            count = 3 * len(corners)
            order = np.arange(count).reshape(-1, 3).tolist()
            places = self._in_space(corners.reshape(count, -1))
            self._tree = BVHTree.FromPolygons(places, order, all_triangles=True)

    def weights(self, points):
        """Return barycentric weights (n, 3) of (n, 2 or 3) points in their nearest triangles, and those indices.

        Points outside their triangle have negative weights.
        """
        chosen = np.zeros(len(points), int)
        if self._tree is not None:
            chosen[:] = [self._tree.find_nearest(place)[2] for place in self._in_space(points)]
        sides, offset = self._sides[chosen], points - self.corners[chosen, 0]
        # Least squares: exact in 2D; in 3D the point is projected orthogonally onto the triangle's plane.
        (a, b), c = np.einsum("nd,nkd->kn", sides[:, 0], sides), np.einsum("nd,nd->n", sides[:, 1], sides[:, 1])
        first, second = np.einsum("nkd,nd->kn", sides, offset)
        area = a * c - b * b
        area = np.where(area > 0, area, np.inf)  # a degenerate triangle is reduced to its first corner
        two = np.stack([c * first - b * second, a * second - b * first], axis=1) / area[:, None]
        return np.concatenate([1 - two.sum(axis=1, keepdims=True), two], axis=1), chosen

    def _in_space(self, points):
        places = np.zeros((len(points), 3))
        places[:, : points.shape[1]] = points - self._middle
        return places.tolist()


def _normalized(weights):
    """Return (n, 3) weights divided by their sum; of points beyond the horizon as they are."""
    total = weights.sum(axis=1, keepdims=True)
    return weights / np.where(total > 1e-9, total, 1)


def _box(points):
    """Return the minimum and maximum coordinates of (n, D) points."""
    axes = np.ascontiguousarray(points.T)  # contiguous rows: ten times as fast
    return axes.min(axis=1), axes.max(axis=1)


def _flat(corners, pixels, box):
    """Reduce the map to one triangle if it is affine, as for a flat plane, however subdivided."""
    (low, high), far, places = box, pixels.reshape(-1, 2), corners.reshape(-1, 3)
    known = np.concatenate([(far - low) / (high - low) - 0.5, np.ones((len(far), 1))], axis=1)
    # Test a few points first: most maps that are not affine fail there.
    for few in (slice(None, None, 1 + len(far) // 64), slice(None)):
        seen, there = known[few], places[few]
        affine = np.linalg.lstsq(seen.T @ seen, seen.T @ there, rcond=None)[0]
        if np.abs(seen @ affine - there).max() > 1e-6 * np.abs(np.subtract(*_box(there))).max():
            return corners, pixels
    ends = np.array([(-0.5, -0.5, 1), (0.5, -0.5, 1), (-0.5, 0.5, 1)])
    square = np.array([low, (high[0], low[1]), (low[0], high[1])])
    return (ends @ affine)[None], square[None]


def corner_values(plane, attribute):
    """Return triangles (T, 3, 2) in pixels, and the luminance (T, 3) of a color attribute at their corners.

    Raises:
        PlaneError: the mesh has no such attribute, or no UVs.
    """
    _, pixels, _, values = _shown(plane, attribute)
    return pixels, values


def shown_triangles(plane):
    """Return corners (T, 3, 3) in object space and pixels (T, 3, 2) of the triangles that show the image.

    Raises:
        PlaneError: as PlaneMap.of.
    """
    return _shown(plane)[:2]


def _shown(plane, attribute=None):
    """Return corners, pixels, depths and attribute values of the triangles whose area in the image is not 0."""
    coordinates = coordinates_of(plane)
    corners, points, depths, values = _triangles(plane.object, coordinates, plane.slot, attribute)
    uvs = coordinates.mapped(points)
    if plane.node.extension == "REPEAT":
        uvs = uvs - np.floor(uvs.reshape(-1, 2).mean(axis=0))
    width, height = plane.size
    pixels = np.stack([uvs[..., 0] * width - 0.5, (1 - uvs[..., 1]) * height - 0.5], axis=-1)
    (ax, ay), (bx, by) = (pixels[:, 1:] - pixels[:, :1]).transpose(1, 2, 0)
    wide = np.abs(ax * by - ay * bx) > 1e-9
    if not wide.any():
        text = rpt_('The texture coordinates of "{name}" have no area: unwrap the plane')
        if coordinates.kind == "UV":
            text = rpt_('The UVs of "{name}" have no area: unwrap the plane')
        raise PlaneError(text.format(name=plane.object.name))
    return corners[wide], pixels[wide], depths[wide], values[wide]


def _triangles(obj, coordinates, slot, attribute):
    """Return, of the faces in a material slot, (T, 3, 3) corners in object space and their coordinates, and (T, 3)
    depths and values; only those before the camera.
    """
    if obj.mode == "EDIT":
        obj.update_from_editmode()
    evaluated = obj.evaluated_get(bpy.context.evaluated_depsgraph_get()) if obj.modifiers else obj
    mesh = evaluated.to_mesh()
    try:
        mesh.calc_loop_triangles()
        count = len(mesh.loop_triangles)
        vertices = _read(mesh.loop_triangles, "vertices", (count, 3), np.int32)
        loops = _read(mesh.loop_triangles, "loops", (count, 3), np.int32)
        faces = _read(mesh.loop_triangles, "polygon_index", (count,), np.int32)
        materials = _read(mesh.polygons, "material_index", (len(mesh.polygons),), np.int32)
        places = _read(mesh.vertices, "co", (len(mesh.vertices), 3), np.float32).astype(float)
        if coordinates.kind == "UV":
            uvs = _read(_uv_layer(obj, mesh, coordinates.uv_map).uv, "vector", (len(mesh.loops), 2), np.float32)
            points, depths = np.pad(uvs.astype(float), [(0, 0), (0, 1)])[loops], np.ones((count, 3))
        else:
            points, depths = (each[vertices] for each in coordinates.at_vertices(obj, places))
        values = _values(mesh, attribute, vertices, loops) if attribute else np.zeros((count, 3))
    finally:
        evaluated.to_mesh_clear()
    shown = np.minimum(materials[faces], max(len(obj.material_slots) - 1, 0)) == slot
    if not shown.any():
        text = rpt_('No face of "{name}" uses the material: assign it to the plane\'s face')
        raise PlaneError(text.format(name=obj.name))
    shown &= np.isfinite(depths).all(axis=1)
    if not shown.any():
        text = rpt_('"{name}" is behind the camera, whose coordinates its texture has')
        raise PlaneError(text.format(name=obj.name))
    return places[vertices][shown], points[shown], depths[shown], values[shown]


def _uv_layer(obj, mesh, name):
    if not mesh.uv_layers:
        raise PlaneError(rpt_('"{name}" has no UV map: unwrap it').format(name=obj.name))
    active = next((u for u in mesh.uv_layers if u.active_render), mesh.uv_layers[0])
    layer = mesh.uv_layers.get(name) if name else active
    if layer is None:
        raise no_uv_map(obj, name)
    return layer


def _read(collection, name, shape, kind):
    values = np.empty(int(np.prod(shape)), kind)
    collection.foreach_get(name, values)
    return values.reshape(shape)


def _values(mesh, name, vertices, loops):
    attribute = mesh.color_attributes.get(name)
    if attribute is None:
        raise PlaneError(rpt_('The mesh has no color attribute "{name}" to use as mask').format(name=name))
    colors = _read(attribute.data, "color", (len(attribute.data), 4), np.float32)
    grey = colors[:, :3] @ np.array([0.2126, 0.7152, 0.0722])
    return grey[vertices if attribute.domain == "POINT" else loops]
