# SPDX-License-Identifier: Apache-2.0
"""Detection of camera motion in a clip, which a static motion field cannot describe.

The similarity (shift, rotation, zoom) that explains most of the optical flow is fitted between neighbouring frames, and
between frames further apart for slow pans. With a static camera banks, rocks or ground stay in place, however uniform
the flow; with a moving one nothing stays where the similarity would move it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from loopcore.training.estimators import Dis, grey

_SIDE = 256  # pixels of the compared frames' longer side
_STILL, _AWAY = 0.3, 0.6  # pixels at that size: largest motion of still points, smallest motion of the camera
_MIN_STILL = 0.05  # of the picture
_MAX_ALIKE = 0.6  # of the picture
_PAIRS, _FRAME_STEP = 8, 12
_GRID = 4  # pixels between the sampled points


@dataclass(frozen=True)
class Camera:
    """Measurements between frames ``gap`` apart.

    Attributes:
        still: fraction of the picture that stays in place although the fitted similarity moves it.
        alike: fraction of the picture that the similarity explains.
        far: median displacement by the similarity, pixels of 256.
        gap: frames.
    """

    still: float
    alike: float
    far: float
    gap: int

    @property
    def moves(self) -> bool:
        """Whether the camera moves, not only its subject."""
        return self.still < _MIN_STILL and self.alike > _MAX_ALIKE and self.far > _AWAY

    def reason(self) -> str:
        """Returns the message for a moving camera."""
        return (
            f"the camera moves: {self.alike:.0%} of the picture moves together, by {self.far / self.gap / _SIDE:.2%} "
            f"of its length per frame, and {self.still:.0%} stays in place (stabilise the clip first)"
        )


def measure_camera(frames: np.ndarray) -> Camera:
    """Measures camera motion at a short and a long interval; returns the first that shows motion, else the short one.

    Args:
        frames: (n, h, w, 3) uint8 sRGB.

    Raises:
        PackageError: OpenCV is absent.
    """
    step = max(1, round(max(frames.shape[1:3]) / _SIDE))
    small = [np.ascontiguousarray(grey(_block_means(frame, step))) for frame in frames]
    found = [_measure_pairs(small, gap) for gap in sorted({1, min(_FRAME_STEP, len(small) // 2) or 1})]
    return next((camera for camera in found if camera.moves), found[0])


def _block_means(frame: np.ndarray, step: int) -> np.ndarray:
    height, width = (side // step * step for side in frame.shape[:2])
    blocks = frame[:height, :width].reshape(height // step, step, width // step, step, 3)
    return blocks.mean(axis=(1, 3)).astype(np.uint8)


def _measure_pairs(small: list[np.ndarray], gap: int) -> Camera:
    starts = np.unique(np.linspace(0, len(small) - 1 - gap, _PAIRS).astype(int))
    dis = Dis()
    rows = [_fractions(dis.calc(small[i], small[i + gap])) for i in starts]
    still, alike, far = np.median(rows, axis=0)
    return Camera(float(still), float(alike), float(far), gap)


def _fractions(flow: np.ndarray) -> tuple[float, float, float]:
    """Returns ``still``, ``alike`` and ``far`` of :class:`Camera` for one pair's flow, (h, w, 2)."""
    height, width = flow.shape[:2]
    y, x = np.mgrid[:height:_GRID, :width:_GRID].reshape(2, -1) - np.array([[height / 2], [width / 2]])
    side = max(height, width)
    moved = flow[::_GRID, ::_GRID].reshape(-1, 2).astype(np.float64)
    common = _similarity(x / side, y / side, moved)
    far = np.hypot(*common.T)
    alike = np.hypot(*(moved - common).T) < np.maximum(_STILL, 0.1 * far)
    stays = (np.hypot(*moved.T) < _STILL) & (far > _AWAY)
    return float(stays.mean()), float(alike.mean()), float(np.median(far))


def _similarity(x: np.ndarray, y: np.ndarray, moved: np.ndarray) -> np.ndarray:
    """Returns displacements by the similarity that fits most of the flow (reweighted least squares, Cauchy)."""
    one, none = np.ones_like(x), np.zeros_like(x)
    design = np.concatenate([np.stack([x, -y, one, none], 1), np.stack([y, x, none, one], 1)])
    target = moved.T.reshape(-1)
    weight = np.ones(len(x))
    scale = np.hypot(*(moved - np.median(moved, axis=0)).T).mean() + _STILL
    for _ in range(12):
        root = np.sqrt(np.tile(weight, 2))
        fit = np.linalg.lstsq(design * root[:, None], target * root, rcond=None)[0]
        left = (target - design @ fit).reshape(2, -1)
        weight = 1 / (1 + (np.hypot(*left) / scale) ** 2)
        scale = max(_STILL, 0.7 * scale)
    return (design @ fit).reshape(2, -1).T
