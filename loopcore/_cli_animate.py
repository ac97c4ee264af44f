# SPDX-License-Identifier: Apache-2.0
"""The commands that make a loop or its motion: `loopcore animate` and `loopcore predict`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ._cli_console import DONE, FAILED, Console, Stop

if TYPE_CHECKING:
    from .loop import Loop
    from .motion.field import MotionField
    from .plate import Plate

# The settings of animate's sheet of frames and of its film.
FILM_CYCLES = 3


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
    add("--range", metavar="FRAMES", help="only these frames, e.g. 1001-1024 or 1001-1060x2")
    add("--device", choices=("auto", "cpu", "cuda"), default="auto", help="where to compute (auto)")
    add("--overwrite", action="store_true", help="make frames again that are up to date")
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
    from concurrent.futures import ThreadPoolExecutor

    from ._frame_rate import frame_rate
    from .bake import bake
    from .loop import Loop, load_kernels
    from .sequence import format_range, parse_range

    fps = frame_rate(arguments.fps)
    numbers = None if arguments.range is None else parse_range(arguments.range)
    with ThreadPoolExecutor(1) as beside:
        # Half a second of the first frame's wait. What goes wrong there goes wrong below, too, and is told there.
        beside.submit(load_kernels, arguments.device)
        plate, motion = _read(arguments)
    if arguments.speed != 1.0:
        motion = _scaled(motion, arguments)
    stop.give_up_if_asked()
    loop = Loop(plate, motion, arguments.frames, arguments.method, arguments.contrast, arguments.device)
    told = _tell_device(loop)
    name = f"{arguments.plate.stem}_loop"
    notes = {"layer": arguments.layer, "colorspace": arguments.colorspace, "speed": arguments.speed}
    with Console("Frames") as console:
        report = bake(
            loop, arguments.output, name, first=arguments.first, fps=fps, numbers=numbers, format=arguments.format,
            depth=arguments.depth, overwrite=arguments.overwrite, notes=notes,
            on_progress=lambda p: console.step(p.done, p.total, p.path), cancelled=stop.asked,
        )  # fmt: skip
    if loop.remark != told:
        _tell_device(loop)
    for reason in dict.fromkeys(report.failed[number] for number in sorted(report.failed)):
        frames = format_range(number for number in report.failed if report.failed[number] == reason)
        print(f"loopcore: error: frame {frames}: {reason}", file=sys.stderr)
    if report.cancelled:
        stop.give_up()
    print(f"{len(report.written)} frames written, {len(report.skipped)} up to date, {len(report.failed)} failed")
    if report.failed:
        return FAILED
    return _animate_previews(arguments, name, loop, stop) if arguments.preview else DONE


def _tell_device(loop: Loop) -> str:
    """Say in a line where the loop is computed, unless the CPU was asked for; gives back why it is not the GPU."""
    if loop.device == "cuda":
        print("Computing on the GPU")
    elif loop.remark:
        print(f"Computing on the CPU: {loop.remark}")
    return loop.remark


def _animate_previews(arguments: argparse.Namespace, name: str, loop: Loop, stop: Stop) -> int:
    from .color import display_image
    from .preview import arrow_picture, preview_sequence, write_picture
    from .sequence import FramePattern

    pattern = FramePattern(arguments.output, f"{name}.", f".{arguments.format}")
    # Not all that is there: a longer loop may have been baked here before.
    frames = [pattern.path(arguments.first + time) for time in range(loop.frames)]
    missing = sum(not path.is_file() for path in frames)
    if missing:
        print(f"No preview yet: {missing} of the loop's {loop.frames} frames are not there")
        return DONE
    film = arguments.output / f"{name}.mp4"
    with Console("Film") as console:
        preview_sequence(frames, film, arguments.fps, FILM_CYCLES, on_progress=console.until(stop))
    sheet, picture = arguments.output / f"{name}_sheet.png", arguments.output / f"{name}_motion.png"
    preview_sequence(frames, sheet, arguments.fps, on_progress=lambda *_: stop.give_up_if_asked())
    write_picture(arrow_picture(display_image(loop.plate), loop.motion), picture)
    for path in (film, sheet, picture):
        print(f"Saved: '{path}'")
    return DONE


def _predict(arguments: argparse.Namespace, stop: Stop) -> int:
    from .color import display_image
    from .errors import MotionError
    from .preview import arrow_picture, write_picture

    if arguments.output.suffix.lower() != ".exr":
        raise MotionError(f"'{arguments.output}' is no EXR name: a motion field is written as .exr")
    plate, motion = _read(arguments)
    stop.give_up_if_asked()
    motion.save(arguments.output)
    print(f"Saved: '{arguments.output}'")
    if arguments.picture is not None:
        write_picture(arrow_picture(display_image(plate), motion), arguments.picture)
        print(f"Saved: '{arguments.picture}'")
    return DONE


def _read(arguments: argparse.Namespace) -> tuple[Plate, MotionField]:
    from .plate import read_plate

    with Console("Motion", passing=True):
        plate = read_plate(arguments.plate, layer=arguments.layer, colorspace=arguments.colorspace)
        return plate, _motion_of(plate, arguments)


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
        return predict_motion(plate, hints, mask, arguments.weights)
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
