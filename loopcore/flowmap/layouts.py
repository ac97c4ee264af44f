# SPDX-License-Identifier: Apache-2.0
"""Vectors that do not change over the loop, as each program names, signs and scales them in an EXR.

Convention: inside Loopcore f = (fx, fy) is where content goes, pixels per frame, y DOWN. All files here are y UP, so
the second component changes its sign; "next" is +f, "previous" is -f (the field does not change in time).

=========== ==================================== ===========================================
convention  channels                             meaning
=========== ==================================== ===========================================
``nuke``    ``forward.u/.v``, ``backward.u/.v``  to the next frame; to the previous
``blender`` ``Vector.X/.Y``, ``Vector.Z/.W``     to the previous frame; MINUS to the next
``fusion``  ``velX``/``velY``, ``rvelX``/``rvelY`` to the next frame; to the previous
=========== ==================================== ===========================================

All hold what the loop shows, velocity times mask, and beside it the mask.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from loopcore.errors import MotionError
from loopcore.motion.field import MotionField

Channels = dict[str, np.ndarray]
UNITS = "pixels_per_frame_y_up"


@dataclass(frozen=True)
class Layout:
    """Four vector channels and a mask: names, and the sign of "next" in each pair that holds it.

    first, second: (x, y) channel names. signs: what f (y up) is multiplied with in first and in second.
    """

    first: tuple[str, str]
    second: tuple[str, str]
    signs: tuple[int, int]
    mask: str

    @property
    def names(self) -> tuple[str, ...]:
        """The channels of the vectors."""
        return (*self.first, *self.second)


LAYOUTS = {
    "nuke": Layout(("forward.u", "forward.v"), ("backward.u", "backward.v"), (1, -1), "mask.a"),
    # The second pair first: it is the one about the next frame, so it is what is read where both are there.
    "blender": Layout(("Vector.Z", "Vector.W"), ("Vector.X", "Vector.Y"), (-1, -1), "mask.V"),
    "fusion": Layout(("velX", "velY"), ("rvelX", "rvelY"), (1, -1), "A"),
}


def to_channels(motion: MotionField, convention: str) -> Channels:
    """The float32 channels of one of `LAYOUTS`."""
    layout = LAYOUTS[convention]
    shown = motion.effective
    channels = {layout.mask: motion.mask}
    for names, sign in zip((layout.first, layout.second), layout.signs, strict=True):
        # Adding 0 makes -0 a plain 0, which is what people expect to see of a still pixel.
        channels[names[0]] = sign * shown[..., 0] + 0.0
        channels[names[1]] = -sign * shown[..., 1] + 0.0
    return channels


def from_channels(find: Callable[[str], np.ndarray | None], convention: str, ours: bool) -> MotionField:
    """A motion field from channels that `find` looks up by name.

    Of a file of our own (`ours`) the vectors are velocity times mask; elsewhere a mask is only a mask.

    Raises:
        MotionError: neither pair of vectors is whole.
    """
    layout = LAYOUTS[convention]
    for names, sign in zip((layout.first, layout.second), layout.signs, strict=True):
        x, y = find(names[0]), find(names[1])
        if x is not None and y is not None:
            shown = np.stack([sign * x + 0.0, -sign * y + 0.0], axis=-1).astype(np.float32)
            return with_mask(shown, find(layout.mask), ours)
    raise MotionError(f"it lacks {' and '.join(layout.first)}, which {convention} vectors are in")


def with_mask(shown: np.ndarray, mask: np.ndarray | None, multiplied: bool) -> MotionField:
    """A motion field of the motion shown (H, W, 2); `multiplied` says that the mask is already in it.

    Raises:
        MotionError: values that are not finite, or a mask outside 0..1.
    """
    ones = np.ones(shown.shape[:2], np.float32)
    if mask is None:
        return MotionField(shown, ones, ones)
    mask = np.ascontiguousarray(mask, np.float32)
    if multiplied:
        # The field goes on where the mask is 0, but the file does not tell how.
        with np.errstate(all="ignore"):
            shown = np.where(mask[..., None] > 0, shown / np.where(mask > 0, mask, 1)[..., None], 0)
    return MotionField(shown, mask, ones)


def finder(channels: Mapping[str, np.ndarray]) -> Callable[[str], np.ndarray | None]:
    """Looks a channel up by its name, or by how it ends: ``ViewLayer.Vector.X`` is found as ``Vector.X``.

    Raises (when called):
        MotionError: several channels end so.
    """

    def find(name: str) -> np.ndarray | None:
        if name in channels:
            return channels[name]
        found = sorted(full for full in channels if full.endswith(f".{name}"))
        if len(found) > 1:
            raise MotionError(f"it has {name} more than once ({', '.join(found)}): write only one of these layers")
        return channels[found[0]] if found else None

    return find
