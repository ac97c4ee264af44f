# SPDX-License-Identifier: Apache-2.0
"""Tests of flow maps: names, signs and units of each convention, round trips, and commands."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from _flow_files import field, raw_channels
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from loopcore.errors import MotionError, SequenceError
from loopcore.exr import write_exr
from loopcore.flowmap import STATIC, FlowSettings, detect, export_flow, read_motion
from loopcore.motion.field import MotionField
from loopcore.plate import Plate


def test_channels_of_nuke_blender_and_fusion(tmp_path: Path) -> None:
    motion = field(24, 33)
    fx, fy = motion.effective[..., 0], -motion.effective[..., 1]
    said = {
        "nuke": {"forward.u": fx, "forward.v": fy, "backward.u": -fx, "backward.v": -fy, "mask.a": motion.mask},
        "blender": {"Vector.X": -fx, "Vector.Y": -fy, "Vector.Z": -fx, "Vector.W": -fy, "mask.V": motion.mask},
        "fusion": {"velX": fx, "velY": fy, "rvelX": -fx, "rvelY": -fy, "A": motion.mask},
    }
    for convention, wanted in said.items():
        (path,) = export_flow(motion, tmp_path, convention)
        assert path.name == f"motion_{convention}.exr"
        found = raw_channels(path)
        assert found.keys() == wanted.keys()
        for name, values in wanted.items():
            assert found[name].dtype == np.float32
            assert np.abs(found[name] - values).max() == 0, name


def test_convention_motion_saves_the_field(tmp_path: Path) -> None:
    motion = field(20, 30)
    (path,) = export_flow(motion, tmp_path)
    assert path.name == "motion.exr"
    assert MotionField.load(path).digest() == motion.digest()
    assert read_motion(path).digest() == motion.digest()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.integers(1, 23), st.integers(1, 23), st.floats(-40, 40, width=32), st.floats(-40, 40, width=32),
    st.sampled_from([c for c in STATIC if c != "motion"]), st.sampled_from([8, 16]), st.sampled_from(["up", "down"]),
)  # fmt: skip
def test_static_conventions_round_trip(tmp_path, height, width, vx, vy, convention, bits, green) -> None:
    rng = np.random.default_rng(height * 31 + width)
    velocity = rng.normal(1, 0.2, (height, width, 2)).astype(np.float32) * np.array([vx, vy], np.float32)
    mask = rng.choice(np.array([0, 0.25, 1], np.float32), (height, width))
    motion = MotionField(velocity, mask, np.ones_like(mask))
    (path,) = export_flow(motion, tmp_path, convention, settings=FlowSettings(bits=bits, green=green))
    assert detect(path) == convention
    back = read_motion(path)
    fastest = np.abs(motion.effective).max()
    # Half a code of the conventions with codes; rounding of the division by the mask elsewhere.
    step = {"rsmb": (fastest + 1) / 65534}.get(convention, 1e-6 * fastest)
    if convention == "game":
        share = np.abs(motion.effective / (width, height)).max()
        step = share * max(width, height) / (2**bits - 1)
    # The error of the mask's code, where the mask is 0.25.
    step += fastest * (0.5 / 255 if convention == "game" and bits == 8 else 1e-5)
    assert np.abs(back.effective - motion.effective).max() <= step + 1e-6
    assert not back.velocity[mask == 0].any()
    if convention not in ("rsmb", "game"):
        assert np.array_equal(back.mask, mask)


def test_rsmb_codes(tmp_path: Path) -> None:
    velocity = np.zeros((2, 3, 2), np.float32)
    velocity[0, 1] = (8, 4)  # right and down: green is below the middle
    velocity[1, 2] = (-8, -8)
    motion = MotionField(velocity, np.ones((2, 3)), np.ones((2, 3)))
    (path,) = export_flow(motion, tmp_path, "rsmb", settings=FlowSettings(max_displace=8))
    import av

    with av.open(str(path)) as file:
        codes = next(file.decode(video=0)).to_ndarray(format="rgb48le")
    assert codes.dtype == np.uint16
    assert codes[0, 0, :2].tolist() == [32767, 32767]
    assert codes[0, 1, :2].tolist() == [65534, 16384]
    assert codes[1, 2, :2].tolist() == [0, 65534]
    with pytest.raises(MotionError, match="reaches 8.00 px"):
        export_flow(motion, tmp_path, "rsmb", settings=FlowSettings(max_displace=4))


@pytest.mark.parametrize(("green", "down"), [("up", 1), ("down", -1)])
def test_game_maps_offset_texture_coordinates(tmp_path: Path, green: str, down: int) -> None:
    velocity = np.zeros((10, 20, 2), np.float32)
    velocity[2, 3] = (2, 1)  # a tenth of the width right, a tenth of the height down
    motion = MotionField(velocity, np.ones((10, 20)), np.ones((10, 20)))
    (path,) = export_flow(motion, tmp_path, "game", settings=FlowSettings(bits=8, green=green, strength=0.1))
    from PIL import Image

    codes = np.asarray(Image.open(path))
    assert codes[0, 0].tolist() == [128, 128, 255]
    # The offset is opposite to the motion: left, and up in V where V points up.
    assert codes[2, 3].tolist() == [0, 255 if down > 0 else 0, 255]
    assert Image.open(path).text["loopcore/strength"] == "0.1"
    assert Image.open(path).text["loopcore/green"] == green


def test_openimageio_reads_the_same_values(tmp_path: Path) -> None:
    oiio = pytest.importorskip("OpenImageIO")
    motion = field(31, 47)
    for convention, names in {
        "nuke": {"forward.u", "forward.v", "backward.u", "backward.v", "mask.a"},
        "blender": {"Vector.X", "Vector.Y", "Vector.Z", "Vector.W", "mask.V"},
        "stmap": {"R", "G", "B"},
        "displace": {f"{a}.{b}" for a in ("past", "future", "weight") for b in "XYZ"},
    }.items():
        path = export_flow(motion, tmp_path, convention, settings=FlowSettings(frames=5, numbers=[1002]))[0]
        image = oiio.ImageBuf(str(path))
        spec = image.spec()
        assert set(spec.channelnames) == names
        assert spec.format == oiio.FLOAT and (spec.width, spec.height, spec.x, spec.y) == (47, 31, 0, 0)
        assert (spec.full_width, spec.full_height) == (47, 31)
        assert spec.getattribute("loopcore/convention") == convention
        assert spec.getattribute("compression") == "zip"
        assert "data" in (spec.getattribute("colorInteropID"), spec.getattribute("oiio:ColorSpace"))
        pixels, raw = image.get_pixels(oiio.FLOAT), raw_channels(path)
        for k, name in enumerate(spec.channelnames):
            assert np.abs(pixels[..., k] - raw[name]).max() == 0


def test_progress_cancelling_and_refusals(tmp_path: Path) -> None:
    motion = field(12, 14)
    seen: list[tuple[int, int, str]] = []
    export_flow(
        motion, tmp_path / "deep" / "er", "stmap", settings=FlowSettings(frames=4, numbers=[1002, 1003]),
        on_progress=lambda done, total, path: seen.append((done, total, path.name)),
    )  # fmt: skip
    assert [s[:2] for s in seen] == [(k, 6) for k in range(1, 7)]
    few = FlowSettings(frames=4)
    assert export_flow(motion, tmp_path / "none", "stmap", settings=few, cancelled=lambda: True) == []
    assert list((tmp_path / "none").iterdir()) == []
    with pytest.raises(SequenceError, match="1009 are not in the loop, which has 1001-1004"):
        export_flow(motion, tmp_path, "stmap", settings=FlowSettings(frames=4, numbers=[1009]))
    with pytest.raises(MotionError, match="unknown convention 'middlebury'"):
        export_flow(motion, tmp_path, "middlebury")
    with pytest.raises(MotionError, match="unknown extra"):
        export_flow(motion, tmp_path, settings=FlowSettings(extras=["hole"]))
    with pytest.raises(MotionError, match="at least 2"):
        export_flow(motion, tmp_path, "stmap", settings=FlowSettings(frames=1))
    (tmp_path / "file").write_text("")
    with pytest.raises(SequenceError, match="cannot make folder"):
        export_flow(motion, tmp_path / "file", "stmap", settings=few)
    (tmp_path / "motion_nuke.exr").mkdir()
    with pytest.raises(SequenceError, match="cannot write"):
        export_flow(motion, tmp_path, "nuke")
    assert not list(tmp_path.glob(".*tmp*"))


def test_flow_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from loopcore.cli.main import main

    motion = field(30, 44)
    motion.save(tmp_path / "m.exr")

    def flow(*words: object) -> int:
        return main(["flow", *map(str, words)])

    assert flow(tmp_path / "m.exr", "-o", tmp_path / "a", "--convention", "stmap", "--range", "1001-1003",
                "--cycles", 1, "--steady", 0) == 0  # fmt: skip
    assert len(list((tmp_path / "a").glob("m_stmap_past.100?.exr"))) == 3
    printed = capsys.readouterr().out
    assert "Progress: 100%" in printed and "Saved: " in printed and "9 files written" in printed
    pixels = np.random.default_rng(1).random((30, 44, 3), dtype=np.float32)
    write_exr(tmp_path / "plate.exr", {"RGB": pixels})
    looks = ("--convention", "stmap", "--range", "1003", "--cycles", 4, "--steady", 0.5)
    assert flow(tmp_path / "m.exr", "-o", tmp_path / "c", *looks, "--plate", tmp_path / "plate.exr") == 0
    assert sorted(p.name for p in (tmp_path / "c").iterdir())[0] == "m_shift.1003.exr"
    motion_maps = FlowSettings(numbers=[1003], cycles=4, steady=0.5)
    plate = Plate(pixels, ("R", "G", "B"))
    for path in export_flow(motion, tmp_path / "d", "stmap", name="m", settings=motion_maps, plate=plate):
        assert path.read_bytes() == (tmp_path / "c" / path.name).read_bytes()
    assert flow(tmp_path / "m.exr", "-o", tmp_path / "c", *looks) == 2
    assert "steady looks need the plate: give it (--plate)" in capsys.readouterr().err
    assert flow(tmp_path / "m.exr", "-o", tmp_path, "--convention", "game", "--green", "down", "--speed", 2) == 0
    assert flow(tmp_path / "m_game.png", "-o", tmp_path / "b", "--convention", "nuke") == 0
    back = read_motion(tmp_path / "b" / "m_game_nuke.exr")
    assert np.abs(back.effective - 2 * motion.effective).max() < 1e-3
    assert flow(tmp_path / "m.exr", "-o", tmp_path, "--convention", "maya") == 2
    assert "unknown convention 'maya'" in capsys.readouterr().err
    assert flow(tmp_path / "m.exr", "-o", tmp_path, "--from", "rsmb") == 2
    assert "is an EXR, which rsmb does not use" in capsys.readouterr().err


def test_animate_reads_any_flow_map(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from PIL import Image

    from loopcore.cli.main import main

    motion = field(30, 44)
    (pass_,) = export_flow(motion, tmp_path, "blender")
    (small,) = export_flow(motion.resized(15, 22), tmp_path / "small", "nuke")
    plate = tmp_path / "plate.png"
    Image.fromarray(np.random.default_rng(1).integers(0, 255, (30, 44, 3), np.uint8)).save(plate)

    def animate(*words: object) -> int:
        return main(["animate", str(plate), "-o", str(tmp_path / "out"), "--frames", "4", *map(str, words)])

    assert animate("--motion", pass_) == 0
    assert np.abs(MotionField.load(tmp_path / "out" / "motion.exr").effective - motion.effective).max() < 1e-6
    capsys.readouterr()
    assert animate("--motion", small) == 2
    assert "is 22x15 and the plate 44x30" in capsys.readouterr().err
    assert animate("--motion", small, "--rescale") == 0
    assert animate("--motion", pass_, "--convention", "stmap") == 2
    assert "lacks R and G" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["../evil", "a/b", "a\nb", "a\0b", "a\\b", "\ud800"])
@pytest.mark.parametrize("convention", ["motion", "nuke", "game", "stmap"])
def test_a_name_that_leaves_the_folder_is_refused_before_anything_is_written(
    tmp_path: Path, name: str, convention: str
) -> None:
    with pytest.raises(SequenceError, match="may not hold"):
        export_flow(field(20, 30), tmp_path / "out", convention, name=name, settings=FlowSettings(frames=3))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("frames", "first"), [(1_000_000_000, 1), (1_000_001, 1), (10, 999_999_995)])
def test_too_many_frames_are_refused_at_once(tmp_path: Path, frames: int, first: int) -> None:
    settings = FlowSettings(frames=frames, first=first, numbers=(first,))
    with pytest.raises(SequenceError, match=f"{frames} frames numbered from {first}: at most 1000000"):
        export_flow(field(20, 30), tmp_path / "out", "displace", settings=settings)
    assert not list(tmp_path.iterdir())
