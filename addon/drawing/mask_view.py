# SPDX-License-Identifier: GPL-3.0-or-later
"""While a plane's mask is painted: the picture with the mask as a tint over it, in every shading of the viewport.

Blender shows either the painted image or the material. The plane is drawn again over it, by its own mesh and UVs.

Convention: Blender's textures are scene-linear, and the viewport's buffer encodes what is written to it.
"""

from __future__ import annotations

import bpy
import numpy as np
from mathutils import Vector

from ..errors import PlaneError
from ..plane.image import find_plane_image
from ..plane.map import shown_triangles
from . import mask
from .overlay import LIFT

TINT, STILL = (0.9, 0.02, 0.05), 0.45  # linear; how bright the picture is where nothing moves
STRENGTH = 0.5

_handles: list = []
_shader = None
# The triangles of the plane that was drawn last, and what they were made from.
_shown: tuple | None = None

_VERTEX = "void main() { place = uv; gl_Position = view * vec4(pos, 1.0); }"
_FRAGMENT = """
void main() {
    vec3 shown = max(texture(picture, place).rgb, vec3(0.0));
    float moves = texture(painted, place).r;
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
    global _shader, _shown
    for handle in _handles:
        bpy.types.SpaceView3D.draw_handler_remove(handle, "WINDOW")
    _handles.clear()
    _shader = _shown = None


def painted(context) -> bpy.types.Object | None:
    """Return the plane whose mask is being painted; None if none is, or something else is painted."""
    obj = context.active_object
    if context.mode != "PAINT_TEXTURE" or obj is None or not obj.loopcore.show_mask:
        return None
    source = mask.source_of(obj)
    is_mask = isinstance(source, bpy.types.Image) and context.tool_settings.image_paint.canvas == source
    return obj if is_mask else None


def _draw():
    context = bpy.context
    space = context.space_data
    obj = painted(context) if space is not None and space.overlay.show_overlays else None
    if obj is None:
        return
    try:
        plane = find_plane_image(obj)
        batch = _batch_of(plane)
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
    shader.uniform_sampler("painted", gpu.texture.from_image(mask.source_of(obj)))
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
