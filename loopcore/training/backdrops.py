# SPDX-License-Identifier: Apache-2.0
"""Smooth things that stay: studio backdrops, walls, and backgrounds out of focus.

A portrait's backdrop is as smooth as a sky or a lake. Labelled photographs show few of them.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter

_BLURRED = 0.5  # fraction of backdrops that are the blurred photograph itself; others are painted
_BLURS = (3.0, 25.0)  # deviation, px


def add_backdrop(picture: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Returns an (h, w, 3) float32 picture 0..1, of which only a blob, mostly in the lower half, is left in front."""
    front = _blob(picture.shape[:2], random)[..., None]
    if random.random() < _BLURRED:
        low, high = _BLURS
        sigma = low * (high / low) ** random.random()
        back = gaussian_filter(picture[::-1, ::-1] if random.random() < 0.5 else picture, (sigma, sigma, 0))
    else:
        back = _painted(picture.shape[:2], random)
    mixed: np.ndarray = np.clip(back + front * (picture - back), 0, 1).astype(np.float32)
    return mixed


def _noise(shape: tuple[int, ...], sigma: float, random: np.random.Generator) -> np.ndarray:
    """Returns smooth noise of deviation 1."""
    noise = gaussian_filter(random.normal(size=shape), sigma)
    return noise / max(float(noise.std()), 1e-6)


def _blob(shape: tuple[int, ...], random: np.random.Generator) -> np.ndarray:
    y, x = np.mgrid[: shape[0], : shape[1]] / shape[0]
    far = np.hypot(x - random.uniform(0.2, 0.8), 0.8 * (y - random.uniform(0.4, 1.0)))
    inside = 1.2 - 2.2 * far + 0.6 * _noise(shape, random.uniform(15, 40), random)
    return 1 / (1 + np.exp(-np.clip(inside / random.uniform(0.01, 0.1), -50, 50)))


def _painted(shape: tuple[int, ...], random: np.random.Generator) -> np.ndarray:
    """Returns a mottled gradient between two shades of a colour, (h, w, 3)."""
    y, x = np.mgrid[: shape[0], : shape[1]] / max(shape)
    shade = random.normal() * y + random.normal() * x
    shade += random.uniform(0.05, 0.5) * _noise(shape, random.uniform(8, 40), random)
    shade += random.uniform(0, 0.1) * _noise(shape, random.uniform(1, 4), random)
    shade = (shade - shade.min()) / max(float(np.ptp(shade)), 1e-6)
    colour = random.uniform(0.15, 0.95) * (1 + random.normal(0, 0.12, 3))
    grain = random.uniform(0, 0.02) * _noise(shape, 0.6, random)
    return colour * (1 + random.normal(0, 0.25) * shade[..., None]) + grain[..., None]
