# SPDX-License-Identifier: Apache-2.0
"""Optical flow between a clip's frames, measured or read from files beside the clip.

By default OpenCV's DIS (Kroeger et al., "Fast Optical Flow using Dense Inverse Search", ECCV 2016; the extra
``training``). For a clip ``NAME.mp4``, files of another estimator replace it:

- ``NAME_flow/*.flo``: one file for each pair of neighbouring frames, in the order of their names;
- ``NAME_motion.flo`` or ``NAME_motion.pth``: the mean motion of the whole clip; no flow is measured.

``NAME_motion.pth`` also belongs to ``NAME_gt.mp4``, as in the released Eulerian dataset. Files of another size are
resized to the frames, with their vectors scaled.

Convention: (vx, vy) in pixels per frame, x right, y down, where content goes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from loopcore.errors import MotionError, PlateError
from loopcore.training.video import Shot, clip_name

# Forward and backward flow are consistent if their squared gap is below _SLACK_SHARE of their squares plus _SLACK.
_SLACK, _SLACK_SHARE = 0.5, 0.01


@dataclass(frozen=True)
class Flows:
    """Flow of each pair of frames.

    Attributes:
        values: (n, h, w, 2) float32, px per frame.
        known: (n, h, w) bool, where the flow is reliable.
        source: the estimator, or the folder of files.
    """

    values: np.ndarray
    known: np.ndarray
    source: str


def measure_flows(shot: Shot, on_pair: Callable[[], None] | None = None) -> Flows:
    """Measures DIS flow forward and backward between neighbouring frames; known where both agree.

    Source of the test: Sundaram, Brox, Keutzer, "Dense Point Trajectories" (ECCV 2010), equation 5.

    Args:
        shot: at least two frames.
        on_pair: called after each pair.

    Raises:
        PlateError: OpenCV is absent.
    """
    frames = [grey(frame) for frame in shot.frames]
    dis = estimator()
    there = np.empty((len(frames) - 1, *frames[0].shape, 2), np.float32)
    known = np.empty(there.shape[:3], bool)
    for i, (a, b) in enumerate(zip(frames, frames[1:], strict=False)):
        there[i] = dis.calc(a, b, None)
        known[i] = agree(there[i], dis.calc(b, a, None))
        if on_pair:
            on_pair()
    return Flows(there, known, "DIS")


def agree(there: np.ndarray, back: np.ndarray) -> np.ndarray:
    """Returns (h, w) bool: where forward and backward flow, (h, w, 2) each, cancel (forward-backward consistency)."""
    cv2 = opencv()
    height, width = there.shape[:2]
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    landed = cv2.remap(back, x + there[..., 0], y + there[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    gap = ((there + landed) ** 2).sum(axis=-1)
    return gap < _SLACK_SHARE * ((there**2).sum(axis=-1) + (landed**2).sum(axis=-1)) + _SLACK


def read_flows(path: Path, shot: Shot) -> Flows | None:
    """Reads the flow of a shot of the clip ``path`` from the folder ``NAME_flow``; None without such a folder.

    Raises:
        MotionError: fewer files than pairs of frames, or a file that is not a .flo.
    """
    folder = path.with_name(f"{clip_name(path)}_flow")
    if not folder.is_dir():
        return None
    files = sorted(folder.glob("*.flo"))
    if len(files) < shot.numbers[-1]:
        raise MotionError(
            f"{folder} has {len(files)} .flo files, but {shot.numbers[-1]} are needed: one for each pair of "
            "neighbouring frames"
        )
    size = shot.frames.shape[1:3]
    # repeated frames are dropped, so the flow to a frame is the one from the last repeat before it
    pairs = [_read_flo(files[number - 1], size) for number in shot.numbers[1:]]
    return Flows(np.stack([flow for flow, _ in pairs]), np.stack([known for _, known in pairs]), folder.name)


def read_mean_motion(path: Path, height: int, width: int) -> tuple[np.ndarray, str] | None:
    """Reads the mean motion from a file beside the clip.

    Returns:
        Velocity (height, width, 2) float32, and the file's name; None without such a file.

    Raises:
        MotionError: the file is invalid.
    """
    for suffix in (".flo", ".pth"):
        file = path.with_name(f"{clip_name(path)}_motion{suffix}")
        if not file.is_file():
            continue
        if suffix == ".flo":
            return _read_flo(file, (height, width))[0], file.name
        from loopcore.training.motion_pth import read_motion_pth

        return _resized(read_motion_pth(file), height, width), file.name
    return None


def _read_flo(file: Path, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    from loopcore.flowmap import read_motion

    motion = read_motion(file, "flo", size=size, rescale=True)
    return motion.velocity, motion.mask > 0.5


def _resized(velocity: np.ndarray, height: int, width: int) -> np.ndarray:
    from loopcore.motion.field import MotionField

    whole = np.ones(velocity.shape[:2], np.float32)
    return MotionField(velocity, whole, whole).resized(height, width).velocity


def grey(frame: np.ndarray) -> np.ndarray:
    """Converts (h, w, 3) uint8 sRGB to (h, w) uint8 grey."""
    cv2 = opencv()
    return cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)


def estimator() -> Any:
    """Returns OpenCV's DIS with its medium preset."""
    cv2 = opencv()
    return cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)


def opencv() -> Any:
    """Imports OpenCV.

    Raises:
        PlateError: it is not installed.
    """
    import importlib

    try:
        return importlib.import_module("cv2")
    except ImportError:
        raise PlateError("the motion of clips is measured with OpenCV: pip install loopcore[training]") from None
