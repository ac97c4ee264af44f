# SPDX-License-Identifier: GPL-3.0-or-later
"""Hints for the worker: the strokes, anchors, flips and mask of a plane, in pixels of its image."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from mathutils import Vector

from ..files import write_whole
from ..plane.image import PlaneImage
from ..plane.map import PlaneMap
from ..plane.uses import planes_of_picture
from . import mask, strokes


def hints_json(plane: PlaneImage) -> dict | None:
    """Return the plane's strokes, anchors, flips and mask as Loopcore's hints JSON, or None without any.

    Those of all planes that play its loop. Writes no mask file.

    Raises:
        PlaneError: strokes are drawn, and the plane has no UVs.
    """
    return _document(plane)[0]


def _document(plane):
    """Return the hints, or None, and the names of the objects of their "strokes" and "flips", in order."""
    document: dict = {"loopcore_hints": 1, "size": list(plane.size)}
    names: dict = {"strokes": [], "flips": []}
    for drawn in planes_of_picture(plane):
        _add_drawn(document, names, drawn)
    masked = masked_plane(plane)
    if masked is not None:
        document["mask"] = mask.MASK_FILE
        feather = mask.feather_of(masked.object)
        if feather:
            document["feather"] = round(feather, 3)
    return document if len(document) > 2 else None, names


def _add_drawn(document, names, plane):
    """Add the strokes, anchors and flips of one plane, and the names of the objects of strokes and flips."""
    drawn = {"strokes": strokes.strokes(plane.object), "anchors": strokes.anchors(plane.object),
             "flips": strokes.flips(plane.object)}  # fmt: skip
    if not any(drawn.values()):
        return
    mapping = PlaneMap.of(plane)
    for obj in drawn.pop("strokes"):
        for line in _lines(obj, mapping):
            document.setdefault("strokes", []).append(line)
            names["strokes"].append(obj.name)
    for key, spots in drawn.items():
        if spots:
            places = mapping.pixels_of_local([strokes.local_matrix(obj).translation for obj in spots])
            document.setdefault(key, []).extend([round(x, 3), round(y, 3)] for x, y in places.tolist())
    names["flips"] += [obj.name for obj in drawn["flips"]]


def masked_plane(plane: PlaneImage) -> PlaneImage | None:
    """Return the plane whose mask is used: the plane itself, else another that plays its loop; None without a mask."""
    return next((found for found in planes_of_picture(plane) if mask.has_mask(found.object)), None)


def hints_file(plane: PlaneImage, folder: str | Path) -> tuple[Path, Callable[[], None], dict] | None:
    """Return the path of hints.json, a thread-safe function that writes it, and the names of its objects.

    The names are those of "strokes" and "flips". Returns None without any hints. The caller
    writes the mask to the same folder, as MASK_FILE.

    Raises:
        PlaneError: as hints_json; from the function, if the folder cannot be written to.
    """
    document, names = _document(plane)
    if document is None:
        return None
    path, text = Path(folder) / "hints.json", json.dumps(document, indent=1) + "\n"
    return path, mask.refusing(lambda: write_whole(path, text.encode()), path.parent), names


def _lines(obj, mapping) -> Iterator[dict]:
    """Yield the strokes of a curve object, one per spline, in pixels."""
    matrix, speed = strokes.local_matrix(obj), strokes.stroke_speed(obj)
    for spline in obj.data.splines:
        points, radii = strokes.sampled(spline)
        if len(points) < 2:
            continue
        pixels = mapping.pixels_of_local([matrix @ Vector(point) for point in points])
        kept = np.concatenate([[True], np.linalg.norm(np.diff(pixels, axis=0), axis=1) > 1e-6])
        pixels, radii = pixels[kept], np.asarray(radii)[kept]
        if len(pixels) < 2:
            continue
        even = np.ptp(radii) < 1e-6
        speeds = speed * float(radii[0]) if even else [round(v, 5) for v in (speed * radii).tolist()]
        yield {"points": [[round(x, 3), round(y, 3)] for x, y in pixels.tolist()], "speed": speeds}
