# SPDX-License-Identifier: Apache-2.0
"""Runs inside a real Blender with its window: does by mouse what an artist does, and takes pictures of it.

    blender --window-geometry 0 0 1280 800 --python drive.py -- ZIP OUT WORKER_PYTHON

Needs xdotool for the mouse and ImageMagick's `import` for the pictures. The last line printed is JSON of what was seen.
"""

import json
import os
import subprocess
import sys
import time
import traceback
from importlib import import_module
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "addon"))
import bpy  # noqa: E402

ZIP, OUT, WORKER = sys.argv[sys.argv.index("--") + 1 :][:3]
PACKAGE = "bl_ext.user_default.loopcore"
os.environ["LOOPCORE_WORKER_PYTHON"] = WORKER
SEEN = {"version": bpy.app.version_string, "pauses": 0.0}
bpy.context.preferences.view.show_splash = False
bpy.context.preferences.view.show_tooltips = False
bpy.context.preferences.system.use_region_overlap = False
SMALLER = 3  # than the example's hints
# Where the buttons are, right of the sidebar's left edge and below its top, as the pictures show them.
BUTTONS = {"bake": (145, 409), "bake again": (145, 437), "cancel": (243, 115)}


def window():
    return bpy.context.window_manager.windows[0]


def area(kind="VIEW_3D"):
    return next(a for a in window().screen.areas if a.type == kind)


def region(kind, of="VIEW_3D"):
    return next(r for r in area(of).regions if r.type == kind)


def there():
    return bpy.context.temp_override(window=window(), area=area(), region=region("WINDOW"))


def picture(name):
    """Of the whole screen: Blender's own screenshots are black without a graphics card."""
    subprocess.run(["import", "-window", "root", os.path.join(OUT, name + ".png")], check=True)


def click(button):
    """A real click. Not waited for: this very Blender has to take it."""
    panel = region("UI")
    x, y = panel.x + BUTTONS[button][0], window().height - panel.y - panel.height + BUTTONS[button][1]
    move = ["mousemove", str(x), str(y), "sleep", "0.3", "mousemove_relative", "1", "0", "sleep", "0.2"]
    subprocess.Popen(["xdotool", *move, "click", "1"])


def task():
    return import_module(PACKAGE + ".tasks").current()


def until(holds, seconds):
    """Wait, and measure the longest time that the window stood still."""
    end, last = time.monotonic() + seconds, time.monotonic()
    while not holds():
        if time.monotonic() > end:
            raise TimeoutError(f"{holds} did not come in {seconds} s")
        yield 0.05
        now = time.monotonic()
        SEEN["pauses"], last = round(max(SEEN["pauses"], now - last - 0.05), 3), now


def hints():
    import inside

    return json.loads(inside.PHOTOGRAPH.with_name("hints.json").read_text("utf-8"))


def draw_strokes(plane):
    for stroke in hints()["strokes"]:
        points = [[x / SMALLER, y / SMALLER] for x, y in stroke["points"]]
        speed = stroke["speed"] if isinstance(stroke["speed"], float) else max(stroke["speed"])
        with there():
            bpy.ops.loopcore.add_stroke(object_name=plane.name, points=json.dumps(points), speed=2 * speed / SMALLER)


def paint_water(plane):
    """White where the hints of the example say that there is water."""
    import numpy as np

    with there():
        bpy.ops.loopcore.paint_mask(object_name=plane.name)
        canvas = bpy.context.tool_settings.image_paint.canvas
        SEEN["painting"] = plane.mode
        width, height = canvas.size
        y, x = np.mgrid[0:height, 0:width] * (1080 / height)
        inside = np.zeros((height, width), bool)
        for outline in hints()["mask"]["polygons"]:
            inside |= crossings(x, y, outline) % 2 == 1
        pixels = np.ones((height, width, 4), np.float32)
        pixels[..., :3] = inside[::-1, :, None]
        canvas.pixels.foreach_set(pixels.ravel())
        canvas.update()
    yield 1.0
    if not os.path.exists(os.path.join(OUT, "mask.png")):
        picture("mask")
    with there():
        bpy.ops.object.mode_set(mode="OBJECT")


def crossings(x, y, outline):
    """How often a ray to the right of each point crosses the outline."""
    import numpy as np

    count = np.zeros(x.shape, int)
    for (ax, ay), (bx, by) in zip(outline, [*outline[1:], outline[0]], strict=True):
        if ay != by:
            between = (y >= min(ay, by)) & (y < max(ay, by))
            count += between & (ax + (y - ay) * (bx - ax) / (by - ay) > x)
    return count


