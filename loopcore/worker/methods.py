# SPDX-License-Identifier: Apache-2.0
"""The worker's methods. Each takes its task, reads the parameters and returns the result as a JSON object.

The summary lines give parameters ("?": optional) -> result. All raise `Invalid` for wrong parameters, and the errors of
the functions that they call.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import platform
from collections.abc import Callable
from typing import Any

import numpy as np

from loopcore.animate import run
from loopcore.errors import Cancelled, EngineError
from loopcore.files.atomic import make_folder
from loopcore.files.overwrite import refuse_overwriting
from loopcore.files.ranges import format_range, parse_range
from loopcore.job import Job, Source
from loopcore.parallel import limited_threads
from loopcore.preview.proxies import PROXY_FOLDER
from loopcore.worker.task import Invalid, Params, Task, Unfinished


def hello(task: Task) -> dict[str, Any]:
    """{import_torch?} -> {version, python, torch, device}: versions, torch null if not installed.

    With import_torch torch is also loaded, which takes seconds and detects a broken installation.

    Raises:
        EngineError: torch is installed but cannot be loaded.
    """
    from loopcore import __version__
    from loopcore.loop.device import device_line

    params = Params(task)
    load = params.take("import_torch", bool, False)
    params.finish()
    try:
        torch = importlib.metadata.version("torch")
        if load:
            importlib.import_module("torch")
    except importlib.metadata.PackageNotFoundError:
        torch = None
    except (ImportError, OSError) as error:
        raise EngineError(f"torch {torch} is installed but cannot be loaded ({error}): install it again") from error
    return {
        "version": __version__, "python": platform.python_version(), "torch": torch,
        "device": device_line(),
    }  # fmt: skip


def _source(params: Params, **more: Any) -> Source:
    """Reads the parameters of `predict` that describe the plate and its motion."""
    return Source(
        params.path("plate"), layer=params.take("layer", str, None), colorspace=params.take("colorspace", str, None),
        hints=params.path_if_given("hints"), mask=params.path_if_given("mask"),
        weights=params.path_if_given("weights"), **more,
    )  # fmt: skip


def predict(task: Task) -> dict[str, Any]:
    """{plate, layer?, colorspace?, hints?, mask?, weights?, motion_out} -> {motion, width, height}: saves a motion."""
    params = Params(task)
    source = _source(params)
    out = params.path("motion_out")
    params.finish()
    refuse_overwriting(source.files(), [out])
    task.folders.add(out.parent)
    plate = source.read_plate(task)
    motion = source.read_motion(plate, task)
    task.stage("Saving the motion")
    make_folder(out.parent)
    motion.save(out)
    return {"motion": str(out), "width": motion.width, "height": motion.height}


def animate(task: Task) -> dict[str, Any]:
    """{settings of a job file, threads?} -> {folder, pattern, first, frames, written, ...}: runs a `Job`.

    Also returned: skipped, motion, width, height, proxy_pattern (with proxies). A motion of another size is resized.

    Raises:
        Unfinished: some frames failed.
    """
    params = Params(task)
    params.default("rescale", task.params.get("motion") is not None)
    threads = params.take("threads", int, None)
    job = Job.from_fields(params)
    task.folders |= {job.folder, job.folder / PROXY_FOLDER}
    with limited_threads(threads):
        result = run(job, task)
    done = result.bake
    if done.failed:
        raise Unfinished(_reasons(done.failed))
    answer = {
        "folder": str(job.folder), "pattern": job.pattern.name, "first": job.first, "frames": job.frames,
        "written": len(done.written), "skipped": len(done.skipped), "motion": str(job.folder / "motion.exr"),
        "width": result.width, "height": result.height,
    }  # fmt: skip
    if result.proxies is not None:
        answer["proxy_pattern"] = f"{PROXY_FOLDER}/{result.proxies.name}"
    return answer


def _reasons(failed: dict[int, str]) -> str:
    """Returns the failed frames grouped by reason, in order of their first frame."""
    reasons = dict.fromkeys(failed[number] for number in sorted(failed))
    # Frames not made because another one failed are listed only if there is no other reason.
    shown = [reason for reason in reasons if not reason.startswith("not made")] or list(reasons)
    return "; ".join(f"frame {format_range(n for n in failed if failed[n] == reason)}: {reason}" for reason in shown)


def flow(task: Task) -> dict[str, Any]:
    """{motion, folder, convention, name?, speed?, plate?, settings of `FlowSettings`} -> {files}: exports flow maps.

    The plate, with layer? and colorspace?, is needed for maps of every frame of a loop with steady looks.

    Raises:
        Cancelled: the request was cancelled.
    """
    from loopcore.flowmap import STATIC, FlowSettings, export_flow, read_motion
    from loopcore.flowmap.reading import companions

    params = Params(task)
    source, folder, convention = params.path("motion"), params.path("folder"), params.take("convention", str)
    name, speed = params.take("name", str, source.stem.split(".")[0]), params.take("speed", float, 1.0)
    numbers = params.take("range", str, None)
    settings = FlowSettings(
        frames=params.take("frames", int, 60), first=params.take("first", int, 1001),
        numbers=None if numbers is None else parse_range(numbers), bits=params.take("bits", int, 16),
        green=params.take("green", str, "up"), strength=params.take("strength", float, None),
        max_displace=params.take("max_displace", float, None), extras=tuple(params.take("extras", list, [])),
        cycles=params.auto_or("cycles", int), steady=params.auto_or("steady", float),
    )  # fmt: skip
    still = params.path_if_given("plate")
    layer, colorspace = params.take("layer", str, None), params.take("colorspace", str, None)
    params.finish()
    task.folders.add(folder)
    plate = None
    # Files for the whole loop do not depend on the plate.
    if still is not None and (convention not in STATIC or settings.extras):
        plate = Source(still, layer, colorspace).read_plate(task)
    task.stage("Reading the motion")
    motion = read_motion(source)
    files = export_flow(
        motion if speed == 1.0 else motion.scaled(speed), folder, convention, name=name, settings=settings,
        plate=plate, sources=(source, still, *companions(source)), cancelled=task.cancelled,
        on_progress=lambda done, total, path: task.step("Flow maps", done, total, path),
    )  # fmt: skip
    if task.cancelled():
        raise Cancelled
    return {"files": [str(path) for path in files]}


def check(task: Task) -> dict[str, Any]:
    """{folder, plate?} -> {passed, rows, folder, frames}: checks a baked loop."""
    from loopcore.quality import check as measure

    params = Params(task)
    folder, plate = params.path("folder"), params.path_if_given("plate")
    params.finish()
    task.stage("Checking the loop")
    return measure(folder, plate=plate, on_progress=task.step_callback("Checking the loop")).to_dict()


def arrows(task: Task) -> dict[str, Any]:
    """{motion, spacing_px} -> {points: [[x, y, u, v], ...], width, height}: the motion at the nodes of a grid.

    Nodes without motion are omitted.

    Raises:
        Invalid: a spacing under 1.

    Convention: x, y in pixels, y down; u, v in pixels per frame, velocity times mask.
    """
    from loopcore.flowmap import read_motion

    params = Params(task)
    source, spacing = params.path("motion"), params.take("spacing_px", float)
    params.finish()
    if not 1 <= spacing < float("inf"):
        raise Invalid(f"'spacing_px' must be 1 or more, not {spacing}")
    task.stage("Reading the motion")
    motion = read_motion(source)
    columns, rows = (_nodes(size, spacing) for size in (motion.width, motion.height))
    x, y = (axis.ravel() for axis in np.meshgrid(columns, rows))
    shown = motion.velocity[y, x] * motion.mask[y, x, None]
    moves = (shown != 0).any(axis=1)
    points = np.column_stack([x, y, shown.astype(np.float64).round(4)])[moves]
    return {"points": points.tolist(), "width": motion.width, "height": motion.height}


def _nodes(size: int, spacing: float) -> np.ndarray:
    """Returns whole pixels about `spacing` apart, centred in 0 .. size - 1."""
    count = max(1, int(size // spacing))
    return ((np.arange(count) + 0.5) * size / count).astype(int)


METHODS: dict[str, Callable[[Task], dict[str, Any]]] = {
    "hello": hello, "predict": predict, "animate": animate, "flow": flow, "check": check, "arrows": arrows,
}  # fmt: skip
