# SPDX-License-Identifier: GPL-3.0-or-later
"""Operators that run tasks: predict, preview, bake, export flow map, live preview; and cancel."""

import bpy
from bpy.props import BoolProperty, EnumProperty, StringProperty

from ...engine import runtime, tasks
from ...errors import Refused
from ...plane.image import plane_of
from ...texts import CONTEXT, rpt_
from .. import actions, several
from ..actions import CONVENTIONS
from ..messages import PIXELS_PER_LETTER, wrapped
from .base import JobOperator, OnObject

WIDTH = 480  # of a message's popup, pixels


class LOOPCORE_OT_predict_motion(JobOperator, bpy.types.Operator):
    """Find what moves, and how, in the image alone: nothing has to be drawn. Strokes, anchors and a mask correct it"""

    bl_idname, bl_label, bl_options = "loopcore.predict_motion", "Predict Motion", {"UNDO"}

    def steps(self, obj, settings):
        return actions.predict(obj, settings)


class LOOPCORE_OT_preview(JobOperator, bpy.types.Operator):
    """Bake a small 8-bit loop and play it on the plane"""

    bl_idname, bl_label, bl_options = "loopcore.preview", "Preview", {"UNDO"}

    def steps(self, obj, settings):
        return actions.preview(obj, settings)


class LOOPCORE_OT_bake(JobOperator, bpy.types.Operator):
    """Bake the frames of the loop and play them on the plane. Frames that are up to date are kept"""

    bl_idname, bl_label, bl_options = "loopcore.bake", "Bake Loop", {"UNDO"}

    overwrite: BoolProperty(
        name="Overwrite",
        description="Bake frames that are up to date again",
        default=False,
        options={"SKIP_SAVE"},
        translation_context=CONTEXT,
    )
    range: StringProperty(
        name="Files",
        description="Only these files, e.g. 1001-1024 or 1001-1060x2. Empty: all",
        options={"SKIP_SAVE"},
        translation_context=CONTEXT,
    )
    wire: BoolProperty(
        name="Play on the Plane",
        description="Play the frames on the plane",
        default=True,
        options={"SKIP_SAVE"},
        translation_context=CONTEXT,
    )

    def steps(self, obj, settings):
        return actions.bake(obj, settings, overwrite=self.overwrite, range=self.range, wire=self.wire)


class LOOPCORE_OT_bake_selected(JobOperator, bpy.types.Operator):
    """Bake the loops of the selected planes, one after another, each with its own settings. Failed ones are skipped"""

    bl_idname, bl_label, bl_options = "loopcore.bake_selected", "Bake Selected", {"UNDO"}

    @classmethod
    def poll(cls, context):
        if not context.selected_objects:
            cls.poll_message_set("Select image planes")
            return False
        return super().poll(context)

    def begin(self, context):
        planes = several.planes_among(context.selected_objects)
        if not planes:
            raise Refused(rpt_("No image planes are selected"))
        active = plane_of(context.active_object)
        shown = active if active in planes else planes[0]
        self._task = tasks.begin(self.bl_label, several.bake(planes, self.given()), runtime.engine(), shown)


class LOOPCORE_OT_export_flow(JobOperator, bpy.types.Operator):
    """Write the motion as a flow map for another application"""

    bl_idname, bl_label = "loopcore.export_flow", "Export Flow Map"

    convention: EnumProperty(
        name="Convention",
        description="The application or convention to write for",
        items=CONVENTIONS,
        default="motion",
        translation_context=CONTEXT,
    )
    flow_folder: StringProperty(
        name="Folder", description="Folder of the files. Empty: 'flow' in the output folder", subtype="DIR_PATH",
        options={"SKIP_SAVE"}, translation_context=CONTEXT,
    )  # fmt: skip

    def steps(self, obj, settings):
        return actions.export_flow(obj, settings, self.convention, self.flow_folder)


class LOOPCORE_OT_live_preview(JobOperator, bpy.types.Operator):
    """Animate the plane by shader nodes, without a bake, to judge the motion while drawing strokes"""

    bl_idname, bl_label, bl_options = "loopcore.live_preview", "Live Preview", {"UNDO"}

    def steps(self, obj, settings):
        return actions.live_preview(obj, settings)


class LOOPCORE_OT_cancel(bpy.types.Operator):
    """Stop the running task. Finished frames are kept, and not baked again"""

    bl_idname, bl_label, bl_translation_context = "loopcore.cancel", "Cancel", CONTEXT

    @classmethod
    def poll(cls, context):
        return tasks.current() is not None

    def execute(self, context):
        tasks.current().cancel()
        tasks.redraw()
        return {"FINISHED"}


class LOOPCORE_OT_show_message(OnObject, bpy.types.Operator):
    """Show the whole outcome of the last task"""

    bl_idname, bl_label, bl_options = "loopcore.show_message", "Show Message", {"INTERNAL"}
    object_mode_only = False

    def invoke(self, context, event):
        return context.window_manager.invoke_popup(self, width=WIDTH)

    def draw(self, context):
        column = self.layout.column(align=True)
        text = self.target(context).loopcore.message
        for line in text.splitlines():
            for piece in wrapped(line, WIDTH // PIXELS_PER_LETTER):
                column.label(text=piece)

    def act(self, context, obj):
        self.report({"INFO"}, obj.loopcore.message)


CLASSES = (
    LOOPCORE_OT_predict_motion,
    LOOPCORE_OT_preview,
    LOOPCORE_OT_bake,
    LOOPCORE_OT_bake_selected,
    LOOPCORE_OT_export_flow,
    LOOPCORE_OT_live_preview,
    LOOPCORE_OT_cancel,
    LOOPCORE_OT_show_message,
)
