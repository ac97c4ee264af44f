# SPDX-License-Identifier: Apache-2.0
"""Run story.py in a window, render its files in a Blender without the add-on, and check both."""

import json
import math
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
from windows import HERE, LIMIT_S, all_fine, driven

sys.path.insert(0, str(HERE.parents[1]))
# Of a render: half floats, and one sample at the center of each pixel. On a curved object a projection is linear over
# each face, hence less exact.
FLAT, CURVED = 0.004, 0.03


def story(blender: list[str], pictures: Path, zip_path: Path, env: dict[str, str], places: Path) -> int:
    """Make the shot of story.py; returns 0 if everything in it is as it should be."""
    seen = driven(blender, "story.py", [zip_path, pictures, sys.executable, places], pictures, env)
    if seen is None or not all_fine(as_expected(seen) | rendered(blender, pictures, env, places)):
        return 1
    print(f"passed in Blender {seen['version']}; inspect the pictures in {pictures}")
    return 0


def as_expected(seen: dict) -> dict[str, bool]:
    """Return what has to be true of the results of story.py."""
    (before, after), (kept, still_kept) = seen["flipped"], seen["kept"]
    return {
        "predicted": "of the picture moves" in seen["predicted"],
        "flipped": np.dot(before, after) < 0 and np.hypot(*after) > 0.05,
        "another region is not flipped": np.dot(kept, still_kept) > 0,
        "one stroke": len(seen["strokes"]) == 1 and np.hypot(*seen["stroke flow"]) > 0.1,
        "painted": seen["painted"] > 0.02 or not seen["brush"],
        "an area is subtracted": seen["subtracted"] == 1,
        "no bleeding over edges": seen["edges"][0] == seen["edges"][1] == seen["edges"][3] == 0,
        "areas": len(seen["areas"]) == (3 if seen["brush"] else 4),
        "previewed": seen["previewed"].startswith("Preview of 12 frames"),
        "baked": seen["baked"].startswith("12 frames written"),
        "undone": seen["undone"] != seen["before undo"],
        "redone": seen["after redo"] == seen["before undo"],
        "versions": seen["versions"] == {"shot_v001": 12, "shot_v002": 8} and seen["first kept"],
        "the first version plays": seen["plays"] == ["loops/shot_v001/plate/plate_loop.1001.exr", 12],
        "the projection is baked once": seen["projection baked"][0].startswith("12 frames written"),
        "the projection plays": seen["projection plays"] == ["loops/projection/middle/middle_loop.1001.exr"] * 3,
    }


def rendered(blender: list[str], pictures: Path, env: dict[str, str], places: Path) -> dict[str, bool]:
    """Render both versions and the projection without the add-on; returns whether each shows its own frames."""
    plain = {**env, "BLENDER_USER_RESOURCES": str(pictures / "without")}
    fine = {}
    for blend, name, count in (("shot_v001", "plate", 12), ("shot_v002", "plate", 8), ("projection", "middle", 12)):
        baked = frames_in(pictures / "shot/loops" / blend / name, f"{name}_loop.*.exr")
        if len(baked) != count:
            fine[f"{blend} is baked"] = False
            continue
        shots = render(blender, pictures, blend, plain, baked)
        for part, shares, tolerance in parts_of(places, blend):
            fine[f"{part} of {blend} renders"] = plays(f"{part} of {blend}", shots, baked, shares, tolerance)
    return fine


def parts_of(places: Path, blend: str) -> list[tuple[str, tuple[float, float], float]]:
    """Return what is seen in a render from top to bottom, the shares of its height, and the tolerance."""
    if blend != "projection":
        return [("the plane", (0.0, 1.0), FLAT)]
    first, second = json.loads(places.read_text("utf-8"))["projection"]["cuts"]
    return [("back", (0.0, first), FLAT), ("middle", (first, second), CURVED), ("front", (second, 1.0), CURVED)]


def frames_in(folder: Path, pattern: str) -> list[np.ndarray]:
    """Return the RGB pixels of the files in a folder, by name."""
    from loopcore.plate import read_plate

    return [np.asarray(read_plate(file).pixels)[..., :3] for file in sorted(folder.glob(pattern))]


def render(
    blender: list[str], pictures: Path, blend: str, env: dict[str, str], baked: list[np.ndarray]
) -> list[np.ndarray]:
    """Render a file at the size of its loop, one frame for each of `baked`; returns the pixels."""
    out = pictures / "rendered" / blend
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    height, width = baked[0].shape[:2]
    script = ["--python", str(HERE / "render_plain.py"), "--", *map(str, (out, width, height, len(baked)))]
    done = subprocess.run(
        [*blender, "-b", str(pictures / f"shot/{blend}.blend"), *script], env=env, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=LIMIT_S,
    )  # fmt: skip
    shots = frames_in(out, "rendered.*.exr")
    if len(shots) != len(baked):
        print(f"{blend}: exit code {done.returncode}\n{done.stdout[-3000:]}")
    return shots


def plays(
    what: str, shots: list[np.ndarray], baked: list[np.ndarray], shares: tuple[float, float], tolerance: float
) -> bool:
    """Return whether each render shows its frame of the loop between two shares of the height, and they move."""
    top, bottom = (share * baked[0].shape[0] for share in shares)
    rows = slice(math.ceil(top) + 1, math.floor(bottom) - 1)
    shots, baked = [[frame[rows, 1:-1] for frame in frames] for frames in (shots, baked)]
    if len(shots) != len(baked):
        return False
    away = [[float(np.abs(shot - frame).mean()) for frame in baked] for shot in shots]
    moved = [float(np.abs(a - b).mean()) for a, b in zip(shots, shots[1:], strict=False)]
    off = max(float(np.abs(a - b).max()) for a, b in zip(shots, baked, strict=True))
    mean = max(row[index] for index, row in enumerate(away))
    print(f"{what}: {len(shots)} rendered, off by {mean:.5f}, at most {off:.4f}; moving by {min(moved):.5f}")
    own = all(int(np.argmin(row)) == index for index, row in enumerate(away))
    return own and off < tolerance and min(moved) > 1e-4
