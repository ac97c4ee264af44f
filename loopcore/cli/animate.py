# SPDX-License-Identifier: Apache-2.0
"""`loopcore animate` and `loopcore predict`."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from loopcore.animate import run
from loopcore.cli.console import DONE, FAILED, Progress, Stop, given_path, print_error
from loopcore.errors import Cancelled, MotionError
from loopcore.job import Job, Source


def animate_options(command: argparse.ArgumentParser) -> None:
    """Adds the options of `loopcore animate`."""
    job_options(command)
    add = command.add_argument
    add("-o", "--output", type=given_path, required=True, metavar="DIR", help="folder for the frames")
    add("--preview", action="store_true", help="also write an mp4 of three cycles and a contact sheet")
    add("--dask", metavar="ADDRESS|local:N", help="compute on a Dask cluster, or in N processes on this machine")
    command.set_defaults(run=_animate)


def job_options(command: argparse.ArgumentParser) -> None:
    """Adds the options of `loopcore animate` that describe a job, without its folder and previews."""
    _plate_options(command)
    add = command.add_argument
    add("--frames", type=int, default=60, help="length of the loop (60)")
    add("--fps", default="24", help="frames per second, e.g. 24, 23.976 or 30000/1001 (24)")
    add("--first", type=int, default=1001, help="number of the first frame (1001)")
    add(
        "--method",
        choices=("warp", "splat"),
        default="warp",
        help="how pixels are moved: fetched (warp) or deposited (splat) (warp)",
    )
    _motion_options(command)
    add("--speed", type=float, default=1.0, help="factor on the motion (1.0)")
    add("--contrast", type=float, default=1.0, help="how much of the detail lost by blending is restored, 0 to 1 (1)")
    cycle_options(command)
    add("--format", choices=("exr", "png"), default="exr", help="file format (exr)")
    add("--depth", choices=("half", "float", "8", "16"), help="EXR: half or float; PNG: 8 or 16 bits (half, 8)")
    add("--name", default="", help="start of the frames' names (PLATE_loop)")
    add(
        "--resolution",
        type=int,
        default=100,
        metavar="PERCENT",
        help="work at this percentage of the plate's size (100)",
    )
    add("--range", metavar="FRAMES", help="only these frames, e.g. 1001-1024 or 1001-1060x2")
    add("--device", choices=("auto", "cpu", "cuda"), default="auto", help="where to compute (auto: the CPU)")
    add("--overwrite", action="store_true", help="write frames again that are up to date")
    add("--verify", action="store_true", help="decode frames that are up to date, and write damaged ones again")
    add("--proxy", action="store_true", help="also write small 8-bit copies of the frames, for viewports")


def cycle_options(command: argparse.ArgumentParser) -> None:
    """Adds --cycles and --steady."""
    add = command.add_argument
    add("--cycles", type=_auto_or(int), default="auto", metavar="auto|K",
        help="how often the plate is renewed in a loop, more for fast water; auto: by place (auto)")  # fmt: skip
    add("--steady", type=_auto_or(float), default="auto", metavar="auto|0..1",
        help="how much brightness and colour stay where they are, while the texture moves (auto)")  # fmt: skip


def _auto_or(kind: type[int] | type[float]) -> Callable[[str], int | float | str]:
    """Returns a parser of "auto" or a number."""

    def parse(text: str) -> int | float | str:
        return text if text == "auto" else kind(text)

    parse.__name__ = f"'auto' or {kind.__name__}"
    return parse


def predict_options(command: argparse.ArgumentParser) -> None:
    """Adds the options of `loopcore predict`."""
    _plate_options(command)
    command.add_argument("-o", "--output", type=given_path, required=True, metavar="MOTION.exr", help="file to write")
    _motion_options(command)
    command.add_argument("--resolution", type=int, default=100, metavar="PERCENT",
        help="for a loop of this percentage of the plate's size (100)")  # fmt: skip
    command.add_argument("--picture", type=given_path, help="also draw the motion over the plate, as a PNG")
    command.set_defaults(run=_predict)


def _plate_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("plate", type=given_path, help="the still: EXR, PNG, JPEG, WebP, ...")
    command.add_argument("--layer", help="layer, part or view of a multi-layer EXR")
    command.add_argument("--colorspace", help="colour space of the plate, e.g. srgb_rec709_scene")
    command.add_argument("--hints", type=given_path, help="strokes, anchors and mask: Loopcore's or LabelMe's JSON")
    command.add_argument(
        "--mask", type=given_path, help="picture that is white where things may move, instead of the hints' mask"
    )
    command.add_argument("--weights", type=given_path, metavar="FILE.safetensors",
        help="network from `loopcore train` that predicts the motion (the shipped one)")  # fmt: skip


def _motion_options(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add("--motion", type=given_path, help="motion field or flow map of any convention of `loopcore flow`")
    add("--convention", help="the convention of --motion, where it cannot be detected")
    add("--rescale", action="store_true", help="scale a --motion of another size to the plate")


def _animate(arguments: argparse.Namespace, stop: Stop) -> int:
    from loopcore.files.ranges import format_range

    job = job_of(arguments)
    with Progress(stop) as observer:
        if arguments.dask is None:
            result = run(job, observer)
        else:
            from loopcore.farm.dask import cluster_writer

            with cluster_writer(arguments.dask, observer) as writer:
                result = run(job, observer, writer)
    done = result.bake
    for reason in dict.fromkeys(done.failed[number] for number in sorted(done.failed)):
        frames = format_range(number for number in done.failed if done.failed[number] == reason)
        print_error(f"frame {frames}: {reason}")
    if done.cancelled:
        raise Cancelled
    for path in result.previews:
        print(f"Saved: '{path}'")
    return FAILED if done.failed else DONE


def job_of(arguments: argparse.Namespace) -> Job:
    """Returns the job that the options of `animate_options` describe."""
    from loopcore.baking.frame_rate import frame_rate
    from loopcore.files.ranges import parse_range

    given = vars(arguments)
    names = (
        "name", "frames", "first", "method", "contrast", "cycles", "steady", "device", "format", "depth", "compression",
        "overwrite", "verify", "proxy", "preview",
    )  # fmt: skip
    return Job(
        _source(arguments), arguments.output, fps=frame_rate(arguments.fps),
        numbers=None if arguments.range is None else parse_range(arguments.range),
        **{name: given[name] for name in names if name in given},
    )  # fmt: skip


def _source(arguments: argparse.Namespace) -> Source:
    return Source(
        arguments.plate, arguments.layer, arguments.colorspace, arguments.hints, arguments.mask, arguments.weights,
        arguments.motion, arguments.convention, arguments.rescale, getattr(arguments, "speed", 1.0),
        getattr(arguments, "resolution", 100),
    )  # fmt: skip


def _predict(arguments: argparse.Namespace, stop: Stop) -> int:
    from loopcore.color import display_image
    from loopcore.files.atomic import make_folder
    from loopcore.files.overwrite import refuse_overwriting
    from loopcore.plate.reduced import reduced
    from loopcore.preview import arrow_picture, write_picture

    if arguments.output.suffix.lower() != ".exr":
        raise MotionError(f"'{arguments.output}' is not an EXR name: a motion field is written as .exr")
    source = _source(arguments)
    refuse_overwriting(source.files(), [path for path in (arguments.output, arguments.picture) if path is not None])
    make_folder(arguments.output.parent)
    with Progress(stop) as observer:
        plate = source.read_plate(observer)
        if source.resolution != 100 and not plate.windows.overscan:  # as `run` does
            plate = reduced(plate, source.resolution)
        motion = source.read_motion(plate, observer)
    stop.raise_if_requested()
    motion.save(arguments.output)
    print(f"Saved: '{arguments.output}'")
    if arguments.picture is not None:
        write_picture(arrow_picture(display_image(plate.displayed()), motion.displayed()), arguments.picture)
        print(f"Saved: '{arguments.picture}'")
    return DONE
