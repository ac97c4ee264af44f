# SPDX-License-Identifier: Apache-2.0
"""Contrast keeping: restores in a blend of two copies the detail that the plate has.

Half and half of two unlike textures has 71 % of their contrast; a loop that goes from one copy to the mix and back
would breathe. For detail d = a d1 + b d2 (a + b = 1) of two copies with the same variance V and local correlation rho

    var(d) = (a^2 + b^2 + 2 a b rho) V,

so d is divided by sqrt(a^2 + b^2 + 2 a b rho), band by band. Rather than rho, the variances themselves are measured:
the blend's own, var(d), and what its copies carry, a V1 + b V2. Their ratio is that square root, and
holds where V1 and V2 differ, too.

Done on the tone, the square root of luminance: as even to the eye as a logarithm, and the same at every exposure.
More detail means more luminance, the mean of tone^2; the increase is measured and subtracted, so that the
brightness of the loop does not pulse.

The bands are those of a Laplacian pyramid (Burt & Adelson 1983) with nodes at even pixels, expanded bilinearly.
Variances are weighted means over blocks of 8 x 8 of a level's pixels, smoothed over 3 x 3 blocks.
"""

import math

import numpy as np

from loopcore.parallel import parallel_rows
from loopcore.transport.jit import kernel
from loopcore.transport.pixels import ramp8

_F = np.float32

BLOCK = 8
# Brightness is kept over squares of so many pixels.
PATCH = 128
MAX_LEVELS = 5
# The square root of 2 makes good for two unrelated copies; where they cancel each other, it takes more.
MAX_GAIN = 1.8
# Limits of what the changes of a whole band are scaled by.
BAND_SCALE_LIMITS = (0.5, 1.5)
# The gains of levels from this one on, of periods of 8 pixels and more, are refined in so many rounds.
REFINED_FROM_LEVEL = 1
REFINEMENT_ROUNDS = 3
# Below this variance (of tone) a block holds no detail worth a gain: a 16-bit picture's rounding.
MIN_VARIANCE = 1e-9


@kernel
def _row(flat, width, y):
    """Row y of a picture. Loops are vectorised over a slice, whose indices are known not to be negative."""
    return flat[y * width : (y + 1) * width]


@kernel
def _reduce_rows(fine, height, width, columns, coarse, first, last):
    # Two more on either side: a border pixel counts again for those beyond it.
    line = np.empty(width + 4, np.float32)
    middle = line[2 : width + 2]
    for i in range(first, last):
        y = 2 * i
        a, b, c = _row(fine, width, max(y - 2, 0)), _row(fine, width, max(y - 1, 0)), _row(fine, width, y)
        d, e = _row(fine, width, min(y + 1, height - 1)), _row(fine, width, min(y + 2, height - 1))
        for x in range(width):
            outer, inner = a[x] + e[x], b[x] + d[x]
            middle[x] = _F(1 / 16) * outer + _F(4 / 16) * inner + _F(6 / 16) * c[x]
        line[:2], line[width + 2 :] = middle[0], middle[width - 1]
        out = _row(coarse, columns, i)
        for j in range(columns):
            outer, inner = line[2 * j] + line[2 * j + 4], line[2 * j + 1] + line[2 * j + 3]
            out[j] = _F(1 / 16) * outer + _F(4 / 16) * inner + _F(6 / 16) * line[2 * j + 2]


