# SPDX-License-Identifier: Apache-2.0
"""One case: a command or a request on hostile inputs; and how one of its inputs is made hostile."""

from __future__ import annotations

import json
import random
import shutil
from dataclasses import dataclass
from pathlib import Path

import _mutate
import _seeds

# What hostile files are called, before the suffix.
NAMES = ["input", "a%d", "concat:a", "a\nb", "a b", "[/x]", "%s{0}", "-o", "..", "é", "x" * 200, "\x1b[31m", "\udcff"]
_POSITIONAL = {"animate": "plate", "predict": "plate", "flow": "motion", "check": "folder"}
_OPTIONS = {"folder": "output", "motion_out": "output"}  # of the command line, by the worker's names


@dataclass(frozen=True)
class Case:
    """One run: a command, or the worker's method of that name, on hostile inputs.

    Attributes:
        kind: of input.
        label: what was damaged and how.
        folder: fresh parent folder; holds ``in`` and, once written, ``out``.
        method: the command.
        settings: by the worker's names; paths are absolute.
        arguments: of the command line instead, where they have no equivalent in the worker.
        subjects: texts of which an error message must contain one.
    """

    kind: str
    label: str
    folder: Path
    method: str
    settings: dict[str, object]
    arguments: tuple[str, ...] = ()
    subjects: tuple[str, ...] = ()

    def command(self) -> list[str]:
        """Returns the arguments of ``loopcore``."""
        if self.arguments:
            return list(self.arguments)
        positional = _POSITIONAL[self.method]
        words = [self.method, str(self.settings[positional])]
        for name, value in self.settings.items():
            if name != positional:
                words.append(f"--{_OPTIONS.get(name, name)}={value}")
        return words


def hostile_file(seed: Path, target: Path, rng: random.Random) -> str:
    """Writes a damaged copy of a file, or puts something that is no file there; returns what was done."""
    target.parent.mkdir(exist_ok=True)  # of "[/x]"
    target.unlink(missing_ok=True)
    data = seed.read_bytes()
    if rng.random() < 0.15:
        label = rng.choice(_mutate.SPECIALS)
        _mutate.special(target, label)
        return label
    if seed.name == "plate.png" and rng.random() < 0.3:
        width, height = rng.choice([(1 << 31, 1), (0, 0), (60000, 60000), (23000, 23000), ((1 << 31) - 1,) * 2])
        target.write_bytes(_mutate.huge_png(data, width, height))
        return f"declared {width}x{height}"
    if seed.suffix == ".safetensors" and rng.random() < 0.5:
        label, data = _mutate.damage_safetensors(data, rng)
    elif seed.suffix == ".json" and rng.random() < 0.8:
        label, data = _mutate.damage_json(json.loads(data), rng)
    elif seed.suffix == ".csv" and rng.random() < 0.6:
        label, data = _mutate.damage_csv(data, rng)
    elif seed.stem in _seeds.SHAPES and rng.random() < 0.7:  # hostile as it is
        label = "whole"
    else:
        label, data = _mutate.damage(data, rng)
    target.write_bytes(data)
    return label


def copy_inputs(seeds: Path, folder: Path, *names: str) -> Path:
    """Copies valid files and folders into the case's folder ``in``; returns it."""
    inputs = folder / "in"
    inputs.mkdir()
    for name in names:
        (shutil.copytree if (seeds / name).is_dir() else shutil.copy)(seeds / name, inputs / name)
    return inputs
