# SPDX-License-Identifier: Apache-2.0
"""Batches for the fluid network: crops of labelled pictures and of footage, determined by the seed and the step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from loopcore.motion.networks import CLASSES, STRIDE
from loopcore.training.footage_crops import footage_crop
from loopcore.training.pasting import motion_target
from loopcore.training.pictures import Sample, crop_of, soft_targets
from loopcore.training.teachers import Taught

_SIZES = ((192, 288), (192, 288), (224, 224), (288, 192), (192, 320))  # of footage crops, height and width
# Crops of a kind or scene of the footage are drawn by these powers of its number of clips.
_KIND_POWER, _SCENE_POWER = 0.6, 0.5
_AHEAD = 3  # batches that are prepared in the background


@dataclass(frozen=True)
class TrainSettings:
    """Hyperparameters of a training run.

    Attributes:
        seed: of everything random.
        steps: of the optimiser.
        pictures: crops of pictures in a step.
        footage: crops of footage in a step.
        side: pixels of a picture crop.
        alone: fraction of the steps in which a new motion decoder is trained alone.
        first_rate: highest rate of decoders that start from random weights.
        motion_rate: highest rate of a motion decoder that is trained already.
        decoder_rate: the same of a class decoder.
        encoder_rate: highest rate of the encoder's late stages.
        weight_decay: of AdamW.
        dice: weight of the overlap loss; cross-entropy has 1.
        average: decay per step of the exponential moving average of the weights.
        save: steps between writing the averaged weights.
    """

    seed: int = 1
    steps: int = 1800
    pictures: int = 6
    footage: int = 4
    side: int = 224
    alone: float = 0.5
    first_rate: float = 2e-3
    motion_rate: float = 1e-3
    decoder_rate: float = 3e-4
    encoder_rate: float = 7e-5
    weight_decay: float = 2e-2
    dice: float = 0.5
    average: float = 0.997
    save: int = 200


@dataclass(frozen=True)
class Batch:
    """Crops of one step; either part may be missing.

    Attributes:
        pictures: (n, 3, s, s) sRGB 0..1.
        labels: (n, 5, s / 4, s / 4), class fractions.
        picture_motion: (n, 5, s / 8, s / 8), as for :func:`loopcore.training.motion_losses.motion_losses`.
        footage: (m, 3, H, W) sRGB 0..1.
        motion: (m, 5, H / 8, W / 8), the same.
        classes: (m, 5, H / 4, W / 4), of teachers.
    """

    pictures: Tensor | None
    labels: Tensor | None
    picture_motion: Tensor | None
    footage: Tensor | None
    motion: Tensor | None
    classes: Tensor | None


def draw_batches(plan: Sequence[Sample], footage: Sequence[Taught], settings: TrainSettings) -> Iterator[Batch]:
    """Yields the batches of all steps, each determined by the seed and the step, prepared ahead in the background."""
    draw = _Draw(footage) if footage else None
    with ThreadPoolExecutor(1) as pool:
        waiting = [pool.submit(_batch, plan, draw, settings, step) for step in range(min(_AHEAD, settings.steps))]
        for step in range(settings.steps):
            if step + _AHEAD < settings.steps:
                waiting.append(pool.submit(_batch, plan, draw, settings, step + _AHEAD))
            yield waiting.pop(0).result()


def _batch(plan: Sequence[Sample], draw: _Draw | None, settings: TrainSettings, step: int) -> Batch:
    random = np.random.default_rng((settings.seed, step))
    shown = labelled = shown_motion = crops = motion = classes = None
    if plan:
        count = settings.pictures if draw else settings.pictures + settings.footage
        clips = draw.supervisions if draw else ()
        chosen = random.integers(len(plan), size=count)
        found = [crop_of(plan, int(i), settings.seed, step, settings.side, clips) for i in chosen]
        shown = torch.from_numpy(np.stack([crop.picture for crop in found]))
        labelled = torch.from_numpy(np.stack([soft_targets(crop.labels, len(CLASSES), STRIDE) for crop in found]))
        targets = np.stack([motion_target(crop.motion) for crop in found])
        shown_motion = torch.from_numpy(np.ascontiguousarray(np.moveaxis(targets, -1, 1)))
    if draw:
        size = _SIZES[int(random.integers(len(_SIZES)))]
        drawn = [draw.clip(random) for _ in range(settings.footage)]
        parts = zip(*(footage_crop(one.supervision, one.classes, random, size) for one in drawn), strict=True)
        crops, motion, classes = (torch.from_numpy(np.stack(part)) for part in parts)
    return Batch(shown, labelled, shown_motion, crops, motion, classes)


class _Draw:
    """Draws clips: rare kinds and small scenes more often than their number of clips says."""

    def __init__(self, footage: Sequence[Taught]) -> None:
        kinds: dict[str, dict[str, list[Taught]]] = {}
        for clip in footage:
            kinds.setdefault(clip.supervision.kind, {}).setdefault(clip.supervision.scene, []).append(clip)
        self._clips = [clip for scenes in kinds.values() for clips in scenes.values() for clip in clips]
        chances = []
        for scenes in kinds.values():
            total = sum(len(clips) for clips in scenes.values())
            weights = np.array([len(clips) ** _SCENE_POWER for clips in scenes.values()])
            for weight, clips in zip(weights / weights.sum(), scenes.values(), strict=True):
                chances += [total**_KIND_POWER * weight / len(clips)] * len(clips)
        self.supervisions = [clip.supervision for clip in self._clips]
        self._ends = np.cumsum(chances) / np.sum(chances)

    def clip(self, random: np.random.Generator) -> Taught:
        return self._clips[min(int(np.searchsorted(self._ends, random.random())), len(self._clips) - 1)]
