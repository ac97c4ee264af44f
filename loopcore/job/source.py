# SPDX-License-Identifier: Apache-2.0
"""A plate and the source of its motion."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from loopcore.errors import HintsError, MotionError, PlateError, SequenceError
from loopcore.observer import Observer

if TYPE_CHECKING:
    import numpy as np

    from loopcore.motion.field import MotionField
    from loopcore.motion.findings import Findings
    from loopcore.motion.predict import Estimator
    from loopcore.plate import Plate


@dataclass(frozen=True)
class Source:
    """A plate and the source of its motion.

    Attributes:
        plate: the still.
        layer: as for `loopcore.read_plate`.
        colorspace: as for `loopcore.read_plate`.
        hints: strokes, anchors, flips and mask.
        mask: a picture that replaces the mask of hints or motion.
        weights: the network that predicts the motion; None is the shipped one.
        motion: a flow map to use instead of a prediction.
        convention: of the flow map; None detects it.
        rescale: resize a motion of another size to the plate, instead of refusing it.
        speed: factor on the motion.
        resolution: percent of the plate's size to work at, 1 to 100.
        layers: further layers that move with the plate, or "all"; as for `loopcore.read_plate`. "split" alone writes
            the stills above and below the layer of a PSD beside the frames; see `loopcore.baking.stack`.
        data: those of them that hold data; as for `loopcore.read_plate`.

    Raises:
        MotionError: both motion and hints or weights, a setting of a motion without one, or speed 0.
        SequenceError: a resolution out of range, or that layers cannot have; data without layers.
    """

    plate: Path
    layer: str | None = None
    colorspace: str | None = None
    hints: Path | None = None
    mask: Path | None = None
    weights: Path | None = None
    motion: Path | None = None
    convention: str | None = None
    rescale: bool = False
    speed: float = 1.0
    resolution: int = 100
    layers: tuple[str, ...] = ()
    data: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.motion is not None and self.hints is not None:
            raise MotionError("motion and hints cannot be combined: leave one out")
        if self.motion is not None and self.weights is not None:
            raise MotionError("motion and weights, which predict another one, cannot be combined: leave one out")
        for name in ("rescale", "convention"):
            if self.motion is None and getattr(self, name):
                raise MotionError(f"{name} has no meaning without a motion: leave it out, or give --motion")
        if not math.isfinite(self.speed):
            raise MotionError(f"speed {self.speed} is no finite number: give another factor")
        if self.speed == 0:
            raise MotionError("speed 0 stops all motion: give another factor")
        if not 1 <= self.resolution <= 100:
            raise SequenceError(f"resolution {self.resolution} is out of range: give 1 to 100 percent")
        if self.is_split and (self.layer is None or self.data):
            raise SequenceError("layers split are those of a PSD, of which one moves: give its --layer, and no --data")
        if self.layers and self.resolution != 100:
            raise SequenceError("layers are carried at the plate's own size: leave resolution out")
        if self.data and not self.layers:
            raise SequenceError("data has no meaning without layers: leave it out, or give --layers")

    @property
    def is_split(self) -> bool:
        """Whether the stills around the layer of a PSD are written beside the frames."""
        return self.layers == ("split",)

    @property
    def carried(self) -> tuple[str, ...]:
        """Names of the layers that move with the plate."""
        return () if self.is_split else self.layers

    def files(self) -> list[Path]:
        """Returns the files that are read."""
        from loopcore.flowmap.reading import companions
        from loopcore.motion.hints import painted_mask

        named = [self.plate, self.hints, self.mask, self.weights, self.motion]
        named += [] if self.hints is None else [painted_mask(self.hints)]
        named += [] if self.motion is None else companions(self.motion)
        return [path for path in named if path is not None]

    def read_plate(self, observer: Observer) -> Plate:
        """Returns the plate at its full size.

        Args:
            observer: receives the stage.

        Raises:
            PlateError: the plate cannot be read; see `loopcore.read_plate`.
        """
        from loopcore.plate import read_plate

        observer.stage("Reading the plate")
        if self.is_split and not self._is_psd_layer():
            raise PlateError(f"{self.plate}: layers are split of PSD files only: leave split out")
        return read_plate(self.plate, layer=self.layer, colorspace=self.colorspace, layers=self.carried, data=self.data)

    def read_motion(self, plate: Plate, observer: Observer) -> MotionField:
        """Returns the motion of a plate, read or predicted, with mask and speed applied.

        Args:
            plate: at the size of the motion.
            observer: receives the stages.

        Raises:
            MotionError: motion, hints or mask cannot be used; see `read_motion` and `predict_motion`.
        """
        from loopcore.flowmap import read_motion

        if self.motion is None:
            motion, _ = self.predict(plate, observer)
        else:
            observer.stage("Reading the motion")
            size, windows, mask = (plate.height, plate.width), plate.windows, self._read_mask(plate)
            rescale = self.rescale or self.resolution != 100
            motion = read_motion(self.motion, self.convention, size=size, windows=windows, rescale=rescale)
            motion = motion if mask is None else replace(motion, mask=mask)
            if not motion.mask.any():
                raise MotionError(f"the mask in {self.motion} is black all over: nothing would move. Give a --mask")
        return motion if self.speed == 1.0 else motion.scaled(self.speed)

    def predict(
        self, plate: Plate, observer: Observer, estimator: Estimator | None = None
    ) -> tuple[MotionField, Findings]:
        """Returns the motion of a plate from its picture and the hints, without the speed, and what was found.

        Args:
            plate: at the size of the motion.
            observer: receives the stage.
            estimator: as for `predict_with_findings`.

        Raises:
            MotionError: hints or mask cannot be used, or nothing seems to flow; see `predict_motion`.
        """
        from loopcore.motion.hints import read_hints
        from loopcore.motion.predict import predict_with_findings

        mask = self._read_mask(plate)
        observer.stage("Making the motion")
        hints = None if self.hints is None else read_hints(self.hints)
        try:
            motion, found = predict_with_findings(self.looked_at(plate), hints, mask, self.weights, estimator=estimator)
        except HintsError as error:
            raise MotionError(f"hints {self.hints}: {error}") from None
        drawn = mask is not None or (hints is not None and hints.mask is not None)
        return motion if drawn else self._unobstructed(motion), found

    def _read_mask(self, plate: Plate) -> np.ndarray | None:
        from loopcore.motion.hints import read_mask

        return None if self.mask is None else read_mask(self.mask, plate.height, plate.width, plate.windows)

    def looked_at(self, plate: Plate) -> Plate:
        """Returns the plate that a motion is predicted from: for a layer of a PSD the document's picture.

        Args:
            plate: whose size it has.
        """
        if not self._is_psd_layer():
            return plate
        from loopcore.image import resize_linear
        from loopcore.plate import read_plate

        picture = read_plate(self.plate, colorspace=self.colorspace)
        if (picture.height, picture.width) == (plate.height, plate.width):
            return picture
        pixels = resize_linear(picture.pixels, plate.height, plate.width)
        return replace(picture, pixels=pixels, windows=plate.windows)

    def _unobstructed(self, motion: MotionField) -> MotionField:
        """Returns the motion where the PSD's layer is seen, if the plate is one."""
        if not self._is_psd_layer():
            return motion
        from loopcore.image import resize_linear
        from loopcore.plate.psd import unobstructed

        seen = unobstructed(self.plate, self.layer or "")
        mask = motion.mask * resize_linear(seen[..., None], *motion.mask.shape)[..., 0].clip(0, 1)
        if not mask.any():
            raise MotionError(f"nothing of the layer {self.layer!r} that is seen seems to flow: draw a mask (--mask)")
        return replace(motion, mask=mask)

    def _is_psd_layer(self) -> bool:
        from loopcore.plate.stills import format_of

        return self.layer is not None and format_of(self.plate) == "PSD"
