# SPDX-License-Identifier: Apache-2.0
"""Evaluation of motion predicted from a clip's first frame against its optical flow, with simple baselines."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from loopcore.color import decode_codes
from loopcore.errors import LoopcoreError, MotionError
from loopcore.image import luma
from loopcore.motion.field import MotionField
from loopcore.motion.predict import predict_motion
from loopcore.motion.streaks import axis_angle, streak_axes
from loopcore.plate import Plate
from loopcore.training.clips import FRAMES, Clip, read_clip
from loopcore.training.video import clip_name, find_clips

_COMPARED = 15  # frames of the clip that are compared with those of a loop
_STEPS = FRAMES + 40  # of progress per clip: about its pairs of frames and the frames of loops


@dataclass(frozen=True)
class MethodScore:
    """Scores of one method on one clip.

    Attributes:
        method: its name.
        overlap: intersection over union of the masks.
        axis: angle between lines of motion inside the true mask, (median, 90th percentile) in degrees.
        direction: the same with the sense, 0 to 180 degrees.
        scaled_error: end-point error after the best single scale, over the mean true speed.
        psnr: of a loop's first 15 frames against the clip's, dB; NaN if no loop was made.
        ssim: likewise.
    """

    method: str
    overlap: float
    axis: tuple[float, float]
    direction: tuple[float, float]
    scaled_error: float
    psnr: float = float("nan")
    ssim: float = float("nan")


@dataclass(frozen=True)
class ClipEvaluation:
    """Evaluation of one clip.

    Attributes:
        name: of the clip.
        clip: None if it cannot be read.
        predicted: from the first frame; None if nothing seemed to flow.
        rows: scores of each method; empty if the clip cannot be read or nothing moves.
        remark: why the clip is excluded from the means, or "".
    """

    name: str
    clip: Clip | None
    predicted: MotionField | None
    rows: tuple[MethodScore, ...]
    remark: str

    @property
    def steady(self) -> bool:
        """Whether one field explains the clip, so that it is included in the means."""
        return not self.remark

    @property
    def upright(self) -> bool:
        """Whether the mean motion is more vertical than horizontal, so that a still shows its direction."""
        if self.clip is None or not self.clip.mask.any():
            return False
        vx, vy = self.clip.velocity[self.clip.mask].mean(axis=0)
        return bool(abs(vy) > abs(vx))


def evaluate_motion(
    folder: str | Path, weights: Path | None = None, on_progress: Callable[[int, int], None] | None = None
) -> Iterator[ClipEvaluation]:
    """Evaluates the predictor on each clip of a folder.

    Args:
        folder: of videos, or of folders of numbered pictures.
        weights: of a segmentation network or a generator; by default the shipped networks.
        on_progress: called with (done, total).

    Yields:
        The evaluation of each clip.

    Raises:
        SequenceError: no clips.
        PlateError: OpenCV is absent.
        MotionError: weights that cannot be read, or LZ4 is absent.
    """
    paths = find_clips(folder)
    if weights is not None:
        from loopcore.motion.generator import weights_kind

        weights_kind(weights)  # invalid weights fail here, not as an error of a clip
    for number, path in enumerate(paths):
        done = 0

        def step(number: int = number) -> None:
            nonlocal done
            done = min(done + 1, _STEPS - 1)
            if on_progress:
                on_progress(number * _STEPS + done, len(paths) * _STEPS)

        try:
            measured = _measured(path, weights, step)
        except LoopcoreError as error:
            if "loopcore[training]" in str(error):
                raise
            measured = ClipEvaluation(clip_name(path), None, None, (), str(error))
        if on_progress:
            on_progress((number + 1) * _STEPS, len(paths) * _STEPS)
        yield measured


def _measured(path: Path, weights: Path | None, step: Callable[[], None]) -> ClipEvaluation:
    clip = read_clip(path, step)
    if not clip.mask.any():
        return ClipEvaluation(clip.name, clip, None, (), clip.rejection)
    plate = frame_to_plate(clip.frames[0])
    try:
        predicted = predict_motion(plate, weights=weights)
    except MotionError:
        predicted = None
    return ClipEvaluation(clip.name, clip, predicted, tuple(_rows(clip, plate, predicted, step)), clip.rejection)


def frame_to_plate(frame: np.ndarray) -> Plate:
    """Returns an 8-bit sRGB frame as a plate."""
    return Plate(decode_codes(frame), ("R", "G", "B"), "lin_rec709_scene", "srgb")


def _rows(clip: Clip, plate: Plate, predicted: MotionField | None, step: Callable[[], None]) -> Iterator[MethodScore]:
    whole, nowhere = np.ones(clip.mask.shape, bool), np.zeros(clip.mask.shape, np.float32)
    still, truth = np.zeros_like(clip.velocity), clip.mask.astype(np.float32)
    if predicted is None:
        yield _row(clip, plate, "predicted", still, ~whole, step, nowhere)
    else:
        yield _row(clip, plate, "predicted", predicted.velocity, predicted.mask > 0.5, step, predicted.mask)
    yield _row(clip, plate, "truth", clip.velocity, clip.mask, step, truth)
    yield _row(clip, plate, "none", still, ~whole, step, nowhere)
    yield _row(clip, plate, "streaks", _streaks(clip.frames[0]), whole, step)
    yield _row(clip, plate, "sideways", _constant(clip, (1, 0)), whole, step)
    yield _row(clip, plate, "down", _constant(clip, (0, 1)), whole, step)
    yield _row(clip, plate, "best one", _constant(clip, clip.velocity[clip.mask].mean(axis=0)), whole, step)


def _constant(clip: Clip, vector: tuple[float, float] | np.ndarray) -> np.ndarray:
    return np.broadcast_to(np.asarray(vector, np.float32), clip.velocity.shape)


def _streaks(frame: np.ndarray) -> np.ndarray:
    """Returns the structure tensor's axis (sigma 8 px), oriented downwards."""
    grey = luma(frame.astype(np.float32)) / 255
    angle = axis_angle(streak_axes(grey, np.ones_like(grey), 8.0))
    way = np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    return np.where(way[..., 1:] < 0, -way, way).astype(np.float32)


