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


@dataclass
class QualityReport:
    """The QC of one loop.

    Attributes:
        folder: folder of the frames.
        frames: N.
        rows: the measurements.
    """

    folder: str
    frames: int
    rows: list[Row] = field(default_factory=list)

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
