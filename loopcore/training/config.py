# SPDX-License-Identifier: Apache-2.0
"""The settings of a training run: one TOML file, every entry optional, nothing in it that is not known.

Paths in the file are relative to it.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, TypeVar

from loopcore.errors import MotionError
from loopcore.motion.generator import GeneratorSettings
from loopcore.training.adversary import LEAST_SIDE

_AT_LEAST_ONE = {
    "data": ("side", "flow_side", "frames", "windows", "kept"),
    "model": ("width", "widest", "halvings"),
    "run": ("steps", "batch", "accumulate", "log", "validate", "sample", "save"),
}
PRECISIONS = ("auto", "float32", "bfloat16", "float16")


@dataclass(frozen=True)
class DataSettings:
    """What is learnt from.

    side: pixels of a training crop, a square. long_side: of the clips that crops are taken from, and of the plates that
    the network is shown later. flow_side: at least the size that flow is measured at. frames: of a window
    that flow is averaged over; windows: of each file; least_frames: of a window. kept: frames of each window that are
    learnt from. held_out: share of scenes for val and test. steadiness: share of a window's motion that one field has
    to explain. synthetic: made-up scenes beside the clips; synthetic_share: of the crops, that show them.
    backgrounds: folder of photographs for them to lie in.
    """

    clips: Path | None = None
    long_side: int = 512
    side: int = 256
    flow_side: int = 640
    frames: int = 60
    windows: int = 4
    least_frames: int = 12
    kept: int = 5
    held_out: float = 0.2
    steadiness: float = 0.6
    synthetic: int = 200
    synthetic_share: float = 0.3
    backgrounds: Path | None = None


@dataclass(frozen=True)
class LossSettings:
    """Weights of the losses; the discriminator's width and scales, 0 scales for none.

    relative: end-point errors count over each crop's own speed, which a still does not tell; else in pixels.
    """

    end_point: float = 10.0
    relative: bool = True
    moving: float = 1.0
    adversarial: float = 1.0
    matching: float = 10.0
    scales: int = 2
    width: int = 64


@dataclass(frozen=True)
class RunSettings:
    """How long and how fast.

    steps: of the optimiser; each sees ``batch`` crops ``accumulate`` times. learning_rate: constant to half of the
    steps, then falling to 0. average: of the weights that are kept, per step. log, validate, sample, save: every so
    many steps. checked: crops of the split val at most.
    """

    steps: int = 60_000
    batch: int = 8
    accumulate: int = 1
    learning_rate: float = 2e-4
    average: float = 0.999
    seed: int = 1
    device: str = "auto"
    precision: str = "auto"
    threads: int = 0
    log: int = 50
    validate: int = 1000
    sample: int = 1000
    save: int = 500
    checked: int = 64


@dataclass(frozen=True)
class FieldConfig:
    """All of a run that trains the motion generator."""

    data: DataSettings = DataSettings()
    model: GeneratorSettings = GeneratorSettings()
    loss: LossSettings = LossSettings()
    run: RunSettings = RunSettings()


@dataclass(frozen=True)
class PictureConfig:
    """All of a run that trains the network that sees what flows; see :class:`loopcore.training.train.TrainSettings`."""

    pictures: Path
    encoder: Path | None = None
    weights: Path | None = None
    epochs: int = 6
    seed: int = 1
    threads: int = 1


Section = TypeVar("Section")


def read_config(path: str | Path) -> FieldConfig | PictureConfig:
    """A run's settings; with the entry ``pictures`` they are those of the network that sees what flows.

    Raises:
        MotionError: unreadable, an entry that is not known, or a value that makes no sense.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            entries = tomllib.load(file)
    except OSError as error:
        raise MotionError(f"settings {path} cannot be read: {error.strerror or error}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise MotionError(f"settings {path} are no TOML: {error}") from None
    try:
        if "pictures" in entries:
            return _section(PictureConfig, entries, "", path.parent)
        config = FieldConfig()
        for name, values in entries.items():
            if name not in {f.name for f in fields(FieldConfig)} or not isinstance(values, dict):
                raise MotionError(f"unknown entry {name!r}: there are [data], [model], [loss] and [run]")
            if name == "model" and "side" in values:
                raise MotionError("unknown entry model.side: plates are shown at data.long_side")
            made = _section(type(getattr(config, name)), values, f"{name}.", path.parent)
            config = replace(config, **{name: made})
        return checked(config)
    except MotionError as error:
        raise MotionError(f"settings {path}: {error}") from None


def _section(kind: type[Section], values: dict[str, Any], where: str, folder: Path) -> Section:
    known = {f.name: f for f in fields(kind)}  # type: ignore[arg-type]
    made: dict[str, Any] = {}
    for name, value in values.items():
        if name not in known:
            raise MotionError(f"unknown entry {where}{name}: there are {', '.join(known)}")
        wanted = str(known[name].type)
        if wanted.startswith("Path") and isinstance(value, str):
            made[name] = folder / value
        elif wanted == "float" and isinstance(value, int | float) and not isinstance(value, bool):
            made[name] = float(value)
        elif type(value).__name__ == wanted:
            made[name] = value
        else:
            raise MotionError(f"{where}{name} is {value!r}, but it has to be of the type {wanted.split(' ')[0]}")
    return kind(**made)


def checked(config: FieldConfig) -> FieldConfig:
    """The same, if its numbers make sense together; the model is told the size of what it learns from.

    Raises:
        MotionError: naming the entry that does not.
    """
    data, model, loss, run = config.data, config.model, config.loss, config.run
    entries = {"data": data, "model": model, "run": run}
    for section, names in _AT_LEAST_ONE.items():
        for name in names:
            value = getattr(entries[section], name)
            if value < 1:
                raise MotionError(f"{section}.{name} is {value}, but it has to be 1 or more")
    shares = {"data.held_out": data.held_out, "data.synthetic_share": data.synthetic_share,
              "data.steadiness": data.steadiness, "run.average": run.average}  # fmt: skip
    for name, share in shares.items():
        if not 0 <= share <= 1:
            raise MotionError(f"{name} is {share}, but it has to be from 0 to 1")
    least = 2 * model.multiple
    for name, value, bottom in (
        ("data.side", data.side, max(least, LEAST_SIDE)), ("data.long_side", data.long_side, data.side),
        ("data.least_frames", data.least_frames, 2), ("run.seed", run.seed, 0),
        ("model.blocks", model.blocks, 0), ("loss.scales", loss.scales, 0), ("data.synthetic", data.synthetic, 0),
    ):  # fmt: skip
        if value < bottom:
            raise MotionError(f"{name} is {value}, but it has to be {bottom} or more")
    if data.side % model.multiple:
        raise MotionError(f"data.side is {data.side}, but it has to be a multiple of {model.multiple}")
    if run.precision not in PRECISIONS:
        raise MotionError(f"run.precision is {run.precision!r}: choose one of {', '.join(PRECISIONS)}")
    if data.clips is None and not data.synthetic:
        raise MotionError("there is nothing to train on: give data.clips a folder of videos, or data.synthetic scenes")
    if run.learning_rate <= 0:
        raise MotionError(f"run.learning_rate is {run.learning_rate}, but it has to be above 0")
    return replace(config, model=replace(model, side=data.long_side))
