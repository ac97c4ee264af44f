# SPDX-License-Identifier: Apache-2.0
"""Evaluation of loops: made from one frame of a clip and the clip's own mean motion, against the clip itself."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from loopcore.color import encode_8bit
from loopcore.errors import LoopcoreError, PackageError, SequenceError
from loopcore.loop import Loop
from loopcore.motion.field import MotionField
from loopcore.training.clips import FRAMES, LONG_SIDE, Clip, ClipSettings, read_windows
from loopcore.training.evaluate_motion import frame_to_plate
from loopcore.training.frechet import relative_distance
from loopcore.training.loop_measures import SAMPLES, Measures, measure_sequence, psnr
from loopcore.training.loop_variants import STILL, Variant, check_variants, make_loop
from loopcore.training.manifest import Footage, select_clips
from loopcore.training.progress import Counter
from loopcore.training.run_log import Sheet
from loopcore.training.video import clip_name

LEAST_FRAMES = 12  # of a clip: fewer show no mean and no deviation over time
MIN_SIDE, MAX_SIDE = 64, 4096
_FEATHER = 8.0  # pixels at 640 outside of the moving region over which the motion fades: a hard edge would tear
_DEVIATION_GAIN = 4.0  # of pictures of the deviation, which is small

# Kinds of clips whose shapes move with them: `MotionField.drifting`.
DRIFTING = ("sky", "smoke", "steam")


@dataclass(frozen=True)
class LoopSettings:
    """What is compared.

    Attributes:
        variants: of the loop.
        split: of the clips that a manifest lists; None for val.
        kinds: of those clips; none for all.
        frames: of the loop, where a variant does not set them.
        long_side: largest number of pixels of the frames' longer side.
    """

    variants: tuple[Variant, ...] = (Variant("loop"),)
    split: str | None = None
    kinds: tuple[str, ...] = ()
    frames: int = 60
    long_side: int = LONG_SIDE


@dataclass(frozen=True)
class LoopScore:
    """One variant on one clip, inside the moving region, in sRGB codes 0..1.

    Attributes:
        variant: its name.
        mean_psnr: PSNR of the mean over time against the clip's, dB.
        deviation: standard deviation over time, mean of the region's pixels.
        deviation_ratio: deviation over the clip's.
        wander: mean |blurred frame - blurred first frame|.
        frame_distance: Frechet distance between features of the loop's and the clip's frames.
        change_distance: the same of differences between neighbouring frames.
    """

    variant: str
    mean_psnr: float
    deviation: float
    deviation_ratio: float
    wander: float
    frame_distance: float
    change_distance: float


@dataclass(frozen=True)
class LoopEvaluation:
    """One clip, and the scores of each variant and of the still on it.

    Attributes:
        name: of the clip.
        kind: from the manifest, or "".
        remark: why the clip is left out of the means, or "".
        size: width and height, pixels.
        frames: of the clip.
        truth_from: source of the flow.
        steadiness: fraction of the motion that the one field explains.
        moving_share: fraction of the picture that moves.
        speed: mean of the moving region, px per frame.
        deviation: of the clip, as of :class:`LoopScore`.
        wander: of the clip, as of :class:`LoopScore`.
        rows: none where the clip was not measured.
    """

    name: str
    kind: str
    remark: str = ""
    size: tuple[int, int] = (0, 0)
    frames: int = 0
    truth_from: str = ""
    steadiness: float = float("nan")
    moving_share: float = 0.0
    speed: float = float("nan")
    deviation: float = float("nan")
    wander: float = float("nan")
    rows: tuple[LoopScore, ...] = field(default=())

    @property
    def counts(self) -> bool:
        """Whether it counts in the means."""
        return not self.remark


def evaluate_loops(
    folder: str | Path, settings: LoopSettings, on_progress: Callable[[int, int], None] | None = None
) -> Iterator[tuple[LoopEvaluation, Sheet]]:
    """Yields each clip of a folder, measured, and its pictures.

    The loop is made of the clip's first frame and its mean motion, at the clip's own rate. Rows of the pictures are
    the clip, each variant, and the still; columns are mean and deviation (times 4) over time, first frame, and the
    frame in the middle of a cycle. Clips that cannot be read yield a remark and no pictures.

    Args:
        folder: with ``manifest.csv`` (columns clip, kind, split), or of clips.
        settings: what to compare.
        on_progress: called with steps done and all steps; may raise to stop.

    Raises:
        PlateError, SequenceError, MotionError, EngineError: no clips, no OpenCV, or settings out of range.
    """
    if not MIN_SIDE <= settings.long_side <= MAX_SIDE:
        raise SequenceError(f"width {settings.long_side} is out of range: give {MIN_SIDE} to {MAX_SIDE} pixels")
    clips = select_clips(folder, settings.split, settings.kinds)
    check_variants(settings.variants, settings.frames)
    steps = FRAMES + 2 * SAMPLES + sum(_length(v, settings) + 2 * SAMPLES for v in settings.variants) + 1
    counter = Counter(len(clips), steps, on_progress)
    for footage in clips:
        counter.step()
        try:
            measured = _evaluated(footage, settings, counter.step)
        except PackageError:
            raise
        except LoopcoreError as error:
            measured = LoopEvaluation(clip_name(footage.path), footage.kind, str(error)), []
        counter.finish()
        yield measured


def _length(variant: Variant, settings: LoopSettings) -> int:
    return int(variant.options.get("frames", settings.frames))


def _evaluated(footage: Footage, settings: LoopSettings, step: Callable[[], None]) -> tuple[LoopEvaluation, Sheet]:
    # A steadiness of 0: a loop is one steady field, however little of the clip that explains.
    reading = ClipSettings(settings.long_side, least=LEAST_FRAMES, steadiness=0.0, enlarge=False)
    clip = next(read_windows(footage.path, reading, step))
    if not clip.mask.any():
        return LoopEvaluation(clip.name, footage.kind, clip.rejection or "nothing moves"), []
    real = measure_sequence(clip.frames, clip.mask, loops=False, on_picture=step)
    rows, sheet = [], [_pictures(clip.frames, real, len(clip.frames) // 2)]
    for variant, frames, middle in _sequences(clip, footage.kind, settings, step):
        measured = measure_sequence(frames, clip.mask, loops=True, on_picture=step)
        rows.append(_score(variant, measured, real, clip.mask))
        sheet.append(_pictures(frames, measured, middle))
    return _described(clip, footage.kind, real, tuple(rows)), sheet


def _sequences(
    clip: Clip, kind: str, settings: LoopSettings, step: Callable[[], None]
) -> Iterator[tuple[str, np.ndarray, int]]:  # fmt: skip
    """Yields each variant's name, frames (n, h, w, 3) uint8, and the middle of its first cycle; the still last."""
    plate, mask = frame_to_plate(clip.frames[0]), _feathered(clip.mask)
    drifting = np.full_like(mask, kind in DRIFTING) if kind else None
    motion = MotionField(clip.velocity, mask, mask, drifting=drifting)
    for variant in settings.variants:
        loop = make_loop(plate, motion, variant, settings.frames)
        frames = np.empty((loop.frames, *clip.frames.shape[1:]), np.uint8)
        for t in range(loop.frames):
            frames[t] = encode_8bit(loop.frame(t))
            step()
        yield variant.name, frames, _middle(loop)
    yield STILL, clip.frames[[0, 0]], 0


