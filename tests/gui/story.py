# SPDX-License-Identifier: Apache-2.0
"""Inside a real Blender with its window: what a matte painter does with one picture, from its import to two versions.

    blender --window-geometry 0 0 1280 800 --python story.py -- ZIP OUT WORKER_PYTHON PLACES [PART,PART...]

Then the picture is projected onto three objects, which play one loop. The parts are the functions in STORY. PLACES is a
JSON file with a picture and the places in it to click and drag at, as shares of its width and height; see story.json.
The projected one is cut at two shares of its height.

Needs xdotool and ImageMagick's `import`. The last line printed is the results as JSON.
"""

import hashlib
import json
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
import projection  # noqa: E402
from measuring import Watch  # noqa: E402
from mouse import idle, path  # noqa: E402
from screen import area, clicked, drive, look, move_away, picture, there, until, use  # noqa: E402

ZIP, OUT, WORKER, PLACES, *PARTS = sys.argv[sys.argv.index("--") + 1 :]
PACKAGE = "bl_ext.user_default.loopcore"
os.environ["LOOPCORE_WORKER_PYTHON"] = WORKER
PLACE = json.loads(Path(PLACES).read_text("utf-8"))
FOLDER = Path(OUT) / "shot"
SIDE, FRAMES = 768, 12
SEEN = {"version": bpy.app.version_string, "load": os.getloadavg()}
_pictures = []
bpy.context.preferences.view.show_splash = False
bpy.context.preferences.view.show_tooltips = False
bpy.context.preferences.system.use_region_overlap = False


def module(name):
    return import_module(f"{PACKAGE}.{name}")


def plane():
    """Return the imported plane, or, of a projection, the object in the middle."""
    return bpy.data.objects.get("plate") or bpy.data.objects[projection.NAMES[1]]


def task():
    return module("engine.tasks").current()


def shown(name):
    _pictures.append(name)
    picture(OUT, f"{len(_pictures):02} {name}")


def pixels(*shares):
    """Return places in the picture, given as shares, in pixels."""
    width, height = module("plane.image").find_plane_image(plane()).size
    return [(x * width - 0.5, y * height - 0.5) for x, y in shares]


def on_screen(*shares):
    return [mouse.screen_of(PACKAGE, plane().name, x, y) for x, y in pixels(*shares)]


def keys(*words):
    mouse.mouse("mousemove", *on_screen((0.5, 0.5))[0], "sleep", "0.3", *words)


def run(button, seconds=200):
    """Click a button that starts a task, and wait for its end."""
    yield from clicked(button, lambda: task() is not None)
    yield from until(lambda: task() is None, seconds)
    yield 2.0


def children(kind):
    return sorted(child.name for child in plane().children if child.type == kind)


def flow_at(share):
    """Return the velocity that is shown at a place."""
    lines = module("drawing.motion_lines")
    return lines.Grid.read(lines.arrows_file(plane())).at(np.array(pixels(share), float))[0].round(3).tolist()


def solved(change):
    """Wait until `change`, and for the draft that it starts."""
    yield from until(change, 30)
    yield from until(lambda: task() is not None, 20)
    yield from until(lambda: task() is None, 120)
    yield 3.0


def imported():
    """Import the picture as a plane, with Blender's own importer, into a saved file."""
    for obj in list(bpy.data.objects):
        bpy.data.objects.remove(obj)
    FOLDER.mkdir(exist_ok=True)
    picture_file = (Path(PLACES).parent / PLACE["picture"]).resolve()
    image = bpy.data.images.load(str(picture_file))
    scale = SIDE / max(image.size)
    image.scale(round(image.size[0] * scale), round(image.size[1] * scale))
    image.file_format, image.filepath_raw = "PNG", str(FOLDER / "plate.png")
    image.save()
    bpy.data.images.remove(image)
    with there():
        bpy.ops.wm.save_as_mainfile(filepath=str(FOLDER / "shot_v001.blend"))
        bpy.ops.image.import_as_mesh_planes(
            directory=str(FOLDER), files=[{"name": "plate.png"}], shader="EMISSION", align_axis="-Y"
        )
    camera = bpy.data.cameras.new("Camera")
    camera.type, camera.ortho_scale = "ORTHO", max(plane().dimensions)
    bpy.context.scene.camera = bpy.data.objects.new("Camera", camera)
    bpy.context.scene.camera.location, bpy.context.scene.camera.rotation_euler = (0, -5, 0), (np.pi / 2, 0, 0)
    bpy.context.scene.collection.objects.link(bpy.context.scene.camera)
    bpy.context.scene.camera.hide_set(True)
    bpy.context.scene.frame_end = FRAMES
    plane().loopcore.frames, plane().loopcore.resolution = FRAMES, 50
    yield from look()
    with there():
        bpy.ops.ed.undo_push(message="Import")
    SEEN["size"] = list(module("plane.image").find_plane_image(plane()).size)
    shown("imported")


def predicted():
    plane().loopcore.show_motion = True
    keys("key", "shift+alt+p")
    yield from until(lambda: task() is not None, 30)
    yield from until(lambda: task() is None, 200)
    move_away()
    yield 3.0
    SEEN["predicted"] = plane().loopcore.message
    shown("predicted")


