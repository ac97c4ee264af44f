# SPDX-License-Identifier: GPL-3.0-or-later
"""The running task, one at a time: its steps, progress and outcome.

A task is a generator that yields a `Step` for the worker, receives the step's result, and returns a sentence about the
outcome. Slow work without Blender's API is yielded as a `ThreadTask`, so that only the code between two yields blocks
the window. The scene may change between two yields: generators keep a `Target` instead of the object.
"""

import threading
import time
import traceback
from collections.abc import Callable, Generator
from dataclasses import dataclass, replace

import bpy

from ..errors import AddonError, Cancelled, Failed, Refused
from ..texts import rpt_
from .client import Engine, EngineError, Job

Work = Generator["Step | ThreadTask", dict, str]
PUMP_SECONDS, REDRAW_SECONDS = 0.02, 0.1
WITH_SIDEBAR = {"VIEW_3D", "NODE_EDITOR"}
SHOWN_IN = {*WITH_SIDEBAR, "PROPERTIES", "PREFERENCES"}

# The running task. Not an RNA property, since that would outlive the add-on.
_current: "Task | None" = None


@dataclass(frozen=True)
class Part:
    """One of several tasks that run as one: its number, as "2 of 3", and its object's name."""

    number: str
    name: str


@dataclass(frozen=True)
class Step:
    """A request to the worker, with a title for the user."""

    title: str
    method: str
    params: dict
    part: Part | None = None

    def in_part(self, part: Part) -> "Step":
        """Return the step as one of a part."""
        return replace(self, part=part)


class ThreadTask:
    """A function to run in a thread; has the interface of a worker's `Job`."""

    done = total = 0

    def __init__(self, title: str, act: Callable[[], None]):
        self.title, self._act = title, act
        self.part: Part | None = None
        self.state, self.result, self.error = "running", {}, None

    def in_part(self, part: Part) -> "ThreadTask":
        """Return the function as a step of a part."""
        self.part = part
        return self

    def start(self) -> "ThreadTask":
        threading.Thread(target=self._run, name="loopcore-thread-task", daemon=True).start()
        return self

    def eta(self) -> None:
        return None

    def cancel(self) -> None:
        """Ignore the outcome: the function runs to its end, and writes its file atomically."""
        self.state = "cancelled"

    def _run(self) -> None:
        try:
            self._act()
            ended = "done"
        except Exception as error:
            self.error, ended = error, "failed"
        if self.state == "running":
            self.state = ended


class Target:
    """A reference to an object that may be renamed or removed during a task."""

    def __init__(self, obj):
        self._uid, self.name = obj.session_uid, obj.name

    def find(self):
        """Return the object.

        Raises:
            Refused: the object was removed.
        """
        for obj in bpy.data.objects:
            if obj.session_uid == self._uid:
                return obj
        raise Refused(rpt_("'{name}' was removed during the task").format(name=self.name))


