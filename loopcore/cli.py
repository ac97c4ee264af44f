# SPDX-License-Identifier: Apache-2.0
"""The command line: `loopcore animate`, `predict`, `flow`, `check`, `preview`, `info`, `worker`,
`train`, `evaluate`.

Exit codes: 0 done, 1 some frames failed or a check did not pass, 2 usage or bad input, 130 and 143 interrupted.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from . import __version__
from .errors import LoopcoreError

if TYPE_CHECKING:
    from .loop import Loop
    from .motion.field import MotionField
    from .plate import Plate

DONE, FAILED, USAGE = 0, 1, 2
# The settings of animate's sheet of frames and of its film.
FILM_CYCLES = 3


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    from ._cli_console import Interrupted, Stop

    arguments = _parser().parse_args(argv)
    if hasattr(sys.stdout, "reconfigure"):
        # A file name that the terminal's encoding does not have is no reason to stop.
        sys.stdout.reconfigure(errors="backslashreplace")
    with Stop() as stop:
        try:
            code = int(arguments.run(arguments, stop))
            if sys.stdout is not None:
                sys.stdout.flush()
            return code
        except LoopcoreError as error:
            print(f"loopcore: error: {error}", file=sys.stderr)
            return USAGE
        except MemoryError:
            print("loopcore: error: not enough memory for a plate of this size: use a smaller one", file=sys.stderr)
            return FAILED
        except BrokenPipeError:
            # Whoever read our output has gone: nothing is left to say, and Python must not say it at exit either.
            sys.stdout = None
            return FAILED
        except OSError as error:
            sys.stdout = None
            print(f"loopcore: error: cannot go on: {error}", file=sys.stderr)
            return FAILED
        except (KeyboardInterrupt, Interrupted):
            print("loopcore: interrupted", file=sys.stderr)
            return stop.exit_code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="loopcore", description="One still plate and its motion in, a seamlessly looping animated plate out."
    )
    parser.add_argument("--version", action="version", version=f"loopcore {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _animate_options(commands.add_parser("animate", help="make the loop: a plate and its motion to frames"))
    _predict_options(commands.add_parser("predict", help="make a motion field from a plate, and from hints"))
    _flow_options(commands.add_parser("flow", help="flow maps for Nuke, Blender, Fusion and others, and back"))
    _check_options(commands.add_parser("check", help="measure a finished loop; exit code 1 if it fails"))
    _preview_options(commands.add_parser("preview", help="a film or a contact sheet of finished frames"))
    _info_options(commands.add_parser("info", help="what is installed, and which device would be used"))
    _train_options(commands.add_parser("train", help="train the predictor on pictures with a class for each pixel"))
    _evaluate_options(commands.add_parser("evaluate", help="measure the predictor on such pictures, or on clips"))
    worker = commands.add_parser("worker", help="JSON-RPC on stdin and stdout, for other programs such as Blender")
    worker.set_defaults(run=_worker)
    return parser


def _plate_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("plate", type=Path, help="the still: EXR, PNG, JPEG, WebP, ...")
    command.add_argument("--layer", help="layer, part or view of a multi-layer EXR")
    command.add_argument("--colorspace", help="how the plate's values are encoded, e.g. srgb_rec709_scene")
    command.add_argument("--hints", type=Path, help="strokes, anchors and mask: own JSON or LabelMe's")
    command.add_argument("--mask", type=Path, help="picture of where things may move, instead of the hints' mask")


def _animate_options(command: argparse.ArgumentParser) -> None:
    _plate_options(command)
    add = command.add_argument
    add("-o", "--output", type=Path, required=True, metavar="DIR", help="folder for the frames")
    add("--frames", type=int, default=60, help="length of the loop (60)")
    add("--fps", default="24", help="frames per second, e.g. 24, 23.976 or 30000/1001 (24)")
    add("--first", type=int, default=1001, help="number of the first frame (1001)")
    add("--method", choices=("warp", "splat"), default="warp", help="how pixels are carried (warp)")
    _motion_options(command)
    add("--speed", type=float, default=1.0, help="factor on the motion (1.0)")
    add("--contrast", type=float, default=1.0, help="how much of the detail lost to blending is restored, 0 to 1 (1)")
    add("--format", choices=("exr", "png"), default="exr", help="kind of file (exr)")
    add("--depth", choices=("half", "float", "8", "16"), help="EXR: half or float; PNG: 8 or 16 bits (half, 8)")
    add("--range", metavar="FRAMES", help="only these frames, e.g. 1001-1024 or 1001-1060x2")
    add("--device", choices=("auto", "cpu", "cuda"), default="auto", help="where to compute (auto)")
    add("--overwrite", action="store_true", help="make frames again that are up to date")
    add("--preview", action="store_true", help="also write an mp4, three times round, and a contact sheet")
    command.set_defaults(run=_animate)


def _predict_options(command: argparse.ArgumentParser) -> None:
    _plate_options(command)
    command.add_argument("-o", "--output", type=Path, required=True, metavar="MOTION.exr", help="file to write")
    _motion_options(command)
    command.add_argument("--picture", type=Path, help="also draw the motion over the plate, as PNG")
    command.set_defaults(run=_predict)


def _check_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("folder", type=Path, metavar="DIR", help="folder that `loopcore animate` wrote")
    command.add_argument("--plate", type=Path, help="where the still is now, if it was moved")
    command.add_argument("--json", action="store_true", help="print JSON instead of a table")
    command.set_defaults(run=_check)


def _preview_options(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add("folder", type=Path, metavar="DIR", help="folder of frames, or their pattern (loop.####.exr)")
    add("-o", "--output", type=Path, required=True, help="film (.mp4) or contact sheet (.png)")
    add("--fps", default="24", help="frames per second (24)")
    add("--cycles", type=int, default=FILM_CYCLES, help="how many times round (3)")
    add("--width", type=int, default=1920, help="at most this wide (1920)")
    command.set_defaults(run=_preview)


def _info_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--json", action="store_true", help="print JSON instead of a table")
    command.set_defaults(run=_info)


def _train_options(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add("pictures", type=Path, metavar="DIR", help="folder with manifest.csv, pictures and labels")
    add("-o", "--output", type=Path, required=True, metavar="WEIGHTS.safetensors", help="file to write")
    add("--cache", type=Path, metavar="DIR", help="folder for encoded crops, used again by later runs (beside -o)")
    add("--encoder", type=Path, metavar="FILE.pth", help="published EfficientNet-Lite0 weights (those shipped)")
    add("--epochs", type=int, default=6, help="how often each crop is seen (6)")
    add("--seed", type=int, default=1, help="the same seed gives the same weights (1)")
    add("--threads", type=int, default=1, help="processors to use; another number rounds otherwise (1)")
    command.set_defaults(run=_train)


def _evaluate_options(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add("folder", type=Path, metavar="DIR", help="folder with manifest.csv, pictures and labels; or of clips")
    add("--split", default="test", help="of the pictures: test, val or train (test)")
    add("--weights", type=Path, metavar="WEIGHTS.safetensors", help="of the pictures: measure these (those shipped)")
    add("-o", "--output", type=Path, metavar="DIR", help="of the clips: write plate, truth and prediction as pictures")
    command.set_defaults(run=_evaluate)


def _motion_options(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add("--motion", type=Path, help="motion field, or a flow map of any convention that `loopcore flow` knows")
    add("--convention", help="the convention of --motion, where it cannot be found out")
    add("--rescale", action="store_true", help="bring a --motion of another size to the plate's")


def _flow_options(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add("motion", type=Path, help="motion field, or a flow map of any convention")
    add("-o", "--output", type=Path, required=True, metavar="DIR", help="folder for the files")
    add("--convention", default="motion", help="what to write: motion, nuke, blender, fusion, rsmb, game: one file; "
        "stmap, displace, idistort: one a frame (motion)")  # fmt: skip
    add("--from", dest="source", metavar="NAME", help="the convention to read, where it cannot be found out: any of "
        "those, or flo, kitti")  # fmt: skip
    add("--name", help="how the files' names begin (that of the motion)")
    add("--frames", type=int, default=60, help="length of the loop (60)")
    add("--first", type=int, default=1001, help="number of the first frame (1001)")
    add("--range", metavar="FRAMES", help="only these frames, e.g. 1001-1024 or 1001-1060x2")
    add("--with", dest="extras", action="append", default=[], metavar="EXTRA",
        help="also write per frame: displacement, holes, weight; may be given several times")  # fmt: skip
    add("--speed", type=float, default=1.0, help="factor on the motion (1.0)")
    add("--max-displace", type=float, metavar="PX", help="rsmb: its Max Displace (the least that fits)")
    add("--bits", type=int, choices=(8, 16), default=16, help="game: bits a colour (16)")
    add("--green", choices=("up", "down"), help="game: where green points (up)")
    add("--strength", type=float, help="game: texture units a frame at full colour (the least that fits)")
    command.set_defaults(run=_flow)


def _read_plate(arguments: argparse.Namespace) -> Plate:
    from .plate import read_plate

    return read_plate(arguments.plate, layer=arguments.layer, colorspace=arguments.colorspace)


def _motion_of(plate: Plate, arguments: argparse.Namespace) -> MotionField:
    """The motion given, or made from hints; a mask given takes the place of either's own."""
    from dataclasses import replace

    from .errors import MotionError
    from .motion.hints import read_hints, read_mask
    from .motion.predict import predict_motion

    mask = None if arguments.mask is None else read_mask(arguments.mask, plate.height, plate.width)
    given = getattr(arguments, "motion", None)
    if given is None:
        hints = None if arguments.hints is None else read_hints(arguments.hints)
        return predict_motion(plate, hints, mask)
    if arguments.hints is not None:
        raise MotionError("--motion and --hints were both given: a motion field needs no hints, leave one out")
    from .flowmap import read_motion_any

    size = (plate.height, plate.width)
    motion = read_motion_any(given, arguments.convention, size=size, rescale=arguments.rescale)
    return motion if mask is None else replace(motion, mask=mask)


