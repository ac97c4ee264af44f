# SPDX-License-Identifier: Apache-2.0
"""Inside Blender: a painting projected from a camera onto three objects, whose loop is baked once.

python projection_script.py ZIP FOLDER
"""

import json
import re
import sys
import time
from importlib import import_module
from pathlib import Path

import bpy
import inside
import numpy as np
import pictures
from node_state import state

WIDTH, HEIGHT, FRAMES = 96, 54, 4
NAMES = ("Left", "Middle", "Right")
FOLDER = Path(sys.argv[2])


def scene(materials=1, name="shot.blend"):
    """Three planes at different distances, each before a third of the camera's view, with one material or three."""
    bpy.ops.wm.read_homefile(use_empty=True)
    context = bpy.context.scene
    context.render.resolution_x, context.render.resolution_y, context.render.resolution_percentage = WIDTH, HEIGHT, 100
    camera = bpy.data.objects.new("Projector", bpy.data.cameras.new("Projector"))
    camera.location, camera.rotation_euler = (1, -2, 3), (1.2, 0, 0.4)
    context.collection.objects.link(camera)
    context.camera = camera
    bpy.context.view_layer.update()
    first = inside.image_plane(FOLDER / "plate.png", NAMES[0])
    objects = [first]
    for name_ in NAMES[1:]:
        other = bpy.data.objects.new(name_, first.data.copy())
        context.collection.objects.link(other)
        if materials == 3:
            other.data.materials[0] = first.data.materials[0].copy()
        objects.append(other)
    for index, obj in enumerate(objects):
        place_before(camera, obj, index, 4 + 2 * index)
        project = obj.modifiers.new("Project", "UV_PROJECT")
        project.uv_layer, project.projectors[0].object = "UVMap", camera
        project.aspect_x, project.aspect_y = WIDTH, HEIGHT
    bpy.ops.wm.save_as_mainfile(filepath=str(FOLDER / name))
    bpy.context.view_layer.objects.active = first
    return objects


def place_before(camera, obj, third, distance):
    """Fill a third of the camera's view with the plane, parallel to the image, at a distance."""
    frame = [corner * distance / -corner.z for corner in camera.data.view_frame(scene=bpy.context.scene)]
    left, right = min(c.x for c in frame), max(c.x for c in frame)
    bottom, top = min(c.y for c in frame), max(c.y for c in frame)
    across = (right - left) / 3
    local = obj.matrix_world.Translation((left + across * (third + 0.5), (bottom + top) / 2, -distance))
    size = obj.matrix_world.Diagonal((across, top - bottom, 1, 1))
    obj.matrix_world = camera.matrix_world @ local @ size


