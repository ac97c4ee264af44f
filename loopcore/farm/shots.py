# SPDX-License-Identifier: Apache-2.0
"""Reads which loops to make: shots of a CSV or JSON file, or the stills of a folder."""

from __future__ import annotations

import csv
import difflib
import io
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_type_hints

from loopcore.errors import LoopcoreError, SequenceError
from loopcore.files.fields import read_json
from loopcore.files.regular import list_files, os_reason, read_regular
from loopcore.job import Job, Source
from loopcore.motion.hints import painted_mask

LARGEST = 16 << 20  # bytes of a file of shots
MOST = 100_000  # shots
STILLS = {
    ".exr", ".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".dpx", ".cin", ".psd", ".psb", ".tga", ".bmp", ".hdr",
    ".jp2", ".heic", ".avif",
}  # fmt: skip
_YES, _NO = {"yes", "true", "on", "1", "x"}, {"no", "false", "off", "0"}
_NUMBERS = {int: "a whole number", float: "a number"}


@dataclass(frozen=True)
class Shot:
    """One loop to make.

    Attributes:
        place: where it is described, such as "shots.csv line 3".
        title: what to call it.
        job: what to do; None if it is not described well.
        error: what is wrong with the description.
    """

    place: str
    title: str
    job: Job | None
    error: str = ""


def _kinds() -> dict[str, Any]:
    """Returns the types of the settings of a shot, by the names of options."""
    kinds = {
        field.name: get_type_hints(described)[field.name] for described in (Source, Job) for field in fields(described)
    }
    for name in ("source", "numbers"):
        del kinds[name]
    kinds["output"] = kinds.pop("folder")
    return kinds | {"range": str}


KINDS = _kinds()


def read_shots(path: Path, output: Path | None, defaults: Mapping[str, Any]) -> list[Shot]:
    """Returns the shots of a file or folder.

    CSV has a row with the names of the settings, then one row for each shot; an empty cell means the default. JSON is a
    list of objects with the same names, or of jobs as `loopcore animate --write-job` writes them. Of a folder each
    still is a shot, with the hints of the same name (`NAME.json`) if they are there. Relative paths start at the
    file's folder, but outputs at `output` if that is given. Without an output of its own, a shot's is
    `output`/NAME, NAME being the plate's without extension.

    Args:
        path: the file or folder.
        output: folder for all loops.
        defaults: settings of shots that have none of their own, as in a job file, with absolute paths.

    Raises:
        SequenceError: it cannot be read, has no shots, or two have the same output.
    """
    if path.is_dir():
        described = list(_stills(path))
    elif path.suffix.lower() == ".csv":
        described = list(_csv_rows(path))
    elif path.suffix.lower() == ".json":
        described = list(_json_shots(path))
    else:
        raise SequenceError(f"'{path}' is no folder, and neither .csv nor .json: give one of these")
    if not described:
        raise SequenceError(f"'{path}' has no shots")
    base = path if path.is_dir() else path.parent
    shots = [_shot(place, settings, base.absolute(), output, defaults) for place, settings in described]
    _refuse_same_output(shots)
    return shots


def _shot(
    place: str, settings: Mapping[str, Any], base: Path, output: Path | None, defaults: Mapping[str, Any]
) -> Shot:
    """Returns a shot, with the reason if it is not described well."""
    title = _title(settings, place)
    try:
        merged = {**defaults, **{name: value for name, value in settings.items() if value is not None}}
        if problem := merged.pop("", None):
            raise SequenceError(problem)
        if unknown := [name for name in merged if name not in KINDS and name not in ("job", "loopcore")]:
            raise SequenceError(f"there is no setting {unknown[0][:60]!r}{_meant(unknown[0])}")
        for name in ("fps", "depth", "range"):
            # Texts in job files, as they may be no numbers.
            if isinstance(merged.get(name), int | float):
                merged[name] = str(merged[name])
        merged["folder"] = str(_output(merged.pop("output", None), merged.get("plate"), base, output))
        return Shot(place, title, Job.from_document(merged, base))
    except LoopcoreError as error:
        return Shot(place, title, None, str(error))


def _title(settings: Mapping[str, Any], place: str) -> str:
    """Returns the output, the frames' name or the plate's, whichever is given first."""
    for name in ("output", "name", "plate"):
        text = settings.get(name)
        if isinstance(text, str) and (found := Path(text).stem if name == "plate" else Path(text).name):
            return found[:80]
    return place


