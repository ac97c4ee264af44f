# SPDX-License-Identifier: Apache-2.0
"""Inside a real Blender with its window: draws, flips and erases with the mouse, and takes screenshots.

    blender --window-geometry 0 0 1280 800 --python drive_tools.py -- ZIP OUT WORKER_PYTHON PICTURE [PART,PART...]

The parts are flips, drawn, erased, undone, masked and found; the first needs a picture of 4:3 with water at its bottom.
Needs xdotool and ImageMagick's `import`. The last line printed is the results as JSON.
"""

import os
import sys
import time
from importlib import import_module
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).resolve().parents[1] / "addon")]
import bpy  # noqa: E402
import inside  # noqa: E402
import mouse  # noqa: E402
import numpy as np  # noqa: E402
from mouse import idle, path  # noqa: E402
from screen import area, drive, look, picture, region, there, until, use, window  # noqa: E402

ZIP, OUT, WORKER, PICTURE, *PARTS = sys.argv[sys.argv.index("--") + 1 :]
PACKAGE = "bl_ext.user_default.loopcore"
os.environ["LOOPCORE_WORKER_PYTHON"] = WORKER
SEEN = {"version": bpy.app.version_string, "solved_s": []}
SIZE = (640, 480)
bpy.context.preferences.view.show_splash = False
bpy.context.preferences.view.show_tooltips = False
bpy.context.preferences.system.use_region_overlap = False


def module(name):
    return import_module(f"{PACKAGE}.{name}")


def task():
    return module("engine.tasks").current()


def scene():
    for obj in list(bpy.data.objects):
        bpy.data.objects.remove(obj)
    image = bpy.data.images.load(PICTURE)
    image.scale(*SIZE)
    path = Path(OUT) / "shot" / "plate.png"
    path.parent.mkdir(exist_ok=True)
    image.file_format, image.filepath_raw = "PNG", str(path)
    image.save()
    bpy.data.images.remove(image)
    plane = inside.image_plane(path, size=(3.2, 2.4))
    bpy.ops.wm.save_as_mainfile(filepath=str(path.with_name("shot.blend")))
    bpy.ops.ed.undo_push(message="Plane")
    return plane.name


def click_at(name, x, y, *, button=1):
    mouse.click_at(mouse.screen_of(PACKAGE, name, x, y), button=button)


def drag(name, points, **options):
    mouse.drag([mouse.screen_of(PACKAGE, name, x, y) for x, y in points], **options)


def solved(name, change):
    """Wait until `change` and the draft that it starts; records how long that took."""
    yield from until(change, 20)
    began = time.monotonic()
    yield from until(lambda: task() is not None, 20)
    yield from until(lambda: task() is None, 120)
    SEEN["solved_s"].append(round(time.monotonic() - began, 2))
    SEEN["message"] = bpy.data.objects[name].loopcore.message
    yield 2.0


def flow_at(name, x, y):
    """Return the shown velocity at a pixel."""
    lines = module("drawing.motion_lines")
    grid = lines.Grid.read(lines.arrows_file(bpy.data.objects[name]))
    return grid.at(np.array([[x, y]], float))[0].round(3).tolist()


def children(name, kind):
    return sorted(c.name for c in bpy.data.objects[name].children if c.type == kind)


def steps():
    inside.install(ZIP)
    name = scene()
    yield from look()
    parts = (flips, drawn, erased, undone, masked, found)
    for part in parts:
        if not PARTS or part.__name__ in PARTS[0].split(","):
            yield from part(name)


def flips(name):
    with there():
        bpy.ops.loopcore.predict_motion("INVOKE_DEFAULT", object_name=name)
    bpy.data.objects[name].loopcore.show_motion = True
    yield from until(lambda: task() is None and bpy.data.objects[name].loopcore.motion != "", 200)
    yield 3.0
    SEEN["before"] = flow_at(name, 100, 400)
    picture(OUT, "predicted")
    yield from use("loopcore.flip")
    click_at(name, 100, 400)
    yield from solved(name, lambda: children(name, "EMPTY"))
    SEEN["flipped"] = flow_at(name, 100, 400)
    SEEN["other"] = flow_at(name, 100, 60)
    picture(OUT, "flipped")
    click_at(name, 104, 402)
    yield from solved(name, lambda: not children(name, "EMPTY"))
    SEEN["again"] = flow_at(name, 100, 400)
    click_at(name, 320, 240)
    yield from solved(name, lambda: children(name, "EMPTY"))
    SEEN["refused"] = bpy.data.objects[name].loopcore.message
    picture(OUT, "refused")
    mouse.mouse("key", "ctrl+z")
    yield from solved(name, lambda: not children(name, "EMPTY"))
    SEEN["undone"] = SEEN["message"]
    click_at(name, 100, 400)
    yield from solved(name, lambda: children(name, "EMPTY"))


