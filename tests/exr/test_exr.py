# SPDX-License-Identifier: Apache-2.0
"""The OpenEXR reader and writer: pixels round-trip, and what cannot be written is refused."""

from __future__ import annotations

import math
import os
import random
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import OpenEXR
import pytest
from _exr_files import noise, only_part, patched, run_script
from hypothesis import given, settings
from hypothesis import strategies as st

from loopcore import exr
from loopcore.errors import PlateError, SequenceError


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
    def test_views_are_written_like_contiguous_arrays(
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

    def test_nan_and_infinity_are_kept(self, tmp_path: Path) -> None:
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

    def test_a_flipped_group_is_written_like_a_contiguous_one(self, tmp_path: Path) -> None:
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
    def test_a_full_disk(self, tmp_path: Path, limit: int) -> None:
        # The largest limit stops a file in its middle, the small ones small files, where the library reports no error.
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
        # One whole and one damaged part are a damaged file.
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

    def test_tiles_that_are_too_large(self, tmp_path: Path) -> None:
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


def test_importing_loads_no_heavy_library(tmp_path: Path) -> None:
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

    def test_whole_files_are_complete_and_truncated_ones_are_not(self, corpus: Path, tmp_path: Path) -> None:
        paths = sorted((corpus / "exr" / "valid").rglob("*.exr"))
        assert len(paths) >= 40
        dice = random.Random(3)
        for path in paths:
            assert exr.is_complete(path), path
            data = path.read_bytes()
            (tmp_path / "cut.exr").write_bytes(data[: dice.randrange(len(data))])
            assert not exr.is_complete(tmp_path / "cut.exr"), path
