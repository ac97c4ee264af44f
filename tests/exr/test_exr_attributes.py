# SPDX-License-Identifier: Apache-2.0
"""Attributes of OpenEXR files: each round-trips, or is refused."""

from __future__ import annotations

import math
from fractions import Fraction
from pathlib import Path

import numpy as np
import OpenEXR
import pytest
from _exr_files import noise, only_part, patched
from _exr_files import small as small  # a fixture

from loopcore import exr
from loopcore.errors import PlateError

REC709 = (0.64, 0.33, 0.3, 0.6, 0.15, 0.06, 0.3127, 0.329)


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

    def test_values_round_trip(self, tmp_path: Path) -> None:
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
    def test_values_that_the_bindings_would_store_wrongly(
        self, tmp_path: Path, name: str, value: object, stored: object
    ) -> None:
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
    def test_values_that_cannot_be_stored_are_refused(self, tmp_path: Path, name: str, value: object) -> None:
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
