# SPDX-License-Identifier: Apache-2.0
"""Tests of reading shots: tables as spreadsheets write them, JSON, folders, and what is wrong with them."""

from __future__ import annotations

import json
import os
from fractions import Fraction
from pathlib import Path

import _scenes
import numpy as np
import pytest

from loopcore.errors import SequenceError
from loopcore.farm import shots as shots_module
from loopcore.farm.shots import KINDS, Shot, read_shots
from loopcore.job import Job, Source, write_job


def written(folder: Path, text: str | bytes, name: str = "shots.csv") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def jobs(shots: list[Shot]) -> list[Job]:
    assert not [shot.error for shot in shots if shot.error]
    return [shot.job for shot in shots if shot.job is not None]


def test_a_table_with_every_kind_of_setting(tmp_path: Path) -> None:
    table = written(tmp_path, "plate,Output,--frames,fps,cycles,steady,speed,contrast,depth,preview,range,mask\n"
        "a.png,one,12,23.976,auto,0.5,-2,0.25,float,yes,1001-1004,m.png\n"
        "b.png,,,,4,auto,,,,,,\n\n , ,\n"
        "sub/c.png,../three,,,,,,,,no,,\n")  # fmt: skip
    first, second, third = jobs(read_shots(table, tmp_path / "out", {"frames": 24, "preview": True}))
    assert first == Job(
        Source(tmp_path / "a.png", mask=tmp_path / "m.png", speed=-2.0), tmp_path / "out" / "one", frames=12,
        fps=Fraction(24000, 1001), numbers=(1001, 1002, 1003, 1004), contrast=0.25, steady=0.5, depth="float",
        preview=True,
    )  # fmt: skip
    assert second == Job(Source(tmp_path / "b.png"), tmp_path / "out" / "b", frames=24, cycles=4, preview=True)
    assert third.folder == tmp_path / "out" / ".." / "three" and not third.preview and third.frames == 24


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_tables_of_spreadsheets(separator: str, end: str, tmp_path: Path) -> None:
    lines = ["plate,output,name,frames", '"a,b;c.png",one,"x\ny",12', "z.png,two,,x"]
    lines[1] = lines[1].replace(",", "\0").replace("a\0b", "a,b").replace("\0", separator)
    lines[0], lines[2] = (line.replace(",", separator) for line in (lines[0], lines[2]))
    first, second = read_shots(written(tmp_path, b"\xef\xbb\xbf" + end.join(lines).encode()), None, {})
    # The name has a line end, which no file's may have, and makes the second shot's line the fourth.
    assert first.place == "shots.csv line 2" and "may not hold '\\n'" in first.error
    assert second.place == "shots.csv line 4" and second.error == "frames must be a whole number, not 'x'"


def test_a_json_list(tmp_path: Path) -> None:
    job = Job(Source(tmp_path / "a.png", hints=tmp_path / "h.json"), tmp_path / "one", frames=12)
    write_job(tmp_path / "job.json", job)
    listed = [
        json.loads((tmp_path / "job.json").read_text()),
        {"plate": "b.png", "output": "two", "fps": 25, "frames": None, "depth": "half"},
        "c.png",
    ]
    first, second, third = read_shots(written(tmp_path, json.dumps(listed), "shots.json"), None, {"frames": 8})
    assert first.job == job
    assert second.job == Job(Source(tmp_path / "b.png"), tmp_path / "two", frames=8, fps=Fraction(25), depth="half")
    assert (third.place, third.job, third.error) == ("shots.json shot 3", None, "it is no JSON object")


def test_a_folder_of_stills(tmp_path: Path) -> None:
    stills = tmp_path / "stills"
    stills.mkdir()
    _scenes.hints(stills / "b.json")
    document = json.loads((stills / "b.json").read_text())
    document["mask"] = "b mask.png"
    (stills / "b.json").write_text(json.dumps(document))
    for name in ("b.exr", "A.JPG", "b mask.png", ".hidden.png", "notes.txt", "batch.html"):
        (stills / name).write_bytes(b"")
    (stills / "folder.png").mkdir()
    first, second = read_shots(stills, tmp_path / "out", {})
    assert (first.job, first.title) == (Job(Source(stills / "A.JPG"), tmp_path / "out" / "A"), "A")
    assert second.job == Job(Source(stills / "b.exr", hints=stills / "b.json"), tmp_path / "out" / "b")
    assert second.place == "'b.exr'"


