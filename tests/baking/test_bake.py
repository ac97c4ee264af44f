# SPDX-License-Identifier: Apache-2.0
"""Tests of baking: formats and depths, chunks, resuming."""

from __future__ import annotations

import os
import random
import shutil
from fractions import Fraction
from pathlib import Path

import _scenes
import numpy as np
import pytest
from _bakes import N, loop_of, make_motion

from loopcore import exr
from loopcore.baking.bake import BakeResult, Progress, bake
from loopcore.baking.plan import choose_depth
from loopcore.baking.recipe import read_recipe
from loopcore.color import linear_to_srgb
from loopcore.errors import SequenceError
from loopcore.loop import Loop
from loopcore.motion import MotionField
from loopcore.plate import read_plate


@pytest.fixture(scope="module")
def motion(tmp_path_factory: pytest.TempPathFactory) -> MotionField:
    return make_motion(tmp_path_factory.mktemp("motion"))


@pytest.fixture(scope="module")
def still(motion: MotionField) -> np.ndarray:
    still = motion.mask == 0
    assert 0.3 < still.mean() < 0.8
    return still


@pytest.fixture(scope="module")
def loop(motion: MotionField, tmp_path_factory: pytest.TempPathFactory) -> Loop:
    return loop_of(_scenes.png(tmp_path_factory.mktemp("loop") / "plate.png"), motion)


# Files


def test_writes_exactly_the_requested_frames(loop: Loop, tmp_path: Path) -> None:
    reports: list[Progress] = []
    report = bake(loop, tmp_path / "new" / "folder", "plate_loop", first=997, on_progress=reports.append)
    folder = tmp_path / "new" / "folder"
    assert sorted(p.name for p in folder.iterdir()) == [
        "motion.exr", *(f"plate_loop.{n}.exr" for n in ("0997", "0998", "0999", "1000", "1001", "1002")), "recipe.json"
    ]  # fmt: skip
    assert sorted(report.written) == list(range(997, 1003)) and not report.skipped and not report.failed
    assert [p.done for p in reports] == [1, 2, 3, 4, 5, 6] and {p.total for p in reports} == {6}
    assert sorted(p.path for p in reports if p.path) == _scenes.frames(folder)


def test_frames_equal_those_of_the_loop(loop: Loop, tmp_path: Path) -> None:
    bake(loop, tmp_path, "plate_loop", depth="float")
    shown = [read_plate(path).pixels for path in _scenes.frames(tmp_path)]
    for time_, pixels in enumerate(shown):
        np.testing.assert_array_equal(pixels, loop.frame(time_))
    assert all((a != b).any() for a, b in zip(shown, shown[1:] + shown[:1], strict=True))


def test_exr_header(motion: MotionField, tmp_path: Path) -> None:
    carried: dict[str, object] = {"owner": "Müller", "comments": "falls", "colorInteropID": "lin_ap1_scene",
                                  "framesPerSecond": Fraction(25), "loopcore/recipe_hash": "old"}  # fmt: skip
    source = _scenes.exr(tmp_path / "p.exr", _scenes.linear().astype(np.float16), "RGBA", carried, pixel_aspect=2.0)
    loop = loop_of(source, motion)
    bake(loop, tmp_path / "out", "p_loop", fps=Fraction(24000, 1001), first=1001)
    recipe, _ = read_recipe(tmp_path / "out")
    for number in range(1001, 1001 + N):
        header = exr.read_attributes(tmp_path / "out" / f"p_loop.{number}.exr")
        assert header["framesPerSecond"] == Fraction(24000, 1001)
        assert header["colorInteropID"] == "lin_ap1_scene" and "chromaticities" not in header
        assert (header["owner"], header["comments"], header["pixelAspectRatio"]) == ("Müller", "falls", 2.0)
        assert header["loopcore/recipe_hash"] == recipe.digest() and header["loopcore/recipe"] == recipe.to_json()
        assert (header["loopcore/loop_frames"], header["loopcore/loop_time"]) == (N, number - 1001)
        assert header["compression"] == "zip" and header["displayWindow"] == (0, 0, 159, 89)


def test_motion_exr_is_the_motion_of_the_loop(loop: Loop, tmp_path: Path) -> None:
    bake(loop, tmp_path, "plate_loop")
    assert MotionField.load(tmp_path / "motion.exr").digest() == loop.motion.digest()