def _output(given: Any, plate: Any, base: Path, output: Path | None) -> Path:
    if given is None:
        if output is None:
            raise SequenceError("it has no output: name one, or give -o for all shots")
        given = Path(plate).stem if isinstance(plate, str) else ""
    if not isinstance(given, str) or "\0" in given:
        raise SequenceError(f"output must be a path, not {str(given)[:60]!r}")
    return (base if output is None else output.absolute()) / given


def _meant(name: str) -> str:
    near = difflib.get_close_matches(name, KINDS, 1)
    return f": did you mean {near[0]!r}?" if near else ""


def _refuse_same_output(shots: list[Shot]) -> None:
    """Refuses shots that would write into the same folder, under whatever names."""
    known: dict[str, Shot] = {}
    for shot in shots:
        if shot.job is None:
            continue
        folder = os.path.normcase(os.path.realpath(shot.job.folder))
        if other := known.get(folder):
            raise SequenceError(f"{shot.place} and {other.place} have the same output '{shot.job.folder}': change one")
        known[folder] = shot


def _stills(folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields the stills in a folder, without masks that hints name."""
    names = sorted(name for name in list_files(folder) if not name.startswith("."))
    hints = {Path(name).stem: name for name in names if Path(name).suffix.lower() == ".json"}
    masks = {mask.name for name in hints.values() if (mask := painted_mask(folder / name)) is not None}
    for name in names:
        if Path(name).suffix.lower() in STILLS and name not in masks:
            yield f"'{name}'", {"plate": name, "hints": hints.get(Path(name).stem)}


def _json_shots(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields the objects of a JSON list; a job file's folder is an output."""
    shots = read_json(path, LARGEST)
    if not isinstance(shots, list) or len(shots) > MOST:
        raise SequenceError(f"'{path}' does not hold a JSON list of at most {MOST} shots")
    for number, shot in enumerate(shots, 1):
        place = f"{path.name} shot {number}"
        if not isinstance(shot, dict):
            yield place, {"": "it is no JSON object"}
            continue
        if "folder" in shot and "output" not in shot:
            shot["output"] = shot.pop("folder")
        yield place, shot


def _csv_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields the rows of a CSV below its head."""
    try:
        text = read_regular(path, LARGEST).decode("utf-8-sig")
    except OSError as error:
        raise SequenceError(f"'{path}' cannot be read: {os_reason(error, path)}") from error
    except UnicodeDecodeError as error:
        raise SequenceError(f"'{path}' is not UTF-8 ({error}): save it as CSV in UTF-8") from None
    head = text.splitlines()[0] if text else ""
    # Programs write semicolons where the comma is the decimal sign.
    separator = max(",;\t", key=head.count)
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    try:
        names = [name.strip().lower().lstrip("-") for name in next(rows, [])]
        if "plate" not in names:
            raise SequenceError(f"'{path}' has no column 'plate': its first line names the columns")
        if twice := [name for name in names if name and names.count(name) > 1]:
            raise SequenceError(f"'{path}' has two columns {twice[0]!r}")
        line = rows.line_num + 1
        for cells in rows:
            if any(cell.strip() for cell in cells):
                yield f"{path.name} line {line}", _row(names, cells)
            line = rows.line_num + 1
    except csv.Error as error:
        raise SequenceError(f"'{path}' line {rows.line_num} is not CSV: {error}") from None


def _row(names: list[str], cells: list[str]) -> dict[str, Any]:
    """Returns a row's settings; under the name "" what is wrong with them."""
    settings: dict[str, Any] = {}
    for k, cell in enumerate(map(str.strip, cells)):
        if not cell:
            continue
        if k >= len(names) or not names[k]:
            return {**settings, "": f"{cell[:60]!r} is in column {k + 1}, which has no name"}
        try:
            settings[names[k]] = _value(names[k], cell)
        except ValueError as error:
            settings.setdefault("", str(error))
    return settings


def _value(name: str, cell: str) -> Any:
    """Returns a cell as a job file has it; raises ValueError if it is of another type."""
    kind = KINDS.get(name)
    kinds = get_args(kind) if isinstance(kind, UnionType) else (kind,)
    if bool in kinds:
        if cell.lower() not in _YES | _NO:
            raise ValueError(f"{name} must be yes or no, not {cell[:60]!r}")
        return cell.lower() in _YES
    for number, words in _NUMBERS.items():
        # Of settings that are a number or "auto".
        if number in kinds and not (str in kinds and cell == "auto"):
            try:
                return number(cell)
            except ValueError:
                raise ValueError(f"{name} must be {words}, not {cell[:60]!r}") from None
    return cell