def thirds(frame, wanted):
    """Render a frame; returns the largest difference from the wanted picture in each third, without their edges."""
    seen = pictures.render(frame)[..., :3]
    pieces = [slice(WIDTH * k // 3 + 1, WIDTH * (k + 1) // 3 - 1) for k in range(3)]
    return [float(np.abs(seen[2:-2, piece] - wanted[2:-2, piece]).max()) for piece in pieces]


def baked(number, name="Left", blend="shot"):
    return pictures.pixels(FOLDER / "loops" / blend / name / f"{name}_loop.{number}.exr")[..., :3]


def bake(name, **options):
    """Bake; returns the message."""
    bpy.ops.loopcore.bake(object_name=name, **{"frames": FRAMES, "contrast": 0.0, **options})
    return bpy.data.objects[name].loopcore.message


def states(objects):
    return {obj.name: state(obj) for obj in objects}


def differs(before, objects):
    """Return the keys of what differs from the states before."""
    now = states(objects)
    return {name: sorted(key for key in {*now[name], *before[name]} if now[name].get(key) != before[name].get(key))
            for name in NAMES if now[name] != before[name]}  # fmt: skip


def module(name):
    return import_module(f"{PACKAGE}.{name}")


def text_of(obj):
    return module("interface.users").text_of(module("plane.image").find_plane_image(obj))


def drawn(obj):
    """Draw a stroke across the object, by pixels of the picture."""
    third = NAMES.index(obj.name)
    points = [[WIDTH * (third + 0.2) / 3, 20], [WIDTH * (third + 0.8) / 3, 34]]
    bpy.ops.loopcore.add_stroke(object_name=obj.name, points=json.dumps(points), speed=3.0)


def proxy_files(obj):
    """Return the files that the viewport plays on an object."""
    evaluated = obj.evaluated_get(bpy.context.evaluated_depsgraph_get())
    nodes = evaluated.data.materials[0].original.node_tree.nodes
    return [bpy.path.basename(n.image.filepath) for n in nodes if n.type == "TEX_IMAGE"]


def everywhere(materials):
    """Bake on one of three objects: all play, in place; then restore."""
    objects = scene(materials, f"shot{materials}.blend")
    blend = f"shot{materials}"
    for obj in objects[:2]:
        drawn(obj)
    before, still = states(objects), pictures.render(1)[..., :3]
    out = {"text": text_of(objects[1]), "message": bake("Left")}
    hints = json.loads((FOLDER / "loops" / blend / "Left" / "setup" / "hints.json").read_text())
    out["strokes"] = len(hints["strokes"])
    out["folders"] = sorted(p.name for p in (FOLDER / "loops" / blend).iterdir())
    out["plays"] = max(max(thirds(frame, baked(1001 + (frame - 1) % FRAMES, blend=blend))) for frame in (1, 3, 6))
    out["moves"] = min(thirds(3, still))
    out["proxies"] = [proxy_files(obj) for obj in objects]
    out["materials"] = sorted(m.name for m in bpy.data.materials if not m.name.endswith("viewport"))
    out["slots"] = [obj.active_material.name for obj in objects]
    out["messages"] = [obj.loopcore.message for obj in objects[1:]]
    out["motions"] = len({obj.loopcore.motion for obj in objects})
    out["saved"] = saved(blend)
    objects = [bpy.data.objects[name] for name in NAMES]
    bpy.ops.loopcore.restore_still(object_name="Right")
    out["differs"] = differs(before, objects)
    out["restored"] = max(thirds(3, still))
    out["restore messages"] = sorted({obj.loopcore.message for obj in objects})
    return out


def saved(blend):
    """Save, open, and render: the loop still plays on all."""
    bpy.ops.wm.save_mainfile()
    bpy.ops.wm.open_mainfile(filepath=bpy.data.filepath)
    return max(thirds(2, baked(1002, blend=blend)))


def alone():
    """Bake on one object only: its material is copied. Then on another one for all: the first keeps its loop."""
    objects = scene(1, "alone.blend")
    left, middle, right = objects
    drawn(left)
    left.loopcore.play_on = "OBJECT"
    before, still = states(objects), pictures.render(1)[..., :3]
    out = {"text": text_of(left), "message": bake("Left")}
    frame, loop = baked(1003, blend="alone"), thirds
    out["alone"] = [loop(3, frame)[0], max(loop(3, still)[1:]), left.active_material == middle.active_material]
    drawn(right)
    out["text of other"] = text_of(middle)
    bake("Middle", speed=-1.0)
    other = baked(1003, "Middle", blend="alone")
    out["both"] = [loop(3, frame)[0], max(loop(3, other)[1:])]
    bpy.ops.loopcore.restore_still(object_name="Middle")
    out["middle restored"] = [loop(3, frame)[0], max(loop(3, still)[1:])]
    bpy.ops.loopcore.restore_still(object_name="Left")
    for stroke in right.children:
        bpy.data.objects.remove(stroke)
    out["differs"] = differs(before, objects)
    return out


def undone():
    """Undo and redo the bake ten times; then play one object faster than the others."""
    objects = scene(3, "undone.blend")
    drawn(objects[0])
    still = pictures.render(1)[..., :3]
    bpy.ops.ed.undo_push(message="drawn")
    bake("Left")
    bpy.ops.ed.undo_push(message="baked")
    frame, seen = baked(1003, blend="undone"), []
    for _ in range(10):
        bpy.ops.ed.undo()
        undone_ = [module("playing.playback").is_wired(bpy.data.objects[name]) for name in NAMES]
        bpy.ops.ed.redo()
        seen.append([*undone_, *(module("playing.playback").is_wired(bpy.data.objects[name]) for name in NAMES)])
    out = {"wired": [list(row) for row in {tuple(row) for row in seen}], "plays": max(thirds(3, frame))}
    bpy.ops.ed.undo()
    out["still"] = max(thirds(3, still))
    bpy.ops.ed.redo()
    bpy.ops.loopcore.set_playback(object_name="Left", offset=1.0)
    next_frame = baked(1004, blend="undone")
    out["ahead"] = [thirds(3, next_frame)[0], max(thirds(3, frame)[1:])]
    out["apart"] = [bpy.data.objects[name].loopcore.play_on for name in NAMES]
    bpy.ops.loopcore.restore_still(object_name="Right")
    out["kept"] = [thirds(3, next_frame)[0], max(thirds(3, still)[1:])]
    return out


def previews():
    """Both previews animate all objects, in place, and are removed from all."""
    objects = scene(3, "previews.blend")
    drawn(objects[0])
    before, still = states(objects), pictures.render(1)[..., :3]
    bpy.ops.loopcore.preview(object_name="Left", frames=FRAMES)
    out = {"preview": [proxy_files(obj) for obj in objects], "render": max(thirds(3, still))}
    bpy.ops.loopcore.live_preview(object_name="Middle", frames=FRAMES)
    out["live"] = min(thirds(3, still))
    bpy.ops.loopcore.restore_still(object_name="Right")
    out["differs"] = differs(before, objects)
    return out


def older():
    """A loop that was baked on one object before there was a choice stays on it."""
    objects = scene(3, "older.blend")
    objects[0].loopcore.play_on = "OBJECT"
    drawn(objects[0])
    bake("Left")
    objects[0].loopcore.property_unset("play_on")
    bpy.ops.wm.save_mainfile()
    bpy.ops.wm.open_mainfile(filepath=bpy.data.filepath)
    objects = [bpy.data.objects[name] for name in NAMES]
    for obj in objects[1:]:
        drawn(obj)
    chosen = [obj.name for obj in module("interface.users").one_per_picture(objects)]
    return [[obj.loopcore.play_on for obj in objects], chosen]


def coordinates():
    """A plane whose pixels cannot be found: with strokes on it refused; with those on another one it plays."""
    objects = scene(3, "coordinates.blend")
    middle, refusals = objects[1], module("interface.refusals")
    find = module("plane.image").find_plane_image
    tree = middle.active_material.node_tree
    texture, source = find(middle).node, tree.nodes.new("ShaderNodeTexCoord")
    tree.links.new(source.outputs["Window"], texture.inputs[0])
    out = {"window": [refusals.of_drawing(find(middle)), refusals.of_painting(find(middle))]}
    drawn(middle)
    out["painted"] = error_of(bpy.ops.loopcore.paint_mask, "Middle")
    out["baked"] = bake("Middle")
    out["plays"] = max(thirds(3, baked(1003, "Middle", blend="coordinates")))
    bpy.ops.loopcore.restore_still(object_name="Middle")
    tree.links.new(source.outputs["Reflection"], texture.inputs[0])
    out["reflection"] = [refusals.of_drawing(find(middle)), refusals.of_hints(find(middle)),
                         refusals.of_hints(find(objects[0]))]  # fmt: skip
    out["stroke"] = error_of(bpy.ops.loopcore.add_stroke, "Middle")
    out["bake"] = error_of(bpy.ops.loopcore.bake, "Middle")
    for stroke in middle.children:
        bpy.data.objects.remove(stroke)
    drawn(objects[0])
    out["without strokes"] = [refusals.of_hints(find(middle)), bake("Middle", frames=2)]
    return out


def selection(name):
    """Three planes with loops of their own, of which the second has nothing that flows, and one without an image."""
    objects = scene(3, name)
    for obj in objects:
        obj.loopcore.play_on = "OBJECT"
    for obj in (objects[0], objects[2]):
        drawn(obj)
    plain = bpy.data.objects.new("Plain", objects[0].data.copy())
    bpy.context.collection.objects.link(plain)
    plain.data.materials[0] = bpy.data.materials.new("Plain")
    for obj in bpy.context.view_layer.objects:
        obj.select_set(obj.type == "MESH" or obj.parent == objects[0])
    return [*objects, plain]


def several():
    """Bake all that is selected; then again, and cancel the third; then again with the loop of all users."""
    objects = selection("several.blend")
    try:
        bpy.ops.loopcore.bake_selected(frames=FRAMES)
        out = {"report": ""}
    except RuntimeError as error:
        out = {"report": str(error)}
    wired = module("playing.playback").is_wired
    out["messages"] = {obj.name: [obj.loopcore.message, obj.loopcore.failed, wired(obj)] for obj in objects}
    out["folders"] = sorted(p.name for p in (FOLDER / "loops" / "several").iterdir() if list(p.glob("*.exr")))
    tasks, runtime = module("engine.tasks"), module("engine.runtime")
    planes = module("interface.several").planes_among(bpy.context.selected_objects)
    planes.sort(key=lambda obj: ("Left", "Right", "Middle", "Plain").index(obj.name))
    work = module("interface.several").bake(planes, {"frames": 60})
    task, texts = tasks.begin("Bake Selected", work, runtime.engine(), objects[0]), []
    while not task.pump():
        texts.append(f"{task.name}, {task.text}")
        if "2 of 4: Baking" in task.text and task.saved[60:]:
            task.cancel()
        time.sleep(0.005)
    tasks.finish(task)
    out["cancelled"] = [task.message, task.code, objects[0].loopcore.message]
    out["texts"] = sorted({re.sub(r" \d+/.*", "", text) for text in texts})
    for obj in objects:
        obj.loopcore.play_on = "ALL"
        obj.select_set(obj != objects[3])
    for obj in objects[:3]:
        module("interface.actions").restore(obj)
    bpy.ops.loopcore.bake_selected(frames=2)
    out["one for all"] = [obj.loopcore.message for obj in objects[:3]]
    out["left behind"] = left_behind(objects)
    return out


def left_behind(objects):
    """The object that the loop of all was baked on gets its own, then the still: who has the others' speed."""
    playback = module("playing.playback")
    objects[0].loopcore.play_on = "OBJECT"
    bake("Left", frames=2, speed=2.0)
    bpy.ops.loopcore.restore_still(object_name="Left")
    players = [playback.player_of(obj) for obj in objects[1:3]]
    return [[player.name, playback.SPEED in player] for player in players] + [playback.is_wired(objects[0])]


def background():
    """The camera's background image, alone, and together with objects that show the same picture."""
    objects = scene(3, "background.blend")
    camera = bpy.context.scene.camera
    still = bpy.data.images.load(str(FOLDER / "plate.png"))
    shown = camera.data.background_images.new()
    out = {"hidden": error_of(bpy.ops.loopcore.bake, camera.name)}
    shown.image, camera.data.show_background_images = still, True
    before = user_state(shown)
    bpy.ops.loopcore.add_stroke(object_name=camera.name, points="[[10, 20], [80, 34]]", speed=3.0)
    found = module("plane.image").find_plane_image(camera)
    line = module("drawing.hints").hints_json(found)["strokes"][0]["points"]
    out["stroke"] = [line[0], line[-1]]
    mapping = module("plane.map").PlaneMap.of(found)
    out["seen"] = [seen_from(camera, place) for place in mapping.worlds_of([(-0.5, -0.5), (WIDTH - 0.5, HEIGHT - 0.5)])]
    out["message"] = bake(camera.name)
    loop = shown.image
    out["plays"] = [loop.source, bpy.path.basename(loop.filepath), user_state(shown)[:4], offsets(camera)]
    out["objects"] = [module("playing.playback").is_wired(obj) for obj in objects]
    bpy.ops.wm.save_mainfile()
    bpy.ops.wm.open_mainfile(filepath=bpy.data.filepath)
    camera = bpy.context.scene.camera
    out["saved"] = offsets(camera)
    bpy.ops.loopcore.restore_still(object_name=camera.name)
    shown = camera.data.background_images[0]
    kept = [key for key in (*camera.data.keys(), *camera.keys()) if key.startswith("loopcore_")]
    drivers = len(camera.data.animation_data.drivers)
    out["restored"] = [shown.image.name, user_state(shown) == before, drivers, kept]
    out["live"] = error_of(bpy.ops.loopcore.live_preview, camera.name)
    shown.image = module("plane.image").find_plane_image(bpy.data.objects["Left"]).image
    out["text"] = text_of(camera)
    out["moved"] = moved(shown, camera)
    out["baked on an object"] = bake("Middle")
    wired = module("playing.playback").is_wired
    out["together"] = [wired(camera), *(wired(bpy.data.objects[name]) for name in NAMES)]
    bpy.ops.loopcore.restore_still(object_name=camera.name)
    out["apart"] = [wired(camera), *(wired(bpy.data.objects[name]) for name in NAMES)]
    return out


def moved(shown, camera):
    """Return why nothing can be drawn on a background image that is scaled; then put it back."""
    shown.scale = 2.0
    reason = module("interface.refusals").of_drawing(module("plane.image").find_plane_image(camera))
    shown.scale = 1.0
    return reason


def user_state(shown):
    user = shown.image_user
    return [user.frame_duration, user.frame_start, user.use_cyclic, user.use_auto_refresh, user.frame_offset]


def offsets(camera):
    """Return the file that the background shows, at several frames, by the evaluated camera."""
    numbers = []
    for frame in (1, 3, 4, 5, 9, -1):
        bpy.context.scene.frame_set(frame)
        user = camera.evaluated_get(bpy.context.evaluated_depsgraph_get()).data.background_images[0].image_user
        numbers.append((frame - user.frame_start) % user.frame_duration + 1 + user.frame_offset)
    return numbers


def seen_from(camera, place):
    from bpy_extras.object_utils import world_to_camera_view

    place = camera.matrix_world.translation.__class__(place)
    return [round(value, 4) for value in world_to_camera_view(bpy.context.scene, camera, place)[:2]]


def error_of(operator, name):
    try:
        return str(operator(object_name=name))
    except RuntimeError as error:
        return str(error)


bpy.ops.wm.read_factory_settings(use_empty=True)
PACKAGE = inside.install(sys.argv[1])
inside.photograph(FOLDER, WIDTH, HEIGHT)
CASES = {"shared": lambda: everywhere(1), "three": lambda: everywhere(3), "alone": alone, "undone": undone,
         "previews": previews, "older": older, "coordinates": coordinates,
         "several": several, "background": background}  # fmt: skip
inside.emit({name: case() for name, case in CASES.items() if len(sys.argv) < 4 or name in sys.argv[3:]})
