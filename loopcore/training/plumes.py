# SPDX-License-Identifier: Apache-2.0
"""Made-up plumes of smoke, ash and steam, as pictures with their coverage.

Photographs of thick smoke with outlines are scarce. A plume here is a volume of soot: a column, a puff, a bank or a
wall whose border is pushed out into billows by noise, lit by a sun from above and by the sky, and seen from one side.
Billows are folded noise, |n|: round bulges between sharp creases (Musgrave in Ebert et al., "Texturing and Modeling",
chapter 16). Light is dimmed along its way by Beer's law, once scattered, as clouds are in Schneider's "Real-time
volumetric cloudscapes" (GPU Pro 7, 2016).
"""

from __future__ import annotations

import functools

import numpy as np
import torch
from scipy.ndimage import uniform_filter
from torch import Tensor
from torch.nn import functional as F

SIDE = 192  # of a plume's picture, pixels
PLUMES = 64  # that there are
_DEEP = 64  # cells along the line of sight
_OCTAVES = 5  # of noise
_GAMMA = 1 / 1.8  # light to codes, nearly sRGB's
# What is fully lit, sRGB codes: ash, soot, dust, steam.
_TINTS = ((0.72, 0.71, 0.70), (0.42, 0.41, 0.40), (0.80, 0.72, 0.63), (0.97, 0.97, 0.97))


@functools.lru_cache(maxsize=PLUMES)
def plume(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(SIDE, SIDE, 3) float32 colours 0..1 (sRGB) times coverage, and (SIDE, SIDE) coverage 0..1; the same by seed."""
    random = np.random.default_rng((seed, 0x504C))
    depth = _depth(random)
    density = (depth * float(random.uniform(4, 14))).clamp(0, 1)
    thickness = density * float(random.choice([random.uniform(0.05, 0.2), random.uniform(0.3, 1.0)]))
    reaching = torch.exp(-(torch.cumsum(thickness, dim=0) - thickness))
    shown = reaching * (1 - torch.exp(-thickness))
    coverage = shown.sum(dim=0)
    light = (shown * _light(depth, density, random)).sum(dim=0) / coverage.clamp(min=1e-6)
    warm = np.array([1.0, *np.sort(random.uniform(0.8, 1.0, 2))[::-1]]) if random.random() < 0.3 else np.ones(3)
    tint = np.array(_TINTS[random.integers(len(_TINTS))]) * random.uniform(0.985, 1.015, 3) * warm
    codes = np.clip(tint * (light.numpy() ** _GAMMA)[..., None], 0, 1)
    covered = coverage.numpy()
    return (codes * covered[..., None]).astype(np.float32), covered


def _depth(random: np.random.Generator) -> Tensor:
    """(_DEEP, SIDE, SIDE), nearest first, top row first: 1 deep inside the smoke, 0 at its border, less outside."""
    z = torch.linspace(-0.5, 0.5, _DEEP)[:, None, None] * (_DEEP / SIDE)
    y = torch.linspace(1, 0, SIDE)[:, None]  # height
    x = torch.linspace(-0.5, 0.5, SIDE)
    kind = random.choice(["column", "puff", "bank", "wall"], p=[0.4, 0.2, 0.1, 0.3])
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
        shape = z * random.uniform(2, 6) + random.uniform(0.0, 0.5) + 0 * (x + y)
    rough = random.uniform(0.4, 0.8) if kind == "wall" else random.uniform(0.25, 0.45)
    return shape + float(rough) * _billows(random)


def _billows(random: np.random.Generator) -> Tensor:
    """(_DEEP, SIDE, SIDE) folded noise of mean about 0; finer bulges on coarser ones."""
    total = torch.zeros(_DEEP, SIDE, SIDE)
    size, fade = 1.0, float(random.uniform(0.5, 0.62))
    along = torch.fft.fftfreq(_DEEP)[:, None, None] * SIDE
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


def _light(depth: Tensor, density: Tensor, random: np.random.Generator) -> Tensor:
    """Light that each cell sends to the eye, 0..1: of the sun, by its side of the billows and what is before it, and
    of the sky, which creases see less of."""
    aside, front = random.uniform(-1.2, 1.2), random.uniform(-0.5, 1.5)
    to_sun = np.array([-front, -1.0, aside]) / np.sqrt(front**2 + 1 + aside**2)  # z, y, x
    slopes = torch.gradient(_mean(depth, 3))
    steep = torch.sqrt(sum(slope**2 for slope in slopes)) + 1e-6
    facing = -sum(float(way) * slope for way, slope in zip(to_sun, slopes, strict=True)) / steep
    around = _mean(density, 15)
    sun = (0.5 + 0.5 * facing) * torch.exp(-float(random.uniform(0.005, 0.03)) * _before(density, aside, front))
    share = float(random.uniform(0.2, 0.6))
    return ((1 - share) * sun + share * (1.15 - around) ** 1.5).clamp(0, 1) * float(random.uniform(0.8, 1.1))


def _mean(values: Tensor, size: int) -> Tensor:
    """Over a cube of so many cells around each."""
    return torch.from_numpy(uniform_filter(values.numpy(), size, mode="nearest"))


def _before(density: Tensor, aside: float, front: float) -> Tensor:
    """Cells of smoke between each cell and a sun above that stands ``aside`` cells to the right and ``front`` cells
    nearer for each cell of height."""
    taken = torch.empty_like(density)
    z, x = torch.meshgrid(torch.linspace(-1, 1, _DEEP), torch.linspace(-1, 1, SIDE), indexing="ij")
    grid = torch.stack([x + 2 * aside / (SIDE - 1), z - 2 * front / (_DEEP - 1)], dim=-1)[None]
    gone = torch.zeros(_DEEP, SIDE)
    for row in range(SIDE):
        gone = F.grid_sample(gone[None, None], grid, align_corners=True, padding_mode="border")[0, 0]
        taken[:, row] = gone
        gone = gone + density[:, row]
    return taken
