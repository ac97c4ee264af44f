# SPDX-License-Identifier: Apache-2.0
"""What the network sees in a plate: the share of each class, on a coarse grid over the whole picture.

The network was trained on photographs as displays show them, so it is shown such a copy, in a size like theirs, at two
scales, and the answers are averaged. The plate's own pixels are never touched.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from loopcore.color import display_image, luminance
from loopcore.plate import Plate

if TYPE_CHECKING:
    from loopcore.motion.networks import FluidNet

WEIGHTS = Path(__file__).with_name("weights") / "fluid.safetensors"
LONG_SIDES = (384, 576)  # pixels the network is shown, at two scales
GUIDE_SIDE = 1024  # pixels of the display copy that edges and streaks are taken from
_MIDDLE_GREY = 0.18
_FRAME = 32  # pixels of mirrored picture around what the network is shown


@functools.lru_cache(maxsize=1)
def shipped_network() -> FluidNet:
    """The network that comes with Loopcore; loaded once."""
    from loopcore.motion.networks import load_weights

    return load_weights(WEIGHTS)[0]


def display_copy(plate: Plate, long_side: int = GUIDE_SIDE) -> np.ndarray:
    """(h, w, 3) float32 sRGB 0..1: the plate as a display shows it, ``long_side`` pixels long at most.

    Plates stored for a display are shown as they are. Scene-linear ones are exposed so that their log-average
    luminance is middle grey (Reinhard et al., SIGGRAPH 2002), whatever their exposure was. NaN and Inf are black.
    """
    pixels = np.nan_to_num(_shrunk(plate.pixels, long_side), nan=0.0, posinf=0.0, neginf=0.0)
    exposure = 1.0
    if plate.encoded == "linear":
        light = luminance(pixels, plate.channels).astype(np.float64)
        light = light[light > light.max(initial=0.0) * 1e-6]
        if light.size:
            exposure = float(_MIDDLE_GREY / np.exp(np.log(light).mean()))
    small = Plate(pixels * np.float32(exposure), plate.channels, plate.colorspace, plate.encoded,
                  metadata={k: v for k, v in plate.metadata.items() if k == "chromaticities"})  # fmt: skip
    # any factor but 1 also rolls off the highlights
    shown = display_image(small, exposure=1.0 if plate.encoded != "linear" else 1.0 + 1e-6)
    return shown.astype(np.float32) / np.float32(255)


def _shrunk(pixels: np.ndarray, long_side: int) -> np.ndarray:
    """Area means, so that highlights and noise weigh what they cover."""
    import torch
    from torch.nn import functional as F

    height, width = pixels.shape[:2]
    scale = long_side / max(height, width)
    if scale >= 1:
        return pixels
    # whole blocks first, without a copy of the plate; the rest of the way on what is small by then
    block = int(1 / scale)
    rows, columns = height // block, width // block
    if rows and columns and block > 1:
        whole = pixels[: rows * block, : columns * block].reshape(rows, block, columns, block, -1)
        pixels = whole.sum(axis=(1, 3), dtype=np.float32) / np.float32(block * block)
    size = (max(1, round(height * scale)), max(1, round(width * scale)))
    planes = torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)[None]
    return F.interpolate(planes, size=size, mode="area")[0].permute(1, 2, 0).contiguous().numpy()


def class_shares(shown: np.ndarray, network: FluidNet | None = None) -> np.ndarray:
    """(classes, h, w) float32 shares that sum to 1, on a quarter of the finer scale the network is shown.

    shown: (h, w, 3) float32 sRGB 0..1, as :func:`display_copy` gives it.
    """
    import torch
    from torch.nn import functional as F

    from loopcore.motion.networks import STRIDE

    network = network or shipped_network()
    picture = torch.from_numpy(np.ascontiguousarray(shown)).permute(2, 0, 1)[None]
    rows, columns = _grid_size(shown, LONG_SIDES[-1])
    edge = _FRAME // STRIDE
    total = torch.zeros(1)
    with torch.inference_mode():
        for long_side in LONG_SIDES:
            tall, wide = _grid_size(shown, long_side)
            size = (tall * 32, wide * 32)
            scaled = F.interpolate(picture, size=size, mode="bilinear", antialias=True, align_corners=False)
            # the zeros that convolutions see beyond the frame make its corners look like something else
            framed = F.pad(scaled, (_FRAME,) * 4, mode="reflect")
            shares = network(framed).softmax(dim=1)[..., edge:-edge, edge:-edge]
            total = total + F.interpolate(shares, size=(rows * 8, columns * 8), mode="bilinear")
    shares = total[0] / total[0].sum(dim=0, keepdim=True)
    return np.ascontiguousarray(shares.numpy())


def _grid_size(shown: np.ndarray, long_side: int) -> tuple[int, int]:
    """Height and width in units of 32 pixels; a thin picture is widened rather than lost."""
    height, width = shown.shape[:2]
    scale = long_side / (32 * max(height, width))
    return max(2, round(height * scale)), max(2, round(width * scale))
