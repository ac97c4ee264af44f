# SPDX-License-Identifier: GPL-3.0-or-later
"""Operators of the tools: draw a stroke by dragging, turn the flow round by a click, erase."""

import contextlib
import json

import bpy
from bpy.props import StringProperty
from mathutils import Vector

from ...drawing import strokes
from ...drawing.dragging import Line
from ...drawing.marks import hints_near
from ...errors import AddonError, Refused
from ...plane.image import find_plane_image
from ...plane.pointing import plane_under
from ...texts import CONTEXT, rpt_, status
from .. import drafts
from ..actions import draft
from .base import JobOperator, OnObject

NEAR = 14  # pixels, at a resolution scale of 1, within which a click hits a hint
CLICK = 5  # shorter drags are clicks
WHEEL = 2**0.25  # factor on the speed for each step of the wheel


def added(context, plane: str) -> None:
    """Show the motion of the plane, and have it solved again."""
    bpy.data.objects[plane].loopcore.show_motion = True
    drafts.want(plane)


class Dragging(OnObject):
    """A modal operator on the plane under the pointer, from the press of the left mouse button to its release."""

    _line = None
    _button = "LEFTMOUSE"

    @classmethod
    def poll(cls, context):
        if context.region_data is None or context.region is None or context.region.type != "WINDOW":
            cls.poll_message_set("Only available in the 3D Viewport")
            return False
        return super().poll(context)

    def invoke(self, context, event):
        self._line = None
        if event.type == self._button and event.value == "PRESS":
            result = self.pressed(context, event)
            if result is not None:
                return result
        context.window_manager.modal_handler_add(self)
        context.window.cursor_modal_set("PAINT_BRUSH")
        self.show_status(context)
        return {"RUNNING_MODAL"}

    def pressed(self, context, event):
        """Begin at the pointer; returns a result if that cannot be done."""
        coord = (event.mouse_region_x, event.mouse_region_y)
        try:
            pointer = plane_under(context, coord)
            if pointer.pixel(context.region, context.region_data, coord) is None:
                raise Refused(rpt_("Begin on the image"))
        except AddonError as error:
            self.report({"WARNING"}, str(error))
            return {"CANCELLED"}
        self._line = Line(context, pointer)
        self.begin(context)
        self._line.add(context, event)
        return None

    def modal(self, context, event):
        if event.type in {"ESC", "RIGHTMOUSE"} and event.value == "PRESS":
            return self.end(context, {"CANCELLED"})
        if self._line is None:
            if event.type == self._button and event.value == "PRESS":
                if self.pressed(context, event) is not None:
                    return self.end(context, {"CANCELLED"})
                return {"RUNNING_MODAL"}
            return {"PASS_THROUGH"}
        if event.type in {"MOUSEMOVE", "INBETWEEN_MOUSEMOVE"}:
            self._line.add(context, event)
            self.moved(context)
        elif event.type == self._button and event.value == "RELEASE":
            return self.end(context, self.released(context))
        elif event.type in {"WHEELUPMOUSE", "WHEELDOWNMOUSE"}:
            self.wheeled(context, event.type == "WHEELUPMOUSE")
        context.area.tag_redraw()
        return {"RUNNING_MODAL"}

    def end(self, context, result):
        self.cancel(context)
        return result

    def cancel(self, context):
        """Remove what is drawn. Blender calls this when it quits or opens another file."""
        if self._line is not None:
            self._line.remove()
        context.window.cursor_modal_restore()
        context.workspace.status_text_set(None)
        if context.area is not None:
            context.area.tag_redraw()

    def begin(self, context):
        pass

    def moved(self, context):
        pass

    def wheeled(self, context, up):
        pass

    def released(self, context):
        """Act on the whole drag, and return the operator's result."""
        try:
            self.act_on(context, find_plane_image(bpy.data.objects.get(self._line.pointer.name)))
        except AddonError as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        added(context, self._line.pointer.name)
        return {"FINISHED"}

    @property
    def is_click(self):
        return self._line.length() < CLICK


class LOOPCORE_OT_draw_stroke(Dragging, bpy.types.Operator):
    (
        """Drag along the flow on the image; the motion is solved when the button is released. Wheel: speed. """
        """Pen pressure: speed along the stroke. A click adds an anchor, which stays still"""
    )

    bl_idname, bl_label, bl_options = "loopcore.draw_stroke", "Draw Stroke", {"UNDO"}

    def begin(self, context):
        self._line.speed = bpy.data.objects[self._line.pointer.name].loopcore.stroke_speed
        self.show_status(context)

    def show_status(self, context):
        parts = [
            rpt_("Stroke"), rpt_("Wheel: Speed"), rpt_("Pen Pressure: Speed Along the Stroke"), rpt_("Click: Anchor"),
            rpt_("Esc: Cancel"),
        ]  # fmt: skip
        if self._line is not None:
            parts.insert(1, rpt_("{speed:.2f} pixels per frame").format(speed=self._line.speed))
        context.workspace.status_text_set(status(*parts))

    def wheeled(self, context, up):
        self._line.speed = min(max(self._line.speed * (WHEEL if up else 1 / WHEEL), 0.01), 1000.0)
        self.show_status(context)

    def act_on(self, context, plane):
        if self.is_click:
            strokes.add_anchor(context, plane, self._line.pixels[0])
            return
        points, pressures = self._line.simplified()
        stroke = strokes.add_stroke(context, plane, points, self._line.speed, pressures)
        plane.object.loopcore.stroke_speed = self._line.speed
        for obj in context.selected_objects:
            obj.select_set(False)
        stroke.select_set(True)
        context.view_layer.objects.active = stroke

    def execute(self, context):
        self.report({"ERROR"}, rpt_("Drag with the mouse, or use Add Stroke from scripts"))
        return {"CANCELLED"}