class Task:
    """A generator of steps, and its progress.

    Attributes:
        failed: None until it ends.
        code: the exit code of a command that runs it.
        saved: as `Job.saved`, of all steps.
    """

    def __init__(self, title: str, work: Work, engine: Engine, target: Target):
        self.title, self.target = title, target
        self.message, self.failed = "", None
        self.code = 0
        self.saved: list[tuple[str, int, int]] = []
        self._work, self._engine = work, engine
        self._step: Step | ThreadTask | None = None
        self._job: Job | ThreadTask | None = None
        self._stopped = False
        self._advance(lambda: next(self._work))

    @property
    def factor(self) -> float:
        job = self._job
        return min(job.done / job.total, 1.0) if job is not None and job.total else 0.0

    @property
    def name(self) -> str:
        """The name of the object that the current step is about."""
        part = self._step.part if self._step is not None else None
        return part.name if part is not None else self.target.name

    @property
    def step(self) -> str:
        """The title of the current step."""
        return self._step.title if self._step is not None else self.title

    @property
    def text(self) -> str:
        """The current step, its progress and the time left."""
        job = self._job
        if self._stopped:
            return "Cancelling"
        if job is None or self._step is None:
            return self.title
        part = self._step.part
        text = f"{part.number}: {self._step.title}" if part is not None else self._step.title
        if job.total > 1:
            text += f" {job.done}/{job.total}"
        left = job.eta()
        return text if left is None or left < 1 else rpt_("{text}, {time} left").format(text=text, time=clock(left))

    def pump(self) -> bool:
        """Process the worker's messages; returns whether the task has ended. Never blocks."""
        if self.failed is not None:
            return True
        try:
            self._engine.poll()
        except EngineError as error:
            self._end(str(error), failed=True, code=1)
            return True
        job = self._job
        if job is None or job.state not in ("done", "failed", "cancelled"):
            return False
        if self._stopped or job.state == "cancelled":
            self._throw(Cancelled(rpt_("Cancelled")))
        elif job.state == "done":
            self._advance(lambda: self._work.send(job.result or {}))
        elif isinstance(job, ThreadTask):
            self._throw(job.error)
        else:
            kind = Refused if job.bad_input else Failed
            self._throw(kind(job.error or "The worker failed without an error message"))
        return self.failed is not None

    def cancel(self) -> None:
        """Cancel the current step; the task ends in a later `pump`."""
        if self.failed is None and not self._stopped:
            self._stopped = True
            if isinstance(self._job, ThreadTask):
                self._job.cancel()
            elif self._job is not None:
                self._engine.cancel(self._job)

    def abandon(self, reason: str) -> None:
        """End at once, without waiting for the worker, as when another file is opened or the add-on is disabled."""
        self.cancel()
        if self.failed is None:
            self._work.close()
            self._end(reason, failed=True, code=130)

    def _throw(self, error: Exception) -> None:
        self._advance(lambda: self._work.throw(error))

    def _advance(self, move: Callable[[], Step]) -> None:
        try:
            step = self._step = move()
            if isinstance(step, ThreadTask):
                self._job = step.start()
            else:
                self._job = self._engine.submit(step.method, step.params)
                self._job.saved = self.saved
        except StopIteration as end:
            self._end(str(end.value), failed=False, code=0)
        except Cancelled as error:
            self._end(str(error), failed=True, code=130)
        except Failed as error:
            self._end(str(error), failed=True, code=1)
        except AddonError as error:
            self._end(str(error), failed=True, code=2)
        except (EngineError, OSError) as error:
            self._end(str(error), failed=True, code=1)
        except Exception as error:
            traceback.print_exc()
            text = rpt_("{error} (see the system console)").format(error=f"{type(error).__name__}: {error}")
            self._end(text, failed=True, code=1)

    def _end(self, message: str, *, failed: bool, code: int) -> None:
        self.message, self.failed, self.code, self._job = message, failed, code, None


def clock(seconds: float) -> str:
    """Return seconds as minutes and seconds."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02}" if minutes else f"{rest} s"


def current() -> Task | None:
    """Return the running task."""
    return _current


def begin(title: str, work: Work, engine: Engine, obj) -> Task:
    """Start a task.

    Raises:
        Refused: another task is running.
    """
    global _current
    if _current is not None:
        raise Refused(rpt_("{title} is still running: wait, or cancel it").format(title=_current.title))
    _current = Task(title, work, engine, Target(obj))
    return _current


def finish(task: Task) -> None:
    """Clear the running task, and store its outcome on the object if that still exists."""
    global _current
    if _current is task:
        _current = None
    try:
        obj = task.target.find()
        obj.loopcore.message, obj.loopcore.failed = task.message, bool(task.failed)
    except (Refused, AttributeError, ReferenceError):
        # The object was removed, or the add-on disabled.
        pass
    redraw()


def run(task: Task, on_pump: Callable[[Task], None] | None = None) -> Task:
    """Wait for the end of a task, and call `on_pump` after every pump."""
    try:
        while not task.pump():
            if on_pump is not None:
                on_pump(task)
            time.sleep(0.02)
    except BaseException:
        task.abandon("Interrupted")
        raise
    finally:
        finish(task)
    return task


def stop(reason: str) -> None:
    """End the running task at once."""
    task = _current
    if task is not None:
        task.abandon(reason)
        finish(task)


def redraw(*, only_panels: bool = False) -> None:
    """Redraw every area that shows a task; `only_panels`: of editors with a sidebar no more than that."""
    if bpy.app.background:
        # Files contain windows also in background mode, where accessing their status bar crashes Blender.
        return
    manager = getattr(bpy.context, "window_manager", None)
    for window in manager.windows if manager is not None else ():
        for area in window.screen.areas:
            if only_panels and area.type in WITH_SIDEBAR:
                for region in area.regions:
                    if region.type == "UI":
                        region.tag_redraw()
            elif area.type in SHOWN_IN:
                area.tag_redraw()
        # Only this redraws the status bar.
        window.workspace.status_text_set(None)
