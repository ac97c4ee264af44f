# SPDX-License-Identifier: Apache-2.0
"""Inside Blender: a plane moves by nodes alone, from the still and the motion that the test wrote."""

import sys
from pathlib import Path

import bpy
import inside
import numpy as np
import pictures
from node_state import state

from addon import live
from addon.flow_file import read_channels
from addon.plane import PlaneError, find_plane_image

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
    out["removed"] = [live.remove_live_preview(find_plane_image(obj)), live.is_live(obj),
                      live.remove_live_preview(find_plane_image(obj))]  # fmt: skip
    after = state(obj)
    out["differs"] = {key: [before.get(key), after.get(key)] for key in {*before, *after}
                      if before.get(key) != after.get(key)}  # fmt: skip
    out["still"] = float(np.abs(pictures.render(6)[..., :3] - wanted(0)).max())
    return out


def refusals():
    obj, out = scene(), []
    torn = FOLDER / "torn.exr"
    torn.write_bytes((FOLDER / "motion.exr").read_bytes()[:2000])
    for path, frames in ((FOLDER / "gone.exr", 5), (torn, 5), (FOLDER / "still.exr", 5), (FOLDER / "motion.exr", 1)):
        try:
            live.add_live_preview(find_plane_image(obj), path, frames)
        except PlaneError as error:
            out.append(str(error))
    return [*out, live.is_live(obj)]


def reads():
    """All the compressions that Loopcore may have written."""
    values = [read_channels(FOLDER / f"{kind}.exr", ("forward.u", "forward.v")) for kind in ("none", "zips", "zip")]
    known = np.load(FOLDER / "forward.npy")
    return [bool((v[f"forward.{c}"] == known[..., k]).all()) for v in values for k, c in enumerate("uv")]


inside.emit({"moves": moves(), "refusals": refusals(), "reads": reads()})