def _feathered(region: np.ndarray) -> np.ndarray:
    """A mask (h, w) float32 that is 1 in the region and fades to 0 outside of it."""
    from scipy.ndimage import distance_transform_edt

    width = _FEATHER * max(region.shape) / 640
    return np.clip(1 - distance_transform_edt(~region) / width, 0, 1).astype(np.float32)


def _middle(loop: Loop) -> int:
    """The frame in the middle of the first of a loop's cycles; of the whole loop where it runs in one."""
    cycles = getattr(loop, "cycles", 1)
    return loop.frames // (2 * cycles if isinstance(cycles, int) and cycles > 0 else 2)


def _score(variant: str, measured: Measures, real: Measures, region: np.ndarray) -> LoopScore:
    deviation, true = (float(sequence.deviation[region].mean()) for sequence in (measured, real))
    return LoopScore(
        variant,
        psnr(measured.mean, real.mean, region),
        deviation,
        deviation / true if true > 0 else math.nan,
        measured.wander,
        relative_distance(measured.frames, real.frames),
        relative_distance(measured.changes, real.changes),
    )


def _described(clip: Clip, kind: str, real: Measures, rows: tuple[LoopScore, ...]) -> LoopEvaluation:
    height, width = clip.mask.shape
    return LoopEvaluation(
        clip.name, kind, clip.rejection, (width, height), len(clip.frames), clip.source, clip.steadiness,
        float(clip.mask.mean()), float(np.hypot(*clip.velocity[clip.mask].T).mean()),
        float(real.deviation[clip.mask].mean()), real.wander, rows,
    )  # fmt: skip


def _pictures(frames: np.ndarray, measured: Measures, middle: int) -> list[np.ndarray]:
    means = [measured.mean, _DEVIATION_GAIN * measured.deviation]
    return [*((255 * np.clip(codes, 0, 1) + 0.5).astype(np.uint8) for codes in means), frames[0], frames[middle]]
