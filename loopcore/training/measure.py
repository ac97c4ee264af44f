# SPDX-License-Identifier: Apache-2.0
"""How well the motion read from one frame fits the clip it is from, beside guesses that need no network."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from loopcore.color import decode_codes
from loopcore.errors import MotionError, SequenceError
from loopcore.motion.field import MotionField
from loopcore.motion.predict import predict_motion
from loopcore.motion.streaks import axis_angle, streak_axes
from loopcore.plate import Plate
from loopcore.training.clips import Clip, read_clip
from loopcore.training.video import find_clips

STEADY = 0.8  # clips that one field explains so far are counted as steady
_COMPARED = 15  # frames of the clip that the loop's first ones are held against


@dataclass(frozen=True)
class Row:
    """One method on one clip: IoU of the mask, degrees inside the true mask, error over mean true speed, and pictures.

    axis, direction: (median, 90th percentile) in degrees. scaled_error: end-point error after the best single scale,
    over the mean true speed. psnr, ssim: of the first 15 frames against the clip's, NaN where not made.
    """

    clip: str
    steady: bool
    method: str
    overlap: float
    axis: tuple[float, float]
    direction: tuple[float, float]
    scaled_error: float
    psnr: float = float("nan")
    ssim: float = float("nan")


def evaluate_clips(folder: str | Path) -> Iterator[tuple[Clip, MotionField | None, list[Row]]]:
    """Each clip of a folder, the motion read from its first frame (None: nothing seemed to flow), and its rows.

    Raises:
        PlateError, SequenceError: no clips, or one that cannot be read.
    """
    for path in find_clips(folder):
        clip = read_clip(path)
        plate = plate_of(clip.frames[0])
        try:
            predicted = predict_motion(plate)
        except MotionError:
            predicted = None
        yield clip, predicted, list(_rows(clip, plate, predicted))


def write_comparison(clip: Clip, predicted: MotionField | None, path: Path) -> None:
    """Writes plate, truth and prediction side by side as PNG, motion by the colour wheel.

    Raises:
        SequenceError: the file cannot be written.
    """
    from PIL import Image

    from loopcore.sequence import write_atomically

    still = np.zeros_like(clip.velocity)
    motions = (clip.velocity * clip.mask[..., None], still if predicted is None else predicted.effective)
    picture = np.concatenate([clip.frames[0], *(_wheel(motion) for motion in motions)], axis=1)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SequenceError(f"cannot make folder {path.parent}: {error.strerror or error}") from None
    write_atomically(path, lambda hidden: Image.fromarray(picture).save(hidden, format="PNG"))


def _wheel(velocity: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8: hue is direction, strength is speed over the 95th percentile of what moves, white is still."""
    from PIL import Image

    speed = np.hypot(velocity[..., 0], velocity[..., 1])
    top = float(np.quantile(speed[speed > 0], 0.95)) if (speed > 0).any() else 1.0
    hue = (np.degrees(np.arctan2(velocity[..., 1], velocity[..., 0])) % 360) * (255 / 360)
    planes = [hue, 255 * np.clip(speed / top, 0, 1), np.full_like(speed, 255)]
    return np.asarray(Image.fromarray(np.stack(planes, axis=-1).astype(np.uint8), "HSV").convert("RGB"))


def plate_of(frame: np.ndarray) -> Plate:
    """An 8-bit sRGB frame as a plate."""
    return Plate(decode_codes(frame), ("R", "G", "B"), "lin_rec709_scene", "srgb")


def _rows(clip: Clip, plate: Plate, predicted: MotionField | None) -> Iterator[Row]:
    whole = np.ones(clip.mask.shape, bool)
    if predicted is None:
        still = np.zeros_like(clip.velocity)
        yield _row(clip, plate, "predicted", still, ~whole, shown=np.zeros(whole.shape, np.float32))
    else:
        yield _row(clip, plate, "predicted", predicted.velocity, predicted.mask > 0.5, shown=predicted.mask)
    yield _row(clip, plate, "truth", clip.velocity, clip.mask, shown=clip.mask.astype(np.float32))
    yield _row(clip, plate, "none", np.zeros_like(clip.velocity), ~whole, shown=np.zeros(whole.shape, np.float32))
    yield _row(clip, plate, "streaks", _streaks(clip.frames[0]), whole)
    yield _row(clip, plate, "sideways", _constant(clip, (1, 0)), whole)
    yield _row(clip, plate, "down", _constant(clip, (0, 1)), whole)
    yield _row(clip, plate, "best one", _constant(clip, clip.velocity[clip.mask].mean(axis=0)), whole)


