# SPDX-License-Identifier: Apache-2.0
"""The motion field, a static velocity per pixel with mask and confidence, and its EXR file.

The file is one EXR, float32, ZIP, tagged as data, in the channels that compositors expect (y up):

- ``forward.u/.v``: velocity times mask, in Nuke's names; ``backward.u/.v``: its negative, since the field is static;
  ``Vector.X/.Y/.Z/.W``: Blender's pass (backward, then minus forward);
- ``velocity.X/.Y``: the velocity without the mask; ``mask.V`` and ``confidence.V``.

A saved field loads bit-identically. Where ``forward`` was edited afterwards, in Nuke for example, the velocity is
``forward`` divided by the mask. Any other EXR with ``forward.u/.v`` can be loaded too.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from loopcore.errors import LoopcoreError, MotionError, PlateError
from loopcore.exr.windows import WHOLE, Windows, checked_windows, place, place_channels
from loopcore.image import EqualByContent
from loopcore.motion import masks

if TYPE_CHECKING:
    from loopcore.exr import ExrPart

_OWN = ("forward.u", "forward.v", "velocity.X", "velocity.Y", "mask.V", "confidence.V", "drifting.V")
_UNITS = "pixels_per_frame_y_up"
# Attribute of a file that `MotionField.save` wrote: the digest of the field in it.
DIGEST = "loopcore/motion_digest"


@dataclass(frozen=True, eq=False)
class MotionField(EqualByContent):
    """The motion of one plate.

    Fields are equal if all their bits are; they are not hashable, use ``digest()`` as a key.

    Attributes:
        velocity: (H, W, 2) float32, pixels per frame; smooth, not multiplied by the mask.
        mask: (H, W) float32 in 0..1, the factor of the velocity; pixels where it is 0 stay unchanged.
        confidence: (H, W) float32 in 0..1; 1 where the velocity was drawn.
        windows: of the plate: data and display window; by default both are the arrays' size.
        drifting: (H, W) float32 in 0..1, the part of what moves that is clouds, smoke or steam: things whose shapes
            move with them, while the looks of water and fire stay in their places. None where that is not known.

    Raises:
        MotionError: shapes that do not match, values that are not finite or not in 0..1.

    Convention: (vx, vy) where content goes, x right, y down, row 0 at the top, pixel centres at integers.
    """

    velocity: np.ndarray
    mask: np.ndarray
    confidence: np.ndarray
    windows: Windows = WHOLE
    drifting: np.ndarray | None = None

    def __post_init__(self) -> None:
        try:
            velocity = np.ascontiguousarray(self.velocity, np.float32)
        except (TypeError, ValueError):
            raise MotionError(f"velocity must be an array of numbers, not {type(self.velocity).__name__}") from None
        if velocity.ndim != 3 or velocity.shape[2] != 2 or not velocity.size:
            raise MotionError(f"velocity must have the shape (height, width, 2), not {velocity.shape}")
        if not np.isfinite(velocity).all():
            y, x = np.argwhere(~np.isfinite(velocity).all(axis=2))[0]
            raise MotionError(
                f"velocity contains NaN or Inf (first at x {x}, y {y}): replace them with 0, and mask what is still"
            )
        object.__setattr__(self, "velocity", velocity)
        for name in ("mask", "confidence", *([] if self.drifting is None else ["drifting"])):
            values = masks.as_mask(getattr(self, name))
            if values.shape != velocity.shape[:2]:
                raise MotionError(f"{name} has the shape {values.shape}, but velocity has {velocity.shape[:2]}")
            object.__setattr__(self, name, values)
        try:
            object.__setattr__(self, "windows", checked_windows(self.windows, *velocity.shape[:2]))
        except PlateError as error:
            raise MotionError(str(error)) from None

    @property
    def height(self) -> int:
        """Number of rows."""
        return self.velocity.shape[0]

    @property
    def width(self) -> int:
        """Number of columns."""
        return self.velocity.shape[1]

    @property
    def effective(self) -> np.ndarray:
        """Velocity times mask, the motion that a loop shows, (H, W, 2) float32."""
        return self.velocity * self.mask[..., None]

    def scaled(self, speed: float) -> MotionField:
        """Returns the field with its velocity multiplied by a factor.

        Args:
            speed: the factor; a negative one reverses the motion.

        Raises:
            MotionError: ``speed`` is not finite.
        """
        if not np.isfinite(speed):
            raise MotionError(f"speed must be a finite number, not {speed}")
        return replace(self, velocity=self.velocity * np.float32(speed))

    def resized(self, height: int, width: int) -> MotionField:
        """Returns the field for a plate of another size without overscan; vectors are scaled.

        Args:
            height: rows.
            width: columns.

        Raises:
            MotionError: a size below 1.
        """
        if height < 1 or width < 1:
            raise MotionError(f"a motion field cannot be resized to {width}x{height}")
        return self.over(Windows.whole(height, width))

    def over(self, windows: Windows) -> MotionField:
        """Returns the field for a plate of these windows; vectors are scaled with the display window.

        A field without overscan is extended by its edges into the plate's overscan; one with overscan is 0 outside it.

        Args:
            windows: of the plate.
        """
        if windows == self.windows:
            return self
        if masks.covers_all(self.windows, windows):
            return replace(self, windows=windows)
        (height, width), (h, w) = windows.display_size, self.windows.display_size
        velocity = [
            masks.fit_windows(self.velocity[..., i], self.windows, windows, cubic=True) * np.float32(scale)
            for i, scale in enumerate((width / w, height / h))
        ]
        mask, confidence = (masks.fit_mask(a, self.windows, windows) for a in (self.mask, self.confidence))
        drifting = None if self.drifting is None else masks.fit_mask(self.drifting, self.windows, windows)
        return replace(
            self, velocity=np.stack(velocity, axis=-1), mask=mask, confidence=confidence, windows=windows,
            drifting=drifting,
        )  # fmt: skip

    def displayed(self) -> MotionField:
        """Returns the field cropped to the display window."""
        return self.over(Windows.whole(*self.windows.display_size))

    def digest(self) -> str:
        """Returns the SHA-256 of size, velocity, mask, confidence, windows and drifting, in hex."""
        state = hashlib.sha256(f"loopcore motion field {self.width}x{self.height}\n".encode())
        for values in (self.velocity, self.mask, self.confidence):
            state.update(values.astype("<f4", copy=False).data)
        if self.windows != Windows.whole(self.height, self.width):
            state.update(repr(self.windows).encode())
        if self.drifting is not None:
            state.update(b"drifting" + self.drifting.astype("<f4", copy=False).tobytes())
        return state.hexdigest()

    def save(self, path: str | Path) -> None:
        """Writes the field as EXR, atomically and without loss.

        Args:
            path: of the file, ending in .exr.

        Raises:
            MotionError: the name does not end in .exr.
            SequenceError: the file cannot be written.
        """
        from loopcore.exr import write_exr
        from loopcore.files.atomic import write_atomically

        path = Path(path)
        if path.suffix.lower() != ".exr":
            raise MotionError(f"a motion field is an EXR file: name it {path.stem}.exr, not {path.name}")
        attributes = {
            "colorInteropID": "data", "loopcore/flow_units": _UNITS, "loopcore/version": _version(),
            DIGEST: self.digest(),
        }  # fmt: skip
        channels = self._channels()
        write_atomically(path, lambda hidden: write_exr(hidden, channels, attributes=attributes, windows=self.windows))

    def _channels(self) -> dict[str, np.ndarray]:
        shown = self.effective
        u, v = shown[..., 0], -shown[..., 1]
        channels = {
            "forward.u": u,
            "forward.v": v,
            "backward.u": -u,
            "backward.v": -v,
            "Vector.X": -u,
            "Vector.Y": -v,
            "Vector.Z": -u,
            "Vector.W": -v,
            "velocity.X": self.velocity[..., 0],
            "velocity.Y": -self.velocity[..., 1],
            "mask.V": self.mask,
            "confidence.V": self.confidence,
        }
        return channels if self.drifting is None else {**channels, "drifting.V": self.drifting}

    @classmethod
    def load(cls, path: str | Path) -> MotionField:
        """Reads a field from any EXR with ``forward.u`` and ``forward.v`` (pixels per frame, y up).

        Without a mask (``mask.V``, ``mask.a`` or ``mask.A``) or ``confidence.V`` these are 1. The mask is clipped to
        0..1. Everything is 0 outside the data window.

        Args:
            path: of the file.

        Raises:
            MotionError: not an EXR, missing channels, or values that are not finite.
        """
        from loopcore.exr import read_exr

        path = Path(path)
        try:
            parts = read_exr(path)
        except LoopcoreError as error:
            raise MotionError(f"motion field: {error}") from None
        try:
            return cls.of_parts(parts)
        except MotionError as error:
            raise MotionError(f"motion field {path}: {error}") from None

    @classmethod
    def of_parts(cls, parts: Sequence[ExrPart]) -> MotionField:
        """Returns the field of an EXR that was read; see `load`.

        Args:
            parts: of the file.

        Raises:
            MotionError: missing channels, or values that are not finite.
        """
        return _from_parts(cls, parts)


def _from_parts(cls: type[MotionField], parts: Sequence[ExrPart]) -> MotionField:
    try:
        channels, windows = place_channels(parts)
    except PlateError as error:
        raise MotionError(str(error)) from None
    if "forward.u" not in channels or "forward.v" not in channels:
        raise MotionError(_missing_flow(channels))
    used = {name: channels[name] for name in (*_OWN, *masks.CHANNELS) if name in channels}
    shape = channels["forward.u"].shape
    for name, values in used.items():
        if values.shape != shape:
            raise MotionError(f"channel {name} has the size {values.shape[::-1]}, but forward.u has {shape[::-1]}")
    full = {name: np.ascontiguousarray(values, np.float32) for name, values in used.items()}
    holder = next(part for part in parts if "forward.u" in part.channels)
    ones = np.ones(holder.channels["forward.u"].shape, np.float32)
    ones = place(ones, holder.data_window, windows.data) if shape == windows.size else ones
    mask = masks.from_file(next((full[name] for name in masks.CHANNELS if name in full), ones))
    confidence = full.get("confidence.V", ones)
    velocity = [full["forward.u"], full["forward.v"]]
    if {"velocity.X", "velocity.Y", "mask.V"} <= full.keys():
        velocity = _unmasked(velocity, [full["velocity.X"], full["velocity.Y"]], mask)
    return cls(np.stack([velocity[0], -velocity[1]], axis=-1), mask, confidence, windows, full.get("drifting.V"))


def _unmasked(shown: list[np.ndarray], stored: list[np.ndarray], mask: np.ndarray) -> list[np.ndarray]:
    """Returns the stored velocity; where another program edited `shown`, which is velocity times mask, that of it."""
    with np.errstate(all="ignore"):  # the constructor refuses values that are not finite
        edited = (stored[0] * mask != shown[0]) | (stored[1] * mask != shown[1])
        edited &= mask > 0
        if not edited.any():
            return stored
        scale = np.where(mask > 0, mask, 1)
        return [np.where(edited, now / scale, before) for now, before in zip(shown, stored, strict=True)]


def _missing_flow(channels: Mapping[str, Any]) -> str:
    """Returns the message for a file without ``forward.u`` and ``forward.v``."""
    names = ", ".join(sorted(channels)[:12]) or "none"
    if {"R", "G"} <= channels.keys():
        return (
            f"it is a picture (channels {names}), not a motion field. If red and green are pixels per frame (y up), "
            "shuffle them into forward.u and forward.v"
        )
    return f"it has the channels {names}, but a motion field needs forward.u and forward.v (pixels per frame, y up)"


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("loopcore")
    except PackageNotFoundError:
        return "unknown"
