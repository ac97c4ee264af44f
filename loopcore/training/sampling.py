# SPDX-License-Identifier: Apache-2.0
"""Batches for the motion generator: which crop of which clip a step sees depends on the seed and the step alone.

So a run that was stopped goes on with the very crops it would have seen.
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
from loopcore.training.pairs import Pair, Pairs, read_pair

Batch = tuple[Tensor, Tensor, Tensor]
"""Pictures (N, 3, s, s) 0..1, velocity (N, 2, s, s) px per frame, mask (N, 1, s, s)."""

_SCALES = (0.75, 1.33)  # of a crop, about the size that clips are kept at
_AHEAD = 2  # batches


class Sampler:
    """Draws crops of the split ``train``: scenes are equally likely, however many clips show them.

    Raises:
        MotionError: nothing to train on.
    """

    def __init__(self, pairs: Pairs, settings: DataSettings, seed: int) -> None:
        self._settings, self._seed = settings, seed
        self._made = [pair for pair in pairs.made if pair.split == "train"]
        scenes: dict[str, list[Pair]] = {}
        for pair in pairs.clips:
            if pair.split == "train":
                scenes.setdefault(pair.scene, []).append(pair)
        self._scenes = list(scenes.values())
        if not self._scenes and not self._made:
            why = "; ".join(f"{name}: {reason}" for name, reason in pairs.refused[:3])
            raise MotionError(
                f"there is nothing to train on: {len(pairs.clips)} clips, none of them in the split train "
                f"(data.held_out = 0 puts all there); {len(pairs.refused)} refused{' (' + why + ')' if why else ''}"
            )

    def crop(self, step: int, index: int) -> Batch:
        """One crop, as a batch of one."""
        random = np.random.default_rng((self._seed, step, index))
        made = not self._scenes or (self._made and random.random() < self._settings.synthetic_share)
        some = self._made if made else self._scenes[int(random.integers(len(self._scenes)))]
        pair = some[int(random.integers(len(some)))]
        picture, velocity, mask = read_pair(pair, int(random.integers(pair.frames)))
        side = self._settings.side
        size = min(*mask.shape, round(side / random.uniform(*_SCALES)))
        y, x = (int(random.integers(edge - size + 1)) for edge in mask.shape)
        batch = as_batch(picture, velocity, mask, (y, x, size), side)
        if random.random() < 0.5:
            batch = mirrored(batch)
        return _graded(batch[0], random), batch[1], batch[2]

    def batches(self, steps: range, count: int, workers: int) -> Iterator[Batch]:
        """For each step a batch of ``count`` crops; the next ones are made while this one is used."""
        with ThreadPoolExecutor(workers) as pool:
            waiting: list[list[Future[Batch]]] = []
            for step in (*steps, *[None] * _AHEAD):
                if step is not None:
                    waiting.append([pool.submit(self.crop, step, index) for index in range(count)])
                if len(waiting) > _AHEAD or (step is None and waiting):
                    yield joined([future.result() for future in waiting.pop(0)])


def whole_crops(pairs: tuple[Pair, ...], settings: DataSettings, most: int) -> list[Batch]:
    """The middle of each pair's first frame, as it is; spread over the pairs where there are more than ``most``."""
    chosen = pairs if len(pairs) <= most else [pairs[i * len(pairs) // most] for i in range(most)]
    found = []
    for pair in chosen:
        picture, velocity, mask = read_pair(pair, 0)
        size = min(*mask.shape, settings.side)
        y, x = ((edge - size) // 2 for edge in mask.shape)
        found.append(as_batch(picture, velocity, mask, (y, x, size), settings.side))
    return found


def joined(batches: list[Batch]) -> Batch:
    """Several batches as one."""
    pictures, velocities, masks = zip(*batches, strict=True)
    return torch.cat(pictures), torch.cat(velocities), torch.cat(masks)


def as_batch(
    picture: np.ndarray, velocity: np.ndarray, mask: np.ndarray, window: tuple[int, int, int], side: int
) -> Batch:
    """A square window (y, x, size) of a picture with its motion, at ``side`` pixels; vectors scale with it."""
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
    """Left and right exchanged; what went right goes left."""
    pictures, velocity, mask = (values.flip(-1) for values in batch)
    return pictures, velocity * torch.tensor([-1.0, 1.0])[:, None, None], mask


def _graded(pictures: Tensor, random: np.random.Generator) -> Tensor:
    """Another exposure, contrast, saturation and white balance."""
    shown = pictures ** float(np.exp(random.uniform(-0.3, 0.3)))
    grey = shown.mean(dim=1, keepdim=True)
    shown = grey + float(random.uniform(0.6, 1.2)) * (shown - grey)
    shown = shown * torch.from_numpy(random.uniform(0.93, 1.07, 3).astype(np.float32))[:, None, None]
    middle = shown.mean()
    return (middle + float(random.uniform(0.8, 1.2)) * (shown - middle)).clamp(0, 1)
