# SPDX-License-Identifier: Apache-2.0
"""Reports of the evaluation of loops: a table, CSV, JSON, and pictures."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np

from loopcore.training.evaluate_loops import LoopEvaluation, LoopScore, LoopSettings
from loopcore.training.loop_variants import STILL
from loopcore.training.motion_means import by_kind, mean_of_known
from loopcore.training.report import without_nan, write_texts

ALL = "all"
METRICS = tuple(field.name for field in fields(LoopScore) if field.name != "variant")
_CLIP_COLUMNS = ("clip", "kind", "remark", "steadiness", "moving_share", "speed", "real_deviation", "real_wander")

# How far a score is from the clip's, in each metric that variants are ranked by: less is better.
_COSTS: dict[str, Callable[[LoopScore, LoopEvaluation], float]] = {
    "mean_psnr": lambda score, clip: -score.mean_psnr,
    "deviation_ratio": lambda score, clip: abs(math.log(max(score.deviation_ratio, 1e-9))),
    "wander": lambda score, clip: abs(score.wander - clip.wander),
    "frame_distance": lambda score, clip: score.frame_distance,
    "change_distance": lambda score, clip: score.change_distance,
}
_HEADS = ("mean PSNR", "deviation", "wander", "frames", "changes")


def table(found: Sequence[LoopEvaluation]) -> list[str]:
    """Returns a line for each variant on each clip, remarks, means by kind, and shares of clips that got better."""
    lines = [_named("clip", "kind", "variant") + _aligned(_HEADS, "(real)")]
    for clip in found:
        name = clip.name[:24] + ("" if clip.counts else " *")
        lines += [_named(name, clip.kind, row.variant) + _numbers(_values(row), clip.wander) for row in clip.rows]
    lines += [f"* {clip.name}: {clip.remark}; left out of the means" for clip in found if not clip.counts]
    for kind, clips in groups(found).items():
        wander = float(np.mean([clip.wander for clip in clips]))
        for variant, values in means(clips).items():
            lines.append(_named(f"mean of {len(clips)}", kind, variant) + _numbers(values, wander))
    return lines + _better_lines(found)


def _better_lines(found: Sequence[LoopEvaluation]) -> list[str]:
    lines: list[str] = []
    for kind, clips in groups(found).items():
        first = clips[0].rows[0].variant
        for variant, shares in better(clips).items():
            if not lines:
                lines.append(f"{'better than ' + first:<48}" + _aligned(_HEADS))
            cells = [f"{share:.0%}" for share in shares.values()]
            lines.append(_named(f"share of {len(clips)}", kind, variant) + _aligned(cells))
    return lines


def _named(name: str, kind: str, variant: str) -> str:
    return f"{name:<28}{kind:<8}{variant:<12}"


def _aligned(cells: Sequence[str], real_wander: str = "") -> str:
    return f"{cells[0]:>11}{cells[1]:>11}{cells[2]:>9}{real_wander:>9}{cells[3]:>9}{cells[4]:>9}"


def _numbers(values: dict[str, float], real_wander: float) -> str:
    cells = [f"{values['mean_psnr']:.2f}", f"{values['deviation_ratio']:.3f}", f"{values['wander']:.4f}"]
    distances = [f"{values[name]:.2f}" for name in ("frame_distance", "change_distance")]
    return _aligned(cells + distances, f"{real_wander:.4f}")


def groups(found: Sequence[LoopEvaluation]) -> dict[str, list[LoopEvaluation]]:
    """Returns the clips that count, by kind in alphabetical order, and all of them; without clips nothing."""
    counted = [clip for clip in found if clip.counts]
    return by_kind(counted) | {ALL: counted} if counted else {}


def means(clips: Sequence[LoopEvaluation]) -> dict[str, dict[str, float]]:
    """Returns the mean of each metric over clips, by variant; NaN are left out."""
    made = {}
    for i, row in enumerate(clips[0].rows):
        scores = [_values(clip.rows[i]) for clip in clips]
        made[row.variant] = {name: mean_of_known([score[name] for score in scores]) for name in METRICS}
    return made


def better(clips: Sequence[LoopEvaluation]) -> dict[str, dict[str, float]]:
    """Returns the share of clips where a variant is nearer to the clip than the first variant is, in each metric.

    Higher PSNR; deviation ratio nearer to 1, by its logarithm; wander nearer to the clip's; lower distances. A tie is
    not better; clips where a metric is NaN are left out of its share.
    """
    made: dict[str, dict[str, float]] = {}
    for i, row in enumerate(clips[0].rows):
        if i == 0 or row.variant == STILL:
            continue
        made[row.variant] = {}
        for name, cost in _COSTS.items():
            pairs = [(cost(clip.rows[i], clip), cost(clip.rows[0], clip)) for clip in clips]
            won = [math.nan if math.isnan(a + b) else float(a < b) for a, b in pairs]
            made[row.variant][name] = mean_of_known(won)
    return made


def _values(row: LoopScore) -> dict[str, float]:
    return {name: getattr(row, name) for name in METRICS}


def as_json(found: Sequence[LoopEvaluation], settings: LoopSettings) -> dict[str, Any]:
    """Returns JSON values; NaN becomes null."""
    clips = []
    for clip in found:
        facts = asdict(clip)
        facts["variants"] = {row.pop("variant"): row for row in facts.pop("rows")}
        clips.append(facts)
    variants = {variant.name: dict(variant.options) for variant in settings.variants}
    return without_nan(
        {
            "settings": {"frames": settings.frames, "long_side": settings.long_side, "variants": variants},
            "clips": clips,
            "means": {kind: means(clips) for kind, clips in groups(found).items()},
            "better_than_first": {kind: better(clips) for kind, clips in groups(found).items()},
        }
    )


def as_csv(found: Sequence[LoopEvaluation]) -> str:
    """Returns CSV: a row for each variant on each clip, and one for each clip that was not measured."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*_CLIP_COLUMNS, "variant", *METRICS])
    for clip in found:
        numbers = (clip.steadiness, clip.moving_share, clip.speed, clip.deviation, clip.wander)
        facts = [clip.name, clip.kind, clip.remark, *map(_cell, numbers)]
        for row in clip.rows:
            writer.writerow([*facts, row.variant, *map(_cell, _values(row).values())])
        if not clip.rows:
            writer.writerow([*facts, "", *[""] * len(METRICS)])
    return text.getvalue()


def _cell(value: float) -> str:
    return f"{value:.6g}" if math.isfinite(value) else ""


def write_report(found: Sequence[LoopEvaluation], settings: LoopSettings, folder: Path) -> None:
    """Writes ``loops.txt``, ``loops.csv`` and ``loops.json`` in a folder.

    Raises:
        SequenceError: they cannot be written.
    """
    data = json.dumps(as_json(found, settings), indent=2)
    texts = {"loops.txt": "\n".join(table(found)) + "\n", "loops.csv": as_csv(found), "loops.json": data + "\n"}
    write_texts(texts, folder)
