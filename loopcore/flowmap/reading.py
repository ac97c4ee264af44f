# SPDX-License-Identifier: Apache-2.0
"""Reads flow maps of any convention as motion fields, and detects the convention of a file.

Detection uses the first bytes, channels and header, never the file's name. An ambiguous file is refused until the
convention is given.
"""

from __future__ import annotations

import re
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
_LAYER = re.compile(r"_stmap_\d+(?=\.)")  # in the names of STMaps of a loop of several layers
CONVENTIONS = (*IN_EXR, *IN_PNG, "flo")


@dataclass(frozen=True)
class FlowNumbers:
    """Values that PNG files of other programs do not store.

    Attributes:
        max_displace: RSMB's Max Displace, in pixels.
        strength: of a game map, in texture units per frame.
        green: "up" or "down", of a game map.
    """

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
    """Reads a flow map as a motion field.

    Args:
        path: the file.
        convention: one of `CONVENTIONS`; None detects it.
        size: (height, width) of the plate that the motion is for; None accepts any size.
        windows: the plate's windows. A motion of the size of its display window is continued into the overscan.
        rescale: scale a motion of another size, vectors included, instead of refusing it.
        numbers: values that the file does not store.

    Raises:
        MotionError: the file or convention does not exist, the file is not of the convention, a value is not finite,
            or the size differs. The message names the file and what to do.
    """
    try:
        source = existing_file(path)
    except LoopcoreError as error:
        raise MotionError(f"flow map: {error}") from None
    if convention is not None and convention not in CONVENTIONS:
        raise MotionError(f"unknown convention {convention!r}: choose one of {', '.join(CONVENTIONS)}")
    motion = _read_named(source, convention, numbers)
    if size is None:
        return motion
    windows = checked_windows(windows, *size)
    if not rescale and not matches(motion.windows, windows):
        raise MotionError(
            f"flow map {source} is {motion.windows} and the plate {windows}: make it for this plate, or allow rescaling"
        )
    return motion.over(windows)


def detect(path: str | Path) -> str:
    """Returns the convention of a file, one of `CONVENTIONS`.

    Args:
        path: the file.

    Raises:
        MotionError: the file does not determine it.
    """
    source = existing_file(path)
    file_type = _file_type(source)
    if file_type == "flo":
        return "flo"
    if file_type == "png":
        codes, texts = pictures.read_png(source)
        return _png_convention(codes, texts)
    return _exr_convention(_Exr(source))


def _read_named(source: Path, convention: str | None, numbers: FlowNumbers) -> MotionField:
    """Calls `_read`; errors name the file."""
    try:
        return _read(source, convention, numbers)
    except LoopcoreError as error:
        text = str(error).removeprefix("motion field ").removeprefix(f"{source}: ")
        raise MotionError(f"flow map {source}: {text}") from None
    except OSError as error:
        raise MotionError(f"flow map {source} cannot be read: {error.strerror or error}") from None


def _read(source: Path, convention: str | None, numbers: FlowNumbers) -> MotionField:
    file_type = _file_type(source)
    wanted = {"exr": IN_EXR, "png": IN_PNG, "flo": ("flo",)}[file_type]
    if convention is not None and convention not in wanted:
        names = {"exr": "an EXR", "png": "a PNG, whose 8 or 16 bits cannot hold signed pixels", "flo": "a .flo"}
        raise MotionError(
            f"it is {names[file_type]}, which {convention} does not use: "
            f"name {' or '.join(wanted)}, or export it again as {_file_of(convention)}"
        )
    if file_type == "flo":
        return pictures.read_flo(source)
    if file_type == "png":
        return _from_png(source, convention, numbers)
    return _from_exr(source, convention)


def _file_of(convention: str) -> str:
    return "a 32-bit EXR" if convention in IN_EXR else "a .flo" if convention == "flo" else "a PNG"


def _file_type(source: Path) -> str:
    """Returns "exr", "png" or "flo"."""
    with source.open("rb") as file:
        start = file.read(8)
    if start.startswith(MAGIC):
        return "exr"
    if start == PNG_SIGNATURE:
        return "png"
    if start.startswith(pictures.FLO_MAGIC):
        return "flo"
    raise MotionError(f"{source.name} is neither EXR, PNG nor .flo: export the vectors as a 32-bit EXR")


def _png_convention(codes: np.ndarray, texts: Mapping[str, str]) -> str:
    named = texts.get("convention")
    if named in ("rsmb", "game"):
        return str(named)
    if codes.dtype == np.uint16 and codes[..., 2].max() <= 1:
        return "kitti"
    raise MotionError(
        "it is a PNG without a convention in its header: name the convention (rsmb with its max displace, game with "
        "its strength, kitti)"
    )


