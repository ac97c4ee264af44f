# SPDX-License-Identifier: Apache-2.0
"""``manifest.csv``, which lists the files of a folder: of pictures to train on, or of clips to measure by."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from loopcore.errors import PlateError, SequenceError
from loopcore.files.regular import TEXT, is_inside, read_regular
from loopcore.training.video import SPLITS, find_clips

NAME = "manifest.csv"


@dataclass(frozen=True)
class Footage:
    """A clip by path, and its kind (fall, sea, ...): "" where no manifest says so."""

    path: Path
    kind: str = ""


def read_rows(folder: Path, what: str, columns: Sequence[str]) -> list[dict[str, str]]:
    """Reads a folder's manifest.

    Args:
        folder: holds ``manifest.csv``.
        what: the manifest lists, in the plural, for messages.
        columns: that each row must have; others are kept.

    Raises:
        PlateError: no manifest there, a column is missing, or nothing in it.
    """
    path = folder / NAME
    try:
        text = read_regular(path, TEXT).decode("utf-8-sig")
        rows = list(csv.DictReader(io.StringIO(text, newline=""), restval=""))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise PlateError(f"{what} need a manifest.csv: {path} cannot be read ({error})") from None
    if not rows:
        raise PlateError(f"{path} lists no {what}")
    for column in columns:
        if column not in rows[0]:
            needed = ", ".join(columns[:-1]) + " and " + columns[-1]
            raise PlateError(f"{path} has no column {column!r}: it needs {needed}")
    return rows


def lists_pictures(folder: Path) -> bool:
    """Returns whether a folder's manifest lists pictures to train on: there is one, and it has no column clip."""
    return (folder / NAME).is_file() and "clip" not in read_rows(folder, "pictures", ())[0]


def path_inside(folder: Path, name: str) -> Path:
    """Returns the path of a file that a manifest names.

    Raises:
        PlateError: it leads out of the folder, or contains NUL.
    """
    if "\0" in name:
        raise PlateError(f"{folder / NAME} names {name!r}, which cannot be the name of a file")
    inside = folder / name
    if not is_inside(inside, folder):
        raise PlateError(f"{folder / NAME} names {inside}, which is not in its folder")
    return inside


def select_clips(folder: str | Path, split: str | None = None, kinds: Sequence[str] = ()) -> list[Footage]:
    """Lists the clips of a folder, in the manifest's order or, without a manifest, all in the order of their names.

    Args:
        folder: of clips; its ``manifest.csv``, if any, has the columns clip, kind and split.
        split: train, val or test, as the manifest says; "all", or None for val. Needs a manifest.
        kinds: the manifest's kinds to take; none for all. Needs a manifest.

    Raises:
        PlateError, SequenceError: no such clips, or a manifest that cannot be read.
    """
    folder = Path(folder)
    if not (folder / NAME).is_file():
        if split or kinds:
            raise SequenceError(f"{folder} has no {NAME}, so its clips have no splits and no kinds to choose")
        return [Footage(path) for path in find_clips(folder)]
    split = split or "val"
    if split not in (*SPLITS, "all"):
        raise SequenceError(f"unknown split {split!r}: choose one of {', '.join(SPLITS)}, all")
    rows = read_rows(folder, "clips", ("clip", "kind", "split"))
    rows = [row for row in rows if split in ("all", row["split"])]
    there = sorted({row["kind"] for row in rows})
    if unknown := [kind for kind in kinds if kind not in there]:
        raise SequenceError(
            f"{folder / NAME} has no clips of kind {', '.join(unknown)} in the split {split!r}:"
            f" it has {', '.join(there) or 'none at all'}"
        )
    if not rows:
        raise SequenceError(f"{folder / NAME} has no clips in the split {split!r}")
    return [Footage(path_inside(folder, r["clip"]), r["kind"]) for r in rows if not kinds or r["kind"] in kinds]
