# SPDX-License-Identifier: Apache-2.0
"""Inside Blender: failures and other events during a bake that is polled, as by a window's timer.

python tasks_script.py ZIP FOLDER READ_ONLY FULL: READ_ONLY and FULL are folders on such disks, or empty
python tasks_script.py ZIP FOLDER --until-killed: bake until the process is killed
"""

import sys
import time
from importlib import import_module
from pathlib import Path

import bpy
import inside

ZIP, FOLDER = (Path(argument) for argument in sys.argv[1:3])
PACKAGE = "bl_ext.user_default.loopcore"
FRAMES = 400


def module(name):
    return import_module(f"{PACKAGE}.{name}")


def shot():
    """Create and save a file: a plane with a stroke and a mask."""
    bpy.ops.wm.read_factory_settings(use_empty=True)
    if PACKAGE not in bpy.context.preferences.addons:
        inside.install(ZIP)
    plane = inside.image_plane(inside.photograph(FOLDER))
    bpy.ops.loopcore.add_stroke(object_name=plane.name, points="[[40, 90], [160, 90], [280, 90]]", speed=2.0)
    inside.white_mask(plane)
    bpy.ops.wm.save_as_mainfile(filepath=str(FOLDER / "shot.blend"))
    return plane


def begin(plane, **settings):
    actions, properties = module("interface.actions"), module("interface.properties")
    tasks, runtime = module("engine.tasks"), module("engine.runtime")
    settings = properties.Settings.of(plane, **{"frames": FRAMES, **settings})
    return tasks.begin("Bake Loop", actions.bake(plane, settings, overwrite=True), runtime.engine(), plane)


def pump(task, holds, seconds=60):
    """Pump as the modal operator does until `holds()`; returns the longest main-thread time in milliseconds."""
    end, worst = time.monotonic() + seconds, 0.0
    while not holds():
        began = time.thread_time()
        task.pump()
        worst = max(worst, 1000 * (time.thread_time() - began))
        if time.monotonic() > end:
            raise TimeoutError(task.text)
        time.sleep(0.02)
    return worst


def baking(plane, **settings):
    """Start a bake and wait for a frame; returns the task and the worker's process id."""
    task = begin(plane, **settings)
    pump(task, lambda: task.failed is not None or task.saved)
    if task.failed:
        raise RuntimeError(task.message)
    return task, module("engine.runtime").engine().pid


def ended(task):
    """Wait for the task's end as the operator does; returns its message, failure and exit code."""
    pump(task, lambda: task.failed is not None)
    module("engine.tasks").finish(task)
    return [task.message, task.failed, task.code]


def gone(pid, seconds=1.0):
    """Return whether a process ends in that time."""
    end = time.monotonic() + seconds
    while alive(pid) and time.monotonic() < end:
        time.sleep(0.01)
    return not alive(pid)


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def usable():
    """Bake again; returns the result, the message, and the temporary files left."""
    plane = bpy.data.objects["Plate"]
    result = bpy.ops.loopcore.bake(object_name=plane.name, frames=3, overwrite=True)
    temporaries = [str(path) for path in (FOLDER / "loops").rglob(".*.tmp-*")]
    return [sorted(result), plane.loopcore.message, temporaries]


def renamed():
    plane = shot()
    task, _ = baking(plane, frames=12)
    plane.name = 'Weir "B" 水'
    outcome = ended(task)
    return {"outcome": outcome, "kept": plane.loopcore.message == outcome[0],
            "playing": module("playing.image_sequence").is_wired(plane)}  # fmt: skip


def removed():
    plane = shot()
    task, _ = baking(plane, frames=12)
    bpy.data.objects.remove(plane)
    outcome = ended(task)
    return {"outcome": outcome, "files": len(list((FOLDER / "loops" / "shot" / "Plate").glob("Plate_loop.*.exr"))),
            "usable": [shot().name, *usable()]}  # fmt: skip


def removed_before_the_motion():
    plane = shot()
    task = begin(plane)
    bpy.data.objects.remove(plane)
    return {"outcome": ended(task)}


