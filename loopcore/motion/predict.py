# SPDX-License-Identifier: Apache-2.0
"""Plate to motion field, from the picture alone; what is drawn overrules what is seen.

The network says what is water, sky, smoke or fire. How each moves follows from the texture where it is drawn out into
streaks, from the banks, and from what such things do: falls go down, smoke and fire rise, rivers follow their bed,
seas and skies drift sideways, what is near moves faster than what is far. The solver joins it all into one field.
Which way a level surface drifts cannot be told from a still: to the right, unless falls lead to the left.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from loopcore.errors import MotionError
from loopcore.exr.windows import Windows
from loopcore.motion.edges import apply_lines, refine_mask, sharpened
from loopcore.motion.field import MotionField
from loopcore.motion.hints import Hints
from loopcore.motion.masks import as_mask, fit_mask, same_aspect
from loopcore.motion.regress import FieldSight, regress
from loopcore.motion.sight import class_shares, display_copy, display_rows, neutral_copy
from loopcore.motion.solve import solve_motion
from loopcore.motion.steady import interpolated
from loopcore.motion.streaks import axis_angle, bank_axes, streak_axes
from loopcore.plate import Plate

if TYPE_CHECKING:
    from loopcore.motion.networks import FluidNet

THRESHOLD = 0.45  # of the score below which nothing seems to flow; how it was chosen is in the weights' card
# Shares of the picture that have to seem to move: small falls are told from what is still, but a blurred wall looks
# like smoke now and then.
_LEAST_WATER, _LEAST_SMOKE = 0.015, 0.05
_SIDE = 512  # cells on the longer side of the grid that motion is found on

# Longer sides of the picture a frame: a pixel a frame at 2K. Much faster, and the middle of a loop looks doubled.
_SPEED = {"water": 0.6e-3, "sky": 0.3e-3, "smoke": 0.6e-3, "fire": 1.0e-3}
_SMALL = 400  # pixels: smaller plates move as fast as one of this size, else the cross-fade outdoes the motion
_FALLS = 0.6  # upright water is so much faster again
_LED = 0.05  # mean sideways part of the falls over a region of water, from which on they lead it
_STEEP = np.deg2rad(30)  # water at more than this from level goes down

# Weights of what says where water goes; streaks are worth up to 1 each at two scales.
_WIDE_STREAKS, _BANKS, _LEVEL = 0.6, 0.5, 0.3
_SURE = {"water": 0.9, "sky": 0.5, "smoke": 0.7, "fire": 0.7}

# Contrast of a sky (sRGB codes, 0..1) at which it begins to have clouds, and at which it has.
_CLEAR, _CLOUDY = 0.006, 0.02
_WET = 0.1  # share of water in a region of water and smoke that makes the smoke spray
_HOT = 0.2  # share of fire in a region of water and fire that makes the water flame
_WARM = 1.25  # red over blue, in codes, of the light of a flame
_SPECK = 0.005  # of the picture: islands of motion that are smaller are more often mistakes
# What hangs together with what surely moves is taken along where it faintly does, by shares (hysteresis: Canny, TPAMI
# 1986); the mask goes from none to all of the motion between the two.
_FAINTLY, _SURELY = 0.3, 0.6
_BLANK = 0.01  # range of a picture's codes below which it shows nothing


@dataclass(frozen=True)
class Sight:
    """What is seen in a plate: shares of the classes, what of them can move, and the picture they were seen in.

    water, spray, sky, smoke, fire, moving: (h, w) float32 in 0..1; shown: (h, w, 3) float32 sRGB, the display copy at
    that size. spray is a part of water. sky is the share of all sky, moving counts only what has clouds to move.
    """

    water: np.ndarray
    spray: np.ndarray
    sky: np.ndarray
    smoke: np.ndarray
    fire: np.ndarray
    moving: np.ndarray
    shown: np.ndarray

    @property
    def score(self) -> float:
        """How sure something flows, 0..1: what the least share of the picture that counts exceeds."""
        wet = np.minimum(self.water + self.fire, self.moving)
        return float(max(np.quantile(wet, 1 - _LEAST_WATER), np.quantile(self.moving, 1 - _LEAST_SMOKE)))

    def motion(self, moving: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """See :func:`direction_and_speed`."""
        return direction_and_speed(self, moving)


def predict_motion(
    plate: Plate, hints: Hints | None = None, mask: np.ndarray | None = None, weights: str | Path | None = None
) -> MotionField:
    """The motion field of a plate.

    hints: strokes, anchors and mask; drawn for another size of the same shape they are rescaled. mask: (H, W) in 0..1,
    of the plate's size or its display window's, instead of the hints' own. Strokes drawn together with a mask say all
    there is to say. Strokes without a mask, or a mask without strokes, are joined by what is seen in the picture:
    strokes overrule it around them, and a mask replaces where things move. weights: of a network trained on one's own,
    of either kind, instead of the shipped one.

    Convention: (vx, vy) in pixels per frame, x right, y down, where content goes.

    Raises:
        MotionError: nothing in the picture seems to flow, and nothing drawn says how it would; weights that are none.
    """
    hints = (hints or Hints()).fitted(plate.height, plate.width, plate.windows)
    if mask is not None and mask.shape == plate.windows.display_size:
        mask = fit_mask(as_mask(mask), Windows.whole(*mask.shape), plate.windows)
    return _predicted(plate, hints, hints.mask if mask is None else mask, weights).over(plate.windows)


def _predicted(plate: Plate, hints: Hints, drawn: np.ndarray | None, weights: str | Path | None) -> MotionField:
    """The same of hints that fit all of the plate's pixels."""
    if hints.strokes and drawn is not None:
        return solve_motion(plate.height, plate.width, hints, mask=drawn)
    picture = display_copy(plate)
    sight = look_at(picture) if weights is None else look_with(weights, picture)
    if sight.score < THRESHOLD:
        if hints.strokes:
            return solve_motion(plate.height, plate.width, hints)
        raise MotionError(
            f"nothing here seems to flow (the surest place scores {sight.score:.2f}, {THRESHOLD:.2f} is needed): "
            "draw strokes along the flow and a mask around it (--hints hints.json), or give a motion field (--motion)"
        )
    where = full_mask(plate, picture, sight.moving) if drawn is None else drawn
    if not where.any():
        raise MotionError("nothing here seems to flow along any edge: draw strokes along the flow and a mask around it")
    _check_strokes(hints, where)
    forecast = _forecast(plate, sight, drawn)
    return solve_motion(plate.height, plate.width, hints, mask=where, prediction=forecast)


