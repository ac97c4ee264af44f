# SPDX-License-Identifier: Apache-2.0
"""Hints: the strokes, anchors and mask that an artist draws over a plate to define its motion.

Convention: coordinates are pixels of the plate, x right, y down, pixel centres at integers; so the top left corner
of the picture is (-0.5, -0.5). Speeds are pixels per frame. On a plate with overscan they are pixels of its display
window, and may lie outside it; hints drawn over a picture as large as the plate with its overscan are pixels of that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from loopcore.errors import MotionError
from loopcore.exr.windows import WHOLE, Windows, checked_windows
from loopcore.image import EqualByContent
from loopcore.motion import masks

# An outline that reaches so many pixels beyond the display window was drawn for the overscan, too.
_BEYOND = 1.0
# Points may lie outside the picture (a stroke that leaves it), but not further than this many picture sizes.
_FAR = 8.0


@dataclass(frozen=True, eq=False)
class Stroke(EqualByContent):
    """A polyline that the flow follows, from its first point to its last.

    points: (n, 2) float64, x and y in pixels, n >= 2, of length above 0.
    speed: pixels per frame along the whole stroke, or n of them, one a point; not negative.

    Strokes are equal that are so bit for bit; they cannot be hashed.

    Raises:
        MotionError: points or speeds are of the wrong shape, not finite or negative, or the stroke has no length.
    """

    points: np.ndarray
    speed: float | np.ndarray = 1.0

    def __post_init__(self) -> None:
        points = _as_points(self.points, "a stroke's points")
        if len(points) < 2 or not np.ptp(points, axis=0).any():
            raise MotionError(f"a stroke needs two different points or more to point anywhere, not {points.tolist()}")
        try:
            speed = np.asarray(self.speed, np.float64)
        except (TypeError, ValueError):
            raise MotionError(f"a stroke's speed must be a number of pixels per frame, not {self.speed!r}") from None
        if speed.ndim > 1 or (speed.ndim == 1 and len(speed) != len(points)):
            raise MotionError(
                f"a stroke's speed is one number, or one for each of its {len(points)} points, not an array of shape "
                f"{speed.shape}"
            )
        if not np.isfinite(speed).all() or (speed < 0).any():
            raise MotionError(
                f"a stroke's speed must be 0 or more pixels per frame, not {speed.tolist()}; to turn the flow round, "
                "reverse the stroke's points"
            )
        object.__setattr__(self, "points", points)
        object.__setattr__(self, "speed", float(speed) if speed.ndim == 0 else speed)

    @property
    def speeds(self) -> np.ndarray:
        """(n,) float64: the speed at each point."""
        return np.broadcast_to(np.asarray(self.speed, np.float64), (len(self.points),))


@dataclass(frozen=True)
class Anchor:
    """A point that stays still, in pixels."""

    x: float
    y: float

    def __post_init__(self) -> None:
        if not (np.isfinite(self.x) and np.isfinite(self.y)):
            raise MotionError(f"an anchor's position must be finite, not ({self.x}, {self.y})")


@dataclass(frozen=True, eq=False)
class Hints(EqualByContent):
    """Everything drawn for one plate.

    mask: (H, W) float32 in 0..1, where things may move; None: not drawn (or, with ``polygons``, not yet rasterised).
    size: (width, height) of the picture the hints were drawn over; None: the plate's own.
    polygons, exclude: the mask's outline, areas (n, 2) joined and then cut out; ``feather`` in pixels, inward.
    ``fitted`` makes ``mask`` of the polygons at the size that is asked for.

    Hints are equal that are so bit for bit; they cannot be hashed.
    """

    strokes: tuple[Stroke, ...] = ()
    anchors: tuple[Anchor, ...] = ()
    mask: np.ndarray | None = None
    size: tuple[int, int] | None = None
    polygons: tuple[np.ndarray, ...] = ()
    exclude: tuple[np.ndarray, ...] = ()
    feather: float = 0.0

    def __post_init__(self) -> None:
        for name in ("strokes", "anchors"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        for name in ("polygons", "exclude"):
            outlines = tuple(_as_points(area, f"{name}: an outline") for area in getattr(self, name))
            if short := [len(area) for area in outlines if len(area) < 3]:
                raise MotionError(f"{name}: an outline needs three points or more, not {short[0]}")
            object.__setattr__(self, name, outlines)
        if self.mask is not None:
            object.__setattr__(self, "mask", masks.as_mask(self.mask))
        if self.size is not None:
            width, height = self.size
            if width < 1 or height < 1:
                raise MotionError(f"the hints' size must be (width, height) of a picture, not {self.size}")
            object.__setattr__(self, "size", (int(width), int(height)))
        if not np.isfinite(self.feather) or self.feather < 0:
            raise MotionError(f"feather must be 0 or more pixels, not {self.feather}")

    def fitted(self, height: int, width: int, windows: Windows = WHOLE) -> Hints:
        """These hints for a plate of another size and the same aspect, the mask rasterised for it.

        Points, speeds and feather scale with the picture. windows: the plate's; the points become those of all its
        pixels. A mask that ends with the display window is continued into the overscan.

        Raises:
            MotionError: the aspect differs, or a point lies far outside the picture.
        """
        windows = checked_windows(windows, height, width)
        size = self.size or windows.display_size[::-1]
        if size == (width, height):
            windows = Windows.whole(height, width)
        rows, columns = windows.display_size
        if not masks.same_aspect(size, (columns, rows)):
            raise MotionError(
                f"the hints were drawn over a picture of {size[0]}x{size[1]}, but the plate is {windows}: "
                "another aspect. Draw them over this plate, or crop the plate as that picture was"
            )
        scale = np.array([columns / size[0], rows / size[1]])
        mean = float(np.sqrt(scale.prod()))

        def move(points: np.ndarray) -> np.ndarray:
            return (points + 0.5) * scale - 0.5 + windows.offset

        fitted = replace(
            self,
            strokes=tuple(Stroke(move(s.points), s.speed * mean) for s in self.strokes),
            anchors=tuple(Anchor(*move(np.array([a.x, a.y])).tolist()) for a in self.anchors),
            polygons=tuple(move(area) for area in self.polygons),
            exclude=tuple(move(area) for area in self.exclude),
            feather=self.feather * mean,
            size=(width, height),
        )
        fitted._refuse_far_points(height, width)
        return replace(fitted, mask=fitted._mask_over(windows))

    def _mask_over(self, windows: Windows) -> np.ndarray | None:
        if self.mask is not None and (not self.polygons or self.mask.shape == windows.size):
            return masks.fit_mask(self.mask, Windows.whole(*self.mask.shape), windows)
        if not self.polygons and not self.exclude:
            return None
        corners = np.concatenate([*self.polygons, *self.exclude]) - windows.offset
        rows, columns = windows.display_size
        beyond = (corners < -0.5 - _BEYOND) | (corners > np.array([columns, rows]) - 0.5 + _BEYOND)
        if not windows.overscan or beyond.any():
            return masks.rasterise(self.polygons, self.exclude, self.feather, *windows.size)
        polygons, exclude = ([area - windows.offset for area in areas] for areas in (self.polygons, self.exclude))
        shown = masks.rasterise(polygons, exclude, self.feather, rows, columns)
        return masks.fit_mask(shown, Windows.whole(rows, columns), windows)

    def _refuse_far_points(self, height: int, width: int) -> None:
        drawn: Sequence[np.ndarray] = [s.points for s in self.strokes] + [*self.polygons, *self.exclude]
        drawn = [*drawn, np.array([[a.x, a.y] for a in self.anchors]).reshape(-1, 2)]
        for points in drawn:
            outside = np.abs(points / [width, height]) > _FAR
            if outside.any():
                x, y = points[outside.any(axis=1)][0]
                raise MotionError(f"the point ({x:g}, {y:g}) is far outside the picture of {width}x{height} pixels")


def _as_points(points: object, what: str) -> np.ndarray:
    try:
        array = np.array(points, np.float64)
    except (TypeError, ValueError):
        raise MotionError(f"{what} must be pairs of numbers [x, y], not {str(points)[:80]}") from None
    if array.ndim != 2 or array.shape[1] != 2:
        raise MotionError(f"{what} must be pairs of numbers [x, y], not an array of shape {array.shape}")
    if not np.isfinite(array).all():
        raise MotionError(f"{what} must be finite numbers, not {array[~np.isfinite(array).all(axis=1)][0].tolist()}")
    return array
