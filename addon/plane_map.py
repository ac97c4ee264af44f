# SPDX-License-Identifier: GPL-3.0-or-later
"""From pixels of the picture to points on the plane that shows it, and back.

Renderers interpolate UVs over triangles, and so does this: whatever the mesh (cropped, flipped, rotated, subdivided,
bent), a pixel is found where it is seen.

Convention: pixels as everywhere in Loopcore, x right, y down, (0, 0) in the middle of the upper left pixel. UVs have
their origin in the lower left corner of the picture, v up.
"""

import bpy
import numpy as np
from mathutils import Matrix
from mathutils.kdtree import KDTree

# From how many triangles on a point's own is looked for among its neighbours first, and among how many of them.
_FEW, _NEAR = 32, 12


class PlaneError(RuntimeError):
    """Something about the plane keeps it from being animated; the message is for people."""


class PlaneMap:
    """Where each pixel of a plane's picture is in space.

    corners: (T, 3, 3) triangles in the object's own space; pixels: (T, 3, 2) the same triangles in pixels.
    box: the part of the picture that the plane shows, its upper left and lower right pixel.
    """

    def __init__(self, corners, pixels, matrix, box):
        self.corners = np.asarray(corners, float)
        self.pixels = np.asarray(pixels, float)
        self.matrix = Matrix(matrix)
        self.box = np.asarray(box, float)

    @classmethod
    def of(cls, plane):
        """The map of a PlaneImage as it stands at the current frame.

        Raises:
            PlaneError: the mesh has no UVs, or the texture's coordinates are not the mesh's UVs.
        """
        corners, pixels, _ = _shown(plane)
        box = pixels.min(axis=(0, 1)), pixels.max(axis=(0, 1))
        return cls(*_flat(corners, pixels), plane.object.matrix_world, box)

    def pixel_of(self, world):
        """(x, y) of the pixel that is seen at a point in world space; points off the plane are dropped onto it."""
        return tuple(self.pixels_of([world])[0])

    def pixels_of(self, worlds):
        """(n, 2) pixels for (n, 3) points in world space."""
        inverse = np.array(self.matrix.inverted_safe())
        return self.pixels_of_local(np.atleast_2d(np.asarray(worlds, float)) @ inverse[:3, :3].T + inverse[:3, 3])

    def pixels_of_local(self, points):
        """(n, 2) pixels for (n, 3) points in the object's own space."""
        weights, chosen = _barycentric(np.atleast_2d(np.asarray(points, float)), self.corners)
        return np.einsum("nk,nkd->nd", weights, self.pixels[chosen])

    def world_of(self, x, y):
        """(x, y, z) in world space of a pixel; pixels beyond the plane's edge lie in its continuation."""
        return tuple(self.worlds_of([(x, y)])[0])

    def worlds_of(self, pixels):
        """(n, 3) points in world space for (n, 2) pixels."""
        matrix = np.array(self.matrix)
        return self.locals_of(pixels) @ matrix[:3, :3].T + matrix[:3, 3]

    def locals_of(self, pixels):
        """(n, 3) points in the object's own space for (n, 2) pixels."""
        weights, chosen = _barycentric(np.atleast_2d(np.asarray(pixels, float)), self.pixels)
        return np.einsum("nk,nkd->nd", weights, self.corners[chosen])


def _barycentric(points, triangles):
    """Weights (n, 3) of each point in the triangle that it lies in, or is nearest to, and that triangle's index."""
    every = np.arange(len(triangles))
    if len(triangles) <= _FEW:
        return _best(points, triangles, np.broadcast_to(every, (len(points), len(every))))[:2]
    # Of many triangles those with the nearest middles are tried first, and all of them only where none of those fits.
    middles = np.zeros((len(triangles), 3))
    middles[:, : points.shape[1]] = triangles.mean(axis=1)
    tree = KDTree(len(middles))
    for index, middle in enumerate(middles.tolist()):
        tree.insert(middle, index)
    tree.balance()
    places = np.zeros((len(points), 3))
    places[:, : points.shape[1]] = points
    near = np.array([[index for _, index, _ in tree.find_n(place, _NEAR)] for place in places.tolist()])
    weights, chosen, badness = _best(points, triangles, near)
    for lost in np.flatnonzero(badness > 1e-6):
        weights[lost], chosen[lost], _ = (found[0] for found in _best(points[lost : lost + 1], triangles, every[None]))
    return weights, chosen


