# SPDX-License-Identifier: Apache-2.0
"""Settings of a training run: a TOML file whose entries are all optional; unknown entries are refused.

Paths in the file are relative to it.
"""

from __future__ import annotations

import math
import tomllib
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, TypeVar

from loopcore.errors import MotionError
from loopcore.files.regular import TEXT, read_regular
from loopcore.motion.generator import GeneratorSettings
from loopcore.training.estimators import FETCH, check_estimator
from loopcore.training.losses import MIN_SIDE

_AT_LEAST_ONE = {
    "data": ("side", "flow_side", "frames", "windows", "kept"),
    "model": ("width", "widest", "halvings"),
    "run": ("steps", "batch", "accumulate", "log", "validate", "sample", "save"),
}
LARGEST = 2**31 - 1  # of any whole number
LARGEST_WEIGHT = 1e6  # of a loss
MOST_THREADS = 4096
PRECISIONS = ("auto", "float32", "bfloat16", "float16")


@dataclass(frozen=True)
class DataSettings:
    """Training data.

    Attributes:
        clips: folder of videos, or None.
        long_side: longer side of the clips that crops are taken from, and of plates at inference, pixels.
        side: of a square training crop, pixels.
        flow_side: longer side at which flow is measured, pixels; ``long_side`` if that is larger.
        frames: largest number of frames of a window that flow is averaged over.
        windows: largest number of windows of a file.
        least_frames: smallest number of frames of a window.
        kept: frames of each window that crops are taken from.
        held_out: fraction of scenes for val and test.
        steadiness: fraction of a window's motion energy that one steady field has to explain.
        synthetic: number of synthetic scenes besides the clips.
        synthetic_share: fraction of the crops that show them.
        backgrounds: folder of photographs behind synthetic scenes, or None.
        flow: estimator of the clips' flow, a name of ``estimators.py``.
        flow_weights: its file of weights, "fetch" to download them, or None.
        second_flow: estimator that has to agree, or "".
        second_flow_weights: its weights.
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
    flow: str = "dis"
    flow_weights: Path | str | None = None
    second_flow: str = ""
    second_flow_weights: Path | str | None = None


@dataclass(frozen=True)
class LossSettings:
    """Weights of the losses, and the discriminator's shape.

    Attributes:
        end_point: weight of the end-point error.
        relative: whether end-point errors are relative to each crop's mean speed, which a still does not determine;
            else in pixels.
        moving: weight of the mask's cross-entropy.
        adversarial: weight of the adversarial loss.
        matching: weight of feature matching.
        scales: of the discriminator; 0 for none.
        width: channels of the discriminator's first layer.
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
    """Optimisation, hardware and reports.

    Attributes:
        steps: of the optimiser.
        batch: crops of a forward pass.
        accumulate: forward passes of a step.
        learning_rate: constant for the first half of the steps, then falling linearly to 0.
        average: decay per step of the exponential moving average of the weights.
        seed: of everything random.
        device: "auto", or a torch device.
        precision: one of ``PRECISIONS``.
        threads: of the processor; 0 for torch's default.
        log: steps between rows of metrics.
        validate: steps between validations.
        sample: steps between sample pictures.
        save: steps between checkpoints.
        checked: largest number of crops of the split val.
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
    """All settings of a run that trains the motion generator.

    Attributes:
        data: training data.
        model: the generator's shape.
        loss: weights of the losses.
        run: optimisation, hardware and reports.
    """

    data: DataSettings = DataSettings()
    model: GeneratorSettings = GeneratorSettings()
    loss: LossSettings = LossSettings()
    run: RunSettings = RunSettings()


@dataclass(frozen=True)
class FluidConfig:
    """All settings of a run that trains the fluid network.

    Attributes:
        pictures: folder with manifest.csv, pictures and labels, or None.
        footage: folder with manifest.csv and clips, or None.
        cache: folder of prepared clips; needed with footage.
        exclude: names of clips that are left out.
        flow: estimator that measures the clips' optical flow.
        flow_weights: its file of weights, "fetch" to download them, or None.
        second_flow: estimator that has to confirm the directions; another one.
        second_flow_weights: its weights.
        teachers: files of networks that give the footage its classes; by default the shipped one.
        encoder: file of a published encoder to start from, or None for the shipped one.
        weights: file of a trained network to continue from, or None; its motion decoder may be missing.
        steps: of the optimiser.
        seed: of everything random.
        threads: of the processor.
    """

    pictures: Path | None = None
    footage: Path | None = None
    cache: Path | None = None
    exclude: tuple[str, ...] = ()
    flow: str = "dis"
    flow_weights: Path | str | None = None
    second_flow: str = "farneback"
    second_flow_weights: Path | str | None = None
    teachers: tuple[Path, ...] = ()
    encoder: Path | None = None
    weights: Path | None = None
    steps: int = 1800
    seed: int = 1
    threads: int = 1


Section = TypeVar("Section")


def read_config(path: str | Path) -> FieldConfig | FluidConfig:
    """Reads a run's settings.

    Args:
        path: of the TOML file.

    Returns:
        A :class:`FluidConfig` if the file has the entry ``pictures`` or ``footage``, else a :class:`FieldConfig`.

    Raises:
        MotionError: unreadable, an unknown entry, or an invalid value.
    """
    path = Path(path)
    try:
        entries = tomllib.loads(read_regular(path, TEXT).decode())
    except OSError as error:
        raise MotionError(f"settings {path} cannot be read: {error.strerror or error}") from None
    except (ValueError, RecursionError) as error:  # ValueError: not TOML, not UTF-8, or too many digits
        raise MotionError(f"settings {path} are not valid TOML: {error}") from None
    try:
        if "pictures" in entries or "footage" in entries:
            return checked_fluid(_section(FluidConfig, entries, "", path.parent))
        config = FieldConfig()
        for name, values in entries.items():
            if name not in {f.name for f in fields(FieldConfig)} or not isinstance(values, dict):
                raise MotionError(f"unknown entry {name!r}: known are [data], [model], [loss] and [run]")
            if name == "model" and "side" in values:
                raise MotionError("unknown entry model.side: the size is data.long_side")
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
            raise MotionError(f"unknown entry {where}{name}: known are {', '.join(known)}")
        wanted = str(known[name].type)
        if any("\0" in one for one in (value if isinstance(value, list) else [value]) if isinstance(one, str)):
            raise MotionError(f"{where}{name} is {_shown(value)}, but it must not contain NUL")
        if isinstance(value, float) and not math.isfinite(value):
            raise MotionError(f"{where}{name} is {value}, but it must be a finite number")
        if isinstance(value, int) and abs(value) > LARGEST:
            raise MotionError(f"{where}{name} is {_shown(value)}, but it must be at most {LARGEST}")
        if value == FETCH and "str" in wanted:
            made[name] = value
        elif wanted.startswith("Path") and isinstance(value, str):
            made[name] = folder / value
        elif wanted.startswith("tuple") and isinstance(value, list) and all(isinstance(one, str) for one in value):
            made[name] = tuple(folder / one if "Path" in wanted else one for one in value)
        elif wanted == "float" and isinstance(value, int | float) and not isinstance(value, bool):
            made[name] = float(value)
        elif type(value).__name__ == wanted:
            made[name] = value
        else:
            raise MotionError(f"{where}{name} is {_shown(value)}, but it must be of the type {wanted.split(' ')[0]}")
    return kind(**made)


def _shown(value: object) -> str:
    """Returns a value of TOML, cut to a line's length."""
    try:
        text = repr(value)
    except (RecursionError, ValueError):  # nested too deeply, or an integer of too many digits
        return f"a {type(value).__name__}"
    return text if len(text) <= 60 else text[:57] + "..."


