# SPDX-License-Identifier: Apache-2.0
"""`loopcore animate` and `loopcore predict`."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

from loopcore.animate import Result, outputs, run
from loopcore.baking.formats import COMPRESSIONS
from loopcore.baking.frame_rate import frame_rate
from loopcore.cli.console import DONE, FAILED, Progress, Stop, given_path, print_error, print_estimate
from loopcore.cli.log import Log
from loopcore.errors import Cancelled, LoopcoreError, MotionError, SequenceError
from loopcore.files.overwrite import refuse_overwriting
from loopcore.files.ranges import parse_range
from loopcore.job import Job, Origin, Source, read_job, write_job
from loopcore.observer import Observer
from loopcore.parallel import limited_threads

# Options that may stand beside --job; all others are settings that the job has.
_BESIDE_JOB = {
    "job", "output", "range", "overwrite", "verify", "device", "dry_run", "threads", "quiet", "json", "log", "run",
    "usage_error",
}  # fmt: skip
# Settings of a job that options name alike; an option that is not given leaves the job's default.
_SETTINGS = (
    "name", "frames", "first", "method", "contrast", "cycles", "steady", "device", "format", "depth", "compression",
    "overwrite", "verify", "proxy", "preview", "report",
)  # fmt: skip

_PLATE = "the still: EXR, PNG, JPEG, WebP, ..."


def animate_options(command: argparse.ArgumentParser) -> None:
    """Adds the options of `loopcore animate`."""
    add = command.add_argument
    # Without a plate, as --job has one.
    add("plate", type=given_path, nargs="?", default=None, help=_PLATE)
    add("-o", "--output", type=given_path, default=None, metavar="DIR", help="folder for the frames")
    setting_options(command)
    _run_options(command)
    command.set_defaults(run=_animate, usage_error=command.error)


def setting_options(command: argparse.ArgumentParser) -> None:
    """Adds the options that are settings of a loop; those that are not given are absent from the namespace."""
    command.argument_default = argparse.SUPPRESS
    _source_options(command)
    _loop_options(command)
    _motion_options(command)
    _file_options(command)
    add = command.add_argument
    add("--range", metavar="FRAMES", help="only these frames, e.g. 1001-1024 or 1001-1060x2")
    add("--overwrite", action="store_true", help="write frames again that are up to date")
    add("--verify", action="store_true", help="decode frames that are up to date, and write damaged ones again")


def _loop_options(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add("--layers", type=_names, metavar="all|NAME,NAME|split",
        help="layers, parts or channels of the EXR that move with the plate, into the same files (none); split: "
        "also write the stills above and below the --layer of a PSD")  # fmt: skip
    add("--data", action="append", metavar="NAME",
        help="a layer that holds data and no light, where its name does not say so; can be repeated")  # fmt: skip
    add("--frames", type=int, help="length of the loop (60)")
    add("--fps", help="frames per second, e.g. 24, 23.976 or 30000/1001 (24)")
    add("--first", type=int, help="number of the first frame (1001)")
    add("--method", choices=("warp", "splat"),
        help="how pixels are moved: fetched (warp) or deposited (splat) (warp)")  # fmt: skip
    add("--contrast", type=float, help="how much of the detail lost by blending is restored, 0 to 1 (1)")
    add("--speed", type=float, help="factor on the motion (1.0)")
    cycle_options(command, absent=True)
    add("--resolution", type=int, metavar="PERCENT", help="work at this percentage of the plate's size (100)")
    add("--device", choices=("auto", "cpu", "cuda"), help="where to compute (auto: the CPU)")


def _file_options(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add("--name", help="start of the frames' names (PLATE_loop)")
    add("--format", choices=("exr", "png"), help="file format (exr)")
    add("--depth", choices=("half", "float", "8", "16"), help="EXR: half or float; PNG: 8 or 16 bits (half, 8)")
    add("--compression", choices=COMPRESSIONS,
        help="of EXR frames; dwaa, dwab and, with --depth float, pxr24 are lossy (zip)")  # fmt: skip
    add("--proxy", action="store_true", help="also write small 8-bit copies of the frames, for viewports")
    add("--preview", action="store_true", help="also write an mp4 of three cycles and a contact sheet")
    add("--report", action="store_true", help="also check the loop and write NAME_report.html; exit code 1 if it fails")


def _run_options(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add("--write-job", type=given_path, metavar="FILE.json", help="write the job to a file instead of running it")
    add("--job", type=given_path, metavar="FILE.json", help="run the job of such a file, or of a loop's recipe.json")
    add("--dask", metavar="ADDRESS|local:N", help="compute on a Dask cluster, or in N processes on this machine")
    add("--dry-run", action="store_true", help="write nothing, and say what would be written and what it would cost")
    add("--json", action="store_true", help="print one JSON object at the end and no progress; notes go to stderr")
    process_options(command)


def process_options(command: argparse.ArgumentParser) -> None:
    """Adds the options of a process that computes."""
    add = command.add_argument
    add("--threads", type=int, metavar="N", help="threads to compute with (the cores, or LOOPCORE_THREADS)")
    add("--quiet", action="store_true", help="print nothing but warnings and errors")
    add("--log", type=given_path, metavar="FILE", help="append what happens to a text file, with times")


def cycle_options(command: argparse.ArgumentParser, absent: bool = False) -> None:
    """Adds --cycles and --steady, which are "auto", or absent, where they are not given."""
    add = command.add_argument
    default = argparse.SUPPRESS if absent else "auto"
    add("--cycles", type=_auto_or(int), default=default, metavar="auto|K",
        help="how often the plate is renewed in a loop, more for fast water; auto: by place (auto)")  # fmt: skip
    add("--steady", type=_auto_or(float), default=default, metavar="auto|0..1",
        help="how much brightness and colour stay where they are, while the texture moves (auto)")  # fmt: skip


def _auto_or(kind: type[int] | type[float]) -> Callable[[str], int | float | str]:
    """Returns a parser of "auto" or a number."""

    def parse(text: str) -> int | float | str:
        return text if text == "auto" else kind(text)

    parse.__name__ = f"'auto' or {kind.__name__}"
    return parse


def _names(text: str) -> tuple[str, ...]:
    return tuple(name for name in (part.strip() for part in text.split(",")) if name)


def predict_options(command: argparse.ArgumentParser) -> None:
    """Adds the options of `loopcore predict`."""
    command.add_argument("plate", type=given_path, help=_PLATE)
    _source_options(command)
    command.add_argument("-o", "--output", type=given_path, required=True, metavar="MOTION.exr", help="file to write")
    _motion_options(command)
    command.add_argument("--resolution", type=int, default=100, metavar="PERCENT",
        help="for a loop of this percentage of the plate's size (100)")  # fmt: skip
    command.add_argument("--picture", type=given_path, help="also draw the motion over the plate, as a PNG")
    command.set_defaults(run=_predict)


def _source_options(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add("--layer", help="layer, part or view of a multi-layer EXR")
    add("--colorspace", help="colour space of the plate, e.g. srgb_rec709_scene")
    add("--hints", type=given_path, help="strokes, anchors, flips and mask: Loopcore's or LabelMe's JSON")
    add("--mask", type=given_path, help="picture that is white where things may move, instead of the hints' mask")
    add("--weights", type=given_path, metavar="FILE.safetensors",
        help="network from `loopcore train` that predicts the motion (the shipped one)")  # fmt: skip


def _motion_options(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add("--motion", type=given_path, help="motion field or flow map of any convention of `loopcore flow`")
    add("--convention", help="the convention of --motion, where it cannot be detected")
    add("--rescale", action="store_true", help="scale a --motion of another size to the plate")


def _animate(arguments: argparse.Namespace, stop: Stop) -> int:
    given = {name: value for name, value in vars(arguments).items() if value is not None}
    try:
        return _run(given, stop)
    except (LoopcoreError, MemoryError, Cancelled) as error:
        if "json" in given:
            _print_json({"cancelled": True} if isinstance(error, Cancelled) else {"error": str(error) or "no memory"})
        raise


def _run(given: dict[str, Any], stop: Stop) -> int:
    preparing = given.pop("preparing", None)
    job, origin = _read_job(given) if "job" in given else (job_of(given), None)
    if "write_job" in given:
        return _write_job(given, job)
    quiet, as_json = "quiet" in given, "json" in given
    start = time.perf_counter()
    with (
        Progress(stop, quiet, as_json) as progress,
        Log(progress, given.get("log"), job) as observer,
        limited_threads(given.get("threads")),
    ):
        if "dry_run" in given:
            return _estimate(job, origin, observer, as_json)
        if "dask" in given:
            from loopcore.farm.dask import cluster_writer

            with cluster_writer(given["dask"], observer) as writer:
                result = run(job, observer, origin, writer)
        else:
            result = run(job, observer, origin, preparing=preparing)
        for line in _reasons(result.bake.failed):
            observer.line(f"error: {line}")
            print_error(line)
        if result.bake.cancelled:
            raise Cancelled
    if as_json:
        _print_json(_summary(job, result, time.perf_counter() - start))
    saved = result.previews + ([] if result.report is None else [result.report])
    for path in () if as_json or quiet else saved:
        print(f"Saved: '{path}'")
    return FAILED if result.bake.failed or result.passed is False else DONE


def _print_json(document: dict[str, Any]) -> None:
    print(json.dumps(document, indent=2), flush=True)


def _read_job(given: dict[str, Any]) -> tuple[Job, Origin | None]:
    """Returns the job of --job with the options beside it, and the loop that it makes again."""
    refused = [_option(name) for name in given if name not in _BESIDE_JOB]
    if refused:
        one = len(refused) == 1
        raise SequenceError(
            f"{', '.join(refused)} cannot stand beside --job, which has {'it' if one else 'them'}: leave "
            f"{'it' if one else 'them'} out, or change the file"
        )
    job, origin = read_job(given["job"])
    names = [name for name in ("overwrite", "verify", "device") if name in given]
    job = replace(job, **{name: given[name] for name in names})
    if "output" in given:
        job = replace(job, folder=given["output"])
    if "range" in given:
        job = replace(job, numbers=parse_range(given["range"]))
    refuse_overwriting([given["job"]], [path for path in outputs(job) if origin is None or path.name != "recipe.json"])
    return job, origin


def _write_job(given: dict[str, Any], job: Job) -> int:
    for name in ("dry_run", "threads", "log"):
        if name in given:
            raise SequenceError(f"{_option(name)} has no meaning beside --write-job, which runs nothing: leave it out")
    write_job(given["write_job"], job)
    if "json" in given:
        _print_json({"job": str(given["write_job"])})
    elif "quiet" not in given:
        print(f"Saved: '{given['write_job']}'")
    return DONE


def _option(name: str) -> str:
    return name.upper() if name == "plate" else "--" + name.replace("_", "-")


def job_of(given: dict[str, Any]) -> Job:
    """Returns the job that the given options of `setting_options`, `plate` and `output` describe."""
    missing = [text for name, text in (("plate", "plate"), ("output", "-o/--output")) if name not in given]
    if missing:
        given["usage_error"](f"the following arguments are required: {', '.join(missing)}")
    settings = {name: given[name] for name in _SETTINGS if name in given}
    if "fps" in given:
        settings["fps"] = frame_rate(given["fps"])
    if "range" in given:
        settings["numbers"] = parse_range(given["range"])
    return Job(_source(given), given["output"], **settings)


def _source(given: dict[str, Any]) -> Source:
    names = [field.name for field in fields(Source)]
    settings: dict[str, Any] = {name: given[name] for name in names if given.get(name) is not None}
    if "data" in settings:
        settings["data"] = tuple(settings["data"])
    return Source(**settings)


def _estimate(job: Job, origin: Origin | None, observer: Observer, as_json: bool) -> int:
    from loopcore.estimate import estimate

    found = estimate(job, observer, origin)
    if as_json:
        _print_json(found.to_dict())
    else:
        print_estimate(found)
    return DONE


def _reasons(failed: dict[int, str]) -> list[str]:
    """Returns a line for each reason, with the frames that failed for it."""
    from loopcore.files.ranges import format_range

    reasons = dict.fromkeys(failed[number] for number in sorted(failed))
    return [f"frame {format_range(n for n in failed if failed[n] == reason)}: {reason}" for reason in reasons]


def _summary(job: Job, result: Result, seconds: float) -> dict[str, Any]:
    """Returns what --json prints."""
    from loopcore.files.ranges import format_range

    done = result.bake
    return {
        "folder": str(job.folder), "frames": job.pattern.name, "written": format_range(done.written),
        "up_to_date": format_range(done.skipped), "failed": {str(n): done.failed[n] for n in sorted(done.failed)},
        "cancelled": done.cancelled, "width": result.width, "height": result.height,
        "motion": str(job.folder / "motion.exr"), "recipe": str(job.folder / "recipe.json"), "hash": result.hash,
        "proxies": None if result.proxies is None else str(result.proxies.folder / result.proxies.name),
        "previews": [str(path) for path in result.previews],
        "report": None if result.report is None else str(result.report), "passed": result.passed,
        "seconds": round(seconds, 3),
    }  # fmt: skip


def _predict(arguments: argparse.Namespace, stop: Stop) -> int:
    from loopcore.color import display_image
    from loopcore.files.atomic import make_folder
    from loopcore.plate.reduced import reduced
    from loopcore.preview import arrow_picture, write_picture

    if arguments.output.suffix.lower() != ".exr":
        raise MotionError(f"'{arguments.output}' is not an EXR name: a motion field is written as .exr")
    source = _source(vars(arguments))
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
