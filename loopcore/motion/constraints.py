# SPDX-License-Identifier: Apache-2.0
"""Hints and prediction as data on the working grid: splatted strokes, anchor weights, averaged prediction."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from loopcore.errors import MotionError
from loopcore.motion import masks
from loopcore.motion.field import MotionField
from loopcore.motion.grid import Grid, shrink
from loopcore.motion.openings import Polyline
from loopcore.motion.strokes import Anchor, Stroke

# Weights against a smoothness of 1 a face.
STROKE_WEIGHT = 40.0  # of a cell that a stroke runs through
ANCHOR_WEIGHT = 400.0

SAMPLE_SPACING = 0.25  # cells between samples along a stroke
_TANGENT_REACH = 1.5  # cells each way over which a stroke's direction is measured, which rounds its corners
_ANCHOR_RADIUS = 1.5  # cells


@dataclass(frozen=True)
class StrokeSamples:
    """All strokes, resampled on the grid.

    Attributes:
        points: (m, 2) positions in cells.
        tangents: (m, 2) unit vectors.
        speeds: (m,) pixels per frame.
        stroke: (m,) index of the stroke.
        labels: (m,) region at each point; 0 outside any, -1 outside the picture.
    """

    points: np.ndarray
    tangents: np.ndarray
    speeds: np.ndarray
    stroke: np.ndarray
    labels: np.ndarray

    def polylines(self) -> list[Polyline]:
        """Returns the strokes one by one."""
        strokes = []
        starts = np.searchsorted(self.stroke, np.arange(int(self.stroke.max(initial=-1)) + 2))  # it ascends
        for start, end in itertools.pairwise(starts.tolist()):
            points = self.points[start:end]
            length = float(np.hypot(*np.diff(points, axis=0).T).sum())
            strokes.append(Polyline(points, self.tangents[start:end], length))
        return strokes


def resample_stroke(stroke: Stroke, spacing: float) -> tuple[np.ndarray, np.ndarray]:
    """Returns points every ``spacing`` pixels along a stroke, (m, 2), and the speeds there, (m,)."""
    steps = np.hypot(*np.diff(stroke.points, axis=0).T)
    distance = np.concatenate([[0.0], np.cumsum(steps)])
    count = max(3, int(np.ceil(distance[-1] / spacing)) + 1)
    at = np.linspace(0.0, distance[-1], count)
    points = np.stack([np.interp(at, distance, axis) for axis in stroke.points.T], axis=1)
    return points, np.interp(at, distance, stroke.speeds)


def sample_strokes(grid: Grid, resampled: list[tuple[np.ndarray, np.ndarray]]) -> StrokeSamples:
    """Converts resampled strokes, points in pixels with speeds, to cells."""
    if not resampled:
        empty = np.zeros((0, 2))
        return StrokeSamples(empty, empty, np.zeros(0), np.zeros(0, np.int64), np.zeros(0, np.int32))
    cells = [grid.to_cells(points) for points, _ in resampled]
    points = np.concatenate(cells)
    tangents = np.concatenate([_tangents(own) for own in cells])
    speeds = np.concatenate([own for _, own in resampled])
    stroke = np.repeat(np.arange(len(cells)), [len(own) for own in cells])
    return StrokeSamples(points, tangents, speeds, stroke, grid.label_at(points))


def _tangents(cells: np.ndarray) -> np.ndarray:
    """Returns unit tangents (m, 2) of a polyline (m, 2): the chord over ``_TANGENT_REACH`` cells each way."""
    reach = min(len(cells) - 1, max(1, round(_TANGENT_REACH / SAMPLE_SPACING)))
    index = np.arange(len(cells))
    ahead, behind = np.minimum(index + reach, len(cells) - 1), np.maximum(index - reach, 0)
    chord = cells[ahead] - cells[behind]
    length = np.hypot(chord[:, 0], chord[:, 1])
    # where a stroke turns back on itself within the reach, the adjacent steps
    step = cells[np.minimum(index + 1, len(cells) - 1)] - cells[np.maximum(index - 1, 0)]
    chord = np.where(length[:, None] > 1e-6, chord, step)
    length = np.hypot(chord[:, 0], chord[:, 1])
    return chord / np.maximum(length, 1e-12)[:, None]


def splat_strokes(grid: Grid, samples: StrokeSamples) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Deposits strokes on the cells bilinearly, never across a wall.

    Returns:
        Weight (rows, columns), mean direction (2, rows, columns) and mean speed (rows, columns), float32.
    """
    rows, columns = grid.shape
    inside = samples.labels > 0
    points, tangents = samples.points[inside], samples.tangents[inside]
    corner = np.floor(points).astype(np.int64)
    fraction = points - corner
    sums = np.zeros((4, rows * columns))
    for dx, dy in ((0, 0), (1, 0), (0, 1), (1, 1)):
        x, y = corner[:, 0] + dx, corner[:, 1] + dy
        deposit = np.where(dx, fraction[:, 0], 1 - fraction[:, 0]) * np.where(dy, fraction[:, 1], 1 - fraction[:, 1])
        within = (x >= 0) & (x < columns) & (y >= 0) & (y < rows)
        index = np.where(within, y * columns + x, 0)
        deposit = np.where(within & (grid.labels.ravel()[index] == samples.labels[inside]), deposit, 0.0)
        for total, value in zip(sums, (1.0, tangents[:, 0], tangents[:, 1], samples.speeds[inside]), strict=True):
            total += np.bincount(index, deposit * value, minlength=rows * columns)
    total = sums[0]
    mean = np.divide(sums[1:], total, out=np.zeros_like(sums[1:]), where=total > 0).astype(np.float32)
    weight = np.minimum(total * SAMPLE_SPACING, 1.0).astype(np.float32) * np.float32(STROKE_WEIGHT)
    shape = (rows, columns)
    return weight.reshape(shape), mean[:2].reshape(2, *shape), mean[2].reshape(shape)


