# SPDX-License-Identifier: Apache-2.0
"""Openings in the banks: where a stroke crosses the edge of its region, the flow passes through instead of along it.

An opening is a position just inside the bank and the outward direction. It extends to each side by half the region's
length before it, or halfway to the next stroke that crosses in the same direction if that is more, but not beyond the
bank on that side.

Strokes are often short: an arrow in the middle of a fall represents the whole fall. So each stroke is continued from
both ends along the flow, and where that runs head-on into a bank within twice the stroke's length, the bank opens too.
In a bend it does not, since the flow turns.

Convention: positions are (x, y) in cells of the grid, cell centres at integers, x right, y down.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from loopcore.errors import HintsError
from loopcore.motion.grid import Grid, bank_normals

_STEP = 0.5  # cells between samples along a ray
_MIN_REACH = 3.0  # smallest extent of an opening to each side, cells
_MIN_FACING = 0.35  # |normal · direction|: banks within about 20 degrees of the stroke's direction stay closed
_MIN_CONTINUATION, _MAX_CONTINUATION = 12, 96  # cells that a stroke is continued
_WINDOW = 24  # cells before a dead end over which the decay of the flow is measured
_MAX_DEAD_STRENGTH = 0.4  # of the largest strength in that window: below it is a dead end
_MOST = 4000  # openings
_STUCK_STEPS, _MAX_STUCK_DISTANCE = 8, 3  # a path is stuck if so many steps cover fewer than so many cells


@dataclass(frozen=True)
class Polyline:
    """A resampled stroke in cells: positions (m, 2), unit tangents (m, 2) and length."""

    points: np.ndarray
    tangents: np.ndarray
    length: float


Opening = tuple[np.ndarray, np.ndarray]
"""Position (2,) just inside the bank, and outward unit direction (2,)."""


def open_fraction(grid: Grid, openings: Sequence[Opening]) -> np.ndarray:
    """Returns how far each bank cell is open, (rows, columns) float32: 0 closed, 1 open.

    Raises:
        HintsError: more than 4000 openings, which take time by their square.
    """
    if len(openings) > _MOST:
        raise HintsError(
            f"the strokes cross the mask's edge, or run into it, in {len(openings)} places, but at most {_MOST} can be "
            "opened: draw fewer strokes across it"
        )
    fraction = np.zeros(grid.shape, np.float32)
    if not openings:
        return fraction
    positions = np.array([position for position, _ in openings])
    directions = np.array([direction for _, direction in openings])
    rows, columns = np.nonzero(grid.edges())
    cells = np.stack([columns, rows], axis=1).astype(np.float64)
    normals = _normals(grid, rows, columns)
    for index in range(len(openings)):
        own = _opened_by(grid, index, positions, directions, cells, normals)
        fraction[rows, columns] = np.maximum(fraction[rows, columns], own)
    return fraction


def find_openings(grid: Grid, strokes: Sequence[Polyline]) -> list[Opening]:
    """Finds where strokes cross a bank as drawn."""
    return [opening for stroke in strokes for opening in _crossings(grid, stroke)]


def _crossings(grid: Grid, stroke: Polyline) -> list[Opening]:
    labels = grid.label_at(stroke.points)
    before, after = labels[:-1], labels[1:]
    # a step out of the picture needs no opening: the frame is open
    out = (before > 0) & (after != before) & (after >= 0)
    into = (after > 0) & (after != before) & (before >= 0)
    exits = [(stroke.points[i], stroke.tangents[i]) for i in np.flatnonzero(out)]
    return exits + [(stroke.points[i + 1], -stroke.tangents[i + 1]) for i in np.flatnonzero(into)]


def find_dead_ends(grid: Grid, strokes: Sequence[Polyline], flow: np.ndarray) -> list[Opening]:
    """Finds where strokes, continued along the flow they cause between closed banks, run head-on into one.

    Args:
        grid: the working grid.
        strokes: as drawn.
        flow: (2, rows, columns), of length 1 on strokes, decaying towards a dead end.
    """
    if not strokes:
        return []
    position = np.array([end for stroke in strokes for end in (stroke.points[0], stroke.points[-1])])
    sign = np.tile([-1.0, 1.0], len(strokes))[:, None]
    lengths = np.clip([2 * stroke.length for stroke in strokes], _MIN_CONTINUATION, _MAX_CONTINUATION)
    max_steps = np.repeat(lengths, 2)
    region = grid.label_at(position)
    paths, strengths = [position], [_strength(flow, position)]
    running = region > 0
    exited = np.zeros(len(position), bool)  # left the region
    for step in range(1, _MAX_CONTINUATION + 1):
        running &= step <= max_steps
        if not running.any():
            break
        ahead = position + sign * _sample_flow(flow, position) / np.maximum(strengths[-1], 1e-9)[:, None]
        position = np.where(running[:, None], ahead, position)
        label = grid.label_at(position)
        exited |= running & (label != region) & (label >= 0)
        running &= label == region
        paths.append(position)
        strengths.append(np.where(running | exited, _strength(flow, position), strengths[-1]))
    path, strength = np.array(paths), np.array(strengths)
    ended = np.flatnonzero((region > 0) & (exited | _stuck(path)))
    candidates = (_dead_end(grid, path[:, i], strength[:, i]) for i in ended)
    return [opening for opening in candidates if opening is not None]


def _last_steps(path: np.ndarray) -> np.ndarray:
    """Returns the last step at which each path (steps, n, 2) moved, (n,); 0 where it never did."""
    moved = (np.diff(path, axis=0) != 0).any(axis=2)
    return np.where(moved, np.arange(1, len(path))[:, None], 0).max(axis=0, initial=0)


def _stuck(path: np.ndarray) -> np.ndarray:
    """Returns whether each path (steps, n, 2) hardly moved in its last steps, (n,) bool."""
    last, index = _last_steps(path), np.arange(path.shape[1])
    covered = path[last, index] - path[np.maximum(last - _STUCK_STEPS, 0), index]
    return (last >= _STUCK_STEPS) & (np.hypot(covered[:, 0], covered[:, 1]) < _MAX_STUCK_DISTANCE)


def _dead_end(grid: Grid, path: np.ndarray, strength: np.ndarray) -> Opening | None:
    """Returns the opening where a continued stroke, (steps, 2) with the flow's strength (steps,), runs into a bank."""
    last = int(_last_steps(path[:, None])[0])
    if not last:
        return None
    first = max(0, last - _WINDOW)
    recent = strength[first : last + 1]
    if recent.min() > _MAX_DEAD_STRENGTH * recent.max():
        return None
    # the heading is taken before the bank deflects the flow
    alive = first + int(np.flatnonzero(recent >= 0.5 * recent.max())[-1])
    heading = path[alive] - path[max(0, alive - 4)] if alive else path[1] - path[0]
    heading = heading / max(float(np.hypot(*heading)), 1e-9)
    to_bank = _distance_to_bank(grid, path[alive], heading)
    end = path[alive] + (to_bank - _STEP) * heading
    if to_bank > _WINDOW or grid.label_at(end + 2 * _STEP * heading) < 0:
        return None
    return end, heading


