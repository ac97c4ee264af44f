# SPDX-License-Identifier: Apache-2.0
"""Inside Blender: measure how long the add-on blocks the main thread."""

import time
from importlib import import_module


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
