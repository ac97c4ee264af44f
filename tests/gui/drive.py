# SPDX-License-Identifier: Apache-2.0
"""Inside a real Blender with its window: does what an artist does, partly by mouse, and takes screenshots.

    blender --window-geometry 0 0 1280 800 --python drive.py -- ZIP OUT WORKER_PYTHON

Needs xdotool for the mouse and ImageMagick's `import` for screenshots. The last line printed is the results as JSON.
"""

import os
import sys
from importlib import import_module
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).resolve().parents[1] / "addon")]
import bpy  # noqa: E402
import example  # noqa: E402
import inside  # noqa: E402
import measuring  # noqa: E402
from screen import area, click, clicked, drive, look, move_away, picture, region, scrolled, there, until, window  # noqa: E402

ZIP, OUT, WORKER = sys.argv[sys.argv.index("--") + 1 :][:3]
PACKAGE = "bl_ext.user_default.loopcore"
os.environ["LOOPCORE_WORKER_PYTHON"] = WORKER
# held, computed: the longest wall and CPU time in ms that the add-on blocked the main thread, by action.
SEEN = {"version": bpy.app.version_string, "held": {}, "computed": {}}
bpy.context.preferences.view.show_splash = False
bpy.context.preferences.view.show_tooltips = False
bpy.context.preferences.system.use_region_overlap = False


def task():
    return import_module(PACKAGE + ".engine.tasks").current()


def paint_water(plane):
    """Paint the mask of the example's hints."""
    with there():
        bpy.ops.loopcore.paint_mask(object_name=plane.name)
        canvas = bpy.context.tool_settings.image_paint.canvas
        SEEN["painting"] = plane.mode
        canvas.pixels.foreach_set(example.mask_pixels(*canvas.size))
        canvas.update()
    yield 2.0
    if not os.path.exists(os.path.join(OUT, "mask.png")):
        picture(OUT, "mask")
    with there():
        bpy.ops.object.mode_set(mode="OBJECT")


def draw_strokes(plane):
    with there():
        example.draw_strokes(plane)


def scene(folder):
    for obj in list(bpy.data.objects):
        bpy.data.objects.remove(obj)
    plane = inside.image_plane(inside.photograph(folder, 640, 360))
    bpy.ops.wm.save_as_mainfile(filepath=str(folder / "shot.blend"))
    plane.loopcore.frames = 120
    return plane


def select(plane):
    bpy.context.view_layer.objects.active = plane
    for obj in bpy.data.objects:
        obj.select_set(obj == plane)


def steps():
    inside.install(ZIP)
    measuring.measure(PACKAGE, SEEN)
    folder = Path(OUT) / "shot"
    folder.mkdir(exist_ok=True)
    plane = scene(folder)
    yield from look(toolbar=False)
    picture(OUT, "idle")
    draw_strokes(plane)
    yield from paint_water(plane)
    select(plane)
    yield 3.0
    picture(OUT, "strokes")
    yield from selected(plane.children[0])
    select(plane)
    yield from bake_by_mouse(plane)
    SEEN["proxy"] = yield from proxy_copy(plane)
    yield from overlay(plane)
    yield from quality(plane)
    yield from other_editors(plane)
    yield from failures(plane)
    yield from interruptions()


def selected(stroke):
    """Show a selected stroke, whose outline has another color."""
    select(stroke)
    yield 2.0
    picture(OUT, "selected")
    with there():
        shapes = import_module(PACKAGE + ".drawing.overlay").stroke_shapes(bpy.context)
    SEEN["outlines"] = len(set(shapes.outline_colors))


def bake_by_mouse(plane):
    """Start a bake, cancel it, and bake again."""
    yield from clicked("bake", lambda: task() is not None)
    yield from until(lambda: task() is None or task().factor > 0.2, 120)
    picture(OUT, "running")
    SEEN["text"] = task().text
    yield from clicked("cancel", lambda: task() is None)
    yield 2.0
    picture(OUT, "cancelled")
    SEEN["cancelled"] = plane.loopcore.message
    yield from clicked("bake", lambda: task() is not None)
    yield from until(lambda: task() is None, 200)
    SEEN["done"] = plane.loopcore.message
    SEEN["source"] = texture_of(plane).image.source
    move_away()
    yield 3.0
    picture(OUT, "done")


def overlay(plane):
    """Show the motion of the still in both styles."""
    plane.loopcore.show_motion = True
    with there():
        bpy.ops.loopcore.restore_still(object_name=plane.name)
    for stroke in plane.children:
        stroke.hide_set(True)
    yield from lines_of(plane)
    picture(OUT, "overlay")
    plane.loopcore.motion_style = "STREAKS"
    yield from lines_of(plane)
    picture(OUT, "streaks")
    yield from bent(plane)


def quality(plane):
    """Open the last panel, and show its settings with and without "Automatic"."""
    yield from scrolled("down")
    click("last panel")
    yield 3.0
    move_away()
    yield from scrolled("down")
    picture(OUT, "automatic")
    plane.loopcore.auto_looks, plane.loopcore.cycles, plane.loopcore.steady = False, 4, 0.3
    area().tag_redraw()
    yield 1.0
    picture(OUT, "quality")
    plane.loopcore.auto_looks = True
    yield from scrolled("up")


