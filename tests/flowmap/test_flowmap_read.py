# SPDX-License-Identifier: Apache-2.0
"""Tests of reading flow maps of other programs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from loopcore.errors import MotionError
from loopcore.flowmap import FlowNumbers, detect, export_flow, read_motion
from loopcore.motion.field import MotionField


def write_raw(path: Path, channels: dict[str, np.ndarray], **header: object) -> Path:
    import OpenEXR

    full = {"type": OpenEXR.scanlineimage, "compression": OpenEXR.ZIP_COMPRESSION, **header}
    OpenEXR.File(full, {k: np.ascontiguousarray(v) for k, v in channels.items()}).write(str(path))
    return path


def test_blenders_vector_pass_of_a_layer(tmp_path: Path) -> None:
    flat = np.ones((4, 6), np.float32)
    names = {f"ViewLayer.Vector.{c}": v * flat for c, v in zip("XYZW", (-3, -2, -3, -2), strict=True)}
    path = write_raw(tmp_path / "render.exr", {**names, "ViewLayer.Combined.R": flat})
    back = read_motion(path)
    assert (back.velocity == (3, -2)).all() and (back.mask == 1).all()
    other = {f"Other.Vector.{c}": flat for c in "XYZW"}
    with pytest.raises(MotionError, match=r"more than once \(Other.Vector.X, ViewLayer.Vector.X\)"):
        read_motion(write_raw(tmp_path / "two.exr", names | other))


def test_outside_the_data_window_there_is_no_motion(tmp_path: Path) -> None:
    flat = np.full((4, 6), 2, np.float32)
    header = {"dataWindow": ((3, -1), (8, 2)), "displayWindow": ((0, 0), (9, 4))}
    for names in (("forward.u", "forward.v"), ("rgba.forward.u", "rgba.forward.v")):
        path = write_raw(tmp_path / "crop.exr", dict.fromkeys(names, flat), **header)
        back = read_motion(path)
        # One row of the data window is above the display window.
        assert back.velocity.shape == (6, 10, 2) and back.windows.offset == (0, 1)
        assert (back.velocity[:4, 3:9] == (2, -2)).all()
        assert np.abs(back.velocity).sum() == 4 * 24


def vectors(names: str, **more: np.ndarray) -> dict[str, np.ndarray]:
    """Two pixels per frame to the right, in channels of these names for x and y."""
    flat = np.full((20, 30), 2, np.float32)
    x, *y = names.split()
    return {x: flat, y[0]: flat * 0, **more}


def square() -> np.ndarray:
    mask = np.zeros((20, 30), np.float32)
    mask[5:12, 8:20] = 0.5
    return mask


@pytest.mark.parametrize("mask", ["mask.V", "mask.a", "mask.A", "layer.mask.V"])
@pytest.mark.parametrize("names", ["forward.u forward.v", "Vector.Z Vector.W", "velX velY", "past.u past.v"])
def test_the_mask_of_another_programs_vectors(names: str, mask: str, tmp_path: Path) -> None:
    convention = "blender" if "Vector" in names else None
    path = write_raw(tmp_path / "v.exr", vectors(names, **{mask: square()}))
    back = read_motion(path, convention)
    assert np.array_equal(back.mask, square()) and (np.abs(back.velocity[..., 0]) == 2).all()


def test_a_mask_beside_an_alpha_is_preferred(tmp_path: Path) -> None:
    flat = np.ones((20, 30), np.float32)
    path = write_raw(tmp_path / "v.exr", vectors("velX velY", A=flat, **{"mask.V": square()}))
    assert np.array_equal(read_motion(path).mask, square())
    assert np.array_equal(read_motion(write_raw(tmp_path / "a.exr", vectors("velX velY", A=square()))).mask, square())


def test_a_mask_of_a_stmap(tmp_path: Path) -> None:
    x, y = np.meshgrid((np.arange(30) + 0.5) / 30, 1 - (np.arange(20) + 0.5) / 20)
    shifted = {"R": (x - 1 / 30).astype(np.float32), "G": y.astype(np.float32)}
    path = write_raw(tmp_path / "st.exr", {**shifted, "mask.V": square()})
    back = read_motion(path)
    assert np.array_equal(back.mask, square())
    np.testing.assert_allclose(back.velocity[5:12, 8:20], np.broadcast_to((1, 0), (7, 12, 2)), atol=1e-4)


@pytest.mark.parametrize("convention", [None, "motion"])
@pytest.mark.parametrize("mask", ["mask.V", "mask.a"])
def test_masks_are_clipped_and_refused_where_not_finite(mask: str, convention: str | None, tmp_path: Path) -> None:
    wild = square() * 4 - 1  # -1 and 1
    wild[0, 0] = 2
    back = read_motion(write_raw(tmp_path / "w.exr", vectors("forward.u forward.v", **{mask: wild})), convention)
    assert np.array_equal(back.mask, np.clip(wild, 0, 1)) and back.mask.max() == 1 and back.mask.min() == 0
    for value in (np.nan, np.inf):
        wild[3, 4] = value
        path = write_raw(tmp_path / "n.exr", vectors("forward.u forward.v", **{mask: wild}))
        with pytest.raises(MotionError, match=r"n\.exr: its mask contains NaN or Inf"):
            read_motion(path, convention)


def test_middlebury_files(corpus: Path, tmp_path: Path) -> None:
    found = sorted((corpus / "flow").glob("*.flo"))
    assert found
    for path in found:
        assert detect(path) == "flo"
        back = read_motion(path)
        data = path.read_bytes()
        width, height = np.frombuffer(data, "<i4", 2, 4)
        raw = np.frombuffer(data, "<f4", offset=12).reshape(height, width, 2)
        known = (np.abs(raw) < 1e9).all(axis=2)
        assert np.array_equal(back.velocity[known], raw[known])
        assert np.array_equal(back.mask > 0, known) and np.array_equal(back.confidence > 0, known)
        # A round trip through the Nuke convention is lossless.
        (nuke,) = export_flow(back, tmp_path, "nuke")
        assert np.array_equal(read_motion(nuke).velocity, np.where(known[..., None], raw, 0))
    (tmp_path / "cut.flo").write_bytes(data[:1000])
    with pytest.raises(MotionError, match="damaged"):
        read_motion(tmp_path / "cut.flo")


def test_kitti(tmp_path: Path) -> None:
    from loopcore.image import encode_png

    codes = np.zeros((3, 4, 3), np.uint16)
    codes[1, 2] = (32768 + 64 * 5, 32768 - 32, 1)
    path = tmp_path / "000000_10.png"
    path.write_bytes(encode_png(codes, texts={}))
    assert detect(path) == "kitti"
    back = read_motion(path)
    assert back.velocity[1, 2].tolist() == [5, -0.5]
    assert back.mask.sum() == back.confidence.sum() == 1 and not back.velocity[0].any()


def test_refusals_name_the_problem(tmp_path: Path) -> None:
    from PIL import Image

    y, x = np.mgrid[0:8, 0:16].astype(np.float32)
    ramp = {"R": (x + 0.5) / 16, "G": 1 - (y + 0.5) / 8, "B": np.ones_like(x)}
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "v.png")
    (tmp_path / "text.exr").write_text("hello there")
    holes = np.where(x == 3, np.nan, x)
    cases = [
        (tmp_path / "v.png", "nuke", "8 or 16 bits cannot hold signed pixels.*32-bit EXR"),
        (tmp_path / "v.png", None, "name the convention"),
        (tmp_path / "v.png", "rsmb", "export 16"),
        (tmp_path / "v.png", "kitti", "8 bits"),
        (tmp_path / "none.exr", None, "does not exist"),
        (tmp_path / "text.exr", None, "neither EXR, PNG nor"),
        (write_raw(tmp_path / "a.exr", {"R": x, "G": y}), None, "match no known flow map"),
        (tmp_path / "a.exr", "nuke", "lacks forward.u and forward.v"),
        (tmp_path / "a.exr", "stmap", "is not an STMap: red spans 0 to 15"),
        (tmp_path / "a.exr", "game", "is an EXR, which game does not use"),
        (tmp_path / "a.exr", "maya", "unknown convention 'maya'"),
        (write_raw(tmp_path / "h.exr", {k: v.astype(np.float16) for k, v in ramp.items()}), None, "32-bit float"),
        (write_raw(tmp_path / "g.exr", {"R": ramp["R"]}), "stmap", "lacks G"),
        (write_raw(tmp_path / "f.exr", {**ramp, "G": 1 - ramp["G"]}), None, "start at the bottom left"),
        (write_raw(tmp_path / "n.exr", {"forward.u": holes, "forward.v": y}), None, r"NaN or Inf \(first at x 3, y 0"),
        (write_raw(tmp_path / "s.exr", {**ramp, "R": ramp["R"] + holes * 0}), "stmap", "NaN or Inf"),
    ]
    for path, convention, words in cases:
        with pytest.raises(MotionError, match=words) as caught:
            read_motion(path, convention)
        assert path.name in str(caught.value) or convention == "maya"


def test_another_size_needs_rescale(tmp_path: Path) -> None:
    motion = MotionField(np.full((10, 20, 2), 2, np.float32), np.ones((10, 20)), np.ones((10, 20)))
    (path,) = export_flow(motion, tmp_path, "blender")
    assert read_motion(path, size=(10, 20)).width == 20
    with pytest.raises(MotionError, match="is 20x10 and the plate 60x20.*allow rescaling"):
        read_motion(path, size=(20, 60))
    back = read_motion(path, size=(20, 60), rescale=True)
    assert np.allclose(back.velocity, (6, 4))


def test_pictures_of_other_programs_need_numbers(tmp_path: Path) -> None:
    from loopcore.image import encode_png

    codes = np.full((3, 4, 3), 65534, np.uint16)
    (tmp_path / "r.png").write_bytes(encode_png(codes, texts={}))
    with pytest.raises(MotionError, match="does not store its max displace"):
        read_motion(tmp_path / "r.png", "rsmb")
    back = read_motion(tmp_path / "r.png", "rsmb", numbers=FlowNumbers(max_displace=16))
    assert (back.velocity == (16, -16)).all() and (back.mask == 1).all()
    with pytest.raises(MotionError, match="green"):
        read_motion(tmp_path / "r.png", "game", numbers=FlowNumbers(strength=0.1))


@pytest.mark.parametrize("name", ["m%d.png", "concat:m.png"])
def test_a_name_that_ffmpeg_takes_for_several_files(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from loopcore.image import encode_png

    monkeypatch.chdir(tmp_path)
    Path("m1.png").write_bytes(encode_png(np.full((4, 6, 3), 9, np.uint8), texts={}))
    Path("m.png").write_bytes(encode_png(np.full((4, 6, 3), 9, np.uint8), texts={}))
    Path(name).write_bytes(encode_png(np.full((4, 6, 3), 200, np.uint8), texts={}))
    read = read_motion(Path(name), "game", numbers=FlowNumbers(None, 0.1, "up"))
    assert (read.velocity[..., 0] < 0).all()  # of the 9 in the other files it would be above 0
