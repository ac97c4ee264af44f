# SPDX-License-Identifier: Apache-2.0
"""Prediction of a plate's motion field from the picture; drawn hints override it.

A network estimates classes, what moves, and its velocity (:mod:`loopcore.motion.estimate`); a generator that the user
trained regresses the last two. The solver combines prediction and hints.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from loopcore.errors import HintsError, MotionError
from loopcore.exr.windows import Windows
from loopcore.motion.appearance import correct_by_appearance
from loopcore.motion.deterministic import resize_planes
from loopcore.motion.display import display_copy, display_rows, resized_picture
from loopcore.motion.edges import apply_guided_filter, fit_guided_filter
from loopcore.motion.estimate import MIN_SCORE, Estimate, estimate_picture, grid_size
from loopcore.motion.field import MotionField
from loopcore.motion.findings import Findings, findings
from loopcore.motion.flips import with_flips
from loopcore.motion.hints import Hints
from loopcore.motion.masks import as_mask, fit_mask, same_aspect
from loopcore.motion.regress import regress_motion
from loopcore.motion.solve import solve_motion
from loopcore.plate import Plate

Estimator = Callable[[np.ndarray], Estimate]

# Pixels: smaller plates move as fast as one of this size, since otherwise the cross-fade exceeds the motion.
_MIN_SPEED_SIDE = 400
_GUIDE_SIDE = 800  # pixels of the longer side at which the mask is fitted to the picture's edges
_MIN_ISLAND = 0.005  # of the picture: smaller islands of motion are mostly errors
# Hysteresis (Canny, TPAMI 1986): probabilities above the low threshold count where connected to one above the high
# threshold; the mask ramps from 0 to 1 between the two. Generators are less sure of what is still.
_NETWORK_THRESHOLDS, _GENERATOR_THRESHOLDS = (0.2, 0.5), (0.3, 0.6)


def predict_motion(
    plate: Plate, hints: Hints | None = None, mask: np.ndarray | None = None, weights: str | Path | None = None
) -> MotionField:
    """Predicts the motion field of a plate.

    Strokes together with a mask, without flips, define the field completely, and the picture is not used. Otherwise
    strokes override the prediction around them, flips turn it round, and a mask replaces the predicted one.

    Args:
        plate: the still.
        hints: strokes, anchors, flips and mask, rescaled if they were drawn for another size of the same aspect.
        mask: (H, W) in 0..1, of the plate's size or its display window's, used instead of the hints' mask.
        weights: of a network the user trained, a fluid network or a generator, used instead of the shipped one.

    Raises:
        MotionError: nothing in the picture seems to flow and no hints define it, a stroke or a flip lies where nothing
            moves, or the weights cannot be read.

    Convention: (vx, vy) in pixels per frame, x right, y down, where content goes.
    """
    return predict_with_findings(plate, hints, mask, weights)[0]


def predict_with_findings(
    plate: Plate,
    hints: Hints | None = None,
    mask: np.ndarray | None = None,
    weights: str | Path | None = None,
    *,
    estimator: Estimator | None = None,
) -> tuple[MotionField, Findings]:
    """Predicts the motion field of a plate, as :func:`predict_motion`, and tells where its direction is a guess.

    Args:
        plate: as for :func:`predict_motion`.
        hints: as for :func:`predict_motion`.
        mask: as for :func:`predict_motion`.
        weights: as for :func:`predict_motion`.
        estimator: estimates the motion in the plate's display picture, used instead of a network.

    Raises:
        MotionError: as :func:`predict_motion`.

    Convention: pixels of the findings are the plate's data window's, as those of the field.
    """
    hints = (hints or Hints()).fitted(plate.height, plate.width, plate.windows)
    if mask is not None and mask.shape == plate.windows.display_size:
        mask = fit_mask(as_mask(mask), Windows.whole(*mask.shape), plate.windows)
    if estimator is None:
        estimator = estimate_picture if weights is None else functools.partial(estimate_with, weights)
    motion, estimate = _predict(plate, hints, hints.mask if mask is None else mask, estimator)
    return motion.over(plate.windows), findings(motion, estimate)


def _predict(
    plate: Plate, hints: Hints, drawn_mask: np.ndarray | None, estimator: Estimator
) -> tuple[MotionField, Estimate | None]:
    """Returns the motion, and the estimate it follows, for hints that fit all of the plate's pixels, with overscan."""
    if hints.strokes and drawn_mask is not None and not hints.flips:
        return solve_motion(plate.height, plate.width, hints, mask=drawn_mask), None
    picture = display_copy(plate)
    estimate = estimator(picture)
    if estimate.score < MIN_SCORE:
        if hints.flips:
            raise MotionError("nothing here seems to flow, so flips[0] has nothing to turn round: remove it")
        if hints.strokes:
            return solve_motion(plate.height, plate.width, hints), None
        raise MotionError(
            f"nothing here seems to flow (the highest score is {estimate.score:.2f}, {MIN_SCORE:.2f} is needed): "
            "draw strokes along the flow and a mask around it (--hints hints.json), or give a motion field (--motion)"
        )
    full_mask = plate_mask(plate, picture, estimate) if drawn_mask is None else drawn_mask
    if not full_mask.any():
        raise MotionError("nothing here seems to flow along any edge: draw strokes along the flow and a mask around it")
    _check_strokes(hints, full_mask)
    estimate = with_flips(estimate, full_mask, hints.flips)
    prediction = _prediction(plate, estimate, drawn_mask)
    motion = solve_motion(plate.height, plate.width, hints, mask=full_mask, prediction=prediction)
    return replace(motion, drifting=_drifting(plate, estimate)), estimate


