# SPDX-License-Identifier: Apache-2.0
"""The report of a loop's QC."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Row:
    """One measurement of the report.

    Attributes:
        name: what was measured.
        value: the result; None where it could not be measured.
        limit: the limit in words.
        passed: whether the value is within it.
        note: details; what to do where the row does not pass.
    """

    name: str
    value: float | None
    limit: str
    passed: bool
    note: str = ""


@dataclass(frozen=True)
class Curve:
    """One measurement over the frames.

    Attributes:
        title: what was measured.
        unit: of the values.
        points: frame numbers and values.
        low: the values' lower limit, if any.
        high: the values' upper limit, if any.
        judged: the frame numbers that the limits are for; None for all.
    """

    title: str
    unit: str
    points: tuple[tuple[int, float], ...]
    low: float | None = None
    high: float | None = None
    judged: tuple[int, ...] | None = None

    def beyond(self, number: int, value: float) -> bool:
        """Returns whether a point is judged and not within the limits."""
        if self.judged is not None and number not in self.judged:
            return False
        return (self.low is not None and value < self.low) or (self.high is not None and value > self.high)


@dataclass(frozen=True)
class Spot:
    """Where a measurement is worst.

    Attributes:
        title: what was measured.
        number: of the frame.
        row: in the frame's array.
        column: in the frame's array.
    """

    title: str
    number: int
    row: int
    column: int


@dataclass
class QualityReport:
    """The QC of one loop.

    Attributes:
        folder: folder of the frames.
        frames: N.
        rows: the measurements.
        curves: measurements over the frames, for the report's page.
        spots: where measurements are worst, for the report's page.
    """

    folder: str
    frames: int
    rows: list[Row] = field(default_factory=list)
    curves: list[Curve] = field(default_factory=list)
    spots: list[Spot] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Whether every row passes."""
        return all(row.passed for row in self.rows)

    def to_dict(self) -> dict[str, Any]:
        """Returns the report for JSON; values that are not finite become None."""
        rows = [asdict(row) for row in self.rows]
        for row in rows:
            if row["value"] is not None and not math.isfinite(row["value"]):
                row["value"] = None
        return {"folder": self.folder, "frames": self.frames, "passed": self.passed, "rows": rows}


def judged(name: str, value: float | None, limit: str, passed: bool, advice: str, note: str = "") -> Row:
    """A row whose note ends with advice where it does not pass."""
    return Row(name, value, limit, passed, "; ".join(part for part in (note, "" if passed else advice) if part))
