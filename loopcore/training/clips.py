# SPDX-License-Identifier: Apache-2.0
"""Clips of real fluids: their frames, and the one steady field that explains them best."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from loopcore.errors import PlateError
from loopcore.training.camera import measure_camera
from loopcore.training.flows import measure_flows, read_flows, read_mean_motion
from loopcore.training.mean_flow import MeanFlow, average, given
from loopcore.training.video import Shot, clip_name, read_shots

LONG_SIDE = 640
FRAMES = 60
MIN_STEADINESS = 0.8  # of a clip that counts as steady


@dataclass(frozen=True)
class Clip:
    """Frames (n, h, w, 3) uint8 sRGB, and the truth made of them.

    velocity: (h, w, 2) float32 px per frame, mean flow; mask: (h, w) bool, where it moves; steadiness: the share of
    the flow's energy inside the mask that the one field explains (NaN where a mean was given); source: what the flow
    is from; rejection: why one field cannot describe this clip, or "".
    """

    name: str
    frames: np.ndarray
    velocity: np.ndarray
    mask: np.ndarray
    steadiness: float
    source: str = "DIS"
    rejection: str = ""

    @property
    def steady(self) -> bool:
        """Whether one field explains the clip."""
        return not self.rejection


@dataclass(frozen=True)
class ClipSettings:
    """long_side: pixels; frames: of each window, at most; windows: of each file, at most; least: frames of a window;
    steadiness: share of its motion that one field has to explain; enlarge: whether smaller frames are enlarged.
    """

    long_side: int = LONG_SIDE
    frames: int = FRAMES
    windows: int = 1
    least: int = 2
    steadiness: float = MIN_STEADINESS
    enlarge: bool = True


def read_clip(path: Path, on_pair: Callable[[], None] | None = None) -> Clip:
    """Reads the first 60 frames of a clip's first shot at 640 px, and their mean motion.

    Raises:
        PlateError, MotionError: unreadable, fewer than two frames, files of flow that do not fit, or OpenCV is absent.
    """
    return next(read_windows(path, ClipSettings(), on_pair))


def read_windows(path: Path, settings: ClipSettings, on_pair: Callable[[], None] | None = None) -> Iterator[Clip]:
    """Yields consecutive windows of a clip, each within one shot.

    Raises:
        PlateError, MotionError: unreadable, too short, files of flow that do not fit, or OpenCV is absent.
    """
    shots = read_shots(path, settings.long_side, settings.frames * settings.windows, settings.enlarge)
    windows = [part for shot in shots for part in _parts(shot, settings.frames)]
    long_enough = [window for window in windows if len(window.frames) >= settings.least]
    if not long_enough:
        longest = max(len(window.frames) for window in windows)
        raise PlateError(
            f"clip {path} has {longest} frame(s) of one shot, repeats apart: motion needs {settings.least}"
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
    truth, source = _truth(path, shot, on_pair)
    rejection = camera.reason() if camera.moves else _rejection(truth, settings.steadiness)
    return Clip(clip_name(path), shot.frames, truth.velocity, truth.mask, truth.steadiness, source, rejection)


def _truth(path: Path, shot: Shot, on_pair: Callable[[], None] | None) -> tuple[MeanFlow, str]:
    mean = read_mean_motion(path, *shot.frames.shape[1:3])
    if mean is not None:
        return given(mean[0]), mean[1]
    flows = read_flows(path, shot) or measure_flows(shot, on_pair)
    return average(flows.values, flows.known), flows.source


def _rejection(truth: MeanFlow, least: float) -> str:
    if not truth.mask.any():
        return "nothing moves"
    if truth.steadiness < least:
        return f"one field explains {truth.steadiness:.0%} of the motion, {least:.0%} is needed"
    return ""