def anchor_weights(grid: Grid, anchors: tuple[Anchor, ...]) -> np.ndarray:
    """Returns the weight with which anchors hold each cell still, (rows, columns) float32."""
    rows, columns = grid.shape
    weight = np.zeros((rows, columns), np.float32)
    if not anchors:
        return weight
    cells = grid.to_cells(np.array([(anchor.x, anchor.y) for anchor in anchors]))
    nearest = np.rint(cells).astype(np.int64)
    reach = int(np.ceil(_ANCHOR_RADIUS + 0.5)) + 1
    around = range(-reach, reach + 1)
    for x, y in ((nearest[:, 0] + dx, nearest[:, 1] + dy) for dy in around for dx in around):
        distance = np.hypot(x - cells[:, 0], y - cells[:, 1])
        own = ANCHOR_WEIGHT * np.clip(_ANCHOR_RADIUS + 0.5 - distance, 0, 1)
        within = (x >= 0) & (x < columns) & (y >= 0) & (y < rows)
        np.maximum.at(weight, (y[within], x[within]), own[within].astype(np.float32))
    return weight


def prediction_on_grid(grid: Grid, prediction: MotionField | None) -> tuple[np.ndarray, np.ndarray]:
    """Averages a prediction over the cells, by its confidence.

    Returns:
        Velocity (2, rows, columns) in the plate's pixels per frame, and confidence (rows, columns).

    Raises:
        MotionError: the prediction's aspect is not the plate's.
    """
    rows, columns = grid.shape
    if prediction is None:
        return np.zeros((2, rows, columns), np.float32), np.zeros((rows, columns), np.float32)
    height, width = grid.pixels.shape
    if not masks.same_aspect((prediction.width, prediction.height), (width, height)):
        raise MotionError(
            f"the prediction is {prediction.width}x{prediction.height}, but the plate is {width}x{height}: the "
            "aspects differ"
        )
    scale = (width / prediction.width, height / prediction.height)
    # where the prediction's mask is 0 its velocity is undefined
    confidence = prediction.confidence * (prediction.mask > 0)
    weight = shrink(confidence, rows, columns)
    velocity = np.stack([shrink(prediction.velocity[..., i] * confidence, rows, columns) * scale[i] for i in (0, 1)])
    velocity = np.divide(velocity, weight, out=np.zeros_like(velocity), where=weight > 1e-6)
    return velocity, weight * (grid.labels > 0)
