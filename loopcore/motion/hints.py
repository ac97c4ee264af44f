# SPDX-License-Identifier: Apache-2.0
"""Reading and writing of hints: Loopcore's JSON format, and LabelMe files as published cinemagraph demos use them.

Loopcore's format::

    {
      "loopcore_hints": 1,
      "size": [1920, 1080],                                  of the picture that the hints were drawn over
      "strokes": [{"points": [[x, y], ...], "speed": 2.5}],  pixels per frame: one number, or one per point
      "anchors": [[x, y], ...],
      "mask": {"polygons": [[[x, y], ...], ...], "exclude": [...], "feather": 8}
    }

or ``"mask": "mask.png", "feather": 8`` with the name of a picture. Only ``loopcore_hints`` and ``size`` are required.
Coordinates are those of :mod:`loopcore.motion.strokes`. Files are untrusted: every value is checked, and a mask is read
only from the JSON's folder or below it.
"""

from __future__ import annotations

import json
import os
from pathlib import Path, PureWindowsPath
from typing import Any

import numpy as np

from loopcore.errors import LoopcoreError, MotionError
from loopcore.exr.layout import MAX_PIXELS
from loopcore.files.regular import is_inside, read_regular
from loopcore.motion import masks
from loopcore.motion.masks import read_mask
from loopcore.motion.strokes import Anchor, Hints, Stroke

__all__ = ["Anchor", "Hints", "Stroke", "read_hints", "read_mask", "write_hints"]

VERSION = 1
_LARGEST_FILE = 256 << 20  # LabelMe embeds the picture
_LARGEST_SIDE = 1 << 16
_ENLARGED = 4096  # times its pixels to which a painted mask is enlarged: hints may name any size for a small file
# In published demos a LabelMe line from a to b is a velocity of (b - a) / 50 pixels per frame.
_LABELME_FRAMES = 50.0


def read_hints(path: str | Path) -> Hints:
    """Reads hints from a JSON file in Loopcore's or LabelMe's format.

    A painted mask is read with them. Polygons are kept; ``Hints.fitted`` rasterises them for a plate.

    Args:
        path: of the JSON.

    Raises:
        MotionError: an unreadable file or an invalid item, which the message names.
    """
    path = Path(path)
    document = _load(path)
    try:
        if "loopcore_hints" in document:
            return _from_own_format(document, path)
        if "shapes" in document:
            return _from_labelme(document)
    except LoopcoreError as error:
        raise MotionError(f"hints {path}: {error}") from None
    raise MotionError(
        f'hints {path}: neither Loopcore hints (no "loopcore_hints": {VERSION}) nor a LabelMe file (no "shapes")'
    )


def painted_mask(path: str | Path) -> Path | None:
    """Returns the picture that a hints file names as its mask; None without one, or if the file is invalid.

    Args:
        path: of the JSON.
    """
    path = Path(path)
    try:
        name = _load(path).get("mask") if path.is_file() else None  # a pipe can be read only once
        return _beside(path, name) if isinstance(name, str) else None
    except MotionError:
        return None


def write_hints(hints: Hints, path: str | Path) -> None:
    """Writes hints in Loopcore's format, and a painted mask as ``NAME_mask.png`` (16-bit grey) beside it.

    Args:
        hints: with ``size``, or a mask that has it.
        path: of the JSON.

    Raises:
        MotionError: the size of the picture is unknown.
        SequenceError: a file cannot be written.
    """
    from loopcore.files.atomic import write_atomically, write_text_atomically

    path = Path(path)
    size = hints.size
    if size is None and hints.mask is not None:
        size = (hints.mask.shape[1], hints.mask.shape[0])
    if size is None:
        raise MotionError("hints need the size of the picture they were drawn over: set Hints(size=(width, height))")
    document: dict[str, Any] = {"loopcore_hints": VERSION, "size": list(size)}
    if hints.strokes:
        document["strokes"] = [
            {"points": s.points.tolist(), "speed": s.speed.tolist() if isinstance(s.speed, np.ndarray) else s.speed}
            for s in hints.strokes
        ]
    if hints.anchors:
        document["anchors"] = [[float(a.x), float(a.y)] for a in hints.anchors]
    if hints.polygons or hints.exclude:
        document["mask"] = {"polygons": [area.tolist() for area in hints.polygons]}
        if hints.exclude:
            document["mask"]["exclude"] = [area.tolist() for area in hints.exclude]
        document["mask"]["feather"] = float(hints.feather)
    elif hints.mask is not None:
        beside = path.with_name(f"{path.stem}_mask.png")
        grey = np.rint(hints.mask * 65535).astype(np.uint16)
        write_atomically(beside, lambda hidden: _write_grey(grey, hidden))
        document["mask"] = beside.name
    write_text_atomically(path, json.dumps(document, indent=1) + "\n")


