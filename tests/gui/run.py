# SPDX-License-Identifier: Apache-2.0
"""The extension in a real Blender with a window: ``run.py BLENDER PICTURES``; exit code 0 passed or skipped, 1 failed.

BLENDER is a program, or a command line that starts one. Without a display it runs under xvfb-run. Pictures of each
state are left in the folder PICTURES, to be looked at.
"""

import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LIMIT_S = 600
PICTURES = ("idle", "mask", "strokes", "running", "cancelled", "done", "overlay", "shader", "error")


def main() -> int:
    """Build, run, look at what came."""
    blender, pictures = shlex.split(sys.argv[1]), Path(sys.argv[2]).resolve()
    if shutil.which(blender[0]) is None:
        print(f"skipped: no '{blender[0]}' here; name one: make test-gui BLENDER=/path/to/blender")
        return 0
    plain = len(blender) == 1
    if plain and (missing := [tool for tool in ("xdotool", "import") if shutil.which(tool) is None]):
        print(f"skipped: the test needs {' and '.join(missing)}")
        return 0
    if plain and not os.environ.get("DISPLAY"):
        if shutil.which("xvfb-run") is None:
            print("skipped: there is neither a display nor xvfb-run")
            return 0
        blender = ["xvfb-run", "-a", "-s", "-screen 0 1280x900x24", *blender]
    pictures.mkdir(parents=True, exist_ok=True)
    subprocess.run([sys.executable, str(ROOT / "build_addon.py"), "--output", str(pictures)], check=True)
    (built,) = pictures.glob("loopcore-*.zip")
    command = [
        *blender, "--window-geometry", "0", "0", "1280", "800", "--python", str(ROOT / "tests/gui/drive.py"), "--",
        str(built), str(pictures), sys.executable,
    ]  # fmt: skip
    with tempfile.TemporaryDirectory() as resources:
        env = {**os.environ, "BLENDER_USER_RESOURCES": resources if plain else str(pictures / "resources")}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        done = subprocess.run(command, env=env, text=True, timeout=LIMIT_S, **pipes)
    (pictures / "output.txt").write_text(done.stdout, "utf-8")
    lines = [line[6:] for line in done.stdout.splitlines() if line.startswith("SEEN: ")]
    seen = json.loads(lines[-1]) if lines else {}
    missing = [name for name in PICTURES if not (pictures / f"{name}.png").is_file()]
    print(json.dumps(seen, indent=1))
    if done.returncode or not seen.get("ok") or missing or not as_it_should_be(seen):
        print(f"FAILED: exit code {done.returncode}, pictures missing: {missing}; see {pictures / 'output.txt'}")
        return 1
    print(f"passed in Blender {seen['version']}; look at the pictures in {pictures}")
    return 0


def as_it_should_be(seen: dict) -> bool:
    """Whether each thing went as people were promised; says which did not."""
    wanted = {
        "cancelled": seen["cancelled"] == "Cancelled", "text": seen["text"].startswith("Baking"),
        "done": " frames written" in seen["done"] and seen["source"] == "SEQUENCE",
        "killed": "ended unexpectedly" in seen["killed"], "renamed": seen["renamed"][1] == "SEQUENCE",
        "removed": seen["removed"], "opened": seen["opened"], "disabled": seen["disabled"],
    }  # fmt: skip
    for name, fine in wanted.items():
        if not fine:
            print(f"not as it should be: {name}: {seen[name]}")
    return all(wanted.values())


if __name__ == "__main__":
    sys.exit(main())