def _best(points, triangles, tried):
    """Weights (n, 3), triangle (n,), and how far off it is (n,), of the best of the triangles `tried` (n, k)."""
    sides = triangles[:, 1:] - triangles[:, :1]
    # Least squares: exact in 2D; in 3D the point is projected onto the triangle's plane.
    inverse = np.linalg.pinv(np.swapaxes(sides, 1, 2))
    offset = points[:, None] - triangles[tried, 0]
    two = np.einsum("nkij,nkj->nki", inverse[tried], offset)
    three = np.concatenate([1 - two.sum(axis=-1, keepdims=True), two], axis=-1)
    lift = np.linalg.norm(offset - np.einsum("nki,nkij->nkj", two, sides[tried]), axis=-1) / np.abs(sides).max()
    # Outside the triangle, and off its plane: the sum of both is what we want least of.
    badness = np.maximum(-three.min(axis=-1), 0) + lift
    best = badness.argmin(axis=1)
    row = np.arange(len(points))
    return three[row, best], tried[row, best], badness[row, best]


def _flat(corners, pixels):
    """The same map with one triangle, where one affine map is all that it is: a flat plane, however finely cut."""
    far = pixels.reshape(-1, 2)
    low, high = far.min(axis=0), far.max(axis=0)
    square = np.array([low, (high[0], low[1]), (low[0], high[1])])
    known = np.concatenate([far, np.ones((len(far), 1))], axis=1)
    places = corners.reshape(-1, 3)
    affine = np.linalg.lstsq(known, places, rcond=None)[0]
    if np.abs(known @ affine - places).max() > 1e-6 * np.ptp(places, axis=0).max():
        return corners, pixels
    return (np.concatenate([square, np.ones((3, 1))], axis=1) @ affine)[None], square[None]


def corner_values(plane, attribute):
    """Triangles (T, 3, 2) in pixels, and the brightness (T, 3) of a colour attribute at their corners.

    Raises:
        PlaneError: the mesh has no such attribute, or no UVs.
    """
    _, pixels, values = _shown(plane, attribute)
    return pixels, values


def _shown(plane, attribute=None):
    """Corners, pixels and values of the triangles that show an area of the picture."""
    layer, chain = texture_coordinates(plane.node, plane.group_nodes)
    corners, uvs, values = _triangles(plane.object, layer, plane.slot, attribute)
    uvs = _mapped(uvs, chain)
    if plane.node.extension == "REPEAT":
        uvs = uvs - np.floor(uvs.reshape(-1, 2).mean(axis=0))
    width, height = plane.size
    pixels = np.stack([uvs[..., 0] * width - 0.5, (1 - uvs[..., 1]) * height - 0.5], axis=-1)
    wide = np.abs(np.linalg.det(pixels[:, 1:] - pixels[:, :1])) > 1e-9
    if not wide.any():
        raise PlaneError(f'The UVs of "{plane.object.name}" show no area of the picture: unwrap the plane')
    return corners[wide], pixels[wide], values[wide]


