# SPDX-License-Identifier: Apache-2.0
"""The maps of one frame, from which a compositor rebuilds it: where to fetch each pixel, and the blend weights.

Frame t of the loop is a mix of three pictures: P, the still warped by the past map (from frame 0), F, the still warped
by the future map (from frame N), and S, the still:

    frame = past * P + future * F + rest * S,        past + future + rest = 1

The weight `rest` is 1 outside the mask, where both maps are the identity. That is the loop of one cycle; those of more
cycles or with steady looks mix more copies: see `layers`. Two operations of the loop are not in the
maps: its `contrast` restores detail lost by blending, and where the motion compresses the plate it averages along the
compression, as filtering STMap nodes do.

Convention: displacements say where a pixel is fetched FROM, relative to it, in pixels, x right and y DOWN.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from loopcore.errors import MotionError
from loopcore.exr.windows import Windows
from loopcore.image import EqualByContent
from loopcore.loop.paths import Paths
from loopcore.motion.field import MotionField

if TYPE_CHECKING:
    from loopcore.flowmap.layers import Layers
    from loopcore.plate import Plate

_MAX_ITERATIONS = 20
_TOLERANCE = 1e-4  # mean residual in pixels that ends the iteration
_MAX_RESIDUAL = 0.25  # pixels; above, no field explains the map
# Sigma of the smoothing of corrections, as a fraction of the distance travelled. Finer detail along a path averages out
# over the path, so the map does not determine it, and unsmoothed corrections diverge.
_SMOOTHING = 0.5


@dataclass(frozen=True, eq=False)
class FrameMaps(EqualByContent):
    """The maps of one frame, float32, stored as planes.

    Attributes:
        past: (H, W, 2) displacement to where the content was at frame 0.
        future: (H, W, 2) displacement to where the content will be at frame N.
        weights: (H, W, 3) blend weights past, future, rest.
    """

    past: np.ndarray
    future: np.ndarray
    weights: np.ndarray


class Maps:
    """The maps of every frame of a loop; see the module.

    Args:
        motion: the motion field.
        frames: length N of the loop.
        cycles: as for `Loop`.
        steady: as for `Loop`.
        plate: the still, for steady looks; the motion is continued into its overscan as in the loop.

    Raises:
        MotionError: a setting is out of range, or the plate has another size.
        PlateError: the plate has more than four channels.
    """

    def __init__(
        self, motion: MotionField, frames: int, cycles: int | str = "auto", steady: float | str = "auto",
        plate: Plate | None = None,
    ) -> None:  # fmt: skip
        from loopcore.loop.loop import check_loop, fitted

        check_loop(plate, frames, cycles, steady)
        motion = motion if plate is None else fitted(plate, motion)
        self.frames, self.height, self.width = int(frames), motion.height, motion.width
        self._cycles, self._steady, self.plate = cycles, steady, plate
        self.mask, self.windows = motion.mask, motion.windows
        # The same paths as the loop's, so that the maps rebuild its frames.
        self._paths = Paths(motion, self.frames)

    @cached_property
    def layers(self) -> Layers | None:
        """Returns the layers of a loop of more cycles or with steady looks, None for the loop that `at` is for.

        Raises:
            MotionError: looks are steady, and there is no plate.
        """
        from loopcore.color import contrast_weights
        from loopcore.flowmap.layers import Layers
        from loopcore.loop.loop import four_channels
        from loopcore.loop.mixture import mixture_of
        from loopcore.transport.fill import repair

        source, luma = None, np.zeros(4, np.float32)
        if self.plate is not None:
            source = repair(four_channels(self.plate.pixels[self._paths.window]))
            luma, _ = contrast_weights(self.plate.channels)
        mixture = mixture_of(self._paths, self._cycles, self._steady, source, luma, self._paths.mask, contrast=0)
        return None if mixture is None else Layers(mixture, self._paths, self.mask)

    def at(self, t: float) -> FrameMaps:
        """Returns the maps of a frame of the loop of one cycle.

        Args:
            t: loop time, 0 to N.
        """
        from loopcore.flowmap.planes import to_planes

        planes = to_planes(self._paths.nodes(t), 5, self._paths.step, self._paths.window, self.mask)
        weights = np.empty((3, self.height, self.width), np.float32)
        np.multiply(planes[4], self.mask, out=weights[0])
        np.subtract(self.mask, weights[0], out=weights[1])
        np.subtract(1, self.mask, out=weights[2])
        return FrameMaps(*(np.moveaxis(a, 0, 2) for a in (planes[:2], planes[2:4], weights)))

    def displacement(self, span: float) -> np.ndarray:
        """Returns the displacement of each pixel's content, (H, W, 2) in pixels.

        Args:
            span: number of frames; negative is backward.
        """
        moved = np.zeros((self.height, self.width, 2), np.float32)
        moved[self._paths.window] = self._paths.displacement(span) * (self._paths.mask > 0)[..., None]
        return moved

    def holes(self, t: float) -> np.ndarray:
        """Returns which pixels of a frame no pixel of the still reaches.

        Args:
            t: loop time, 0 to N.

        Returns:
            (H, W, 3) float32, 1 for holes: of the still moved forward, moved backward, and of both. 0 outside the
            mask.
        """
        from loopcore.transport import splat

        ones = np.ones((self.height, self.width, 1), np.float32)
        out = np.empty((self.height, self.width, 3), np.float32)
        for k, span in enumerate((t, t - self.frames)):
            _, weight = splat(ones, self.displacement(span))
            out[..., k] = (weight <= 0) & (self.mask > 0)
        np.minimum(out[..., 0], out[..., 1], out=out[..., 2])
        return out


def sources(displacement: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the coordinates of the pixels to fetch, mirrored about the border pixels as in the loop.

    Args:
        displacement: (H, W, 2).

    Returns:
        x and y, (H, W) each, y DOWN. All lie within the picture, so they do not depend on how a program extends it.
    """
    height, width = displacement.shape[:2]
    x = displacement[..., 0] + np.arange(width, dtype=np.float32)
    y = displacement[..., 1] + np.arange(height, dtype=np.float32)[:, None]
    return _mirrored(x, width), _mirrored(y, height)


