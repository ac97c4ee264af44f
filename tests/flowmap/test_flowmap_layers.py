# SPDX-License-Identifier: Apache-2.0
"""Tests of the maps of loops with several cycles or steady looks: rebuilding frames from the files, and the layers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from _flow_files import field, raw_channels
from hypothesis import given
from hypothesis import strategies as st

from loopcore.errors import MotionError, PlateError
from loopcore.exr import Windows
from loopcore.flowmap import PER_FRAME, FlowSettings, detect, export_flow, read_motion
from loopcore.flowmap.layers import layers_of
from loopcore.flowmap.maps import Maps
from loopcore.loop import Loop
from loopcore.motion.field import MotionField
from loopcore.plate import Plate
from loopcore.transport import warp


def drift(height: int, width: int) -> MotionField:
    """A fast motion out of the picture, which compresses nothing."""
    return MotionField(np.full((height, width, 2), (2.5, -1.5)), np.ones((height, width)), np.ones((height, width)))


def texture(height: int, width: int, channels: str = "RGB", period: float = 0) -> Plate:
    """A plate with values below 0 and far above its white, or a smooth one whose waves have a period in pixels."""
    pixels = np.random.default_rng(2).gamma(1.5, 0.4, (height, width, len(channels))) - 0.05
    if period:
        y, x = np.mgrid[0:height, 0:width] * (2 * np.pi / period)
        pixels = np.stack([0.5 + 0.4 * np.sin(x + k) * np.cos(0.7 * y) for k in range(len(channels))], axis=-1)
    return Plate(pixels.astype(np.float32), tuple(channels))


def rebuilt(folder: Path, number: int, plate: Plate) -> np.ndarray:
    """A loop frame from the still and the files, by the formula of docs/flow-maps.md."""
    still, (height, width), (left, top) = plate.pixels, plate.windows.display_size, plate.windows.offset
    y, x = np.mgrid[0 : still.shape[0], 0 : still.shape[1]]
    total, mask, k = np.zeros_like(still), np.zeros((*still.shape[:2], 1), np.float32), 1
    while (path := folder / f"motion_stmap_{k}.{number}.exr").is_file():
        m, k = raw_channels(path), k + 1
        fetch = np.stack([m["R"] * width - 0.5 + left - x, height - 0.5 + top - m["G"] * height - y], axis=-1)
        total += m["A"][..., None] * warp(still, fetch.astype(np.float32))
        mask += m["A"][..., None]
    assert k > 1
    moving = total / np.maximum(mask, 1e-9)
    if (folder / f"motion_shift.{number}.exr").is_file():
        shift = raw_channels(folder / f"motion_shift.{number}.exr")
        for c, name in enumerate(plate.channels):
            if name != "A":
                moving[..., c] = shifted(moving[..., c], shift["R" if name == "Y" else name], shift["A"])
    return mask * moving + (1 - mask) * still


def shifted(values: np.ndarray, shift: np.ndarray, white: np.ndarray) -> np.ndarray:
    part = np.maximum(values / white, 0)
    tone = np.where(part <= 1, np.sqrt(part), 1 + 0.5 * np.log(np.maximum(part, 1)))
    tone = np.maximum(tone + shift, tone / 4)
    return np.where(values > 0, white * np.where(tone <= 1, tone**2, np.exp(2 * (tone - 1))), values)


def export(plate: Plate, motion: MotionField, folder: Path, frames: int, numbers: list[int], **looks: Any) -> Loop:
    """Write the STMaps of a loop; returns the loop."""
    chosen = FlowSettings(frames=frames, numbers=numbers, **looks)
    export_flow(motion, folder, "stmap", settings=chosen, plate=plate)
    return Loop(plate, motion, frames=frames, contrast=0, **looks)


@pytest.mark.parametrize(
    ("motion", "frames", "channels", "looks"),
    [
        (field(60, 90, speed=0.1), 12, "RGB", {"cycles": 4, "steady": 0.5}),
        (drift(60, 90), 12, "RGB", {"cycles": 4, "steady": 0.5}),
        (field(900, 801, speed=0.1), 12, "RGB", {"cycles": 4, "steady": 0.5}),
        (drift(900, 801), 12, "RGB", {"cycles": 4, "steady": 0.5}),
        (field(60, 90, speed=0.1), 12, "RGBA", {"cycles": 1, "steady": 1}),
        (drift(60, 90), 12, "YA", {"cycles": 6, "steady": 0.5}),
        (drift(60, 90), 12, "RGB", {"cycles": 3, "steady": 0}),
        (field(120, 160, speed=3), 60, "RGB", {"cycles": "auto", "steady": "auto"}),
    ],
)
def test_stmaps_rebuild_the_loop(
    tmp_path: Path, motion: MotionField, frames: int, channels: str, looks: dict[str, Any]
) -> None:
    """Exactly, where the motion does not compress the plate, or the plate is smooth."""
    period = 200 if looks["cycles"] == "auto" else 0
    plate = texture(motion.height, motion.width, channels, period)
    numbers = [1001, 1001 + frames // 3, 1000 + frames]
    loop = export(plate, motion, tmp_path, frames, numbers, **looks)
    for number in numbers:
        frame = loop.frame(number - 1001)
        off = np.abs(rebuilt(tmp_path, number, plate) - frame)
        # As for one cycle: a coordinate within 1e-4 px of a row may round to its other side.
        assert np.quantile(off, 0.9999) < 2e-3
        if number > 1001:
            assert np.abs(frame - plate.pixels).max() > 0.015
    assert (tmp_path / f"motion_shift.{numbers[1]}.exr").is_file() == (looks["steady"] != 0)


def test_stmaps_rebuild_a_compressed_loop(tmp_path: Path) -> None:
    motion, plate = field(120, 160, speed=3), texture(120, 160, period=32)
    loop = export(plate, motion, tmp_path, 60, [1021], cycles="auto", steady="auto")
    assert len(list(tmp_path.glob("motion_stmap_?.1021.exr"))) > 2
    off = rebuilt(tmp_path, 1021, plate) - loop.frame(20)
    assert -10 * np.log10(np.mean(off**2)) > 45


def test_maps_of_a_plate_with_overscan(tmp_path: Path) -> None:
    """The motion, of the display window's size, is continued into the overscan as in the loop."""
    windows = Windows((-20, -8, 83, 71), (0, 0, 63, 63))
    plate = Plate(texture(80, 104).pixels, ("R", "G", "B"), windows=windows)
    loop = export(plate, drift(64, 64), tmp_path, 12, [1005], cycles=3, steady=0.5)
    off = np.abs(rebuilt(tmp_path, 1005, plate) - loop.frame(4))
    assert np.quantile(off, 0.9999) < 2e-3 and np.abs(loop.frame(4) - plate.pixels)[:, :15].max() > 0.1


