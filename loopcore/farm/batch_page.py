# SPDX-License-Identifier: Apache-2.0
"""Writes the page of a batch: a card for each shot, with a picture, what became of it, and a link to its report."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from string import Template
from urllib.parse import quote

from loopcore import __version__
from loopcore.errors import LoopcoreError
from loopcore.farm.batch import DONE, FAILED, LEFT, STOPPED, Outcome, Summary
from loopcore.files.atomic import write_text_atomically
from loopcore.plate import read_plate
from loopcore.preview import display_picture
from loopcore.quality.markup import content_policy, picture, text
from loopcore.quality.pictures import jpeg

FILE_NAME = "batch.html"
POSTER_WIDTH = 480


def write_batch_page(summary: Summary, path: Path, title: str) -> None:
    """Writes the page, and notes it in the summary.

    Args:
        summary: what became of the shots.
        path: of the page.
        title: of the page.

    Raises:
        SequenceError: it cannot be written.
    """
    template = (Path(__file__).parent / "batch_page.html").read_text("utf-8")
    page = Template(template).substitute(
        policy=content_policy(template), title=text(title), facts=_facts(summary),
        cards="\n".join(_card(outcome, path.parent) for outcome in summary.outcomes),
        footer=f"Loopcore {text(__version__)}, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
    )  # fmt: skip
    write_text_atomically(path, page)
    summary.page = path


def _facts(summary: Summary) -> str:
    outcomes = summary.outcomes
    written = sum(outcome.written for outcome in outcomes)
    parts = [
        f"{len(outcomes)} shots", f"{summary.count(DONE)} done",
        *_counted(summary.count(FAILED), "failed"),
        *_counted(sum(outcome.passed is False for outcome in outcomes), "not passing"),
        *_counted(summary.count(STOPPED, LEFT), "left"), f"{written} frames written",
        _time(sum(outcome.seconds for outcome in outcomes)),
    ]  # fmt: skip
    return ", ".join(parts)


def _counted(count: int, words: str) -> Sequence[str]:
    return [f"{count} {words}"] if count else []


def duration(seconds: float) -> str:
    """Returns a time as text: 4.2 s, 3 min 20 s, 2 h 5 min."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _time(seconds: float) -> str:
    """A duration that is not broken into lines."""
    return duration(seconds).replace(" ", "&nbsp;")


def verdict(outcome: Outcome) -> str:
    """Returns what became of a shot, in few words."""
    if outcome.status != DONE:
        return {FAILED: "failed", STOPPED: "interrupted", LEFT: "not begun"}[outcome.status]
    return {True: "passes", False: "does not pass", None: "done, not checked"}[outcome.passed]


def _card(outcome: Outcome, folder: Path) -> str:
    kind = "good" if outcome.good else "open" if outcome.status in (STOPPED, LEFT) else "bad"
    parts = [f'<span class="status {kind}">{verdict(outcome)}</span>', f"<h2>{text(outcome.shot.title)}</h2>"]
    counts = [
        *_counted(outcome.written, "frames written"), *_counted(outcome.skipped, "up to date"),
        *_counted(outcome.failed, "failed"),
    ]  # fmt: skip
    if counts:
        parts.append(f'<p class="detail">{", ".join([*counts, _time(outcome.seconds)])}</p>')
    if outcome.message:
        parts.append(f'<p class="message">{text(outcome.message)}</p>')
    parts.append(f'<p class="detail">{text(outcome.shot.place)}</p>')
    if outcome.report is not None:
        parts.append(f'<p><a href="{link(outcome.report, folder)}">Report</a></p>')
    return f'<article><div class="poster">{_poster(outcome)}</div><div class="text">{"".join(parts)}</div></article>'


def link(path: Path, folder: Path) -> str:
    """Returns a link from a page in a folder to a file: relative, or absolute if it is on another drive.

    Everything but letters, digits and "_.-~/" is escaped, so that no name can be taken for a scheme.
    """
    try:
        relative = os.path.relpath(path, folder)
    except ValueError:
        return path.absolute().as_uri()
    return "./" + quote(os.fsencode(Path(relative).as_posix()), safe="/")


def _poster(outcome: Outcome) -> str:
    if outcome.frame is None:
        return "<span>no frame</span>"
    try:
        return picture(jpeg(display_picture(read_plate(outcome.frame), POSTER_WIDTH)), f"Frame of {outcome.shot.title}")
    except LoopcoreError:
        return "<span>the frame cannot be read</span>"
