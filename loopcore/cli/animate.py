# SPDX-License-Identifier: Apache-2.0
"""The commands that make a loop or its motion: `loopcore animate` and `loopcore predict`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from loopcore.animate import Job, Source, run
from loopcore.cli.console import DONE, FAILED, Progress, Stop
from loopcore.errors import Cancelled, MotionError


def animate_options(command: argparse.ArgumentParser) -> None:
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
    add("--name", default="", help="how the frames' names begin (PLATE_loop)")
    add("--resolution", type=int, default=100, metavar="PERCENT", help="work at this much of the plate's size (100)")
    add("--range", metavar="FRAMES", help="only these frames, e.g. 1001-1024 or 1001-1060x2")
    add("--device", choices=("auto", "cpu", "cuda"), default="auto", help="where to compute (auto: the CPU)")
    add("--overwrite", action="store_true", help="make frames again that are up to date")
    add("--proxy", action="store_true", help="also write light 8-bit copies of the frames, for viewports")
    add("--preview", action="store_true", help="also write an mp4, three times round, and a contact sheet")
    command.set_defaults(run=_animate)


def predict_options(command: argparse.ArgumentParser) -> None:
    _plate_options(command)
    command.add_argument("-o", "--output", type=Path, required=True, metavar="MOTION.exr", help="file to write")
    _motion_options(command)
    command.add_argument("--picture", type=Path, help="also draw the motion over the plate, as PNG")
    command.set_defaults(run=_predict)


def _plate_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("plate", type=Path, help="the still: EXR, PNG, JPEG, WebP, ...")
    command.add_argument("--layer", help="layer, part or view of a multi-layer EXR")
    command.add_argument("--colorspace", help="how the plate's values are encoded, e.g. srgb_rec709_scene")
    command.add_argument("--hints", type=Path, help="strokes, anchors and mask: own JSON or LabelMe's")
    command.add_argument("--mask", type=Path, help="picture of where things may move, instead of the hints' mask")
    command.add_argument("--weights", type=Path, metavar="FILE.safetensors",
        help="read motion with a network from `loopcore train` (the one shipped)")  # fmt: skip


def _motion_options(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add("--motion", type=Path, help="motion field, or a flow map of any convention that `loopcore flow` knows")
    add("--convention", help="the convention of --motion, where it cannot be found out")
    add("--rescale", action="store_true", help="bring a --motion of another size to the plate's")


def _animate(arguments: argparse.Namespace, stop: Stop) -> int:
    from loopcore.files.ranges import format_range

    with Progress(stop) as observer:
        result = run(_job(arguments), observer)
    done = result.bake
    for reason in dict.fromkeys(done.failed[number] for number in sorted(done.failed)):
        frames = format_range(number for number in done.failed if done.failed[number] == reason)
        print(f"loopcore: error: frame {frames}: {reason}", file=sys.stderr)
    if done.cancelled:
        raise Cancelled
    for path in result.previews:
        print(f"Saved: '{path}'")
    return FAILED if done.failed else DONE


def _job(arguments: argparse.Namespace) -> Job:
    from loopcore.baking.frame_rate import frame_rate
    from loopcore.files.ranges import parse_range

    return Job(
        _source(arguments), arguments.output, arguments.name, arguments.frames, frame_rate(arguments.fps),
        arguments.first, None if arguments.range is None else parse_range(arguments.range), arguments.method,
        arguments.contrast, arguments.device, arguments.format, arguments.depth, arguments.overwrite,
        arguments.proxy, arguments.preview,
    )  # fmt: skip


def _source(arguments: argparse.Namespace) -> Source:
    return Source(
        arguments.plate, arguments.layer, arguments.colorspace, arguments.hints, arguments.mask, arguments.weights,
        arguments.motion, arguments.convention, arguments.rescale, getattr(arguments, "speed", 1.0),
        getattr(arguments, "resolution", 100),
    )  # fmt: skip


def _predict(arguments: argparse.Namespace, stop: Stop) -> int:
    from loopcore.color import display_image
    from loopcore.preview import arrow_picture, write_picture

    if arguments.output.suffix.lower() != ".exr":
        raise MotionError(f"'{arguments.output}' is no EXR name: a motion field is written as .exr")
    source = _source(arguments)
    with Progress(stop) as observer:
        plate = source.read_plate(observer)
        motion = source.read_motion(plate, observer)
    stop.give_up_if_asked()
    motion.save(arguments.output)
    print(f"Saved: '{arguments.output}'")
    if arguments.picture is not None:
        write_picture(arrow_picture(display_image(plate.displayed()), motion.displayed()), arguments.picture)
        print(f"Saved: '{arguments.picture}'")
    return DONE
