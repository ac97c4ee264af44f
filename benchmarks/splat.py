# SPDX-License-Identifier: Apache-2.0
"""splat against torch index_add_ and grid_sample's backward doing the same: 1920 x 1080, RGBA, float32."""

import torch
from _timing import medians, report, waves

from loopcore.parallel import thread_count
from loopcore.transport import splat


def index_add(values: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
    """Bilinear point splat of RGBA and weight."""
    height, width = shift.shape[:2]
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    place = torch.stack([x, y], -1) + shift
    corner = place.floor()
    part, corner = place - corner, corner.long()
    out = torch.zeros(height * width, 5)
    sample = torch.cat([values, torch.ones(height, width, 1)], -1).reshape(-1, 5)
    for j in (0, 1):
        for i in (0, 1):
            wx = part[..., 0] if i else 1 - part[..., 0]
            wy = part[..., 1] if j else 1 - part[..., 1]
            column, row = corner[..., 0] + i, corner[..., 1] + j
            inside = ((column >= 0) & (column < width) & (row >= 0) & (row < height)).reshape(-1)
            index = (row * width + column).reshape(-1)[inside]
            out.index_add_(0, index, (sample * (wx * wy).reshape(-1, 1))[inside])
    return out


def main() -> None:
    height, width = 1080, 1920
    torch.set_num_threads(thread_count())
    shift, picture = waves(height, width, 12.0)
    tensor, moved = torch.from_numpy(picture), torch.from_numpy(shift)
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    place = torch.stack([x, y], -1) + moved
    grid = (place * 2 / torch.tensor([width - 1, height - 1]) - 1)[None]
    source = torch.zeros(1, 5, height, width, requires_grad=True)
    sampled = torch.nn.functional.grid_sample(source, grid, padding_mode="zeros", align_corners=True)
    upstream = torch.cat([tensor, torch.ones(height, width, 1)], -1).permute(2, 0, 1)[None].contiguous()

    jobs = {
        "loopcore splat": lambda: splat(picture, shift),
        "index_add_": lambda: index_add(tensor, moved),
        "grid_sample backward": lambda: torch.autograd.grad(sampled, source, upstream, retain_graph=True),
    }
    report("splat 1920x1080 RGBA float32", medians(jobs), "loopcore splat")


if __name__ == "__main__":
    main()
