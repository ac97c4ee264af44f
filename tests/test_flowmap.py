# SPDX-License-Identifier: Apache-2.0
"""Flow maps: names, signs and units as each program means them, there and back, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from loopcore.errors import MotionError, SequenceError
from loopcore.flowmap import PER_FRAME, STATIC, Numbers, Settings, detect, export_flow, read_motion_any
from loopcore.flowmap.maps import Maps, sources
from loopcore.loop import Loop
from loopcore.motion.field import MotionField
from loopcore.plate import Plate
from loopcore.transport import warp


def field(height: int, width: int, speed: float = 1.5, feather: bool = True) -> MotionField:
    """A whirl with a drift, inside a mask with a feathered edge."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    v = np.stack([1 + np.sin(y / 9), 0.6 * np.cos(x / 11) - 0.2], axis=-1) * np.float32(speed / 2)
    edge = np.minimum(np.minimum(x, width - 1 - x) / max(width, 2), np.minimum(y, height - 1 - y) / max(height, 2))
    mask = np.clip(edge * 8 - 0.5, 0, 1).astype(np.float32)
    if not feather:
        mask = (mask > 0.5).astype(np.float32)
    return MotionField(v, mask, np.ones_like(mask))


def raw_channels(path: Path) -> dict[str, np.ndarray]:
    """Read with the plain binding, nothing of ours between."""
    import OpenEXR

    with OpenEXR.File(str(path), separate_channels=True) as file:
        return {name: np.array(channel.pixels) for name, channel in file.channels().items()}


def test_nuke_blender_and_fusion_read_what_the_table_says(tmp_path: Path) -> None:
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


def test_motion_is_the_fields_own_file(tmp_path: Path) -> None:
    motion = field(20, 30)
    (path,) = export_flow(motion, tmp_path)
    assert path.name == "motion.exr"
    assert MotionField.load(path).digest() == motion.digest()
    assert read_motion_any(path).digest() == motion.digest()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.integers(1, 23), st.integers(1, 23), st.floats(-40, 40, width=32), st.floats(-40, 40, width=32),
    st.sampled_from([c for c in STATIC if c != "motion"]), st.sampled_from([8, 16]), st.sampled_from(["up", "down"]),
)  # fmt: skip
def test_static_conventions_come_back(tmp_path, height, width, vx, vy, convention, bits, green) -> None:
    rng = np.random.default_rng(height * 31 + width)
    velocity = rng.normal(1, 0.2, (height, width, 2)).astype(np.float32) * np.array([vx, vy], np.float32)
    mask = rng.choice(np.array([0, 0.25, 1], np.float32), (height, width))
    motion = MotionField(velocity, mask, np.ones_like(mask))
    (path,) = export_flow(motion, tmp_path, convention, settings=Settings(bits=bits, green=green))
    assert detect(path) == convention
    back = read_motion_any(path)
    fastest = np.abs(motion.effective).max()
    # Half a code of the conventions that have codes; a rounding of the mask's division elsewhere.
    step = {"rsmb": (fastest + 1) / 65534}.get(convention, 1e-6 * fastest)
    if convention == "game":
        share = np.abs(motion.effective / (width, height)).max()
        step = share * max(width, height) / (2**bits - 1)
    # The mask's own code, where it is a quarter.
    step += fastest * (0.5 / 255 if convention == "game" and bits == 8 else 1e-5)
    assert np.abs(back.effective - motion.effective).max() <= step + 1e-6
    assert not back.velocity[mask == 0].any()
    if convention not in ("rsmb", "game"):
        assert np.array_equal(back.mask, mask)


def test_rsmb_codes_are_the_makers(tmp_path: Path) -> None:
    velocity = np.zeros((2, 3, 2), np.float32)
    velocity[0, 1] = (8, 4)  # right and down: green is below the middle
    velocity[1, 2] = (-8, -8)
    motion = MotionField(velocity, np.ones((2, 3)), np.ones((2, 3)))
    (path,) = export_flow(motion, tmp_path, "rsmb", settings=Settings(max_displace=8))
    import av

    with av.open(str(path)) as file:
        codes = next(file.decode(video=0)).to_ndarray(format="rgb48le")
    assert codes.dtype == np.uint16
    assert codes[0, 0, :2].tolist() == [32767, 32767]
    assert codes[0, 1, :2].tolist() == [65534, 16384]
    assert codes[1, 2, :2].tolist() == [0, 65534]
    with pytest.raises(MotionError, match="reaches 8.00 px"):
        export_flow(motion, tmp_path, "rsmb", settings=Settings(max_displace=4))


