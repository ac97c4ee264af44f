# SPDX-License-Identifier: Apache-2.0
"""Real files, valid, unusual and damaged, are read or refused with a reason, without a crash or a hang."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import loopcore
from loopcore import color
from loopcore.errors import PlateError
from loopcore.plate import read_plate

# One process for all files, so that a crash fails a test and does not end the suite; it prints the current file.
READ_ALL = """
import json, sys, time
from loopcore.errors import PlateError
from loopcore.plate import read_plate
for line in sys.stdin:
    path = line.rstrip("\\n")
    print(json.dumps({"at": path}), flush=True)
    start = time.monotonic()
    try:
        plate = read_plate(path)
        result = {"read": list(plate.pixels.shape)}
    except PlateError as error:
        result = {"refused": str(error)}
    print(json.dumps({**result, "seconds": time.monotonic() - start}), flush=True)
"""


def read_all(paths: list[Path]) -> dict[Path, dict]:
    environment = {**os.environ, "PYTHONPATH": str(Path(loopcore.__file__).parents[1])}
    process = subprocess.Popen(
        [sys.executable, "-c", READ_ALL],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment,
    )
    try:
        out, _ = process.communicate("".join(f"{path}\n" for path in paths), timeout=120)
    except subprocess.TimeoutExpired:
        process.kill()
        out, _ = process.communicate()
    lines = [json.loads(line) for line in out.splitlines()]
    assert process.returncode == 0, f"ended with {process.returncode} at {lines[-1:]}"
    return {path: result for path, result in zip(paths, lines[1::2], strict=True)}


def exr_files(corpus: Path, *folders: str) -> list[Path]:
    paths = [path for folder in folders for path in sorted((corpus / "exr" / folder).rglob("*"))]
    return [path for path in paths if path.is_file() and not path.name.startswith("LICENSE")]


# Valid files of OpenEXR's tests that Loopcore does not support.
DEEP = {"11.deep.exr", "Trunks.exr"}
INVALID = {
    "comp_bad_bounds_piz.exr",
    "comp_bad_neg_bounds_pxr24.exr",
    "comp_bad_pos_bounds_piz.exr",
    "comp_bad_pos_bounds_pxr24.exr",
    "comp_early_eof_piz.exr",
    "comp_invalid_unknown.exr",
    "comp_short_decode_piz.exr",
    "invalid.exr",
    "invalid_shared_attrs_multipart.exr",
    "tiled.exr",
}


class TestCorpus:
    def test_damaged_files_are_refused(self, corpus: Path) -> None:
        paths = exr_files(corpus, "damaged")
        assert len(paths) > 80
        for path, result in read_all(paths).items():
            assert str(path) in result.get("refused", ""), (path, result)
            assert result["seconds"] < 10, path

    def test_sound_files_are_read_and_others_refused(self, corpus: Path) -> None:
        paths = exr_files(corpus, "valid", "openexr-test", "hdri")
        assert len(paths) > 70
        for path, result in read_all(paths).items():
            if path.name in DEEP:
                assert "deep" in result.get("refused", ""), path
            elif path.name in INVALID:
                assert str(path) in result.get("refused", ""), (path, result)
            else:
                assert "read" in result, (path, result)
            assert result["seconds"] < 30, path

    def test_pixels_are_what_another_reader_reads(self, corpus: Path) -> None:
        oiio = pytest.importorskip("OpenImageIO")
        compared = 0
        for path in exr_files(corpus, "valid", "openexr-test", "hdri"):
            source = None if path.name in DEEP | INVALID else oiio.ImageInput.open(str(path))
            if source is None:
                oiio.geterror() if path.name not in DEEP | INVALID else None
                continue  # and the luminance-chroma files, which it does not read
            spec, values = source.spec(), source.read_image("float")
            source.close()
            plate = read_plate(path)
            left, top = plate.windows.data[:2]
            expected = np.zeros_like(plate.pixels)
            rows = np.arange(spec.height) + spec.y - top
            columns = np.arange(spec.width) + spec.x - left
            on_rows = (rows >= 0) & (rows < plate.height)
            on_columns = (columns >= 0) & (columns < plate.width)
            for index, name in enumerate(plate.channels):
                stored = values[..., spec.channelnames.index(name)]
                expected[np.ix_(rows[on_rows], columns[on_columns], [index])] = stored[np.ix_(on_rows, on_columns)][
                    ..., None
                ]
            np.testing.assert_array_equal(plate.pixels, expected, err_msg=str(path))
            compared += 1
        assert compared > 50

    def test_luminance_chroma_looks_like_its_rgb(self, corpus: Path) -> None:
        folder = corpus / "exr" / "valid" / "Chromaticities"
        for name in ("Rec709", "XYZ"):
            rgb, chroma = read_plate(folder / f"{name}.exr"), read_plate(folder / f"{name}_YC.exr")
            assert chroma.channels == ("R", "G", "B")
            error = color.linear_to_srgb(np.clip(chroma.pixels, 0, 1)) - color.linear_to_srgb(np.clip(rgb.pixels, 0, 1))
            # The loss of half-size chroma on this noisy picture; a shift by one pixel costs 6 dB more.
            assert 10 * np.log10(1 / np.mean(error**2)) > 36

    def test_named_layers(self, corpus: Path) -> None:
        folder = corpus / "exr" / "valid" / "Beachball"
        one, many = folder / "singlepart.0006.exr", folder / "multipart.0006.exr"
        for view in ("left", "right"):
            shown = [read_plate(path, layer=view).displayed().pixels for path in (one, many)]
            np.testing.assert_array_equal(*shown)
        right = read_plate(many, layer="rgba_right").displayed()  # its parts differ in overscan
        np.testing.assert_array_equal(read_plate(one).displayed().pixels, right.pixels)
        with pytest.raises(PlateError, match="depth_left"):
            read_plate(many, layer="nothing")

    def test_xyz_stays_xyz(self, corpus: Path) -> None:
        plate = read_plate(corpus / "exr" / "valid" / "Chromaticities" / "XYZ.exr")
        assert plate.colorspace == ""
        np.testing.assert_allclose(plate.metadata["chromaticities"], (1, 0, 0, 1, 0, 0, 1 / 3, 1 / 3), atol=1e-6)

    def test_stills(self, corpus: Path) -> None:
        paths = [path for path in sorted((corpus / "stills").rglob("*")) if path.suffix in (".png", ".jpg")]
        assert len(paths) > 30
        for path in paths:
            plate = read_plate(path)
            with Image.open(path) as image:
                stored = np.asarray(image).reshape(plate.pixels.shape)
            np.testing.assert_array_equal(color.encode_8bit(plate.pixels), stored, err_msg=str(path))
