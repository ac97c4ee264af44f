# SPDX-License-Identifier: Apache-2.0
"""The paper's motion network, from picture to velocity: pix2pixHD's global generator.

Source: Holynski, Curless, Seitz, Szeliski, "Animating Pictures with Eulerian Motion Fields" (CVPR 2021), whose motion
network is that of Wang et al., "High-Resolution Image Synthesis and Semantic Manipulation with Conditional GANs" (CVPR
2018), appendix: convolutions that halve the picture and double the channels, residual blocks, and upsampling. Two
differences: upsampling is interpolation and a convolution, since a motion field is smooth; and a third output is the
logit of moving, since the still parts of a plate must stay bit-identical.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from loopcore.errors import MotionError
from loopcore.files.regular import WEIGHTS, check_regular, utf8_name
from loopcore.motion.weights_shape import check_shapes, pop_shape

KIND = "field generator"  # in the metadata of its files


@dataclass(frozen=True)
class GeneratorSettings:
    """The network's shape.

    Attributes:
        width: channels of the first layer.
        widest: largest number of channels of a layer.
        halvings: downsampling layers.
        blocks: residual blocks.
        side: pixels of the longer side of its inputs, in training and at inference.
    """

    width: int = 64
    widest: int = 1024
    halvings: int = 4
    blocks: int = 9
    side: int = 512

    @property
    def multiple(self) -> int:
        """Number of pixels that the input's sides must be multiples of."""
        return 2**self.halvings


def _layer(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, padding_mode="reflect"),
        nn.InstanceNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


class Block(nn.Module):
    """Two convolutions plus the input (He et al., "Deep Residual Learning", CVPR 2016)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = _layer(width, width, 3)
        self.second = _layer(width, width, 3)[:2]

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, width, H, W) to the same shape."""
        return x + self.second(self.first(x))


class Up(nn.Module):
    """Upsamples by 2: interpolation, then a convolution."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.layer = _layer(inputs, outputs, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, inputs, H, W) to (N, outputs, 2 H, 2 W)."""
        return self.layer(F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False))


class FieldGenerator(nn.Module):
    """The network from pictures to motion."""

    def __init__(self, settings: GeneratorSettings | None = None) -> None:
        super().__init__()
        self.settings = settings or GeneratorSettings()
        s = self.settings
        widths = [min(s.widest, s.width * 2**level) for level in range(s.halvings + 1)]
        self.first = _layer(3, s.width, 7)
        self.down = nn.Sequential(*(_layer(a, b, 3, 2) for a, b in zip(widths, widths[1:], strict=False)))
        self.blocks = nn.Sequential(*(Block(widths[-1]) for _ in range(s.blocks)))
        self.up = nn.Sequential(*(Up(b, a) for a, b in reversed(list(zip(widths, widths[1:], strict=False)))))
        self.last = nn.Conv2d(s.width, 3, 7, padding=3, padding_mode="reflect")

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Returns velocity (N, 2, H, W), pixels per frame of this picture, and the logit of moving (N, 1, H, W).

        Args:
            pictures: (N, 3, H, W) sRGB codes 0..1, H and W multiples of ``settings.multiple``.

        Convention: (vx, vy), x right, y down, where content goes.
        """
        x = self.last(self.up(self.blocks(self.down(self.first(pictures * 2 - 1)))))
        return x[:, :2], x[:, 2:]


def save_generator(
    state: Mapping[str, Tensor], settings: GeneratorSettings, path: str | Path, notes: Mapping[str, str]
) -> None:
    """Writes a generator's state as safetensors in half precision, atomically, with ``notes`` as metadata."""
    from safetensors.torch import save

    from loopcore.files.atomic import write_bytes_atomically

    tensors = {name: value.detach().to("cpu", torch.float16).contiguous() for name, value in state.items()}
    shape = {name: str(value) for name, value in asdict(settings).items()}
    write_bytes_atomically(path, save(tensors, metadata={**notes, **shape, "kind": KIND}))


def weights_kind(path: str | Path) -> str:
    """Returns the kind of network in a file of weights: ``KIND``, or "" for a fluid network.

    Raises:
        MotionError: no such file, or not safetensors.
    """
    return _metadata(path).get("kind", "")


def load_generator(path: str | Path) -> tuple[FieldGenerator, dict[str, str]]:
    """Reads what :func:`save_generator` wrote; returns the generator, float32 in evaluation mode, and its notes.

    Raises:
        MotionError: no such file, or other weights.
    """
    from safetensors import safe_open

    notes = _metadata(path)
    if notes.pop("kind", "") != KIND:
        raise MotionError(f"weights {path} are not those of a generator of motion fields")
    try:
        settings = GeneratorSettings(**pop_shape(notes, asdict(GeneratorSettings())))
        with safe_open(Path(path), framework="pt") as file:
            tensors = {name: file.get_tensor(name).float() for name in file.keys()}
        check_shapes(lambda: FieldGenerator(settings), tensors)
        network = FieldGenerator(settings)
        network.load_state_dict(tensors)
    except (KeyError, ValueError, RuntimeError):
        raise MotionError(f"weights {path} are not those of a network of this version: train it again") from None
    return network.eval().requires_grad_(False), notes


def _metadata(path: str | Path) -> dict[str, str]:
    from safetensors import SafetensorError, safe_open

    try:
        check_regular(path, WEIGHTS)
        utf8_name(path)  # safetensors opens no others
        with safe_open(Path(path), framework="pt") as file:
            return dict(file.metadata() or {})
    except (OSError, SafetensorError) as error:
        raise MotionError(f"weights {path} cannot be read: {error}") from None
