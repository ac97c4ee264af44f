# SPDX-License-Identifier: Apache-2.0
"""The guarded OpenEXR reader and writer: what goes in comes out, and nothing else does any harm."""

from __future__ import annotations

import math
import os
import random
import struct
import subprocess
import sys
import threading
import tracemalloc
from fractions import Fraction
from pathlib import Path

import numpy as np
import OpenEXR
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loopcore import _exr_layout, exr
from loopcore.errors import PlateError, SequenceError

RNG = np.random.default_rng(7)
REC709 = (0.64, 0.33, 0.3, 0.6, 0.15, 0.06, 0.3127, 0.329)


def noise(height: int, width: int, dtype: type = np.float32) -> np.ndarray:
    if dtype is np.uint32:
        return RNG.integers(0, 2**32, (height, width), dtype=np.uint32)
    return (RNG.standard_normal((height, width)) * 100).astype(dtype)


def only_part(path: Path) -> exr.ExrPart:
    (part,) = exr.read_exr(path)
    return part


def patched(path: Path, old: bytes, new: bytes) -> Path:
    data = path.read_bytes()
    assert data.count(old) == 1 and len(old) == len(new)
    path.write_bytes(data.replace(old, new))
    return path


@pytest.fixture
def small(tmp_path: Path) -> Path:
    path = tmp_path / "small.exr"
    exr.write_exr(path, {name: noise(40, 31, np.float16) for name in "RGBA"}, attributes={"owner": "somebody"})
    return path


class TestRoundTrip:
    @pytest.mark.parametrize("dtype", [np.float16, np.float32, np.uint32])
    @pytest.mark.parametrize("compression", ["none", "rle", "zips", "zip", "piz", "htj2k256", "htj2k32"])
    def test_lossless_compressions_keep_every_bit(self, tmp_path: Path, dtype: type, compression: str) -> None:
        path = tmp_path / "x.exr"
        channels = {"mask.a": noise(37, 53, dtype), "Z": noise(37, 53, np.float32)}
        exr.write_exr(path, channels, compression=compression, pixel_aspect=2.0)
        part = only_part(path)
        assert part.compression == compression and part.pixel_aspect == 2.0
        assert part.data_window == part.display_window == (0, 0, 52, 36)
        assert set(part.channels) == set(channels)
        for name, array in channels.items():
            assert part.channels[name].dtype == array.dtype
            np.testing.assert_array_equal(part.channels[name], array)

    @pytest.mark.parametrize("compression", exr.COMPRESSIONS)
    @pytest.mark.parametrize("size", [(1, 1), (3, 700), (530, 2)])
    def test_every_compression_writes_whole_files(
        self, tmp_path: Path, compression: str, size: tuple[int, int]
    ) -> None:
        if compression == "zstd" and not hasattr(OpenEXR, "ZSTD_COMPRESSION"):
            pytest.skip("this OpenEXR has no ZSTD")
        path = tmp_path / "x.exr"
        exr.write_exr(path, {"Y": np.full(size, 0.5, np.float16)}, compression=compression)
        assert exr.is_complete(path)
        np.testing.assert_allclose(only_part(path).channels["Y"], 0.5, rtol=0.01)

    @given(
        height=st.integers(1, 40),
        width=st.integers(1, 40),
        dtype=st.sampled_from([np.float16, np.float32, np.uint32]),
        view=st.sampled_from(["plain", "flip", "transpose", "crop", "channel", "fortran"]),
        seed=st.integers(0, 2**32 - 1),
    )
    @settings(max_examples=60, deadline=None)
    def test_any_view_is_written_as_it_reads(
        self, tmp_path_factory: pytest.TempPathFactory, height: int, width: int, dtype: type, view: str, seed: int
    ) -> None:
        bits = np.random.default_rng(seed).integers(0, 2**16, (height + 2, width + 2, 3))
        full = bits.astype(np.uint16).view(np.float16) if dtype is np.float16 else bits.astype(dtype)
        array = {
            "plain": full[:, :, 0].copy(),
            "flip": full[::-1, ::-1, 1],
            "transpose": full[:, :, 2].T,
            "crop": full[1:-1, 1:-1, 0],
            "channel": full[:, :, 1],
            "fortran": np.asfortranarray(full[:, :, 2]),
        }[view]
        path = tmp_path_factory.mktemp("views") / "x.exr"
        exr.write_exr(path, {"Y": array})
        # Bits, not values: NaN payloads too.
        assert only_part(path).channels["Y"].tobytes() == np.ascontiguousarray(array).tobytes()

    def test_nan_and_infinity_survive(self, tmp_path: Path) -> None:
        path = tmp_path / "x.exr"
        array = np.array([[np.nan, np.inf, -np.inf, -0.0, 1e-45, 3.4e38]], np.float32)
        exr.write_exr(path, {"Y": array})
        np.testing.assert_array_equal(only_part(path).channels["Y"], array)

    @pytest.mark.parametrize("name", ["RGB", "RGBA"])
    @pytest.mark.parametrize("dtype", [np.float16, np.float32])
    def test_a_group_equals_its_channels(self, tmp_path: Path, name: str, dtype: type) -> None:
        pixels = np.stack([noise(19, 23, dtype) for _ in name], axis=-1)
        exr.write_exr(tmp_path / "group.exr", {name: pixels})
        exr.write_exr(tmp_path / "single.exr", {letter: pixels[..., i] for i, letter in enumerate(name)})
        assert (tmp_path / "group.exr").read_bytes() == (tmp_path / "single.exr").read_bytes()
        channels = only_part(tmp_path / "group.exr").channels
        np.testing.assert_array_equal(np.stack([channels[letter] for letter in name], axis=-1), pixels)

    def test_a_group_is_not_copied(self, tmp_path: Path) -> None:
        pixels = np.zeros((512, 512, 4), np.float32)
        exr.write_exr(tmp_path / "x.exr", {"RGBA": pixels})
        tracemalloc.start()
        try:
            exr.write_exr(tmp_path / "x.exr", {"RGBA": pixels})
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < pixels.nbytes / 4

    def test_a_flipped_group_is_written_as_it_reads(self, tmp_path: Path) -> None:
        pixels = np.stack([noise(9, 8) for _ in "RGB"], axis=-1)[::-1, ::-1]
        exr.write_exr(tmp_path / "x.exr", {"RGB": pixels})
        np.testing.assert_array_equal(only_part(tmp_path / "x.exr").channels["G"], pixels[..., 1])

    def test_threads_do_not_change_a_byte(self, tmp_path: Path) -> None:
        pixels = np.stack([noise(300, 200, np.float16) for _ in "RGBA"], axis=-1)
        files = []
        for threads in (1, 2, 5):
            exr.write_exr(tmp_path / "x.exr", {"RGBA": pixels}, threads=threads)
            files.append((tmp_path / "x.exr").read_bytes())
        assert files[0] == files[1] == files[2]

    def test_unicode_paths(self, tmp_path: Path) -> None:
        path = tmp_path / "Wasserfälle 滝" / "plate 1.exr"
        path.parent.mkdir()
        exr.write_exr(path, {"Y": noise(4, 4)})
        assert exr.is_complete(path) and only_part(path).channels["Y"].shape == (4, 4)