def _from_png(source: Path, convention: str | None, numbers: FlowNumbers) -> MotionField:
    codes, texts = pictures.read_png(source)
    convention = convention or _png_convention(codes, texts)
    from_loopcore = texts.get("convention") == convention
    if convention == "kitti":
        return pictures.motion_of_kitti(codes)
    if convention == "rsmb":
        if codes.dtype != np.uint16:
            raise MotionError("it has 8 bits per channel, too few for vectors in pixels: export 16")
        return pictures.motion_of_rsmb(codes, _number(numbers.max_displace, texts, "max_displace"), from_loopcore)
    green = numbers.green or texts.get("green")
    if green is None:
        raise MotionError("it does not store whether its green points up or down: give it")
    return pictures.motion_of_game(codes, _number(numbers.strength, texts, "strength"), green, from_loopcore)


def _number(given: float | None, texts: Mapping[str, str], key: str) -> float:
    """Returns the value given, else the one in the file."""
    if given is None and key not in texts:
        raise MotionError(f"it does not store its {key.replace('_', ' ')}: give the value that it was made with")
    try:
        value = float(texts[key]) if given is None else float(given)
    except ValueError:
        raise MotionError(f"its {key.replace('_', ' ')} is {texts[key]!r}, which is not a number") from None
    if not np.isfinite(value) or value <= 0:
        raise MotionError(f"its {key.replace('_', ' ')} is {value:g}: it must be above 0")
    return value


class _Exr:
    """The float channels of an EXR over its display window and overscan."""

    def __init__(self, source: Path) -> None:
        parts = read_exr(source)
        self.source, self.parts, self.attributes = source, parts, parts[0].attributes
        channels, self.windows = place_channels(parts)
        self.channels = {
            name: array for name, array in channels.items()
            if array.shape == self.windows.size and array.dtype != np.uint32
        }  # fmt: skip
        # The region where the first part has pixels.
        self.filled = Windows(self.windows.data, parts[0].data_window).shown
        self._find = layouts.finder(self.channels)

    def find(self, name: str) -> np.ndarray | None:
        """Returns a channel by its name or the end of it; see `layouts.finder`."""
        return self._find(name)

    def require(self, *names: str) -> list[np.ndarray]:
        """Returns channels; raises MotionError where one is missing."""
        found = [self.find(name) for name in names]
        missing = [name for name, array in zip(names, found, strict=True) if array is None]
        if missing:
            raise MotionError(f"it lacks {' and '.join(missing)}; it has {', '.join(sorted(self.channels)[:12])}")
        return [array for array in found if array is not None]

    @property
    def convention(self) -> str | None:
        """Returns the convention in the header, where Loopcore wrote the file."""
        stored = self.attributes.get("loopcore/convention")
        return stored if isinstance(stored, str) and stored in IN_EXR else None


def _exr_convention(file: _Exr) -> str:
    if file.convention:
        return file.convention
    channels: dict[str, tuple[str, ...]] = {
        "motion": ("velocity.X", "velocity.Y", "forward.u"), "nuke": ("forward.u", "forward.v"),
        "blender": ("Vector.X", "Vector.Y"), "fusion": ("velX", "velY"),
        "idistort": ("past.u", "past.v"), "displace": ("past.X", "past.Y"), "stmap": ("R", "G"),
    }  # fmt: skip
    for convention, names in channels.items():
        if all(file.find(name) is not None for name in names):
            if convention == "stmap" and _slopes(file) is None:
                break
            return convention
    listed = ", ".join(sorted(file.channels)[:12]) or "none that are float"
    raise MotionError(
        f"its channels ({listed}) match no known flow map. Store vectors in pixels as forward.u and forward.v "
        "(y up, to the next frame)"
    )


def _from_exr(source: Path, convention: str | None) -> MotionField:
    file = _Exr(source)
    convention = convention or _exr_convention(file)
    if convention == "motion" and file.channels.keys() >= {"forward.u", "forward.v"}:
        return MotionField.of_parts(file.parts)
    from_loopcore = file.convention == convention
    readers: dict[str, Callable[[_Exr], MotionField]] = {
        "stmap": _from_stmap, "displace": _from_offsets, "idistort": _from_offsets,
    }  # fmt: skip
    if convention in readers:
        motion = readers[convention](file)
    else:
        motion = layouts.from_channels(file.find, "nuke" if convention == "motion" else convention, from_loopcore)
    return replace(motion, windows=file.windows)


def _slopes(file: _Exr) -> tuple[float, float] | None:
    """Returns the slopes of red to the right and green downward, times width and height; None if not coordinates."""
    height, width = file.windows.display_size
    u, v = (values[file.filled] for values in file.require("R", "G"))
    if min(u.shape) < 2:
        return None
    across = float(np.median(np.diff(u.astype(np.float32), axis=1))) * width
    down = float(np.median(np.diff(v.astype(np.float32), axis=0))) * height
    return (across, down) if 0.5 < abs(across) < 1.5 and 0.5 < abs(down) < 1.5 else None


