# SPDX-License-Identifier: Apache-2.0
"""Properties of fields solved from hints, and of the grid and the multigrid solver."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from loopcore.errors import MotionError
from loopcore.motion import Anchor, Hints, MotionField, Stroke, read_hints, solve_motion
from loopcore.motion.grid import label_regions
from loopcore.motion.multigrid import Problem, Solver, apply, divergence, divergence_adjoint

H, W = 180, 320


def channel(points: list[tuple[float, float]], width: float, height: int = H, across: int = W) -> np.ndarray:
    """Returns the mask of a river along a polyline, with hard edges."""
    picture = Image.new("L", (across, height), 0)
    draw = ImageDraw.Draw(picture)
    draw.line(points, fill=255, width=round(width), joint="curve")
    for x, y in points[1:-1]:
        r = width / 2 - 0.5
        draw.ellipse([x - r, y - r, x + r, y + r], fill=255)
    return np.asarray(picture, np.float32) / 255


def solve(mask: np.ndarray | None, strokes: list[Stroke], *anchors: Anchor, **more: object) -> MotionField:
    height, width = mask.shape if mask is not None else (H, W)
    return solve_motion(height, width, Hints(tuple(strokes), anchors, mask=mask), **more)  # type: ignore[arg-type]


def speed(field: MotionField) -> np.ndarray:
    return np.hypot(field.velocity[..., 0], field.velocity[..., 1])


def depth(mask: np.ndarray) -> np.ndarray:
    """Returns the pixels to the nearest bank, by erosion with a cross; the frame is not a bank."""
    inside = mask > 0.5
    found = np.zeros(mask.shape)
    while inside.any():
        found += inside
        padded = np.pad(inside, 1, mode="edge")
        inside = inside & padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
        if found.max() > max(mask.shape):
            break
    return found


def leak(field: MotionField, where: np.ndarray | None = None) -> float:
    """Returns the mean |v.n| / |v| along the banks, n from the smoothed mask."""
    smooth = field.mask.copy()
    for _ in range(12):
        padded = np.pad(smooth, 1, mode="edge")
        smooth = (padded[:-2, 1:-1] + padded[2:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:] + 4 * smooth) / 8
    gy, gx = np.gradient(smooth)
    length = np.hypot(gx, gy)
    inner = np.zeros(smooth.shape, bool)
    inner[4:-4, 4:-4] = True  # the normal is undefined at the frame
    bank = (field.mask > 0.5) & (depth(field.mask) <= 2) & (length > 1e-3) & inner & (speed(field) > 1e-3)
    if where is not None:
        bank &= where
    across = np.abs(field.velocity[..., 0] * gx + field.velocity[..., 1] * gy) / np.maximum(length, 1e-9)
    return float((across[bank] / speed(field)[bank]).mean())


def test_a_straight_channel_flows_evenly() -> None:
    for angle in (0.0, 0.4, 1.2):
        d = np.array([np.cos(angle), np.sin(angle)])
        middle = np.array([W / 2, H / 2])
        mask = channel([tuple(middle - 400 * d), tuple(middle + 400 * d)], 50)
        field = solve(mask, [Stroke([middle - 20 * d, middle + 20 * d], 3.0)])
        inside = mask > 0.5
        error = np.hypot(*np.moveaxis(field.velocity[inside] - 3 * d.astype(np.float32), -1, 0))
        assert error.max() < 0.05 * 3 if angle == 0 else error.mean() < 0.05 * 3
        assert np.percentile(error, 95) < 0.1 * 3


BENDS = {
    "bend": [(-40, 45), (220, 45), (220, 240)],
    "s": [(-40, 40), (90, 40), (150, 140), (240, 140), (360, 60)],
}


@pytest.mark.parametrize("name", BENDS)
def test_bent_channels_flow_along_their_banks(name: str) -> None:
    mask = channel(BENDS[name], 46)
    field = solve(mask, [Stroke([(10, BENDS[name][0][1]), (50, BENDS[name][0][1])], 2.5)])
    inside = depth(mask) > 4
    assert leak(field) < 0.1
    assert 0.8 * 2.5 < np.percentile(speed(field)[inside], 5)
    assert np.percentile(speed(field)[inside], 95) < 1.2 * 2.5
    dv = np.gradient(field.velocity[..., 1], axis=0) + np.gradient(field.velocity[..., 0], axis=1)
    turn = np.gradient(field.velocity[..., 1], axis=1) - np.gradient(field.velocity[..., 0], axis=0)
    # the bend turns the flow without stretching it
    assert np.abs(dv[inside]).mean() < 0.5 * np.abs(turn[inside]).mean()


def test_short_arrow_drives_a_whole_river() -> None:
    x = np.linspace(-20, 340, 60)
    y = 90 + 45 * np.sin(x / 320 * 2 * np.pi)
    mask = channel(list(zip(x, y, strict=True)), 36)
    field = solve(mask, [Stroke(np.stack([x, y], 1)[4:8], 2.0)])
    tangent = np.gradient(np.stack([x, y], 1), axis=0)
    tangent /= np.hypot(*tangent.T)[:, None]
    for (px, py), t in list(zip(np.stack([x, y], 1), tangent, strict=True))[6:-6]:
        v = field.velocity[round(py), round(px)]
        assert v @ t > 0.85 * 2.0


def fall_and_pool() -> np.ndarray:
    mask = np.zeros((H, W), np.float32)
    mask[20:90, 140:180] = 1
    y, x = np.mgrid[:H, :W]
    mask[((x - 160) / 130) ** 2 + ((y - 125) / 42) ** 2 < 1] = 1
    return mask


def test_a_waterfall_enters_its_pool() -> None:
    mask = fall_and_pool()
    field = solve(mask, [Stroke([(160, 10), (160, 92)], 4.0), Stroke([(160, 120), (160, 175)], 1.0)])
    np.testing.assert_allclose(field.velocity[40:80, 160, 1], 4.0, rtol=0.05)
    assert (field.velocity[30:120, 150:170, 1] > 0.5).all()


def test_a_stroke_opens_the_bank_it_crosses() -> None:
    mask = np.zeros((H, W), np.float32)
    mask[40:140, 120:200] = 1
    through = solve(mask, [Stroke([(160, 20), (160, 160)], 3.0)])
    assert (through.velocity[mask > 0][:, 1] > 0.8 * 3).all()
    beside = np.zeros((H, W), bool)
    beside[60:120] = True
    assert leak(through, beside) < 0.05
    # a closed bank deflects the flow
    along = solve(mask, [Stroke([(140, 90), (180, 90)], 3.0)], Anchor(126, 90), Anchor(194, 90))
    assert speed(along)[90, 122] < 0.5


def test_arrow_within_a_fall_drives_the_whole_fall() -> None:
    mask = np.zeros((H, W), np.float32)
    mask[20:160, 140:180] = 1
    field = solve(mask, [Stroke([(160, 70), (160, 110)], 3.0)])
    assert (field.velocity[mask > 0][:, 1] > 0.75 * 3).all()


def test_arrow_towards_a_bend_does_not_open_the_bank() -> None:
    mask = channel(BENDS["bend"], 46)
    field = solve(mask, [Stroke([(120, 45), (205, 45)], 2.5)])
    outer = np.zeros((H, W), bool)
    outer[45:, 230:] = True
    assert leak(field, outer) < 0.1


@given(x=st.floats(60, 260), y=st.floats(30, 75))
@settings(max_examples=8, deadline=None)
def test_anchors_stand_still(x: float, y: float) -> None:
    field = solve(None, [Stroke([(30, 120), (290, 120)], 3.0)], Anchor(x, y))
    assert speed(field)[round(y), round(x)] < 0.02 * 3
    assert speed(field)[120, 160] == pytest.approx(3, rel=0.03)


def test_opposite_strokes_are_both_followed() -> None:
    field = solve(None, [Stroke([(60, 50), (260, 50)], 3.0), Stroke([(260, 130), (60, 130)], 2.0)])
    np.testing.assert_allclose(field.velocity[50, 80:240, 0], 3.0, rtol=0.05)
    np.testing.assert_allclose(field.velocity[130, 80:240, 0], -2.0, rtol=0.05)
    between = field.velocity[50:131, 160, 0]
    assert (np.diff(between) < 0.01).all() and np.abs(np.diff(between)).max() < 0.25  # a smooth transition


def test_speeds_vary_along_a_stroke() -> None:
    mask = channel([(-50, 90), (370, 90)], 50)
    field = solve(mask, [Stroke([(10, 90), (160, 90), (310, 90)], [1.0, 3.0, 1.0])])
    np.testing.assert_allclose(field.velocity[90, [20, 85, 160, 235, 300], 0], [1.13, 2, 3, 2, 1.13], rtol=0.08)


@given(k=st.floats(0.1, 20))
@settings(max_examples=6, deadline=None)
def test_scaling_the_speeds_scales_the_field(k: float) -> None:
    mask = fall_and_pool()
    strokes = [Stroke([(160, 10), (160, 92)], 4.0), Stroke([(100, 130), (60, 120)], 1.0)]
    one = solve(mask, strokes)
    other = solve(mask, [Stroke(s.points, s.speed * k) for s in strokes])
    np.testing.assert_allclose(other.velocity, k * one.velocity, atol=2e-4 * 4 * k)


def test_mirrored_hints_give_the_mirrored_field() -> None:
    mask = channel(BENDS["s"], 46)
    stroke = np.array([(10.0, 40.0), (60.0, 42.0)])
    one = solve(mask, [Stroke(stroke, 2.0)], Anchor(150, 120))
    mirrored = np.stack([W - 1 - stroke[:, 0], stroke[:, 1]], 1)
    other = solve(mask[:, ::-1], [Stroke(mirrored, 2.0)], Anchor(W - 1 - 150, 120))
    expected = one.velocity[:, ::-1] * np.float32([-1, 1])
    inside = other.mask > 0
    np.testing.assert_allclose(other.velocity[inside], expected[inside], atol=0.04)  # the solver's tolerance is 1 %


def test_twice_the_resolution_gives_twice_the_field() -> None:
    mask = channel(BENDS["s"], 46)
    hints = Hints((Stroke([(10, 40), (60, 42)], 2.0),), (Anchor(150, 120),), mask=mask, size=(W, H))
    one = solve_motion(H, W, hints, working_size=160)
    two = solve_motion(2 * H, 2 * W, hints, working_size=160)
    half = two.resized(H, W)
    inside = depth(mask) > 3
    difference = np.abs(half.velocity - one.velocity)[inside]
    assert difference.max() < 0.12 and difference.mean() < 0.01


def test_working_size_has_little_effect() -> None:
    mask = channel(BENDS["bend"], 46)
    coarse, fine = (solve(mask, [Stroke([(10, 45), (60, 45)], 2.0)], working_size=n) for n in (100, 320))
    assert np.abs(coarse.velocity - fine.velocity)[depth(mask) > 4].mean() < 0.1


def test_neighbouring_rivers_are_independent() -> None:
    mask = np.zeros((1080 // 2, 960), np.float32)
    mask[100:268] = 1
    mask[270:440] = 1  # two pixels of ground between, less than a cell
    field = solve(mask, [Stroke([(100, 200), (860, 200)], 3.0), Stroke([(860, 350), (100, 350)], 3.0)])
    np.testing.assert_allclose(field.velocity[100:268, 40:-40, 0], 3.0, rtol=0.02)
    np.testing.assert_allclose(field.velocity[270:440, 40:-40, 0], -3.0, rtol=0.02)


def test_water_without_a_stroke_stays_still() -> None:
    mask = np.zeros((H, W), np.float32)
    mask[20:70] = 1
    mask[100:160] = 1
    field = solve(mask, [Stroke([(50, 45), (250, 45)], 3.0)])
    assert not field.velocity[100:160].any()
    np.testing.assert_allclose(field.velocity[20:70, :, 0], 3.0, rtol=0.05)
    assert (field.confidence[105:155] == 0).all() and (field.confidence[25:65] == 1).all()


def test_velocity_extends_beyond_the_mask() -> None:
    mask = np.zeros((400, 800), np.float32)
    mask[150:250] = np.hanning(102)[1:-1, None].astype(np.float32)  # a soft brush
    field = solve(mask, [Stroke([(100, 200), (700, 200)], 3.0)])
    np.testing.assert_allclose(field.velocity[140:260, 50:-50, 0], 3.0, rtol=0.05)
    assert np.array_equal(field.mask, mask)


def test_thin_water_is_solved_too() -> None:
    mask = np.zeros((1000, 1600), np.float32)
    mask[500:502, 100:1500] = 1  # half a cell
    field = solve(mask, [Stroke([(300, 500), (700, 501)], 2.0)])
    np.testing.assert_allclose(field.velocity[500:502, 300:700, 0], 2.0, rtol=0.1)
    np.testing.assert_allclose(field.velocity[500:502, 110:1490, 0], 2.0, rtol=0.25)


def flowing(height: int, width: int, confidence: float) -> MotionField:
    y, x = np.mgrid[:height, :width].astype(np.float32)
    velocity = np.stack([1 + 0.5 * np.sin(y / 30), 0.5 * np.cos(x / 40)], axis=-1)
    return MotionField(velocity, np.ones((height, width)), np.full((height, width), confidence))


def test_a_prediction_is_followed_where_nothing_is_drawn() -> None:
    prediction = flowing(H, W, 0.8)
    field = solve(None, [], prediction=prediction)
    assert np.abs(field.velocity - prediction.velocity).mean() < 0.06
    np.testing.assert_allclose(field.confidence, 0.8, atol=1e-3)


def test_strokes_override_a_prediction_only_around_them() -> None:
    prediction = flowing(H, W, 0.8)
    field = solve(None, [Stroke([(60, 40), (60, 140)], 3.0)], prediction=prediction)
    np.testing.assert_allclose(field.velocity[50:130, 60, 1], 3.0, rtol=0.05)
    np.testing.assert_allclose(field.velocity[50:130, 64, 1], 3.0, rtol=0.25)
    assert np.abs(field.velocity - prediction.velocity)[:, 260:].mean() < 0.08
    assert field.confidence[90, 60] > 0.99 and field.confidence[90, 300] == pytest.approx(0.8, abs=0.02)


def test_a_prediction_of_another_size_is_scaled() -> None:
    still = MotionField(np.full((90, 160, 2), [1.0, 0.5]), np.ones((90, 160)), np.ones((90, 160)))
    field = solve(None, [], prediction=still)
    np.testing.assert_allclose(field.velocity.reshape(-1, 2).mean(0), [2.0, 1.0], rtol=0.01)
    with pytest.raises(MotionError, match="100x90"):
        solve(None, [], prediction=MotionField(np.ones((90, 100, 2)), np.ones((90, 100)), np.ones((90, 100))))


def test_the_same_hints_give_the_same_bits() -> None:
    mask = fall_and_pool()
    strokes = [Stroke([(160, 10), (160, 92)], 4.0), Stroke([(100, 130), (60, 120)], 1.0)]
    assert solve(mask, strokes).digest() == solve(mask, strokes).digest()


def test_missing_hints_and_invalid_masks_are_refused() -> None:
    mask = np.ones((H, W), np.float32)
    with pytest.raises(MotionError, match="draw at least one stroke"):
        solve_motion(H, W, Hints())
    with pytest.raises(MotionError, match="draw at least one stroke"):
        solve(mask, [], Anchor(3, 4))
    with pytest.raises(MotionError, match="mask is empty"):
        solve(0 * mask, [Stroke([(1, 1), (9, 9)], 1.0)])
    mask[:, 100:] = 0
    with pytest.raises(MotionError, match="no stroke touches the mask"):
        solve(mask, [Stroke([(200, 100), (300, 100)], 1.0)])
    with pytest.raises(MotionError, match="100x50"):
        solve_motion(H, W, Hints((Stroke([(1, 1), (9, 9)], 1.0),)), mask=np.ones((50, 100)))
    with pytest.raises(MotionError, match="working_size"):
        solve(None, [Stroke([(1, 1), (9, 9)], 1.0)], working_size=2)


def test_mask_argument_replaces_the_hints_mask() -> None:
    hints = Hints((Stroke([(50, 45), (250, 45)], 3.0),), mask=np.ones((H, W), np.float32))
    mask = np.zeros((H, W), np.float32)
    mask[20:70] = 1
    assert np.array_equal(solve_motion(H, W, hints, mask=mask).mask, mask)


@given(
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    seed=st.integers(0, 99),
    strokes=st.lists(
        st.lists(st.tuples(st.floats(-20, 60), st.floats(-20, 60)), min_size=2, max_size=4, unique=True),
        min_size=1,
        max_size=3,
    ),
)
@settings(max_examples=60, deadline=None)
def test_any_size_and_speckle(height: int, width: int, seed: int, strokes: list[list[tuple[float, float]]]) -> None:
    mask = (np.random.default_rng(seed).random((height, width)) < 0.7).astype(np.float32)
    try:
        field = solve(mask, [Stroke(points, 2.0) for points in strokes], working_size=16)
    except MotionError:
        return
    assert field.velocity.shape == (height, width, 2)
    assert speed(field).max() < 20


def test_published_hints_are_solved(corpus: Path) -> None:
    hints = read_hints(corpus / "stills" / "painting" / "cinemagraphy3d_1_hints.json")
    started = time.perf_counter()
    field = solve_motion(720, 1280, hints)
    assert time.perf_counter() - started < 5  # about 0.3 s on an idle machine
    for stroke in hints.strokes:
        x, y = stroke.points.mean(axis=0)
        along = stroke.points[-1] - stroke.points[0]
        assert field.velocity[round(y), round(x)] @ along / 50 == pytest.approx(stroke.speed**2, rel=0.15)
    outside = field.mask == 0
    assert not field.effective[outside].any() and outside.mean() > 0.8


# grid and multigrid


@given(seed=st.integers(0, 999), height=st.integers(1, 24), width=st.integers(1, 24), share=st.floats(0, 1))
@settings(max_examples=60, deadline=None)
def test_regions_are_labelled_as_by_flood_fill(seed: int, height: int, width: int, share: float) -> None:
    inside = np.random.default_rng(seed).random((height, width)) < share
    labels, count = label_regions(inside)
    assert ((labels > 0) == inside).all() and labels.max(initial=0) == count
    expected = np.zeros((height, width), int)
    for y, x in np.argwhere(inside):  # flood fill
        if expected[y, x]:
            continue
        number = expected.max() + 1
        queue = [(y, x)]
        while queue:
            j, i = queue.pop()
            if 0 <= j < height and 0 <= i < width and inside[j, i] and not expected[j, i]:
                expected[j, i] = number
                queue += [(j + 1, i), (j - 1, i), (j, i + 1), (j, i - 1)]
    assert np.array_equal(labels, expected)


def random_problem(rng: np.random.Generator, height: int, width: int) -> Problem:
    normal = rng.normal(size=(2, height, width))
    weight = 10 * (rng.random((height, width)) < 0.2)
    block = np.stack([normal[0] ** 2, normal[0] * normal[1], normal[1] ** 2]) * weight
    block[[0, 2]] += 0.05
    face_x = (rng.random((height, width - 1)) < 0.9).astype(np.float32)
    face_y = (rng.random((height - 1, width)) < 0.9).astype(np.float32)
    corner = 2 * face_x[1:] * face_x[:-1] * face_y[:, 1:] * face_y[:, :-1]
    return Problem(face_x, face_y, block.astype(np.float32), corner)


@given(seed=st.integers(0, 999), height=st.integers(2, 13), width=st.integers(2, 13))
@settings(max_examples=30, deadline=None)
def test_multigrid_agrees_with_a_dense_solver(seed: int, height: int, width: int) -> None:
    rng = np.random.default_rng(seed)
    problem = random_problem(rng, height, width)
    size = 2 * height * width
    unit = np.eye(size, dtype=np.float32).reshape(size, 2, height, width)
    matrix = np.stack([apply(problem, column).ravel() for column in unit], axis=1).astype(np.float64)
    assert np.abs(matrix - matrix.T).max() < 1e-5  # the gradient of an energy
    assert np.linalg.eigvalsh(matrix).min() > 0
    b = rng.normal(size=(2, height, width)).astype(np.float32)
    exact = np.linalg.solve(matrix, b.ravel()).reshape(b.shape)
    found = Solver(problem).solve(b, tolerance=1e-6, iterations=200)
    assert np.abs(found - exact).max() < 2e-3 * np.abs(exact).max()


def test_divergence_and_its_adjoint_are_transposes() -> None:
    rng = np.random.default_rng(3)
    field, corners = rng.normal(size=(2, 7, 9)), rng.normal(size=(6, 8))
    assert (divergence(field) * corners).sum() == pytest.approx((field * divergence_adjoint(corners, (7, 9))).sum())
    y, x = np.mgrid[:7, :9].astype(float)
    np.testing.assert_allclose(divergence(np.stack([2 * x, -3 * y])), -1)
