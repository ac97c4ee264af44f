# SPDX-License-Identifier: Apache-2.0
"""The direction of motion: its sense along the axes is decided for whole regions.

A network gives an axis of motion at each cell, and less surely a direction. Each direction alone would flip the sense
from cell to cell. So the senses of neighbours are compared along their axes, and those that fit each other and the
directions of the whole region best are taken: the relaxation of a synchronisation of signs to a linear system (Singer,
"Angular synchronization by eigenvectors and semidefinite programming", Applied and Computational Harmonic Analysis,
2011). Where an axis is uncertain, the smooth field around it is followed instead.

Convention: fields are (2, rows, columns), (x right, y down), where content goes.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from loopcore.motion.multigrid import Problem, Solver

_PULL = 1e-3  # of a direction of concentration 1, against a link of 1 between neighbours: see `_solved`
_SPREAD = 2.0  # cells, deviation of the mean of axes whose senses are compared
_MIN_LINK = 1e-3  # of neighbours whose axes are uncertain or at right angles
_MIN_DATA = 1e-6  # of a cell in the smooth field, against a smoothness of 1 a face
_MAX_CONCENTRATION = 20.0


def orient(axis: np.ndarray, direction: np.ndarray, moving: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns unit directions (2, rows, columns), and how certain the axes are, (rows, columns) 0..1.

    Args:
        axis: (2, rows, columns), concentration times cosine and sine of twice the angle.
        direction: (2, rows, columns), concentration times cosine and sine of the angle.
        moving: (rows, columns) 0..1; sense is not carried through what is still.
    """
    certainty, around, evidence = _compared(axis, direction, moving)
    unit = _along(axis)
    directed = around * np.where(
        _solved(around, certainty, evidence, moving, np.sign) < 0, np.float32(-1), np.float32(1)
    )
    smooth = _unit(_smoothed(_towards(directed, unit), certainty, moving))
    return _unit(certainty * _towards(smooth, unit) + (1 - certainty) * smooth, unit), certainty


def sense_certainty(axis: np.ndarray, direction: np.ndarray, moving: np.ndarray) -> np.ndarray:
    """Returns how certain the sense along the axes is, (rows, columns) float32 0..1: 0 for a guess.

    A von Mises distribution of concentration k around an angle d from the axis gives the two senses along it the odds
    exp(2 e), e = k cos d, and the difference of their probabilities is tanh e. That replaces the sign of the evidence
    in the system by which :func:`orient` decides the senses: weak or contradictory evidence in a region comes near 0.

    Args:
        axis: as for :func:`orient`.
        direction: as for :func:`orient`.
        moving: as for :func:`orient`.
    """
    certainty, around, evidence = _compared(axis, direction, moving)
    return np.clip(np.abs(_solved(around, certainty, evidence, moving, np.tanh)), 0, 1).astype(np.float32)


def _compared(axis: np.ndarray, direction: np.ndarray, moving: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns how certain the axes are, unit vectors along the axes around each cell, and the evidence for those."""
    certainty = resultant_length(np.hypot(axis[0], axis[1]))
    around = _along(_spread(axis, certainty * moving))
    return certainty, around, (_limited(direction) * around).sum(axis=0)


def _towards(field: np.ndarray, unit: np.ndarray) -> np.ndarray:
    """Returns unit vectors or their opposites, whichever are nearer to a field."""
    return np.where((field * unit).sum(axis=0) < 0, -unit, unit)


def _along(axis: np.ndarray) -> np.ndarray:
    """Returns unit vectors along axes, (2, rows, columns), of either sense."""
    angle = 0.5 * np.arctan2(axis[1], axis[0])
    return np.stack([np.cos(angle), np.sin(angle)]).astype(np.float32)


def _spread(axis: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Returns the doubled angles of axes averaged over neighbours: a line of a few wrong ones would part a region."""
    from scipy.ndimage import gaussian_filter

    return gaussian_filter(weight * _unit(axis), (0, _SPREAD, _SPREAD))


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


def _solved(
    unit: np.ndarray, certainty: np.ndarray, evidence: np.ndarray, moving: np.ndarray,
    belief: Callable[[np.ndarray], np.ndarray],
) -> np.ndarray:  # fmt: skip
    """Returns -1 to 1 for each cell, whether it goes along or against ``unit``.

    Minimises, over real s, the sum of w (s_i - c s_j)^2 over neighbours plus that of p e_i^2 (s_i - belief e_i)^2,
    where c is the sign of the cosine between their axes, w its square times the certainties, e the evidence, and p the
    pull.
    So directions of concentration e act over about 1 / (e sqrt p) cells: sure ones, as of falls, keep their own sense,
    and unsure ones take that of their whole region.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.linalg import spsolve

    cells = np.arange(certainty.size).reshape(certainty.shape)
    pull = _PULL * evidence.astype(np.float64).ravel() ** 2
    diagonal = pull + 1e-9
    rows, columns, values = [], [], []
    for one, other in (((slice(None), slice(1, None)), (slice(None), slice(-1))), ((slice(1, None),), (slice(-1),))):
        cosine = (unit[:, *one] * unit[:, *other]).sum(axis=0)
        sure = np.sqrt(certainty[one] * certainty[other])
        link = (np.maximum(sure * cosine**2, _MIN_LINK) * np.minimum(moving[one], moving[other])).ravel()
        i, j = cells[one].ravel(), cells[other].ravel()
        np.add.at(diagonal, i, link)
        np.add.at(diagonal, j, link)
        rows += [i, j]
        columns += [j, i]
        values += [-link * np.sign(cosine).ravel()] * 2
    matrix = coo_array(
        (
            np.concatenate([diagonal, *values]),
            (np.concatenate([cells.ravel(), *rows]), np.concatenate([cells.ravel(), *columns])),
        )
    )
    solved: np.ndarray = spsolve(matrix.tocsc(), pull * belief(evidence.ravel())).reshape(certainty.shape)
    return solved


def _smoothed(directions: np.ndarray, certainty: np.ndarray, moving: np.ndarray) -> np.ndarray:
    """Returns the smooth field that follows directions where they are certain, (2, rows, columns)."""
    data = certainty + np.float32(_MIN_DATA)
    face_x, face_y = np.minimum(moving[:, 1:], moving[:, :-1]), np.minimum(moving[1:], moving[:-1])
    problem = Problem(face_x.astype(np.float32), face_y.astype(np.float32), np.stack([data, 0 * data, data]))
    return Solver(problem).solve(data * directions, None, tolerance=1e-3)