def _triangles(obj, layer, slot, attribute):
    """Corners (T, 3, 3) in the object's own space, UVs (T, 3, 2), values (T, 3), of the faces with the material."""
    if obj.mode == "EDIT":
        obj.update_from_editmode()
    evaluated = obj.evaluated_get(bpy.context.evaluated_depsgraph_get()) if obj.modifiers else obj
    mesh = evaluated.to_mesh()
    try:
        if not mesh.uv_layers:
            raise PlaneError(f'"{obj.name}" has no UV map: unwrap it, so that each point has its place in the picture')
        active = next((u for u in mesh.uv_layers if u.active_render), mesh.uv_layers[0])
        uv_layer = mesh.uv_layers.get(layer) if layer else active
        if uv_layer is None:
            raise PlaneError(f'The material of "{obj.name}" asks for the UV map "{layer}", which the mesh has not')
        mesh.calc_loop_triangles()
        count = len(mesh.loop_triangles)
        vertices = _read(mesh.loop_triangles, "vertices", (count, 3), np.int32)
        loops = _read(mesh.loop_triangles, "loops", (count, 3), np.int32)
        faces = _read(mesh.loop_triangles, "polygon_index", (count,), np.int32)
        materials = _read(mesh.polygons, "material_index", (len(mesh.polygons),), np.int32)
        corners = _read(mesh.vertices, "co", (len(mesh.vertices), 3), np.float32)[vertices]
        uvs = _read(uv_layer.uv, "vector", (len(mesh.loops), 2), np.float32)[loops]
        values = _values(mesh, attribute, vertices, loops) if attribute else np.zeros((count, 3))
    finally:
        evaluated.to_mesh_clear()
    shown = np.minimum(materials[faces], max(len(obj.material_slots) - 1, 0)) == slot
    if not shown.any():
        raise PlaneError(f'No face of "{obj.name}" shows the material: assign it to the plane\'s face')
    return corners[shown].astype(float), uvs[shown].astype(float), values[shown]


def _read(collection, name, shape, kind):
    values = np.empty(int(np.prod(shape)), kind)
    collection.foreach_get(name, values)
    return values.reshape(shape)


def _values(mesh, name, vertices, loops):
    attribute = mesh.color_attributes.get(name)
    if attribute is None:
        raise PlaneError(f'The mesh has no colour attribute "{name}" to take as mask')
    colors = _read(attribute.data, "color", (len(attribute.data), 4), np.float32)
    grey = colors[:, :3] @ np.array([0.2126, 0.7152, 0.0722])
    return grey[vertices if attribute.domain == "POINT" else loops]


def texture_coordinates(node, group_nodes):
    """What the texture's Vector comes from: the name of a UV map ("" is the one to render), and Mapping nodes after it.

    Raises:
        PlaneError: it comes from something else than UVs.
    """
    chain, stack = [], list(group_nodes)
    socket = node.inputs["Vector"]
    while True:
        link = next((link for link in socket.links if not link.is_muted), None)
        if link is None:
            if socket.node == node or socket.node.type == "REROUTE":
                return "", chain
            raise PlaneError(f'The coordinates of the picture are not UVs ("{socket.node.name}" has no input)')
        source = link.from_node
        if source.type == "UVMAP" and not source.from_instancer:
            return source.uv_map, chain
        if source.type == "TEX_COORD" and link.from_socket.identifier == "UV" and not source.from_instancer:
            return "", chain
        if source.type == "MAPPING" and not any(s.is_linked for s in source.inputs[1:]):
            if not source.mute:
                chain.append(source)
            socket = source.inputs["Vector"]
        elif source.type == "REROUTE":
            socket = source.inputs[0]
        elif source.type == "GROUP_INPUT" and stack:
            outer, wanted = stack.pop(), link.from_socket.identifier
            socket = next(s for s in outer.inputs if s.identifier == wanted)
            if not socket.is_linked:
                return "", chain
        else:
            raise PlaneError(
                f'The picture is placed by "{source.name}" ({link.from_socket.name}), not by UVs: '
                "connect a UV Map node to the image texture"
            )


def _mapped(uvs, chain):
    """UVs as the Mapping nodes leave them; the nearest to the texture is first in `chain`."""
    points = np.concatenate([uvs, np.zeros((*uvs.shape[:2], 1))], axis=-1)
    for node in reversed(chain):
        value = {s.name: np.array(s.default_value) for s in node.inputs if s.name in ("Location", "Scale")}
        turn = np.array(node.inputs["Rotation"].default_value.to_matrix())
        place, scale = value.get("Location", np.zeros(3)), value["Scale"]
        if node.vector_type == "TEXTURE":
            points = ((points - place) @ turn) / np.where(scale == 0, 1, scale)
        elif node.vector_type == "NORMAL":
            raise PlaneError(f'The Mapping node "{node.name}" is of type Normal: set it to Point or Texture')
        else:
            points = (points * scale) @ turn.T + (0 if node.vector_type == "VECTOR" else place)
    return points[..., :2]