class TestAttributes:
    VALUES = {
        "owner": "Ana Muñoz, 滝",
        "comments": "",
        "loopcore/recipe": '{"frames": 60}' * 5000,
        "loopcore/loop_frames": 60,
        "negative": -(2**31),
        "expTime": 0.5,
        "focus": math.inf,
        "framesPerSecond": Fraction(24000, 1001),
        "third": Fraction(-1, 3),
        "offset": (3, -4),
        "adoptedNeutral": (0.3125, 0.328125),
        "direction": (0.5, 1.5, -2.0),
        "originalDataWindow": ((-5, 0), (100, 50)),
        "worldToNDC": ((1.0, 0.0, 0.0, 2.0), (0.0, 1.0, 0.0, 0.0), (0.0, 0.0, 1.0, 0.0), (0.0, 0.0, 0.0, 1.0)),
        "multiView": ["left", "right"],
        "weights": [0.25, 0.5, 1.0, 2.0],
        "timeCode": "01:02:03:04",
        "keyCode": (1, 2, 3, 4, 5, 4, 64),
        "envmap": "latlong",
        "colorInteropID": "lin_ap1_scene",
        "x" * 255: "long name",
    }

    def test_values_come_back_as_they_were(self, tmp_path: Path) -> None:
        path = tmp_path / "x.exr"
        exr.write_exr(path, {"Y": noise(4, 5)}, attributes=self.VALUES)
        assert only_part(path).attributes == self.VALUES
        header = exr.read_attributes(path)
        assert {name: header[name] for name in self.VALUES} == self.VALUES
        assert header["channels"] == ("Y",) and header["dataWindow"] == (0, 0, 4, 3)
        assert header["compression"] == "zip" and header["pixelAspectRatio"] == 1.0

    def test_the_library_reads_the_same(self, tmp_path: Path) -> None:
        path = tmp_path / "x.exr"
        exr.write_exr(path, {"Y": noise(4, 5)}, attributes=self.VALUES)
        header = OpenEXR.File(str(path), header_only=True).parts[0].header
        assert header["framesPerSecond"] == Fraction(24000, 1001)
        assert header["owner"] == self.VALUES["owner"] and header["loopcore/loop_frames"] == 60
        assert (header["timeCode"].hours, header["timeCode"].frame) == (1, 4)
        assert header["keyCode"].count == 4 and header["envmap"] == OpenEXR.ENVMAP_LATLONG
        assert header["worldToNDC"][0, 3] == 2.0 and header["multiView"] == ["left", "right"]

    @pytest.mark.parametrize(
        "name, value, stored",
        [
            ("framesPerSecond", 24, Fraction(24)),
            ("framesPerSecond", 24.0, Fraction(24)),
            ("framesPerSecond", 12.5, Fraction(25, 2)),
            ("framesPerSecond", 23.976, Fraction(24000, 1001)),
            ("framesPerSecond", 59.94, Fraction(60000, 1001)),
            ("framesPerSecond", np.float64(25), Fraction(25)),
            ("framesPerSecond", (30000, 1001), Fraction(30000, 1001)),
            ("expTime", 2, 2.0),
            ("flag", True, 1),
            ("count", np.int64(12), 12),
            ("scale", np.float32(0.5), 0.5),
            ("vector", np.array([1.0, 2.0]), (1.0, 2.0)),
            ("whole numbers", [1, 2, 3, 4], [1.0, 2.0, 3.0, 4.0]),
            ("chromaticities", list(REC709), tuple(float(np.float32(item)) for item in REC709)),
            ("timeCode", "23:59:59;29", "23:59:59;29"),
        ],
    )
    def test_values_the_bindings_would_spoil(self, tmp_path: Path, name: str, value: object, stored: object) -> None:
        path = tmp_path / "x.exr"
        exr.write_exr(path, {"Y": noise(4, 5)}, attributes={name: value})
        found = exr.read_attributes(path)[name]
        assert found == stored and type(found) is type(stored)

    @pytest.mark.parametrize(
        "name, value",
        [
            ("a", None),
            ("a", {}),
            ("a", b"x"),
            ("a", []),
            ("a", ()),
            ("a", 2**31),
            ("a", "\ud800"),
            ("a", 1e300),
            ("a", ((1, 2), (3,))),
            ("a", ["x", 1]),
            ("a", object()),
            ("a", Fraction(2**40, 3)),
            ("", "x"),
            ("x" * 256, "x"),
            ("a\0b", "x"),
            ("\ud800", "x"),
            ("dataWindow", ((0, 0), (1, 1))),
            ("compression", "zip"),
            ("framesPerSecond", "24"),
            ("framesPerSecond", math.nan),
            ("timeCode", "1:2:3"),
            ("timeCode", "25:00:00:00"),
            ("chromaticities", (0.64, 0.33)),
        ],
    )
    def test_what_cannot_be_stored_is_refused(self, tmp_path: Path, name: str, value: object) -> None:
        with pytest.raises(PlateError):
            exr.write_exr(tmp_path / "x.exr", {"Y": noise(2, 2)}, attributes={name: value})
        assert not (tmp_path / "x.exr").exists()
        assert exr.writable({name: value, "kept": 1}) == {"kept": 1}

    def test_header_text_in_latin_1(self, small: Path, tmp_path: Path) -> None:
        before = only_part(small)
        patched(small, b"somebody", b"\xa9 M\xfcller")
        part = only_part(small)
        assert part.attributes["owner"] == "© Müller" == exr.read_attributes(small)["owner"]
        np.testing.assert_array_equal(part.channels["R"], before.channels["R"])
        assert exr.is_complete(small)