def other_editors(plane):
    """Show the panel of the Shader Editor, and the preferences without and with a chosen Python."""
    space = area()
    space.ui_type = "ShaderNodeTree"
    space.spaces.active.show_region_ui = True
    yield 2.0
    sidebar = region("UI", "NODE_EDITOR")
    sidebar.active_panel_category = "Loopcore"
    with bpy.context.temp_override(window=window(), area=space, region=region("WINDOW", "NODE_EDITOR")):
        bpy.ops.node.view_all()
    space.tag_redraw()
    yield 3.0
    SEEN["tab"] = sidebar.active_panel_category
    picture(OUT, "shader")
    space.ui_type = "PREFERENCES"
    bpy.context.preferences.active_section = "ADDONS"
    bpy.context.window_manager.addon_search = "Loopcore"
    settings = bpy.context.preferences.addons[PACKAGE].preferences
    settings.python = ""
    yield 2.0
    with bpy.context.temp_override(window=window(), area=space):
        bpy.ops.preferences.addon_expand(module=PACKAGE)
    space.tag_redraw()
    yield 2.0
    picture(OUT, "preferences")
    settings.python = WORKER
    space.tag_redraw()
    yield 1.0
    picture(OUT, "python")
    space.ui_type = "VIEW_3D"
    yield 1.0


def proxy_copy(plane):
    """Return whether the viewport's copy of the material is updated only on changes, and the file that it plays."""
    (group,) = (modifier.node_group for modifier in plane.modifiers)
    copy = group["loopcore_proxy"]
    yield 2.0
    settled = group["loopcore_proxy"] == copy
    plane.active_material.diffuse_color = (0.5, 0.6, 0.7, 1)
    yield from until(lambda: abs(group["loopcore_proxy"].diffuse_color[0] - 0.5) < 1e-6, 10)
    return [settled, next(n.image.filepath for n in group["loopcore_proxy"].node_tree.nodes if n.type == "TEX_IMAGE")]


def bent(plane):
    """Show the motion on a deforming plane of 8192 triangles, in both styles."""
    cut, wave = plane.modifiers.new("Cut", "SUBSURF"), plane.modifiers.new("Wave", "WAVE")
    cut.subdivision_type, cut.levels = "SIMPLE", 6
    wave.height, wave.width, wave.narrowness = 0.08, 0.4, 4.0
    shown = bpy.context.scene.frame_current
    for frame in (shown + 5, shown + 9):
        for style in ("ARROWS", "STREAKS"):
            plane.loopcore.motion_style = style
            bpy.context.scene.frame_set(frame)
            SEEN["bent"] = yield from lines_of(plane)
    picture(OUT, "bent")
    plane.modifiers.clear()
    bpy.context.scene.frame_set(shown)
    plane.loopcore.motion_style = "ARROWS"
    yield 1.0


def lines_of(plane):
    """Wait until the window shows the plane's motion; returns the number of points."""
    area().tag_redraw()
    yield 0.5
    drawn = import_module(PACKAGE + ".drawing.overlay")._drawn
    yield from until(lambda: drawn[plane.session_uid].computation is None, 60)
    yield 1.5
    return len(drawn[plane.session_uid].lines.points)


def failures(plane):
    """Kill the worker, and rename and remove the plane during a bake."""
    for stroke in plane.children:
        stroke.hide_set(False)
    plane.loopcore.show_motion = False
    yield from baking()
    os.kill(import_module(PACKAGE + ".engine.runtime").engine().pid, 9)
    yield from until(lambda: task() is None, 5)
    SEEN["killed"] = plane.loopcore.message
    yield 2.0
    picture(OUT, "error")

    plane.loopcore.frames = 25
    yield from baking()
    plane.name = "Renamed"
    yield from until(lambda: task() is None, 200)
    SEEN["renamed"] = [plane.loopcore.message, texture_of(plane).image.source]

    plane.loopcore.frames = 26
    yield from baking()
    bpy.data.objects.remove(plane)
    yield from until(lambda: task() is None, 200)
    SEEN["removed"] = bpy.data.objects.get("Renamed") is None


def interruptions():
    """Save and open a file, lose the image's file, and disable the add-on during a bake."""
    blend = str(Path(OUT) / "shot" / "shot.blend")
    bpy.ops.wm.open_mainfile(filepath=blend)
    yield from redrawn()
    yield from baking()
    bpy.ops.wm.save_mainfile()
    SEEN["saved"] = task() is not None and task().failed is None
    bpy.ops.wm.open_mainfile(filepath=blend)
    yield 1.0
    SEEN["opened"] = task() is None

    still = Path(OUT) / "shot" / "plate.png"
    still.rename(still.with_name("elsewhere.png"))
    select(bpy.data.objects["Plate"])
    yield from look(toolbar=False)
    picture(OUT, "missing")
    still.with_name("elsewhere.png").rename(still)
    bpy.data.images["plate.png"].reload()

    yield from redrawn()
    yield from baking()
    pid = import_module(PACKAGE + ".engine.runtime").engine().pid
    bpy.ops.preferences.addon_disable(module=PACKAGE)
    yield 1.5
    SEEN["disabled"] = not alive(pid)


def redrawn():
    """Draw strokes and mask on the plane of the open file; returns it."""
    yield 1.0
    plane = bpy.data.objects["Plate"]
    for child in list(plane.children):
        bpy.data.objects.remove(child)
    draw_strokes(plane)
    yield from paint_water(plane)
    select(plane)
    return plane


def baking():
    """Start a bake, and wait for its first frames."""
    start()
    yield from until(lambda: task() is None or task().factor > 0.1, 120)


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


drive(steps(), SEEN, OUT)