def _from_stmap(file: _Exr) -> MotionField:
    u, v = file.require("R", "G")
    if np.float16 in (u.dtype, v.dtype):
        raise MotionError(
            f"it is an STMap in half floats, whose error is up to {u.shape[1] / 4096:.2f} px at this width: "
            "export it as 32-bit float"
        )
    _require_finite(u, v)
    slopes = _slopes(file)
    if slopes is None:
        raise MotionError(
            f"it is not an STMap: red spans {u.min():g} to {u.max():g} and green {v.min():g} to {v.max():g}, but "
            "coordinates span 0 to 1"
        )
    if slopes[0] < 0 or slopes[1] > 0:
        raise MotionError("its coordinates do not start at the bottom left: flip it (1 - red, or 1 - green)")
    displacement = maps.displacement_of_stmap(u, v, file.windows)
    fetched = np.zeros_like(displacement)  # no motion where the file has no pixels
    fetched[file.filled] = displacement[file.filled]
    span = _span(file, str(file.attributes.get("loopcore/direction", "past")))
    velocity, known = maps.velocity_from(fetched, span)
    return _masked(file, velocity, known, _mask_of_weights(file.source, u.shape))


def _from_offsets(file: _Exr) -> MotionField:
    layers = _layers(file) or ["past", "future"]
    push = file.find(f"{layers[0]}.X") is not None
    names, sign = (("X", "Y"), (-1, 1)) if push else (("u", "v"), (1, -1))
    spans = {layer: _span(file, layer, lenient=True) for layer in layers}
    if not any(spans.values()):
        raise MotionError("it is the map of a frame without displacement: give the next frame")
    layer = min((s for s in spans if spans[s]), key=lambda s: abs(spans[s]))
    x, y = file.require(*(f"{layer}.{name}" for name in names))
    _require_finite(x, y)
    displacement = np.stack([sign[0] * x, sign[1] * y], axis=-1).astype(np.float32)
    velocity, known = maps.velocity_from(displacement, spans[layer])
    if layer.startswith("layer"):
        weights = file.require(*(name.replace("layer", "weight") + ".V" for name in layers))
        return _masked(file, velocity, known, np.stack(weights).sum(axis=0, dtype=np.float32))
    rest = file.find("weight.Z")
    return _masked(file, velocity, known, None if rest is None else 1 - rest.astype(np.float32))


def _layers(file: _Exr) -> list[str]:
    """Returns the names of the layers of a loop of several copies."""
    return [name[:-2] for name in file.channels if re.fullmatch(r"layer\d+\.[Xu]", name)]


def _span(file: _Exr, direction: str, lenient: bool = False) -> float:
    """Returns the frames that a map spans, negative for the past; 0 at the loop's ends, where it has no motion."""
    span = file.attributes.get(f"loopcore/span_{direction.removeprefix('layer')}")
    if isinstance(span, int | float):
        return _nonzero(span, lenient)
    time, total = (file.attributes.get(f"loopcore/{key}") for key in ("loop_time", "loop_frames"))
    if not isinstance(time, int | float) or not isinstance(total, int | float):
        return -1.0 if direction == "past" else 1.0
    return _nonzero(-time if direction == "past" else total - time, lenient)


def _nonzero(span: float, lenient: bool) -> float:
    if span == 0 and not lenient:
        raise MotionError("it is the map of a frame without displacement: give the next frame")
    return float(span)


def _require_finite(*channels: Any) -> None:
    for channel in channels:
        if not np.isfinite(channel).all():
            y, x = np.argwhere(~np.isfinite(channel))[0]
            raise MotionError(f"it holds NaN or Inf (first at x {x}, y {y}): export it again")


def companions(source: Path) -> list[Path]:
    """Returns the files beside an STMap that its mask is read from: weights, or the STMaps of all layers of its frame.

    Args:
        source: the file; any other than an STMap of Loopcore has none.
    """
    if layer := _LAYER.search(source.name):
        found: list[Path] = []
        start, end = source.name[: layer.start()], source.name[layer.end() :]
        while (path := source.with_name(f"{start}_stmap_{len(found) + 1}{end}")).is_file():
            found.append(path)
        return found
    path = source.with_name(source.name.replace("_stmap_past.", "_weight.").replace("_stmap_future.", "_weight."))
    return [path] if path != source and path.is_file() else []


def _mask_of_weights(source: Path, shape: tuple[int, int]) -> np.ndarray | None:
    """Returns the mask from the weights that Loopcore writes beside its STMaps, if they exist."""
    paths = companions(source)
    layered = _LAYER.search(source.name) is not None
    found = [weight for path in paths if (weight := _Exr(path).find("A" if layered else "B")) is not None]
    if not found or len(found) != len(paths) or any(weight.shape != shape for weight in found):
        return None
    return np.stack(found).sum(axis=0, dtype=np.float32) if layered else 1 - found[0].astype(np.float32)


def _masked(file: _Exr, velocity: np.ndarray, known: np.ndarray, weights: np.ndarray | None) -> MotionField:
    """Returns a motion whose mask is the weights, else the file's mask, else where it moves."""
    own = layouts.find_mask(file.find) if weights is None else None
    mask = (velocity != 0).any(axis=2).astype(np.float32) if weights is None else weights
    motion = layouts.with_mask(velocity, mask if own is None else own, multiplied=own is None)
    return MotionField(motion.velocity, motion.mask, known.astype(np.float32))
