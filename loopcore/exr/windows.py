# SPDX-License-Identifier: Apache-2.0
"""An EXR's data window and display window, and placing pixels from one window in another.

The display window is the frame that is shown, the data window the area that has pixels. Pixels inside Loopcore cover
the whole display window, and more where a file has overscan; pixels that a file lacks are 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from loopcore.errors import PlateError
from loopcore.exr.layout import MAX_PIXELS, Window, window_size


class Part(Protocol):
    """The attributes of `loopcore.exr.ExrPart` that are used here."""

    @property
    def channels(self) -> dict[str, np.ndarray]: ...
    @property
    def data_window(self) -> Window: ...
    @property
    def display_window(self) -> Window: ...


@dataclass(frozen=True)
class Windows:
    """The window that a picture's pixels cover, and the display window inside it.

    Attributes:
        data: the window of all pixels.
        display: the window that is shown.

    Convention:
        Windows are (x_min, y_min, x_max, y_max), inclusive, x right, y down; sizes are (height, width).
    """

    data: Window
    display: Window

    @classmethod
    def whole(cls, height: int, width: int) -> Windows:
        """Return the windows of a picture without overscan, whose top left pixel is (0, 0)."""
        window = (0, 0, width - 1, height - 1)
        return cls(window, window)

    @classmethod
    def around(cls, display: Window, *data: Window) -> Windows:
        """Return the smallest windows that contain a file's display window and data windows.

        Raises:
            PlateError: they span more than MAX_PIXELS pixels.
        """
        lows, highs = (zip(*(window[side : side + 2] for window in (display, *data)), strict=True) for side in (0, 2))
        x_min, y_min = (min(places) for places in lows)
        x_max, y_max = (max(places) for places in highs)
        around = cls((x_min, y_min, x_max, y_max), display)
        height, width = around.size
        if height * width > MAX_PIXELS:
            raise PlateError(
                f"its data window {data[0]} and display window {display} span {width}x{height} pixels, more than "
                f"{MAX_PIXELS}: crop it"
            )
        return around

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of all pixels."""
        return window_size(self.data)[::-1]

    @property
    def display_size(self) -> tuple[int, int]:
        """Height and width of the display window."""
        return window_size(self.display)[::-1]

    @property
    def offset(self) -> tuple[int, int]:
        """x and y of the display window's top left pixel in the picture."""
        return self.display[0] - self.data[0], self.display[1] - self.data[1]

    @property
    def shown(self) -> tuple[slice, slice]:
        """Rows and columns of the picture inside the display window."""
        (left, top), (height, width) = self.offset, self.display_size
        return slice(top, top + height), slice(left, left + width)

    @property
    def overscan(self) -> bool:
        """Whether there are pixels outside the display window."""
        return self.data != self.display

    def scaled(self, height: int, width: int) -> Windows:
        """Return the windows of the picture scaled to another size of all its pixels, to the nearest pixel."""
        data, display = [0, 0, 0, 0], [0, 0, 0, 0]
        for axis, new in enumerate((width, height)):
            low, high = self.display[axis], self.display[axis + 2] + 1
            scale = new / (self.data[axis + 2] + 1 - self.data[axis])
            before = min(round((low - self.data[axis]) * scale), new - 1)
            count = min(max(1, round((high - low) * scale)), new - before)
            display[axis] = round(low * scale)
            display[axis + 2] = display[axis] + count - 1
            data[axis] = display[axis] - before
            data[axis + 2] = data[axis] + new - 1
        return Windows((data[0], data[1], data[2], data[3]), (display[0], display[1], display[2], display[3]))

    def __str__(self) -> str:
        """Return the size as text: "104x64 with overscan, 64x64 without"."""
        (height, width), (rows, columns) = self.size, self.display_size
        return f"{width}x{height}" + (f" with overscan, {columns}x{rows} without" if self.overscan else "")


# The whole picture, where its size is not known yet.
WHOLE = Windows((0, 0, -1, -1), (0, 0, -1, -1))


def checked_windows(windows: Windows, height: int, width: int) -> Windows:
    """Return the windows of a picture of this size, with WHOLE resolved.

    Raises:
        PlateError: the windows have another size, or the display window is not inside the data window.
    """
    if windows == WHOLE:
        return Windows.whole(height, width)
    if windows.size != (height, width):
        raise PlateError(f"windows {windows.data} are of {windows}, but the picture is {width}x{height}")
    if Windows.around(windows.display, windows.data) != windows:
        raise PlateError(f"the display window {windows.display} is not inside the data window {windows.data}")
    return windows


def place(pixels: np.ndarray, source: Window, target: Window, *, extend: bool = False) -> np.ndarray:
    """Place pixels (h, w) or (h, w, C) of the window `source` in the window `target`.

    Pixels outside `source` are 0, or with `extend` those of the nearest edge. Returns the same array if the windows
    are equal.
    """
    if source == target:
        return pixels
    width, height = window_size(target)
    if extend:
        columns = np.clip(np.arange(target[0], target[2] + 1), source[0], source[2]) - source[0]
        rows = np.clip(np.arange(target[1], target[3] + 1), source[1], source[3]) - source[1]
        return np.ascontiguousarray(pixels[rows[:, None], columns])
    placed = np.zeros((height, width, *pixels.shape[2:]), pixels.dtype)
    left, top = max(source[0], target[0]), max(source[1], target[1])
    right, bottom = min(source[2], target[2]) + 1, min(source[3], target[3]) + 1
    if left < right and top < bottom:
        placed[top - target[1] : bottom - target[1], left - target[0] : right - target[0]] = pixels[
            top - source[1] : bottom - source[1], left - source[0] : right - source[0]
        ]
    return placed


def place_channels(parts: Sequence[Part]) -> tuple[dict[str, np.ndarray], Windows]:
    """Place the channels of all parts in common windows; of equal names the first part's channel is taken.

    Subsampled channels are not placed.

    Raises:
        PlateError: the windows span more than MAX_PIXELS pixels.
    """
    windows = Windows.around(parts[0].display_window, *(part.data_window for part in parts))
    channels = {}
    for part in reversed(parts):
        size = window_size(part.data_window)[::-1]
        for name, values in part.channels.items():
            full = values.shape == size
            channels[name] = place(values, part.data_window, windows.data) if full else values
    return channels, windows
