# SPDX-License-Identifier: Apache-2.0
"""Vectors that are constant over the loop, with each program's channel names, signs and units in an EXR.

Convention: inside Loopcore f = (fx, fy) is the motion of the content in pixels per frame, y DOWN. All files here are
y UP, so the second component is negated; "next" is +f, "previous" is -f (the field is constant in time).

=========== ==================================== ===========================================
convention  channels                             meaning
=========== ==================================== ===========================================
``nuke``    ``forward.u/.v``, ``backward.u/.v``  to the next frame; to the previous
``blender`` ``Vector.X/.Y``, ``Vector.Z/.W``     to the previous frame; MINUS to the next
``fusion``  ``velX``/``velY``, ``rvelX``/``rvelY`` to the next frame; to the previous
=========== ==================================== ===========================================

All hold velocity times mask, which is the motion that the loop shows, and the mask.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from loopcore.errors import MotionError
from loopcore.motion import masks
from loopcore.motion.field import MotionField

Channels = dict[str, np.ndarray]
UNITS = "pixels_per_frame_y_up"


@dataclass(frozen=True)
class Layout:
    """Names and signs of a convention's four vector channels, and the name of its mask.

    Attributes:
        first: channel names (x, y) of the pair that is read where both are present.
        second: channel names (x, y) of the other pair.
        signs: factor on f (y up) in `first` and in `second`.
        mask: channel name of the mask, which is read from `masks.CHANNELS` too.
    """

    first: tuple[str, str]
    second: tuple[str, str]
    signs: tuple[int, int]
    mask: str

    @property
    def names(self) -> tuple[str, ...]:
        """Returns the names of the vector channels."""
        return (*self.first, *self.second)


LAYOUTS = {
    "nuke": Layout(("forward.u", "forward.v"), ("backward.u", "backward.v"), (1, -1), "mask.a"),
    # Z, W before X, Y: the vectors to the next frame are preferred on reading.
    "blender": Layout(("Vector.Z", "Vector.W"), ("Vector.X", "Vector.Y"), (-1, -1), "mask.V"),
    "fusion": Layout(("velX", "velY"), ("rvelX", "rvelY"), (1, -1), "A"),
}


def to_channels(motion: MotionField, convention: str) -> Channels:
    """Returns the float32 channels, (H, W) each, of a convention.

    Args:
        motion: the motion field.
        convention: one of `LAYOUTS`.
    """
    layout = LAYOUTS[convention]
    shown = motion.effective
    channels = {layout.mask: motion.mask}
    for names, sign in zip((layout.first, layout.second), layout.signs, strict=True):
        # Adding 0 turns -0 into 0.
        channels[names[0]] = sign * shown[..., 0] + 0.0
        channels[names[1]] = -sign * shown[..., 1] + 0.0
    return channels


def from_channels(find: Callable[[str], np.ndarray | None], convention: str, from_loopcore: bool) -> MotionField:
    """Returns the motion field of an EXR's channels.

    Args:
        find: returns the channel of a name; see `finder`.
        convention: one of `LAYOUTS`.
        from_loopcore: whether Loopcore wrote the file, so that the vectors are already multiplied by the mask.

    Raises:
        MotionError: neither pair of vectors is complete, or see `with_mask`.
    """
    layout = LAYOUTS[convention]
    for names, sign in zip((layout.first, layout.second), layout.signs, strict=True):
        x, y = find(names[0]), find(names[1])
        if x is not None and y is not None:
            shown = np.stack([sign * x + 0.0, -sign * y + 0.0], axis=-1).astype(np.float32)
            return with_mask(shown, find_mask(find, layout.mask), from_loopcore)
    raise MotionError(f"it lacks {' and '.join(layout.first)}, the channels of {convention} vectors")


def find_mask(find: Callable[[str], np.ndarray | None], *names: str) -> np.ndarray | None:
    """Returns the mask of an EXR, or None.

    Args:
        find: returns the channel of a name; see `finder`.
        names: of the mask in the file's convention, besides `masks.CHANNELS`.
    """
    # An alpha last: in other programs' files it is often that of the picture.
    ordered = sorted(dict.fromkeys((*names, *masks.CHANNELS)), key=lambda name: name == "A")
    return next((values for name in ordered if (values := find(name)) is not None), None)


def with_mask(shown: np.ndarray, mask: np.ndarray | None, multiplied: bool) -> MotionField:
    """Returns a motion field of vectors and a mask, with confidence 1.

    Args:
        shown: (H, W, 2) vectors in pixels per frame, y down.
        mask: (H, W), clipped to 0..1; None is 1 everywhere.
        multiplied: whether the vectors are already multiplied by the mask; they are then divided by it.

    Raises:
        MotionError: values that are not finite.
    """
    ones = np.ones(shown.shape[:2], np.float32)
    if mask is None:
        return MotionField(shown, ones, ones)
    mask = masks.from_file(mask)
    if multiplied:
        # Where the mask is 0 the velocity is not known; it is set to 0.
        with np.errstate(all="ignore"):
            shown = np.where(mask[..., None] > 0, shown / np.where(mask > 0, mask, 1)[..., None], 0)
    return MotionField(shown, mask, ones)


def finder(channels: Mapping[str, np.ndarray]) -> Callable[[str], np.ndarray | None]:
    """Returns a function that finds a channel by its name or the end of it: `Vector.X` finds `ViewLayer.Vector.X`.

    It returns None for a channel that does not exist, and raises MotionError where several end with the name.

    Args:
        channels: the channels by their full names.
    """

    def find(name: str) -> np.ndarray | None:
        if name in channels:
            return channels[name]
        found = sorted(full for full in channels if full.endswith(f".{name}"))
        if len(found) > 1:
            raise MotionError(f"it has {name} more than once ({', '.join(found)}): write only one of these layers")
        return channels[found[0]] if found else None

    return find
