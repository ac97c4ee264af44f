# SPDX-License-Identifier: Apache-2.0
"""What moves in one frame of the loop, as a compositor can rebuild it: where each pixel is fetched from, and how much.

Frame t of the loop mixes two copies of the still. The one from the past was fetched from where the content was at
frame 0, the one from the future from where it will be at frame N. With P and F for the still seen through the two
maps, and S for the still itself:

    frame = past * P + future * F + rest * S,        past + future + rest = 1

`past`, `future` and `rest` are the three shares; rest is 1 outside the mask, where both maps are the identity. Two
things the loop does besides are not in any map: it gives back the detail that blending takes (its `contrast`), and
where the motion squeezes the plate it averages along the squeeze, as filtering STMap nodes do by themselves.

Convention: displacements are where a pixel is fetched FROM, relative to it, in pixels, x right and y DOWN.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from loopcore.errors import MotionError
from loopcore.exr.windows import Windows
from loopcore.image import EqualByContent
from loopcore.loop.paths import Paths
from loopcore.motion.field import MotionField

_ROUNDS = 20
_NEAR_ENOUGH = 1e-4
_TOO_FAR = 0.25  # pixels by which a field may fail to explain the map it was made from
# How far corrections are spread, as a share of the distance travelled: what changes faster along a path than that
# averages out over it, so the map does not tell it, and it would only grow.
_SPREAD = 0.5


@dataclass(frozen=True, eq=False)
class FrameMaps(EqualByContent):
    """Frame t: (H, W, 2) displacements to fetch from and (H, W, 3) shares past, future, rest; float32, as planes."""

    past: np.ndarray
    future: np.ndarray
    shares: np.ndarray


class Maps:
    """The maps of every frame of a loop; see the module.

    Raises:
        MotionError: fewer than 2 frames.
    """

    def __init__(self, motion: MotionField, frames: int) -> None:

        if not isinstance(frames, int | np.integer) or frames < 2:
            raise MotionError(f"a loop needs a whole number of frames, at least 2: {frames!r} was given")
        self.frames, self.height, self.width = int(frames), motion.height, motion.width
        self.mask, self.windows = motion.mask, motion.windows
        # The loop's own, so that the maps rebuild its frames.
        self._paths = Paths(motion, self.frames)

    def at(self, t: float) -> FrameMaps:
        """The maps of frame t, 0 <= t <= N."""
        from loopcore.flowmap.planes import to_planes

        planes = to_planes(self._paths.nodes(t), 5, self._paths.step, self._paths.window, self.mask)
        shares = np.empty((3, self.height, self.width), np.float32)
        np.multiply(planes[4], self.mask, out=shares[0])
        np.subtract(self.mask, shares[0], out=shares[1])
        np.subtract(1, self.mask, out=shares[2])
        return FrameMaps(*(np.moveaxis(a, 0, 2) for a in (planes[:2], planes[2:4], shares)))

    def carried(self, span: float) -> np.ndarray:
        """(H, W, 2): where each pixel's content is after `span` frames, relative to where it is now."""
        moved = np.zeros((self.height, self.width, 2), np.float32)
        moved[self._paths.window] = self._paths.displacement(span) * (self._paths.mask > 0)[..., None]
        return moved

    def holes(self, t: float) -> np.ndarray:
        """(H, W, 3) float32, 1 where no pixel of the still lands in frame t: carried from the past, the future, both.

        Only where the mask is above 0: a still pixel stays where it is.
        """
        from loopcore.transport import splat

        ones = np.ones((self.height, self.width, 1), np.float32)
        out = np.empty((self.height, self.width, 3), np.float32)
        for k, span in enumerate((t, t - self.frames)):
            _, weight = splat(ones, self.carried(span))
            out[..., k] = (weight <= 0) & (self.mask > 0)
        np.minimum(out[..., 0], out[..., 1], out=out[..., 2])
        return out