@pytest.mark.parametrize(("green", "down"), [("up", 1), ("down", -1)])
def test_game_maps_pull_texture_coordinates(tmp_path: Path, green: str, down: int) -> None:
    velocity = np.zeros((10, 20, 2), np.float32)
    velocity[2, 3] = (2, 1)  # a tenth of the width right, a tenth of the height down
    motion = MotionField(velocity, np.ones((10, 20)), np.ones((10, 20)))
    (path,) = export_flow(motion, tmp_path, "game", settings=Settings(bits=8, green=green, strength=0.1))
    from PIL import Image

    codes = np.asarray(Image.open(path))
    assert codes[0, 0].tolist() == [128, 128, 255]
    # Fetching moves against the content: left, and up in V where V points up.
    assert codes[2, 3].tolist() == [0, 255 if down > 0 else 0, 255]
    assert Image.open(path).text["loopcore/strength"] == "0.1"
    assert Image.open(path).text["loopcore/green"] == green


def rebuilt(folder: Path, number: int, still: np.ndarray) -> np.ndarray:
    """A loop frame from nothing but the still and the files, as docs/flow-maps.md puts it."""
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
    """Exactly, where the motion does not squeeze the plate: a slow whirl, and a fast drift out of the picture."""
    motion = field(*size, speed=0.1)
    if drift:
        motion = MotionField(np.full((*size, 2), (2.5, -1.5)), np.ones(size), np.ones(size))
    pixels = np.random.default_rng(2).random((*size, 3), dtype=np.float32)
    loop = Loop(Plate(pixels, ("R", "G", "B")), motion, 12, contrast=0)
    written = export_flow(motion, tmp_path, "stmap", settings=Settings(frames=12, numbers=[1001, 1004, 1012]))
    assert len(written) == 9
    for number in (1001, 1004, 1012):
        off = np.abs(rebuilt(tmp_path, number, pixels) - loop.frame(number - 1001))
        # A coordinate within 1e-4 px of a row may round to its other side, where the filter's range is another.
        assert np.quantile(off, 0.9999) < 2e-3
    # Nothing is fetched from outside the picture, and what is still is the identity, exactly.
    maps = raw_channels(tmp_path / "motion_stmap_past.1004.exr")
    assert maps["R"].dtype == np.float32 and (maps["B"] == 1).all()
    for name, count in (("R", size[1]), ("G", size[0])):
        assert maps[name].min() >= 0.49 / count and maps[name].max() <= 1 - 0.49 / count
    x = (np.arange(size[1], dtype=np.float32) + np.float32(0.5)) / np.float32(size[1])
    still = motion.mask == 0
    assert np.array_equal(maps["R"][still], np.broadcast_to(x, size)[still])
    share = raw_channels(tmp_path / "motion_weight.1004.exr")
    assert np.abs(share["R"] + share["G"] + share["B"] - 1).max() < 1e-6


def test_stmaps_rebuild_a_loop_that_is_squeezed(tmp_path: Path) -> None:
    motion = field(120, 160, speed=2)
    y, x = np.mgrid[0:120, 0:160].astype(np.float32)
    pixels = np.stack([0.5 + 0.4 * np.sin(x / 5 + k) * np.cos(y / 7) for k in range(3)], axis=-1).astype(np.float32)
    loop = Loop(Plate(pixels, ("R", "G", "B")), motion, 12, contrast=0)
    export_flow(motion, tmp_path, "stmap", settings=Settings(frames=12, numbers=[1006]))
    off = rebuilt(tmp_path, 1006, pixels) - loop.frame(5)
    assert -10 * np.log10(np.mean(off**2)) > 45


def test_coordinates_are_mirrored_at_the_border() -> None:
    shift = np.zeros((4, 5, 2), np.float32)
    shift[0, 0], shift[3, 4], shift[1, 2] = (-1.25, -2), (3, 1), (2 * 4 + 1, 0)
    x, y = sources(shift)
    assert (x[0, 0], y[0, 0]) == (1.25, 2) and (x[3, 4], y[3, 4]) == (1, 2)
    assert x[1, 2] == 3


