# SPDX-License-Identifier: Apache-2.0
"""Motion fields: validation, scaling, and files that are lossless and follow the compositors' conventions."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from loopcore import exr
from loopcore.errors import MotionError
from loopcore.motion import MotionField

FLOATS = st.floats(-1e4, 1e4, width=32)
UNIT = st.floats(0, 1, width=32)


@st.composite
def fields(draw: st.DrawFn) -> MotionField:
    height, width = draw(st.integers(1, 9)), draw(st.integers(1, 9))
    velocity = draw(hnp.arrays(np.float32, (height, width, 2), elements=FLOATS))
    mask = draw(hnp.arrays(np.float32, (height, width), elements=UNIT))
    confidence = draw(hnp.arrays(np.float32, (height, width), elements=UNIT))
    return MotionField(velocity, mask, confidence)


def swirl(height: int = 12, width: int = 17) -> MotionField:
    y, x = np.mgrid[:height, :width].astype(np.float32)
    velocity = np.stack([0.31 * (y - 4), 0.17 * (x - 7)], axis=-1)
    mask = np.clip((x - 3) / 5, 0, 1).astype(np.float32)
    return MotionField(velocity, mask, np.full((height, width), 0.75, np.float32))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(field=fields())
def test_a_saved_field_loads_bit_for_bit(tmp_path: Path, field: MotionField) -> None:
    path = tmp_path / "motion.exr"
    field.save(path)
    loaded = MotionField.load(path)
    for name in ("velocity", "mask", "confidence"):
        assert getattr(loaded, name).tobytes() == getattr(field, name).tobytes(), name
    assert loaded.digest() == field.digest()


def test_file_has_the_channels_that_compositors_expect(tmp_path: Path) -> None:
    field = swirl()
    path = tmp_path / "motion.exr"
    field.save(path)
    (part,) = exr.read_exr(path)
    shown = field.velocity * field.mask[..., None]
    channels = part.channels
    assert all(values.dtype == np.float32 for values in channels.values())
    np.testing.assert_array_equal(channels["forward.u"], shown[..., 0])
    np.testing.assert_array_equal(channels["forward.v"], -shown[..., 1])
    for forward, others in (
        ("forward.u", "backward.u Vector.X Vector.Z"),
        ("forward.v", "backward.v Vector.Y Vector.W"),
    ):
        for other in others.split():
            np.testing.assert_array_equal(channels[other], -channels[forward])
    np.testing.assert_array_equal(channels["mask.V"], field.mask)
    np.testing.assert_array_equal(channels["confidence.V"], field.confidence)
    attributes = exr.read_attributes(path)
    assert attributes["colorInteropID"] == "data"
    assert attributes["loopcore/flow_units"] == "pixels_per_frame_y_up"
    assert attributes["loopcore/version"]
    assert part.compression.lower().startswith("zip")


def test_a_foreign_flow_file_loads(tmp_path: Path) -> None:
    path = tmp_path / "nuke.exr"
    u = np.full((4, 6), 2.5, np.float16)
    v = np.full((4, 6), 1.0, np.float16)
    picture = {name: np.ones((4, 6), np.float16) for name in "RGB"}
    exr.write_exr(path, {**picture, "forward.u": u, "forward.v": v})
    field = MotionField.load(path)
    assert field.velocity[1, 2].tolist() == [2.5, -1.0]
    assert (field.mask == 1).all() and (field.confidence == 1).all()
    assert field.velocity.dtype == np.float32


def test_edited_forward_layer_replaces_the_velocity(tmp_path: Path) -> None:
    field = swirl()
    path = tmp_path / "motion.exr"
    field.save(path)
    (part,) = exr.read_exr(path)
    channels = {name: values.copy() for name, values in part.channels.items()}
    channels["forward.u"][5, 9:12] = 3.0
    exr.write_exr(path, channels)
    edited = MotionField.load(path)
    np.testing.assert_allclose(edited.effective[5, 9:12, 0], 3.0, rtol=1e-6)
    rest = np.ones((field.height, field.width), bool)
    rest[5, 9:12] = False
    assert np.array_equal(edited.velocity[rest], field.velocity[rest])


def test_black_mask_stops_all_motion(tmp_path: Path) -> None:
    field = swirl()
    path = tmp_path / "motion.exr"
    field.save(path)
    (part,) = exr.read_exr(path)
    exr.write_exr(path, {**part.channels, "mask.V": np.zeros_like(field.mask)})
    assert not MotionField.load(path).effective.any()


@pytest.mark.parametrize(
    ("channels", "says"),
    [
        ({"R": 1.0, "G": 1.0, "B": 1.0}, "shuffle"),
        ({"forward.u": 1.0}, "forward.v"),
        ({"depth.Z": 1.0}, "depth.Z"),
        ({"forward.u": np.nan, "forward.v": 0.0}, "NaN"),
        ({"forward.u": np.inf, "forward.v": 0.0}, "Inf"),
        ({"forward.u": 1.0, "forward.v": 0.0, "mask.V": np.nan}, "its mask contains NaN"),
        ({"forward.u": 1.0, "forward.v": 0.0, "confidence.V": np.nan}, "0..1"),
    ],
)
def test_files_without_a_motion_field_are_refused(tmp_path: Path, channels: dict[str, float], says: str) -> None:
    path = tmp_path / "wrong.exr"
    exr.write_exr(path, {name: np.full((3, 4), value, np.float32) for name, value in channels.items()})
    with pytest.raises(MotionError, match="wrong.exr") as error:
        MotionField.load(path)
    assert says in str(error.value)


def test_other_files_than_exr_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MotionError, match="missing.exr"):
        MotionField.load(tmp_path / "missing.exr")
    (tmp_path / "text.exr").write_text("hello")
    with pytest.raises(MotionError, match="text.exr"):
        MotionField.load(tmp_path / "text.exr")
    with pytest.raises(MotionError, match="motion.exr"):
        swirl().save(tmp_path / "motion.png")


@pytest.mark.parametrize(
    ("velocity", "mask", "says"),
    [
        (np.zeros((3, 4)), np.ones((3, 4)), "height, width, 2"),
        (np.zeros((3, 4, 3)), np.ones((3, 4)), "height, width, 2"),
        (np.zeros((0, 4, 2)), np.ones((0, 4)), "height, width, 2"),
        (np.zeros((3, 4, 2)), np.ones((4, 3)), "mask"),
        (np.zeros((3, 4, 2)), np.full((3, 4), 1.5), "0..1"),
        (np.zeros((3, 4, 2)), np.full((3, 4), np.nan), "0..1"),
        (np.full((3, 4, 2), np.nan), np.ones((3, 4)), "x 0, y 0"),
        ("fast", np.ones((3, 4)), "numbers"),
    ],
)
def test_bad_arrays_are_refused(velocity: object, mask: np.ndarray, says: str) -> None:
    with pytest.raises(MotionError, match=says):
        MotionField(velocity, mask, np.ones((3, 4)))


@given(speed=st.floats(-8, 8, width=32))
def test_scaling_is_exact_and_keeps_the_mask(speed: float) -> None:
    field = swirl()
    scaled = field.scaled(speed)
    np.testing.assert_array_equal(scaled.velocity, field.velocity * np.float32(speed))
    assert scaled.mask is field.mask
    assert (scaled.digest() == field.digest()) == (np.float32(speed) == 1)


def test_resizing_scales_vectors_with_the_picture() -> None:
    height, width = 30, 40
    velocity = np.broadcast_to(np.float32([1.5, -0.5]), (height, width, 2))
    field = MotionField(velocity, np.ones((height, width)), np.ones((height, width)))
    larger = field.resized(60, 120)
    assert larger.velocity.shape == (60, 120, 2)
    np.testing.assert_allclose(larger.velocity[..., 0], 4.5, rtol=1e-6)
    np.testing.assert_allclose(larger.velocity[..., 1], -1.0, rtol=1e-6)
    assert field.resized(height, width) is field
    with pytest.raises(MotionError, match="0x5"):
        field.resized(5, 0)
    with pytest.raises(MotionError, match="finite"):
        field.scaled(float("nan"))


def test_what_drifts_is_kept(tmp_path: Path) -> None:
    field, path = swirl(), tmp_path / "motion.exr"
    drifting = np.linspace(0, 1, 204, dtype=np.float32).reshape(12, 17)
    known = replace(field, drifting=drifting)
    assert known.digest() != field.digest() and known != field
    known.save(path)
    assert MotionField.load(path) == known
    larger = known.resized(24, 34)
    assert larger.drifting is not None and larger.drifting.shape == (24, 34)
    assert known.scaled(2).drifting is known.drifting
    field.save(path)
    assert MotionField.load(path).drifting is None
    with pytest.raises(MotionError, match="drifting"):
        replace(field, drifting=drifting[1:])
