# SPDX-License-Identifier: Apache-2.0
"""The reference backend: integrate, warp and splat in plain torch, for any dtype and device.

Written for clarity, not for speed, and differentiable. The kernels are tested against it.

Convention: as in `cpu`.
"""

import torch

from loopcore.transport.cpu import MAX_SUBDIVISION

# RK4 steps a frame: the error of a quarter of a frame is far below the precision of float32.
SUBSTEPS = 4


def _grid(like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Pixel centres (x, y) of an (H, W, ...) tensor, each (H, W)."""
    y = torch.arange(like.shape[0], dtype=like.dtype, device=like.device)
    x = torch.arange(like.shape[1], dtype=like.dtype, device=like.device)
    grid_y, grid_x = torch.meshgrid(y, x, indexing="ij")
    return grid_x, grid_y


def bilinear(field: torch.Tensor, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """field (H, W, C) at (x, y), clamped to the frame."""
    height, width = field.shape[:2]
    x, y = x.clamp(0, width - 1), y.clamp(0, height - 1)
    left, top = x.floor().long(), y.floor().long()
    right, low = (left + 1).clamp(max=width - 1), (top + 1).clamp(max=height - 1)
    tx, ty = (x - left)[..., None], (y - top)[..., None]
    above = field[top, left] * (1 - tx) + field[top, right] * tx
    below = field[low, left] * (1 - tx) + field[low, right] * tx
    return above * (1 - ty) + below * ty


def integrate(velocity: torch.Tensor, steps: float) -> torch.Tensor:
    """Displacement (H, W, 2) by the classic fourth-order Runge-Kutta method in quarters of a frame."""
    x, y = _grid(velocity)
    moved = torch.zeros_like(velocity)
    count = max(1, round(abs(steps) * SUBSTEPS + 0.5))
    h = steps / count

    def at(offset: torch.Tensor) -> torch.Tensor:
        return bilinear(velocity, x + offset[..., 0], y + offset[..., 1])

    for _ in range(count):
        k1 = at(moved)
        k2 = at(moved + h / 2 * k1)
        k3 = at(moved + h / 2 * k2)
        k4 = at(moved + h * k3)
        moved = moved + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
    return moved


def _keys(t: torch.Tensor) -> list[torch.Tensor]:
    """Keys 1981, a = -1/2: the weights of samples -1, 0, 1, 2 at t in [0, 1)."""
    out = []
    for offset in (-1, 0, 1, 2):
        d = (t - offset).abs()
        near = 1.5 * d**3 - 2.5 * d**2 + 1
        far = -0.5 * d**3 + 2.5 * d**2 - 4 * d + 2
        out.append(torch.where(d <= 1, near, far))
    return out


def _mirror(index: torch.Tensor, size: int) -> torch.Tensor:
    period = max(2 * (size - 1), 1)
    index = index.abs() % period
    return torch.minimum(index, period - index) if size > 1 else torch.zeros_like(index)


def warp(values: torch.Tensor, displacement: torch.Tensor) -> torch.Tensor:
    """values (H, W, C) at p + displacement[p]: bicubic, clamped to the range of the 4 x 4 pixels."""
    height, width = values.shape[:2]
    x, y = _grid(displacement)
    x, y = x + displacement[..., 0], y + displacement[..., 1]
    left, top = x.floor(), y.floor()
    wx, wy = _keys(x - left), _keys(y - top)
    samples, total = [], torch.zeros((), dtype=values.dtype, device=values.device)
    for j in range(4):
        row = _mirror(top.long() + j - 1, height)
        for i in range(4):
            sample = values[row, _mirror(left.long() + i - 1, width)]
            samples.append(sample)
            total = total + sample * (wx[i] * wy[j])[..., None].to(values.dtype)
    stack = torch.stack(samples)
    return torch.minimum(torch.maximum(total, stack.amin(0)), stack.amax(0))


def _shifted(x: torch.Tensor, step: int, axis: int) -> torch.Tensor:
    """Each pixel's neighbour along an axis; at the border, the pixel itself."""
    size = x.shape[axis]
    index = (torch.arange(size, device=x.device) + step).clamp(0, size - 1)
    return x.index_select(axis, index)


def _pieces(place: torch.Tensor, axis: int) -> torch.Tensor:
    """(H, W) number of pieces of each pixel along an axis (0: y, 1: x)."""
    sides = [((_shifted(place, step, axis) - place) ** 2).sum(-1) for step in (-1, 1)]
    longest = torch.maximum(*sides)
    whole = (longest.sqrt() - 0.5).ceil().long()
    return torch.where((longest > 2.25) & (longest <= MAX_SUBDIVISION**2), whole, torch.ones_like(whole))


def splat(
    values: torch.Tensor, displacement: torch.Tensor, weight: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Sums (H, W, C) and weights (H, W) of values deposited at p + displacement[p], stretched pixels in pieces."""
    height, width, channels = values.shape
    x, y = _grid(displacement)
    place = torch.stack([x, y], -1) + displacement
    nx, ny = _pieces(place, 1), _pieces(place, 0)
    piece_weight = torch.ones_like(values[..., 0]) if weight is None else weight.to(values.dtype)
    piece_weight = piece_weight / (nx * ny)
    sums, weights = values.new_zeros(height * width, channels), values.new_zeros(height * width)
    for j in range(int(ny.max())):
        for i in range(int(nx.max())):
            keep = ((nx > i) & (ny > j)).reshape(-1)
            sx, sy = ((k + 0.5) / n.to(place.dtype) - 0.5 for k, n in ((i, nx), (j, ny)))
            # Displacements are interpolated, not positions: border pixels also have an outer half.
            at = (_between(displacement, sx, sy) + torch.stack([x + sx, y + sy], -1)).reshape(-1, 2)[keep]
            sample = _between(values, sx, sy).reshape(-1, channels)[keep]
            _deposit(at, sample, piece_weight.reshape(-1)[keep], (height, width), sums, weights)
    return sums.reshape(height, width, channels), weights.reshape(height, width)


def _between(x: torch.Tensor, sx: torch.Tensor, sy: torch.Tensor) -> torch.Tensor:
    """x (H, W, C) at each pixel plus (sx, sy), each at most half a pixel, interpolated linearly from its neighbours."""
    sx, sy = sx[..., None].to(x.dtype), sy[..., None].to(x.dtype)
    across = torch.where(sx > 0, _shifted(x, 1, 1), _shifted(x, -1, 1)) - x
    along = torch.where(sy > 0, _shifted(x, 1, 0), _shifted(x, -1, 0)) - x
    return x + sx.abs() * across + sy.abs() * along


def _deposit(
    at: torch.Tensor,
    sample: torch.Tensor,
    piece_weight: torch.Tensor,
    size: tuple[int, int],
    sums: torch.Tensor,
    weights: torch.Tensor,
) -> None:
    height, width = size
    left, top = at[:, 0].floor(), at[:, 1].floor()
    for j in (0, 1):
        for i in (0, 1):
            w = (1 - (at[:, 0] - left - i).abs()) * (1 - (at[:, 1] - top - j).abs()) * piece_weight
            column, row = left.long() + i, top.long() + j
            inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
            index = (row * width + column)[inside]
            sums.index_add_(0, index, sample[inside] * w[inside, None])
            weights.index_add_(0, index, w[inside])
