# SPDX-License-Identifier: Apache-2.0
"""Inside Blender: render a small frame exactly, and read and write images as arrays."""

import tempfile
from pathlib import Path

import bpy
import numpy as np


def render(frame=None, engine="CYCLES"):
    """Render a frame with one sample at the center of each pixel; returns (H, W, 4), scene-linear, row 0 at the top."""
    scene = bpy.context.scene
    try:
        scene.render.engine = engine
    except TypeError:  # its name in 4.2 to 4.5
        scene.render.engine = f"{engine}_NEXT"
    if engine == "CYCLES":
        scene.cycles.samples, scene.cycles.use_denoising = 1, False
        scene.cycles.pixel_filter_type, scene.cycles.filter_width = "BLACKMAN_HARRIS", 0.01
    else:
        scene.eevee.taa_render_samples, scene.render.filter_size = 1, 0
    scene.view_settings.view_transform = "Raw"
    settings = scene.render.image_settings
    if hasattr(settings, "media_type"):
        settings.media_type = "IMAGE"
    settings.file_format, settings.color_depth = "OPEN_EXR", "32"
    with tempfile.TemporaryDirectory() as folder:
        scene.render.filepath = str(Path(folder) / "seen.exr")
        if frame is not None:
            scene.frame_set(frame)
        bpy.ops.render.render(write_still=True)
        return pixels(scene.render.filepath)


def pixels(path):
    """Return the (H, W, 4) pixels stored in an EXR, row 0 at the top."""
    image = bpy.data.images.load(str(path))
    try:
        image.colorspace_settings.name = "Non-Color"
        values = np.empty(image.size[0] * image.size[1] * 4, np.float32)
        image.pixels.foreach_get(values)
        return values.reshape(image.size[1], image.size[0], 4)[::-1]
    finally:
        bpy.data.images.remove(image)


def save(path, values):
    """Write (H, W, 3) or (H, W, 4) pixels as EXR, or as 8-bit PNG of encoded values, by the suffix of `path`."""
    values = np.asarray(values, np.float32)
    if values.shape[2] == 3:
        values = np.concatenate([values, np.ones_like(values[..., :1])], axis=-1)
    floats = str(path).endswith(".exr")
    image = bpy.data.images.new("to save", values.shape[1], values.shape[0], float_buffer=floats, is_data=True)
    image.pixels.foreach_set(values[::-1].ravel())
    image.file_format = "OPEN_EXR" if floats else "PNG"
    image.save(filepath=str(path))
    bpy.data.images.remove(image)
    return path
