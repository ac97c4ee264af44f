# SPDX-License-Identifier: Apache-2.0
"""The command line: `loopcore animate`, `batch`, `predict`, `flow`, `check`, `preview`, `farm`, `info`,
`worker`, `daemon`, `train`, `evaluate`.

Exit codes: 0 done, 1 some frames failed or a check did not pass, 2 usage or bad input, 130 and 143 interrupted.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from collections.abc import Sequence
from typing import NoReturn

from loopcore import __version__
from loopcore.animate import FILM_CYCLES, Preparation
from loopcore.cli.animate import animate_options, cycle_options, predict_options
from loopcore.cli.batch import batch_options
from loopcore.cli.console import (
    DONE,
    FAILED,
    USAGE,
    Console,
    Stop,
    given_path,
    print_error,
    print_report,
    warnings_in_lines,
)
from loopcore.cli.farm import farm_options
from loopcore.cli.info import info_options
from loopcore.cli.training import evaluate_options, train_options
from loopcore.errors import Cancelled, LoopcoreError, MotionError
from loopcore.farm import daemon_client, messages


def main(argv: Sequence[str] | None = None, preparing: Preparation | None = None) -> int:
    """Runs one command.

    Args:
        argv: the arguments; None takes those of the process.
        preparing: prepares the loops of `animate`; see `loopcore.animate.run`.

    Returns:
        The exit code; see the module.
    """
    arguments = _parsed(sys.argv[1:] if argv is None else argv)
    arguments.preparing = preparing
    if hasattr(sys.stdout, "reconfigure"):
        # File names may contain characters that the terminal's encoding lacks.
        sys.stdout.reconfigure(errors="backslashreplace")
    with Stop() as stop, warnings_in_lines():
        try:
            code = int(arguments.run(arguments, stop))
            if sys.stdout is not None:
                sys.stdout.flush()
            return code
        except LoopcoreError as error:
            print_error(str(error))
            return USAGE
        except MemoryError:
            print_error("not enough memory for a plate of this size: use a smaller one")
            return FAILED
        except BrokenPipeError:
            # The reader of the output is gone. Without a stdout, Python does not flush it again at exit.
            sys.stdout = None
            return FAILED
        except OSError as error:
            sys.stdout = None
            print_error(f"cannot continue: {error}")
            return FAILED
        except (KeyboardInterrupt, Cancelled):
            print("loopcore: interrupted", file=sys.stderr)
            messages.fail("interrupted")
            return stop.exit_code


def _parsed(argv: Sequence[str]) -> argparse.Namespace:
    """Returns the arguments. Refuses `--` as a value, of which argparse makes an empty list before Python 3.13."""
    parser = _parser()
    for text in argv:
        if re.fullmatch(r"(--[\w-]+=|-\w=?)--", text):
            parser.error(f"argument {text[:-2].rstrip('=')}: '--' is not a value")
    return parser.parse_args(argv)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        messages.fail(message)
        super().error(message)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="loopcore", description="Turns a still plate and its motion into a seamlessly looping animated plate."
    )
    parser.add_argument("--version", action="version", version=f"loopcore {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    animate_options(commands.add_parser("animate", help="make a loop: frames from a plate and its motion"))
    batch_options(commands.add_parser("batch", help="make many loops one after another: of a CSV, JSON, or folder"))
    predict_options(commands.add_parser("predict", help="make a motion field from a plate and optional hints"))
    _flow_options(
        commands.add_parser("flow", help="convert motion to and from flow maps for Nuke, Blender, Fusion and others")
    )
    _check_options(commands.add_parser("check", help="measure a finished loop; exit code 1 if it fails"))
    _preview_options(commands.add_parser("preview", help="make a film or a contact sheet of finished frames"))
    farm_options(commands.add_parser("farm", help="write a job for a render farm"))
    info_options(commands.add_parser("info", help="show what is installed, or what a still holds"))
    train_options(commands.add_parser("train", help="train a network on labelled pictures or on videos"))
    evaluate_options(commands.add_parser("evaluate", help="measure a network, or loops, on such pictures or clips"))
    worker = commands.add_parser("worker", help="JSON-RPC on stdin and stdout, for other programs such as Blender")
    worker.set_defaults(run=_worker)
    daemon = commands.add_parser("daemon", help="end the process that LOOPCORE_DAEMON keeps for the next chunk")
    daemon.add_argument("action", choices=("stop",))
    daemon.set_defaults(run=_stop_daemon)
    return parser


def _flow_options(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add("motion", type=given_path, help="motion field or flow map of any convention")
    add("-o", "--output", type=given_path, required=True, metavar="DIR", help="folder for the files")
    add("--convention", default="motion", help="what to write: motion, nuke, blender, fusion, rsmb, game: one file; "
        "stmap, displace, idistort: one per frame (motion)")  # fmt: skip
    add("--from", dest="source", metavar="NAME", help="the convention to read, where it cannot be detected: any of "
        "those, or flo, kitti")  # fmt: skip
    add("--name", help="start of the files' names (that of the motion)")
    add("--frames", type=int, default=60, help="length of the loop (60)")
    add("--first", type=int, default=1001, help="number of the first frame (1001)")
    add("--range", metavar="FRAMES", help="only these frames, e.g. 1001-1024 or 1001-1060x2")
    cycle_options(command)
    add("--plate", type=given_path, help="the still, for maps of a loop of several cycles or with steady looks")
    add("--layer", help="layer, part or view of a multi-layer plate")
    add("--colorspace", help="colour space of the plate, e.g. srgb_rec709_scene")
    add("--with", dest="extras", action="append", default=[], metavar="EXTRA",
        help="also write per frame: displacement, holes or weight; may be repeated")  # fmt: skip
    add("--speed", type=float, default=1.0, help="factor on the motion (1.0)")
    add("--max-displace", type=float, metavar="PX", help="rsmb: Max Displace (the smallest that holds the motion)")
    add("--bits", type=int, choices=(8, 16), help="game: bits per channel (16)")
    add("--green", choices=("up", "down"), help="game: direction of green (up)")
    add(
        "--strength",
        type=float,
        help="game: texture units per frame at full colour (the smallest that holds the motion)",
    )
    command.set_defaults(run=_flow)


def _check_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("folder", type=given_path, metavar="DIR", help="folder that `loopcore animate` wrote")
    command.add_argument("--plate", type=given_path, help="where the still is now, if it was moved")
    command.add_argument("--json", action="store_true", help="print JSON instead of a table")
    command.add_argument("--html", type=given_path, metavar="REPORT.html", help="also write a page with the film, the "
        "checks, curves and pictures of the worst frames")  # fmt: skip
    command.set_defaults(run=_check)


def _preview_options(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add("folder", type=given_path, metavar="DIR", help="folder of frames, or their pattern (loop.####.exr)")
    add("-o", "--output", type=given_path, required=True, help="film (.mp4) or contact sheet (.png)")
    add("--fps", default="24", help="frames per second (24)")
    add("--cycles", type=int, default=FILM_CYCLES, help="repetitions of the loop (3)")
    add("--width", type=int, default=1920, help="maximum width in pixels (1920)")
    command.set_defaults(run=_preview)


def _flow(arguments: argparse.Namespace, stop: Stop) -> int:
    from loopcore.files.ranges import parse_range
    from loopcore.flowmap import FlowNumbers, FlowSettings, export_flow, read_motion
    from loopcore.flowmap.reading import companions
    from loopcore.plate import read_plate

    _refuse_ignored(arguments)
    known = FlowNumbers(arguments.max_displace, arguments.strength, arguments.green)
    motion = read_motion(arguments.motion, arguments.source, numbers=known)
    if arguments.speed != 1.0:
        motion = motion.scaled(arguments.speed)
    settings = FlowSettings(
        frames=arguments.frames, first=arguments.first, extras=tuple(arguments.extras), bits=arguments.bits or 16,
        numbers=None if arguments.range is None else parse_range(arguments.range), green=arguments.green or "up",
        strength=arguments.strength, max_displace=arguments.max_displace, cycles=arguments.cycles,
        steady=arguments.steady,
    )  # fmt: skip
    plate = None
    if arguments.plate is not None:
        plate = read_plate(arguments.plate, layer=arguments.layer, colorspace=arguments.colorspace)
    with Console("Flow maps") as console:
        written = export_flow(
            motion, arguments.output, arguments.convention, name=arguments.name or arguments.motion.stem.split(".")[0],
            settings=settings, plate=plate, sources=(arguments.motion, *companions(arguments.motion)),
            on_progress=console.step, cancelled=stop.requested,
        )  # fmt: skip
    stop.raise_if_requested()
    print(f"{len(written)} files written")
    return DONE


# Options of `loopcore flow` that have a meaning for one convention alone: written, or read where the file lacks them.
_ONLY_FOR = {"strength": "game", "green": "game", "bits": "game", "max_displace": "rsmb"}


def _refuse_ignored(arguments: argparse.Namespace) -> None:
    """Refuses options of `loopcore flow` that would have no effect."""
    from loopcore.flowmap import detect

    for name, meant in _ONLY_FOR.items():
        if getattr(arguments, name) is None or arguments.convention == meant:
            continue
        if name == "bits" or (arguments.source or detect(arguments.motion)) != meant:
            option = "--" + name.replace("_", "-")
            raise MotionError(f"{option} has no meaning for {arguments.convention}, only for {meant}: leave it out")
    for name in ("layer", "colorspace"):
        if getattr(arguments, name) is not None and arguments.plate is None:
            raise MotionError(f"--{name} has no meaning without --plate: leave it out, or give the plate")


def _check(arguments: argparse.Namespace, stop: Stop) -> int:
    from loopcore.quality import check
    from loopcore.quality.page import refuse_page, write_page

    if arguments.html is not None:
        refuse_page(arguments.html, arguments.folder, arguments.plate)
    with Console("Check", quiet=arguments.json) as console:
        report = check(arguments.folder, plate=arguments.plate, on_progress=console.callback(stop))
    if arguments.html is not None:
        with Console("Report", quiet=arguments.json) as console:
            write_page(report, arguments.html, plate=arguments.plate, on_progress=console.callback(stop))
    if arguments.json:
        print(json.dumps(report.to_dict(), indent=2))
    else:
        print_report(report)
        if arguments.html is not None:
            print(f"Saved: '{arguments.html}'")
    if not report.passed:
        messages.fail("the loop does not pass: " + ", ".join(row.name for row in report.rows if not row.passed))
    return DONE if report.passed else FAILED


def _preview(arguments: argparse.Namespace, stop: Stop) -> int:
    from loopcore.preview import preview_sequence

    with Console("Preview") as console:
        preview_sequence(
            arguments.folder,
            arguments.output,
            arguments.fps,
            arguments.cycles,
            arguments.width,
            on_progress=console.callback(stop),
        )
    print(f"Saved: '{arguments.output}'")
    return DONE


def _worker(arguments: argparse.Namespace, stop: Stop) -> int:
    from loopcore.worker.server import serve

    return serve()


def _stop_daemon(arguments: argparse.Namespace, stop: Stop) -> int:
    folder = os.environ.get(daemon_client.VARIABLE)
    if not folder:
        print_error(f"{daemon_client.VARIABLE} is not set: it names the folder of the daemon")
        return USAGE
    daemon_client.stop(folder)
    return DONE


if __name__ == "__main__":
    sys.exit(main())
