# SPDX-License-Identifier: Apache-2.0
"""Colour spaces by the names of a studio's OpenColorIO configuration, `$OCIO`; needs OpenColorIO (optional)."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import numpy as np

from loopcore.errors import PlateError, first_line

INSTALL = 'pip install "loopcore[ocio]"'
_STRIP = 1 << 20  # pixels converted at a time


@dataclass(frozen=True, eq=False)
class OcioSpace:
    """A colour space of the configuration, from which pixels are converted to its scene-linear role.

    Attributes:
        name: of the colour space.
        linear_space: Color Interop Forum name of the role; empty if the configuration gives none.
        encoded: "linear" if the space is scene-linear, else "srgb".
        processor: OpenColorIO's CPU processor.
    """

    name: str
    linear_space: str
    encoded: str
    processor: Any

    def to_linear(self, values: np.ndarray) -> np.ndarray:
        """Converts (H, W, 1 or 3) uint8 or uint16 codes, or floats, to float32; grey as equal R, G and B."""
        top = 1 if values.dtype.kind == "f" else np.iinfo(values.dtype).max
        light = np.empty(values.shape, np.float32)
        rows = max(1, _STRIP // values.shape[1])
        for start in range(0, len(values), rows):
            part = values[start : start + rows].astype(np.float32) / np.float32(top)
            rgb = np.ascontiguousarray(np.broadcast_to(part, (*part.shape[:2], 3)))
            self.processor.applyRGB(rgb)
            light[start : start + rows] = rgb[..., : values.shape[2]]
        return light


def find_space(name: str) -> OcioSpace | None:
    """Returns the colour space, role or alias of that name in the configuration that `$OCIO` names.

    Returns:
        None if `$OCIO` is not set, or names no such space.

    Raises:
        PlateError: OpenColorIO is missing, the configuration cannot be read, or the space cannot be converted.
    """
    if not os.environ.get("OCIO"):
        return None
    try:
        import PyOpenColorIO as ocio
    except ImportError as error:
        raise PlateError(f"the colour space {name!r} of $OCIO needs OpenColorIO: {INSTALL}") from error
    try:
        config = ocio.Config.CreateFromEnv()
        space, linear = config.getColorSpace(name), config.getColorSpace(ocio.ROLE_SCENE_LINEAR)
        if space is None:
            return None
        if linear is None:
            raise PlateError("the configuration of $OCIO has no role scene_linear, which plates are converted to")
        processor = config.getProcessor(space, linear).getDefaultCPUProcessor()
    except (ocio.Exception, ocio.ExceptionMissingFile) as error:
        raise PlateError(f"the configuration of $OCIO cannot be used: {first_line(error)}") from error
    # Interop ids came with OpenColorIO 2.5.
    interop = linear.getInteropID() if hasattr(linear, "getInteropID") else ""
    encoded = "linear" if space.getEncoding() == "scene-linear" else "srgb"
    return OcioSpace(space.getName(), interop, encoded, processor)
