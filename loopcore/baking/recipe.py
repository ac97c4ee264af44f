# SPDX-License-Identifier: Apache-2.0
"""The recipe: everything that determines the pixels of a bake, as JSON, and its hash.

The hash is stored in every frame. A frame whose hash equals the recipe's is up to date; resuming, farm chunks and
`loopcore check` rely on it and need not compare pixels.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from loopcore import __version__
from loopcore.baking.frame_rate import frame_rate
from loopcore.errors import SequenceError
from loopcore.files.atomic import write_text_atomically
from loopcore.files.pattern import check_letters
from loopcore.files.ranges import MAX_FRAMES
from loopcore.files.regular import TEXT, read_regular
from loopcore.loop import Loop
from loopcore.plate import Plate

FILE_NAME = "recipe.json"
# Increased whenever the same settings give different pixels than before.
ENGINE = 4


@dataclass(frozen=True)
class Recipe:
    """What determines the pixels of one loop's frames.

    Attributes:
        plate: sha256 of the plate's pixels.
        motion: sha256 of the motion field, after its speed factor.
        frames: N.
        first: number of frame 0.
        fps: "24" or "24000/1001".
        method: as `Loop`.
        contrast: as `Loop`.
        cycles: as `Loop`: "auto" or the number.
        steady: as `Loop`: "auto" or the number.
        format: "exr" or "png".
        depth: "half", "float", "8" or "16".
        compression: of EXR frames.
        backend: "cpu" or "cuda". Their frames differ slightly, so those of one are not up to date for the other.
        engine: version of the algorithms.
        header: sha256 of the plate's metadata, channels and pixel aspect, which are written into the frames.
        layers: sha256 of the layers that move with the plate; "" for none, which leaves the hash as it was without.
    """

    plate: str
    motion: str
    frames: int
    first: int
    fps: str
    method: str
    contrast: float
    cycles: str
    steady: str
    format: str
    depth: str
    compression: str = "zip"
    backend: str = "cpu"
    engine: int = ENGINE
    header: str = ""
    layers: str = ""

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
        """Returns the recipe of a loop's frames.

        Args:
            loop: the loop.
            first: number of frame 0.
            fps: see `frame_rate`.
            format: "exr" or "png".
            depth: "half", "float", "8" or "16".
            compression: of EXR frames.

        Raises:
            SequenceError: `fps` is not a frame rate.
        """
        return cls(
            plate=loop.digest(), motion=loop.motion.digest(), frames=loop.frames, first=first,
            fps=str(frame_rate(fps)), method=loop.method, contrast=float(loop.contrast),
            cycles=str(loop.cycles), steady=str(loop.steady), format=format, depth=depth,
            compression=compression, backend=loop.device, header=_header_digest(loop.plate),
            layers="" if loop.plate.layers is None else loop.plate.layers.digest(),
        )  # fmt: skip

    def entries(self) -> dict[str, object]:
        """Returns the attributes by name, `layers` only if there are any."""
        return {name: value for name, value in asdict(self).items() if name != "layers" or value}

    def to_json(self) -> str:
        """Returns canonical JSON: equal recipes give equal text."""
        return json.dumps(self.entries(), sort_keys=True, separators=(",", ":"))

    def digest(self) -> str:
        """Returns the sha256 of the canonical JSON as 64 hexadecimal digits."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    def looks(self) -> tuple[int | str, float | str]:
        """Returns `cycles` and `steady` as `Loop` takes them.

        Raises:
            SequenceError: they are no numbers.
        """
        try:
            cycles = self.cycles if self.cycles == "auto" else int(self.cycles)
            return cycles, self.steady if self.steady == "auto" else float(self.steady)
        except ValueError:
            raise SequenceError(f"cycles {self.cycles!r} and steady {self.steady!r}: give 'auto' or numbers") from None

    @property
    def lossy(self) -> bool:
        """Whether the files hold other pixels than those that were rendered and rounded to the depth."""
        return self.compression in ("dwaa", "dwab") or (self.compression == "pxr24" and self.depth == "float")

    def differences(self, before: "Recipe") -> Iterator[str]:
        """Yields a line for each difference that the frames have from those of an earlier recipe.

        Args:
            before: the earlier recipe.
        """
        words = {
            "plate": "the plate's pixels", "motion": "the motion", "header": "the plate's metadata",
            "engine": "the version of the algorithms", "backend": "the device",
        }  # fmt: skip
        for name in (field.name for field in fields(self)):
            old, new = getattr(before, name), getattr(self, name)
            if old != new:
                plain = "" if len(str(old)) == 64 else f" ({old}, now {new})"
                yield f"{words.get(name, name)} differs from the recipe{plain}: so do the frames"

    def time(self, number: int) -> int:
        """Returns the loop time, 0 to N - 1.

        Args:
            number: frame number.
        """
        return (number - self.first) % self.frames


