# SPDX-License-Identifier: Apache-2.0
"""Inside Blender: areas that are added to a mask and taken from it. Arguments: ZIP FOLDER."""

import json
import sys
from importlib import import_module
from pathlib import Path

import bpy
import inside
import numpy as np

ZIP, FOLDER = sys.argv[1], Path(sys.argv[2])
SIZE = (320, 180)
bpy.ops.wm.read_factory_settings(use_empty=True)
PACKAGE = inside.install(ZIP)
PLATE = inside.photograph(FOLDER, *SIZE)
areas, hints, mask, strokes = (import_module(f"{PACKAGE}.drawing.{n}") for n in ("areas", "hints", "mask", "strokes"))
drafts = import_module(f"{PACKAGE}.interface.drafts")
LEFT = [[9.5, 19.5], [99.5, 19.5], [99.5, 79.5], [9.5, 79.5]]
MIDDLE = [[49.5, 39.5], [69.5, 39.5], [69.5, 59.5], [49.5, 59.5]]


def plane():
    return inside.tilted_plane(PLATE)


def found(obj):
    return import_module(f"{PACKAGE}.plane.image").find_plane_image(obj)


def add(obj, points, **options):
    """Add an area by its operator; returns the message if it is refused."""
    try:
        bpy.ops.loopcore.add_area(object_name=obj.name, points=json.dumps(points), **options)
    except RuntimeError as error:
        return str(error)
    return ""


def written(obj, name):
    """Write hints and mask as for the worker; returns the path of the hints."""
    path, write, _ = hints.hints_file(found(obj), FOLDER / name)
    write()
    mask.mask_writer(found(obj), FOLDER / name)()
    return str(path)


def coverage():
    """Return how many pixels differ from 32 x 32 samples: a triangle, one beyond the picture, a lasso."""
    turns = np.linspace(0, 2.2 * np.pi, 60)
    shapes = {
        "triangle": [(3.2, 2.1), (25.7, 8.4), (11.3, 17.9)],
        "beyond": [(-20.0, 5.5), (50.0, -3.0), (30.0, 40.0)],
        "overlapping": np.stack([15 + 9 * np.cos(turns), 10 + 8 * np.sin(turns)], axis=1),
    }
    y, x = (np.mgrid[0 : 20 * 32, 0 : 30 * 32] + 0.5) / 32
    errors = {}
    for name, corners in shapes.items():
        corners = np.array(corners, float)
        count = np.zeros(x.shape)
        for (ax, ay), (bx, by) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
            if ay != by:
                between = (y >= min(ay, by)) & (y < max(ay, by)) & (ax + (y - ay) * (bx - ax) / (by - ay) > x)
                count += np.where(between, np.sign(by - ay), 0)
        sampled = (count != 0).reshape(20, 32, 30, 32).mean(axis=(1, 3))
        errors[name] = int((np.abs(areas.coverage(corners, (20, 30)) - sampled) > 0.01).sum())
    return errors


def alone():
    """An area is a mask without a painted one; a second is taken from it."""
    obj = plane()
    refused = [add(obj, MIDDLE, subtract=True), add(obj, [[1, 1], [2, 2], [1, 1]]), add(obj, "x"), add(obj, [1, 2, 3])]
    before = drafts._hints_of(obj.name)
    add(obj, LEFT)
    added = drafts._hints_of(obj.name)
    add(obj, MIDDLE, subtract=True)
    obj.loopcore.mask_feather = 5
    taken = drafts._hints_of(obj.name)
    kinds = [len(strokes.strokes(obj)), len(areas.areas(obj)), len(areas.adding(obj))]
    return [refused, len({before, added, taken}), kinds, written(obj, "alone")]


def over_painted():
    """Areas change a painted mask whatever their order; disabled ones are ignored."""
    obj = plane()
    inside.white_mask(obj)
    image = mask.source_of(obj)
    pixels = np.zeros((image.size[1], image.size[0], 4), np.float32)
    pixels[..., 3] = 1
    pixels[:, image.size[0] // 2 :, :3] = 0.5
    image.pixels.foreach_set(pixels.ravel())
    add(obj, MIDDLE, subtract=True)
    add(obj, LEFT)
    add(obj, [[200, 100], [220, 100], [220, 120]])
    obj.children[-1].hide_viewport = True
    return written(obj, "painted")


def bleed():
    """Return the seam bleed while a mask is painted, in what is saved meanwhile, and before and after it."""
    seam_bleed, scene, obj = import_module(f"{PACKAGE}.drawing.seam_bleed"), bpy.context.scene, plane()
    inside.white_mask(obj)
    settings, saved = scene.tool_settings.image_paint, []
    settings.seam_bleed = 3
    bpy.context.view_layer.objects.active = obj
    bpy.ops.object.mode_set(mode="TEXTURE_PAINT")
    seam_bleed.stop(scene)
    seam_bleed.stop(scene)
    going_on = [settings.seam_bleed, seam_bleed._watch()]
    bpy.app.handlers.save_pre.append(lambda *_: saved.append(settings.seam_bleed))
    bpy.ops.wm.save_as_mainfile(filepath=str(FOLDER / "painted.blend"))
    bpy.app.handlers.save_pre.pop()
    after_saving = settings.seam_bleed
    bpy.ops.object.mode_set(mode="OBJECT")
    ended = seam_bleed._watch()
    return [going_on, saved, after_saving, ended, settings.seam_bleed]


inside.emit({"coverage": coverage(), "alone": alone(), "painted": over_painted(), "bleed": bleed()})
