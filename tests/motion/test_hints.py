# SPDX-License-Identifier: Apache-2.0
"""Hints: both file formats, validation of untrusted files, masks, and fitting to other sizes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from loopcore import exr
from loopcore.errors import MotionError
from loopcore.motion import Anchor, Hints, Stroke, read_hints, read_mask, write_hints
from loopcore.motion.constraints import ANCHOR_WEIGHT, anchor_weights, resample_stroke, sample_strokes
from loopcore.motion.grid import build_grid
from loopcore.motion.masks import feathered, rasterise

GOOD: dict[str, Any] = {
    "loopcore_hints": 1,
    "size": [64, 48],
    "strokes": [{"points": [[4, 5], [20, 9], [40, 30]], "speed": 2.5}, {"points": [[1, 2], [3, 4]], "speed": [1, 2]}],
    "anchors": [[10.5, 11]],
    "mask": {
        "polygons": [[[2, 2], [60, 2], [60, 40], [2, 40]]],
        "exclude": [[[20, 10], [30, 10], [25, 20]]],
        "feather": 3,
    },
}


def write(path: Path, document: object) -> Path:
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


def changed(**items: Any) -> dict[str, Any]:
    return {key: value for key, value in {**GOOD, **items}.items() if value is not ...}


def test_own_format_reads(tmp_path: Path) -> None:
    hints = read_hints(write(tmp_path / "hints.json", GOOD))
    assert hints.size == (64, 48)
    assert hints.strokes[0].points.tolist() == [[4, 5], [20, 9], [40, 30]]
    assert hints.strokes[0].speed == 2.5
    assert hints.strokes[1].speeds.tolist() == [1, 2]
    assert hints.anchors == (Anchor(10.5, 11),)
    mask = hints.fitted(48, 64).mask
    assert mask is not None
    assert mask[30, 40] == 1 and mask[13, 25] == 0 and mask[45, 30] == 0 and mask[20, 0] == 0


POINTS = st.lists(st.tuples(st.floats(-50, 200), st.floats(-50, 200)), min_size=3, max_size=6, unique=True)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    strokes=st.lists(st.tuples(POINTS, st.floats(0, 50), st.booleans()), max_size=3),
    anchors=st.lists(st.tuples(st.floats(-50, 200), st.floats(-50, 200)), max_size=3),
    polygons=st.lists(POINTS, max_size=2),
    exclude=st.lists(POINTS, max_size=2),
    feather=st.floats(0, 30),
)
def test_written_hints_read_the_same(tmp_path: Path, strokes, anchors, polygons, exclude, feather) -> None:  # type: ignore[no-untyped-def]
    hints = Hints(
        tuple(Stroke(p, np.linspace(0, speed, len(p)) if each else speed) for p, speed, each in strokes),
        tuple(Anchor(x, y) for x, y in anchors),
        size=(160, 90),
        polygons=polygons,
        exclude=exclude,
        feather=feather if polygons or exclude else 0,
    )
    write_hints(hints, tmp_path / "h.json")
    again = read_hints(tmp_path / "h.json")
    assert again.size == hints.size and again.anchors == hints.anchors and again.feather == hints.feather
    assert len(again.strokes) == len(hints.strokes)
    for a, b in zip(again.strokes, hints.strokes, strict=True):
        assert np.array_equal(a.points, b.points) and np.array_equal(a.speeds, b.speeds)
    for mine, theirs in ((again.polygons, hints.polygons), (again.exclude, hints.exclude)):
        assert len(mine) == len(theirs) and all(map(np.array_equal, mine, theirs))


def test_painted_mask_is_written_beside_the_json(tmp_path: Path) -> None:
    mask = np.linspace(0, 1, 40 * 30, dtype=np.float32).reshape(30, 40)
    write_hints(Hints((Stroke([[0, 0], [9, 9]], 1.0),), mask=mask), tmp_path / "h.json")
    again = read_hints(tmp_path / "h.json")
    assert again.size == (40, 30)
    np.testing.assert_allclose(again.mask, mask, atol=1 / 65535)
    with pytest.raises(MotionError, match="size"):
        write_hints(Hints((Stroke([[0, 0], [9, 9]], 1.0),)), tmp_path / "i.json")


@pytest.mark.parametrize(
    ("document", "says"),
    [
        (changed(loopcore_hints=2), "version 1"),
        (changed(loopcore_hints=True), "version 1"),
        (changed(size=...), "size"),
        (changed(size=[64]), "size"),
        (changed(size=[64, 0]), "size"),
        (changed(size=[64, 48.5]), "size"),
        (changed(size=[64, 10**9]), "size"),
        (changed(arrows=[]), "'arrows'"),
        (changed(strokes={}), "strokes must be a list"),
        (changed(strokes=[GOOD["strokes"][0], {"points": [[1, 2], [3, 4]]}]), r'strokes\[1\] has no "speed"'),
        (changed(strokes=[{"points": [[1, 2], [3, "4"]], "speed": 1}]), r"strokes\[0\].points\[1\]\[1\]"),
        (changed(strokes=[{"points": [[1, 2]], "speed": 1}]), r"strokes\[0\].points needs 2"),
        (changed(strokes=[{"points": [[1, 2], [1, 2]], "speed": 1}]), r"strokes\[0\]"),
        (changed(strokes=[{"points": [[1, 2], [3, 4]], "speed": -1}]), r"strokes\[0\].speed"),
        (changed(strokes=[{"points": [[1, 2], [3, 4]], "speed": [1, 2, 3]}]), r"strokes\[0\]"),
        (changed(strokes=[{"points": [[1, 2], [3, 4]], "speed": True}]), r"strokes\[0\].speed"),
        (changed(strokes=[{"points": [[1, 2], [3, 4]], "speed": 1, "width": 3}]), "'width'"),
        (changed(strokes=[{"points": [[1, 2], [3, 10**400]], "speed": 1}]), "finite"),
        (changed(strokes=[{"points": [[1, 2], [3, 4], [5]], "speed": 1}]), r"points\[2\]"),
        (changed(anchors=[[1, 2], [3]]), r"anchors\[1\]"),
        (changed(mask=7), '"mask"'),
        (changed(mask={"polygons": []}), '"polygons"'),
        (changed(mask={"polygons": [[[1, 2], [3, 4]]]}), r"mask.polygons\[0\] needs 3"),
        (changed(mask={"polygons": [[[1, 2], [3, 4], [5, 1]]], "feather": -2}), "feather"),
        (changed(mask={"polygons": [[[1, 2], [3, 4], [5, 1]]], "invert": 1}), "'invert'"),
        (changed(feather=4), "twice"),
        (changed(mask=..., feather=4), 'no "mask"'),
        ([1, 2], "list"),
        ({"hello": 1}, "neither"),
        ({"shapes": [], "imageWidth": 10}, "imageWidth"),
        ({"shapes": [3], "imageWidth": 10, "imageHeight": 8}, r"shapes\[0\]"),
    ],
)
def test_error_names_the_invalid_item(tmp_path: Path, document: object, says: str) -> None:
    with pytest.raises(MotionError, match=says) as error:
        read_hints(write(tmp_path / "hints.json", document))
    assert "hints.json" in str(error.value)


@pytest.mark.parametrize(
    "text", ["", "{", "[" * 100_000, '{"loopcore_hints": 1, "size": [NaN, 4]}', "\x00", "9" * 5000]
)
def test_invalid_json_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "hints.json").write_text(text, encoding="utf-8")
    with pytest.raises(MotionError, match="hints.json"):
        read_hints(tmp_path / "hints.json")


def test_missing_or_binary_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "b.json").write_bytes(b"\xff\xfe\x80")
    for name in ("none.json", "b.json", "."):
        with pytest.raises(MotionError):
            read_hints(tmp_path / name)


def test_byte_order_mark_is_ignored(tmp_path: Path) -> None:
    (tmp_path / "hints.json").write_text(json.dumps(GOOD), encoding="utf-8-sig")
    assert len(read_hints(tmp_path / "hints.json").strokes) == 2


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(sorted(GOOD)), inner, max_size=4),
    max_leaves=20,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(key=st.sampled_from(sorted(GOOD)), value=json_values)
def test_any_json_reads_or_is_refused(tmp_path: Path, key: str, value: object) -> None:
    try:
        hints = read_hints(write(tmp_path / "hints.json", {**GOOD, key: value}))
    except MotionError:
        return
    assert isinstance(hints, Hints)


@pytest.mark.parametrize("name", ["../m.png", "/m.png", "C:\\m.png", "\\\\host\\m.png", "a/../../m.png", "", "c:m.png"])
def test_a_mask_outside_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "shot"
    folder.mkdir()
    Image.new("L", (64, 48), 255).save(tmp_path / "m.png")
    with pytest.raises(MotionError, match="folder of the hints"):
        read_hints(write(folder / "hints.json", changed(mask=name)))


def test_link_to_outside_the_folder_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "shot"
    folder.mkdir()
    Image.new("L", (64, 48), 255).save(tmp_path / "m.png")
    try:
        (folder / "m.png").symlink_to(tmp_path / "m.png")
    except OSError:
        pytest.skip("no symbolic links here")
    with pytest.raises(MotionError, match="link"):
        read_hints(write(folder / "hints.json", changed(mask="m.png")))


def test_mask_file_is_read_and_feathered(tmp_path: Path) -> None:
    grey = np.zeros((48, 64), np.uint8)
    grey[10:40, 10:50] = 255
    (tmp_path / "masks").mkdir()
    Image.fromarray(grey).save(tmp_path / "masks" / "m.png")
    hints = read_hints(write(tmp_path / "hints.json", changed(mask="masks/m.png", feather=6)))
    assert hints.mask is not None
    assert not hints.mask[grey == 0].any()
    assert hints.mask[25, 30] == 1 and 0 < hints.mask[25, 12] < 0.5


def test_labelme_is_read_as_by_published_demos(tmp_path: Path) -> None:
    square = [[10.5, 10.5], [50.5, 10.5], [50.5, 30.5], [10.5, 30.5]]
    shapes = [
        {"label": "motion", "shape_type": "polygon", "points": square},
        {"label": "hint0", "shape_type": "line", "points": [[20.5, 20.5], [45.5, 20.5]]},
        {"label": "hint1", "shape_type": "line", "points": [[20, 20], [20, 20]]},
        {"label": "dog", "shape_type": "polygon", "points": square},
        {"label": "hint2", "shape_type": "circle", "points": [[1, 1], [2, 2]]},
    ]
    document = {"version": "5.0.1", "shapes": shapes, "imageWidth": 64, "imageHeight": 48, "imageData": None}
    hints = read_hints(write(tmp_path / "labelme.json", document))
    assert hints.size == (64, 48) and len(hints.strokes) == 1
    assert hints.strokes[0].points.tolist() == [[20, 20], [45, 20]]
    assert hints.strokes[0].speed == pytest.approx(0.5)
    mask = hints.fitted(48, 64).mask
    assert mask is not None and mask[20, 30] == 1 and mask[40, 30] == 0


def test_the_published_labelme_example(corpus: Path) -> None:
    folder = corpus / "stills" / "painting"
    hints = read_hints(folder / "cinemagraphy3d_1_hints.json")
    assert hints.size == (1280, 720) and len(hints.strokes) == 11 and len(hints.polygons) == 3
    start, end = hints.strokes[0].points
    assert hints.strokes[0].speed * 50 == pytest.approx(np.hypot(*(end - start)))
    published = read_mask(folder / "cinemagraphy3d_1_mask.png", 720, 1280)
    ours = hints.fitted(720, 1280).mask
    assert ours is not None and np.abs(ours - published).mean() < 0.002


# fitting


@given(k=st.floats(0.25, 4))
def test_fitting_scales_points_speeds_and_feather(k: float) -> None:
    width, height = round(640 * k), round(360 * k)
    hints = Hints((Stroke([[0, 0], [639, 359]], 3.0),), (Anchor(-0.5, -0.5),), size=(640, 360), feather=8)
    fitted = hints.fitted(height, width)
    assert fitted.size == (width, height)
    # corners stay corners: the pixel grid's edges are at -0.5 and size - 0.5
    np.testing.assert_allclose(fitted.strokes[0].points[0], [0.5 * width / 640 - 0.5, 0.5 * height / 360 - 0.5])
    assert (fitted.anchors[0].x, fitted.anchors[0].y) == pytest.approx((-0.5, -0.5))
    assert fitted.strokes[0].speed == pytest.approx(3 * k, rel=0.01)
    assert fitted.feather == pytest.approx(8 * k, rel=0.01)


def test_fitting_to_the_same_size_changes_nothing() -> None:
    hints = Hints((Stroke([[1.25, 2.5], [30, 40]], 3.0),), (Anchor(3.5, 4.25),), size=(64, 48))
    fitted = hints.fitted(48, 64)
    assert np.array_equal(fitted.strokes[0].points, hints.strokes[0].points) and fitted.anchors == hints.anchors


def test_another_aspect_is_refused() -> None:
    hints = Hints((Stroke([[0, 0], [9, 9]], 1.0),), size=(640, 360))
    with pytest.raises(MotionError, match="640x360.*640x480"):
        hints.fitted(480, 640)
    hints.fitted(480, 853)  # 853.33 rounded
    with pytest.raises(MotionError, match="far outside"):
        Hints((Stroke([[0, 0], [1e5, 9]], 1.0),), size=(640, 360)).fitted(360, 640)


@pytest.mark.parametrize(
    ("points", "speed"),
    [([[0, 0]], 1), ([[0, 0], [0, 0]], 1), ([[0, 0], [np.nan, 1]], 1), ([[0, 0], [1, 1]], -2), ([[0, 0], [1, 1]], "x"),
     ([[0, 0, 0], [1, 1, 1]], 1), ([[0, 0], [1, 1]], [1, 2, 3]), ("abc", 1)],
)  # fmt: skip
def test_bad_strokes_are_refused(points: object, speed: object) -> None:
    with pytest.raises(MotionError, match="stroke"):
        Stroke(points, speed)  # type: ignore[arg-type]


# masks


SQUARE = np.array([[20.0, 10.0], [100.0, 10.0], [100.0, 70.0], [20.0, 70.0]])


@pytest.mark.parametrize("feather", [0, 1, 5, 12.5, 24, 60])
def test_feather_goes_inward(feather: float) -> None:
    mask = rasterise([SQUARE], [], feather, 80, 120)
    y, x = np.mgrid[:80, :120]
    inside = np.minimum(np.minimum(x - 20, 100 - x), np.minimum(y - 10, 70 - y))  # signed distance to the edge
    assert not mask[inside < -0.5].any()
    assert (mask[inside > feather + 4] == 1).all()
    assert (np.diff(mask[40, 10:60]) >= 0).all()
    if feather >= 5:
        middle = np.abs(inside - feather / 2) < 0.6
        assert 0.25 < mask[middle & (np.abs(y - 40) < 3)].mean() < 0.75 or feather > 50


def test_edges_are_antialiased_and_holes_cut() -> None:
    slanted = np.array([[10.0, 10.0], [90.0, 22.0], [88.0, 60.0], [12.0, 55.0]])
    mask = rasterise([slanted], [], 0, 80, 120)
    assert ((mask > 0) & (mask < 1)).sum() > 50
    area = 0.5 * abs(
        np.dot(slanted[:, 0], np.roll(slanted[:, 1], 1)) - np.dot(slanted[:, 1], np.roll(slanted[:, 0], 1))
    )
    assert mask.sum() == pytest.approx(area, rel=0.02)
    holed = rasterise([slanted], [np.array([[30.0, 30.0], [50.0, 30.0], [50.0, 45.0], [30.0, 45.0]])], 4, 80, 120)
    assert holed[37, 40] == 0 and holed[37, 70] == 1 and 0 < holed[37, 52] < 1


def test_frame_is_not_feathered() -> None:
    mask = feathered(np.ones((20, 30), np.float32), 8)
    assert (mask == 1).all()


@pytest.mark.parametrize("mode", ["L", "I;16", "RGB", "RGBA", "LA", "1", "P"])
def test_painted_masks_read_as_data(tmp_path: Path, mode: str) -> None:
    ramp = np.tile(np.linspace(0, 255, 40).astype(np.uint8), (30, 1))
    if mode == "I;16":
        picture = Image.fromarray(ramp.astype(np.uint16) * 257)
    elif mode in ("RGBA", "LA"):
        base = Image.new(mode[:-1], (40, 30), "white")
        base.putalpha(Image.fromarray(ramp))
        picture = base
    else:
        picture = Image.fromarray(ramp).convert(mode)
    picture.save(tmp_path / "m.png")
    mask = read_mask(tmp_path / "m.png", 30, 40)
    assert mask.dtype == np.float32 and mask.shape == (30, 40)
    if mode == "1":
        assert set(np.unique(mask)) <= {0.0, 1.0}
    else:
        np.testing.assert_allclose(mask, ramp / 255, atol=1e-3)


def test_an_opaque_alpha_is_not_the_mask(tmp_path: Path) -> None:
    ramp = np.tile(np.linspace(0, 255, 40).astype(np.uint8), (30, 1))
    picture = Image.fromarray(ramp).convert("RGBA")
    picture.save(tmp_path / "m.png")
    np.testing.assert_allclose(read_mask(tmp_path / "m.png", 30, 40), ramp / 255, atol=1e-3)


@pytest.mark.parametrize("names", [("mask.V",), ("A", "R", "G", "B"), ("Y",), ("R", "G", "B"), ("anything.Q",)])
def test_exr_masks_read(tmp_path: Path, names: tuple[str, ...]) -> None:
    ramp = np.tile(np.linspace(0, 1, 40, dtype=np.float32), (30, 1))
    exr.write_exr(tmp_path / "m.exr", {name: ramp for name in names})
    np.testing.assert_allclose(read_mask(tmp_path / "m.exr", 30, 40), ramp, atol=1e-6)


def test_masks_are_resized_within_the_aspect(tmp_path: Path) -> None:
    grey = np.zeros((60, 80), np.uint8)
    grey[20:40, 30:60] = 255
    Image.fromarray(grey).save(tmp_path / "m.png")
    mask = read_mask(tmp_path / "m.png", 120, 160)
    assert mask.shape == (120, 160) and mask[60, 90] == 1 and mask[10, 10] == 0
    with pytest.raises(MotionError, match="80x60.*100x60"):
        read_mask(tmp_path / "m.png", 60, 100)


def test_invalid_masks_are_refused(tmp_path: Path) -> None:
    Image.new("L", (8, 6), 0).save(tmp_path / "black.png")
    with pytest.raises(MotionError, match="black all over"):
        read_mask(tmp_path / "black.png", 6, 8)
    exr.write_exr(tmp_path / "nan.exr", {"A": np.full((6, 8), np.nan, np.float32)})
    with pytest.raises(MotionError, match="NaN"):
        read_mask(tmp_path / "nan.exr", 6, 8)
    exr.write_exr(tmp_path / "odd.exr", {"a.x": np.ones((6, 8), np.float32), "b.x": np.ones((6, 8), np.float32)})
    with pytest.raises(MotionError, match="a.x, b.x"):
        read_mask(tmp_path / "odd.exr", 6, 8)
    (tmp_path / "text.png").write_text("no picture")
    for name in ("none.png", "text.png", "none.exr"):
        with pytest.raises(MotionError, match=name):
            read_mask(tmp_path / name, 6, 8)


def test_sixteen_bit_colour_is_refused(tmp_path: Path) -> None:
    import struct
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + b"\x80\x01" * 3 * 8 for _ in range(6))
    header = struct.pack(">IIBBBBB", 8, 6, 16, 2, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    (tmp_path / "deep.png").write_bytes(png)
    with pytest.raises(MotionError, match="16 bits"):
        read_mask(tmp_path / "deep.png", 6, 8)


def test_a_mask_720_pixels_wide_has_no_16_bits(tmp_path: Path) -> None:
    """Pillow describes the tile of this file with numbers that contain 16."""
    Image.new("RGB", (720, 4), "white").save(tmp_path / "m.bmp")
    assert (read_mask(tmp_path / "m.bmp", 4, 720) == 1).all()


@pytest.mark.skipif(os.name == "nt", reason="a shell script in place of Ghostscript")
def test_postscript_in_a_mask_is_not_run(tmp_path: Path) -> None:
    ghostscript = tmp_path / "bin" / "gs"
    ghostscript.parent.mkdir()
    ghostscript.write_text(f"#!/bin/sh\ntouch '{tmp_path / 'ran'}'\nexit 1\n")
    ghostscript.chmod(0o755)
    (tmp_path / "m.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 6\n%%EndComments\nshowpage\n")
    script = (
        "import sys\nfrom PIL import Image\nfrom loopcore.motion import read_mask\n"
        "if sys.argv[2] == 'pillow': Image.open(sys.argv[1]).load()\n"
        "read_mask(sys.argv[1], 6, 8)\n"
    )
    environment = {**os.environ, "PATH": f"{ghostscript.parent}{os.pathsep}{os.environ['PATH']}"}
    for way, ran in (("ours", False), ("pillow", True)):
        command = [sys.executable, "-c", script, str(tmp_path / "m.png"), way]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 1 and (tmp_path / "ran").exists() == ran, done.stderr
        if way == "ours":
            assert "cannot be read as a picture" in done.stderr


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no FIFOs here")
def test_a_fifo_is_no_mask(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "m.png")
    with pytest.raises(MotionError, match="give a regular file"):
        read_mask(tmp_path / "m.png", 6, 8)


def test_example_hints_and_plate_are_consistent() -> None:
    folder = Path(__file__).resolve().parents[2] / "examples" / "waterfall"
    hints = read_hints(folder / "hints.json")
    with Image.open(folder / "plate.jpg") as plate:
        assert hints.size == plate.size
    mask = hints.fitted(1080, 1920).mask
    assert mask is not None and 0.05 < (mask > 0).mean() < 0.25
    for stroke in hints.strokes:  # over water, except for the ends
        share = np.linspace(0, len(stroke.points) - 1, 50)
        path = np.stack([np.interp(share, np.arange(len(stroke.points)), axis) for axis in stroke.points.T], 1)
        x, y = np.rint(path).astype(int).T
        seen = (x >= 0) & (x < 1920) & (y >= 0) & (y < 1080)
        assert (mask[y[seen], x[seen]] > 0).mean() > 0.6, stroke.points.tolist()
    assert "Aitzol Berasategi" in (folder / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "change",
    [
        {"anchors": [[1e308, 2]]},
        {"strokes": [{"points": [[1, 2], [1e308, -1e308]], "speed": 1}]},
        {"strokes": [{"points": [[1, 2], [3, 4]], "speed": 1e30}]},
        {"strokes": [{"points": [[1, 2], [3, 4]], "speed": [1, 1e308]}]},
        {"mask": {"polygons": [[[0, 0], [1e308, 0], [0, 5]]]}},
        {"mask": {"polygons": [[[0, 0], [9, 0], [0, 5]]], "feather": 1e308}},
    ],
)
def test_absurd_numbers_are_refused_with_the_limit(tmp_path: Path, change: dict[str, Any]) -> None:
    with pytest.raises(MotionError, match=r"hints .*1e\+06 pixels"):
        read_hints(write(tmp_path / "hints.json", changed(**change)))


@pytest.mark.parametrize("name", ["mask\0.png", "mask\ud800.png"])
def test_a_mask_name_that_no_file_can_have_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(MotionError, match="cannot be the name of a file"):
        read_hints(write(tmp_path / "hints.json", changed(mask=name)))


@pytest.mark.parametrize("shape", [(48, 64), (2, 5000)])
def test_memory_does_not_grow_with_the_feather(shape: tuple[int, int]) -> None:
    tracemalloc.start()
    try:
        faded = feathered(np.ones(shape, np.float32), 1e6)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert faded.shape == shape
    assert peak < 50e6


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(st.floats(-9, 70), st.floats(-9, 50)), max_size=6), st.integers(0, 2))
def test_anchors_weigh_by_their_distance_to_each_cell(drawn: list[tuple[float, float]], margin: int) -> None:
    grid = build_grid(np.ones((40, 60), np.float32), 32 + margin, np.zeros((0, 2)))
    rows, columns = grid.shape
    expected = np.zeros((rows, columns), np.float32)
    for point in drawn:
        x, y = grid.to_cells(np.array(point))
        distance = np.hypot(np.arange(columns) - x, (np.arange(rows) - y)[:, None])
        expected = np.maximum(expected, (ANCHOR_WEIGHT * np.clip(2.0 - distance, 0, 1)).astype(np.float32))
    assert np.array_equal(anchor_weights(grid, tuple(Anchor(*point) for point in drawn)), expected)


def test_many_strokes_and_anchors_take_seconds() -> None:
    random = np.random.default_rng(3)
    starts = random.uniform(20, 80, (2000, 2))
    strokes = tuple(Stroke(np.array([start, start + (3, 1)])) for start in starts)
    anchors = tuple(Anchor(*point) for point in random.uniform(0, 100, (100_000, 2)).tolist())
    began = time.process_time()
    grid = build_grid(np.ones((400, 400), np.float32), 400, np.zeros((0, 2)))
    samples = sample_strokes(grid, [resample_stroke(stroke, 0.25) for stroke in strokes])
    lines = samples.polylines()
    assert anchor_weights(grid, anchors).max() == ANCHOR_WEIGHT
    assert time.process_time() - began < 10
    assert len(lines) == 2000
    assert np.allclose([line.points[0] for line in lines], starts)