def _check_strokes(hints: Hints, where: np.ndarray) -> None:
    height, width = where.shape
    for number, stroke in enumerate(hints.strokes):
        x, y = np.rint(stroke.points).astype(int).T
        if not (where[np.clip(y, 0, height - 1), np.clip(x, 0, width - 1)] > 0).any():
            raise MotionError(
                f"strokes[{number}] lies where nothing seems to flow: draw a mask around what it moves, too (in the "
                "hints, or --mask)"
            )


def look(plate: Plate) -> Sight:
    """What flows in a plate, on a grid of at most 512 cells a side."""
    return look_at(display_copy(plate))


def look_at(picture: np.ndarray, shares: np.ndarray | None = None, network: FluidNet | None = None) -> Sight:
    """The same of a display picture, (h, w, 3) float32 sRGB 0..1.

    shares: what the network says of it, where that is known; network: instead of the shipped ones. Where nothing seems
    to flow and all is blue, it is looked at again in neutral light.
    """
    sight = _seen(picture, class_shares(picture, network) if shares is None else shares)
    plain = None if sight.score >= THRESHOLD else neutral_copy(picture)
    if plain is None:
        return sight
    return max(sight, _seen(picture, class_shares(plain, network)), key=lambda seen: seen.score)


def _seen(picture: np.ndarray, shares: np.ndarray) -> Sight:
    shown = _resized(picture, *_grid_size(*picture.shape[:2]))
    _, water, sky, smoke, fire = interpolated(shares, *shown.shape[:2])
    flame = water * _lit(water, smoke, fire, shown)
    water, fire = water - flame, fire + flame
    spray = smoke * _wet(water, smoke, fire)
    water, smoke = water + spray, smoke - spray
    moving = np.clip(water + sky * _clouds(shown, sky) + smoke + fire, 0, 1)
    if np.ptp(shown, axis=(0, 1)).max() < _BLANK:
        moving = np.zeros_like(moving)
    return Sight(water, spray, sky, smoke, fire, moving, shown)


def look_with(weights: str | Path, picture: np.ndarray) -> Sight | FieldSight:
    """What a network trained on one's own sees in a display picture: one that names classes, or gives the motion.

    Raises:
        MotionError: weights that are of neither.
    """
    from loopcore.motion.generator import KIND, weights_kind
    from loopcore.motion.networks import load_weights

    if weights_kind(weights) == KIND:
        return regress(weights, picture, *_grid_size(*picture.shape[:2]))
    return look_at(picture, network=load_weights(weights)[0])


def _grid_size(height: int, width: int) -> tuple[int, int]:
    scale = min(1.0, _SIDE / max(height, width))
    return max(8, round(height * scale)), max(8, round(width * scale))


