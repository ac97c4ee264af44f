# SPDX-License-Identifier: Apache-2.0
"""Synthetic scenes of fluids whose motion is known exactly, deterministic by seed.

A scene is a steady velocity field in closed form, a texture, and a mask over still ground. The colour at x in a frame
is the texture at the first position of the particle now at x, found by backward integration (Runge-Kutta, fourth
order), so the field is exact ground truth.

Convention: (vx, vy) in pixels per frame, x right, y down, where content goes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from loopcore.errors import MotionError
from loopcore.training import fields, textures

KINDS = tuple(fields.KINDS)
_EDGE = 0.01  # of the longer side: how wide the mask fades


@dataclass(frozen=True)
class Scene:
    """One synthetic scene.

    Attributes:
        kind: one of ``KINDS``.
        seed: of everything random.
        velocity: (h, w, 2) float32 px per frame, also under the still ground.
        mask: (h, w) float32 0..1, where the fluid shows.
    """

    kind: str
    seed: int
    velocity: np.ndarray
    mask: np.ndarray
    _flow: Callable[[np.ndarray], np.ndarray]
    _texture: textures.Texture
    _ground: np.ndarray

    def frame(self, time: float) -> np.ndarray:
        """Returns (h, w, 3) uint8 sRGB at a time in frames, which may be negative or fractional."""
        return self._rendered(backtrace(self._flow, textures.positions(*self.mask.shape), time))

    def frames(self, count: int, apart: int) -> np.ndarray:
        """Returns (count, h, w, 3) uint8 sRGB at the times 0, ``apart``, 2 ``apart`` and so on."""
        came_from, shown = textures.positions(*self.mask.shape), []
        for number in range(count):
            if number:
                came_from = backtrace(self._flow, came_from, apart)  # continues from the last frame
            shown.append(self._rendered(came_from))
        return np.stack(shown)

    def _rendered(self, came_from: np.ndarray) -> np.ndarray:
        fluid = self._texture.colours(came_from)
        mixed = self._ground + self.mask[..., None] * (fluid - self._ground)
        return (np.clip(mixed, 0, 1) * 255 + 0.5).astype(np.uint8)


def make_scene(
    kind: str, seed: int, height: int, width: int, ground: np.ndarray | None = None, speed: float | None = None
) -> Scene:
    """Returns a scene, the same for the same arguments.

    Args:
        kind: one of ``KINDS``.
        seed: of everything random.
        height: pixels, at least 32.
        width: pixels, at least 32.
        ground: (height, width, 3) uint8 sRGB, still background, by default synthetic.
        speed: mean over the mask, px per frame; by default random, 0.6 to 1.8 for a longer side of 256 pixels, and in
            proportion for others.

    Raises:
        MotionError: an unknown kind, a size below 32 pixels, or a ground of another size.
    """
    if kind not in fields.KINDS:
        raise MotionError(f"unknown kind of scene {kind!r}: choose one of {', '.join(KINDS)}")
    if min(height, width) < 32:
        raise MotionError(f"a scene of {width}x{height} pixels is too small: the minimum is 32")
    if ground is not None and ground.shape != (height, width, 3):
        raise MotionError(f"the ground has the shape {ground.shape}, but the scene has {(height, width, 3)}")
    random = np.random.default_rng((seed, list(KINDS).index(kind)))
    layout = fields.KINDS[kind](random, height, width)
    places = textures.positions(height, width)
    mask = fields.soft(layout.inside(places), _EDGE * max(height, width))
    raw = layout.flow(places)
    mean = float((np.hypot(raw[..., 0], raw[..., 1]) * mask).sum() / max(float(mask.sum()), 1e-6))
    wanted = speed if speed is not None else float(random.uniform(0.6, 1.8)) * max(height, width) / 256
    scale = wanted / max(mean, 1e-9)

    def flow(points: np.ndarray) -> np.ndarray:
        return layout.flow(points) * scale

    texture = textures.make(layout.look, random, layout.flow, height, width)
    still = textures.ground(random, height, width) if ground is None else ground.astype(np.float64) / 255
    return Scene(kind, seed, (raw * scale).astype(np.float32), mask.astype(np.float32), flow, texture, still)


def backtrace(flow: Callable[[np.ndarray], np.ndarray], points: np.ndarray, time: float) -> np.ndarray:
    """Returns where particles now at ``points`` (..., 2) were ``time`` frames ago (Runge-Kutta, fourth order)."""
    steps = max(1, int(np.ceil(abs(time))))
    h = -time / steps
    for _ in range(steps):
        a = flow(points)
        b = flow(points + 0.5 * h * a)
        c = flow(points + 0.5 * h * b)
        d = flow(points + h * c)
        points = points + (h / 6) * (a + 2 * b + 2 * c + d)
    return points
