# SPDX-License-Identifier: Apache-2.0
"""The film and the pictures of a loop's report, as bytes of files that browsers show."""

from __future__ import annotations

import io
import math
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from loopcore import color
from loopcore.baking.recipe import Recipe
from loopcore.exr.windows import WHOLE
from loopcore.motion.field import MotionField
from loopcore.plate import Plate, read_plate
from loopcore.preview import arrow_picture, display_picture, preview_sequence
from loopcore.quality.baked import read_frame
from loopcore.quality.report import Spot
from loopcore.quality.stored import in_display, stored_pixels

WIDTH = 960  # of the film and the picture of the motion
LARGEST_FILM = 12 << 20  # bytes; a page has them by a third more, as base64
_NARROWEST = 160
CROP = (320, 480)  # rows and columns
_SAME = 64  # pixels between parts of a frame that are shown as one


@dataclass(frozen=True)
class Film:
    """A film of one cycle.

    Attributes:
        mp4: the file.
        poster: its first frame, as JPEG.
        width: in pixels.
        height: in pixels.
        missing: why there is no file, if there is none.
    """

    mp4: bytes
    poster: bytes
    width: int
    height: int
    missing: str = ""


@dataclass(frozen=True)
class Comparison:
    """A part of the plate beside the same part of a frame.

    Attributes:
        spot: what is shown, in the middle where the picture allows it.
        plate: JPEG.
        frame: JPEG.
        left, top, width, height: of the part, in pixels.
        whole: width and height of the whole picture.
    """

    spot: Spot
    plate: bytes
    frame: bytes
    left: int
    top: int
    width: int
    height: int
    whole: tuple[int, int]


def make_film(
    frames: Sequence[Path], fps: str, on_progress: Callable[[int, int], None] | None = None, largest: int = LARGEST_FILM
) -> Film:
    """Makes a film of one cycle, narrower where it would be too large.

    Args:
        frames: the files in order.
        fps: frames per second.
        on_progress: called with (done, total) after each frame; begins anew with a narrower film.
        largest: size in bytes.

    Raises:
        LoopcoreError: a frame cannot be read, or there is no encoder.
    """
    width = WIDTH
    with tempfile.TemporaryDirectory(prefix="loopcore-") as folder:
        film = Path(folder) / "film.mp4"
        while True:
            poster = display_picture(read_plate(frames[0]), width)
            encoder = preview_sequence(frames, film, fps, cycles=1, max_width=width, on_progress=on_progress)
            size, (height, shown) = film.stat().st_size, poster.shape[:2]
            if encoder != "libx264":
                return Film(b"", jpeg(poster), shown, height, f"browsers do not play what {encoder} encodes")
            if size <= largest:
                return Film(film.read_bytes(), jpeg(poster), shown, height)
            if width <= _NARROWEST:
                return Film(b"", jpeg(poster), shown, height, f"{size >> 20} MiB are too large for this page")
            # The size of a film grows about as its area does.
            width = max(_NARROWEST, int(min(width, shown) * min(0.9 * math.sqrt(largest / size), 0.9)))


def motion_picture(plate: Plate, motion: MotionField) -> bytes:
    """Returns the motion drawn as arrows over the plate, as JPEG."""
    still = display_picture(plate, WIDTH)
    return jpeg(arrow_picture(still, motion.displayed().resized(*still.shape[:2])))


def comparisons(
    spots: Sequence[Spot], plate: Plate, recipe: Recipe, frames: Mapping[int, Path]
) -> Iterator[Comparison]:
    """Yields the plate beside the frame at each spot, at full size, with the exposure of the plate.

    Args:
        spots: what to show.
        plate: the still.
        recipe: of the frames.
        frames: their files by number.
    """
    expected = stored_pixels(plate, recipe)
    exposure = 1.0 if plate.encoded != "linear" else color.display_exposure(plate.pixels, plate.channels)

    def shown(pixels: np.ndarray, part: tuple[slice, slice]) -> bytes:
        cut = replace(plate, pixels=np.ascontiguousarray(pixels[part]), windows=WHOLE)
        return jpeg(color.display_image(in_display(cut, recipe), exposure=exposure))

    whole = (plate.width, plate.height)
    for spot, (rows, columns) in _parts(spots, whole):
        frame = read_frame(frames[spot.number], plate, recipe, expected)
        size = (columns.stop - columns.start, rows.stop - rows.start)
        part = (rows, columns)
        yield Comparison(spot, shown(expected, part), shown(frame, part), columns.start, rows.start, *size, whole)


def _parts(spots: Sequence[Spot], whole: tuple[int, int]) -> list[tuple[Spot, tuple[slice, slice]]]:
    """Returns rows and columns to show for each spot, nearly the same parts of a frame once, under both titles."""
    parts: list[tuple[Spot, tuple[slice, slice]]] = []
    for spot in spots:
        rows, columns = _span(spot.row, whole[1], CROP[0]), _span(spot.column, whole[0], CROP[1])
        for k, (other, (top, left)) in enumerate(parts):
            apart = max(abs(rows.start - top.start), abs(columns.start - left.start))
            if spot.number == other.number and apart < _SAME:
                parts[k] = (replace(other, title=f"{other.title}; {spot.title}"), (top, left))
                break
        else:
            parts.append((spot, (rows, columns)))
    return parts


def _span(middle: int, size: int, wanted: int) -> slice:
    """Returns `wanted` of `size` pixels around the middle, moved so that they are inside."""
    wanted = min(wanted, size)
    start = min(max(middle - wanted // 2, 0), size - wanted)
    return slice(start, start + wanted)


def jpeg(picture: np.ndarray) -> bytes:
    """Returns an (H, W, 3) uint8 picture as JPEG without subsampling of colours."""
    from PIL import Image

    file: Any = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(picture)).save(file, format="JPEG", quality=90, subsampling=0)
    return bytes(file.getvalue())
