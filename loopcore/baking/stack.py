# SPDX-License-Identifier: Apache-2.0
"""The stills above and below an animated layer of a Photoshop document, and the order that stacks all of them again."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from loopcore.exr import write_exr
from loopcore.files.atomic import write_atomically, write_text_atomically
from loopcore.plate import psd
from loopcore.plate.plate import Plate, still_plate


def stack_paths(folder: Path, stem: str, above: int) -> tuple[Path, list[Path], Path]:
    """Returns the still below, those above from below to above, and the file of their order.

    Args:
        folder: folder of the frames.
        stem: start of their names.
        above: number of stills above.
    """
    stills = [folder / f"{stem}_above_{number}.exr" for number in range(1, above + 1)]
    return folder / f"{stem}_below.exr", stills, folder / f"{stem}_stack.json"


def write_stack(folder: Path, stem: str, frames: str, source: Path, layer: str, colorspace: str | None) -> list[Path]:
    """Writes the stills around a layer as float EXR, scene-linear and premultiplied as the frames are.

    The blend modes are meant for colour as the document stores it: un-premultiply, encode to sRGB, blend, decode.

    Args:
        folder: folder of the frames.
        stem: start of their names.
        frames: pattern of the frames' names, for the file of the order.
        source: the document.
        layer: the animated one.
        colorspace: as for `loopcore.read_plate`.

    Returns:
        The files written.

    Raises:
        PlateError: see `loopcore.plate.psd.split`.
        SequenceError: a file cannot be written.
    """
    parts = psd.split(source, layer, colorspace)
    below, above, order = stack_paths(folder, stem, len(parts.above))
    entries = [{"file": frames, "layer": layer, "blend": parts.blend}]
    written = []
    if parts.below is not None:
        _write_still(below, still_plate(parts.below.still, source))
        entries.insert(0, {"file": below.name, "layer": "", "blend": "normal"})
        written.append(below)
    for path, item in zip(above, parts.above, strict=True):
        _write_still(path, still_plate(item.still, source))
        entries.append({"file": path.name, "layer": item.name, "blend": item.blend})
        written.append(path)
    document = {"document": str(source), "blend_in": "srgb_rec709_scene", "stack": entries}
    write_text_atomically(order, json.dumps(document, indent=2) + "\n")
    return [*written, order]


def _write_still(path: Path, plate: Plate) -> None:
    channels = {name: np.ascontiguousarray(plate.pixels[..., k]) for k, name in enumerate(plate.channels)}
    attributes = {"colorInteropID": plate.colorspace} if plate.colorspace else {}
    write_atomically(path, lambda temporary: write_exr(temporary, channels, attributes=attributes))
