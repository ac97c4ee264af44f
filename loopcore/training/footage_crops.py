# SPDX-License-Identifier: Apache-2.0
"""Crops of footage for the fluid network, at random scales, rotations and colours, with their motion.

Convention: (vx, vy) in pixels of the crop per frame, x right, y down, where content goes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from loopcore.training.estimators import opencv
from loopcore.training.footage import Supervision
from loopcore.training.pasting import motion_target
from loopcore.training.pictures import vary

_CLASS_STRIDE = 4  # of class targets
_SCALES = (0.55, 1.25)  # range of a crop's size over the largest that the frame holds; above 1 the frame is mirrored
_TILT = np.deg2rad(4)  # deviation of the rotation: gravity stays nearly downwards
_BLUR = 0.35  # deviation per px of reduction of the filter against aliasing


@dataclass(frozen=True)
class _Window:
    """A similarity from crop to frame: ``frame = matrix @ crop + offset``, at pixel corners."""

    matrix: np.ndarray
    offset: np.ndarray
    scale: float


def footage_crop(
    supervision: Supervision, classes: np.ndarray, random: np.random.Generator, size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns a crop of one of the clip's frames.

    Args:
        supervision: of the clip.
        classes: (5, h, w) class probabilities of the clip, on any grid.
        random: decides the crop.
        size: height and width of the crop, multiples of 32.

    Returns:
        The picture (3, H, W) float32 0..1; motion (5, H / 8, W / 8) as
        :func:`loopcore.training.motion_losses.motion_losses` expects it; and class probabilities (5, H / 4, W / 4), 0
        beyond the frame.
    """
    frame = supervision.frames[int(random.integers(len(supervision.frames)))]
    window = _random_window(frame.shape[:2], size, random)
    picture = vary(_picture(frame, window, size), random)
    motion = _motion(supervision, window, size)
    labels = _sampled(np.moveaxis(classes, 0, -1), frame.shape[:2], window, size, _CLASS_STRIDE)
    return tuple(np.ascontiguousarray(np.moveaxis(x, -1, 0), np.float32) for x in (picture, motion, labels))  # type: ignore[return-value]


def _random_window(frame: tuple[int, int], size: tuple[int, int], random: np.random.Generator) -> _Window:
    tall, wide = size
    fits, covers = sorted((frame[0] / tall, frame[1] / wide))
    low, high = np.log(_SCALES[0] * fits), np.log(min(covers, _SCALES[1] * fits))
    scale = float(np.exp(random.uniform(low, max(low, high))))
    tilt = float(random.normal(0, _TILT))
    mirror = -1.0 if random.random() < 0.5 else 1.0
    cosine, sine = scale * np.cos(tilt), scale * np.sin(tilt)
    matrix = np.array([[cosine * mirror, -sine], [sine * mirror, cosine]])
    extent = np.abs(matrix) @ np.array([wide, tall])
    room = np.array(frame[::-1]) - extent
    centre = np.array(frame[::-1]) / 2 + np.maximum(room, 0) * (random.random(2) - 0.5)
    return _Window(matrix, centre - matrix @ np.array([wide / 2, tall / 2]), scale)


def _picture(frame: np.ndarray, window: _Window, size: tuple[int, int]) -> np.ndarray:
    """Returns the crop (H, W, 3) float32 0..1, mirrored beyond the frame."""
    cv2 = opencv()
    if window.scale > 1.3:
        frame = cv2.GaussianBlur(frame, (0, 0), _BLUR * window.scale)
    return _warped(frame, window, size, cv2.BORDER_REFLECT_101).astype(np.float32) / 255


def _motion(supervision: Supervision, window: _Window, size: tuple[int, int]) -> np.ndarray:
    """Returns means over blocks, (H / 8, W / 8, 5); of the velocity by its trust."""
    trust, moving = supervision.trust[..., None], supervision.moving[..., None]
    known = moving | supervision.still[..., None]
    planes = np.concatenate([supervision.velocity * trust, trust, moving, known], axis=-1, dtype=np.float32)
    target = motion_target(_warped(planes, window, size))
    target[..., :2] = target[..., :2] @ np.linalg.inv(window.matrix).astype(np.float32).T
    return target


def _sampled(
    planes: np.ndarray, frame: tuple[int, int], window: _Window, size: tuple[int, int], stride: int
) -> np.ndarray:
    """Samples planes (h, w, n) that cover the frame on any grid, at every ``stride`` pixels of the crop."""
    to_grid = np.array([planes.shape[1] / frame[1], planes.shape[0] / frame[0]])
    coarse = _Window(to_grid[:, None] * window.matrix * stride, to_grid * window.offset, window.scale)
    return _warped(planes.astype(np.float32), coarse, (size[0] // stride, size[1] // stride))


def _warped(planes: np.ndarray, window: _Window, size: tuple[int, int], border: int = 0) -> np.ndarray:
    """Samples (h, w, n) planes in the window at (H, W), bilinearly; by default 0 beyond the frame."""
    cv2 = opencv()
    # pixel centres are at half coordinates
    offset = window.offset + window.matrix @ np.array([0.5, 0.5]) - 0.5
    transform = np.concatenate([window.matrix, offset[:, None]], axis=1)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    warped: np.ndarray = cv2.warpAffine(planes, transform, size[::-1], flags=flags, borderMode=border)
    return warped
