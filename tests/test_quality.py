# SPDX-License-Identifier: Apache-2.0
"""Tests of the loop QC: a good loop passes, and each kind of damage fails in its own row."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import _scenes
import numpy as np
import pytest

from loopcore import color
from loopcore.baking.bake import bake
from loopcore.errors import LoopcoreError, SequenceError
from loopcore.exr import read_exr
from loopcore.loop import Loop
from loopcore.motion import MotionField, read_hints
from loopcore.motion.predict import predict_motion
from loopcore.plate import read_plate
from loopcore.quality import QualityReport, check

N = 24
ROWS = ("missing", "beyond", "damaged", "closure", "static", "seam", "breathing", "wander", "torn", "NaN", "equal")


@pytest.fixture(scope="module")
def plate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _scenes.png(tmp_path_factory.mktemp("plate") / "p.png")


@pytest.fixture(scope="module")
def motion(plate: Path) -> MotionField:
    return predict_motion(read_plate(plate), read_hints(_scenes.hints(plate.with_name("h.json"))))


@pytest.fixture(scope="module")
def good(plate: Path, motion: MotionField) -> Path:
    folder = plate.with_name("good")
    bake(Loop(read_plate(plate), motion, frames=N, cycles=2), folder, "p_loop")
    return folder


@pytest.fixture
def loop(good: Path, tmp_path: Path) -> Path:
    """A copy of the good loop, to be damaged."""
    return Path(shutil.copytree(good, tmp_path / "loop"))


def frame(folder: Path, number: int, suffix: str = "exr") -> Path:
    return folder / f"p_loop.{number}.{suffix}"


def failed(report: QualityReport) -> set[str]:
    """First words of the rows that do not pass."""
    assert report.passed == all(row.passed for row in report.rows)
    return {
        next(word for word in (*ROWS, "holes", "pixels") if word in row.name) for row in report.rows if not row.passed
    }


def test_a_good_loop_passes_every_row(good: Path) -> None:
    told: list[tuple[int, int]] = []
    report = check(good, on_progress=lambda done, total: told.append((done, total)))
    assert failed(report) == set() and report.frames == N
    assert [word for word in ROWS if any(word in row.name for row in report.rows)] == list(ROWS)
    assert told == [(k + 1, N) for k in range(N)]
    values = {word: next(row.value for row in report.rows if word in row.name) for word in ROWS}
    assert values["static"] == 0 and values["closure"] is not None and values["closure"] <= 1e-6
    assert values["seam"] is not None and 0.8 <= values["seam"] <= 1.25
    assert values["breathing"] is not None and 0 <= values["breathing"] <= 0.05


@pytest.mark.parametrize("format, depth", [("exr", "float"), ("png", "8"), ("png", "16")])
@pytest.mark.parametrize("channels", ["RGB", "RGBA", "YA"])
def test_every_kind_of_file_passes(format: str, depth: str, channels: str, motion: MotionField, tmp_path: Path) -> None:
    if depth == "16":
        pytest.importorskip("OpenImageIO")
    still = read_plate(_scenes.png(tmp_path / "p.png", channels))
    bake(Loop(still, motion, frames=N, cycles=2), tmp_path / "loop", "p_loop", format=format, depth=depth)
    assert failed(check(tmp_path / "loop")) == set()


@pytest.mark.parametrize("channels", ["RGB", "RGBA"])
def test_png_of_other_primaries_passes_and_unconverted_does_not(
    channels: str, motion: MotionField, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = _scenes.linear(channels)
    pixels[..., :3] /= 4
    source = _scenes.exr(tmp_path / "p.exr", pixels, channels, {"colorInteropID": "lin_ap1_scene"})
    still = Loop(read_plate(source), motion, frames=N, cycles=2)
    bake(still, tmp_path / "loop", "p_loop", format="png")
    assert failed(check(tmp_path / "loop")) == set()
    with monkeypatch.context() as before:
        before.setattr(color, "to_srgb_primaries", lambda pixels, *_: pixels)
        bake(still, tmp_path / "loop", "p_loop", format="png", overwrite=True)
    assert "static" in failed(check(tmp_path / "loop"))


def test_a_plate_with_nan_inf_and_highlights_passes(
    motion: MotionField, tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    pixels = _scenes.linear("RGBA")
    pixels[0, :4, 0] = np.nan, np.inf, -np.inf, -0.5
    pixels[45, 80:82, 1] = np.nan, np.inf  # where it moves
    still = read_plate(_scenes.exr(tmp_path / "p.exr", pixels.astype(np.float16)))
    bake(Loop(still, motion, frames=N, cycles=2), tmp_path / "loop", "p_loop")
    assert failed(check(tmp_path / "loop")) == set()
    assert not recwarn.list


def test_frame_0_of_white_noise_does_not_close(loop: Path) -> None:
    noise = np.random.default_rng(0)

    def replace_by_noise(planes: dict[str, np.ndarray]) -> None:
        planes.update({name: noise.random(values.shape).astype(values.dtype) for name, values in planes.items()})

    _scenes.rewrite(frame(loop, 1001), replace_by_noise)
    report = check(loop)
    assert {"closure", "static"} <= failed(report)
    (row,) = [row for row in report.rows if "closure" in row.name]
    assert row.value is not None and row.value > 0.1 and "--overwrite" in row.note


def test_one_moving_pixel_of_frame_0_keeps_the_loop_from_closing(loop: Path) -> None:
    def nudge(planes: dict[str, np.ndarray]) -> None:
        planes["G"][45, 80] += np.float16(0.1)

    _scenes.rewrite(frame(loop, 1001), nudge)
    assert "closure" in failed(check(loop))


def test_a_middle_of_another_brightness_wanders(loop: Path) -> None:
    def dim(planes: dict[str, np.ndarray]) -> None:
        for values in planes.values():
            values[20:70, 50:110] *= np.float16(0.25)

    for number in range(1010, 1017):
        _scenes.rewrite(frame(loop, number), dim)
    report = check(loop)
    assert "wander" in failed(report)
    (row,) = [row for row in report.rows if "wander" in row.name]
    assert row.value is not None and row.value > 0.1 and "--speed" in row.note


def test_splat_passes_and_its_holes_are_reported(plate: Path, motion: MotionField, tmp_path: Path) -> None:
    bake(Loop(read_plate(plate), motion, frames=N, method="splat"), tmp_path, "p_loop")
    report = check(tmp_path)
    assert failed(report) <= {"breathing"}
    (row,) = [row for row in report.rows if "holes" in row.name]
    assert row.limit == "reported" and row.value is not None and 0 <= row.value < 0.2


def test_without_contrast_breathing_is_reported_and_not_judged(
    plate: Path, motion: MotionField, tmp_path: Path
) -> None:
    bake(Loop(read_plate(plate), motion, frames=N, contrast=0.0, cycles=1, steady=0), tmp_path, "p_loop")
    report = check(tmp_path)
    (row,) = [row for row in report.rows if "breathing" in row.name]
    assert row.passed and row.value is not None and row.value > 0.1 and "contrast 0 was asked for" in row.note
    assert failed(report) == set()


def test_a_missing_frame(loop: Path) -> None:
    frame(loop, 1005).unlink()
    report = check(loop)
    assert failed(report) == {"missing", "pixels"}
    assert report.rows[0].value == 1 and report.rows[0].note.startswith("1005; ")


def test_a_frame_too_many(loop: Path) -> None:
    shutil.copy(frame(loop, 1001), frame(loop, 1025))
    assert failed(check(loop)) == {"beyond", "pixels"}


@pytest.mark.parametrize("cut", [1, 3000])
def test_a_truncated_frame(loop: Path, cut: int) -> None:
    os.truncate(frame(loop, 1007), frame(loop, 1007).stat().st_size - cut)
    report = check(loop)
    assert failed(report) == {"damaged", "pixels"}
    assert report.rows[2].note.startswith("1007; ")


def test_a_frame_copied_over_another(loop: Path) -> None:
    shutil.copy(frame(loop, 1015), frame(loop, 1005))
    report = check(loop)
    assert failed(report) == {"damaged", "pixels"} and report.rows[2].note.startswith("1005; ")


def test_a_frame_of_another_recipe(loop: Path, plate: Path, motion: MotionField) -> None:
    bake(Loop(read_plate(plate), motion, frames=N, contrast=0.5), loop.with_name("other"), "p_loop", numbers=[1003])
    shutil.copy(frame(loop.with_name("other"), 1003), frame(loop, 1003))
    assert failed(check(loop)) == {"damaged", "pixels"}


def test_a_still_pixel_changed_by_the_least_step(loop: Path) -> None:
    def nudge(planes: dict[str, np.ndarray]) -> None:
        planes["G"][2, 3] = np.nextafter(planes["G"][2, 3], np.float16(9))

    _scenes.rewrite(frame(loop, 1010), nudge)
    report = check(loop)
    assert failed(report) == {"static"}
    assert 0 < next(row.value or 0 for row in report.rows if "static" in row.name) < 1e-2


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_pixel_that_is_no_number(loop: Path, value: float) -> None:
    def spoil(planes: dict[str, np.ndarray]) -> None:
        planes["R"][45, 80] = value

    _scenes.rewrite(frame(loop, 1010), spoil)
    assert "NaN" in failed(check(loop)) and "static" not in failed(check(loop))


def takes_the_pixels_of(other: Path) -> Callable[[dict[str, np.ndarray]], None]:
    (part,) = read_exr(other)
    return lambda planes: planes.update(part.channels)


def test_a_frame_shown_twice(loop: Path) -> None:
    _scenes.rewrite(frame(loop, 1012), takes_the_pixels_of(frame(loop, 1011)))
    report = check(loop)
    assert "equal" in failed(report)
    assert next(row.note for row in report.rows if "equal" in row.name).startswith("1012; ")


@pytest.mark.parametrize("other", [1012, 1001])
def test_a_jump_or_a_halt_at_the_seam(loop: Path, other: int) -> None:
    _scenes.rewrite(frame(loop, 1024), takes_the_pixels_of(frame(loop, other)))
    assert "seam" in failed(check(loop))


def test_png_frames_are_looked_at_too(plate: Path, motion: MotionField, tmp_path: Path) -> None:
    from PIL import Image, PngImagePlugin

    bake(Loop(read_plate(plate), motion, frames=N, cycles=2), tmp_path, "p_loop", format="png")
    path = frame(tmp_path, 1010, "png")
    with Image.open(path) as image:
        codes, texts = np.array(image), dict(image.info)
    codes[1, 1, 0] ^= 1
    notes = PngImagePlugin.PngInfo()
    for key in ("loopcore/recipe_hash", "loopcore/loop_time"):
        notes.add_text(key, texts[key])
    Image.fromarray(codes).save(path, pnginfo=notes)
    assert failed(check(tmp_path)) == {"static"}
    os.truncate(path, path.stat().st_size - 5)
    assert failed(check(tmp_path)) == {"damaged", "pixels"}


def test_a_frame_of_another_size_is_an_error(loop: Path) -> None:
    def crop(planes: dict[str, np.ndarray]) -> None:
        planes.update({name: values[:50].copy() for name, values in planes.items()})

    _scenes.rewrite(frame(loop, 1002), crop)
    with pytest.raises(SequenceError, match="1002.*160x50, unlike the plate"):
        check(loop)


def test_a_still_loop_says_that_nothing_moves(plate: Path, motion: MotionField, tmp_path: Path) -> None:
    still = MotionField(np.zeros_like(motion.velocity), motion.mask, motion.confidence)
    bake(Loop(read_plate(plate), still, frames=4), tmp_path, "p_loop")
    report = check(tmp_path)
    assert next(row.note for row in report.rows if "seam" in row.name) == "nothing moves"
    assert failed(report) == set()


# Where the plate and the motion are


def test_a_plate_that_moved_is_asked_for_and_taken(motion: MotionField, tmp_path: Path) -> None:
    source = _scenes.png(tmp_path / "p.png")
    bake(Loop(read_plate(source), motion, frames=N, cycles=2), tmp_path / "loop", "p_loop")
    moved = source.rename(tmp_path / "moved.png")
    with pytest.raises(SequenceError, match=r"p\.png does not exist.*--plate"):
        check(tmp_path / "loop")
    assert failed(check(tmp_path / "loop", plate=moved)) == set()
    changed = _scenes.exr(tmp_path / "changed.exr", _scenes.linear("RGB") * 2, "RGB")
    with pytest.raises(SequenceError, match="not the plate that was baked.*--plate"):
        check(tmp_path / "loop", plate=changed)


def test_the_layer_that_was_baked_is_the_one_measured(motion: MotionField, tmp_path: Path) -> None:
    from loopcore.exr import write_exr

    light = _scenes.linear("RGB")
    planes = {f"{layer}.{name}": light[..., k] * scale for layer, scale in (("beauty", 1), ("water", 0.5))
              for k, name in enumerate("RGB")}  # fmt: skip
    write_exr(tmp_path / "p.exr", planes)
    still = read_plate(tmp_path / "p.exr", layer="water", colorspace="g22_rec709_scene")
    notes = {"layer": "water", "colorspace": "g22_rec709_scene"}
    # Slowly: decoded with this gamma, so small a plate differs more from place to place.
    bake(Loop(still, motion.scaled(0.25), frames=N, cycles=2), tmp_path / "loop", "p_loop", notes=notes)
    assert failed(check(tmp_path / "loop")) == set()
    assert failed(check(tmp_path / "loop", plate=tmp_path / "p.exr")) == set()


def test_motion_that_is_gone_or_another(loop: Path, motion: MotionField) -> None:
    motion.scaled(2).save(loop / "motion.exr")
    with pytest.raises(SequenceError, match="not the motion that was baked"):
        check(loop)
    (loop / "motion.exr").unlink()
    with pytest.raises(LoopcoreError, match="motion.exr does not exist"):
        check(loop)


@pytest.mark.parametrize("colorspace", ["srgb_nowhere_scene", 3])
def test_a_damaged_colour_space_is_the_fault_of_the_recipe(loop: Path, colorspace: object) -> None:
    document = json.loads((loop / "recipe.json").read_text("utf-8"))
    (loop / "recipe.json").write_text(json.dumps({**document, "colorspace": colorspace}), "utf-8")
    with pytest.raises(SequenceError, match=r"recipe.json' was changed or damaged \("):
        check(loop)


def test_a_folder_without_a_loop(tmp_path: Path) -> None:
    with pytest.raises(SequenceError, match="has no recipe.json"):
        check(tmp_path)
    with pytest.raises(SequenceError, match="has no recipe.json"):
        check(tmp_path / "nowhere")


def test_the_report_is_plain_json(loop: Path) -> None:
    frame(loop, 1001).unlink()
    document = json.loads(json.dumps(check(loop).to_dict(), allow_nan=False))
    assert document["passed"] is False and document["frames"] == N
    assert set(document["rows"][0]) == {"name", "value", "limit", "passed", "note"}
    assert document["rows"][-1]["value"] is None