def sources(displacement: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """x and y (H, W) of the pixels to fetch, mirrored about the border's pixels as the loop does; y DOWN.

    So no program has to know what lies beyond the picture.
    """
    height, width = displacement.shape[:2]
    x = displacement[..., 0] + np.arange(width, dtype=np.float32)
    y = displacement[..., 1] + np.arange(height, dtype=np.float32)[:, None]
    return _mirrored(x, width), _mirrored(y, height)


def _mirrored(place: np.ndarray, size: int) -> np.ndarray:
    """`place`, changed in place."""
    if size == 1:
        place[...] = 0
        return place
    np.abs(place, out=place)
    last = np.float32(size - 1)
    if place.max() > last:
        np.mod(place, 2 * last, out=place)
        np.minimum(place, 2 * last - place, out=place)
    return place


def stmap_channels(displacement: np.ndarray, windows: Windows) -> dict[str, np.ndarray]:
    """R and G: where to fetch, 0..1 from the bottom left of the display window, pixel centres at +0.5; B is 1.

    In the overscan they are below 0 or above 1.
    Blender's Map UV takes the third channel as coverage: with anything but 1 there it darkens the picture.
    """
    (height, width), (left, top) = windows.display_size, windows.offset
    x, y = sources(displacement)
    x += np.float32(0.5 - left)
    x /= np.float32(width)
    np.subtract(np.float32(height - 0.5 + top), y, out=y)
    y /= np.float32(height)
    return {"R": x, "G": y, "B": np.ones_like(x)}


def offset_channels(displacement: np.ndarray, layer: str, push: bool) -> dict[str, np.ndarray]:
    """Pixels, y up: `push` as Blender's Displace (X, Y, Z: content moves along), else IDistort's pull (u, v)."""
    x, y = sources(displacement)
    x -= np.arange(displacement.shape[1], dtype=np.float32)
    y -= np.arange(displacement.shape[0], dtype=np.float32)[:, None]
    if push:
        return {f"{layer}.X": 0 - x, f"{layer}.Y": y, f"{layer}.Z": np.zeros_like(x)}
    return {f"{layer}.u": x, f"{layer}.v": 0 - y}


def displacement_of_stmap(u: np.ndarray, v: np.ndarray, windows: Windows) -> np.ndarray:
    """(H, W, 2): what `stmap_channels` was made of, in the picture's mirrored coordinates."""
    (height, width), (left, top) = windows.display_size, windows.offset
    out = np.empty((*u.shape, 2), np.float32)
    out[..., 0] = u.astype(np.float64) * width - 0.5 + left - np.arange(u.shape[1])
    out[..., 1] = height - 0.5 + top - v.astype(np.float64) * height - np.arange(u.shape[0])[:, None]
    return out


def velocity_from(displacement: np.ndarray, span: float) -> tuple[np.ndarray, np.ndarray]:
    """The velocity (H, W, 2) that after `span` frames displaces so, and where (H, W) that is known.

    Solves integrate(v, span) = displacement by fixed-point iteration, with smoothed corrections. The shorter the way,
    the finer the detail that comes back. What was mirrored at the border cannot be read back: it takes the nearest
    known pixel's displacement.

    Raises:
        MotionError: the displacement spans so much motion that no field explains it.
    """
    from scipy.ndimage import distance_transform_edt, gaussian_filter

    from loopcore.transport import cpu

    known = _not_mirrored(displacement)
    if not known.any():
        raise MotionError("its coordinates run backward everywhere: is it mirrored, or its origin at another corner?")
    if not known.all():
        nearest = distance_transform_edt(~known, return_distances=False, return_indices=True)
        displacement = np.ascontiguousarray(displacement[tuple(nearest)])
    spread = _SPREAD * float(np.quantile(np.hypot(displacement[..., 0], displacement[..., 1]), 0.98))
    velocity = best = displacement / np.float32(span)
    least = np.inf
    for _ in range(_ROUNDS):
        left = cpu.integrate(velocity, span) - displacement
        size = float(np.abs(left)[known].mean())
        if size >= least:
            break
        least, best = size, velocity
        if least < _NEAR_ENOUGH:
            break
        step = gaussian_filter(left, (spread, spread, 0)) if spread > 0.3 else left
        velocity = velocity - step / np.float32(span)
    if least > _TOO_FAR:
        raise MotionError(
            f"it spans {abs(span):g} frames of motion, which is too much to read the velocity back: give the frame "
            "next to the first"
        )
    return best, known


def _not_mirrored(displacement: np.ndarray) -> np.ndarray:
    """Where places of neighbours still follow one another in both directions."""
    height, width = displacement.shape[:2]
    known = np.ones((height, width), bool)
    if width > 1:
        known &= np.gradient(displacement[..., 0], axis=1) > -0.99
    if height > 1:
        known &= np.gradient(displacement[..., 1], axis=0) > -0.99
    return known
