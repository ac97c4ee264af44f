# SPDX-License-Identifier: Apache-2.0
"""Any flow map back to a motion field: which convention a file is in, and what it says.

A file is known by its first bytes and its channels, never by its name. Nothing is guessed where two programs write
the same thing and mean different ones: such a file is refused until the convention is named.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from loopcore.errors import LoopcoreError, MotionError
from loopcore.exr import MAGIC, read_exr
from loopcore.exr.windows import WHOLE, Windows, checked_windows, place_channels
from loopcore.files.regular import existing_file
from loopcore.flowmap import layouts, maps, pictures
from loopcore.image import PNG_SIGNATURE
from loopcore.motion.field import MotionField
from loopcore.motion.masks import matches

IN_EXR = ("motion", "nuke", "blender", "fusion", "stmap", "displace", "idistort")
IN_PNG = ("rsmb", "game", "kitti")
CONVENTIONS = (*IN_EXR, *IN_PNG, "flo")


@dataclass(frozen=True)
class FlowNumbers:
    """What a file of another maker does not say: RSMB's Max Displace (px), a game map's strength and green."""

    max_displace: float | None = None
    strength: float | None = None
    green: str | None = None


def read_motion(
    path: str | Path,
    convention: str | None = None,
    *,
    size: tuple[int, int] | None = None,
    windows: Windows = WHOLE,
    rescale: bool = False,
    numbers: FlowNumbers = FlowNumbers(),
) -> MotionField:
    """A motion field from a flow map of any convention, found out or named.

    size: (height, width) that it has to be of, a plate's. windows: that plate's, where it has overscan; a motion as
    large as its display window fits, too, and its edges go on into the overscan. rescale: bring another size to it,
    vectors too.

    Raises:
        MotionError: no such file or convention, a file that is not what it is called, values that are not finite,
            another size. The message names the file and what to do.
    """
    try:
        source = existing_file(path)
    except LoopcoreError as error:
        raise MotionError(f"flow map: {error}") from None
    if convention is not None and convention not in CONVENTIONS:
        raise MotionError(f"unknown convention {convention!r}: choose one of {', '.join(CONVENTIONS)}")
    try:
        motion = _read(source, convention, numbers)
    except LoopcoreError as error:
        text = str(error).removeprefix("motion field ").removeprefix(f"{source}: ")
        raise MotionError(f"flow map {source}: {text}") from None
    except OSError as error:
        raise MotionError(f"flow map {source} cannot be read: {error.strerror or error}") from None
    if size is None:
        return motion
    windows = checked_windows(windows, *size)
    if not rescale and not matches(motion.windows, windows):
        raise MotionError(
            f"flow map {source} is {motion.windows} and the plate {windows}: make it for this plate, or ask for it to "
            "be rescaled"
        )
    return motion.over(windows)


def detect(path: str | Path) -> str:
    """The convention that a file is in, one of `CONVENTIONS`.

    Raises:
        MotionError: it cannot be told.
    """
    source = existing_file(path)
    kind = _kind(source)
    if kind == "flo":
        return "flo"
    if kind == "png":
        codes, notes = pictures.read_png(source)
        return _png_convention(codes, notes)
    return _exr_convention(_Exr(source))


def _read(source: Path, convention: str | None, numbers: FlowNumbers) -> MotionField:
    kind = _kind(source)
    wanted = {"exr": IN_EXR, "png": IN_PNG, "flo": ("flo",)}[kind]
    if convention is not None and convention not in wanted:
        names = {"exr": "an EXR", "png": "a PNG, whose 8 or 16 bits hold no signed pixels", "flo": "a .flo"}
        raise MotionError(
            f"it is {names[kind]}, and {convention} is not kept in one: "
            f"name {' or '.join(wanted)}, or export it again as {_file_of(convention)}"
        )
    if kind == "flo":
        return pictures.read_flo(source)
    if kind == "png":
        return _from_png(source, convention, numbers)
    return _from_exr(source, convention)


def _file_of(convention: str) -> str:
    return "a 32-bit EXR" if convention in IN_EXR else "a .flo" if convention == "flo" else "a PNG"


def _kind(source: Path) -> str:
    with source.open("rb") as file:
        start = file.read(8)
    if start.startswith(MAGIC):
        return "exr"
    if start == PNG_SIGNATURE:
        return "png"
    if start.startswith(pictures.FLO_MAGIC):
        return "flo"
    raise MotionError(f"{source.name} is neither EXR, PNG nor .flo: export the vectors as a 32-bit EXR")


def _png_convention(codes: np.ndarray, notes: Mapping[str, str]) -> str:
    named = notes.get("convention")
    if named in ("rsmb", "game"):
        return str(named)
    if codes.dtype == np.uint16 and codes[..., 2].max() <= 1:
        return "kitti"
    raise MotionError(
        "it is a PNG that does not say what its colours mean: name the convention (rsmb with its max displace, game "
        "with its strength, kitti)"
    )


def _from_png(source: Path, convention: str | None, numbers: FlowNumbers) -> MotionField:
    codes, notes = pictures.read_png(source)
    convention = convention or _png_convention(codes, notes)
    ours = notes.get("convention") == convention
    if convention == "kitti":
        return pictures.motion_of_kitti(codes)
    if convention == "rsmb":
        if codes.dtype != np.uint16:
            raise MotionError("it has 8 bits a colour, which holds vectors to a quarter pixel at best: export 16")
        return pictures.motion_of_rsmb(codes, _number(numbers.max_displace, notes, "max_displace"), ours)
    green = numbers.green or notes.get("green")
    if green is None:
        raise MotionError("it does not say whether its green points up or down: name it")
    return pictures.motion_of_game(codes, _number(numbers.strength, notes, "strength"), green, ours)


def _number(given: float | None, notes: Mapping[str, str], key: str) -> float:
    if given is None and key not in notes:
        raise MotionError(f"it does not say its {key.replace('_', ' ')}: give the one it was made with")
    try:
        value = float(notes[key]) if given is None else float(given)
    except ValueError:
        raise MotionError(f"its {key.replace('_', ' ')} is {notes[key]!r}, which is no number") from None
    if not np.isfinite(value) or value <= 0:
        raise MotionError(f"its {key.replace('_', ' ')} is {value:g}: it must be above 0")
    return value


class _Exr:
    """The float channels of a whole EXR, over its display window and overscan, and how to find them."""

    def __init__(self, source: Path) -> None:
        parts = read_exr(source)
        self.source, self.attributes = source, parts[0].attributes
        channels, self.windows = place_channels(parts)
        self.channels = {
            name: array for name, array in channels.items()
            if array.shape == self.windows.size and array.dtype != np.uint32
        }  # fmt: skip
        # Where the first part, which holds what is read here, has pixels.
        self.filled = Windows(self.windows.data, parts[0].data_window).shown
        self._find = layouts.finder(self.channels)

    def find(self, name: str) -> np.ndarray | None:
        return self._find(name)

    def pair(self, *names: str) -> list[np.ndarray]:
        """Channels that have to be there."""
        found = [self.find(name) for name in names]
        lost = [name for name, array in zip(names, found, strict=True) if array is None]
        if lost:
            raise MotionError(f"it lacks {' and '.join(lost)}; it has {', '.join(sorted(self.channels)[:12])}")
        return [array for array in found if array is not None]

    @property
    def named(self) -> str | None:
        named = self.attributes.get("loopcore/convention")
        return named if isinstance(named, str) and named in IN_EXR else None


def _exr_convention(file: _Exr) -> str:
    if file.named:
        return file.named
    whole: dict[str, tuple[str, ...]] = {
        "motion": ("velocity.X", "velocity.Y", "forward.u"), "nuke": ("forward.u", "forward.v"),
        "blender": ("Vector.X", "Vector.Y"), "fusion": ("velX", "velY"),
        "idistort": ("past.u", "past.v"), "displace": ("past.X", "past.Y"), "stmap": ("R", "G"),
    }  # fmt: skip
    for convention, names in whole.items():
        if all(file.find(name) is not None for name in names):
            if convention == "stmap" and _slopes(file) is None:
                break
            return convention
    listed = ", ".join(sorted(file.channels)[:12]) or "none that are float"
    raise MotionError(
        f"its channels ({listed}) are those of no flow map known here. Vectors in pixels belong in forward.u and "
        "forward.v (y up, to the next frame)"
    )


def _from_exr(source: Path, convention: str | None) -> MotionField:
    file = _Exr(source)
    convention = convention or _exr_convention(file)
    if convention == "motion" and file.channels.keys() >= {"forward.u", "forward.v"}:
        return MotionField.load(source)
    ours = file.named == convention
    readers: dict[str, Callable[[_Exr], MotionField]] = {
        "stmap": _from_stmap, "displace": _from_offsets, "idistort": _from_offsets,
    }  # fmt: skip
    if convention in readers:
        motion = readers[convention](file)
    else:
        motion = layouts.from_channels(file.find, "nuke" if convention == "motion" else convention, ours)
    return replace(motion, windows=file.windows)


def _slopes(file: _Exr) -> tuple[float, float] | None:
    """How fast red grows to the right and green downward, in pictures; None where they are no coordinates at all."""
    height, width = file.windows.display_size
    u, v = (values[file.filled] for values in file.pair("R", "G"))
    if min(u.shape) < 2:
        return None
    across = float(np.median(np.diff(u.astype(np.float32), axis=1))) * width
    down = float(np.median(np.diff(v.astype(np.float32), axis=0))) * height
    return (across, down) if 0.5 < abs(across) < 1.5 and 0.5 < abs(down) < 1.5 else None


def _from_stmap(file: _Exr) -> MotionField:
    u, v = file.pair("R", "G")
    if np.float16 in (u.dtype, v.dtype):
        raise MotionError(
            f"it is an STMap in half floats, which are up to {u.shape[1] / 4096:.2f} px off at this width: "
            "export it as 32-bit float"
        )
    _require_finite(u, v)
    slopes = _slopes(file)
    if slopes is None:
        raise MotionError(
            f"it is no STMap: red spans {u.min():g} to {u.max():g} and green {v.min():g} to {v.max():g}, where "
            "coordinates would grow from 0 to 1 across the picture"
        )
    if slopes[0] < 0 or slopes[1] > 0:
        raise MotionError("its coordinates do not start at the bottom left: flip it (1 - red, or 1 - green)")
    displacement = maps.displacement_of_stmap(u, v, file.windows)
    fetched = np.zeros_like(displacement)  # where the file has no pixels, nothing moves
    fetched[file.filled] = displacement[file.filled]
    span = _span(file, str(file.attributes.get("loopcore/direction", "past")))
    velocity, known = maps.velocity_from(fetched, span)
    return _masked(velocity, known, _mask_beside(file.source, u.shape))


def _from_offsets(file: _Exr) -> MotionField:
    push = file.find("past.X") is not None
    names, sign = (("X", "Y"), (-1, 1)) if push else (("u", "v"), (1, -1))
    spans = {layer: _span(file, layer, lenient=True) for layer in ("past", "future")}
    layer = min((s for s in spans if spans[s]), key=lambda s: abs(spans[s]))
    x, y = file.pair(*(f"{layer}.{name}" for name in names))
    _require_finite(x, y)
    displacement = np.stack([sign[0] * x, sign[1] * y], axis=-1).astype(np.float32)
    velocity, known = maps.velocity_from(displacement, spans[layer])
    still = file.find("weight.Z")
    return _masked(velocity, known, None if still is None else 1 - still.astype(np.float32))


def _span(file: _Exr, direction: str, lenient: bool = False) -> float:
    """Over how many frames a map fetches: negative from the past. 0 where nothing has moved, which says nothing."""
    time, total = (file.attributes.get(f"loopcore/{key}") for key in ("loop_time", "loop_frames"))
    if not isinstance(time, int | float) or not isinstance(total, int | float):
        return -1.0 if direction == "past" else 1.0
    span = float(-time if direction == "past" else total - time)
    if span == 0 and not lenient:
        raise MotionError("it is the map of the moment when nothing has moved yet: give the frame next to it")
    return span


def _require_finite(*channels: Any) -> None:
    for channel in channels:
        if not np.isfinite(channel).all():
            y, x = np.argwhere(~np.isfinite(channel))[0]
            raise MotionError(f"it holds NaN or Inf (first at x {x}, y {y}): repair it where it was made")


def _mask_beside(source: Path, shape: tuple[int, int]) -> np.ndarray | None:
    """The mask out of the shares that we write beside our STMaps, where they are."""
    beside = source.with_name(source.name.replace("_stmap_past.", "_weight.").replace("_stmap_future.", "_weight."))
    if beside == source or not beside.is_file():
        return None
    still = _Exr(beside).find("B")
    return None if still is None or still.shape != shape else 1 - still.astype(np.float32)


def _masked(velocity: np.ndarray, known: np.ndarray, mask: np.ndarray | None) -> MotionField:
    if mask is None:
        mask = (velocity != 0).any(axis=2).astype(np.float32)
    motion = layouts.with_mask(velocity, np.clip(mask, 0, 1), multiplied=True)
    return MotionField(motion.velocity, motion.mask, known.astype(np.float32))
