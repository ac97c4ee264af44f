# SPDX-License-Identifier: Apache-2.0
"""Tests of the live preview in real Blenders, compared with the baked loop."""

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
def results(blender: Any, files: Path) -> dict[str, Any]:
    return blender.run(SCRIPT, files, FRAMES).result


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
