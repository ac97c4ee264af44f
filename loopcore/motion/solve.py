# SPDX-License-Identifier: Apache-2.0
"""Hints to motion: the smooth, nearly divergence-free field that follows what was drawn.

Three least-squares problems on a working grid (:mod:`loopcore.motion.grid`), solved by multigrid:

1. direction: a unit vector field d, smooth, along the strokes, tangent to the banks. Its length decays away from
   strokes and in bends, as a membrane's must; only its direction is kept.
2. speed: a scalar s, smooth, free at the banks, equal to the strokes' speeds on them and 0 at anchors: along a river
   with one stroke it stays that stroke's speed. Together they guide the third.
3. motion: the field v whose gradient is nearest to that of s d/|d| (as in Perez et al., "Poisson Image Editing", 2003),
   with little divergence, tangent to the banks, equal to the strokes where they are and 0 at anchors. Where strokes
   disagree (|d| falls off within a few cells) there is no guide and v goes smoothly from one to the other.

A stroke that crosses the bank opens it there; the picture's border is open everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from loopcore.errors import MotionError
from loopcore.motion import masks
from loopcore.motion.crossings import Line, find_crossings, find_dead_ends, openness
from loopcore.motion.field import MotionField
from loopcore.motion.grid import Grid, bank_normals, build_grid, label_regions, shrink, to_pixels
from loopcore.motion.multigrid import Problem, Solver, face_flux_adjoint
from loopcore.motion.strokes import Hints, Stroke

WORKING_SIZE = 384

# Weights against a smoothness of 1 a face.
_STROKE = 40.0  # a cell that a stroke runs through
_ANCHOR = 400.0
_BANK = 25.0
_DIVERGENCE = 2.0

_SPACING = 0.25  # cells between samples along a stroke
_TANGENT = 1.5  # cells each way over which a stroke's direction is taken, rounding its corners
_ANCHOR_RADIUS = 1.5  # cells
_CONFLICT = 4.0  # cells: directions that turn faster than this are strokes in conflict, not a bend
_INFLUENCE = 0.08  # of the longer side: how far a stroke overrules a prediction
_TRUST = 0.2  # weight of a prediction that is sure of itself
_CARRY = 0.01  # weight of the guide itself: ends and narrows are felt some 1 / sqrt(_CARRY) cells away


@dataclass(frozen=True)
class _Samples:
    """Strokes resampled: positions in cells, unit tangents (m, 2), speeds (m,), which stroke, and the region there."""

    points: np.ndarray
    tangents: np.ndarray
    speeds: np.ndarray
    stroke: np.ndarray
    labels: np.ndarray

    def lines(self) -> list[Line]:
        """The strokes one by one."""
        found = []
        for i in range(int(self.stroke.max(initial=-1)) + 1):
            own = self.stroke == i
            points = self.points[own]
            found.append(Line(points, self.tangents[own], float(np.hypot(*np.diff(points, axis=0).T).sum())))
        return found


def solve_motion(
    height: int,
    width: int,
    hints: Hints,
    *,
    mask: np.ndarray | None = None,
    prediction: MotionField | None = None,
    working_size: int = WORKING_SIZE,
) -> MotionField:
    """The motion field that follows ``hints`` over a plate of ``height`` x ``width``.

    mask: (H, W) in 0..1, instead of the hints' own; with neither, the prediction's; with none, everything moves.
    prediction: a field followed where nothing is drawn, by its confidence; strokes overrule it around them.
    working_size: cells on the longer side of the grid that is solved on.

    Regions of the mask that no stroke touches and no prediction covers stay still. The velocity is smooth and continues
    beyond the mask's edge, so that the mask alone makes the fade. Confidence is 1 where strokes rule, else the
    prediction's.

    Convention: (vx, vy) in pixels per frame, x right, y down, where content goes.

    Raises:
        MotionError: nothing to follow, a mask that is empty or of another size, no stroke touching the mask.
    """
    if working_size < 8:
        raise MotionError(f"working_size must be 8 cells or more, not {working_size}")
    hints = hints.fitted(height, width)
    mask = _chosen_mask(height, width, hints, mask, prediction)
    if not hints.strokes and prediction is None:
        raise MotionError(
            "nothing says how things move: draw at least one stroke along the flow (in the hints), or give a motion "
            "field"
        )
    spacing = max(1.0, max(height, width) / working_size) * _SPACING
    along = [_resampled(stroke, spacing) for stroke in hints.strokes]
    grid = build_grid(mask, working_size, np.concatenate([p for p, _ in along]) if along else np.zeros((0, 2)))
    samples = _samples(grid, along)
    if hints.strokes and not (samples.labels > 0).any() and prediction is None:
        x, y = hints.strokes[0].points[0]
        raise MotionError(
            f"no stroke touches the mask (the first starts at {x:.0f}, {y:.0f}): nothing would move. "
            "Draw the strokes over the masked area, or the mask under the strokes"
        )
    velocity, known, confidence = _solve(grid, samples, hints, prediction)
    pixels = to_pixels(grid, velocity, known)
    return MotionField(pixels, mask, _confidence_pixels(grid, confidence))


def _chosen_mask(
    height: int, width: int, hints: Hints, mask: np.ndarray | None, prediction: MotionField | None
) -> np.ndarray:
    if mask is None:
        mask = hints.mask
    if mask is None and prediction is not None:
        mask = masks.resize_mask(prediction.mask, height, width)
    if mask is None:
        return np.ones((height, width), np.float32)
    mask = masks.as_mask(mask)
    if mask.shape != (height, width):
        raise MotionError(
            f"the mask is {mask.shape[1]}x{mask.shape[0]}, but the plate is {width}x{height}: read it with read_mask"
        )
    if not mask.any():
        raise MotionError("the mask is empty: nothing would move. Draw it over what moves")
    return mask


def _resampled(stroke: Stroke, spacing: float) -> tuple[np.ndarray, np.ndarray]:
    """Points every ``spacing`` pixels along a stroke, (m, 2), and the speeds there, (m,)."""
    steps = np.hypot(*np.diff(stroke.points, axis=0).T)
    distance = np.concatenate([[0.0], np.cumsum(steps)])
    count = max(3, int(np.ceil(distance[-1] / spacing)) + 1)
    at = np.linspace(0.0, distance[-1], count)
    points = np.stack([np.interp(at, distance, axis) for axis in stroke.points.T], axis=1)
    return points, np.interp(at, distance, stroke.speeds)


def _samples(grid: Grid, along: list[tuple[np.ndarray, np.ndarray]]) -> _Samples:
    points, tangents = [], []
    for pixels, _ in along:
        cells = grid.to_cells(pixels)
        points.append(cells)
        tangents.append(_tangents(cells))
    if not points:
        nothing = np.zeros((0, 2))
        return _Samples(nothing, nothing, np.zeros(0), np.zeros(0, np.int64), np.zeros(0, np.int32))
    joined = np.concatenate(points)
    stroke = np.repeat(np.arange(len(points)), [len(p) for p in points])
    speeds = np.concatenate([s for _, s in along])
    return _Samples(joined, np.concatenate(tangents), speeds, stroke, grid.label_at(joined))


def _tangents(cells: np.ndarray) -> np.ndarray:
    reach = min(len(cells) - 1, max(1, round(_TANGENT / _SPACING)))
    index = np.arange(len(cells))
    ahead, behind = np.minimum(index + reach, len(cells) - 1), np.maximum(index - reach, 0)
    chord = cells[ahead] - cells[behind]
    length = np.hypot(chord[:, 0], chord[:, 1])
    # a stroke that turns back on itself within the reach: the step itself
    step = cells[np.minimum(index + 1, len(cells) - 1)] - cells[np.maximum(index - 1, 0)]
    chord = np.where(length[:, None] > 1e-6, chord, step)
    length = np.hypot(chord[:, 0], chord[:, 1])
    return chord / np.maximum(length, 1e-12)[:, None]


# the three problems


@dataclass(frozen=True)
class _Terms:
    """What the three problems share, all (rows, columns) or as :class:`Problem` has them."""

    face_x: np.ndarray
    face_y: np.ndarray
    corner: np.ndarray
    banks: np.ndarray
    strokes: np.ndarray  # weight
    direction: np.ndarray  # (2, ...)
    speed: np.ndarray
    anchors: np.ndarray  # weight


def _solve(
    grid: Grid, samples: _Samples, hints: Hints, prediction: MotionField | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Velocity (2, rows, columns), the cells it is known in, and its confidence."""
    strokes, direction, speed = _splat_strokes(grid, samples)
    forecast, sure = _forecast(grid, prediction)
    known = _reached(grid, (strokes > 0) | (sure > 0))
    face_x, face_y = grid.faces()
    face_x *= known[:, 1:]
    face_y *= known[1:]
    corner = _DIVERGENCE * face_x[1:] * face_x[:-1] * face_y[:, 1:] * face_y[:, :-1]
    banks = bank_normals(grid) * (_BANK * known)
    terms = _Terms(face_x, face_y, corner, banks, strokes, direction, speed, _anchors(grid, hints) * known)
    terms, toward = _opened(grid, terms, samples)
    drawn, agree_x, agree_y = _drawn(terms, toward)
    rule = _rule(terms, sure, max(grid.shape) * _INFLUENCE)
    share = (1 - rule) * sure
    guide = np.divide(rule * drawn + share * forecast, rule + share, out=np.zeros_like(drawn), where=rule + share > 0)
    trust_x = _across(rule) * agree_x + _across(share)
    trust_y = _down(rule) * agree_y + _down(share)
    agree = _worst(agree_x, agree_y)
    velocity = _motion(terms, guide, (trust_x, trust_y), _TRUST * share + _CARRY * rule * agree * agree)
    return velocity, known, np.maximum(rule, sure) * known


