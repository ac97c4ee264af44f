# SPDX-License-Identifier: Apache-2.0
"""How a loop looks: wander of the blurred picture, detail unlike the plate's, contrast of detail.

Measured on frames as a display shows them, against the first frame, and on nothing that the engine computed. The
limits lie between real clips of a fixed camera, judged as loops of their first frame, and loops whose
middle is visibly wrong.

Convention:
    Pictures are (H, W) float32 luma of display codes, 0 to 1; masks (H, W) float32, 0 to 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

# Standard deviation of the blur: share of the longer side, and pixels at least, as texture is seldom coarser.
BLUR = 0.0125
LEAST_BLUR = 8.0
# Standard deviations between which the bands of contrast lie; periods of about 7, 14, 28 and 56 pixels.
CONTRAST_SIGMAS = (1, 2, 4, 8, 16)
# Torn detail: bands of the descriptor, the radius its moments are taken over, variance of a band's gradient that is
# noise, weight of the logarithm of energy beside directions, samples at most.
TORN_SIGMAS = (0.5, 1, 2, 4)
TORN_RADIUS = 4.0
TORN_NOISE = 2e-5
TORN_ENERGY_WEIGHT = 0.15
TORN_SAMPLES = 50_000
# Of the first frame's own descriptors, this share is nearer to another of them.
TORN_QUANTILE = 0.99
# Pixels this close to the mask's edge are part still.
SOLID = 0.99


class Wander:
    """Distance of the blurred picture from the first frame's.

    The blur is a normalised convolution inside the mask (Knutsson & Westin, CVPR 1993): still pixels do not count.

    Args:
        first: the first frame.
        mask: what moves.
        side: the longer side, in pixels, of the whole picture that these are a part of.
    """

    def __init__(self, first: np.ndarray, mask: np.ndarray, side: int) -> None:
        sigma = max(BLUR * side, LEAST_BLUR)
        # Blocks much smaller than the blur give the same picture in less time.
        self._block = max(1, int(sigma / 4))
        self._sigma = sigma / self._block
        self._mask = mask
        self._weight = _block_sums(mask, self._block)
        self._first = self._blurred(first)

    def distance(self, frame: np.ndarray) -> float:
        """Returns the mean absolute difference over what moves, in display codes of 0 to 1."""
        total = float(self._weight.sum())
        return float(self._changes(frame).sum()) / total if total > 0 else 0.0

    def place(self, frame: np.ndarray) -> tuple[int, int]:
        """Returns row and column of the largest difference."""
        return busiest(self._changes(frame), 1, self._block)

    def _changes(self, frame: np.ndarray) -> np.ndarray:
        """Absolute differences by block, weighted by what moves in it."""
        return np.asarray(np.abs(self._blurred(frame) - self._first) * self._weight)

    def _blurred(self, frame: np.ndarray) -> np.ndarray:
        blur = _gaussian(_block_sums(frame * self._mask, self._block), self._sigma)
        return blur / np.maximum(_gaussian(self._weight, self._sigma), np.float32(1e-6))


class Contrast:
    """Contrast of detail in bands of differences of Gaussians: the root mean square of each over what moves.

    A band of standard deviation s over an area A has about n = A / (4 pi s^2) independent samples. The contrasts of two
    unrelated pictures, equal but for chance, then differ by 1 / sqrt(n) (one standard deviation).

    Args:
        mask: what moves.
    """

    def __init__(self, mask: np.ndarray) -> None:
        self._solid = (mask >= SOLID).astype(np.float32)
        self._contrasts: list[list[float]] = []

    def add(self, frame: np.ndarray) -> None:
        """Measure the next frame."""
        levels = [_gaussian(frame, sigma) for sigma in CONTRAST_SIGMAS]
        bands = [(a - b) ** 2 * self._solid for a, b in zip(levels, levels[1:], strict=False)]
        self._contrasts.append([math.sqrt(float(band.sum(dtype=np.float64))) for band in bands])

    def chance(self) -> list[float]:
        """Returns, by band, the spread that so few samples have by chance: 1 / sqrt(n)."""
        return _chance(float(self._solid.sum()), CONTRAST_SIGMAS)

    def spread(self) -> list[float]:
        """Returns, by band, the largest minus the smallest contrast of the frames, over their mean."""
        contrasts, mean = np.array(self._contrasts), self._means()
        return [float(value) for value in np.ptp(contrasts, axis=0) / mean]

    def levels(self) -> np.ndarray:
        """Returns, by frame and band, the contrast over the mean of all frames."""
        return np.array(self._contrasts) / self._means()

    def _means(self) -> np.ndarray:
        """Mean contrast by band; infinite where it is less than a display's rounding, which is no detail."""
        mean = np.array(self._contrasts).mean(axis=0)
        return np.where(mean > 0.002 * math.sqrt(float(self._solid.sum())), mean, np.inf)


