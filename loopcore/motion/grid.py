# SPDX-License-Identifier: Apache-2.0
"""The working grid that motion is solved on: which cells hold moving content, where its banks are, and the way back.

A plate is covered by square cells, a few pixels wide. Regions of the mask that do not touch are told apart at full
resolution, so that two rivers beside each other never mix, however thin the ground between them.

Convention: cell (row, column) is centred on pixel ((column + 0.5) * W / columns - 0.5, ...), as pixel centres are at
integers. In-grid positions are (x, y) in cells, cell centres at integers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from loopcore.image import resize

_MOVES = 0.1  # a pixel of the mask above this belongs to a region
_ACTIVE = 0.4  # a cell is solved for when this share of it belongs to regions
_APART = 4  # cells: regions nearer than twice this are never interpolated together
_MANY = 64  # regions beyond so many, the smallest, are speckle: they share the first layer


@dataclass(frozen=True)
class Grid:
    """Cells over a mask.

    labels: (rows, columns) int32, the region a cell belongs to, 0 where it is still; pixels: the same at full size.
    count: how many regions there are. coverage: (rows, columns) float32, the share of each cell that is in a region.
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
        """(2,) float64: width and height of a cell in pixels."""
        return np.array(self.pixels.shape[::-1], np.float64) / self.labels.shape[::-1]

    def to_cells(self, points: np.ndarray) -> np.ndarray:
        """(n, 2) pixel positions as positions in cells."""
        return (points + 0.5) / self.cell - 0.5

    def label_at(self, points: np.ndarray) -> np.ndarray:
        """The region at (..., 2) positions in cells: 0 outside any, -1 outside the picture."""
        rows, columns = self.shape
        near = np.floor(points + 0.5).astype(np.int64)
        x, y = near[..., 0], near[..., 1]
        inside = (x >= 0) & (x < columns) & (y >= 0) & (y < rows)
        found = self.labels[np.clip(y, 0, rows - 1), np.clip(x, 0, columns - 1)]
        return np.where(inside, found, -1)

    def faces(self) -> tuple[np.ndarray, np.ndarray]:
        """Face weights (rows, columns-1) and (rows-1, columns): 1 inside a region, 0 at walls."""
        labels = self.labels
        across = (labels[:, 1:] == labels[:, :-1]) & (labels[:, 1:] > 0)
        down = (labels[1:] == labels[:-1]) & (labels[1:] > 0)
        return across.astype(np.float32), down.astype(np.float32)

    def edges(self) -> np.ndarray:
        """Cells at the bank of their region, (rows, columns) bool; the picture's border is no bank."""
        padded = np.pad(self.labels, 1, mode="edge")
        inner = padded[1:-1, 1:-1]
        bank = np.zeros(self.shape, bool)
        for other in (padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:]):
            bank |= other != inner
        return bank & (self.labels > 0)


