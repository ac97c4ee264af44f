# SPDX-License-Identifier: Apache-2.0
"""Makes contact sheets, and writes pictures to files."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from loopcore.errors import SequenceError
from loopcore.files.atomic import write_atomically

if TYPE_CHECKING:
    from PIL import Image, ImageFont

_BACKGROUND = (24, 24, 26)
_TEXT_COLOUR = (190, 190, 194)
PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg")

_TALLEST = 8.0  # height of a cell over its width: a plate 3 pixels wide would make a sheet of gigabytes


def contact_sheet(frames: Sequence[tuple[str, np.ndarray]], columns: int = 4, width: int = 1920) -> np.ndarray:
    """Returns a contact sheet: pictures row by row, each with its label below.

    Args:
        frames: pairs of a label and an (H, W, 3) uint8 picture. Each keeps its aspect ratio; the cells have that of
            the first, but are at most eight times as tall as wide.
        columns: pictures per row.
        width: of the sheet, in pixels.

    Returns:
        (H, width, 3) uint8.

    Raises:
        SequenceError: no frames, an invalid picture, or cells under 16 pixels wide.
    """
    from PIL import Image, ImageDraw

    if not frames:
        raise SequenceError("a contact sheet needs at least one frame")
    for label, picture in frames:
        check_picture(picture, label)
    columns = min(columns, len(frames))
    gap = max(4, width // 160)
    cell = (width - gap) // max(columns, 1) - gap
    if columns < 1 or cell < 16:
        raise SequenceError(
            f"{columns} columns do not fit a contact sheet {width} pixels wide: give fewer columns or a larger width"
        )
    aspect = min(frames[0][1].shape[0] / frames[0][1].shape[1], _TALLEST)
    tall = max(1, round(cell * aspect))
    letters = max(10, cell // 22)
    pitch = tall + letters + 2 * gap
    sheet = Image.new("RGB", (width, gap + pitch * math.ceil(len(frames) / columns)), _BACKGROUND)
    draw, font = ImageDraw.Draw(sheet), _font(letters)
    for index, (label, picture) in enumerate(frames):
        left, top = gap + index % columns * (cell + gap), gap + index // columns * pitch
        small = _fit(Image.fromarray(picture), cell, tall)
        sheet.paste(small, (left + (cell - small.width) // 2, top + (tall - small.height) // 2))
        draw.text((left + 1, top + tall + gap // 2), label, fill=_TEXT_COLOUR, font=font)
    return np.asarray(sheet)


def _fit(picture: Image.Image, wide: int, tall: int) -> Image.Image:
    from PIL import Image

    share = min(wide / picture.width, tall / picture.height)
    size = max(1, round(picture.width * share)), max(1, round(picture.height * share))
    return picture.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)


def _font(size: int) -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    from PIL import ImageFont

    return ImageFont.load_default(size)


def check_picture(picture: np.ndarray, name: str) -> None:
    """Checks that a picture is (H, W, 3) uint8.

    Args:
        picture: the array.
        name: used in the message.

    Raises:
        SequenceError: it is not, or it is empty.
    """
    if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8 or 0 in picture.shape:
        raise SequenceError(f"{name}: a picture is (H, W, 3) uint8, not {picture.shape} {picture.dtype}")


def write_picture(picture: np.ndarray, path: str | Path) -> None:
    """Writes a picture as PNG or JPEG, atomically.

    Args:
        picture: (H, W, 3) uint8.
        path: `.png`, `.jpg` or `.jpeg`.

    Raises:
        SequenceError: another extension, an invalid picture, or the file cannot be written.
    """
    from PIL import Image

    path = Path(path)
    if path.suffix.lower() not in PICTURE_SUFFIXES:
        raise SequenceError(f"cannot write a picture as '{path.name}': name it .png or .jpg")
    check_picture(picture, str(path))
    image = Image.fromarray(np.ascontiguousarray(picture))

    def write(temporary: Path) -> None:
        # The temporary name has no extension, so the format is given.
        if path.suffix.lower() == ".png":
            image.save(temporary, format="PNG", compress_level=4)
        else:
            image.save(temporary, format="JPEG", quality=92, subsampling=0)

    write_atomically(path, write)
