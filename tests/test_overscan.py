# SPDX-License-Identifier: Apache-2.0
"""A plate with overscan from file to frames: it moves out there, too, and every file says where its pixels lie."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import _scenes
import numpy as np
import OpenEXR
import pytest
from _flow_files import raw_channels
from _workers import Client

from loopcore import exr
from loopcore.baking.bake import bake
from loopcore.baking.recipe import read_recipe
from loopcore.exr import Windows
from loopcore.flowmap import FlowSettings, export_flow, read_motion
from loopcore.loop import Loop
from loopcore.motion import Hints, MotionField, Stroke, write_hints
from loopcore.motion.predict import predict_motion
from loopcore.plate import Plate, read_plate
from loopcore.preview import preview_sequence
from loopcore.quality import check
from loopcore.transport import warp

N = 6
# 104 x 80 pixels of data, a frame of 64 x 64 in them
WINDOWS = Windows((-20, -8, 83, 71), (0, 0, 63, 63))
HINTS = Hints(
    (Stroke([[-18, 5], [32, 20], [80, 40]], 1.5),), size=(64, 64),
    polygons=(np.array([[-17.0, -5], [70, -5], [80, 60], [-17, 60]]),), feather=3,
)  # fmt: skip


def raw(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Header and channels, read with the library and nothing of ours between."""
    with OpenEXR.File(str(path), separate_channels=True) as file:
        return dict(file.header()), {name: np.array(c.pixels) for name, c in file.channels().items()}


def corners(header: dict[str, Any], name: str) -> tuple[int, ...]:
    return tuple(int(number) for corner in header[name] for number in corner)


@pytest.fixture(scope="module")
def still_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pixels = _scenes.linear("RGBA", 104, 80)
    path = tmp_path_factory.mktemp("plate") / "plate.exr"
    header = {
        "type": OpenEXR.scanlineimage, "compression": OpenEXR.ZIP_COMPRESSION,
        "dataWindow": (WINDOWS.data[:2], WINDOWS.data[2:]), "displayWindow": (WINDOWS.display[:2], WINDOWS.display[2:]),
    }  # fmt: skip
    channels = {name: np.ascontiguousarray(pixels[..., k]) for k, name in enumerate("RGBA")}
    OpenEXR.File(header, channels).write(str(path))
    return path


@pytest.fixture(scope="module")
def plate(still_file: Path) -> Plate:
    return read_plate(still_file)


@pytest.fixture(scope="module")
def motion(plate: Plate) -> MotionField:
    return predict_motion(plate, HINTS)


@pytest.fixture(scope="module")
def loop(plate: Plate, motion: MotionField) -> Loop:
    return Loop(plate, motion, frames=N, device="cpu")


