# SPDX-License-Identifier: Apache-2.0
"""Textures as plates, and a swirl to carry them: what tests of the loop look at."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from loopcore.motion import MotionField
from loopcore.plate import Plate

RGB = ("R", "G", "B")
Record = Callable[[str, object], None]


def noise(height: int, width: int, seed: int = 0, slope: float = 1.0) -> np.ndarray:
    """Texture of mean 0 and variance 1 whose amplitude falls as frequency to the minus slope."""
    spectrum = np.fft.fft2(np.random.default_rng(seed).normal(size=(height, width)))
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width))
    frequency[0, 0] = np.inf if height * width > 1 else 1
    texture = np.fft.ifft2(spectrum * frequency**-slope).real
    return texture / texture.std() if texture.std() > 1e-6 else 0 * texture


def plate(height: int, width: int, channels: tuple[str, ...] = RGB, seed: int = 0, slope: float = 1.0) -> Plate:
    """Scene-linear texture, premultiplied where there is alpha."""
    light = np.exp(0.5 * noise(height, width, seed, slope))[..., None] * (0.3, 0.5, 0.6, 0.4)[: len(channels)]
    if channels[-1] == "A":
        light[..., -1] = 1 / (1 + np.exp(-noise(height, width, seed + 1)))
        light[..., :-1] *= light[..., -1:]
    return Plate(light.astype(np.float32), channels)


def motion(height: int, width: int, speed: float = 1.0, masked: bool = True) -> MotionField:
    """A swirl with a drift; with a mask, only in a feathered ellipse, so that much of the plate stays still."""
    y, x = np.mgrid[:height, :width].astype(np.float64)
    dx, dy = (x - (width - 1) / 2) / max(width, 2), (y - (height - 1) / 2) / max(height, 2)
    velocity = speed * np.stack([0.6 - 2.5 * dy, 2.5 * dx + 0.2], -1)
    mask = np.clip((0.42 - np.hypot(dx, dy)) * 12, 0, 1) if masked else np.ones((height, width))
    return MotionField(velocity.astype(np.float32), mask.astype(np.float32), np.ones((height, width), np.float32))
