# SPDX-License-Identifier: Apache-2.0
"""Writes a loop's report as one HTML page that needs no other file, no network and no script."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from string import Template
from typing import Any

from loopcore import __version__
from loopcore.baking.frame_rate import frame_rate
from loopcore.baking.recipe import FILE_NAME, Recipe, read_recipe
from loopcore.errors import LoopcoreError, SequenceError
from loopcore.files.atomic import write_text_atomically
from loopcore.files.overwrite import refuse_overwriting
from loopcore.files.regular import open_regular
from loopcore.quality.baked import frame_pattern, read_field, read_still
from loopcore.quality.charts import chart
from loopcore.quality.markup import content_policy, data_uri, picture, text
from loopcore.quality.pictures import Comparison, comparisons, make_film, motion_picture
from loopcore.quality.report import QualityReport, Row


def refuse_page(path: Path, folder: Path, plate: str | Path | None = None) -> None:
    """Checks that a page can be written there.

    Args:
        path: of the page.
        folder: of the frames.
        plate: where the still is now, if it was moved.

    Raises:
        SequenceError: it is not named as a page, or is a file that the report is made from; or no recipe.
    """
    if path.suffix.lower() not in (".html", ".htm"):
        raise SequenceError(f"cannot write a report as '{path.name}': name it .html")
    recipe, document = read_recipe(folder)
    still = plate if plate is not None else document.get("plate_path")
    inputs = [Path(still)] if isinstance(still, str | Path) else []
    inputs += [folder / FILE_NAME, folder / "motion.exr", *frame_pattern(folder, recipe, document).find().values()]
    refuse_overwriting(inputs, [path])


def write_page(
    report: QualityReport,
    path: str | Path,
    *,
    plate: str | Path | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> None:
    """Writes the page of a report.

    It has the film of one cycle, the checks, their curves over the frames, the plate beside the frames where they are
    worst, the motion, and the recipe. What cannot be shown, because files are missing or damaged, is replaced by the
    reason.

    Args:
        report: from `check`.
        path: of the page.
        plate: where the still is now, if it was moved.
        on_progress: called with (done, total) after each frame of the film.

    Raises:
        SequenceError: as `refuse_page`, or it cannot be written.
    """
    path, folder = Path(path), Path(report.folder)
    refuse_page(path, folder, plate)
    recipe, document = read_recipe(folder)
    frames = frame_pattern(folder, recipe, document)
    paths = {number: frames.path(number) for number in range(recipe.first, recipe.first + recipe.frames)}
    verdict = "passed" if report.passed else "failed"
    template = (Path(__file__).parent / "page.html").read_text("utf-8")
    page = Template(template).substitute(
        policy=content_policy(template), hash=recipe.digest(), verdict=verdict,
        title=text(document["name"]), verdict_text=_verdict_text(report), facts=_facts(recipe),
        film=_film(list(paths.values()), recipe, on_progress), checks=checks_table(report.rows),
        curves=_curves(report), comparisons=_comparisons(report, paths, recipe, document, plate),
        motion=_motion(folder, recipe, document, plate), recipe=_recipe_table(recipe, document),
        footer=f"Loopcore {text(__version__)}, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {text(folder)}",
    )  # fmt: skip
    write_text_atomically(path, page)


def read_verdict(path: Path, folder: Path) -> bool | None:
    """Returns whether the loop in a folder passed, from the page of its report; None without a page of its recipe.

    Args:
        path: of the page.
        folder: of the frames.

    Raises:
        SequenceError: the folder has no recipe.
    """
    recipe, _ = read_recipe(folder)
    try:
        with open_regular(path) as file:
            head = file.read(4096).decode("utf-8", "replace")
    except OSError:
        return None
    found = dict(re.findall(r'<meta name="loopcore-(recipe|verdict)" content="(\w+)">', head))
    if found.get("recipe") != recipe.digest():
        return None
    return {"passed": True, "failed": False}.get(found.get("verdict", ""))


def _verdict_text(report: QualityReport) -> str:
    failed = sum(not row.passed for row in report.rows)
    return "Passes all checks" if not failed else f"{failed} of {len(report.rows)} checks fail"


def _facts(recipe: Recipe) -> str:
    rate = frame_rate(recipe.fps)
    first, last = recipe.first, recipe.first + recipe.frames - 1
    return f"{recipe.frames} frames, {first} to {last}, {float(rate):.6g} fps, {float(recipe.frames / rate):.3g} s"


def _film(frames: Sequence[Path], recipe: Recipe, on_progress: Callable[[int, int], None] | None) -> str:
    missing = sum(not path.is_file() for path in frames)
    if missing:
        return _missing(f"No film: {missing} of {recipe.frames} frames are missing.")
    try:
        film = make_film(frames, recipe.fps, on_progress)
    except LoopcoreError as error:
        return _missing(f"No film: {error}.")
    poster = data_uri("image/jpeg", film.poster)
    if film.missing:
        return f'<figure><img src="{poster}" alt="Frame {recipe.first}"></figure>' + _missing(
            f"No film: {film.missing}."
        )
    return (
        f'<figure><video loop autoplay muted controls playsinline width="{film.width}" height="{film.height}" '
        f'poster="{poster}" src="{data_uri("video/mp4", film.mp4)}"></video>'
        f"<figcaption>One cycle, repeated. {film.width} x {film.height} pixels.</figcaption></figure>"
    )


def _missing(reason: str) -> str:
    return f'<p class="missing">{text(reason)}</p>'


def checks_table(rows: Iterable[Row]) -> str:
    """Returns the measurements as a table.

    Args:
        rows: of the report.
    """
    lines = []
    for row in rows:
        value = "-" if row.value is None else f"{row.value:.6g}"
        note = f'<div class="note">{text(row.note)}</div>' if row.note else ""
        kind, verdict = ("", "pass") if row.passed else (' class="failed"', "fail")
        lines.append(
            f'<tr{kind}><th scope="row">{text(row.name)}{note}</th><td class="number">{value}</td>'
            f'<td>{text(row.limit)}</td><td class="{verdict}">{verdict}</td></tr>'
        )
    head = '<th scope="col">Check</th><th scope="col" class="number">Measured</th>'
    head += '<th scope="col">Limit</th><th scope="col">Result</th>'
    return (
        f'<div class="scroll checks"><table><thead><tr>{head}</tr></thead><tbody>{"".join(lines)}</tbody></table></div>'
    )


def _curves(report: QualityReport) -> str:
    if not report.curves:
        return ""
    figures = [f'<figure class="chart"><h3>{text(c.title)}</h3>{chart(c)}</figure>' for c in report.curves]
    return f'<section><h2>Over the frames</h2><div class="charts">{"".join(figures)}</div></section>'


def _comparisons(
    report: QualityReport, paths: Mapping[int, Path], recipe: Recipe, document: Mapping[str, Any],
    plate: str | Path | None,
) -> str:  # fmt: skip
    if not report.spots:
        return ""
    try:
        still = read_still(Path(report.folder), recipe, document, plate)
        pairs = "".join(_pair(found) for found in comparisons(report.spots, still, recipe, paths))
    except LoopcoreError as error:
        pairs = _missing(f"Not shown: {error}.")
    return f"<section><h2>Worst frames</h2>{pairs}</section>"


def _pair(found: Comparison) -> str:
    spot, (width, height) = found.spot, found.whole
    number = f"Frame {spot.number}"
    place = f"{found.width} x {found.height} pixels from {found.left}, {found.top}"
    where = ""
    if (found.width, found.height) != found.whole:
        where = (
            f'<svg class="map" viewBox="0 0 {width} {height}" role="img" aria-label="{place}">'
            f'<rect class="whole" width="{width}" height="{height}"/><rect class="part" x="{found.left}" '
            f'y="{found.top}" width="{found.width}" height="{found.height}"/></svg>'
        )
    return (
        f'<div class="pair"><h3>{text(spot.title.capitalize())}</h3><div class="sides">'
        f"<figure>{picture(found.plate, 'Plate')}<figcaption>Plate</figcaption></figure>"
        f"<figure>{picture(found.frame, number)}<figcaption>{number}</figcaption></figure></div>"
        f'<div class="place">{where}<span>{place}</span></div></div>'
    )


def _motion(folder: Path, recipe: Recipe, document: Mapping[str, Any], plate: str | Path | None) -> str:
    try:
        drawn = motion_picture(read_still(folder, recipe, document, plate), read_field(folder, recipe))
    except LoopcoreError as error:
        return _missing(f"Not shown: {error}.")
    caption = "Arrows show where the content goes, longer and warmer where it is faster; the line is the mask."
    return f'<figure class="motion">{picture(drawn, caption)}<figcaption>{caption}</figcaption></figure>'


def _recipe_table(recipe: Recipe, document: Mapping[str, Any]) -> str:
    compressed = f", {recipe.compression}" if recipe.format == "exr" else ""
    values = {
        "Plate": document.get("plate_path"), "Layer": document.get("layer"),
        "Colour space": document.get("colorspace"), "Resolution": f"{document.get('resolution', 100)} %",
        "Speed": document.get("speed"), "Method": recipe.method, "Contrast": f"{recipe.contrast:g}",
        "Cycles": recipe.cycles, "Steady": recipe.steady,
        "Files": f"{recipe.format}, {recipe.depth}{compressed}", "Computed on": recipe.backend,
        "Version": f"Loopcore {document.get('loopcore')}, engine {recipe.engine}",
    }  # fmt: skip
    hashes = {"Recipe": recipe.digest(), "Plate's pixels": recipe.plate, "Motion": recipe.motion}
    rows = [(name, "", value) for name, value in values.items() if value is not None]
    rows += [(name, ' class="hash"', value) for name, value in hashes.items()]
    cells = "".join(f'<tr><th scope="row">{name}</th><td{kind}>{text(value)}</td></tr>' for name, kind, value in rows)
    return f'<div class="scroll recipe"><table><tbody>{cells}</tbody></table></div>'