class TestRefusedWrites:
    @pytest.mark.parametrize(
        "channels",
        [
            {},
            {"Y": np.zeros((4, 4), np.float64)},
            {"Y": np.zeros((4, 4), np.uint8)},
            {"Y": np.zeros((4, 4, 1), np.float32)},
            {"Y": np.zeros((4, 4, 2), np.float32)},
            {"RGB": np.zeros((4, 4, 2), np.float32)},
            {"RGB": np.zeros((4, 4, 4), np.float32)},
            {"RGBA": np.zeros((4, 4, 4), np.float64)},
            {"RGBA": np.zeros((4, 4, 4), np.uint32)},
            {"RGB": np.zeros((4, 4, 3), np.float32), "A": np.zeros((4, 4), np.float32)},
            {"Y": np.zeros((0, 4), np.float32)},
            {"Y": [[0.0]]},
            {"": np.zeros((4, 4), np.float32)},
            {"x" * 256: np.zeros((4, 4), np.float32)},
            {"R": np.zeros((4, 4), np.float32), "G": np.zeros((4, 5), np.float32)},
        ],
    )
    def test_channels(self, tmp_path: Path, channels: dict) -> None:
        with pytest.raises(PlateError):
            exr.write_exr(tmp_path / "x.exr", channels)
        assert not (tmp_path / "x.exr").exists()

    @pytest.mark.parametrize(
        "settings",
        [
            {"compression": "zipp"},
            {"compression": "lj2k"},
            {"pixel_aspect": 0.0},
            {"pixel_aspect": math.nan},
            {"threads": 0},
            {"threads": 1.5},
        ],
    )
    def test_settings(self, tmp_path: Path, settings: dict) -> None:
        with pytest.raises(PlateError):
            exr.write_exr(tmp_path / "x.exr", {"Y": noise(4, 4)}, **settings)

    def test_places(self, tmp_path: Path) -> None:
        with pytest.raises(SequenceError, match="cannot be written"):
            exr.write_exr(tmp_path / "no such folder" / "x.exr", {"Y": noise(4, 4)})
        with pytest.raises(SequenceError, match="cannot be written"):
            exr.write_exr(tmp_path, {"Y": noise(4, 4)})

    @pytest.mark.skipif(os.name != "posix", reason="needs a limit on file sizes")
    @pytest.mark.parametrize("limit", [0, 400, 1500, 60_000])
    def test_no_room(self, tmp_path: Path, limit: int) -> None:
        # The largest limit stops a file in its middle; the small ones stop small files: there the library is silent.
        script = f"""
import resource, sys, numpy as np
from loopcore import exr
from loopcore.errors import SequenceError
array = np.random.default_rng(0).random((40, 30) if {limit} < 2000 else (400, 300)).astype("f4")
exr.write_exr("warm.exr", {{"Y": array}})
resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
try:
    exr.write_exr("x.exr", {{"Y": array}})
except SequenceError as error:
    print("refused:", error)
"""
        done = run_script(script, tmp_path)
        assert done.returncode == 0 and done.stdout.startswith("refused: x.exr"), done
        assert done.stderr == ""


