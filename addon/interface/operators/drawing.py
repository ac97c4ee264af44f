# SPDX-License-Identifier: GPL-3.0-or-later
"""Operators that make hints: strokes, anchors, the mask."""

import json

import bpy
from bpy.props import EnumProperty, FloatProperty, StringProperty

from ...drawing import mask, strokes
from ...errors import Refused
from ...plane.image import find_plane_image, plane_of
from .base import OnObject


class LOOPCORE_OT_add_stroke(OnObject, bpy.types.Operator):
    """Add a curve on the plane along which things flow, in its direction; then drag its points, or draw it anew"""

    bl_idname, bl_label, bl_options = "loopcore.add_stroke", "Add Stroke", {"REGISTER", "UNDO"}

    points: StringProperty(
        name="Points", description="JSON list of [x, y] in pixels of the plate, y down; empty: across the middle",
        options={"SKIP_SAVE", "HIDDEN"},
    )  # fmt: skip
    speed: FloatProperty(
        name="Speed", description="Pixels of the plate a frame; 0: as the object's settings say", default=0.0, min=0.0,
        soft_max=8.0, options={"SKIP_SAVE"},
    )  # fmt: skip

    def act(self, context, obj):
        try:
            points = [(float(x), float(y)) for x, y in json.loads(self.points)] if self.points else None
        except (ValueError, TypeError):
            raise Refused(f"points must be a JSON list of [x, y], not {self.points!r}") from None
        speed = self.speed or obj.loopcore.stroke_speed
        strokes.add_stroke(context, find_plane_image(obj), points=points, speed=speed)


class LOOPCORE_OT_add_anchor(OnObject, bpy.types.Operator):
    """Add a point on the plane that stays still; then drag it to its place"""

    bl_idname, bl_label, bl_options = "loopcore.add_anchor", "Add Anchor", {"REGISTER", "UNDO"}

    def act(self, context, obj):
        strokes.add_anchor(context, find_plane_image(obj))


def paint_white(tools):
    """Set the brush to white: the mask is black at first."""
    shared = getattr(tools.image_paint, "unified_paint_settings", None) or tools.unified_paint_settings
    shared.color = (1, 1, 1)
    brush = tools.image_paint.brush
    # Brushes from Blender's asset library are read-only.
    if brush is not None and brush.library is None:
        brush.color = (1, 1, 1)


class LOOPCORE_OT_paint_mask(OnObject, bpy.types.Operator):
    """Paint where things may move, white on black, on the plane"""

    bl_idname, bl_label, bl_options = "loopcore.paint_mask", "Paint Mask", {"REGISTER", "UNDO"}

    def act(self, context, obj):
        image = mask.add_mask(find_plane_image(obj))
        if bpy.app.background:
            return
        context.view_layer.objects.active = obj
        context.tool_settings.image_paint.mode = "IMAGE"
        context.tool_settings.image_paint.canvas = image
        bpy.ops.object.mode_set(mode="TEXTURE_PAINT")
        paint_white(context.tool_settings)


# Blender keeps no reference to the items of a dynamic enum.
_sources = []


def mask_sources(self, context):
    """Return the items of the mask menu: every image, and the object's colour attributes."""
    obj = bpy.data.objects.get(self.object_name) or (plane_of(context.active_object) if context else None)
    _sources[:] = [("NONE", "Everything", "No mask")]
    for image in bpy.data.images:
        if image.source in {"FILE", "GENERATED"}:
            _sources.append((f"IMAGE {image.name}", image.name, "White moves", "IMAGE_DATA", len(_sources)))
    for attribute in obj.data.color_attributes if obj is not None and obj.type == "MESH" else ():
        name = attribute.name
        _sources.append((f"ATTRIBUTE {name}", name, "Colour attribute: white moves", "GROUP_VCOL", len(_sources)))
    _sources[0] = (*_sources[0], "BLANK1", 0)
    return _sources


class LOOPCORE_OT_set_mask(OnObject, bpy.types.Operator):
    """What says where things may move: an image, a colour attribute of the plane, or nothing"""

    bl_idname, bl_label, bl_options = "loopcore.set_mask", "Mask From", {"REGISTER", "UNDO"}

    source: EnumProperty(name="Mask", description="White moves", items=mask_sources)

    def act(self, context, obj):
        kind, _, name = self.source.partition(" ")
        mask.set_mask(obj, bpy.data.images[name] if kind == "IMAGE" else name or None)


CLASSES = (LOOPCORE_OT_add_stroke, LOOPCORE_OT_add_anchor, LOOPCORE_OT_paint_mask, LOOPCORE_OT_set_mask)
