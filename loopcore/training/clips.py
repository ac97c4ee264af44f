# SPDX-License-Identifier: Apache-2.0
"""Clips of real fluids: their frames, and the steady field that explains them best."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from loopcore.errors import PlateError
from loopcore.training.camera import measure_camera
from loopcore.training.estimators import Dis, Estimator
from loopcore.training.flows import confirmed, measure_flows, read_flows, read_mean_motion
from loopcore.training.mean_flow import MeanFlow, agreement, average, given, still
from loopcore.training.video import Shot, clip_name, read_shots

LONG_SIDE = 640
FRAMES = 60
MIN_STEADINESS = 0.8  # of a steady clip
_MIN_AGREEMENT = 0.5  # of what moves, on which two estimators agree


@dataclass(frozen=True)
class Clip:
    """Frames of a clip, and their ground truth.

    Attributes:
        name: of the clip.
        frames: (n, h, w, 3) uint8 sRGB.
        velocity: (h, w, 2) float32, mean flow in px per frame.
        mask: (h, w) bool, where it moves.
        still: (h, w) bool, where it surely stays in place; elsewhere whether it moves is unknown.
        steadiness: fraction of the flow's energy inside the mask that the field explains; NaN where only the mean is
            known.
        source: of the flow.
        rejection: why one field cannot describe the clip, or "".
    """

    name: str
    frames: np.ndarray
    velocity: np.ndarray
    mask: np.ndarray
    still: np.ndarray
    steadiness: float
    source: str = "DIS"
    rejection: str = ""

    @property
    def steady(self) -> bool:
        """Whether one field explains the clip."""
        return not self.rejection


@dataclass(frozen=True)
class ClipSettings:
    """How clips are read.

    Attributes:
        long_side: pixels of the longer side.
        frames: largest number of frames of a window.
        windows: largest number of windows of a file.
        least: smallest number of frames of a window.
        steadiness: smallest fraction of the motion that one field has to explain.
        enlarge: whether smaller frames are enlarged.
        flow: estimator of the flow; None for DIS.
        second_flow: estimator that has to agree, or None.
    """

    long_side: int = LONG_SIDE
    frames: int = FRAMES
    windows: int = 1
    least: int = 2
    steadiness: float = MIN_STEADINESS
    enlarge: bool = True
    flow: Estimator | None = None
    second_flow: Estimator | None = None


def read_clip(path: Path, on_pair: Callable[[], None] | None = None) -> Clip:
    """Reads the first 60 frames of a clip's first shot at 640 px, and their mean motion.

    Args:
        path: of a video, or a folder of numbered pictures.
        on_pair: called after the flow of each pair of frames.

    Raises:
        PlateError: unreadable, fewer than two frames.
        PackageError: OpenCV is absent.
        MotionError: flow files that do not match the clip.
    """
    return next(read_windows(path, ClipSettings(), on_pair))


def read_windows(path: Path, settings: ClipSettings, on_pair: Callable[[], None] | None = None) -> Iterator[Clip]:
    """Yields consecutive windows of a clip, each within one shot.

    Args:
        path: of a video, or a folder of numbered pictures.
        settings: size and number of the windows.
        on_pair: called after the flow of each pair of frames.

    Raises:
        PlateError: unreadable, too short.
        PackageError: OpenCV is absent.
        MotionError: flow files that do not match the clip.
        EngineError: an estimator fails.
    """
    shots = read_shots(path, settings.long_side, settings.frames * settings.windows, settings.enlarge)
    windows = [part for shot in shots for part in _parts(shot, settings.frames)]
    long_enough = [window for window in windows if len(window.frames) >= settings.least]
    if not long_enough:
        longest = max(len(window.frames) for window in windows)
        raise PlateError(
            f"clip {path} has {longest} frame(s) in its longest shot, without repeats: {settings.least} are needed"
        )
    for number, window in enumerate(long_enough[: settings.windows]):
        clip = _measured(path, window, settings, on_pair)
        yield clip if number == 0 else replace(clip, name=f"{clip.name}.{number}")


def _parts(shot: Shot, limit: int) -> Iterator[Shot]:
    for start in range(0, len(shot.frames), limit):
        stop = start + limit
        yield Shot(shot.frames[start:stop], shot.numbers[start:stop])


def _measured(path: Path, shot: Shot, settings: ClipSettings, on_pair: Callable[[], None] | None) -> Clip:
    camera = measure_camera(shot.frames)
    truth, source, agreed = _truth(path, shot, settings, on_pair)
    rejection = camera.reason() if camera.moves else _rejection(truth, settings.steadiness)
    if not rejection and agreed < _MIN_AGREEMENT:
        rejection = f"{source} agree on {agreed:.0%} of what moves, {_MIN_AGREEMENT:.0%} is needed"
    stays = still(shot.frames, truth.velocity) & ~truth.mask
    return Clip(clip_name(path), shot.frames, truth.velocity, truth.mask, stays, truth.steadiness, source, rejection)


def _truth(
    path: Path, shot: Shot, settings: ClipSettings, on_pair: Callable[[], None] | None
) -> tuple[MeanFlow, str, float]:
    """Returns the mean flow, its source, and the fraction of what moves on which two estimators agree; 1 for one."""
    mean = read_mean_motion(path, *shot.frames.shape[1:3])
    if mean is not None:
        return given(mean[0]), mean[1], 1.0
    flows = read_flows(path, shot) or measure_flows(shot, settings.flow or Dis(), on_pair)
    if settings.second_flow is None:
        return average(flows.values, flows.known), flows.source, 1.0
    other = measure_flows(shot, settings.second_flow, on_pair)
    flows = confirmed(flows, other)
    truth = average(flows.values, flows.known)
    return truth, flows.source, agreement(truth, average(other.values, other.known))


def _rejection(truth: MeanFlow, least: float) -> str:
    if not truth.mask.any():
        return "nothing moves"
    if truth.steadiness < least:
        return f"one field explains {truth.steadiness:.0%} of the motion, {least:.0%} is needed"
    return ""
