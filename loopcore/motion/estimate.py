# SPDX-License-Identifier: Apache-2.0
"""Motion estimated from a display picture by the fluid network: classes, what moves, velocity and its confidence."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from loopcore.motion.deterministic import resize_planes, run_parallel
from loopcore.motion.display import INPUT_PADDING, display_copy, is_blank, network_input
from loopcore.motion.orientation import orient, sense_certainty
from loopcore.plate import Plate

if TYPE_CHECKING:
    from torch import Tensor

    from loopcore.motion.networks import FluidNet

MIN_SCORE = 0.6  # below it nothing seems to flow; chosen as described in the weights' model card
_SCORE_AREA = 0.015  # of the picture, at whose quantile the score is taken
_GRID_SIDE = 512  # cells on the longer side of an estimate's grid

WEIGHTS = Path(__file__).with_name("weights") / "fluid.safetensors"
INPUT_SIDES = (512, 1024)  # pixels of the longer sides of the network's inputs
_AROUND = 0.03  # of the longer side, standard deviation of the surroundings that details are compared with
_CLASS_RANGE = np.array([0.003, 0.997], np.float32)  # of probabilities whose logits are compared
_SPEED = 5  # index of the logarithm of the speed among a run's planes of motion

# Longer sides of the picture per frame, mean over what moves: water, sky, smoke, fire.
_SPEEDS = (0.9e-3, 0.3e-3, 0.6e-3, 1.2e-3)
_SPEED_RANGE = (0.25, 3.0)  # of relative speeds


@dataclass(frozen=True)
class Estimate:
    """What a network says of a picture.

    Attributes:
        moving: (h, w) float32 0..1, the probability of moving.
        velocity: (h, w, 2) float32, longer sides a frame.
        confidence: (h, w) float32 0..1, of the velocity.
        classes: (5, h, w) float32 probabilities of :data:`loopcore.motion.networks.CLASSES`; None if not known.
        sense: (h, w) float32 0..1, how certain the velocity is not its opposite; None if not known.
        outlined: (h, w) float32 0..1, moving, lowered where the largest input resolves still things in what moves; None
            if there is one input only.

    Convention: (vx, vy), x right, y down, where content goes.
    """

    moving: np.ndarray
    velocity: np.ndarray
    confidence: np.ndarray
    classes: np.ndarray | None = None
    sense: np.ndarray | None = None
    outlined: np.ndarray | None = None

    @property
    def flowing(self) -> np.ndarray:
        """The probability of moving, limited by that of being a fluid, (h, w) float32 0..1."""
        return self.moving if self.classes is None else np.minimum(self.moving, 1 - self.classes[0])

    @property
    def score(self) -> float:
        """Confidence that something flows, 0..1: the probability that the smallest area that counts exceeds."""
        return float(np.quantile(self.flowing, 1 - _SCORE_AREA))


def estimate_plate(plate: Plate) -> Estimate:
    """Estimates a plate's motion, on a grid of at most 512 cells a side."""
    return estimate_picture(display_copy(plate))


def estimate_picture(picture: np.ndarray, network: FluidNet | None = None) -> Estimate:
    """Estimates a display picture's motion, on a grid of at most 512 cells a side.

    Args:
        picture: (h, w, 3) float32 sRGB 0..1.
        network: used instead of the shipped one.
    """
    size = grid_size(*picture.shape[:2])
    classes, motion, outlined = _seen(network or shipped_network(), picture)
    moving, axis, direction, speed = np.split(motion, [1, 3, 5])
    if is_blank(picture):
        moving, outlined = np.zeros_like(moving), np.zeros_like(outlined)
    unit, certainty = orient(axis, direction, moving[0])
    relative = _relative_speed(speed[0], moving[0])
    rows, columns = moving.shape[1:]
    pace = relative * _usual_speed(resize_planes(classes, rows, columns, "area"))
    planes = np.concatenate([unit * pace, moving, certainty[None]])
    sense = resize_planes(sense_certainty(axis, direction, moving[0])[None], *size)[0]
    vx, vy, moving, certainty = resize_planes(planes, *size)
    velocity = np.ascontiguousarray(np.stack([vx, vy], axis=-1))
    outlined = resize_planes(outlined[None], *size)[0]
    moving, certainty, sense, outlined = (np.clip(plane, 0, 1) for plane in (moving, certainty, sense, outlined))
    return Estimate(moving, velocity, certainty, resize_planes(classes, *size), sense, outlined)


