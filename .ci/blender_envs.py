# SPDX-License-Identifier: Apache-2.0
"""Set up an environment for each Blender that the tests run in: ``blender_envs.py FOLDER``; prints their Pythons.

A bpy wheel fits one minor version of Python only, so each environment is made with the interpreter it needs: found
on PATH or, failing that, among pyenv's. Where there is none, that Blender is left out, and said so on stderr.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

# 4.2 states no limit and runs with numpy 1 as the official build does; 5.0 needs it.
BLENDERS = {
    "bpy42": ("3.11", ["bpy==4.2.23", "numpy<2"]),
    "bpy50": ("3.11", ["bpy==5.0.1", "numpy<2"]),
    "bpy52": ("3.13", ["bpy==5.2.3"]),
}


def main() -> int:
    folder = Path(sys.argv[1]).resolve()
    ready = []
    for name, (version, packages) in BLENDERS.items():
        python = folder / name / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
        stamp = folder / name / ".ready"
        if not stamp.exists() or stamp.read_text("utf-8") != " ".join(packages):
            base = interpreter(version)
            if base is None:
                print(f"No Python {version}: {packages[0]} is left out", file=sys.stderr)
                continue
            print(f"Installing {packages[0]} into {folder / name} (about a gigabyte, a minute)", file=sys.stderr)
            subprocess.run([base, "-m", "venv", "--clear", folder / name], check=True)
            install = [python, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", *packages]
            if subprocess.run(install, stdout=sys.stderr).returncode:
                print(f"{packages[0]} could not be installed: it is left out", file=sys.stderr)
                continue
            stamp.write_text(" ".join(packages), "utf-8")
        ready.append(str(python))
    print(os.pathsep.join(ready))
    return 0 if ready else 1


def interpreter(version: str) -> str | None:
    """A Python of that minor version that starts."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    found = [p / "bin" / "python" for p in pyenv.glob(f"{version}.*")] if pyenv.is_dir() else []
    for candidate in (sys.executable, shutil.which(f"python{version}"), *sorted(found)):
        if candidate is None:
            continue
        told = subprocess.run([candidate, "--version"], capture_output=True, text=True)
        if told.returncode == 0 and re.match(rf"Python {re.escape(version)}\.", told.stdout):
            return str(candidate)
    return None


if __name__ == "__main__":
    sys.exit(main())