def scene(folder):
    import inside

    for obj in list(bpy.data.objects):
        bpy.data.objects.remove(obj)
    plane = inside.image_plane(inside.photograph(folder, 640, 360))
    bpy.ops.wm.save_as_mainfile(filepath=str(folder / "shot.blend"))
    plane.loopcore.frames = 24
    space = area().spaces.active
    space.shading.type, space.shading.color_type, space.shading.light = "SOLID", "TEXTURE", "FLAT"
    space.show_region_ui, space.show_region_toolbar = True, False
    with there():
        bpy.ops.view3d.view_axis(type="FRONT")
    return plane


def select(plane):
    bpy.context.view_layer.objects.active = plane
    for obj in bpy.data.objects:
        obj.select_set(obj == plane)


def steps():
    import inside

    inside.install(ZIP)
    folder = Path(OUT) / "shot"
    folder.mkdir(exist_ok=True)
    plane = scene(folder)
    yield 1.0
    region("UI").active_panel_category = "Loopcore"
    with there():
        bpy.ops.view3d.view_selected()
    area().spaces.active.region_3d.view_distance *= 0.72
    yield 1.0
    picture("idle")

    draw_strokes(plane)
    yield from paint_water(plane)
    select(plane)
    yield 1.0
    picture("strokes")

    click("bake")
    yield from until(lambda: task() is not None, 20)
    yield from until(lambda: task() is None or task().factor > 0.2, 120)
    picture("running")
    SEEN["text"] = task().text
    click("cancel")
    yield from until(lambda: task() is None, 5)
    yield 2.0
    picture("cancelled")
    SEEN["cancelled"] = plane.loopcore.message
    click("bake again")
    yield from until(lambda: task() is not None, 20)
    yield from until(lambda: task() is None, 200)
    SEEN["done"] = plane.loopcore.message
    SEEN["source"] = texture_of(plane).image.source
    yield 3.0
    picture("done")

    plane.loopcore.show_motion = True
    with there():
        bpy.ops.loopcore.restore_still(object_name=plane.name)
    for stroke in plane.children:
        stroke.hide_set(True)
    yield 2.0
    picture("overlay")

    space = area()
    space.ui_type = "ShaderNodeTree"
    space.spaces.active.show_region_ui = True
    yield 2.0
    region("UI", "NODE_EDITOR").active_panel_category = "Loopcore"
    yield 2.0
    picture("shader")
    space.ui_type = "VIEW_3D"
    yield 1.0

    yield from faults(plane)


def faults(plane):
    """What may happen meanwhile; the window has to stay usable, and the panel has to say what happened."""
    for stroke in plane.children:
        stroke.hide_set(False)
    plane.loopcore.show_motion = False
    start()
    yield from until(lambda: task() is None or task().factor > 0.1, 120)
    os.kill(import_module(PACKAGE + ".runtime").engine().pid, 9)
    yield from until(lambda: task() is None, 5)
    SEEN["killed"] = plane.loopcore.message
    yield 2.0
    picture("error")
    plane.loopcore.frames = 25

    start()
    yield from until(lambda: task() is None or task().factor > 0.1, 120)
    plane.name = "Renamed"
    yield from until(lambda: task() is None, 200)
    SEEN["renamed"] = [plane.loopcore.message, texture_of(plane).image.source]
    plane.loopcore.frames = 26

    start()
    yield from until(lambda: task() is None or task().factor > 0.1, 120)
    bpy.data.objects.remove(plane)
    yield from until(lambda: task() is None, 200)
    plane = bpy.data.objects.get("Renamed")
    SEEN["removed"] = plane is None
    bpy.ops.wm.open_mainfile(filepath=str(Path(OUT) / "shot" / "shot.blend"))
    yield 1.0
    plane = bpy.data.objects["Plate"]
    draw_strokes(plane)
    yield from paint_water(plane)
    select(plane)

    start()
    yield from until(lambda: task() is None or task().factor > 0.1, 120)
    bpy.ops.wm.open_mainfile(filepath=str(Path(OUT) / "shot" / "shot.blend"))
    yield 1.0
    SEEN["opened"] = task() is None
    plane = bpy.data.objects["Plate"]
    draw_strokes(plane)
    yield from paint_water(plane)
    select(plane)

    start()
    yield from until(lambda: task() is None or task().factor > 0.1, 120)
    pid = import_module(PACKAGE + ".runtime").engine().pid
    bpy.ops.preferences.addon_disable(module=PACKAGE)
    yield 1.5
    SEEN["disabled"] = not alive(pid)


def start():
    with there():
        bpy.ops.loopcore.bake("INVOKE_DEFAULT", overwrite=True)


def alive(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def texture_of(plane):
    return next(n for n in plane.active_material.node_tree.nodes if n.type == "TEX_IMAGE")


running = steps()


def tick():
    try:
        return next(running)
    except StopIteration:
        SEEN["ok"] = True
    except Exception:
        traceback.print_exc()
        picture("failed")
    print("SEEN: " + json.dumps(SEEN), flush=True)
    bpy.ops.wm.quit_blender()


bpy.app.timers.register(tick, first_interval=1.0, persistent=True)