@pytest.mark.parametrize("channels", ["RGB", "RGBA", "Y", "YA"])
@pytest.mark.parametrize("depth", ["half", "float"])
def test_exr_keeps_still_pixels_bit_for_bit(
    channels: str, depth: str, motion: MotionField, still: np.ndarray, tmp_path: Path
) -> None:
    dtype = np.float16 if depth == "half" else np.float32
    pixels = _scenes.linear(channels).astype(dtype)
    pixels[0, :4, 0] = np.nan, np.inf, -np.inf, -0.25
    loop = loop_of(_scenes.exr(tmp_path / "p.exr", pixels, channels), motion)
    bake(loop, tmp_path / "out", "p_loop", depth=depth)
    bits = np.uint16 if depth == "half" else np.uint32
    for path in _scenes.frames(tmp_path / "out"):
        (part,) = exr.read_exr(path)
        assert {name: values.dtype for name, values in part.channels.items()} == dict.fromkeys(channels, dtype)
        for k, name in enumerate(channels):
            assert np.array_equal(part.channels[name].view(bits)[still], pixels[..., k].copy().view(bits)[still])


def test_depth_follows_the_brightest_value(motion: MotionField, tmp_path: Path) -> None:
    pixels = _scenes.linear("RGB")
    pixels[0, 0] = 70000
    bake(loop_of(_scenes.exr(tmp_path / "p.exr", pixels, "RGB"), motion), tmp_path / "out", "p_loop", numbers=[1001])
    (part,) = exr.read_exr(tmp_path / "out" / "p_loop.1001.exr")
    assert part.channels["R"].dtype == np.float32 and part.channels["R"][0, 0] == 70000


def test_no_finite_plate_overflows_half(motion: MotionField, tmp_path: Path) -> None:
    pixels = np.where(np.random.default_rng(0).random(motion.mask.shape) > 0.5, 60000, 6000)[..., None]
    pixels = np.repeat(pixels, 3, axis=2).astype(np.float32)
    pixels[0, 0] = 1e6, -1e6, np.inf  # where it is still
    loop = loop_of(_scenes.exr(tmp_path / "p.exr", pixels, "RGB"), motion)
    bake(loop, tmp_path / "half", "p_loop", depth="half", numbers=[1004])
    (part,) = exr.read_exr(tmp_path / "half" / "p_loop.1004.exr")
    frame = np.stack([part.channels[name] for name in "RGB"], -1)
    assert frame.dtype == np.float16 and frame[0, 0].tolist() == [exr.HALF_MAX, -exr.HALF_MAX, np.inf]
    frame[0, 0] = 0
    assert np.isfinite(frame).all() and frame.max() == exr.HALF_MAX


@pytest.mark.parametrize(
    "peak, contrast, depth",
    [(60000, 1.0, "float"), (60000, 0.0, "half"), (16000, 1.0, "half"), (17000, 0.5, "float"), (70000, 0.0, "float")],
)
def test_depth_allows_for_restored_contrast(
    peak: float, contrast: float, depth: str, motion: MotionField, tmp_path: Path
) -> None:
    plate = read_plate(_scenes.exr(tmp_path / "p.exr", _scenes.linear("RGB"), "RGB"))
    inside = np.argwhere(motion.mask > 0)[0]
    plate.pixels[tuple(inside)] = peak
    assert choose_depth(Loop(plate, motion, frames=N, contrast=contrast), "exr", None) == depth


def test_png_converts_other_primaries_to_srgb(motion: MotionField, still: np.ndarray, tmp_path: Path) -> None:
    """Against ACES' published matrix from AP1 to linear Rec.709 (Bradford from ACES white to D65)."""
    ap1 = np.array([[1.70505, -0.62179, -0.08326], [-0.13026, 1.14080, -0.01055], [-0.02400, -0.12897, 1.15297]])
    wide = (_scenes.linear("RGB") / 4).astype(np.float32)
    wide[0, 0] = 0, 1, 0  # outside of sRGB
    source = _scenes.exr(tmp_path / "p.exr", wide, "RGB", {"colorInteropID": "lin_ap1_scene"})
    bake(loop_of(source, motion), tmp_path / "out", "p_loop", format="png", depth="8")
    expected = np.clip(wide @ ap1.T, 0, 1)
    for path in _scenes.frames(tmp_path / "out", ".png"):
        frame = read_plate(path)
        shown = linear_to_srgb(frame.pixels) * 255
        assert np.abs(shown - linear_to_srgb(expected) * 255)[still].max() <= 1
        assert frame.colorspace == "lin_rec709_scene"