def _drifting(plate: Plate, estimate: Estimate) -> np.ndarray | None:
    """Returns the part of what moves that is clouds or smoke, (H, W) 0..1; None where classes are not known."""
    if estimate.classes is None:
        return None
    _, water, sky, smoke, fire = estimate.classes
    part = (sky + smoke) / np.maximum(water + sky + smoke + fire, 1e-6)
    return np.clip(resize_planes(part[None], plate.height, plate.width)[0], 0, 1)


def _check_strokes(hints: Hints, mask: np.ndarray) -> None:
    height, width = mask.shape
    for number, stroke in enumerate(hints.strokes):
        x, y = np.rint(stroke.points).astype(int).T
        if not (mask[np.clip(y, 0, height - 1), np.clip(x, 0, width - 1)] > 0).any():
            raise HintsError(
                f"strokes[{number}] lies where nothing seems to flow: draw a mask around what it moves (in the hints, "
                "or --mask)"
            )


def estimate_with(weights: str | Path, picture: np.ndarray) -> Estimate:
    """Estimates motion with the user's own network: a fluid network, or a generator of motion fields.

    Args:
        weights: file of either kind.
        picture: (h, w, 3) float32 sRGB 0..1.

    Raises:
        MotionError: weights of neither kind, or of no use.
    """
    from loopcore.motion.generator import KIND, weights_kind
    from loopcore.motion.networks import load_weights

    if weights_kind(weights) == KIND:
        estimate = regress_motion(weights, picture, *grid_size(*picture.shape[:2]))
    else:
        estimate = estimate_picture(picture, load_weights(weights)[0])
    if not (np.isfinite(estimate.velocity).all() and np.isfinite(estimate.moving).all()):
        raise MotionError(f"weights {weights} give NaN or Inf for this picture: train the network again")
    return estimate


def _prediction(plate: Plate, estimate: Estimate, drawn_mask: np.ndarray | None) -> MotionField:
    """Returns the estimate as a field on its own grid; everything inside a drawn mask counts as moving."""
    moving = estimate.moving
    if drawn_mask is not None:
        moving = np.maximum(moving, resize_planes(drawn_mask[None].astype(np.float32), *moving.shape)[0])
    side: float = max(moving.shape)
    if estimate.classes is not None:  # a generator's speeds are kept as they are
        side *= max(1.0, _MIN_SPEED_SIDE / max(plate.height, plate.width))
    confidence = estimate.confidence * np.minimum(1, 2 * moving)
    field = MotionField(estimate.velocity * np.float32(side), np.ones_like(confidence), confidence)
    if same_aspect((field.width, field.height), (plate.width, plate.height)):
        return field
    return field.resized(plate.height, plate.width)  # the grid of a very thin plate is wider than its aspect


def plate_mask(plate: Plate, picture: np.ndarray, estimate: Estimate) -> np.ndarray:
    """Returns the mask of what moves, (H, W) float32 0..1, along the plate's own edges; exactly 0 where it is still.

    Args:
        plate: the still, (H, W).
        picture: its display copy, (h, w, 3).
        estimate: of that copy.
    """
    guide = resized_picture(picture, *_guide_size(*picture.shape[:2]))
    if estimate.outlined is None:
        coarse = resize_planes(_without_islands(estimate)[None], *guide.shape[:2])[0]
    else:
        outlined = _without_islands(replace(estimate, moving=estimate.outlined))
        coarse = correct_by_appearance(resize_planes(outlined[None], *guide.shape[:2])[0], guide)
    slopes, offset = fit_guided_filter(coarse, guide, radius=max(2, round(0.012 * max(guide.shape[:2]))))
    size, ramp = (plate.height, plate.width), _thresholds(estimate)
    return apply_guided_filter(slopes, offset, display_rows(plate), size, ramp)


def _thresholds(estimate: Estimate) -> tuple[float, float]:
    return _GENERATOR_THRESHOLDS if estimate.classes is None else _NETWORK_THRESHOLDS


def _without_islands(estimate: Estimate) -> np.ndarray:
    """Clears small regions, and those without any clearly flowing place, unless there are no others."""
    from scipy.ndimage import label, maximum

    moving, (low, high) = estimate.moving, _thresholds(estimate)
    regions, count = label(moving > low)
    sizes = np.bincount(regions.ravel())
    sizes[0] = 0
    peaks = np.array([0.0, *maximum(estimate.flowing, regions, np.arange(1, count + 1))])
    cleared = (sizes < min(_MIN_ISLAND * moving.size, sizes.max())) | (peaks < min(high, peaks.max()))
    cleared[0] = False
    return np.where(cleared[regions], np.float32(0), moving)


def _guide_size(height: int, width: int) -> tuple[int, int]:
    scale = min(1.0, _GUIDE_SIDE / max(height, width))
    return max(4, round(height * scale)), max(4, round(width * scale))
