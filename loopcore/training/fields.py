# SPDX-License-Identifier: Apache-2.0
"""Velocity fields of synthetic scenes, in closed form, and their regions.

Fields without sources are curls of stream functions: v = (d psi / dy, -d psi / dx) (Bridson et al., "Curl-Noise for
Procedural Fluid Flow", SIGGRAPH 2007).

Convention: points are (..., 2) arrays of pixels, x right, y down; speeds are relative, since the scene scales them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Flow = Callable[[np.ndarray], np.ndarray]
Where = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Layout:
    """A velocity field and its region.

    Attributes:
        flow: maps points to relative velocities.
        inside: maps points to the distance from the fluid's edge in pixels, positive inside.
        look: name of the texture.
    """

    flow: Flow
    inside: Where
    look: str


def soft(distance: np.ndarray, width: float) -> np.ndarray:
    """Returns a ramp from 0 outside to 1 inside, smooth over ``width`` pixels around the edge."""
    ramp = np.clip(0.5 + distance / max(2 * width, 1e-6), 0, 1)
    return ramp * ramp * (3 - 2 * ramp)


def _depth(below: np.ndarray, focal: float, height: int) -> np.ndarray:
    """Returns the depth of level ground ``below`` pixels under the horizon, in camera heights.

    Constant far below the picture, since velocities would be infinite behind the camera.
    """
    return focal / np.clip(below, 1.0, 2.0 * height)


def eddies(random: np.random.Generator, side: float, count: int = 8) -> Flow:
    """Returns curl noise of plane waves, an eighth to a half of ``side`` long, of speed about 1."""
    angle = random.uniform(0, 2 * np.pi, count)
    wave = 2 * np.pi / (side * random.uniform(0.125, 0.5, count))
    kx, ky, phase = wave * np.cos(angle), wave * np.sin(angle), random.uniform(0, 2 * np.pi, count)
    strength = np.sqrt(2 / count) / wave

    def flow(points: np.ndarray) -> np.ndarray:
        slope = strength * np.cos(points[..., :1] * kx + points[..., 1:] * ky + phase)
        return np.stack([(slope * ky).sum(axis=-1), -(slope * kx).sum(axis=-1)], axis=-1)

    return flow


def wavy(random: np.random.Generator, size: float, roughness: float, count: int = 5) -> Callable[..., np.ndarray]:
    """Returns a smooth random function over ``size`` pixels with an amplitude of about ``roughness`` pixels."""
    k = 2 * np.pi / size * np.arange(1, count + 1) * random.uniform(0.5, 1.2)
    height, phase = roughness / np.arange(1, count + 1), random.uniform(0, 2 * np.pi, count)

    def line(at: np.ndarray, slope: bool = False) -> np.ndarray:
        waves = at[..., None] * k + phase
        return (height * (k * np.cos(waves) if slope else np.sin(waves))).sum(axis=-1)

    return line


def channel(random: np.random.Generator, height: int, width: int) -> Layout:
    """Returns water in a winding bed seen from above, slower at its banks, half the time around a rock."""
    side = max(height, width)
    turn = random.uniform(-np.pi, np.pi)
    axis = np.array([np.cos(turn), np.sin(turn)])
    middle = np.array([width / 2, height / 2]) + random.uniform(-0.08, 0.08, 2) * side
    bend = wavy(random, 1.2 * side, 0.06 * side, 3)
    half = random.uniform(0.16, 0.3) * side
    rock, radius = middle + random.uniform(-0.3, 0.3) * half * np.array([-axis[1], axis[0]]), 0.25 * half
    small = random.random() < 0.5

    def along(points: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        offset = points - middle
        s = offset @ axis
        return s, offset @ np.array([-axis[1], axis[0]]) - bend(s), bend(s, slope=True)

    def flow(points: np.ndarray) -> np.ndarray:
        s, n, slope = along(points)
        # psi = g(n), so the lines n = const are streamlines; faster in the middle
        pace = 0.35 + 0.65 * np.exp(-((n / half) ** 2))
        across = np.array([-axis[1], axis[0]])
        v = pace[..., None] * (axis + slope[..., None] * across)
        if not small:
            return v
        # dipole of a cylinder in uniform potential flow
        gap = points - rock
        r2 = np.maximum((gap**2).sum(axis=-1, keepdims=True), radius**2)
        lead = axis + slope[..., None] * across
        dipole = radius**2 * (lead / r2 - 2 * gap * (gap * lead).sum(axis=-1, keepdims=True) / r2**2)
        return v + pace[..., None] * dipole

    def inside(points: np.ndarray) -> np.ndarray:
        bed = half - np.abs(along(points)[1])
        return np.minimum(bed, np.hypot(*np.moveaxis(points - rock, -1, 0)) - radius) if small else bed

    return Layout(flow, inside, "water")


def river(random: np.random.Generator, height: int, width: int) -> Layout:
    """Returns a winding river on level ground to the horizon, whose motion is projected from the ground plane."""
    horizon = random.uniform(0.15, 0.4) * height
    centre, focal = width * random.uniform(0.35, 0.65), 1.2 * width
    way = random.choice([-1.0, 1.0])
    far = focal / max(height - horizon, 1.0)  # depth at the lower edge, in camera heights
    bend = wavy(random, 12 * far, 0.5, 3)
    half = random.uniform(0.35, 0.7)

    def ground(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        depth = _depth(points[..., 1] - horizon, focal, height)
        return (points[..., 0] - centre) / focal * depth, depth

    def flow(points: np.ndarray) -> np.ndarray:
        x, depth = ground(points)
        # on the ground the offset from the bend is constant: (bend'(z), 1) dz/dt
        dx, dz = way * bend(depth, slope=True), way
        return np.stack([focal * (dx / depth - x * dz / depth**2), -focal * dz / depth**2], axis=-1)

    def inside(points: np.ndarray) -> np.ndarray:
        x, depth = ground(points)
        bank = (half - np.abs(x - bend(depth))) * focal / depth
        return np.minimum(bank, points[..., 1] - horizon - 2)

    return Layout(flow, inside, "water")


def sea(random: np.random.Generator, height: int, width: int) -> Layout:
    """Returns level water to the horizon that flows in one direction, mostly sideways."""
    horizon = random.uniform(0.25, 0.55) * height
    centre, focal = width * random.uniform(0.3, 0.7), 1.2 * width
    turn = random.normal(0, 0.5) + random.choice([0, np.pi])
    shore = wavy(random, width, 0.03 * height)

    def flow(points: np.ndarray) -> np.ndarray:
        depth = _depth(points[..., 1] - horizon, focal, height)
        x = (points[..., 0] - centre) / focal * depth
        dx, dz = np.cos(turn), np.sin(turn)
        return np.stack([focal * (dx / depth - x * dz / depth**2), -focal * dz / depth**2], axis=-1)

    def inside(points: np.ndarray) -> np.ndarray:
        return np.minimum(points[..., 1] - horizon - 2, 0.96 * height + shore(points[..., 0]) - points[..., 1])

    return Layout(flow, inside, "waves")


def falls(random: np.random.Generator, height: int, width: int) -> Layout:
    """Returns water that falls from a ledge with acceleration, and spreads in a pool below."""
    top, bottom = random.uniform(0.1, 0.3) * height, random.uniform(0.65, 0.85) * height
    centre, half = width * random.uniform(0.35, 0.65), random.uniform(0.12, 0.35) * width
    ledge, left, right = (wavy(random, side, 0.03 * side) for side in (width, height, height))
    lean = random.uniform(-0.25, 0.25)
    wobble = eddies(random, max(height, width))
    start = 0.35  # of the speed at the foot

    def fallen(points: np.ndarray) -> np.ndarray:
        return (points[..., 1] - top - ledge(points[..., 0])) / (bottom - top)

    def flow(points: np.ndarray) -> np.ndarray:
        t = fallen(points)
        # v^2 = v0^2 + 2 g h
        drop = np.sqrt(start**2 + (1 - start**2) * np.clip(t, 0, 1))
        away = (points[..., 0] - centre) / half
        pool = np.clip((t - 1) / 0.15, 0, 1) ** 2
        down = drop * (1 - 0.85 * pool)
        return np.stack([lean * drop + 0.6 * pool * away, down], axis=-1) + 0.04 * wobble(points)

    def inside(points: np.ndarray) -> np.ndarray:
        x, y = points[..., 0], points[..., 1]
        t = fallen(points)
        wide = half * (1 + 1.2 * np.clip((t - 0.9) / 0.2, 0, 1)) + left(y)
        return np.minimum(np.minimum(x - centre + wide, centre + wide + right(y) - x), (t + 0.1) * (bottom - top))

    return Layout(flow, inside, "falls")


def clouds(random: np.random.Generator, height: int, width: int) -> Layout:
    """Returns a level deck of clouds over a skyline that moves in one direction, faster overhead."""
    skyline = random.uniform(0.45, 0.85) * height
    edge = wavy(random, width, 0.06 * height, 6)
    turn = random.normal(0, 0.4) + random.choice([0, np.pi])
    centre, focal = width * random.uniform(0.3, 0.7), 1.2 * width
    level = skyline + 0.25 * height  # the deck's horizon, below the skyline

    def flow(points: np.ndarray) -> np.ndarray:
        depth = _depth(level - points[..., 1], focal, height)
        x = (points[..., 0] - centre) / focal * depth
        dx, dz = np.cos(turn), np.sin(turn)
        return np.stack([focal * (dx / depth - x * dz / depth**2), focal * dz / depth**2], axis=-1)

    return Layout(flow, lambda points: skyline + edge(points[..., 0]) - points[..., 1], "clouds")


def smoke(random: np.random.Generator, height: int, width: int) -> Layout:
    """Returns a plume with eddies that rises from a source, widens and leans."""
    foot = np.array([width * random.uniform(0.3, 0.7), height * random.uniform(0.8, 1.05)])
    lean, spread = random.uniform(-0.5, 0.5), random.uniform(0.18, 0.32)
    width0 = 0.05 * max(height, width)
    swirl = eddies(random, 0.8 * max(height, width))
    left, right = (wavy(random, height, 0.03 * width) for _ in range(2))

    def place(points: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        up = np.maximum(foot[1] - points[..., 1], 0.0)
        across = points[..., 0] - foot[0] - lean * up
        return up, across, width0 + spread * up

    def flow(points: np.ndarray) -> np.ndarray:
        _, across, wide = place(points)
        rise = (width0 / wide) ** 0.5
        # lines of constant across / wide are streamlines: the plume widens as it rises
        aside = lean + spread * across / wide
        return np.stack([rise * aside, -rise], axis=-1) + 0.12 * swirl(points)

    def inside(points: np.ndarray) -> np.ndarray:
        _, across, wide = place(points)
        y = points[..., 1]
        return np.minimum(np.minimum(wide + left(y) - across, across + wide + right(y)), foot[1] - y)

    return Layout(flow, inside, random.choice(["smoke", "smoke", "fire"]))


def whirl(random: np.random.Generator, height: int, width: int) -> Layout:
    """Returns eddies in a pool."""
    swirl = eddies(random, max(height, width))
    drift = random.normal(0, 0.5, 2)
    centre = np.array([width, height]) * random.uniform(0.4, 0.6, 2)
    radii = np.array([width, height]) * random.uniform(0.25, 0.45, 2)
    edge = wavy(random, 2 * np.pi, 0.04 * min(height, width))

    def inside(points: np.ndarray) -> np.ndarray:
        gap = (points - centre) / radii
        return (1 - np.hypot(gap[..., 0], gap[..., 1])) * radii.min() + edge(np.arctan2(gap[..., 1], gap[..., 0]))

    return Layout(lambda points: swirl(points) + drift, inside, "water")


KINDS: dict[str, Callable[[np.random.Generator, int, int], Layout]] = {
    "channel": channel,
    "river": river,
    "sea": sea,
    "falls": falls,
    "clouds": clouds,
    "smoke": smoke,
    "eddies": whirl,
}