def disabled():
    plane = shot()
    task, pid = baking(plane)
    bpy.ops.preferences.addon_disable(module=PACKAGE)
    out = {"ended": [task.failed, task.message], "gone": gone(pid), "type": hasattr(bpy.types.Object, "loopcore")}
    bpy.ops.preferences.addon_enable(module=PACKAGE)
    inside.use_worker(PACKAGE)
    return {**out, "usable": usable()}


def saved_and_another_opened():
    plane = shot()
    task, pid = baking(plane)
    bpy.ops.wm.save_mainfile()
    pump(task, lambda: len(task.saved) > 8)
    out = {"goes on": task.failed is None}
    bpy.ops.wm.read_homefile(use_empty=True)
    out |= {"ended": [task.failed, task.message], "none": module("engine.tasks").current() is None}
    bpy.ops.wm.open_mainfile(filepath=str(FOLDER / "shot.blend"))
    return {**out, "still": module("playing.image_sequence").is_wired(bpy.data.objects["Plate"]), "usable": usable(),
            "one worker": gone(pid) or module("engine.runtime").engine().pid == pid}  # fmt: skip


def missing_picture():
    plane = shot()
    (FOLDER / "plate.png").rename(FOLDER / "away.png")
    try:
        outcome = try_bake(plane)
    finally:
        (FOLDER / "away.png").rename(FOLDER / "plate.png")
    return {"outcome": outcome, "kept": plane.loopcore.message, "usable": usable()}


def missing_during_the_bake():
    """The file is removed after the motion was solved."""
    plane = shot()
    task, _ = baking(plane, frames=12)
    (FOLDER / "plate.png").rename(FOLDER / "away.png")
    try:
        outcome = ended(task)
    finally:
        (FOLDER / "away.png").rename(FOLDER / "plate.png")
    return {"outcome": outcome, "usable": usable()}


def try_bake(plane, **settings):
    try:
        return sorted(bpy.ops.loopcore.bake(object_name=plane.name, **{"frames": FRAMES, **settings}))
    except RuntimeError as error:
        return str(error)


def bad_disks():
    out, plane = {}, shot()
    for name, place in zip(("read-only", "full"), sys.argv[3:5], strict=True):
        if place:
            outcome = try_bake(plane, folder=place, frames=40)
            temporaries = [path.name for path in Path(place).rglob("*") if path.name.startswith(".") and path.is_file()]
            out[name] = [outcome, plane.loopcore.failed, temporaries]
    return {**out, "usable": usable()}


def slow_preparation():
    """Unsaved paint, a mask, strokes on a bent plane of 8192 triangles: the main-thread time of each step."""
    plane = shot()
    cut, wave = plane.modifiers.new("Cut", "SUBSURF"), plane.modifiers.new("Wave", "WAVE")
    cut.subdivision_type, cut.levels, wave.height = "SIMPLE", 6, 0.05
    image = bpy.data.images.new("painted", 1920, 1080)
    image.generated_type = "COLOR_GRID"
    module("plane.image").find_plane_image(plane).node.image = image
    bpy.context.view_layer.update()
    len(image.pixels)
    began = time.thread_time()
    task = begin(plane, frames=2, resolution=10)
    worst = {"the first": 1000 * (time.thread_time() - began)}
    steps = []
    while task.failed is None:
        if not steps or steps[-1] != task.step:
            steps.append(task.step)
        before, began = task.step, time.thread_time()
        task.pump()
        worst[before] = max(worst.get(before, 0), 1000 * (time.thread_time() - began))
        time.sleep(0.02)
    module("engine.tasks").finish(task)
    return {"outcome": [task.message, task.failed], "steps": steps,
            "computed ms": {after: round(ms, 1) for after, ms in worst.items()}}  # fmt: skip


def until_killed():
    task, pid = baking(shot(), frames=5000)
    print(f"WORKER {pid}", flush=True)
    pump(task, lambda: False)


CASES = (renamed, removed, removed_before_the_motion, disabled, saved_and_another_opened, missing_picture,
         missing_during_the_bake, bad_disks, slow_preparation)  # fmt: skip
if "--until-killed" in sys.argv:
    until_killed()
inside.emit({case.__name__: case() for case in CASES})
