# SPDX-License-Identifier: GPL-3.0-or-later
"""The texture coordinates of an image texture: where on the mesh each pixel is shown.

UVs, and Generated, Object, Camera and Window coordinates, through Mapping nodes with constant values. Camera and Window
coordinates are those of the scene's camera at the current frame, as in a render.

Convention:
    Coordinates are (x, y, z); the image has x and y from 0 to 1, y up. A perspective camera makes Window coordinates
    projective: over a triangle, coordinates * depth and depth are linear, where depth is the distance along the view.
"""

from __future__ import annotations

from dataclasses import dataclass

import bpy
import numpy as np

from ..errors import PlaneError
from ..texts import rpt_
from .background import refuse_moved
from .image import PlaneImage

KINDS = {"UV": "UV", "Generated": "GENERATED", "Object": "OBJECT", "Camera": "CAMERA", "Window": "WINDOW"}
# Modifiers that keep the vertices, so that the mesh has their generated coordinates.
_KEEPING = {
    "ARMATURE", "CAST", "CLOTH", "CORRECTIVE_SMOOTH", "CURVE", "DATA_TRANSFER", "DISPLACE", "HOOK", "LAPLACIANDEFORM",
    "LAPLACIANSMOOTH", "LATTICE", "MESH_DEFORM", "NORMAL_EDIT", "SHRINKWRAP", "SIMPLE_DEFORM", "SMOOTH",
    "SURFACE_DEFORM", "UV_PROJECT", "UV_WARP", "WARP", "WAVE", "WEIGHTED_NORMAL",
}  # fmt: skip
_VIEWPORT = "loopcore_proxy"  # property on node groups that only replace materials


