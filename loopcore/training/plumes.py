# SPDX-License-Identifier: Apache-2.0
"""Synthetic plumes of smoke, ash and steam, as pictures with coverage.

A plume is a volume of soot: a column, a puff, a bank or a heap that fills the picture, whose border is displaced by
noise into billows, lit by the sun and the sky and seen from the side.
Billows are folded noise, |n|: round bulges between sharp creases (Musgrave in Ebert et al., "Texturing and Modeling",
chapter 16). Light is scattered once and attenuated by Beer's law, as in Schneider, "Real-time volumetric cloudscapes"
(GPU Pro 7, 2016).
"""

from __future__ import annotations

import functools

import numpy as np
import torch
from scipy.ndimage import uniform_filter
from torch import Tensor
from torch.nn import functional as F

SIDE = 192  # of a plume's picture, pixels
PLUMES = 96  # number of different ones
_DEPTH_CELLS = 64  # cells along the line of sight
_OCTAVES = 5  # of noise
_GAMMAS = (0.55, 0.95)  # light to codes: from nearly sRGB's to a hard grade
# Fully lit, sRGB codes: ash, soot, dust, steam.
_TINTS = ((0.84, 0.83, 0.82), (0.45, 0.44, 0.43), (0.80, 0.72, 0.63), (0.97, 0.97, 0.97))
_TINTED = (0.4, 0.25, 0.1, 0.25)  # their probabilities
# Ambient occlusion: sizes of the neighbourhoods in cells, and their strengths. Creases between small billows are grey,
# those between large ones dark.
_OCCLUSION = ((9, 0.35), (21, 0.6), (45, 0.9))


