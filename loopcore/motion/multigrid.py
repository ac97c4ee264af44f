# SPDX-License-Identifier: Apache-2.0
"""A small multigrid solver for smooth fields on a grid with walls, in plain numpy.

Minimises over a field ``x`` of n channels on H x W cells, for right hand side ``b``::

    1/2 sum_faces w |x_i - x_j|^2  +  1/2 sum_cells x^T B x  +  1/2 sum_corners c (div x)^2  -  b.x

``w`` are weights of the faces between neighbouring cells (0 is a wall), ``B`` a symmetric block per cell (data terms
and edge conditions), ``c`` weights of the divergence over the four cells around a corner (two-channel fields only).
The solver is conjugate gradients with a V-cycle over aggregates of 2 x 2 cells as preconditioner: piecewise constant
interpolation never crosses a wall, and coarse face weights are averaged, not summed, which is the over-correction that
aggregation needs (Braess, "Towards algebraic multigrid for elliptic problems of second order", Computing 55, 1995).
The divergence term is spectrally bounded by the smoothness term and is left out of the preconditioner.

Everything is elementwise numpy and pairwise sums: the same input gives the same bits, whatever the number of threads.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_COARSEST = 3  # cells on the longer side at which the hierarchy ends
_SMOOTHING = 2  # smoothing steps before and after the coarse correction
_DAMPING = 0.75


@dataclass(frozen=True)
class Problem:
    """A quadratic energy on a grid, as in this module's docstring; all arrays are float32.

    Cells without faces and with a zero block stay at zero.

    Attributes:
        face_x: weights of faces between horizontal neighbours, (H, W-1).
        face_y: weights of faces between vertical neighbours, (H-1, W).
        block: (H, W) for multiples of the identity, or (3, H, W) for symmetric matrices ((b0, b1), (b1, b2)).
        corner: weights of the divergence, (H-1, W-1), or None.
    """

    face_x: np.ndarray
    face_y: np.ndarray
    block: np.ndarray
    corner: np.ndarray | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the grid."""
        return self.block.shape[-2], self.block.shape[-1]


def divergence(x: np.ndarray) -> np.ndarray:
    """Returns the divergence of a (2, H, W) field at the (H-1, W-1) corners between cells, per cell, y down."""
    u, v = x
    du = u[:, 1:] - u[:, :-1]
    dv = v[1:] - v[:-1]
    return 0.5 * (du[1:] + du[:-1] + dv[:, 1:] + dv[:, :-1])


