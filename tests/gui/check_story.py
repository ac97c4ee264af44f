# SPDX-License-Identifier: Apache-2.0
"""Run story.py in a window, render its two versions in a Blender without the add-on, and check both."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))
LIMIT_S = 1800
# Of a render: half floats, and one sample at the center of each pixel.
TOLERANCE = 0.004


def story(blender: list[str], pictures: Path, zip_path: Path, env: dict[str, str], places: Path) -> int:
    """Make the shot of story.py; returns 0 if everything in it is as it should be."""
    drive = ["--window-geometry", "0", "0", "1280", "800", "--python", str(HERE / "story.py"), "--"]
    command = [*blender, *drive, str(zip_path), str(pictures), sys.executable, str(places)]
    with (pictures / "output.txt").open("w") as output:
        code = subprocess.run(command, env=env, stdout=output, stderr=subprocess.STDOUT, timeout=LIMIT_S).returncode
    printed = (pictures / "output.txt").read_text("utf-8", "replace").splitlines()
    seen = json.loads(next((line[6:] for line in printed if line.startswith("SEEN: ")), "{}"))
    print(json.dumps(seen, indent=1))
    if code or not seen.get("ok"):
        print(f"FAILED: exit code {code}; see {pictures / 'output.txt'}")
        return 1
    wanted = as_expected(seen) | rendered(blender, pictures, env)
    for name in (name for name, fine in wanted.items() if not fine):
        print(f"wrong: {name}")
    if not all(wanted.values()):
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
    }


def rendered(blender: list[str], pictures: Path, env: dict[str, str]) -> dict[str, bool]:
    """Render both versions without the add-on; returns whether each shows its own frames, which move."""
    from loopcore.plate import read_plate

    plain = {**env, "BLENDER_USER_RESOURCES": str(pictures / "without")}
    fine = {}
    for version, frames in (("shot_v001", 12), ("shot_v002", 8)):
        files = sorted((pictures / "shot/loops" / version / "plate").glob("plate_loop.*.exr"))
        if len(files) != frames:
            fine[f"{version} is baked"] = False
            continue
        baked = [np.asarray(read_plate(file).pixels)[..., :3] for file in files]
        height, width = baked[0].shape[:2]
        out = pictures / "rendered" / version
        out.mkdir(parents=True, exist_ok=True)
        script = ["--python", str(HERE / "render_plain.py"), "--", str(out), str(width), str(height), str(frames)]
        done = subprocess.run(
            [*blender, "-b", str(pictures / "shot" / f"{version}.blend"), *script], env=plain, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=LIMIT_S,
        )  # fmt: skip
        shots = [np.asarray(read_plate(file).pixels)[..., :3] for file in sorted(out.glob("rendered.*.exr"))]
        away = [np.abs(shot - frame)[1:-1, 1:-1].max() for shot, frame in zip(shots, baked, strict=False)]
        moved = [float(np.abs(a - b).mean()) for a, b in zip(shots, shots[1:], strict=False)]
        print(
            f"{version}: {len(shots)} rendered, off by at most {max(away, default=-1):.4f}; exit code {done.returncode}"
        )
        if len(shots) != frames:
            print(done.stdout[-3000:])
        fine[f"{version} renders"] = len(shots) == frames and max(away) < TOLERANCE and min(moved) > 1e-4
    return fine