@pytest.mark.parametrize("cells, error", [
    ("a.png,o,x,,", "frames must be a whole number, not 'x'"),
    ("a.png,o,1.5,,", "frames must be a whole number, not '1.5'"),
    ("a.png,o,1,,", "frames"),
    ("a.png,o,,fast,", "speed must be a number, not 'fast'"),
    ("a.png,o,,0,", "speed 0 stops all motion"),
    ("a.png,o,,nan,", "no finite number"),
    ("a.png,o,,,0.5", "no setting 'contrst': did you mean 'contrast'?"),
    ("a.png,o,,,,more", "'more' is in column 6, which has no name"),
    ("a.png,,,,", "no output"),
    (",o,,,", "needs 'plate'"),
])  # fmt: skip
def test_a_bad_row_costs_no_other(cells: str, error: str, tmp_path: Path) -> None:
    table = written(tmp_path, f"plate,output,frames,speed,contrst\nb.png,b,,,\n{cells}\nc.png,c,,,\n")
    first, second, third = read_shots(table, None, {})
    assert first.job and third.job and not second.job
    assert second.place == "shots.csv line 3" and error in second.error


@pytest.mark.parametrize("name, text, error", [
    ("shots.csv", b"", "no column 'plate'"),
    ("shots.csv", b"plate,output\n", "has no shots"),
    ("shots.csv", b"still\na.png\n", "no column 'plate'"),
    ("shots.csv", b"plate,frames,frames\na.png,1,2\n", "two columns 'frames'"),
    ("shots.csv", b"plate\n\xff.png\n", "save it as CSV in UTF-8"),
    ("shots.csv", b'plate,output\na.png,"b\nc.png,d\n', "line 3 is not CSV"),
    ("shots.csv", b"plate,output\na.png,\0\n", "may not"),
    ("shots.json", b"{}", "does not hold a JSON list"),
    ("shots.json", b"[", "is not JSON"),
    ("shots.json", b"[" * 100_000, "is not JSON"),
    ("shots.txt", b"a.png", "give one of these"),
])  # fmt: skip
def test_what_is_no_list_of_shots_is_refused(name: str, text: bytes, error: str, tmp_path: Path) -> None:
    if b"\0" in text:
        (shot,) = read_shots(written(tmp_path, text, name), None, {})
        assert not shot.job and "output must be a path" in shot.error
        return
    with pytest.raises(SequenceError, match=error):
        read_shots(written(tmp_path, text, name), None, {})


def test_large_files_and_pipes_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shots_module, "LARGEST", 1000)
    with pytest.raises(SequenceError, match="is it the right file"):
        read_shots(written(tmp_path, "plate\n" + "a.png\n" * 200), tmp_path, {})
    with pytest.raises(SequenceError, match="cannot be read"):
        read_shots(tmp_path / "gone.csv", tmp_path, {})
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.csv")
        with pytest.raises(SequenceError, match="FIFO"):
            read_shots(tmp_path / "pipe.csv", tmp_path, {})


def test_two_shots_with_one_output_are_refused(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real", target_is_directory=True)
    for one, two in (("x", "x"), ("x", "y/../x"), ("real/x", "link/x"), ("x", str(tmp_path / "x"))):
        table = written(tmp_path, f"plate,output\na.png,{one}\nc.png,c\nb.png,{two}\n")
        with pytest.raises(SequenceError, match="shots.csv line 4 and shots.csv line 2 have the same output"):
            read_shots(table, None, {})


def test_damaged_files_raise_only_the_errors_named(tmp_path: Path) -> None:
    rng = np.random.default_rng(7)
    table = b'plate,output,frames,speed\n"a.png",x,12,1.5\nb.png,y,auto,2\n'
    for _ in range(300):
        damaged = bytearray(table)
        for at in rng.integers(0, len(table), rng.integers(1, 6)):
            damaged[at] = rng.choice(list(b'\0",;\n\r\xff=./-9a'))
        try:
            shots = read_shots(written(tmp_path, bytes(damaged)), None, {})
        except SequenceError:
            continue
        assert all(bool(shot.job) != bool(shot.error) for shot in shots)


def test_shots_have_the_settings_of_jobs() -> None:
    document = Job(Source(Path("p")), Path("o")).to_document()
    assert set(KINDS) >= set(document) - {"job", "loopcore", "folder"}
    assert set(KINDS) - set(document) <= {"output", "range", *Source.__dataclass_fields__, "depth"}
