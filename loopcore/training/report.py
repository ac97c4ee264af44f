# SPDX-License-Identifier: Apache-2.0
"""Reports of the evaluation on clips: a table, JSON, and pictures."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from loopcore.files.atomic import make_folder, write_text_atomically
from loopcore.training.evaluate_motion import ClipEvaluation, MethodScore
from loopcore.training.run_log import flow_colours, write_grid


def table(found: Sequence[ClipEvaluation]) -> list[str]:
    """Formats evaluations as a table.

    Args:
        found: one evaluation per clip.

    Returns:
        Lines of text: a row per clip and method, remarks, means over the steady clips, and means over those that move
        vertically, since the direction of the others is a guess.
    """
    head = f"{'clip':<26}{'method':<11}{'IoU':>6}{'axis':>7}{'p90':>6}{'direction':>11}{'p90':>6}{'error':>7}"
    lines = [head + f"{'PSNR':>7}{'SSIM':>7}"]
    for measured in found:
        name = measured.name[:24] + ("" if measured.steady else " *")
        lines += [_line(name, row) for row in measured.rows]
    lines += [f"* {m.name}: {m.remark}; left out of the means" for m in found if not m.steady]
    lines += [f"  {m.name}: nothing seemed to flow" for m in found if m.rows and m.predicted is None]
    steady = [measured for measured in found if measured.steady]
    lines += [_line(f"mean of {len(steady)} steady", row) for row in means(steady)]
    upright = [measured for measured in steady if measured.upright]
    lines += [_line(f"mean of {len(upright)} up or down", row) for row in means(upright)]
    return lines


def _line(name: str, row: MethodScore) -> str:
    return (
        f"{name:<26}{row.method:<11}{row.overlap:6.2f}{row.axis[0]:7.1f}{row.axis[1]:6.1f}"
        f"{row.direction[0]:11.1f}{row.direction[1]:6.1f}{row.scaled_error:7.2f}{row.psnr:7.2f}{row.ssim:7.3f}"
    )


def means(found: Sequence[ClipEvaluation]) -> list[MethodScore]:
    """Returns each method's mean scores over clips."""
    rows = [row for measured in found for row in measured.rows]
    made = []
    for method in dict.fromkeys(row.method for row in rows):
        own = [row for row in rows if row.method == method]
        values = [[r.overlap, *r.axis, *r.direction, r.scaled_error, r.psnr, r.ssim] for r in own]
        m = [float(value) for value in np.mean(values, axis=0)]
        made.append(MethodScore(method, m[0], (m[1], m[2]), (m[3], m[4]), m[5], m[6], m[7]))
    return made


def as_json(found: Sequence[ClipEvaluation]) -> dict[str, Any]:
    """Returns evaluations as JSON values; NaN becomes null.

    Args:
        found: one evaluation per clip.
    """
    clips = []
    for measured in found:
        facts: dict[str, Any] = {"clip": measured.name, "steady": measured.steady, "remark": measured.remark}
        if measured.clip is not None:
            clip = measured.clip
            facts |= {"frames": len(clip.frames), "truth_from": clip.source, "steadiness": clip.steadiness}
            facts |= {"upright": measured.upright}
            facts |= {"moving_share": float(clip.mask.mean()), "something_flows": measured.predicted is not None}
        facts["methods"] = {row.method: _values(row) for row in measured.rows}
        clips.append(facts)
    mean = {row.method: _values(row) for row in means([m for m in found if m.steady])}
    upright = {row.method: _values(row) for row in means([m for m in found if m.steady and m.upright])}
    return without_nan({"clips": clips, "mean_of_steady": mean, "mean_of_upright": upright})


def _values(row: MethodScore) -> dict[str, Any]:
    values = asdict(row)
    del values["method"]
    return values


def without_nan(value: Any) -> Any:
    """Replaces NaN and Inf, which are not in JSON, by None."""
    if isinstance(value, dict):
        return {key: without_nan(inside) for key, inside in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(inside) for inside in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_report(found: Sequence[ClipEvaluation], folder: Path) -> None:
    """Writes ``report.txt`` and ``report.json``.

    Args:
        found: one evaluation per clip.
        folder: created if absent.

    Raises:
        SequenceError: they cannot be written.
    """
    texts = {"report.txt": "\n".join(table(found)) + "\n", "report.json": json.dumps(as_json(found), indent=2) + "\n"}
    write_texts(texts, folder)


def write_texts(texts: Mapping[str, str], folder: Path) -> None:
    """Writes text files, by name, in a folder that is made where it is missing.

    Raises:
        SequenceError: they cannot be written.
    """
    make_folder(folder)
    for name, text in texts.items():
        write_text_atomically(folder / name, text)


def write_comparison(measured: ClipEvaluation, path: Path) -> None:
    """Writes plate, truth and prediction side by side as PNG; nothing if the clip could not be read.

    Motion is shown by the colour wheel, scaled to its own 95th percentile, since a still does not show its speed.

    Args:
        measured: evaluation of a clip.
        path: of the PNG; its folder is created if absent.

    Raises:
        SequenceError: the file cannot be written.
    """
    clip = measured.clip
    if clip is None:
        return
    still = np.zeros_like(clip.velocity)
    guess = still if measured.predicted is None else measured.predicted.effective
    make_folder(path.parent)
    write_grid([[clip.frames[0], flow_colours(clip.velocity * clip.mask[..., None]), flow_colours(guess)]], path)
