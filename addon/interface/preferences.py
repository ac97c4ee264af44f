# SPDX-License-Identifier: GPL-3.0-or-later
"""The add-on's preferences: the Python that runs the worker, or the setup of a private environment."""

import bpy

from .. import package
from ..engine import installation
from ..texts import CONTEXT, rpt_
from .messages import letters_in, wrapped

WEBSITE = package.website()
_MAX_LINES = 14
_ICONS = {"ready": "CHECKMARK", "absent": "INFO", "busy": "TIME"}


class LoopcorePreferences(bpy.types.AddonPreferences):
    bl_idname = package.NAME

    python: bpy.props.StringProperty(
        name="Use This Python", subtype="FILE_PATH",
        description="A Python 3.11 to 3.13 with Loopcore's dependencies, to use instead of the add-on's private "
        "environment. If it does not have Loopcore itself, the add-on's copy is used", translation_context=CONTEXT,
    )  # fmt: skip
    wheels: bpy.props.StringProperty(
        name="Folder of Wheels", subtype="DIR_PATH",
        description="Install from this folder instead of the network. It must have the wheels of all dependencies",
        translation_context=CONTEXT,
    )  # fmt: skip
    base: bpy.props.StringProperty(
        name="Base Python", subtype="FILE_PATH",
        description="Python 3.11 to 3.13 to create the environment with. Empty: Blender's, or one on PATH",
        translation_context=CONTEXT,
    )  # fmt: skip
    torch: bpy.props.BoolProperty(
        name="Install torch", default=True,
        description="Required to predict motion from the image, not for strokes with a mask. About 200 MB",
        translation_context=CONTEXT,
    )  # fmt: skip

    def draw(self, context):
        layout = self.layout
        layout.use_property_split = True
        if self.python:
            _draw_chosen(layout.box(), self)
        else:
            _draw_environment(layout.box(), self)
            layout.prop(self, "python")
        _draw_progress(layout, letters_in(context))
        _draw_links(layout)


def _draw_links(layout):
    row = layout.row()
    row.operator("wm.path_open", text="Documentation", icon="HELP", text_ctxt=CONTEXT).filepath = str(package.MANUAL)
    if WEBSITE:
        row.operator("wm.url_open", text="Report a Problem", icon="URL", text_ctxt=CONTEXT).url = WEBSITE
    log = installation.worker()[1]
    if log.is_file():
        row.operator("wm.path_open", text="Open the Log", icon="TEXT", text_ctxt=CONTEXT).filepath = str(log)


def _draw_chosen(box, mine):
    box.prop(mine, "python")
    row = box.row()
    row.enabled = not installation.busy()
    row.operator("loopcore.check_python", icon="CHECKMARK")


def _draw_environment(box, mine):
    state = installation.environment()
    column = box.column()
    column.enabled = not installation.busy()
    if installation.busy():
        column.label(text="Engine: setup is running", icon="TIME", text_ctxt=CONTEXT)
    else:
        column.label(text=rpt_("Engine: {message}").format(message=state.message), icon=_ICONS.get(state.name, "ERROR"))
    column.prop(mine, "wheels")
    column.prop(mine, "base")
    column.prop(mine, "torch")
    if not mine.wheels and not bpy.app.online_access:
        text = "Allow Online Access (System > Network), or choose a Folder of Wheels"
        column.label(text=text, icon="INTERNET_OFFLINE")
    row = column.row()
    action = row.row()
    action.enabled = bool(mine.wheels) or bpy.app.online_access
    action.operator("loopcore.set_up", text="Set Up" if state.name == "absent" else "Repair", icon="IMPORT")
    if state.name != "absent":
        row.operator("loopcore.remove_environment", icon="TRASH")


def _draw_progress(layout, letters):
    setup = installation.current()
    if setup is None:
        return
    if setup.state == "running":
        row = layout.row(align=True)
        row.progress(factor=setup.fraction, text=f"{setup.title}: {setup.message}")
        row.operator("loopcore.cancel_set_up", text="", icon="X")
        return
    box = layout.box()
    box.label(text=setup.message, icon={"done": "CHECKMARK", "failed": "ERROR"}.get(setup.state, "INFO"))
    for line in setup.error.splitlines()[:_MAX_LINES]:
        for piece in wrapped(line, letters):
            box.label(text=piece)
    if setup.error and setup.place.log.is_file():
        box.operator("wm.path_open", text="Open the Log", icon="TEXT", text_ctxt=CONTEXT).filepath = str(
            setup.place.log
        )


def register():
    bpy.utils.register_class(LoopcorePreferences)


def unregister():
    bpy.utils.unregister_class(LoopcorePreferences)