def test_files_outside_the_mask_and_their_header(tmp_path: Path) -> None:
    motion, plate = field(60, 90, speed=1), texture(60, 90)
    export(plate, motion, tmp_path, 12, [1003], cycles=4, steady=0.5)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["motion_shift.1003.exr", *(f"motion_stmap_{k}.1003.exr" for k in (1, 2, 3))]
    maps = [raw_channels(tmp_path / name) for name in names]
    assert all(set(m) == set("RGBA") and m["R"].dtype == np.float32 for m in maps)
    still, x = motion.mask == 0, (np.arange(90, dtype=np.float32) + np.float32(0.5)) / np.float32(90)
    assert all(np.array_equal(m["R"][still], np.broadcast_to(x, (60, 90))[still]) for m in maps[1:])
    assert np.abs(sum(m["A"] for m in maps[1:]) - motion.mask).max() < 1e-6
    assert all(not m["A"][still].any() and (m["B"] == 1).all() and (m["A"] >= 0).all() for m in maps[1:])
    assert not any(maps[0][c][still].any() for c in "RGB") and np.ptp(maps[0]["A"]) == 0 < maps[0]["A"][0, 0]


def test_an_automatic_plain_loop_has_the_same_files_as_one_cycle(tmp_path: Path) -> None:
    motion = field(60, 90, speed=0.1)
    for folder, looks in (("auto", {}), ("plain", {"cycles": 1, "steady": 0})):
        export_flow(motion, tmp_path / folder, "stmap", settings=FlowSettings(frames=60, numbers=[1011], **looks))
    files = {path.name: path.read_bytes() for path in (tmp_path / "auto").iterdir()}
    assert files == {path.name: path.read_bytes() for path in (tmp_path / "plain").iterdir()}
    assert len(files) == 3


