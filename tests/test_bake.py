# SPDX-License-Identifier: Apache-2.0
"""Tests of baking: real files of every kind, chunks, resuming, killing, and disks that say no."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import _scenes
import numpy as np
import pytest

from loopcore import exr
from loopcore.bake import Progress, Report, bake
from loopcore.errors import SequenceError
from loopcore.loop import Loop
from loopcore.motion import MotionField, read_hints
from loopcore.motion.predict import predict_motion
from loopcore.plate import read_plate
from loopcore.recipe import read_recipe

N = 6
posix = pytest.mark.skipif(os.name == "nt", reason="POSIX signals and limits")


@pytest.fixture(scope="module")
def motion(tmp_path_factory: pytest.TempPathFactory) -> MotionField:
    folder = tmp_path_factory.mktemp("motion")
    plate = read_plate(_scenes.png(folder / "plate.png"))
    return predict_motion(plate, read_hints(_scenes.hints(folder / "hints.json")))


@pytest.fixture(scope="module")
def still(motion: MotionField) -> np.ndarray:
    still = motion.mask == 0
    assert 0.3 < still.mean() < 0.8
    return still


def loop_of(plate: Path, motion: MotionField, count: int = N, method: str = "warp") -> Loop:
    return Loop(read_plate(plate), motion, count, method)


@pytest.fixture(scope="module")
def loop(motion: MotionField, tmp_path_factory: pytest.TempPathFactory) -> Loop:
    return loop_of(_scenes.png(tmp_path_factory.mktemp("loop") / "plate.png"), motion)


# What is written


def test_it_writes_exactly_the_frames_asked_for(loop: Loop, tmp_path: Path) -> None:
    told: list[Progress] = []
    report = bake(loop, tmp_path / "new" / "folder", "plate_loop", first=997, on_progress=told.append)
    folder = tmp_path / "new" / "folder"
    assert sorted(p.name for p in folder.iterdir()) == [
        "motion.exr", *(f"plate_loop.{n}.exr" for n in ("0997", "0998", "0999", "1000", "1001", "1002")), "recipe.json"
    ]  # fmt: skip
    assert sorted(report.written) == list(range(997, 1003)) and not report.skipped and not report.failed
    assert [p.done for p in told] == [1, 2, 3, 4, 5, 6] and {p.total for p in told} == {6}
    assert sorted(p.path for p in told if p.path) == _scenes.frames(folder)


def test_frames_are_what_the_loop_renders(loop: Loop, tmp_path: Path) -> None:
    bake(loop, tmp_path, "plate_loop", depth="float")
    shown = [read_plate(path).pixels for path in _scenes.frames(tmp_path)]
    for time_, pixels in enumerate(shown):
        np.testing.assert_array_equal(pixels, loop.frame(time_))
    assert all((a != b).any() for a, b in zip(shown, shown[1:] + shown[:1], strict=True))


def test_an_exr_frame_says_what_it_is(motion: MotionField, tmp_path: Path) -> None:
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


def test_the_motion_beside_the_frames_is_the_one_they_were_made_with(loop: Loop, tmp_path: Path) -> None:
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


def test_png_keeps_the_pixel_aspect_and_shows_no_nan(motion: MotionField, tmp_path: Path) -> None:
    pixels = _scenes.linear("RGBA")
    pixels[0, :3, 0] = np.nan, np.inf, -np.inf
    source = _scenes.exr(tmp_path / "p.exr", pixels, pixel_aspect=2.0)
    bake(loop_of(source, motion), tmp_path / "out", "p_loop", format="png", depth="8", numbers=[1001])
    frame = read_plate(tmp_path / "out" / "p_loop.1001.png")
    assert frame.pixel_aspect == pytest.approx(2.0, abs=1e-3)
    straight = frame.pixels[0, :3, 0] / frame.pixels[0, :3, 3]
    np.testing.assert_allclose(straight, [0, 1, 0], atol=1e-6)


def test_png_refuses_channels_that_it_has_no_place_for(motion: MotionField, tmp_path: Path) -> None:
    loop = loop_of(_scenes.exr(tmp_path / "p.exr", _scenes.linear("RG"), "RG"), motion)
    with pytest.raises(SequenceError, match="R, G.*EXR"):
        bake(loop, tmp_path / "out", "p_loop", format="png")
    assert not (tmp_path / "out").exists()
    assert len(bake(loop, tmp_path / "out", "p_loop", numbers=[1001]).written) == 1


@pytest.mark.parametrize("format, depth", [("gif", None), ("exr", "8"), ("png", "half"), ("png", "12")])
def test_formats_and_depths_that_do_not_exist(loop: Loop, tmp_path: Path, format: str, depth: str | None) -> None:
    with pytest.raises(SequenceError, match="choose one of"):
        bake(loop, tmp_path / "out", "p_loop", format=format, depth=depth)
    assert not (tmp_path / "out").exists()


# Chunks


def test_chunks_in_any_order_are_the_whole(loop: Loop, tmp_path: Path) -> None:
    bake(loop, tmp_path / "whole", "p_loop")
    numbers = [*range(1001, 1001 + N)]
    random.Random(5).shuffle(numbers)
    for chunk in (numbers[:2], numbers[2:3], numbers[3:]):
        report = bake(loop, tmp_path / "parts", "p_loop", numbers=chunk)
        assert sorted(report.written) == sorted(chunk)
    assert _scenes.contents((tmp_path / "parts").iterdir()) == _scenes.contents((tmp_path / "whole").iterdir())


def test_processes_side_by_side_are_the_whole(tmp_path: Path) -> None:
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
def test_numbers_outside_the_loop_are_named(loop: Loop, tmp_path: Path, numbers: list[int]) -> None:
    with pytest.raises(SequenceError, match=rf"{numbers[-1]}.*has 1001-1006"):
        bake(loop, tmp_path / "out", "p_loop", numbers=numbers)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("first", [10**9, -(10**9), 10**30])
def test_absurd_first_frames_are_refused(loop: Loop, tmp_path: Path, first: int) -> None:
    with pytest.raises(SequenceError, match="too many or too far"):
        bake(loop, tmp_path / "out", "p_loop", first=first)


def test_numbers_below_zero_are_numbers(loop: Loop, tmp_path: Path) -> None:
    bake(loop, tmp_path, "p_loop", first=-3)
    assert "p_loop.-003.exr" in {p.name for p in tmp_path.iterdir()}
    assert sorted(bake(loop, tmp_path, "p_loop", first=-3).skipped) == [-3, -2, -1, 0, 1, 2]


# Again


def times(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}


@pytest.mark.parametrize("format", ["exr", "png"])
def test_a_second_bake_writes_nothing(loop: Loop, tmp_path: Path, format: str) -> None:
    bake(loop, tmp_path, "p_loop", format=format)
    before = times(tmp_path)
    told: list[Progress] = []
    report = bake(loop, tmp_path, "p_loop", format=format, on_progress=told.append)
    assert times(tmp_path) == before
    assert (report.written, len(report.skipped), report.failed) == ([], N, {})
    assert [(p.done, p.path) for p in told] == [(k + 1, None) for k in range(N)]


def test_overwrite_writes_all_the_same_again(loop: Loop, tmp_path: Path) -> None:
    bake(loop, tmp_path, "p_loop")
    before, stamps = _scenes.contents(tmp_path.iterdir()), times(tmp_path)
    assert len(bake(loop, tmp_path, "p_loop", overwrite=True).written) == N
    assert _scenes.contents(tmp_path.iterdir()) == before
    assert all(times(tmp_path)[path.name] != stamps[path.name] for path in _scenes.frames(tmp_path))


@pytest.mark.parametrize("change", ["fps", "first", "depth", "contrast", "method", "motion", "frames"])
def test_any_changed_setting_makes_all_anew(change: str, loop: Loop, motion: MotionField, tmp_path: Path) -> None:
    bake(loop, tmp_path, "p_loop")
    plate, settings = loop.plate, {"first": 1001, "fps": Fraction(24), "depth": "half"}
    settings |= {"fps": {"fps": Fraction(25)}, "first": {"first": 1002}, "depth": {"depth": "float"}}.get(change, {})
    other = {
        "contrast": lambda: Loop(plate, motion, N, contrast=0.5), "method": lambda: Loop(plate, motion, N, "splat"),
        "motion": lambda: Loop(plate, motion.scaled(2), N), "frames": lambda: Loop(plate, motion, N - 1),
    }.get(change, lambda: loop)()  # fmt: skip
    report = bake(other, tmp_path, "p_loop", **settings)  # type: ignore[arg-type]
    assert len(report.written) == other.frames and not report.skipped


@pytest.mark.parametrize("format", ["exr", "png"])
def test_only_what_is_not_right_is_made_again(format: str, loop: Loop, motion: MotionField, tmp_path: Path) -> None:
    def path(number: int, folder: str = "out") -> Path:
        return tmp_path / folder / f"p_loop.{number}.{format}"

    bake(Loop(loop.plate, motion, 12), tmp_path / "out", "p_loop", format=format)
    bake(Loop(loop.plate, motion.scaled(3), 12), tmp_path / "other", "p_loop", format=format)
    good = _scenes.contents((tmp_path / "out").iterdir())
    os.truncate(path(1001), path(1001).stat().st_size - 1)
    os.truncate(path(1002), path(1002).stat().st_size // 2)
    path(1003).unlink()
    path(1004).write_bytes(b"")
    path(1005).write_text("a frame, they said")
    shutil.copy(path(1006, "other"), path(1006))
    shutil.copy(path(1008), path(1007))  # the right recipe, the wrong moment
    foreign = _scenes.png(tmp_path / "f.png") if format == "png" else _scenes.exr(tmp_path / "f.exr", _scenes.linear())
    shutil.copy(foreign, path(1009))
    before = times(tmp_path / "out")
    report = bake(Loop(loop.plate, motion, 12), tmp_path / "out", "p_loop", format=format)
    assert sorted(report.written) == [1001, 1002, 1003, 1004, 1005, 1006, 1007, 1009]
    assert sorted(report.skipped) == [1008, 1010, 1011, 1012]
    assert _scenes.contents((tmp_path / "out").iterdir()) == good
    assert all(times(tmp_path / "out")[path(n).name] == before[path(n).name] for n in report.skipped)


def test_cancelling_leaves_whole_frames_and_says_so(loop: Loop, motion: MotionField, tmp_path: Path) -> None:
    long = Loop(loop.plate, motion, 40)
    bake(long, tmp_path / "whole", "p_loop")
    done: list[Progress] = []
    report = bake(long, tmp_path / "out", "p_loop", on_progress=done.append, cancelled=lambda: len(done) >= 5)
    assert report.cancelled and not report.failed and 5 <= len(report.written) < 40
    whole = _scenes.contents((tmp_path / "whole").iterdir())
    assert _scenes.contents((tmp_path / "out").iterdir()).items() <= whole.items()
    assert not bake(long, tmp_path / "out", "p_loop").cancelled
    assert _scenes.contents((tmp_path / "out").iterdir()) == whole


def test_nothing_is_cancelled_when_all_is_done(loop: Loop, tmp_path: Path) -> None:
    done: list[Progress] = []
    assert not bake(loop, tmp_path, "p_loop", on_progress=done.append, cancelled=lambda: len(done) == N).cancelled


# Killed, and disks that say no


@pytest.fixture(scope="module")
def long_bake(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[object], dict[str, bytes]]:
    """A bake that takes a few seconds, and what it leaves when nobody disturbs it."""
    folder = tmp_path_factory.mktemp("long")
    plate, hints = _scenes.png(folder / "p.png", "RGBA", 200, 112), _scenes.hints(folder / "h.json", 200, 112)
    arguments: list[object] = ["animate", plate, "--hints", hints, "--frames", 64]
    done = _scenes.run(*arguments, "-o", folder / "whole")
    assert done.returncode == 0, done.stderr
    return arguments, _scenes.contents((folder / "whole").iterdir())


@posix
def test_a_killed_bake_goes_on_to_the_same_bytes(
    long_bake: tuple[list[object], dict[str, bytes]], tmp_path: Path
) -> None:
    arguments, whole = long_bake
    out = tmp_path / "out"
    for least in (3, 20):
        process = _scenes.start(*arguments, "-o", out)
        _scenes.wait_for(lambda least=least: len(_scenes.frames(out)) >= least, process=process)  # type: ignore[misc]
        # With a frame begun, so that the kill leaves a torn one behind.
        _scenes.wait_for(lambda: bool(_scenes.hidden(out)), process=process)
        process.kill()
        assert process.wait() == -signal.SIGKILL
        process.communicate()
        there = _scenes.contents(_scenes.frames(out))
        assert least <= len(there) < 64 and there.items() <= whole.items()
    done = _scenes.run(*arguments, "-o", out)
    assert done.returncode == 0 and f"{len(there)} up to date, 0 failed" in done.stdout
    assert _scenes.contents(out.iterdir()) == whole


@posix
def test_a_file_limit_in_mid_bake_tears_nothing(
    long_bake: tuple[list[object], dict[str, bytes]], tmp_path: Path
) -> None:
    resource = pytest.importorskip("resource")
    if not hasattr(resource, "prlimit"):
        pytest.skip("no prlimit here")
    arguments, whole = long_bake
    out = tmp_path / "out"
    process = _scenes.start(*arguments, "-o", out)
    _scenes.wait_for(lambda: len(_scenes.frames(out)) >= 3, process=process)
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))
    _, err = process.communicate(timeout=60)
    assert_failed_cleanly(process.returncode, err, out, whole)
    assert _scenes.run(*arguments, "-o", out).returncode == 0
    assert _scenes.contents(out.iterdir()) == whole


@pytest.fixture
def small_disk(long_bake: tuple[list[object], dict[str, bytes]], tmp_path: Path) -> Iterator[Path]:
    """A disk with room for half of the long bake, where this user may make one."""
    size = sum(map(len, long_bake[1].values())) // 2
    folder = tmp_path / "disk"
    folder.mkdir()
    mount, umount = shutil.which("mount"), shutil.which("umount")
    if not (sys.platform == "linux" and mount and umount):
        pytest.skip("no small disk can be made here")
    asked = subprocess.run([mount, "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], capture_output=True)
    if asked.returncode:
        pytest.skip("this user may not mount a small disk")
    try:
        yield folder
    finally:
        subprocess.run([umount, str(folder)], check=True)


def test_a_full_disk_tears_nothing(long_bake: tuple[list[object], dict[str, bytes]], small_disk: Path) -> None:
    arguments, whole = long_bake
    done = _scenes.run(*arguments, "-o", small_disk)
    assert_failed_cleanly(done.returncode, done.stderr, small_disk, whole)
    assert len(_scenes.frames(small_disk)) >= 3
    again = _scenes.run(*arguments, "-o", small_disk)
    assert_failed_cleanly(again.returncode, again.stderr, small_disk, whole)


def assert_failed_cleanly(code: int, err: str, out: Path, whole: dict[str, bytes]) -> None:
    assert code == 1
    lines = err.splitlines()
    assert lines and all(line.startswith("loopcore: error: frame ") for line in lines), err
    assert "p_loop.1" in lines[0] and ".tmp-" not in err
    there = _scenes.contents(_scenes.frames(out))
    assert there.items() <= whole.items() and len(there) < 64
    assert not _scenes.hidden(out)


@posix
def test_a_folder_removed_in_mid_bake(long_bake: tuple[list[object], dict[str, bytes]], tmp_path: Path) -> None:
    arguments, _ = long_bake
    out = tmp_path / "out"
    process = _scenes.start(*arguments, "-o", out)
    _scenes.wait_for(lambda: len(_scenes.frames(out)) >= 3, process=process)
    out.rename(tmp_path / "gone")
    stdout, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert err.startswith("loopcore: error: frame ") and "Traceback" not in err and "p_loop.1" in err
    assert not out.exists()
    assert len(_scenes.hidden(tmp_path / "gone")) <= 1  # moved away with the folder while it was being written
    written = int(stdout.splitlines()[-1].split()[0])
    assert 3 <= written < 64 and f"{64 - written} failed" in stdout


def test_a_frame_that_vanishes_is_reported(loop: Loop, tmp_path: Path) -> None:
    def steal(progress: Progress) -> None:
        if progress.path is not None and progress.path.name == "p_loop.1002.exr":
            progress.path.unlink()

    report = bake(loop, tmp_path, "p_loop", on_progress=steal)
    assert list(report.failed) == [1002] and "vanished" in report.failed[1002]


def test_a_folder_in_a_frames_place_fails_and_names_what_was_not_made(loop: Loop, tmp_path: Path) -> None:
    (tmp_path / "p_loop.1002.exr").mkdir()
    report = bake(loop, tmp_path, "p_loop")
    assert "p_loop.1002.exr" in report.failed[1002]
    assert sorted([*report.written, *report.failed]) == list(range(1001, 1001 + N))
    assert not _scenes.hidden(tmp_path)


@pytest.mark.parametrize("place", ["file", "file/below"])
def test_a_file_in_the_folders_place(loop: Loop, tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SequenceError, match="cannot make folder"):
        bake(loop, tmp_path / place, "p_loop")


@pytest.mark.skipif(getattr(os, "geteuid", lambda: 0)() == 0, reason="root and Windows may write anywhere")
def test_a_folder_that_may_not_be_written_to(loop: Loop, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(SequenceError, match="cannot write"):
            bake(loop, tmp_path, "p_loop")
    finally:
        tmp_path.chmod(0o700)


def test_leftovers_of_the_dead_are_cleared_and_those_of_the_living_kept(loop: Loop, tmp_path: Path) -> None:
    from loopcore.sequence import _host_tag

    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    alive = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        names = [f".p_loop.1001.exr.tmp-{process.pid}-{_host_tag()}00c0ffee" for process in (dead, alive)]
        for name in names:
            (tmp_path / name).write_bytes(b"half a frame")
        bake(loop, tmp_path, "p_loop", numbers=[1001])
        assert _scenes.hidden(tmp_path) == [names[1]]
    finally:
        alive.kill()
        alive.wait()


# Cost

_PEAK = """
import resource, sys
from loopcore.cli import main
code = main(sys.argv[1:])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)
sys.exit(code)
"""


@posix
def test_memory_does_not_grow_with_the_number_of_frames(tmp_path: Path) -> None:
    plate, hints = _scenes.png(tmp_path / "p.png", "RGBA", 640, 360), _scenes.hints(tmp_path / "h.json", 640, 360)

    def begin(count: int) -> subprocess.Popen[str]:
        arguments = ["animate", plate, "--hints", hints, "--frames", count, "-o", tmp_path / str(count)]
        return subprocess.Popen(
            [sys.executable, "-c", _PEAK, *map(str, arguments)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            text=True, env=_scenes.environment(None),
        )  # fmt: skip

    peaks = []
    for process in [begin(12), begin(48)]:
        _, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        peaks.append(int(err))
    few, many = peaks
    assert many <= 1.1 * few, f"{few} KB for 12 frames, {many} KB for 48"


def test_a_report_counts_each_frame_once(loop: Loop, tmp_path: Path) -> None:
    report: Report = bake(loop, tmp_path, "p_loop", numbers=[1003, 1001, 1003])
    assert sorted(report.written) == [1001, 1003]
