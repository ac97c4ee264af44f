# SPDX-License-Identifier: Apache-2.0
"""Evaluation of the segmentation: overlap of its classes with labels, and scores of pictures where nothing flows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from loopcore.errors import PlateError
from loopcore.motion.networks import CLASSES, FluidNet
from loopcore.motion.segmentation import MIN_SCORE, class_probabilities, segment
from loopcore.training.pictures import UNKNOWN, read_manifest, read_sample

_MAX_STILL_FLUID = 0.001  # of the known pixels: a picture with less fluid than this holds none
_MIN_FLUID = 0.05  # a picture with more than this holds some


@dataclass(frozen=True)
class SegmentationReport:
    """Numbers of one split.

    overlap: class to intersection over union, of all its known pixels together; NaN where the split has none of it.
    pixels: class to its known pixels. still_scores, moving_scores: of pictures without fluid and of those with some.
    """

    split: str
    pictures: int
    overlap: dict[str, float]
    pixels: dict[str, int]
    still_scores: tuple[float, ...]
    moving_scores: tuple[float, ...]

    def lines(self) -> list[str]:
        """The report as text."""
        head = f"{self.split}: {self.pictures} pictures, intersection over union"
        rows = [f"  {name:<8}{self.overlap[name]:6.3f}   {self.pixels[name]:>10} pixels" for name in CLASSES]
        moved = sum(score >= MIN_SCORE for score in self.still_scores)
        lost = sum(score < MIN_SCORE for score in self.moving_scores)
        return [
            head,
            *rows,
            f"  nothing flows: {moved} of {len(self.still_scores)} moved nevertheless",
            f"  something flows: {lost} of {len(self.moving_scores)} refused",
        ]


def evaluate_segmentation(
    folder: str | Path,
    split: str,
    network: FluidNet | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> SegmentationReport:
    """Evaluates a network, by default the shipped ones, on one split of a folder of labelled pictures.

    Raises:
        PlateError: no such pictures.
    """
    samples = [sample for sample in read_manifest(folder) if sample.split == split]
    if not samples:
        raise PlateError(f"{Path(folder) / 'manifest.csv'} has no pictures in the split {split!r}")
    confusion = np.zeros((len(CLASSES), len(CLASSES)), np.int64)
    still: list[float] = []
    moving: list[float] = []
    for done, sample in enumerate(samples, 1):
        picture, labels = read_sample(sample)
        shown = picture.astype(np.float32) / 255
        known = labels != UNKNOWN
        probabilities = class_probabilities(shown, network)
        best = _full_size(probabilities, *labels.shape).argmax(axis=0)
        pairs = labels[known].astype(np.int64) * len(CLASSES) + best[known]
        confusion += np.bincount(pairs, minlength=confusion.size).reshape(confusion.shape)
        # skies may be clear, and then nothing is to move: only water, smoke and fire are sure to
        flows, stays = (np.isin(labels[known], c).mean() if known.any() else 0.0 for c in ((1, 3, 4), (0,)))
        if max(flows - _MIN_FLUID, stays - 1 + _MAX_STILL_FLUID) > 0:
            (moving if flows > _MIN_FLUID else still).append(segment(shown, probabilities, network).score)
        if on_progress:
            on_progress(done, len(samples))
    hit = np.diag(confusion)
    union = confusion.sum(axis=0) + confusion.sum(axis=1) - hit
    there = confusion.sum(axis=1)
    overlap = {c: float(hit[i] / union[i]) if there[i] else float("nan") for i, c in enumerate(CLASSES)}
    pixels = {c: int(there[i]) for i, c in enumerate(CLASSES)}
    return SegmentationReport(split, len(samples), overlap, pixels, tuple(still), tuple(moving))


def _full_size(probabilities: np.ndarray, height: int, width: int) -> np.ndarray:
    import torch
    from torch.nn import functional as F

    planes = torch.from_numpy(probabilities)[None]
    return F.interpolate(planes, size=(height, width), mode="bilinear", align_corners=False)[0].numpy()