def reduce(fine: np.ndarray) -> np.ndarray:
    """Every second pixel of a picture (h, w), low-passed with the binomial 1 4 6 4 1."""
    height, width = fine.shape
    out = np.empty(((height + 1) // 2, (width + 1) // 2), np.float32)
    flat, target = fine.reshape(-1), out.reshape(-1)
    parallel_rows(out.shape[0], lambda a, b: _reduce_rows(flat, height, width, out.shape[1], target, a, b))
    return out


@kernel
def _expanded_line(coarse, rows, columns, y, width, halves, line):
    """Row y of the coarse picture expanded to twice its size, bilinearly."""
    above, below = _row(coarse, columns, y // 2), _row(coarse, columns, min(y // 2 + y % 2, rows - 1))
    for j in range(columns):
        halves[j] = _F(0.5) * (above[j] + below[j])
    for j in range(columns - 1):
        line[2 * j] = halves[j]
        line[2 * j + 1] = _F(0.5) * (halves[j] + halves[j + 1])
    line[2 * columns - 2] = halves[columns - 1]
    if 2 * columns - 1 < width:
        line[2 * columns - 1] = halves[columns - 1]


@kernel
def _energy_rows(fine, height, width, coarse, rows, columns, weight, blocks, energy, first, last):
    halves, line = np.empty(columns, np.float32), np.empty(2 * columns, np.float32)
    for i in range(first, last):
        sums = _row(energy, blocks, i)
        sums[:] = 0
        for y in range(BLOCK * i, min(BLOCK * (i + 1), height)):
            _expanded_line(coarse, rows, columns, y, width, halves, line)
            pixels, weights = _row(fine, width, y), _row(weight, width, y)
            for x in range(width):
                line[x] = weights[x] * (pixels[x] - line[x]) ** 2
            for j in range(width // BLOCK):
                a, b, c, d = line[8 * j], line[8 * j + 1], line[8 * j + 2], line[8 * j + 3]
                e, f, g, h = line[8 * j + 4], line[8 * j + 5], line[8 * j + 6], line[8 * j + 7]
                sums[j] += a + b + c + d + e + f + g + h
            if width % BLOCK:
                total = _F(0)
                for x in range(width - width % BLOCK, width):
                    total += line[x]
                sums[blocks - 1] += total


def energy(fine: np.ndarray, coarse: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Weighted sum over each block of the squared band between two levels of the pyramid."""
    height, width = fine.shape
    rows, blocks = -(-height // BLOCK), -(-width // BLOCK)
    out = np.empty((rows, blocks), np.float32)
    flat, low, pixel_weight, target = fine.reshape(-1), coarse.reshape(-1), weight.reshape(-1), out.reshape(-1)
    parallel_rows(
        rows,
        lambda a, b: _energy_rows(flat, height, width, low, *coarse.shape, pixel_weight, blocks, target, a, b),
        min_rows=2,
    )
    return out


def _smoothed(grid: np.ndarray) -> np.ndarray:
    """A grid of block sums, smoothed over 3 x 3 blocks."""
    for axis in (0, 1):
        grid = np.moveaxis(grid, axis, 0)
        padded = np.pad(grid, [(1, 1), (0, 0)])
        grid = np.moveaxis(_F(0.5) * grid + _F(0.25) * (padded[2:] + padded[:-2]), 0, axis)
    return grid


@kernel
def _block_line(grid, size, y, width, line):
    """A grid of blocks, size x size pixels each (an even size), interpolated between their centres to pixel row y."""
    rows, blocks = grid.shape
    v = min(max((_F(y) - _F(0.5) * _F(size - 1)) / _F(size), _F(0)), _F(rows - 1))
    i = int(v)
    below, t = min(i + 1, rows - 1), v - _F(i)
    half, per_pixel = size // 2, _F(1) / _F(size)
    # Centres lie between two pixels: the first after block j's is at size j + half.
    left = grid[i, 0] + t * (grid[below, 0] - grid[i, 0])
    line[: min(half, width)] = left
    for j in range(blocks):
        right = left
        if j + 1 < blocks:
            right = grid[i, j + 1] + t * (grid[below, j + 1] - grid[i, j + 1])
        slope = (right - left) * per_pixel
        start = size * j + half
        if start + size <= width:  # Eight at a time; an even size of blocks is a multiple of that.
            for k in range(0, size, 8):
                ramp8(line, start + k, left, slope, _F(k) + _F(0.5))
        else:
            for k in range(width - start):
                line[start + k] = left + (_F(k) + _F(0.5)) * slope
        left = right


@kernel
def _change_rows(fine, width, coarse, change_below, rows, columns, gain, out, first, last):
    halves = np.empty(columns, np.float32)
    mean, below = np.empty(2 * columns, np.float32), np.empty(2 * columns, np.float32)
    gains = np.empty(width, np.float32)
    for y in range(first, last):
        _expanded_line(coarse, rows, columns, y, width, halves, mean)
        _expanded_line(change_below, rows, columns, y, width, halves, below)
        _block_line(gain, BLOCK, y, width, gains)
        pixels, changed = _row(fine, width, y), _row(out, width, y)
        for x in range(width):
            changed[x] = below[x] + gains[x] * (pixels[x] - mean[x])


@kernel
def _add_patches(line, sums):
    """Add to each sum its PATCH values of the line, in their order; four sums at a time, as one waits for itself."""
    whole = len(sums) - len(sums) % 4
    for j in range(0, whole, 4):
        a, b, c, d = _F(0), _F(0), _F(0), _F(0)
        for x in range(PATCH * j, PATCH * (j + 1)):
            a, b, c, d = a + line[x], b + line[x + PATCH], c + line[x + 2 * PATCH], d + line[x + 3 * PATCH]
        sums[j] += a
        sums[j + 1] += b
        sums[j + 2] += c
        sums[j + 3] += d
    for j in range(whole, len(sums)):
        total = _F(0)
        for x in range(PATCH * j, PATCH * (j + 1)):
            total += line[x]
        sums[j] += total


@kernel
def _surplus_rows(tone, change, weight, height, width, blocks, brighter, level, first, last):
    """Per block of PATCH x PATCH: the luminance that the change adds, and the sum of the new tone."""
    more, total = np.empty(blocks * PATCH, np.float32), np.empty(blocks * PATCH, np.float32)
    more[width:], total[width:] = 0, 0
    for i in range(first, last):
        brighter[i, :] = 0
        level[i, :] = 0
        for y in range(PATCH * i, min(PATCH * (i + 1), height)):
            tones, changes, weights = _row(tone, width, y), _row(change, width, y), _row(weight, width, y)
            for x in range(width):
                more[x] = weights[x] * changes[x] * (_F(2) * tones[x] + changes[x])
                total[x] = weights[x] * (tones[x] + changes[x])
            _add_patches(more, brighter[i])
            _add_patches(total, level[i])


@kernel
def _lower_rows(change, width, grid, first, last):
    line = np.empty(width, np.float32)
    for y in range(first, last):
        _block_line(grid, PATCH, y, width, line)
        changed = _row(change, width, y)
        for x in range(width):
            changed[x] -= line[x]


def _keep_brightness(tone: np.ndarray, change: np.ndarray, weight: np.ndarray) -> None:
    """Lower the change by what it adds to the local mean of luminance, tone^2: s in sum (t + c - s)^2 = sum t^2."""
    height, width = tone.shape
    rows, blocks = -(-height // PATCH), -(-width // PATCH)
    brighter, level = np.empty((rows, blocks), np.float32), np.empty((rows, blocks), np.float32)
    flat, delta, pixel_weight = tone.reshape(-1), change.reshape(-1), weight.reshape(-1)
    parallel_rows(
        rows,
        lambda a, b: _surplus_rows(flat, delta, pixel_weight, height, width, blocks, brighter, level, a, b),
        min_rows=1,
    )
    lower = _smoothed(brighter) / np.maximum(2 * _smoothed(level), _F(1e-6))
    parallel_rows(height, lambda a, b: _lower_rows(delta, width, lower, a, b))


class Contrast:
    """Restores in a blend the detail of the copies it was made of, band by band and place by place.

    weight: (H, W) float32, how much each pixel counts: the mask, so that still pixels count nothing.
    strength: 0 leaves blends as they are, 1 restores all of the detail.
    """

    # Detail lost by blending is restored; none is removed.
    min_gain, min_scale = 1.0, BAND_SCALE_LIMITS[0]

    def __init__(self, weight: np.ndarray, strength: float = 1.0) -> None:
        self.strength = strength
        self.weights = [fine for fine, _ in bands(weight)]
        # Floored: a block with next to no moving pixel counts nothing, and nothing divides by zero.
        self.counts = [np.maximum(_smoothed(_counts(fine)), _F(1e-3)) for fine in self.weights]

    def of_copies(self, past: np.ndarray, future: np.ndarray, past_weight: np.ndarray) -> list[np.ndarray]:
        """Energy of each band, by blocks, that two copies carry, weighted as in their blend.

        past, future: tones (H, W) of the copies. past_weight: (rows, columns) blend weight of the copy from the past,
        on any grid over the frame.
        """
        if self.strength == 0:
            return []
        copies = [bands(copy) for copy in (past, future)]
        return [self._wanted(k, copies[0][k], copies[1][k], past_weight) for k in range(len(self.weights))]

    def change(self, blend: np.ndarray, wanted: list[np.ndarray]) -> np.ndarray | None:
        """What to add to the tone (H, W) of a blend; None where nothing is to do.

        wanted: energy of each band, by blocks, that it is to have; none to leave it as it is.
        """
        if not wanted:
            return None
        levels = bands(blend)
        has = self._energies(levels, 0)
        gains = [np.clip(self._ratio(k, wanted[k], has[k]), self.min_gain, MAX_GAIN) for k in range(len(levels))]
        gains = [self._rescaled(k, gain, wanted[k], has[k]) for k, gain in enumerate(gains)]
        start = min(REFINED_FROM_LEVEL, len(levels) - 1)
        for _ in range(REFINEMENT_ROUNDS):
            # What is still does not follow: a coarse band, amplified within a narrow mask only, falls short. Its
            # gain is raised by what is missing.
            fine = levels[start][0]
            shown = fine + self.weights[start] * self._changed(levels, gains, start)
            for k, energies in enumerate(self._energies(bands(shown)[: len(levels) - start], start), start):
                more = np.clip(self._ratio(k, wanted[k], energies), 0.8, MAX_GAIN)
                more = np.clip(gains[k] * more, self.min_gain, MAX_GAIN)
                gains[k] = self._rescaled(k, more, wanted[k], energies / gains[k] ** 2)
        change = self._changed(levels, gains, 0)
        _keep_brightness(blend, change, self.weights[0])
        return change

    def _energies(self, levels: list[tuple[np.ndarray, np.ndarray]], start: int) -> list[np.ndarray]:
        return [_smoothed(energy(fine, coarse, self.weights[k])) for k, (fine, coarse) in enumerate(levels, start)]

    def _wanted(self, k: int, past: tuple[np.ndarray, np.ndarray], future: tuple[np.ndarray, np.ndarray],
                past_weight: np.ndarray) -> np.ndarray:  # fmt: skip
        """What the copies carry in band k, by blocks, weighted as in the blend."""
        weight = self.weights[k]
        if k < REFINED_FROM_LEVEL:
            # Blocks are small: one blend weight for each.
            copies = [_smoothed(energy(*pair, weight)) for pair in (past, future)]
            part = _resampled(past_weight, *copies[0].shape)
            return part * copies[0] + (1 - part) * copies[1]
        part, rest = _split(weight, past_weight)
        return _smoothed(energy(*past, part)) + _smoothed(energy(*future, rest))

    def _ratio(self, k: int, wanted: np.ndarray, has: np.ndarray) -> np.ndarray:
        floor = _F(MIN_VARIANCE) * self.counts[k]
        return np.sqrt((wanted + floor) / (has + floor)).astype(np.float32)

    def _rescaled(self, k: int, gain: np.ndarray, wanted: np.ndarray, has: np.ndarray) -> np.ndarray:
        """A band's gains, their change scaled so that what limits it here and there is made up for by the rest.

        Solves sum (1 + s (gain - 1))^2 has = sum wanted for s; where copies agree the gain is 1, and stays so.
        """
        change = (gain - 1).astype(np.float64)
        a, b = float((change * change * has).sum()), float((change * has).sum())
        c = float(has.sum(dtype=np.float64) - wanted.sum(dtype=np.float64))
        floor = MIN_VARIANCE * float(self.counts[k].sum(dtype=np.float64))
        if a <= floor:
            return gain
        root = math.sqrt(max(b * b - a * c, 0.0))
        scale = np.clip((root - b) / a, self.min_scale, BAND_SCALE_LIMITS[1])
        return (1 + scale * change).astype(np.float32)

    def _changed(self, levels: list[tuple[np.ndarray, np.ndarray]], gains: list[np.ndarray], start: int) -> np.ndarray:
        """The change of tone at one level's resolution, from the coarsest level up to it."""
        change = np.zeros_like(levels[-1][1])
        for k in reversed(range(start, len(levels))):
            gain = 1 + _F(self.strength) * (gains[k] - 1)
            change = _change(*levels[k], change, gain - 1)
        return change


def _counts(weight: np.ndarray) -> np.ndarray:
    """Sum of the weights in each block."""
    pad = [(0, -n % BLOCK) for n in weight.shape]
    padded = np.pad(weight, pad)
    rows, blocks = padded.shape[0] // BLOCK, padded.shape[1] // BLOCK
    return padded.reshape(rows, BLOCK, blocks, BLOCK).sum(axis=(1, 3))


def _nearest(size: int, count: int) -> np.ndarray:
    """Which of `size` nodes is nearest to the centre of each of `count` parts of a side."""
    return ((np.arange(count) + 0.5) / count * size).astype(int)


def _resampled(grid: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """The grid's values nearest to the centres of rows x columns blocks."""
    return grid[_nearest(grid.shape[0], rows)[:, None], _nearest(grid.shape[1], columns)[None, :]]


@kernel
def _split_rows(weight, width, grid, rows, columns, part, rest, first, last):
    line = np.empty(width, np.float32)
    for y in range(first, last):
        nearest = grid[rows[y]]
        for x in range(width):
            line[x] = nearest[columns[x]]
        weights, parts, rests = _row(weight, width, y), _row(part, width, y), _row(rest, width, y)
        for x in range(width):
            parts[x] = weights[x] * line[x]
            rests[x] = weights[x] - parts[x]


def _split(weight: np.ndarray, share: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A share of the weights (H, W), and the rest; the share is on any grid over the frame."""
    part, rest = np.empty_like(weight), np.empty_like(weight)
    (height, width), flat = weight.shape, [a.reshape(-1) for a in (weight, part, rest)]
    grid = np.ascontiguousarray(share)
    rows, columns = _nearest(grid.shape[0], height), _nearest(grid.shape[1], width)
    parallel_rows(height, lambda a, b: _split_rows(flat[0], width, grid, rows, columns, flat[1], flat[2], a, b))
    return part, rest


def bands(tone: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Pairs of neighbouring pyramid levels, finest first; none for a picture too small to have bands."""
    levels = [tone]
    while min(levels[-1].shape) >= 2 * BLOCK and len(levels) <= MAX_LEVELS:
        levels.append(reduce(levels[-1]))
    return list(zip(levels, levels[1:], strict=False))


def _change(fine: np.ndarray, coarse: np.ndarray, change_below: np.ndarray, gain: np.ndarray) -> np.ndarray:
    height, width = fine.shape
    out = np.empty((height, width), np.float32)
    flat, low, below, target = (a.reshape(-1) for a in (fine, coarse, change_below, out))
    parallel_rows(height, lambda a, b: _change_rows(flat, width, low, below, *coarse.shape, gain, target, a, b))
    return out
