# SPDX-License-Identifier: GPL-3.0-or-later
"""Operators on files: the output folder in the system's browser, the dialog for flow maps, layers of EXR files."""

import bpy
from bpy.props import BoolProperty, EnumProperty, StringProperty

from ...errors import PlaneError, Refused
from ...plane.image import find_plane_image, plane_of
from ...texts import CONTEXT, rpt_
from .. import properties
from ..actions import CONVENTIONS
from ..messages import letters_in, wrapped
from ..properties import Settings
from .base import OnObject, engine_free, no_task


class LOOPCORE_OT_open_folder(OnObject, bpy.types.Operator):
    """Show the output folder in the system's file browser"""

    bl_idname, bl_label = "loopcore.open_folder", "Open Output Folder"
    object_mode_only = False

    def act(self, context, obj):
        folder = Settings.of(obj).folder_of(obj)
        if folder is None or not folder.is_dir():
            raise Refused(rpt_("There is no output folder yet: bake first"))
        bpy.ops.wm.path_open(filepath=str(folder))


class LOOPCORE_OT_export_flow_as(OnObject, bpy.types.Operator):
    """Choose a folder and a convention, and write the motion as flow maps for another application"""

    bl_idname, bl_label = "loopcore.export_flow_as", "Export Flow Map"

    directory: StringProperty(subtype="DIR_PATH", options={"SKIP_SAVE"})
    filter_folder: BoolProperty(default=True, options={"HIDDEN"})
    convention: EnumProperty(
        name="Convention",
        description="The application or convention to write for",
        items=CONVENTIONS,
        default="motion",
        translation_context=CONTEXT,
    )
    speed: properties.SPEED
    frames: properties.FRAMES
    first: properties.FIRST

    @classmethod
    def poll(cls, context):
        return engine_free(cls) and no_task(cls) and super().poll(context)

    def invoke(self, context, event):
        try:
            obj = self.target(context)
            folder = Settings.of(obj).folder_of(obj)
        except Refused as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        self.object_name = obj.name
        self.speed, self.frames, self.first = obj.loopcore.speed, obj.loopcore.frames, obj.loopcore.first
        if folder is not None and folder.is_dir():
            self.directory = f"{folder / 'flow' if (folder / 'flow').is_dir() else folder}/"
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def draw(self, context):
        layout = self.layout
        layout.use_property_split, layout.use_property_decorate = True, False
        layout.prop(self, "convention")
        about = layout.column(align=True)
        about.scale_y = 0.8
        text = next(text for name, _, text in CONVENTIONS if name == self.convention)
        for line in wrapped(text, letters_in(context)):
            about.label(text=line)
        layout.prop(self, "speed")
        column = layout.column(align=True)
        column.prop(self, "frames")
        column.prop(self, "first")

    def act(self, context, obj):
        bpy.ops.loopcore.export_flow(
            "INVOKE_DEFAULT", object_name=obj.name, convention=self.convention, flow_folder=self.directory,
            speed=self.speed, frames=self.frames, first=self.first,
        )  # fmt: skip


# Blender does not keep a reference to the items of a dynamic enum.
_layers = []


def layer_items(self, context):
    """Return the items of the layer menu."""
    obj = bpy.data.objects.get(self.object_name) or (plane_of(context.active_object) if context else None)
    try:
        names = [layer.name for layer in find_plane_image(obj).layers]
    except PlaneError:
        names = []
    _layers[:] = [(f"LAYER {name}", name or "Main Picture", "Animate this layer") for name in names]
    return _layers


class LOOPCORE_OT_set_layer(OnObject, bpy.types.Operator):
    """Choose the layer of a multilayer EXR to animate"""

    bl_idname, bl_label, bl_options = "loopcore.set_layer", "Set Layer", {"REGISTER", "UNDO"}

    layer: EnumProperty(name="Layer", description="Layer to animate", items=layer_items, translation_context=CONTEXT)

    def act(self, context, obj):
        obj.loopcore.layer = self.layer.partition(" ")[2]


def draw_export(self, _context):
    self.layout.operator(LOOPCORE_OT_export_flow_as.bl_idname, text="Loopcore Flow Map (.exr)", text_ctxt=CONTEXT)


CLASSES = (LOOPCORE_OT_open_folder, LOOPCORE_OT_export_flow_as, LOOPCORE_OT_set_layer)
