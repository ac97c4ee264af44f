# SPDX-License-Identifier: Apache-2.0
"""Training of the fluid network on pictures with a class for each pixel, and on footage with its motion.

The encoder's early stages are frozen and its later ones fine-tuned at a low rate. A motion decoder that was never
trained is first trained alone, since its first gradients would spoil features that are good (Kumar et al.,
"Fine-Tuning can Distort Pretrained Features", ICLR 2022). Classes are learned from labels and from teachers, so that
those that a network knew are not forgotten (Li, Hoiem, "Learning without Forgetting", ECCV 2016).

Without footage the motion stays as it is: only the class decoder is trained. If the motion decoder was never trained,
the later stages are trained as well, and the weights are written without it.
"""

from __future__ import annotations

import copy
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from loopcore.errors import MotionError
from loopcore.motion.estimate import shipped_network
from loopcore.motion.networks import (
    EARLY,
    FluidNet,
    load_weights,
    read_published_encoder,
    save_weights,
)
from loopcore.training.config import FluidConfig
from loopcore.training.estimators import make_estimator
from loopcore.training.fluid_batches import Batch, TrainSettings, draw_batches
from loopcore.training.footage import list_footage, prepare_footage
from loopcore.training.manifest import NAME
from loopcore.training.motion_losses import motion_losses
from loopcore.training.pictures import Sample, crop_plan, read_manifest
from loopcore.training.teachers import Taught, taught_classes, teach

Progress = Callable[[str, int, int], None]

# Of static, water, sky, smoke and fire in the loss: rare classes weigh more.
_CLASS_WEIGHTS = (1.0, 1.3, 1.0, 1.3, 3.0)
_FEATURE_DROPOUT = 0.15
_MIN_KNOWN = 50.0  # cells of a batch below which its classes teach nothing
# Weights of the losses of one step. Of pictures, speeds are not learned: those of patches from several clips cannot be
# compared.
_LOSS_WEIGHTS = {
    "moving": 1.0, "axis": 1.0, "direction": 1.0, "speed": 0.5, "taught": 0.5,
    "classes": 0.7, "picture_taught": 0.7, "picture_moving": 1.0, "picture_axis": 1.0, "picture_direction": 1.0,
}  # fmt: skip


def fit_network(
    network: FluidNet,
    plan: Sequence[Sample],
    footage: Sequence[Taught],
    settings: TrainSettings,
    on_step: Progress | None = None,
    teachers: Sequence[FluidNet] = (),
) -> dict[str, float]:
    """Trains the decoders and the encoder's late stages in place; the network ends with averaged weights.

    Deterministic: the same data, settings and number of threads give the same weights.

    Args:
        network: is trained.
        plan: pictures, each as often as it is to be cropped; may be empty.
        footage: clips; without any, neither the motion decoder nor the features that it was trained on change.
        settings: hyperparameters.
        on_step: called with ("train", done, total) after each step, and with (the mean losses as text, done, total)
            every ``settings.save`` steps and at the end, when the network has its averaged weights.
        teachers: also teach the classes of pictures.

    Returns:
        The mean of each loss over the last steps.

    Raises:
        PlateError: a picture that cannot be read.
        MotionError: nothing to train on, or a loss that is not finite.
    """
    if not plan and not footage:
        raise MotionError("there is nothing to train on: no pictures and no clips")
    report: Progress = on_step or (lambda what, done, total: None)
    fit = _Fit(network, settings, with_motion=bool(footage), teachers=teachers)
    losses: Counter[str] = Counter()
    means: dict[str, float] = {}
    counted = 0
    for batch in draw_batches(plan, footage, settings):
        losses.update(fit.train_step(batch))
        counted += 1
        report("train", fit.step, settings.steps)
        if fit.step % settings.save and fit.step < settings.steps:
            continue
        means = {name: value / counted for name, value in losses.items()}
        if not all(np.isfinite(value) for value in means.values()):
            raise MotionError(f"the loss is not finite at step {fit.step}: train with lower learning rates")
        fit.swap_average()
        report(" ".join(f"{name} {value:.4f}" for name, value in means.items()), fit.step, settings.steps)
        if fit.step < settings.steps:
            fit.swap_average()
            losses, counted = Counter(), 0
    network.eval().requires_grad_(False)
    return means


