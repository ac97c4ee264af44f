# SPDX-License-Identifier: Apache-2.0
"""What the network sees in a plate: the share of each class, on a coarse grid over the whole picture.

The networks were trained on photographs as displays show them, so they are shown such a copy, in a size like theirs,
some of them a smaller one than the others, and their answers are averaged. The plate's own pixels are never touched.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from loopcore.color import display_image, luminance
from loopcore.motion.steady import interpolated, side_by_side
from loopcore.plate import Plate

if TYPE_CHECKING:
    from torch import Tensor

    from loopcore.motion.networks import FluidNet

_FOLDER = Path(__file__).with_name("weights")
LONG_SIDES = (384, 576)  # pixels a network is shown
# Networks err in different places, so several are asked, each at the scale at which it helps the others most.
WEIGHTS = {
    _FOLDER / "fluid.safetensors": LONG_SIDES[1],
    _FOLDER / "fluid_lite0.safetensors": LONG_SIDES[1],
    _FOLDER / "fluid_plumes.safetensors": LONG_SIDES[0],
    _FOLDER / "fluid_lite0_plumes.safetensors": LONG_SIDES[0],
    _FOLDER / "fluid_lite0_flames.safetensors": LONG_SIDES[1],
}
_LEAST_SHARE = 1e-3  # of a class, so that no network can rule it out alone
GUIDE_SIDE = 1024  # pixels of the display copy that edges and streaks are taken from
_MIDDLE_GREY = 0.18
_SAMPLES = 500_000  # pixels that the exposure is found from
_COLD = 1.25  # blue over red, in mean codes, from which on a picture seems to be in blue light
_MOST_GAIN = 1.3  # of a channel, to make that light neutral
_FRAME = 32  # pixels of mirrored picture around what the network is shown


@functools.lru_cache(maxsize=1)
def shipped_networks() -> tuple[tuple[FluidNet, int], ...]:
    """The networks that come with Loopcore, each with the long side of what it is shown; loaded once."""
    from loopcore.motion.networks import load_weights

    return tuple((load_weights(path)[0], long_side) for path, long_side in WEIGHTS.items())


def display_copy(plate: Plate) -> np.ndarray:
    """(h, w, 3) float32 sRGB 0..1: the plate as a display shows it, at most GUIDE_SIDE pixels long.

    Plates stored for a display are shown as they are. Scene-linear ones are exposed so that their log-average
    luminance is middle grey (Reinhard et al., SIGGRAPH 2002), whatever their exposure was. NaN and Inf are black.
    """
    return _shown(plate, _shrunk(plate.pixels, GUIDE_SIDE), _exposure(plate))


def display_rows(plate: Plate) -> Callable[[int, int], np.ndarray]:
    """The same at the plate's own size, some rows at a time: (first, last) to (last - first, W, 3)."""
    exposure = _exposure(plate)
    return lambda first, last: _shown(plate, plate.pixels[first:last], exposure)


def _exposure(plate: Plate) -> float:
    if plate.encoded != "linear":
        return 1.0
    step = max(1, int((plate.height * plate.width / _SAMPLES) ** 0.5))
    light = luminance(plate.pixels[::step, ::step], plate.channels).astype(np.float64)
    light = light[np.isfinite(light)]
    light = light[light > light.max(initial=0.0) * 1e-6]
    return float(_MIDDLE_GREY / np.exp(np.log(light).mean())) if light.size else 1.0


def _shown(plate: Plate, pixels: np.ndarray, exposure: float) -> np.ndarray:
    pixels = np.nan_to_num(pixels, nan=0.0, posinf=0.0, neginf=0.0)
    pixels *= np.float32(exposure)
    small = Plate(pixels, plate.channels, plate.colorspace, plate.encoded,
                  metadata={k: v for k, v in plate.metadata.items() if k == "chromaticities"})  # fmt: skip
    # any factor but 1 also rolls off the highlights
    shown = display_image(small, exposure=1.0 if plate.encoded != "linear" else 1.0 + 1e-6)
    return shown.astype(np.float32) / np.float32(255)