@pytest.mark.parametrize("convention", ["displace", "idistort"])
def test_other_conventions_have_the_same_layers(tmp_path: Path, convention: str) -> None:
    motion, plate = field(60, 90, speed=0.5), texture(60, 90)
    export(plate, motion, tmp_path, 12, [1003], cycles=4, steady=0.5)
    chosen = FlowSettings(frames=12, numbers=[1003], cycles=4, steady=0.5, extras=("weight",))
    path, weights = export_flow(motion, tmp_path, convention, settings=chosen, plate=plate)
    found, shares = raw_channels(path), raw_channels(weights)
    shift = raw_channels(tmp_path / "motion_shift.1003.exr")
    assert all(np.array_equal(found[f"shift.{c}"], shift[c]) for c in "RGBA")
    x, y = np.arange(90) + 0.5, 60 - 0.5 - np.arange(60)[:, None]
    for k in (1, 2, 3):
        stmap = raw_channels(tmp_path / f"motion_stmap_{k}.1003.exr")
        assert np.array_equal(found[f"weight{k}.V"], stmap["A"]) and np.array_equal(shares[f"weight{k}.V"], stmap["A"])
        names, sign = (("X", "Y"), -1) if convention == "displace" else (("u", "v"), 1)
        for name, offset in zip(names, (stmap["R"] * 90 - x, stmap["G"] * 60 - y), strict=True):
            assert np.abs(found[f"layer{k}.{name}"] - sign * offset).max() < 1e-4


def test_motion_is_read_back_from_layers(tmp_path: Path) -> None:
    motion = field(90, 120, speed=0.5)
    chosen = FlowSettings(frames=12, numbers=[1002], cycles=4, steady=0)
    for convention in ("stmap", "displace", "idistort"):
        path = export_flow(motion, tmp_path, convention, settings=chosen)[0]
        assert detect(path) == convention
        back = read_motion(path)
        assert np.quantile(np.abs(back.effective - motion.effective), 0.9) < 0.004
        assert np.abs(back.mask - motion.mask).max() < 1e-6
    chosen = FlowSettings(frames=12, numbers=[1001], cycles=4, steady=0)
    with pytest.raises(MotionError, match="without displacement"):
        read_motion(export_flow(motion, tmp_path, "displace", settings=chosen)[0])


def test_steady_looks_need_the_plate(tmp_path: Path) -> None:
    motion = field(120, 160, speed=3)
    for convention in PER_FRAME:
        with pytest.raises(MotionError, match="need the plate"):
            export_flow(motion, tmp_path / "none", convention, settings=FlowSettings(numbers=[1002]))
    assert not (tmp_path / "none").exists()
    # Vectors are the same for every loop.
    assert len(export_flow(motion, tmp_path, "nuke", settings=FlowSettings())) == 1
    for wrong in ({"cycles": 0}, {"cycles": 40}, {"steady": 2}):
        with pytest.raises(MotionError, match="out of range"):
            Maps(motion, 60, **wrong)
    with pytest.raises(PlateError, match="at most 4"):
        Maps(motion, 60, plate=Plate(np.zeros((120, 160, 5), np.float32), tuple("RGBAZ")))
    with pytest.raises(MotionError, match="resize the motion"):
        Maps(motion, 60, plate=texture(60, 90))


@pytest.mark.parametrize(("frames", "cycles"), [(60, "auto"), (24, 4), (12, 1)])
def test_a_layer_changes_its_copy_where_its_weight_is_0(frames: int, cycles: int | str) -> None:
    layers = Maps(field(60, 90, speed=3), frames, cycles, 0.5, texture(60, 90)).layers
    assert layers is not None
    shown, homes = 0, [np.nan] * layers.count
    idle = [True] * layers.count
    for t in np.arange(0, frames, 1 / 16):
        made = layers.at(float(t)).layers
        assert len(made) == layers.count
        shown = max(shown, sum(bool(layer.weight.any()) for layer in made))
        for k, layer in enumerate(made):
            if not layer.weight.any():
                idle[k] = True
                continue
            home = t + layer.span
            assert idle[k] or home == pytest.approx(homes[k]), (t, k)
            homes[k], idle[k] = home, False
    assert shown == layers.count


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 8)), min_size=1, max_size=12))
def test_layers_are_as_few_as_can_be(drawn: list[tuple[int, int]]) -> None:
    lives = [(float(start), float(start + length)) for start, length in drawn]
    chosen = layers_of(lives)
    most = 0
    for time in np.arange(0.5, 29):
        alive = [chosen[k] for k, (start, end) in enumerate(lives) if start < time < end]
        assert len(set(alive)) == len(alive)
        most = max(most, len(alive))
    assert max(chosen) + 1 == max(most, 1)
