# SPDX-License-Identifier: Apache-2.0
"""What the benchmark scripts share: fair timing on a noisy machine, and one way to print a ratio."""

import os
import platform
import statistics
import time
from collections.abc import Callable


def medians(jobs: dict[str, Callable[[], object]], rounds: int = 9) -> dict[str, float]:
    """Median seconds of each job. The jobs take turns, so that a slow moment of the machine hits them all.

    Each runs once unmeasured before it is measured: the threads of the job before may still be spinning.
    """
    for job in jobs.values():
        job()
    seconds: dict[str, list[float]] = {name: [] for name in jobs}
    for _ in range(rounds):
        for name, job in jobs.items():
            job()
            start = time.perf_counter()
            job()
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def report(title: str, seconds: dict[str, float], ours: str) -> None:
    """Print a table of times and of how many times longer than ours each takes."""
    print(f"{title}\n({os.cpu_count()} cores, {platform.machine()}, {platform.system()})")
    for name, value in seconds.items():
        ratio = "" if name == ours else f"   {value / seconds[ours]:7.2f} x ours"
        print(f"  {name:<44}{value * 1e3:10.2f} ms{ratio}")


def waves(height: int, width: int, amplitude: float):
    """A smooth, flowing displacement (H, W, 2) in pixels, and a plate-like picture (H, W, 4) of random colours."""
    import numpy as np

    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    shift = np.stack([np.sin(y / 150) + 0.4 * np.sin(x / 90), 2 * np.cos(x / 210)], -1) * np.float32(amplitude)
    picture = np.random.default_rng(1).random((height, width, 4), dtype=np.float32)
    return np.ascontiguousarray(shift.astype(np.float32)), picture
