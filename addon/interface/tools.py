# SPDX-License-Identifier: GPL-3.0-or-later
"""The tools of the toolbar in Object Mode, the Object menu's entry, and the keymap."""

import bpy

from ..texts import CONTEXT
from .operators import output

_keys: list = []


class LOOPCORE_TOOL_stroke(bpy.types.WorkSpaceTool):
    bl_space_type, bl_context_mode = "VIEW_3D", "OBJECT"
    bl_idname, bl_label = "loopcore.stroke", "Flow Stroke"
    bl_description = (
        "Drag along the flow on the image; the motion is solved when the button is released.\n"
        "Wheel while dragging: speed. Pen pressure: speed along the stroke.\n"
        "Click: anchor, which stays still. Ctrl: erase. Esc: cancel"
    )
    bl_icon = "ops.curve.draw"
    bl_cursor = "PAINT_BRUSH"
    bl_keymap = (
        ("loopcore.erase_hints", {"type": "LEFTMOUSE", "value": "PRESS", "ctrl": True}, None),
        ("loopcore.draw_stroke", {"type": "LEFTMOUSE", "value": "PRESS"}, None),
    )

    def draw_settings(context, layout, _tool):
        obj = _plane(context)
        if obj is not None:
            layout.prop(obj.loopcore, "stroke_speed", text="Speed", text_ctxt=CONTEXT)
            layout.prop(obj.loopcore, "show_motion")


class LOOPCORE_TOOL_flip(bpy.types.WorkSpaceTool):
    bl_space_type, bl_context_mode = "VIEW_3D", "OBJECT"
    bl_idname, bl_label = "loopcore.flip", "Flip Flow"
    bl_description = (
        "Click where the predicted flow goes the wrong way: it is turned round in the whole region.\n"
        "Click a marker: remove the flip. Ctrl: erase"
    )
    bl_icon = "ops.transform.rotate"
    bl_cursor = "EYEDROPPER"
    bl_keymap = (
        ("loopcore.erase_hints", {"type": "LEFTMOUSE", "value": "PRESS", "ctrl": True}, None),
        ("loopcore.flip_flow", {"type": "LEFTMOUSE", "value": "PRESS"}, None),
    )

    def draw_settings(context, layout, _tool):
        obj = _plane(context)
        if obj is not None:
            layout.prop(obj.loopcore, "show_motion")


class LOOPCORE_TOOL_area(bpy.types.WorkSpaceTool):
    bl_space_type, bl_context_mode = "VIEW_3D", "OBJECT"
    bl_idname, bl_label = "loopcore.area", "Mask Area"
    bl_description = (
        "Drag around what moves, or click its corners and press Enter: it is added to the mask.\n"
        "Ctrl: subtract from the mask. Backspace: remove the last corner. Esc: cancel"
    )
    bl_icon = "ops.sculpt.lasso_mask"
    bl_cursor = "CROSSHAIR"
    bl_keymap = (
        ("loopcore.add_area", {"type": "LEFTMOUSE", "value": "PRESS", "ctrl": True},
         {"properties": [("subtract", True)]}),
        ("loopcore.add_area", {"type": "LEFTMOUSE", "value": "PRESS"}, None),
    )  # fmt: skip

    def draw_settings(context, layout, _tool):
        obj = _plane(context)
        if obj is not None:
            layout.prop(obj.loopcore, "mask_feather")
            layout.prop(obj.loopcore, "show_mask")
            layout.prop(obj.loopcore, "show_motion")


def _plane(context):
    from ..errors import PlaneError
    from ..plane.image import find_plane_image, plane_of

    try:
        return find_plane_image(plane_of(context.active_object)).object
    except PlaneError:
        return None


class VIEW3D_MT_loopcore(bpy.types.Menu):
    """The submenu of the Object menu."""

    bl_idname, bl_label = "VIEW3D_MT_loopcore", "Loopcore"
    bl_translation_context = CONTEXT

    def draw(self, context):
        layout = self.layout
        layout.operator("loopcore.predict_motion", icon="FORCE_FLUIDFLOW")
        layout.operator("loopcore.flip_flow", icon="UV_SYNC_SELECT")
        layout.operator_context = "INVOKE_DEFAULT"
        layout.operator("loopcore.draw_stroke", icon="CURVE_PATH")
        layout.operator("loopcore.add_stroke")
        layout.operator("loopcore.add_anchor", icon="EMPTY_AXIS")
        layout.operator("loopcore.erase_hints", icon="TRASH")
        layout.operator("loopcore.paint_mask", icon="BRUSH_DATA")
        layout.operator("loopcore.add_area", icon="MOD_MASK")
        layout.separator()
        layout.operator("loopcore.live_preview", icon="PLAY")
        layout.operator("loopcore.preview", icon="RENDER_ANIMATION")
        layout.operator("loopcore.bake", icon="RENDER_RESULT")
        layout.operator("loopcore.bake_selected")
        layout.operator("loopcore.restore_still", icon="LOOP_BACK")
        layout.separator()
        layout.operator("loopcore.export_flow_as", text="Export Flow Map...", icon="EXPORT", text_ctxt=CONTEXT)
        layout.operator("loopcore.open_folder", icon="FILE_FOLDER")


def draw_menu(self, _context):
    self.layout.separator()
    self.layout.menu(VIEW3D_MT_loopcore.bl_idname, icon="MOD_FLUIDSIM")


# Shift Alt: not used by Blender in Object Mode.
SHORTCUTS = (("loopcore.draw_stroke", "S"), ("loopcore.flip_flow", "F"), ("loopcore.predict_motion", "P"))


def register():
    bpy.utils.register_class(VIEW3D_MT_loopcore)
    bpy.types.VIEW3D_MT_object.append(draw_menu)
    bpy.types.TOPBAR_MT_file_export.append(output.draw_export)
    if bpy.app.background:
        return
    bpy.utils.register_tool(LOOPCORE_TOOL_stroke, separator=True, group=False)
    bpy.utils.register_tool(LOOPCORE_TOOL_flip, after={LOOPCORE_TOOL_stroke.bl_idname})
    bpy.utils.register_tool(LOOPCORE_TOOL_area, after={LOOPCORE_TOOL_flip.bl_idname})
    keyconfig = bpy.context.window_manager.keyconfigs.addon
    if keyconfig is not None:
        keymap = keyconfig.keymaps.new(name="Object Mode", space_type="EMPTY")
        for name, key in SHORTCUTS:
            _keys.append((keymap, keymap.keymap_items.new(name, key, "PRESS", shift=True, alt=True)))


def unregister():
    for keymap, item in _keys:
        keymap.keymap_items.remove(item)
    if not bpy.app.background:
        bpy.utils.unregister_tool(LOOPCORE_TOOL_area)
        bpy.utils.unregister_tool(LOOPCORE_TOOL_flip)
        bpy.utils.unregister_tool(LOOPCORE_TOOL_stroke)
    _keys.clear()
    bpy.types.TOPBAR_MT_file_export.remove(output.draw_export)
    bpy.types.VIEW3D_MT_object.remove(draw_menu)
    bpy.utils.unregister_class(VIEW3D_MT_loopcore)
