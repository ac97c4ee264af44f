# SPDX-License-Identifier: Apache-2.0
"""Tests of damaged frames: that they are found, named and made again, and that frames without a checksum are kept."""

from __future__ import annotations

import shutil
from pathlib import Path

import _scenes
import numpy as np
import pytest

from loopcore.animate import run
from loopcore.baking.frames import damage
from loopcore.cli.main import main
from loopcore.exr import read_attributes, read_exr, write_exr
from loopcore.exr.layout import read_layout
from loopcore.job import Job, Source
from loopcore.quality import check

N = 8
KEY = "loopcore/pixels_crc32"


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Plates and hints, and a loop of each format."""
    folder = tmp_path_factory.mktemp("scene")
    _scenes.hints(folder / "h.json")
    _scenes.png(folder / "p.png")
    _scenes.exr(folder / "y.exr", _scenes.linear("RGB")[..., 1:2], "Y")
    for kind in ("half", "float", "png", "single"):
        run(job(folder, kind, folder / kind))
    return folder


def job(scene: Path, kind: str, folder: Path, **more: object) -> Job:
    plate = scene / ("y.exr" if kind == "single" else "p.png")
    depth = kind if kind in ("half", "float") else None
    source = Source(plate, hints=scene / "h.json")
    return Job(source, folder, "loop", N, format="png" if kind == "png" else "exr", depth=depth, cycles=1, **more)


@pytest.fixture(params=["half", "float", "png", "single"])
def loop(request: pytest.FixtureRequest, scene: Path, tmp_path: Path) -> Job:
    """A finished job in a folder of its own, to be damaged."""
    return job(scene, request.param, Path(shutil.copytree(scene / request.param, tmp_path / "loop")))


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 0x10
    path.write_bytes(data)


def pixels_at(path: Path) -> int:
    """Position in the middle of a file's packed pixels."""
    if path.suffix == ".png":
        return path.read_bytes().index(b"IDAT") + 2000
    layout = read_layout(path)
    start = layout.tables_at + 8 * layout.parts[0].chunk_count()
    return (start + path.stat().st_size) // 2


def test_a_flipped_byte_is_found_and_made_again(loop: Job, capfd: pytest.CaptureFixture[str]) -> None:
    path = loop.pattern.path(1003)
    before = path.read_bytes()
    flip(path, pixels_at(path))
    assert damage(path).startswith(str(path)) and not damage(loop.pattern.path(1002))
    assert main(["check", str(loop.folder)]) == 1
    out, err = capfd.readouterr()
    assert not err  # not the library's either
    if loop.format == "png":  # a bake that resumes reads all of a PNG
        assert "damaged, misplaced" in out and "1003; run the bake again" in out
    else:
        assert run(loop).bake.skipped == list(range(1001, 1001 + N)), "only its structure is read"
        row = next(row for row in check(loop.folder).rows if row.name == "frames whose pixels are damaged")
        assert (row.value, row.passed, row.note) == (
            1,
            False,
            "1003; run the bake again with --verify, it writes only these",
        )
        assert "1003; run the bake again with" in out and "not measured" in out
    done = run(Job(**{**vars(loop), "verify": True})).bake
    assert done.written == [1003] and len(done.skipped) == N - 1 and path.read_bytes() == before
    assert all(row.value == 0 for row in check(loop.folder).rows if "damaged" in row.name)


def test_any_flipped_byte_of_the_pixels_is_found(scene: Path, tmp_path: Path) -> None:
    for kind in ("half", "single", "png"):
        whole = job(scene, kind, scene / kind).pattern.path(1004).read_bytes()
        path = tmp_path / ("f.png" if kind == "png" else "f.exr")
        path.write_bytes(whole)
        start = 60 if kind == "png" else read_layout(path).tables_at
        for at in np.linspace(start, len(whole) - 1, 150).astype(int):
            path.write_bytes(whole)
            flip(path, int(at))
            assert damage(path), (kind, at)


def test_pixels_that_unpack_but_differ_are_found(loop: Job) -> None:
    if loop.format == "png":
        pytest.skip("a PNG stores checksums of its chunks")
    path = loop.pattern.path(1005)
    (part,) = read_exr(path)
    assert part.attributes[KEY] == read_attributes(path)[KEY] and len(str(part.attributes[KEY])) == 8
    name, values = next(iter(part.channels.items()))
    values = values.copy()
    values[40, 80] = np.nextafter(values[40, 80], values.dtype.type(9))
    write_exr(path, {**part.channels, name: values}, attributes=part.attributes)
    assert damage(path) == f"{path}: its pixels differ from its checksum"
    assert run(Job(**{**vars(loop), "verify": True})).bake.written == [1005] and not damage(path)


def test_frames_without_a_checksum_are_accepted(loop: Job) -> None:
    if loop.format == "png":
        pytest.skip("a PNG stores checksums of its chunks")
    for number in range(1001, 1001 + N):
        _scenes.rewrite(loop.pattern.path(number), lambda planes: None)
        assert KEY not in read_attributes(loop.pattern.path(number))
    assert run(Job(**{**vars(loop), "verify": True})).bake.written == []
    assert next(row for row in check(loop.folder).rows if row.name == "frames whose pixels are damaged").passed


def test_a_damaged_motion_is_a_line(loop: Job, capfd: pytest.CaptureFixture[str]) -> None:
    path = loop.folder / "motion.exr"
    flip(path, pixels_at(path))
    assert main(["check", str(loop.folder)]) == 2
    err = capfd.readouterr().err
    assert err.startswith("loopcore: error: the motion cannot be read") and err.count("\n") == 1


def test_a_damaged_structure_is_made_again_without_verify(loop: Job) -> None:
    if loop.format == "png":
        pytest.skip("a PNG has no table of chunks")
    path, at = loop.pattern.path(1002), read_layout(loop.pattern.path(1002)).tables_at
    flip(path, at + 1)
    assert run(loop).bake.written == [1002]


def test_the_command_line_verifies(scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bake = ["animate", str(scene / "p.png"), "--hints", str(scene / "h.json"), "-o", str(tmp_path), "--frames", "3"]
    assert main(bake) == 0
    path = tmp_path / "p_loop.1002.exr"
    flip(path, pixels_at(path))
    capsys.readouterr()
    assert main([*bake, "--verify"]) == 0
    assert "1 frames written, 2 up to date, 0 failed" in capsys.readouterr().out and not damage(path)