class Carried:
    """Contrast of a blend's detail over what its two copies carry, in bands of differences of Gaussians.

    Their detail may change as they move: what a loop must not do is lose it in the blend and give it back.

    Args:
        mask: what moves.
    """

    def __init__(self, mask: np.ndarray) -> None:
        self._solid = (mask >= SOLID).astype(np.float32)
        self._ratios: list[list[float]] = []

    def add(self, blend: np.ndarray, past: np.ndarray, future: np.ndarray, past_weight: np.ndarray) -> None:
        """Measure the next frame, by the square roots of luminance of the blend and its copies."""
        has = self._energies(blend, self._solid)
        first = self._energies(past, self._solid * past_weight)
        second = self._energies(future, self._solid * (1 - past_weight))
        carried = [a + b for a, b in zip(first, second, strict=True)]
        self._ratios.append([math.sqrt(h / c) if c > 0 else 1.0 for h, c in zip(has, carried, strict=True)])

    def spread(self) -> list[float]:
        """Returns, by band, the largest minus the smallest ratio of the frames."""
        return [float(np.ptp(band)) for band in self.levels().T]

    def levels(self) -> np.ndarray:
        """Returns the ratios by frame and band."""
        return np.array(self._ratios)

    def chance(self) -> list[float]:
        """Returns, by band, the spread that so few samples have by chance, as `Contrast.chance`."""
        return _chance(float(self._solid.sum()), (0.5, *CONTRAST_SIGMAS[:-1]))

    def _energies(self, tone: np.ndarray, weight: np.ndarray) -> list[float]:
        levels = [tone, *(_gaussian(tone, sigma) for sigma in CONTRAST_SIGMAS[:-1])]
        bands = zip(levels, levels[1:], strict=False)
        return [float(((a - b) ** 2 * weight).sum(dtype=np.float64)) for a, b in bands]


