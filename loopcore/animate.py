# SPDX-License-Identifier: Apache-2.0
"""Runs a whole job: from a plate and its motion to frames, proxies and previews.

The command line, the worker, Blender and farms all use `Job` and `run`, so a setting means the same everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from loopcore.errors import MotionError
from loopcore.files.atomic import has_bytes, write_bytes_atomically
from loopcore.files.overwrite import refuse_overwriting
from loopcore.files.pattern import FramePattern
from loopcore.job import Job, Source
from loopcore.observer import Observer

if TYPE_CHECKING:
    from loopcore.baking.bake import BakeResult
    from loopcore.baking.plan import Plan
    from loopcore.baking.writers import FrameWriter
    from loopcore.files.claim import Claim
    from loopcore.job import Origin
    from loopcore.loop import Loop
    from loopcore.motion.field import MotionField
    from loopcore.plate import Plate

__all__ = ["FILM_CYCLES", "FRAMES", "Job", "Result", "Source", "run"]

FILM_CYCLES = 3  # repetitions of the loop in the preview film
FRAMES = "Frames"  # title of the stage that writes them


@dataclass
class Result:
    """The result of `run`.

    Attributes:
        bake: the frames written, skipped and failed.
        width: of the frames, in pixels.
        height: of the frames, in pixels.
        hash: of the recipe.
        proxies: names of the proxies, if any were wanted.
        previews: preview files written.
        report: the report's page, if it is there.
        passed: whether the loop passed the report's checks; None without a report.
    """

    bake: BakeResult
    width: int
    height: int
    hash: str
    proxies: FramePattern | None = None
    previews: list[Path] = field(default_factory=list)
    report: Path | None = None
    passed: bool | None = None


def run(
    job: Job,
    observer: Observer | None = None,
    origin: Origin | None = None,
    writer: FrameWriter | None = None,
    preparing: Preparation | None = None,
) -> Result:
    """Runs a job.

    Args:
        job: the job.
        observer: receives progress and may stop the job.
        origin: the loop that the job makes again; what differs from it is noted before the bake.
        writer: computes and writes the frames; None does so in this process.
        preparing: used instead of `prepare`.

    Returns:
        The files written. If frames failed, they are in `bake.failed` and no previews and report are written.

    Raises:
        Cancelled: the observer stopped the job; files on disk are complete.
        LoopcoreError: the job cannot be done; see `read_plate`, `predict_motion`, `Loop` and `bake`.
    """
    observer = observer or Observer()
    prepared = (preparing or prepare)(job, observer)
    for line in () if origin is None else origin.differences(prepared.plan.recipe):
        observer.note(line)
    with prepared.plan.claim() as claim:
        prepared.save_still()
        stack_files = _write_stack(job, prepared.plan, observer)
        result = _finish(job, prepared.plan, claim, observer, writer)
        result.previews[:0] = stack_files
        return result


def _write_stack(job: Job, plan: Plan, observer: Observer) -> list[Path]:
    """Writes the stills around a PSD's layer, by the run that writes the first frame."""
    source = job.source
    if not source.is_split or job.first not in plan.numbers:
        return []
    from loopcore.baking.stack import write_stack

    observer.stage("Splitting the document")
    frames = f"{job.stem}.####.{job.format}"
    return write_stack(job.folder, job.stem, frames, source.plate, source.layer or "", source.colorspace)


@dataclass
class Prepared:
    """What is known before anything is written; `still` is the file of a plate of smaller resolution."""

    plan: Plan
    still: bytes | None

    def save_still(self) -> None:
        """Writes the smaller plate beside the frames."""
        target = self.plan.loop.plate.source
        if self.still is not None and target is not None and not has_bytes(target, self.still):
            write_bytes_atomically(target, self.still)


Preparation = Callable[[Job, Observer], Prepared]