def drawn(name):
    yield from use("loopcore.stroke")
    drag(name, path((60, 440), (200, 430), (330, 390)), wheel=4)
    yield 3.2
    picture(OUT, "dragging")
    yield from solved(name, lambda: children(name, "CURVE"))
    stroke = bpy.data.objects[children(name, "CURVE")[0]]
    SEEN["stroke"] = [len(stroke.data.splines[0].points), round(stroke["loopcore_speed"], 3)]
    SEEN["stroke_flow"] = flow_at(name, 200, 430)
    picture(OUT, "stroke")
    drag(name, path((400, 60), (500, 100)), escape=True)
    yield from idle()
    SEEN["escaped"] = len(children(name, "CURVE"))
    click_at(name, 560, 420)
    yield from solved(name, lambda: len(children(name, "EMPTY")) == 2)
    SEEN["anchor_flow"] = flow_at(name, 560, 420)
    drag(name, path((60, 60), (200, 80), (300, 60)))
    yield from solved(name, lambda: len(children(name, "CURVE")) == 2)
    picture(OUT, "two")
    bpy.context.view_layer.objects.active = bpy.data.objects[children(name, "CURVE")[0]]
    with there():
        bpy.ops.object.mode_set(mode="EDIT")
    yield 2.0
    picture(OUT, "edit")
    with there():
        bpy.ops.object.mode_set(mode="OBJECT")
    yield 1.0


def erased(name):
    drag(name, path((180, 30), (190, 130)), key="ctrl")
    yield 3.0
    picture(OUT, "erasing")
    yield from solved(name, lambda: len(children(name, "CURVE")) == 1)
    SEEN["erased"] = children(name, "CURVE") + children(name, "EMPTY")


def undone(name):
    """Undo and redo everything ten times."""
    mouse.mouse("mousemove", *mouse.screen_of(PACKAGE, name, 320, 240))
    yield 0.5
    for _ in range(10):
        for word in ("undo", "undo", "redo", "redo"):
            with there():
                getattr(bpy.ops.ed, word)()
            yield 0.3
    yield from until(lambda: task() is None, 60)
    yield 4.0
    yield from until(lambda: task() is None, 60)
    SEEN["after"] = children(name, "CURVE") + children(name, "EMPTY")
    picture(OUT, "after")


def masked(name):
    """Paint the mask with the mouse: the picture stays visible, with the mask as a tint."""
    with there():
        bpy.ops.loopcore.paint_mask(object_name=name)
    yield 2.0
    picture(OUT, "mask_black")
    settings = bpy.context.tool_settings
    shared = getattr(settings.image_paint, "unified_paint_settings", None) or settings.unified_paint_settings
    shared.size = 60
    drag(name, path((120, 360), (520, 380)))
    yield from idle()
    drag(name, path((520, 420), (120, 430)))
    yield from idle()
    picture(OUT, "mask_solid")
    canvas = settings.image_paint.canvas
    values = np.empty(len(canvas.pixels), np.float32)
    canvas.pixels.foreach_get(values)
    SEEN["painted"] = round(float(values[::4].mean()), 3)
    if not SEEN["painted"]:  # some builds come without brushes
        values = values.reshape(*tuple(canvas.size)[::-1], 4)
        values[: canvas.size[1] // 3, canvas.size[0] // 8 :, :3] = 1
        canvas.pixels.foreach_set(values.ravel())
        canvas.update()
        yield 2.0
        picture(OUT, "mask_solid")
    area().spaces.active.shading.type = "MATERIAL"
    yield 30.0
    picture(OUT, "mask_material")
    area().spaces.active.shading.type = "SOLID"
    with there():
        bpy.ops.object.mode_set(mode="OBJECT")
    bpy.data.objects[name].loopcore.mask_feather = 12
    yield 1.0
    picture(OUT, "feather")


def found(name):
    """Show the Object menu's entry, the Object tab, the dialog for flow maps and the preferences."""
    with there():
        bpy.ops.wm.call_menu(name="VIEW3D_MT_loopcore")
    yield 2.0
    picture(OUT, "menu")
    mouse.mouse("key", "Escape")
    yield from idle()
    known = [op for op in dir(bpy.ops.loopcore) if not op.startswith("_")]
    SEEN["unlabelled"] = [op for op in known if not getattr(bpy.ops.loopcore, op).get_rna_type().name.strip()]
    SEEN["full stops"] = [
        op for op in known if getattr(bpy.ops.loopcore, op).get_rna_type().description.rstrip().endswith(".")
    ]
    space = area("PROPERTIES").spaces.active
    space.context = "OBJECT"
    yield 1.0
    with bpy.context.temp_override(window=window(), area=area("PROPERTIES"), region=region("WINDOW", "PROPERTIES")):
        for _ in range(30):
            bpy.ops.view2d.scroll_down()
    yield 1.0
    picture(OUT, "properties")
    with there():
        bpy.ops.loopcore.export_flow_as("INVOKE_DEFAULT", object_name=name)
    yield 4.0
    picture(OUT, "dialog")
    for shown in bpy.context.window_manager.windows[1:]:
        with bpy.context.temp_override(window=shown):
            bpy.ops.wm.window_close()
    yield 1.0
    area().ui_type = "PREFERENCES"
    bpy.context.preferences.active_section = "ADDONS"
    bpy.context.window_manager.addon_search = "Loopcore"
    yield 2.0
    with bpy.context.temp_override(window=window(), area=area("PREFERENCES")):
        bpy.ops.preferences.addon_expand(module=PACKAGE)
    yield 2.0
    picture(OUT, "preferences")


drive(steps(), SEEN, OUT)
