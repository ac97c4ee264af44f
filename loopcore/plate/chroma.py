# SPDX-License-Identifier: Apache-2.0
"""Luminance-chroma EXR pixels to RGB: Y at full size, RY and BY at full size or half of it in both directions.

Y is the luminance of the file's primaries, RY = (R - Y) / Y and BY = (B - Y) / Y. Source: "Luminance/Chroma Images"
in the OpenEXR technical introduction; the 27-tap filter between chroma samples and the limit on saturation are those of
OpenEXR's own reader.
"""

from __future__ import annotations

import numpy as np

# The half-band filter from its centre outward, without the zeros that are every second of its 27 taps.
_TAPS = (0.627123, -0.186077, 0.087929, -0.043159, 0.019597, -0.007540, 0.002128)


def to_rgb(y: np.ndarray, ry: np.ndarray, by: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Convert luminance and chroma to (H, W, 3) linear float32 RGB.

    Args:
        y: (H, W) luminance.
        ry, by: chroma, (H, W), or (H / 2, W / 2) samples at even rows and columns.
        weights: luminance weights of red, green and blue; their sum is 1, green's is not 0.
    """
    y = y.astype(np.float32)
    subsampled = ry.shape != y.shape
    ry, by = (_doubled(_doubled(c.astype(np.float32), 0), 1) if subsampled else c.astype(np.float32) for c in (ry, by))
    grey = (ry == 0) & (by == 0)
    red, blue = (ry + 1) * y, (by + 1) * y
    red_part, green_part, blue_part = (float(weight) for weight in weights)
    green = (y - red * red_part - blue * blue_part) / green_part
    # Without chroma the three equal Y exactly, without rounding.
    rgb = np.stack([np.where(grey, y, color) for color in (red, green, blue)], axis=-1)
    return _limited_saturation(rgb, np.array([red_part, green_part, blue_part], np.float32)) if subsampled else rgb


def _doubled(chroma: np.ndarray, axis: int) -> np.ndarray:
    """Double the samples along `axis` with filtered ones between them; edges are repeated."""
    count = chroma.shape[axis]
    reach = len(_TAPS)
    padded = np.moveaxis(np.take(chroma, np.clip(np.arange(-reach, count + reach), 0, count - 1), axis), axis, 0)
    result = np.empty((2 * count, *padded.shape[1:]), np.float32)
    result[::2] = padded[reach : reach + count]
    between = result[1::2]
    between[:] = 0
    for step, tap in enumerate(_TAPS):
        left = padded[reach - step : reach - step + count]
        right = padded[reach + 1 + step : reach + 1 + step + count]
        between += np.float32(tap) * (left + right)
    return np.moveaxis(result, 0, axis)


def _limited_saturation(rgb: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Desaturate pixels far more saturated than their diagonal neighbours, an artefact of subsampling, at equal Y."""
    saturation = _saturation(rgb)
    edged = np.pad(saturation, 1, mode="edge")
    around = np.minimum(1, 0.25 * (edged[:-2, :-2] + edged[:-2, 2:] + edged[2:, :-2] + edged[2:, 2:]))
    limit = 1 - (1 - around) * 0.25
    rows, columns = np.nonzero((saturation > around) & (saturation > limit))
    pixels = rgb[rows, columns]
    factor = (limit[rows, columns] / saturation[rows, columns])[:, None]
    brightest = pixels.max(1, keepdims=True)
    toned = np.maximum(brightest - (brightest - pixels) * factor, 0)
    before, after = pixels @ weights, toned @ weights
    scale = np.divide(before, after, out=np.ones_like(after), where=after > 0)
    rgb[rows, columns] = toned * scale[:, None]
    return rgb


def _saturation(rgb: np.ndarray) -> np.ndarray:
    brightest, darkest = rgb.max(-1), rgb.min(-1)
    ratio = np.divide(darkest, brightest, out=np.ones_like(brightest), where=brightest > 0)
    return 1 - ratio
