# SPDX-License-Identifier: Apache-2.0
"""Writes a motion field as the files of any convention: one for the whole loop, or maps for every frame.

Maps are computed one frame after another, each with all threads. Other threads meanwhile compress and write the
earlier ones. Every file is written under a temporary name and renamed when complete.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from loopcore.errors import MotionError, SequenceError
from loopcore.files.atomic import make_folder, remove_leftovers, write_atomically, write_bytes_atomically
from loopcore.files.overwrite import refuse_overwriting
from loopcore.files.pattern import FramePattern, check_letters
from loopcore.files.ranges import check_frames, format_range
from loopcore.flowmap import layouts, pictures
from loopcore.image import encode_png
from loopcore.motion.field import MotionField

if TYPE_CHECKING:
    from loopcore.exr.windows import Windows
    from loopcore.flowmap.layers import LayerMaps
    from loopcore.flowmap.maps import FrameMaps, Maps
    from loopcore.plate import Plate

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
    "shift": "added_to_tone_white_in_alpha",
}
OnProgress = Callable[[int, int, Path], None]


@dataclass(frozen=True)
class FlowSettings:
    """Settings of an export; those that a convention does not use are ignored.

    Attributes:
        frames: length N of the loop, for maps of every frame.
        first: number of the first frame.
        numbers: the frame numbers to write; None writes all.
        bits: 8 or 16, of a game map.
        green: "up" or "down", of a game map.
        strength: of a game map, in texture units per frame; None takes the smallest that holds the motion.
        max_displace: RSMB's Max Displace in pixels; None takes the smallest whole number that holds the motion.
        extras: names from `EXTRAS`, written as sequences in addition.
        cycles: of the loop that maps of every frame rebuild; see `loopcore.Loop`.
        steady: see `loopcore.Loop`.
    """

    frames: int = 60
    first: int = 1001
    numbers: Sequence[int] | None = None
    bits: int = 16
    green: str = "up"
    strength: float | None = None
    max_displace: float | None = None
    extras: Sequence[str] = ()
    cycles: int | str = "auto"
    steady: float | str = "auto"


def export_flow(
    motion: MotionField,
    folder: str | Path,
    convention: str = "motion",
    *,
    name: str = "motion",
    settings: FlowSettings = FlowSettings(),
    plate: Plate | None = None,
    sources: Sequence[Path | None] = (),
    on_progress: OnProgress | None = None,
    cancelled: Callable[[], bool] = lambda: False,
) -> list[Path]:
    """Writes the flow maps of one convention.

    Args:
        motion: the motion field.
        folder: made where it is missing.
        convention: one of `STATIC`, which give one file (`NAME.exr` for motion, `NAME_nuke.exr`, `NAME_game.png` and
            so on), or of `PER_FRAME`, which give one per frame (`NAME_displace.1001.exr`), stmap three
            (`NAME_stmap_past.1001.exr`, `NAME_stmap_future.1001.exr`, `NAME_weight.1001.exr`), or, for a loop of
            several cycles or with steady looks, one for each layer (`NAME_stmap_1.1001.exr`, ...) and
            `NAME_shift.1001.exr`.
        name: start of the file names.
        settings: see `FlowSettings`.
        plate: the still, which maps of a loop with steady looks are computed from.
        sources: files that the motion was read from. They and the plate's file are not overwritten.
        on_progress: called after every file with the number done, the total and the file.
        cancelled: called between frames; True stops the export after the files being written.

    Returns:
        The files written, sorted.

    Raises:
        MotionError: an unknown convention or extra, invalid settings, or steady looks without a plate.
        PlateError: the plate has more than four channels.
        SequenceError: a name that leaves the folder, too many frames, frame numbers outside the loop, a file that
            would overwrite a source, or a folder or file that cannot be written.

    Convention: see docs/flow-maps.md. EXR files have the motion's windows, PNG files the display window.
    """
    _require_known(convention, settings.extras)
    check_letters(name, name)
    check_frames(settings.frames, settings.first)
    maps = _maps(motion, settings, plate) if convention in PER_FRAME or settings.extras else None
    kinds = [] if maps is None else _kinds(convention, settings.extras, maps)
    numbers = [] if maps is None else _numbers(settings)
    folder = Path(folder)
    patterns = _patterns(folder, name, kinds)
    outputs = [_static_path(folder, convention, name)] if convention in STATIC else []
    outputs += [pattern.path(number) for pattern in patterns.values() for number in numbers]
    refuse_overwriting([*sources, None if plate is None else plate.source], outputs)
    make_folder(folder)
    remove_leftovers(folder)
    total = len(kinds) * len(numbers) + (convention in STATIC)
    written: list[Path] = []

    def report(path: Path) -> None:
        written.append(path)
        if on_progress is not None:
            on_progress(len(written), total, path)

    if convention in STATIC:
        report(_write_static(motion, folder, convention, name, settings))
    if maps is not None:
        frames = _frames(maps, patterns, settings, numbers)
        _write_frames(frames, maps.windows, report, cancelled)
    return sorted(written)


def _require_known(convention: str, extras: Sequence[str]) -> None:
    if convention not in STATIC + PER_FRAME:
        raise MotionError(f"unknown convention {convention!r}: choose one of {', '.join(STATIC + PER_FRAME)}")
    for extra in extras:
        if extra not in EXTRAS:
            raise MotionError(f"unknown extra {extra!r}: choose from {', '.join(EXTRAS)}")


def _maps(motion: MotionField, settings: FlowSettings, plate: Plate | None) -> Maps:
    from loopcore.flowmap.maps import Maps

    return Maps(motion, settings.frames, settings.cycles, settings.steady, plate)


def _kinds(convention: str, extras: Sequence[str], maps: Maps) -> list[str]:
    """Returns the names of the sequences to write."""
    kinds = [] if convention in STATIC else [convention]
    layers = maps.layers if kinds else None
    if convention == "stmap" and layers is None:
        kinds = ["stmap_past", "stmap_future", "weight"]
    elif convention == "stmap" and layers is not None:
        kinds = [f"stmap_{k + 1}" for k in range(layers.count)] + ["shift"] * (layers.white is not None)
    return list(dict.fromkeys([*kinds, *extras]))


def _numbers(settings: FlowSettings) -> list[int]:
    """Returns the frame numbers to write, in order."""
    every = range(settings.first, settings.first + settings.frames)
    outside = [n for n in settings.numbers or () if n not in every]
    if outside:
        raise SequenceError(
            f"frames {format_range(outside)} are not in the loop, which has {every[0]}-{every[-1]}: change the range, "
            "the first frame or the number of frames"
        )
    return list(every) if settings.numbers is None else sorted(set(settings.numbers))


def _attributes(convention: str, units: str) -> dict[str, object]:
    from loopcore import __version__

    return {
        "colorInteropID": "data",
        "software": f"Loopcore {__version__}",
        "loopcore/version": __version__,
        "loopcore/convention": convention,
        "loopcore/flow_units": units,
    }


def _static_path(folder: Path, convention: str, name: str) -> Path:
    suffix = ".exr" if convention == "motion" or convention in layouts.LAYOUTS else ".png"
    return folder / f"{name}{'' if convention == 'motion' else '_' + convention}{suffix}"


def _write_static(motion: MotionField, folder: Path, convention: str, name: str, settings: FlowSettings) -> Path:
    path = _static_path(folder, convention, name)
    if convention == "motion":
        motion.save(path)
    elif convention in layouts.LAYOUTS:
        channels = layouts.to_channels(motion, convention)
        _write_file(_File(path, channels, _attributes(convention, layouts.UNITS)), motion.windows)
    else:
        write_bytes_atomically(path, _png(motion.displayed(), convention, settings))
    return path


def _png(motion: MotionField, convention: str, settings: FlowSettings) -> bytes:
    texts = {"convention": convention}
    if convention == "rsmb":
        codes, limit = pictures.rsmb_codes(motion, settings.max_displace)
        texts["max_displace"] = repr(limit)
    else:
        codes, limit = pictures.game_codes(motion, settings.bits, settings.green, settings.strength)
        texts.update(strength=repr(limit), green=settings.green)
    return encode_png(codes, texts={pictures.TEXT_PREFIX + key: value for key, value in texts.items()})


@dataclass(frozen=True)
class _File:
    """One EXR file to write."""

    path: Path
    channels: dict[str, np.ndarray]
    attributes: dict[str, object]


def _patterns(folder: Path, name: str, kinds: Sequence[str]) -> dict[str, FramePattern]:
    return {kind: FramePattern(folder, f"{name}_{kind}.", ".exr") for kind in kinds}


def _frames(
    maps: Maps, patterns: dict[str, FramePattern], settings: FlowSettings, numbers: Sequence[int]
) -> Iterator[list[_File]]:
    """Yields the files of one frame after another."""
    from loopcore.flowmap.layers import LayerMaps

    needs_maps = any(kind not in ("displacement", "holes") for kind in patterns)
    for number in numbers:
        time = number - settings.first
        frame = (maps.layers or maps).at(time) if needs_maps else None
        files = []
        for kind, pattern in patterns.items():
            convention, _, direction = kind.partition("_")
            attributes = _attributes(convention, _UNITS[convention])
            attributes |= {"loopcore/loop_frames": maps.frames, "loopcore/loop_time": time}
            if direction:
                attributes["loopcore/direction"] = direction
            if isinstance(frame, LayerMaps):
                attributes |= _layer_attributes(maps, frame)
                if kind == "weight":
                    attributes["loopcore/flow_units"] = "shares_of_layers"
            files.append(_File(pattern.path(number), _channels(maps, frame, kind, time), attributes))
        yield files


def _layer_attributes(maps: Maps, frame: LayerMaps) -> dict[str, object]:
    """Returns the frames that each layer's map spans, and the plate's white."""
    spans: dict[str, object] = {f"loopcore/span_{k}": layer.span for k, layer in enumerate(frame.layers, 1)}
    return spans if maps.layers is None or maps.layers.white is None else spans | {"loopcore/white": maps.layers.white}


def _channels(maps: Maps, frame: FrameMaps | LayerMaps | None, kind: str, time: int) -> dict[str, np.ndarray]:
    from loopcore.flowmap import maps as encode
    from loopcore.flowmap.layers import LayerMaps

    if kind == "displacement":
        displacements = {"carried": maps.displacement(time), "fetched": maps.displacement(-time)}
        axes = (("u", 1), ("v", -1))  # y up
        return {f"{n}.{c}": s * d[..., k] for n, d in displacements.items() for k, (c, s) in enumerate(axes)}
    if kind == "holes":
        holes = maps.holes(time)
        return {f"holes.{c}": holes[..., k] for k, c in enumerate("XYZ")}
    assert frame is not None
    if isinstance(frame, LayerMaps):
        return _layer_channels(maps, frame, kind)
    if kind == "weight":
        return {c: frame.weights[..., k] for k, c in enumerate("RGB")}
    if kind.startswith("stmap"):
        return encode.stmap_channels(frame.past if kind.endswith("past") else frame.future, maps.windows)
    push = kind == "displace"
    channels = encode.offset_channels(frame.past, "past", push) | encode.offset_channels(frame.future, "future", push)
    return channels | {f"weight.{c}": frame.weights[..., k] for k, c in enumerate("XYZ")}


def _layer_channels(maps: Maps, frame: LayerMaps, kind: str) -> dict[str, np.ndarray]:
    from loopcore.flowmap import maps as encode

    if kind == "shift":
        return _shift_channels(maps, frame)
    if kind.startswith("stmap"):
        layer = frame.layers[int(kind.removeprefix("stmap_")) - 1]
        return encode.stmap_channels(layer.displacement, maps.windows) | {"A": layer.weight}
    channels = {f"weight{k}.V": layer.weight for k, layer in enumerate(frame.layers, 1)}
    if kind == "weight":
        return channels
    for k, layer in enumerate(frame.layers, 1):
        channels |= encode.offset_channels(layer.displacement, f"layer{k}", kind == "displace")
    return channels | {f"shift.{name}": values for name, values in _shift_channels(maps, frame).items()}


def _shift_channels(maps: Maps, frame: LayerMaps) -> dict[str, np.ndarray]:
    """Returns the shift of tone of each colour, R, G and B where the plate has but one, and its white as alpha."""
    from loopcore.color import contrast_weights

    if frame.shift is None or maps.plate is None or maps.layers is None:
        return {}
    colours = np.flatnonzero(contrast_weights(maps.plate.channels)[1])
    channels = {maps.plate.channels[c]: frame.shift[..., c] for c in colours}
    if len(channels) == 1:
        channels = dict.fromkeys("RGB", frame.shift[..., colours[0]])
    return channels | {"A": np.full((maps.height, maps.width), maps.layers.white, np.float32)}


def _write_frames(
    frames: Iterator[list[_File]],
    windows: Windows,
    report: Callable[[Path], None],
    cancelled: Callable[[], bool],
) -> None:
    from loopcore.parallel import thread_count

    writers = max(1, min(MAX_WRITERS, thread_count()))
    pending: set[Future[Path]] = set()
    with ThreadPoolExecutor(writers, thread_name_prefix="loopcore-write") as pool:
        try:
            for files in frames:
                if cancelled():
                    break
                pending |= {pool.submit(_write_file, file, windows) for file in files}
                # At most one frame waits, so memory does not grow with the number of frames.
                while len(pending) > max(len(files), writers):
                    pending = _collect(pending, report)
            while pending:
                pending = _collect(pending, report)
        finally:
            for future in pending:
                future.cancel()


def _write_file(file: _File, windows: Windows) -> Path:
    from loopcore.exr import write_exr

    write_atomically(
        file.path, lambda temporary: write_exr(temporary, file.channels, attributes=file.attributes, windows=windows)
    )
    return file.path


def _collect(pending: set[Future[Path]], report: Callable[[Path], None]) -> set[Future[Path]]:
    """Waits for at least one file, reports those written and returns the others."""
    done, remaining = wait(pending, return_when=FIRST_COMPLETED)
    for future in done:
        report(future.result())
    return remaining
