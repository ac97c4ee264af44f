# SPDX-License-Identifier: Apache-2.0
"""The displacement to frame 60, counted in two-channel grid_sample calls, and its error: 1920 x 1080."""

import numpy as np
import torch
from _timing import medians, report, waves

from loopcore.parallel import thread_count
from loopcore.transport import integrate, reference


def main() -> None:
    height, width = 1080, 1920
    torch.set_num_threads(thread_count())
    velocity, _ = waves(height, width, 1.5)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    grid = np.stack([(x + velocity[..., 0]) * 2 / (width - 1) - 1, (y + velocity[..., 1]) * 2 / (height - 1) - 1], -1)
    grid = torch.from_numpy(grid)[None]
    field = torch.from_numpy(velocity).permute(2, 0, 1)[None].contiguous()

    jobs = {
        "integrate, 60 frames": lambda: integrate(velocity, 60),
        "integrate, 30 frames": lambda: integrate(velocity, 30),
        "grid_sample, 2 channels, once": lambda: torch.nn.functional.grid_sample(
            field, grid, padding_mode="border", align_corners=True
        ),
    }
    seconds = medians(jobs)
    report("integrate 1920x1080", seconds, "integrate, 60 frames")
    once = seconds["grid_sample, 2 channels, once"]
    print(f"  60 frames cost {seconds['integrate, 60 frames'] / once:.1f} grid_sample calls")
    small = np.ascontiguousarray(velocity[:360, :640])
    error = np.linalg.norm(integrate(small, 120) - integrate(small, 120, backend="reference"), axis=-1)
    print(f"  error over 120 frames: mean {error.mean():.4f} px, 99.9th percentile {np.percentile(error, 99.9):.4f} px")
    assert reference.SUBSTEPS >= 4


if __name__ == "__main__":
    main()
