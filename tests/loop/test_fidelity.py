# SPDX-License-Identifier: Apache-2.0
"""Fidelity: a smooth pattern carried by known flow maps, against the exact answer.

The floors lie just below what is measured, so that a worse filter or a worse footprint does not pass.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from loopcore.motion import MotionField
from loopcore.plate import Plate
from loopcore.transport import integrate, splat, warp

HEIGHT, WIDTH = 181, 223
CENTRE = np.array([(WIDTH - 1) / 2, (HEIGHT - 1) / 2])
Map = Callable[[np.ndarray], np.ndarray]  # (..., 2) positions to positions
Record = Callable[[str, object], None]


def positions() -> np.ndarray:
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(np.float64)
    return np.stack([x, y], -1)


def pattern(at: np.ndarray) -> np.ndarray:
    """Sums of three sines with periods of 12 px and more: highlights to 11, and below 0."""
    x, y = at[..., 0], at[..., 1]
    channels = []
    for k, (p, q, r) in enumerate([(12, 17, 31), (14, 23, 41), (13, 19, 29)]):
        waves = np.sin(2 * np.pi * x / p + k) + np.sin(2 * np.pi * y / q - k)
        channels.append(2 + 3 * (waves + np.sin(2 * np.pi * (0.6 * x + 0.8 * y) / r)))
    return np.stack(channels, -1)


def linear(matrix: list[list[float]], shift: tuple[float, float] = (0, 0)) -> tuple[Map, Map]:
    """The map p -> centre + matrix (p - centre) + shift, and its inverse."""
    ahead = np.array(matrix, np.float64)
    back = np.linalg.inv(ahead)
    return (
        lambda p: CENTRE + (p - CENTRE) @ ahead.T + shift,
        lambda p: CENTRE + (p - CENTRE - shift) @ back.T,
    )


def twist(angle: float) -> tuple[Map, Map]:
    """Turns by `angle` at the centre, less further out: a map that no matrix gives, with area kept."""

    def turned(p: np.ndarray, sign: float) -> np.ndarray:
        d = p - CENTRE
        a = sign * angle * np.exp(-(d**2).sum(-1) / (2 * 45.0**2))
        c, s = np.cos(a), np.sin(a)
        return CENTRE + np.stack([c * d[..., 0] - s * d[..., 1], s * d[..., 0] + c * d[..., 1]], -1)

    return lambda p: turned(p, 1), lambda p: turned(p, -1)


TURN = [[np.cos(0.5), -np.sin(0.5)], [np.sin(0.5), np.cos(0.5)]]
# Map, and the least PSNR of warp and splat in dB.
MAPS = {
    "shift": (linear([[1, 0], [0, 1]], (3.3, -2.7)), 69, 48),
    "rotation": (linear(TURN), 70, 46),
    "shear": (linear([[1, 0.6], [0, 1]]), 71, 50),
    "stretch of 3 across": (linear([[3, 0], [0, 1]]), 71, 50),
    "stretch of 3 along": (linear([[1, 0], [0, 3]]), 80, 57),
    "stretch of 3 both ways": (linear([[3, 0], [0, 3]]), 71, 49),
    "twist": (twist(0.8), 70, 44),
}


def psnr(picture: np.ndarray, exact: np.ndarray) -> float:
    """Over the range of the pattern, about 18."""
    return float(10 * np.log10(np.ptp(pattern(positions())) ** 2 / np.mean((picture - exact) ** 2)))


def inside(at: np.ndarray, margin: float) -> np.ndarray:
    x, y = at[..., 0], at[..., 1]
    return (x >= margin) & (y >= margin) & (x <= WIDTH - 1 - margin) & (y <= HEIGHT - 1 - margin)


@pytest.mark.parametrize("name", MAPS)
@pytest.mark.parametrize("channels", [3, 4])
def test_warp_against_the_exact_picture(name: str, channels: int, record_property: Record) -> None:
    (_, back), floor, _ = MAPS[name]
    at = back(positions())
    plate = pattern(positions())
    plate = plate if channels == 3 else np.concatenate([plate, plate[..., :1]], -1)
    out = warp(plate.astype(np.float32), (at - positions()).astype(np.float32))
    clear = inside(at, 2)
    found = psnr(out[clear][:, :3], pattern(at)[clear])
    record_property("psnr_db", found)
    print(f"warp, {name}: {found:.1f} dB")
    assert found >= floor


@pytest.mark.parametrize("name", MAPS)
@pytest.mark.parametrize("channels", [3, 4])
def test_splat_against_the_exact_picture(name: str, channels: int, record_property: Record) -> None:
    (ahead, back), _, floor = MAPS[name]
    plate = pattern(positions())
    plate = plate if channels == 3 else np.concatenate([plate, plate[..., :1]], -1)
    moved = (ahead(positions()) - positions()).astype(np.float32)
    sums, weights = splat(plate.astype(np.float32), moved)
    at = back(positions())
    assert (weights[inside(at, 0)] > 0).all(), "pinholes"
    clear = inside(at, 2)
    picture = sums[clear][:, :3] / weights[clear][:, None]
    found = psnr(picture, pattern(at)[clear])
    record_property("psnr_db", found)
    record_property("least_weight", float(weights[clear].min()))
    print(f"splat, {name}: {found:.1f} dB, least weight {weights[clear].min():.3f}")
    assert found >= floor


@pytest.mark.parametrize("name", MAPS)
def test_the_weight_of_a_splat_is_the_density_of_the_map(name: str) -> None:
    """Averaged over some pixels, what lands is one over how much the map spreads."""
    (ahead, back), _, _ = MAPS[name]
    _, weights = splat(np.ones((HEIGHT, WIDTH, 1), np.float32), (ahead(positions()) - positions()).astype(np.float32))
    at, h = back(positions()), 1e-4
    across = (back(positions() + (h, 0)) - at) / h
    along = (back(positions() + (0, h)) - at) / h
    density = np.abs(across[..., 0] * along[..., 1] - across[..., 1] * along[..., 0])
    clear = inside(at, 14)
    rows, columns = np.flatnonzero(clear.any(1)), np.flatnonzero(clear.any(0))
    blocks = 0
    for y in range(rows[0], rows[-1] - 11, 12):
        for x in range(columns[0], columns[-1] - 11, 12):
            block = np.s_[y : y + 12, x : x + 12]
            if clear[block].all():
                assert abs(weights[block].mean() / density[block].mean() - 1) <= 0.05
                blocks += 1
    assert blocks >= 20


@pytest.mark.parametrize("method", ["warp", "splat"])
@pytest.mark.parametrize("time", [0.5, 1.0])
def test_integrated_motion_carries_the_pattern(method: str, time: float, record_property: Record) -> None:
    """Integrate and transport together: 40 frames of a vortex, whose circles turn at a known rate."""
    steps = 40 * time
    offset = positions() - CENTRE
    rate = 0.02 * np.exp(-(offset**2).sum(-1, keepdims=True) / (2 * 45.0**2))
    velocity = (rate * np.stack([-offset[..., 1], offset[..., 0]], -1)).astype(np.float32)
    plate = pattern(positions()).astype(np.float32)
    if method == "warp":
        out = warp(plate, integrate(velocity, -steps))
    else:
        sums, weights = splat(plate, integrate(velocity, steps))
        out = sums / np.maximum(weights, 1e-6)[..., None]
    at = twist(0.02 * steps)[1](positions())
    clear = inside(at, 2) & inside(positions(), 3)
    found = psnr(out[clear], pattern(at)[clear])
    record_property("psnr_db", found)
    print(f"{method} after {steps:g} frames of a vortex: {found:.1f} dB")
    assert found >= (70 if method == "warp" else 44)


@pytest.mark.parametrize(("method", "floor"), [("warp", 66), ("splat", 53)])
def test_a_periodic_pattern_loops_without_a_trace(method: str, floor: float, record_property: Record) -> None:
    """A pattern that repeats after as many pixels as it drifts in one loop: both copies agree on every frame, and the
    frame is the pattern itself, moved."""
    from loopcore.loop import Loop

    def moved(dx: float) -> np.ndarray:
        x, y = (positions() - (dx, 0))[..., 0], positions()[..., 1]
        light = 2 + np.sin(2 * np.pi * x / 24) + 0.5 * np.sin(2 * np.pi * (x / 12 + y / 20))
        return np.repeat(light[..., None], 3, -1)

    ones = np.ones((HEIGHT, WIDTH), np.float32)
    velocity = np.stack([ones * 24 / 30, 0 * ones], -1)
    plate = Plate(moved(0).astype(np.float32), ("R", "G", "B"))
    loop = Loop(plate, MotionField(velocity, ones, ones), frames=30, method=method)
    worst = np.inf
    for t in (3, 7.5, 15, 26):
        exact = moved(t * 24 / 30)
        clear = np.s_[4:-4, 28:-28]
        error = np.mean((loop.frame(t)[clear] - exact[clear]) ** 2)
        worst = min(worst, float(10 * np.log10(np.ptp(exact) ** 2 / error)))
    record_property("psnr_db", worst)
    print(f"loop of a periodic pattern, {method}: {worst:.1f} dB at worst")
    assert worst >= floor
