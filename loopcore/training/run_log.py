# SPDX-License-Identifier: Apache-2.0
"""Records of a training run: metrics as CSV, and pictures of plate, truth and prediction."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from loopcore.errors import SequenceError
from loopcore.files.atomic import make_folder, write_atomically

COLUMNS = ("step", "rate", "loss", "end_point", "moving", "adversarial", "matching", "discriminator",
           "val_error", "val_still", "val_overlap")  # fmt: skip
_GAP = 4  # pixels between pictures

Sheet = list[list[np.ndarray]]  # rows of (h, w, 3) uint8 pictures of equal size


class MetricsLog:
    """A CSV file of metrics, one row at each logged step."""

    def __init__(self, path: Path, step: int) -> None:
        """Continues after ``step``: rows written beyond the last checkpoint are removed.

        Raises:
            SequenceError: a file there is not CSV, or cannot be written.
        """
        self._path = path
        rows: list[dict[str, str]] = []
        if path.is_file():
            try:
                with path.open(encoding="utf-8", newline="") as file:
                    rows = [row for row in csv.DictReader(file) if _number(row.get("step")) <= step]
            except (OSError, UnicodeDecodeError, csv.Error) as error:
                raise SequenceError(
                    f"metrics {path} cannot be read ({error}): move the file away, and start again"
                ) from None
        write_atomically(path, lambda hidden: self._write(rows, hidden))

    @staticmethod
    def _write(rows: Sequence[Mapping[str, str]], path: Path) -> None:
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS, extrasaction="ignore")
            writer.writeheader()
            writer.writerows(rows)

    def add(self, values: Mapping[str, float]) -> None:
        """Appends a row; columns without a value stay empty."""
        row = {name: f"{value:.6g}" if name != "step" else str(int(value)) for name, value in values.items()}
        with self._path.open("a", encoding="utf-8", newline="") as file:
            csv.DictWriter(file, COLUMNS, restval="").writerow(row)


def _number(text: str | None) -> float:
    try:
        return float(text or "")
    except (TypeError, ValueError):
        return float("inf")


def flow_colours(velocity: np.ndarray, top: float | None = None) -> np.ndarray:
    """Returns motion as colours, (H, W, 3) uint8: hue is direction, saturation is speed over ``top``, white is still.

    Args:
        velocity: (H, W, 2).
        top: px per frame; by default :func:`high_speed`.
    """
    from PIL import Image

    speed = np.hypot(velocity[..., 0], velocity[..., 1])
    top = top or high_speed(velocity)
    hue = (np.degrees(np.arctan2(velocity[..., 1], velocity[..., 0])) % 360) * (255 / 360)
    planes = [hue, 255 * np.clip(speed / top, 0, 1), np.full_like(speed, 255)]
    return np.asarray(Image.fromarray(np.stack(planes, axis=-1).astype(np.uint8), "HSV").convert("RGB"))


def high_speed(velocity: np.ndarray) -> float:
    """Returns the 95th percentile of the speeds above 0; 1 where nothing moves."""
    speed = np.hypot(velocity[..., 0], velocity[..., 1])
    return float(np.quantile(speed[speed > 0], 0.95)) if (speed > 0).any() else 1.0


def write_grid(rows: Sequence[Sequence[np.ndarray]], path: Path) -> None:
    """Writes rows of (h, w, 3) uint8 pictures of equal size as one PNG.

    Raises:
        SequenceError: the file cannot be written.
    """
    from PIL import Image

    height, width, _ = rows[0][0].shape
    across, down = max(map(len, rows)), len(rows)
    sheet = np.zeros(((height + _GAP) * down - _GAP, (width + _GAP) * across - _GAP, 3), np.uint8)
    for i, row in enumerate(rows):
        for j, picture in enumerate(row):
            y, x = i * (height + _GAP), j * (width + _GAP)
            sheet[y : y + height, x : x + width] = picture
    write_atomically(path, lambda hidden: Image.fromarray(sheet).save(hidden, format="PNG"))


def write_sheet(sheet: Sheet, path: Path) -> None:
    """Writes pictures as one PNG, in a folder that is made where it is missing; nothing where there are none.

    Raises:
        SequenceError: the file cannot be written.
    """
    if sheet:
        make_folder(path.parent)
        write_grid(sheet, path)
