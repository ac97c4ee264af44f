# SPDX-License-Identifier: Apache-2.0
"""Synthetic white water, falls, brooks, rapids and fountains, as pictures with coverage.

A fall is a curtain of vertical streaks that widens downwards, interrupted by ledges, with foam at its foot. A rapid is
dark water with foam in perspective. Both may have boulders: holes with foam below. A brook is a series of dark pools
with low falls between them. A fountain is many particles thrown up from nozzles, each on its parabola.
"""

from __future__ import annotations

import functools

import numpy as np
from scipy.ndimage import gaussian_filter, map_coordinates

from loopcore.training.textures import smooth_noise

SIDE = 192  # of a picture, pixels
WATERS = 120  # number of different ones: two falls, a rapid, a fountain, a brook, and so on
_PARTICLES = 600  # of a fountain's water
_TIME_STEPS = 160  # along a parabola


@functools.lru_cache(maxsize=WATERS)
def white_water(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns premultiplied colours (SIDE, SIDE, 3) float32 sRGB 0..1 and coverage (SIDE, SIDE) 0..1, by seed."""
    random = np.random.default_rng((seed, 0x5757))
    light, coverage = (_fall, _fall, _rapid, _fountain, _brook)[seed % 5](random)
    if seed % 5 in (2, 4):  # transparent: brown, green or blue
        shade = random.uniform(0.1, 0.45) * random.uniform(0.7, 1.0, 3)
    else:  # white, with blue shadows
        shade = np.array([1, *np.sort(random.uniform(1.0, 1.1, 2))]) * random.uniform(0.35, 0.6)
    white = random.uniform(0.8, 1.0) * np.array([1.0, *random.uniform(0.97, 1.03, 2)])
    codes = np.clip(shade + (white - shade) * light[..., None], 0, 1)
    return (codes * coverage[..., None]).astype(np.float32), coverage.astype(np.float32)


def _noise(random: np.random.Generator, across: float, down: float) -> np.ndarray:
    return smooth_noise(random, SIDE, across, down)


def _fall(random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Returns light and coverage, (SIDE, SIDE) 0..1 each, of a fall that enters at the top."""
    y, x = np.mgrid[0:SIDE, 0:SIDE] / (SIDE - 1.0)
    ledges = np.concatenate([[-0.1], np.sort(random.uniform(0.1, 0.9, random.integers(0, 5))), [1.1]])
    uneven = y + 0.03 * _noise(random, 30, 400) + 0.01 * _noise(random, 8, 8)
    step = np.clip(np.searchsorted(ledges, uneven, side="right") - 1, 0, len(ledges) - 2)
    fallen = uneven - ledges[step]
    middle = 0.5 + random.uniform(-0.15, 0.15) + random.normal(0, 0.03, len(ledges))[step]
    spread = 1 + random.uniform(0, 0.5) * y + random.uniform(0, 0.8) * np.clip(fallen, 0, None)
    home = (x - middle + 0.004 * _noise(random, 40, 60)) / spread
    long = random.uniform(12, 50)
    streaks = sum(k * _noise(random, w, long * w**0.5) for w, k in ((1.5, 0.6), (3.5, 0.7), (9.0, 0.6)))
    at = [(y + 0.37 * step) * (SIDE - 1), (home + 0.5) * (SIDE - 1)]
    streaks = map_coordinates(streaks, at, order=1, mode="grid-wrap")
    width = np.maximum(random.uniform(0.05, 0.4) * (1 + 0.3 * random.normal(size=len(ledges))[step]), 0.03)
    strands = map_coordinates(_noise(random, random.uniform(10, 40), 120), at, order=1, mode="grid-wrap")
    inside = (width - np.abs(home)) / 0.1 + 0.6 * streaks + random.uniform(0.2, 1.5) * strands
    foam = np.exp(-np.abs((uneven - 0.95) / random.uniform(0.02, 0.08))) + 0.8 * np.exp(-fallen / 0.04) * (step > 0)
    inside = inside + foam * (0.5 + _noise(random, 8, 5)) * (np.abs(home) < 1.3 * width)
    foot = np.clip((0.97 - uneven) / 0.04, 0, 1)
    coverage = np.clip(0.5 + 0.6 * inside, 0, random.uniform(0.85, 1.0)) * foot
    if random.random() < 0.5:
        boulders, skirts = _boulders(random)
        coverage, foam = coverage * (1 - boulders), foam + skirts
    light = np.clip(random.uniform(0.45, 0.7) + 0.22 * streaks + 0.3 * foam + 0.08 * _noise(random, 2, 4), 0, 1)
    soft = random.uniform(0.2, 1.0)
    return gaussian_filter(light, soft), gaussian_filter(coverage, soft)


def _rapid(random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Returns light and coverage, (SIDE, SIDE) 0..1 each, of a rapid in perspective."""
    y, x = np.mgrid[0:SIDE, 0:SIDE] / (SIDE - 1.0)
    near = 1 - random.uniform(0.2, 0.75) * (1 - y)  # size over that in the lowest row
    bend = random.uniform(-0.3, 0.3) * (1 - y) ** random.uniform(0.7, 2)
    across = (x - 0.5 - bend) / near
    away = np.log(near) * random.uniform(1, 3)
    at = [away * (SIDE - 1), (across + 0.5) * (SIDE - 1)]
    long = random.uniform(0.5, 2.5)
    sizes = ((2.5, 0.35), (6.0, 0.6), (14.0, 0.8), (35.0, 0.7))
    waves = sum(k * map_coordinates(_noise(random, w, w * long), at, order=1, mode="grid-wrap") for w, k in sizes)
    boulders, skirts = _boulders(random)
    white = waves + random.uniform(-1.5, 0.5) + 2 * skirts
    light = 0.1 * _noise(random, 6, 2) + 0.15 + 0.85 / (1 + np.exp(-random.uniform(1.2, 3) * white))
    half = random.uniform(0.2, 0.9)
    inside = (half - np.abs(across)) / 0.04 + 2 * _noise(random, 16, 12)
    farthest = (y - random.uniform(0, 0.3)) / 0.03
    coverage = np.clip(np.minimum(inside, farthest), 0, 1) * (1 - boulders)
    soft = random.uniform(0.2, 0.8)
    return np.clip(gaussian_filter(light, soft), 0, 1), gaussian_filter(coverage, soft)


def _brook(random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Returns light and coverage of a stepped brook seen from below, farther steps lower and narrower."""
    y, x = np.mgrid[0:SIDE, 0:SIDE] / (SIDE - 1.0)
    steps = random.integers(2, 7)
    near = 0.75 ** np.arange(steps) if random.random() < 0.7 else np.ones(steps)
    sizes = (near * random.lognormal(0, 0.35, steps))[::-1]  # farthest first
    ends = np.cumsum(sizes) / sizes.sum()
    uneven = y + 0.025 * _noise(random, 25, 200) + 0.01 * _noise(random, 6, 6)
    step = np.clip(np.searchsorted(ends, uneven, side="right"), 0, steps - 1)
    size = sizes[step] / sizes.sum()
    within = (uneven - (ends[step] - size)) / size  # 0 at the ledge, 1 before the next
    high = random.uniform(0.15, 0.7, steps)[step]  # how much of a step falls
    long = random.uniform(6, 16)
    streaks = sum(k * _noise(random, w, long * w**0.5) for w, k in ((1.5, 0.6), (3.5, 0.7), (9.0, 0.5)))
    ripples = sum(k * _noise(random, w, w / 3) for w, k in ((6.0, 0.4), (14.0, 0.5), (40.0, 0.6)))
    thin = random.uniform(-0.2, 1.0)  # from strands to curtains
    fall = np.clip(0.55 + thin * 0.3 + 0.35 * streaks + 0.3 * _noise(random, 14, 60), 0, 1)
    foam = np.exp(-np.abs(within - high) / random.uniform(0.06, 0.25))
    foam *= np.clip(0.6 + 0.6 * _noise(random, 7, 3), 0, 1.3)
    pool = 0.12 + 0.1 * np.clip(ripples, -1, 2) + 0.2 * np.clip(ripples - random.uniform(1, 2), 0, 2)
    light = np.clip(np.where(within < high, fall, pool) + foam, 0, 1)
    middle = 0.5 + random.normal(0, 0.06, steps)[step]
    half = np.maximum(random.uniform(0.12, 0.4) * near[::-1] * random.lognormal(0, 0.2, steps), 0.03)[step]
    coverage = np.clip((half - np.abs(x - middle)) / 0.03 + 1.2 * _noise(random, 14, 10), 0, 1)
    coverage *= np.clip((within >= high) + 0.4 + 1.2 * fall, 0, 1)  # rock shows between strands
    coverage *= 1 - _boulders(random)[0] * (random.random() < 0.6)
    soft = random.uniform(0.2, 0.7)
    return gaussian_filter(light, soft), gaussian_filter(coverage, soft)


def _boulders(random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Returns coverage of boulders and of the foam around and below them, (SIDE, SIDE) 0..1 each."""
    wide = random.uniform(12, 45)
    lie = _noise(random, wide, wide * random.uniform(0.4, 1.2)) + 0.25 * _noise(random, 6, 6)
    over = lie - random.uniform(0.5, 1.8)
    stand = np.clip(0.5 + over / 0.15, 0, 1)
    below = np.roll(stand, round(wide / 5), axis=0)
    skirts = gaussian_filter(np.maximum(below, over > -0.25), 2)
    return stand, np.clip(skirts * (0.7 + _noise(random, 5, 3)), 0, 1)


def _fountain(random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Returns light and coverage of jets from one to three nozzles on the lowest row."""
    nozzles = random.integers(1, 4)
    density = np.zeros((SIDE, SIDE))
    for nozzle in range(nozzles):
        from_x = SIDE * (0.5 if nozzles == 1 else 0.25 + 0.5 * nozzle / (nozzles - 1) + random.normal(0, 0.03))
        height, open_by = random.uniform(0.5, 0.93) * SIDE, random.uniform(0.02, 0.35)
        rise = np.sqrt(height) * random.normal(1, 0.06, _PARTICLES)
        aside = random.uniform(-0.15, 0.15) + random.normal(0, open_by, _PARTICLES)
        time = np.linspace(0, 2, _TIME_STEPS)[:, None]  # 1 at the top, by the choice of gravity
        up = rise**2 * (2 * time - time**2)
        along = from_x + aside * rise * np.sqrt(SIDE) * time * 0.5 + random.normal(0, 0.5, (_TIME_STEPS, _PARTICLES))
        grid, _, _ = np.histogram2d((SIDE - 1 - up).ravel(), along.ravel(), bins=SIDE, range=[[0, SIDE], [0, SIDE]])
        density += grid
    speckle = np.exp(0.5 * _noise(random, 2, 5) + 0.4 * _noise(random, 6, 16))
    density = gaussian_filter(density, random.uniform(0.6, 1.4)) * speckle
    coverage = 1 - np.exp(-density / random.uniform(1.0, 3.0))
    light = np.clip(0.45 + 0.5 * coverage + 0.12 * _noise(random, 2, 4), 0, 1)
    return light, coverage
