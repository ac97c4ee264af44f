# SPDX-License-Identifier: GPL-3.0-or-later
"""The add-on's preferences: which Python the worker runs in, and setting up one of its own."""

import sys
import time
from pathlib import Path

import bpy

from . import setup
from .setup import Place, Setup

POLL_SECONDS = 0.1
_SHOWN_LINES = 14
_LINE = 110
_ICONS = {"ready": "CHECKMARK", "absent": "INFO", "busy": "TIME"}

# What is being set up, checked or removed, or was last. Kept here: an RNA property would outlive the add-on.
_setup: Setup | None = None


def own() -> "LoopcorePreferences | None":
    """The preferences; None while the add-on is not enabled as one."""
    addon = bpy.context.preferences.addons.get(__package__)
    return addon.preferences if addon is not None else None


def place(create=False) -> Place:
    """Where the private environment is, and loopcore's wheel in the add-on."""
    try:
        folder = Path(bpy.utils.extension_path_user(__package__, path="engine", create=create))
    except ValueError:
        # Not installed as an extension, but imported from its source.
        folder = Path(bpy.app.tempdir) / "loopcore_engine"
    wheels = sorted((Path(__file__).parent / "wheels").glob("loopcore-*.whl"))
    return Place(folder, wheels[-1] if wheels else Path(__file__).parent / "wheels" / "loopcore.whl")


def worker() -> tuple[Path, Path, Path | None]:
    """The worker's Python, its log, and loopcore's wheel for a Python of the user's, which may have none."""
    where, chosen = place(), _chosen()
    return chosen or where.python, where.folder / "worker.log", where.wheel_if_there if chosen else None


def missing() -> str:
    """Why there is no Python for the worker, and what to do; empty when there is one."""
    chosen = _chosen()
    if chosen is not None:
        return "" if chosen.is_file() else f"There is no Python at '{chosen}': choose another in the preferences"
    if _setup is not None and _setup.state == "running":
        return f"{_setup.title}: {_setup.message}"
    state = setup.state_of(place())
    if state.name == "ready":
        return ""
    if state.name == "busy":
        return f"The engine cannot be used yet. {state.message}"
    if state.name == "absent":
        return "Loopcore's engine is not set up yet: Set Up in the add-on's preferences"
    return f"The engine cannot be used. {state.message} in the add-on's preferences"


def _chosen() -> Path | None:
    mine = own()
    return Path(bpy.path.abspath(mine.python)) if mine is not None and mine.python else None


class LoopcorePreferences(bpy.types.AddonPreferences):
    bl_idname = __package__

    python: bpy.props.StringProperty(
        name="Use This Python", subtype="FILE_PATH",
        description="A Python 3.11 to 3.13 that has what Loopcore needs, instead of the add-on's own environment. "
        "Where it has no Loopcore, it is lent the add-on's",
    )  # fmt: skip
    wheels: bpy.props.StringProperty(
        name="Folder of Wheels", subtype="DIR_PATH",
        description="Install from this folder instead of the network: the wheels of all that Loopcore needs",
    )  # fmt: skip
    base: bpy.props.StringProperty(
        name="Make It From", subtype="FILE_PATH",
        description="The Python 3.11 to 3.13 that the environment is made from. Empty: Blender's, or one on PATH",
    )  # fmt: skip
    torch: bpy.props.BoolProperty(
        name="Install torch", default=True,
        description="Needed to predict the motion from the picture. Strokes drawn with a mask do without (-200 MB)",
    )  # fmt: skip

    def draw(self, context):
        layout = self.layout
        layout.use_property_split = True
        if self.python:
            _draw_chosen(layout.box(), self)
        else:
            _draw_environment(layout.box(), self)
            layout.prop(self, "python")
        _draw_progress(layout)


def _draw_chosen(box, mine):
    box.prop(mine, "python")
    row = box.row()
    row.enabled = not _busy()
    row.operator("loopcore.check_python", icon="CHECKMARK")


def _draw_environment(box, mine):
    where = place()
    state = setup.state_of(where)
    column = box.column()
    column.enabled = not _busy()
    if _busy():
        column.label(text="Engine: being set up", icon="TIME")
    else:
        column.label(text=f"Engine: {state.message}", icon=_ICONS.get(state.name, "ERROR"))
    column.prop(mine, "wheels")
    column.prop(mine, "base")
    column.prop(mine, "torch")
    if not mine.wheels and not bpy.app.online_access:
        text = "Allow Online Access (System > Network), or choose a folder of wheels"
        column.label(text=text, icon="INTERNET_OFFLINE")
    row = column.row()
    action = row.row()
    action.enabled = bool(mine.wheels) or bpy.app.online_access
    action.operator("loopcore.set_up", text="Set Up" if state.name == "absent" else "Repair", icon="IMPORT")
    if state.name != "absent":
        row.operator("loopcore.remove_environment", icon="TRASH")


def _draw_progress(layout):
    if _setup is None:
        return
    if _setup.state == "running":
        row = layout.row(align=True)
        row.progress(factor=_setup.fraction, text=f"{_setup.title}: {_setup.message}")
        row.operator("loopcore.cancel_set_up", text="", icon="X")
        return
    box = layout.box()
    box.label(text=_setup.message, icon={"done": "CHECKMARK", "failed": "ERROR"}.get(_setup.state, "INFO"))
    for line in _setup.error.splitlines()[:_SHOWN_LINES]:
        for start in range(0, max(1, len(line)), _LINE):
            box.label(text=line[start : start + _LINE])
    if _setup.error and _setup.place.log.is_file():
        box.operator("wm.path_open", text="Open the Log", icon="TEXT").filepath = str(_setup.place.log)


