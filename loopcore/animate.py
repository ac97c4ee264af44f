# SPDX-License-Identifier: Apache-2.0
"""Runs a whole job: from a plate and its motion to frames, proxies and previews.

The command line, the worker, Blender and farms all use `Job` and `run`, so a setting means the same everywhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from loopcore.errors import MotionError
from loopcore.files.atomic import make_folder
from loopcore.files.overwrite import refuse_overwriting
from loopcore.files.pattern import FramePattern
from loopcore.job import Job, Source
from loopcore.observer import Observer

if TYPE_CHECKING:
    from loopcore.baking.bake import BakeResult
    from loopcore.baking.writers import FrameWriter
    from loopcore.loop import Loop
    from loopcore.motion.field import MotionField
    from loopcore.plate import Plate

__all__ = ["FILM_CYCLES", "Job", "Result", "Source", "run"]

FILM_CYCLES = 3  # repetitions of the loop in the preview film


@dataclass
class Result:
    """The result of `run`.

    Attributes:
        bake: the frames written, skipped and failed.
        width: of the frames, in pixels.
        height: of the frames, in pixels.
        proxies: names of the proxies, if any were wanted.
        previews: preview files written.
    """

    bake: BakeResult
    width: int
    height: int
    proxies: FramePattern | None = None
    previews: list[Path] = field(default_factory=list)


def run(job: Job, observer: Observer | None = None, writer: FrameWriter | None = None) -> Result:
    """Runs a job.

    Args:
        job: the job.
        observer: receives progress and may stop the job.
        writer: see `loopcore.bake`.

    Returns:
        The files written. If frames failed, they are in `bake.failed` and no previews are written.

    Raises:
        Cancelled: the observer stopped the job; files on disk are complete.
        LoopcoreError: the job cannot be done; see `read_plate`, `predict_motion`, `Loop` and `bake`.
    """
    from loopcore.loop import Loop, load_kernels
    from loopcore.loop.device import gpu_hint

    observer = observer or Observer()
    job.check()
    _refuse_overwriting(job)
    with ThreadPoolExecutor(1) as thread:
        # Saves half a second before the first frame. An error there occurs again, and is reported, in `Loop`.
        thread.submit(load_kernels, job.device)
        whole = job.source.read_plate(observer)
        plate = _reduced(job, whole, observer)
        # Hints cover the overscan or not depending on their size, which is compared with the full plate's.
        reference = whole if whole.windows.overscan else plate
        motion = job.source.read_motion(reference, observer).over(plate.windows)
    observer.raise_if_cancelled()
    observer.stage("Preparing the loop")
    loop = Loop(
        plate,
        motion,
        frames=job.frames,
        method=job.method,
        contrast=job.contrast,
        cycles=job.cycles,
        steady=job.steady,
        device=job.device,
    )
    _refuse_changed_motion(job, loop.motion)
    if loop.device == "cuda":
        observer.note("Computing on the GPU")
    elif job.device == "auto" and (hint := gpu_hint()):
        observer.note(f"Computing on the CPU; {hint}")
    result = _bake(job, loop, observer, writer)
    done = result.bake
    if not done.failed:
        observer.raise_if_cancelled()
    observer.note(f"{len(done.written)} frames written, {len(done.skipped)} up to date, {len(done.failed)} failed")
    if not done.failed:
        result.previews = _previews(job, loop, observer) if job.preview else []
    return result


def _refuse_overwriting(job: Job) -> None:
    """Refuses a job that would overwrite a file that it reads; see `_refuse_changed_motion` for motion.exr."""
    source = job.source
    own = _is_own_motion(job)
    if own and (source.speed != 1.0 or source.resolution != 100):
        raise MotionError(
            f"'{source.motion}' would be replaced by itself at another speed or size, and again by every run: move it "
            "to another folder"
        )
    inputs = [path for path in source.files() if not (own and path == source.motion)]
    refuse_overwriting(inputs, _outputs(job))


def _is_own_motion(job: Job) -> bool:
    """Returns whether the motion is read from motion.exr of the output folder."""
    motion, output = job.source.motion, job.folder / "motion.exr"
    return motion is not None and output.exists() and motion.exists() and output.samefile(motion)


def _refuse_changed_motion(job: Job, motion: MotionField) -> None:
    """Refuses a motion read from motion.exr of the output folder, if the job would write another one there."""
    from loopcore.baking.bake import is_saved

    if _is_own_motion(job) and not is_saved(job.folder / "motion.exr", motion):
        raise MotionError(f"'{job.source.motion}' would be replaced by another motion: move it to another folder")


def _outputs(job: Job) -> Iterator[Path]:
    """Yields the files that a job writes."""
    from loopcore.preview.proxies import PROXY_FOLDER

    yield from (job.folder / "motion.exr", job.folder / "recipe.json")
    if job.source.resolution != 100:
        yield _still_path(job)
    if job.preview:
        yield from _preview_paths(job)
    for number in range(job.first, job.first + job.frames) if job.numbers is None else job.numbers:
        frame = job.pattern.path(number)
        yield frame
        if job.proxy:
            yield from (job.folder / PROXY_FOLDER / (frame.stem + suffix) for suffix in (".jpg", ".png"))


def _still_path(job: Job) -> Path:
    return job.folder / f"{job.stem}_still.exr"


def _preview_paths(job: Job) -> tuple[Path, Path, Path]:
    """Returns the film, the contact sheet and the picture of the motion."""
    film, sheet, motion = (job.folder / f"{job.stem}{end}" for end in (".mp4", "_sheet.png", "_motion.png"))
    return film, sheet, motion


def _reduced(job: Job, plate: Plate, observer: Observer) -> Plate:
    """Returns the plate at the job's resolution; a smaller one is saved beside the frames for `check`."""
    if job.source.resolution == 100:
        return plate
    from loopcore.plate.reduced import reduced, save_still

    observer.stage("Resizing the plate")
    make_folder(job.folder)
    return save_still(reduced(plate, job.source.resolution), _still_path(job))