def _write_grey(grey: np.ndarray, path: Path) -> None:
    from PIL import Image

    Image.fromarray(grey).save(path, format="PNG")


def _load(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(read_regular(path, _LARGEST_FILE).decode("utf-8-sig"))
    except OSError as error:
        raise MotionError(f"hints {path} cannot be read: {error.strerror or error}") from None
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise MotionError(f"hints {path} is not valid JSON: {error}") from None
    except ValueError as error:
        raise MotionError(f"hints {path} cannot be read as JSON: {error}") from None
    if not isinstance(document, dict):
        raise MotionError(f"hints {path} contains a JSON {type(document).__name__}, not an object {{...}}")
    return document


# Loopcore's own format


def _from_own_format(document: dict[str, Any], path: Path) -> Hints:
    version = document["loopcore_hints"]
    if isinstance(version, bool) or version != VERSION:
        raise MotionError(f'"loopcore_hints" is {version!r}: this Loopcore reads version {VERSION}')
    _only(document, ("loopcore_hints", "size", "strokes", "anchors", "mask", "feather"), "the file")
    size = _size(document.get("size"))
    strokes = [_stroke(item, f"strokes[{i}]") for i, item in enumerate(_list(document.get("strokes", []), "strokes"))]
    anchors = [
        Anchor(*_point(item, f"anchors[{i}]")) for i, item in enumerate(_list(document.get("anchors", []), "anchors"))
    ]
    outline = document.get("mask")
    feather = _number(document.get("feather", 0), "feather")
    if feather and outline is None:
        raise MotionError('"feather" is given, but no "mask" to feather')
    if isinstance(outline, str):
        mask = masks.feathered(read_mask(_beside(path, outline), size[1], size[0], enlarged=_ENLARGED), feather)
        return Hints(tuple(strokes), tuple(anchors), mask=mask, size=size)
    if outline is None:
        return Hints(tuple(strokes), tuple(anchors), size=size)
    polygons, exclude, own_feather = _outline(outline)
    if own_feather is not None and "feather" in document:
        raise MotionError('"feather" is given twice, at the top and in "mask": leave one out')
    return Hints(
        tuple(strokes), tuple(anchors), None, size, polygons, exclude, feather if own_feather is None else own_feather
    )


def _outline(item: Any) -> tuple[tuple[np.ndarray, ...], tuple[np.ndarray, ...], float | None]:
    if not isinstance(item, dict):
        raise MotionError(f'"mask" must be a file name or {{"polygons": [...]}}, not {_shown(item)}')
    _only(item, ("polygons", "exclude", "feather"), "mask")
    polygons = _list(item.get("polygons", []), "mask.polygons")
    exclude = _list(item.get("exclude", []), "mask.exclude")
    if not polygons and not exclude:
        raise MotionError('"mask" has no "polygons": draw what moves, or leave "mask" out to move everything')
    feather = _number(item["feather"], "mask.feather") if "feather" in item else None
    return (
        tuple(_points(area, f"mask.polygons[{i}]", 3) for i, area in enumerate(polygons)),
        tuple(_points(area, f"mask.exclude[{i}]", 3) for i, area in enumerate(exclude)),
        feather,
    )


def _stroke(item: Any, where: str) -> Stroke:
    if not isinstance(item, dict):
        raise MotionError(f'{where} must be {{"points": [[x, y], ...], "speed": number}}, not {_shown(item)}')
    _only(item, ("points", "speed"), where)
    for key in ("points", "speed"):
        if key not in item:
            raise MotionError(f'{where} has no "{key}"')
    points = _points(item["points"], f"{where}.points", 2)
    speed = item["speed"]
    if isinstance(speed, list):
        speed = np.array([_number(value, f"{where}.speed[{i}]") for i, value in enumerate(speed)])
    else:
        speed = _number(speed, f"{where}.speed")
    try:
        return Stroke(points, speed)
    except MotionError as error:
        raise MotionError(f"{where}: {error}") from None


def _beside(path: Path, name: str) -> Path:
    """Returns the path of the mask ``name``, which must be in the JSON's folder or below it."""
    if "\0" in name or not _encodable(name):
        raise MotionError(f'"mask" is {name!r}, which cannot be the name of a file: rename the picture')
    given = PureWindowsPath(name)  # parses both kinds of slashes, and drives
    if not name.strip() or given.is_absolute() or given.drive or given.root or ".." in given.parts:
        raise MotionError(f'"mask" is {name!r}: it must be a file in the folder of the hints, named relative to it')
    target = path.parent.joinpath(*given.parts)
    if not is_inside(target, path.parent):
        raise MotionError(f'"mask" is {name!r}, a link to outside the folder of the hints: copy the picture there')
    return target


def _encodable(name: str) -> bool:
    try:
        os.fsencode(name)
    except UnicodeEncodeError:
        return False
    return True


# LabelMe


def _from_labelme(document: dict[str, Any]) -> Hints:
    size = _size([document.get("imageWidth"), document.get("imageHeight")], "imageWidth, imageHeight")
    polygons: list[np.ndarray] = []
    strokes: list[Stroke] = []
    for i, shape in enumerate(_list(document["shapes"], "shapes")):
        if not isinstance(shape, dict):
            raise MotionError(f"shapes[{i}] must be an object, not {_shown(shape)}")
        label, kind = shape.get("label"), shape.get("shape_type", "polygon")
        if not isinstance(label, str):
            continue
        # LabelMe's origin is the picture's corner, ours the centre of the first pixel
        if label == "motion" and kind == "polygon":
            polygons.append(_points(shape.get("points"), f"shapes[{i}].points", 3) - 0.5)
        elif label.startswith("hint") and kind in ("line", "linestrip"):
            points = _points(shape.get("points"), f"shapes[{i}].points", 2) - 0.5
            length = float(np.hypot(*(points[-1] - points[0])))
            if length > 0:  # ignores a click without a drag
                strokes.append(Stroke(points, length / _LABELME_FRAMES))
    return Hints(tuple(strokes), size=size, polygons=tuple(polygons))


# values


def _only(item: dict[str, Any], known: tuple[str, ...], where: str) -> None:
    if unknown := [key for key in item if key not in known]:
        raise MotionError(f"{where} has an unknown key {unknown[0]!r}: known are {', '.join(known)}")


def _list(value: Any, where: str) -> list[Any]:
    if not isinstance(value, list):
        raise MotionError(f"{where} must be a list, not {_shown(value)}")
    return value


def _number(value: Any, where: str, *, signed: bool = False) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise MotionError(f"{where} must be a number, not {_shown(value)}")
    try:
        number = float(value)
    except OverflowError:
        number = np.inf
    if not np.isfinite(number):
        raise MotionError(f"{where} must be a finite number, not {_shown(value)}")
    if number < 0 and not signed:
        raise MotionError(f"{where} must be 0 or more, not {number:g}")
    return number


def _point(value: Any, where: str) -> tuple[float, float]:
    if not isinstance(value, list) or len(value) != 2:
        raise MotionError(f"{where} must be a point [x, y], not {_shown(value)}")
    return _number(value[0], f"{where}[0]", signed=True), _number(value[1], f"{where}[1]", signed=True)


def _points(value: Any, where: str, least: int) -> np.ndarray:
    points = [_point(item, f"{where}[{i}]") for i, item in enumerate(_list(value, where))]
    if len(points) < least:
        raise MotionError(f"{where} needs {least} points or more, not {len(points)}")
    return np.array(points)


def _size(value: Any, where: str = "size") -> tuple[int, int]:
    good = isinstance(value, list) and len(value) == 2
    if not good or not all(isinstance(n, int) and not isinstance(n, bool) and 1 <= n <= _LARGEST_SIDE for n in value):
        raise MotionError(
            f"{where} must be [width, height] of the picture the hints were drawn over, in whole pixels, "
            f"not {_shown(value)}"
        )
    if value[0] * value[1] > MAX_PIXELS:
        raise MotionError(f"{where} is {value[0]}x{value[1]}: a picture has at most {MAX_PIXELS} pixels")
    return value[0], value[1]


def _shown(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."
