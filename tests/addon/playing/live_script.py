# SPDX-License-Identifier: Apache-2.0
"""Inside Blender: live previews with the still and the motion that the test wrote."""

import json
import sys
from pathlib import Path

import bpy
import inside
import numpy as np
import pictures
from node_state import state

from addon.drawing import hints, strokes
from addon.errors import PlaneError
from addon.plane.image import find_plane_image
from addon.playing import image_sequence, live, playback
from addon.playing.flow_file import read_channels, read_velocity

FOLDER, FRAMES = Path(sys.argv[1]), int(sys.argv[2])
WIDTH, HEIGHT = 64, 48
TIMES = (0, 1, 5, 11, -3)


def scene():
    bpy.ops.wm.read_factory_settings(use_empty=True)
    obj = inside.image_plane(FOLDER / "still.exr", size=(1.6, 1.2))
    texture = find_plane_image(obj).node
    texture.interpolation = "Linear"
    inside.camera_on(obj, (WIDTH, HEIGHT))
    return obj


def noise(seen, wanted):
    return float(-10 * np.log10(max(np.mean((seen[..., :3] - wanted) ** 2), 1e-20)))


def wanted(time):
    return np.load(FOLDER / f"frame{time % FRAMES}.npy")


def wanted_of_cycle(time):
    return np.load(FOLDER / f"cycle{time % (FRAMES // 3)}.npy")


def moves():
    obj = scene()
    before = state(obj)
    live.add_live_preview(find_plane_image(obj), FOLDER / "motion.exr", FRAMES)
    out = {"cycles": {t: noise(pictures.render(t + 1), wanted(t)) for t in TIMES}}
    seen = pictures.render(2)
    out["neighbours"] = max(noise(seen, wanted(t)) for t in (0, 2, FRAMES - 1))
    out["eevee"] = noise(pictures.render(6, "BLENDER_EEVEE"), wanted(5))
    out["found"] = [find_plane_image(obj).image.name, live.is_live(obj)]
    path = str(FOLDER / f"live{bpy.app.version[0]}{bpy.app.version[1]}.blend")
    bpy.ops.wm.save_as_mainfile(filepath=path)
    (FOLDER / "motion.exr").rename(FOLDER / "away.exr")
    bpy.ops.wm.open_mainfile(filepath=path)
    (FOLDER / "away.exr").rename(FOLDER / "motion.exr")
    obj = bpy.data.objects["Plate"]
    out["reloaded"] = noise(pictures.render(6), wanted(5))
    live.add_live_preview(find_plane_image(obj), FOLDER / "motion.exr", FRAMES)
    out["twice"] = noise(pictures.render(6), wanted(5))
    out["removed"] = [bool(live.remove_live_preview(find_plane_image(obj))), live.is_live(obj),
                      bool(live.remove_live_preview(find_plane_image(obj)))]  # fmt: skip
    after = state(obj)
    out["differs"] = {key: [before.get(key), after.get(key)] for key in {*before, *after}
                      if before.get(key) != after.get(key)}  # fmt: skip
    out["still"] = float(np.abs(pictures.render(6)[..., :3] - wanted(0)).max())
    return out


def several_cycles():
    """Cycles in the drivers, and the frames that they show."""
    obj = scene()
    out = {"given": live.add_live_preview(find_plane_image(obj), FOLDER / "motion.exr", FRAMES, 3)}
    out["shown"] = {t: noise(pictures.render(t + 1), wanted_of_cycle(t)) for t in (0, 1, 3, 4, 6, 11, 12, 14, -3)}
    out["plain"] = noise(pictures.render(7), wanted(6))
    # A period that is not a whole number of frames, and a scene that begins elsewhere.
    bpy.context.scene.frame_start = 1001
    out["uneven"] = live.add_live_preview(find_plane_image(obj), FOLDER / "motion.exr", 25, 7)
    driver = obj.active_material.node_tree.animation_data.drivers[0].driver
    out["simple"], out["times"] = driver.is_simple_expression, {}
    for t in (0, 1, 3, 4, 7, 24, 25, 26, 50, -1):
        bpy.context.scene.frame_set(1001 + t)
        evaluated = obj.active_material.evaluated_get(bpy.context.evaluated_depsgraph_get())
        (node,) = (n for n in evaluated.node_tree.nodes if n.type == "GROUP")
        out["times"][t] = node.inputs["Time"].default_value
    live.remove_live_preview(find_plane_image(obj))
    out["drivers left"] = len(obj.active_material.node_tree.animation_data.drivers)
    return out


