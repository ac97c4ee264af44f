# SPDX-License-Identifier: GPL-3.0-or-later
"""Base classes of operators: their object, its settings, and running a task modally or blocking."""

import bpy
from bpy.props import StringProperty

from ...engine import installation, runtime, tasks
from ...errors import AddonError, Refused
from ...plane.image import plane_of, refuse_linked
from .. import properties


class OnObject:
    """An operator on one object: `object_name`, or the active object."""

    object_name: StringProperty(
        name="Object", description="Name of the plane. Empty: the active object", options={"SKIP_SAVE"}
    )

    @classmethod
    def poll(cls, context):
        if context.mode != "OBJECT" and cls.object_mode_only:
            cls.poll_message_set("Only available in Object Mode")
            return False
        return True

    object_mode_only = True

    def target(self, context):
        """Return the object; for a stroke or an anchor its plane.

        Raises:
            Refused: there is none.
            PlaneError: it is linked from another file.
        """
        if self.object_name:
            found = bpy.data.objects.get(self.object_name)
            if found is None:
                raise Refused(f"There is no object '{self.object_name}' in this file")
            refuse_linked(found)
            return found
        if context.active_object is None:
            raise Refused("No active object: select an image plane")
        found = plane_of(context.active_object)
        refuse_linked(found)
        return found

    def execute(self, context):
        """Call `act` with the object, and report errors."""
        try:
            self.act(context, self.target(context))
        except AddonError as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        tasks.redraw()
        return {"FINISHED"}


def no_task(operator) -> bool:
    """Return whether no task is running; otherwise set the tooltip of the disabled operator."""
    running = tasks.current()
    if running is not None:
        operator.poll_message_set(f"{running.title} is still running: wait, or cancel it")
    return running is None


def engine_free(operator) -> bool:
    """Return whether the engine is not being set up; otherwise set the tooltip of the disabled operator."""
    busy = installation.busy()
    if busy:
        operator.poll_message_set("The engine is being set up: wait, or cancel it in the preferences")
    return not busy


class WithSettings(OnObject):
    """An operator with the object's settings, each of which can be overridden by an argument."""

    frames: properties.FRAMES
    first: properties.FIRST
    speed: properties.SPEED
    method: properties.METHOD
    contrast: properties.CONTRAST
    auto_looks: properties.AUTO_LOOKS
    cycles: properties.CYCLES
    steady: properties.STEADY
    resolution: properties.RESOLUTION
    folder: properties.FOLDER
    format: properties.FORMAT
    proxy: properties.PROXY
    passes: properties.PASSES

    def settings(self, obj):
        given = [name for name in properties.LOOP if self.properties.is_property_set(name)]
        return properties.Settings.of(obj, **{name: getattr(self, name) for name in given})


class JobOperator(WithSettings):
    """An operator that runs a task: blocking when executed, modal when invoked."""

    _task = None
    _timer = None

    @classmethod
    def poll(cls, context):
        return engine_free(cls) and no_task(cls) and super().poll(context)

    def begin(self, context):
        obj = self.target(context)
        steps = self.steps(obj, self.settings(obj))
        self._task = tasks.begin(self.bl_label, steps, runtime.engine(), obj)

    def execute(self, context):
        try:
            self.begin(context)
        except AddonError as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        manager = context.window_manager
        manager.progress_begin(0, 100)
        try:
            tasks.run(self._task, lambda task: manager.progress_update(int(100 * task.factor)))
        finally:
            manager.progress_end()
        return self.ended()

    def invoke(self, context, event):
        try:
            self.begin(context)
        except AddonError as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        self._timer = context.window_manager.event_timer_add(tasks.PUMP_SECONDS, window=context.window)
        context.window_manager.modal_handler_add(self)
        tasks.redraw()
        return {"RUNNING_MODAL"}

    def modal(self, context, event):
        task = self._task
        if tasks.current() is not task:
            # Ended elsewhere: another file was opened, or the add-on disabled.
            self.remove_timer(context)
            return {"CANCELLED"}
        if event.type == "TIMER":
            if task.pump():
                self.remove_timer(context)
                tasks.finish(task)
                return self.ended()
            tasks.redraw()
        return {"PASS_THROUGH"}

    def cancel(self, context):
        """Stop the task. Blender calls this when it quits, opens another file, or closes the window."""
        self.remove_timer(context)
        if tasks.current() is self._task:
            tasks.stop("Cancelled")

    def remove_timer(self, context):
        if self._timer is not None:
            context.window_manager.event_timer_remove(self._timer)
            self._timer = None

    def ended(self):
        task = self._task
        if task.code == 130:
            self.report({"WARNING"}, task.message)
            return {"CANCELLED"}
        self.report({"ERROR"} if task.failed else {"INFO"}, task.message)
        # A failed task may have changed data-blocks, which needs an undo step as well.
        return {"FINISHED"}
