# SPDX-License-Identifier: Apache-2.0
"""The CPU's kernels against the memory's own speed: each as a multiple of a copy of the bytes that have to move.

The same measure as the GPU's, in `splat_gpu.py`. 3840 x 2160 RGBA, float32; copies take turns with the kernels.
"""

import numpy as np
from _timing import medians, waves

from loopcore.parallel import parallel_rows, thread_count
from loopcore.transport import cpu

HEIGHT, WIDTH = 2160, 3840


def copy(megabytes: float):
    """A copy that reads and writes so much in all, in bands, by as many threads as the kernels."""
    rows = int(megabytes * 1e6 / 2 / (4 * WIDTH))
    source, target = np.ones((rows, WIDTH), np.float32), np.zeros((rows, WIDTH), np.float32)

    def run() -> None:
        parallel_rows(rows, lambda a, b: np.copyto(target[a:b], source[a:b]))

    return run


def main() -> None:
    shift, picture = waves(HEIGHT, WIDTH, 12.0)
    velocity = np.ascontiguousarray(shift / 60)
    kernels = {
        "warp": (4 * (2 * 4 + 2), lambda: cpu.warp(picture, shift)),
        "splat": (4 * (2 * 4 + 3), lambda: cpu.splat(picture, shift)),
        "integrate, 60 frames": (16, lambda: cpu.integrate(velocity, 60.0)),
    }
    print(f"{WIDTH}x{HEIGHT} RGBA float32, {thread_count()} threads")
    for name, (size, job) in kernels.items():
        moved = size * HEIGHT * WIDTH / 1e6
        taken = medians({name: job, "copy": copy(moved)}, rounds=7)
        print(f"  {name:<22}{taken[name] * 1e3:8.1f} ms, {taken[name] / taken['copy']:5.1f} x a copy of {moved:.0f} MB")


if __name__ == "__main__":
    main()