class Torn:
    """Share of the moving pixels whose detail is unlike any of the first frame's, and more line-like.

    Each sampled pixel is described by the structure tensor (Bigun & Granlund, ICCV 1987) of three bands: its
    anisotropy along two axes, and the logarithm of its trace. A pixel of a later frame counts where the nearest
    descriptor of the first frame, wherever in the mask, is further than 99 % of the first frame's are from others that
    do not overlap them, and has the weaker anisotropy in the fine bands. Moving water has the descriptors it
    had before, at other places; sheared, squeezed and folded water has not.

    Args:
        first: the first frame.
        mask: what moves.
    """

    def __init__(self, first: np.ndarray, mask: np.ndarray) -> None:
        from scipy.spatial import cKDTree

        self._mask = mask
        solid = mask >= SOLID
        step = max(3, math.ceil(math.sqrt(np.count_nonzero(solid) / TORN_SAMPLES)))
        self._step = step
        self._at = np.argwhere(solid[::step, ::step])
        self._plate = self._descriptors(first)
        self._tree = cKDTree(self._plate)
        self._limit = self._own_distance() if len(self._at) else 0.0

    def share(self, frame: np.ndarray) -> float:
        """Returns the share, 0 to 1."""
        torn = self.torn(frame)
        return float(torn.mean()) if len(torn) else 0.0

    def torn(self, frame: np.ndarray) -> np.ndarray:
        """Returns for each sampled pixel whether it counts."""
        if not len(self._at):
            return np.zeros(0, bool)
        shown = self._descriptors(frame)
        distance, nearest = self._tree.query(shown)
        return np.asarray((distance > self._limit) & (_anisotropy(shown) > _anisotropy(self._plate[nearest])))

    def place(self, torn: np.ndarray, size: float) -> tuple[int, int]:
        """Returns row and column of the middle of the window of this size in which most samples count."""
        counts = np.zeros([-(-n // self._step) for n in self._mask.shape], np.float32)
        counts[tuple(self._at.T)] = torn
        return busiest(counts, size / self._step, self._step)

    def _own_distance(self) -> float:
        """The quantile of distances from the first frame's descriptors to the nearest that does not overlap."""
        neighbours = min(48, len(self._at))
        distance, index = self._tree.query(self._plate, k=neighbours)
        distance, index = (a.reshape(len(self._at), neighbours) for a in (distance, index))
        apart = np.linalg.norm(self._at[index] - self._at[:, None], axis=2) * self._step > 3 * TORN_RADIUS
        # Where all neighbours overlap, the last is a lower bound.
        own = np.where(apart, distance, np.inf).min(axis=1)
        return float(np.quantile(np.where(np.isfinite(own), own, distance[:, -1]), TORN_QUANTILE))

    def _descriptors(self, frame: np.ndarray) -> np.ndarray:
        weight = np.maximum(_gaussian(self._mask, TORN_RADIUS), np.float32(1e-6))
        levels = [_gaussian(frame, sigma) for sigma in TORN_SIGMAS]
        values = []
        for fine, coarse in zip(levels, levels[1:], strict=False):
            down, across = np.gradient(fine - coarse)
            xx, yy, xy = (
                self._sampled(_gaussian(product * self._mask, TORN_RADIUS) / weight)
                for product in (across * across, down * down, across * down)
            )
            energy = xx + yy + np.float32(TORN_NOISE)
            values += [(xx - yy) / energy, 2 * xy / energy, TORN_ENERGY_WEIGHT * np.log(energy)]
        return np.stack(values, axis=1)

    def _sampled(self, values: np.ndarray) -> np.ndarray:
        rows, columns = self._at.T * self._step
        return values[rows, columns]


def busiest(values: np.ndarray, size: float, block: int = 1) -> tuple[int, int]:
    """Returns row and column of the pixel in the middle of the window with the largest sum.

    Args:
        values: (H, W), one for each block of pixels.
        size: of the window, in blocks.
        block: pixels of a block.
    """
    from scipy.ndimage import uniform_filter

    sums = uniform_filter(values.astype(np.float64), max(1, round(size)), mode="constant")
    row, column = np.unravel_index(int(sums.argmax()), sums.shape)
    return int(row) * block + block // 2, int(column) * block + block // 2


def _chance(area: float, sigmas: Sequence[float]) -> list[float]:
    """1 / sqrt(n) for n = area / (4 pi s^2) samples in each band, s^2 the product of its two standard deviations."""
    return [math.sqrt(4 * math.pi * a * b / max(area, 1.0)) for a, b in zip(sigmas, sigmas[1:], strict=False)]


def _anisotropy(descriptors: np.ndarray) -> np.ndarray:
    """Sum of the anisotropy of the two fine bands."""
    fine = np.hypot(descriptors[:, 0], descriptors[:, 1])
    result: np.ndarray = fine + np.hypot(descriptors[:, 3], descriptors[:, 4])
    return result


def _gaussian(values: np.ndarray, sigma: float) -> np.ndarray:
    from scipy.ndimage import gaussian_filter

    return np.asarray(gaussian_filter(values, sigma, mode="nearest", truncate=3))


def _block_sums(values: np.ndarray, size: int) -> np.ndarray:
    """Sums over blocks of size x size pixels; the last ones may be cut."""
    padded = np.pad(values, [(0, -n % size) for n in values.shape])
    rows, columns = padded.shape[0] // size, padded.shape[1] // size
    return np.asarray(padded.reshape(rows, size, columns, size).sum(axis=(1, 3)))
