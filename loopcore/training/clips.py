# SPDX-License-Identifier: Apache-2.0
"""Clips of real fluids: their frames, and the one steady field that explains them best.

Optical flow between neighbouring frames comes from OpenCV's DIS (Kroeger et al., ECCV 2016), which is asked for only
here: the extra ``training``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from loopcore.errors import LoopcoreError, PlateError, SequenceError

SUFFIXES = (".mp4", ".avi", ".gif", ".mov", ".mkv", ".webm")
PICTURES = (".jpg", ".jpeg", ".png")
LONG_SIDE = 640
MOST_FRAMES = 60
_STILL = 0.12  # px per frame below which flow is noise
_SHARE = 0.2  # of the clip's fast flow (95th percentile) that a pixel of the moving mask has


@dataclass(frozen=True)
class Clip:
    """Frames (n, h, w, 3) uint8 sRGB, and the truth made of them.

    velocity: (h, w, 2) float32 px per frame, mean flow; mask: (h, w) bool, where it moves; steadiness: the share of
    the flow's energy inside the mask that the one field explains.
    """

    name: str
    frames: np.ndarray
    velocity: np.ndarray
    mask: np.ndarray
    steadiness: float


def find_clips(folder: str | Path) -> list[Path]:
    """Videos and folders of numbered pictures in a folder; masks (``*_mask``) are left out.

    Raises:
        SequenceError: none there.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise SequenceError(f"{folder} is no folder of clips")
    found = [p for p in sorted(folder.iterdir()) if not p.stem.endswith("_mask") and _is_clip(p)]
    if not found:
        raise SequenceError(f"{folder} holds no clips: videos ({', '.join(SUFFIXES)}) or folders of pictures")
    return found


def _is_clip(path: Path) -> bool:
    if path.is_dir():
        return any(inside.suffix.lower() in PICTURES for inside in path.iterdir())
    return path.suffix.lower() in SUFFIXES


def read_clip(path: Path) -> Clip:
    """A clip at 640 px, its first 60 frames, and its mean motion.

    Raises:
        PlateError: unreadable, fewer than two frames, or OpenCV is absent.
    """
    frames = _read_frames(path)
    if len(frames) < 2:
        raise PlateError(f"clip {path} has {len(frames)} frame(s): motion needs two")
    flows = _flows(frames)
    mean = flows.mean(axis=0)
    # pairs far from the mean (a boat that passes, a dropped frame) count less
    far = np.hypot(*np.moveaxis(flows - mean, -1, 0))
    weight = 1 / (1 + (far / (np.median(far, axis=0) * 2 + 0.05)) ** 2)
    mean = (flows * weight[..., None]).sum(axis=0) / weight.sum(axis=0)[..., None]
    speed = np.hypot(mean[..., 0], mean[..., 1])
    mask = speed > max(_STILL, _SHARE * float(np.quantile(speed, 0.95)))
    energy = (flows[:, mask] ** 2).sum()
    left = ((flows[:, mask] - mean[mask]) ** 2).sum()
    return Clip(path.stem, frames, mean.astype(np.float32), mask, float(1 - left / max(energy, 1e-9)))


def _flows(frames: np.ndarray) -> np.ndarray:
    cv2 = _opencv()
    grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames]
    estimator = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    pairs = zip(grey, grey[1:], strict=False)
    # frames shown twice say that nothing moves, which is not so
    return np.stack([estimator.calc(a, b, None) for a, b in pairs if not np.array_equal(a, b)] or [_none(frames[0])])


def _none(frame: np.ndarray) -> np.ndarray:
    return np.zeros((*frame.shape[:2], 2), np.float32)


def _opencv() -> Any:
    import importlib

    try:
        return importlib.import_module("cv2")
    except ImportError:
        raise PlateError("the motion of clips is measured with OpenCV: pip install loopcore[training]") from None


def _read_frames(path: Path) -> np.ndarray:
    from PIL import Image

    try:
        if path.is_dir():
            inside = sorted(p for p in path.iterdir() if p.suffix.lower() in PICTURES)
            pictures = [Image.open(p).convert("RGB") for p in inside[:MOST_FRAMES]]
        else:
            pictures = _decoded(path)
    except LoopcoreError:
        raise
    except Exception as error:  # av and pillow raise nearly anything on a bad file
        raise PlateError(f"clip {path} cannot be read: {error}") from None
    if not pictures:
        raise PlateError(f"clip {path} has no frames")
    scale = LONG_SIDE / max(pictures[0].size)
    width, height = (max(16, round(side * scale)) for side in pictures[0].size)
    size = (width, height)
    return np.stack([np.asarray(picture.resize(size, Image.Resampling.BICUBIC)) for picture in pictures])


def _decoded(path: Path) -> list[Any]:
    import av

    pictures = []
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            pictures.append(frame.to_image())
            if len(pictures) == MOST_FRAMES:
                break
    return pictures
