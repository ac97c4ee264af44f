# SPDX-License-Identifier: Apache-2.0
"""Small copies of a loop's frames for viewports: 8-bit sRGB, at most 1280 pixels wide."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from loopcore.color import display_image, unpremultiply
from loopcore.exr.windows import WHOLE
from loopcore.files.atomic import make_folder, write_atomically
from loopcore.files.pattern import FramePattern
from loopcore.image import resize_linear
from loopcore.plate import Plate, read_plate

PROXY_WIDTH = 1280
PROXY_FOLDER = "proxy"
MARK = "Loopcore"  # in the copies' headers, so that they can be removed without a risk to other files


class Proxies:
    """Writes copies in a thread while the next frames are baked: JPEG, or PNG with alpha, numbered as the frames.

    Args:
        frames: names of the frames.
        alpha: whether they have alpha.
        wanted: False makes no copies.
    """

    def __init__(self, frames: FramePattern, alpha: bool, wanted: bool) -> None:
        self.pattern = FramePattern(frames.folder / PROXY_FOLDER, frames.prefix, ".png" if alpha else ".jpg")
        self._frames, self._alpha, self._wanted = frames, alpha, wanted
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="loopcore-proxy")
        self._made: list[Future[None]] = []

    def __enter__(self) -> Proxies:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def frame_done(self, path: Path | None) -> None:
        """Queues the copy of a frame just written; None is ignored."""
        if self._wanted and path is not None:
            self._made.append(self._pool.submit(self._write, path))

    def finish(self, skipped: list[int], on_progress: Callable[[int, int], None]) -> None:
        """Copies skipped frames whose copy is missing or older, and waits for all copies.

        Args:
            skipped: numbers of the frames that were up to date.
            on_progress: called with (done, total) after each copy.
        """
        if not self._wanted:
            return
        for number in skipped:
            if not self._is_newer(number):
                self._made.append(self._pool.submit(self._write, self._frames.path(number)))
        for done, made in enumerate(self._made, 1):
            made.result()
            on_progress(done, len(self._made))

    def _is_newer(self, number: int) -> bool:
        try:
            return self.pattern.path(number).stat().st_mtime_ns >= self._frames.path(number).stat().st_mtime_ns
        except OSError:
            return False

    def _write(self, frame: Path) -> None:
        from PIL import Image
        from PIL.PngImagePlugin import PngInfo

        picture = Image.fromarray(viewport_picture(read_plate(frame), self._alpha))
        copy = self.pattern.folder / (frame.stem + self.pattern.suffix)
        make_folder(copy.parent)
        options: dict[str, Any] = {"format": "JPEG", "quality": 92, "comment": MARK.encode()}
        if self._alpha:
            texts = PngInfo()
            texts.add_text("Software", MARK)
            options = {"format": "PNG", "pnginfo": texts}
        write_atomically(copy, lambda path: picture.save(path, **options))


def viewport_picture(plate: Plate, alpha: bool) -> np.ndarray:
    """Returns a plate as an sRGB picture, at most 1280 pixels wide.

    Args:
        plate: scene-linear; values above 1 are clipped.
        alpha: whether the result has alpha.

    Returns:
        (H, W, 3) uint8, or (H, W, 4) with straight alpha.
    """
    scale = min(1.0, PROXY_WIDTH / plate.width)
    pixels = resize_linear(plate.pixels, max(1, round(plate.height * scale)), max(1, round(plate.width * scale)))
    if plate.alpha_index is None:
        colour = display_image(replace(plate, pixels=pixels, windows=WHOLE), exposure=1.0)
        return np.dstack([colour, np.full(colour.shape[:2], 255, np.uint8)]) if alpha else colour
    straight = unpremultiply(pixels, plate.alpha_index)
    colour = display_image(replace(plate, pixels=straight, windows=WHOLE), exposure=1.0)
    opacity = np.nan_to_num(pixels[..., plate.alpha_index]).clip(0, 1)
    return np.dstack([colour, np.rint(opacity * 255).astype(np.uint8)])
