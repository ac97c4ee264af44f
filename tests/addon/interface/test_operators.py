# SPDX-License-Identifier: Apache-2.0
"""Tests of the whole workflow in real Blenders: install the zip, draw strokes, bake, play and render."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

HERE = Path(__file__).parent
PYTHONS = [p for p in os.environ.get("LOOPCORE_BPY_PYTHONS", "").split(os.pathsep) if p]
pytestmark = pytest.mark.skipif(not PYTHONS, reason="LOOPCORE_BPY_PYTHONS names no Python with bpy")
FRAMES, FIRST = 8, 1001


@pytest.fixture(scope="module")
def folder(blender: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new folder for each Blender, whose path has spaces, a quote and non-Latin characters."""
    made = tmp_path_factory.mktemp("shot") / "l'eau 水 plate"
    made.mkdir()
    return made


@pytest.fixture(scope="module")
def job(blender: Any, extension: Path, folder: Path) -> dict[str, Any]:
    found = blender.run(HERE / "operators_script.py", extension, folder, timeout=400).result
    assert isinstance(found, dict)
    return found


def picture(path: Path) -> np.ndarray:
    from loopcore.plate import read_plate

    return read_plate(path).pixels[..., :3]


def test_invalid_calls_are_refused_with_a_reason(job: dict[str, Any]) -> None:
    refused = job["refused"]
    assert "no object 'Nobody'" in refused["no object"]
    assert '"Camera" is not a mesh' in refused["no picture"]
    assert "JSON list" in refused["bad points"]


def test_a_bake_writes_exactly_the_frames(job: dict[str, Any]) -> None:
    assert job["result"] == job["again"] == ["FINISHED"]
    frames = [name for name in job["files"] if name.startswith("Plate_loop.")]
    assert frames == [f"Plate_loop.{FIRST + t}.exr" for t in range(FRAMES)]
    assert job["message"].startswith(f"{FRAMES} frames written, 0 were up to date: //loops")
    assert job["message again"].startswith(f"0 frames written, {FRAMES} were up to date")


@pytest.mark.parametrize("frame", [-3, 1, 5, 8, 9, 15])
def test_a_render_shows_the_baked_file(job: dict[str, Any], folder: Path, frame: int) -> None:
    """Over two periods and before the first: Cycles, one sample per pixel, compared with the file of that frame."""
    number = FIRST + (frame - 1) % FRAMES
    shown = picture(folder / f"render.{frame}.exr")
    baked = picture(folder / "loops" / "shot" / "Plate" / f"Plate_loop.{number}.exr")
    assert np.abs(shown - baked).max() < 2e-3
    assert job["playing"]["user"][0] == FRAMES


def test_the_loop_moves(job: dict[str, Any], folder: Path) -> None:
    one, other = (picture(folder / f"render.{frame}.exr") for frame in (1, 5))
    assert np.abs(one - other).max() > 0.05
    assert np.array_equal(one, picture(folder / "render.9.exr"))


def test_the_viewport_plays_proxy_files(job: dict[str, Any]) -> None:
    file, made = job["viewport"]
    assert made == [f"Plate_loop.{FIRST + t}.jpg" for t in range(FRAMES)]
    assert file.replace("\\", "/").endswith(f"loops/shot/Plate/proxy/{made[0]}") and job["modifiers after"] == 0


def test_eevee_shows_the_loop(job: dict[str, Any], folder: Path) -> None:
    shown, baked = (
        picture(folder / "eevee.4.exr"),
        picture(folder / "loops" / "shot" / "Plate" / f"Plate_loop.{FIRST + 3}.exr"),
    )
    assert np.abs(shown - baked).mean() < 0.02


def test_a_saved_file_plays_after_opening(job: dict[str, Any], folder: Path) -> None:
    assert np.array_equal(picture(folder / "reloaded.5.exr"), picture(folder / "render.5.exr"))


def test_the_flow_map_is_read_back(job: dict[str, Any], folder: Path) -> None:
    from loopcore.flowmap import read_motion

    (name,) = job["flow"]
    back = read_motion(folder / "flow maps" / name)
    assert (back.width, back.height) == (320, 180)
    assert 1.0 < np.abs(back.velocity).max() < 4.0


def test_maps_of_fast_motion_have_layers_and_shifts_of_tone(job: dict[str, Any]) -> None:
    kinds = {name.rsplit(".", 2)[0] for name in job["maps"]}
    assert kinds >= {"Plate_flow_shift", "Plate_flow_stmap_1", "Plate_flow_stmap_3"}
    assert len(job["maps"]) == 24 * len(kinds)


def test_the_still_is_restored_exactly(job: dict[str, Any], folder: Path) -> None:
    assert job["after"] == job["before"] == job["after all"]
    assert job["playing"]["source"] == "SEQUENCE"
    still = picture(folder / "plate.png")
    assert np.abs(picture(folder / "restored.exr") - still).max() < 2e-3


def test_previews_play_and_are_removed(job: dict[str, Any], folder: Path) -> None:
    assert job["preview"] == job["live"] == ["FINISHED"]
    viewport, material = job["preview playing"]
    assert viewport == "Plate_preview" and material == job["before"]["image"]
    assert np.abs(picture(folder / "live.3.exr") - picture(folder / "restored.exr")).max() > 0.02


def test_the_extension_can_be_uninstalled(job: dict[str, Any]) -> None:
    assert job["uninstalled"]
