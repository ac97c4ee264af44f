# SPDX-License-Identifier: Apache-2.0
"""The live preview in every Blender, against the loop that would be baked."""

from __future__ import annotations

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


def motion() -> MotionField:
    """A whirl with a drift: it tells left from right, up from down, and a straight path from a bent one."""
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
    loop = Loop(Plate(still, ("R", "G", "B")), field, frames=FRAMES, contrast=0)
    for t in range(FRAMES):
        np.save(folder / f"frame{t}.npy", loop.frame(t))
    forward = np.random.default_rng(1).normal(size=(37, 19, 2)).astype(np.float32)
    np.save(folder / "forward.npy", forward)
    for kind in ("none", "zips", "zip"):
        channels = {"forward.u": forward[..., 0], "forward.v": forward[..., 1], "mask.V": np.ones((37, 19), np.float16)}
        write_exr(folder / f"{kind}.exr", channels, compression=kind)
    return folder


@pytest.fixture(scope="module")
def told(blender: Any, files: Path) -> dict[str, Any]:
    return blender.run(SCRIPT, files, FRAMES).result


def test_it_moves_as_the_bake_will(told: dict[str, Any]) -> None:
    moves = told["moves"]
    # What differs: bilinear where the bake is bicubic, and how it weighs where the mask's edge stretches the still.
    assert min(moves["cycles"].values()) > 36, moves["cycles"]
    assert moves["cycles"]["0"] > 60
    assert moves["eevee"] > 36
    assert moves["neighbours"] < moves["cycles"]["1"] - 4


def test_the_blend_holds_all_of_it(told: dict[str, Any]) -> None:
    moves = told["moves"]
    assert moves["found"] == ["still.exr", True]
    assert moves["reloaded"] == moves["twice"] == pytest.approx(moves["cycles"]["5"])


def test_removing_it_leaves_nothing_behind(told: dict[str, Any]) -> None:
    moves = told["moves"]
    assert moves["removed"] == [True, False, False]
    assert moves["differs"] == {} and moves["still"] < 1e-3


def test_it_goes_together_with_a_loop(told: dict[str, Any]) -> None:
    beside = told["beside_a_loop"]
    assert beside["loop"] == [0, 1, 0, 1] and beside["live"] == [False, True] and beside["strokes"] == [True, True]
    assert beside["over"] == pytest.approx(told["moves"]["cycles"]["1"])
    assert beside["keyed"] == [1, 1, 1, 0]
    assert set(beside["differs"]) <= {"properties"}


def test_a_shared_material_is_left_alone(told: dict[str, Any]) -> None:
    assert told["shared"] == [True, False, True, 1]


def test_it_is_removed_from_a_renamed_texture(told: dict[str, Any]) -> None:
    removed, name, off = told["renamed"]
    assert removed and name == "My plate" and off < 1e-3


def test_a_linked_plane_is_not_changed(told: dict[str, Any]) -> None:
    live, loop, is_live, is_wired = told["linked"]
    assert "asset.blend" in live and "Make Local" in loop and not is_live and not is_wired


def test_what_is_no_motion_is_refused(told: dict[str, Any]) -> None:
    gone, torn, picture, short, live = told["refusals"]
    assert "cannot be read" in gone and "no EXR that can be read" in torn
    assert "forward.u" in picture and "2 frames" in short and live is False


def test_motion_files_are_read_to_the_bit(told: dict[str, Any]) -> None:
    assert told["reads"] == [True] * 6