def test_displace_pushes_and_idistort_pulls(tmp_path: Path) -> None:
    motion = field(40, 50, speed=3)
    chosen = Settings(frames=10, numbers=[1003])
    (push,), (pull,) = (export_flow(motion, tmp_path, c, settings=chosen) for c in ("displace", "idistort"))
    maps = Maps(motion, 10).at(2)
    x, y = sources(maps.past)
    pushed, pulled = raw_channels(push), raw_channels(pull)
    assert np.abs(pulled["past.u"] - (x - np.arange(50))).max() < 1e-5
    assert np.abs(pulled["past.v"] + (y - np.arange(40)[:, None])).max() < 1e-5
    assert np.abs(pushed["past.X"] + pulled["past.u"]).max() == 0
    assert np.abs(pushed["past.Y"] + pulled["past.v"]).max() == 0
    assert not pushed["past.Z"].any()
    assert np.abs(pushed["weight.X"] - maps.shares[..., 0]).max() == 0


@pytest.mark.parametrize("convention", PER_FRAME)
@pytest.mark.parametrize("speed", [0.5, 3.0])
def test_per_frame_conventions_come_back(tmp_path: Path, convention: str, speed: float) -> None:
    motion = field(90, 120, speed)
    files = export_flow(motion, tmp_path, convention, settings=Settings(frames=20, numbers=[1002, 1019, 1020]))
    assert detect(files[0]) == convention
    for number, direction in ((1002, "past"), (1020, "future")):
        kind = f"stmap_{direction}" if convention == "stmap" else convention
        back = read_motion_any(tmp_path / f"motion_{kind}.{number}.exr")
        assert (back.confidence > 0).mean() > 0.9
        off = np.abs(back.effective - motion.effective)
        # The mask's edge is a kink, which a map of several pixels smooths.
        assert np.quantile(off, 0.9) < 0.004 * speed and off.max() < 0.05 * speed
        assert np.abs(back.mask - motion.mask).max() < 1e-6


def test_a_map_of_half_the_loop_is_too_far_to_read_back(tmp_path: Path) -> None:
    files = export_flow(field(90, 120, 3), tmp_path, "idistort", settings=Settings(frames=60, numbers=[1001, 1031]))
    with pytest.raises(MotionError, match="spans 30 frames.*next to the first"):
        read_motion_any(files[1])
    with pytest.raises(MotionError, match="spans 60 frames"):
        read_motion_any(files[0])


def test_maps_read_at_the_border_of_a_field_that_leaves_the_picture(tmp_path: Path) -> None:
    velocity = np.full((20, 30, 2), 2.5, np.float32)
    motion = MotionField(velocity, np.ones((20, 30)), np.ones((20, 30)))
    export_flow(motion, tmp_path, "stmap", settings=Settings(frames=8, numbers=[1002]))
    back = read_motion_any(tmp_path / "motion_stmap_past.1002.exr")
    assert np.abs(back.velocity - velocity).max() < 1e-3
    assert not back.confidence[0].any() and back.confidence[10, 10] == 1


def test_extras_are_written_on_request(tmp_path: Path) -> None:
    motion = field(48, 56, speed=5)
    chosen = Settings(frames=6, numbers=[1003], extras=("displacement", "holes", "weight"))
    names = {path.name for path in export_flow(motion, tmp_path, "nuke", name="a", settings=chosen)}
    assert names == {"a_nuke.exr", "a_displacement.1003.exr", "a_holes.1003.exr", "a_weight.1003.exr"}
    moved = raw_channels(tmp_path / "a_displacement.1003.exr")
    maps = Maps(motion, 6)
    assert np.abs(moved["carried.u"] - maps.carried(2)[..., 0]).max() == 0
    assert np.abs(moved["fetched.v"] + maps.carried(-2)[..., 1]).max() == 0
    # What is carried from p to q is fetched at q from p: the two undo each other.
    forward, backward = maps.carried(2), maps.carried(-2)
    inside = np.s_[14:-14, 14:-14]
    assert np.abs(forward + warp(backward, forward))[inside].max() < 0.02
    holes = raw_channels(tmp_path / "a_holes.1003.exr")
    assert set(np.unique(holes["holes.X"])) <= {0.0, 1.0}
    assert np.array_equal(holes["holes.Z"], np.minimum(holes["holes.X"], holes["holes.Y"]))
    assert not holes["holes.X"][motion.mask == 0].any()


def test_an_independent_reader_sees_the_same(tmp_path: Path) -> None:
    oiio = pytest.importorskip("OpenImageIO")
    motion = field(31, 47)
    for convention, names in {
        "nuke": {"forward.u", "forward.v", "backward.u", "backward.v", "mask.a"},
        "blender": {"Vector.X", "Vector.Y", "Vector.Z", "Vector.W", "mask.V"},
        "stmap": {"R", "G", "B"},
        "displace": {f"{a}.{b}" for a in ("past", "future", "weight") for b in "XYZ"},
    }.items():
        path = export_flow(motion, tmp_path, convention, settings=Settings(frames=5, numbers=[1002]))[0]
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


