# SPDX-License-Identifier: Apache-2.0
"""Inside a real Blender with its window: random steps of an artist, with undo and redo between them.

    blender --window-geometry 0 0 480 360 --python stress.py -- ZIP OUT WORKER_PYTHON SEED STEPS

Each step is written to OUT/steps.txt before it is made, so that after a crash the last line names it. The last line
printed is the results as JSON.
"""

import faulthandler
import os
import random
import sys
from collections import Counter
from importlib import import_module
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).resolve().parents[1] / "addon")]
import bpy  # noqa: E402
import inside  # noqa: E402
from screen import area, drive, region, there, until  # noqa: E402

ZIP, OUT, WORKER, SEED, STEPS = sys.argv[sys.argv.index("--") + 1 :][:5]
PACKAGE = "bl_ext.user_default.loopcore"
os.environ["LOOPCORE_WORKER_PYTHON"] = WORKER
FOLDER = Path(OUT) / "stress"
BLEND = str(FOLDER / "shot.blend")
SIZE = (96, 54)
SEEN = {"version": bpy.app.version_string, "seed": int(SEED), "steps": 0, "made": {}, "refused": {}}
chance = random.Random(int(SEED))
faulthandler.enable()
bpy.context.preferences.view.show_splash = False
bpy.context.preferences.edit.undo_steps = 64


def task():
    return import_module(PACKAGE + ".engine.tasks").current()


def planes():
    return [obj for obj in bpy.context.scene.objects if obj.type == "MESH" and obj.name.startswith("Plate")]


def strokes():
    return [obj for obj in bpy.context.scene.objects if obj.type == "CURVE" and obj.parent]


def pushed(message):
    """Store an undo step, as Blender does after an operator from a menu."""
    bpy.ops.ed.undo_push(message=message)


def select(obj):
    bpy.context.view_layer.objects.active = obj
    for other in bpy.context.scene.objects:
        other.select_set(other == obj)


def some_plane():
    """Select a plane, and return it; without one, make one."""
    if not planes():
        new_plane()
    obj = chance.choice(planes())
    select(obj)
    return obj


def new_plane():
    obj = inside.image_plane(FOLDER / "plate.png")
    settings = obj.loopcore
    settings.frames, settings.resolution, settings.format = 4, 50, "PNG_8"
    settings.proxy = settings.show_motion = True
    bpy.ops.loopcore.add_stroke(object_name=obj.name, points="[[20, 27], [70, 30]]", speed=1.0)
    bpy.ops.loopcore.paint_mask(object_name=obj.name)
    mask = obj["loopcore_mask"]
    mask.pixels.foreach_set([1.0] * len(mask.pixels))
    mask.pack()
    bpy.ops.object.mode_set(mode="OBJECT")
    select(obj)
    pushed("New Plane")


# The steps. Each one may yield seconds to wait.


def undo():
    for _ in range(chance.randint(1, 4)):
        if bpy.ops.ed.undo.poll():
            bpy.ops.ed.undo()
            yield chance.choice([0.0, 0.0, 0.05, 0.5])


def redo():
    for _ in range(chance.randint(1, 4)):
        if bpy.ops.ed.redo.poll():
            bpy.ops.ed.redo()
            yield chance.choice([0.0, 0.0, 0.05, 0.5])


def move():
    some_plane()
    bpy.ops.transform.translate("EXEC_DEFAULT", True, value=(chance.uniform(-0.2, 0.2), 0, 0))


def edit_stroke():
    if not strokes():
        bpy.ops.loopcore.add_stroke("EXEC_DEFAULT", True, object_name=some_plane().name)
        return
    stroke = chance.choice(strokes())
    spline = stroke.data.splines[0]
    point = chance.choice([*spline.points, *spline.bezier_points])
    point.co.x += chance.uniform(-0.05, 0.05)
    stroke["loopcore_speed"] = chance.uniform(0.2, 2.0)
    pushed("Edit Stroke")