def build_grid(mask: np.ndarray, working_size: int, along: np.ndarray) -> Grid:
    """Cells over ``mask`` (H, W), ``working_size`` on the longer side, or the pixels themselves where they are fewer.

    The (n, 2) pixel positions ``along`` get a cell wherever they are in the mask, however thin it is there.
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
    # a region too small or thin for any cell still gets the cells it touches
    seen = np.zeros(count + 1, bool)
    seen[labels[active]] = True
    labels[~active & seen[labels]] = 0
    x, y = np.floor(along + 0.5).astype(np.int64).T
    within = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    x, y = x[within], y[within]
    drawn = pixels[y, x] > 0
    x, y = x[drawn], y[drawn]
    row, column = y * rows // height, x * columns // width
    free = labels[row, column] == 0
    labels[row[free], column[free]] = pixels[y[free], x[free]]
    return Grid(labels, pixels, count, coverage)


def label_regions(inside: np.ndarray) -> tuple[np.ndarray, int]:
    """Numbers the 4-connected regions of ``inside`` (H, W) bool in scan order: (H, W) int32 labels from 1, count."""
    from scipy.ndimage import label

    labels, count = label(inside)
    return labels, int(count)


def _cell_labels(pixels: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """The region most seen in each cell, on up to 6 x 6 samples; 0 where none is."""
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
    """Area average of (H, W) float32 over a smaller grid."""
    return resize(values, rows, columns, "box")


def enlarge(values: np.ndarray, height: int, width: int, box: tuple[slice, slice] | None = None) -> np.ndarray:
    """(rows, columns) float32 cell values as (H, W) pixels, by Catmull-Rom cubics; or a box (rows, columns) of them."""
    rows, columns = box or (slice(0, height), slice(0, width))
    tall, wide = values.shape[0] / height, values.shape[1] / width
    source = (columns.start * wide, rows.start * tall, columns.stop * wide, rows.stop * tall)
    return resize(values, rows.stop - rows.start, columns.stop - columns.start, "bicubic", source)


def bank_normals(grid: Grid) -> np.ndarray:
    """How strongly and which way banks face, as (3, rows, columns) symmetric matrices (xx, xy, yy); else 0.

    At a straight bank the matrix is n n^T, n the unit normal; where the bank turns within a cell or two it fades, since
    no direction is tangent to both sides. Directions come from a structure tensor of the coverage, which unlike its
    gradient does not cancel in a channel a cell or two wide.
    """
    smooth = _blur(_blur(grid.coverage))
    padded = np.pad(smooth, 1, mode="edge")
    gx = padded[1:-1, 2:] - padded[1:-1, :-2]
    gy = padded[2:, 1:-1] - padded[:-2, 1:-1]
    xx, xy, yy = (_blur(_blur(product)) for product in (gx * gx, gx * gy, gy * gy))
    # eigenvalues m + d and m - d: the normal belongs to the larger, and d / m says how straight the bank is
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
    """``values`` (n, rows, columns) continued smoothly from the ``known`` cells over all others.

    The next three rings take the mean of their known neighbours, the rest a pyramid of averages.
    """
    values = values * known
    known = known.astype(np.float32)
    for _ in range(3):
        total, weight = _blur_all(values), _blur(known)
        new = (known == 0) & (weight > 0)
        values = np.where(new, np.divide(total, weight, out=np.zeros_like(total), where=weight > 0), values)
        known = np.where(new, np.float32(1), known)
    return _pulled(values, known)


def _blur_all(values: np.ndarray) -> np.ndarray:
    return np.stack([_blur(channel) for channel in values])


def _pulled(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Pull-push (Gortler et al., "The Lumigraph", 1996): unknown cells from the next coarser average, bilinearly."""
    rows, columns = known.shape
    if known.all() or max(rows, columns) == 1 or not known.any():
        return values
    pad = ((0, rows % 2), (0, columns % 2))
    weight = np.pad(known, pad)
    total = np.pad(values * known, ((0, 0), *pad))
    quarter = weight[::2, ::2] + weight[1::2, ::2] + weight[::2, 1::2] + weight[1::2, 1::2]
    coarse = total[:, ::2, ::2] + total[:, 1::2, ::2] + total[:, ::2, 1::2] + total[:, 1::2, 1::2]
    coarse = np.divide(coarse, quarter, out=np.zeros_like(coarse), where=quarter > 0)
    coarse = _pulled(coarse, (quarter > 0).astype(np.float32))
    double = np.repeat(np.repeat(coarse, 2, axis=1), 2, axis=2)
    double = _blur_all(double)[:, :rows, :columns]
    return np.where(known > 0, values, double)


def to_pixels(grid: Grid, velocity: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Cell velocities (2, rows, columns) as (H, W, 2) pixels, each region continued beyond its bank on its own.

    Regions of which no cell is ``known`` are still.
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
                out[..., i] = _whole(field[i], height, width)
        else:
            _lay(out, field, wanted == layer)
    still = np.ones(grid.count + 1, bool)
    still[moving] = False
    still[0] = False
    if still.any():
        out[still[grid.pixels]] = 0
    return out


def _lay(out: np.ndarray, field: np.ndarray, here: np.ndarray) -> None:
    """Puts cell velocities (2, rows, columns) into the pixels ``here``, enlarging no more than the box around them."""
    height, width = here.shape
    rows, columns = np.flatnonzero(here.any(axis=1)), np.flatnonzero(here.any(axis=0))
    if not len(rows):
        return
    box = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    for i in (0, 1):
        same = field.shape[1:] == here.shape
        values = field[i][box] if same else enlarge(field[i], height, width, box)
        np.copyto(out[..., i][box], values, where=here[box])


def _whole(channel: np.ndarray, height: int, width: int) -> np.ndarray:
    return channel if channel.shape == (height, width) else enlarge(channel, height, width)


def _layers(grid: Grid, moving: np.ndarray) -> np.ndarray:
    """Layer, from 1, of each label, such that regions of one layer are far apart; 0 for still ones."""
    layer_of = np.zeros(grid.count + 1, np.int32)
    layer_of[moving] = 1
    if len(moving) == 1:
        return layer_of
    cells = np.bincount(grid.labels.ravel(), minlength=grid.count + 1)
    grown: list[tuple[int, np.ndarray]] = []
    for label in sorted(moving.tolist(), key=lambda label: -cells[label])[:_MANY]:
        reach = _near(grid.labels == label, _APART)
        taken = {layer for layer, other in grown if (other & reach).any()}
        layer = next(n for n in range(1, len(moving) + 1) if n not in taken)
        layer_of[label] = layer
        grown.append((layer, reach))
    return layer_of


def _near(cells: np.ndarray, distance: int) -> np.ndarray:
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
    """The layer each pixel takes its velocity from: its region's, or outside all regions the nearest one's."""
    nearest = owner.copy()
    rows, columns = owner.shape
    for _ in range(4 * _APART):  # further out no mask is faded from
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
