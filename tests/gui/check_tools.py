# SPDX-License-Identifier: Apache-2.0
"""Run drive_tools.py in a window, and check its results."""

import sys
from pathlib import Path

import numpy as np
from windows import all_fine, driven


def tools(blender: list[str], pictures: Path, zip_path: Path, env: dict[str, str]) -> int:
    """Use the tools, shortcuts, search and dialog as drive_tools.py does; returns 0 if all did what they should."""
    seen = driven(blender, "drive_tools.py", [zip_path, pictures, sys.executable], pictures, env)
    if seen is None or not all_fine(as_expected(seen)):
        return 1
    print(f"passed in Blender {seen['version']}; inspect the pictures in {pictures}")
    return 0


def as_expected(seen: dict) -> dict[str, bool]:
    """Return what has to be true of the results of drive_tools.py."""
    before, flipped, again = seen["flips"]
    files, message = seen["exported"]
    hints = ["Plate Stroke", "Plate Anchor"]
    return {
        "a click flips": np.dot(before, flipped) < 0 and np.hypot(*flipped) > 0.05,
        "a click on the marker flips back": np.dot(before, again) > 0,
        "a flip on a rock is refused": "moves" in seen["refused"] and seen["undone flip"].startswith("Motion solved"),
        "the wheel doubles the speed": seen["stroke"][0] >= 2 and seen["stroke"][1] == 2.0,
        "the stroke's flow": seen["stroke flow"][0] < -0.5,
        "Esc": seen["after Esc"] == 1,
        "an anchor stays still": seen["anchor flow"] == [0, 0],
        "erased": seen["erased"] == seen["after redo"] == hints,
        "errors name the stroke": seen["stroke on rocks"].startswith(
            'The stroke "Plate Stroke.001" lies where nothing'
        ),
        "the outcome of what is shown": seen["message after redo"].startswith("Motion solved"),
        "found by the search": len(seen["searched"]) == 2,
        "shortcuts": [text.split(" ")[0] for text in seen["shortcuts"]]
        == ["loopcore.draw_stroke", "loopcore.flip_flow", "loopcore.predict_motion"],
        "a changed shortcut": len(seen["keyed"]) == 3,
        "exported by the dialog": len(files) == 1 and message.startswith("1 flow map written"),
        "operators have labels": seen["operators"] > 20 and not seen["unlabelled"] and not seen["full stops"],
    }