class _Fit:
    """A network in training, with its optimiser and the moving average of the trained weights."""

    def __init__(
        self, network: FluidNet, settings: TrainSettings, with_motion: bool, teachers: Sequence[FluidNet]
    ) -> None:
        self.network, self.settings, self.with_motion, self.step = network.train(), settings, with_motion, 0
        self.alone = round(settings.alone * settings.steps) if with_motion and not network.has_motion else 0
        # without footage a trained motion decoder could not follow a change of the features
        self.late = with_motion or not network.has_motion
        network.has_motion |= with_motion
        self.teachers = teachers
        self.random = torch.Generator().manual_seed(settings.seed)
        if self.alone:
            self._begin([(network.motion, settings.first_rate)], self.alone)
        else:
            self._begin_all()

    def _begin_all(self) -> None:
        network, settings = self.network, self.settings
        parts: list[tuple[nn.Module, float]] = [(network.decoder, settings.decoder_rate)]
        if self.late:
            parts.append((network.encoder.stages[EARLY:], settings.encoder_rate))
        if self.with_motion:
            parts.append((network.motion, settings.motion_rate))
        self._begin(parts, settings.steps - self.alone)

    def _begin(self, parts: Sequence[tuple[nn.Module, float]], steps: int) -> None:
        """Begins to train parts of the network, each at its highest rate."""
        groups = [(list(part.parameters()), rate) for part, rate in parts]
        self.trained = [value for values, _ in groups for value in values]
        self.network.requires_grad_(False)
        for value in self.trained:
            value.requires_grad_(True)
        self.optimizer, self.schedule = _optimizer(groups, self.settings.weight_decay, steps)
        self.average = [value.detach().clone() for value in self.trained]
        self.first = self.step  # of this average

    def train_step(self, batch: Batch) -> dict[str, float]:
        """Updates the weights by one batch; returns its losses."""
        if self.alone and self.step == self.alone:
            self.swap_average()
            self._begin_all()
        self.optimizer.zero_grad(set_to_none=True)
        losses: dict[str, Tensor] = {}
        # one part after the other, which halves the memory
        for part in (self._footage_losses, self._picture_losses):
            found = part(batch)
            # of the parts that are trained
            total = [_LOSS_WEIGHTS[name] * value for name, value in found.items() if value.requires_grad]
            if total:
                torch.stack(total).sum().backward()
            losses |= found
        torch.nn.utils.clip_grad_norm_(self.trained, 1.0)
        self.optimizer.step()
        self.schedule.step()
        self.step += 1
        averaged = self.step - self.first
        self._update_average(min(self.settings.average, averaged / (averaged + 10)))
        return {name: value.item() for name, value in losses.items()}

    def _footage_losses(self, batch: Batch) -> dict[str, Tensor]:
        if batch.footage is None or batch.motion is None or batch.classes is None:
            return {}
        features = self._features(batch.footage)
        motion = motion_losses(self.network.motion(features, batch.footage), batch.motion)
        known = batch.classes.sum().clamp(min=1)
        taught = -(batch.classes * F.log_softmax(self.network.decoder(features), dim=1)).sum() / known
        return motion | {"taught": taught}

    def _picture_losses(self, batch: Batch) -> dict[str, Tensor]:
        if batch.pictures is None or batch.labels is None or batch.picture_motion is None:
            return {}
        if batch.labels.sum() < _MIN_KNOWN:
            return {}
        features = self._features(batch.pictures)
        scores = self.network.decoder(features)
        found = {"classes": segmentation_loss(scores, batch.labels, self.settings.dice)}
        if self.teachers and scores.requires_grad:
            before = taught_classes(batch.pictures, self.teachers)
            found["picture_taught"] = -(before * F.log_softmax(scores, dim=1)).sum(dim=1).mean()
        if batch.footage is not None:
            motion = motion_losses(self.network.motion(features, batch.pictures), batch.picture_motion)
            found |= {f"picture_{name}": motion[name] for name in ("moving", "axis", "direction")}
        return found

    def _features(self, pictures: Tensor) -> list[Tensor]:
        with torch.no_grad():
            early = self.network.encoder.early(pictures)
        return [x * _dropout(x, self.random) for x in self.network.encoder.late(early)]

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
    groups: Sequence[tuple[list[nn.Parameter], float]], weight_decay: float, steps: int
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    rates = [rate for _, rate in groups]
    total = steps + 1
    optimizer = torch.optim.AdamW(
        [{"params": values, "lr": rate} for values, rate in groups], weight_decay=weight_decay
    )
    # a warm-up of less than two steps can divide by zero
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rates, total_steps=total, pct_start=max(0.1, 2 / total))
    return optimizer, schedule


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
    there = target.sum(dim=(0, 2, 3)) > 0  # of at least one class: the caller leaves out batches that are unknown
    overlap = 2 * common[there] / size[there].clamp(min=1e-6)
    return entropy + dice * (1 - overlap.mean())


