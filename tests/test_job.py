# SPDX-License-Identifier: Apache-2.0
"""Tests of job files: what they hold, where their paths point, and what is refused."""

from __future__ import annotations

import json
import os
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from loopcore.errors import LoopcoreError, SequenceError
from loopcore.job import Job, Source, read_job, write_job


def whole(folder: Path) -> Job:
    """A job of which no setting but the format has its default."""
    source = Source(
        folder / "p.exr", "fg", "lin_rec709_scene", None, folder / "m.png", None, folder / "flow.exr", "nuke", True,
        -1.5, 50,
    )  # fmt: skip
    return Job(
        source, folder / "out", "name", 48, Fraction(24000, 1001), -5, (-5, -3, -1, 4), "splat", 0.25, 4, 0.5, "cpu",
        "exr", "float", "piz", True, True, True, True, True,
    )  # fmt: skip


def settings(**more: object) -> dict[str, Any]:
    return {"plate": "p.exr", "folder": "out", **more}


def test_a_job_is_read_as_it_was_written(tmp_path: Path) -> None:
    job = whole(tmp_path)
    defaults = vars(Job(Source(Path("q")), Path("o")))
    assert [name for name, default in defaults.items() if getattr(job, name) == default] == ["format"]
    write_job(tmp_path / "job.json", job)
    assert read_job(tmp_path / "job.json")[0] == job
    assert Job.from_document(job.to_document(), Path("elsewhere")) == job
    hinted = Job(Source(tmp_path / "p.exr", hints=tmp_path / "h.json", weights=tmp_path / "w"), tmp_path / "out")
    write_job(tmp_path / "job.json", hinted)
    assert read_job(tmp_path / "job.json")[0] == hinted


def test_a_moved_folder_keeps_its_job(tmp_path: Path) -> None:
    shot, other = tmp_path / "shot", tmp_path / "other"
    (shot / "jobs").mkdir(parents=True)
    job = Job(Source(shot / "plates" / ".." / "p.exr", mask=other / "m.png"), shot / "jobs")
    write_job(shot / "job.json", job)
    shot.rename(tmp_path / "moved")
    moved, _ = read_job(tmp_path / "moved" / "job.json")
    assert moved.source.plate == tmp_path / "moved" / "p.exr" and moved.folder == tmp_path / "moved" / "jobs"
    assert moved.source.mask == other / "m.png"


def test_relative_paths_start_at_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").mkdir()
    monkeypatch.chdir(tmp_path / "a")
    write_job(Path("../job.json"), Job(Source(Path("p.exr")), Path("../out")))
    document = json.loads((tmp_path / "job.json").read_bytes())
    assert (document["plate"], document["folder"]) == ("a/p.exr", "out")
    write_job(Path("job.json"), Job(Source(Path("p.exr")), Path("../out")))
    assert Path(json.loads(Path("job.json").read_bytes())["folder"]) == tmp_path / "out"


def test_what_is_left_out_has_its_default(tmp_path: Path) -> None:
    job = Job.from_document(settings(layer=None, speed=2, loopcore="9.9"), tmp_path)
    assert job == Job(Source(tmp_path / "p.exr", speed=2.0), tmp_path / "out")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"colour": 1}, "takes no 'colour'"),
        ({"plate": None}, "needs 'plate'"),
        ({"plate": ""}, "'plate' of the job is not a path"),
        ({"plate": "a\0b"}, "'plate' of the job contains NUL"),
        ({"folder": 7}, "'folder' of the job must be a text, not 7"),
        ({"frames": 2.5}, "'frames' of the job must be a whole number"),
        ({"frames": True}, "'frames' of the job must be a whole number"),
        ({"frames": 1}, "a whole number of frames, at least 2"),
        ({"frames": 10**9}, "at most 1000000 frames"),
        ({"first": 10**9}, "numbers up to"),
        ({"fps": "fast"}, "frame rate 'fast'"),
        ({"range": "1001-1061"}, "frames 1061 are not in the loop"),
        ({"method": "melt"}, "unknown method 'melt'"),
        ({"contrast": 2}, "contrast 2.0 is out of range"),
        ({"cycles": "some"}, "'cycles' of the job must be a whole number"),
        ({"cycles": 31}, "cycles 31 is out of range"),
        ({"steady": -1}, "steady -1.0 is out of range"),
        ({"device": "tpu"}, "unknown device 'tpu'"),
        ({"format": "tif"}, "unknown format 'tif'"),
        ({"depth": "8"}, "exr has no depth '8'"),
        ({"compression": "lzw"}, "unknown compression 'lzw'"),
        ({"compression": "piz", "format": "png"}, "compression 'piz' has no meaning for PNG"),
        ({"name": "a/b"}, "may not hold '/'"),
        ({"speed": 0}, "speed 0"),
        ({"resolution": 0}, "resolution 0"),
        ({"rescale": True}, "rescale has no meaning without a motion"),
        ({"overwrite": "yes"}, "'overwrite' of the job must be true or false"),
        ({"job": 2}, "the job has format 2"),
    ],
)
def test_wrong_settings_are_refused_by_name(changed: dict[str, Any], message: str, tmp_path: Path) -> None:
    (tmp_path / "job.json").write_text(json.dumps(settings() | changed))
    with pytest.raises(SequenceError, match="job.json") as refused:
        read_job(tmp_path / "job.json")
    assert message in str(refused.value) and len(str(refused.value)) < 400


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is not JSON"),
        (b"[]", "does not hold a JSON object"),
        (b'{"plate": "\xff"}', "is not JSON in UTF-8"),
        (b'{"speed": NaN}', "NaN is no finite number"),
        (b'{"speed": 1e999}', "1e999 is no finite number"),
        (b'{"plate": "a", "plate": "b"}', "names 'plate' twice"),
        (b"[" * 100_000, "is not JSON"),
        (b" " * (5 << 20), "more than 4 MiB"),
    ],
)
def test_damaged_files_are_refused(data: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "job.json").write_bytes(data)
    with pytest.raises(SequenceError, match=message):
        read_job(tmp_path / "job.json")


def test_only_regular_files_are_read(tmp_path: Path) -> None:
    with pytest.raises(SequenceError, match="cannot be read"):
        read_job(tmp_path)
    with pytest.raises(SequenceError, match="No such file"):
        read_job(tmp_path / "none")
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(SequenceError, match="FIFO"):
            read_job(tmp_path / "pipe")


def test_a_job_file_replaces_no_input(tmp_path: Path) -> None:
    plate = tmp_path / "p.exr"
    plate.write_bytes(b"pixels")
    with pytest.raises(LoopcoreError, match="is an input"):
        write_job(plate, Job(Source(plate), tmp_path / "out"))
    with pytest.raises(LoopcoreError, match="contrast 7"):
        write_job(tmp_path / "job.json", Job(Source(plate), tmp_path / "out", contrast=7))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["p.exr"] and plate.read_bytes() == b"pixels"
