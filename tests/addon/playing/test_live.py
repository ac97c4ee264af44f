# SPDX-License-Identifier: Apache-2.0
"""Tests of the live preview in real Blenders, compared with the baked loop."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from loopcore.exr import write_exr
from loopcore.loop import Loop
from loopcore.motion.field import MotionField
from loopcore.plate import Plate

SCRIPT = Path(__file__).with_name("live_script.py")
WIDTH, HEIGHT, FRAMES = 64, 48, 12
SPEEDS = (0.02, 0.05, 0.08, 0.2, 0.3, 1.0, 4.0)


def motion() -> MotionField:
    """A vortex with a drift, without symmetry, whose paths are curved."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32)
    velocity = np.stack([-0.05 * (y - 20) + 0.3, 0.05 * (x - 30) - 0.2], axis=-1)
    edge = np.minimum(np.minimum(x, WIDTH - 1 - x), np.minimum(y, HEIGHT - 1 - y))
    mask = np.clip((edge - 3) / 12, 0, 1)
    return MotionField(velocity, mask, np.ones_like(mask))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("live")
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32)
    still = np.stack([0.5 + 0.4 * np.sin(x / (4 + k) + k) * np.cos(y / 5) for k in range(3)], axis=-1)
    still = still.astype(np.float32)
    write_exr(folder / "still.exr", {"RGB": still})
    field = motion()
    field.save(folder / "motion.exr")
    for name, frames in (("frame", FRAMES), ("cycle", FRAMES // 3)):
        loop = Loop(Plate(still, ("R", "G", "B")), field, frames=frames, contrast=0, cycles=1, steady=0)
        for t in range(frames):
            np.save(folder / f"{name}{t}.npy", loop.frame(t))
    forward = np.random.default_rng(1).normal(size=(37, 19, 2)).astype(np.float32)
    np.save(folder / "forward.npy", forward)
    for kind in ("none", "zips", "zip"):
        channels = {"forward.u": forward[..., 0], "forward.v": forward[..., 1], "mask.V": np.ones((37, 19), np.float16)}
        write_exr(folder / f"{kind}.exr", channels, compression=kind)
    return folder


@pytest.fixture(scope="module")
def results(blender: Any, files: Path) -> dict[str, Any]:
    return blender.run(SCRIPT, files, FRAMES, json.dumps(SPEEDS)).result


def test_the_preview_agrees_with_the_bake(results: dict[str, Any]) -> None:
    moves = results["moves"]
    # Differences: bilinear instead of bicubic filtering, and weights where the still is stretched, at the mask's edge.
    assert min(moves["cycles"].values()) > 36, moves["cycles"]
    assert moves["cycles"]["0"] > 60
    assert moves["eevee"] > 36
    assert moves["neighbours"] < moves["cycles"]["1"] - 4


def test_the_blend_contains_the_motion(results: dict[str, Any]) -> None:
    moves = results["moves"]
    assert moves["found"] == ["still.exr", True]
    assert moves["reloaded"] == moves["twice"] == pytest.approx(moves["cycles"]["5"])


def test_each_of_several_cycles_is_a_short_loop(results: dict[str, Any]) -> None:
    seen = results["several_cycles"]
    assert seen["given"] == 3
    assert min(seen["shown"].values()) > 36, seen["shown"]
    assert seen["shown"]["0"] > 60 and seen["shown"]["12"] > 60
    assert seen["plain"] < seen["shown"]["6"] - 4


def test_the_drivers_repeat_the_period(results: dict[str, Any]) -> None:
    """25 frames in 7 cycles; a simple expression also works where Python in files is disabled."""
    seen = results["several_cycles"]
    assert seen["uneven"] == 7 and seen["simple"] and seen["drivers left"] == 0
    for t, time in seen["times"].items():
        assert time == pytest.approx(int(t) * 7 % 25 / 7, abs=1e-5), t


def test_faster_water_has_more_cycles(results: dict[str, Any]) -> None:
    seen = results["automatic"]
    by_speed = [seen["by speed"][str(speed)] for speed in sorted(SPEEDS)]
    assert by_speed == sorted(by_speed)
    assert sorted(set(seen["by speed"].values())) == [1, 2, 4] and seen["still"] == 1
    assert seen["pool and fall"] == 4
    assert seen["preview"] == [1, 4, 8] and seen["file"] == 4


def test_cycles_out_of_range_are_refused(results: dict[str, Any]) -> None:
    assert results["automatic"]["refused"] == [
        f"cycles {cycles} is out of range: give 'auto' or a whole number from 1 to {most}"
        for cycles, most in ((7, 6), (0, 6), (2, 1))
    ]


def test_removing_it_leaves_nothing_behind(results: dict[str, Any]) -> None:
    moves = results["moves"]
    assert moves["removed"] == [True, False, False]
    assert moves["differs"] == {} and moves["still"] < 1e-3


def test_a_preview_of_a_plane_that_plays_a_loop(results: dict[str, Any]) -> None:
    beside = results["beside_a_loop"]
    assert beside["loop"] == [0, 1, 0, 1] and beside["live"] == [False, True] and beside["strokes"] == [True, True]
    assert beside["over"] == pytest.approx(results["moves"]["cycles"]["1"])
    assert beside["keyed"] == [1, 1, 1, 0]
    assert set(beside["differs"]) <= {"properties"}


def test_a_shared_material_is_not_changed(results: dict[str, Any]) -> None:
    assert results["shared"] == [True, False, True, 1]


def test_the_preview_is_removed_from_a_renamed_texture(results: dict[str, Any]) -> None:
    removed, name, off = results["renamed"]
    assert removed and name == "My plate" and off < 1e-3


def test_a_linked_plane_is_not_changed(results: dict[str, Any]) -> None:
    live, loop, is_live, is_wired = results["linked"]
    assert "asset.blend" in live and "Make Local" in loop and not is_live and not is_wired


def test_invalid_motion_is_refused(results: dict[str, Any]) -> None:
    missing, truncated, image, short, live = results["refusals"]
    assert "cannot be read" in missing and "not a valid EXR" in truncated
    assert "forward.u" in image and "2 frames" in short and live is False


def test_motion_files_are_read_exactly(results: dict[str, Any]) -> None:
    assert results["reads"] == [True] * 6
