# SPDX-License-Identifier: Apache-2.0
"""The recipe: everything that decides the pixels of a bake, as JSON, and its hash.

The hash is stored in every frame. A frame is up to date when its stored hash is the recipe's; so resuming, farm
chunks and `loopcore check` are exact without comparing pixels.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from loopcore import __version__
from loopcore.baking.frame_rate import frame_rate
from loopcore.errors import SequenceError
from loopcore.files.atomic import write_text_atomically
from loopcore.files.ranges import MAX_FRAMES
from loopcore.loop import Loop
from loopcore.plate import Plate

FILE_NAME = "recipe.json"
# Raised whenever the same settings give other pixels than before.
ENGINE = 3


@dataclass(frozen=True)
class Recipe:
    """What decides the pixels of one loop's frames.

    plate, motion: sha256 of the pixels and of the field (speed already in it). header: sha256 of what else of the plate
    is written into frames: pixel aspect and metadata. frames: N. first: the number of frame 0.
    fps: "24" or "24000/1001". method, contrast: as Loop. format: "exr" or "png". depth: "half", "float", "8" or "16".
    backend: what computed it, "cpu" or "cuda": each gives the same bits each time, but the two differ a little, so a
    frame of the one is not up to date for the other. engine: the version of the mathematics.
    """

    plate: str
    motion: str
    frames: int
    first: int
    fps: str
    method: str
    contrast: float
    format: str
    depth: str
    compression: str = "zip"
    backend: str = "cpu"
    engine: int = ENGINE
    header: str = ""

    @classmethod
    def of(
        cls,
        loop: Loop,
        *,
        first: int,
        fps: Fraction | float | str,
        format: str,
        depth: str,
        compression: str = "zip",
    ) -> "Recipe":
        """The recipe of a loop's frames in files of this kind.

        Raises SequenceError for what is no frame rate.
        """
        return cls(
            plate=loop.digest(), motion=loop.motion.digest(), frames=loop.frames, first=first,
            fps=str(frame_rate(fps)), method=loop.method, contrast=float(loop.contrast), format=format, depth=depth,
            compression=compression, backend=loop.device, header=_header_digest(loop.plate),
        )  # fmt: skip

    def to_json(self) -> str:
        """Canonical JSON: the same recipe gives the same text."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))

    def digest(self) -> str:
        """sha256 of the canonical JSON, as 64 hexadecimal digits."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    def time(self, number: int) -> int:
        """Which moment of the loop, 0 to N - 1, the frame of this number shows."""
        return (number - self.first) % self.frames


def carried_attributes(plate: Plate) -> dict[str, object]:
    """What of a plate is written into its frames' headers besides their pixels."""
    attributes: dict[str, object] = {
        key: value
        for key, value in plate.metadata.items()
        # One time code for all frames would be wrong for all but one.
        if not key.startswith("loopcore/") and key != "timeCode"
    }
    if plate.colorspace:
        attributes["colorInteropID"] = plate.colorspace
        # The two may not stand together: readers would have to choose.
        attributes.pop("chromaticities", None)
    return attributes


def _header_digest(plate: Plate) -> str:
    def plain(value: object) -> object:
        return value.tolist() if isinstance(value, np.ndarray | np.generic) else str(value)

    facts = {"attributes": carried_attributes(plate), "channels": plate.channels, "aspect": float(plate.pixel_aspect)}
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=plain).encode()).hexdigest()


def write_recipe(folder: Path, recipe: Recipe, name: str, plate: Path | None, notes: Mapping[str, object]) -> None:
    """Write recipe.json beside the frames: the recipe, its hash, the frames' name, where the plate was, and notes.

    A file that says just that already is left alone.
    """
    document = {
        **notes,
        "loopcore": __version__,
        "recipe": asdict(recipe),
        "hash": recipe.digest(),
        "name": name,
        "plate_path": None if plate is None else str(plate.resolve()),
    }
    text = json.dumps(document, indent=2) + "\n"
    if not _says(folder / FILE_NAME, text):
        write_text_atomically(folder / FILE_NAME, text)


def _says(path: Path, text: str) -> bool:
    try:
        return path.read_bytes() == text.encode()
    except OSError:
        return False


def read_recipe(folder: Path) -> tuple[Recipe, Mapping[str, Any]]:
    """The recipe in a folder of frames, and the whole document around it.

    Raises SequenceError when there is none or it is damaged.
    """
    path = folder / FILE_NAME
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        values = document["recipe"]
        recipe = Recipe(**{field.name: values[field.name] for field in fields(Recipe)})
        typed = all(type(values[field.name]) is field.type for field in fields(Recipe))
        whole = typed and isinstance(document["name"], str) and recipe.digest() == document["hash"]
    except FileNotFoundError:
        raise SequenceError(f"'{folder}' has no {FILE_NAME}: give the folder that `loopcore animate` wrote") from None
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise SequenceError(f"'{path}' cannot be read ({error}): bake the loop again") from None
    if not whole or not 2 <= recipe.frames <= MAX_FRAMES:
        raise SequenceError(f"'{path}' was changed or damaged (its hash does not fit): bake the loop again")
    return recipe, document