def flipped():
    """Turn the flow of one region round by a click."""
    before = [flow_at(PLACE[key]) for key in ("flip", "other")]
    yield from use("loopcore.flip")
    mouse.click_at(on_screen(PLACE["flip"])[0])
    yield from solved(lambda: children("EMPTY"))
    after = [flow_at(PLACE[key]) for key in ("flip", "other")]
    SEEN["flipped"], SEEN["kept"] = [list(pair) for pair in zip(before, after, strict=True)]
    shown("flipped")


def drawn():
    """Drag three strokes over each other's places, and keep one: the times from their releases to the new flow."""
    yield from use("loopcore.stroke")
    for number in range(3):
        mouse.drag(path(*on_screen(*PLACE["stroke"])))
        if number == 2:
            yield 3.0
            shown("dragging")
        yield from solved(lambda: children("CURVE"))
        if number < 2:
            keys("key", "ctrl+z")
            yield from solved(lambda: not children("CURVE"))
    move_away()
    yield 2.0
    SEEN["strokes"], SEEN["stroke flow"] = children("CURVE"), flow_at(PLACE["stroke"][1])
    shown("stroke")


def masked():
    """Paint a mask over the picture; Debian's Blender 4.3 has no brush to paint with."""
    yield from clicked("paint mask", lambda: bpy.context.mode == "PAINT_TEXTURE")
    yield 2.0
    settings = bpy.context.tool_settings
    shared = getattr(settings.image_paint, "unified_paint_settings", None) or settings.unified_paint_settings
    shared.size = 70
    SEEN["brush"] = settings.image_paint.brush is not None
    for line in PLACE["brush"] if SEEN["brush"] else ():
        mouse.drag(path(*on_screen(*line)), held=0.3)
        yield from idle()
    painted = mask_values()
    SEEN["painted"] = round(float(painted.mean()), 3)
    # Of the columns and rows at the left, right, bottom and top edges; the brush has crossed the bottom only.
    SEEN["edges"] = [
        round(float(edge.max()), 3) for edge in (painted[:, :3], painted[:, -3:], painted[:3], painted[-3:])
    ]
    shown("mask painted")
    area().spaces.active.shading.type = "MATERIAL"
    yield 30.0
    shown("mask in material preview")
    area().spaces.active.shading.type = "SOLID"
    with there():
        bpy.ops.object.mode_set(mode="OBJECT")
    yield 1.0


def mask_values():
    image = module("drawing.mask").source_of(plane())
    values = np.empty(len(image.pixels), np.float32)
    image.pixels.foreach_get(values)
    return values.reshape(image.size[1], image.size[0], 4)[..., 0]


def shaped():
    """Add an area to the mask with a lasso, and take one from it as a polygon."""
    yield from use("loopcore.area")
    if not SEEN["brush"]:  # around what would have been painted
        places = np.array([place for line in PLACE["brush"] for place in line])
        (left, top), (right, bottom) = places.min(axis=0), places.max(axis=0)
        corners = [(left, top - 0.05), (right, top - 0.05), (right, bottom), (left, bottom)]
        yield from lasso(corners)
    yield from lasso(PLACE["area"])
    shown("area added")
    first, *others = on_screen(*PLACE["taken"])
    mouse.click_at(first, key="ctrl")
    for place in others:
        mouse.click_at(place)
    yield from idle(1.0)
    shown("polygon")
    count = len(children("CURVE"))
    mouse.mouse("key", "Return")
    yield from solved(lambda: len(children("CURVE")) > count)
    plane().loopcore.mask_feather = 6
    move_away()
    yield 2.0
    SEEN["areas"] = children("CURVE")
    SEEN["subtracted"] = sum(child.get("loopcore_area", 0) < 0 for child in plane().children)
    shown("area taken")
    yield from use("builtin.select_box")


def lasso(corners):
    """Drag around an area, and wait for the flow in it."""
    count = len(children("CURVE"))
    mouse.drag(path(*on_screen(*corners)))
    yield from solved(lambda: len(children("CURVE")) > count)


def previewed():
    yield from run("preview")
    SEEN["previewed"] = plane().loopcore.message
    shown("preview")


