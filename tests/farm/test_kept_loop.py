# SPDX-License-Identifier: Apache-2.0
"""A kept loop makes the files that a new one makes, and serves jobs that differ in the numbers of frames alone."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import _farm
import _scenes
import pytest
from PIL import Image, ImageOps

from loopcore.animate import Prepared, prepare
from loopcore.cli.main import main
from loopcore.farm import kept
from loopcore.job import Job
from loopcore.observer import Observer


class Counted(kept.KeptLoop):
    """Counts the loops that are prepared."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__()
        self.count = 0

        def counted(job: Job, observer: Observer) -> Prepared:
            self.count += 1
            return prepare(job, observer)

        monkeypatch.setattr(kept, "prepare", counted)

    def animate(self, *options: object) -> int:
        return main(["animate", *map(str, options)], self)


@pytest.fixture
def scene(tmp_path: Path) -> tuple[Path, Path]:
    return _farm.scene(tmp_path)


@pytest.mark.parametrize("options", [(), ("--resolution", 50, "--overwrite"), ("--speed", 0.5, "--format", "png")])
def test_chunks_of_one_job_share_it(
    scene: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[object, ...]
) -> None:
    job = (scene[0], "--hints", scene[1], "--frames", 6, *options)
    loop = Counted(monkeypatch)
    for numbers in ("1001-1002", "1005", "1002-1006x2"):
        assert loop.animate(*job, "-o", tmp_path / "kept", "--range", numbers) == 0
    assert loop.count == 1 and loop.animate(*job, "-o", tmp_path / "kept") == 0 and loop.count == 1
    _farm.loopcore("animate", *job, "-o", tmp_path / "new")
    made, new = (_farm.files(tmp_path / name) for name in ("kept", "new"))
    # It names the folder of a smaller plate.
    recipes = [json.loads(found.pop("recipe.json"))["hash"] for found in (made, new)]
    assert made == new and recipes[0] == recipes[1]
    # A range outside the loop is refused as ever.
    assert loop.animate(*job, "-o", tmp_path / "kept", "--range", 1007) == 2


def test_another_job_or_a_changed_file_prepares_anew(
    scene: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    still, hints = scene
    loop = Counted(monkeypatch)

    def made(*options: object) -> dict[str, bytes]:
        shutil.rmtree(tmp_path / "kept", ignore_errors=True)
        assert loop.animate(still, "--hints", hints, "--frames", 4, "-o", tmp_path / "kept", *options) == 0
        return _scenes.contents(_scenes.frames(tmp_path / "kept"))

    first = made()
    assert made("--contrast", 0.5) != first and loop.count == 2
    assert made() == first and loop.count == 3
    # Another plate of the same time.
    times = still.stat()
    with Image.open(still) as picture:
        ImageOps.mirror(picture).save(still)
    os.utime(still, ns=(times.st_atime_ns, times.st_mtime_ns))
    mirrored = made()
    assert mirrored != first and loop.count == 4
    text = hints.read_text("utf-8")
    hints.write_text(text.replace('"feather": ', '"feather": 1'), "utf-8")
    assert made() != mirrored and loop.count == 5
    monkeypatch.setenv("OCIO", "")
    made()
    assert loop.count == 6
    still.unlink()
    assert loop.animate(still, "--hints", hints, "--frames", 4, "-o", tmp_path / "kept") == 2
