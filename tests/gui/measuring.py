# SPDX-License-Identifier: Apache-2.0
"""Inside Blender: measure how long the add-on blocks the main thread."""

import functools
import os
import sys
import time
from importlib import import_module
from pathlib import Path

import bpy


def measure(package, seen):
    """Measure what the add-on does in the main thread while a loop is baked and motion is shown."""
    places = ("engine.client", "engine.tasks", "drawing.overlay", "interface.panels")
    modules = {place.split(".")[1]: import_module(f"{package}.{place}") for place in places}
    measured(seen, modules["tasks"], "begin", "starting a task")
    measured(seen, modules["client"].Engine, "submit", "starting the worker or a job")
    measured(seen, modules["tasks"].Task, "pump", "looking at a task")
    measured(seen, modules["overlay"], "lines_of", "overlay, making lines")
    measured(seen, modules["overlay"], "_draw_lines", "overlay, drawing lines", compiles=True)
    measured(seen, modules["overlay"], "stroke_shapes", "overlay, all strokes")
    measured(seen, modules["overlay"], "_draw_shapes", "overlay, drawing all strokes", compiles=True)
    panels = modules["panels"]
    for owner, name in ((panels, "draw_image"), (panels.Motion, "draw_part"), (panels.Loop, "draw_part")):
        measured(seen, owner, name, "panel")


def measured(seen, owner, name, title, compiles=False):
    """Measure the time of a function in the main thread; `compiles`: the first call separately."""
    plain, first = getattr(owner, name), [title + ", its shaders compiled"] if compiles else []

    def timed(*arguments, **settings):
        what = first.pop() if first else title
        began, computing = time.perf_counter(), time.thread_time()
        try:
            return plain(*arguments, **settings)
        finally:
            for kind, took in (("held", time.perf_counter() - began), ("computed", time.thread_time() - computing)):
                seen[kind][what] = max(seen[kind].get(what, 0), round(1000 * took, 1))

    setattr(owner, name, timed)


CALLED = ("invoke", "execute", "modal", "cancel", "poll", "draw")
DRAWING, TIMERS = "_draw", ("_solve", "_compare", "_draw_again", "_follow_later", "_poll", "_watch")
# Parts of a callback, also measured.
PARTS = {"drawing.mask_view": ("_made_shader", "_batch_of", "_areas_of")}


class Watch:
    """Measures every call from Blender into the add-on: operators, panels, menus, handlers, timers and drawing.

    Attributes:
        longest: the three longest times in ms by callback, CPU and wall, nested calls included; the first drawing of a
            kind includes the compilation of its shader.
        lifted: time of the last release of a drag, until the flow drawn from it is shown.
        shown_s: seconds from each release to the end of the drawing of the new flow, CPU time of the worker and of
            Blender meanwhile, and seconds until the flow was solved.
    """

    def __init__(self, package):
        self.longest, self.lifted, self.shown_s, self._inside = {"cpu": {}, "wall": {}}, None, [], False
        self._modules = {name: module for name, module in sys.modules.items() if name.startswith(f"{package}.")}
        self._short = len(package) + 1
        for name, module in list(self._modules.items()):
            self._watch_module(name[self._short :], module)
        for kind in dir(bpy.app.handlers):
            self._watch_handlers(kind, package)

    def _watch_module(self, name, module):
        drawn = []
        if hasattr(module, "_handles"):
            drawn = [key for key, value in vars(module).items() if key.startswith(DRAWING) and callable(value)]
        if drawn:
            module.unregister()
        for key in (*drawn, *(key for key in TIMERS if hasattr(module, key))):
            setattr(module, key, self.timed(f"{name}.{key}", getattr(module, key)))
        if drawn:
            module.register()
        for key in PARTS.get(name, ()):
            setattr(module, key, self.timed(f"  {key}", getattr(module, key), part=True))
        for cls in [value for value in vars(module).values() if isinstance(value, type)]:
            for key in CALLED:
                if cls.__module__ == module.__name__ and key in vars(cls):
                    self._watch_method(cls, key)

    def _watch_method(self, cls, key):
        plain = vars(cls)[key]
        title = f"{cls.__name__}.{key}"
        if isinstance(plain, classmethod):
            setattr(cls, key, classmethod(as_declared(plain.__func__, self.timed(title, plain.__func__))))
        elif callable(plain):
            setattr(cls, key, as_declared(plain, self.timed(title, plain)))

    def _watch_handlers(self, kind, package):
        handlers = getattr(bpy.app.handlers, kind)
        for index, handler in enumerate(handlers if isinstance(handlers, list) else ()):
            if getattr(handler, "__module__", "").startswith(package):
                handlers[index] = self.timed(f"handler {kind}", handler)

    def timed(self, title, plain, part=False):
        """Return a function that is measured, unless it is called by another that is, and is no `part` of it."""

        @functools.wraps(plain)
        def call(*arguments, **settings):
            if self._inside and not part:
                return plain(*arguments, **settings)
            outer, self._inside = self._inside, True
            began, computing = time.perf_counter(), time.thread_time()
            try:
                return plain(*arguments, **settings)
            finally:
                self._inside = outer
                for kind, took in (("cpu", time.thread_time() - computing), ("wall", time.perf_counter() - began)):
                    longest = self.longest[kind].setdefault(title, [])
                    longest[:] = sorted([*longest, round(1000 * took, 1)], reverse=True)[:3]

        return call

    def wait_for_arrows(self, dragging, overlay, engine, tasks):
        """Measure, after each release of a drag, when the motion solved from it has been drawn.

        `engine` returns the worker's client.
        """
        release, draw, finish = dragging.released, overlay._draw_lines, tasks.finish
        solved = [0.0]

        def finished(task):
            solved[0] = time.perf_counter()
            finish(task)

        def released(operator, context):
            self.lifted = time.perf_counter(), time.time_ns(), cpu_of(engine().pid), time.process_time()
            return release(operator, context)

        def draw_lines(drawn, *arguments):
            draw(drawn, *arguments)
            if self.lifted and drawn.computation is None and drawn.source[1] > self.lifted[1]:
                now = time.perf_counter(), cpu_of(engine().pid), time.process_time()
                before = self.lifted[0], *self.lifted[2:]
                took = [b - a for a, b in zip(before, now, strict=True)]
                self.shown_s.append([round(seconds, 2) for seconds in (*took, solved[0] - before[0])])
                self.lifted = None

        dragging.released, overlay._draw_lines, tasks.finish = released, draw_lines, finished


def as_declared(plain, call):
    """Return `call` with as many parameters as `plain` declares, since Blender gives a method only so many."""
    count = plain.__code__.co_argcount
    if count == 2:
        return lambda one, two: call(one, two)
    if count == 3:
        return lambda one, two, three: call(one, two, three)
    return call


def cpu_of(pid):
    """Return the CPU time of a process in seconds."""
    values = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(values[11]) + int(values[12])) / os.sysconf("SC_CLK_TCK")
