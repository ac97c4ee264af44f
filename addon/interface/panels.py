# SPDX-License-Identifier: GPL-3.0-or-later
"""The panel "Loopcore" of the 3D Viewport, the Shader Editor and the Object tab, and progress in the status bar."""

import bpy

from .. import package
from ..drawing import mask, strokes
from ..engine import installation, tasks
from ..errors import PlaneError, Refused
from ..plane.image import find_plane_image, plane_of
from ..playing import image_sequence, live, viewport
from . import actions, folders, motion_path
from .messages import letters_in, wrapped

# Lines of the running task or the outcome of the last one: always as many, so that the buttons below do not move.
LINES = 4


def draw_text(layout, context, text, icon="NONE", lines=None):
    """Draw text, wrapped to the width of the sidebar; in exactly `lines`, if given. Returns the last row."""
    column = layout.column(align=True)
    column.scale_y = 0.8
    wanted = wrapped(text, letters_in(context))
    if lines is not None and len(wanted) > lines:
        wanted = [*wanted[: lines - 1], wanted[lines - 1] + " ..."]
    for line in [*wanted, *[""] * ((lines or 0) - len(wanted))]:
        row = column.row(align=True)
        row.label(text=line, icon=icon)
        icon = "BLANK1" if icon != "NONE" else "NONE"
    return row


def draw_task(box, task):
    """Draw the running task with its cancel button, as high as `draw_text` draws LINES lines."""
    column = box.column(align=True)
    column.scale_y = 0.8
    row = column.row(align=True)
    row.progress(factor=task.factor, type="BAR", text=task.text)
    row.operator("loopcore.cancel", text="", icon="X")
    for text in (task.title, task.target.name, *[""] * (LINES - 3)):
        column.label(text=text)


def draw_status(self, _context):
    task = tasks.current()
    if task is not None:
        row = self.layout.row(align=True)
        row.ui_units_x = 15
        row.progress(factor=task.factor, text=f"Loopcore: {task.text}")
        row.operator("loopcore.cancel", text="", icon="X")


class Main:
    """The main panel: the image, the running task or the outcome of the last one."""

    bl_label, bl_category, bl_region_type = "Loopcore", "Loopcore", "UI"

    def draw(self, context):
        layout = self.layout
        obj = plane_of(context.active_object)
        missing = installation.missing()
        if missing:
            box = layout.box()
            draw_text(box, context, missing, icon="INFO", lines=2 if installation.busy() else None)
            box.operator("preferences.addon_show", text="Add-on Preferences", icon="PREFERENCES").module = package.NAME
        found = draw_image(layout, context, obj)
        if found is not None and context.mode != "OBJECT":
            # In other modes the other buttons are disabled.
            layout.operator("object.mode_set", text="Back to Object Mode", icon="OBJECT_DATAMODE").mode = "OBJECT"
        if tasks.current() is not None:
            draw_task(layout.box(), tasks.current())
        elif found is not None:
            draw_message(layout.box(), context, obj)


def draw_message(box, context, obj):
    """Draw the outcome of the last task, with a button if it is longer; a cancelled one is not an error."""
    state, text = obj.loopcore, obj.loopcore.message or "Choose Predict Motion, or draw strokes and a mask"
    cancelled = state.failed and state.message.startswith("Cancelled")
    box.alert = state.failed and not cancelled
    icon = "INFO" if cancelled or not state.message else "ERROR" if state.failed else "CHECKMARK"
    row = draw_text(box, context, text, icon=icon, lines=LINES)
    if len(wrapped(text, letters_in(context))) > LINES:
        row.operator("loopcore.show_message", text="", icon="FULLSCREEN_ENTER", emboss=False).object_name = obj.name


def draw_image(layout, context, obj):
    """Draw the image found on the object, or why there is none; returns the PlaneImage or None."""
    try:
        found = find_plane_image(obj)
    except PlaneError as error:
        draw_text(layout, context, str(error), icon="INFO")
        return None
    column = layout.column(align=True)
    column.label(text=obj.name, icon="MESH_PLANE")
    column.label(text=found.image.name, icon="IMAGE_DATA")
    width, height = found.size
    where = "" if found.path else ", in the .blend"
    column.label(text=f"{width} x {height}, {found.colorspace_name}{where}", icon="BLANK1")
    if found.layer:
        row = layout.row(align=True)
        row.prop(obj.loopcore, "layer", placeholder=found.layer)
        row.operator_menu_enum("loopcore.set_layer", "layer", text="", icon="DOWNARROW_HLT").object_name = obj.name
    if obj.library:
        draw_text(
            layout,
            context,
            "Linked: make a library override, or make it local, to animate it",
            icon="LIBRARY_DATA_DIRECT",
        )
    return found


