# SPDX-License-Identifier: GPL-3.0-or-later
"""Areas: closed outlines on a plane that add to its mask, or take from it.

An area is a curve parented to the plane with the property AREA: 1 adds, -1 subtracts. Added areas are united with the
painted mask, then all subtracted ones are taken from it, whatever their order. Disabled ones are ignored.
"""

from __future__ import annotations

from collections.abc import Iterable

import bpy
import numpy as np
from mathutils import Vector

from ..errors import PlaneError
from ..plane.image import PlaneImage
from ..plane.map import PlaneMap
from ..texts import rpt_
from . import strokes
from .strokes import AREA

COLORS = {1: (0.3, 1.0, 0.45, 1.0), -1: (1.0, 0.3, 0.2, 1.0)}


def add_area(
    context: bpy.types.Context, plane: PlaneImage, points: Iterable[tuple[float, float]], *, subtract: bool = False
) -> bpy.types.Object:
    """Add a closed curve through `points` (pixels); returns its object.

    Raises:
        PlaneError: there are fewer than three different points.
    """
    places = np.array(list(points), float)
    if places.ndim != 2 or len(np.unique(places, axis=0)) < 3:
        raise PlaneError(rpt_("An area needs at least three different points"))
    context.view_layer.update()  # a script may have moved the plane
    curve = strokes.curve(PlaneMap.of(plane).locals_of(places), "POLY")
    curve.splines[0].use_cyclic_u = True
    obj = strokes.child(context, plane, "Area", curve)
    obj[AREA] = -1 if subtract else 1
    obj.color = COLORS[obj[AREA]]
    return obj


def areas(plane: bpy.types.Object) -> list[bpy.types.Object]:
    """Return the areas of a plane that are enabled in viewports."""
    return [child for child in strokes.curves(plane) if AREA in child]


def adding(plane: bpy.types.Object) -> list[bpy.types.Object]:
    """Return the areas that add to the mask."""
    return [obj for obj in areas(plane) if sign(obj) > 0]


def sign(obj: bpy.types.Object) -> int:
    """Return 1 for an area that adds, and -1 for one that subtracts."""
    return 1 if obj[AREA] > 0 else -1


def outlines(plane: PlaneImage) -> list[tuple[int, list[list[float]]]]:
    """Return the sign and the corners [[x, y], ...] in pixels of each outline.

    Raises:
        PlaneError: the plane has no UVs.
    """
    found = areas(plane.object)
    mapping = PlaneMap.of(plane) if found else None
    drawn = []
    for obj in found:
        matrix = strokes.local_matrix(obj)
        for spline in obj.data.splines:
            points, _ = strokes.sampled(spline)
            if len(points) > 2:
                pixels = mapping.pixels_of_local([matrix @ Vector(point) for point in points])
                drawn.append((sign(obj), pixels.round(3).tolist()))
    return drawn


def combined(painted: np.ndarray, drawn: list, size: tuple[int, int]) -> np.ndarray:
    """Return a painted mask (H, W), row 0 at the top, with the areas of `outlines` added and taken from it.

    Args:
        painted: values from 0 to 1.
        drawn: of `outlines`.
        size: width and height of the plane's image in pixels.
    """
    added, taken = coverages(drawn, size, painted.shape)
    return np.maximum(painted, added) * (1 - taken)


def coverages(drawn: list, size: tuple[int, int], shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Return how much of each pixel the outlines that add, and those that subtract, cover: two of `shape`, 0 to 1."""
    both = []
    for wanted in (1, -1):
        whole = np.zeros(shape, np.float32)
        for _, corners in (outline for outline in drawn if outline[0] == wanted):
            np.maximum(whole, coverage(_scaled(corners, size, shape), shape), out=whole)
        both.append(whole)
    return both[0], both[1]


def _scaled(corners, size, shape):
    """Return corners in pixels of the image as distances from the left and the top, in pixels of `shape`."""
    return (np.array(corners, float) + 0.5) * np.array([shape[1] / size[0], shape[0] / size[1]])


def coverage(corners: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Return how much of each pixel a polygon covers, (H, W) from 0 to 1, exact for one that does not cross itself.

    Each piece of an edge inside one pixel adds its height times the width to its right; the sum over a row's pixels up
    to one is the area covered there.

    Args:
        corners: (n, 2), distances from the left and the top of the picture.
        shape: height and width.

    Source: Levien, "Inside the fastest font renderer in the world" (2016).
    """
    height, width = shape
    pieces = [_pieces(a, b) for a, b in zip(corners, np.roll(corners, -1, axis=0), strict=True)]
    starts, ends = (np.concatenate(side) for side in zip(*pieces, strict=True))
    limits = np.array([width, height], float)
    starts, ends = np.clip(starts, 0, limits), np.clip(ends, 0, limits)
    drop, middle = ends[:, 1] - starts[:, 1], (starts + ends) / 2
    column = np.minimum(middle[:, 0].astype(int), width)
    row = np.minimum(middle[:, 1].astype(int), height - 1)
    right = drop * (column + 1 - middle[:, 0])
    cells = np.zeros((height, width + 2))
    np.add.at(cells, (row, column), right)
    np.add.at(cells, (row, column + 1), drop - right)
    return np.minimum(np.abs(np.cumsum(cells, axis=1)[:, :width]), 1).astype(np.float32)


def _pieces(a, b):
    """Cut an edge where it crosses the borders of pixels; returns the starts and the ends of the pieces."""
    shares = [np.array([0.0, 1.0])]
    for p, q in zip(a, b, strict=True):
        if p != q:
            low, high = sorted((p, q))
            shares.append((np.arange(np.ceil(low), np.floor(high) + 1) - p) / (q - p))
    along = np.unique(np.clip(np.concatenate(shares), 0, 1))
    points = a + (b - a) * along[:, None]
    return points[:-1], points[1:]
