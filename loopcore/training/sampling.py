# SPDX-License-Identifier: Apache-2.0
"""Batches for the motion generator.

The crops of a step depend only on the seed and the step, so a resumed run draws the same crops as an uninterrupted one.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from loopcore.errors import MotionError
from loopcore.training.config import DataSettings
from loopcore.training.dataset import Dataset, Example, read_example

Batch = tuple[Tensor, Tensor, Tensor]
"""Pictures (N, 3, s, s) 0..1, velocity (N, 2, s, s) px per frame, mask (N, 1, s, s)."""

_SCALES = (0.75, 1.33)  # of a crop, relative to the prepared clips
_PREFETCH = 2  # batches


class Sampler:
    """Draws crops of the split ``train``; scenes are equally likely, whatever their number of clips.

    Raises:
        MotionError: nothing to train on.
    """

    def __init__(self, dataset: Dataset, settings: DataSettings, seed: int) -> None:
        self._settings, self._seed = settings, seed
        self._synthetic = [example for example in dataset.synthetic if example.split == "train"]
        scenes: dict[str, list[Example]] = {}
        for example in dataset.clips:
            if example.split == "train":
                scenes.setdefault(example.scene, []).append(example)
        self._scenes = list(scenes.values())
        if not self._scenes and not self._synthetic:
            why = "; ".join(f"{name}: {reason}" for name, reason in dataset.refused[:3])
            raise MotionError(
                f"there is nothing to train on: {len(dataset.clips)} clips, none of them in the split train "
                f"(data.held_out = 0 puts all there); {len(dataset.refused)} refused{' (' + why + ')' if why else ''}"
            )

    def crop(self, step: int, index: int) -> Batch:
        """Returns one crop as a batch of one."""
        random = np.random.default_rng((self._seed, step, index))
        made = not self._scenes or (self._synthetic and random.random() < self._settings.synthetic_share)
        some = self._synthetic if made else self._scenes[int(random.integers(len(self._scenes)))]
        example = some[int(random.integers(len(some)))]
        picture, velocity, mask = read_example(example, int(random.integers(example.frames)))
        side = self._settings.side
        size = min(*mask.shape, round(side / random.uniform(*_SCALES)))
        y, x = (int(random.integers(edge - size + 1)) for edge in mask.shape)
        batch = window_batch(picture, velocity, mask, (y, x, size), side)
        if random.random() < 0.5:
            batch = mirrored(batch)
        return _augmented(batch[0], random), batch[1], batch[2]

    def batches(self, steps: range, count: int, workers: int) -> Iterator[Batch]:
        """Yields a batch of ``count`` crops for each step; the next batches are prepared in the background."""
        with ThreadPoolExecutor(workers) as pool:
            waiting: list[list[Future[Batch]]] = []
            for step in (*steps, *[None] * _PREFETCH):
                if step is not None:
                    waiting.append([pool.submit(self.crop, step, index) for index in range(count)])
                if len(waiting) > _PREFETCH or (step is None and waiting):
                    yield concatenate([future.result() for future in waiting.pop(0)])


def centre_crops(dataset: tuple[Example, ...], settings: DataSettings, limit: int) -> list[Batch]:
    """Returns the centre of the first frame of each example, or of ``limit`` evenly spaced ones; no augmentation."""
    chosen = dataset if len(dataset) <= limit else [dataset[i * len(dataset) // limit] for i in range(limit)]
    found = []
    for example in chosen:
        picture, velocity, mask = read_example(example, 0)
        size = min(*mask.shape, settings.side)
        y, x = ((edge - size) // 2 for edge in mask.shape)
        found.append(window_batch(picture, velocity, mask, (y, x, size), settings.side))
    return found


def concatenate(batches: list[Batch]) -> Batch:
    """Concatenates batches."""
    pictures, velocities, masks = zip(*batches, strict=True)
    return torch.cat(pictures), torch.cat(velocities), torch.cat(masks)


def window_batch(
    picture: np.ndarray, velocity: np.ndarray, mask: np.ndarray, window: tuple[int, int, int], side: int
) -> Batch:
    """Returns a square window (y, x, size) of a picture with its motion, resized to ``side`` pixels, vectors scaled."""
    y, x, size = window
    rows, columns = slice(y, y + size), slice(x, x + size)
    layers = [picture[rows, columns].astype(np.float32) / 255, velocity[rows, columns], mask[rows, columns, None]]
    scaled = []
    for values in layers:
        planes = torch.from_numpy(np.ascontiguousarray(values, np.float32)).permute(2, 0, 1)[None]
        if size != side:
            planes = F.interpolate(planes, size=(side, side), mode="bilinear", antialias=True, align_corners=False)
        scaled.append(planes.contiguous())
    return scaled[0].clamp(0, 1), scaled[1] * (side / size), scaled[2].clamp(0, 1)


def mirrored(batch: Batch) -> Batch:
    """Returns the batch mirrored left to right, velocities too."""
    pictures, velocity, mask = (values.flip(-1) for values in batch)
    return pictures, velocity * torch.tensor([-1.0, 1.0])[:, None, None], mask


def _augmented(pictures: Tensor, random: np.random.Generator) -> Tensor:
    """Varies gamma, saturation, white balance and contrast."""
    shown = pictures ** float(np.exp(random.uniform(-0.3, 0.3)))
    grey = shown.mean(dim=1, keepdim=True)
    shown = grey + float(random.uniform(0.6, 1.2)) * (shown - grey)
    shown = shown * torch.from_numpy(random.uniform(0.93, 1.07, 3).astype(np.float32))[:, None, None]
    middle = shown.mean()
    return (middle + float(random.uniform(0.8, 1.2)) * (shown - middle)).clamp(0, 1)