class LOOPCORE_OT_erase_hints(Dragging, bpy.types.Operator):
    """Drag over strokes, areas, anchors and flips to delete them; the motion is solved when the button is released"""

    bl_idname, bl_label, bl_options = "loopcore.erase_hints", "Erase Strokes", {"UNDO"}

    def show_status(self, context):
        context.workspace.status_text_set(
            status(rpt_("Erase: Drag Over Strokes, Areas, Anchors and Flips"), rpt_("Esc: Cancel"))
        )

    def begin(self, context):
        self._line.erases = True
        self.show_status(context)

    def moved(self, context):
        self._line.touched |= {obj.name for obj in hints_near(context, self._line.pointer, self._line.seen[-1], NEAR)}

    def act_on(self, context, plane):
        self.moved(context)
        context.view_layer.objects.active = plane.object
        plane.object.select_set(True)
        for name in self._line.touched:
            if (obj := bpy.data.objects.get(name)) is not None:
                bpy.data.objects.remove(obj)

    def execute(self, context):
        self.report({"ERROR"}, rpt_("Drag with the mouse"))
        return {"CANCELLED"}


class LOOPCORE_OT_flip_flow(OnObject, bpy.types.Operator):
    """Turn the predicted flow of the region under the pointer round; click a flip's marker again to remove it"""

    bl_idname, bl_label, bl_options = "loopcore.flip_flow", "Flip Flow", {"UNDO"}

    point: StringProperty(
        name="Point",
        description="JSON [x, y] in pixels of the image, y down",
        options={"SKIP_SAVE", "HIDDEN"},
        translation_context=CONTEXT,
    )

    def invoke(self, context, event):
        if context.region_data is None or context.region.type != "WINDOW":
            return self.execute(context)
        if event.type == "LEFTMOUSE" and event.value == "PRESS":
            return self.clicked(context, event)
        # Called from a menu or by a search: wait for a click.
        context.window_manager.modal_handler_add(self)
        context.window.cursor_modal_set("EYEDROPPER")
        context.workspace.status_text_set(
            status(rpt_("Flip: Click the Flow That Goes the Wrong Way"), rpt_("Esc: Cancel"))
        )
        return {"RUNNING_MODAL"}

    def modal(self, context, event):
        if event.value != "PRESS" or event.type not in {"LEFTMOUSE", "ESC", "RIGHTMOUSE"}:
            return {"PASS_THROUGH"}
        context.window.cursor_modal_restore()
        context.workspace.status_text_set(None)
        return self.clicked(context, event) if event.type == "LEFTMOUSE" else {"CANCELLED"}

    def clicked(self, context, event):
        coord = Vector((event.mouse_region_x, event.mouse_region_y))
        try:
            pointer = plane_under(context, coord)
            plane = bpy.data.objects[pointer.name]
            near = [obj for obj in hints_near(context, pointer, coord, NEAR) if strokes.FLIP in obj]
            if near:
                bpy.data.objects.remove(near[0])
            elif pointer.over(context.region, context.region_data, coord):
                self.flip(context, plane, pointer.pixel(context.region, context.region_data, coord))
            else:
                raise Refused(rpt_("Click on the image"))
        except AddonError as error:
            self.report({"WARNING"}, str(error))
            return {"CANCELLED"}
        context.view_layer.objects.active = plane
        added(context, plane.name)
        context.area.tag_redraw()
        return {"FINISHED"}

    def flip(self, context, plane, pixel):
        strokes.add_flip(context, find_plane_image(plane), pixel)

    def act(self, context, obj):
        try:
            x, y = json.loads(self.point)
            point = float(x), float(y)
        except (ValueError, TypeError):
            raise Refused(rpt_("point must be a JSON list [x, y], not {point!r}").format(point=self.point)) from None
        self.flip(context, obj, point)


class LOOPCORE_OT_draft_motion(JobOperator, bpy.types.Operator):
    """Solve the motion at a small size, as after each stroke"""

    bl_idname, bl_label, bl_options = "loopcore.draft_motion", drafts.TITLE, {"INTERNAL"}

    _before = "", False  # the outcome of the task before

    def steps(self, obj, settings):
        drafts.began(obj.name)
        self._before = obj.loopcore.message, obj.loopcore.failed
        return draft(obj, settings)

    def ended(self):
        """Report no more than a warning, since an error's popup would take the next click; nothing if it is redone."""
        if self._task.code == 130:
            with contextlib.suppress(Refused):
                state = self._task.target.find().loopcore
                state.message, state.failed = self._before
            return {"CANCELLED"}
        drafts.ended(self._task.target.name, self._task.message, bool(self._task.failed))
        if self._task.failed:
            self.report({"WARNING"}, self._task.message)
        return {"CANCELLED"} if self._task.failed else {"FINISHED"}


CLASSES = (LOOPCORE_OT_draw_stroke, LOOPCORE_OT_erase_hints, LOOPCORE_OT_flip_flow, LOOPCORE_OT_draft_motion)
