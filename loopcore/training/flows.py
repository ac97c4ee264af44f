# SPDX-License-Identifier: Apache-2.0
"""Optical flow between a clip's frames, measured or read from files beside the clip.

By default with OpenCV's DIS; ``estimators.py`` has the others. For a clip ``NAME.mp4``, files replace it:

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

import numpy as np

from loopcore.errors import MotionError
from loopcore.training.estimators import Estimator, opencv
from loopcore.training.video import Shot, clip_name

# Two flows agree if their squared gap is below _SLACK_SHARE of their squares plus _SLACK.
_SLACK, _SLACK_SHARE = 0.5, 0.01


@dataclass(frozen=True)
class Flows:
    """Flow of each pair of frames.

    Attributes:
        values: (n, h, w, 2) float32, px per frame.
        known: (n, h, w) bool, where the flow is reliable.
        source: the estimators, or the folder of files.
    """

    values: np.ndarray
    known: np.ndarray
    source: str


def measure_flows(shot: Shot, estimator: Estimator, on_pair: Callable[[], None] | None = None) -> Flows:
    """Measures flow forward and backward between neighbouring frames; known where both agree.

    Source of the test: Sundaram, Brox, Keutzer, "Dense Point Trajectories" (ECCV 2010), equation 5.

    Args:
        shot: at least two frames.
        estimator: of the flow.
        on_pair: called after each pair.

    Raises:
        PackageError: OpenCV is absent.
        EngineError: the estimator fails.
    """
    there = np.empty((len(shot.frames) - 1, *shot.frames.shape[1:3], 2), np.float32)
    known = np.empty(there.shape[:3], bool)
    for i in range(len(there)):
        there[i], known[i] = _both_ways(shot, i, estimator)
        if on_pair:
            on_pair()
    return Flows(there, known, estimator.name)


def confirmed(flows: Flows, other: Flows) -> Flows:
    """Returns the flows of one estimator, known where those of another are known too and agree."""
    known = np.stack([alike(*pair) for pair in zip(flows.values, other.values, strict=True)])
    return Flows(flows.values, known & flows.known & other.known, f"{flows.source} and {other.source}")


def _both_ways(shot: Shot, i: int, estimator: Estimator) -> tuple[np.ndarray, np.ndarray]:
    """Returns the flow from a frame to the next, and where the flow back agrees."""
    there = estimator.calc(shot.frames[i], shot.frames[i + 1])
    return there, agree(there, estimator.calc(shot.frames[i + 1], shot.frames[i]))


def agree(there: np.ndarray, back: np.ndarray) -> np.ndarray:
    """Returns (h, w) bool: where forward and backward flow, (h, w, 2) each, cancel (forward-backward consistency)."""
    cv2 = opencv()
    height, width = there.shape[:2]
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    landed = cv2.remap(back, x + there[..., 0], y + there[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return alike(there, -landed)


def alike(flow: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Returns (h, w) bool: where two flows, (h, w, 2) each, differ by little compared with their speed."""
    gap = ((flow - other) ** 2).sum(axis=-1)
    return gap < _SLACK_SHARE * ((flow**2).sum(axis=-1) + (other**2).sum(axis=-1)) + _SLACK


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