@pytest.mark.parametrize("channels, mode", [("RGB", "RGB"), ("RGBA", "RGBA"), ("Y", "L"), ("YA", "LA")])
def test_png_keeps_the_codes_of_an_8_bit_plate(
    channels: str, mode: str, motion: MotionField, still: np.ndarray, tmp_path: Path
) -> None:
    from PIL import Image

    source = _scenes.png(tmp_path / "p.png", channels)
    before = np.asarray(Image.open(source))
    bake(loop_of(source, motion), tmp_path / "out", "p_loop", format="png")
    files = _scenes.frames(tmp_path / "out", ".png")
    assert len(files) == N
    for path in files:
        with Image.open(path) as image:
            assert (image.mode, image.info["srgb"], path.read_bytes()[24]) == (mode, 0, 8)
            assert np.array_equal(np.asarray(image)[still], before[still])
        assert not np.array_equal(np.asarray(Image.open(path))[~still], before[~still]) or path == files[0]


@pytest.mark.parametrize("channels", ["RGB", "RGBA", "Y", "YA"])
def test_png_keeps_the_codes_of_a_16_bit_plate(
    channels: str, motion: MotionField, still: np.ndarray, tmp_path: Path
) -> None:
    oiio = pytest.importorskip("OpenImageIO")
    rng = np.random.default_rng(3)
    before = rng.integers(0, 65536, (_scenes.HEIGHT, _scenes.WIDTH, len(channels)), dtype=np.uint16)
    before[..., -1] = np.maximum(before[..., -1], 1000)
    spec = oiio.ImageSpec(_scenes.WIDTH, _scenes.HEIGHT, len(channels), "uint16")
    spec.attribute("oiio:UnassociatedAlpha", 1)
    out = oiio.ImageOutput.create("png")
    assert out.open(str(tmp_path / "p.png"), spec) and out.write_image(before)
    out.close()
    bake(loop_of(tmp_path / "p.png", motion), tmp_path / "out", "p_loop", format="png", depth="16")
    wanted = oiio.ImageSpec()
    wanted.attribute("oiio:UnassociatedAlpha", 1)
    for path in _scenes.frames(tmp_path / "out", ".png"):
        file = oiio.ImageInput.open(str(path), wanted)
        assert (str(file.spec().format), file.spec().nchannels) == ("uint16", len(channels))
        after = np.asarray(file.read_image("uint16")).reshape(before.shape)
        file.close()
        assert np.array_equal(after[still], before[still])


def test_png_keeps_the_pixel_aspect_and_replaces_nan(motion: MotionField, tmp_path: Path) -> None:
    pixels = _scenes.linear("RGBA")
    pixels[0, :3, 0] = np.nan, np.inf, -np.inf
    source = _scenes.exr(tmp_path / "p.exr", pixels, pixel_aspect=2.0)
    bake(loop_of(source, motion), tmp_path / "out", "p_loop", format="png", depth="8", numbers=[1001])
    frame = read_plate(tmp_path / "out" / "p_loop.1001.png")
    assert frame.pixel_aspect == pytest.approx(2.0, abs=1e-3)
    straight = frame.pixels[0, :3, 0] / frame.pixels[0, :3, 3]
    np.testing.assert_allclose(straight, [0, 1, 0], atol=1e-6)


def test_png_refuses_channels_that_it_cannot_hold(motion: MotionField, tmp_path: Path) -> None:
    loop = loop_of(_scenes.exr(tmp_path / "p.exr", _scenes.linear("RG"), "RG"), motion)
    with pytest.raises(SequenceError, match="R, G.*EXR"):
        bake(loop, tmp_path / "out", "p_loop", format="png")
    assert not (tmp_path / "out").exists()
    assert len(bake(loop, tmp_path / "out", "p_loop", numbers=[1001]).written) == 1


@pytest.mark.parametrize("format, depth", [("gif", None), ("exr", "8"), ("png", "half"), ("png", "12")])
def test_unknown_formats_and_depths_are_refused(loop: Loop, tmp_path: Path, format: str, depth: str | None) -> None:
    with pytest.raises(SequenceError, match="choose one of"):
        bake(loop, tmp_path / "out", "p_loop", format=format, depth=depth)
    assert not (tmp_path / "out").exists()


# Chunks


