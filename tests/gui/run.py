# SPDX-License-Identifier: Apache-2.0
"""Test the extension in a real Blender window: ``run.py BLENDER PICTURES``; exit code 0 passed or skipped, 1 failed.

``run.py BLENDER PICTURES --stress SEED [--steps 500]`` makes random steps with undo and redo instead: see stress.py.
``run.py BLENDER PICTURES --story [PLACES]`` makes one shot from the picture to two versions instead: see story.py.
``run.py BLENDER PICTURES --tools`` uses the tools, shortcuts, search and dialog instead: see drive_tools.py.

BLENDER is a program, or a command line that starts one. Without a display it runs under xvfb-run. Screenshots of each
state are written to the folder PICTURES, for inspection.
"""

import argparse
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import check_story
import check_tools
from windows import driven

ROOT = Path(__file__).resolve().parents[2]
LIMIT_S = 1200
PICTURES = (
    "idle", "mask", "strokes", "selected", "running", "cancelled", "done", "overlay", "streaks", "bent", "automatic",
    "quality", "shader", "preferences", "python", "error", "missing",
)  # fmt: skip
# Limit of the CPU time for which the add-on may block Blender's main thread.
HELD_MS = 50


def main() -> int:
    """Build the extension, run it, and check the results."""
    arguments = parsed()
    blender, pictures = shlex.split(arguments.blender), arguments.pictures.resolve()
    if shutil.which(blender[0]) is None:
        print(f"skipped: '{blender[0]}' not found; use make test-gui BLENDER=/path/to/blender")
        return 0
    if len(blender) == 1:
        if missing := [tool for tool in ("xdotool", "import") if shutil.which(tool) is None]:
            print(f"skipped: the test needs {' and '.join(missing)}")
            return 0
        if not os.environ.get("DISPLAY"):
            if shutil.which("xvfb-run") is None:
                print("skipped: there is neither a display nor xvfb-run")
                return 0
            blender = ["xvfb-run", "-a", "-s", "-screen 0 1280x900x24", *blender]
    zip_path = build(pictures)
    env = {**os.environ, "BLENDER_USER_RESOURCES": str(pictures / "resources")}
    if arguments.stress is not None:
        return stress(blender, pictures, zip_path, env, arguments)
    if arguments.story is not None:
        return check_story.story(blender, pictures, zip_path, env, arguments.story.resolve())
    if arguments.tools:
        return check_tools.tools(blender, pictures, zip_path, env)
    seen = driven(blender, "drive.py", [zip_path, pictures, sys.executable], pictures, env)
    missing = [name for name in PICTURES if not (pictures / f"{name}.png").is_file()]
    if seen is None or missing or not as_expected(seen):
        print(f"FAILED: pictures missing: {missing}; see {pictures / 'output.txt'}")
        return 1
    if not commands_work(blender, pictures / "shot" / "shot.blend", env):
        return 1
    print(f"passed in Blender {seen['version']}; inspect the pictures in {pictures}")
    return 0


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Test the extension in a real Blender window.")
    parser.add_argument("blender", help="a program, or a command line that starts one")
    parser.add_argument("pictures", type=Path, help="folder for screenshots and output")
    parser.add_argument("--stress", type=int, metavar="SEED", help="random steps with undo and redo")
    places = ROOT / "tests/gui/story.json"
    parser.add_argument("--story", type=Path, nargs="?", const=places, metavar="PLACES", help="one shot, see story.py")
    parser.add_argument("--tools", action="store_true", help="the tools, shortcuts, search and dialog")
    parser.add_argument("--steps", type=int, default=500, help="number of random steps (default: 500)")
    return parser.parse_args()


def stress(
    blender: list[str], pictures: Path, zip_path: Path, env: dict[str, str], arguments: argparse.Namespace
) -> int:
    """Run stress.py; passes if Blender makes all the steps and ends by itself."""
    given = [zip_path, pictures, sys.executable, arguments.stress, arguments.steps]
    seen = driven(blender, "stress.py", given, pictures, env, size=(480, 360))
    if seen is None:
        print(f"the last step is in {pictures / 'steps.txt'}")
        return 1
    print(f"passed in Blender {seen['version']}: {seen['steps']} steps from seed {seen['seed']}")
    return 0


def build(pictures: Path) -> Path:
    """Empty the folder of pictures, and build the extension in it; returns the zip's path."""
    for old in ("resources", "shot", "stress"):
        shutil.rmtree(pictures / old, ignore_errors=True)
    for old_picture in pictures.glob("*.png"):
        old_picture.unlink()
    pictures.mkdir(parents=True, exist_ok=True)
    subprocess.run([sys.executable, str(ROOT / "build_addon.py"), "--output", str(pictures)], check=True)
    (built,) = pictures.glob("loopcore-*.zip")
    return built


def run(command: list[str], env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    return subprocess.run(command, env=env, text=True, timeout=LIMIT_S, **pipes)


def commands_work(blender: list[str], blend: Path, env: dict[str, str]) -> bool:
    """Run `blender -b shot.blend --command loopcore ...` on the file that was saved from the window."""
    blend.with_name("worker.txt").write_text(sys.executable, "utf-8")
    start = [*blender, "-b", str(blend), "--python", str(ROOT / "tests/gui/prepare.py"), "--command", "loopcore"]
    folder = blend.with_name("commanded")
    baked = run([*start, "bake", "--object", "Plate", "--frames", "4", "--resolution", "50", "-o", str(folder)], env)
    unknown = run([*start, "bake", "--object", "Unknown"], env)
    files = len(list(folder.glob("Plate_loop.*.exr")))
    if (baked.returncode, unknown.returncode, files) == (0, 2, 4) and "Progress: 50%" in baked.stdout:
        return True
    print(f"FAILED: commands ended with {baked.returncode} and {unknown.returncode}, {files} files")
    print(baked.stdout[-3000:], unknown.stdout[-1000:])
    return False


def as_expected(seen: dict) -> bool:
    """Check the results, and print those that are wrong."""
    wanted = {
        "cancelled": seen["cancelled"] == "Cancelled", "text": seen["text"].startswith("Baking"),
        "done": " frames written" in seen["done"] and seen["source"] == "SEQUENCE",
        "killed": "ended unexpectedly" in seen["killed"], "renamed": seen["renamed"][1] == "SEQUENCE",
        "removed": seen["removed"], "saved": seen["saved"], "opened": seen["opened"], "disabled": seen["disabled"],
        "bent": seen["bent"] > 1000, "proxy": seen["proxy"][0] and seen["proxy"][1].endswith(".jpg"),
        "tab": seen["tab"] == "Loopcore", "outlines": seen["outlines"] == 2,
        "computed": all(ms < HELD_MS for what, ms in seen["computed"].items() if "compiled" not in what),
    }  # fmt: skip
    for name, fine in wanted.items():
        if not fine:
            print(f"wrong: {name}: {seen[name]}")
    return all(wanted.values())


if __name__ == "__main__":
    sys.exit(main())
