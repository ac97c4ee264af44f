# SPDX-License-Identifier: Apache-2.0
"""Shared by the tests of flow maps: a motion field, and reading EXR without Loopcore."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from loopcore.motion.field import MotionField


def field(height: int, width: int, speed: float = 1.5, feather: bool = True) -> MotionField:
    """A vortex plus a uniform motion, inside a feathered mask."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    v = np.stack([1 + np.sin(y / 9), 0.6 * np.cos(x / 11) - 0.2], axis=-1) * np.float32(speed / 2)
    edge = np.minimum(np.minimum(x, width - 1 - x) / max(width, 2), np.minimum(y, height - 1 - y) / max(height, 2))
    mask = np.clip(edge * 8 - 0.5, 0, 1).astype(np.float32)
    if not feather:
        mask = (mask > 0.5).astype(np.float32)
    return MotionField(v, mask, np.ones_like(mask))


def raw_channels(path: Path) -> dict[str, np.ndarray]:
    """The channels as the OpenEXR package reads them."""
    import OpenEXR

    with OpenEXR.File(str(path), separate_channels=True) as file:
        return {name: np.array(channel.pixels) for name, channel in file.channels().items()}