def plate_attributes(plate: Plate) -> dict[str, object]:
    """Returns the metadata that is copied into the frames' headers.

    Args:
        plate: the plate.
    """
    attributes: dict[str, object] = {
        key: value
        for key, value in plate.metadata.items()
        # The plate's time code would be wrong for every frame but one.
        if not key.startswith("loopcore/") and key != "timeCode"
    }
    if plate.colorspace:
        attributes["colorInteropID"] = plate.colorspace
        # Not both: where they differ, readers would have to choose.
        attributes.pop("chromaticities", None)
    return attributes


def _header_digest(plate: Plate) -> str:
    def plain(value: object) -> object:
        return value.tolist() if isinstance(value, np.ndarray | np.generic) else str(value)

    facts = {"attributes": plate_attributes(plate), "channels": plate.channels, "aspect": float(plate.pixel_aspect)}
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=plain).encode()).hexdigest()


def write_recipe(folder: Path, recipe: Recipe, name: str, plate: Path | None, notes: Mapping[str, object]) -> None:
    """Writes recipe.json; a file that says the same is not touched.

    So a loop that is made again from its own recipe and motion keeps its notes on how the motion was made.

    Args:
        folder: the folder of the frames.
        recipe: stored with its hash.
        name: start of the frames' file names.
        plate: path of the plate, if it has one.
        notes: more entries.
    """
    document = {
        **notes,
        "loopcore": __version__,
        "recipe": recipe.entries(),
        "hash": recipe.digest(),
        "name": name,
        "plate_path": None if plate is None else str(plate.resolve()),
    }
    if not _says(folder / FILE_NAME, document):
        write_text_atomically(folder / FILE_NAME, json.dumps(document, indent=2) + "\n")


def _says(path: Path, document: Mapping[str, Any]) -> bool:
    """Returns whether a file holds the document, but for how the motion was made, which its hash tells as well."""
    try:
        there = json.loads(read_regular(path, TEXT))
    except (OSError, ValueError, RecursionError):
        return False
    made = ("speed", "resolution")
    return isinstance(there, dict) and {**there, **{name: document.get(name) for name in made}} == {
        **document, **{name: document.get(name) for name in made}
    }  # fmt: skip


def read_recipe(folder: Path, file: str = FILE_NAME) -> tuple[Recipe, Mapping[str, Any]]:
    """Reads recipe.json.

    Args:
        folder: the folder of the frames.
        file: the file's name.

    Returns:
        The recipe, and the whole document with the entries that `write_recipe` adds.

    Raises:
        SequenceError: the file is missing or damaged.
    """
    path = folder / file
    try:
        document = json.loads(read_regular(path, TEXT))
        values = {"layers": "", **document["recipe"]}
        recipe = Recipe(**{field.name: values[field.name] for field in fields(Recipe)})
        typed = all(type(values[field.name]) is field.type for field in fields(Recipe))
        whole = typed and isinstance(document["name"], str) and recipe.digest() == document["hash"]
        check_letters(str(document["name"]), str(document["name"]))
    except FileNotFoundError:
        raise SequenceError(f"'{folder}' has no {file}: give the folder that `loopcore animate` wrote") from None
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise SequenceError(f"'{path}' cannot be read ({error}): bake the loop again") from None
    if not whole or not 2 <= recipe.frames <= MAX_FRAMES:
        raise SequenceError(f"'{path}' was changed or damaged (its hash does not match): bake the loop again")
    return recipe, document
