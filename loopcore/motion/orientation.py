# SPDX-License-Identifier: Apache-2.0
"""The direction of motion: its sense along the axes is decided for whole regions.

A network gives an axis of motion at each cell, and less surely a direction. Each direction alone would flip the sense
from cell to cell. The smooth field that keeps to the axes and follows the directions on average carries the surer ones
along the axes through the region, as in the solver's problem of directions (:mod:`loopcore.motion.solve`). Where an
axis is uncertain, the smooth field is followed instead.

Convention: fields are (2, rows, columns), (x right, y down), where content goes.
"""

from __future__ import annotations

import numpy as np

from loopcore.motion.multigrid import Problem, Solver

# Weights against a smoothness of 1 a face.
_AXIS_WEIGHT = 1.0  # of the part across the axis, where the axis is certain
_DIRECTION_WEIGHT = 4e-4  # of a direction of concentration 1: directions act over about 50 cells
_MAX_CONCENTRATION = 20.0


def orient(axis: np.ndarray, direction: np.ndarray, moving: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns unit directions (2, rows, columns), and how certain the axes are, (rows, columns) 0..1.

    Args:
        axis: (2, rows, columns), concentration times cosine and sine of twice the angle.
        direction: (2, rows, columns), concentration times cosine and sine of the angle.
        moving: (rows, columns) 0..1; sense is not carried through what is still.
    """
    angle = 0.5 * np.arctan2(axis[1], axis[0])
    unit = np.stack([np.cos(angle), np.sin(angle)]).astype(np.float32)
    certainty = resultant_length(np.hypot(axis[0], axis[1]))
    smooth = _unit(_carried(unit, certainty, _limited(direction), moving))
    sense = np.where((smooth * unit).sum(axis=0) < 0, np.float32(-1), np.float32(1))
    return _unit(certainty * sense * unit + (1 - certainty) * smooth, unit), certainty


def _unit(field: np.ndarray, otherwise: np.ndarray | None = None) -> np.ndarray:
    """Returns the field's directions, 0 or ``otherwise`` where it is 0."""
    length = np.hypot(field[0], field[1])
    directions: np.ndarray = field / np.maximum(length, 1e-20)
    return directions if otherwise is None else np.where(length < 1e-6, otherwise, directions)


def resultant_length(concentration: np.ndarray) -> np.ndarray:
    """Returns the length of the mean unit vector of a von Mises distribution, I1(k) / I0(k), float32 0..1.

    Source: Mardia, Jupp, "Directional Statistics" (2000), equation 3.5.30.
    """
    from scipy.special import i0e, i1e

    return (i1e(concentration) / i0e(concentration)).astype(np.float32)


def _limited(direction: np.ndarray) -> np.ndarray:
    length = np.hypot(direction[0], direction[1])
    return direction * (np.minimum(length, _MAX_CONCENTRATION) / np.maximum(length, 1e-6)).astype(np.float32)


def _carried(unit: np.ndarray, certainty: np.ndarray, direction: np.ndarray, moving: np.ndarray) -> np.ndarray:
    """Returns the smooth field along the axes that follows the directions, (2, rows, columns)."""
    x, y = unit
    across = np.float32(_AXIS_WEIGHT) * certainty
    pull = np.float32(_DIRECTION_WEIGHT) * np.hypot(direction[0], direction[1]).astype(np.float32) + np.float32(1e-6)
    block = np.stack([across * y * y + pull, -across * x * y, across * x * x + pull])
    face_x, face_y = np.minimum(moving[:, 1:], moving[:, :-1]), np.minimum(moving[1:], moving[:-1])
    problem = Problem(face_x.astype(np.float32), face_y.astype(np.float32), block)
    return Solver(problem).solve(np.float32(_DIRECTION_WEIGHT) * direction, None, tolerance=1e-3)