def _across(values: np.ndarray) -> np.ndarray:
    return 0.5 * (values[:, 1:] + values[:, :-1])


def _down(values: np.ndarray) -> np.ndarray:
    return 0.5 * (values[1:] + values[:-1])


def _worst(face_x: np.ndarray, face_y: np.ndarray) -> np.ndarray:
    """The least of the values on each cell's four faces, (rows, columns)."""
    worst = np.ones((face_x.shape[0], face_y.shape[1]), np.float32)
    for cells, values in ((worst[:, 1:], face_x), (worst[:, :-1], face_x), (worst[1:], face_y), (worst[:-1], face_y)):
        np.minimum(cells, values, out=cells)
    return worst


def _opened(grid: Grid, terms: _Terms, samples: _Samples) -> tuple[_Terms, np.ndarray]:
    """Problem 1, and the banks opened where strokes go through them."""
    lines = samples.lines()
    crossings = find_crossings(grid, lines)
    closed = terms.banks
    terms = replace(terms, banks=closed * (1 - openness(grid, crossings)))
    toward = _direction(terms, None, 5e-3)
    if ends := find_dead_ends(grid, lines, toward):
        terms = replace(terms, banks=closed * (1 - openness(grid, crossings + ends)))
    return terms, _direction(terms, toward, 1e-3)