def _sample_flow(flow: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Returns the flow of the nearest cells, (n, 2) float64."""
    rows, columns = flow.shape[1:]
    x = np.clip(np.floor(positions[:, 0] + 0.5).astype(np.int64), 0, columns - 1)
    y = np.clip(np.floor(positions[:, 1] + 0.5).astype(np.int64), 0, rows - 1)
    return flow[:, y, x].T.astype(np.float64)


def _strength(flow: np.ndarray, positions: np.ndarray) -> np.ndarray:
    vectors = _sample_flow(flow, positions)
    return np.hypot(vectors[:, 0], vectors[:, 1])


def _opened_by(
    grid: Grid, index: int, positions: np.ndarray, directions: np.ndarray, cells: np.ndarray, normals: np.ndarray
) -> np.ndarray:
    """Returns how far opening ``index`` opens each bank cell, (k,) 0..1, for cells (k, 2) with unit normals (k, 2)."""
    position, direction = positions[index], directions[index]
    side = np.array([-direction[1], direction[0]])
    start = position - direction  # a cell inside, clear of a ragged bank
    run = _distance_to_bank(grid, start, -direction)
    offset = positions - position
    lateral, forward = offset @ side, offset @ direction
    parallel = np.abs(directions @ direction) > 0.5
    neighbours = parallel & (np.abs(forward) < np.abs(lateral)) & (np.abs(lateral) > 1)
    reach = []
    for sign in (-1.0, 1.0):
        gaps = (sign * lateral)[neighbours & (sign * lateral > 0)]
        wanted = max(_MIN_REACH, 0.5 * run, 0.5 * float(gaps.min()) + 1 if len(gaps) else 0.0)
        reach.append(min(_distance_to_bank(grid, start, sign * side) + 1, wanted))
    offset = cells - position
    lateral, forward = offset @ side, offset @ direction
    beyond = np.where(lateral < 0, -lateral - reach[0], lateral - reach[1])
    width = 1 - np.clip(beyond / 2, 0, 1)  # fades over two cells
    depth = 1 - np.clip((np.abs(forward) - _MIN_REACH - 0.5 * np.abs(lateral)) / 2, 0, 1)
    facing = np.clip((np.abs(normals @ direction) - _MIN_FACING) / _MIN_FACING, 0, 1)
    return width * depth * facing


def _distance_to_bank(grid: Grid, start: np.ndarray, direction: np.ndarray) -> float:
    """Returns the cells from ``start`` along a unit direction to the end of the region, or to the picture's frame."""
    own, most = grid.label_at(start), 2 * max(grid.shape)
    for first, after in ((0, 64), (64, most)):  # most banks are near
        steps = np.arange(first + 1, min(after, most) + 1)[:, None] * _STEP
        ended = np.flatnonzero(grid.label_at(start + steps * direction) != own)
        if len(ended):
            return float(_STEP * (first + ended[0] + 1))
    return float(max(grid.shape))


def _normals(grid: Grid, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Returns unit normals (k, 2), of either sign, of bank cells."""
    xx, xy, yy = bank_normals(grid)[:, rows, columns]
    angle = 0.5 * np.arctan2(2 * xy, xx - yy)
    return np.stack([np.cos(angle), np.sin(angle)], axis=1)
