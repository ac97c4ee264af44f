# SPDX-License-Identifier: Apache-2.0
"""Loop QC: reads a baked loop back and holds it to numbers.

Measured on the files, not on what was meant to be in them. Every number is a row of the report, with its limit and
whether it passes; what cannot be measured says why, and does not pass.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from loopcore import color
from loopcore.baking.frames import is_current, srgb_codes
from loopcore.baking.recipe import Recipe, read_recipe
from loopcore.errors import LoopcoreError, SequenceError
from loopcore.exr import as_stored
from loopcore.exr.windows import Windows
from loopcore.files.pattern import FramePattern
from loopcore.files.ranges import format_range
from loopcore.loop import Loop
from loopcore.motion.field import MotionField
from loopcore.plate import Plate, read_plate

CLOSURE = 1e-6
SEAM = (0.8, 1.25)
BREATHING = 0.05
# Bands whose detail is measured: centred on periods of about 4, 8, 16, 32 and 64 pixels.
BANDS = 5
# Pixels this close to the mask's edge, in the first band, are part still: their contrast is not the loop's.
SOLID = 0.999


@dataclass(frozen=True)
class Row:
    """One number of the report: what, its value (None: not measured), the limit in words, and whether it holds."""

    name: str
    value: float | None
    limit: str
    passed: bool
    note: str = ""


@dataclass
class QualityReport:
    """The QC of one loop. `passed` when every row is."""

    folder: str
    frames: int
    rows: list[Row] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        return all(row.passed for row in self.rows)

    def to_dict(self) -> dict[str, Any]:
        """For JSON; numbers that are no finite numbers become None."""
        rows = [asdict(row) for row in self.rows]
        for row in rows:
            if row["value"] is not None and not math.isfinite(row["value"]):
                row["value"] = None
        return {"folder": self.folder, "frames": self.frames, "passed": self.passed, "rows": rows}


def check(
    folder: str | Path, *, plate: str | Path | None = None, on_progress: Callable[[int, int], None] | None = None
) -> QualityReport:
    """Measure the loop in a folder that `bake` wrote.

    plate: where the still is now, when it is not where it was. `on_progress(done, total)` is called after each frame.

    Raises SequenceError when the folder holds no recipe; LoopcoreError when plate or motion cannot be read, or are
    not the ones that were baked.
    """
    folder = Path(folder)
    recipe, document = read_recipe(folder)
    pattern = FramePattern(folder, f"{document['name']}.", f".{recipe.format}")
    report = QualityReport(str(folder), recipe.frames)
    report.rows += _files(pattern, recipe)
    if not report.passed:
        report.rows.append(Row("pixels", None, "", False, "not measured: the frames are not all there and whole"))
        return report
    loop = _loop(folder, recipe, document, plate)
    report.rows.append(_closure(loop))
    report.rows += _measure(loop, recipe, pattern, on_progress)
    return report


def _files(pattern: FramePattern, recipe: Recipe) -> Iterator[Row]:
    numbers = range(recipe.first, recipe.first + recipe.frames)
    there = pattern.find()
    missing = [n for n in numbers if n not in there]
    extra = [n for n in there if n not in numbers]
    yield Row("missing frames", len(missing), "0", not missing, format_range(missing))
    yield Row("frames beyond the loop", len(extra), "0", not extra, format_range(extra))
    stale = [n for n in numbers if n in there and not is_current(there[n], recipe, n)]
    yield Row("damaged, misplaced or of another recipe", len(stale), "0", not stale, format_range(stale))


def _loop(folder: Path, recipe: Recipe, document: Any, plate: str | Path | None) -> Loop:
    where = plate if plate is not None else document.get("plate_path")
    if where is None:
        raise SequenceError("the recipe does not say where the plate is: name it with --plate")
    try:
        still = read_plate(where, layer=_text(document, "layer"), colorspace=_text(document, "colorspace"))
    except LoopcoreError as error:
        raise SequenceError(f"the plate cannot be read ({error}): name it with --plate") from None
    if still.digest() != recipe.plate:
        raise SequenceError(f"'{where}' is not the plate that was baked (its pixels differ): name it with --plate")
    motion = MotionField.load(folder / "motion.exr")
    if motion.digest() != recipe.motion:
        raise SequenceError(f"'{folder / 'motion.exr'}' is not the motion that was baked: bake the loop again")
    # What the files are held to is made on the CPU, whichever device made the files.
    cycles, steady = recipe.looks()
    return Loop(
        still, motion, frames=recipe.frames, method=recipe.method, contrast=recipe.contrast, cycles=cycles,
        steady=steady, device="cpu",
    )  # fmt: skip


def _text(document: Any, name: str) -> str | None:
    value = document.get(name)
    return value if isinstance(value, str) else None


def _closure(loop: Loop) -> Row:
    start, end = loop.frame(0), loop.frame(loop.frames)
    finite = np.isfinite(start) & np.isfinite(end)
    same_kind = np.array_equal(np.isfinite(start), np.isfinite(end))
    span = float(np.ptp(start[finite])) if finite.any() else 0.0
    gap = float(np.abs(start[finite] - end[finite]).max(initial=0.0)) / (span or 1.0)
    return Row("closure: frame N against frame 0", gap, f"<= {CLOSURE:g} of the range", gap <= CLOSURE and same_kind)


def _measure(
    loop: Loop, recipe: Recipe, pattern: FramePattern, on_progress: Callable[[int, int], None] | None
) -> list[Row]:
    """Everything that needs each frame's pixels, in one pass over the files."""
    expected, filed = _as_stored(loop.plate, recipe), np.ones(loop.motion.mask.shape, bool)
    windows = loop.plate.windows
    if recipe.format == "png":  # which shows the display window only
        filed[...] = False
        filed[windows.shown] = True
    moving = (loop.motion.mask > 0) & filed
    solid = ((loop.motion.mask >= SOLID) & filed).astype(np.float32)
    static = nonfinite = 0.0
    steps, breath, holes = [], [], []
    first = before = None
    twins: list[int] = []
    for time in range(recipe.frames):
        number = recipe.first + time
        frame = read_plate(pattern.path(number))
        if recipe.format == "png" and frame.windows != windows and frame.pixels.shape[:2] == windows.display_size:
            frame = _in_whole(frame, expected, windows)
        if frame.pixels.shape != expected.shape or frame.windows != windows:
            raise SequenceError(f"'{pattern.path(number)}' is {frame.windows}, unlike the plate: {windows}")
        still = ~moving
        static = max(static, _difference(frame.pixels[still], expected[still]))
        nonfinite += int(np.count_nonzero(~np.isfinite(frame.pixels) & np.isfinite(expected)))
        shown = np.nan_to_num(frame.pixels, posinf=0.0, neginf=0.0)
        if before is not None:
            steps.append(_change(shown, before, moving))
            if steps[-1] == 0:
                twins.append(number)
        first, before = (shown if first is None else first), shown
        breath.append(_detail(loop, shown, solid, time))
        holes.append(loop.holes(time) if loop.method == "splat" and time % 8 == 0 else 0.0)
        if on_progress is not None:
            on_progress(time + 1, recipe.frames)
    assert first is not None and before is not None
    return _rows(loop, static, nonfinite, steps, _change(first, before, moving), breath, max(holes), twins)


