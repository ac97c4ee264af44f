# SPDX-License-Identifier: GPL-3.0-or-later
"""The input of the test bake that checks a Python: a plate and its hints."""

import json
from pathlib import Path

import numpy as np

from ..files import write_png


def write_trial(folder: Path) -> tuple[Path, Path]:
    """Write a small textured plate and its hints to `folder`; returns both paths."""
    width, height = 64, 48
    y, x, c = np.ogrid[:height, :width, :3]
    plate, hints = folder / "plate.png", folder / "hints.json"
    write_png(plate, ((x * 37 ^ y * 11) + 60 * c & 255).astype(np.uint8))
    drawn = {
        "loopcore_hints": 1,
        "size": [width, height],
        "strokes": [{"points": [[32, 8], [34, 24], [32, 40]], "speed": 1.0}],
        "mask": {"polygons": [[[12, 4], [52, 4], [52, 44], [12, 44]]], "feather": 4},
    }
    hints.write_text(json.dumps(drawn), "utf-8")
    return plate, hints
