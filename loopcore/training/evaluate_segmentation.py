# SPDX-License-Identifier: Apache-2.0
"""Evaluation of the segmentation: overlap of its classes with labels, and scores of pictures with and without fluid."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from loopcore.errors import PlateError
from loopcore.motion.deterministic import resize_planes
from loopcore.motion.estimate import MIN_SCORE, estimate_picture
from loopcore.motion.networks import CLASSES, FluidNet
from loopcore.training.pictures import UNKNOWN, read_manifest, read_sample

_MAX_STILL_FLUID = 0.001  # of the known pixels: a picture with less counts as one without fluid
_MIN_FLUID = 0.05  # of the known pixels: a picture with more counts as one with fluid


@dataclass(frozen=True)
class SegmentationReport:
    """Evaluation of one split.

    Attributes:
        split: its name.
        pictures: their number.
        overlap: intersection over union by class, over all known pixels of the split; NaN for a class without pixels.
        pixels: number of known pixels by class.
        still_scores: of pictures without fluid.
        moving_scores: of pictures with fluid.
    """

    split: str
    pictures: int
    overlap: dict[str, float]
    pixels: dict[str, int]
    still_scores: tuple[float, ...]
    moving_scores: tuple[float, ...]

    def lines(self) -> list[str]:
        """Returns the report as lines of text."""
        head = f"{self.split}: {self.pictures} pictures, intersection over union"
        rows = [f"  {name:<8}{self.overlap[name]:6.3f}   {self.pixels[name]:>10} pixels" for name in CLASSES]
        moved = sum(score >= MIN_SCORE for score in self.still_scores)
        lost = sum(score < MIN_SCORE for score in self.moving_scores)
        return [
            head,
            *rows,
            f"  without fluid: {moved} of {len(self.still_scores)} would move",
            f"  with fluid: {lost} of {len(self.moving_scores)} would be refused",
        ]


def evaluate_segmentation(
    folder: str | Path,
    split: str,
    network: FluidNet | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> SegmentationReport:
    """Evaluates the segmentation on one split of a folder of labelled pictures.

    Args:
        folder: with ``manifest.csv``, pictures and labels.
        split: train, val or test.
        network: by default the shipped one.
        on_progress: called with (done, total).

    Raises:
        PlateError: no pictures in that split, or unreadable ones.
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
        estimate = estimate_picture(shown, network)
        assert estimate.classes is not None
        best = resize_planes(estimate.classes, *labels.shape).argmax(axis=0)
        pairs = labels[known].astype(np.int64) * len(CLASSES) + best[known]
        confusion += np.bincount(pairs, minlength=confusion.size).reshape(confusion.shape)
        # only water, smoke and fire: a clear sky does not move
        flows, stays = (np.isin(labels[known], c).mean() if known.any() else 0.0 for c in ((1, 3, 4), (0,)))
        if max(flows - _MIN_FLUID, stays - 1 + _MAX_STILL_FLUID) > 0:
            (moving if flows > _MIN_FLUID else still).append(estimate.score)
        if on_progress:
            on_progress(done, len(samples))
    hit = np.diag(confusion)
    union = confusion.sum(axis=0) + confusion.sum(axis=1) - hit
    there = confusion.sum(axis=1)
    overlap = {c: float(hit[i] / union[i]) if there[i] else float("nan") for i, c in enumerate(CLASSES)}
    pixels = {c: int(there[i]) for i, c in enumerate(CLASSES)}
    return SegmentationReport(split, len(samples), overlap, pixels, tuple(still), tuple(moving))