def _in_whole(frame: Plate, expected: np.ndarray, windows: Windows) -> Plate:
    """A frame of the display window with the plate around it."""
    pixels = expected.copy()
    pixels[windows.shown] = frame.pixels
    return replace(frame, pixels=pixels, windows=windows)


def _as_stored(plate: Plate, recipe: Recipe) -> np.ndarray:
    """The plate's pixels as a file of this depth gives them back."""
    if recipe.format == "exr":
        return as_stored(plate.pixels, np.float16 if recipe.depth == "half" else np.float32).astype(np.float32)
    pixels = np.nan_to_num(plate.pixels, nan=0.0, posinf=1.0, neginf=0.0)
    if plate.alpha_index is None:
        return color.decode_codes(srgb_codes(pixels, plate, recipe.depth))
    straight = color.unpremultiply(pixels, plate.alpha_index)
    top = 255 if recipe.depth == "8" else 65535
    alpha = np.rint(np.clip(straight[..., -1:], 0, 1) * top).astype(np.float32) / np.float32(top)
    light = color.decode_codes(srgb_codes(straight, plate, recipe.depth)[..., :-1])
    return np.concatenate([light * alpha, alpha], axis=-1)


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


def _detail(loop: Loop, frame: np.ndarray, solid: np.ndarray, time: int) -> list[float]:
    """Per band: contrast of the frame's detail over what its two copies carry."""
    past, future, share = loop.copies(time)
    solid = np.ascontiguousarray(solid[loop.window])
    has = _energies(loop.sqrt_luminance(frame[loop.window]), solid)
    wanted = [
        a + b for a, b in zip(_energies(past, solid * share), _energies(future, solid * (1 - share)), strict=True)
    ]
    return [math.sqrt(h / w) if w > 0 else 1.0 for h, w in zip(has, wanted, strict=True)]


def _energies(tone: np.ndarray, weight: np.ndarray) -> list[float]:
    from loopcore.loop.contrast import bands, energy

    weights = bands(weight)
    levels = bands(tone)[:BANDS]
    return [
        float(energy(fine, coarse, np.maximum(weights[k][0], 0)).sum(dtype=np.float64))
        for k, (fine, coarse) in enumerate(levels)
    ]


def _rows(
    loop: Loop,
    static: float,
    nonfinite: float,
    steps: list[float],
    last: float,
    breath: list[list[float]],
    holes: float,
    twins: list[int],
) -> list[Row]:
    median = float(np.median(steps)) if steps else 0.0
    rows = [Row("static: largest difference outside the mask", static, "0", static == 0)]
    if median > 0:
        seam = last / median
        rows.append(Row("seam: last step over the median step", seam, f"{SEAM[0]} to {SEAM[1]}",
                        SEAM[0] <= seam <= SEAM[1]))  # fmt: skip
    else:
        rows.append(Row("seam: last step over the median step", None, f"{SEAM[0]} to {SEAM[1]}", last == 0,
                        "nothing moves"))  # fmt: skip
    spread = [max(band) - min(band) for band in zip(*breath, strict=True)] or [0.0]
    note = "by band, fine to coarse: " + ", ".join(f"{value:.3f}" for value in spread)
    wanted = loop.contrast == 1
    if not wanted:
        note += f"; no limit, as contrast {loop.contrast:g} was asked for"
    limit = f"<= {BREATHING}" if wanted else "none"
    rows.append(Row("breathing: spread of detail contrast", max(spread), limit,
                    max(spread) <= BREATHING or not wanted, note))  # fmt: skip
    limit = "0" if loop.method == "warp" else "reported"
    rows.append(Row("holes: share without weight before filling", holes, limit, holes == 0 or limit != "0"))
    rows.append(Row("NaN and Inf that the plate did not have", nonfinite, "0", nonfinite == 0))
    rows.append(Row("frames equal to the one before", len(twins), "0", not twins or median == 0, format_range(twins)))
    return rows