def _scaled(motion: MotionField, arguments: argparse.Namespace) -> MotionField:
    from .errors import MotionError

    if arguments.speed == 0:
        raise MotionError("speed 0 stops everything: give another factor on the motion")
    ours = arguments.output / "motion.exr"
    if arguments.motion is not None and ours.exists() and ours.samefile(arguments.motion):
        raise MotionError(
            f"'{ours}' would be replaced by itself at another speed, and again each time: keep it in another folder"
        )
    return motion.scaled(arguments.speed)


def _animate(arguments: argparse.Namespace, stop: object) -> int:
    from concurrent.futures import ThreadPoolExecutor

    from ._cli_console import Console, Stop
    from .bake import bake
    from .loop import Loop, load_kernels
    from .preview import frame_rate
    from .sequence import format_range, parse_range

    assert isinstance(stop, Stop)
    fps = frame_rate(arguments.fps)
    numbers = None if arguments.range is None else parse_range(arguments.range)
    with ThreadPoolExecutor(1) as beside:
        # Half a second of the first frame's wait. What goes wrong there goes wrong below, too, and is told there.
        beside.submit(load_kernels)
        plate = _read_plate(arguments)
        motion = _motion_of(plate, arguments)
    if arguments.speed != 1.0:
        motion = _scaled(motion, arguments)
    stop.give_up_if_asked()
    loop = Loop(plate, motion, arguments.frames, arguments.method, arguments.contrast, arguments.device)
    name = f"{arguments.plate.stem}_loop"
    notes = {"layer": arguments.layer, "colorspace": arguments.colorspace, "speed": arguments.speed}
    with Console("Frames") as console:
        report = bake(
            loop, arguments.output, name, first=arguments.first, fps=fps, numbers=numbers, format=arguments.format,
            depth=arguments.depth, overwrite=arguments.overwrite, notes=notes,
            on_progress=lambda p: console.step(p.done, p.total, p.path), cancelled=stop.asked,
        )  # fmt: skip
    for reason in dict.fromkeys(report.failed[number] for number in sorted(report.failed)):
        frames = format_range(number for number in report.failed if report.failed[number] == reason)
        print(f"loopcore: error: frame {frames}: {reason}", file=sys.stderr)
    if report.cancelled:
        stop.give_up()
    print(f"{len(report.written)} frames written, {len(report.skipped)} up to date, {len(report.failed)} failed")
    if report.failed:
        return FAILED
    return _animate_previews(arguments, name, loop, stop) if arguments.preview else DONE


