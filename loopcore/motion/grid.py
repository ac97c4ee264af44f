# SPDX-License-Identifier: Apache-2.0
"""The working grid that motion is solved on: regions of the mask, their banks, and interpolation back to pixels.

A plate is covered by square cells, a few pixels wide. Regions of the mask are labelled at full resolution, so that two
neighbouring rivers stay separate, however narrow the gap between them.

Convention: cell (row, column) is centred on pixel ((column + 0.5) * W / columns - 0.5, ...), as pixel centres are at
integers. In-grid positions are (x, y) in cells, cell centres at integers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from loopcore.image import resize

_MOVES = 0.1  # mask value above which a pixel belongs to a region
_ACTIVE = 0.4  # fraction of a cell inside regions from which on it is solved for
_APART = 4  # cells: regions closer than twice this are interpolated separately
_MANY = 64  # largest number of separate regions; all smaller ones are speckle and share the first layer


@dataclass(frozen=True)
class Grid:
    """Cells over a mask.

    Attributes:
        labels: (rows, columns) int32, the region of each cell, 0 where it is still.
        pixels: (H, W) int32, the region of each pixel.
        count: number of regions.
        coverage: (rows, columns) float32, the fraction of each cell inside regions.
    """

    labels: np.ndarray
    pixels: np.ndarray
    count: int
    coverage: np.ndarray

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of cells."""
        return self.labels.shape[0], self.labels.shape[1]

    @property
    def cell(self) -> np.ndarray:
        """Width and height of a cell in pixels, (2,) float64."""
        return np.array(self.pixels.shape[::-1], np.float64) / self.labels.shape[::-1]

    def to_cells(self, points: np.ndarray) -> np.ndarray:
        """Converts (n, 2) positions from pixels to cells."""
        return (points + 0.5) / self.cell - 0.5

    def label_at(self, points: np.ndarray) -> np.ndarray:
        """Returns the region at (..., 2) positions in cells: 0 outside any, -1 outside the picture."""
        rows, columns = self.shape
        near = np.floor(points + 0.5).astype(np.int64)
        x, y = near[..., 0], near[..., 1]
        inside = (x >= 0) & (x < columns) & (y >= 0) & (y < rows)
        found = self.labels[np.clip(y, 0, rows - 1), np.clip(x, 0, columns - 1)]
        return np.where(inside, found, -1)

    def faces(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns face weights, (rows, columns - 1) and (rows - 1, columns): 1 inside a region, 0 at walls."""
        labels = self.labels
        across = (labels[:, 1:] == labels[:, :-1]) & (labels[:, 1:] > 0)
        down = (labels[1:] == labels[:-1]) & (labels[1:] > 0)
        return across.astype(np.float32), down.astype(np.float32)

    def edges(self) -> np.ndarray:
        """Returns the cells at the bank of their region, (rows, columns) bool; the picture's border is not a bank."""
        padded = np.pad(self.labels, 1, mode="edge")
        inner = padded[1:-1, 1:-1]
        bank = np.zeros(self.shape, bool)
        for other in (padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:]):
            bank |= other != inner
        return bank & (self.labels > 0)


def build_grid(mask: np.ndarray, working_size: int, along: np.ndarray) -> Grid:
    """Returns the grid over a mask, one cell per pixel if the mask has no more than ``working_size`` pixels a side.

    Args:
        mask: (H, W) in 0..1.
        working_size: cells on the longer side.
        along: (n, 2) positions in pixels; those inside the mask get a cell, however thin it is there.
    """
    height, width = mask.shape
    scale = max(1.0, max(height, width) / working_size)
    rows, columns = max(1, round(height / scale)), max(1, round(width / scale))
    inside = mask > _MOVES
    pixels, count = label_regions(inside)
    if (rows, columns) == (height, width):
        return Grid(pixels, pixels, count, inside.astype(np.float32))
    coverage = shrink(inside.astype(np.float32), rows, columns)
    labels = _cell_labels(pixels, rows, columns)
    active = coverage >= _ACTIVE
    # regions without an active cell keep every cell that they touch
    seen = np.zeros(count + 1, bool)
    seen[labels[active]] = True
    labels[~active & seen[labels]] = 0
    _label_along(labels, pixels, along)
    return Grid(labels, pixels, count, coverage)


def _label_along(labels: np.ndarray, pixels: np.ndarray, along: np.ndarray) -> None:
    """Labels, in place, unlabelled cells (rows, columns) under positions (n, 2) inside regions of (H, W) ``pixels``."""
    (rows, columns), (height, width) = labels.shape, pixels.shape
    x, y = np.floor(along + 0.5).astype(np.int64).T
    within = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    x, y = x[within], y[within]
    drawn = pixels[y, x] > 0
    x, y = x[drawn], y[drawn]
    row, column = y * rows // height, x * columns // width
    free = labels[row, column] == 0
    labels[row[free], column[free]] = pixels[y[free], x[free]]