def _resized(picture: np.ndarray, height: int, width: int) -> np.ndarray:
    planes = interpolated(np.moveaxis(picture, -1, 0), height, width, "antialias")
    return np.ascontiguousarray(np.moveaxis(planes, 0, -1))


def _grey(shown: np.ndarray) -> np.ndarray:
    return shown @ np.array([0.2126, 0.7152, 0.0722], np.float32)


def _clouds(shown: np.ndarray, sky: np.ndarray) -> np.ndarray:
    """How far the sky around has texture to move, (h, w) float32 in 0..1: a clear sky would only show its noise."""
    from scipy.ndimage import gaussian_filter

    side = max(sky.shape)
    inside = (sky > 0.8).astype(np.float32)
    grey = _grey(shown)

    def mean(values: np.ndarray, sigma: float) -> np.ndarray:
        weight = gaussian_filter(inside, sigma)
        total = gaussian_filter(values * inside, sigma)
        return np.divide(total, weight, out=np.zeros_like(total), where=weight > 1e-3)

    detail = (gaussian_filter(grey, 1.0) - mean(grey, 0.02 * side)) * inside
    contrast = np.sqrt(np.maximum(mean(detail * detail, 0.06 * side), 0))
    return sharpened(contrast, _CLEAR, _CLOUDY)


def _lit(water: np.ndarray, smoke: np.ndarray, fire: np.ndarray, shown: np.ndarray) -> np.ndarray:
    """Where water is the bright core of a flame, which looks like a fall: it hangs together with fire, and is warm.

    (h, w) bool; shares (h, w) in 0..1, shown (h, w, 3) sRGB 0..1.
    """
    from scipy.ndimage import gaussian_filter

    regions, (wet, _, hot) = _hanging_together(water, smoke, fire)
    burns = hot > _HOT * (wet + hot)
    burns[0] = False
    # of what lies around, too: the brightest is white in a photograph
    red, blue = (gaussian_filter(shown[..., channel], 0.015 * max(water.shape)) for channel in (0, 2))
    return burns[regions] & (red > _WARM * blue)


def _wet(water: np.ndarray, smoke: np.ndarray, fire: np.ndarray) -> np.ndarray:
    """Where smoke is spray, which the network does not tell apart: where it hangs together with water, not fire.

    (h, w) bool; shares (h, w) in 0..1.
    """
    regions, (wet, dry, hot) = _hanging_together(water, smoke, fire)
    spray = (wet > _WET * (wet + dry)) & (hot < 0.1 * (wet + dry))
    spray[0] = False
    return spray[regions]


