# SPDX-License-Identifier: Apache-2.0
"""The commands that make and measure the predictor: `loopcore train` and `loopcore evaluate`."""

from __future__ import annotations

import argparse
from pathlib import Path

from ._cli_console import DONE, Console, Stop


def train_options(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add("pictures", type=Path, metavar="DIR", help="folder with manifest.csv, pictures and labels")
    add("-o", "--output", type=Path, required=True, metavar="WEIGHTS.safetensors", help="file to write")
    add("--cache", type=Path, metavar="DIR", help="folder for encoded crops, used again by later runs (beside -o)")
    add("--encoder", type=Path, metavar="FILE.pth", help="published EfficientNet-Lite0 weights (those shipped)")
    add("--epochs", type=int, default=6, help="how often each crop is seen (6)")
    add("--seed", type=int, default=1, help="the same seed gives the same weights (1)")
    add("--threads", type=int, default=1, help="processors to use; another number rounds otherwise (1)")
    command.set_defaults(run=_train)


def evaluate_options(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add("folder", type=Path, metavar="DIR", help="folder with manifest.csv, pictures and labels; or of clips")
    add("--split", default="test", help="of the pictures: test, val or train (test)")
    add("--weights", type=Path, metavar="WEIGHTS.safetensors", help="of the pictures: measure these (those shipped)")
    add("-o", "--output", type=Path, metavar="DIR", help="of the clips: write plate, truth and prediction as pictures")
    command.set_defaults(run=_evaluate)


def _train(arguments: argparse.Namespace, stop: Stop) -> int:
    import torch

    from .errors import MotionError
    from .training.train import TrainSettings, train

    if arguments.output.suffix.lower() != ".safetensors":
        raise MotionError(f"'{arguments.output}' is no name for weights: they are written as .safetensors")
    if min(arguments.epochs, arguments.threads) < 1 or arguments.seed < 0:
        raise MotionError("epochs and threads must be 1 or more, the seed 0 or more")
    torch.set_num_threads(arguments.threads)
    cache = arguments.cache or arguments.output.with_name(f"{arguments.output.stem}_crops")
    settings = TrainSettings(seed=arguments.seed, epochs=arguments.epochs)
    with Console("Training") as console:

        def step(what: str, done: int, total: int) -> None:
            stop.give_up_if_asked()
            console.step(done, total)
            if what.startswith("loss"):
                print(f"epoch {done} of {total}: {what}", flush=True)

        train(arguments.pictures, arguments.output, settings, cache=cache, encoder=arguments.encoder, on_progress=step)
    print(f"Saved: '{arguments.output}'")
    return DONE


def _evaluate(arguments: argparse.Namespace, stop: Stop) -> int:
    from .motion.networks import load_weights
    from .training.evaluate import evaluate_pictures
    from .training.measure import evaluate_clips, table, write_comparison

    if (arguments.folder / "manifest.csv").is_file():
        network = None if arguments.weights is None else load_weights(arguments.weights)[0]
        with Console("Pictures") as console:
            report = evaluate_pictures(arguments.folder, arguments.split, network, console.until(stop))
        print("\n".join(report.lines()))
        return DONE
    rows = []
    for clip, predicted, measured in evaluate_clips(arguments.folder):
        stop.give_up_if_asked()
        rows += measured
        if arguments.output is not None:
            write_comparison(clip, predicted, arguments.output / f"{clip.name}.png")
    print("\n".join(table(rows)))
    return DONE