def train_fluid(config: FluidConfig, output: str | Path, on_progress: Progress | None = None) -> dict[str, float]:
    """Prepares the data of a run, trains the network and writes its averaged weights.

    Args:
        config: of the run.
        output: file of weights, written every ``TrainSettings.save`` steps.
        on_progress: called with ("prepare", "teach" or "train", done, total), and as by :func:`fit_network`.

    Returns:
        The mean of each loss over the last steps.

    Raises:
        PlateError: pictures or clips that cannot be read.
        PackageError: OpenCV is absent.
        MotionError: nothing to train on, weights that cannot be read, or settings that exclude each other.
        SequenceError: the output or the cache cannot be written.
    """
    started = time.monotonic()
    _check(config)
    network = _starting_point(config)
    settings = TrainSettings(seed=config.seed, steps=config.steps)
    if _starts_anew(config):
        settings = replace(settings, decoder_rate=settings.first_rate)
    samples = _samples(config)
    teachers = _teachers(config)
    footage = _footage(config, teachers, on_progress or (lambda what, done, total: None))
    notes = {name: str(value) for name, value in asdict(settings).items()}
    notes |= {"labelled": str(len(samples)), "clips": str(len(footage))}
    if footage:
        names = ", ".join(path.name for path in config.teachers) or "shipped"
        notes |= {"flow": f"{config.flow}, {config.second_flow}", "teachers": names}
        notes |= {"excluded": ", ".join(config.exclude)}

    def report(what: str, done: int, total: int) -> None:
        if what != "train":
            run = {"losses": what, "step": str(done), "seconds": f"{time.monotonic() - started:.0f}"}
            save_weights(network, output, notes | run)
        if on_progress:
            on_progress(what, done, total)

    return fit_network(network, crop_plan(samples), footage, settings, report, teachers)


def _check(config: FluidConfig) -> None:
    if config.encoder is not None and config.weights is not None:
        raise MotionError("training starts from an encoder or from weights: give one of them, not both")
    if config.footage is None:
        if config.cache is not None:
            raise MotionError("a folder for prepared clips has no meaning without footage: leave out cache, or --cache")
        return
    if config.cache is None:
        raise MotionError("training on footage needs a folder for prepared clips: cache, or --cache")
    if (config.flow, config.flow_weights) == (config.second_flow, config.second_flow_weights):
        raise MotionError(f"the second estimator of flow is {config.second_flow!r}, the same as the first")


def _starts_anew(config: FluidConfig) -> bool:
    """Returns whether the class decoder starts from random weights."""
    return config.weights is None and (config.encoder is not None or config.footage is not None)


def _starting_point(config: FluidConfig) -> FluidNet:
    if _starts_anew(config):
        return new_network(config.seed, config.encoder)
    if config.weights is None:
        return copy.deepcopy(shipped_network())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)  # of a motion decoder that the weights lack
        return load_weights(config.weights, classes_only=True)[0]


def _samples(config: FluidConfig) -> list[Sample]:
    if config.pictures is None:
        return []
    samples = [sample for sample in read_manifest(config.pictures) if sample.split == "train"]
    if not samples:
        raise MotionError(f"there is nothing to train on: no pictures of {config.pictures / NAME} are in 'train'")
    return samples


def _teachers(config: FluidConfig) -> list[FluidNet]:
    if config.footage is None:
        return []
    return [load_weights(path, classes_only=True)[0] for path in config.teachers] or [shipped_network()]


def _footage(config: FluidConfig, teachers: Sequence[FluidNet], report: Progress) -> list[Taught]:
    if config.footage is None or config.cache is None:
        return []
    estimators = (
        make_estimator(config.flow, config.flow_weights),
        make_estimator(config.second_flow, config.second_flow_weights),
    )
    listed = list_footage(config.footage, "train", config.exclude)
    clips = prepare_footage(listed, config.cache, estimators, lambda done, total: report("prepare", done, total))
    if not clips:
        raise MotionError(f"there is no footage to train on: nothing moves in the clips of {config.footage}")
    return teach(clips, teachers, lambda done, total: report("teach", done, total))


def new_network(seed: int, encoder: Path | None = None) -> FluidNet:
    """Returns a network with a pretrained encoder (by default the shipped one) and random decoders, by the seed."""
    ready = shipped_network().encoder if encoder is None else read_published_encoder(encoder)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = FluidNet(lite=ready.lite)
    # rounded to the precision of weights files, so that training and inference have the same features
    network.encoder.load_state_dict({name: value.half().float() for name, value in ready.state_dict().items()})
    network.has_motion = False
    return network.eval().requires_grad_(False)
