# SPDX-License-Identifier: GPL-3.0-or-later
"""Operators that set up, check and remove the worker's Python."""

import sys
import time
from pathlib import Path

import bpy

from ...engine import installation, runtime, tasks
from ...engine.setup import Setup
from ...texts import CONTEXT, rpt_


class _Background:
    """An operator that runs a `Setup`: polled by a timer, or blocking in background mode."""

    bl_options = {"REGISTER", "INTERNAL"}
    bl_translation_context = CONTEXT

    @classmethod
    def poll(cls, context):
        if installation.busy():
            cls.poll_message_set(rpt_("{title} is still running").format(title=installation.current().title))
            return False
        return True

    def run(self, make):
        if tasks.current() is not None:
            self.report(
                {"ERROR"}, rpt_("{title} is still running: wait, or cancel it").format(title=tasks.current().title)
            )
            return {"CANCELLED"}
        # The worker may run from the environment that is about to be removed.
        runtime.stop()
        setup = make(installation.place(create=True))
        installation.begin(setup)
        if not bpy.app.background:
            return {"FINISHED"}
        _wait(setup)
        if setup.state != "done":
            self.report({"ERROR"}, setup.error or setup.message)
            return {"CANCELLED"}
        self.report({"INFO"}, setup.message)
        return {"FINISHED"}


def _wait(setup: Setup) -> None:
    """Wait until a setup has ended and removed its temporary files, and print its messages."""
    try:
        while setup.state == "running" or setup.cleaning:
            message = setup.message
            setup.poll()
            if setup.message != message:
                print(f"{setup.title}: {setup.message}", flush=True)
            time.sleep(0.02)
    except BaseException:
        setup.cancel()
        raise


class LOOPCORE_OT_set_up(_Background, bpy.types.Operator):
    """Create the add-on's private Python environment with Loopcore, and check it with a small bake"""

    bl_idname = "loopcore.set_up"
    bl_label = "Set Up"

    wheels: bpy.props.StringProperty(
        name="Folder of Wheels",
        subtype="DIR_PATH",
        description="Install from this folder. Empty: from the network",
        translation_context=CONTEXT,
    )
    base: bpy.props.StringProperty(
        name="Base Python",
        subtype="FILE_PATH",
        description="Python to create it with. Empty: search for one",
        translation_context=CONTEXT,
    )
    torch: bpy.props.BoolProperty(
        name="Install torch", default=True, description="Required to predict motion", translation_context=CONTEXT
    )

    def invoke(self, context, event):
        mine = installation.preferences()
        self.wheels, self.base, self.torch = mine.wheels, mine.base, mine.torch
        if self.wheels:
            return self.execute(context)
        return context.window_manager.invoke_props_dialog(
            self, width=420, title="Download the Engine?", confirm_text="Download"
        )

    def draw(self, context):
        size = "about 350 MB" if self.torch else "about 160 MB"
        self.layout.label(
            text=rpt_("Python packages ({size}) are downloaded from PyPI").format(size=size), icon="INTERNET"
        )
        if self.torch and sys.platform == "linux":
            self.layout.label(
                text="and torch without CUDA from download.pytorch.org,", icon="BLANK1", text_ctxt=CONTEXT
            )
        self.layout.label(text="to the folder of this add-on:", icon="BLANK1", text_ctxt=CONTEXT)
        self.layout.label(text=str(installation.place().folder), icon="FILE_FOLDER")

    def execute(self, context):
        if not self.wheels and not bpy.app.online_access:
            self.report({"ERROR"}, "Online access is off (Preferences > System > Network): allow it, or choose a "
                        "folder of wheels")  # fmt: skip
            return {"CANCELLED"}
        wheels, base = (Path(bpy.path.abspath(p)) if p else None for p in (self.wheels, self.base))
        return self.run(lambda where: Setup.install(where, base, wheels=wheels, torch=self.torch))


class LOOPCORE_OT_check_python(_Background, bpy.types.Operator):
    """Bake a small loop with the chosen Python, to check that it has all of Loopcore's dependencies"""

    bl_idname = "loopcore.check_python"
    bl_label = "Check This Python"

    def execute(self, context):
        return self.run(lambda where: Setup.check(where, installation.worker()[0]))


class LOOPCORE_OT_remove_environment(_Background, bpy.types.Operator):
    """Delete the add-on's private environment"""

    bl_idname = "loopcore.remove_environment"
    bl_label = "Remove"

    def invoke(self, context, event):
        return context.window_manager.invoke_confirm(self, event)

    def execute(self, context):
        return self.run(Setup.remove)


class LOOPCORE_OT_cancel_set_up(bpy.types.Operator):
    """Stop the running setup"""

    bl_idname = "loopcore.cancel_set_up"
    bl_label = "Cancel"
    bl_translation_context = CONTEXT
    bl_options = {"INTERNAL"}

    def execute(self, context):
        if installation.current() is not None:
            installation.current().cancel()
        return {"FINISHED"}


CLASSES = (
    LOOPCORE_OT_set_up,
    LOOPCORE_OT_check_python,
    LOOPCORE_OT_remove_environment,
    LOOPCORE_OT_cancel_set_up,
)
