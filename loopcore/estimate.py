# SPDX-License-Identifier: Apache-2.0
"""What a job would write and what that would cost, from one frame that is really rendered and encoded."""

from __future__ import annotations

import os
import shutil
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from loopcore.animate import outputs, prepare
from loopcore.files.ranges import format_range
from loopcore.job import Job, Origin
from loopcore.observer import Observer

if TYPE_CHECKING:
    from loopcore.baking.plan import Plan


@dataclass(frozen=True)
class Estimate:
    """What a job would do.

    Attributes:
        folder: of the frames.
        frames: the pattern of their names.
        to_write: the range of the frames to write.
        up_to_date: the range of those that would be kept.
        beside: other files that would be written or are up to date, by name; `proxy/` has viewport copies.
        count: how many frames to write.
        seconds: from the start to the last frame; previews and viewport copies take longer.
        seconds_per_frame: of them.
        bytes: of the frames to write, before those they replace are gone.
        bytes_per_frame: of them.
        bytes_free: on the disk.
    """

    folder: str
    frames: str
    to_write: str
    up_to_date: str
    beside: list[str]
    count: int
    seconds: float
    seconds_per_frame: float
    bytes: int
    bytes_per_frame: int
    bytes_free: int

    def to_dict(self) -> dict[str, Any]:
        """Returns the attributes by name."""
        return asdict(self)


def estimate(job: Job, observer: Observer, origin: Origin | None = None) -> Estimate:
    """Estimates a job; writes nothing to its folder.

    Args:
        job: the job.
        observer: receives progress and may stop it.
        origin: as for `animate.run`.

    Raises:
        Cancelled: the observer stopped it.
        LoopcoreError: the job cannot be done.
    """
    start = time.perf_counter()
    plan = prepare(job, observer).plan
    for line in () if origin is None else origin.differences(plan.recipe):
        observer.note(line)
    current = [] if job.overwrite else [n for n in plan.numbers if plan.is_current(n, job.verify)]
    missing = [number for number in plan.numbers if number not in set(current)]
    began = time.perf_counter() - start
    observer.stage("Rendering one frame")
    seconds, size = _one_frame(plan, missing[len(missing) // 2], len(missing)) if missing else (0.0, 0)
    own = {plan.pattern.path(number) for number in plan.numbers}
    beside = [path.relative_to(job.folder) for path in outputs(job) if path not in own]
    return Estimate(
        str(job.folder), plan.pattern.name, format_range(missing), format_range(current),
        list(dict.fromkeys(path.parts[0] + "/" * (len(path.parts) > 1) for path in beside)), len(missing),
        began + seconds * len(missing), seconds, size * len(missing), size, _free(job.folder),
    )  # fmt: skip


def _one_frame(plan: Plan, number: int, count: int) -> tuple[float, int]:
    """Returns the seconds that each of so many frames takes, and the bytes of its file.

    While a frame is rendered by all threads, others encode earlier ones: a bake is as fast as the slower of the two,
    and no faster than the cores can do the work of both.
    """
    from loopcore.baking.writers import writer_count
    from loopcore.parallel import thread_count

    canvas = plan.canvas()
    for _ in range(2):  # The first one also allocates what all share.
        start = time.perf_counter()
        plan.loop.begin(plan.recipe.time(number), canvas)()
        render = time.perf_counter() - start
    with TemporaryDirectory(prefix="loopcore-") as folder:
        file = Path(folder) / f"frame{plan.pattern.suffix}"
        start = time.perf_counter()
        plan.write_frame(file, canvas, number)
        encode = time.perf_counter() - start
        size = file.stat().st_size
    busy = 0 if plan.loop.device == "cuda" else thread_count()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(render, encode / writer_count(count), (render * min(busy, cores) + encode) / cores), size


def _free(folder: Path) -> int:
    there = folder.absolute()
    while not there.exists() and there != there.parent:
        there = there.parent
    return shutil.disk_usage(there).free