class Part:
    """A subpanel, shown if the object has an image."""

    bl_category, bl_region_type = "Loopcore", "UI"

    @classmethod
    def poll(cls, context):
        try:
            find_plane_image(plane_of(context.active_object))
        except PlaneError:
            return False
        return True

    def draw(self, context):
        layout = self.layout
        layout.use_property_split, layout.use_property_decorate = True, False
        obj = plane_of(context.active_object)
        self.draw_part(layout, context, obj)


class Motion(Part):
    """Strokes, anchors and mask, the prediction, and the overlay."""

    bl_label = "Motion"

    def draw_part(self, layout, context, obj):
        state = obj.loopcore
        draw_tools(layout.row(align=True), context)
        active = context.active_object
        if active != obj and strokes.SPEED in active:
            layout.prop(active, f'["{strokes.SPEED}"]', text="Stroke Speed")
        else:
            layout.prop(state, "stroke_speed")
        source = mask.source_of(obj)
        name = "Automatic" if source is None else getattr(source, "name", source)
        labelled(layout, "Moving Area").operator_menu_enum("loopcore.set_mask", "source", text=name)
        if source is not None:
            layout.prop(state, "mask_feather")
        layout.operator("loopcore.predict_motion", icon="FORCE_FLUIDFLOW")
        if motion_path.missing(obj):
            draw_text(layout, context, "The motion's file is missing: choose Predict Motion", icon="ERROR")
        row = layout.row(heading="Overlay", align=True)
        row.active = bool(state.motion)
        row.prop(state, "show_motion", text="")
        style = row.row(align=True)
        style.active = state.show_motion
        style.prop(state, "motion_style", expand=True)


def draw_tools(row, context):
    """Draw buttons that choose a tool of the 3D Viewport, or elsewhere add a stroke; an anchor; the mask."""
    if context.space_data.type == "VIEW_3D":
        row.enabled = context.mode == "OBJECT"
        row.operator("wm.tool_set_by_id", text="Stroke").name = "loopcore.stroke"
        row.operator("wm.tool_set_by_id", text="Flip").name = "loopcore.flip"
    else:
        row.operator("loopcore.add_stroke", text="Stroke")
    row.operator("loopcore.add_anchor", text="Anchor")
    row.operator("loopcore.paint_mask", text="Mask")


def labelled(layout, text):
    """Return the right part of a row with a label, as a property with a split has it."""
    split = layout.split(factor=0.4)
    left = split.row()
    left.alignment = "RIGHT"
    left.label(text=text)
    return split.row()


class Loop(Part):
    """Length and speed, bake and previews, export and playback."""

    bl_label = "Loop"

    def draw_part(self, layout, context, obj):
        state, scene = obj.loopcore, context.scene
        column = layout.column(align=True)
        column.prop(state, "frames")
        column.prop(state, "speed")
        rate = scene.render.fps / scene.render.fps_base
        playing = image_sequence.length_of(obj)
        if playing in (None, state.frames):
            labelled(column, "Duration").label(text=f"{state.frames / rate:.2f} s at {rate:g} fps")
        else:
            labelled(column, "Playing").label(text=f"{playing} frames", icon="ERROR")
        column = layout.column(align=True)
        row = column.row(align=True)
        row.operator("loopcore.live_preview", icon="PLAY")
        row.operator("loopcore.preview", icon="RENDER_ANIMATION")
        if not bpy.data.filepath:
            draw_text(column, context, "Unsaved file: previews are lost when Blender quits", icon="INFO")
        row = column.row(align=True)
        row.scale_y = 1.4
        row.operator("loopcore.bake", icon="RENDER_RESULT")
        row = layout.row(align=True)
        row.enabled = tasks.current() is None and context.mode == "OBJECT" and not installation.busy()
        row.operator("loopcore.export_flow_as", text="Flow Map", icon="EXPORT")
        plays = playing is not None
        restore = row.row(align=True)
        restore.enabled = plays or live.is_live(obj) or viewport.has_preview(obj)
        restore.operator("loopcore.restore_still", icon="LOOP_BACK")
        if plays:
            draw_playback(layout, obj)
        if viewport.is_outdated(obj) and not live.is_live(obj):
            layout.operator("loopcore.update_proxy", icon="FILE_REFRESH")