def automatic():
    """The number of cycles by speed; with none moving; and in the preview of a motion of that speed."""
    out = {"by speed": {}}
    for speed in json.loads(sys.argv[3]):
        velocity = np.zeros((HEIGHT, WIDTH, 2), np.float32)
        velocity[8:-8, 8:-8] = (0.6 * speed, -0.8 * speed)
        out["by speed"][speed] = live.automatic_cycles(velocity, 48)
    velocity[:] = (0.02, 0)
    velocity[:, -WIDTH // 4 :] = (0, -1)
    out["pool and fall"] = live.automatic_cycles(velocity, 48)
    out["still"] = live.automatic_cycles(np.zeros((4, 4, 2), np.float32), 48)
    obj = scene()
    plane, motion = find_plane_image(obj), FOLDER / "motion.exr"
    out["preview"] = [live.add_live_preview(find_plane_image(obj), motion, frames) for frames in (FRAMES, 48, 96)]
    out["file"] = live.automatic_cycles(read_velocity(motion), 48)
    out["refused"] = []
    for frames, cycles in ((12, 7), (12, 0), (3, 2)):
        try:
            live.add_live_preview(plane, motion, frames, cycles)
        except PlaneError as error:
            out["refused"].append(str(error))
    return out


def loop_file():
    """A loop of two files, black and white."""
    for t in range(2):
        pictures.save(FOLDER / f"loop.{t + 1}.exr", np.full((4, 4, 3), float(t)))
    return FOLDER, "loop.#.exr", 1, 2


def beside_a_loop():
    """A live preview, then a loop, then a live preview of the plane with the loop; the strokes stay the same."""
    obj = scene()
    before = state(obj)
    strokes.add_stroke(bpy.context, find_plane_image(obj), [(3, 4), (40, 30)])
    drawn = hints.hints_json(find_plane_image(obj))
    live.add_live_preview(find_plane_image(obj), FOLDER / "motion.exr", FRAMES)
    image_sequence.wire_sequence(find_plane_image(obj), *loop_file(), proxy_pattern="loop.#.exr")
    out = {"loop": [float(pictures.render(f)[..., :3].mean()) for f in (1, 2, 3)], "live": [live.is_live(obj)]}
    out["strokes"] = [hints.hints_json(find_plane_image(obj)) == drawn]
    live.add_live_preview(find_plane_image(obj), FOLDER / "motion.exr", FRAMES)
    out["over"] = noise(pictures.render(2), wanted(1))
    out["live"].append(live.is_live(obj))
    out["strokes"].append(hints.hints_json(find_plane_image(obj)) == drawn)
    live.remove_live_preview(find_plane_image(obj))
    out["loop"].append(float(pictures.render(2)[..., :3].mean()))
    for frame, ahead in ((1, 0.0), (10, 0.0), (11, 1.0)):
        obj[playback.OFFSET] = ahead
        obj.keyframe_insert(f'["{playback.OFFSET}"]', frame=frame)
    obj.animation_data.action.name = "Ahead"
    out["keyed"] = [float(pictures.render(f)[..., :3].mean()) for f in (4, 10, 11, 12)]
    image_sequence.restore_still(obj)
    bpy.data.objects.remove(obj.children[0])
    after = state(obj)
    out["differs"] = {key: [before.get(key), after.get(key)] for key in {*before, *after}
                      if before.get(key) != after.get(key)}  # fmt: skip
    return out


def shared():
    """A material that another plane uses is not changed, and restored afterwards."""
    obj = scene()
    other = bpy.data.objects.new("Other", obj.data.copy())
    bpy.context.scene.collection.objects.link(other)
    material = obj.active_material
    live.add_live_preview(find_plane_image(obj), FOLDER / "motion.exr", FRAMES)
    out = [live.is_live(obj), live.is_live(other)]
    live.remove_live_preview(find_plane_image(obj))
    live.add_live_preview(find_plane_image(other), FOLDER / "motion.exr", FRAMES)
    live.remove_live_preview(find_plane_image(other))
    return [*out, obj.active_material == material, len(bpy.data.materials)]


def renamed():
    """The image texture is renamed while a live preview replaces it."""
    obj = scene()
    live.add_live_preview(find_plane_image(obj), FOLDER / "motion.exr", FRAMES)
    find_plane_image(obj).node.name = "My plate"
    removed = bool(live.remove_live_preview(find_plane_image(obj)))
    return [removed, find_plane_image(obj).node.name, float(np.abs(pictures.render(6)[..., :3] - wanted(0)).max())]


def linked():
    """A linked plane is not changed."""
    obj = scene()
    bpy.data.libraries.write(str(FOLDER / "asset.blend"), {obj})
    bpy.ops.wm.read_factory_settings(use_empty=True)
    with bpy.data.libraries.load(str(FOLDER / "asset.blend"), link=True) as (theirs, ours):
        ours.objects = theirs.objects
    obj = bpy.data.objects["Plate"]
    bpy.context.scene.collection.objects.link(obj)
    out = []
    for act in (lambda: live.add_live_preview(find_plane_image(obj), FOLDER / "motion.exr", FRAMES),
                lambda: image_sequence.wire_sequence(find_plane_image(obj), *loop_file())):  # fmt: skip
        try:
            act()
        except PlaneError as error:
            out.append(str(error))
    return [*out, live.is_live(obj), playback.is_wired(obj)]


def refusals():
    obj, out = scene(), []
    truncated = FOLDER / "truncated.exr"
    truncated.write_bytes((FOLDER / "motion.exr").read_bytes()[:2000])
    for path, frames in (
        (FOLDER / "gone.exr", 5),
        (truncated, 5),
        (FOLDER / "still.exr", 5),
        (FOLDER / "motion.exr", 1),
    ):
        try:
            live.add_live_preview(find_plane_image(obj), path, frames)
        except PlaneError as error:
            out.append(str(error))
    return [*out, live.is_live(obj)]


def reads():
    """All compressions that Loopcore writes."""
    values = [read_channels(FOLDER / f"{kind}.exr", ("forward.u", "forward.v")) for kind in ("none", "zips", "zip")]
    known = np.load(FOLDER / "forward.npy")
    return [bool((v[f"forward.{c}"] == known[..., k]).all()) for v in values for k, c in enumerate("uv")]


CASES = (moves, several_cycles, automatic, beside_a_loop, shared, renamed, linked, refusals, reads)
inside.emit({case.__name__: case() for case in CASES if len(sys.argv) < 5 or case.__name__ in sys.argv[4:]})
