# SPDX-License-Identifier: Apache-2.0
"""Truncated, damaged and hostile OpenEXR files are refused with a reason."""

from __future__ import annotations

import struct
import sys
import threading
import tracemalloc
from pathlib import Path

import numpy as np
import OpenEXR
import pytest
from _exr_files import only_part, run_script
from _exr_files import small as small  # a fixture
from hypothesis import given, settings
from hypothesis import strategies as st

from loopcore import exr
from loopcore.errors import PlateError
from loopcore.exr.layout import read_layout


class TestDamage:
    def test_truncation_at_every_length(self, small: Path, capfd: pytest.CaptureFixture[str]) -> None:
        data = small.read_bytes()
        assert exr.is_complete(small)
        cuts = {*range(0, 600, 7), *range(600, len(data), 101), len(data) - 1}
        for cut in sorted(cuts):
            small.write_bytes(data[:cut])
            assert not exr.is_complete(small), cut
            with pytest.raises(PlateError, match="small.exr"):
                exr.read_exr(small)
        assert capfd.readouterr() == ("", "")

    def test_an_unwritten_offset_table(self, small: Path) -> None:
        # What a killed writer leaves: pixels, and an offset table of zeros.
        with small.open("r+b") as file:
            file.seek(read_layout(small).tables_at)
            file.write(bytes(8))
        assert not exr.is_complete(small)
        with pytest.raises(PlateError, match="cut short"):
            exr.read_exr(small)

    def test_damaged_pixels(self, small: Path, capfd: pytest.CaptureFixture[str]) -> None:
        damage_pixels(small)
        assert exr.is_complete(small)  # as documented: it decodes nothing
        with pytest.raises(PlateError, match="damaged"):
            exr.read_exr(small)
        assert capfd.readouterr().out == ""

    def test_trailing_bytes_are_ignored(self, small: Path) -> None:
        before = only_part(small)
        small.write_bytes(small.read_bytes() + b"more")
        assert exr.is_complete(small)
        np.testing.assert_array_equal(only_part(small).channels["A"], before.channels["A"])

    @pytest.mark.parametrize(
        "window, reason",
        [
            ((0, 0, 2**30, 2**30), "larger than"),
            ((-(2**31), -(2**31), 2**31 - 1, 2**31 - 1), "larger than"),
            ((5, 5, 4, 4), "empty"),
            ((0, 0, 30, 2**23), "cut short"),
            ((0, 0, 2**23, 39), "bytes of pixels"),
            ((0, 0, 30, 40), "cut short|damaged"),
            ((0, 0, 32, 39), "damaged"),
        ],
    )
    def test_invalid_windows(self, small: Path, window: tuple[int, ...], reason: str) -> None:
        data = small.read_bytes()
        at = data.index(b"dataWindow\0box2i\0") + 17 + 4
        small.write_bytes(data[:at] + struct.pack("<4i", *window) + data[at + 16 :])
        tracemalloc.start()
        try:
            with pytest.raises(PlateError, match=reason):
                exr.read_exr(small)
            assert tracemalloc.get_traced_memory()[1] < 10_000_000
        finally:
            tracemalloc.stop()

    def test_a_display_window_that_is_too_large(self, small: Path) -> None:
        data = small.read_bytes()
        at = data.index(b"displayWindow\0box2i\0") + 20 + 4
        small.write_bytes(data[:at] + struct.pack("<4i", 0, 0, 10**6, 10**6) + data[at + 16 :])
        with pytest.raises(PlateError, match="display window"):
            exr.read_exr(small)

    def test_not_files(self, tmp_path: Path) -> None:
        (tmp_path / "empty.exr").write_bytes(b"")
        (tmp_path / "text.exr").write_text("not pixels at all")
        for path in (tmp_path, tmp_path / "none.exr", tmp_path / "empty.exr", tmp_path / "text.exr", "a\0b", None, 3.5):
            assert not exr.is_complete(path)  # type: ignore[arg-type]
            for read in (exr.read_exr, exr.read_attributes):
                with pytest.raises(PlateError):
                    read(path)  # type: ignore[arg-type]

    def test_deep_pixels(self, tmp_path: Path) -> None:
        path = tmp_path / "deep.exr"
        samples = np.empty((4, 5), object)
        for index in np.ndindex(samples.shape):
            samples[index] = np.array([1.0, 2.0], np.float32)
        header = {"compression": OpenEXR.ZIPS_COMPRESSION, "type": OpenEXR.deepscanline}
        OpenEXR.File(header, {"Z": samples}).write(str(path))
        assert exr.is_complete(path)
        with pytest.raises(PlateError, match="deep"):
            exr.read_exr(path)
        path.write_bytes(path.read_bytes()[:-1])
        assert not exr.is_complete(path)

    @given(data=st.binary(max_size=300), head=st.booleans())
    @settings(max_examples=150, deadline=None)
    def test_is_complete_never_raises(self, tmp_path_factory: pytest.TempPathFactory, data: bytes, head: bool) -> None:
        path = tmp_path_factory.getbasetemp() / "bytes.exr"
        path.write_bytes((exr.MAGIC + b"\2\0\0\0" if head else b"") + data)
        assert exr.is_complete(path) is False

    def test_flipped_bits(self, small: Path, tmp_path: Path) -> None:
        # Outside the process: a crash of the C library must fail this test, not end the suite.
        done = run_script(FLIP_BITS, tmp_path)
        assert done.returncode == 0 and done.stdout.strip() == "survived", (done.returncode, done.stderr[-2000:])


FLIP_BITS = """
import random
from pathlib import Path
from loopcore import exr
from loopcore.errors import PlateError
source = Path("small.exr").read_bytes()
dice = random.Random(11)
for turn in range(400):
    data = bytearray(source)
    for _ in range(dice.choice((1, 1, 2, 8))):
        data[dice.randrange(450 if turn % 2 else len(data))] = dice.randrange(256)
    Path("flipped.exr").write_bytes(data)
    try:
        exr.read_exr("flipped.exr")
    except PlateError:
        pass
print("survived")
"""


def chunk_offsets(path: Path) -> tuple[int, ...]:
    layout = read_layout(path)
    return struct.unpack_from(f"<{layout.parts[0].chunk_count()}Q", path.read_bytes(), layout.tables_at)


def damage_pixels(path: Path) -> None:
    """Overwrite bytes inside the last chunk of `path`, but no position of a chunk."""
    data = bytearray(path.read_bytes())
    start = chunk_offsets(path)[-1] + 8
    assert len(data) - start > 300
    data[start + 20 : start + 260] = bytes(240)
    path.write_bytes(data)


def test_prints_of_other_threads_are_kept(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    damage_pixels(small)
    before = sys.stdout
    stop = threading.Event()
    printed = 0

    def talk() -> None:
        nonlocal printed
        while not stop.is_set():
            print("line")
            printed += 1

    def read() -> None:
        for _ in range(30):
            with pytest.raises(PlateError):
                exr.read_exr(small)

    talker, readers = threading.Thread(target=talk), [threading.Thread(target=read) for _ in range(3)]
    for thread in (talker, *readers):
        thread.start()
    for thread in readers:
        thread.join()
    stop.set()
    talker.join()
    assert printed and capsys.readouterr().out == "line\n" * printed
    assert sys.stdout is before