def _animate_previews(arguments: argparse.Namespace, name: str, loop: Loop, stop: object) -> int:
    from ._cli_console import Console, Stop
    from .color import display_image
    from .preview import arrow_picture, preview_sequence, write_picture
    from .sequence import FramePattern

    assert isinstance(stop, Stop)
    pattern = FramePattern(arguments.output, f"{name}.", f".{arguments.format}")
    # Not all that is there: a longer loop may have been baked here before.
    frames = [pattern.path(arguments.first + time) for time in range(loop.frames)]
    missing = sum(not path.is_file() for path in frames)
    if missing:
        print(f"No preview yet: {missing} of the loop's {loop.frames} frames are not there")
        return DONE
    film = arguments.output / f"{name}.mp4"
    with Console("Film") as console:

        def step(done: int, total: int) -> None:
            stop.give_up_if_asked()
            console.step(done, total, None)

        preview_sequence(frames, film, arguments.fps, FILM_CYCLES, on_progress=step)
    sheet, picture = arguments.output / f"{name}_sheet.png", arguments.output / f"{name}_motion.png"
    preview_sequence(frames, sheet, arguments.fps, on_progress=lambda *_: stop.give_up_if_asked())
    write_picture(arrow_picture(display_image(loop.plate), loop.motion), picture)
    for path in (film, sheet, picture):
        print(f"Saved: '{path}'")
    return DONE


