# SPDX-License-Identifier: Apache-2.0
"""Measures a loop's files and compares the results with limits.

Each result is a row of the report. What cannot be measured does not pass, and its row says why.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from loopcore import color
from loopcore.baking.frames import damage, is_current
from loopcore.baking.recipe import Recipe, read_recipe
from loopcore.exr.windows import Windows
from loopcore.files.pattern import FramePattern
from loopcore.files.ranges import format_range
from loopcore.image import luma
from loopcore.loop import Loop
from loopcore.quality.baked import frame_pattern, read_frame, read_loop
from loopcore.quality.looks import Carried, Contrast, Torn, Wander, busiest
from loopcore.quality.report import Curve, QualityReport, Row, Spot, judged
from loopcore.quality.stored import in_display, rounding, stored_pixels

CLOSURE = 1e-6
SEAM = (0.8, 1.25)
BREATHING = 0.05
WANDER = 0.07
TORN = 0.03
# Looks are measured on so many frames, evenly spaced, torn detail on half of them.
LOOKS = 16
SPOT = 64  # side in pixels of the area that a measurement is worst in
REBAKE = "bake again with --overwrite"
RESUME = "run the bake again, it writes only these"
REPAIR = "run the bake again with --verify, it writes only these"
CALMER = "lower --speed or --frames"
_NOT_MEASURED = Row("pixels", None, "", False, "not measured: the frames are not all there and whole")


def check(
    folder: str | Path, *, plate: str | Path | None = None, on_progress: Callable[[int, int], None] | None = None
) -> QualityReport:
    """Measure the loop in a folder that `bake` wrote.

    Args:
        folder: folder of the frames, with `recipe.json` and `motion.exr`.
        plate: where the still is now, if it was moved.
        on_progress: called with (done, total) after each frame.

    Returns:
        The report. Where files are missing or damaged it says so and has no other rows.

    Raises:
        SequenceError: the folder holds no recipe, or plate, motion or frames are not those that were baked.
        LoopcoreError: the motion cannot be read.
    """
    folder = Path(folder)
    recipe, document = read_recipe(folder)
    pattern = frame_pattern(folder, recipe, document)
    report = QualityReport(str(folder), recipe.frames)
    report.rows += _files(pattern, recipe)
    if not report.passed:
        report.rows.append(_NOT_MEASURED)
        return report
    loop = read_loop(folder, recipe, document, plate)
    measured = _Measurement(loop, recipe)
    broken: list[int] = []
    for time in range(recipe.frames):
        path = pattern.path(recipe.first + time)
        if damage(path):
            broken.append(recipe.first + time)
        elif not broken:
            measured.add(time, read_frame(path, loop.plate, recipe, measured.expected))
        if on_progress is not None:
            on_progress(time + 1, recipe.frames)
    report.rows.append(_count("frames whose pixels are damaged", broken, REPAIR))
    if broken:
        report.rows.append(_NOT_MEASURED)
        return report
    report.rows += measured.rows()
    report.curves, report.spots = measured.curves(), measured.spots()
    return report


def _count(name: str, found: list[int], advice: str) -> Row:
    return judged(name, len(found), "0", not found, advice, format_range(found))


def _files(pattern: FramePattern, recipe: Recipe) -> Iterator[Row]:
    numbers = range(recipe.first, recipe.first + recipe.frames)
    there = pattern.find()
    missing = [n for n in numbers if n not in there]
    extra = [n for n in there if n not in numbers]
    stale = [n for n in numbers if n in there and not is_current(there[n], recipe, n)]
    yield _count("missing frames", missing, RESUME)
    yield _count("frames beyond the loop", extra, "delete them")
    yield _count("damaged, misplaced or of another recipe", stale, RESUME)


class _Measurement:
    """What is measured of the frames, added in order of time."""

    def __init__(self, loop: Loop, recipe: Recipe) -> None:
        self._loop, self._recipe = loop, recipe
        self.expected = stored_pixels(loop.plate, recipe)
        filed = _filed(loop.motion.mask.shape, loop.plate.windows, recipe)
        self._moving, self._filed = (loop.motion.mask > 0) & filed, filed
        self._static, self._nonfinite = 0.0, 0
        self._spots: dict[str, Spot] = {}
        self._steps: list[float] = []
        self._twins: list[int] = []
        self._first = self._before = self.expected
        self._looks = _Looks(loop, recipe, filed)

    def add(self, time: int, pixels: np.ndarray) -> None:
        still = ~self._moving
        change = _difference(pixels[still], self.expected[still])
        if change > self._static:
            self._static = change
            unlike = np.nan_to_num(np.abs(pixels - self.expected), posinf=np.inf).max(axis=2)
            self._spots["static"] = self._spot("changed outside the mask", time, np.where(still, unlike, 0), 1)
        self._nonfinite += int(np.count_nonzero(~np.isfinite(pixels) & np.isfinite(self.expected)))
        shown = np.nan_to_num(pixels, posinf=0.0, neginf=0.0)
        if time == 0:
            self._closure = _closure(self._loop, self._recipe, pixels, self._filed)
            self._first = shown
        else:
            self._steps.append(_change(shown, self._before, self._moving))
            if self._steps[-1] == 0:
                self._twins.append(self._recipe.first + time)
        self._before = shown
        if self._moving.any():
            self._looks.add(time, shown)

    def rows(self) -> list[Row]:
        rows = [
            _unless_lossy(self._closure, self._recipe),
            _unless_lossy(
                judged("static: largest difference outside the mask", self._static, "0", self._static == 0, REBAKE),
                self._recipe,
            ),
            self._seam(),
            *(self._looks.rows() if self._moving.any() else []),
        ]
        if self._loop.method == "splat":
            times = range(0, self._recipe.frames, 8)
            holes = max(self._loop.holes(time) for time in times)
            rows.append(Row("holes: share without weight before filling", holes, "reported", True))
        twins, still = self._twins, not any(self._steps)
        return [
            *rows,
            judged("NaN and Inf that the plate did not have", self._nonfinite, "0", self._nonfinite == 0, REBAKE),
            judged("frames equal to the one before", len(twins), "0", not twins or still, REBAKE, format_range(twins)),
        ]

    def _seam(self) -> Row:
        name, limit = "seam: last step over the median step", f"{SEAM[0]} to {SEAM[1]}"
        last, median = self._last(), float(np.median(self._steps))
        if median == 0:
            return judged(name, None, limit, last == 0, REBAKE, "nothing moves")
        return judged(name, last / median, limit, SEAM[0] <= last / median <= SEAM[1], REBAKE)

    def _last(self) -> float:
        return _change(self._first, self._before, self._moving)

    def curves(self) -> list[Curve]:
        """The seam and the looks over the frames; what does not move has none."""
        median = float(np.median(self._steps))
        if median == 0:
            return []
        first, last = self._recipe.first, self._recipe.first + self._recipe.frames - 1
        steps = [(first + time, step / median) for time, step in enumerate([*self._steps, self._last()])]
        seam = Curve("Seam", "change to the next frame, over the median", tuple(steps), *SEAM, judged=(last,))
        return [seam, *self._looks.curves()]

    def spots(self) -> list[Spot]:
        """Where the measurements are worst, those outside the mask first."""
        if not self._moving.any():
            return list(self._spots.values())
        change = np.where(self._moving, np.abs(self._first - self._before).mean(axis=2), 0)
        seam = self._spot("seam: the last frame before the plate", self._recipe.frames - 1, change, SPOT)
        return [*self._spots.values(), *self._looks.spots(), seam]

    def _spot(self, title: str, time: int, values: np.ndarray, size: int) -> Spot:
        return Spot(title, self._recipe.first + time, *busiest(values, size))


class _Looks:
    """Wander, torn detail and contrast of the frames as a display shows them."""

    def __init__(self, loop: Loop, recipe: Recipe, filed: np.ndarray) -> None:
        self._loop, self._recipe, plate = loop, recipe, loop.plate
        self._mask = np.ascontiguousarray((loop.motion.mask * filed)[loop.window], np.float32)
        self._exposure = 1.0 if plate.encoded != "linear" else color.display_exposure(plate.pixels, plate.channels)
        times = [round(k * recipe.frames / LOOKS) for k in range(LOOKS)]
        self._times, self._torn_times = set(times), set(times[2::2])
        self._side = max(plate.width, plate.height)
        self._wandered: dict[int, float] = {}
        self._torn_shares: dict[int, float] = {0: 0.0}
        self._places: dict[str, tuple[int, int, int]] = {}

    def add(self, time: int, pixels: np.ndarray) -> None:
        if time not in self._times:
            return
        window = self._loop.window
        frame = in_display(replace(self._loop.plate, pixels=pixels), self._recipe)
        codes = color.display_image(frame, exposure=self._exposure)[window]
        picture = luma(codes.astype(np.float32) / np.float32(255))
        if time == 0:
            self._wander = Wander(picture, self._mask, self._side)
            self._torn, self._contrast = Torn(picture, self._mask), Contrast(self._mask)
            self._carried = Carried(self._mask)
        distance = self._wander.distance(picture)
        if distance > max(self._wandered.values(), default=0.0):
            self._places["looks: wandered furthest"] = (time, *self._wander.place(picture))
        self._wandered[time] = distance
        if self._loop.plain:
            self._carried.add(self._loop.sqrt_luminance(pixels[window]), *self._loop.copies(time))
        else:
            self._contrast.add(picture)
        if time in self._torn_times:
            torn = self._torn.torn(picture)
            share = float(torn.mean()) if len(torn) else 0.0
            if share > max(self._torn_shares.values()):
                self._places["detail: torn or folded most"] = (time, *self._torn.place(torn, SPOT))
            self._torn_shares[time] = share

    def curves(self) -> list[Curve]:
        """Contrast of the band that breathes most, wander and torn detail."""
        numbers = [self._recipe.first + time for time in sorted(self._wandered)]
        contrast = self._measured_contrast()
        chance = contrast.chance()
        spread = contrast.spread()
        band = max(range(len(spread)), key=lambda k: spread[k] - chance[k])
        levels = [float(level) for level in contrast.levels()[:, band]]
        limits = _band(levels, BREATHING + chance[band]) if self._loop.contrast == 1 else (None, None)
        unit = "over what its copies carry" if self._loop.plain else "over the mean"
        return [
            Curve("Contrast", f"of detail, {unit}", tuple(zip(numbers, levels, strict=True)), *limits),
            self._curve("Wander", "of the blurred picture, in display codes", self._wandered, WANDER),
            self._curve("Torn detail", "share of the moving pixels", self._torn_shares, TORN),
        ]

    def spots(self) -> list[Spot]:
        """Where looks wander and detail is torn most, if they are."""
        down, across = (side.start or 0 for side in self._loop.window)
        return [
            Spot(title, self._recipe.first + time, row + down, column + across)
            for title, (time, row, column) in self._places.items()
        ]

    def _curve(self, title: str, unit: str, values: dict[int, float], limit: float) -> Curve:
        points = sorted((self._recipe.first + time, value) for time, value in values.items())
        return Curve(title, unit, tuple(points), high=limit)

    def _measured_contrast(self) -> Carried | Contrast:
        return self._carried if self._loop.plain else self._contrast

    def rows(self) -> list[Row]:
        contrast = self._measured_contrast()
        spread = contrast.spread()
        beyond = max(0.0, *(a - b for a, b in zip(spread, contrast.chance(), strict=True)))
        note = "spread by band, fine to coarse: " + ", ".join(f"{value:.3f}" for value in spread)
        wanted = self._loop.contrast == 1
        if not wanted:
            note += f"; no limit, as contrast {self._loop.contrast:g} was asked for"
        return [
            judged("breathing: spread of detail contrast", beyond,
                   f"<= {BREATHING:g}" if wanted else "none", beyond <= BREATHING or not wanted, CALMER, note),
            self._worst("looks wander: blurred picture against frame 0", self._wandered, WANDER,
                        f"{CALMER}, or mask out what should keep its place"),
            self._worst("torn or folded detail: share unlike frame 0", self._torn_shares, TORN,
                        f"{CALMER}, or draw strokes whose speeds differ less"),
        ]  # fmt: skip

    def _worst(self, name: str, values: dict[int, float], limit: float, advice: str) -> Row:
        time = max(values, key=lambda key: values[key])
        note = f"worst frame {self._recipe.first + time}"
        return judged(name, values[time], f"<= {limit:g}", values[time] <= limit, advice, note)


def _band(values: list[float], span: float) -> tuple[float, float]:
    """The limits, this far apart, that most values are within, with these in the middle."""
    span *= 1 + 1e-9  # so that rounding puts no value outside
    inside = max(([v for v in values if low <= v <= low + span] for low in values), key=len)
    middle = (min(inside) + max(inside)) / 2
    return middle - span / 2, middle + span / 2


def _filed(shape: tuple[int, ...], windows: Windows, recipe: Recipe) -> np.ndarray:
    """Which pixels the files have: a PNG has those of the display window."""
    filed = np.full(shape, recipe.format != "png")
    filed[windows.shown] = True
    return filed


def _closure(loop: Loop, recipe: Recipe, first: np.ndarray, filed: np.ndarray) -> Row:
    """Frame N, rendered and rounded as files are, against the file of frame 0; a step of rounding is allowed."""
    end = stored_pixels(replace(loop.plate, pixels=loop.frame(loop.frames)), recipe)[filed]
    first = first[filed]
    finite = np.isfinite(end) & np.isfinite(first)
    alike = np.array_equal(np.isfinite(end), np.isfinite(first))
    span = float(np.ptp(end[finite])) if finite.any() else 0.0
    beyond = np.abs(end[finite] - first[finite]) - rounding(end[finite], recipe)
    gap = max(float(beyond.max(initial=0.0)), 0.0) / (span or 1.0)
    limit = f"<= {CLOSURE:g} of the range"
    return judged("closure: frame N against frame 0", gap, limit, gap <= CLOSURE and alike, REBAKE)


def _unless_lossy(row: Row, recipe: Recipe) -> Row:
    """A row of pixels that should be equal, which has no limit where the files' compression changes them."""
    if not recipe.lossy:
        return row
    return Row(
        row.name, row.value, "none", True, f"no limit, as the lossy compression {recipe.compression} was asked for"
    )


def _difference(a: np.ndarray, b: np.ndarray) -> float:
    """Largest difference; NaN equals NaN, an Inf itself, and nothing else equals them."""
    if not a.size:
        return 0.0
    unlike = a != b
    unlike &= ~(np.isnan(a) & np.isnan(b))
    if not unlike.any():
        return 0.0
    gap = np.abs(a[unlike] - b[unlike])
    return float(np.where(np.isfinite(gap), gap, np.inf).max())


def _change(a: np.ndarray, b: np.ndarray, where: np.ndarray) -> float:
    return float(np.abs(a - b)[where].mean()) if where.any() else 0.0