@dataclass(frozen=True)
class Coordinates:
    """The source of a texture's coordinates.

    Attributes:
        kind: "UV", "GENERATED", "OBJECT", "CAMERA" or "WINDOW"; "BACKGROUND" of a camera's background image.
        uv_map: the name of the UV map; "" for the active one.
        source: the object of Object coordinates; None for the object itself.
        chain: the Mapping nodes after it, the nearest to the texture first.
    """

    kind: str
    uv_map: str
    source: bpy.types.Object | None
    chain: tuple[bpy.types.Node, ...]

    def at_vertices(self, obj: bpy.types.Object, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the (n, 3) coordinates, without the Mapping nodes, and the depths of vertices; not for UVs.

        Args:
            obj: the mesh object.
            places: (n, 3) its evaluated vertices in object space.

        Raises:
            PlaneError: as `check`.
        """
        near = np.ones(len(places))
        if self.kind == "GENERATED":
            mesh = obj.data
            still = np.empty(3 * len(mesh.vertices), np.float32)
            mesh.vertices.foreach_get("co", still)
            if still.size != places.size:
                raise _changed(obj)
            size = np.array(mesh.texspace_size)
            size = np.where(size == 0, 1, size)
            return (still.reshape(-1, 3) - np.array(mesh.texspace_location)) / (2 * size) + 0.5, near
        if self.kind == "OBJECT":
            return (_moved(places, self.source.matrix_world.inverted_safe() @ obj.matrix_world)
                    if self.source else places), near  # fmt: skip
        camera = _camera()
        seen = camera.matrix_world.normalized().inverted_safe() @ obj.matrix_world
        if self.kind == "CAMERA":
            return _moved(places, seen) * (1, 1, -1), near
        render = bpy.context.scene.render
        projection = camera.calc_matrix_camera(
            bpy.context.evaluated_depsgraph_get(), x=render.resolution_x, y=render.resolution_y,
            scale_x=render.pixel_aspect_x, scale_y=render.pixel_aspect_y,
        )  # fmt: skip
        full = np.concatenate([places, np.ones((len(places), 1))], axis=1) @ np.array(projection @ seen).T
        depth = np.where(full[:, 3] > 1e-6, full[:, 3], np.nan)
        shown = np.zeros((len(places), 3))
        shown[:, :2] = full[:, :2] / depth[:, None] / 2 + 0.5
        return shown, depth

    def mapped(self, points: np.ndarray) -> np.ndarray:
        """Return the (..., 2) coordinates in the image of (..., 3) points: the Mapping nodes applied."""
        for node in reversed(self.chain):
            value = {s.name: np.array(s.default_value) for s in node.inputs if s.name in ("Location", "Scale")}
            turn = np.array(node.inputs["Rotation"].default_value.to_matrix())
            place, scale = value.get("Location", np.zeros(3)), value["Scale"]
            if node.vector_type == "TEXTURE":
                points = ((points - place) @ turn) / np.where(scale == 0, 1, scale)
            else:
                points = (points * scale) @ turn.T + (0 if node.vector_type == "VECTOR" else place)
        return points[..., :2]


def coordinates_of(plane: PlaneImage) -> Coordinates:
    """Return the coordinates of a plane's texture. Does not read the mesh.

    Raises:
        PlaneError: the pixels of the image cannot be found by them; the message has the reason and a remedy.
    """
    if plane.is_background:
        refuse_moved(plane.object)
        return Coordinates("BACKGROUND", "", None, ())
    found = _walked(plane)
    _check(found, plane.object)
    return found


def refusal(plane: PlaneImage) -> str:
    """Return why nothing can be drawn on a plane; empty if it can. Fast: for panels and polls."""
    try:
        coordinates_of(plane)
    except PlaneError as error:
        return str(error)
    return ""


def _walked(plane):
    """Follow the Vector input of the texture upstream."""
    node, stack, chain = plane.node, list(plane.group_nodes), []
    socket = node.inputs["Vector"]
    while True:
        link = next((link for link in socket.links if not link.is_muted), None)
        if link is None:
            if socket.node == node or socket.node.type == "REROUTE":
                return Coordinates("UV", "", None, tuple(chain))
            raise PlaneError(
                rpt_('The texture coordinates are not UVs ("{node}" has no input)').format(node=socket.node.name)
            )
        source = link.from_node
        if source.type == "UVMAP" and not source.from_instancer:
            return Coordinates("UV", source.uv_map, None, tuple(chain))
        if source.type == "TEX_COORD" and link.from_socket.identifier in KINDS and not source.from_instancer:
            kind = KINDS[link.from_socket.identifier]
            return Coordinates(kind, "", source.object if kind == "OBJECT" else None, tuple(chain))
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
                return Coordinates("UV", "", None, tuple(chain))
        else:
            raise PlaneError(
                rpt_(
                    'The texture coordinates come from "{node}" ({socket}), where the pixels of the image cannot be '
                    "found: connect a UV Map node to the image texture"
                ).format(node=source.name, socket=link.from_socket.name)
            )


def _check(found, obj):
    """Raise PlaneError if the pixels cannot be found by these coordinates."""
    normal = next((node for node in found.chain if node.vector_type == "NORMAL"), None)
    if normal is not None:
        raise PlaneError(
            rpt_('The Mapping node "{node}" has type Normal: set it to Point or Texture').format(node=normal.name)
        )
    if found.kind == "UV" and not obj.modifiers:
        layers = obj.data.uv_layers
        if not layers:
            raise PlaneError(rpt_('"{name}" has no UV map: unwrap it').format(name=obj.name))
        if found.uv_map and found.uv_map not in layers:
            raise no_uv_map(obj, found.uv_map)
    if found.kind == "GENERATED" and not all(_keeps(modifier) for modifier in obj.modifiers):
        raise _changed(obj)
    if found.kind in ("CAMERA", "WINDOW"):
        _camera()


def no_uv_map(obj: bpy.types.Object, name: str) -> PlaneError:
    """Return the error on a UV map that a material names and the mesh does not have."""
    text = rpt_('The material of "{name}" uses the UV map "{uv_map}", which the mesh does not have')
    return PlaneError(text.format(name=obj.name, uv_map=name))


def _changed(obj):
    text = rpt_(
        '"{name}" has Generated texture coordinates, which its modifiers change: use UVs, or apply the modifiers'
    )
    return PlaneError(text.format(name=obj.name))


def _keeps(modifier):
    group = getattr(modifier, "node_group", None)
    hidden = not modifier.show_viewport
    return hidden or modifier.type in _KEEPING or (group is not None and _VIEWPORT in group)


def _camera():
    camera = bpy.context.scene.camera
    if camera is None or camera.type != "CAMERA":
        raise PlaneError(rpt_("The texture coordinates are the camera's, and the scene has no camera: add one"))
    if camera.data.type == "PANO":
        raise PlaneError(
            rpt_('The texture coordinates are those of "{camera}", which is panoramic: use UVs').format(
                camera=camera.name
            )
        )
    return camera


def _moved(places, matrix):
    matrix = np.array(matrix)
    return places @ matrix[:3, :3].T + matrix[:3, 3]
