# SPDX-License-Identifier: Apache-2.0
"""Draws a velocity field as colours: hue is the direction, saturation the speed."""

import numpy as np

from loopcore.errors import MotionError

# Colours from one corner of the wheel to the next: red, yellow, green, cyan, blue, magenta, red.
# Uneven, because some arcs have more distinguishable shades than others.
_ARCS = (15, 6, 4, 11, 13, 6)
_CORNERS = ((1, 0, 0), (1, 1, 0), (0, 1, 0), (0, 1, 1), (0, 0, 1), (1, 0, 1))
_UNKNOWN = 1e9
_BAND_ROWS = 256


def flow_picture(velocity: np.ndarray, max_speed: float | None = None) -> np.ndarray:
    """Returns the colour-wheel picture of a velocity field.

    Args:
        velocity: (H, W, 2), any float type.
        max_speed: the speed that is fully saturated, in pixels per frame; None takes the largest. Higher speeds are
            dimmed to three quarters.

    Returns:
        (H, W, 3) uint8. Speed 0 is white. NaN, infinity and components beyond 1e9 ("unknown" in .flo files) are black.

    Raises:
        MotionError: not an (H, W, 2) array, or a `max_speed` that is not a positive number.

    Convention: x right, y down. Red is right, yellow down, cyan left, violet up.

    Source: Baker et al., "A Database and Evaluation Methodology for Optical Flow", ICCV 2007, figure 2.
    """
    velocity = np.asarray(velocity)
    if velocity.ndim != 3 or velocity.shape[2] != 2:
        raise MotionError(f"a velocity field has the shape (H, W, 2), not {velocity.shape}")
    if max_speed is None:
        max_speed = _largest_speed(velocity)
    elif not 0 < max_speed < np.inf:
        raise MotionError(f"max_speed {max_speed} must be a positive number of pixels per frame")
    picture = np.empty((*velocity.shape[:2], 3), np.uint8)
    # In bands: the intermediate values of a whole 4K field would take a gigabyte.
    for top in range(0, len(velocity), _BAND_ROWS):
        picture[top : top + _BAND_ROWS] = _colours(velocity[top : top + _BAND_ROWS], max_speed)
    return picture


def _known(velocity: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        return (np.abs(velocity) <= _UNKNOWN).all(axis=2)


def _largest_speed(velocity: np.ndarray) -> float:
    largest = 0.0
    for top in range(0, len(velocity), _BAND_ROWS):
        band = velocity[top : top + _BAND_ROWS]
        known = band[_known(band)].astype(np.float32)
        if known.size:
            largest = max(largest, float(np.hypot(known[:, 0], known[:, 1]).max()))
    return largest or 1.0


def colour_wheel() -> np.ndarray:
    """Returns the 55 colours of the wheel, (55, 3) float32 in 0..1, starting at red."""
    colours = []
    for arc, count in enumerate(_ARCS):
        start = np.array(_CORNERS[arc])
        change = np.array(_CORNERS[(arc + 1) % len(_CORNERS)]) - start
        for step in range(count):
            colours.append(255 * start + change * (255 * step // count))
    return np.array(colours, np.float32) / 255


def _colours(velocity: np.ndarray, max_speed: float) -> np.ndarray:
    known = _known(velocity)
    scaled = np.where(known[..., None], velocity, 0).astype(np.float32) / np.float32(max_speed)
    u, v = scaled[..., 0], scaled[..., 1]
    radius = np.hypot(u, v)[..., None]
    wheel = colour_wheel()
    # The wheel's two ends, at angles -pi and pi, are both next to red: the circle has 54 steps, not 55.
    position = (np.arctan2(-v, -u) / np.float32(np.pi) + 1) * np.float32(0.5 * (len(wheel) - 1))
    lower = np.minimum(position.astype(np.intp), len(wheel) - 1)
    share = (position - lower)[..., None]
    hue = wheel[lower] * (1 - share) + wheel[(lower + 1) % len(wheel)] * share
    colour = np.where(radius <= 1, 1 - radius * (1 - hue), 0.75 * hue)
    return (255 * colour * known[..., None]).astype(np.uint8)
