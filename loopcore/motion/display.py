# SPDX-License-Identifier: Apache-2.0
"""The display-referred copy of a plate that networks and edges are computed from.

The networks were trained on display-referred photographs. The plate's pixels are not modified.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np

from loopcore.color import display_image, luminance
from loopcore.motion.deterministic import resize_planes
from loopcore.plate import Plate

MAX_SIDE = 1024  # pixels of the display copy
INPUT_PADDING = 32  # pixels of mirrored picture around a network's input
_MIN_RANGE = 0.01  # of a picture's sRGB codes 0..1, below which it is blank
_MIDDLE_GREY = 0.18
_MAX_EXPOSURE_SAMPLES = 500_000  # approximate number of pixels that the exposure is measured on


def display_copy(plate: Plate) -> np.ndarray:
    """Returns the plate as (h, w, 3) float32 sRGB 0..1, with at most ``MAX_SIDE`` pixels a side.

    Display-referred plates are only converted. Scene-linear ones are exposed so that their log-average luminance is
    middle grey (Reinhard et al., "Photographic Tone Reproduction", SIGGRAPH 2002). NaN and Inf become black.
    """
    return _to_display(plate, _reduced(plate.pixels, MAX_SIDE), _exposure(plate))


def display_rows(plate: Plate) -> Callable[[int, int], np.ndarray]:
    """Returns a function that converts rows of the plate at full size: (first, stop) to (stop - first, W, 3)."""
    exposure = _exposure(plate)
    return lambda first, stop: _to_display(plate, plate.pixels[first:stop], exposure)


def resized_picture(picture: np.ndarray, height: int, width: int) -> np.ndarray:
    """Returns an (h, w, 3) picture at (height, width, 3), bilinear with antialiasing."""
    planes = resize_planes(np.moveaxis(picture, -1, 0), height, width, "antialias")
    return np.ascontiguousarray(np.moveaxis(planes, 0, -1))


def is_blank(picture: np.ndarray) -> bool:
    """Returns whether an (h, w, 3) picture has nothing on it that could be told apart."""
    return bool(np.ptp(picture, axis=(0, 1)).max() < _MIN_RANGE)


def network_input(picture: np.ndarray, long_side: int) -> np.ndarray:
    """Returns a network's input, (1, 3, h, w), of 32-pixel blocks.

    A thin picture is widened to two blocks. It is mirrored by ``INPUT_PADDING`` pixels beyond the frame, since zero
    padding misclassifies corners.

    Args:
        picture: (h, w, 3) float32 sRGB 0..1.
        long_side: pixels of the input's longer side, without padding.
    """
    scale = long_side / (32 * max(picture.shape[:2]))
    rows, columns = (max(2, round(length * scale)) for length in picture.shape[:2])
    scaled = resize_planes(np.moveaxis(picture, -1, 0), rows * 32, columns * 32, "antialias")
    # By numpy: torch would start its own threads for this, and deadlock on them in a forked child.
    edge = (INPUT_PADDING, INPUT_PADDING)
    return np.pad(scaled, ((0, 0), edge, edge), mode="reflect")[None]


def _exposure(plate: Plate) -> float:
    if plate.encoded != "linear":
        return 1.0
    step = max(1, int((plate.height * plate.width / _MAX_EXPOSURE_SAMPLES) ** 0.5))
    values = luminance(plate.pixels[::step, ::step], plate.channels).astype(np.float64)
    values = values[np.isfinite(values)]
    values = values[values > values.max(initial=0.0) * 1e-6]
    return float(_MIDDLE_GREY / np.exp(np.log(values).mean())) if values.size else 1.0


def _to_display(plate: Plate, pixels: np.ndarray, exposure: float) -> np.ndarray:
    pixels = np.nan_to_num(pixels, nan=0.0, posinf=0.0, neginf=0.0)
    pixels *= np.float32(exposure)
    part = Plate(pixels, plate.channels, plate.colorspace, plate.encoded,
                 metadata={k: v for k, v in plate.metadata.items() if k == "chromaticities"})  # fmt: skip
    # any exposure other than 1 also rolls off the highlights
    codes = display_image(part, exposure=1.0 if plate.encoded != "linear" else 1.0 + 1e-6)
    return codes.astype(np.float32) / np.float32(255)


def _reduced(pixels: np.ndarray, long_side: int) -> np.ndarray:
    """Returns area averages, which weight highlights and noise by their area."""
    height, width = pixels.shape[:2]
    scale = long_side / max(height, width)
    if scale >= 1:
        return pixels
    # whole blocks first, without a copy of the plate, then the remaining factor
    block = int(1 / scale)
    rows, columns = height // block, width // block
    if rows and columns and block > 1:
        whole = pixels[: rows * block, : columns * block].reshape(rows, block, -1)
        lines = functools.reduce(np.add, (whole[:, i] for i in range(1, block)), whole[:, 0])
        pixels = lines.reshape(rows, columns, block, -1).sum(axis=2) / np.float32(block * block)
    size = (max(1, round(height * scale)), max(1, round(width * scale)))
    return np.ascontiguousarray(np.moveaxis(resize_planes(np.moveaxis(pixels, -1, 0), *size, "area"), 0, -1))
