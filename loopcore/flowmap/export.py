# SPDX-License-Identifier: Apache-2.0
"""A motion field to the files of any convention: one for the whole loop, or maps for every frame.

Maps are computed one frame after another, each with all threads, while those before are compressed and written by
threads of their own. Every file takes its name only when it is whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from loopcore.errors import MotionError, SequenceError
from loopcore.files.atomic import remove_leftovers, write_atomically, write_bytes_atomically
from loopcore.files.pattern import FramePattern
from loopcore.files.ranges import format_range
from loopcore.flowmap import layouts, pictures
from loopcore.image import encode_png
from loopcore.motion.field import MotionField

if TYPE_CHECKING:
    from loopcore.exr.windows import Windows
    from loopcore.flowmap.maps import FrameMaps, Maps

STATIC = ("motion", "nuke", "blender", "fusion", "rsmb", "game")
PER_FRAME = ("stmap", "displace", "idistort")
EXTRAS = ("displacement", "holes", "weight")
MAX_WRITERS = 8

_UNITS = {
    "stmap": "0_to_1_from_bottom_left_pixel_centres",
    "displace": "pixels_y_up_content_moves_along",
    "idistort": "pixels_y_up_where_to_fetch",
    "displacement": "pixels_y_up",
    "holes": "1_where_nothing_lands",
    "weight": "shares_past_future_still",
}
Job = tuple[Path, dict[str, np.ndarray], dict[str, object]]
Tell = Callable[[int, int, Path], None]


@dataclass(frozen=True)
class FlowSettings:
    """How to export; what a convention has no use for is ignored.

    frames: length of the loop. first: number of its first frame. numbers: which of them to write, all if None.
    bits, green, strength: of a game map. max_displace: RSMB's, in pixels. extras: sequences to write besides.
    """

    frames: int = 60
    first: int = 1001
    numbers: Sequence[int] | None = None
    bits: int = 16
    green: str = "up"
    strength: float | None = None
    max_displace: float | None = None
    extras: Sequence[str] = ()


def export_flow(
    motion: MotionField,
    folder: str | Path,
    convention: str = "motion",
    *,
    name: str = "motion",
    settings: FlowSettings = FlowSettings(),
    on_progress: Tell | None = None,
    cancelled: Callable[[], bool] = lambda: False,
) -> list[Path]:
    """Write the flow maps of one convention into `folder`; return the files, in order.

    `STATIC` conventions give one file, ``NAME.exr`` for motion, ``NAME_nuke.exr``, ``NAME_game.png`` and so on;
    `PER_FRAME` ones a file a frame, ``NAME_displace.1001.exr``, and stmap three: ``NAME_stmap_past.1001.exr``,
    ``NAME_stmap_future.1001.exr``, ``NAME_weight.1001.exr``. `on_progress` gets done, total and the last file;
    `cancelled` is asked between frames, and ends the export with whole files only. EXR files have the motion's windows,
    a PNG is of the display window.

    Raises:
        MotionError: an unknown convention or extra, settings that do not fit.
        SequenceError: frames outside the loop, a folder or file that cannot be written.
    """
    if convention not in STATIC + PER_FRAME:
        raise MotionError(f"unknown convention {convention!r}: choose one of {', '.join(STATIC + PER_FRAME)}")
    for extra in settings.extras:
        if extra not in EXTRAS:
            raise MotionError(f"unknown extra {extra!r}: choose from {', '.join(EXTRAS)}")
    kinds = _kinds(convention, settings.extras)
    wanted = _numbers(settings) if kinds else []
    folder = _made(Path(folder))
    total = len(kinds) * len(wanted) + (convention in STATIC)
    done: list[Path] = []

    def tell(path: Path) -> None:
        done.append(path)
        if on_progress is not None:
            on_progress(len(done), total, path)

    remove_leftovers(folder)
    if convention in STATIC:
        tell(_write_static(motion, folder, convention, name, settings))
    if kinds:
        from loopcore.flowmap.maps import Maps

        jobs = _jobs(Maps(motion, settings.frames), folder, name, kinds, settings, wanted)
        _write_all(jobs, motion.windows, tell, cancelled)
    return sorted(done)


def _kinds(convention: str, extras: Sequence[str]) -> list[str]:
    """The sequences to write."""
    kinds = {"stmap": ["stmap_past", "stmap_future", "weight"]}.get(convention, [convention])
    return list(dict.fromkeys([*(kinds if convention in PER_FRAME else []), *extras]))


def _numbers(settings: FlowSettings) -> list[int]:
    if settings.frames < 2:
        raise MotionError(f"a loop needs at least 2 frames: {settings.frames} was given")
    every = range(settings.first, settings.first + settings.frames)
    outside = [n for n in settings.numbers or () if n not in every]
    if outside:
        raise SequenceError(
            f"frames {format_range(outside)} are not in the loop, which has {every[0]}-{every[-1]}: change the range, "
            "the first frame or the number of frames"
        )
    return list(every) if settings.numbers is None else sorted(set(settings.numbers))


def _made(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SequenceError(f"cannot make folder '{folder}': {error.strerror or error}") from error
    return folder


def _attributes(convention: str, units: str) -> dict[str, object]:
    from loopcore import __version__

    return {
        "colorInteropID": "data",
        "software": f"Loopcore {__version__}",
        "loopcore/version": __version__,
        "loopcore/convention": convention,
        "loopcore/flow_units": units,
    }


def _write_static(motion: MotionField, folder: Path, convention: str, name: str, settings: FlowSettings) -> Path:
    from loopcore.exr import write_exr

    if convention == "motion":
        path = folder / f"{name}.exr"
        motion.save(path)
        return path
    if convention in layouts.LAYOUTS:
        path = folder / f"{name}_{convention}.exr"
        channels = layouts.to_channels(motion, convention)
        attributes = _attributes(convention, layouts.UNITS)
        write_atomically(
            path, lambda hidden: write_exr(hidden, channels, attributes=attributes, windows=motion.windows)
        )
        return path
    path, motion = folder / f"{name}_{convention}.png", motion.displayed()  # a PNG knows no windows
    text = {"convention": convention}
    if convention == "rsmb":
        codes, limit = pictures.rsmb_codes(motion, settings.max_displace)
        text["max_displace"] = repr(limit)
    else:
        codes, limit = pictures.game_codes(motion, settings.bits, settings.green, settings.strength)
        text.update(strength=repr(limit), green=settings.green)
    png = encode_png(codes, texts={pictures.TEXT_PREFIX + key: value for key, value in text.items()})
    write_bytes_atomically(path, png)
    return path


def _jobs(
    maps: Maps, folder: Path, name: str, kinds: Sequence[str], settings: FlowSettings, numbers: Sequence[int]
) -> Iterator[list[Job]]:
    """What to write, one frame after another."""
    patterns = {kind: FramePattern(folder, f"{name}_{kind}.", ".exr") for kind in kinds}
    moving = any(kind not in ("displacement", "holes") for kind in kinds)
    for number in numbers:
        time = number - settings.first
        moment = maps.at(time) if moving else None
        jobs = []
        for kind in kinds:
            convention, _, direction = kind.partition("_")
            attributes = _attributes(convention, _UNITS[convention])
            attributes |= {"loopcore/loop_frames": maps.frames, "loopcore/loop_time": time}
            if direction:
                attributes["loopcore/direction"] = direction
            jobs.append((patterns[kind].path(number), _channels(maps, moment, kind, time), attributes))
        yield jobs


def _channels(maps: Maps, moment: FrameMaps | None, kind: str, time: int) -> dict[str, np.ndarray]:
    from loopcore.flowmap import maps as encode

    if kind == "displacement":
        moved = {"carried": maps.carried(time), "fetched": maps.carried(-time)}
        return {f"{n}.{c}": s * a[..., k] for n, a in moved.items() for k, (c, s) in enumerate((("u", 1), ("v", -1)))}
    if kind == "holes":
        holes = maps.holes(time)
        return {f"holes.{c}": holes[..., k] for k, c in enumerate("XYZ")}
    assert moment is not None
    if kind == "weight":
        return {c: moment.shares[..., k] for k, c in enumerate("RGB")}
    if kind.startswith("stmap"):
        return encode.stmap_channels(moment.past if kind.endswith("past") else moment.future, maps.windows)
    push = kind == "displace"
    channels = encode.offset_channels(moment.past, "past", push) | encode.offset_channels(moment.future, "future", push)
    return channels | {f"weight.{c}": moment.shares[..., k] for k, c in enumerate("XYZ")}


def _write_all(
    jobs: Iterator[list[Job]], windows: Windows, tell: Callable[[Path], None], cancelled: Callable[[], bool]
) -> None:
    from loopcore.exr import write_exr
    from loopcore.parallel import thread_count

    def write(job: Job) -> Path:
        path, channels, attributes = job
        write_atomically(path, lambda hidden: write_exr(hidden, channels, attributes=attributes, windows=windows))
        return path

    writers = max(1, min(MAX_WRITERS, thread_count()))
    pending: set[Future[Path]] = set()
    with ThreadPoolExecutor(writers, thread_name_prefix="loopcore-write") as pool:
        try:
            for frame in jobs:
                if cancelled():
                    break
                pending |= {pool.submit(write, job) for job in frame}
                # No more than a frame waits, so that memory does not grow with their number.
                while len(pending) > max(len(frame), writers):
                    pending = _collected(pending, tell)
            while pending:
                pending = _collected(pending, tell)
        finally:
            for future in pending:
                future.cancel()


def _collected(pending: set[Future[Path]], tell: Callable[[Path], None]) -> set[Future[Path]]:
    done, left = wait(pending, return_when=FIRST_COMPLETED)
    for future in done:
        tell(future.result())
    return left
