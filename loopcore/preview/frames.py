# SPDX-License-Identifier: Apache-2.0
"""Makes a film or a contact sheet of a loop's frames on disk."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from loopcore.baking.frame_rate import frame_rate
from loopcore.color import display_exposure, display_image
from loopcore.errors import SequenceError
from loopcore.exr.windows import WHOLE
from loopcore.files.overwrite import refuse_overwriting
from loopcore.files.pattern import FramePattern, find_sequence
from loopcore.image import resize
from loopcore.plate import read_plate
from loopcore.preview.film import Progress, write_film
from loopcore.preview.sheet import PICTURE_SUFFIXES, contact_sheet, write_picture

if TYPE_CHECKING:
    from loopcore.plate import Plate

Source = str | Path | FramePattern | Sequence[str | Path]

_FILM_SUFFIXES = (".mp4",)
_SHEET_FRAMES = 12
_READERS = 2


def preview_sequence(
    source: Source,
    out_path: str | Path,
    fps: Fraction | float | str = 24,
    cycles: int = 3,
    max_width: int = 1920,
    on_progress: Progress | None = None,
) -> str:
    """Makes a film or a contact sheet of frames on disk.

    The display windows are shown, all with the first frame's exposure. They are resized in linear light to square
    pixels and at most `max_width`.

    Args:
        source: the folder of one sequence, a pattern (`plate_loop.####.exr`), or the frames' paths in order.
        out_path: `.mp4` for a film; `.png` or `.jpg` for a contact sheet of up to twelve frames.
        fps: frames per second of a film.
        cycles: how many times a film repeats the frames.
        max_width: in pixels, at least 16.
        on_progress: called with (done, total) after each frame.

    Returns:
        The encoder's name.

    Raises:
        SequenceError: frames are missing, listed twice or of different sizes, or `out_path` is one of them or cannot be
            written.
        PlateError: a frame cannot be read.
        EngineError: no encoder for films.
    """
    out_path = Path(out_path)
    suffix = out_path.suffix.lower()
    if suffix not in _FILM_SUFFIXES + PICTURE_SUFFIXES:
        raise SequenceError(
            f"cannot make a preview '{out_path.name}': name it .mp4 for a film, .png for a contact sheet"
        )
    if max_width < 16:
        raise SequenceError(f"a preview {max_width} pixels wide is too small to see: give 16 or more")
    rate = frame_rate(fps)
    files = _list_frames(source)
    refuse_overwriting((path for _, path in files), [out_path])
    if suffix in _FILM_SUFFIXES:
        pictures = _read_all([path for _, path in files], max_width)
        return write_film(pictures, out_path, rate, cycles, on_progress, count=len(files))
    write_picture(_sheet(files, max_width, on_progress), out_path)
    return "PNG" if suffix == ".png" else "JPEG"


def display_picture(plate: Plate, max_width: int = 1920, exposure: float | None = None) -> np.ndarray:
    """Returns a plate's display window as an (H, W, 3) uint8 sRGB picture of square pixels.

    Args:
        plate: the plate or frame.
        max_width: of the picture, in pixels.
        exposure: as for `loopcore.color.display_image`; None chooses it for this plate.
    """
    plate = plate.displayed()
    return _picture(plate, max_width, _exposure(plate) if exposure is None else exposure)


def _exposure(plate: Plate) -> float:
    return 1.0 if plate.encoded != "linear" else display_exposure(plate.pixels, plate.channels)


def _sheet(files: list[tuple[str, Path]], max_width: int, on_progress: Progress | None) -> np.ndarray:
    count = min(_SHEET_FRAMES, len(files))
    # Evenly spaced around the loop, where the first frame follows the last.
    chosen = [files[index * len(files) // count] for index in range(count)]
    frames = []
    pictures = _read_all([path for _, path in chosen], max(16, max_width // 2))
    for (label, _), picture in zip(chosen, pictures, strict=True):
        frames.append((label, picture))
        if on_progress is not None:
            on_progress(len(frames), count)
    return contact_sheet(frames, columns=4, width=max_width)


def _list_frames(source: Source) -> list[tuple[str, Path]]:
    """Returns labels and files of all frames in order; raises SequenceError where one is missing."""
    if isinstance(source, str | Path):
        source = find_sequence(source) if Path(source).is_dir() else FramePattern.from_text(source)
    if isinstance(source, FramePattern):
        return [(str(frame), path) for frame, path in source.find_all().items()]
    paths = [Path(path) for path in source]
    if not paths:
        raise SequenceError("no frames to preview")
    seen: set[Path] = set()
    for path in paths:
        if not path.is_file():
            raise SequenceError(f"frame '{path}' is missing")
        if path in seen:
            raise SequenceError(f"frame '{path}' is listed twice")
        seen.add(path)
    return [(path.stem.rpartition(".")[2] or path.name, path) for path in paths]


def _read_all(paths: list[Path], max_width: int) -> Iterator[np.ndarray]:
    """Yields each file as a picture for display with the first one's exposure, reading ahead."""
    first = read_plate(paths[0]).displayed()
    exposure = _exposure(first)
    size = first.pixels.shape[:2]

    def read(path: Path) -> np.ndarray:
        plate = read_plate(path).displayed()
        if plate.pixels.shape[:2] != size:
            here, there = f"{plate.width}x{plate.height}", f"{size[1]}x{size[0]}"
            raise SequenceError(f"frame '{path}' is {here}, the first one is {there}: all must have the same size")
        return _picture(plate, max_width, exposure)

    yield _picture(first, max_width, exposure)
    del first
    yield from _read_ahead(read, paths[1:])


def _read_ahead(read: Callable[[Path], np.ndarray], paths: Iterable[Path]) -> Iterator[np.ndarray]:
    """Yields the results of `read` in order, while threads read the next few."""
    pool = ThreadPoolExecutor(_READERS)
    waiting: deque[Future[np.ndarray]] = deque()
    try:
        for path in paths:
            waiting.append(pool.submit(read, path))
            if len(waiting) > _READERS:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _picture(plate: Plate, max_width: int, exposure: float) -> np.ndarray:
    height, width = plate.pixels.shape[:2]
    wide = width * plate.pixel_aspect
    share = min(1.0, max_width / wide)
    size = max(1, round(wide * share)), max(1, round(height * share))
    if size != (width, height):
        plate = replace(plate, pixels=_resized(plate.pixels, size), windows=WHOLE)
    return display_image(plate, exposure=exposure)


def _resized(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resizes linear (H, W, C) pixels to (width, height): block means, then a triangle filter, which does not ring.

    NaN becomes 0 and Inf the largest half, so that they do not spread.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        if not np.isfinite(pixels.sum()):
            pixels = np.nan_to_num(pixels, nan=0.0, posinf=65504.0, neginf=-65504.0)
    height, width = pixels.shape[:2]
    block = min(width // size[0], height // size[1])
    if block > 1 and width % block == 0 and height % block == 0:
        rows = sum(pixels[row::block] for row in range(1, block)) + pixels[::block]
        pixels = (sum(rows[:, column::block] for column in range(1, block)) + rows[:, ::block]) / np.float32(block**2)
    if pixels.shape[:2] == size[::-1]:
        return pixels
    planes = [resize(pixels[..., index], size[1], size[0], "bilinear") for index in range(pixels.shape[2])]
    return np.stack(planes, axis=2)
