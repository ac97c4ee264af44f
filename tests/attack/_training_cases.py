# SPDX-License-Identifier: Apache-2.0
"""Hostile inputs of `loopcore train` and `loopcore evaluate`."""

from __future__ import annotations

import copy
import random
import tomllib
from pathlib import Path

import _seeds
from _case import Case, copy_inputs, hostile_file

# As TOML. Numbers that only ask for a long run are no attack.
_VALUES = [
    "0", "-1", "-0.5", "1.5", "1e400", "nan", "inf", "-inf", "9" * 400, "1e308", "18446744073709551616",
    "9223372036854775807", "true", '""', '"\\u0000"', '"../../outside"', '"[/x]"', '"a\\nb"', '"/dev/zero"',
    '"' + "x" * 5000 + '"', "[]", "{}", "[[]]", "[1]", '["a", "\\u0000"]', "[" * 90 + "]" * 90, "1979-05-27",
    "07:32:00", '"cuda:9"', '"meta"', '"fetch"', '"torchvision:raft_small"',
]  # fmt: skip
_SHAPES = ["1", "3", "99", "8192", "2147483647"]  # of networks, which are bounded


def train(seeds: Path, folder: Path, rng: random.Random) -> Case:
    """Damaged settings, a manifest or picture of labels, or a file of the run that is continued."""
    what = rng.choice(["settings", "settings", "settings", "fluid", "pictures", "run", "encoder"])
    inputs, out = copy_inputs(seeds, folder, "pictures", "generator.safetensors", "run.toml"), folder / "out"
    if what in ("settings", "fluid"):
        source = inputs / "settings.toml"
        label = _write_settings(what, source, rng)
        subjects: tuple[str, ...] = (str(inputs),)  # the settings, or a file that they name
    elif what == "run":
        copy_inputs_to = seeds / "run"
        out.mkdir()
        for path in copy_inputs_to.iterdir():
            if path.is_file():
                (out / path.name).write_bytes(path.read_bytes())
        source = inputs / "run.toml"
        hostile = rng.choice(sorted(path for path in out.iterdir() if path.name != "generator.safetensors"))
        label, subjects = f"{hostile.name}: {hostile_file(seeds / 'run' / hostile.name, hostile, rng)}", (str(out),)
    else:
        source = inputs / "pictures"
        hostile = source / rng.choice(["manifest.csv", "0.png", "l0.png"]) if what == "pictures" else inputs / "e.pth"
        seed = seeds / "pictures" / hostile.name if what == "pictures" else seeds / "clips" / "fall_motion.pth"
        label, subjects = f"{hostile.name}: {hostile_file(seed, hostile, rng)}", (hostile.name, str(source))
    target = out if what in ("settings", "run") else out / "w.safetensors"
    words = ["train", str(source), f"--output={target}"]
    if what in ("pictures", "encoder"):
        words += ["--steps=1", "--threads=1"]
    words += [f"--encoder={hostile}"] if what == "encoder" else []
    return Case("training", f"{what}, {label}", folder, "train", {}, tuple(words), subjects)


def _write_settings(what: str, path: Path, rng: random.Random) -> str:
    """Writes settings of which one value, or some bytes, are damaged; returns what was done."""
    document = copy.deepcopy(_seeds.RUN if what == "settings" else _seeds.FLUID)
    section = rng.choice(list(document)) if what == "settings" else ""
    values = document[section] if section else document
    name = rng.choice(list(values))
    text = rng.choice(_VALUES + (_SHAPES if section in ("model", "loss") else []))
    values[name] = "REPLACED"
    path.write_text(_seeds.toml(document).replace('"REPLACED"', text), "utf-8")
    if rng.random() < 0.85:
        return f"{section}.{name} = {text[:30]}"
    label = hostile_file(whole := path.rename(path.with_name("whole.toml")), path, rng)
    if path.is_file() and _is_long(path):  # a FIFO would be waited for
        path.write_bytes(whole.read_bytes())
    return label


def _is_long(path: Path) -> bool:
    """Returns whether damaged settings are valid and without the entries that make a run of one step."""
    try:
        found = tomllib.loads(path.read_text("utf-8"))
        if "pictures" in found:
            return found.get("steps") != 1
        return found.get("run", {}).get("steps") != 1 or found.get("data", {}).get("synthetic") != 1
    except (OSError, ValueError, AttributeError):
        return False


def evaluate(seeds: Path, folder: Path, rng: random.Random) -> Case:
    """A damaged manifest, picture, motion, report or file of weights of an evaluation."""
    inputs = copy_inputs(seeds, folder, "clips", "pictures", "generator.safetensors", "report.json")
    clips = inputs / "clips"
    files = ["clips/manifest.csv", "clips/fall/001.png", "clips/fall_motion.pth", "clips/fall_motion.pth",
             "clips/fall_motion.flo", "report.json", "generator.safetensors", "pictures/manifest.csv"]  # fmt: skip
    name = rng.choice(files)
    hostile, seed = inputs / name, seeds / ("motion.flo" if name.endswith(".flo") else name)
    label = f"{name}: {hostile_file(seed, hostile, rng)}"
    if name.startswith("pictures"):
        words = ["evaluate", str(inputs / "pictures"), "--split=train"]
    else:
        words = ["evaluate", str(clips), f"--weights={inputs / 'generator.safetensors'}", f"-o{folder / 'out'}"]
        words += ["--loops", "--frames=4", "--width=64"] * (rng.random() < 0.2)
        if "--loops" in words:
            words.remove(f"--weights={inputs / 'generator.safetensors'}")
    words += [f"--baseline={inputs / 'report.json'}"] * (name == "report.json" and "--loops" not in words)
    # Of a folder without its manifest the weights may be the wrong ones.
    subjects = (hostile.name, str(hostile.parent), "generator.safetensors")
    return Case("evaluation", label, folder, "evaluate", {}, tuple(words), subjects)
