# SPDX-License-Identifier: Apache-2.0
"""`loopcore train` and `loopcore evaluate`."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from loopcore.cli.console import DONE, Console, Stop, given_path
from loopcore.errors import Cancelled, EngineError

if TYPE_CHECKING:
    from loopcore.training.config import FieldConfig, FluidConfig

# Options of `loopcore train` that replace entries of the settings with the same names.
_OVERRIDES = ("encoder", "weights", "steps", "seed", "threads", "flow", "flow_weights", "second_flow",
              "second_flow_weights")  # fmt: skip


def train_options(command: argparse.ArgumentParser) -> None:
    """Adds the options of `loopcore train`."""
    add = command.add_argument
    add("source", type=given_path, metavar="CONFIG_OR_DIR", help="settings (.toml); a folder with manifest.csv that "
        "lists pictures and labels, or clips; or a folder of videos")  # fmt: skip
    add("-o", "--output", type=given_path, required=True, metavar="OUT", help="manifest.csv: WEIGHTS.safetensors to "
        "write; videos: the run's folder; a run in it is continued")  # fmt: skip
    add("--cache", type=given_path, metavar="DIR", help="folder for prepared clips, reused by later runs")
    add("--encoder", type=given_path, metavar="FILE.pth", help="manifest.csv: published EfficientNet-Lite0 or Lite2 "
        "weights (the shipped ones)")  # fmt: skip
    add("--weights", type=given_path, metavar="WEIGHTS.safetensors", help="manifest.csv: continue training these")
    add("--steps", type=int, help="of the optimiser (manifest.csv 1800, videos 60000)")
    add("--flow", metavar="NAME", help="clips: estimator of optical flow: dis, farneback, torchvision:raft_small or "
        "raft_large, ptlflow:MODEL (dis)")  # fmt: skip
    add("--flow-weights", metavar="FILE", help="clips: its weights; 'fetch' downloads those that its library "
        "publishes (otherwise nothing is downloaded)")  # fmt: skip
    add("--second-flow", metavar="NAME", help="clips: a second estimator that has to agree (farneback; videos none)")
    add("--second-flow-weights", metavar="FILE", help="clips: its weights, or 'fetch'")
    add("--seed", type=int, help="the same seed gives the same weights (1)")
    add("--threads", type=int, help="processors to use; their number affects rounding (manifest.csv 1, videos all)")
    command.set_defaults(run=_train)


def evaluate_options(command: argparse.ArgumentParser) -> None:
    """Adds the options of `loopcore evaluate`."""
    add = command.add_argument
    add("folder", type=given_path, metavar="DIR", help="folder with manifest.csv, pictures and labels; or folder of "
        "clips, with or without a manifest.csv; or of stills, with --peers")  # fmt: skip
    add("--split", help="what a manifest.csv lists: test, val, train, or of clips all (pictures test, clips val)")
    add("--kinds", metavar="KIND,...", help="clips with a manifest.csv: only these kinds")
    add("--weights", type=given_path, metavar="WEIGHTS.safetensors", help="weights to measure (the shipped ones)")
    add("-o", "--output", type=given_path, metavar="DIR", help="clips: write report.txt, report.json, calibration.png, "
        "and a picture of each clip; loops: write loops.txt, .csv, .json, and pictures; peers: peers.txt, .json, "
        "and pictures")  # fmt: skip
    add("--json", action="store_true", help="clips, loops and peers: print JSON instead of a table")
    add("--baseline", type=given_path, metavar="report.json", help="clips: compare with this report of an earlier run")
    add("--peers", type=given_path, metavar="DIR", help="compare with another program's motion NAME.npy of stills NAME")
    add("--loops", action="store_true", help="measure loops made from a frame of each clip against the clip")
    add("--variant", action="append", metavar="NAME=KEY:VALUE,...", help="loops: arguments of Loop, to compare "
        "variants; may be given several times (loop=)")  # fmt: skip
    add("--frames", type=int, help="loops: number of frames (60)")
    add("--width", type=int, metavar="PX", help="loops: longer side of the clips' frames, at most (640)")
    command.set_defaults(run=_evaluate)


def _train(arguments: argparse.Namespace, stop: Stop) -> int:
    from loopcore.training.config import FluidConfig

    config = _config(arguments)
    if isinstance(config, FluidConfig):
        return _train_fluid(config, arguments, stop)
    return _train_field(config, arguments, stop)


def _config(arguments: argparse.Namespace) -> FieldConfig | FluidConfig:
    """Returns the settings of a file, or defaults for a folder; command-line options override both."""
    from dataclasses import fields, replace

    from loopcore.errors import MotionError
    from loopcore.training.config import DataSettings, FieldConfig, FluidConfig, checked, checked_fluid, read_config
    from loopcore.training.manifest import lists_pictures

    source = arguments.source
    config: FieldConfig | FluidConfig
    if source.suffix.lower() == ".toml":
        config = read_config(source)
    elif (source / "manifest.csv").is_file():
        config = FluidConfig(pictures=source) if lists_pictures(source) else FluidConfig(footage=source)
    else:
        config = FieldConfig(DataSettings(clips=source))
    given = {name: getattr(arguments, name) for name in _OVERRIDES if getattr(arguments, name) is not None}
    targets = (config,) if isinstance(config, FluidConfig) else (config.run, config.data)
    for name in given:
        if not any(name in {field.name for field in fields(target)} for target in targets):
            raise MotionError(f"--{name.replace('_', '-')} has no meaning for training on videos")
        if isinstance(config, FluidConfig) and config.footage is None and "flow" in name:
            raise MotionError(f"--{name.replace('_', '-')} has no meaning for training on pictures alone")
    if isinstance(config, FluidConfig):
        return checked_fluid(replace(config, cache=arguments.cache or config.cache, **given))
    flow = {name: given.pop(name) for name in list(given) if "flow" in name}
    return checked(replace(config, run=replace(config.run, **given), data=replace(config.data, **flow)))


def _train_fluid(config: FluidConfig, arguments: argparse.Namespace, stop: Stop) -> int:
    import torch

    from loopcore.errors import MotionError
    from loopcore.files.atomic import make_folder
    from loopcore.files.overwrite import refuse_overwriting
    from loopcore.training.train_fluid import train_fluid

    if arguments.output.suffix.lower() != ".safetensors":
        raise MotionError(f"'{arguments.output}' is not a name for weights: they are written as .safetensors")
    refuse_overwriting([config.weights, config.encoder], [arguments.output])
    make_folder(arguments.output.parent)  # an error after training would lose the weights
    torch.set_num_threads(config.threads)
    with Console("Training") as console:

        def step(what: str, done: int, total: int) -> None:
            stop.raise_if_requested()
            console.step(done, total)
            if what not in ("prepare", "teach", "train"):
                print(f"step {done} of {total}: {what}", flush=True)

        train_fluid(config, arguments.output, step)
    print(f"Saved: '{arguments.output}'")
    return DONE


def _train_field(config: FieldConfig, arguments: argparse.Namespace, stop: Stop) -> int:
    from loopcore.training.train_generator import Callbacks, train_generator

    with Console("Training") as console:

        def progress(what: str, done: int, total: int) -> None:
            if what == "prepare":  # prepared clips are kept, so stopping loses nothing
                stop.raise_if_requested()
            console.step(done, total)

        callbacks = Callbacks(progress, lambda line: print(line, flush=True), stop.requested)
        try:
            result = train_generator(config, arguments.output, arguments.cache, callbacks)
        except EngineError as error:  # of the settings' device or precision
            raise EngineError(f"{arguments.source}: {error}") from None
    print(f"Saved: '{result.weights}'")
    if result.stopped:
        print(f"Stopped after step {result.step}: the same command continues from there")
        raise Cancelled
    return DONE


# What is evaluated, by the options that have a meaning for it alone.
_ONLY_FOR = {
    "split": ("pictures", "clips", "loops"),
    "kinds": ("clips", "loops"),
    "weights": ("pictures", "clips", "peers"),
    "baseline": ("clips",),
    "peers": ("peers",),
    "variant": ("loops",),
    "frames": ("loops",),
    "width": ("loops",),
}


def _evaluate(arguments: argparse.Namespace, stop: Stop) -> int:
    from loopcore.errors import MotionError

    what = _evaluated(arguments)
    for name, meant in _ONLY_FOR.items():
        if getattr(arguments, name) is not None and what not in meant:
            raise MotionError(f"--{name} has no meaning for {what}, only for {', '.join(meant)}")
    evaluations = {
        "pictures": _evaluate_pictures, "clips": _evaluate_clips, "loops": _evaluate_loops, "peers": _evaluate_peers
    }  # fmt: skip
    return evaluations[what](arguments, stop)


def _evaluated(arguments: argparse.Namespace) -> str:
    """Returns what the options and the folder ask to evaluate: pictures, clips, loops, or peers."""
    from loopcore.training.manifest import lists_pictures

    if arguments.loops:
        return "loops"
    if arguments.peers is not None:
        return "peers"
    return "pictures" if lists_pictures(arguments.folder) else "clips"


def _kinds(arguments: argparse.Namespace) -> tuple[str, ...]:
    return tuple(kind.strip() for kind in (arguments.kinds or "").split(",") if kind.strip())


def _evaluate_pictures(arguments: argparse.Namespace, stop: Stop) -> int:
    from loopcore.motion.networks import load_weights
    from loopcore.training.evaluate_segmentation import evaluate_segmentation

    network = None if arguments.weights is None else load_weights(arguments.weights)[0]
    with Console("Pictures") as console:
        report = evaluate_segmentation(arguments.folder, arguments.split or "test", network, console.callback(stop))
    print("\n".join(report.lines()))
    return DONE


def _evaluate_clips(arguments: argparse.Namespace, stop: Stop) -> int:
    from loopcore.files.overwrite import refuse_overwriting
    from loopcore.training.evaluate_motion import evaluate_motion
    from loopcore.training.report import as_json, read_baseline, table, with_baseline, write_report
    from loopcore.training.run_log import write_sheet

    folder, weights, output = arguments.folder, arguments.weights, arguments.output
    refuse_overwriting([arguments.baseline], [] if output is None else [output / "report.json"])
    before = {} if arguments.baseline is None else read_baseline(arguments.baseline)
    found = []
    with Console("Clips", quiet=arguments.json) as console:
        progress = console.callback(stop)
        for measured, sheet in evaluate_motion(folder, weights, arguments.split, _kinds(arguments), progress):
            found.append(with_baseline(measured, before))
            if output is not None:
                write_sheet(sheet, output / f"{measured.name}.png")
    if output is not None:
        write_report(found, output)
    print(json.dumps(as_json(found), indent=2) if arguments.json else "\n".join(table(found)))
    return DONE


def _evaluate_peers(arguments: argparse.Namespace, stop: Stop) -> int:
    from loopcore.training.peer import evaluate_peers, peer_json, peer_table
    from loopcore.training.report import write_texts
    from loopcore.training.run_log import write_sheet

    found, remarks, output = {}, {}, arguments.output
    with Console("Stills", quiet=arguments.json) as console:
        progress = console.callback(stop)
        compared = evaluate_peers(arguments.folder, arguments.peers, arguments.weights, progress)
        for name, row, remark, sheet in compared:
            if row is None:
                remarks[name] = remark
                continue
            found[name] = row
            if output is not None:
                write_sheet(sheet, output / f"{name}.png")
    lines, facts = "\n".join(peer_table(found, remarks)), json.dumps(peer_json(found, remarks), indent=2)
    if output is not None:
        write_texts({"peers.txt": lines + "\n", "peers.json": facts + "\n"}, output)
    print(facts if arguments.json else lines)
    return DONE


def _evaluate_loops(arguments: argparse.Namespace, stop: Stop) -> int:
    from loopcore.training.evaluate_loops import LoopSettings, evaluate_loops
    from loopcore.training.loop_report import as_json, table, write_report
    from loopcore.training.loop_variants import parse_variants
    from loopcore.training.run_log import write_sheet

    given = {"frames": arguments.frames, "long_side": arguments.width}
    settings = LoopSettings(
        variants=parse_variants(arguments.variant or []),
        split=arguments.split,
        kinds=_kinds(arguments),
        **{name: value for name, value in given.items() if value is not None},
    )
    found = []
    with Console("Loops", quiet=arguments.json) as console:
        for measured, sheet in evaluate_loops(arguments.folder, settings, console.callback(stop)):
            found.append(measured)
            if arguments.output is not None:
                write_sheet(sheet, arguments.output / f"{measured.name}.png")
    if arguments.output is not None:
        write_report(found, settings, arguments.output)
    print(json.dumps(as_json(found, settings), indent=2) if arguments.json else "\n".join(table(found)))
    return DONE