def check_numbers(**numbers: int) -> None:
    """Refuses counts and seeds that no library takes.

    Raises:
        MotionError: below 0, steps below 1, above :data:`LARGEST`, or more threads than :data:`MOST_THREADS`.
    """
    for name, value in numbers.items():
        largest = MOST_THREADS if name.endswith("threads") else LARGEST
        least = 1 if name.endswith("steps") else 0
        if value < least:
            raise MotionError(f"{name} is {_shown(value)}, but it must be {least} or more")
        if value > largest:
            raise MotionError(f"{name} is {_shown(value)}, but it must be at most {largest}")


def checked_fluid(config: FluidConfig) -> FluidConfig:
    """Validates the settings.

    Args:
        config: to be validated.

    Returns:
        The settings.

    Raises:
        MotionError: an invalid value; the message names its entry.
    """
    if config.threads < 1:
        raise MotionError(f"threads is {config.threads}, but it must be 1 or more")
    check_numbers(steps=config.steps, threads=config.threads, seed=config.seed)
    return config


def checked(config: FieldConfig) -> FieldConfig:
    """Validates the settings.

    Args:
        config: to be validated.

    Returns:
        The settings, with ``model.side`` set to ``data.long_side``.

    Raises:
        MotionError: an invalid value; the message names its entry.
    """
    data, model, loss, run = config.data, config.model, config.loss, config.run
    check_numbers(**{"run.seed": run.seed, "run.steps": run.steps, "run.threads": run.threads})
    for name, size, largest in (
        ("model.width", model.width, 8192), ("model.widest", model.widest, 8192), ("model.blocks", model.blocks, 512),
        ("model.halvings", model.halvings, 16), ("loss.width", loss.width, 8192), ("loss.scales", loss.scales, 16),
        ("data.long_side", data.long_side, 65536),
    ):  # fmt: skip
        if size > largest:
            raise MotionError(f"{name} is {size}, but it must be at most {largest}")
    _check_weights(loss)
    entries = {"data": data, "model": model, "run": run}
    for section, names in _AT_LEAST_ONE.items():
        for name in names:
            value = getattr(entries[section], name)
            if value < 1:
                raise MotionError(f"{section}.{name} is {value}, but it must be 1 or more")
    shares = {"data.held_out": data.held_out, "data.synthetic_share": data.synthetic_share,
              "data.steadiness": data.steadiness, "run.average": run.average}  # fmt: skip
    for name, share in shares.items():
        if not 0 <= share <= 1:
            raise MotionError(f"{name} is {share}, but it must be in 0..1")
    least = 2 * model.multiple
    for name, value, bottom in (
        ("data.side", data.side, max(least, MIN_SIDE)), ("data.long_side", data.long_side, data.side),
        ("data.least_frames", data.least_frames, 2),
        ("model.blocks", model.blocks, 0), ("model.widest", model.widest, model.width), ("loss.scales", loss.scales, 0),
        ("loss.width", loss.width, 1), ("data.synthetic", data.synthetic, 0),
    ):  # fmt: skip
        if value < bottom:
            raise MotionError(f"{name} is {value}, but it must be {bottom} or more")
    _check_flow(data)
    if data.side % model.multiple:
        raise MotionError(f"data.side is {data.side}, but it must be a multiple of {model.multiple}")
    if run.precision not in PRECISIONS:
        raise MotionError(f"run.precision is {run.precision!r}: choose one of {', '.join(PRECISIONS)}")
    if data.clips is None and not data.synthetic:
        raise MotionError("there is nothing to train on: give data.clips a folder of videos, or data.synthetic scenes")
    if not 0 < run.learning_rate <= 1:
        raise MotionError(f"run.learning_rate is {run.learning_rate:g}, but it must be above 0 and at most 1")
    return replace(config, model=replace(model, side=data.long_side))


def _check_weights(loss: LossSettings) -> None:
    for name in ("end_point", "moving", "adversarial", "matching"):
        weight = getattr(loss, name)
        if not 0 <= weight <= LARGEST_WEIGHT:
            raise MotionError(f"loss.{name} is {weight:g}, but it must be in 0..{LARGEST_WEIGHT:g}")


def _check_flow(data: DataSettings) -> None:
    first, second = (data.flow, data.flow_weights), (data.second_flow, data.second_flow_weights)
    if first == second:
        raise MotionError(f"data.second_flow is {data.second_flow!r}, the same as data.flow")
    if not data.second_flow and data.second_flow_weights is not None:
        raise MotionError("data.second_flow_weights is given without data.second_flow")
    for entry, (name, weights) in {"flow": first, "second_flow": second}.items():
        try:
            if entry == "flow" or name:
                check_estimator(name, weights)
        except MotionError as error:
            raise MotionError(f"data.{entry}: {error}") from None