def write_raw(path: Path, channels: dict[str, np.ndarray], **header: object) -> Path:
    import OpenEXR

    full = {"type": OpenEXR.scanlineimage, "compression": OpenEXR.ZIP_COMPRESSION, **header}
    OpenEXR.File(full, {k: np.ascontiguousarray(v) for k, v in channels.items()}).write(str(path))
    return path


def test_blenders_vector_pass_of_a_layer(tmp_path: Path) -> None:
    flat = np.ones((4, 6), np.float32)
    names = {f"ViewLayer.Vector.{c}": v * flat for c, v in zip("XYZW", (-3, -2, -3, -2), strict=True)}
    path = write_raw(tmp_path / "render.exr", {**names, "ViewLayer.Combined.R": flat})
    back = read_motion_any(path)
    assert (back.velocity == (3, -2)).all() and (back.mask == 1).all()
    other = {f"Other.Vector.{c}": flat for c in "XYZW"}
    with pytest.raises(MotionError, match=r"more than once \(Other.Vector.X, ViewLayer.Vector.X\)"):
        read_motion_any(write_raw(tmp_path / "two.exr", names | other))


def test_cropped_windows_are_filled_with_stillness(tmp_path: Path) -> None:
    flat = np.full((4, 6), 2, np.float32)
    header = {"dataWindow": ((3, -1), (8, 2)), "displayWindow": ((0, 0), (9, 4))}
    for names in (("forward.u", "forward.v"), ("rgba.forward.u", "rgba.forward.v")):
        path = write_raw(tmp_path / "crop.exr", dict.fromkeys(names, flat), **header)
        back = read_motion_any(path)
        assert back.velocity.shape == (5, 10, 2)
        assert (back.velocity[:3, 3:9] == (2, -2)).all()
        assert np.abs(back.velocity).sum() == 4 * 18


def test_middlebury_files(corpus: Path, tmp_path: Path) -> None:
    found = sorted((corpus / "flow").glob("*.flo"))
    assert found
    for path in found:
        assert detect(path) == "flo"
        back = read_motion_any(path)
        data = path.read_bytes()
        width, height = np.frombuffer(data, "<i4", 2, 4)
        raw = np.frombuffer(data, "<f4", offset=12).reshape(height, width, 2)
        known = (np.abs(raw) < 1e9).all(axis=2)
        assert np.array_equal(back.velocity[known], raw[known])
        assert np.array_equal(back.mask > 0, known) and np.array_equal(back.confidence > 0, known)
        # And on to Nuke and back, without loss.
        (nuke,) = export_flow(back, tmp_path, "nuke")
        assert np.array_equal(read_motion_any(nuke).velocity, np.where(known[..., None], raw, 0))
    (tmp_path / "cut.flo").write_bytes(data[:1000])
    with pytest.raises(MotionError, match="damaged"):
        read_motion_any(tmp_path / "cut.flo")


def test_kitti(tmp_path: Path) -> None:
    from loopcore.flowmap.pictures import encode_png

    codes = np.zeros((3, 4, 3), np.uint16)
    codes[1, 2] = (32768 + 64 * 5, 32768 - 32, 1)
    path = tmp_path / "000000_10.png"
    path.write_bytes(encode_png(codes, {}))
    assert detect(path) == "kitti"
    back = read_motion_any(path)
    assert back.velocity[1, 2].tolist() == [5, -0.5]
    assert back.mask.sum() == back.confidence.sum() == 1 and not back.velocity[0].any()