def test_chunks_in_any_order_give_the_same_bytes(loop: Loop, tmp_path: Path) -> None:
    bake(loop, tmp_path / "whole", "p_loop")
    numbers = [*range(1001, 1001 + N)]
    random.Random(5).shuffle(numbers)
    for chunk in (numbers[:2], numbers[2:3], numbers[3:]):
        report = bake(loop, tmp_path / "parts", "p_loop", numbers=chunk)
        assert sorted(report.written) == sorted(chunk)
    assert _scenes.contents((tmp_path / "parts").iterdir()) == _scenes.contents((tmp_path / "whole").iterdir())


def test_parallel_processes_give_the_same_bytes(tmp_path: Path) -> None:
    plate, hints = _scenes.png(tmp_path / "p.png"), _scenes.hints(tmp_path / "h.json")
    shared = ["animate", plate, "--hints", hints, "--frames", 12]
    ranges = ["1001-1009x2", "1002-1008:2,1010", "1008,1009-1012,1010"]
    chunks = [_scenes.start(*shared, "-o", tmp_path / "parts", "--range", text) for text in ranges]
    assert _scenes.run(*shared, "-o", tmp_path / "whole").returncode == 0
    for process in chunks:
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, out + err
    whole = _scenes.contents((tmp_path / "whole").iterdir())
    assert len(whole) == 12 + 2
    assert _scenes.contents((tmp_path / "parts").iterdir()) == whole


@pytest.mark.parametrize("numbers", [[1000], [1001, 1007], [0], [1001 + N]])
def test_numbers_outside_the_loop_are_refused(loop: Loop, tmp_path: Path, numbers: list[int]) -> None:
    with pytest.raises(SequenceError, match=rf"{numbers[-1]}.*has 1001-1006"):
        bake(loop, tmp_path / "out", "p_loop", numbers=numbers)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("first", [10**9, -(10**9), 10**30])
def test_first_frames_out_of_range_are_refused(loop: Loop, tmp_path: Path, first: int) -> None:
    with pytest.raises(SequenceError, match="numbers up to"):
        bake(loop, tmp_path / "out", "p_loop", first=first)


def test_negative_frame_numbers(loop: Loop, tmp_path: Path) -> None:
    bake(loop, tmp_path, "p_loop", first=-3)
    assert "p_loop.-003.exr" in {p.name for p in tmp_path.iterdir()}
    assert sorted(bake(loop, tmp_path, "p_loop", first=-3).skipped) == [-3, -2, -1, 0, 1, 2]


def test_repeated_numbers_are_written_once(loop: Loop, tmp_path: Path) -> None:
    report: BakeResult = bake(loop, tmp_path, "p_loop", numbers=[1003, 1001, 1003])
    assert sorted(report.written) == [1001, 1003]


# Resuming


def times(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}


@pytest.mark.parametrize("format", ["exr", "png"])
def test_a_second_bake_writes_nothing(loop: Loop, tmp_path: Path, format: str) -> None:
    bake(loop, tmp_path, "p_loop", format=format)
    before = times(tmp_path)
    reports: list[Progress] = []
    report = bake(loop, tmp_path, "p_loop", format=format, on_progress=reports.append)
    assert times(tmp_path) == before
    assert (report.written, len(report.skipped), report.failed) == ([], N, {})
    assert [(p.done, p.path) for p in reports] == [(k + 1, None) for k in range(N)]


def test_a_plate_edited_in_place_is_baked_again(motion: MotionField, tmp_path: Path) -> None:
    plate = read_plate(_scenes.png(tmp_path / "p.png"))
    before = Loop(plate, motion, frames=N)
    bake(before, tmp_path / "out", "p_loop")
    plate.pixels[...] *= np.float32(0.5)
    assert not bake(before, tmp_path / "out", "p_loop").written  # its copy is what it shows
    after = Loop(plate, motion, frames=N)
    assert len(bake(after, tmp_path / "out", "p_loop").written) == N
    velocity = motion.velocity.copy()
    field = MotionField(velocity, motion.mask, motion.confidence)
    bake(Loop(plate, field, frames=N), tmp_path / "out", "p_loop")
    velocity *= np.float32(0.5)
    assert len(bake(Loop(plate, field, frames=N), tmp_path / "out", "p_loop").written) == N


def test_invalid_frame_rate_is_refused(loop: Loop, tmp_path: Path) -> None:
    with pytest.raises(SequenceError, match="'film' is not a number: write 24, 23.976"):
        bake(loop, tmp_path, "p_loop", fps="film")
    assert not list(tmp_path.iterdir())