def _direction(terms: _Terms, start: np.ndarray | None, tolerance: float) -> np.ndarray:
    block = terms.banks.copy()
    block[0] += terms.strokes
    block[2] += terms.strokes
    solver = Solver(Problem(terms.face_x, terms.face_y, block, terms.corner))
    return solver.solve(terms.strokes * terms.direction, start, tolerance=tolerance)


def _drawn(terms: _Terms, toward: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Problem 2: what the strokes alone say, (2, rows, columns), and how far they agree across faces, 0..1."""
    held = Problem(terms.face_x, terms.face_y, terms.strokes + terms.anchors)
    speed = Solver(held).solve((terms.strokes * terms.speed)[None])[0]
    length = np.sqrt((toward * toward).sum(axis=0))
    unit = np.divide(toward, length, out=np.zeros_like(toward), where=length > 1e-6)
    agree = []
    for a, b in ((toward[..., 1:], toward[..., :-1]), (toward[:, 1:], toward[:, :-1])):
        mean, turn = 0.25 * ((a + b) ** 2).sum(axis=0), ((a - b) ** 2).sum(axis=0)
        bottom = mean + _CONFLICT**2 * turn
        agree.append(np.divide(mean, bottom, out=np.zeros_like(mean), where=bottom > 0))
    return np.maximum(speed, 0) * unit, agree[0], agree[1]


def _rule(terms: _Terms, sure: np.ndarray, reach: float) -> np.ndarray:
    """How far strokes overrule the prediction, 0..1: fading over ``reach`` cells where the prediction is sure."""
    if not sure.any():
        return (_connected(terms, terms.strokes > 0)).astype(np.float32)
    if not terms.strokes.any():
        return np.zeros_like(terms.strokes)
    fading = Problem(terms.face_x, terms.face_y, terms.strokes + sure / np.float32(reach * reach))
    return np.clip(Solver(fading).solve(terms.strokes[None])[0], 0, 1)


def _motion(
    terms: _Terms,
    guide: np.ndarray,
    trust: tuple[np.ndarray, np.ndarray],
    follow: np.ndarray,
) -> np.ndarray:
    """Problem 3: the velocity, (2, rows, columns)."""
    follow = follow * (terms.anchors == 0)
    held = terms.strokes + terms.anchors + follow
    block = terms.banks.copy()
    block[0] += held
    block[2] += held
    slope_x = terms.face_x * trust[0] * (guide[..., 1:] - guide[..., :-1])
    slope_y = terms.face_y * trust[1] * (guide[:, 1:] - guide[:, :-1])
    b = face_flux_adjoint(slope_x, slope_y)
    b += terms.strokes * terms.speed * terms.direction + follow * guide
    return Solver(Problem(terms.face_x, terms.face_y, block, terms.corner)).solve(b, guide, tolerance=5e-4)


def _forecast(grid: Grid, prediction: MotionField | None) -> tuple[np.ndarray, np.ndarray]:
    """The prediction in cells: velocity (2, rows, columns) in the plate's pixels and confidence."""
    rows, columns = grid.shape
    if prediction is None:
        return np.zeros((2, rows, columns), np.float32), np.zeros((rows, columns), np.float32)
    height, width = grid.pixels.shape
    tall, wide = prediction.mask.shape
    if not masks.same_aspect((wide, tall), (width, height)):
        raise MotionError(f"the prediction is {wide}x{tall}, but the plate is {width}x{height}: another aspect")
    scale = (width / wide, height / tall)
    # what the prediction calls still it is not asked about
    sure = prediction.confidence * (prediction.mask > 0)
    weight = shrink(sure, rows, columns)
    velocity = np.stack([shrink(prediction.velocity[..., i] * sure, rows, columns) * scale[i] for i in (0, 1)])
    velocity = np.divide(velocity, weight, out=np.zeros_like(velocity), where=weight > 1e-6)
    return velocity, weight * (grid.labels > 0)


def _anchors(grid: Grid, hints: Hints) -> np.ndarray:
    """Weight of the anchors on each cell."""
    rows, columns = grid.shape
    weight = np.zeros((rows, columns), np.float32)
    for anchor in hints.anchors:
        x, y = grid.to_cells(np.array([anchor.x, anchor.y]))
        far = np.hypot(np.arange(columns) - x, (np.arange(rows) - y)[:, None])
        weight = np.maximum(weight, (_ANCHOR * np.clip(_ANCHOR_RADIUS + 0.5 - far, 0, 1)).astype(np.float32))
    return weight


def _reached(grid: Grid, seeds: np.ndarray) -> np.ndarray:
    """Cells joined to a seed through faces that are no wall, (rows, columns) bool."""
    face_x, face_y = grid.faces()
    return _flooded(grid.labels > 0, face_x, face_y, seeds)


def _connected(terms: _Terms, seeds: np.ndarray) -> np.ndarray:
    return _flooded(np.ones(seeds.shape, bool), terms.face_x, terms.face_y, seeds)


def _flooded(cells: np.ndarray, face_x: np.ndarray, face_y: np.ndarray, seeds: np.ndarray) -> np.ndarray:
    rows, columns = cells.shape
    # cells and the faces between them as one picture, whose regions are what is joined
    woven = np.zeros((2 * rows - 1, 2 * columns - 1), bool)
    woven[::2, ::2] = cells
    woven[::2, 1::2] = face_x > 0
    woven[1::2, ::2] = face_y > 0
    labels = label_regions(woven)[0][::2, ::2]
    hit = np.zeros(int(labels.max(initial=0)) + 1, bool)
    hit[labels[seeds & cells]] = True
    return hit[labels] & cells


def _confidence_pixels(grid: Grid, confidence: np.ndarray) -> np.ndarray:
    height, width = grid.pixels.shape
    if confidence.shape == (height, width):
        return confidence
    return masks.resize_mask(confidence.astype(np.float32), height, width)


def _splat_strokes(grid: Grid, samples: _Samples) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Strokes as cell data: weight (rows, columns), mean direction (2, ...) and mean speed, by bilinear deposits."""
    rows, columns = grid.shape
    inside = samples.labels > 0
    points, tangents = samples.points[inside], samples.tangents[inside]
    corner = np.floor(points).astype(np.int64)
    part = points - corner
    sums = np.zeros((4, rows * columns))
    for dx, dy in ((0, 0), (1, 0), (0, 1), (1, 1)):
        x, y = corner[:, 0] + dx, corner[:, 1] + dy
        share = np.where(dx, part[:, 0], 1 - part[:, 0]) * np.where(dy, part[:, 1], 1 - part[:, 1])
        within = (x >= 0) & (x < columns) & (y >= 0) & (y < rows)
        index = np.where(within, y * columns + x, 0)
        # a deposit never reaches over a wall
        share = np.where(within & (grid.labels.ravel()[index] == samples.labels[inside]), share, 0.0)
        for total, value in zip(sums, (1.0, tangents[:, 0], tangents[:, 1], samples.speeds[inside]), strict=True):
            total += np.bincount(index, share * value, minlength=rows * columns)
    weight = sums[0]
    mean = np.divide(sums[1:], weight, out=np.zeros_like(sums[1:]), where=weight > 0).astype(np.float32)
    strength = np.minimum(weight * _SPACING, 1.0).astype(np.float32) * np.float32(_STROKE)
    shape = (rows, columns)
    return strength.reshape(shape), mean[:2].reshape(2, *shape), mean[2].reshape(shape)