def run_script(script: str, folder: Path, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(Path(exr.__file__).parents[1])}
    return subprocess.run(
        [sys.executable, "-c", script], cwd=folder, env=environment, capture_output=True, text=True, timeout=timeout
    )


class TestDamage:
    def test_every_way_of_being_cut_short(self, small: Path, capfd: pytest.CaptureFixture[str]) -> None:
        data = small.read_bytes()
        assert exr.is_complete(small)
        cuts = {*range(0, 600, 7), *range(600, len(data), 101), len(data) - 1}
        for cut in sorted(cuts):
            small.write_bytes(data[:cut])
            assert not exr.is_complete(small), cut
            with pytest.raises(PlateError, match="small.exr"):
                exr.read_exr(small)
        assert capfd.readouterr() == ("", "")

    def test_a_header_never_finished(self, small: Path) -> None:
        # What a killed writer leaves: pixels, and an offset table of zeros.
        with small.open("r+b") as file:
            file.seek(_exr_layout.read_layout(small).tables_at)
            file.write(bytes(8))
        assert not exr.is_complete(small)
        with pytest.raises(PlateError, match="cut short"):
            exr.read_exr(small)

    def test_damaged_pixels(self, small: Path, capfd: pytest.CaptureFixture[str]) -> None:
        damage_pixels(small)
        assert exr.is_complete(small)  # which says so: it decodes nothing
        with pytest.raises(PlateError, match="damaged"):
            exr.read_exr(small)
        assert capfd.readouterr().out == ""

    def test_trailing_bytes_do_no_harm(self, small: Path) -> None:
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
    def test_absurd_windows(self, small: Path, window: tuple[int, ...], reason: str) -> None:
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

    def test_an_absurd_display_window(self, small: Path) -> None:
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
    def test_no_bytes_make_is_complete_raise(
        self, tmp_path_factory: pytest.TempPathFactory, data: bytes, head: bool
    ) -> None:
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
    layout = _exr_layout.read_layout(path)
    return struct.unpack_from(f"<{layout.parts[0].chunk_count()}Q", path.read_bytes(), layout.tables_at)


def damage_pixels(path: Path) -> None:
    """Overwrite a stretch inside the last chunk of `path`, and nothing that says where chunks are."""
    data = bytearray(path.read_bytes())
    start = chunk_offsets(path)[-1] + 8
    assert len(data) - start > 300
    data[start + 20 : start + 260] = bytes(240)
    path.write_bytes(data)


