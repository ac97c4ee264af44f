# SPDX-License-Identifier: Apache-2.0
"""warp (bicubic, range-limited) against torch grid_sample (bilinear): 1920 x 1080, RGBA, float32."""

import numpy as np
import torch
from _timing import medians, report, waves

from loopcore.parallel import thread_count
from loopcore.transport import warp


def main() -> None:
    height, width = 1080, 1920
    torch.set_num_threads(thread_count())
    shift, picture = waves(height, width, 12.0)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    grid = np.stack([(x + shift[..., 0]) * 2 / (width - 1) - 1, (y + shift[..., 1]) * 2 / (height - 1) - 1], -1)
    grid, last = torch.from_numpy(grid)[None], torch.from_numpy(picture).permute(2, 0, 1)[None]
    planar = last.contiguous()

    def peer(source, mode="bilinear"):
        return torch.nn.functional.grid_sample(source, grid, mode=mode, padding_mode="border", align_corners=True)

    jobs = {
        "loopcore warp, bicubic": lambda: warp(picture, shift),
        "grid_sample bilinear, planar": lambda: peer(planar),
        "grid_sample bilinear, channels last": lambda: peer(last),
        "grid_sample bicubic, planar": lambda: peer(planar, "bicubic"),
    }
    report("warp 1920x1080 RGBA float32", medians(jobs), "loopcore warp, bicubic")


if __name__ == "__main__":
    main()
