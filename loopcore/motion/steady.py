# SPDX-License-Identifier: Apache-2.0
"""Torch with the same bits whatever the number of threads.

With another number of threads torch cuts its work elsewhere, and sums and vector tails round otherwise: enough to give
another field, and machines that share the frames of one loop have to agree on it. So each piece runs on one thread,
and several pieces side by side. Processors of another kind may still differ in the last digits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

Mode = Literal["bilinear", "antialias", "area"]


def side_by_side(jobs: Sequence[Callable[[], Tensor]]) -> list[Tensor]:
    """What the jobs compute, in their order: without gradients, each on one thread, as many at a time as torch has."""
    import torch

    def alone(job: Callable[[], Tensor]) -> Tensor:
        with torch.inference_mode():  # which holds for one thread, as the number of threads does
            return job()

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # of this thread, and of those that begin now
    try:
        if len(jobs) == 1:
            return [alone(jobs[0])]  # here, where Ctrl-C ends it between two layers
        with ThreadPoolExecutor(min(threads, len(jobs)), initializer=torch.set_num_threads, initargs=(1,)) as pool:
            return list(pool.map(alone, jobs))
    finally:
        torch.set_num_threads(threads)


def interpolated(planes: np.ndarray, height: int, width: int, mode: Mode = "bilinear") -> np.ndarray:
    """(n, h, w) float32 to (n, height, width): "bilinear", "antialias" (the same, over all it shrinks), or "area"."""
    import torch
    from torch.nn import functional as F

    known, antialias = "area" if mode == "area" else "bilinear", mode == "antialias"
    source = torch.from_numpy(np.ascontiguousarray(planes, np.float32))[None]

    def job() -> Tensor:
        return F.interpolate(source, (height, width), mode=known, antialias=antialias)

    return side_by_side([job])[0][0].numpy()
