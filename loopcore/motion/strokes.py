# SPDX-License-Identifier: Apache-2.0
"""Hints: the strokes, anchors and mask that an artist draws over a plate to define its motion.

Convention: coordinates are pixels, x right, y down, pixel centres at integers, so the top left corner of the picture is
(-0.5, -0.5). Speeds are pixels per frame. On a plate with overscan coordinates refer to the display window, and may lie
outside it; hints whose ``size`` is that of the plate with its overscan refer to all its pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from loopcore.errors import HintsError, MotionError
from loopcore.exr.windows import WHOLE, Windows, checked_windows
from loopcore.image import EqualByContent
from loopcore.motion import masks

_BEYOND = 1.0  # pixels outside the display window from which on an outline was drawn over the overscan, too
_FAR = 8.0  # largest coordinates, in sizes of the picture: strokes may leave it, but not by more
_LARGEST = 1e6  # pixels, of any coordinate, speed or feather: far beyond the largest plate, and safe to compute with


@dataclass(frozen=True, eq=False)
class Stroke(EqualByContent):
    """A polyline that the flow follows, from its first point to its last.

    Strokes are equal if all their bits are; they are not hashable.

    Attributes:
        points: (n, 2) float64, x and y in pixels, n >= 2, of length above 0.
        speed: pixels per frame, 0 or more, for the whole stroke or (n,) for each point.

    Raises:
        MotionError: wrong shapes, values that are not finite or above 1e6, a negative speed, or no length.

    Convention: as in this module's docstring.
    """

    points: np.ndarray
    speed: float | np.ndarray = 1.0

    def __post_init__(self) -> None:
        points = _as_points(self.points, "a stroke's points")
        if len(points) < 2 or not np.ptp(points, axis=0).any():
            raise MotionError(f"a stroke needs at least two different points, not {points.tolist()}")
        try:
            speed = np.asarray(self.speed, np.float64)
        except (TypeError, ValueError):
            raise MotionError(f"a stroke's speed must be a number of pixels per frame, not {self.speed!r}") from None
        if speed.ndim > 1 or (speed.ndim == 1 and len(speed) != len(points)):
            raise MotionError(
                f"a stroke's speed must be one number, or one for each of its {len(points)} points, not an array of "
                f"shape {speed.shape}"
            )
        if not np.isfinite(speed).all() or (speed < 0).any():
            raise MotionError(
                f"a stroke's speed must be 0 or more pixels per frame, not {speed.tolist()}; to reverse the flow, "
                "reverse the stroke's points"
            )
        if (speed > _LARGEST).any():
            raise MotionError(f"a stroke's speed must be at most {_LARGEST:g} pixels per frame, not {speed.max():g}")
        object.__setattr__(self, "points", points)
        object.__setattr__(self, "speed", float(speed) if speed.ndim == 0 else speed)

    @property
    def speeds(self) -> np.ndarray:
        """Speed at each point, (n,) float64."""
        return np.broadcast_to(np.asarray(self.speed, np.float64), (len(self.points),))


@dataclass(frozen=True)
class Anchor:
    """A point that stays still.

    Attributes:
        x: pixels to the right.
        y: pixels down.

    Raises:
        MotionError: a coordinate is not finite, or above 1e6.
    """

    x: float
    y: float

    def __post_init__(self) -> None:
        if not (np.isfinite(self.x) and np.isfinite(self.y)):
            raise MotionError(f"an anchor's position must be finite, not ({self.x}, {self.y})")
        if max(abs(self.x), abs(self.y)) > _LARGEST:
            raise MotionError(f"an anchor's position must be within {_LARGEST:g} pixels, not ({self.x:g}, {self.y:g})")


@dataclass(frozen=True, eq=False)
class Hints(EqualByContent):
    """Everything drawn for one plate.

    Hints are equal if all their bits are; they are not hashable.

    Attributes:
        strokes: along the flow.
        anchors: that stay still.
        mask: (H, W) float32 in 0..1, 1 where the plate may move; None if not drawn, or not yet rasterised from
            ``polygons`` by :meth:`fitted`.
        size: (width, height) of the picture that the hints were drawn over; None for the plate's.
        polygons: outlines of the mask, (n, 2) each, whose union moves.
        exclude: outlines cut out of it.
        feather: pixels over which the mask of the polygons fades, inward.

    Raises:
        MotionError: wrong shapes, or values that are not finite or out of range.

    Convention: as in this module's docstring.
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
                raise MotionError(f"{name}: an outline needs at least three points, not {short[0]}")
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
        if self.feather > _LARGEST:
            raise MotionError(f"feather must be at most {_LARGEST:g} pixels, not {self.feather:g}")

    def fitted(self, height: int, width: int, windows: Windows = WHOLE) -> Hints:
        """Returns the hints for a plate of the same aspect: points, speeds and feather scaled, the mask rasterised.

        Args:
            height: of the plate, pixels.
            width: of the plate, pixels.
            windows: of the plate. Points then refer to all its pixels, and a mask that covers only the display window
                is extended by its edges into the overscan.

        Raises:
            HintsError: the aspects differ, or a point is far outside the picture.
        """
        windows = checked_windows(windows, height, width)
        size = self.size or windows.display_size[::-1]
        if size == (width, height):
            windows = Windows.whole(height, width)
        rows, columns = windows.display_size
        if not masks.same_aspect(size, (columns, rows)):
            raise HintsError(
                f"the hints were drawn over a picture of {size[0]}x{size[1]}, but the plate is {windows}: "
                "the aspects differ. Draw them over this plate, or crop the plate to that picture"
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
                raise HintsError(
                    f"the point ({x:g}, {y:g}) is far outside the picture of {width}x{height} pixels: move or delete it"
                )


def _as_points(points: object, what: str) -> np.ndarray:
    try:
        array = np.array(points, np.float64)
    except (TypeError, ValueError):
        raise MotionError(f"{what} must be pairs of numbers [x, y], not {str(points)[:80]}") from None
    if array.ndim != 2 or array.shape[1] != 2:
        raise MotionError(f"{what} must be pairs of numbers [x, y], not an array of shape {array.shape}")
    if not np.isfinite(array).all():
        raise MotionError(f"{what} must be finite numbers, not {array[~np.isfinite(array).all(axis=1)][0].tolist()}")
    if (np.abs(array) > _LARGEST).any():
        x, y = array[(np.abs(array) > _LARGEST).any(axis=1)][0]
        raise MotionError(f"{what} must be within {_LARGEST:g} pixels, not [{x:g}, {y:g}]")
    return array
