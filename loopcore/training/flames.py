# SPDX-License-Identifier: Apache-2.0
"""Synthetic flames, as pictures with coverage.

Flames are tongues, distorted by noise that is stretched upwards and bent more with height. They emit light, exposed as
1 - exp(-exposure) in each channel, so that thin flame is red, thicker flame yellow, and over-exposed flame white.
"""

from __future__ import annotations

import functools

import numpy as np
from scipy.ndimage import gaussian_filter, map_coordinates

from loopcore.training.textures import smooth_noise

SIDE = 192  # of a picture, pixels
FLAMES = 64  # number of different ones
_GREEN, _BLUE = (0.22, 0.5), (0.02, 0.14)  # light of soot at 1300 to 1900 K, over its red


@functools.lru_cache(maxsize=FLAMES)
def flame(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns premultiplied colours (SIDE, SIDE, 3) float32 sRGB 0..1 and coverage (SIDE, SIDE) 0..1, by seed."""
    random = np.random.default_rng((seed, 0x464C))
    heat = _heat(random)
    warm = random.random()
    tint = np.array([1.0, _GREEN[0] + warm * (_GREEN[1] - _GREEN[0]), _BLUE[0] + warm * (_BLUE[1] - _BLUE[0])])
    exposed = np.exp(random.uniform(-0.2, 2.5)) * heat ** random.uniform(1.0, 2.0)
    codes = (1 - np.exp(-exposed[..., None] * tint)) ** (1 / random.uniform(1.0, 1.8))
    coverage = np.maximum(1 - np.exp(-random.uniform(3, 8) * heat), codes.max(axis=-1))
    return (codes * coverage[..., None]).astype(np.float32), coverage.astype(np.float32)


def _heat(random: np.random.Generator) -> np.ndarray:
    """Returns the optical thickness along the line of sight, (SIDE, SIDE), about 1 where dense."""
    y, x = np.mgrid[0:SIDE, 0:SIDE] / (SIDE - 1.0)
    up = 1 - y
    bent = sum(k * _noise(random, w, 1.5 * w) for w, k in ((60.0, 0.10), (25.0, 0.05), (10.0, 0.02)))
    x = x + random.uniform(0.3, 1.3) * bent * np.clip(up + 0.1, 0, 1) + random.uniform(-0.25, 0.25) * up**1.5
    wide = float(random.choice([0.06, 0.15, 0.3, 0.6], p=[0.2, 0.3, 0.3, 0.2]))  # of the fire's base
    total = np.full_like(x, -1.0)
    for _ in range(random.integers(1, 9)):
        middle, tall = 0.5 + wide * random.uniform(-1, 1), random.uniform(0.35, 0.95)
        half = max(0.03, wide * random.uniform(0.3, 0.8))
        rise = np.clip(up / tall, 0, 1)
        tongue = half * (rise + 0.08) ** random.uniform(0.1, 0.4) * (1 - rise) ** random.uniform(0.5, 1.2)
        total = np.maximum(total, (tongue - np.abs(x - middle)) / half - 4 * np.clip(up - tall, 0, None))
    long = random.uniform(2, 4)
    at = [(up + 0.3) * (SIDE - 1), x * (SIDE - 1)]
    torn = sum(
        k * map_coordinates(np.abs(_noise(random, w, long * w)) - 0.8, at, order=1, mode="grid-wrap")
        for w, k in ((5.0, 0.3), (12.0, 0.5), (28.0, 0.7))
    )
    ragged = total + random.uniform(0.2, 0.6) * torn * (0.3 + up)
    folded = np.exp(random.uniform(0.3, 1.0) * torn)
    heat = np.clip(ragged * random.uniform(1.2, 3), 0, 1.5) * folded * np.clip(y / 0.05, 0, 1)
    return gaussian_filter(heat, random.uniform(0.4, 1.5))


def _noise(random: np.random.Generator, across: float, down: float) -> np.ndarray:
    return smooth_noise(random, SIDE, across, down)