def prepare(job: Job, observer: Observer) -> Prepared:
    """Reads what a job needs and prepares its loop, without writing to its folder.

    Args:
        job: the job.
        observer: receives progress and may stop the job.

    Raises:
        Cancelled: the observer stopped the job.
        LoopcoreError: as `run`.
    """
    from loopcore.baking.plan import Plan
    from loopcore.loop import Loop, load_kernels
    from loopcore.loop.device import gpu_hint

    check_job(job)
    with ThreadPoolExecutor(1) as thread:
        # Saves half a second before the first frame. An error there occurs again, and is reported, in `Loop`.
        thread.submit(load_kernels, job.device)
        whole = job.source.read_plate(observer)
        plate, still = _reduced(job, whole, observer)
        # Hints cover the overscan or not depending on their size, which is compared with the full plate's.
        reference = whole if whole.windows.overscan else plate
        motion = job.source.read_motion(reference, observer).over(plate.windows)
    observer.raise_if_cancelled()
    observer.stage("Preparing the loop")
    loop = Loop(
        plate, motion, frames=job.frames, method=job.method, contrast=job.contrast, cycles=job.cycles,
        steady=job.steady, device=job.device,
    )  # fmt: skip
    _refuse_changed_motion(job, loop.motion)
    if loop.device == "cuda":
        observer.note("Computing on the GPU")
    elif job.device == "auto" and (hint := gpu_hint()):
        observer.note(f"Computing on the CPU; {hint}")
    if plate.layers is not None:
        observer.note(f"Layers, carried on the CPU: {plate.layers}")
    plan = Plan.of(
        loop, job.folder, job.stem, first=job.first, fps=job.fps, numbers=job.numbers, format=job.format,
        depth=job.depth, compression=job.compression,
    )  # fmt: skip
    return Prepared(plan, still)


def check_job(job: Job) -> None:
    """Checks a job, as far as that needs no picture.

    Args:
        job: the job.

    Raises:
        LoopcoreError: a setting is out of range, or the job would overwrite a file that it reads.
    """
    job.check()
    _refuse_overwriting(job)


def _finish(job: Job, plan: Plan, claim: Claim, observer: Observer, writer: FrameWriter | None) -> Result:
    result = _bake(job, plan, claim, observer, writer)
    done = result.bake
    if not done.failed:
        observer.raise_if_cancelled()
    observer.note(f"{len(done.written)} frames written, {len(done.skipped)} up to date, {len(done.failed)} failed")
    if not done.failed:
        claim.check()
        result.previews = _previews(job, plan.loop, observer) if job.preview else []
        if job.report:
            _report(job, result, observer)
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
    refuse_overwriting(inputs, outputs(job))


def _is_own_motion(job: Job) -> bool:
    """Returns whether the motion is read from motion.exr of the output folder."""
    motion, output = job.source.motion, job.folder / "motion.exr"
    return motion is not None and output.exists() and motion.exists() and output.samefile(motion)


def _refuse_changed_motion(job: Job, motion: MotionField) -> None:
    """Refuses a motion read from motion.exr of the output folder, if the job would write another one there."""
    from loopcore.baking.bake import is_saved

    if _is_own_motion(job) and not is_saved(job.folder / "motion.exr", motion):
        raise MotionError(f"'{job.source.motion}' would be replaced by another motion: move it to another folder")


def outputs(job: Job) -> Iterator[Path]:
    """Yields the files that a job writes.

    Args:
        job: the job.
    """
    from loopcore.preview.proxies import PROXY_FOLDER

    yield from (job.folder / "motion.exr", job.folder / "recipe.json")
    if job.source.resolution != 100:
        yield _still_path(job)
    if job.source.is_split:
        from loopcore.baking.stack import stack_paths

        yield from stack_paths(job.folder, job.stem, 0)[::2]
    if job.preview:
        yield from _preview_paths(job)
    if job.report:
        yield _report_path(job)
    for number in range(job.first, job.first + job.frames) if job.numbers is None else job.numbers:
        frame = job.pattern.path(number)
        yield frame
        if job.proxy:
            yield from (job.folder / PROXY_FOLDER / (frame.stem + suffix) for suffix in (".jpg", ".png"))


def _still_path(job: Job) -> Path:
    return job.folder / f"{job.stem}_still.exr"


def _report_path(job: Job) -> Path:
    return job.folder / f"{job.stem}_report.html"


def _preview_paths(job: Job) -> tuple[Path, Path, Path]:
    """Returns the film, the contact sheet and the picture of the motion."""
    film, sheet, motion = (job.folder / f"{job.stem}{end}" for end in (".mp4", "_sheet.png", "_motion.png"))
    return film, sheet, motion


