# SPDX-License-Identifier: Apache-2.0
"""Evaluation of motion predicted from a clip's first frame against its optical flow, with simple baselines."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from loopcore.color import decode_codes
from loopcore.errors import LoopcoreError, MotionError, PackageError
from loopcore.image import luma
from loopcore.motion.field import MotionField
from loopcore.motion.predict import predict_motion
from loopcore.plate import Plate
from loopcore.training.calibration import confidence_and_error
from loopcore.training.clips import FRAMES, Clip, read_clip
from loopcore.training.manifest import NAME as MANIFEST
from loopcore.training.manifest import Footage, select_clips
from loopcore.training.motion_scores import MethodScore, Truth, angles, both_move, score
from loopcore.training.progress import Counter
from loopcore.training.run_log import Sheet, flow_colours
from loopcore.training.streaks import axis_angle, streak_axes
from loopcore.training.video import clip_name

_COMPARED = 15  # frames of the clip that are compared with those of a loop
_BLUE = (40, 50, 110)  # of pixels without a value, in pictures
_LOOPS = 40  # steps of progress for the frames of loops


@dataclass(frozen=True)
class ClipEvaluation:
    """Evaluation of one clip.

    Attributes:
        name: of the clip.
        kind: from the manifest, or "".
        remark: why the clip is excluded from the means, or "".
        frames: their number; 0 if the clip cannot be read.
        truth_from: source of the flow.
        steadiness: fraction of the motion that one field explains.
        moving_share: fraction of the picture that moves.
        still_share: fraction of the picture that is still; the rest is unknown.
        upright: whether the mean motion is more vertical than horizontal, so that a still shows its direction.
        something_flows: whether the predictor gave a field.
        rows: scores of each method; empty if the clip cannot be read or nothing moves.
        doubt: confidence and errors of pixels, from :func:`~loopcore.training.calibration.confidence_and_error`.
    """

    name: str
    kind: str = ""
    remark: str = ""
    frames: int = 0
    truth_from: str = ""
    steadiness: float = float("nan")
    moving_share: float = 0.0
    still_share: float = 0.0
    upright: bool = False
    something_flows: bool = False
    rows: tuple[MethodScore, ...] = ()
    doubt: np.ndarray = field(default_factory=lambda: np.zeros((0, 3), np.float32), compare=False, repr=False)

    @property
    def steady(self) -> bool:
        """Whether one field explains the clip, so that it is included in the means."""
        return not self.remark


def evaluate_motion(
    folder: str | Path,
    weights: Path | None = None,
    split: str | None = None,
    kinds: Sequence[str] = (),
    on_progress: Callable[[int, int], None] | None = None,
) -> Iterator[tuple[ClipEvaluation, Sheet]]:
    """Evaluates the predictor on each clip of a folder.

    The picture of a clip shows its plate, the truth (unknown pixels grey), the prediction, its confidence, and its
    direction error (black 0, white 180 degrees; blue where truth and prediction do not both move). Loops are made and
    compared with the clip only without a manifest, since they take most of the time.

    Args:
        folder: with ``manifest.csv`` (columns clip, kind, split), or of videos or folders of numbered pictures.
        weights: of a fluid network or a generator; by default the shipped network.
        split: of the clips that a manifest lists; None for val.
        kinds: of those clips; none for all.
        on_progress: called with (done, total); may raise to stop.

    Yields:
        The evaluation of each clip, and its picture; none if the clip cannot be read.

    Raises:
        SequenceError: no clips.
        PlateError: a manifest that cannot be read.
        MotionError: weights that cannot be read.
        PackageError: OpenCV or LZ4 is absent.
    """
    clips, loops = select_clips(folder, split, kinds), not (Path(folder) / MANIFEST).is_file()
    check_weights(weights)
    counter = Counter(len(clips), FRAMES + (_LOOPS if loops else 1), on_progress)
    for footage in clips:
        try:
            measured = _evaluated(footage, weights, loops, counter.step)
        except PackageError:
            raise
        except LoopcoreError as error:
            measured = ClipEvaluation(clip_name(footage.path), footage.kind, str(error)), []
        counter.finish()
        yield measured


def _evaluated(
    footage: Footage, weights: Path | None, loops: bool, step: Callable[[], None]
) -> tuple[ClipEvaluation, Sheet]:  # fmt: skip
    clip = read_clip(footage.path, step)
    facts = ClipEvaluation(
        clip.name, footage.kind, clip.rejection, len(clip.frames), clip.source, clip.steadiness,
        float(clip.mask.mean()), float(clip.still.mean()), _upright(clip),
    )  # fmt: skip
    if not clip.mask.any():
        return facts, _sheet(clip, None)
    plate = frame_to_plate(clip.frames[0])
    predicted = predicted_or_none(plate, weights)
    rows = tuple(_rows(clip, predicted, _LoopComparison(clip, plate, step) if loops else None))
    if predicted is None:
        return replace(facts, rows=rows), _sheet(clip, None)
    doubt = confidence_and_error(_truth(clip), predicted)
    return replace(facts, rows=rows, something_flows=True, doubt=doubt), _sheet(clip, predicted)


def check_weights(weights: Path | None) -> None:
    """Reads weights once, since later an error would count as a prediction of no motion.

    Raises:
        MotionError: weights of neither kind of network.
    """
    from loopcore.motion.generator import KIND, load_generator, weights_kind
    from loopcore.motion.networks import load_weights

    if weights is not None:
        (load_generator if weights_kind(weights) == KIND else load_weights)(weights)


def predicted_or_none(plate: Plate, weights: Path | None) -> MotionField | None:
    """Returns the predicted motion; None where nothing seems to flow."""
    try:
        return predict_motion(plate, weights=weights)
    except MotionError:
        return None


def _truth(clip: Clip) -> Truth:
    return Truth(clip.velocity, clip.mask, clip.still)


def _upright(clip: Clip) -> bool:
    if not clip.mask.any():
        return False
    vx, vy = clip.velocity[clip.mask].mean(axis=0)
    return bool(abs(vy) > abs(vx))


def frame_to_plate(frame: np.ndarray) -> Plate:
    """Returns an 8-bit sRGB frame as a plate."""
    return Plate(decode_codes(frame), ("R", "G", "B"), "lin_rec709_scene", "srgb")


def _rows(clip: Clip, predicted: MotionField | None, loops: _LoopComparison | None) -> Iterator[MethodScore]:
    whole, nowhere = np.ones(clip.mask.shape, bool), np.zeros(clip.mask.shape, np.float32)
    none, truth = np.zeros_like(clip.velocity), clip.mask.astype(np.float32)
    velocity, mask = (none, nowhere) if predicted is None else (predicted.velocity, predicted.mask)
    for method, motion, shown in (
        ("predicted", velocity, mask),
        ("truth", clip.velocity, truth),
        ("none", none, nowhere),
    ):
        row = score(method, _truth(clip), motion, shown > 0.5)
        yield loops.added(row, motion, shown) if loops else row
    for method, motion in (
        ("streaks", _streaks(clip.frames[0])),
        ("sideways", _constant(clip, (1, 0))),
        ("down", _constant(clip, (0, 1))),
        ("best one", _constant(clip, clip.velocity[clip.mask].mean(axis=0))),
    ):
        yield score(method, _truth(clip), motion, whole)


def _constant(clip: Clip, vector: tuple[float, float] | np.ndarray) -> np.ndarray:
    return np.broadcast_to(np.asarray(vector, np.float32), clip.velocity.shape)


def _streaks(frame: np.ndarray) -> np.ndarray:
    """Returns the structure tensor's axis (sigma 8 px), oriented downwards."""
    grey = luma(frame.astype(np.float32)) / 255
    angle = axis_angle(streak_axes(grey, np.ones_like(grey), 8.0))
    way = np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    return np.where(way[..., 1:] < 0, -way, way).astype(np.float32)