def _hanging_together(*shares: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
    """Regions, (h, w), numbered from 1, where shares, (h, w), make up more than half; each share's sum by region."""
    from scipy.ndimage import label, sum_labels

    regions, count = label(sum(shares) > 0.5)
    return regions, [sum_labels(share, regions, np.arange(count + 1)) for share in shares]


# where it goes


def _forecast(plate: Plate, sight: Sight | FieldSight, drawn: np.ndarray | None) -> MotionField:
    """What is seen, as a field on the grid it was seen on; inside a drawn mask everything is taken to move."""
    moving = sight.moving
    if drawn is not None:
        moving = np.maximum(moving, interpolated(drawn[None].astype(np.float32), *moving.shape)[0])
    velocity, sure = sight.motion(moving)
    side: float = max(moving.shape)
    if isinstance(sight, Sight):  # else speeds are measured ones
        side *= max(1.0, _SMALL / max(plate.height, plate.width))
    field = MotionField(velocity * np.float32(side), np.ones_like(sure), sure)
    if same_aspect((field.width, field.height), (plate.width, plate.height)):
        return field
    return field.resized(plate.height, plate.width)  # a plate so thin that its grid had to be made wider


def full_mask(plate: Plate, picture: np.ndarray, moving: np.ndarray) -> np.ndarray:
    """(H, W) float32: where the plate moves, along its own edges; exactly 0 where it does not.

    picture: the display copy; moving: (h, w) in 0..1, how sure it is to move, as seen in that copy.
    """
    half = _resized(picture, *_half_size(*picture.shape[:2]))
    coarse = interpolated(_without_specks(moving)[None], *half.shape[:2])[0]
    slopes, offset = refine_mask(coarse, half, radius=max(2, round(0.012 * max(half.shape[:2]))))
    return apply_lines(slopes, offset, display_rows(plate), (plate.height, plate.width), (_FAINTLY, _SURELY))


def _without_specks(moving: np.ndarray) -> np.ndarray:
    """Without the islands of less than half a percent of the picture, and without those of which no part surely moves,
    unless nothing else is there."""
    from scipy.ndimage import label, maximum

    regions, count = label(moving > _FAINTLY)
    sizes = np.bincount(regions.ravel())
    sizes[0] = 0
    surest = np.array([0.0, *maximum(moving, regions, np.arange(1, count + 1))])
    lost = (sizes < min(_SPECK * moving.size, sizes.max())) | (surest < min(_SURELY, surest.max()))
    lost[0] = False
    return np.where(lost[regions], np.float32(0), moving)


def _half_size(height: int, width: int) -> tuple[int, int]:
    scale = min(1.0, 800 / max(height, width))
    return max(4, round(height * scale)), max(4, round(width * scale))


def direction_and_speed(sight: Sight, moving: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(h, w, 2) in longer sides a frame, and (h, w) how sure, of the class that is surest at each place."""
    far = _distance(sight)
    kinds = {
        "water": (sight.water, *_water(sight, far)),
        "sky": (sight.sky, *_sideways(sight.sky, 1.3 - far)),
        "smoke": (sight.smoke, *_upwards(sight.smoke)),
        "fire": (sight.fire, *_upwards(sight.fire)),
    }
    names = list(kinds)
    shares = np.stack([kinds[name][0] for name in names])
    best = shares.argmax(axis=0)
    velocity = np.zeros((*moving.shape, 2), np.float32)
    sure = np.zeros_like(moving)
    for index, name in enumerate(names):
        here = best == index
        _, way, certain = kinds[name]
        velocity[here] = way[here] * np.float32(_SPEED[name])
        sure[here] = (certain * np.float32(_SURE[name]))[here]
    rival = np.sort(shares, axis=0)
    decided = (rival[-1] - rival[-2]) / np.maximum(rival[-1], 1e-3)
    return velocity, np.clip(sure * np.maximum(0.1, decided) * np.minimum(1, 2 * moving), 0, 1)


def _distance(sight: Sight) -> np.ndarray:
    """How far things lie on level ground, (h, 1) float32: 1 at the horizon, 0 at the picture's lower edge."""
    rows = np.arange(len(sight.sky), dtype=np.float32)[:, None] / max(1, len(sight.sky) - 1)
    level = sight.sky.mean(axis=1)
    below = np.flatnonzero(level > 0.5)
    # without a horizon the picture looks down: near and far differ little
    horizon = rows[below[-1], 0] if len(below) else -1.0
    return np.clip((1 - rows) / max(1 - horizon, 0.2), 0, 1) if horizon < 0.95 else np.zeros_like(rows)


def _sideways(share: np.ndarray, pace: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    way = np.zeros((*share.shape, 2), np.float32)
    way[..., 0] = pace
    return way, np.ones_like(share)


def _upwards(share: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    way = np.zeros((*share.shape, 2), np.float32)
    way[..., 1] = -1
    return way, np.ones_like(share)


def _water(sight: Sight, far: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Direction times pace of water, (h, w, 2), and how sure the axis is, (h, w)."""
    from scipy.ndimage import grey_erosion

    side = max(sight.water.shape)
    inside = (sight.water > 0.5).astype(np.float32)
    # the banks' own edges are no streaks, nor are the lines that scans and films have along the frame
    thin = max(2, side // 100)
    clean = grey_erosion(np.pad(inside[thin:-thin, thin:-thin], thin), size=max(3, thin))
    grey = _grey(sight.shown)
    axes = streak_axes(grey, clean, 0.0125 * side) + _WIDE_STREAKS * streak_axes(grey, clean, 0.04 * side)
    axes += _BANKS * bank_axes(inside, 0.04 * side)
    # what is calm lies level, spray falls
    axes[0] += _LEVEL * (1 - 2 * sight.spray / np.maximum(sight.water, 1e-3))
    angle = axis_angle(axes)
    way = np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    steep = np.abs(angle) > _STEEP
    way[steep & (way[..., 1] < 0)] *= -1
    way[_leftward(inside, way, steep) & ~steep] *= -1
    upright = np.abs(np.sin(angle))
    pace = (1.2 - 0.9 * far) * (1 - upright) + (1 + _FALLS) * upright
    return (way * pace[..., None]).astype(np.float32), np.clip(np.hypot(*axes), 0.1, 1)


def _leftward(inside: np.ndarray, way: np.ndarray, steep: np.ndarray) -> np.ndarray:
    """Where level water is led to the left by the falls it belongs to, (h, w) bool."""
    from scipy.ndimage import label, sum_labels

    regions, count = label(inside)
    led, size = (sum_labels(x, regions, np.arange(count + 1)) for x in (way[..., 0] * steep, inside))
    led[0] = 0
    return (led < -_LED * size)[regions]
