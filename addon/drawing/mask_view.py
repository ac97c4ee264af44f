# SPDX-License-Identifier: GPL-3.0-or-later
"""While a plane's mask is painted, or areas are drawn: the picture with the mask as a tint over it, in every shading.

Blender shows either the painted image or the material. The plane is drawn again over it, by its own mesh and UVs.

Convention:
    Blender's textures are scene-linear, and the viewport's buffer encodes what is written to it. Textures repeat, so
    they are looked up at least half a pixel inside: otherwise the opposite edge would be mixed in.
"""

from __future__ import annotations

import bpy
import numpy as np
from mathutils import Vector

from ..errors import PlaneError
from ..plane.image import find_plane_image, plane_of
from ..plane.map import shown_triangles
from . import areas, mask
from .overlay import LIFT, updates

TINT, STILL = (0.9, 0.02, 0.05), 0.45  # linear; how bright the picture is where nothing moves
STRENGTH = 0.5
AREA_TOOL = "loopcore.area"
AREAS_SIDE = 512  # pixels of the longer side at which areas are shown

_handles: list = []
_shader = None
# The triangles of the plane that was drawn last, and what they were made from.
_shown: tuple | None = None
# The texture of the areas drawn last, and what it was made from; and a black one.
_areas: tuple | None = None
_black = None

_VERTEX = "void main() { place = uv; gl_Position = view * vec4(pos, 1.0); }"
_FRAGMENT = """
void main() {
    vec2 border = 0.5 / vec2(textureSize(picture, 0));
    vec3 shown = max(texture(picture, clamp(place, border, 1.0 - border)).rgb, vec3(0.0));
    vec2 edge = 0.5 / vec2(textureSize(painted, 0));
    float moves = clamp(texture(painted, clamp(place, edge, 1.0 - edge)).r, 0.0, 1.0);
    edge = 0.5 / vec2(textureSize(drawn, 0));
    vec2 change = texture(drawn, clamp(place, edge, 1.0 - edge)).rg;
    moves = max(moves, change.r) * (1.0 - change.g);
    float grey = dot(shown, vec3(0.2126, 0.7152, 0.0722));
    vec3 tinted = mix(shown, tint.rgb * (0.25 + grey), tint.a);
    color = vec4(min(mix(shown * still, tinted, moves), vec3(1.0)), 1.0);
}
"""


def register():
    # The gpu module cannot be used in background mode.
    if not bpy.app.background and not _handles:
        _handles.append(bpy.types.SpaceView3D.draw_handler_add(_draw, (), "WINDOW", "POST_VIEW"))


def unregister():
    global _shader, _shown, _areas, _black
    for handle in _handles:
        bpy.types.SpaceView3D.draw_handler_remove(handle, "WINDOW")
    _handles.clear()
    _shader = _shown = _areas = _black = None


def tinted(context) -> bpy.types.Object | None:
    """Return the plane whose mask is painted, or drawn with the tool for areas; None if there is none to show."""
    obj = plane_of(context.active_object)
    if obj is None or not obj.loopcore.show_mask:
        return None
    source = mask.source_of(obj)
    if context.mode == "PAINT_TEXTURE":
        is_mask = isinstance(source, bpy.types.Image) and context.tool_settings.image_paint.canvas == source
        return obj if is_mask else None
    if context.mode != "OBJECT" or isinstance(source, str) or not mask.has_mask(obj):
        return None
    tool = context.workspace.tools.from_space_view3d_mode("OBJECT", create=False)
    return obj if tool is not None and tool.idname == AREA_TOOL else None


def _draw():
    context = bpy.context
    space = context.space_data
    obj = tinted(context) if space is not None and space.overlay.show_overlays else None
    if obj is None:
        return
    try:
        plane = find_plane_image(obj)
        batch, drawn = _batch_of(plane), _areas_of(plane)
    except PlaneError:
        return
    import gpu

    lift = Vector((0, 0, max(obj.dimensions) * LIFT))
    matrix = context.region_data.view_rotation @ lift
    with gpu.matrix.push_pop():
        gpu.matrix.translate(matrix)
        gpu.matrix.multiply_matrix(obj.matrix_world)
        view = gpu.matrix.get_projection_matrix() @ gpu.matrix.get_model_view_matrix()
    shader = _made_shader()
    shader.bind()
    shader.uniform_float("view", view)
    shader.uniform_float("tint", (*TINT, STRENGTH))
    shader.uniform_float("still", STILL)
    shader.uniform_sampler("picture", gpu.texture.from_image(plane.image))
    source = mask.source_of(obj)
    shader.uniform_sampler("painted", gpu.texture.from_image(source) if source else _made_black())
    shader.uniform_sampler("drawn", drawn)
    gpu.state.depth_test_set("LESS_EQUAL")
    batch.draw(shader)
    gpu.state.depth_test_set("NONE")


def _made_shader():
    global _shader
    if _shader is None:
        import gpu

        link = gpu.types.GPUStageInterfaceInfo("loopcore_mask")
        link.smooth("VEC2", "place")
        info = gpu.types.GPUShaderCreateInfo()
        info.push_constant("MAT4", "view")
        info.push_constant("VEC4", "tint")
        info.push_constant("FLOAT", "still")
        info.sampler(0, "FLOAT_2D", "picture")
        info.sampler(1, "FLOAT_2D", "painted")
        info.sampler(2, "FLOAT_2D", "drawn")
        info.vertex_in(0, "VEC3", "pos")
        info.vertex_in(1, "VEC2", "uv")
        info.vertex_out(link)
        info.fragment_out(0, "VEC4", "color")
        info.vertex_source(_VERTEX)
        info.fragment_source(_FRAGMENT)
        _shader = gpu.shader.create_from_info(info)
    return _shader


def _batch_of(plane):
    """Return the plane's triangles; made again when the mesh or the image is another one."""
    global _shown
    from gpu_extras.batch import batch_for_shader

    obj = plane.object
    key = (obj.session_uid, len(obj.data.vertices), plane.size, plane.node.name)
    if _shown is None or _shown[0] != key:
        corners, pixels = shown_triangles(plane)
        uvs = (pixels + 0.5) / plane.size
        uvs[..., 1] = 1 - uvs[..., 1]
        data = {"pos": corners.reshape(-1, 3).astype(np.float32), "uv": uvs.reshape(-1, 2).astype(np.float32)}
        _shown = (key, batch_for_shader(_made_shader(), "TRIS", data))
    return _shown[1]


def _areas_of(plane):
    """Return a texture of what the areas add (red) and subtract (green); made again after any change of an object."""
    global _areas
    if not areas.areas(plane.object):
        return _made_black()
    key = (plane.object.session_uid, plane.size, updates())
    if _areas is None or _areas[0] != key:
        scale = min(1.0, AREAS_SIDE / max(plane.size))
        shape = tuple(max(1, round(side * scale)) for side in plane.size[::-1])
        both = areas.coverages(areas.outlines(plane), plane.size, shape)
        _areas = (key, _texture(np.stack([rows[::-1] for rows in both], axis=-1)))
    return _areas[1]


def _made_black():
    global _black
    if _black is None:
        _black = _texture(np.zeros((1, 1, 2), np.float32))
    return _black


def _texture(values):
    """Return a texture of (H, W, 2) values, row 0 at the bottom."""
    import gpu

    height, width, _ = values.shape
    data = gpu.types.Buffer("FLOAT", values.size, values.ravel())
    return gpu.types.GPUTexture((width, height), format="RG16F", data=data)