class TestParts:
    def test_multi_part(self, tmp_path: Path) -> None:
        path = tmp_path / "parts.exr"
        beauty, depth = noise(20, 30, np.float16), np.tile(np.arange(120, dtype=np.float32), (100, 1))
        common = {"type": OpenEXR.scanlineimage, "displayWindow": ((0, 0), (29, 19))}
        parts = [
            OpenEXR.Part({**common, "view": "left"}, {"R": beauty}, "beauty"),
            OpenEXR.Part(common, {"Z": depth}, "depth"),
        ]
        OpenEXR.File(parts).write(str(path))
        first, second = exr.read_exr(path)
        assert (first.name, second.name) == ("beauty", "depth") and first.attributes["view"] == "left"
        np.testing.assert_array_equal(first.channels["R"], beauty)
        np.testing.assert_array_equal(second.channels["Z"], depth)
        assert exr.is_complete(path)
        data = path.read_bytes()
        path.write_bytes(data[:-1])
        assert not exr.is_complete(path)
        # One part whole and one damaged is a damaged file.
        path.write_bytes(data[:-40] + bytes(40))
        with pytest.raises(PlateError, match="damaged"):
            exr.read_exr(path)

    def test_tiles(self, tmp_path: Path) -> None:
        path = tmp_path / "tiles.exr"
        pixels = noise(70, 45)
        tiles = OpenEXR.TileDescription()
        tiles.xSize, tiles.ySize = 32, 16
        header = {"type": OpenEXR.tiledimage, "tiles": tiles}
        OpenEXR.File(header, {"Y": pixels}).write(str(path))
        assert exr.is_complete(path)
        np.testing.assert_array_equal(only_part(path).channels["Y"], pixels)
        path.write_bytes(path.read_bytes()[:-5])
        assert not exr.is_complete(path)

    def test_absurd_tiles(self, tmp_path: Path) -> None:
        path = tmp_path / "tiles.exr"
        tiles = OpenEXR.TileDescription()
        tiles.xSize, tiles.ySize = 32, 32
        OpenEXR.File({"type": OpenEXR.tiledimage, "tiles": tiles}, {"Y": noise(20, 20)}).write(str(path))
        assert exr.is_complete(path)
        patched(path, struct.pack("<IIB", 32, 32, 0), struct.pack("<IIB", 32, 4_000_000, 0))
        with pytest.raises(PlateError, match="absurd"):
            exr.read_exr(path)

    def test_windows(self, tmp_path: Path) -> None:
        path = tmp_path / "window.exr"
        pixels = noise(6, 9)
        header = {"dataWindow": ((-3, 4), (5, 9)), "displayWindow": ((0, 0), (19, 9)), "type": OpenEXR.scanlineimage}
        OpenEXR.File(header, {"Y": pixels}).write(str(path))
        part = only_part(path)
        assert part.data_window == (-3, 4, 5, 9) and part.display_window == (0, 0, 19, 9)
        np.testing.assert_array_equal(part.channels["Y"], pixels)


def test_what_other_threads_print_is_kept(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
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


def test_importing_is_light(tmp_path: Path) -> None:
    done = run_script("import sys, loopcore.exr; print('OpenEXR' in sys.modules)", tmp_path)
    assert done.stdout.strip() == "False", done.stderr


class TestCorpus:
    def test_headers_agree_with_the_library(self, corpus: Path) -> None:
        checked = 0
        for path in sorted((corpus / "exr").rglob("*.exr")):
            try:
                found = exr.read_attributes(path)
                header = OpenEXR.File(str(path), header_only=True).parts[0].header
            except (PlateError, RuntimeError):
                continue
            window = tuple(int(number) for corner in header["dataWindow"] for number in corner)
            assert found["dataWindow"] == window, path
            assert found["channels"] == tuple(sorted(channel.name for channel in header["channels"])), path
            for name, value in header.items():
                if isinstance(value, str | float | int) and not isinstance(value, bool) and name in found:
                    np.testing.assert_equal(found[name], value, err_msg=f"{path} {name}")
                    checked += 1
        assert checked > 100

    def test_whole_files_are_complete_and_cut_ones_are_not(self, corpus: Path, tmp_path: Path) -> None:
        paths = sorted((corpus / "exr" / "valid").rglob("*.exr"))
        assert len(paths) >= 40
        dice = random.Random(3)
        for path in paths:
            assert exr.is_complete(path), path
            data = path.read_bytes()
            (tmp_path / "cut.exr").write_bytes(data[: dice.randrange(len(data))])
            assert not exr.is_complete(tmp_path / "cut.exr"), path
