# SPDX-License-Identifier: Apache-2.0
"""Hints to motion: the smooth, nearly divergence-free field that follows strokes, anchors and mask.

Three least-squares problems on a working grid (:mod:`loopcore.motion.grid`), solved by multigrid:

1. direction: a smooth vector field d, along the strokes and tangent to the banks. Its length decays away from strokes
   and in bends (the membrane energy), so only its direction is used.
2. speed: a smooth scalar s, free at the banks, the strokes' speeds on strokes and 0 at anchors, hence constant along a
   river with one stroke. The guide of the third problem is s d/|d|.
3. velocity: the field v whose gradient is nearest to the guide's (Perez et al., "Poisson Image Editing", 2003), with
   low divergence, tangent to the banks, equal to the strokes on strokes and 0 at anchors. Where strokes conflict
   (d turns within a few cells) the guide is ignored, and v interpolates smoothly.

A stroke that crosses a bank opens it there; the picture's frame is open everywhere. A prediction is part of the guide
where strokes do not override it.

Convention: fields on the grid are (2, rows, columns) or (rows, columns); face values are (rows, columns - 1) between
horizontal neighbours and (rows - 1, columns) between vertical ones.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from loopcore.errors import HintsError, MotionError
from loopcore.motion import masks
from loopcore.motion.constraints import (
    SAMPLE_SPACING,
    StrokeSamples,
    anchor_weights,
    prediction_on_grid,
    resample_stroke,
    sample_strokes,
    splat_strokes,
)
from loopcore.motion.field import MotionField
from loopcore.motion.grid import Grid, bank_normals, build_grid, label_regions, to_pixels
from loopcore.motion.multigrid import Problem, Solver, face_flux_adjoint
from loopcore.motion.openings import find_dead_ends, find_openings, open_fraction
from loopcore.motion.strokes import Hints

WORKING_SIZE = 384
MIN_WORKING_SIZE = 8

# Weights against a smoothness of 1 a face.
_BANK_WEIGHT = 25.0
_DIVERGENCE_WEIGHT = 2.0
_PREDICTION_WEIGHT = 0.2  # of a prediction of confidence 1
_GUIDE_WEIGHT = 0.01  # of the guide's values: dead ends and narrows act over about 1 / sqrt(_GUIDE_WEIGHT) cells

_CONFLICT = 4.0  # cells: where directions turn within fewer, strokes conflict; else it is a bend
_INFLUENCE = 0.08  # of the longer side: distance over which a stroke overrides a prediction


def solve_motion(
    height: int,
    width: int,
    hints: Hints,
    *,
    mask: np.ndarray | None = None,
    prediction: MotionField | None = None,
    working_size: int = WORKING_SIZE,
) -> MotionField:
    """Solves for the motion field that follows ``hints``.

    Regions of the mask without a stroke or a prediction stay still. The velocity is smooth and extends beyond the
    mask's edge, so that only the mask fades. Confidence is 1 where strokes override the prediction, else the
    prediction's.

    Args:
        height: of the plate, pixels.
        width: of the plate, pixels.
        hints: strokes, anchors and mask, rescaled if they were drawn for another size of the same aspect.
        mask: (H, W) in 0..1; by default the hints' mask, else the prediction's, else everything moves.
        prediction: followed by its confidence where strokes nearby do not override it.
        working_size: cells on the longer side of the working grid, at least 8.

    Raises:
        MotionError: neither strokes nor a prediction, a mask that is empty or of another size, or no stroke inside it.

    Convention: (vx, vy) in pixels per frame, x right, y down, where content goes.
    """
    if working_size < MIN_WORKING_SIZE:
        raise MotionError(f"working_size must be {MIN_WORKING_SIZE} cells or more, not {working_size}")
    hints = hints.fitted(height, width)
    mask = _choose_mask(height, width, hints, mask, prediction)
    if not hints.strokes and prediction is None:
        raise MotionError(
            "nothing defines the motion: draw at least one stroke along the flow (in the hints), or give a motion field"
        )
    grid, samples = _grid_and_samples(mask, hints, working_size)
    if prediction is None and not (samples.labels > 0).any():
        x, y = hints.strokes[0].points[0]
        raise HintsError(
            f"no stroke touches the mask (the first starts at {x:.0f}, {y:.0f}): nothing would move. "
            "Draw the strokes over the masked area, or the mask under the strokes"
        )
    velocity, known, confidence = _solve(grid, samples, hints, prediction)
    return MotionField(to_pixels(grid, velocity, known), mask, _confidence_pixels(grid, confidence))


def _grid_and_samples(mask: np.ndarray, hints: Hints, working_size: int) -> tuple[Grid, StrokeSamples]:
    spacing = max(1.0, max(mask.shape) / working_size) * SAMPLE_SPACING
    resampled = [resample_stroke(stroke, spacing) for stroke in hints.strokes]
    points = np.concatenate([points for points, _ in resampled]) if resampled else np.zeros((0, 2))
    grid = build_grid(mask, working_size, points)
    return grid, sample_strokes(grid, resampled)


def _choose_mask(
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
            f"the mask is {mask.shape[1]}x{mask.shape[0]}, but the plate is {width}x{height}: resize it with read_mask"
        )
    if not mask.any():
        raise HintsError("the mask is empty: nothing would move. Draw it over what moves")
    return mask


# the three problems


@dataclass(frozen=True)
class _Terms:
    """Weights and data shared by the three problems, by the module's convention and :class:`Problem`."""

    face_x: np.ndarray
    face_y: np.ndarray
    corner: np.ndarray
    banks: np.ndarray  # (3, rows, columns), symmetric matrices
    strokes: np.ndarray  # weight
    direction: np.ndarray  # of the strokes
    speed: np.ndarray  # of the strokes
    anchors: np.ndarray  # weight