def _busy() -> bool:
    return _setup is not None and _setup.state == "running"


class _Background:
    """An operator that has something set up: in the background, or, where there is no window, until it is done."""

    bl_options = {"REGISTER", "INTERNAL"}

    @classmethod
    def poll(cls, context):
        if _busy():
            cls.poll_message_set(f"{_setup.title} is still going on")
            return False
        return True

    def run(self, make):
        global _setup
        from . import runtime, tasks

        if tasks.current() is not None:
            self.report({"ERROR"}, f"{tasks.current().title} is still running: cancel it first, or wait")
            return {"CANCELLED"}
        # It may run from the very files that are about to go.
        runtime.stop()
        _setup = make(place(create=True))
        if not bpy.app.background:
            bpy.app.timers.register(_tick, first_interval=POLL_SECONDS, persistent=True)
            return {"FINISHED"}
        try:
            while _busy():
                said = _setup.message
                _setup.poll()
                if _setup.message != said:
                    print(f"{_setup.title}: {_setup.message}", flush=True)
                time.sleep(0.02)
        except BaseException:
            _setup.cancel()
            raise
        if _setup.state != "done":
            self.report({"ERROR"}, _setup.error or _setup.message)
            return {"CANCELLED"}
        self.report({"INFO"}, _setup.message)
        return {"FINISHED"}


def _tick() -> float | None:
    if _setup is None:
        return None
    _setup.poll()
    for window in bpy.context.window_manager.windows:
        for area in window.screen.areas:
            if area.type in {"PREFERENCES", "VIEW_3D", "NODE_EDITOR"}:
                area.tag_redraw()
    return POLL_SECONDS if _busy() else None


class LOOPCORE_OT_set_up(_Background, bpy.types.Operator):
    """Make a Python environment of the add-on's own, with Loopcore in it, and check it with a small bake"""

    bl_idname = "loopcore.set_up"
    bl_label = "Set Up"

    wheels: bpy.props.StringProperty(
        name="Folder of Wheels", subtype="DIR_PATH", description="Install from here; empty: from the network"
    )
    base: bpy.props.StringProperty(
        name="Make It From", subtype="FILE_PATH", description="Python to make it from; empty: look for one"
    )
    torch: bpy.props.BoolProperty(name="Install torch", default=True, description="Needed to predict motion")

    def invoke(self, context, event):
        mine = own()
        self.wheels, self.base, self.torch = mine.wheels, mine.base, mine.torch
        if self.wheels:
            return self.execute(context)
        return context.window_manager.invoke_props_dialog(
            self, width=420, title="Download the Engine?", confirm_text="Download"
        )

    def draw(self, context):
        size = "about 350 MB" if self.torch else "about 160 MB"
        self.layout.label(text=f"Python packages ({size}) are downloaded from PyPI", icon="INTERNET")
        if self.torch and sys.platform == "linux":
            self.layout.label(text="and torch, without CUDA, from download.pytorch.org,", icon="BLANK1")
        self.layout.label(text="into a folder of this add-on's own:", icon="BLANK1")
        self.layout.label(text=str(place().folder), icon="FILE_FOLDER")

    def execute(self, context):
        if not self.wheels and not bpy.app.online_access:
            self.report({"ERROR"}, "Online access is off (Preferences > System > Network): allow it, or choose a "
                        "folder of wheels")  # fmt: skip
            return {"CANCELLED"}
        wheels, base = (Path(bpy.path.abspath(p)) if p else None for p in (self.wheels, self.base))
        return self.run(lambda where: Setup.install(where, base, wheels=wheels, torch=self.torch))


class LOOPCORE_OT_check_python(_Background, bpy.types.Operator):
    """Bake a tiny loop with the Python that is named, to see whether all that Loopcore needs is there"""

    bl_idname = "loopcore.check_python"
    bl_label = "Check This Python"

    def execute(self, context):
        return self.run(lambda where: Setup.check(where, worker()[0]))


class LOOPCORE_OT_remove_environment(_Background, bpy.types.Operator):
    """Remove the add-on's own environment from the disk"""

    bl_idname = "loopcore.remove_environment"
    bl_label = "Remove"

    def invoke(self, context, event):
        return context.window_manager.invoke_confirm(self, event)

    def execute(self, context):
        return self.run(Setup.remove)


class LOOPCORE_OT_cancel_set_up(bpy.types.Operator):
    """Stop what is being set up"""

    bl_idname = "loopcore.cancel_set_up"
    bl_label = "Cancel"
    bl_options = {"INTERNAL"}

    def execute(self, context):
        if _setup is not None:
            _setup.cancel()
        return {"FINISHED"}


CLASSES = (
    LoopcorePreferences,
    LOOPCORE_OT_set_up,
    LOOPCORE_OT_check_python,
    LOOPCORE_OT_remove_environment,
    LOOPCORE_OT_cancel_set_up,
)


def register():
    for cls in CLASSES:
        bpy.utils.register_class(cls)


def unregister():
    global _setup
    if _setup is not None:
        _setup.cancel()
        _setup = None
    if bpy.app.timers.is_registered(_tick):
        bpy.app.timers.unregister(_tick)
    for cls in reversed(CLASSES):
        bpy.utils.unregister_class(cls)