@dataclass(frozen=True)
class _LoopComparison:
    """Compares a loop's first frames with the clip's, as in section 6 of the paper."""

    clip: Clip
    plate: Plate
    step: Callable[[], None]

    def added(self, row: MethodScore, velocity: np.ndarray, mask: np.ndarray) -> MethodScore:
        """Returns the row with mean PSNR (dB) and SSIM of a loop of the motion at the row's scale."""
        from loopcore.color import encode_8bit
        from loopcore.loop import Loop

        last = min(_COMPARED, len(self.clip.frames))
        loop = Loop(self.plate, MotionField(velocity * np.float32(row.scale), mask, mask), frames=60)
        found = []
        for time in range(1, last):
            ours = encode_8bit(loop.frame(time)).astype(np.float64)
            theirs = self.clip.frames[time].astype(np.float64)
            error = ((ours - theirs) ** 2).mean()
            found.append((10 * np.log10(255**2 / max(error, 1e-9)), similarity(ours.mean(axis=2), theirs.mean(axis=2))))
            self.step()
        psnr, ssim = np.mean(found, axis=0)
        return replace(row, psnr=float(psnr), ssim=float(ssim))


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


def _sheet(clip: Clip, predicted: MotionField | None) -> Sheet:
    # Motion is scaled to its own 95th percentile, since a still does not show its speed.
    true = flow_colours(clip.velocity * clip.mask[..., None]).copy()
    true[~(clip.mask | clip.still)] = 128
    if predicted is None:
        none = np.zeros_like(clip.velocity)
        nowhere = np.zeros_like(clip.mask)
        return [[clip.frames[0], true, flow_colours(none), *[_shaded(none[..., 0], nowhere)] * 2]]
    both = both_move(_truth(clip), predicted.velocity, predicted.mask > 0.5)
    turn = np.zeros(both.shape)
    turn[both] = angles(clip.velocity[both].astype(np.float64), predicted.velocity[both].astype(np.float64)) / 180
    doubt = _shaded(predicted.confidence, predicted.mask > 0.5)
    return [[clip.frames[0], true, flow_colours(predicted.effective), doubt, _shaded(turn, both)]]


def _shaded(values: np.ndarray, where: np.ndarray) -> np.ndarray:
    """Returns values 0..1 as greys (h, w, 3) uint8, blue elsewhere."""
    grey = np.repeat((255 * np.clip(values, 0, 1))[..., None], 3, axis=-1)
    return np.where(where[..., None], grey, _BLUE).astype(np.uint8)
