# SPDX-License-Identifier: Apache-2.0
"""Textures of synthetic fluids: multi-scale noise, stretched along the flow where real fluids show streaks.

A texture covers the plane (mirrored beyond its array), so that inflow is textured too. Streaks are line integral
convolution (Cabral, Leedom, SIGGRAPH 1993) of noise along the field.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Flow = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Appearance:
    """Parameters of a texture.

    Attributes:
        roughness: k of the spectrum 1/f^k.
        streaks: half their length over the longer side.
        colours: from dark to bright, sRGB 0..1.
    """

    roughness: float
    streaks: float
    colours: tuple[tuple[float, float, float], ...]


_APPEARANCES = {
    "water": Appearance(0.9, 0.05, ((0.08, 0.16, 0.18), (0.22, 0.36, 0.38), (0.55, 0.68, 0.70), (0.92, 0.95, 0.96))),
    "falls": Appearance(0.7, 0.09, ((0.25, 0.32, 0.36), (0.60, 0.68, 0.72), (0.95, 0.97, 0.98))),
    "waves": Appearance(1.0, 0.015, ((0.04, 0.12, 0.20), (0.12, 0.27, 0.38), (0.45, 0.60, 0.68), (0.90, 0.94, 0.95))),
    "clouds": Appearance(1.6, 0.0, ((0.30, 0.48, 0.75), (0.55, 0.68, 0.85), (0.90, 0.92, 0.94), (0.98, 0.98, 0.98))),
    "smoke": Appearance(1.4, 0.01, ((0.25, 0.25, 0.26), (0.55, 0.54, 0.53), (0.85, 0.84, 0.83))),
    "fire": Appearance(1.2, 0.03, ((0.10, 0.02, 0.01), (0.75, 0.22, 0.03), (1.0, 0.65, 0.15), (1.0, 0.95, 0.7))),
}
_STEPS = 8  # of a streak in each direction


@dataclass(frozen=True)
class Texture:
    """A texture over a picture and its surroundings.

    Attributes:
        values: (H, W) float64 0..1.
        origin: (x, y) of the picture's first pixel in ``values``.
        ramp: (n, 3) sRGB 0..1 that values are mapped to.
    """

    values: np.ndarray
    origin: tuple[int, int]
    ramp: np.ndarray

    def colours(self, points: np.ndarray) -> np.ndarray:
        """Returns (..., 3) sRGB 0..1 at points (..., 2) in pixels of the picture."""
        value = sample(self.values, points + np.array(self.origin, np.float64)) * (len(self.ramp) - 1)
        return np.stack([np.interp(value, np.arange(len(self.ramp)), self.ramp[:, c]) for c in range(3)], axis=-1)


def positions(height: int, width: int) -> np.ndarray:
    """Returns each pixel's (x, y), (height, width, 2) float64."""
    return np.stack(np.meshgrid(np.arange(width, dtype=np.float64), np.arange(height, dtype=np.float64)), axis=-1)


def sample(values: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Samples (H, W) values at (..., 2) points by cubic splines, mirrored beyond the border."""
    from scipy.ndimage import map_coordinates

    return map_coordinates(values, [points[..., 1], points[..., 0]], order=3, mode="mirror")


def noise(random: np.random.Generator, height: int, width: int, roughness: float) -> np.ndarray:
    """Returns noise of mean 0 and deviation 1, (height, width) float64, of spectrum 1/f^roughness down to 3 pixels."""
    fy, fx = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None]
    f = np.hypot(fy, fx)
    f[0, 0] = np.inf
    shape = np.maximum(f, 1 / max(height, width)) ** -(roughness + 0.5) * np.exp(-((f / 0.22) ** 4))
    shape[0, 0] = 0
    spectrum = np.fft.rfft2(random.normal(size=(height, width))) * shape
    values = np.fft.irfft2(spectrum, (height, width))
    return values / max(float(values.std()), 1e-12)


def smooth_noise(random: np.random.Generator, side: int, across: float, down: float) -> np.ndarray:
    """Returns periodic noise of mean 0 and deviation 1, (side, side), with features of ``across`` x ``down`` pixels."""
    from scipy.ndimage import gaussian_filter

    values = gaussian_filter(random.normal(size=(side, side)), (down / 2, across / 2), mode="wrap", truncate=3)
    return values / max(float(values.std()), 1e-9)


def make(look: str, random: np.random.Generator, flow: Flow, height: int, width: int) -> Texture:
    """Returns the texture of a look (a key of ``_APPEARANCES``), with streaks along ``flow``."""
    made = _APPEARANCES[look]
    edge = max(height, width) // 4
    tall, wide = height + 2 * edge, width + 2 * edge
    values = noise(random, tall, wide, made.roughness)
    if made.streaks > 0:
        points = positions(tall, wide) - edge
        values = _convolved_along(values, points, edge, flow, made.streaks * max(height, width))
    values = (values - values.mean()) / max(float(values.std()), 1e-12)
    shade = np.array(made.colours) * random.uniform(0.8, 1.1) + random.normal(0, 0.03, 3)
    contrast = random.uniform(0.18, 0.28)
    return Texture(np.clip(random.uniform(0.4, 0.6) + contrast * values, 0, 1), (edge, edge), np.clip(shade, 0, 1))


def _convolved_along(values: np.ndarray, points: np.ndarray, edge: int, flow: Flow, length: float) -> np.ndarray:
    """Returns weighted means along streamlines, ``length`` pixels in each direction."""
    from scipy.ndimage import map_coordinates

    v = flow(points)
    unit = v / np.maximum(np.hypot(v[..., :1], v[..., 1:]), 1e-9) * (length / _STEPS)
    planes = np.stack([unit[..., 0], unit[..., 1], values])
    total, weights = values.copy(), 1.0
    for way in (-1.0, 1.0):
        x, y = points[..., 0] + edge, points[..., 1] + edge
        dx, dy = unit[..., 0], unit[..., 1]
        for step in range(1, _STEPS + 1):
            x, y = x + way * dx, y + way * dy
            dx, dy, here = (map_coordinates(plane, [y, x], order=1, mode="mirror") for plane in planes)
            weight = 1 - step / (_STEPS + 1)
            total += weight * here
            weights += weight
    return total / weights


def ground(random: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Returns synthetic ground, (height, width, 3) sRGB 0..1: patches of muted colours with fine texture."""
    shapes = noise(random, height, width, 1.8)
    levels = np.digitize(shapes, np.sort(random.normal(0, 0.8, 4)))
    palette = np.clip(random.uniform(0.1, 0.6, (5, 1)) * random.uniform(0.6, 1.2, (5, 3)), 0, 1)
    fine = 0.06 * noise(random, height, width, 0.6)
    return np.clip(palette[levels] * (1 + 2 * fine[..., None]) + 0.4 * fine[..., None] ** 2, 0, 1)
