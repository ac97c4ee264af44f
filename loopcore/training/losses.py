# SPDX-License-Identifier: Apache-2.0
"""Losses of the motion generator: end-point error, the mask's cross-entropy, and a discriminator's losses.

Source: Holynski et al. (CVPR 2021) and Wang et al., pix2pixHD (CVPR 2018), sections 3.2 and 3.3: discriminators that
rate patches of picture and motion together, at several scales; least-squares adversarial loss (Mao et al., ICCV
2017); feature matching between the discriminators' layer outputs for generated and true motion.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_DOWNSAMPLING_LAYERS = 3
_VELOCITY_SCALE = 4.0  # px per frame that a discriminator receives as 1
_MIN_SPEED = 0.05  # px per frame, smallest mean speed that errors are divided by
MIN_SIDE = 32  # pixels of a crop, so that the second scale has patches


class PatchDiscriminator(nn.Module):
    """Rates each patch of 70 pixels as real or generated; returns every layer's output, the ratings last."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        widths = [width * min(8, 2**i) for i in range(_DOWNSAMPLING_LAYERS + 1)]
        layers = [nn.Sequential(nn.Conv2d(inputs, width, 4, 2, 2), nn.LeakyReLU(0.2, True))]
        for i, (a, b) in enumerate(zip(widths, widths[1:], strict=False)):
            conv = nn.Conv2d(a, b, 4, 2 if i < _DOWNSAMPLING_LAYERS - 1 else 1, 2)
            layers.append(nn.Sequential(conv, nn.InstanceNorm2d(b), nn.LeakyReLU(0.2, True)))
        layers.append(nn.Sequential(nn.Conv2d(widths[-1], 1, 4, 1, 2)))
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Maps (N, inputs, H, W) to the outputs of each layer."""
        outputs = []
        for layer in self.layers:
            x = layer(x)
            outputs.append(x)
        return outputs


class Discriminator(nn.Module):
    """Patch discriminators at several scales, each at half the resolution of the one before."""

    def __init__(self, width: int, scales: int) -> None:
        super().__init__()
        self.scales = nn.ModuleList(PatchDiscriminator(5, width) for _ in range(scales))

    def forward(self, pictures: Tensor, velocity: Tensor) -> list[list[Tensor]]:
        """Maps pictures (N, 3, H, W) 0..1 with their motion (N, 2, H, W), px per frame, to each scale's outputs."""
        x = torch.cat([pictures * 2 - 1, velocity / _VELOCITY_SCALE], dim=1)
        outputs = []
        for i, scale in enumerate(self.scales):
            if i:
                x = F.avg_pool2d(x, 3, 2, 1, count_include_pad=False)
            outputs.append(scale(x))
        return outputs


def end_point_error(velocity: Tensor, truth: Tensor) -> Tensor:
    """Returns the mean distance of vectors (N, 2, H, W), px per frame."""
    return torch.linalg.vector_norm(velocity.float() - truth.float(), dim=1).mean()


def relative_error(velocity: Tensor, truth: Tensor, mask: Tensor) -> Tensor:
    """Returns the end-point error relative to each picture's mean speed inside the mask (N, 1, H, W)."""
    error = torch.linalg.vector_norm(velocity.float() - truth.float(), dim=1).mean(dim=(1, 2))
    speed = (torch.linalg.vector_norm(truth.float(), dim=1) * mask[:, 0]).sum(dim=(1, 2))
    return (error / (speed / mask[:, 0].sum(dim=(1, 2)).clamp(min=1)).clamp(min=_MIN_SPEED)).mean()


def moving_loss(score: Tensor, mask: Tensor) -> Tensor:
    """Returns the cross-entropy of the moving logit against the mask (N, 1, H, W) in 0..1."""
    return F.binary_cross_entropy_with_logits(score.float(), mask.float())


def least_squares_loss(outputs: list[list[Tensor]], real: bool) -> Tensor:
    """Returns the mean squared distance of the ratings from 1 if ``real``, else from 0."""
    target = 1.0 if real else 0.0
    return torch.stack([((scale[-1].float() - target) ** 2).mean() for scale in outputs]).mean()


def matching_loss(made: list[list[Tensor]], real: list[list[Tensor]]) -> Tensor:
    """Returns the mean absolute difference of the layers' outputs, without the ratings."""
    pairs = [(a, b) for one, two in zip(made, real, strict=True) for a, b in zip(one[:-1], two[:-1], strict=True)]
    return torch.stack([(a.float() - b.detach().float()).abs().mean() for a, b in pairs]).mean()
