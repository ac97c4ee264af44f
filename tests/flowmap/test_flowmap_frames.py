# SPDX-License-Identifier: Apache-2.0
"""Tests of flow maps of frames: rebuilding the loop from the still, and reading the motion back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from _flow_files import field, raw_channels

from loopcore.errors import MotionError
from loopcore.flowmap import PER_FRAME, FlowSettings, detect, export_flow, read_motion
from loopcore.flowmap.maps import Maps, sources
from loopcore.loop import Loop
from loopcore.motion.field import MotionField
from loopcore.plate import Plate
from loopcore.transport import warp

# The loop of two copies.
PLAIN: dict[str, Any] = {"cycles": 1, "steady": 0}


def rebuilt(folder: Path, number: int, still: np.ndarray) -> np.ndarray:
    """A loop frame from the still and the files, by the formula of docs/flow-maps.md."""
    past, future = (raw_channels(folder / f"motion_stmap_{d}.{number}.exr") for d in ("past", "future"))
    share = raw_channels(folder / f"motion_weight.{number}.exr")
    height, width = still.shape[:2]
    y, x = np.mgrid[0:height, 0:width]
    seen = []
    for m in (past, future):
        fetch = np.stack([m["R"] * width - 0.5 - x, height - 0.5 - m["G"] * height - y], axis=-1)
        seen.append(warp(still, fetch.astype(np.float32)))
    return share["R"][..., None] * seen[0] + share["G"][..., None] * seen[1] + share["B"][..., None] * still


@pytest.mark.parametrize("size", [(60, 90), (1, 40), (900, 801)])
@pytest.mark.parametrize("drift", [False, True])
def test_stmaps_rebuild_the_loop_from_the_still(tmp_path: Path, size: tuple[int, int], drift: bool) -> None:
    """Exactly, where the motion does not compress the plate: a slow vortex, and a fast motion out of the picture."""
    motion = field(*size, speed=0.1)
    if drift:
        motion = MotionField(np.full((*size, 2), (2.5, -1.5)), np.ones(size), np.ones(size))
    pixels = np.random.default_rng(2).random((*size, 3), dtype=np.float32)
    loop = Loop(Plate(pixels, ("R", "G", "B")), motion, frames=12, contrast=0, **PLAIN)
    chosen = FlowSettings(frames=12, numbers=[1001, 1004, 1012], **PLAIN)
    written = export_flow(motion, tmp_path, "stmap", settings=chosen)
    assert len(written) == 9
    for number in (1001, 1004, 1012):
        off = np.abs(rebuilt(tmp_path, number, pixels) - loop.frame(number - 1001))
        # A coordinate within 1e-4 px of a row may round to its other side, where the filter's clamping differs.
        assert np.quantile(off, 0.9999) < 2e-3
    # Coordinates stay within the picture; still pixels have exactly the identity.
    maps = raw_channels(tmp_path / "motion_stmap_past.1004.exr")
    assert maps["R"].dtype == np.float32 and (maps["B"] == 1).all()
    for name, count in (("R", size[1]), ("G", size[0])):
        assert maps[name].min() >= 0.49 / count and maps[name].max() <= 1 - 0.49 / count
    x = (np.arange(size[1], dtype=np.float32) + np.float32(0.5)) / np.float32(size[1])
    still = motion.mask == 0
    assert np.array_equal(maps["R"][still], np.broadcast_to(x, size)[still])
    share = raw_channels(tmp_path / "motion_weight.1004.exr")
    assert np.abs(share["R"] + share["G"] + share["B"] - 1).max() < 1e-6


def test_stmaps_rebuild_a_compressed_loop(tmp_path: Path) -> None:
    motion = field(120, 160, speed=2)
    y, x = np.mgrid[0:120, 0:160].astype(np.float32)
    pixels = np.stack([0.5 + 0.4 * np.sin(x / 5 + k) * np.cos(y / 7) for k in range(3)], axis=-1).astype(np.float32)
    loop = Loop(Plate(pixels, ("R", "G", "B")), motion, frames=12, contrast=0, **PLAIN)
    export_flow(motion, tmp_path, "stmap", settings=FlowSettings(frames=12, numbers=[1006], **PLAIN))
    off = rebuilt(tmp_path, 1006, pixels) - loop.frame(5)
    assert -10 * np.log10(np.mean(off**2)) > 45


def test_coordinates_are_mirrored_at_the_border() -> None:
    shift = np.zeros((4, 5, 2), np.float32)
    shift[0, 0], shift[3, 4], shift[1, 2] = (-1.25, -2), (3, 1), (2 * 4 + 1, 0)
    x, y = sources(shift)
    assert (x[0, 0], y[0, 0]) == (1.25, 2) and (x[3, 4], y[3, 4]) == (1, 2)
    assert x[1, 2] == 3


def test_displace_and_idistort_have_opposite_signs(tmp_path: Path) -> None:
    motion = field(40, 50, speed=3)
    chosen = FlowSettings(frames=10, numbers=[1003], **PLAIN)
    (push,), (pull,) = (export_flow(motion, tmp_path, c, settings=chosen) for c in ("displace", "idistort"))
    maps = Maps(motion, 10, **PLAIN).at(2)
    x, y = sources(maps.past)
    pushed, pulled = raw_channels(push), raw_channels(pull)
    assert np.abs(pulled["past.u"] - (x - np.arange(50))).max() < 1e-5
    assert np.abs(pulled["past.v"] + (y - np.arange(40)[:, None])).max() < 1e-5
    assert np.abs(pushed["past.X"] + pulled["past.u"]).max() == 0
    assert np.abs(pushed["past.Y"] + pulled["past.v"]).max() == 0
    assert not pushed["past.Z"].any()
    assert np.abs(pushed["weight.X"] - maps.weights[..., 0]).max() == 0


@pytest.mark.parametrize("convention", PER_FRAME)
@pytest.mark.parametrize("speed", [0.5, 3.0])
def test_per_frame_conventions_round_trip(tmp_path: Path, convention: str, speed: float) -> None:
    motion = field(90, 120, speed)
    chosen = FlowSettings(frames=20, numbers=[1002, 1019, 1020], **PLAIN)
    files = export_flow(motion, tmp_path, convention, settings=chosen)
    assert detect(files[0]) == convention
    for number, direction in ((1002, "past"), (1020, "future")):
        kind = f"stmap_{direction}" if convention == "stmap" else convention
        back = read_motion(tmp_path / f"motion_{kind}.{number}.exr")
        assert (back.confidence > 0).mean() > 0.9
        off = np.abs(back.effective - motion.effective)
        # A map that spans several pixels smooths the kink at the mask's edge.
        assert np.quantile(off, 0.9) < 0.004 * speed and off.max() < 0.05 * speed
        assert np.abs(back.mask - motion.mask).max() < 1e-6


def test_a_map_of_half_the_loop_is_refused(tmp_path: Path) -> None:
    chosen = FlowSettings(frames=60, numbers=[1001, 1031], **PLAIN)
    files = export_flow(field(90, 120, 3), tmp_path, "idistort", settings=chosen)
    with pytest.raises(MotionError, match="spans 30 frames.*next to the first"):
        read_motion(files[1])
    with pytest.raises(MotionError, match="spans 60 frames"):
        read_motion(files[0])


def test_velocity_is_continued_where_maps_are_mirrored(tmp_path: Path) -> None:
    velocity = np.full((20, 30, 2), 2.5, np.float32)
    motion = MotionField(velocity, np.ones((20, 30)), np.ones((20, 30)))
    export_flow(motion, tmp_path, "stmap", settings=FlowSettings(frames=8, numbers=[1002], **PLAIN))
    back = read_motion(tmp_path / "motion_stmap_past.1002.exr")
    assert np.abs(back.velocity - velocity).max() < 1e-3
    assert not back.confidence[0].any() and back.confidence[10, 10] == 1


def test_extras_are_written_on_request(tmp_path: Path) -> None:
    motion = field(48, 56, speed=5)
    chosen = FlowSettings(frames=6, numbers=[1003], extras=("displacement", "holes", "weight"), **PLAIN)
    names = {path.name for path in export_flow(motion, tmp_path, "nuke", name="a", settings=chosen)}
    assert names == {"a_nuke.exr", "a_displacement.1003.exr", "a_holes.1003.exr", "a_weight.1003.exr"}
    moved = raw_channels(tmp_path / "a_displacement.1003.exr")
    maps = Maps(motion, 6)
    assert np.abs(moved["carried.u"] - maps.displacement(2)[..., 0]).max() == 0
    assert np.abs(moved["fetched.v"] + maps.displacement(-2)[..., 1]).max() == 0
    # Forward and backward displacement are inverse.
    forward, backward = maps.displacement(2), maps.displacement(-2)
    inside = np.s_[14:-14, 14:-14]
    assert np.abs(forward + warp(backward, forward))[inside].max() < 0.02
    holes = raw_channels(tmp_path / "a_holes.1003.exr")
    assert set(np.unique(holes["holes.X"])) <= {0.0, 1.0}
    assert np.array_equal(holes["holes.Z"], np.minimum(holes["holes.X"], holes["holes.Y"]))
    assert not holes["holes.X"][motion.mask == 0].any()