def test_what_is_wrong_is_said(tmp_path: Path) -> None:
    from PIL import Image

    y, x = np.mgrid[0:8, 0:16].astype(np.float32)
    ramp = {"R": (x + 0.5) / 16, "G": 1 - (y + 0.5) / 8, "B": np.ones_like(x)}
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "v.png")
    (tmp_path / "text.exr").write_text("hello there")
    holes = np.where(x == 3, np.nan, x)
    cases = [
        (tmp_path / "v.png", "nuke", "8 or 16 bits hold no signed pixels.*32-bit EXR"),
        (tmp_path / "v.png", None, "name the convention"),
        (tmp_path / "v.png", "rsmb", "export 16"),
        (tmp_path / "v.png", "kitti", "8 bits"),
        (tmp_path / "none.exr", None, "does not exist"),
        (tmp_path / "text.exr", None, "neither EXR, PNG nor"),
        (write_raw(tmp_path / "a.exr", {"R": x, "G": y}), None, "no flow map known"),
        (tmp_path / "a.exr", "nuke", "lacks forward.u and forward.v"),
        (tmp_path / "a.exr", "stmap", "is no STMap: red spans 0 to 15"),
        (tmp_path / "a.exr", "game", "is an EXR, and game is not"),
        (tmp_path / "a.exr", "maya", "unknown convention 'maya'"),
        (write_raw(tmp_path / "h.exr", {k: v.astype(np.float16) for k, v in ramp.items()}), None, "32-bit float"),
        (write_raw(tmp_path / "g.exr", {"R": ramp["R"]}), "stmap", "lacks G"),
        (write_raw(tmp_path / "f.exr", {**ramp, "G": 1 - ramp["G"]}), None, "start at the bottom left"),
        (write_raw(tmp_path / "n.exr", {"forward.u": holes, "forward.v": y}), None, r"NaN or Inf \(first at x 3, y 0"),
        (write_raw(tmp_path / "s.exr", {**ramp, "R": ramp["R"] + holes * 0}), "stmap", "NaN or Inf"),
    ]
    for path, convention, words in cases:
        with pytest.raises(MotionError, match=words) as caught:
            read_motion_any(path, convention)
        assert path.name in str(caught.value) or convention == "maya"


def test_another_size_is_rescaled_only_when_asked(tmp_path: Path) -> None:
    motion = MotionField(np.full((10, 20, 2), 2, np.float32), np.ones((10, 20)), np.ones((10, 20)))
    (path,) = export_flow(motion, tmp_path, "blender")
    assert read_motion_any(path, size=(10, 20)).width == 20
    with pytest.raises(MotionError, match="is 20x10 and the plate 60x20.*rescaled"):
        read_motion_any(path, size=(20, 60))
    back = read_motion_any(path, size=(20, 60), rescale=True)
    assert np.allclose(back.velocity, (6, 4))


def test_foreign_pictures_need_their_numbers(tmp_path: Path) -> None:
    from loopcore.flowmap.pictures import encode_png

    codes = np.full((3, 4, 3), 65534, np.uint16)
    (tmp_path / "r.png").write_bytes(encode_png(codes, {}))
    with pytest.raises(MotionError, match="does not say its max displace"):
        read_motion_any(tmp_path / "r.png", "rsmb")
    back = read_motion_any(tmp_path / "r.png", "rsmb", numbers=Numbers(max_displace=16))
    assert (back.velocity == (16, -16)).all() and (back.mask == 1).all()
    with pytest.raises(MotionError, match="green"):
        read_motion_any(tmp_path / "r.png", "game", numbers=Numbers(strength=0.1))


def test_progress_cancelling_and_refusals(tmp_path: Path) -> None:
    motion = field(12, 14)
    seen: list[tuple[int, int, str]] = []
    export_flow(
        motion, tmp_path / "deep" / "er", "stmap", settings=Settings(frames=4, numbers=[1002, 1003]),
        on_progress=lambda done, total, path: seen.append((done, total, path.name)),
    )  # fmt: skip
    assert [s[:2] for s in seen] == [(k, 6) for k in range(1, 7)]
    assert export_flow(motion, tmp_path / "none", "stmap", cancelled=lambda: True) == []
    assert list((tmp_path / "none").iterdir()) == []
    with pytest.raises(SequenceError, match="1009 are not in the loop, which has 1001-1004"):
        export_flow(motion, tmp_path, "stmap", settings=Settings(frames=4, numbers=[1009]))
    with pytest.raises(MotionError, match="unknown convention 'middlebury'"):
        export_flow(motion, tmp_path, "middlebury")
    with pytest.raises(MotionError, match="unknown extra"):
        export_flow(motion, tmp_path, settings=Settings(extras=["hole"]))
    with pytest.raises(MotionError, match="at least 2"):
        export_flow(motion, tmp_path, "stmap", settings=Settings(frames=1))
    (tmp_path / "file").write_text("")
    with pytest.raises(SequenceError, match="cannot make folder"):
        export_flow(motion, tmp_path / "file", "stmap")
    (tmp_path / "motion_nuke.exr").mkdir()
    with pytest.raises(SequenceError, match="cannot write"):
        export_flow(motion, tmp_path, "nuke")
    assert not list(tmp_path.glob(".*tmp*"))


