# SPDX-License-Identifier: Apache-2.0
"""Trains the motion generator: steps, checkpoints, curves, samples, and the weights in the end.

The run's folder holds ``state.json`` and the checkpoint it names, ``curve.csv``, ``samples/``, ``refused.txt`` and
``generator.safetensors``. The same command goes on where a run was stopped; on one processor thread the curve is the
same as that of a run that was not, to the last digit.
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
from loopcore.motion.generator import FieldGenerator, save_generator
from loopcore.training.adversary import (
    Discriminator,
    end_point_error,
    matching_loss,
    moving_loss,
    relative_error,
    verdict,
)
from loopcore.training.checkpoint import load_checkpoint, optimiser_tensors, restore_optimiser, save_checkpoint
from loopcore.training.config import FieldConfig
from loopcore.training.journal import Curve, top_speed, wheel, write_rows
from loopcore.training.pairs import Pair, Pairs, prepare
from loopcore.training.sampling import Batch, Sampler, joined, whole_crops

WEIGHTS = "generator.safetensors"
_BETAS = (0.5, 0.999)  # pix2pixHD's
_SHOWN = 6  # rows of a picture of samples
_MAY_CHANGE = ("steps", "device", "threads", "log", "validate", "sample", "save", "checked")


@dataclass(frozen=True)
class Told:
    """Who is told of what. progress: ("prepare" or "train", done, total); text: a line; asked_to_stop: Ctrl-C came."""

    progress: Callable[[str, int, int], None] = lambda what, done, total: None
    text: Callable[[str], None] = lambda line: None
    asked_to_stop: Callable[[], bool] = lambda: False


@dataclass(frozen=True)
class Result:
    """How a run ended: the step it is at, whether it was stopped before its last, and its weights."""

    step: int
    stopped: bool
    weights: Path


def fit(config: FieldConfig, folder: str | Path, cache: Path | None = None, told: Told = Told()) -> Result:
    """Trains in a folder, from the checkpoint there if there is one.

    cache: folder for prepared clips, by default ``clips`` in the run's.

    Raises:
        MotionError: settings other than the checkpoint's, nothing to train on, a loss that is no number.
        EngineError: a device or precision that is not there. PlateError, SequenceError: clips, files.
    """
    folder = Path(folder)
    try:
        (folder / "samples").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SequenceError(f"cannot make folder {folder}: {error.strerror or error}") from None
    if config.run.threads:
        torch.set_num_threads(config.run.threads)
    trainer = Trainer(config, folder)  # first: what is wrong with it is told at once
    pairs = prepare(config.data, cache or folder / "clips", lambda *step: told.progress("prepare", *step))
    _report(pairs, folder, told)
    finished = trainer.run(pairs, told)
    return Result(trainer.step, not finished, trainer.write_weights(pairs))


def _report(pairs: Pairs, folder: Path, told: Told) -> None:
    lines = [f"{name}: {reason}\n" for name, reason in pairs.refused]
    (folder / "refused.txt").write_text("".join(lines), encoding="utf-8")
    counts = {split: sum(pair.split == split for pair in pairs.clips) for split in ("train", "val", "test")}
    told.text(
        f"{len(pairs.clips)} clips ({', '.join(f'{n} {split}' for split, n in counts.items())}), "
        f"{len(pairs.made)} made-up scenes, {len(lines)} refused{' (see refused.txt)' if lines else ''}"
    )


def choose_device(name: str) -> torch.device:
    """The device of a name; "auto" is a GPU if there is one.

    Raises:
        EngineError: no such device here.
    """
    if name == "auto":
        mps = torch.backends.mps.is_available()
        return torch.device("cuda" if torch.cuda.is_available() else "mps" if mps else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise EngineError(f"device {name!r} is not there: {str(error).splitlines()[0]}") from None
    return device


def choose_precision(name: str, device: torch.device) -> torch.dtype:
    """The type that networks compute in; "auto" is the fastest that the device is good at.

    Raises:
        EngineError: float16 on a processor, which has no use for it.
    """
    if name == "auto":
        if device.type != "cuda":
            return torch.float32
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    if name == "float16" and device.type != "cuda":
        raise EngineError("run.precision float16 needs an NVIDIA GPU: choose auto, float32 or bfloat16")
    return {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[name]


class Trainer:
    """Networks, optimisers and all else that a run remembers."""

    def __init__(self, config: FieldConfig, folder: Path) -> None:
        self.config, self.folder, self.step = config, folder, 0
        self.device = choose_device(config.run.device)
        self.kind = choose_precision(config.run.precision, self.device)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.run.seed)
            self.generator = FieldGenerator(config.model)
            self.judge = Discriminator(config.loss.width, config.loss.scales) if config.loss.scales else None
            _start_small(self.generator)
        self.generator.to(self.device)
        if self.judge:
            self.judge.to(self.device)
        self.average = {name: value.detach().clone() for name, value in self.generator.state_dict().items()}
        self.optimisers = {"generator": torch.optim.Adam(self.generator.parameters(), betas=_BETAS)}
        if self.judge:
            self.optimisers["judge"] = torch.optim.Adam(self.judge.parameters(), betas=_BETAS)
        self.scaler = torch.amp.GradScaler("cuda", enabled=self.kind == torch.float16)
        self.sums: dict[str, float] = {}
        self.seconds = 0.0
        self._restore()

    # what is kept

    def _restore(self) -> None:
        found = load_checkpoint(self.folder)
        if found is None:
            return
        tensors, state = found
        for entry, was, now in _differences(state.get("config", {}), _plain(self.config)):
            raise MotionError(
                f"{self.folder} holds a run with {entry} = {was!r}, not {now!r}: take another folder, or delete it"
            )
        try:
            self.generator.load_state_dict(_part(tensors, "weights"))
            self.average = {name: value.to(self.device) for name, value in _part(tensors, "average").items()}
            if self.judge:
                self.judge.load_state_dict(_part(tensors, "discriminator"))
            for name, optimiser in self.optimisers.items():
                restore_optimiser(optimiser, name, tensors)
            self.scaler.load_state_dict(state["scaler"])
            self.step, self.sums, self.seconds = state["step"], dict(state["sums"]), state["seconds"]
        except (KeyError, RuntimeError, ValueError, TypeError) as error:
            raise MotionError(f"the checkpoint in {self.folder} does not fit ({error}): take another folder") from None

    def save(self) -> None:
        """Writes a checkpoint."""
        tensors = {f"weights.{name}": value for name, value in self.generator.state_dict().items()}
        tensors |= {f"average.{name}": value for name, value in self.average.items()}
        if self.judge:
            tensors |= {f"discriminator.{name}": value for name, value in self.judge.state_dict().items()}
        for name, optimiser in self.optimisers.items():
            tensors |= optimiser_tensors(optimiser, name)
        state = {"config": _plain(self.config), "sums": self.sums, "scaler": self.scaler.state_dict(),
                 "seconds": round(self.seconds, 1)}  # fmt: skip
        save_checkpoint(self.folder, self.step, tensors, state)

    def write_weights(self, pairs: Pairs) -> Path:
        """Writes the averaged generator, for ``loopcore predict --weights``; its path."""
        notes = {f"run.{name}": str(value) for name, value in asdict(self.config.run).items()}
        notes |= {"step": str(self.step), "clips": str(len(pairs.clips)), "scenes": str(len(pairs.made)),
                  "seconds": f"{self.seconds:.0f}"}  # fmt: skip
        path = self.folder / WEIGHTS
        save_generator(self.average, self.config.model, path, notes)
        return path

    # what is done

    def run(self, pairs: Pairs, told: Told) -> bool:
        """Trains to the last step; False if it was asked to stop before, with all saved."""
        run, started = self.config.run, time.monotonic()
        sampler = Sampler(pairs, self.config.data, run.seed)
        curve, shown = Curve(self.folder / "curve.csv", self.step), self._shown(pairs)
        checks = whole_crops(pairs.of("val"), self.config.data, run.checked)
        first, before = self.step, self.seconds
        workers = 4 if self.device.type == "cuda" else 1
        batches = sampler.batches(range(first, run.steps), run.batch * run.accumulate, workers)
        for batch in batches:
            if told.asked_to_stop():
                self.save()
                return False
            self._learn(batch)
            self.step += 1
            self.seconds = before + time.monotonic() - started
            if self.step % run.log == 0 or self.step == run.steps:
                self._log(curve, checks, told, (time.monotonic() - started) / (self.step - first))
            if self.step % run.sample == 0 or self.step == run.steps:
                self._draw(shown)
            if self.step % run.save == 0 or self.step == run.steps:
                self.save()
            told.progress("train", self.step, run.steps)
        return True

    def _rate(self, step: int) -> float:
        """Constant to half of the way, then falling to 0 (pix2pixHD); step: how many came before."""
        run = self.config.run
        return run.learning_rate * min(1.0, 2 * (1 - step / run.steps))

    def _learn(self, batch: Batch) -> None:
        run = self.config.run
        for optimiser in self.optimisers.values():
            optimiser.zero_grad(set_to_none=True)
            for group in optimiser.param_groups:
                group["lr"] = self._rate(self.step)
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
        """Adds the gradients of one batch to those there are; its losses."""
        weights, share = self.config.loss, 1 / self.config.run.accumulate
        with self._cast():
            made, score = self.generator(pictures)
            found = {"end_point": end_point_error(made, velocity), "moving": moving_loss(score, mask)}
            error = relative_error(made, velocity, mask) if weights.relative else found["end_point"]
            loss = weights.end_point * error + weights.moving * found["moving"]
            if self.judge:
                self.judge.requires_grad_(False)
                judged, real = self.judge(pictures, made), self.judge(pictures, velocity)
                found |= {"adversarial": verdict(judged, True), "matching": matching_loss(judged, real)}
                loss = loss + weights.adversarial * found["adversarial"] + weights.matching * found["matching"]
                self.judge.requires_grad_(True)
        self.scaler.scale(loss * share).backward()
        found["loss"] = loss
        if self.judge:
            with self._cast():
                fooled = verdict(self.judge(pictures, made.detach()), False)
                found["discriminator"] = (fooled + verdict(self.judge(pictures, velocity), True)) / 2
            self.scaler.scale(found["discriminator"] * share).backward()
        return {name: float(value.detach()) for name, value in found.items()}

    def _cast(self) -> Any:
        return torch.autocast(self.device.type, self.kind, enabled=self.kind != torch.float32)

    # what is shown

    def _log(self, curve: Curve, checks: list[Batch], told: Told, pace: float) -> None:
        run, count = self.config.run, max(1.0, self.sums.pop("steps", 1.0))
        row = {name: value / count for name, value in self.sums.items()}
        self.sums = {}
        if not all(abs(value) < float("inf") for value in row.values()):
            raise MotionError(
                f"the loss is no number any more at step {self.step}: begin again from the checkpoint with a lower "
                f"run.learning_rate than {run.learning_rate:g}, or with run.precision = \"float32\""
            )
        if checks and (self.step % run.validate == 0 or self.step == run.steps):
            row |= self._check(checks)
        curve.add({"step": self.step, "rate": self._rate(self.step - 1), **row})
        left = _duration(pace * (run.steps - self.step))
        checked = f", val {row['val_error']:.4g} (still {row['val_still']:.4g})" if "val_error" in row else ""
        told.text(
            f"step {self.step} of {run.steps}: loss {row['loss']:.4g}, end-point error {row['end_point']:.4g} px"
            f"{checked}, {left} left"
        )

    @torch.no_grad()
    def _check(self, checks: list[Batch]) -> dict[str, float]:
        """End-point error of the averaged weights, that of no motion at all, and overlap of the masks."""
        network = self._averaged()
        error = still = common = union = 0.0
        for pictures, velocity, mask in checks:
            made, score = network(pictures.to(self.device))
            error += float(end_point_error(made.cpu(), velocity)) / len(checks)
            still += float(end_point_error(torch.zeros_like(velocity), velocity)) / len(checks)
            found, true = score.cpu() > 0, mask > 0.5
            common, union = common + float((found & true).sum()), union + float((found | true).sum())
        return {"val_error": error, "val_still": still, "val_overlap": common / max(union, 1.0)}

    def _averaged(self) -> FieldGenerator:
        network = FieldGenerator(self.config.model).to(self.device)
        network.load_state_dict(self.average)
        return network.eval()

    def _shown(self, pairs: Pairs) -> Batch | None:
        chosen: tuple[Pair, ...] = (*pairs.of("val")[: _SHOWN // 2], *pairs.of("train")[:_SHOWN])[:_SHOWN]
        crops = whole_crops(chosen, self.config.data, _SHOWN)
        return joined(crops) if crops else None

    @torch.no_grad()
    def _draw(self, shown: Batch | None) -> None:
        """Rows of plate, truth and prediction, the last two by one colour wheel."""
        if shown is None:
            return
        network, rows = self._averaged(), []
        for picture, velocity, _ in zip(*shown, strict=True):
            made, score = network(picture[None].to(self.device))
            true, guess = (v.float().cpu().permute(1, 2, 0).numpy() for v in (velocity, (made * score.sigmoid())[0]))
            plate = (picture * 255 + 0.5).permute(1, 2, 0).to(torch.uint8).numpy()
            rows.append([plate, wheel(true), wheel(guess, top_speed(true))])
        write_rows(rows, self.folder / "samples" / f"step_{self.step:07}.png")


def _start_small(generator: FieldGenerator) -> None:
    """Begin near no motion and no opinion, from where both errors fall at once."""
    torch.nn.init.normal_(generator.last.weight, std=0.005)
    if generator.last.bias is not None:
        torch.nn.init.zeros_(generator.last.bias)


def _part(tensors: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    return {key.removeprefix(f"{name}."): value for key, value in tensors.items() if key.startswith(f"{name}.")}


def _plain(config: FieldConfig) -> dict[str, Any]:
    """The settings as JSON has them."""
    return {name: {key: str(value) if isinstance(value, Path) else value for key, value in values.items()}
            for name, values in asdict(config).items()}  # fmt: skip


def _differences(was: dict[str, Any], now: dict[str, Any]) -> list[tuple[str, Any, Any]]:
    """Entries that decide the weights and differ; a longer run or another device is the same run."""
    return [
        (f"{section}.{name}", was.get(section, {}).get(name), value)
        for section, values in now.items() for name, value in values.items()
        if not (section == "run" and name in _MAY_CHANGE) and was.get(section, {}).get(name) != value
    ]  # fmt: skip


def _duration(seconds: float) -> str:
    minutes, hours = round(seconds / 60), int(seconds // 3600)
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if hours < 2 else f"{hours} h {minutes - 60 * hours} min"
