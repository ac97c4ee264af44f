# SPDX-License-Identifier: Apache-2.0
"""Inside a real Blender with its window: draws, flips, erases, searches and exports by mouse and keys, on a photograph.

    blender --window-geometry 0 0 1280 800 --python drive_tools.py -- ZIP OUT WORKER_PYTHON

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

ZIP, OUT, WORKER = sys.argv[sys.argv.index("--") + 1 :][:3]
PACKAGE = "bl_ext.user_default.loopcore"
os.environ["LOOPCORE_WORKER_PYTHON"] = WORKER
SEEN = {"version": bpy.app.version_string, "load": os.getloadavg(), "solved_s": []}
NAME, SIZE = "Plate", (640, 360)
# Places in the picture: in the pool, whose predicted direction is a guess, above it, and on rocks.
POOL, ABOVE, ROCK, OTHER_ROCK = (214, 337), (270, 250), (480, 180), (560, 300)
bpy.context.preferences.view.show_splash = False
bpy.context.preferences.view.show_tooltips = False
bpy.context.preferences.view.filebrowser_display_type = "SCREEN"
bpy.context.preferences.system.use_region_overlap = False


def module(name):
    return import_module(f"{PACKAGE}.{name}")


def task():
    return module("engine.tasks").current()


def plane():
    return bpy.data.objects[NAME]


def scene():
    for obj in list(bpy.data.objects):
        bpy.data.objects.remove(obj)
    still = inside.photograph(Path(OUT) / "shot", *SIZE)
    inside.image_plane(still, NAME)
    bpy.ops.wm.save_as_mainfile(filepath=str(still.with_name("shot.blend")))
    bpy.ops.ed.undo_push(message="Plane")


def on_screen(x, y):
    return mouse.screen_of(PACKAGE, NAME, x, y)


def click_at(place):
    mouse.click_at(on_screen(*place))


def drag(*points, **options):
    mouse.drag([on_screen(*point) for point in path(*points)], **options)


def keys(*words):
    mouse.mouse("mousemove", *on_screen(*ROCK), "sleep", "0.3", *words)


def solved(change):
    """Wait until `change` and the draft that it starts; records how long that took."""
    yield from until(change, 30)
    began = time.monotonic()
    yield from until(lambda: task() is not None, 20)
    yield from until(lambda: task() is None, 120)
    SEEN["solved_s"].append(round(time.monotonic() - began, 2))
    yield 2.0


def flow_at(place):
    """Return the shown velocity at a pixel."""
    lines = module("drawing.motion_lines")
    return lines.Grid.read(lines.arrows_file(plane())).at(np.array([place], float))[0].round(3).tolist()


def children(kind):
    return sorted(child.name for child in plane().children if child.type == kind)


def flips():
    """Flip by a click, and back by another on the marker; click where nothing moves, and undo that."""
    with there():
        bpy.ops.loopcore.predict_motion("INVOKE_DEFAULT", object_name=NAME)
    plane().loopcore.show_motion = True
    yield from until(lambda: task() is None and plane().loopcore.motion != "", 200)
    yield 3.0
    flows = [flow_at(POOL)]
    picture(OUT, "predicted")
    yield from use("loopcore.flip")
    click_at(POOL)
    yield from solved(lambda: children("EMPTY"))
    flows.append(flow_at(POOL))
    picture(OUT, "flipped")
    click_at((POOL[0] + 4, POOL[1] + 2))
    yield from solved(lambda: not children("EMPTY"))
    SEEN["flips"] = [*flows, flow_at(POOL)]
    click_at(ROCK)
    yield from solved(lambda: children("EMPTY"))
    SEEN["refused"] = plane().loopcore.message
    picture(OUT, "refused")
    mouse.mouse("key", "ctrl+z")
    yield from solved(lambda: not children("EMPTY"))
    SEEN["undone flip"] = plane().loopcore.message


def drawn():
    """Drag with the wheel, and with Esc; click for an anchor; drag another stroke, and show it in Edit Mode."""
    yield from use("loopcore.stroke")
    drag((300, 345), (215, 340), (150, 345), wheel=4)
    yield 3.2
    picture(OUT, "dragging")
    yield from solved(lambda: children("CURVE"))
    stroke = bpy.data.objects[children("CURVE")[0]]
    SEEN["stroke"] = [len(stroke.data.splines[0].points), round(stroke["loopcore_speed"], 3)]
    SEEN["stroke flow"] = flow_at((215, 340))
    picture(OUT, "stroke")
    drag((400, 60), (500, 100), escape=True)
    yield from idle()
    SEEN["after Esc"] = len(children("CURVE"))
    click_at(OTHER_ROCK)
    yield from solved(lambda: children("EMPTY"))
    SEEN["anchor flow"] = flow_at(OTHER_ROCK)
    drag((60, 60), (200, 80), (300, 60))
    yield from solved(lambda: len(children("CURVE")) == 2)
    SEEN["stroke on rocks"] = plane().loopcore.message
    picture(OUT, "two")
    bpy.context.view_layer.objects.active = bpy.data.objects[children("CURVE")[0]]
    with there():
        bpy.ops.object.mode_set(mode="EDIT")
    yield 2.0
    picture(OUT, "edit")
    with there():
        bpy.ops.object.mode_set(mode="OBJECT")
    yield 1.0


def erased():
    drag((180, 30), (190, 130), key="ctrl")
    yield 3.0
    picture(OUT, "erasing")
    yield from solved(lambda: len(children("CURVE")) == 1)
    SEEN["erased"] = children("CURVE") + children("EMPTY")


def undone():
    """Undo and redo everything ten times."""
    mouse.mouse("mousemove", *on_screen(*ROCK))
    yield 0.5
    for _ in range(10):
        for word in ("undo", "undo", "redo", "redo"):
            with there():
                getattr(bpy.ops.ed, word)()
            yield 0.3
    yield from until(lambda: task() is None, 60)
    yield 4.0
    yield from until(lambda: task() is None, 60)
    SEEN["after redo"] = children("CURVE") + children("EMPTY")
    SEEN["message after redo"] = plane().loopcore.message
    picture(OUT, "after")


def searched():
    """Find an operator by the search, and use it with a click."""
    yield from use("builtin.select_box")
    yield from search("Flip Flow")
    picture(OUT, "search")
    mouse.mouse("key", "Return")
    yield from idle()
    picture(OUT, "found")
    click_at(ABOVE)
    yield from solved(lambda: len(children("EMPTY")) == 2)
    SEEN["searched"] = children("EMPTY")


def search(name):
    """Type the name of an operator into the search of menus, which F3 opens; not every build takes F3 under Xvfb."""
    keys("sleep", "0.3")
    yield from idle(1.0)
    with there():
        bpy.ops.wm.search_menu("INVOKE_DEFAULT")
    yield 5.0  # a busy Blender is slow to open it, and would take letters as shortcuts
    mouse.mouse("type", "--delay", "200", name)
    yield from idle(3.0)


def keyed():
    """Draw by the shortcut, and flip by another one that the user has changed."""
    keys("key", "shift+alt+s")
    yield from idle(1.0)
    drag((300, 325), (250, 328), (200, 325))
    yield from solved(lambda: len(children("CURVE")) == 2)
    items = bpy.context.window_manager.keyconfigs.user.keymaps["Object Mode"].keymap_items
    SEEN["shortcuts"] = sorted(f"{i.idname} {i.type}" for i in items if i.idname.startswith("loopcore."))
    next(item for item in items if item.idname == "loopcore.flip_flow").type = "K"
    keys("key", "shift+alt+k")
    yield from idle(1.0)
    click_at(POOL)
    yield from solved(lambda: len(children("EMPTY")) == 3)
    SEEN["keyed"] = children("EMPTY")


def exported():
    """Find the dialog for flow maps by the search, choose a convention, and write them by its button."""
    yield from search("Export Flow Map")
    mouse.mouse("key", "Return")
    yield from until(browser, 30)
    yield 4.0
    dialog = browser().spaces.active.active_operator
    dialog.convention, dialog.frames = "nuke", 4
    folder = Path(OUT) / "shot" / "flow maps"
    folder.mkdir()
    browser().spaces.active.params.directory = os.fsencode(f"{folder}/")
    browser().tag_redraw()
    yield 3.0
    picture(OUT, "dialog")
    buttons = region("EXECUTE", "FILE_BROWSER")
    place = buttons.x + buttons.width - 72, window().height - buttons.y - buttons.height // 2
    mouse.mouse(*mouse.moved_to(place), "click", "1")
    yield from until(lambda: browser() is None, 30)
    yield from until(lambda: task() is None and list(folder.iterdir()), 60)
    yield 2.0
    SEEN["exported"] = [sorted(file.name for file in folder.iterdir()), plane().loopcore.message]
    picture(OUT, "exported")


def browser():
    """Return the area of the file browser, if there is one."""
    return next((shown for shown in window().screen.areas if shown.type == "FILE_BROWSER"), None)


def listed():
    """Show the Object menu's entry, the Object tab and the preferences."""
    with there():
        bpy.ops.wm.call_menu(name="VIEW3D_MT_loopcore")
    yield 2.0
    picture(OUT, "menu")
    mouse.mouse("key", "Escape")
    yield from idle()
    known = [op for op in dir(bpy.ops.loopcore) if not op.startswith("_")]
    kinds = {op: getattr(bpy.ops.loopcore, op).get_rna_type() for op in known}
    SEEN["operators"] = len(kinds)
    SEEN["unlabelled"] = [op for op, kind in kinds.items() if not kind.name.strip()]
    SEEN["full stops"] = [op for op, kind in kinds.items() if kind.description.rstrip().endswith(".")]
    area("PROPERTIES").spaces.active.context = "OBJECT"
    yield 1.0
    with bpy.context.temp_override(window=window(), area=area("PROPERTIES"), region=region("WINDOW", "PROPERTIES")):
        for _ in range(30):
            bpy.ops.view2d.scroll_down()
    yield 1.0
    picture(OUT, "properties")
    area().ui_type = "PREFERENCES"
    bpy.context.preferences.active_section = "KEYMAP"
    area("PREFERENCES").spaces.active.filter_text = "Flip Flow"
    yield 3.0
    picture(OUT, "keymap")


def steps():
    inside.install(ZIP)
    scene()
    yield from look()
    for part in (flips, drawn, erased, undone, searched, keyed, exported, listed):
        began = time.monotonic()
        yield from part()
        print(f"{part.__name__}: {time.monotonic() - began:.0f} s", flush=True)


drive(steps(), SEEN, OUT)