def test_the_command_writes_converts_and_refuses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from loopcore.cli import main

    motion = field(30, 44)
    motion.save(tmp_path / "m.exr")

    def flow(*words: object) -> int:
        return main(["flow", *map(str, words)])

    assert flow(tmp_path / "m.exr", "-o", tmp_path / "a", "--convention", "stmap", "--range", "1001-1003") == 0
    assert len(list((tmp_path / "a").glob("m_stmap_past.100?.exr"))) == 3
    printed = capsys.readouterr().out
    assert "Progress: 100%" in printed and "Saved: " in printed and "9 files written" in printed
    assert flow(tmp_path / "m.exr", "-o", tmp_path, "--convention", "game", "--green", "down", "--speed", 2) == 0
    assert flow(tmp_path / "m_game.png", "-o", tmp_path / "b", "--convention", "nuke") == 0
    back = read_motion_any(tmp_path / "b" / "m_game_nuke.exr")
    assert np.abs(back.effective - 2 * motion.effective).max() < 1e-3
    assert flow(tmp_path / "m.exr", "-o", tmp_path, "--convention", "maya") == 2
    assert "unknown convention 'maya'" in capsys.readouterr().err
    assert flow(tmp_path / "m.exr", "-o", tmp_path, "--from", "rsmb") == 2
    assert "is an EXR, and rsmb is not kept in one" in capsys.readouterr().err


def test_animate_takes_any_flow_map(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from PIL import Image

    from loopcore.cli import main

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


def nuke_result(script: str, read, through) -> np.ndarray:
    """What a .nk script computes, by the rules of its stack: a node takes its inputs from the top, the first on top.

    read(file name) and through(picture, coordinates) give (H, W, 3).
    """
    stack: list[np.ndarray] = []
    kept: dict[str, np.ndarray] = {}
    lines = iter(script.splitlines())
    for line in lines:
        words = line.split()
        if line.startswith("#") or not words:
            continue
        if words[0] == "set":
            assert words[2:] == ["[stack", "0]"]
            kept[words[1]] = stack[-1]
        elif words[0] == "push":
            stack.append(kept[words[1].removeprefix("$")])
        else:
            assert words[1:] == ["{"]
            knobs = dict(knob.strip().split(" ", 1) for knob in iter(lines.__next__, "}"))
            inputs = [stack.pop() for _ in range(int(knobs.get("inputs", 1)))]
            if words[0] == "Read":
                stack.append(read(knobs["file"]))
            elif words[0] == "Expression":
                assert len({knobs[f"expr{k}"] for k in range(4)}) == 1
                stack.append(inputs[0][..., ["rgb".index(knobs["expr0"])] * 3])
            elif words[0] == "STMap":
                stack.append(through(*inputs))
            else:
                assert words[0] == "Merge2" and knobs["operation"] in ("multiply", "plus")
                stack.append(inputs[1] * inputs[0] if knobs["operation"] == "multiply" else inputs[1] + inputs[0])
    return stack[-1]


def test_the_nuke_script_rebuilds_the_loop(tmp_path: Path) -> None:
    """Its graph and the names of its files, by an interpreter of ours: Nuke itself was not at hand."""
    script = Path(__file__).resolve().parents[1] / "examples" / "nuke" / "stmap_loop.nk"
    motion = field(40, 60, speed=1)
    pixels = np.random.default_rng(2).random((40, 60, 3), dtype=np.float32)
    export_flow(motion, tmp_path, "stmap", settings=Settings(frames=12, numbers=[1004]))

    def read(name: str) -> np.ndarray:
        if name == "still.exr":
            return pixels
        channels = raw_channels(tmp_path / name.replace("####", "1004"))
        return np.stack([channels[c] for c in "RGB"], axis=-1)

    def through(still: np.ndarray, m: np.ndarray) -> np.ndarray:
        y, x = np.mgrid[0:40, 0:60]
        fetch = np.stack([m[..., 0] * 60 - 0.5 - x, 39.5 - m[..., 1] * 40 - y], axis=-1)
        return warp(still, fetch.astype(np.float32))

    made = nuke_result(script.read_text("utf-8"), read, through)
    assert np.abs(made - rebuilt(tmp_path, 1004, pixels)).max() < 1e-6
    moved = Loop(Plate(pixels, ("R", "G", "B")), motion, 12, contrast=0).frame(3)
    assert np.abs(made - pixels).max() > 0.1 > np.abs(made - moved).mean()