def grid_size(height: int, width: int) -> tuple[int, int]:
    """Returns rows and columns of the grid that a picture of that size is estimated on."""
    scale = min(1.0, _GRID_SIDE / max(height, width))
    return max(8, round(height * scale)), max(8, round(width * scale))


@functools.lru_cache(maxsize=1)
def shipped_network() -> FluidNet:
    """Loads the shipped network once."""
    from loopcore.motion.networks import load_weights

    return load_weights(WEIGHTS)[0]


def class_probabilities(picture: np.ndarray, network: FluidNet | None = None, side: int = INPUT_SIDES[0]) -> np.ndarray:
    """Returns (classes, h, w) float32 probabilities that sum to 1, at a quarter of the input's resolution.

    Args:
        picture: (h, w, 3) float32 sRGB 0..1, as of :func:`loopcore.motion.display.display_copy`.
        network: used instead of the shipped one.
        side: pixels of the input's longer side.
    """
    ((classes, _),) = _runs(network or shipped_network(), picture, (side,))
    return classes


def _seen(network: FluidNet, picture: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns what a network sees in several sizes of the picture.

    Small falls are seen in the larger one; classes and speed vary with what is around, and are those of the smallest.

    Returns:
        Class probabilities at stride 4; at stride 8 (6, h, w): probability of moving, axis, direction and logarithm of
        the speed, means over the sizes (of logits, not of probabilities); and the probability of moving outlined, at
        stride 4 of the largest size.
    """
    from scipy.special import expit

    (classes, first), *others = runs = _runs(network, picture, INPUT_SIDES)
    rows, columns = first.shape[1:]
    same = [resize_planes(planes, rows, columns, "area") for _, planes in others]
    motion: np.ndarray = np.stack([first, *same]).mean(axis=0)
    motion[:1] = expit(motion[:1])
    motion[_SPEED] = first[_SPEED]
    return classes, motion, _outlined(runs)


def _outlined(runs: Sequence[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Returns the mean probability of moving, lowered where the largest input resolves still things, (h, w).

    The smaller inputs average rocks and banks with the water around them. Both of the largest one's outputs have to say
    so, moving and static, each by its logit minus the logit's mean around: the static one alone takes dark gaps of
    falls for rock.
    """
    from scipy.special import expit, logit

    classes, motion = runs[-1]
    size = classes.shape[1:]
    mean = np.mean([resize_planes(planes[:1], *size)[0] for _, planes in runs], axis=0)
    static = _detail(logit(np.clip(classes[0], *_CLASS_RANGE)))
    still = resize_planes(-_detail(motion[0])[None], *size)[0]
    return expit(mean - np.maximum(np.minimum(static, still), 0))


def _detail(logits: np.ndarray) -> np.ndarray:
    from scipy.ndimage import gaussian_filter

    return logits - gaussian_filter(logits, _AROUND * max(logits.shape))


def _runs(network: FluidNet, picture: np.ndarray, sides: Sequence[int]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Returns of each size class probabilities at stride 4 and the six planes of motion at stride 8."""
    import torch

    from loopcore.motion.networks import STRIDE

    def infer(padded: Tensor) -> tuple[Tensor, Tensor]:
        scores, motion = network(padded)
        planes = torch.cat([motion.moving, motion.axis, motion.direction, motion.speed], dim=1)
        return _inner(scores.softmax(dim=1), STRIDE), _inner(planes, 2 * STRIDE)

    inputs = [torch.from_numpy(network_input(picture, side)) for side in sides]
    found = run_parallel([functools.partial(infer, padded) for padded in inputs])
    return [(classes.numpy(), motion.numpy()) for classes, motion in found]


def _inner(planes: Tensor, stride: int) -> Tensor:
    """Returns the planes (1, n, h, w) of a stride without the input's padding, (n, ., .)."""
    edge = INPUT_PADDING // stride
    return planes[0, :, edge:-edge, edge:-edge]


def _relative_speed(logarithm: np.ndarray, moving: np.ndarray) -> np.ndarray:
    """Returns speeds whose mean over what moves is 1."""
    middle = (moving * logarithm).sum() / max(float(moving.sum()), 1e-6)
    low, high = np.log(_SPEED_RANGE)
    speed = np.exp(np.clip(logarithm - middle, low, high))
    return speed * (moving.sum() / max(float((moving * speed).sum()), 1e-6))


def _usual_speed(classes: np.ndarray) -> np.ndarray:
    """Returns the mean speed of the fluids at each cell, longer sides a frame."""
    fluids = classes[1:] + np.float32(1e-3)
    return np.tensordot(np.array(_SPEEDS, np.float32), fluids, axes=1) / fluids.sum(axis=0)
