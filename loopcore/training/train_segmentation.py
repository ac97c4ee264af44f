# SPDX-License-Identifier: Apache-2.0
"""Training of the segmentation network on pictures with a class for each pixel.

The encoder's early stages are frozen and its later ones fine-tuned at a low rate; the decoder starts from random
weights.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from loopcore.errors import MotionError
from loopcore.motion.networks import (
    CLASSES,
    EARLY,
    STRIDE,
    FluidNet,
    load_weights,
    read_published_encoder,
    save_weights,
)
from loopcore.motion.segmentation import shipped_networks
from loopcore.training.pictures import Sample, crop_of, crop_plan, read_manifest, soft_targets

Progress = Callable[[str, int, int], None]

# Of static, water, sky, smoke and fire in the loss: rare classes weigh more.
_CLASS_WEIGHTS = (1.0, 1.3, 1.0, 1.3, 3.0)
_FEATURE_DROPOUT = 0.1


@dataclass(frozen=True)
class TrainSettings:
    """Hyperparameters of a training run.

    Attributes:
        seed: of everything random.
        epochs: passes over the pictures.
        batch: crops of a step.
        learning_rate: highest rate of the decoder.
        encoder_rate: highest rate of the encoder's late stages.
        weight_decay: of AdamW.
        dice: weight of the overlap loss; cross-entropy has 1.
        average: decay per step of the exponential moving average of the weights.
    """

    seed: int = 1
    epochs: int = 6
    batch: int = 8
    learning_rate: float = 2e-3
    encoder_rate: float = 2e-4
    weight_decay: float = 1e-2
    dice: float = 0.5
    average: float = 0.995


def fit_network(
    network: FluidNet, plan: list[Sample], settings: TrainSettings, on_step: Progress | None = None
) -> list[float]:
    """Trains the decoder and the late stages of the encoder in place; the network ends with averaged weights.

    Deterministic: the same plan, settings and number of threads give the same weights.

    Args:
        network: is trained.
        plan: samples, one for each crop of an epoch.
        settings: hyperparameters.
        on_step: called with ("train", done, total) after each step, and with ("loss X", done, total) after each epoch,
            when the network has its averaged weights.

    Returns:
        The mean loss of each epoch.

    Raises:
        PlateError: a picture that cannot be read.
        MotionError: no pictures to train on.
    """
    if not plan:
        raise MotionError("there is nothing to train on: no picture of the manifest is in the split 'train'")
    report: Progress = on_step or (lambda what, done, total: None)
    steps = settings.epochs * -(-len(plan) // settings.batch)
    fit = _Fit(network, settings, steps)
    losses = []
    for epoch in range(settings.epochs):
        total = 0.0
        for pictures, target in _batches(plan, settings, epoch):
            total += fit.train_step(pictures, target) * len(target)
            report("train", fit.step, steps)
        losses.append(total / len(plan))
        fit.swap_average()
        report(f"loss {losses[-1]:.4f}", epoch + 1, settings.epochs)
        fit.swap_average()
    fit.swap_average()
    network.eval().requires_grad_(False)
    return losses


class _Fit:
    """A network in training, with its optimiser and the moving average of the trained weights."""

    def __init__(self, network: FluidNet, settings: TrainSettings, steps: int) -> None:
        late, decoder = list(network.encoder.stages[EARLY:].parameters()), list(network.decoder.parameters())
        self.network, self.settings, self.step = network, settings, 0
        self.trained = late + decoder
        for value in self.trained:
            value.requires_grad_(True)
        self.optimizer, self.schedule = _optimizer(late, decoder, settings, steps)
        self.average = [value.detach().clone() for value in self.trained]
        self.random = torch.Generator().manual_seed(settings.seed)

    def train_step(self, pictures: Tensor, target: Tensor) -> float:
        """Updates the weights by one batch; returns its loss."""
        loss = segmentation_loss(_scores(self.network, pictures, self.random), target, self.settings.dice)
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.trained, 1.0)
        self.optimizer.step()
        self.schedule.step()
        self.step += 1
        self._update_average(min(self.settings.average, self.step / (self.step + 10)))
        return loss.item()

    @torch.no_grad()
    def _update_average(self, decay: float) -> None:
        for value, new in zip(self.average, self.trained, strict=True):
            value.lerp_(new, 1 - decay)

    @torch.no_grad()
    def swap_average(self) -> None:
        """Exchanges the network's weights and their average."""
        for one, other in zip(self.average, self.trained, strict=True):
            held = one.clone()
            one.copy_(other)
            other.copy_(held)