def _constant(clip: Clip, vector: tuple[float, float] | np.ndarray) -> np.ndarray:
    return np.broadcast_to(np.asarray(vector, np.float32), clip.velocity.shape)


def _streaks(frame: np.ndarray) -> np.ndarray:
    """The structure tensor's axis (sigma 8 px), pointed down."""
    grey = frame.astype(np.float32) @ np.array([0.2126, 0.7152, 0.0722], np.float32) / 255
    angle = axis_angle(streak_axes(grey, np.ones_like(grey), 8.0))
    way = np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    return np.where(way[..., 1:] < 0, -way, way).astype(np.float32)


def _row(
    clip: Clip, plate: Plate, method: str, velocity: np.ndarray, mask: np.ndarray, shown: np.ndarray | None = None
) -> Row:
    true, guess = clip.velocity[clip.mask].astype(np.float64), velocity[clip.mask].astype(np.float64)
    both = (mask & clip.mask).sum() / max(1, (mask | clip.mask).sum())
    moves = np.hypot(*guess.T) > 1e-9
    turn = np.degrees(np.abs(_angle(true, guess)))
    # what does not move has no direction: it counts as a blind guess would
    direction = np.where(moves, turn, 90.0)
    axis = np.where(moves, np.minimum(turn, 180 - turn), 45.0)
    scale = max(0.0, (true * guess).sum() / max((guess * guess).sum(), 1e-12))
    error = np.hypot(*(scale * guess - true).T).mean() / np.hypot(*true.T).mean()
    psnr = ssim = float("nan")
    if shown is not None:
        psnr, ssim = _fidelity(clip, plate, MotionField(velocity * np.float32(scale), shown, shown))
    return Row(clip.name, clip.steadiness >= STEADY, method, float(both), _spread(axis), _spread(direction),
               float(error), psnr, ssim)  # fmt: skip


def _spread(values: np.ndarray) -> tuple[float, float]:
    return float(np.median(values)), float(np.quantile(values, 0.9))


def _angle(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.arctan2(a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0], (a * b).sum(axis=1))


def _fidelity(clip: Clip, plate: Plate, motion: MotionField) -> tuple[float, float]:
    """Mean PSNR (dB) and SSIM of our first frames against the clip's, as section 6 of the paper compares."""
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
    psnr, ssim = np.mean(found, axis=0)
    return float(psnr), float(ssim)


def similarity(a: np.ndarray, b: np.ndarray) -> float:
    """Mean SSIM of two grey pictures 0..255. Source: Wang et al. (TIP 2004), Gaussian windows of sigma 1.5."""
    from scipy.ndimage import gaussian_filter

    def mean(x: np.ndarray) -> np.ndarray:
        return gaussian_filter(x, 1.5, truncate=3.5)

    ma, mb = mean(a), mean(b)
    va, vb, cov = mean(a * a) - ma * ma, mean(b * b) - mb * mb, mean(a * b) - ma * mb
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    top = (2 * ma * mb + c1) * (2 * cov + c2)
    return float((top / ((ma * ma + mb * mb + c1) * (va + vb + c2))).mean())


def table(rows: list[Row]) -> list[str]:
    """Rows as lines of text, and the means over the steady clips of each method."""
    head = f"{'clip':<26}{'method':<11}{'IoU':>6}{'axis':>7}{'p90':>6}{'direction':>11}{'p90':>6}{'error':>7}"
    lines = [head + f"{'PSNR':>7}{'SSIM':>7}"]
    lines += [_line(row.clip + ("" if row.steady else " *"), row) for row in rows]
    lines.append("* not steady: left out of the means")
    for method in dict.fromkeys(row.method for row in rows):
        steady = [row for row in rows if row.method == method and row.steady]
        if steady:
            values = np.array([[r.overlap, *r.axis, *r.direction, r.scaled_error, r.psnr, r.ssim] for r in steady])
            m = values.mean(axis=0)
            mean = Row("", True, method, m[0], (m[1], m[2]), (m[3], m[4]), m[5], m[6], m[7])
            lines.append(_line(f"mean of {len(steady)} steady", mean))
    return lines


def _line(name: str, row: Row) -> str:
    return (
        f"{name:<26}{row.method:<11}{row.overlap:6.2f}{row.axis[0]:7.1f}{row.axis[1]:6.1f}"
        f"{row.direction[0]:11.1f}{row.direction[1]:6.1f}{row.scaled_error:7.2f}{row.psnr:7.2f}{row.ssim:7.3f}"
    )
