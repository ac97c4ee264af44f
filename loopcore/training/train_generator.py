# SPDX-License-Identifier: Apache-2.0
"""Training of the motion generator: steps, checkpoints, metrics, sample pictures, and the final weights.

The run's folder holds ``state.json`` and the checkpoint it names, ``curve.csv``, ``samples/``, ``refused.txt`` and
``generator.safetensors``. The same command resumes a run that was stopped; on one processor thread the metrics are
bit-identical to those of an uninterrupted run.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from loopcore.errors import EngineError, MotionError, SequenceError
from loopcore.files.atomic import write_text_atomically
from loopcore.motion.generator import FieldGenerator, save_generator
from loopcore.training.checkpoint import load_checkpoint, optimiser_tensors, restore_optimiser, save_checkpoint
from loopcore.training.config import FieldConfig
from loopcore.training.dataset import Dataset, Example, prepare_dataset
from loopcore.training.losses import (
    Discriminator,
    end_point_error,
    least_squares_loss,
    matching_loss,
    moving_loss,
    relative_error,
)
from loopcore.training.run_log import MetricsLog, flow_colours, high_speed, write_grid
from loopcore.training.sampling import Batch, Sampler, centre_crops, concatenate

WEIGHTS = "generator.safetensors"
_BETAS = (0.5, 0.999)  # pix2pixHD's
_SAMPLE_ROWS = 6  # rows of a sample picture
_RESUMABLE = ("steps", "device", "threads", "log", "validate", "sample", "save", "checked")


@dataclass(frozen=True)
class Callbacks:
    """Functions that a run calls.

    Attributes:
        progress: called with ("prepare" or "train", done, total).
        message: called with a line of text.
        stop_requested: returns whether to save and stop.
    """

    progress: Callable[[str, int, int], None] = lambda what, done, total: None
    message: Callable[[str], None] = lambda line: None
    stop_requested: Callable[[], bool] = lambda: False


@dataclass(frozen=True)
class Result:
    """How a run ended.

    Attributes:
        step: its last one.
        stopped: whether it was stopped before all steps were done.
        weights: file of the averaged generator.
    """

    step: int
    stopped: bool
    weights: Path


def train_generator(
    config: FieldConfig, folder: str | Path, cache: Path | None = None, callbacks: Callbacks = Callbacks()
) -> Result:
    """Trains the motion generator in a folder, resuming from its checkpoint if there is one.

    Args:
        config: all settings of the run.
        folder: of the run.
        cache: folder of prepared clips, by default ``clips`` in ``folder``.
        callbacks: for progress and interruption.

    Returns:
        The last step, whether it was stopped, and the file of weights.

    Raises:
        MotionError: settings that differ from the checkpoint's, nothing to train on, or a loss that is not finite.
        EngineError: a device or precision that is not available.
        PlateError: clips that cannot be measured.
        SequenceError: files that cannot be written.
    """
    folder = Path(folder)
    try:
        (folder / "samples").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SequenceError(f"cannot make folder {folder}: {error.strerror or error}") from None
    if config.run.threads:
        torch.set_num_threads(config.run.threads)
    trainer = Trainer(config, folder)  # first, so that invalid settings fail before clips are prepared
    dataset = prepare_dataset(
        config.data, cache or folder / "clips", lambda *step: callbacks.progress("prepare", *step)
    )
    _report(dataset, folder, callbacks)
    finished = trainer.run(dataset, callbacks)
    return Result(trainer.step, not finished, trainer.write_weights(dataset))


def _report(dataset: Dataset, folder: Path, callbacks: Callbacks) -> None:
    lines = [f"{name}: {reason}\n" for name, reason in dataset.refused]
    write_text_atomically(folder / "refused.txt", "".join(lines))
    counts = {split: sum(pair.split == split for pair in dataset.clips) for split in ("train", "val", "test")}
    callbacks.message(
        f"{len(dataset.clips)} clips ({', '.join(f'{n} {split}' for split, n in counts.items())}), "
        f"{len(dataset.synthetic)} synthetic scenes, {len(lines)} refused{' (see refused.txt)' if lines else ''}"
    )


def choose_device(name: str) -> torch.device:
    """Returns the device of a name; "auto" is a GPU if there is one.

    Raises:
        EngineError: no such device on this machine.
    """
    if name == "auto":
        mps = torch.backends.mps.is_available()
        return torch.device("cuda" if torch.cuda.is_available() else "mps" if mps else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise EngineError(f"device {name!r} is not available: {str(error).splitlines()[0]}") from None
    return device


def choose_precision(name: str, device: torch.device) -> torch.dtype:
    """Returns the type that networks compute in; "auto" is the fastest that the device supports well.

    Raises:
        EngineError: float16 on a device other than an NVIDIA GPU.
    """
    if name == "auto":
        if device.type != "cuda":
            return torch.float32
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    if name == "float16" and device.type != "cuda":
        raise EngineError("run.precision float16 needs an NVIDIA GPU: choose auto, float32 or bfloat16")
    return {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[name]


class Trainer:
    """A training run: networks, optimisers and everything else in a checkpoint."""

    def __init__(self, config: FieldConfig, folder: Path) -> None:
        self.config, self.folder, self.step = config, folder, 0
        self.device = choose_device(config.run.device)
        self.dtype = choose_precision(config.run.precision, self.device)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.run.seed)
            self.generator = FieldGenerator(config.model)
            self.discriminator = Discriminator(config.loss.width, config.loss.scales) if config.loss.scales else None
            _initialise_small(self.generator)
        self.generator.to(self.device)
        if self.discriminator:
            self.discriminator.to(self.device)
        self.average = {name: value.detach().clone() for name, value in self.generator.state_dict().items()}
        self.optimisers = {"generator": torch.optim.Adam(self.generator.parameters(), betas=_BETAS)}
        if self.discriminator:
            # this name is part of the checkpoints' format
            self.optimisers["judge"] = torch.optim.Adam(self.discriminator.parameters(), betas=_BETAS)
        self.scaler = torch.amp.GradScaler("cuda", enabled=self.dtype == torch.float16)
        self.sums: dict[str, float] = {}
        self.seconds = 0.0
        self._restore()

    # checkpoints

    def _restore(self) -> None:
        found = load_checkpoint(self.folder)
        if found is None:
            return
        tensors, state = found
        try:
            changed = _differences(state.get("config", {}), _json_values(self.config))
        except (AttributeError, TypeError):
            raise MotionError(
                f"the settings of the checkpoint in {self.folder} are damaged: use another folder"
            ) from None
        for entry, was, now in changed:
            raise MotionError(
                f"{self.folder} contains a run with {entry} = {was!r}, not {now!r}: use another folder, or delete it"
            )
        try:
            self.generator.load_state_dict(_with_prefix(tensors, "weights"))
            self.average = {name: value.to(self.device) for name, value in _with_prefix(tensors, "average").items()}
            if self.discriminator:
                self.discriminator.load_state_dict(_with_prefix(tensors, "discriminator"))
            for name, optimiser in self.optimisers.items():
                restore_optimiser(optimiser, name, tensors)
            self.scaler.load_state_dict(state["scaler"])
            self.step, self.sums, self.seconds = state["step"], dict(state["sums"]), state["seconds"]
        except (KeyError, RuntimeError, ValueError, TypeError) as error:
            raise MotionError(f"the checkpoint in {self.folder} does not match ({error}): use another folder") from None

    def save(self) -> None:
        """Writes a checkpoint."""
        tensors = {f"weights.{name}": value for name, value in self.generator.state_dict().items()}
        tensors |= {f"average.{name}": value for name, value in self.average.items()}
        if self.discriminator:
            tensors |= {f"discriminator.{name}": value for name, value in self.discriminator.state_dict().items()}
        for name, optimiser in self.optimisers.items():
            tensors |= optimiser_tensors(optimiser, name)
        state = {"config": _json_values(self.config), "sums": self.sums, "scaler": self.scaler.state_dict(),
                 "seconds": round(self.seconds, 1)}  # fmt: skip
        save_checkpoint(self.folder, self.step, tensors, state)

    def write_weights(self, dataset: Dataset) -> Path:
        """Writes the averaged generator for ``loopcore predict --weights``; returns its path."""
        notes = {f"run.{name}": str(value) for name, value in asdict(self.config.run).items()}
        notes |= {"step": str(self.step), "clips": str(len(dataset.clips)), "scenes": str(len(dataset.synthetic)),
                  "seconds": f"{self.seconds:.0f}"}  # fmt: skip
        path = self.folder / WEIGHTS
        save_generator(self.average, self.config.model, path, notes)
        return path

    # training

    def run(self, dataset: Dataset, callbacks: Callbacks) -> bool:
        """Trains to the last step, or saves a checkpoint and stops when asked to; returns whether it was the last."""
        run, started = self.config.run, time.monotonic()
        sampler = Sampler(dataset, self.config.data, run.seed)
        metrics, samples = MetricsLog(self.folder / "curve.csv", self.step), self._sample_batch(dataset)
        validation = centre_crops(dataset.of("val"), self.config.data, run.checked)
        first, before = self.step, self.seconds
        workers = 4 if self.device.type == "cuda" else 1
        batches = sampler.batches(range(first, run.steps), run.batch * run.accumulate, workers)
        for batch in batches:
            if callbacks.stop_requested():
                self.save()
                return False
            self._train_step(batch)
            self.step += 1
            self.seconds = before + time.monotonic() - started
            if self.step % run.log == 0 or self.step == run.steps:
                self._log(metrics, validation, callbacks, (time.monotonic() - started) / (self.step - first))
            if self.step % run.sample == 0 or self.step == run.steps:
                self._write_samples(samples)
            if self.step % run.save == 0 or self.step == run.steps:
                self.save()
            callbacks.progress("train", self.step, run.steps)
        return True

    def _learning_rate(self, step: int) -> float:
        """Returns the rate at a step, from 0: constant for the first half, then falling linearly to 0 (pix2pixHD)."""
        run = self.config.run
        return run.learning_rate * min(1.0, 2 * (1 - step / run.steps))

    def _train_step(self, batch: Batch) -> None:
        run = self.config.run
        for optimiser in self.optimisers.values():
            optimiser.zero_grad(set_to_none=True)
            for group in optimiser.param_groups:
                group["lr"] = self._learning_rate(self.step)
        for start in range(0, run.batch * run.accumulate, run.batch):
            part = tuple(values[start : start + run.batch].to(self.device) for values in batch)
            for name, value in self._backward(*part).items():
                self.sums[name] = self.sums.get(name, 0.0) + value / run.accumulate
        self.sums["steps"] = self.sums.get("steps", 0.0) + 1
        for optimiser in self.optimisers.values():
            self.scaler.step(optimiser)
        self.scaler.update()
        share = min(run.average, (self.step + 1) / (self.step + 10))
        for name, value in self.generator.state_dict().items():
            self.average[name].lerp_(value, 1 - share)

    def _backward(self, pictures: Tensor, velocity: Tensor, mask: Tensor) -> dict[str, float]:
        """Accumulates the gradients of one batch; returns its losses."""
        weights, share = self.config.loss, 1 / self.config.run.accumulate
        with self._autocast():
            made, score = self.generator(pictures)
            found = {"end_point": end_point_error(made, velocity), "moving": moving_loss(score, mask)}
            error = relative_error(made, velocity, mask) if weights.relative else found["end_point"]
            loss = weights.end_point * error + weights.moving * found["moving"]
            if self.discriminator:
                self.discriminator.requires_grad_(False)
                rated, real = self.discriminator(pictures, made), self.discriminator(pictures, velocity)
                found |= {"adversarial": least_squares_loss(rated, True), "matching": matching_loss(rated, real)}
                loss = loss + weights.adversarial * found["adversarial"] + weights.matching * found["matching"]
                self.discriminator.requires_grad_(True)
        self.scaler.scale(loss * share).backward()
        found["loss"] = loss
        if self.discriminator:
            with self._autocast():
                fake = least_squares_loss(self.discriminator(pictures, made.detach()), False)
                found["discriminator"] = (fake + least_squares_loss(self.discriminator(pictures, velocity), True)) / 2
            self.scaler.scale(found["discriminator"] * share).backward()
        return {name: float(value.detach()) for name, value in found.items()}

    def _autocast(self) -> Any:
        return torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32)

    # reports

    def _log(self, metrics: MetricsLog, validation: list[Batch], callbacks: Callbacks, pace: float) -> None:
        run, count = self.config.run, max(1.0, self.sums.pop("steps", 1.0))
        row = {name: value / count for name, value in self.sums.items()}
        self.sums = {}
        if not all(abs(value) < float("inf") for value in row.values()):
            raise MotionError(
                f"the loss is not finite at step {self.step}: resume from the checkpoint with a lower "
                f'run.learning_rate than {run.learning_rate:g}, or with run.precision = "float32"'
            )
        if validation and (self.step % run.validate == 0 or self.step == run.steps):
            row |= self._validate(validation)
        metrics.add({"step": self.step, "rate": self._learning_rate(self.step - 1), **row})
        left = _duration(pace * (run.steps - self.step))
        checked = f", val {row['val_error']:.4g} (still {row['val_still']:.4g})" if "val_error" in row else ""
        callbacks.message(
            f"step {self.step} of {run.steps}: loss {row['loss']:.4g}, end-point error {row['end_point']:.4g} px"
            f"{checked}, {left} left"
        )

    @torch.no_grad()
    def _validate(self, validation: list[Batch]) -> dict[str, float]:
        """Returns the averaged weights' end-point error, that of no motion, and the masks' overlap."""
        network = self._averaged()
        error = still = common = union = 0.0
        for pictures, velocity, mask in validation:
            made, score = network(pictures.to(self.device))
            error += float(end_point_error(made.cpu(), velocity)) / len(validation)
            still += float(end_point_error(torch.zeros_like(velocity), velocity)) / len(validation)
            found, true = score.cpu() > 0, mask > 0.5
            common, union = common + float((found & true).sum()), union + float((found | true).sum())
        return {"val_error": error, "val_still": still, "val_overlap": common / max(union, 1.0)}

    def _averaged(self) -> FieldGenerator:
        network = FieldGenerator(self.config.model).to(self.device)
        network.load_state_dict(self.average)
        return network.eval()

    def _sample_batch(self, dataset: Dataset) -> Batch | None:
        held_out, seen = dataset.of("val")[: _SAMPLE_ROWS // 2], dataset.of("train")[:_SAMPLE_ROWS]
        chosen: tuple[Example, ...] = (*held_out, *seen)[:_SAMPLE_ROWS]
        crops = centre_crops(chosen, self.config.data, _SAMPLE_ROWS)
        return concatenate(crops) if crops else None

    @torch.no_grad()
    def _write_samples(self, samples: Batch | None) -> None:
        """Writes rows of plate, truth and prediction, the last two on one colour scale."""
        if samples is None:
            return
        network, rows = self._averaged(), []
        for picture, velocity, _ in zip(*samples, strict=True):
            made, score = network(picture[None].to(self.device))
            true, guess = (v.float().cpu().permute(1, 2, 0).numpy() for v in (velocity, (made * score.sigmoid())[0]))
            plate = (picture * 255 + 0.5).permute(1, 2, 0).to(torch.uint8).numpy()
            rows.append([plate, flow_colours(true), flow_colours(guess, high_speed(true))])
        write_grid(rows, self.folder / "samples" / f"step_{self.step:07}.png")


def _initialise_small(generator: FieldGenerator) -> None:
    """Initialises the last layer near zero motion and an undecided mask, from where both losses decrease."""
    torch.nn.init.normal_(generator.last.weight, std=0.005)
    if generator.last.bias is not None:
        torch.nn.init.zeros_(generator.last.bias)


def _with_prefix(tensors: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    return {key.removeprefix(f"{name}."): value for key, value in tensors.items() if key.startswith(f"{name}.")}


def _json_values(config: FieldConfig) -> dict[str, Any]:
    """Returns the settings as JSON values."""
    return {name: {key: str(value) if isinstance(value, Path) else value for key, value in values.items()}
            for name, values in asdict(config).items()}  # fmt: skip


def _differences(was: dict[str, Any], now: dict[str, Any]) -> list[tuple[str, Any, Any]]:
    """Returns the entries that affect the weights and differ; the number of steps and the device may change."""
    defaults = _json_values(FieldConfig())  # of entries that a run of an earlier version did not have
    return [
        (f"{section}.{name}", before, value)
        for section, values in now.items() for name, value in values.items()
        if (before := was.get(section, {}).get(name, defaults[section][name])) != value
        and not (section == "run" and name in _RESUMABLE)
    ]  # fmt: skip


def _duration(seconds: float) -> str:
    minutes, hours = round(seconds / 60), int(seconds // 3600)
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if hours < 2 else f"{hours} h {minutes - 60 * hours} min"