def _shrunk(pixels: np.ndarray, long_side: int) -> np.ndarray:
    """Area means, so that highlights and noise weigh what they cover."""
    height, width = pixels.shape[:2]
    scale = long_side / max(height, width)
    if scale >= 1:
        return pixels
    # whole blocks first, without a copy of the plate; the rest of the way on what is small by then
    block = int(1 / scale)
    rows, columns = height // block, width // block
    if rows and columns and block > 1:
        whole = pixels[: rows * block, : columns * block].reshape(rows, block, -1)
        lines = functools.reduce(np.add, (whole[:, i] for i in range(1, block)), whole[:, 0])
        pixels = lines.reshape(rows, columns, block, -1).sum(axis=2) / np.float32(block * block)
    size = (max(1, round(height * scale)), max(1, round(width * scale)))
    return np.ascontiguousarray(np.moveaxis(interpolated(np.moveaxis(pixels, -1, 0), *size, "area"), 0, -1))


def neutral_copy(shown: np.ndarray) -> np.ndarray | None:
    """A display picture that is blue all over, as it would be in white light; None for any other.

    Snow in the shade, dusk and day for night dye everything, and photographs to learn from are mostly of white light.
    Where blue is a thing's own colour, as that of a sky or a sea, it is better left: this is for a second look.

    shown: (h, w, 3) float32 sRGB 0..1. Grey world: each channel's mean becomes that of all (Buchsbaum, 1980).
    """
    means = shown.mean(axis=(0, 1))
    if means[2] <= _COLD * means[0]:
        return None
    gains = np.clip(means.mean() / np.maximum(means, 1e-4), 1 / _MOST_GAIN, _MOST_GAIN)
    return np.clip(shown * gains, 0, 1).astype(np.float32)


def class_shares(shown: np.ndarray, network: FluidNet | None = None) -> np.ndarray:
    """(classes, h, w) float32 shares that sum to 1, on a quarter of the finest scale that is shown.

    shown: (h, w, 3) float32 sRGB 0..1, as :func:`display_copy` gives it. network: instead of the shipped ones, at all
    scales. Answers are averaged as logarithms, so that who is sure counts for more.
    """
    from scipy.special import softmax

    networks = shipped_networks() if network is None else tuple((network, side) for side in LONG_SIDES)
    rows, columns = _grid_size(shown, LONG_SIDES[-1])
    framed = {long_side: _framed(shown, _grid_size(shown, long_side)) for long_side in LONG_SIDES}
    size = (rows * 8, columns * 8)
    answers = side_by_side([functools.partial(_answer, one, framed[side], size) for one, side in networks])
    return softmax(np.mean([answer[0].numpy() for answer in answers], axis=0), axis=0)


def _framed(shown: np.ndarray, grid: tuple[int, int]) -> Tensor:
    """(h, w, 3) to (1, 3, h, w) in a size in units of 32 pixels, with mirrored picture around: of the zeros that
    convolutions see beyond the frame its corners would look like something else."""
    import torch

    scaled = interpolated(np.moveaxis(shown, -1, 0), grid[0] * 32, grid[1] * 32, "antialias")
    # By numpy: torch would start threads of its own for it, and wait for ever for them in a forked child.
    framed = np.pad(scaled, ((0, 0), (_FRAME, _FRAME), (_FRAME, _FRAME)), mode="reflect")
    return torch.from_numpy(framed)[None]


def _answer(network: FluidNet, framed: Tensor, size: tuple[int, int]) -> Tensor:
    """Logarithms of the classes' shares, without the frame, in a size."""
    from torch.nn import functional as F

    from loopcore.motion.networks import STRIDE

    edge = _FRAME // STRIDE
    shares = network(framed).softmax(dim=1)[..., edge:-edge, edge:-edge]
    return F.interpolate(shares, size=size, mode="bilinear").clamp(min=_LEAST_SHARE).log()


def _grid_size(shown: np.ndarray, long_side: int) -> tuple[int, int]:
    """Height and width in units of 32 pixels; a thin picture is widened rather than lost."""
    height, width = shown.shape[:2]
    scale = long_side / (32 * max(height, width))
    return max(2, round(height * scale)), max(2, round(width * scale))
