# SPDX-License-Identifier: GPL-3.0-or-later
"""The operator that draws areas, which add to the mask or take from it: a lasso by dragging, a polygon by clicks."""

import json

import bpy
from bpy.props import BoolProperty, StringProperty

from ...drawing import areas, mask
from ...errors import Refused
from ...plane.image import find_plane_image
from ...texts import CONTEXT, rpt_, status
from .pointing import CLICK, Dragging

NEAR = 8  # pixels, at a resolution scale of 1, within which a click on the first corner closes a polygon


class LOOPCORE_OT_add_area(Dragging, bpy.types.Operator):
    """Add an area to the mask, or subtract it: drag around it, or click its corners and close it with Enter"""

    bl_idname, bl_label, bl_options = "loopcore.add_area", "Add Area", {"UNDO"}

    subtract: BoolProperty(
        name="Subtract", description="Take the area from the mask instead of adding it", default=False,
        options={"SKIP_SAVE"}, translation_context=CONTEXT,
    )  # fmt: skip
    points: StringProperty(
        name="Points",
        description="JSON list of [x, y] in pixels of the image, y down",
        options={"SKIP_SAVE", "HIDDEN"},
        translation_context=CONTEXT,
    )

    _since = 0  # number of corners when the button was pressed
    _held = False

    @classmethod
    def poll(cls, context):
        # A script needs no viewport.
        return super().poll(context) if context.region_data is not None else super(Dragging, cls).poll(context)

    def invoke(self, context, event):
        return self.execute(context) if self.points else super().invoke(context, event)

    def begin(self, context):
        self._held, self._since = True, 0
        self._line.closed, self._line.color = True, areas.COLORS[-1 if self.subtract else 1]
        self.show_status(context)

    def show_status(self, context):
        context.workspace.status_text_set(
            status(
                rpt_("Area: Drag Around It, or Click Its Corners"),
                rpt_("Enter, Double Click or First Corner: Close"),
                rpt_("Backspace: Remove Corner"),
                rpt_("Esc: Cancel"),
            )  # fmt: skip
        )

    def modal(self, context, event):
        line = self._line
        if line is None or event.type in {"ESC", "RIGHTMOUSE"}:
            return super().modal(context, event)
        pressed, result = event.value == "PRESS", None
        if event.type == self._button:
            result = self.clicked(context, event)
        elif event.type in {"RET", "NUMPAD_ENTER"} and pressed:
            result = self.released(context)
        elif event.type == "BACK_SPACE" and pressed and not self._held and len(line.pixels) > 1:
            line.drop()
        elif event.type == "MOUSEMOVE" and not self._held:
            line.tail = (event.mouse_region_x, event.mouse_region_y)
        elif event.type in {"MOUSEMOVE", "INBETWEEN_MOUSEMOVE"}:
            line.add(context, event)
        context.area.tag_redraw()
        return {"RUNNING_MODAL"} if result is None else self.end(context, result)

    def clicked(self, context, event):
        """Add a corner, or close the outline after a drag, a double click, or a click on the first corner."""
        line = self._line
        if event.value == "DOUBLE_CLICK":
            return self.released(context)
        if event.value == "PRESS":
            coord = (event.mouse_region_x, event.mouse_region_y)
            scale = context.preferences.system.ui_scale
            if len(line.pixels) > 2 and line.distance(coord) < NEAR * scale:
                return self.released(context)
            self._held, self._since, line.tail = True, len(line.pixels), None
            line.add(context, event)
        elif event.value == "RELEASE" and self._held:
            self._held = False
            if line.length(self._since) >= CLICK:
                return self.released(context)
        return None

    def act_on(self, context, plane):
        points, _ = self._line.simplified()
        self.add(context, plane, points)
        context.view_layer.objects.active = plane.object

    def add(self, context, plane, points):
        if self.subtract and not mask.has_mask(plane.object):
            raise Refused(rpt_("There is no mask to subtract from: paint one, or add an area first"))
        areas.add_area(context, plane, points, subtract=self.subtract)

    def act(self, context, obj):
        try:
            points = [(float(x), float(y)) for x, y in json.loads(self.points)]
        except (ValueError, TypeError):
            raise Refused(
                rpt_("points must be a JSON list of [x, y], not {points!r}").format(points=self.points)
            ) from None
        self.add(context, find_plane_image(obj), points)


CLASSES = (LOOPCORE_OT_add_area,)
