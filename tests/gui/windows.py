# SPDX-License-Identifier: Apache-2.0
"""Run a script in a Blender's window, and read its results."""

import json
import subprocess
from pathlib import Path

HERE = Path(__file__).resolve().parent
LIMIT_S = 3600


def driven(
    blender: list[str], script: str, given: list[object], pictures: Path, env: dict[str, str],
    size: tuple[int, int] = (1280, 800),
) -> dict | None:  # fmt: skip
    """Run a script in a window, and print its results.

    Args:
        blender: command that starts Blender.
        script: name of the script in this folder, which ends with `screen.drive`.
        given: its arguments.
        pictures: folder for output.txt.
        env: environment variables.
        size: of the window in pixels.

    Returns:
        The results; None if it failed or Blender did not end by itself, which is printed.
    """
    window = ["--window-geometry", "0", "0", *map(str, size), "--python", str(HERE / script), "--"]
    with (pictures / "output.txt").open("w") as output:
        command = [*blender, *window, *map(str, given)]
        code = subprocess.run(command, env=env, stdout=output, stderr=subprocess.STDOUT, timeout=LIMIT_S).returncode
    printed = (pictures / "output.txt").read_text("utf-8", "replace")
    seen = json.loads(next((line[6:] for line in printed.splitlines() if line.startswith("SEEN: ")), "{}"))
    print(json.dumps(seen, indent=1))
    if code or not seen.get("ok") or "Traceback" in printed:
        print(f"FAILED: exit code {code}; see {pictures / 'output.txt'}")
        return None
    return seen


def all_fine(wanted: dict[str, bool]) -> bool:
    """Print the names of what is wrong; returns whether nothing is."""
    for name in (name for name, fine in wanted.items() if not fine):
        print(f"wrong: {name}")
    return all(wanted.values())
