# SPDX-License-Identifier: Apache-2.0
"""Hints: both file formats, validation of untrusted files, masks, and fitting to other sizes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from loopcore.errors import MotionError
from loopcore.motion import Anchor, Flip, Hints, Stroke, read_hints, read_mask, write_hints

GOOD: dict[str, Any] = {
    "loopcore_hints": 1,
    "size": [64, 48],
    "strokes": [{"points": [[4, 5], [20, 9], [40, 30]], "speed": 2.5}, {"points": [[1, 2], [3, 4]], "speed": [1, 2]}],
    "anchors": [[10.5, 11]],
    "flips": [[30, 31.5], [3, 4]],
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
    assert hints.flips == (Flip(30, 31.5), Flip(3, 4))
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
    flips=st.lists(st.tuples(st.floats(-50, 200), st.floats(-50, 200)), max_size=3),
)
def test_written_hints_read_the_same(tmp_path: Path, strokes, anchors, polygons, exclude, feather, flips) -> None:  # type: ignore[no-untyped-def]
    hints = Hints(
        tuple(Stroke(p, np.linspace(0, speed, len(p)) if each else speed) for p, speed, each in strokes),
        tuple(Anchor(x, y) for x, y in anchors),
        size=(160, 90),
        polygons=polygons,
        exclude=exclude,
        feather=feather if polygons or exclude else 0,
        flips=tuple(Flip(x, y) for x, y in flips),
    )
    write_hints(hints, tmp_path / "h.json")
    again = read_hints(tmp_path / "h.json")
    assert again.size == hints.size and again.anchors == hints.anchors and again.flips == hints.flips
    assert again.feather == hints.feather and len(again.strokes) == len(hints.strokes)
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
        (changed(flips=[[1, 2], [3]]), r"flips\[1\]"),
        (changed(flips={"x": 1}), "flips must be a list"),
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
    hints = Hints((Stroke([[0, 0], [639, 359]], 3.0),), (Anchor(-0.5, -0.5),), size=(640, 360), feather=8,
                  flips=(Flip(639.5, 359.5),))  # fmt: skip
    fitted = hints.fitted(height, width)
    assert fitted.size == (width, height)
    # corners stay corners: the pixel grid's edges are at -0.5 and size - 0.5
    np.testing.assert_allclose(fitted.strokes[0].points[0], [0.5 * width / 640 - 0.5, 0.5 * height / 360 - 0.5])
    assert (fitted.anchors[0].x, fitted.anchors[0].y) == pytest.approx((-0.5, -0.5))
    assert (fitted.flips[0].x, fitted.flips[0].y) == pytest.approx((width - 0.5, height - 0.5))
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
        {"flips": [[1e308, 2]]},
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