def _predict(arguments: argparse.Namespace, stop: object) -> int:
    from ._cli_console import Stop
    from .color import display_image
    from .errors import MotionError
    from .preview import arrow_picture, write_picture

    assert isinstance(stop, Stop)
    if arguments.output.suffix.lower() != ".exr":
        raise MotionError(f"'{arguments.output}' is no EXR name: a motion field is written as .exr")
    plate = _read_plate(arguments)
    motion = _motion_of(plate, arguments)
    stop.give_up_if_asked()
    motion.save(arguments.output)
    print(f"Saved: '{arguments.output}'")
    if arguments.picture is not None:
        write_picture(arrow_picture(display_image(plate), motion), arguments.picture)
        print(f"Saved: '{arguments.picture}'")
    return DONE


def _flow(arguments: argparse.Namespace, stop: object) -> int:
    from ._cli_console import Console, Stop
    from .flowmap import Numbers, Settings, export_flow, read_motion_any
    from .sequence import parse_range

    assert isinstance(stop, Stop)
    known = Numbers(arguments.max_displace, arguments.strength, arguments.green)
    motion = read_motion_any(arguments.motion, arguments.source, numbers=known)
    if arguments.speed != 1.0:
        motion = motion.scaled(arguments.speed)
    settings = Settings(
        frames=arguments.frames, first=arguments.first, extras=tuple(arguments.extras), bits=arguments.bits,
        numbers=None if arguments.range is None else parse_range(arguments.range), green=arguments.green or "up",
        strength=arguments.strength, max_displace=arguments.max_displace,
    )  # fmt: skip
    with Console("Flow maps") as console:
        written = export_flow(
            motion, arguments.output, arguments.convention, name=arguments.name or arguments.motion.stem.split(".")[0],
            settings=settings, on_progress=console.step, cancelled=stop.asked,
        )  # fmt: skip
    stop.give_up_if_asked()
    print(f"{len(written)} files written")
    return DONE


def _check(arguments: argparse.Namespace, stop: object) -> int:
    from ._cli_console import Console, Stop, print_report
    from .quality import check

    assert isinstance(stop, Stop)
    with Console("Check", quiet=arguments.json) as console:

        def step(done: int, total: int) -> None:
            stop.give_up_if_asked()
            console.step(done, total, None)

        report = check(arguments.folder, plate=arguments.plate, on_progress=step)
    if arguments.json:
        print(json.dumps(report.to_dict(), indent=2))
    else:
        print_report(report)
    return DONE if report.passed else FAILED


def _preview(arguments: argparse.Namespace, stop: object) -> int:
    from ._cli_console import Console, Stop
    from .preview import preview_sequence

    assert isinstance(stop, Stop)
    with Console("Preview") as console:

        def step(done: int, total: int) -> None:
            stop.give_up_if_asked()
            console.step(done, total, None)

        preview_sequence(
            arguments.folder, arguments.output, arguments.fps, arguments.cycles, arguments.width, on_progress=step
        )
    print(f"Saved: '{arguments.output}'")
    return DONE


def _info(arguments: argparse.Namespace, stop: object) -> int:
    from ._cli_console import installed

    facts = installed()
    if arguments.json:
        print(json.dumps(facts, indent=2))
    else:
        for name, value in facts.items():
            print(f"{name:<14}{value}")
    return DONE


def _train(arguments: argparse.Namespace, stop: object) -> int:
    import torch

    from ._cli_console import Console, Stop
    from .errors import MotionError
    from .training.train import TrainSettings, train

    assert isinstance(stop, Stop)
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
            console.step(done, total, None)
            if what.startswith("loss"):
                print(f"epoch {done} of {total}: {what}", flush=True)

        train(
            arguments.pictures, arguments.output, settings, cache=cache, encoder=arguments.encoder, on_progress=step
        )
    print(f"Saved: '{arguments.output}'")
    return DONE


def _evaluate(arguments: argparse.Namespace, stop: object) -> int:
    from ._cli_console import Console, Stop
    from .motion.networks import load_weights
    from .training.evaluate import evaluate_pictures
    from .training.measure import evaluate_clips, table, write_comparison

    assert isinstance(stop, Stop)
    if (arguments.folder / "manifest.csv").is_file():
        network = None if arguments.weights is None else load_weights(arguments.weights)[0]
        with Console("Pictures") as console:

            def step(done: int, total: int) -> None:
                stop.give_up_if_asked()
                console.step(done, total, None)

            report = evaluate_pictures(arguments.folder, arguments.split, network, step)
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


def _worker(arguments: argparse.Namespace, stop: object) -> int:
    from .worker import serve

    return serve()


if __name__ == "__main__":
    sys.exit(main())