def draw_playback(layout, obj):
    """Draw the playback speed and offset."""
    if not actions.plays_own(obj):
        layout.operator("loopcore.set_playback", icon="UNLINKED")
        return
    column = layout.column(align=True)
    column.use_property_decorate = True
    player = image_sequence.player_of(obj)
    column.prop(player, f'["{image_sequence.SPEED}"]', text="Play Speed")
    column.prop(player, f'["{image_sequence.OFFSET}"]', text="Offset")


class Output(Part):
    """The output files and their folder."""

    bl_label = "Output"

    def draw_part(self, layout, context, obj):
        state = obj.loopcore
        row = layout.row(align=True)
        row.prop(state, "folder")
        row.operator("loopcore.choose_folder", text="", icon="FILE_FOLDER").object_name = obj.name
        row.operator("loopcore.open_folder", text="", icon="FILEBROWSER").object_name = obj.name
        layout.prop(state, "format")
        layout.prop(state, "first")
        layout.prop(state, "resolution")
        layout.prop(state, "proxy")
        if find_plane_image(obj).layers:
            column = layout.column()
            column.enabled = state.resolution == 100
            column.prop(state, "passes")
        draw_folder(layout, context, obj)


def draw_mask_switch(self, context):
    """Draw, in the header of the viewport, the switch of the mask's tint while a mask is painted."""
    obj = context.active_object
    if context.mode == "PAINT_TEXTURE" and obj is not None and mask.source_of(obj) is not None:
        self.layout.prop(obj.loopcore, "show_mask")
        self.layout.operator("object.mode_set", text="Done", icon="CHECKMARK").mode = "OBJECT"


def draw_folder(layout, context, obj):
    """Draw whose the output folder is, if it is not the object's, or what a longer loop left in it."""
    try:
        folder = folders.expanded(obj.loopcore.folder, obj)
    except Refused as error:
        draw_text(layout, context, str(error), icon="ERROR")
        return
    owner = None if folder is None else folders.other_owner(folder, obj)
    if owner is not None:
        draw_text(layout, context, f"The folder has frames of {owner}", icon="ERROR")
        layout.operator("loopcore.take_over_folder").object_name = obj.name
    elif obj.loopcore.leftovers:
        text = f"Remove {obj.loopcore.leftovers} Left-Over Files"
        layout.operator("loopcore.remove_leftovers", text=text, icon="TRASH").object_name = obj.name


class Quality(Part):
    """How pixels are transported and blended."""

    bl_label, bl_options = "Quality", {"DEFAULT_CLOSED"}

    def draw_part(self, layout, context, obj):
        state = obj.loopcore
        layout.prop(state, "method")
        layout.prop(state, "contrast")
        layout.prop(state, "auto_looks")
        column = layout.column(align=True)
        column.enabled = not state.auto_looks
        column.prop(state, "cycles")
        column.prop(state, "steady")


class InView:
    bl_space_type = "VIEW_3D"


class InShader:
    bl_space_type = "NODE_EDITOR"

    @classmethod
    def poll(cls, context):
        inherited = getattr(super(), "poll", None)
        return context.space_data.tree_type == "ShaderNodeTree" and (inherited is None or inherited(context))


class InObject:
    """The Object tab of the Properties editor."""

    bl_space_type, bl_region_type, bl_context, bl_category = "PROPERTIES", "WINDOW", "object", ""


def _panels():
    """Yield each panel class for each editor; subpanels are children of the editor's main panel."""
    for prefix, place in (("VIEW3D", InView), ("NODE", InShader), ("OBJECT", InObject)):
        main = f"{prefix}_PT_loopcore"
        options = {"DEFAULT_CLOSED"} if place is InObject else set()
        yield type(main, (place, Main, bpy.types.Panel), {"bl_idname": main, "bl_options": options})
        for part in (Motion, Loop, Output, Quality):
            name = f"{main}_{part.__name__.lower()}"
            yield type(name, (place, part, bpy.types.Panel), {"bl_idname": name, "bl_parent_id": main})


CLASSES = tuple(_panels())


def register():
    for cls in CLASSES:
        bpy.utils.register_class(cls)
    bpy.types.STATUSBAR_HT_header.prepend(draw_status)
    bpy.types.VIEW3D_HT_tool_header.append(draw_mask_switch)


def unregister():
    bpy.types.VIEW3D_HT_tool_header.remove(draw_mask_switch)
    bpy.types.STATUSBAR_HT_header.remove(draw_status)
    for cls in reversed(CLASSES):
        bpy.utils.unregister_class(cls)