@functools.lru_cache(maxsize=PLUMES)
def plume(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns premultiplied colours (SIDE, SIDE, 3) float32 sRGB 0..1 and coverage (SIDE, SIDE) 0..1, by seed."""
    random = np.random.default_rng((seed, 0x504C))
    depth = _depth(random)
    density = (depth * float(random.uniform(4, 14))).clamp(0, 1)
    thickness = density * float(random.choice([random.uniform(0.08, 0.25), random.uniform(0.4, 1.2)], p=[0.25, 0.75]))
    reaching = torch.exp(-(torch.cumsum(thickness, dim=0) - thickness))
    shown = reaching * (1 - torch.exp(-thickness))
    coverage = shown.sum(dim=0)
    light = (shown * _light(depth, density, shown, random)).sum(dim=0) / coverage.clamp(min=1e-6)
    warm = 1 - np.array([0, 1, 2]) * max(0.0, float(random.uniform(-0.1, 0.1)))  # light of a low sun
    tint = np.array(random.choice(_TINTS, p=_TINTED)) * random.uniform(0.985, 1.015, 3) * warm
    codes = np.clip(tint * (light.numpy() ** random.uniform(*_GAMMAS))[..., None], 0, 1)
    covered = coverage.numpy()
    return (codes * covered[..., None]).astype(np.float32), covered


def _depth(random: np.random.Generator) -> Tensor:
    """Returns (_DEPTH_CELLS, SIDE, SIDE), nearest and top first: 1 deep inside, 0 at the border, below 0 outside."""
    z = torch.linspace(-0.5, 0.5, _DEPTH_CELLS)[:, None, None] * (_DEPTH_CELLS / SIDE)
    y = torch.linspace(1, 0, SIDE)[:, None]  # height
    x = torch.linspace(-0.5, 0.5, SIDE)
    kind = random.choice(["column", "puff", "bank", "heap"], p=[0.35, 0.2, 0.1, 0.35])
    if kind == "column":
        lean, bend = random.uniform(-0.4, 0.4), random.uniform(1, 1.7)
        radius = random.uniform(0.05, 0.15) + random.uniform(0.1, 0.25) * y ** random.uniform(0.6, 1.4)
        shape = 1 - torch.hypot(x - lean * y**bend, z) / radius
        shape = torch.minimum(shape, (0.85 - y) / 0.15)
    elif kind == "puff":
        wide, tall = random.uniform(0.2, 0.36, 2)
        shape = 1 - torch.sqrt((x / wide) ** 2 + ((y - 0.5) / tall) ** 2 + (z / min(wide, tall)) ** 2)
    elif kind == "bank":
        shape = (random.uniform(0.3, 0.7) + random.uniform(-0.4, 0.4) * x - y) * 4 + 0 * z
    else:
        shape = _heap(random, x, y, 3 * z)
    return shape + float(random.uniform(0.25, 0.45)) * _billows(random)


def _heap(random: np.random.Generator, x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    """Returns overlapping puffs with more smoke behind them."""
    shape = (z - 0.35) * 4 + 0 * (x + y)
    size = random.uniform(0.1, 0.26)
    for _ in range(random.integers(6, 20)):
        radius = size * random.lognormal(0, 0.35)
        across, up = random.uniform(-0.6, 0.6), random.uniform(-0.1, 1.1)
        # not around the camera
        away = max(random.uniform(-0.2, 0.35), 1.2 * radius - 0.45)
        tall = random.uniform(0.8, 1.8)
        distance = torch.sqrt((x - across) ** 2 + ((y - up) / tall) ** 2 + (z - away) ** 2)
        shape = torch.maximum(shape, (radius - distance) / 0.2)
    return shape


def _billows(random: np.random.Generator) -> Tensor:
    """Returns folded noise of several octaves, (_DEPTH_CELLS, SIDE, SIDE), of mean about 0."""
    total = torch.zeros(_DEPTH_CELLS, SIDE, SIDE)
    size, fade = 1.0, float(random.uniform(0.5, 0.62))
    along = torch.fft.fftfreq(_DEPTH_CELLS)[:, None, None] * SIDE
    down, across = torch.fft.fftfreq(SIDE)[:, None] * SIDE, torch.fft.rfftfreq(SIDE) * SIDE
    frequency = torch.sqrt(along**2 + down**2 + across**2)
    first = float(random.choice([2.5, 3.5, 5.0]))  # waves across the picture
    for waves in first * 2.0 ** np.arange(_OCTAVES):
        band = torch.exp(-(((frequency - waves) / (0.35 * waves)) ** 2))
        parts = torch.from_numpy(random.standard_normal((2, *band.shape), dtype=np.float32))
        spectrum = torch.complex(parts[0], parts[1]) * band
        noise = torch.fft.irfftn(spectrum, s=total.shape)
        total += size * ((noise / noise.std()).abs() - 0.8)
        size *= fade
    return total


def _light(depth: Tensor, density: Tensor, shown: Tensor, random: np.random.Generator) -> Tensor:
    """Returns each cell's radiance towards the camera, about 1 where bright, from the sun and the occluded sky."""
    aside, front = random.uniform(-1.2, 1.2), random.uniform(-0.5, 1.5)
    to_sun = np.array([-front, -1.0, aside]) / np.sqrt(front**2 + 1 + aside**2)  # z, y, x
    slopes = torch.gradient(_mean(depth, 3))
    steep = torch.sqrt(sum(slope**2 for slope in slopes)) + 1e-6
    facing = -sum(float(way) * slope for way, slope in zip(to_sun, slopes, strict=True)) / steep
    sun = (0.5 + 0.5 * facing) * torch.exp(-float(random.uniform(0.01, 0.08)) * _before(density, aside, front))
    sky = torch.ones_like(density)
    for size, hidden in _OCCLUSION:
        sky *= (1 - hidden * _mean(density, size)).clamp(min=0) ** float(random.uniform(0.8, 3))
    sun, sky = (light / (shown * light).sum(dim=0).quantile(0.97).clamp(min=1e-6) for light in (sun, sky))
    share = float(random.uniform(0.3, 0.7))
    return ((1 - share) * sun + share * sky).clamp(0, 1.2) * float(random.uniform(0.7, 1.0))


def _mean(values: Tensor, size: int) -> Tensor:
    """Returns means over cubes of ``size`` cells."""
    return torch.from_numpy(uniform_filter(values.numpy(), size, mode="nearest"))


def _before(density: Tensor, aside: float, front: float) -> Tensor:
    """Returns the smoke between each cell and the sun, in cells; the sun is at (x, y, z) = (aside, -1, -front)."""
    taken = torch.empty_like(density)
    z, x = torch.meshgrid(torch.linspace(-1, 1, _DEPTH_CELLS), torch.linspace(-1, 1, SIDE), indexing="ij")
    grid = torch.stack([x + 2 * aside / (SIDE - 1), z - 2 * front / (_DEPTH_CELLS - 1)], dim=-1)[None]
    gone = torch.zeros(_DEPTH_CELLS, SIDE)
    for row in range(SIDE):
        gone = F.grid_sample(gone[None, None], grid, align_corners=True, padding_mode="border")[0, 0]
        taken[:, row] = gone
        gone = gone + density[:, row]
    return taken
