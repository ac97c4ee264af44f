# SPDX-License-Identifier: Apache-2.0
"""Inside a Blender without the add-on: render frames of the open file through its camera, at the size of its loop.

blender -b shot.blend --python render_plain.py -- OUT WIDTH HEIGHT FRAMES
"""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / "addon")]
import bpy  # noqa: E402
import inside  # noqa: E402

OUT, WIDTH, HEIGHT, FRAMES = sys.argv[sys.argv.index("--") + 1 :][:4]
if any("loopcore" in name for name in bpy.context.preferences.addons.keys()):
    raise SystemExit("the add-on is enabled here")
scene = bpy.context.scene
scene.render.resolution_x, scene.render.resolution_y, scene.render.resolution_percentage = int(WIDTH), int(HEIGHT), 100
scene.view_settings.view_transform = "Raw"
for frame in range(1, int(FRAMES) + 1):
    scene.frame_set(frame)
    inside.render(str(Path(OUT) / f"rendered.{frame:04}.exr"))
