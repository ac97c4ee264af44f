# SPDX-License-Identifier: GPL-3.0-or-later
"""The line that is being dragged on an image: its pixels, and how it is drawn until it becomes a stroke."""

from __future__ import annotations

import itertools

import bpy
import numpy as np

from ..plane.pointing import Pointer
from .marks import draw_lines, draw_text, speed_text
from .overlay import head_of

STEP = 3.0  # pixels of the region between points of the line
TOLERANCE = 1.5  # pixels of the region by which a stroke may differ from the line
MIN_PRESSURE = 0.1
COLOR, ERASER = (0.1, 0.8, 1.0, 1.0), (1.0, 0.25, 0.2, 1.0)


class Line:
    """A line that is being dragged, drawn in the region until `remove`.

    Attributes:
        pixels: of the image.
        seen: the same points in the region.
        pressures: of the pen at each point; 1 for a mouse.
        speed: pixels of the image per frame.
        touched: names of the objects that an eraser has touched.
        color: of the line.
        closed: whether it is drawn as the outline of an area, through `tail` if that is set.
        tail: where the pointer is in the region, if it is not yet a point of the line.
    """

    def __init__(self, context, pointer: Pointer):
        self.pointer, self.speed, self.erases = pointer, 0.0, False
        self.pixels, self.seen, self.pressures = [], [], []
        self.touched: set[str] = set()
        self.color, self.closed, self.tail = COLOR, False, None
        self._region = context.region.as_pointer()
        self._handle = bpy.types.SpaceView3D.draw_handler_add(self._draw, (), "WINDOW", "POST_PIXEL")

    def remove(self):
        if self._handle is not None:
            bpy.types.SpaceView3D.draw_handler_remove(self._handle, "WINDOW")
            self._handle = None

    def add(self, context, event):
        """Add the pointer's position, unless it is beside a curved plane or nearer than STEP to the last."""
        coord = (event.mouse_region_x, event.mouse_region_y)
        if self.seen and np.hypot(*np.subtract(coord, self.seen[-1])) < STEP:
            return
        pixel = self.pointer.pixel(context.region, context.region_data, coord)
        if pixel is not None:
            self.pixels.append(pixel)
            self.seen.append(coord)
            self.pressures.append(max(event.pressure, MIN_PRESSURE) if event.is_tablet else 1.0)

    def drop(self):
        """Remove the last point."""
        for kept in (self.pixels, self.seen, self.pressures):
            kept.pop()

    def distance(self, coord) -> float:
        """Return the distance of a position from the first point, in pixels of the region."""
        return float(np.hypot(*np.subtract(coord, self.seen[0])))

    def length(self, since: int = 0) -> float:
        """Return the greatest distance from the first point, or from that numbered `since`, in pixels of the region."""
        points = np.array(self.seen[since:]).reshape(-1, 2)
        return float(np.hypot(*(points - points[:1]).T).max(initial=0))

    def simplified(self) -> tuple[list, list]:
        """Return the pixels and pressures of the points that are needed within TOLERANCE."""
        kept = needed(np.array(self.seen, float), TOLERANCE)
        return [self.pixels[i] for i in kept], [self.pressures[i] for i in kept]

    def _draw(self):
        seen = [*self.seen, self.tail] if self.tail else self.seen
        if bpy.context.region.as_pointer() != self._region or len(seen) < 2:
            return
        scale = bpy.context.preferences.system.ui_scale
        color = ERASER if self.erases else self.color
        lines = list(itertools.pairwise([*seen, seen[0]] if self.closed else seen))
        if not self.erases and not self.closed:
            head = head_of(self.seen, 12 * scale)
            lines += [(a[:], b[:]) for a, b in itertools.pairwise([*head, head[0]])] if head else []
        draw_lines(lines, color, bpy.context.region, scale)
        if not self.erases and not self.closed:
            draw_text(speed_text(self.speed), self.seen, scale)


def needed(points: np.ndarray, tolerance: float) -> list[int]:
    """Return the indices of the points that keep a polyline (n, 2) within `tolerance`.

    Source: Douglas, Peucker, "Algorithms for the reduction of the number of points required to represent a digitized
    line" (Cartographica, 1973).
    """
    kept, stack = {0, len(points) - 1}, [(0, len(points) - 1)]
    while stack:
        first, last = stack.pop()
        if last - first < 2:
            continue
        inner, chord = points[first + 1 : last] - points[first], points[last] - points[first]
        share = np.clip(inner @ chord / max(chord @ chord, 1e-12), 0, 1)
        away = np.hypot(*(inner - share[:, None] * chord).T)
        furthest = int(away.argmax())
        if away[furthest] > tolerance:
            middle = first + 1 + furthest
            kept.add(middle)
            stack += [(first, middle), (middle, last)]
    return sorted(kept)
