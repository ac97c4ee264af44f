# SPDX-License-Identifier: Apache-2.0
"""Tests of the worker's methods, with real processes and pipes."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import _scenes
import numpy as np
import pytest
from _workers import Client, animation, make_scene

from loopcore import __version__
from loopcore.color import encode_8bit
from loopcore.files.atomic import temporary_mark
from loopcore.plate import read_plate


@pytest.fixture
def client() -> Iterator[Client]:
    client = Client(_scenes.command("worker"))
    yield client
    client.end()


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_scene(tmp_path_factory.mktemp("scene"))


def test_hello(client: Client) -> None:
    said = client.call("hello")
    assert said["version"] == __version__ and said["python"] == ".".join(map(str, sys.version_info[:3]))
    assert said["device"].startswith("cpu") and (said["torch"] is None or said["torch"][0].isdigit())


def test_the_first_message_has_the_mark_of_its_temporary_files(client: Client) -> None:
    client.call("hello")
    host = temporary_mark().partition("-")[2]
    assert client.started == {"temporaries": f"{client.process.pid}-{host}"}


def test_animate_check_and_flow(client: Client, scene: Path, tmp_path: Path) -> None:
    out, motion = tmp_path / "frames 画", tmp_path / "new" / "m.exr"
    plate, hints = str(scene / "plate.png"), str(scene / "hints.json")
    solved = client.call("predict", plate=plate, hints=hints, motion_out=str(motion))
    assert solved == {"motion": str(motion), "width": 160, "height": 90} and motion.is_file()
    baked = client.call(
        "animate", plate=plate, motion=str(motion), folder=str(out), name="falls", frames=6, fps="24000/1001",
        first=1001, method="warp", contrast=1, speed=2.0, format="exr", overwrite=False, resolution=100, threads=1,
        compression="piz",
    )  # fmt: skip
    assert baked == {
        "folder": str(out), "pattern": "falls.####.exr", "first": 1001, "frames": 6, "written": 6, "skipped": 0,
        "motion": str(out / "motion.exr"), "width": 160, "height": 90,
    }  # fmt: skip
    steps = [step for step in client.progress if step["message"] == "Frames"]
    assert [step["done"] for step in steps] == [1, 2, 3, 4, 5, 6] and {step["total"] for step in steps} == {6}
    assert {step["path"] for step in steps} == {str(out / f"falls.{n}.exr") for n in range(1001, 1007)}
    rows = {row["name"]: row for row in client.call("check", folder=str(out))["rows"]}
    assert rows["missing frames"]["passed"] and rows["static: largest difference outside the mask"]["value"] == 0
    flow = {"motion": str(motion), "folder": str(tmp_path / "flow"), "convention": "stmap", "frames": 3}
    files = client.call("flow", **flow)["files"]
    assert len(files) == 9 and all(Path(file).is_file() for file in files)
    looks = {"frames": 12, "cycles": 4, "steady": 0.5, "range": "1003", "name": "looks"}
    files = client.call("flow", **flow | looks, plate=plate)["files"]
    assert [Path(file).name for file in files] == [
        "looks_shift.1003.exr",
        *(f"looks_stmap_{k}.1003.exr" for k in (1, 2, 3)),
    ]
    assert "steady looks need the plate" in client.error("flow", **flow | looks)[1]
    assert client.call("flow", **flow | {"convention": "nuke"}, plate="missing.png")["files"]
    again = client.call(
        "animate",
        plate=plate,
        motion=str(motion),
        folder=str(out),
        name="falls",
        frames=6,
        fps="24000/1001",
        speed=2.0,
        verify=True,
    )
    assert (again["written"], again["skipped"]) == (0, 6)


def test_inputs_are_not_overwritten(client: Client, scene: Path, tmp_path: Path) -> None:
    plate, motion = _scenes.exr(tmp_path / "p.exr", _scenes.linear("RGB"), "RGB"), tmp_path / "m.exr"
    before = plate.read_bytes()
    refused = [("predict", {"plate": str(plate), "motion_out": str(plate)})]
    given = {"plate": str(plate), "hints": str(scene / "hints.json")}
    solved = client.call("predict", **given, motion_out=str(motion))
    assert solved == client.call("predict", **given, motion_out=str(motion))  # over its own result
    refused += [
        ("animate", animation(scene, tmp_path, plate=str(plate), name="p", frames=3, range="1001")),
        ("flow", {"motion": str(motion), "folder": str(tmp_path), "convention": "motion", "speed": 2}),
        ("flow", {"motion": str(motion), "folder": str(tmp_path), "convention": "motion", "name": "p",
                  "plate": str(plate)}),
    ]  # fmt: skip
    plate.rename(tmp_path / "p.1001.exr")
    refused[1][1]["plate"] = str(tmp_path / "p.1001.exr")
    (tmp_path / "p.exr").write_bytes(before)
    stored = motion.read_bytes()
    for method, params in refused:
        code, words = client.error(method, **params)
        assert code < 0 and "would be overwritten" in words
    assert plate.read_bytes() == before == (tmp_path / "p.1001.exr").read_bytes() and motion.read_bytes() == stored


def test_arrows_sample_the_motion_on_a_grid(client: Client, scene: Path, tmp_path: Path) -> None:
    from loopcore.motion.field import MotionField

    y, x = np.mgrid[0:90, 0:160].astype(np.float32)
    mask = (x > 79).astype(np.float32)
    motion = MotionField(np.stack([x / 100, -y / 50], axis=-1), mask, np.ones_like(mask))
    motion.save(tmp_path / "m.exr")
    drawn = client.call("arrows", motion=str(tmp_path / "m.exr"), spacing_px=20)
    assert (drawn["width"], drawn["height"]) == (160, 90)
    points = np.array(drawn["points"])
    assert len(points) == 4 * 4 and points[:, 0].min() > 79  # nothing where nothing moves
    assert np.unique(np.diff(np.unique(points[:, 0]))).tolist() == [20]
    np.testing.assert_allclose(points[:, 2:], points[:, :2] / (100, -50), atol=1e-4)


def test_a_smaller_resolution(client: Client, scene: Path, tmp_path: Path) -> None:
    motion = tmp_path / "m.exr"
    client.call("predict", plate=str(scene / "plate.png"), hints=str(scene / "hints.json"), motion_out=str(motion))
    for given in ({"hints": str(scene / "hints.json")}, {"motion": str(motion)}):
        out = tmp_path / next(iter(given))
        plate = {"plate": str(scene / "plate.png"), "folder": str(out)}
        baked = client.call("animate", **plate, **given, frames=4, resolution=33)
        assert (baked["width"], baked["height"]) == (53, 30)
        frame = read_plate(out / "plate_loop.1001.exr")
        still = read_plate(scene / "plate.png").pixels
        assert frame.pixels.shape == (30, 53, 3)
        assert abs(frame.pixels.mean() - still.mean()) < 0.02 * still.mean()  # light is averaged, not codes
        rows = {row["name"]: row["passed"] for row in client.call("check", folder=str(out))["rows"]}
        assert rows["closure: frame N against frame 0"] and rows["damaged, misplaced or of another recipe"]


@pytest.mark.parametrize("channels", ["RGB", "RGBA"])
def test_viewport_copies_match_the_frames(
    client: Client, scene: Path, tmp_path: Path, channels: str
) -> None:  # fmt: skip
    from PIL import Image

    plate = _scenes.png(tmp_path / "p.png", channels)
    params = animation(scene, tmp_path / "out", plate=str(plate), frames=3, proxy=True)
    baked = client.call("animate", **params)
    suffix = ".png" if channels == "RGBA" else ".jpg"
    assert baked["proxy_pattern"] == f"proxy/p_loop.####{suffix}"
    copies = sorted((tmp_path / "out" / "proxy").iterdir())
    assert [copy.name for copy in copies] == [f"p_loop.{n}{suffix}" for n in (1001, 1002, 1003)]
    frame = read_plate(tmp_path / "out" / "p_loop.1002.exr").pixels
    with Image.open(copies[1]) as picture:
        assert picture.mode == channels
        shown = np.asarray(picture).astype(int)
    colour = frame[..., :3] / frame[..., 3:] if channels == "RGBA" else frame
    limit = 1 if suffix == ".png" else 60
    off = abs(shown[..., :3] - encode_8bit(np.ascontiguousarray(colour)))
    assert np.percentile(off, 99) <= limit and off.mean() <= limit / 10
    copies[2].unlink()
    before = copies[0].stat().st_mtime_ns
    client.call("animate", **params)
    assert copies[2].is_file() and copies[0].stat().st_mtime_ns == before  # only what was missing