def _mirrored(coordinate: np.ndarray, size: int) -> np.ndarray:
    """Mirrors coordinates into 0 .. size - 1, in coordinate."""
    if size == 1:
        coordinate[...] = 0
        return coordinate
    np.abs(coordinate, out=coordinate)
    last = np.float32(size - 1)
    if coordinate.max() > last:
        np.mod(coordinate, 2 * last, out=coordinate)
        np.minimum(coordinate, 2 * last - coordinate, out=coordinate)
    return coordinate


def stmap_channels(displacement: np.ndarray, windows: Windows) -> dict[str, np.ndarray]:
    """Returns an STMap: R and G are the coordinates to fetch, B is 1.

    Args:
        displacement: (H, W, 2) in pixels, y down.
        windows: of the picture.

    Convention: 0 to 1 from the bottom left of the display window, pixel centres at +0.5; below 0 or above 1 in the
    overscan. Blender's Map UV uses B as coverage, so that other values darken the picture.
    """
    (height, width), (left, top) = windows.display_size, windows.offset
    x, y = sources(displacement)
    x += np.float32(0.5 - left)
    x /= np.float32(width)
    np.subtract(np.float32(height - 0.5 + top), y, out=y)
    y /= np.float32(height)
    return {"R": x, "G": y, "B": np.ones_like(x)}


def offset_channels(displacement: np.ndarray, layer: str, push: bool) -> dict[str, np.ndarray]:
    """Returns a displacement as channels of a layer, in pixels, y up.

    Args:
        displacement: (H, W, 2), y down.
        layer: name before the dot.
        push: True for Blender's Displace (X, Y, Z: the motion of the content), False for Nuke's IDistort (u, v: the
            offset to fetch from).
    """
    x, y = sources(displacement)
    x -= np.arange(displacement.shape[1], dtype=np.float32)
    y -= np.arange(displacement.shape[0], dtype=np.float32)[:, None]
    if push:
        return {f"{layer}.X": 0 - x, f"{layer}.Y": y, f"{layer}.Z": np.zeros_like(x)}
    return {f"{layer}.u": x, f"{layer}.v": 0 - y}


def displacement_of_stmap(u: np.ndarray, v: np.ndarray, windows: Windows) -> np.ndarray:
    """Returns the displacement of an STMap; the inverse of `stmap_channels`, except for the mirroring.

    Args:
        u: (H, W) red.
        v: (H, W) green.
        windows: of the picture.

    Returns:
        (H, W, 2) in pixels, y down.
    """
    (height, width), (left, top) = windows.display_size, windows.offset
    out = np.empty((*u.shape, 2), np.float32)
    out[..., 0] = u.astype(np.float64) * width - 0.5 + left - np.arange(u.shape[1])
    out[..., 1] = height - 0.5 + top - v.astype(np.float64) * height - np.arange(u.shape[0])[:, None]
    return out


def velocity_from(displacement: np.ndarray, span: float) -> tuple[np.ndarray, np.ndarray]:
    """Returns the velocity field of a displacement.

    Solves integrate(v, span) = displacement by fixed-point iteration with smoothed corrections. The smaller the
    displacement, the finer the detail recovered. Displacements mirrored at the border are not invertible there: they
    are replaced by the nearest known pixel's.

    Args:
        displacement: (H, W, 2) in pixels, y down.
        span: frames that it spans; negative is backward.

    Returns:
        The velocity (H, W, 2) in pixels per frame, and where (H, W) it is known.

    Raises:
        MotionError: the displacement spans too much motion, or is mirrored everywhere.
    """
    from scipy.ndimage import distance_transform_edt, gaussian_filter

    from loopcore.transport import cpu

    known = _not_mirrored(displacement)
    if not known.any():
        raise MotionError("its coordinates run backward everywhere: is it mirrored, or its origin at another corner?")
    if not known.all():
        nearest = distance_transform_edt(~known, return_distances=False, return_indices=True)
        displacement = np.ascontiguousarray(displacement[tuple(nearest)])
    sigma = _SMOOTHING * float(np.quantile(np.hypot(displacement[..., 0], displacement[..., 1]), 0.98))
    velocity = best = displacement / np.float32(span)
    least = np.inf
    for _ in range(_MAX_ITERATIONS):
        residual = cpu.integrate(velocity, span) - displacement
        size = float(np.abs(residual)[known].mean())
        if size >= least:
            break
        least, best = size, velocity
        if least < _TOLERANCE:
            break
        step = gaussian_filter(residual, (sigma, sigma, 0)) if sigma > 0.3 else residual
        velocity = velocity - step / np.float32(span)
    if least > _MAX_RESIDUAL:
        raise MotionError(
            f"it spans {abs(span):g} frames of motion, which is too much to read the velocity back: give the frame "
            "next to the first"
        )
    return best, known


def _not_mirrored(displacement: np.ndarray) -> np.ndarray:
    """Returns where the coordinates increase from pixel to pixel in both directions."""
    height, width = displacement.shape[:2]
    known = np.ones((height, width), bool)
    if width > 1:
        known &= np.gradient(displacement[..., 0], axis=1) > -0.99
    if height > 1:
        known &= np.gradient(displacement[..., 1], axis=0) > -0.99
    return known