def label_regions(inside: np.ndarray) -> tuple[np.ndarray, int]:
    """Labels the 4-connected regions of (H, W) bool in scan order; returns (H, W) int32 labels from 1, and a count."""
    from scipy.ndimage import label

    labels, count = label(inside)
    return labels, int(count)


def _cell_labels(pixels: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Returns the most frequent region in each cell, from up to 6 x 6 samples; 0 without any."""
    height, width = pixels.shape
    k = min(6, int(np.ceil(max(height / rows, width / columns))))
    ys = ((np.arange(rows * k) + 0.5) * height / (rows * k)).astype(np.int64)
    xs = ((np.arange(columns * k) + 0.5) * width / (columns * k)).astype(np.int64)
    samples = pixels[ys][:, xs].reshape(rows, k, columns, k)
    most = samples.max(axis=(1, 3))
    least = np.where(samples > 0, samples, np.iinfo(np.int32).max).min(axis=(1, 3))
    labels = most.copy()
    for row, column in np.argwhere((most > 0) & (least != most)):
        several = samples[row, :, column].ravel()
        names, seen = np.unique(several[several > 0], return_counts=True)
        labels[row, column] = names[np.argmax(seen)]
    return labels


def shrink(values: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Returns area averages of (H, W) float32 on a smaller grid."""
    return resize(values, rows, columns, "box")


def enlarge(values: np.ndarray, height: int, width: int, box: tuple[slice, slice] | None = None) -> np.ndarray:
    """Interpolates (rows, columns) float32 cells to (H, W) pixels by Catmull-Rom cubics, or to a box of them."""
    rows, columns = box or (slice(0, height), slice(0, width))
    tall, wide = values.shape[0] / height, values.shape[1] / width
    source = (columns.start * wide, rows.start * tall, columns.stop * wide, rows.stop * tall)
    return resize(values, rows.stop - rows.start, columns.stop - columns.start, "bicubic", source)


def bank_normals(grid: Grid) -> np.ndarray:
    """Returns symmetric matrices (xx, xy, yy) of the banks' normals, (3, rows, columns), 0 elsewhere.

    At a straight bank the matrix is n n^T, n the unit normal. It fades where the bank turns within a cell or two, since
    no direction is tangent to both sides. Normals are from a structure tensor of the coverage, which unlike its
    gradient does not cancel in a channel one or two cells wide.
    """
    smooth = _blur(_blur(grid.coverage))
    padded = np.pad(smooth, 1, mode="edge")
    gx = padded[1:-1, 2:] - padded[1:-1, :-2]
    gy = padded[2:, 1:-1] - padded[:-2, 1:-1]
    xx, xy, yy = (_blur(_blur(product)) for product in (gx * gx, gx * gy, gy * gy))
    # eigenvalues m + d and m - d: the larger one's eigenvector is the normal, and d / m measures straightness
    m, half = 0.5 * (xx + yy), 0.5 * (xx - yy)
    d = np.sqrt(half * half + xy * xy)
    bank = grid.edges() & (m > 1e-6)
    straight = np.divide(d, m, out=np.zeros_like(m), where=bank)
    cosine = np.divide(half, d, out=np.zeros_like(m), where=bank & (d > 0))
    sine = np.divide(xy, d, out=np.zeros_like(m), where=bank & (d > 0))
    return np.stack([0.5 * (1 + cosine) * straight, 0.5 * sine * straight, 0.5 * (1 - cosine) * straight])


def _blur(values: np.ndarray) -> np.ndarray:
    padded = np.pad(values, 1, mode="edge")
    rows = 0.25 * padded[:-2] + 0.5 * padded[1:-1] + 0.25 * padded[2:]
    return 0.25 * rows[:, :-2] + 0.5 * rows[:, 1:-1] + 0.25 * rows[:, 2:]


def extended(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Extrapolates ``values`` (n, rows, columns) smoothly from ``known`` cells to all others.

    The three nearest rings are means of known neighbours, the rest is filled by a pyramid of averages.
    """
    values = values * known
    known = known.astype(np.float32)
    for _ in range(3):
        total, weight = _blur_all(values), _blur(known)
        new = (known == 0) & (weight > 0)
        values = np.where(new, np.divide(total, weight, out=np.zeros_like(total), where=weight > 0), values)
        known = np.where(new, np.float32(1), known)
    return _pull_push(values, known)


def _blur_all(values: np.ndarray) -> np.ndarray:
    return np.stack([_blur(channel) for channel in values])


def _pull_push(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Fills unknown cells from coarser averages, bilinearly (pull-push; Gortler et al., "The Lumigraph", 1996)."""
    rows, columns = known.shape
    if known.all() or max(rows, columns) == 1 or not known.any():
        return values
    pad = ((0, rows % 2), (0, columns % 2))
    weight = np.pad(known, pad)
    total = np.pad(values * known, ((0, 0), *pad))
    quarter = weight[::2, ::2] + weight[1::2, ::2] + weight[::2, 1::2] + weight[1::2, 1::2]
    coarse = total[:, ::2, ::2] + total[:, 1::2, ::2] + total[:, ::2, 1::2] + total[:, 1::2, 1::2]
    coarse = np.divide(coarse, quarter, out=np.zeros_like(coarse), where=quarter > 0)
    coarse = _pull_push(coarse, (quarter > 0).astype(np.float32))
    double = np.repeat(np.repeat(coarse, 2, axis=1), 2, axis=2)
    double = _blur_all(double)[:, :rows, :columns]
    return np.where(known > 0, values, double)


def to_pixels(grid: Grid, velocity: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Interpolates cell velocities (2, rows, columns) to (H, W, 2) pixels, each region extrapolated separately.

    Regions without a ``known`` cell are still.
    """
    height, width = grid.pixels.shape
    out = np.zeros((height, width, 2), np.float32)
    moving = np.unique(grid.labels[known])
    if not len(moving):
        return out
    layer_of = _layers(grid, moving)
    owner = layer_of[grid.labels] * known  # the layer, from 1, of each known cell
    layers = range(1, int(layer_of.max()) + 1)
    wanted = _pixel_layers(grid, layer_of, owner) if len(layers) > 1 else None
    for layer in layers:
        field = extended(velocity, owner == layer)
        if wanted is None:
            for i in (0, 1):
                out[..., i] = _enlarged(field[i], height, width)
        else:
            _fill_pixels(out, field, wanted == layer)
    still = np.ones(grid.count + 1, bool)
    still[moving] = False
    still[0] = False
    if still.any():
        out[still[grid.pixels]] = 0
    return out


def _fill_pixels(out: np.ndarray, field: np.ndarray, here: np.ndarray) -> None:
    """Writes cell velocities (2, rows, columns) to the pixels ``here``, interpolating only their bounding box."""
    height, width = here.shape
    rows, columns = np.flatnonzero(here.any(axis=1)), np.flatnonzero(here.any(axis=0))
    if not len(rows):
        return
    box = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    for i in (0, 1):
        same = field.shape[1:] == here.shape
        values = field[i][box] if same else enlarge(field[i], height, width, box)
        np.copyto(out[..., i][box], values, where=here[box])


def _enlarged(channel: np.ndarray, height: int, width: int) -> np.ndarray:
    return channel if channel.shape == (height, width) else enlarge(channel, height, width)


def _layers(grid: Grid, moving: np.ndarray) -> np.ndarray:
    """Returns each label's layer, from 1, regions of a layer being at least 2 ``_APART`` apart; 0 for still ones."""
    layer_of = np.zeros(grid.count + 1, np.int32)
    layer_of[moving] = 1
    if len(moving) == 1:
        return layer_of
    cells = np.bincount(grid.labels.ravel(), minlength=grid.count + 1)
    grown: list[tuple[int, np.ndarray]] = []
    for label in sorted(moving.tolist(), key=lambda label: -cells[label])[:_MANY]:
        reach = _dilated(grid.labels == label, _APART)
        taken = {layer for layer, other in grown if (other & reach).any()}
        layer = next(n for n in range(1, len(moving) + 1) if n not in taken)
        layer_of[label] = layer
        grown.append((layer, reach))
    return layer_of


def _dilated(cells: np.ndarray, distance: int) -> np.ndarray:
    out = cells.copy()
    for _ in range(distance):
        wide = out.copy()
        wide[1:] |= out[:-1]
        wide[:-1] |= out[1:]
        out = wide.copy()
        out[:, 1:] |= wide[:, :-1]
        out[:, :-1] |= wide[:, 1:]
    return out


def _pixel_layers(grid: Grid, layer_of: np.ndarray, owner: np.ndarray) -> np.ndarray:
    """Returns the layer that each pixel's velocity is from: its region's, or the nearest outside regions."""
    nearest = owner.copy()
    rows, columns = owner.shape
    for _ in range(4 * _APART):  # no mask fades further out
        empty = nearest == 0
        if not empty.any():
            break
        padded = np.pad(nearest, 1)
        for other in (padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:]):
            np.copyto(nearest, other, where=empty & (nearest == 0))
    height, width = grid.pixels.shape
    ys = ((np.arange(height) + 0.5) * rows / height).astype(np.int64)
    xs = ((np.arange(width) + 0.5) * columns / width).astype(np.int64)
    wanted = layer_of[grid.pixels]
    return np.where(wanted > 0, wanted, nearest[ys][:, xs])
