# SPDX-License-Identifier: Apache-2.0
"""What a still holds, for people and for pipelines: format, size, windows, colour space, layers."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from loopcore import exr
from loopcore.plate import psd
from loopcore.plate.layers import layers_of
from loopcore.plate.plate import Plate
from loopcore.plate.stills import format_of, png_depth


def describe_plate(plate: Plate) -> dict[str, Any]:
    """Returns a plate's properties as a JSON object.

    Returns:
        `width` and `height` of what is shown, `channels`, `colorspace` ("" if unknown) of the linear pixels, `stored`
        ("srgb" or "linear"), `pixel_aspect`; with overscan also `data_window` and `display_window`.

    Convention: windows are (x_min, y_min, x_max, y_max), inclusive, y down.
    """
    height, width = plate.windows.display_size
    facts: dict[str, Any] = {
        "width": width,
        "height": height,
        "channels": list(plate.channels),
        "colorspace": plate.colorspace,
        "stored": plate.encoded,
        "pixel_aspect": plate.pixel_aspect,
    }
    if plate.windows.overscan:
        facts |= {"data_window": list(plate.windows.data), "display_window": list(plate.windows.display)}
    return facts


def still_format(path: Path) -> str:
    """Returns the format of a still by its content: "EXR", "16-bit PNG", "PSD"..., or "other".

    Raises:
        OSError: it cannot be opened.
    """
    kind = format_of(path)
    return "16-bit PNG" if kind == "PNG" and png_depth(path) == 16 else kind or "other"


def list_layers(path: Path) -> list[dict[str, Any]]:
    """Returns the layers of an EXR or PSD file as JSON objects; none for other formats, or a PSD without psd-tools.

    Returns:
        Of an EXR `name`, `part`, `channels` with their types, and whether it is a picture (`colour`); of a PSD
        the attributes of `PsdLayer`, the lowest first.

    Raises:
        PlateError: the file is damaged.
        OSError: it cannot be opened.
    """
    kind = format_of(path)
    if kind == "PSD" and psd.is_installed():
        return [asdict(layer) for layer in psd.list_layers(path)]
    if kind != "EXR":
        return []
    return [
        {
            "name": layer.title,
            "part": layer.part.name,
            "channels": {full: str(layer.part.channels[full].dtype) for full in layer.channels.values()},
            "colour": layer.kind in ("rgb", "ycc", "y"),
        }
        for layer in layers_of(exr.read_exr(path))
    ]
