# SPDX-License-Identifier: Apache-2.0
"""Segmentation of a plate into fluids: class probabilities on a coarse grid over the whole picture.

Several networks are run on a display copy of the plate, each at the scale it was chosen for, and the logarithms of
their probabilities are averaged. Classes that the networks confuse are then separated by context: spray from smoke, the
bright core of a flame from falling water, a clear sky from clouds.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from loopcore.image import luma
from loopcore.motion.deterministic import resize_planes, run_parallel
from loopcore.motion.display import (
    INPUT_PADDING,
    display_copy,
    input_blocks,
    is_blank,
    network_input,
    resized_picture,
    white_balanced,
)
from loopcore.motion.edges import smoothstep
from loopcore.plate import Plate

if TYPE_CHECKING:
    from torch import Tensor

    from loopcore.motion.networks import FluidNet

MIN_SCORE = 0.45  # below it nothing seems to flow; chosen as described in the weights' model card
# Areas at whose quantiles the score is taken: small falls are distinct, but blurred still walls resemble smoke.
_MIN_WATER_AREA, _MIN_SMOKE_AREA = 0.015, 0.05
_GRID_SIDE = 512  # cells on the longer side of a segmentation's grid

_FOLDER = Path(__file__).with_name("weights")
INPUT_SIDES = (384, 576)  # pixels of the longer side of a network's input
# Errors of the networks differ, so several are run, each at the scale where it improves the average most.
SHIPPED_WEIGHTS = {
    _FOLDER / "fluid.safetensors": INPUT_SIDES[1],
    _FOLDER / "fluid_lite0.safetensors": INPUT_SIDES[1],
    _FOLDER / "fluid_plumes.safetensors": INPUT_SIDES[0],
    _FOLDER / "fluid_lite0_plumes.safetensors": INPUT_SIDES[0],
    _FOLDER / "fluid_lite0_flames.safetensors": INPUT_SIDES[1],
}
_MIN_PROBABILITY = 1e-3  # of a class, which limits the effect of one network on the mean of logarithms

_MIN_SKY = 0.8  # probability of sky above which its texture is measured
_CLEAR_CONTRAST, _CLOUDY_CONTRAST = 0.006, 0.02  # of a sky that does not move, and one that does, sRGB codes 0..1
_MIN_SPRAY_WATER = 0.1  # fraction of water in a region of water and smoke above which the smoke is spray
_MAX_SPRAY_FIRE = 0.1  # ratio of fire to water and smoke in a region above which its smoke is not spray
_MIN_FLAME_FIRE = 0.2  # fraction of fire in a region of water and fire above which the water may be flame
_MIN_FLAME_WARMTH = 1.25  # red over blue, in sRGB codes, of the light of a flame


@dataclass(frozen=True)
class Segmentation:
    """Class probabilities of a plate, the probability of moving, and the picture they were computed from.

    Attributes:
        water: (h, w) float32 0..1, with spray.
        spray: (h, w) float32 0..1, the part of water that is white and airborne.
        sky: (h, w) float32 0..1, clear or cloudy.
        smoke: (h, w) float32 0..1.
        fire: (h, w) float32 0..1.
        moving: (h, w) float32 0..1, all of these, sky only where it has clouds to move.
        picture: (h, w, 3) float32 sRGB 0..1, the display copy at that size.
    """

    water: np.ndarray
    spray: np.ndarray
    sky: np.ndarray
    smoke: np.ndarray
    fire: np.ndarray
    moving: np.ndarray
    picture: np.ndarray

    @property
    def score(self) -> float:
        """Confidence that something flows, 0..1: the probability exceeded on the smallest area that counts."""
        liquid = np.minimum(self.water + self.fire, self.moving)
        return float(max(np.quantile(liquid, 1 - _MIN_WATER_AREA), np.quantile(self.moving, 1 - _MIN_SMOKE_AREA)))


def segment_plate(plate: Plate) -> Segmentation:
    """Segments a plate, on a grid of at most 512 cells a side."""
    return segment(display_copy(plate))


def segment(
    picture: np.ndarray, probabilities: np.ndarray | None = None, network: FluidNet | None = None
) -> Segmentation:
    """Segments a display picture, on a grid of at most 512 cells a side.

    Where nothing seems to flow and the picture has a blue cast, it is segmented again in neutral light, and the result
    with the higher score is returned.

    Args:
        picture: (h, w, 3) float32 sRGB 0..1.
        probabilities: (classes, rows, columns) of :func:`class_probabilities`, where they are known already.
        network: used instead of the shipped ones.
    """
    if probabilities is None:
        probabilities = class_probabilities(picture, network)
    first = _from_probabilities(picture, probabilities)
    balanced = None if first.score >= MIN_SCORE else white_balanced(picture)
    if balanced is None:
        return first
    second = _from_probabilities(picture, class_probabilities(balanced, network))
    return max(first, second, key=lambda candidate: candidate.score)


def _from_probabilities(picture: np.ndarray, probabilities: np.ndarray) -> Segmentation:
    small = resized_picture(picture, *grid_size(*picture.shape[:2]))
    _, water, sky, smoke, fire = resize_planes(probabilities, *small.shape[:2])
    flame = water * _flame_core(water, smoke, fire, small)
    water, fire = water - flame, fire + flame
    spray = smoke * _is_spray(water, smoke, fire)
    water, smoke = water + spray, smoke - spray
    moving = np.clip(water + sky * _cloudiness(small, sky) + smoke + fire, 0, 1)
    if is_blank(small):
        moving = np.zeros_like(moving)
    return Segmentation(water, spray, sky, smoke, fire, moving, small)


def grid_size(height: int, width: int) -> tuple[int, int]:
    """Returns rows and columns of the grid that a picture of that size is segmented on."""
    scale = min(1.0, _GRID_SIDE / max(height, width))
    return max(8, round(height * scale)), max(8, round(width * scale))


def _cloudiness(picture: np.ndarray, sky: np.ndarray) -> np.ndarray:
    """Returns how cloudy the sky nearby is by its texture, (h, w) float32 0..1: a clear sky has only noise."""
    from scipy.ndimage import gaussian_filter

    side = max(sky.shape)
    inside = (sky > _MIN_SKY).astype(np.float32)
    grey = luma(picture)

    def local_mean(values: np.ndarray, sigma: float) -> np.ndarray:
        weight = gaussian_filter(inside, sigma)
        total = gaussian_filter(values * inside, sigma)
        return np.divide(total, weight, out=np.zeros_like(total), where=weight > 1e-3)

    detail = (gaussian_filter(grey, 1.0) - local_mean(grey, 0.02 * side)) * inside
    contrast = np.sqrt(np.maximum(local_mean(detail * detail, 0.06 * side), 0))
    return smoothstep(contrast, _CLEAR_CONTRAST, _CLOUDY_CONTRAST)


def _flame_core(water: np.ndarray, smoke: np.ndarray, fire: np.ndarray, picture: np.ndarray) -> np.ndarray:
    """Returns (h, w) bool: where water is the bright core of a flame, connected to fire and warm in colour."""
    from scipy.ndimage import gaussian_filter

    regions, (water_sum, _, fire_sum) = _connected_regions(water, smoke, fire)
    burning = fire_sum > _MIN_FLAME_FIRE * (water_sum + fire_sum)
    burning[0] = False
    # blurred, since the brightest part of a flame is white in a photograph
    red, blue = (gaussian_filter(picture[..., channel], 0.015 * max(water.shape)) for channel in (0, 2))
    return burning[regions] & (red > _MIN_FLAME_WARMTH * blue)


def _is_spray(water: np.ndarray, smoke: np.ndarray, fire: np.ndarray) -> np.ndarray:
    """Returns (h, w) bool: where smoke is spray, which the networks confuse: connected to water but not to fire."""
    regions, (water_sum, smoke_sum, fire_sum) = _connected_regions(water, smoke, fire)
    wet = water_sum + smoke_sum
    spray = (water_sum > _MIN_SPRAY_WATER * wet) & (fire_sum < _MAX_SPRAY_FIRE * wet)
    spray[0] = False
    return spray[regions]


def _connected_regions(*probabilities: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
    """Labels the regions where the classes together exceed 0.5.

    Returns:
        (h, w) labels from 1, 0 elsewhere; and for each class its sum over each label, (labels + 1,).
    """
    from scipy.ndimage import label, sum_labels

    regions, count = label(sum(probabilities) > 0.5)
    return regions, [sum_labels(values, regions, np.arange(count + 1)) for values in probabilities]


# networks


@functools.lru_cache(maxsize=1)
def shipped_networks() -> tuple[tuple[FluidNet, int], ...]:
    """Loads the shipped networks once; returns each with the longer side of its input in pixels."""
    from loopcore.motion.networks import load_weights

    return tuple((load_weights(path)[0], long_side) for path, long_side in SHIPPED_WEIGHTS.items())


def class_probabilities(picture: np.ndarray, network: FluidNet | None = None) -> np.ndarray:
    """Returns (classes, h, w) float32 probabilities that sum to 1, at a quarter of the largest input's resolution.

    Args:
        picture: (h, w, 3) float32 sRGB 0..1, as of :func:`loopcore.motion.display.display_copy`.
        network: run at all scales, instead of the shipped ones.
    """
    from scipy.special import softmax

    networks = shipped_networks() if network is None else tuple((network, side) for side in INPUT_SIDES)
    rows, columns = input_blocks(picture, INPUT_SIDES[-1])
    inputs = {long_side: network_input(picture, long_side) for long_side in INPUT_SIDES}
    size = (rows * 8, columns * 8)
    tasks = [functools.partial(_log_probabilities, one, inputs[side], size) for one, side in networks]
    # in the mean of logarithms, confident networks weigh more
    return softmax(np.mean([result[0].numpy() for result in run_parallel(tasks)], axis=0), axis=0)


def _log_probabilities(network: FluidNet, padded: np.ndarray, size: tuple[int, int]) -> Tensor:
    """Returns the logarithms of the class probabilities, padding removed, at ``size``."""
    import torch
    from torch.nn import functional as F

    from loopcore.motion.networks import STRIDE

    edge = INPUT_PADDING // STRIDE
    probabilities = network.scores(torch.from_numpy(padded)).softmax(dim=1)[..., edge:-edge, edge:-edge]
    return F.interpolate(probabilities, size=size, mode="bilinear").clamp(min=_MIN_PROBABILITY).log()