def divergence_adjoint(corner_values: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Returns the transpose of :func:`divergence`: (H-1, W-1) corner values to a (2, H, W) field."""
    half = 0.5 * corner_values
    out = np.zeros((2, *shape), half.dtype)
    rows = np.zeros((shape[0], shape[1] - 1), half.dtype)
    rows[1:] = half
    rows[:-1] += half
    out[0, :, 1:] = rows
    out[0, :, :-1] -= rows
    cols = np.zeros((shape[0] - 1, shape[1]), half.dtype)
    cols[:, 1:] = half
    cols[:, :-1] += half
    out[1, 1:] = cols
    out[1, :-1] -= cols
    return out


def face_flux_adjoint(flux_x: np.ndarray, flux_y: np.ndarray) -> np.ndarray:
    """Returns the transpose of the face differences: (n, H, W-1) and (n, H-1, W) face values to an (n, H, W) field."""
    out = np.empty((flux_x.shape[0], flux_x.shape[1], flux_y.shape[2]), flux_x.dtype)
    out[..., 0] = 0
    out[..., 1:] = flux_x
    out[..., :-1] -= flux_x
    out[:, 1:] += flux_y
    out[:, :-1] -= flux_y
    return out


def apply(problem: Problem, x: np.ndarray, *, with_corners: bool = True) -> np.ndarray:
    """Returns the gradient of the quadratic part at ``x``, (n, H, W), which equals ``b`` at the minimum."""
    flux_x = x[..., 1:] - x[..., :-1]
    flux_x *= problem.face_x
    flux_y = x[:, 1:] - x[:, :-1]
    flux_y *= problem.face_y
    out = face_flux_adjoint(flux_x, flux_y)
    out += _times(problem.block, x)
    if with_corners and problem.corner is not None:
        out += divergence_adjoint(problem.corner * divergence(x), problem.shape)
    return out


def _times(block: np.ndarray, x: np.ndarray) -> np.ndarray:
    if block.ndim == 2:
        return block * x
    out = np.empty_like(x)
    np.multiply(block[0], x[0], out=out[0])
    np.multiply(block[2], x[1], out=out[1])
    out[0] += block[1] * x[1]
    out[1] += block[1] * x[0]
    return out


class Solver:
    """The hierarchy of one :class:`Problem`, so that several right hand sides can share it."""

    def __init__(self, problem: Problem) -> None:
        self._window = _used_window(problem)
        self._levels = [_cropped(problem, self._window)]
        while max(self._levels[-1].shape) > _COARSEST:
            self._levels.append(_coarsen(self._levels[-1]))
        self._inverses = [_damped_inverse(level) for level in self._levels]

    def solve(
        self, b: np.ndarray, start: np.ndarray | None = None, *, tolerance: float = 1e-3, iterations: int = 60
    ) -> np.ndarray:
        """Returns the minimiser, (n, H, W) float32.

        Args:
            b: right hand side, (n, H, W) float32.
            start: initial guess; by default a coarse-to-fine solve.
            tolerance: residual norm, in the preconditioner's metric, over that of ``b``, at which iteration stops.
            iterations: largest number of iterations.
        """
        out = np.zeros_like(b)
        b = np.ascontiguousarray(b[:, *self._window])
        if b.any():
            first = self._coarse_to_fine(b) if start is None else np.array(start[:, *self._window], np.float32)
            out[:, *self._window] = self._conjugate_gradients(b, first, tolerance, iterations)
        return out

    def _conjugate_gradients(self, b: np.ndarray, x: np.ndarray, tolerance: float, iterations: int) -> np.ndarray:
        """Preconditioned conjugate gradients from ``x``, in place."""
        problem = self._levels[0]
        scale = _dot(b, self._cycle(0, b))
        residual = b - apply(problem, x)
        z = self._cycle(0, residual)
        rz = _dot(residual, z)
        direction = z
        for _ in range(iterations):
            if rz <= tolerance * tolerance * scale:
                break
            image = apply(problem, direction)
            step = np.float32(rz / _dot(direction, image))
            x += step * direction
            residual -= step * image
            z = self._cycle(0, residual)
            previous, rz = rz, _dot(residual, z)
            direction = z + np.float32(rz / previous) * direction
        return x

    def _coarse_to_fine(self, b: np.ndarray) -> np.ndarray:
        sides = [b]
        for level in self._levels[:-1]:
            sides.append(_restrict(sides[-1], level.shape))
        x = np.zeros_like(sides[-1])
        for depth in range(len(self._levels) - 1, -1, -1):
            if depth < len(self._levels) - 1:
                x = _prolong(x, self._levels[depth].shape)
            residual = sides[depth] - apply(self._levels[depth], x, with_corners=False)
            x += self._cycle(depth, residual)
        return x

    def _cycle(self, depth: int, b: np.ndarray) -> np.ndarray:
        """One V-cycle from zero: a symmetric, positive approximation of the inverse."""
        level, inverse = self._levels[depth], self._inverses[depth]
        last = depth == len(self._levels) - 1
        x = _times(inverse, b)
        for _ in range((8 if last else _SMOOTHING) - 1):
            x += _times(inverse, _residual(level, b, x))
        if last:
            return x
        coarse = self._cycle(depth + 1, _restrict(_residual(level, b, x), level.shape))
        x += _prolong(coarse, level.shape)
        for _ in range(_SMOOTHING):
            x += _times(inverse, _residual(level, b, x))
        return x


def _residual(level: Problem, b: np.ndarray, x: np.ndarray) -> np.ndarray:
    image = apply(level, x, with_corners=False)
    return np.subtract(b, image, out=image)


def _used_window(problem: Problem) -> tuple[slice, slice]:
    """Returns the rows and columns with any cell that has a face or a data term."""
    block = problem.block if problem.block.ndim == 2 else problem.block[0] + problem.block[2]
    tied = block > 0
    tied[:, 1:] |= problem.face_x > 0
    tied[:, :-1] |= problem.face_x > 0
    tied[1:] |= problem.face_y > 0
    tied[:-1] |= problem.face_y > 0
    rows, columns = np.flatnonzero(tied.any(axis=1)), np.flatnonzero(tied.any(axis=0))
    if not len(rows):
        return slice(0, 1), slice(0, 1)
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def _cropped(problem: Problem, window: tuple[slice, slice]) -> Problem:
    rows, columns = window
    less_rows, less_columns = slice(rows.start, rows.stop - 1), slice(columns.start, columns.stop - 1)
    corner = None if problem.corner is None else np.ascontiguousarray(problem.corner[less_rows, less_columns])
    return Problem(
        np.ascontiguousarray(problem.face_x[rows, less_columns]),
        np.ascontiguousarray(problem.face_y[less_rows, columns]),
        np.ascontiguousarray(problem.block[..., rows, columns]),
        corner,
    )


def _dot(a: np.ndarray, b: np.ndarray) -> float:
    # not np.dot: the order of a threaded BLAS's sums may vary
    return float((a * b).sum(dtype=np.float64))


def _damped_inverse(level: Problem) -> np.ndarray:
    """Inverse of the block diagonal times the damping; zero where a cell has neither face nor data."""
    height, width = level.shape
    degree = np.zeros((height, width), np.float32)
    degree[:, 1:] += level.face_x
    degree[:, :-1] += level.face_x
    degree[1:] += level.face_y
    degree[:-1] += level.face_y
    if level.block.ndim == 2:
        diagonal = degree + level.block
        return np.divide(_DAMPING, diagonal, out=np.zeros_like(diagonal), where=diagonal > 0)
    a, b, c = level.block[0] + degree, level.block[1], level.block[2] + degree
    determinant = a * c - b * b
    scale = np.divide(_DAMPING, determinant, out=np.zeros_like(determinant), where=determinant > 0)
    return np.stack([c * scale, -b * scale, a * scale])


def _coarsen(level: Problem) -> Problem:
    height, width = level.shape
    face_x = level.face_x[:, 1::2]
    face_y = level.face_y[1::2]
    return Problem(
        0.5 * _pair_sum(face_x, 0, height), 0.5 * _pair_sum(face_y, 1, width), _restrict(level.block, level.shape)
    )


def _pair_sum(values: np.ndarray, axis: int, length: int) -> np.ndarray:
    if axis == 0:
        out = values[0::2].copy()
        out[: length // 2] += values[1::2]
        return out
    out = values[:, 0::2].copy()
    out[:, : length // 2] += values[:, 1::2]
    return out


def _restrict(x: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Sums over aggregates of 2 x 2 cells, smaller ones in an odd last row or column."""
    height, width = shape
    rows = x[..., 0::2, :].copy()
    rows[..., : height // 2, :] += x[..., 1::2, :]
    out = rows[..., 0::2].copy()
    out[..., : width // 2] += rows[..., 1::2]
    return out


def _prolong(x: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    height, width = shape
    out = np.empty((*x.shape[:-2], height, width), x.dtype)
    out[..., 0::2, 0::2] = x
    out[..., 0::2, 1::2] = x[..., : width // 2]
    out[..., 1::2, :] = out[..., 0 : height - height % 2 : 2, :]
    return out