def edit_curve():
    """Move a stroke in Edit Mode, where undo has steps of another kind."""
    if not strokes():
        return
    select(chance.choice(strokes()))
    bpy.ops.object.mode_set("EXEC_DEFAULT", True, mode="EDIT")
    bpy.ops.curve.select_all(action="SELECT")
    bpy.ops.transform.translate("EXEC_DEFAULT", True, value=(0.02, 0, 0))
    yield 0.1
    if chance.random() < 0.5:
        bpy.ops.ed.undo()
        yield 0.1
    if bpy.context.mode != "OBJECT":
        bpy.ops.object.mode_set("EXEC_DEFAULT", True, mode="OBJECT")


def add_stroke():
    bpy.ops.loopcore.add_stroke("EXEC_DEFAULT", True, object_name=some_plane().name)


def add_area():
    """Add an area to the mask, or take it from that; the mask is shown as a tint."""
    bpy.ops.wm.tool_set_by_id(name=chance.choice(["loopcore.area", "builtin.select_box"]))
    x, y = chance.randrange(60), chance.randrange(30)
    points = str([[x, y], [x + 30, y], [x + 30, y + 20], [x, y + 20]])
    options = {"object_name": some_plane().name, "points": points, "subtract": chance.random() < 0.3}
    bpy.ops.loopcore.add_area("EXEC_DEFAULT", True, **options)


def change_value():
    """Change the material: its viewport copy has to follow."""
    material = some_plane().active_material
    light = next((node for node in material.node_tree.nodes if node.type == "EMISSION"), None)
    material.diffuse_color = (chance.random(), 0.5, 0.5, 1)
    if light is not None:
        light.inputs["Strength"].default_value = chance.uniform(0.5, 2)
    pushed("Change Material")


def change_nodes():
    """Add a node with an image of its own, or remove it: then the viewport copy no longer fits."""
    tree = some_plane().active_material.node_tree
    added = tree.nodes.get("Added")
    if added is not None:
        if added.image is not None:
            bpy.data.images.remove(added.image)
        tree.nodes.remove(added)
    else:
        added = tree.nodes.new("ShaderNodeTexImage")
        added.name, added.image = "Added", bpy.data.images.new("Added", 8, 8)
    pushed("Change Nodes")


def renew_proxy():
    if hasattr(bpy.types, "LOOPCORE_OT_update_proxy"):
        bpy.ops.loopcore.update_proxy("EXEC_DEFAULT", True, object_name=some_plane().name)


def bake():
    yield from started("bake", overwrite=chance.random() < 0.5)


def predict():
    yield from started("predict_motion")


def preview():
    yield from started("preview")


def live_preview():
    yield from started("live_preview")


def started(name, **arguments):
    """Start a task, and wait for its end in half of the cases: the other steps are made meanwhile."""
    if task() is not None:
        yield from until(lambda: task() is None, 120)
    plane = some_plane()
    plane.loopcore.frames = chance.choice([4, 6])
    getattr(bpy.ops.loopcore, name)("INVOKE_DEFAULT", True, object_name=plane.name, **arguments)
    yield chance.choice([0.0, 0.3, 1.0])
    if chance.random() < 0.5:
        yield from until(lambda: task() is None, 120)


def cancel():
    if bpy.ops.loopcore.cancel.poll():
        bpy.ops.loopcore.cancel()
        yield 0.3


def restore():
    if task() is None:
        bpy.ops.loopcore.restore_still("EXEC_DEFAULT", True, object_name=some_plane().name)


def delete():
    select(chance.choice([*planes(), *strokes()]) if strokes() else some_plane())
    bpy.ops.object.delete("EXEC_DEFAULT", True, use_global=False)


def duplicate():
    obj = some_plane()
    for child in obj.children:
        child.select_set(True)
    if len(bpy.context.scene.objects) < 12:
        bpy.ops.object.duplicate("EXEC_DEFAULT", True, linked=chance.random() < 0.5)


