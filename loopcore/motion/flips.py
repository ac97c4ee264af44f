# SPDX-License-Identifier: Apache-2.0
"""Flips: points at which the predicted flow goes the wrong way, since a still hardly tells the sense of a flow.

A flip turns the prediction round in the whole region around it: connected parts of what moves that are the same fluid
and go the same way. Flips do not change the extent of regions, so their order does not matter, and two in one region
cancel each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from loopcore.errors import MotionError
from loopcore.motion.deterministic import resize_planes
from loopcore.motion.estimate import Estimate
from loopcore.motion.strokes import Flip

_AROUND = 0.006  # of the longer side: deviation of the means whose coherence tells opposite senses
_MIN_COHERENCE = 0.5  # length of the mean velocity over the mean speed; 0.7 where flows meet at right angles
_MIN_REGION = 0.002  # of the picture: smaller ones belong to the nearest other one
_REACH = 1  # cells around what moves where a flip still counts


def with_flips(estimate: Estimate, mask: np.ndarray, flips: Sequence[Flip]) -> Estimate:
    """Returns the estimate with its velocity negated in the region of each flip, where its sense is certain then.

    Args:
        estimate: of the plate, on its grid.
        mask: (H, W) in 0..1, what moves.
        flips: in pixels of the mask.

    Raises:
        MotionError: a flip lies where nothing moves; the message has its index.
    """
    if not flips:
        return estimate
    height, width = estimate.moving.shape
    cells = resize_planes(mask[None].astype(np.float32), height, width, "area")[0]
    rows, columns = _cells_of(flips, mask.shape, cells.shape)
    _check_flips(cells, rows, columns)
    regions = sense_regions(estimate, cells)
    sign = np.ones(int(regions.max()) + 1, np.float32)
    np.negative.at(sign, regions[rows, columns])
    decided = np.zeros(len(sign), bool)
    decided[regions[rows, columns]] = True
    sense = None if estimate.sense is None else np.where(decided[regions], np.float32(1), estimate.sense)
    return replace(estimate, velocity=estimate.velocity * sign[regions][..., None], sense=sense)


def _cells_of(flips: Sequence[Flip], size: tuple[int, ...], shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Returns the row and the column of each flip's cell."""
    points = np.array([(flip.y, flip.x) for flip in flips]) + 0.5
    row, column = np.floor(points * shape / size).astype(np.int64).T
    return np.clip(row, 0, shape[0] - 1), np.clip(column, 0, shape[1] - 1)


def _check_flips(cells: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> None:
    from scipy.ndimage import maximum_filter

    near = maximum_filter(cells, 2 * _REACH + 1) > 0
    still = np.flatnonzero(~near[rows, columns])
    if still.size:
        raise MotionError(f"flips[{still[0]}] lies where nothing moves: move it onto what flows, or remove it")


def sense_regions(estimate: Estimate, cells: np.ndarray) -> np.ndarray:
    """Returns the region of each cell, (rows, columns) from 1 on; still cells have that of the nearest moving one.

    Args:
        estimate: with (rows, columns) cells.
        cells: (rows, columns) in 0..1, how far each moves; not all 0.
    """
    from scipy.ndimage import distance_transform_edt, label

    core = cells > min(0.5, float(cells.max()) / 2)
    parts = label(core)[0]
    sure = core & (_coherence(estimate.velocity, cells) > _MIN_COHERENCE)
    regions = _labelled(sure if sure.any() else core, _fluids(estimate))
    regions = np.where(_large_enough(regions, parts)[regions], regions, 0)
    nearest: np.ndarray = distance_transform_edt(regions == 0, return_distances=False, return_indices=True)
    return regions[tuple(nearest)]


def _coherence(velocity: np.ndarray, cells: np.ndarray) -> np.ndarray:
    """Returns the length of the mean velocity around each cell over the mean speed, 0..1."""
    from scipy.ndimage import gaussian_filter

    moved = velocity * cells[..., None]
    deviation = max(1.0, _AROUND * max(cells.shape))
    mean = [gaussian_filter(part, deviation) for part in (moved[..., 0], moved[..., 1], np.hypot(*moved.T).T)]
    return np.hypot(mean[0], mean[1]) / np.maximum(mean[2], 1e-12)


def _fluids(estimate: Estimate) -> np.ndarray:
    """Returns the likeliest fluid of each cell, (rows, columns)."""
    if estimate.classes is None:
        return np.zeros(estimate.moving.shape, np.int64)
    return estimate.classes[1:].argmax(axis=0)


def _labelled(cells: np.ndarray, fluids: np.ndarray) -> np.ndarray:
    """Numbers the connected regions of one fluid from 1 on, 0 elsewhere."""
    from scipy.ndimage import label

    regions, count = np.zeros(cells.shape, np.int64), 0
    for fluid in np.unique(fluids[cells]):
        own, found = label(cells & (fluids == fluid))
        regions[own > 0] = own[own > 0] + count
        count += found
    return regions


def _large_enough(regions: np.ndarray, parts: np.ndarray) -> np.ndarray:
    """Returns for each number whether its region counts: it is large, or the largest in its part of what moves."""
    sizes = np.bincount(regions.ravel())
    part_of = np.zeros(len(sizes), np.int64)
    part_of[regions.ravel()] = parts.ravel()
    largest = np.zeros(int(parts.max()) + 1, np.int64)
    np.maximum.at(largest, part_of[1:], sizes[1:])
    counts: np.ndarray = (sizes >= _MIN_REGION * regions.size) | (sizes == largest[part_of])
    counts[0] = False
    return counts
