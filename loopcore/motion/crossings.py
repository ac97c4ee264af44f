# SPDX-License-Identifier: Apache-2.0
"""Where strokes cross the bank of their region: there the flow goes through instead of along.

A crossing is a position just inside the bank and the direction out. How wide it opens the bank follows from the
drawing: out to the banks beside the stroke, but no further than half the length of water in front of it, nor less than
halfway to the next stroke that crosses the same way.

Strokes are often short: an arrow in the middle of a fall means the whole fall. So each stroke is carried on from both
its ends with the flow, and where that runs dead against a bank within twice the length of the stroke, it crosses there
too. In a bend it does not: the flow turns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from loopcore.motion.grid import Grid, bank_normals

_STEP = 0.5  # cells between the places looked at along a line
_LEAST = 3.0  # cells to each side that any crossing opens
_ALONG = 0.35  # banks within some 20 degrees of the stroke's direction are beside it, and stay closed
_CARRY = (12, 96)  # cells: the least and the most that a stroke is carried on
_WINDOW = 24  # cells before a dead end over which the flow is seen to die
_DEAD = 0.4  # of the flow's strength there: less than this has died


@dataclass(frozen=True)
class Line:
    """A stroke in cells: (m, 2) positions, unit tangents (m, 2) and its length."""

    points: np.ndarray
    tangents: np.ndarray
    length: float


Crossing = tuple[np.ndarray, np.ndarray]


def openness(grid: Grid, crossings: Sequence[Crossing]) -> np.ndarray:
    """How far each bank cell is opened by the crossings near it: (rows, columns) float32, 0 closed, 1 open."""
    opened = np.zeros(grid.shape, np.float32)
    if not crossings:
        return opened
    at = np.array([where for where, _ in crossings])
    toward = np.array([along for _, along in crossings])
    rows, columns = np.nonzero(grid.edges())
    cells = np.stack([columns, rows], axis=1).astype(np.float64)
    normals = _normals(grid, rows, columns)
    for i in range(len(at)):
        share = _opened_by(grid, i, at, toward, cells, normals)
        opened[rows, columns] = np.maximum(opened[rows, columns], share)
    return opened


def find_crossings(grid: Grid, lines: Sequence[Line]) -> list[Crossing]:
    """Where strokes cross a bank as they are drawn."""
    return [crossing for line in lines for crossing in _crossings(grid, line)]


def _crossings(grid: Grid, line: Line) -> list[Crossing]:
    label = grid.label_at(line.points)
    # a step out of the picture is no crossing: its border is open anyway
    out = (label[:-1] > 0) & (label[1:] != label[:-1]) & (label[1:] >= 0)
    into = (label[1:] > 0) & (label[1:] != label[:-1]) & (label[:-1] >= 0)
    found = [(line.points[i], line.tangents[i]) for i in np.flatnonzero(out)]
    return found + [(line.points[i + 1], -line.tangents[i + 1]) for i in np.flatnonzero(into)]


def find_dead_ends(grid: Grid, lines: Sequence[Line], flow: np.ndarray) -> list[Crossing]:
    """Where strokes, carried on with the ``flow`` that they cause between closed banks, run dead against one.

    flow: (2, rows, columns), 1 long on strokes; it dies towards a dead end.
    """
    if not lines:
        return []
    position = np.array([p for line in lines for p in (line.points[0], line.points[-1])])
    sign = np.tile([-1.0, 1.0], len(lines))[:, None]
    reach = np.repeat(np.clip([2 * line.length for line in lines], *_CARRY), 2)
    home = grid.label_at(position)
    paths, strengths = [position], [_strength(flow, position)]
    running = home > 0
    left = np.zeros(len(position), bool)  # ran out of the region
    for step in range(1, _CARRY[1] + 1):
        running &= step <= reach
        if not running.any():
            break
        ahead = position + sign * _sampled(flow, position) / np.maximum(strengths[-1], 1e-9)[:, None]
        position = np.where(running[:, None], ahead, position)
        label = grid.label_at(position)
        left |= running & (label != home) & (label >= 0)
        running &= label == home
        paths.append(position)
        strengths.append(np.where(running | left, _strength(flow, position), strengths[-1]))
    path, strength = np.array(paths), np.array(strengths)
    return [c for i in np.flatnonzero(home > 0) if (c := _dead_end(grid, path[:, i], strength[:, i], left[i]))]


def _dead_end(grid: Grid, path: np.ndarray, strength: np.ndarray, left: bool) -> Crossing | None:
    moved = np.flatnonzero(np.abs(np.diff(path, axis=0)).sum(axis=1) > 0)
    if not len(moved):
        return None
    last = int(moved[-1]) + 1
    first = max(0, last - _WINDOW)
    stuck = last >= 8 and float(np.hypot(*(path[last] - path[last - 8]))) < 3
    recent = strength[first : last + 1]
    if not (left or stuck) or recent.min() > _DEAD * recent.max():
        return None
    # before the flow is turned aside by the bank, it shows where it wants to go
    alive = first + int(np.flatnonzero(recent >= 0.5 * recent.max())[-1])
    heading = path[alive] - path[max(0, alive - 4)] if alive else path[1] - path[0]
    heading = heading / max(float(np.hypot(*heading)), 1e-9)
    to_bank = _march(grid, path[alive], heading)
    end = path[alive] + (to_bank - _STEP) * heading
    if to_bank > _WINDOW or grid.label_at(end + 2 * _STEP * heading) < 0:
        return None
    return end, heading


def _sampled(flow: np.ndarray, at: np.ndarray) -> np.ndarray:
    rows, columns = flow.shape[1:]
    x = np.clip(np.floor(at[:, 0] + 0.5).astype(np.int64), 0, columns - 1)
    y = np.clip(np.floor(at[:, 1] + 0.5).astype(np.int64), 0, rows - 1)
    return flow[:, y, x].T.astype(np.float64)


def _strength(flow: np.ndarray, at: np.ndarray) -> np.ndarray:
    vectors = _sampled(flow, at)
    return np.hypot(vectors[:, 0], vectors[:, 1])


def _opened_by(
    grid: Grid, i: int, at: np.ndarray, toward: np.ndarray, cells: np.ndarray, normals: np.ndarray
) -> np.ndarray:
    """What crossing ``i`` opens of each bank cell, 0..1."""
    along = toward[i]
    side = np.array([-along[1], along[0]])
    start = at[i] - along  # a cell inside, clear of a ragged bank
    run = _march(grid, start, -along)
    offset = at - at[i]
    beside, before = offset @ side, offset @ along
    neighbours = (np.abs(toward @ along) > 0.5) & (np.abs(before) < np.abs(beside)) & (np.abs(beside) > 1)
    reach = []
    for sign in (-1.0, 1.0):
        gaps = (sign * beside)[neighbours & (sign * beside > 0)]
        wanted = max(_LEAST, 0.5 * run, 0.5 * float(gaps.min()) + 1 if len(gaps) else 0.0)
        reach.append(min(_march(grid, start, sign * side) + 1, wanted))
    offset = cells - at[i]
    lateral, forward = offset @ side, offset @ along
    past = np.where(lateral < 0, -lateral - reach[0], lateral - reach[1])
    width = 1 - np.clip(past / 2, 0, 1)  # fading over two cells
    depth = 1 - np.clip((np.abs(forward) - _LEAST - 0.5 * np.abs(lateral)) / 2, 0, 1)
    facing = np.clip((np.abs(normals @ along) - _ALONG) / _ALONG, 0, 1)
    return width * depth * facing


def _march(grid: Grid, start: np.ndarray, direction: np.ndarray) -> float:
    """Cells from ``start`` along ``direction`` (unit) until its region ends; the picture's border ends it too."""
    steps = np.arange(1, 2 * max(grid.shape) + 1)[:, None] * _STEP
    label = grid.label_at(start + steps * direction)
    ended = np.flatnonzero(label != grid.label_at(start))
    return float(_STEP * (ended[0] + 1)) if len(ended) else float(max(grid.shape))


def _normals(grid: Grid, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Unit normals (k, 2), of either sign, of bank cells."""
    xx, xy, yy = bank_normals(grid)[:, rows, columns]
    angle = 0.5 * np.arctan2(2 * xy, xx - yy)
    return np.stack([np.cos(angle), np.sin(angle)], axis=1)