def _optimizer(
    late: list[nn.Parameter], decoder: list[nn.Parameter], settings: TrainSettings, steps: int
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    rates = [settings.encoder_rate, settings.learning_rate]
    groups = [{"params": group, "lr": rate} for group, rate in zip((late, decoder), rates, strict=True)]
    optimizer = torch.optim.AdamW(groups, weight_decay=settings.weight_decay)
    return optimizer, torch.optim.lr_scheduler.OneCycleLR(optimizer, rates, total_steps=steps + 1, pct_start=0.15)


def _scores(network: FluidNet, pictures: Tensor, random: torch.Generator) -> Tensor:
    with torch.no_grad():
        early = network.encoder.early(pictures)
    return network.decoder([x * _dropout(x, random) for x in network.encoder.late(early)])


def _batches(plan: list[Sample], settings: TrainSettings, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
    order = np.random.default_rng((settings.seed, epoch)).permutation(len(plan))
    for start in range(0, len(order), settings.batch):
        chosen = [crop_of(plan, int(i), settings.seed, epoch) for i in order[start : start + settings.batch]]
        targets = [soft_targets(known, len(CLASSES), STRIDE) for _, known in chosen]
        yield torch.from_numpy(np.stack([crop for crop, _ in chosen])), torch.from_numpy(np.stack(targets))


def _dropout(x: Tensor, random: torch.Generator) -> Tensor:
    """Returns the factors of channel dropout for features (N, C, H, W): 0 or 1 / (1 - rate)."""
    keep = torch.rand(x.shape[:2], generator=random) >= _FEATURE_DROPOUT
    return (keep / (1 - _FEATURE_DROPOUT))[:, :, None, None]


def segmentation_loss(scores: Tensor, target: Tensor, dice: float) -> Tensor:
    """Returns cross-entropy against class fractions, plus ``dice`` times one minus their soft overlap.

    Source of the overlap: Milletari, Navab, Ahmadi, "V-Net" (3DV 2016), section 3.

    Args:
        scores: (N, classes, H, W), before softmax.
        target: (N, classes, H, W), class fractions that sum to the known part of each pixel.
        dice: weight of the overlap.
    """
    weights = torch.tensor(_CLASS_WEIGHTS)[:, None, None]
    entropy = -(weights * target * F.log_softmax(scores, dim=1)).sum() / (weights * target).sum().clamp(min=1)
    probabilities = scores.softmax(dim=1) * target.sum(dim=1, keepdim=True)
    common = (probabilities * target).sum(dim=(0, 2, 3))
    size = (probabilities * probabilities + target * target).sum(dim=(0, 2, 3))
    there = target.sum(dim=(0, 2, 3)) > 0
    overlap = 2 * common[there] / size[there].clamp(min=1e-6)
    return entropy + dice * (1 - overlap.mean())


def train_segmentation(
    folder: str | Path,
    output: str | Path,
    settings: TrainSettings,
    *,
    encoder: Path | None = None,
    weights: Path | None = None,
    on_progress: Progress | None = None,
) -> list[float]:
    """Trains the segmentation network on the split ``train`` of a folder of pictures.

    Args:
        folder: with ``manifest.csv``, pictures and labels.
        output: file of averaged weights, written after each epoch.
        settings: hyperparameters.
        encoder: published EfficientNet-Lite0 or Lite2 weights to start from; by default the shipped encoder.
        weights: of a trained network to continue from instead, at half the learning rates.
        on_progress: called with (what, done, total), as by :func:`fit_network`.

    Returns:
        The mean loss of each epoch.

    Raises:
        PlateError: pictures that cannot be read.
        MotionError: no pictures to train on, weights that cannot be read, or both an encoder and weights.
        SequenceError: the output cannot be written.
    """
    if encoder is not None and weights is not None:
        raise MotionError("training starts from an encoder or from weights: give one of them, not both")
    started = time.monotonic()
    samples = [sample for sample in read_manifest(folder) if sample.split == "train"]
    network, settings = _starting_point(settings, encoder, weights)
    plan = crop_plan(samples)
    notes = {name: str(value) for name, value in asdict(settings).items()}
    notes |= {"pictures": str(len(samples)), "crops": str(len(plan))}

    def report(what: str, done: int, total: int) -> None:
        if what.startswith("loss"):
            run = {"loss": what.split()[1], "epochs": str(done), "seconds": f"{time.monotonic() - started:.0f}"}
            save_weights(network, output, notes | run)
        if on_progress:
            on_progress(what, done, total)

    return fit_network(network, plan, settings, report)


def _starting_point(
    settings: TrainSettings, encoder: Path | None, weights: Path | None
) -> tuple[FluidNet, TrainSettings]:
    """Returns the network to train, and the settings, with half the learning rates if it continues from weights."""
    if weights is None:
        return new_network(settings.seed, encoder), settings
    rates = {name: getattr(settings, name) / 2 for name in ("learning_rate", "encoder_rate")}
    return load_weights(weights)[0], replace(settings, **rates)


def new_network(seed: int, encoder: Path | None = None) -> FluidNet:
    """Returns a network with a pretrained encoder and a random decoder, the same for the same seed."""
    ready = shipped_networks()[0][0].encoder if encoder is None else read_published_encoder(encoder)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = FluidNet(lite=ready.lite)
    # rounded to the precision of weights files, so that training and inference have the same features
    network.encoder.load_state_dict({name: value.half().float() for name, value in ready.state_dict().items()})
    return network.eval().requires_grad_(False)