def test_overwrite_writes_all_frames_again(loop: Loop, tmp_path: Path) -> None:
    bake(loop, tmp_path, "p_loop")
    before, stamps = _scenes.contents(tmp_path.iterdir()), times(tmp_path)
    assert len(bake(loop, tmp_path, "p_loop", overwrite=True).written) == N
    assert _scenes.contents(tmp_path.iterdir()) == before
    assert all(times(tmp_path)[path.name] != stamps[path.name] for path in _scenes.frames(tmp_path))


@pytest.mark.parametrize("change", ["fps", "first", "depth", "contrast", "method", "motion", "frames"])
def test_any_changed_setting_rewrites_all_frames(change: str, loop: Loop, motion: MotionField, tmp_path: Path) -> None:
    bake(loop, tmp_path, "p_loop")
    plate, settings = loop.plate, {"first": 1001, "fps": Fraction(24), "depth": "half"}
    settings |= {"fps": {"fps": Fraction(25)}, "first": {"first": 1002}, "depth": {"depth": "float"}}.get(change, {})
    other = {
        "contrast": lambda: Loop(plate, motion, frames=N, contrast=0.5),
        "method": lambda: Loop(plate, motion, frames=N, method="splat"),
        "motion": lambda: Loop(plate, motion.scaled(2), frames=N), "frames": lambda: Loop(plate, motion, frames=N - 1),
    }.get(change, lambda: loop)()  # fmt: skip
    report = bake(other, tmp_path, "p_loop", **settings)  # type: ignore[arg-type]
    assert len(report.written) == other.frames and not report.skipped


@pytest.mark.parametrize("format", ["exr", "png"])
def test_only_frames_that_are_not_up_to_date_are_made_again(
    format: str, loop: Loop, motion: MotionField, tmp_path: Path
) -> None:
    def path(number: int, folder: str = "out") -> Path:
        return tmp_path / folder / f"p_loop.{number}.{format}"

    bake(Loop(loop.plate, motion, frames=12), tmp_path / "out", "p_loop", format=format)
    bake(Loop(loop.plate, motion.scaled(3), frames=12), tmp_path / "other", "p_loop", format=format)
    good = _scenes.contents((tmp_path / "out").iterdir())
    os.truncate(path(1001), path(1001).stat().st_size - 1)
    os.truncate(path(1002), path(1002).stat().st_size // 2)
    path(1003).unlink()
    path(1004).write_bytes(b"")
    path(1005).write_text("not a frame")
    shutil.copy(path(1006, "other"), path(1006))
    shutil.copy(path(1008), path(1007))  # the right recipe, the wrong time
    foreign = _scenes.png(tmp_path / "f.png") if format == "png" else _scenes.exr(tmp_path / "f.exr", _scenes.linear())
    shutil.copy(foreign, path(1009))
    before = times(tmp_path / "out")
    report = bake(Loop(loop.plate, motion, frames=12), tmp_path / "out", "p_loop", format=format)
    assert sorted(report.written) == [1001, 1002, 1003, 1004, 1005, 1006, 1007, 1009]
    assert sorted(report.skipped) == [1008, 1010, 1011, 1012]
    assert _scenes.contents((tmp_path / "out").iterdir()) == good
    assert all(times(tmp_path / "out")[path(n).name] == before[path(n).name] for n in report.skipped)


def test_cancelling_leaves_complete_frames(loop: Loop, motion: MotionField, tmp_path: Path) -> None:
    long = Loop(loop.plate, motion, frames=40)
    bake(long, tmp_path / "whole", "p_loop")
    done: list[Progress] = []
    report = bake(long, tmp_path / "out", "p_loop", on_progress=done.append, cancelled=lambda: len(done) >= 5)
    assert report.cancelled and not report.failed and 5 <= len(report.written) < 40
    whole = _scenes.contents((tmp_path / "whole").iterdir())
    assert _scenes.contents((tmp_path / "out").iterdir()).items() <= whole.items()
    assert not bake(long, tmp_path / "out", "p_loop").cancelled
    assert _scenes.contents((tmp_path / "out").iterdir()) == whole


def test_cancelling_after_the_last_frame_is_not_reported(loop: Loop, tmp_path: Path) -> None:
    done: list[Progress] = []
    assert not bake(loop, tmp_path, "p_loop", on_progress=done.append, cancelled=lambda: len(done) == N).cancelled
