# SPDX-License-Identifier: Apache-2.0
"""Job files, and recipes as such."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from loopcore import __version__
from loopcore.baking.frame_rate import frame_rate
from loopcore.errors import LoopcoreError, SequenceError
from loopcore.files.atomic import write_text_atomically
from loopcore.files.fields import Fields, read_object
from loopcore.files.overwrite import refuse_overwriting
from loopcore.job.job import Job
from loopcore.job.source import Source

if TYPE_CHECKING:
    from loopcore.baking.recipe import Recipe

LARGEST = 4 << 20  # bytes of a job file


def write_job(path: Path, job: Job) -> None:
    """Writes a job file; see `Job.to_document`.

    Args:
        path: the file.
        job: the job, which is checked.

    Raises:
        LoopcoreError: a setting is out of range, the file is one that the job reads, or it cannot be written.
    """
    job.check()
    refuse_overwriting(job.source.files(), [path])
    write_text_atomically(path, json.dumps(job.to_document(path.parent), indent=2, allow_nan=False) + "\n")


@dataclass(frozen=True)
class Origin:
    """The loop that a job makes again.

    Attributes:
        recipe: of that loop.
        version: of Loopcore that wrote it.
    """

    recipe: Recipe
    version: str

    def differences(self, recipe: Recipe) -> Iterator[str]:
        """Yields a line for each difference of what a bake will make.

        Args:
            recipe: of the bake.
        """
        if self.version != __version__:
            yield f"the recipe was written by Loopcore {self.version}, and this is {__version__}"
        yield from recipe.differences(self.recipe)


def read_job(path: Path) -> tuple[Job, Origin | None]:
    """Reads a job file, or the recipe.json of a loop.

    Args:
        path: the file. A recipe gives the job that makes its loop again, in the same folder, from the plate and from
            motion.exr beside it.

    Returns:
        The job, and for a recipe the loop that it makes again.

    Raises:
        SequenceError: it cannot be read, or is neither.
    """
    document = read_object(path, LARGEST)
    if "recipe" in document:
        return _job_of_recipe(path)
    try:
        return Job.from_document(document, path.parent), None
    except LoopcoreError as error:
        raise SequenceError(f"'{path}': {error}") from error


def _job_of_recipe(path: Path) -> tuple[Job, Origin]:
    from loopcore.baking.recipe import read_recipe

    recipe, document = read_recipe(path.parent, path.name)
    texts = Fields(document, f"'{path}'")
    plate, layer, colorspace = (texts.take(name, str, None) for name in ("plate_path", "layer", "colorspace"))
    if plate is None:
        raise SequenceError(f"'{path}' does not say where its plate is: bake from the plate and motion.exr instead")
    cycles, steady = recipe.looks()
    job = Job(
        # What was done to the plate's size and to the speed is in these files.
        Source(Path(plate), layer, colorspace, motion=path.parent / "motion.exr"), path.parent, document["name"],
        frames=recipe.frames, fps=frame_rate(recipe.fps), first=recipe.first, method=recipe.method,
        contrast=recipe.contrast, cycles=cycles, steady=steady, device=recipe.backend, format=recipe.format,
        depth=recipe.depth, compression=recipe.compression,
    )  # fmt: skip
    return job, Origin(recipe, texts.take("loopcore", str, "of an unknown version"))