def baked():
    yield from run("bake")
    SEEN["baked"] = plane().loopcore.message
    move_away()
    yield 2.0
    shown("baked")
    bpy.context.scene.frame_set(FRAMES // 2)
    yield 2.0
    shown("baked later")


def state():
    """Return what undo may change."""
    texture = next(n for n in plane().active_material.node_tree.nodes if n.type == "TEX_IMAGE")
    return [children("EMPTY"), children("CURVE"), texture.image.source, plane().loopcore.frames, len(plane().modifiers)]


def undone():
    """Undo and redo ten times, the last time back to the mask."""
    SEEN["before undo"] = state()
    for count in (1, 1, 2, 1, 3, 2, 1, 1, 4, 6):
        for key in ("ctrl+z", "ctrl+shift+z"):
            keys(*["key", key, "sleep", "0.3"] * count)
            yield from idle(0.5)
            if count == 6 and key == "ctrl+z":
                SEEN["undone"] = state()
                shown("undone")
    for _ in range(20):  # a busy machine is slow to redo all
        if state() == SEEN["before undo"]:
            break
        yield 2.0
    yield 2.0
    yield from until(lambda: task() is None, 60)
    SEEN["after redo"] = state()
    shown("redone")


def versioned():
    """Save the file, save it as a new version, and bake that differently."""
    yield from saved("ctrl+s")
    first = files_of("shot_v001")
    yield from saved("ctrl+alt+s")
    yield from until(lambda: bpy.data.filepath.endswith("shot_v002.blend"), 30)
    SEEN["saved as"] = Path(bpy.data.filepath).name
    plane().loopcore.speed, plane().loopcore.frames = 2.0, FRAMES - 4
    yield from run("bake")
    SEEN["baked again"] = plane().loopcore.message
    move_away()
    yield 2.0
    shown("second version")
    yield from saved("ctrl+s")
    SEEN["versions"] = {name: len(files_of(name)) for name in ("shot_v001", "shot_v002")}
    SEEN["first kept"] = files_of("shot_v001") == first
    bpy.ops.wm.open_mainfile(filepath=str(FOLDER / "shot_v001.blend"))
    yield 2.0
    yield from look()
    SEEN["plays"] = [playing(plane()), plane().loopcore.frames]
    shown("first version again")


def saved(key):
    """Press a shortcut that saves; Blender asks whether to save the painted mask, too."""
    keys("key", key)
    yield from idle(4.0)
    mouse.mouse("key", "Return")
    yield from idle(4.0)


def files_of(version):
    """Return the frames of a version and their hashes."""
    frames = sorted((FOLDER / "loops" / version / "plate").glob("plate_loop.*.exr"))
    return {frame.name: hashlib.sha256(frame.read_bytes()).hexdigest() for frame in frames}


def playing(obj):
    """Return the file that an object's material plays, relative to the folder."""
    texture = next(n for n in obj.active_material.node_tree.nodes if n.type == "TEX_IMAGE")
    return Path(bpy.path.abspath(texture.image.filepath)).resolve().relative_to(FOLDER.resolve()).as_posix()


def projected():
    """Project the picture onto three objects, draw on one of them, and bake the loop of all once."""
    bpy.ops.wm.read_homefile(use_empty=True)
    yield 2.0
    projection.scene(str(FOLDER / "plate.png"), PLACE["projection"]["cuts"])
    bpy.context.scene.frame_end = FRAMES
    bpy.ops.wm.save_as_mainfile(filepath=str(FOLDER / "projection.blend"))
    plane().loopcore.frames, plane().loopcore.resolution = FRAMES, 50
    yield from look()
    with there():
        bpy.ops.view3d.view_camera()
        bpy.ops.view3d.view_center_camera()
        bpy.ops.ed.undo_push(message="Project")
    yield 1.0
    shown("projection")
    yield from drawn_on_projection()
    yield from run("bake for all")
    SEEN["projection baked"] = [plane().loopcore.message, plane().loopcore.play_on]
    SEEN["projection plays"] = [playing(bpy.data.objects[name]) for name in projection.NAMES]
    move_away()
    yield from projection.aside()
    bpy.context.scene.frame_set(FRAMES // 2)
    yield 3.0
    shown("projection from the side")
    yield from saved("ctrl+s")


def drawn_on_projection():
    """Predict the motion, and drag a stroke on the middle object, through the camera."""
    keys("key", "shift+alt+p")
    yield from until(lambda: task() is not None, 30)
    yield from until(lambda: task() is None, 200)
    for name in projection.NAMES:
        bpy.data.objects[name].loopcore.show_motion = True
    yield from use("loopcore.stroke")
    mouse.drag(path(*on_screen(*PLACE["projection"]["stroke"])))
    yield from solved(lambda: children("CURVE"))
    yield from use("builtin.select_box")
    move_away()
    yield 2.0
    shown("projection drawn")


STORY = (imported, predicted, flipped, drawn, masked, shaped, previewed, baked, undone, versioned, projected)


def steps():
    inside.install(ZIP)
    watch = Watch(PACKAGE)
    dragging, names = module("interface.operators.pointing").Dragging, ("drawing.overlay", "engine.tasks")
    overlay, tasks = map(module, names)
    watch.wait_for_arrows(dragging, overlay, module("engine.runtime").engine, tasks)
    for part in STORY:
        if PARTS and part.__name__ not in PARTS[0].split(","):
            continue
        began = time.monotonic()
        yield from part()
        print(f"{part.__name__}: {time.monotonic() - began:.0f} s", flush=True)
        SEEN["shown_s"] = watch.shown_s
        for kind, longest in watch.longest.items():
            SEEN[f"longest {kind} ms"] = dict(sorted(longest.items(), key=lambda item: -item[1][0])[:12])
    SEEN["load at the end"] = os.getloadavg()


drive(steps(), SEEN, OUT)
