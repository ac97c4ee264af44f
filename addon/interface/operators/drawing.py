# SPDX-License-Identifier: GPL-3.0-or-later
"""Operators that add strokes and anchors, and paint or choose the mask."""

import json

import bpy
from bpy.props import EnumProperty, FloatProperty, StringProperty

from ...drawing import mask, seam_bleed, strokes
from ...errors import Refused
from ...plane.image import find_plane_image, plane_of
from ...texts import CONTEXT, rpt_
from .. import refusals
from .base import OnObject


class LOOPCORE_OT_add_stroke(OnObject, bpy.types.Operator):
    """Add a curve to the plane. The flow follows it from its first to its last point; edit it in Edit Mode"""

    bl_idname, bl_label, bl_options = "loopcore.add_stroke", "Add Stroke", {"REGISTER", "UNDO"}

    points: StringProperty(
        name="Points", description="JSON list of [x, y] in pixels of the image, y down. Empty: across the middle",
        options={"SKIP_SAVE", "HIDDEN"}, translation_context=CONTEXT,
    )  # fmt: skip
    speed: FloatProperty(
        name="Speed", description="Pixels of the image per frame. 0: the object's Default Speed", default=0.0, min=0.0,
        soft_max=8.0, options={"SKIP_SAVE"}, translation_context=CONTEXT,
    )  # fmt: skip

    def act(self, context, obj):
        try:
            points = [(float(x), float(y)) for x, y in json.loads(self.points)] if self.points else None
        except (ValueError, TypeError):
            raise Refused(
                rpt_("points must be a JSON list of [x, y], not {points!r}").format(points=self.points)
            ) from None
        speed = self.speed or obj.loopcore.stroke_speed
        strokes.add_stroke(context, find_plane_image(obj), points=points, speed=speed)


class LOOPCORE_OT_add_anchor(OnObject, bpy.types.Operator):
    """Add a point that stays still, at the 3D cursor if it is over the plane, else at the center; then move it"""

    bl_idname, bl_label, bl_options = "loopcore.add_anchor", "Add Anchor", {"REGISTER", "UNDO"}

    def act(self, context, obj):
        strokes.add_anchor(context, find_plane_image(obj))


def paint_white(tools):
    """Set the brush color to white, since a new mask is black."""
    shared = getattr(tools.image_paint, "unified_paint_settings", None) or tools.unified_paint_settings
    shared.color = (1, 1, 1)
    brush = tools.image_paint.brush
    # Brushes linked from an asset library are read-only.
    if brush is not None and brush.library is None:
        brush.color = (1, 1, 1)


class LOOPCORE_OT_paint_mask(OnObject, bpy.types.Operator):
    """Paint the mask on the plane in Texture Paint mode: white areas move"""

    bl_idname, bl_label, bl_options = "loopcore.paint_mask", "Paint Mask", {"REGISTER", "UNDO"}

    def act(self, context, obj):
        plane = find_plane_image(obj)
        refusals.refuse_painting(plane)
        image = mask.add_mask(plane)
        if bpy.app.background:
            return
        context.view_layer.objects.active = obj
        context.tool_settings.image_paint.mode = "IMAGE"
        context.tool_settings.image_paint.canvas = image
        bpy.ops.object.mode_set(mode="TEXTURE_PAINT")
        seam_bleed.stop(context.scene)
        paint_white(context.tool_settings)


# Blender does not keep a reference to the items of a dynamic enum.
_sources = []


def mask_sources(self, context):
    """Return the items of the mask menu: all images, and the object's color attributes."""
    obj = bpy.data.objects.get(self.object_name) or (plane_of(context.active_object) if context else None)
    _sources[:] = [("NONE", "Automatic", "No mask: what moves is found in the image")]
    for image in bpy.data.images:
        if image.source in {"FILE", "GENERATED"}:
            _sources.append((f"IMAGE {image.name}", image.name, "White areas move", "IMAGE_DATA", len(_sources)))
    for attribute in obj.data.color_attributes if obj is not None and obj.type == "MESH" else ():
        name = attribute.name
        text = "Color attribute: white areas move"
        _sources.append((f"ATTRIBUTE {name}", name, text, "GROUP_VCOL", len(_sources)))
    _sources[0] = (*_sources[0], "BLANK1", 0)
    return _sources


class LOOPCORE_OT_set_mask(OnObject, bpy.types.Operator):
    """Choose the mask: an image, a color attribute of the plane, or none"""

    bl_idname, bl_label, bl_options = "loopcore.set_mask", "Set Mask", {"REGISTER", "UNDO"}

    source: EnumProperty(name="Mask", description="White areas move", items=mask_sources, translation_context=CONTEXT)

    def act(self, context, obj):
        kind, _, name = self.source.partition(" ")
        mask.set_mask(obj, bpy.data.images[name] if kind == "IMAGE" else name or None)


CLASSES = (LOOPCORE_OT_add_stroke, LOOPCORE_OT_add_anchor, LOOPCORE_OT_paint_mask, LOOPCORE_OT_set_mask)