def _bake(job: Job, loop: Loop, observer: Observer, writer: FrameWriter | None) -> Result:
    from loopcore.baking.bake import Progress, bake
    from loopcore.preview.proxies import Proxies

    source = job.source
    # Layer and colour space describe the original file, not the smaller copy.
    whole = source.resolution == 100
    notes = {
        "layer": source.layer if whole else None, "colorspace": source.colorspace if whole else None,
        "speed": source.speed, "resolution": source.resolution,
    }  # fmt: skip
    with Proxies(job.pattern, loop.plate.alpha_index is not None, job.proxy) as proxies:

        def on_progress(progress: Progress) -> None:
            proxies.frame_done(progress.path)
            observer.step("Frames", progress.done, progress.total, progress.path)

        done = bake(
            loop, job.folder, job.stem, first=job.first, fps=job.fps, numbers=job.numbers, format=job.format,
            depth=job.depth, compression=job.compression, overwrite=job.overwrite, verify=job.verify, notes=notes,
            on_progress=on_progress, cancelled=observer.cancelled, writer=writer,
        )  # fmt: skip
        if not done.failed and not done.cancelled:
            proxies.finish(done.skipped, observer.step_callback("Viewport copies"))
    windows = loop.plate.windows
    height, width = windows.display_size if job.format == "png" else windows.size
    return Result(done, width, height, proxies.pattern if job.proxy else None)


def _previews(job: Job, loop: Loop, observer: Observer) -> list[Path]:
    """Writes the film, the contact sheet and the picture of the motion, if all frames of the loop exist."""
    from loopcore.color import display_image
    from loopcore.preview import arrow_picture, preview_sequence, write_picture

    # Not all files found: a longer loop may have been baked into the folder before.
    frames = [job.pattern.path(job.first + time) for time in range(loop.frames)]
    missing = sum(not path.is_file() for path in frames)
    if missing:
        observer.note(f"No preview yet: {missing} of the loop's {loop.frames} frames are missing")
        return []
    film, sheet, motion = _preview_paths(job)
    preview_sequence(frames, film, job.fps, FILM_CYCLES, on_progress=observer.step_callback("Film"))
    preview_sequence(frames, sheet, job.fps, on_progress=lambda *_: observer.raise_if_cancelled())
    write_picture(arrow_picture(display_image(loop.plate.displayed()), loop.motion.displayed()), motion)
    return [film, sheet, motion]