@pytest.fixture(scope="module")
def baked(loop: Loop, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("baked")
    assert not bake(loop, folder, "plate_loop", depth="float").failed
    return folder


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    client = Client(_scenes.command("worker"))
    yield client
    client.end()


def test_the_plate_is_all_there(plate: Plate) -> None:
    assert plate.windows == WINDOWS and plate.pixels.shape == (80, 104, 4)
    np.testing.assert_array_equal(plate.pixels, _scenes.linear("RGBA", 104, 80))
    np.testing.assert_array_equal(plate.displayed().pixels, plate.pixels[8:72, 20:84])


def test_it_moves_in_the_overscan(motion: MotionField) -> None:
    assert motion.windows == WINDOWS and motion.mask.shape == (80, 104)
    outside = np.ones((80, 104), bool)
    outside[WINDOWS.shown] = False
    assert motion.mask[outside].max() == 1 and np.abs(motion.effective[outside]).max() > 0.5
    # The stroke runs where it was drawn: 20 and 8 pixels from the corner of all pixels.
    assert np.hypot(*motion.velocity[28, 52]) == pytest.approx(1.5, rel=0.1)


def test_every_frame_has_the_windows_of_the_plate(baked: Path, plate: Plate, motion: MotionField) -> None:
    frames = [raw(path) for path in _scenes.frames(baked)]
    assert len(frames) == N
    still = motion.mask == 0
    assert 0.1 < still.mean() < 0.9 and still[:, :20].any() and still[72:].any()
    for header, channels in frames:
        assert corners(header, "dataWindow") == WINDOWS.data and corners(header, "displayWindow") == WINDOWS.display
        for k, name in enumerate("RGBA"):
            assert np.array_equal(channels[name].view(np.uint32)[still], plate.pixels[..., k].view(np.uint32)[still])
    moved = frames[0][1]["G"] != frames[2][1]["G"]
    assert moved[:8].any() and moved[:, :20].any() and moved[:, 84:].any() and moved[WINDOWS.shown].any()


def test_the_motion_beside_them_reads_back_equal(baked: Path, motion: MotionField) -> None:
    header, channels = raw(baked / "motion.exr")
    assert corners(header, "dataWindow") == WINDOWS.data and corners(header, "displayWindow") == WINDOWS.display
    np.testing.assert_array_equal(channels["velocity.X"], motion.velocity[..., 0])
    back = read_motion(baked / "motion.exr")
    assert back.digest() == motion.digest() and back.windows == motion.windows
    again = Loop(read_plate(baked / "plate_loop.1001.exr"), back, frames=N, device="cpu")
    assert again.motion is back


def test_a_second_run_has_nothing_to_do_and_a_range_joins_in(loop: Loop, baked: Path, tmp_path: Path) -> None:
    assert bake(loop, baked, "plate_loop", depth="float").skipped == list(range(1001, 1001 + N))
    first = bake(loop, tmp_path, "plate_loop", depth="float", numbers=[1003, 1004])
    rest = bake(loop, tmp_path, "plate_loop", depth="float")
    assert first.written == [1003, 1004] and rest.skipped == [1003, 1004] and len(rest.written) == N - 2
    for one, other in zip(_scenes.frames(tmp_path), _scenes.frames(baked), strict=True):
        assert one.read_bytes() == other.read_bytes()


def test_the_recipe_knows_the_windows(plate: Plate, motion: MotionField, baked: Path, tmp_path: Path) -> None:
    recipe, _ = read_recipe(baked)
    other = Loop(Plate(plate.pixels, plate.channels, plate.colorspace), motion, frames=N, device="cpu")
    assert not other.motion.windows.overscan and (other.motion.mask == motion.mask).all()
    assert other.plate.digest() != recipe.plate and other.motion.digest() != recipe.motion
    bake(other, tmp_path, "plate_loop", depth="float", numbers=[1001])
    assert read_recipe(tmp_path)[0].digest() != recipe.digest()


@pytest.mark.parametrize("given", ["overscan", "display"])
def test_fluid_flows_in_from_the_overscan(plate: Plate, given: str) -> None:
    size = plate.pixels.shape[:2] if given == "overscan" else WINDOWS.display_size
    windows = WINDOWS if given == "overscan" else Windows.whole(*size)
    velocity = np.zeros((*size, 2), np.float32)
    velocity[..., 0] = 3
    current = MotionField(velocity, np.ones(size), np.ones(size), windows=windows)
    loop = Loop(plate, current, frames=60, contrast=0, cycles=1, steady=0, device="cpu")
    rows, columns = WINDOWS.shown
    shown = loop.frame(4)[rows, columns]
    # The copy from the end of the loop comes from far outside on the right and hardly counts.
    outside = plate.pixels[rows, columns.start - 12 : columns.stop - 12]
    mirrored = np.pad(plate.displayed().pixels, ((0, 0), (12, 0), (0, 0)), mode="reflect")[:, :64]
    near = np.abs(shown - outside)[4:-4, :12].mean()
    assert near < 0.01 and np.abs(shown - mirrored)[4:-4, :12].mean() > 10 * near


@pytest.mark.parametrize("format", ["exr", "png"])
def test_check_passes(still_file: Path, motion: MotionField, tmp_path: Path, format: str) -> None:
    loop = Loop(read_plate(still_file), motion, frames=N, device="cpu")
    bake(loop, tmp_path, "plate_loop", format=format, depth="half" if format == "exr" else "8")
    if format == "png":
        assert read_plate(_frame(tmp_path)).pixels.shape == (64, 64, 4)
    rows = {row.name.partition(":")[0]: row for row in check(tmp_path).rows}
    assert rows["static"].value == 0 and rows["closure"].passed
    assert rows["frames equal to the one before"].passed
    # A pixel of the overscan that is not the plate's is found.
    if format == "exr":
        _spoil(_frame(tmp_path))
        static = next(row.value for row in check(tmp_path).rows if row.name.startswith("static"))
        assert static == pytest.approx(1, abs=0.01)


def _frame(folder: Path) -> Path:
    (path,) = (p for p in folder.iterdir() if p.name.startswith("plate_loop.1003."))
    return path


def _spoil(path: Path) -> None:
    (part,) = exr.read_exr(path)
    part.channels["R"][0, 0] += 1
    del part.attributes["loopcore/pixels_crc32"]
    exr.write_exr(path, part.channels, attributes=part.attributes, windows=WINDOWS)


def test_a_png_frame_is_the_display_window(loop: Loop, tmp_path: Path) -> None:
    assert bake(loop, tmp_path, "plate_loop", format="png", depth="8", numbers=[1001]).written == [1001]
    frame, expected = read_plate(tmp_path / "plate_loop.1001.png"), loop.frame(0)[WINDOWS.shown]
    assert frame.pixels.shape == (64, 64, 4)
    alpha = expected[..., 3:]  # colour above it does not fit into a PNG
    assert np.abs(frame.pixels - np.concatenate([np.minimum(expected[..., :3], alpha), alpha], axis=2)).max() < 0.006


def test_previews_show_the_display_window(baked: Path, tmp_path: Path) -> None:
    import av

    preview_sequence(baked.joinpath("plate_loop.####.exr"), tmp_path / "film.mp4")
    with av.open(str(tmp_path / "film.mp4")) as film:
        assert (film.streams.video[0].width, film.streams.video[0].height) == (64, 64)


class TestFlowMaps:
    @pytest.mark.parametrize("convention", ["nuke", "blender", "fusion", "idistort", "displace", "stmap"])
    def test_an_exr_has_the_windows(self, motion: MotionField, tmp_path: Path, convention: str) -> None:
        files = export_flow(motion, tmp_path, convention, settings=FlowSettings(frames=N, numbers=[1002]))
        for path in files:
            header, _ = raw(path)
            assert corners(header, "dataWindow") == WINDOWS.data
            assert corners(header, "displayWindow") == WINDOWS.display
        back = read_motion(files[0] if convention != "stmap" else tmp_path / "motion_stmap_past.1002.exr")
        assert back.windows == WINDOWS
        inside = motion.mask > 0.9
        inside[:4] = inside[-4:] = inside[:, :4] = inside[:, -4:] = False
        assert np.abs(back.effective - motion.effective)[inside].mean() < 0.15
        assert np.abs(motion.effective)[inside].mean() > 0.3

    def test_stmaps_are_of_the_display_window_and_rebuild_the_loop(
        self, plate: Plate, motion: MotionField, tmp_path: Path
    ) -> None:
        export_flow(motion, tmp_path, "stmap", settings=FlowSettings(frames=N, numbers=[1003]))
        past, future, share = (
            raw_channels(tmp_path / f"motion_{kind}.1003.exr") for kind in ("stmap_past", "stmap_future", "weight")
        )
        # x and y count from the display window's top left, as in a 64 x 64 format with a larger bounding box
        x, y = np.arange(-20, 84) + 0.5, np.arange(-8, 72)[:, None] + 0.5
        still = motion.mask == 0
        assert np.abs(past["R"] - x / 64)[still].max() < 1e-6 and np.abs(past["G"] - (1 - y / 64))[still].max() < 1e-6
        seen = []
        for m in (past, future):
            fetch = np.stack([m["R"] * 64 - x, (1 - m["G"]) * 64 - y], axis=-1).astype(np.float32)
            seen.append(warp(plate.pixels, fetch))
        mixed = [share[c][..., None] * p for c, p in zip("RGB", (*seen, plate.pixels), strict=True)]
        off = np.abs(sum(mixed) - Loop(plate, motion, frames=N, contrast=0, device="cpu").frame(2))
        assert np.quantile(off, 0.95) < 2e-3

    @pytest.mark.parametrize("convention", ["rsmb", "game"])
    def test_a_png_is_of_the_display_window(self, motion: MotionField, tmp_path: Path, convention: str) -> None:
        (path,) = export_flow(motion, tmp_path, convention)
        back = read_motion(path)
        assert np.abs(back.effective - motion.displayed().effective).max() < 1e-3


@pytest.mark.parametrize("given", ["hints", "hints over all", "motion"])
def test_the_worker_at_half_size(
    client: Client, still_file: Path, motion: MotionField, tmp_path: Path, given: str
) -> None:
    drawn = tmp_path / "hints.json"
    if given == "motion":
        motion.save(tmp_path / "m.exr")
    else:
        write_hints(HINTS if given == "hints" else HINTS.fitted(80, 104, WINDOWS), drawn)
    source = {"motion": str(tmp_path / "m.exr")} if given == "motion" else {"hints": str(drawn)}
    client.call("animate", plate=str(still_file), folder=str(tmp_path / "out"), **source, frames=3, resolution=50)
    half = read_motion(tmp_path / "out" / "motion.exr")
    frame = read_plate(tmp_path / "out" / "plate_loop.1002.exr")
    assert half.windows == frame.windows == Windows((-10, -4, 41, 35), (0, 0, 31, 31))
    assert np.abs(half.mask - motion.mask.reshape(40, 2, 52, 2).mean(axis=(1, 3))).mean() < 0.02
    assert np.abs(half.velocity * 2 - motion.velocity[::2, ::2])[half.mask > 0].mean() < 0.1


def test_at_the_command_line(still_file: Path, tmp_path: Path) -> None:
    from PIL import Image

    grey = np.zeros((64, 64), np.uint8)
    grey[:, :32] = 255
    Image.fromarray(grey).save(tmp_path / "mask.png")
    MotionField(np.full((64, 64, 2), 1.0), np.ones((64, 64)), np.ones((64, 64))).save(tmp_path / "v.exr")
    out = tmp_path / "out"
    done = _scenes.run(
        "animate", still_file, "-o", out, "--frames", 3, "--motion", tmp_path / "v.exr", "--mask",
        tmp_path / "mask.png", "--range", "1001-1002", "--device", "cpu",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    header, channels = raw(out / "plate_loop.1002.exr")
    assert corners(header, "dataWindow") == WINDOWS.data and corners(header, "displayWindow") == WINDOWS.display
    moved = channels["G"] != read_plate(still_file).pixels[..., 1].astype(np.float16)
    assert moved[:, :52].mean() > 0.9 and not moved[:, 52:].any()
