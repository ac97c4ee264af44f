# SPDX-License-Identifier: Apache-2.0
"""Reports of the evaluation on clips: a table, JSON, a chart, and comparison with an earlier run."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from loopcore.errors import MotionError
from loopcore.files.atomic import make_folder, write_text_atomically
from loopcore.files.regular import TEXT, read_regular
from loopcore.training.calibration import Calibration, calibrate, write_chart
from loopcore.training.calibration import lines as calibration_lines
from loopcore.training.evaluate_motion import ClipEvaluation
from loopcore.training.motion_means import MethodMeans, by_kind, method_means
from loopcore.training.motion_scores import MethodScore

STEADY, UPRIGHT, ALL = "steady", "up or down", "steady or not"
ANY = ", any"  # after a kind: of any steadiness


def table(found: Sequence[ClipEvaluation]) -> list[str]:
    """Formats evaluations as a table.

    Args:
        found: one evaluation per clip.

    Returns:
        Lines of text: a row per clip and method, remarks, means and medians over groups of clips, and confidence
        against error.
    """
    loops = any(np.isfinite(row.psnr) for measured in found for row in measured.rows)
    lines = [score_head("clip", loops)]
    for measured in found:
        name = measured.name[:24] + ("" if measured.steady else " *")
        lines += [score_line(name, row, loops) for row in measured.rows]
    lines += [f"* {m.name}: {m.remark}; left out of the means" for m in found if not m.steady]
    lines += [f"  {m.name}: nothing seemed to flow" for m in found if m.rows and not m.something_flows]
    made = {name: method_means(_rows(clips)) for name, clips in groups(found).items()}
    for name, methods in made.items():
        lines += [score_line(f"mean of {m.clips} {name}", m.mean, loops) for m in methods.values()]
    if made:
        lines.append(f"{'median clip':<26}{'method':<11}{'axis':>6}{'direction':>11}  right way round (95 % interval)")
    for name, methods in made.items():
        lines += [_median_line(f"median of {m.clips} {name}", m) for m in methods.values()]
    calibration = _calibration(found)
    return lines + (calibration_lines(calibration) if calibration else [])


def score_head(name: str, loops: bool = False) -> str:
    """Returns the head of :func:`score_line`."""
    head = f"{name:<26}{'method':<11}{'IoU':>6}{'axis':>7}{'p90':>6}{'direction':>11}{'p90':>6}{'error':>7}{'speed':>7}"
    return head + f"{'sense':>7}" + (f"{'PSNR':>7}{'SSIM':>7}" if loops else "")


def score_line(name: str, row: MethodScore, loops: bool = False) -> str:
    """Returns scores as a line of text, with those of loops if ``loops``."""
    line = (
        f"{name:<26}{row.method:<11}{row.overlap:6.2f}{row.axis[0]:7.1f}{row.axis[1]:6.1f}"
        f"{row.direction[0]:11.1f}{row.direction[1]:6.1f}{row.scaled_error:7.2f}{row.speed_correlation:7.2f}"
        f"{row.sense:7.2f}"
    )
    return line + (f"{row.psnr:7.2f}{row.ssim:7.3f}" if loops else "")


def _median_line(name: str, means: MethodMeans) -> str:
    low, high = means.interval
    return (
        f"{name:<26}{means.mean.method:<11}{means.median_axis:6.1f}{means.median_direction:11.1f}"
        f"  {means.right} of {means.clips}, {means.right / means.clips:.0%} ({low:.0%} to {high:.0%})"
    )


def groups(found: Sequence[ClipEvaluation]) -> dict[str, list[ClipEvaluation]]:
    """Returns groups of clips; empty ones are left out.

    Steady clips by kind, all steady ones, and those that move vertically (the direction of the others is a guess). If
    others were measured too, then again by kind and all, with these.
    """
    steady = [measured for measured in found if measured.steady]
    made = by_kind(steady) | {STEADY: steady, UPRIGHT: [measured for measured in steady if measured.upright]}
    every = [measured for measured in found if measured.rows]
    if len(every) > len(steady):
        made |= {f"{kind}{ANY}": clips for kind, clips in by_kind(every).items()} | {ALL: every}
    return {name: clips for name, clips in made.items() if clips}


def _rows(clips: Sequence[ClipEvaluation]) -> list[MethodScore]:
    return [row for measured in clips for row in measured.rows]


def _calibration(found: Sequence[ClipEvaluation]) -> Calibration | None:
    return calibrate([measured.doubt for measured in found if measured.steady])


def as_json(found: Sequence[ClipEvaluation]) -> dict[str, Any]:
    """Returns evaluations as JSON values; NaN becomes null.

    Args:
        found: one evaluation per clip.
    """
    clips = []
    for measured in found:
        facts = {entry.name: getattr(measured, entry.name) for entry in fields(measured)}
        del facts["doubt"], facts["rows"]
        methods = {row.method: score_values(row) for row in measured.rows}
        clips.append({"clip": facts.pop("name"), "steady": measured.steady, **facts, "methods": methods})
    made = {name: method_means(_rows(clips)) for name, clips in groups(found).items()}
    values = {name: {method: _means_values(m) for method, m in methods.items()} for name, methods in made.items()}
    steady, upright, every = (values.pop(name, {}) for name in (STEADY, UPRIGHT, ALL))
    calibration = _calibration(found)
    return without_nan({
        "clips": clips, "mean_of_steady": steady, "mean_of_upright": upright, "mean_steady_or_not": every,
        "mean_by_kind": values, "calibration": asdict(calibration) if calibration else None,
    })  # fmt: skip


def score_values(row: MethodScore) -> dict[str, Any]:
    """Returns scores by name, without the method."""
    values = asdict(row)
    del values["method"]
    return values


def _means_values(means: MethodMeans) -> dict[str, Any]:
    low, high = means.interval
    return score_values(means.mean) | {
        "median_axis": means.median_axis, "median_direction": means.median_direction, "clips": means.clips,
        "right_way": {"clips": means.right, "share": means.right / means.clips, "low": low, "high": high},
    }  # fmt: skip


def read_baseline(path: Path) -> dict[str, MethodScore]:
    """Reads the predictor's scores from an earlier run's ``report.json``, by clip.

    Raises:
        MotionError: not such a report, or without the scores of today.
    """
    wanted = {entry.name for entry in fields(MethodScore)} - {"method"}
    found = {}
    try:
        for clip in json.loads(read_regular(path, TEXT))["clips"]:
            if not clip["methods"]:
                continue
            values = clip["methods"]["predicted"]
            pairs: dict[str, Any] = {
                name: (float(values[name][0]), float(values[name][1])) for name in ("axis", "direction")
            }
            numbers = {name: values[name] for name in wanted - pairs.keys()}
            values = pairs | {name: math.nan if value is None else float(value) for name, value in numbers.items()}
            found[str(clip["clip"])] = MethodScore("before", **values)
    except (OSError, ValueError, TypeError, LookupError, AttributeError, OverflowError, RecursionError) as error:
        raise MotionError(
            f"'{path}' is not a report.json of loopcore evaluate with these scores ({error!r}): evaluate again with -o"
        ) from None
    return found


def with_baseline(measured: ClipEvaluation, before: Mapping[str, MethodScore]) -> ClipEvaluation:
    """Returns an evaluation with the earlier run's scores below the prediction's, if they are known."""
    if not measured.rows or measured.name not in before:
        return measured
    first, *others = measured.rows
    return replace(measured, rows=(first, before[measured.name], *others))


def without_nan(value: Any) -> Any:
    """Replaces NaN and Inf, which are not in JSON, by None."""
    if isinstance(value, dict):
        return {key: without_nan(inside) for key, inside in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(inside) for inside in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_report(found: Sequence[ClipEvaluation], folder: Path) -> None:
    """Writes ``report.txt``, ``report.json``, and ``calibration.png``, a chart of confidence against error.

    Args:
        found: one evaluation per clip.
        folder: created if absent.

    Raises:
        SequenceError: they cannot be written.
    """
    texts = {"report.txt": "\n".join(table(found)) + "\n", "report.json": json.dumps(as_json(found), indent=2) + "\n"}
    write_texts(texts, folder)
    if calibration := _calibration(found):
        write_chart(calibration, folder / "calibration.png")


def write_texts(texts: Mapping[str, str], folder: Path) -> None:
    """Writes text files, by name, in a folder that is made where it is missing.

    Raises:
        SequenceError: they cannot be written.
    """
    make_folder(folder)
    for name, text in texts.items():
        write_text_atomically(folder / name, text)