def overlay():
    state = some_plane().loopcore
    state.show_motion = not state.show_motion
    state.motion_style = chance.choice(["ARROWS", "STREAKS"])
    pushed("Overlay")


def paint():
    """Change a mask as a brush does: it is packed when the file is saved."""
    mask = some_plane().get("loopcore_mask")
    if mask is not None and mask.size[0]:
        mask.pixels[chance.randrange(mask.size[0] * mask.size[1]) * 4] = chance.random()
        mask.update()


def frame():
    bpy.context.scene.frame_set(chance.randint(1, 20))


def shading():
    space = area().spaces.active
    space.shading.type = "MATERIAL" if space.shading.type == "SOLID" and chance.random() < 0.4 else "SOLID"
    yield 0.5


def save():
    bpy.ops.wm.save_as_mainfile(filepath=BLEND)


def load():
    """Open the saved file, which ends undo, and the running task."""
    bpy.ops.wm.open_mainfile(filepath=BLEND)
    yield 0.5


def render():
    bpy.ops.render.render()


WEIGHTS = {
    undo: 22, redo: 14, move: 10, edit_stroke: 5, edit_curve: 3, add_stroke: 3, add_area: 3, change_value: 8,
    change_nodes: 5, renew_proxy: 3, bake: 9, predict: 2, preview: 2, live_preview: 4, cancel: 4, restore: 3, delete: 4,
    duplicate: 5, overlay: 3, paint: 3, frame: 4, shading: 2, save: 3, load: 1, render: 3,
}  # fmt: skip


def prepared():
    """Set up the file: a plane that plays a baked loop with proxies."""
    inside.install(ZIP)
    FOLDER.mkdir(parents=True, exist_ok=True)
    for obj in list(bpy.data.objects):
        bpy.data.objects.remove(obj)
    inside.photograph(FOLDER, *SIZE)
    with there():
        new_plane()
        inside.camera_on(planes()[0], (32, 18))
        bpy.context.scene.render.engine = "CYCLES"
        bpy.context.scene.cycles.samples = 1
        select(planes()[0])
        bpy.ops.wm.save_as_mainfile(filepath=BLEND)
    space = area().spaces.active
    space.shading.type, space.shading.color_type, space.show_region_ui = "SOLID", "TEXTURE", True
    yield 1.0
    region("UI").active_panel_category = "Loopcore"
    with there():
        bpy.ops.view3d.view_axis(type="FRONT")
        bpy.ops.loopcore.bake("INVOKE_DEFAULT", True)
    yield from until(lambda: task() is None, 120)
    with there():
        bpy.ops.wm.save_as_mainfile(filepath=BLEND)
        bpy.ops.wm.open_mainfile(filepath=BLEND)  # undo begins here
    yield 1.0


def steps():
    yield from prepared()
    made, refused = Counter(), Counter()
    log = (Path(OUT) / "steps.txt").open("w", buffering=1)
    for number in range(int(STEPS)):
        (step,) = chance.choices(list(WEIGHTS), list(WEIGHTS.values()))
        if bpy.context.mode != "OBJECT":
            with there():
                bpy.ops.object.mode_set(mode="OBJECT")
        print(number, step.__name__, file=log)
        made[step.__name__] += 1
        try:
            yield from inside_window(step)
        except (RuntimeError, ReferenceError) as error:
            # Operators refuse what cannot be done, such as a bake of a plane with a live preview.
            refused[f"{step.__name__}: {str(error).strip().splitlines()[0]}"] += 1
        yield chance.choice([0.0, 0.05, 0.5])
        SEEN.update(steps=number + 1, made=dict(made), refused=dict(refused))


def inside_window(step):
    """Make a step with the window as context, also after each wait."""
    with there():
        running = step()
    while running is not None:
        with there():
            try:
                wait = next(running)
            except StopIteration:
                return
        yield wait


drive(steps(), SEEN, OUT)