def _row(
    clip: Clip, plate: Plate, method: str, velocity: np.ndarray, mask: np.ndarray, step: Callable[[], None],
    shown: np.ndarray | None = None,
) -> MethodScore:  # fmt: skip
    true, guess = clip.velocity[clip.mask].astype(np.float64), velocity[clip.mask].astype(np.float64)
    both = (mask & clip.mask).sum() / max(1, (mask | clip.mask).sum())
    moves = np.hypot(*guess.T) > 1e-9
    turn = np.degrees(np.abs(_angle(true, guess)))
    # where nothing moves the direction is undefined and counts as a random guess
    direction = np.where(moves, turn, 90.0)
    axis = np.where(moves, np.minimum(turn, 180 - turn), 45.0)
    scale = max(0.0, (true * guess).sum() / max((guess * guess).sum(), 1e-12))
    error = np.hypot(*(scale * guess - true).T).mean() / np.hypot(*true.T).mean()
    psnr = ssim = float("nan")
    if shown is not None:
        psnr, ssim = _fidelity(clip, plate, MotionField(velocity * np.float32(scale), shown, shown), step)
    return MethodScore(method, float(both), _quantiles(axis), _quantiles(direction), float(error), psnr, ssim)


def _quantiles(values: np.ndarray) -> tuple[float, float]:
    """Returns the median and the 90th percentile."""
    return float(np.median(values)), float(np.quantile(values, 0.9))


def _angle(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.arctan2(a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0], (a * b).sum(axis=1))


def _fidelity(clip: Clip, plate: Plate, motion: MotionField, step: Callable[[], None]) -> tuple[float, float]:
    """Returns mean PSNR (dB) and SSIM of a loop's first frames against the clip's, as in section 6 of the paper."""
    from loopcore.color import encode_8bit
    from loopcore.loop import Loop

    last = min(_COMPARED, len(clip.frames))
    loop = Loop(plate, motion, frames=60)
    found = []
    for time in range(1, last):
        ours = encode_8bit(loop.frame(time)).astype(np.float64)
        theirs = clip.frames[time].astype(np.float64)
        error = ((ours - theirs) ** 2).mean()
        found.append((10 * np.log10(255**2 / max(error, 1e-9)), similarity(ours.mean(axis=2), theirs.mean(axis=2))))
        step()
    psnr, ssim = np.mean(found, axis=0)
    return float(psnr), float(ssim)


def similarity(a: np.ndarray, b: np.ndarray) -> float:
    """Returns the mean SSIM of two grey pictures 0..255 (Wang et al., TIP 2004; Gaussian windows of sigma 1.5)."""
    from scipy.ndimage import gaussian_filter

    def mean(x: np.ndarray) -> np.ndarray:
        return gaussian_filter(x, 1.5, truncate=3.5)

    ma, mb = mean(a), mean(b)
    va, vb, cov = mean(a * a) - ma * ma, mean(b * b) - mb * mb, mean(a * b) - ma * mb
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    top = (2 * ma * mb + c1) * (2 * cov + c2)
    return float((top / ((ma * ma + mb * mb + c1) * (va + vb + c2))).mean())
