# SPDX-License-Identifier: Apache-2.0
"""Inside Blender: the strokes and the mask of the example photograph, for an image of 640 x 360 pixels."""

import json

import bpy
import inside
import numpy as np

# The example's hints are for an image of 3 times the size.
SCALE, HEIGHT = 3, 1080


def hints():
    return json.loads(inside.PHOTOGRAPH.with_name("hints.json").read_text("utf-8"))


def draw_strokes(plane):
    for stroke in hints()["strokes"]:
        points = [[x / SCALE, y / SCALE] for x, y in stroke["points"]]
        speed = stroke["speed"] if isinstance(stroke["speed"], float) else max(stroke["speed"])
        bpy.ops.loopcore.add_stroke(object_name=plane.name, points=json.dumps(points), speed=2 * speed / SCALE)


def mask_pixels(width, height):
    """Return the RGBA values of a mask image, row 0 at the bottom: white inside the polygons."""
    y, x = np.mgrid[0:height, 0:width] * (HEIGHT / height)
    inside_any = np.zeros((height, width), bool)
    for outline in hints()["mask"]["polygons"]:
        inside_any |= crossings(x, y, outline) % 2 == 1
    pixels = np.ones((height, width, 4), np.float32)
    pixels[..., :3] = inside_any[::-1, :, None]
    return pixels.ravel()


def crossings(x, y, outline):
    """Count how often a ray to the right of each point crosses the outline."""
    count = np.zeros(x.shape, int)
    for (ax, ay), (bx, by) in zip(outline, [*outline[1:], outline[0]], strict=True):
        if ay != by:
            between = (y >= min(ay, by)) & (y < max(ay, by))
            count += between & (ax + (y - ay) * (bx - ax) / (by - ay) > x)
    return count