def _solve(
    grid: Grid, samples: StrokeSamples, hints: Hints, prediction: MotionField | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns velocity (2, rows, columns), the cells it is known in (bool), and its confidence (rows, columns)."""
    predicted, confidence = prediction_on_grid(grid, prediction)
    terms, known = _terms(grid, samples, hints, confidence)
    terms, direction = _solve_direction(grid, terms, samples)
    drawn, agree_x, agree_y = _guide_from_strokes(terms, direction)
    stroke_share = _stroke_share(terms, confidence, max(grid.shape) * _INFLUENCE)
    predicted_share = (1 - stroke_share) * confidence
    total = stroke_share + predicted_share
    weighted = stroke_share * drawn + predicted_share * predicted
    guide = np.divide(weighted, total, out=np.zeros_like(drawn), where=total > 0)
    gradient_x = _mean_x(stroke_share) * agree_x + _mean_x(predicted_share)
    gradient_y = _mean_y(stroke_share) * agree_y + _mean_y(predicted_share)
    agree = _min_of_faces(agree_x, agree_y)
    value_weight = _PREDICTION_WEIGHT * predicted_share + _GUIDE_WEIGHT * stroke_share * agree * agree
    velocity = _solve_velocity(terms, guide, (gradient_x, gradient_y), value_weight)
    return velocity, known, np.maximum(stroke_share, confidence) * known


def _terms(grid: Grid, samples: StrokeSamples, hints: Hints, confidence: np.ndarray) -> tuple[_Terms, np.ndarray]:
    """Returns the terms, with closed banks, and the cells connected to strokes or the prediction."""
    strokes, direction, speed = splat_strokes(grid, samples)
    known = _reached(grid, (strokes > 0) | (confidence > 0))
    face_x, face_y = grid.faces()
    face_x *= known[:, 1:]
    face_y *= known[1:]
    corner = _DIVERGENCE_WEIGHT * face_x[1:] * face_x[:-1] * face_y[:, 1:] * face_y[:, :-1]
    banks = bank_normals(grid) * (_BANK_WEIGHT * known)
    anchors = anchor_weights(grid, hints.anchors) * known
    return _Terms(face_x, face_y, corner, banks, strokes, direction, speed, anchors), known


def _solve_direction(grid: Grid, terms: _Terms, samples: StrokeSamples) -> tuple[_Terms, np.ndarray]:
    """Solves problem 1; returns the terms with banks opened where strokes pass through them, and the direction."""
    strokes = samples.polylines()
    openings = find_openings(grid, strokes)
    closed = terms.banks
    terms = replace(terms, banks=closed * (1 - open_fraction(grid, openings)))
    direction = _direction(terms, None, 5e-3)
    if dead_ends := find_dead_ends(grid, strokes, direction):
        terms = replace(terms, banks=closed * (1 - open_fraction(grid, openings + dead_ends)))
    return terms, _direction(terms, direction, 1e-3)


def _direction(terms: _Terms, start: np.ndarray | None, tolerance: float) -> np.ndarray:
    problem = Problem(terms.face_x, terms.face_y, _with_diagonal(terms.banks, terms.strokes), terms.corner)
    return Solver(problem).solve(terms.strokes * terms.direction, start, tolerance=tolerance)


def _guide_from_strokes(terms: _Terms, direction: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Solves problem 2; returns speed times unit direction, and how far directions agree across faces, 0..1."""
    problem = Problem(terms.face_x, terms.face_y, terms.strokes + terms.anchors)
    speed = Solver(problem).solve((terms.strokes * terms.speed)[None])[0]
    length = np.sqrt((direction * direction).sum(axis=0))
    unit = np.divide(direction, length, out=np.zeros_like(direction), where=length > 1e-6)
    agree_x = _agreement(direction[..., 1:], direction[..., :-1])
    agree_y = _agreement(direction[:, 1:], direction[:, :-1])
    return np.maximum(speed, 0) * unit, agree_x, agree_y


def _agreement(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    mean, turn = 0.25 * ((a + b) ** 2).sum(axis=0), ((a - b) ** 2).sum(axis=0)
    denominator = mean + _CONFLICT**2 * turn
    return np.divide(mean, denominator, out=np.zeros_like(mean), where=denominator > 0)


def _stroke_share(terms: _Terms, confidence: np.ndarray, reach: float) -> np.ndarray:
    """Returns how far strokes override the prediction, 0..1, fading over ``reach`` cells where its confidence is 1."""
    if not confidence.any():
        everywhere = np.ones(terms.strokes.shape, bool)
        return _flood(everywhere, terms.face_x, terms.face_y, terms.strokes > 0).astype(np.float32)
    if not terms.strokes.any():
        return np.zeros_like(terms.strokes)
    problem = Problem(terms.face_x, terms.face_y, terms.strokes + confidence / np.float32(reach * reach))
    return np.clip(Solver(problem).solve(terms.strokes[None])[0], 0, 1)


def _solve_velocity(
    terms: _Terms, guide: np.ndarray, gradient_weight: tuple[np.ndarray, np.ndarray], value_weight: np.ndarray
) -> np.ndarray:
    """Solves problem 3; returns the velocity, (2, rows, columns).

    Args:
        terms: weights and data.
        guide: (2, rows, columns).
        gradient_weight: of the guide's differences across faces, (rows, columns - 1) and (rows - 1, columns).
        value_weight: of the guide itself, (rows, columns).
    """
    value_weight = value_weight * (terms.anchors == 0)
    block = _with_diagonal(terms.banks, terms.strokes + terms.anchors + value_weight)
    slope_x = terms.face_x * gradient_weight[0] * (guide[..., 1:] - guide[..., :-1])
    slope_y = terms.face_y * gradient_weight[1] * (guide[:, 1:] - guide[:, :-1])
    b = face_flux_adjoint(slope_x, slope_y)
    b += terms.strokes * terms.speed * terms.direction + value_weight * guide
    return Solver(Problem(terms.face_x, terms.face_y, block, terms.corner)).solve(b, guide, tolerance=5e-4)


def _with_diagonal(block: np.ndarray, diagonal: np.ndarray) -> np.ndarray:
    """Returns symmetric 2x2 blocks, (3, rows, columns), plus a multiple of the identity, (rows, columns)."""
    block = block.copy()
    block[0] += diagonal
    block[2] += diagonal
    return block


def _mean_x(values: np.ndarray) -> np.ndarray:
    return 0.5 * (values[:, 1:] + values[:, :-1])


def _mean_y(values: np.ndarray) -> np.ndarray:
    return 0.5 * (values[1:] + values[:-1])


def _min_of_faces(face_x: np.ndarray, face_y: np.ndarray) -> np.ndarray:
    """Returns the least of the values on each cell's four faces and 1, (rows, columns)."""
    least = np.ones((face_x.shape[0], face_y.shape[1]), np.float32)
    for cells, values in ((least[:, 1:], face_x), (least[:, :-1], face_x), (least[1:], face_y), (least[:-1], face_y)):
        np.minimum(cells, values, out=cells)
    return least


def _reached(grid: Grid, seeds: np.ndarray) -> np.ndarray:
    """Returns the cells of regions connected to a seed without crossing a wall, (rows, columns) bool."""
    face_x, face_y = grid.faces()
    return _flood(grid.labels > 0, face_x, face_y, seeds)


def _flood(cells: np.ndarray, face_x: np.ndarray, face_y: np.ndarray, seeds: np.ndarray) -> np.ndarray:
    rows, columns = cells.shape
    # cells interleaved with the faces between them, so that labelling connects cells through open faces
    interleaved = np.zeros((2 * rows - 1, 2 * columns - 1), bool)
    interleaved[::2, ::2] = cells
    interleaved[::2, 1::2] = face_x > 0
    interleaved[1::2, ::2] = face_y > 0
    labels = label_regions(interleaved)[0][::2, ::2]
    reached = np.zeros(int(labels.max(initial=0)) + 1, bool)
    reached[labels[seeds & cells]] = True
    return reached[labels] & cells


def _confidence_pixels(grid: Grid, confidence: np.ndarray) -> np.ndarray:
    height, width = grid.pixels.shape
    if confidence.shape == (height, width):
        return confidence
    return masks.resize_mask(confidence.astype(np.float32), height, width)