def _reduced(job: Job, plate: Plate, observer: Observer) -> tuple[Plate, bytes | None]:
    """Returns the plate at the job's resolution, and the file of a smaller one, which `check` needs."""
    if job.source.resolution == 100:
        return plate, None
    from loopcore.plate.reduced import reduced, save_still

    observer.stage("Resizing the plate")
    with TemporaryDirectory(prefix="loopcore-") as folder:
        file = Path(folder) / "still.exr"
        small = save_still(reduced(plate, job.source.resolution), file)
        return replace(small, source=_still_path(job)), file.read_bytes()


def _bake(job: Job, plan: Plan, claim: Claim, observer: Observer, writer: FrameWriter | None) -> Result:
    from loopcore.baking.bake import Progress, bake_planned
    from loopcore.baking.writers import write_here
    from loopcore.preview.proxies import Proxies

    source, plate = job.source, plan.loop.plate
    # Layer and colour space describe the original file, not the smaller copy.
    whole = source.resolution == 100
    notes: dict[str, object] = {
        "layer": source.layer if whole else None, "colorspace": source.colorspace if whole else None,
        "speed": source.speed, "resolution": source.resolution,
    }  # fmt: skip
    if source.layers:
        notes |= {"layers": list(source.layers), "data": list(source.data)}
    with Proxies(job.pattern, plate.alpha_index is not None, job.proxy) as proxies:

        def on_progress(progress: Progress) -> None:
            proxies.frame_done(progress.path)
            observer.step(FRAMES, progress.done, progress.total, progress.path)

        done = bake_planned(
            plan, claim, overwrite=job.overwrite, verify=job.verify, notes=notes, on_progress=on_progress,
            cancelled=observer.cancelled, writer=writer or write_here,
        )  # fmt: skip
        if not done.failed and not done.cancelled:
            proxies.finish(done.skipped, observer.step_callback("Viewport copies"))
    height, width = plate.windows.display_size if job.format == "png" else plate.windows.size
    return Result(done, width, height, plan.recipe.digest(), proxies.pattern if job.proxy else None)


def _previews(job: Job, loop: Loop, observer: Observer) -> list[Path]:
    """Writes the film, the contact sheet and the picture of the motion, if all frames of the loop exist."""
    from loopcore.color import display_image
    from loopcore.preview import arrow_picture, preview_sequence, write_picture

    frames = _all_frames(job, "preview", observer)
    if not frames:
        return []
    film, sheet, motion = _preview_paths(job)
    preview_sequence(frames, film, job.fps, FILM_CYCLES, on_progress=observer.step_callback("Film"))
    preview_sequence(frames, sheet, job.fps, on_progress=lambda *_: observer.raise_if_cancelled())
    write_picture(arrow_picture(display_image(loop.plate.displayed()), loop.motion.displayed()), motion)
    return [film, sheet, motion]


def _report(job: Job, result: Result, observer: Observer) -> None:
    """Checks the loop and writes the report's page, if all frames exist and the page is not that of the same frames."""
    from loopcore.quality import check
    from loopcore.quality.page import read_verdict, write_page

    if not _all_frames(job, "report", observer):
        return
    result.report = _report_path(job)
    if not result.bake.written:
        result.passed = read_verdict(result.report, job.folder)
    if result.passed is None:
        measured = check(job.folder, on_progress=observer.step_callback("Check"))
        result.passed = measured.passed
        write_page(measured, result.report, on_progress=observer.step_callback("Report"))
    observer.note("The loop passes" if result.passed else "The loop does not pass: see its report")


def _all_frames(job: Job, wanted: str, observer: Observer) -> list[Path]:
    """Returns the files of all frames, or none if some are missing, with a note that there is no `wanted` yet."""
    # Not all files found: a longer loop may have been baked into the folder before.
    frames = [job.pattern.path(job.first + time) for time in range(job.frames)]
    missing = sum(not path.is_file() for path in frames)
    if missing:
        observer.note(f"No {wanted} yet: {missing} of the loop's {job.frames} frames are missing")
    return [] if missing else frames
