# SPDX-License-Identifier: Apache-2.0
"""Losses of the motion generator: end-point error, where things move, and a discriminator with feature matching.

Source: Holynski et al. (CVPR 2021) and Wang et al., pix2pixHD (CVPR 2018), sections 3.2 and 3.3: discriminators that
judge patches of picture and motion together, at several scales; least-squares adversarial loss (Mao et al., ICCV
2017); the generator is to give each of their layers what the truth gives it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_LAYERS = 3  # that halve the picture
_TYPICAL = 4.0  # px per frame that a discriminator is shown as 1
_SLOWEST = 0.05  # px per frame: what is slower counts as if it were as fast
LEAST_SIDE = 32  # pixels of the picture, for a second scale to have patches at all


class PatchDiscriminator(nn.Module):
    """Real or made, for each patch of 70 pixels; gives every layer's output, the verdicts last."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        widths = [width * min(8, 2**i) for i in range(_LAYERS + 1)]
        layers = [nn.Sequential(nn.Conv2d(inputs, width, 4, 2, 2), nn.LeakyReLU(0.2, True))]
        for i, (a, b) in enumerate(zip(widths, widths[1:], strict=False)):
            conv = nn.Conv2d(a, b, 4, 2 if i < _LAYERS - 1 else 1, 2)
            layers.append(nn.Sequential(conv, nn.InstanceNorm2d(b), nn.LeakyReLU(0.2, True)))
        layers.append(nn.Sequential(nn.Conv2d(widths[-1], 1, 4, 1, 2)))
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Tensor) -> list[Tensor]:
        """(N, inputs, H, W) to the outputs of each layer."""
        outputs = []
        for layer in self.layers:
            x = layer(x)
            outputs.append(x)
        return outputs


class Discriminator(nn.Module):
    """The same at several scales, each half as fine as the one before."""

    def __init__(self, width: int, scales: int) -> None:
        super().__init__()
        self.scales = nn.ModuleList(PatchDiscriminator(5, width) for _ in range(scales))

    def forward(self, pictures: Tensor, velocity: Tensor) -> list[list[Tensor]]:
        """Pictures (N, 3, H, W) in 0..1 with their motion (N, 2, H, W), px per frame, to each scale's outputs."""
        x = torch.cat([pictures * 2 - 1, velocity / _TYPICAL], dim=1)
        outputs = []
        for i, scale in enumerate(self.scales):
            if i:
                x = F.avg_pool2d(x, 3, 2, 1, count_include_pad=False)
            outputs.append(scale(x))
        return outputs


def end_point_error(velocity: Tensor, truth: Tensor) -> Tensor:
    """Mean distance of vectors (N, 2, H, W), px per frame."""
    return torch.linalg.vector_norm(velocity.float() - truth.float(), dim=1).mean()


def relative_error(velocity: Tensor, truth: Tensor, mask: Tensor) -> Tensor:
    """The same over each picture's own mean speed where it moves, mask (N, 1, H, W): slow and fast count alike."""
    far = torch.linalg.vector_norm(velocity.float() - truth.float(), dim=1).mean(dim=(1, 2))
    speed = (torch.linalg.vector_norm(truth.float(), dim=1) * mask[:, 0]).sum(dim=(1, 2))
    return (far / (speed / mask[:, 0].sum(dim=(1, 2)).clamp(min=1)).clamp(min=_SLOWEST)).mean()


def moving_loss(score: Tensor, mask: Tensor) -> Tensor:
    """Cross-entropy of the score of moving, before the sigmoid, against the mask (N, 1, H, W) in 0..1."""
    return F.binary_cross_entropy_with_logits(score.float(), mask.float())


def verdict(outputs: list[list[Tensor]], real: bool) -> Tensor:
    """How far the discriminators are from saying that all of it is real, or none."""
    goal = 1.0 if real else 0.0
    return torch.stack([((scale[-1].float() - goal) ** 2).mean() for scale in outputs]).mean()


def matching_loss(made: list[list[Tensor]], real: list[list[Tensor]]) -> Tensor:
    """Mean absolute difference of the layers' outputs, verdicts apart."""
    pairs = [(a, b) for one, two in zip(made, real, strict=True) for a, b in zip(one[:-1], two[:-1], strict=True)]
    return torch.stack([(a.float() - b.detach().float()).abs().mean() for a, b in pairs]).mean()
