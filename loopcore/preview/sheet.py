# SPDX-License-Identifier: Apache-2.0
"""Contact sheets, and writing a picture as a file."""

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

_PAPER = (24, 24, 26)
_INK = (190, 190, 194)
PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg")


def contact_sheet(frames: Sequence[tuple[str, np.ndarray]], columns: int = 4, width: int = 1920) -> np.ndarray:
    """Return one picture of many, row by row, each with its label below; (H, ``width``, 3) uint8.

    ``frames`` are pairs of a label and an (H, W, 3) uint8 picture. Each picture keeps its proportions; the cells
    take those of the first.

    Raises:
        SequenceError: no frames, a picture of another shape or type, or cells that would be under 16 pixels wide.
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
            f"{columns} columns do not fit a contact sheet {width} pixels wide: give fewer, or more pixels"
        )
    tall = max(1, round(cell * frames[0][1].shape[0] / frames[0][1].shape[1]))
    letters = max(10, cell // 22)
    pitch = tall + letters + 2 * gap
    sheet = Image.new("RGB", (width, gap + pitch * math.ceil(len(frames) / columns)), _PAPER)
    draw, font = ImageDraw.Draw(sheet), _font(letters)
    for index, (label, picture) in enumerate(frames):
        left, top = gap + index % columns * (cell + gap), gap + index // columns * pitch
        small = _fit(Image.fromarray(picture), cell, tall)
        sheet.paste(small, (left + (cell - small.width) // 2, top + (tall - small.height) // 2))
        draw.text((left + 1, top + tall + gap // 2), label, fill=_INK, font=font)
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
    """Refuse what is not an (H, W, 3) uint8 picture.

    Raises:
        SequenceError: naming the picture, its shape and its type.
    """
    if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8 or 0 in picture.shape:
        raise SequenceError(f"{name}: a picture is (H, W, 3) uint8, not {picture.shape} {picture.dtype}")


def write_picture(picture: np.ndarray, path: str | Path) -> None:
    """Write an (H, W, 3) uint8 picture as PNG or JPEG, whole or not at all.

    Raises:
        SequenceError: another extension, not such a picture, or the file cannot be written.
    """
    from PIL import Image

    path = Path(path)
    if path.suffix.lower() not in PICTURE_SUFFIXES:
        raise SequenceError(f"cannot write a picture as '{path.name}': name it .png or .jpg")
    check_picture(picture, str(path))
    image = Image.fromarray(np.ascontiguousarray(picture))

    def write(temporary: Path) -> None:
        # The temporary's name has no extension that tells the format.
        if path.suffix.lower() == ".png":
            image.save(temporary, format="PNG", compress_level=4)
        else:
            image.save(temporary, format="JPEG", quality=92, subsampling=0)

    write_atomically(path, write)
