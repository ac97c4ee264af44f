# SPDX-License-Identifier: Apache-2.0
"""Torch inference whose result does not depend on the number of threads.

With another number of threads torch partitions its work differently, and sums and vector remainders round differently,
which changes the field; but machines that share the frames of one loop need the same field. So each task runs on one
thread, and several tasks run in parallel. Processors of another architecture may still differ in the last digits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Literal, TypeVar

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

Result = TypeVar("Result")
ResizeMode = Literal["bilinear", "antialias", "area"]


def run_parallel(tasks: Sequence[Callable[[], Result]]) -> list[Result]:
    """Runs tasks in inference mode, each on one thread, at most ``torch.get_num_threads()`` at a time.

    Returns:
        The results, in the order of the tasks.
    """
    import torch

    def run_single_threaded(task: Callable[[], Result]) -> Result:
        with torch.inference_mode():  # per thread, as is the number of threads
            return task()

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # of this thread, and of those that start now
    try:
        if len(tasks) == 1:
            return [run_single_threaded(tasks[0])]  # on this thread, where Ctrl-C interrupts it between two layers
        with ThreadPoolExecutor(min(threads, len(tasks)), initializer=torch.set_num_threads, initargs=(1,)) as pool:
            return list(pool.map(run_single_threaded, tasks))
    finally:
        torch.set_num_threads(threads)


def resize_planes(planes: np.ndarray, height: int, width: int, mode: ResizeMode = "bilinear") -> np.ndarray:
    """Resizes (n, h, w) float32 planes to (n, height, width).

    Args:
        planes: (n, h, w), converted to float32.
        height: rows of the result.
        width: columns of the result.
        mode: "bilinear"; "antialias", bilinear with a triangle filter as wide as the reduction; or "area" averages.
    """
    import torch
    from torch.nn import functional as F

    torch_mode, antialias = "area" if mode == "area" else "bilinear", mode == "antialias"
    source = torch.from_numpy(np.ascontiguousarray(planes, np.float32))[None]

    def resize() -> Tensor:
        return F.interpolate(source, (height, width), mode=torch_mode, antialias=antialias)

    return run_parallel([resize])[0][0].numpy()
