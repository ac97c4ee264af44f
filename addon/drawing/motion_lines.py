# SPDX-License-Identifier: GPL-3.0-or-later
"""A motion field as lines on its plane: arrows, or streaks that follow the flow and are opaque at their end.

Computed in short pieces for any mesh, between which Blender can redraw the window.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import bpy
import numpy as np

from ..errors import PlaneError
from ..plane.image import find_plane_image
from ..plane.map import PlaneMap

# Colors from slow to fast; through yellow, since a mix of blue and red is grey.
RAMP = np.array([(0.1, 0.75, 1.0), (1.0, 0.95, 0.25), (1.0, 0.3, 0.05)])
# Length of the slowest and the fastest arrow, as a share of the grid spacing.
MIN_LENGTH, MAX_LENGTH = 0.25, 0.9
# Length of streaks, also as a share of the grid spacing, and their number of segments. Two streaks per grid cell.
STREAK, PIECES = 2.2, 8
# Speed below which nothing is drawn, as a share of the maximum.
STILL = 0.02
# How many points are mapped to the plane per piece.
CHUNK = 2000


@dataclass
class Lines:
    """Line segments: (2n, 3) end points in object space, and (2n, 4) RGBA colors at them."""

    points: np.ndarray = field(default_factory=lambda: np.zeros((0, 3)))
    colors: np.ndarray = field(default_factory=lambda: np.zeros((0, 4)))


@dataclass(frozen=True)
class Grid:
    """The motion at the nodes of a grid: velocity (rows, columns, 2) in pixels per frame, y down; spacing in pixels."""

    velocity: np.ndarray
    size: tuple[int, int]
    spacing: float

    @classmethod
    def read(cls, path: Path) -> Grid:
        """Read arrows.json, the worker's answer to `arrows`.

        Raises:
            OSError, ValueError, KeyError, TypeError: the file is missing or invalid.
        """
        data = json.loads(path.read_text("utf-8"))
        width, height, spacing = data["width"], data["height"], data["spacing"]
        columns, rows = data.get("nodes") or (max(1, int(side // spacing)) for side in (width, height))
        points = np.array(data["points"], float).reshape(-1, 4)
        velocity = np.zeros((rows, columns, 2))
        column, row = (points[:, 0] * columns / width).astype(int), (points[:, 1] * rows / height).astype(int)
        velocity[row, column] = points[:, 2:]
        return cls(velocity, (width, height), spacing)

    def nodes(self) -> np.ndarray:
        """Return the (n, 2) pixels of the nodes, row by row."""
        rows, columns, _ = self.velocity.shape
        width, height = self.size
        x, y = np.meshgrid((np.arange(columns) + 0.5) * width / columns, (np.arange(rows) + 0.5) * height / rows)
        return np.stack([x.ravel(), y.ravel()], axis=1)

    def at(self, pixels: np.ndarray) -> np.ndarray:
        """Return (n, 2) velocities at (n, 2) pixels, bilinear, clamped at the outer nodes."""
        shape = np.array(self.velocity.shape[1::-1])
        place = np.clip(pixels * shape / self.size - 0.5, 0, shape - 1)
        low = np.minimum(place.astype(int), np.maximum(shape - 2, 0))
        (x, y), (fx, fy) = low.T, (place - low).T[..., None]
        right, below = np.minimum(x + 1, shape[0] - 1), np.minimum(y + 1, shape[1] - 1)
        v = self.velocity
        above = v[y, x] * (1 - fx) + v[y, right] * fx
        return above * (1 - fy) + (v[below, x] * (1 - fx) + v[below, right] * fx) * fy

    def share(self, velocity: np.ndarray) -> np.ndarray:
        """Return (n, 1) the square root of speed / maximum speed, 0 to 1; the root makes slow motion visible."""
        fastest = np.linalg.norm(self.velocity, axis=-1).max()
        return np.sqrt(np.linalg.norm(velocity, axis=-1, keepdims=True) / (fastest or 1))


def arrows_file(obj) -> Path | None:
    """Return the file with the arrows of the last solved motion; None without one."""
    motion = obj.loopcore.motion
    return arrows_of(Path(bpy.path.abspath(motion))) if motion else None


def arrows_of(motion: Path) -> Path:
    """Return the file with the arrows of a motion."""
    return motion.with_name("draft_arrows.json" if motion.stem == "draft" else "arrows.json")


def at_size(arrows: dict, size: tuple[int, int]) -> dict:
    """Return the worker's answer to `arrows`, with "spacing", for an image of `size`: points and velocities scaled."""
    across, down = size[0] / arrows["width"], size[1] / arrows["height"]
    if (across, down) == (1, 1):
        return arrows
    points = [
        [(x + 0.5) * across - 0.5, (y + 0.5) * down - 0.5, u * across, v * down] for x, y, u, v in arrows["points"]
    ]
    spacing = arrows["spacing"]
    nodes = [max(1, int(arrows[side] // spacing)) for side in ("width", "height")]
    return {"points": points, "width": size[0], "height": size[1], "spacing": spacing * across, "nodes": nodes}


def shape_of(obj) -> int:
    """Return a number that changes with the evaluated geometry and UVs of a mesh."""
    if obj.mode == "EDIT":
        obj.update_from_editmode()
    mesh = obj.evaluated_get(bpy.context.evaluated_depsgraph_get()).data
    uvs = mesh.uv_layers.active
    parts = [(mesh.vertices, "co", 3), *([(uvs.uv, "vector", 2)] if uvs else [])]
    total = len(mesh.polygons)
    for collection, name, count in parts:
        values = np.empty(count * len(collection), np.float32)
        collection.foreach_get(name, values)
        total = zlib.crc32(values, total)
    return total


def compute(obj, path: Path, style: str) -> Iterator[Lines | None]:
    """Return an iterator over None after each piece, and finally the lines of the motion in `path` on the plane `obj`.

    The iterator does not use Blender's data, which may have changed meanwhile.

    Args:
        obj: the plane; the result is empty if it shows no image.
        path: arrows.json.
        style: "ARROWS" or "STREAKS".
    """
    try:
        grid = Grid.read(path)
        mapping = PlaneMap.of(find_plane_image(obj))
    except (OSError, ValueError, KeyError, TypeError, PlaneError):
        return iter([Lines()])
    return _pieces(grid, mapping, style)


def _pieces(grid, mapping, style):
    yield None
    mapping.locals_of(np.zeros((0, 2)))  # builds the map's search tree
    yield None
    pixels, colors = (_streaks if style == "STREAKS" else _arrows)(grid, mapping.box)
    points = np.zeros((len(pixels), 3))
    yield None
    for begin in range(0, len(pixels), CHUNK):
        points[begin : begin + CHUNK] = mapping.locals_of(pixels[begin : begin + CHUNK])
        yield None
    yield Lines(points, colors)


def _moving(grid, pixels, box):
    """Return the pixels that move and lie in the part of the image that the plane shows."""
    inside = ((box[0] <= pixels) & (pixels <= box[1])).all(axis=1)
    return pixels[inside & (grid.share(grid.at(pixels))[:, 0] > np.sqrt(STILL))]


def _arrows(grid, box):
    """Return line ends in pixels and their colors: a shaft at each node, and the two sides of its head."""
    middles = _moving(grid, grid.nodes(), box)
    velocity = grid.at(middles)
    share = grid.share(velocity)
    along = velocity / np.linalg.norm(velocity, axis=1, keepdims=True)
    along = along * grid.spacing * (MIN_LENGTH + (MAX_LENGTH - MIN_LENGTH) * share)
    across = along[:, ::-1] * (-1, 1)
    tail, tip = middles - along / 2, middles + along / 2
    back = tip - 0.35 * along
    lines = np.stack([tail, tip, back + 0.22 * across, tip, back - 0.22 * across, tip], axis=1)
    return lines.reshape(-1, 2), np.repeat(_colors(share), 6, axis=0)


def _streaks(grid, box):
    """Return line ends in pixels and their colors: paths along the flow, from transparent to opaque."""
    rows, columns, _ = grid.velocity.shape
    between = grid.nodes() + (grid.size[0] / columns / 2, grid.size[1] / rows / 2)
    place = _moving(grid, np.concatenate([grid.nodes(), between]), box)
    path, shares = [place], [grid.share(grid.at(place))]
    for _ in range(PIECES):
        half = place + _step(grid, place) / 2
        place = np.clip(place + _step(grid, half), *box)
        path.append(place)
        shares.append(grid.share(grid.at(place)))
    path, share = np.stack(path, axis=1), np.stack(shares, axis=1)
    colors = _colors(share)
    colors[..., 3] *= np.linspace(0, 1, PIECES + 1)

    def pairs(values):
        return np.stack([values[:, :-1], values[:, 1:]], axis=2).reshape(-1, values.shape[-1])

    return pairs(path), pairs(colors)


def _colors(share):
    """Return (..., 4) RGBA for (..., 1) values of `Grid.share`."""
    stops = np.linspace(0, 1, len(RAMP))
    return np.concatenate([*(np.interp(share, stops, channel) for channel in RAMP.T), np.ones_like(share)], axis=-1)


def _step(grid, place):
    velocity = grid.at(place)
    speed = np.linalg.norm(velocity, axis=1, keepdims=True)
    length = grid.spacing * STREAK / PIECES * grid.share(velocity)
    return velocity / np.maximum(speed, 1e-9) * length
